package personhood

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"agora/personhood/poll"
	"agora/personhood/semaphore"
	"agora/relay/admit"

	"github.com/nbd-wtf/go-nostr"
)

// MostRevotes is how often a person may change a ballot.
const MostRevotes = poll.MostRevotes

// defaultWindow is how far a ballot's created_at may be from now on a socket,
// either way.
const defaultWindow = 15 * time.Minute

// LabelNamespace marks stored events that count a person; the label's value is
// the group's address.
const LabelNamespace = "agora.person"

// Checker checks one proof; *Batcher does. nil, semaphore.ErrProof or
// semaphore.ErrDepth are verdicts, any other error means it could not tell.
type Checker interface {
	Verify(ctx context.Context, who string, item semaphore.Item) error
}

// Spent knows which claims are taken; the store does. It only spares the work
// of a proof: the claim itself decides, in the event's own commit.
type Spent interface {
	Claimed(key []byte) (bool, error)
}

// Config says what the gate asks for. Zero fields mean the defaults.
type Config struct {
	Groups  []string      // addresses of groups whose members count as people outside polls
	Require []int         // kinds of events that need a person; default none
	Grace   time.Duration // how long a root counts after the next one was published; default 1 h, at most 24 h
	Window  time.Duration // how far from now a ballot on a socket may be dated, either way; default 15 min
	Host    string        // hex key that closes polls which name no host; "" is nobody

	Events  Events
	Checker Checker
	Spent   Spent // may be nil
}

// Gate rules on events that claim to count a person. *Gate is an admit.Gate.
type Gate struct {
	cfg    Config
	groups []Address
	roots  roots
	closed closed
}

// NewGate checks the settings; it starts nothing.
func NewGate(cfg Config) (*Gate, error) {
	if cfg.Events == nil || cfg.Checker == nil {
		return nil, errors.New("personhood: the gate needs events and a checker of proofs")
	}
	if cfg.Grace == 0 {
		cfg.Grace = defaultGrace
	}
	if cfg.Window == 0 {
		cfg.Window = defaultWindow
	}
	if cfg.Window < 0 {
		return nil, fmt.Errorf("personhood: window of %s for ballots is negative", cfg.Window)
	}
	if cfg.Grace < 0 || cfg.Grace > mostGrace {
		return nil, fmt.Errorf("personhood: grace of %s is not between 0 and %s", cfg.Grace, mostGrace)
	}
	g := &Gate{cfg: cfg, roots: roots{events: cfg.Events}}
	for _, s := range cfg.Groups {
		a, err := ParseAddress(s)
		if err != nil {
			return nil, fmt.Errorf("personhood: %q: %w", s, err)
		}
		g.groups = append(g.groups, a)
	}
	return g, nil
}

// Forget makes the gate read a group's root log again: whoever publishes a root
// calls it, so that the root counts at once.
func (g *Gate) Forget(group Address) { g.roots.forget(group) }

// Published reports with nil that a group has published a root which counts
// now; an *Invalid says why it does not.
func (g *Gate) Published(ctx context.Context, group Address, root semaphore.Element) error {
	return g.published(ctx, group, root, time.Now())
}

// Rule implements admit.Gate: what the event says first, then its nullifier,
// its root, and last the proof, which costs a thousand times the rest.
func (g *Gate) Rule(ctx context.Context, ev *nostr.Event, from admit.Peer) (admit.Ruling, error) {
	if !Has(ev) {
		return g.plain(ctx, ev, from)
	}
	ruling, err := g.weigh(ctx, ev, from)
	if text, no := reasonOf(err); no {
		return admit.Refuse(admit.Invalid, text), nil
	}
	return ruling, err
}

// plain rules on an event that counts a key.
func (g *Gate) plain(ctx context.Context, ev *nostr.Event, from admit.Peer) (admit.Ruling, error) {
	if slices.Contains(g.cfg.Require, ev.Kind) && from.Origin != admit.Own {
		return admit.Refuse(admit.Restricted, fmt.Sprintf("events of kind %d need a proof of personhood here", ev.Kind)), nil
	}
	var err error
	switch ev.Kind {
	case KindGroup, KindRootLog:
		_, err = ParseSnapshot(ev)
	case poll.KindClose:
		err = poll.CheckPart(ev)
	case poll.KindCertificate:
		_, err = poll.ParseCertificate(ev)
	case nostr.KindDeletion:
		return g.deletion(ctx, ev)
	}
	if text, no := reasonOf(err); no {
		return admit.Refuse(admit.Invalid, text), nil
	}
	return admit.Ruling{}, err
}

// weigh rules on an event with a pop tag. An *Invalid is a no.
func (g *Gate) weigh(ctx context.Context, ev *nostr.Event, from admit.Peer) (admit.Ruling, error) {
	if ev.Kind == KindPoll {
		return admit.Ruling{}, g.question(ctx, ev)
	}
	deed, err := DeedOf(ev)
	if err != nil {
		return admit.Ruling{}, err
	}
	if deed.Action == Post {
		if err := g.post(ev, from); err != nil {
			return admit.Ruling{}, err
		}
	}
	h, err := parseHeader(ev)
	if err != nil {
		return admit.Ruling{}, err
	}
	scope := deed.Scope()
	claim := admit.Claim{Key: ClaimKey(scope, h.pop.Nullifier), Rule: admit.First}
	if deed.Action == Vote {
		claim.Rule, claim.Most = admit.Newest, MostRevotes
	}
	if no, err := g.spent(claim, deed); no.Refusal != nil || err != nil {
		return no, err
	}
	if err := g.root(ctx, ev, &h.pop, deed, from); err != nil {
		return admit.Ruling{}, err
	}
	pop, err := h.open()
	if err != nil {
		return admit.Ruling{}, err
	}
	item := semaphore.Item{Proof: pop.Proof, Statement: semaphore.Statement{
		Depth: semaphore.ProverDepth, Root: pop.Root, Nullifier: pop.Nullifier, Message: Message(ev), Scope: scope,
	}}
	err = g.cfg.Checker.Verify(ctx, answerable(from), item)
	if errors.Is(err, semaphore.ErrProof) || errors.Is(err, semaphore.ErrDepth) {
		return admit.Ruling{}, invalid("proof does not verify: not this member, target, content, key or time")
	}
	if err != nil {
		return admit.Ruling{}, fmt.Errorf("check the proof: %w", err)
	}
	return admit.Ruling{
		Claims: []admit.Claim{claim},
		Labels: []admit.Label{{Namespace: LabelNamespace, Value: pop.Group.String()}},
	}, nil
}

// post holds a post to the kinds that need a person here, and to today: the
// slots of all the days before would be without number.
func (g *Gate) post(ev *nostr.Event, from admit.Peer) error {
	if !slices.Contains(g.cfg.Require, ev.Kind) {
		return invalid("is not for events of kind %d here", ev.Kind)
	}
	if off := time.Since(ev.CreatedAt.Time()); prompt(from) && off.Abs() > postWindow {
		return invalid("post is dated %s away from now, more than %s", off.Abs().Round(time.Second), postWindow)
	}
	return nil
}

// prompt reports whether an event comes at its author's wish, who may date it as
// they like: from a socket, or brought from a relay that they name.
func prompt(from admit.Peer) bool { return from.Origin == admit.Socket || from.Origin == admit.Bring }

// postWindow is how far a post's created_at may be from now on a socket.
const postWindow = 15 * time.Minute

// spent refuses early what the store would refuse in its commit.
func (g *Gate) spent(claim admit.Claim, deed Deed) (admit.Ruling, error) {
	if claim.Rule != admit.First || g.cfg.Spent == nil {
		return admit.Ruling{}, nil
	}
	taken, err := g.cfg.Spent.Claimed(claim.Key)
	if err != nil {
		return admit.Ruling{}, fmt.Errorf("look for the nullifier: %w", err)
	}
	if !taken {
		return admit.Ruling{}, nil
	}
	did := map[Action]string{Boost: "reacted to this note", Report: "reported this", Review: "reviewed this", Post: "used this slot of the day"}
	return admit.Refuse(admit.Duplicate, "not counted, this person has already "+did[deed.Action]), nil
}

// root holds the tag's group and root to the poll's, or to the groups that
// count here and their root logs.
func (g *Gate) root(ctx context.Context, ev *nostr.Event, p *Pop, d Deed, from admit.Peer) error {
	now := time.Now()
	if !prompt(from) {
		now = time.Time{} // what others held when it was fresh is judged without a clock
	}
	if d.Action == Vote {
		if err := g.ballot(ctx, ev, p, now); err != nil {
			return err
		}
		now = time.Time{} // a poll's root stays the poll's
	} else if !slices.Contains(g.groups, p.Group) {
		return invalid("group is not one whose members count here")
	}
	return g.published(ctx, p.Group, p.Root, now)
}

// published asks the root log, and puts its "no" into words.
func (g *Gate) published(ctx context.Context, group Address, root semaphore.Element, now time.Time) error {
	err := g.roots.check(ctx, group, root, now, g.cfg.Grace)
	for _, no := range []error{errUnknownGroup, errUnknownRoot, errStaleRoot} {
		if errors.Is(err, no) {
			return invalid("%v", no)
		}
	}
	return err
}

// ballot holds a vote to its poll: group, root, choices and time.
func (g *Gate) ballot(ctx context.Context, ev *nostr.Event, p *Pop, now time.Time) error {
	held, err := g.held(ctx, first(ev, "e")[1])
	if err != nil {
		return err
	}
	if held == nil {
		return invalid("poll is not held here")
	}
	group, root, err := Pinned(held)
	if err != nil {
		return err
	}
	if group != p.Group {
		return invalid("group is not the one of the poll")
	}
	if root != p.Root {
		return invalid("root is not the one of the poll")
	}
	of, err := poll.Parse(held)
	if err != nil {
		return err
	}
	if _, err := of.Ballot(ev); err != nil {
		return err
	}
	if err := g.open(ctx, &of, ev.ID); err != nil || now.IsZero() {
		return err
	}
	if off := now.Sub(ev.CreatedAt.Time()); off.Abs() > g.cfg.Window {
		return invalid("ballot is dated %s away from now, more than %s", off.Abs().Round(time.Second), g.cfg.Window)
	}
	if of.Ends != 0 && now.After(of.Ends.Time()) {
		return invalid("poll has ended")
	}
	return nil
}

// question refuses a poll that pins what its group has never published: nobody
// could vote in it.
func (g *Gate) question(ctx context.Context, ev *nostr.Event) error {
	group, root, err := Pinned(ev)
	if err != nil {
		return err
	}
	if _, err := poll.Parse(ev); err != nil {
		return err
	}
	return g.published(ctx, group, root, time.Time{})
}

// Pinned is the group and root that a poll pins with its tag
// ["pop", "semaphore4", GROUP, ROOT, "20"]. The error is an *Invalid.
func Pinned(poll *nostr.Event) (group Address, root semaphore.Element, err error) {
	if poll.Kind != KindPoll {
		return group, root, invalid("target is not a poll")
	}
	if !Has(poll) {
		return group, root, invalid("poll pins no group: it counts keys")
	}
	tag, err := single(poll, TagPop)
	if err != nil {
		return group, root, err
	}
	if len(tag) != 5 || tag[1] != method || tag[4] != depthWord {
		return group, root, invalid(`tag of a poll is ["pop", %q, group, root, %q]`, method, depthWord)
	}
	if group, err = ParseAddress(tag[2]); err != nil {
		return group, root, err
	}
	if root, err = semaphore.ParseHex(tag[3]); err != nil {
		return group, root, invalid("root is not 64 lower-case hex digits below the field's order")
	}
	return group, root, nil
}

// held looks an event up; nil when it is not here.
func (g *Gate) held(ctx context.Context, id string) (*nostr.Event, error) {
	for ev, err := range g.cfg.Events.Query(ctx, nostr.Filter{IDs: []string{id}, Limit: 1}) {
		if err != nil {
			return nil, fmt.Errorf("look for %s: %w", id, err)
		}
		return ev, nil
	}
	return nil, nil
}

// answerable is who pays for a false proof: the address it came from.
func answerable(from admit.Peer) string {
	if !from.IP.IsValid() {
		return ""
	}
	return from.IP.String()
}
