package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"agora/personhood"
	"agora/personhood/semaphore"

	"github.com/nbd-wtf/go-nostr"
)

// retryAfter is when a root that could not be published is tried again.
const retryAfter = 10 * time.Second

// Run publishes roots until ctx ends: every Batch, when there is something new.
// A restart does not change the rhythm, for a root out of turn would show who
// joined just before it.
func (g *Group) Run(ctx context.Context) error {
	tick := time.NewTicker(g.lookEvery())
	defer tick.Stop()
	next := g.resumeAt(time.Now())
	for {
		g.schedule(next)
		forced := false
		select {
		case <-ctx.Done():
			return nil
		case <-g.now:
			forced = true
		case <-tick.C:
			g.look(time.Now())
		}
		if !forced && time.Now().Before(next) {
			continue
		}
		if err := g.publish(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			g.cfg.Logger.Error("a group's root was not published; it is tried again", "group", g.address.String(), "err", err)
			next = time.Now().Add(retryAfter)
			continue
		}
		next = time.Now().Add(g.cfg.Batch)
	}
}

// resumeAt is when the next root is due after a start. A clock that was ahead
// when the last one was published does not put it off.
func (g *Group) resumeAt(now time.Time) time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.base == len(g.ledger.lines) && g.base > 0 {
		return now // nothing new: only the event's address may have to change
	}
	due := g.current.At.Time().Add(g.cfg.Batch)
	if g.base == 0 || due.After(now.Add(g.cfg.Batch)) {
		return now.Add(g.cfg.Batch)
	}
	return due
}

// schedule notes when those who join now will be in a root.
func (g *Group) schedule(next time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.due = next
}

// PublishNow asks for a root without waiting for the next batch. It tells an
// observer who joined since the last one.
func (g *Group) PublishNow() { g.hurry() }

func (g *Group) hurry() {
	select {
	case g.now <- struct{}{}:
	default: // one is on its way
	}
}

// publish lets members go whose time is over, and publishes a root over all
// that has happened. The log event comes first: what it says is what counts.
func (g *Group) publish(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.expire(ctx, time.Now()); err != nil {
		return err
	}
	n := len(g.ledger.lines)
	if n == 0 {
		return nil
	}
	if n == g.base {
		return g.announce(ctx)
	}
	tree, err := g.grown(n)
	if err != nil {
		return err
	}
	// A clock that was ahead and is set right makes this root look older than the
	// last; seq tells the order, and the older root goes stale an hour from now.
	next := g.current.Next(tree, nostr.Now())
	next.Class = g.cfg.Source.Class()
	sum := sha256.Sum256([]byte(g.ledger.lines[n-1]))
	tag := nostr.Tag{tagLog, strconv.Itoa(n), hex.EncodeToString(sum[:])}
	_, entry := next.Events()
	entry.Tags = append(entry.Tags, tag)
	if err := g.send(ctx, &entry); err != nil {
		return err
	}
	file := tree.File()
	g.tree, g.current, g.base = tree, next, n
	g.stands[next.Members] = n
	g.keep(next.Members, file)
	return g.announce(ctx)
}

// overdueLocked notes whose evidence has run out, and since when by a clock
// that never jumps: one that is ahead for a moment takes nobody out.
func (g *Group) overdueLocked(now time.Time) {
	for leaf := range g.ledger.members {
		m := &g.ledger.members[leaf]
		if m.removed || m.expires == 0 || m.expires > now.Unix() {
			delete(g.overdue, leaf)
			continue
		}
		if _, seen := g.overdue[leaf]; !seen {
			g.overdue[leaf] = time.Now()
		}
	}
}

// look is a look at whose evidence has run out, between roots.
func (g *Group) look(now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.overdueLocked(now)
}

// leastLeaving is how many may go in one round however small the group is.
const leastLeaving = 20

// expire writes down who goes because their evidence has run out: those found
// so twice, a while apart. No more than a tenth of the group goes in one round:
// nobody comes back, and a clock that stays ahead would empty the group before
// its operator has read a warning.
func (g *Group) expire(ctx context.Context, now time.Time) error {
	g.overdueLocked(now)
	most, gone := max(leastLeaving, len(g.ledger.members)/10), 0
	for _, leaf := range slices.Sorted(maps.Keys(g.overdue)) {
		if time.Since(g.overdue[leaf]) < g.lookEvery() {
			continue
		}
		if gone == most {
			g.cfg.Logger.Warn("the evidence of many members has run out at once; the others stay until the next root: is the clock right?",
				"group", g.address.D, "removed", gone, "clock", now.UTC().Format(time.RFC3339))
			return nil
		}
		if err := g.ledger.remove(ctx, leaf, "expired"); err != nil {
			return err
		}
		gone++
		delete(g.overdue, leaf)
	}
	return nil
}

// lookEvery is between two looks at the clock.
func (g *Group) lookEvery() time.Duration { return min(g.cfg.Batch, time.Minute) }

// grown is the tree as the first n lines have it. It is made anew, for the
// published one is read by others; but from its leaves, so only what is new is
// hashed twice.
func (g *Group) grown(n int) (*personhood.Members, error) {
	tree := g.tree.Clone()
	var fresh []semaphore.Element
	flush := func() error {
		err := tree.AddAll(fresh)
		fresh = fresh[:0]
		return err
	}
	for _, o := range g.ledger.ops[g.base:n] {
		if !o.remove {
			fresh = append(fresh, g.ledger.members[o.leaf].commitment)
			continue
		}
		if err := flush(); err != nil {
			return nil, err
		}
		if err := tree.RemoveAt(o.leaf); err != nil {
			return nil, err
		}
	}
	return tree, flush()
}

// announce publishes the group's own event where it is not the one held.
func (g *Group) announce(ctx context.Context) error {
	s := g.current
	s.Class, s.URLs = g.cfg.Source.Class(), nil
	if g.cfg.Files != "" {
		s.URLs = []string{g.cfg.Files + hex.EncodeToString(s.Members[:])}
	}
	want, _ := s.Events()
	sum := sha256.Sum256([]byte(g.ledger.lines[g.base-1]))
	want.Tags = append(want.Tags, nostr.Tag{tagLog, strconv.Itoa(g.base), hex.EncodeToString(sum[:])})
	filter := nostr.Filter{Kinds: []int{personhood.KindGroup}, Authors: []string{g.address.Key}, Tags: nostr.TagMap{"d": {g.address.D}}, Limit: 1}
	for held, err := range g.cfg.Events.Query(ctx, filter) {
		if err != nil {
			return fmt.Errorf("look for the event of %s: %w", g.address, err)
		}
		if slices.EqualFunc(held.Tags, want.Tags, func(a, b nostr.Tag) bool { return slices.Equal(a, b) }) {
			return nil
		}
		want.CreatedAt = max(want.CreatedAt, held.CreatedAt+1)
	}
	return g.send(ctx, &want)
}

func (g *Group) send(ctx context.Context, ev *nostr.Event) error {
	if err := ev.Sign(g.cfg.Secret); err != nil {
		return fmt.Errorf("sign for %s: %w", g.address, err)
	}
	if err := g.cfg.Publish(ctx, ev); err != nil {
		return fmt.Errorf("publish kind %d of %s: %w", ev.Kind, g.address, err)
	}
	return nil
}

// keep holds a members file ready; the caller holds mu.
func (g *Group) keep(name [32]byte, file []byte) {
	for old := range g.files {
		if len(g.files) < keptFiles {
			break
		}
		if old != g.current.Members {
			delete(g.files, old)
		}
	}
	g.files[name] = file
}

// File is a members file that was published, by its SHA-256.
func (g *Group) File(name [32]byte) ([]byte, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if file, ok := g.files[name]; ok {
		return file, true
	}
	n, ok := g.stands[name]
	if !ok {
		return nil, false
	}
	var file []byte
	for _, leaf := range g.ledger.leavesAt(n) {
		b := leaf.Bytes()
		file = append(file, b[:]...)
	}
	if sha256.Sum256(file) != name {
		panic(fmt.Sprintf("group %s: the log no longer gives the members file %x", g.address, name)) // our own corruption
	}
	g.keep(name, file)
	return file, true
}

// State is a group as everybody may see it.
type State struct {
	Group   string `json:"group"` // its address
	D       string `json:"d"`
	Source  string `json:"source,omitempty"` // of groups kept here
	Class   string `json:"class"`
	Depth   int    `json:"depth"`
	Root    string `json:"root,omitempty"` // of the last one published; none yet: empty
	Seq     int    `json:"seq"`
	Size    int    `json:"size"`   // leaves, removed ones included
	People  int    `json:"people"` // the crowd one hides in
	Members string `json:"members,omitempty"`
	URL     string `json:"url,omitempty"`
	Lines   int    `json:"log_lines"`
	Last    string `json:"log_hash,omitempty"`
	Batch   int    `json:"batch_seconds"`

	About map[string]string `json:"about,omitempty"` // what the source asks for
}

// State is the group as it was last published.
func (g *Group) State() State {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := State{
		Group: g.address.String(), D: g.address.D, Source: g.cfg.Source.ID(), Class: g.cfg.Source.Class(),
		Depth: semaphore.ProverDepth, About: g.cfg.About, Batch: int(g.cfg.Batch.Seconds()),
	}
	if g.base == 0 {
		return s
	}
	sum := sha256.Sum256([]byte(g.ledger.lines[g.base-1]))
	s.Root, s.Seq, s.Size, s.People = semaphore.Hex(g.current.Root), g.current.Seq, g.current.Size, g.tree.People()
	s.Members = hex.EncodeToString(g.current.Members[:])
	s.Lines, s.Last = g.base, hex.EncodeToString(sum[:])
	if g.cfg.Files != "" {
		s.URL = g.cfg.Files + s.Members
	}
	return s
}

// Log are the published lines after a number. They are shared by all readers,
// for there may be a hundred thousand, and must not be changed.
func (g *Group) Log(after int) []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.ledger.lines[min(max(after, 0), g.base):g.base:g.base]
}

// Nodes are personhood.Members.Nodes of the members file of this name, while
// it is the last one published.
func (g *Group) Nodes(name [32]byte) ([]byte, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.base == 0 || g.current.Members != name {
		return nil, false
	}
	return g.tree.Nodes(), true
}
