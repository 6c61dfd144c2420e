package host

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"agora/personhood"
	"agora/personhood/enrol"
	"agora/personhood/semaphore"

	"github.com/nbd-wtf/go-nostr"
)

// tagLog of a root's events: how many lines of the log it stands on, and the
// SHA-256 of the last.
const tagLog = "log"

// Config says what a group is and whom it asks. All fields are needed but
// those with a default.
type Config struct {
	D       string // the group's name, the d tag
	Secret  string // hex; signs the group's events, and its first invitations
	Source  enrol.Source
	About   map[string]string // what the source asks for, for whoever makes evidence
	Batch   time.Duration     // between roots; default 1 h
	Files   string            // URL before a members file's SHA-256
	Shelf   Shelf
	Events  personhood.Events
	Checker personhood.Checker
	Publish func(ctx context.Context, ev *nostr.Event) error // durable when it returns
	Logger  *slog.Logger
}

// Group is one group that is kept here.
type Group struct {
	cfg     Config
	address personhood.Address
	now     chan struct{} // 1; somebody wants the next root at once; when full, it is on its way

	mu      sync.Mutex // guards what follows
	ledger  *ledger
	tree    *personhood.Members // as published
	current personhood.Snapshot
	base    int                 // lines that current stands on
	stands  map[[32]byte]int    // members files ever published -> their lines
	files   map[[32]byte][]byte // some of them, at most keptFiles
	due     time.Time           // of the next root
	overdue map[int]time.Time   // leaves whose evidence has run out -> when that was first seen
}

const (
	defaultBatch = time.Hour
	keptFiles    = 4
)

// Open reads what is kept of a group. It publishes nothing before Run.
func Open(ctx context.Context, cfg Config) (*Group, error) {
	if cfg.Source == nil || cfg.Shelf == nil || cfg.Events == nil || cfg.Checker == nil || cfg.Publish == nil {
		return nil, errors.New("host: a group needs a source, a shelf, events, a checker and a way to publish")
	}
	if !enrol.IsPeople(cfg.Source.Class()) {
		return nil, fmt.Errorf("host: class %q is a weight: its members are not counted as people", cfg.Source.Class())
	}
	if cfg.Batch == 0 {
		cfg.Batch = defaultBatch
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	pub, err := nostr.GetPublicKey(cfg.Secret)
	if err != nil {
		return nil, fmt.Errorf("host: the key of group %s: %w", cfg.D, err)
	}
	g := &Group{
		cfg: cfg, now: make(chan struct{}, 1), // wishes; when full, one is on its way
		stands: map[[32]byte]int{}, files: map[[32]byte][]byte{}, overdue: map[int]time.Time{},
	}
	if g.address, err = personhood.ParseAddress(personhood.Address{Key: pub, D: cfg.D}.String()); err != nil {
		return nil, fmt.Errorf("host: %w", err)
	}
	if g.ledger, err = openLedger(cfg.Shelf, cfg.D); err != nil {
		return nil, err
	}
	return g, g.resume(ctx)
}

// Address is the group's.
func (g *Group) Address() personhood.Address { return g.address }

// resume finds out what was published last, and holds the log to it.
func (g *Group) resume(ctx context.Context) error {
	filter := nostr.Filter{
		Kinds: []int{personhood.KindRootLog}, Authors: []string{g.address.Key},
		Tags: nostr.TagMap{"a": {g.address.String()}},
	}
	for ev, err := range g.cfg.Events.Query(ctx, filter) {
		if err != nil {
			return fmt.Errorf("read the root log of %s: %w", g.address, err)
		}
		s, err := personhood.ParseSnapshot(ev)
		if err != nil {
			return fmt.Errorf("our own root log of %s: %w", g.address, err)
		}
		n, err := standsOn(ev)
		if err != nil || n > len(g.ledger.lines) || n == 0 || !g.endsIn(ev, n) {
			return fmt.Errorf("group %s: root %d was published over a log that is not the one kept here (was an older backup restored?)", g.address, s.Seq)
		}
		g.stands[s.Members] = n
		if s.Seq > g.current.Seq {
			g.current, g.base = s, n
		}
	}
	tree, err := personhood.NewMembers(g.ledger.leavesAt(g.base))
	if err != nil {
		return err
	}
	if g.base > 0 && tree.Tree().Root() != g.current.Root {
		return fmt.Errorf("group %s: the log gives another root than the one published", g.address)
	}
	g.tree, g.current.Group = tree, g.address
	return nil
}

func standsOn(ev *nostr.Event) (int, error) {
	tag := ev.Tags.Find(tagLog)
	if len(tag) < 3 {
		return 0, errors.New("no log tag")
	}
	return strconv.Atoi(tag[1])
}

func (g *Group) endsIn(ev *nostr.Event, n int) bool {
	sum := sha256.Sum256([]byte(g.ledger.lines[n-1]))
	return ev.Tags.Find(tagLog)[2] == hex.EncodeToString(sum[:])
}

// Quota implements enrol.Inviters.
func (g *Group) Quota(key [32]byte) (int, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	leaf, ok := g.ledger.keys[key]
	if !ok || g.ledger.members[leaf].removed {
		return 0, false
	}
	return g.ledger.members[leaf].quota, true
}

// Joined is the answer to who has become a member.
type Joined struct {
	Group   string `json:"group"`
	Leaf    int    `json:"leaf"`
	Already bool   `json:"already,omitempty"` // the same evidence was brought before
	Root    int64  `json:"root_at"`           // when the next root is published, at the latest; Unix seconds
	Quota   int    `json:"quota"`             // invitations that the member may give
}

// Taken says that evidence or a commitment has been used before.
type Taken struct{ Reason string }

func (e *Taken) Error() string { return e.Reason }

// Join lets a person in. An *enrol.Refused or a *Taken is a no; who is
// answerable for false proofs.
func (g *Group) Join(ctx context.Context, who string, j personhood.Joining, text string) (Joined, error) {
	a, err := g.cfg.Source.Verify(ctx, enrol.Evidence{Group: g.address, Commitment: j.Commitment, Text: text})
	if err != nil {
		return Joined{}, err
	}
	if a.Commitment != j.Commitment {
		return Joined{}, &enrol.Refused{Reason: "the evidence is for another commitment"}
	}
	if out, done, err := g.known(a); done || err != nil {
		return out, err
	}
	j.Group = g.address
	if !j.Held([]byte(text)) {
		return Joined{}, &enrol.Refused{Reason: "possession is not signed by the identity of this commitment, for this group and evidence"}
	}
	err = g.cfg.Checker.Verify(ctx, who, semaphore.Item{Statement: j.Statement([]byte(text)), Proof: j.Proof})
	if errors.Is(err, semaphore.ErrProof) || errors.Is(err, semaphore.ErrDepth) {
		return Joined{}, &enrol.Refused{Reason: "the proof does not verify: not this identity, group or evidence"}
	}
	if err != nil {
		return Joined{}, fmt.Errorf("check the proof: %w", err)
	}
	return g.enter(ctx, a, text)
}

// known answers for those who are in already, and refuses what is taken.
func (g *Group) known(a enrol.Admission) (out Joined, done bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.knownLocked(a)
}

func (g *Group) knownLocked(a enrol.Admission) (out Joined, done bool, err error) {
	if leaf, ok := g.ledger.spent[a.Unique]; ok {
		m := &g.ledger.members[leaf]
		if m.commitment != a.Commitment {
			return out, false, &Taken{"this evidence has already let somebody in"}
		}
		if m.removed {
			return out, false, &Taken{"this member was removed"}
		}
		return g.joined(leaf, true), true, nil
	}
	if _, ok := g.ledger.leaves[a.Commitment]; ok {
		return out, false, &Taken{"this commitment is, or was, a member already: make another identity"}
	}
	if a.Inviter != nil && a.Inviter.Key != ([32]byte{}) {
		if _, ok := g.ledger.keys[a.Inviter.Key]; ok || a.Inviter.Key == a.Inviter.By {
			return out, false, &Taken{"this key for inviting others is another member's"}
		}
	}
	if len(g.ledger.members) >= personhood.MaxMembers {
		return out, false, &Taken{"the group is full"}
	}
	return out, false, nil
}

// enter writes the admission down, unless somebody was faster.
func (g *Group) enter(ctx context.Context, a enrol.Admission, text string) (Joined, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if out, done, err := g.knownLocked(a); done || err != nil {
		return out, err
	}
	if a.Inviter != nil && g.orphaned(a.Inviter.By) {
		return Joined{}, &enrol.Refused{Reason: "the inviter is not a member of this group, or no longer"}
	}
	// The write must not be given up half-way: what is on disk must be known here.
	if err := g.ledger.enrol(context.WithoutCancel(ctx), a, text); err != nil {
		return Joined{}, err
	}
	if g.due.IsZero() {
		g.due = time.Now().Add(g.cfg.Batch)
	}
	return g.joined(len(g.ledger.members)-1, false), nil
}

// orphaned reports whether a key that invited is a removed member's.
func (g *Group) orphaned(by [32]byte) bool {
	leaf, ok := g.ledger.keys[by]
	return ok && g.ledger.members[leaf].removed
}

func (g *Group) joined(leaf int, already bool) Joined {
	at := g.due
	if at.IsZero() {
		at = time.Now()
	}
	return Joined{Group: g.address.String(), Leaf: leaf, Already: already, Root: at.Unix(), Quota: g.ledger.members[leaf].quota}
}

// Remove takes a member out, and with subtree all whom they brought in. It
// says how many went.
func (g *Group) Remove(ctx context.Context, commitment semaphore.Element, subtree bool, why string) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	leaf, ok := g.ledger.leaves[commitment]
	if !ok {
		return 0, &enrol.Refused{Reason: "no such member"}
	}
	gone := []int{leaf}
	if subtree {
		gone = append(gone, g.ledger.below(leaf)...)
	}
	n := 0
	for _, leaf := range gone {
		if g.ledger.members[leaf].removed {
			continue
		}
		if err := g.ledger.remove(context.WithoutCancel(ctx), leaf, why); err != nil {
			return n, err
		}
		n++
	}
	if g.due.IsZero() {
		g.due = time.Now().Add(g.cfg.Batch)
	}
	return n, nil
}
