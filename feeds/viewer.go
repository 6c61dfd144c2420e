package feeds

import (
	lru "container/list"
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"agora/feeds/tally"
	"agora/ranker/feature"

	"github.com/nbd-wtf/go-nostr"
)

const (
	mostHistory = 500                 // things a viewer did that are looked at
	historyDays = 90                  // and for how long
	nearNotes   = 14 * 24 * time.Hour // age of notes that are looked through for what others did
	nearFresh   = 3 * time.Minute     // between two such looks for one viewer
	mostNear    = 1000                // notes that one viewer's surroundings bring at most
)

// viewer is one reader as the pages see them. It is made at one moment and
// then replaced; only its caches grow.
type viewer struct {
	hex     string // empty: nobody in particular
	key     tally.Key
	view    View
	born    time.Time
	person  feature.Person
	follows map[tally.Key]bool
	dealt   map[tally.Key]*dealings // what passed between viewer and author
	history []deed
	near    near

	tables *atomic.Uint64 // counts tables of trust, of all viewers
	trust  atomic.Pointer[trusts]
	mu     sync.Mutex // guards what follows
	pairs  map[tally.Key]*pair
}

// pair is what stands between the viewer and an author; it is never changed.
type pair struct {
	feature.Pair
	muted bool
}

// deed is one thing that the viewer did.
type deed struct {
	note   tally.Key
	author tally.Key
	action feature.Action
	at     int64
}

// dealings are the decayed counts of what passed between two keys.
type dealings struct {
	likes, replies, reposts, zaps, inbound [feature.Spans]float32
	likesOf                                uint32
	last                                   int64
}

func decayed(into *[feature.Spans]float32, age int64) {
	for span, days := range [feature.Spans]float64{7, 30, 90} {
		into[span] += float32(math.Exp2(-float64(max(age, 0)) / (days * 86400)))
	}
}

// trusts is the viewer's trust by place of the tally, filled as it is asked
// for, and whom the viewer follows: see tally.Lens.
type trusts struct {
	number  uint64 // its own
	reused  uint64
	cells   []uint32
	follows []uint64 // a bit for each place
}

func (v *viewer) newTrusts(r *tally.Reader) *trusts {
	size, reused := r.Places()
	t := &trusts{number: v.tables.Add(1), reused: reused, cells: make([]uint32, size+size/8+64), follows: make([]uint64, size/64+1)}
	for i := range t.cells {
		t.cells[i] = tally.UnknownTrust
	}
	for k := range v.follows {
		if at := r.Place(k); at != tally.NoPlace {
			t.follows[at/64] |= 1 << (at % 64)
		}
	}
	t.follows = t.follows[:size/64] // the last word is not whole: a key may come that is followed
	return t
}

// table is the viewer's, as long as the places in it are those of the tally.
func (v *viewer) table(r *tally.Reader) *trusts {
	size, reused := r.Places()
	table := v.trust.Load()
	if table == nil || table.reused != reused || len(table.cells) < size {
		table = v.newTrusts(r)
		v.trust.Store(table)
	}
	return table
}

// lens is how the tally looks through the viewer's eyes.
func (v *viewer) lens(r *tally.Reader) *tally.Lens { return v.through(r, v.table(r)) }

func (v *viewer) through(r *tally.Reader, table *trusts) *tally.Lens {
	return &tally.Lens{
		Self: r.Place(v.key), Known: table.cells, Followed: table.follows,
		AskFollows: func(place uint32) bool { return v.follows[r.Key(place)] },
		AskTrust:   func(place uint32) float32 { return v.view.Trust(hexKey(r.Key(place))) },
	}
}

// toward is what stands between the viewer and each of some authors.
func (v *viewer) toward(authors []tally.Key, into []*pair) {
	v.mu.Lock()
	for i := range authors {
		into[i] = v.pairs[authors[i]]
	}
	v.mu.Unlock()
	for i, p := range into {
		if p == nil {
			into[i] = v.meets(authors[i])
		}
	}
}

// meets is the pair with an author, made unless another note has done so.
func (v *viewer) meets(author tally.Key) *pair {
	v.mu.Lock()
	known := v.pairs[author]
	v.mu.Unlock()
	if known != nil {
		return known
	}
	s := v.view.Toward(hexKey(author))
	p := &pair{muted: s.Muted && author != v.key}
	p.Trust, p.Hops, p.Follows, p.FollowedBy = s.Trust, uint8(min(s.Hops, 255)), s.Follows, s.FollowedBy
	p.CommonFollows = uint32(s.Common)
	if s.Either > 0 {
		p.CommonShare = float32(s.Common) / float32(s.Either)
	}
	if d := v.dealt[author]; d != nil {
		p.LikesOf, p.Likes, p.Replies, p.Reposts, p.Zaps, p.Inbound, p.LastAt = d.likesOf, d.likes, d.replies, d.reposts, d.zaps, d.inbound, d.last
	}
	if x := v.near.interest[author]; x > 0 {
		p.Interest = x / (1 + x)
	}
	v.mu.Lock()
	v.pairs[author] = p
	v.mu.Unlock()
	return p
}

// meet makes a viewer as of now. It costs what the graph needs for a personal
// ranking, one query for the viewer's own acts and, unless old has done so
// lately, one look over the notes.
func (f *Feeds) meet(ctx context.Context, hex string, now int64, old *viewer) (*viewer, error) {
	v := &viewer{
		hex: hex, view: f.cfg.Graph.From(hex), born: time.Now(), tables: &f.tables,
		follows: map[tally.Key]bool{}, dealt: map[tally.Key]*dealings{}, pairs: map[tally.Key]*pair{},
	}
	if hex == "" {
		return v, nil
	}
	v.key, _ = key(hex)
	for pubkey := range f.cfg.Graph.Follows(hex) {
		if k, ok := key(pubkey); ok && k != v.key {
			v.follows[k] = true
		}
	}
	known := v.view.About(hex)
	v.person = feature.Person{Known: true, Key: feature.Hash(hex), Follows: uint32(len(v.follows)), Followers: uint32(known.Followers)}
	if err := f.recall(ctx, v, now); err != nil {
		return nil, err
	}
	f.cfg.Tally.Read(now, func(r *tally.Reader) {
		v.inbound(r, now)
		if old != nil && now >= old.near.looked && now-old.near.looked < int64(nearFresh.Seconds()) {
			v.near = old.near
		} else {
			v.near = f.surroundings(r, v, now)
		}
	})
	v.history = append(v.history, v.near.zaps...)
	v.settleHistory(f, now)
	return v, nil
}

// recall reads what the viewer did.
func (f *Feeds) recall(ctx context.Context, v *viewer, now int64) error {
	since, until := nostr.Timestamp(now-historyDays*86400), nostr.Timestamp(now)
	q := nostr.Filter{Authors: []string{v.hex}, Kinds: []int{1, 6, 7, 16, 1111}, Since: &since, Until: &until, Limit: mostHistory}
	for ev, err := range f.cfg.Events.Query(ctx, q) {
		if err != nil {
			return fmt.Errorf("read what %s did: %w", v.hex, err)
		}
		v.history = append(v.history, deedsOf(ev)...)
	}
	return nil
}

// deedsOf is what one event of a viewer did, by its tags.
func deedsOf(ev *nostr.Event) (out []deed) {
	d, quoted := deed{at: int64(ev.CreatedAt)}, tally.Key{}
	for _, tag := range ev.Tags {
		if len(tag) < 2 {
			continue
		}
		switch k, ok := key(tag[1]); {
		case !ok:
		case tag[0] == "e" && (len(tag) < 4 || tag[3] != "mention"):
			d.note = k
		case tag[0] == "q":
			quoted = k
		case tag[0] == "p":
			d.author = k
		}
	}
	if d.note == (tally.Key{}) && quoted != (tally.Key{}) && ev.Kind == 1 {
		d.note, d.action = quoted, feature.Quote
		return []deed{d}
	}
	switch {
	case ev.Kind == 7 && (ev.Content == "+" || ev.Content == ""):
		d.action = feature.Like
	case ev.Kind == 7 && ev.Content == "-":
		d.action = feature.Dislike
	case ev.Kind == 7:
		d.action = feature.Emoji
	case ev.Kind == 6 || ev.Kind == 16:
		d.action = feature.Repost
	default:
		d.action = feature.Reply
	}
	if d.note == (tally.Key{}) {
		return nil
	}
	return []deed{d}
}

// dealing is the account between the viewer and an author.
func (v *viewer) dealing(author tally.Key) *dealings {
	d := v.dealt[author]
	if d == nil {
		d = &dealings{}
		v.dealt[author] = d
	}
	return d
}

// inbound is what others did with the viewer's notes.
func (v *viewer) inbound(r *tally.Reader, now int64) {
	self := r.Place(v.key)
	if self == tally.NoPlace {
		return
	}
	v.person.FirstSeen = r.Author(self).FirstSeen
	r.By(self, func(n tally.Note) bool {
		r.Acts(n, func(actor uint32, action tally.Action, at int64) bool {
			if action != tally.Dislike && action != tally.Report {
				decayed(&v.dealing(r.Key(actor)).inbound, now-at)
			}
			return true
		})
		return true
	})
	// Whom the viewer answered stands in the answers; the author whom a tag
	// names may be another's.
	for i := range v.history {
		if n, ok := r.Find(v.history[i].note); ok {
			v.history[i].author = r.Key(n.Author)
		}
	}
}

// settleHistory counts what the viewer did, per author and as history.
func (v *viewer) settleHistory(f *Feeds, now int64) {
	slices.SortStableFunc(v.history, func(a, b deed) int { return int(b.at - a.at) })
	for _, d := range v.history {
		age := now - d.at
		rate := float32(math.Exp(-float64(age)/(7*86400)) / 7)
		switch d.action {
		case feature.Like, feature.Emoji:
			v.person.LikesPerDay += rate
		case feature.Reply:
			v.person.RepliesPerDay += rate
		}
		if d.author == v.key || d.author == (tally.Key{}) {
			continue
		}
		v.count(d, age)
		v.person.History = append(v.person.History, feature.Past{
			Note: hashOf(d.note), Author: hashOf(d.author), At: d.at, Action: d.action,
		})
	}
	if len(v.person.History) > feature.MaxHistory {
		v.person.History = v.person.History[:feature.MaxHistory]
	}
	v.readLiked(f)
}

// count puts one deed into the account with its author.
func (v *viewer) count(d deed, age int64) {
	with := v.dealing(d.author)
	switch d.action {
	case feature.Like, feature.Emoji:
		decayed(&with.likes, age)
		with.likesOf++
	case feature.Reply:
		decayed(&with.replies, age)
	case feature.Repost, feature.Quote:
		decayed(&with.reposts, age)
	case feature.Zap:
		decayed(&with.zaps, age)
	default:
		return
	}
	with.last = max(with.last, d.at)
}

func hashOf(k tally.Key) int64 { return feature.Hash(hexKey(k)) }

// readLiked takes writing systems and text vectors from the notes that the
// viewer acted on, as far as they are kept.
func (v *viewer) readLiked(f *Feeds) {
	ids := make([]tally.Key, len(v.history))
	for i, d := range v.history {
		ids[i] = d.note
	}
	notes := make([]*note, len(ids))
	f.notes.find(ids, notes)
	vectors := make(map[int64][]float32, len(notes))
	total := float32(0)
	for i, n := range notes {
		if n == nil {
			continue
		}
		vectors[n.ID] = n.Vector
		if v.history[i].action == feature.Like {
			v.person.Scripts[n.Script]++
			total++
		}
	}
	for i := range v.person.Scripts {
		v.person.Scripts[i] /= max(total, 1)
	}
	for i := range v.person.History {
		v.person.History[i].Vector = vectors[v.person.History[i].Note]
	}
}

// viewerCache keeps viewers warm: one that has grown old is shown once more
// while a new one is made.
type viewerCache struct {
	most  int
	again chan string // hex keys to be met anew; 256; when full: the old one stays

	mu    sync.Mutex // guards what follows
	by    map[string]*lru.Element
	order *lru.List // of *viewer, most recently used first
	asked map[string]bool
	busy  map[string]chan struct{} // being met for the first time
}

func newViewerCache(most int) *viewerCache {
	return &viewerCache{
		most: most, by: map[string]*lru.Element{}, order: lru.New(), asked: map[string]bool{}, busy: map[string]chan struct{}{},
		again: make(chan string, 256), // hex keys; when full: the old viewer stays for now
	}
}

// restFor is how many times as long as a meeting took the next one is put off:
// whoever waits is shown as before, and whoever publishes meanwhile is not
// slowed down.
const restFor = 2

// run meets viewers anew, one at a time and a third of the time at most.
func (c *viewerCache) run(ctx context.Context, f *Feeds) error {
	rest := time.NewTimer(0)
	defer rest.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-rest.C:
		}
		select {
		case <-ctx.Done():
			return nil
		case hex := <-c.again:
			began := time.Now()
			if err := c.renew(ctx, f, hex); err != nil && ctx.Err() == nil {
				f.cfg.Logger.Error("a viewer could not be met anew", "reason", err)
			}
			rest.Reset(restFor * time.Since(began))
		}
	}
}

// renew puts a viewer as of now in the old one's stead.
func (c *viewerCache) renew(ctx context.Context, f *Feeds, hex string) error {
	c.mu.Lock()
	var old *viewer
	if el, ok := c.by[hex]; ok {
		old = el.Value.(*viewer)
	}
	c.mu.Unlock()
	v, err := f.meet(ctx, hex, time.Now().Unix(), old)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.asked, hex)
	if err == nil {
		c.put(v)
	}
	return err
}

func (c *viewerCache) put(v *viewer) {
	if el, ok := c.by[v.hex]; ok {
		el.Value = v
		c.order.MoveToFront(el)
		return
	}
	c.by[v.hex] = c.order.PushFront(v)
	for c.order.Len() > c.most {
		delete(c.by, c.order.Remove(c.order.Back()).(*viewer).hex)
	}
}

// of is a viewer, made when there is none. Whoever comes while one is being
// made waits for it.
func (f *Feeds) of(ctx context.Context, hex string) (*viewer, error) {
	c := f.viewers
	for {
		c.mu.Lock()
		if el, ok := c.by[hex]; ok {
			v := el.Value.(*viewer)
			c.order.MoveToFront(el)
			if time.Since(v.born) > f.cfg.ViewerFresh && !c.asked[hex] {
				select {
				case c.again <- hex:
					c.asked[hex] = true
				default:
				}
			}
			c.mu.Unlock()
			return v, nil
		}
		done, busy := c.busy[hex]
		if !busy {
			done = make(chan struct{}) // closed when the viewer is met; nothing is sent
			c.busy[hex] = done
		}
		c.mu.Unlock()
		if !busy {
			return f.first(ctx, hex, done)
		}
		select {
		case <-done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (f *Feeds) first(ctx context.Context, hex string, done chan struct{}) (*viewer, error) {
	v, err := f.meet(ctx, hex, time.Now().Unix(), nil)
	c := f.viewers
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.busy, hex)
	close(done)
	if err == nil {
		c.put(v)
	}
	return v, err
}
