package personhood

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"iter"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"agora/personhood/semaphore"
	"agora/relay/admit"

	"github.com/nbd-wtf/go-nostr"
)

// log is a plain model of the events a relay holds.
type log struct {
	mu     sync.Mutex
	events []*nostr.Event
}

func (l *log) Query(_ context.Context, filters ...nostr.Filter) iter.Seq2[*nostr.Event, error] {
	return func(yield func(*nostr.Event, error) bool) {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, f := range filters {
			for _, ev := range l.events {
				if f.Matches(ev) && !yield(ev, nil) {
					return
				}
			}
		}
	}
}

func (l *log) hold(evs ...*nostr.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, evs...)
}

// spentSet is a plain model of the store's claims.
type spentSet map[string]bool

func (s spentSet) Claimed(key []byte) (bool, error) { return s[string(key)], nil }

// proverOf makes one prover for all tests of the process.
var proverOf = sync.OnceValues(func() (*semaphore.Prover, error) { return semaphore.NewProver(context.Background()) })

func person(i int) *semaphore.Identity {
	return semaphore.IdentityOf(sha256.Sum256(fmt.Appendf(nil, "person %d", i)))
}

// town is a group of twelve with its log, and a gate that counts its members.
type town struct {
	t        testing.TB
	key      string // the group's secret key
	snapshot Snapshot
	members  *Members
	log      *log
	spent    spentSet
	gate     *Gate
}

func newTown(t testing.TB, age time.Duration) *town {
	t.Helper()
	w := &town{t: t, key: nostr.GeneratePrivateKey(), log: new(log), spent: spentSet{}}
	pub, _ := nostr.GetPublicKey(w.key)
	var leaves []semaphore.Element
	for i := range 12 {
		leaves = append(leaves, person(i).Commitment())
	}
	var err error
	if w.members, err = NewMembers(leaves); err != nil {
		t.Fatal(err)
	}
	w.snapshot = Snapshot{Group: Address{pub, "town"}, Class: "invite"}.Next(w.members, nostr.Timestamp(time.Now().Add(-age).Unix()))
	w.publish()
	b := NewBatcher()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = b.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	w.gate, err = NewGate(Config{Groups: []string{w.snapshot.Group.String()}, Events: w.log, Checker: b, Spent: w.spent})
	if err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *town) publish() {
	group, entry := w.snapshot.Events()
	w.sign(&group, w.key)
	w.sign(&entry, w.key)
	w.log.hold(&group, &entry)
}

func (w *town) sign(ev *nostr.Event, key string) {
	w.t.Helper()
	if err := ev.Sign(key); err != nil {
		w.t.Fatal(err)
	}
}

// act makes person i do what ev says, with a fresh key.
func (w *town) act(i int, ev nostr.Event) *nostr.Event {
	w.t.Helper()
	p, err := proverOf()
	if err != nil {
		w.t.Fatal(err)
	}
	if ev.CreatedAt == 0 {
		ev.CreatedAt = nostr.Now()
	}
	out, err := Act(w.t.Context(), p, person(i), w.snapshot.Group, w.members, ev, nostr.GeneratePrivateKey())
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

var socket = admit.Peer{Origin: admit.Socket, IP: netip.MustParseAddr("192.0.2.7")}

// rule is the gate's answer as a client reads it, "" for yes.
func (w *town) rule(ev *nostr.Event, from admit.Peer) (string, admit.Ruling) {
	w.t.Helper()
	r, err := w.gate.Rule(w.t.Context(), ev, from)
	if err != nil {
		w.t.Fatal(err)
	}
	if r.Refusal != nil {
		return r.Refusal.String(), r
	}
	return "", r
}

func (w *town) accepted(ev *nostr.Event) admit.Ruling {
	w.t.Helper()
	text, r := w.rule(ev, socket)
	if text != "" {
		w.t.Fatalf("refused: %s", text)
	}
	return r
}

func (w *town) refused(ev *nostr.Event, prefix, words string) {
	w.t.Helper()
	text, _ := w.rule(ev, socket)
	if !strings.HasPrefix(text, prefix+": ") || !strings.Contains(text, words) {
		w.t.Errorf("answer %q, want %s: … %s", text, prefix, words)
	}
}

const note = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func like(target string) nostr.Event {
	return nostr.Event{Kind: KindReaction, Content: "+", Tags: nostr.Tags{{"e", target}}}
}

// poll is held and pins the town's root.
func (w *town) poll(tags ...nostr.Tag) *nostr.Event {
	w.t.Helper()
	ev := nostr.Event{Kind: KindPoll, CreatedAt: nostr.Now() - 60, Content: "tea or coffee?", Tags: append(nostr.Tags{
		{"option", "a", "tea"}, {"option", "b", "coffee"},
		{"pop", "semaphore4", w.snapshot.Group.String(), semaphore.Hex(w.snapshot.Root), "20"},
	}, tags...)}
	w.sign(&ev, nostr.GeneratePrivateKey())
	w.log.hold(&ev)
	return &ev
}

func ballot(poll *nostr.Event, option string) nostr.Event {
	return nostr.Event{Kind: KindBallot, Tags: nostr.Tags{{"e", poll.ID}, {"response", option}}}
}

func TestScopeAndMessageAreTheBytesOfTheDocument(t *testing.T) {
	var target [32]byte
	for i := range target {
		target[i] = byte(i)
	}
	want := sha256.Sum256([]byte("agora/scope/1\x00boost\x00" + string(target[:])))
	if Scope(Boost, target) != want {
		t.Error("scope")
	}
	ev := nostr.Event{
		PubKey: strings.Repeat("b", 64), CreatedAt: 1700000000, Kind: 7, Content: "a\"\n",
		Tags: nostr.Tags{{"e", note}, {"pop", "x"}, {"n", "00"}},
	}
	want = sha256.Sum256([]byte("agora/msg/1\x00" + `[0,"` + ev.PubKey + `",1700000000,7,[["e","` + note + `"],["n","00"]],"a\"\n"]`))
	if Message(&ev) != want {
		t.Error("message")
	}
}

func TestOnePersonActsOnceWhateverTheKey(t *testing.T) {
	w := newTown(t, time.Hour)
	first, second := w.act(3, like(note)), w.act(3, like(note))
	if first.PubKey == second.PubKey {
		t.Fatal("one key")
	}
	a, b := w.accepted(first), w.accepted(second)
	if len(a.Claims) != 1 || a.Claims[0].Rule != admit.First || string(a.Claims[0].Key) != string(b.Claims[0].Key) {
		t.Fatalf("claims %v and %v are not one", a.Claims, b.Claims)
	}
	if len(a.Labels) != 1 || a.Labels[0].Value != w.snapshot.Group.String() {
		t.Errorf("labels %v", a.Labels)
	}
	w.spent[string(a.Claims[0].Key)] = true
	w.refused(second, "duplicate", "not counted, this person has already reacted")
	if c := w.accepted(w.act(4, like(note))); string(c.Claims[0].Key) == string(a.Claims[0].Key) {
		t.Error("two people share a claim")
	}
	if c := w.accepted(w.act(3, like(strings.Repeat("c", 64)))); string(c.Claims[0].Key) == string(a.Claims[0].Key) {
		t.Error("two notes share a claim")
	}
	dislike := like(note)
	dislike.Content = "-"
	w.refused(w.act(3, dislike), "duplicate", "already reacted")
}

func TestBallotReplacesTheOlderOneAtMostFiveTimes(t *testing.T) {
	w := newTown(t, time.Hour)
	r := w.accepted(w.act(1, ballot(w.poll(), "a")))
	if c := r.Claims[0]; c.Rule != admit.Newest || c.Most != 5 {
		t.Errorf("claim %+v", c)
	}
}

func TestEachActionHasItsOwnScope(t *testing.T) {
	address := "32190:" + strings.Repeat("d", 64) + ":best"
	review := nostr.Event{Kind: KindReview, Tags: nostr.Tags{{"L", ReviewNamespace}, {"l", "good", ReviewNamespace}, {"a", address}, {"rating", "0.8"}}}
	seen := map[[32]byte]bool{}
	for _, ev := range []nostr.Event{
		like(note), {Kind: KindReport, Tags: nostr.Tags{{"e", note, "spam"}, {"p", strings.Repeat("e", 64)}}},
		{Kind: KindReport, Tags: nostr.Tags{{"p", strings.Repeat("e", 64), "spam"}}}, review,
		{Kind: KindBallot, Tags: nostr.Tags{{"e", note}}},
	} {
		d, err := DeedOf(&ev)
		if err != nil || seen[d.Scope()] {
			t.Errorf("kind %d: %+v, %v", ev.Kind, d, err)
		}
		seen[d.Scope()] = true
	}
	for _, ev := range []nostr.Event{
		{Kind: 1}, {Kind: KindReaction}, {Kind: KindReaction, Tags: nostr.Tags{{"e", "AA"}}}, {Kind: KindReport},
		{Kind: KindBallot, Tags: nostr.Tags{{"e", note}, {"e", note}}},
		{Kind: KindReview, Tags: nostr.Tags{{"L", "other"}, {"a", address}}},
		{Kind: KindReview, Tags: nostr.Tags{{"L", ReviewNamespace}, {"a", address}, {"a", address}}},
		{Kind: KindReview, Tags: nostr.Tags{{"L", ReviewNamespace}}},
	} {
		if _, err := DeedOf(&ev); err == nil {
			t.Errorf("kind %d with %v has a deed", ev.Kind, ev.Tags)
		}
	}
}

func TestAProofHoldsForNothingElse(t *testing.T) {
	w := newTown(t, time.Hour)
	good, other := w.act(2, like(note)), w.act(5, like(note))
	w.accepted(good)
	nullifier := first(good, "n")[1]
	for name, c := range map[string]struct {
		spoil func(*nostr.Event)
		words string
	}{
		"other content": {func(e *nostr.Event) { e.Content = "-" }, "does not verify"},
		"other target":  {func(e *nostr.Event) { e.Tags[0] = nostr.Tag{"e", strings.Repeat("f", 64)} }, "does not verify"},
		"other time":    {func(e *nostr.Event) { e.CreatedAt++ }, "does not verify"},
		"other action":  {func(e *nostr.Event) { e.Kind = KindReport }, "does not verify"},
		"a tag more":    {func(e *nostr.Event) { e.Tags = append(e.Tags, nostr.Tag{"t", "x"}) }, "does not verify"},
		"other's proof": {func(e *nostr.Event) { first(e, "pop")[6] = first(other, "pop")[6] }, "does not verify"},
		"other's nullifier": {func(e *nostr.Event) {
			first(e, "pop")[5], first(e, "n")[1] = first(other, "n")[1], first(other, "n")[1]
		}, "does not verify"},
		"n differs":         {func(e *nostr.Event) { first(e, "n")[1] = strings.Repeat("0", 64) }, "different nullifiers"},
		"no n":              {func(e *nostr.Event) { first(e, "n")[0] = "m" }, "wants one n"},
		"two n":             {func(e *nostr.Event) { e.Tags = append(e.Tags, nostr.Tag{"n", nullifier}) }, "wants one n"},
		"two pop":           {func(e *nostr.Event) { e.Tags = append(e.Tags, first(good, "pop")) }, "wants one pop"},
		"capital nullifier": {func(e *nostr.Event) { first(e, "pop")[5] = strings.ToUpper(nullifier) + "" }, "nullifier"},
		"nullifier 0x":      {func(e *nostr.Event) { first(e, "pop")[5] = "0x" + nullifier }, "nullifier"},
		"nullifier + order": {func(e *nostr.Event) { over := plusOrder(nullifier); first(e, "pop")[5], first(e, "n")[1] = over, over }, "nullifier"},
		"depth":             {func(e *nostr.Event) { first(e, "pop")[4] = "19" }, "depth"},
		"method":            {func(e *nostr.Event) { first(e, "pop")[1] = "semaphore3" }, "method"},
		"group unknown":     {func(e *nostr.Event) { first(e, "pop")[2] = "32191:" + strings.Repeat("1", 64) + ":town" }, "group is not one"},
		"group of no kind":  {func(e *nostr.Event) { first(e, "pop")[2] = "town" }, "not an address"},
		"root unknown":      {func(e *nostr.Event) { first(e, "pop")[3] = strings.Repeat("0", 64) }, "never published"},
		"proof cut":         {func(e *nostr.Event) { p := first(e, "pop"); p[6] = p[6][:100] }, "proof"},
		"proof of zeros":    {func(e *nostr.Event) { first(e, "pop")[6] = strings.Repeat("A", 172) }, "malformed"},
		"a short tag":       {func(e *nostr.Event) { e.Tags[1] = nostr.Tag{"pop"} }, ""},
	} {
		bad := *good
		bad.Tags = nil
		for _, tag := range good.Tags {
			bad.Tags = append(bad.Tags, append(nostr.Tag(nil), tag...))
		}
		c.spoil(&bad)
		text, r := w.rule(&bad, admit.Peer{Origin: admit.Socket}) // nobody to slow down
		if !strings.HasPrefix(text, "invalid: pop ") || !strings.Contains(text, c.words) || len(r.Claims) > 0 {
			t.Errorf("%s: %q, want %q", name, text, c.words)
		}
	}
}

func plusOrder(hex64 string) string {
	e, _ := semaphore.ParseHex(hex64)
	b := e.Bytes()
	order, _ := hex.DecodeString("30644e72e131a029b85045b68181585d2833e84879b9709143e1f593f0000001")
	carry := 0
	for i := 31; i >= 0; i-- {
		sum := int(b[i]) + int(order[i]) + carry
		b[i], carry = byte(sum), sum>>8
	}
	return hex.EncodeToString(b[:])
}

func TestPlainEventsStayPlainUnlessAPersonIsRequired(t *testing.T) {
	w := newTown(t, time.Hour)
	plain := like(note)
	if r := w.accepted(&plain); len(r.Claims)+len(r.Labels) > 0 {
		t.Errorf("a plain like got %+v", r)
	}
	w.gate.cfg.Require = []int{KindReaction}
	w.refused(&plain, "restricted", "need a proof")
	w.accepted(w.act(1, like(note)))
}

func TestBallotMustFitItsPoll(t *testing.T) {
	w := newTown(t, time.Hour)
	poll := w.poll(nostr.Tag{"endsAt", fmt.Sprint(nostr.Now() + 3600)})
	good := w.act(1, ballot(poll, "a"))
	w.accepted(good)

	unknown := nostr.Event{ID: strings.Repeat("9", 64)}
	w.refused(w.act(1, ballot(&unknown, "a")), "invalid", "poll is not held")

	keys := nostr.Event{Kind: KindPoll, CreatedAt: nostr.Now() - 60, Tags: nostr.Tags{{"option", "a", "x"}}}
	w.sign(&keys, nostr.GeneratePrivateKey())
	w.log.hold(&keys)
	w.refused(w.act(1, ballot(&keys, "a")), "invalid", "pins no group")

	ended := w.poll(nostr.Tag{"endsAt", fmt.Sprint(nostr.Now() - 10)})
	late := ballot(ended, "a")
	late.CreatedAt = nostr.Now() - 20
	w.refused(w.act(1, late), "invalid", "poll has ended")
	if text, _ := w.rule(w.act(1, late), admit.Peer{Origin: admit.Bring}); text == "" {
		t.Error("brought from a relay of its author's: taken")
	}
	if text, _ := w.rule(w.act(1, late), admit.Peer{Origin: admit.Sync}); text != "" {
		t.Errorf("by sync it must come in: %s", text)
	}
	late.CreatedAt = nostr.Now()
	w.refused(w.act(1, late), "invalid", "after the end")

	for _, off := range []nostr.Timestamp{-1000, 1000} {
		shifted := ballot(w.poll(), "a")
		shifted.CreatedAt = nostr.Now() + off
		text, _ := w.rule(w.act(1, shifted), socket)
		if !strings.HasPrefix(text, "invalid: pop ballot is") {
			t.Errorf("%d s off: %q", off, text)
		}
	}

	// joined later: the poll keeps its snapshot
	old := w.snapshot
	if ok, err := w.members.Add(person(50).Commitment()); !ok || err != nil {
		t.Fatal(err)
	}
	w.snapshot = w.snapshot.Next(w.members, nostr.Now())
	w.publish()
	w.refused(w.act(50, ballot(poll, "a")), "invalid", "root is not the one of the poll")
	if old.Root == w.snapshot.Root {
		t.Fatal("the root did not change")
	}
}

func TestTwoGroupsWithOneRootStayTwo(t *testing.T) {
	w := newTown(t, time.Hour)
	pub, _ := nostr.GetPublicKey(w.key)
	poll := w.poll()
	twin := w.snapshot
	twin.Group = Address{pub, "twin"}
	mine := w.snapshot
	w.snapshot = twin
	w.publish()
	w.refused(w.act(1, ballot(poll, "a")), "invalid", "group is not the one of the poll")
	w.refused(w.act(1, like(note)), "invalid", "group is not one whose members count")
	w.snapshot = mine
	w.accepted(w.act(1, ballot(poll, "a")))
}

func TestPollPinnedToARootNeverPublishedIsRefused(t *testing.T) {
	w := newTown(t, time.Hour)
	poll := w.poll()
	w.accepted(poll)
	bad := *poll
	bad.Tags = append(nostr.Tags(nil), poll.Tags...)
	bad.Tags[2] = nostr.Tag{"pop", "semaphore4", w.snapshot.Group.String(), strings.Repeat("0", 64), "20"}
	w.refused(&bad, "invalid", "never published")
	bad.Tags[2] = nostr.Tag{"pop", "semaphore4", "32191:" + strings.Repeat("7", 64) + ":x", strings.Repeat("0", 64), "20"}
	w.refused(&bad, "invalid", "published no root")
	bad.Tags[2] = nostr.Tag{"pop", "semaphore4"}
	w.refused(&bad, "invalid", "tag of a poll")
	// a root log signed by another key makes nothing published
	forged := nostr.Event{Kind: KindRootLog, CreatedAt: nostr.Now(), Tags: nostr.Tags{
		{"a", w.snapshot.Group.String()}, {"root", strings.Repeat("0", 64)}, {"seq", "2"}, {"prev", semaphore.Hex(w.snapshot.Root)}, {"size", "1"}, {"x", note},
	}}
	w.sign(&forged, nostr.GeneratePrivateKey())
	w.refused(&forged, "invalid", "not by the group's own key")
}

func TestRootsAgeOutAfterTheGrace(t *testing.T) {
	w := newTown(t, 10*time.Hour)
	old, oldMembers := w.snapshot, *w.members
	oldTree, _ := NewMembers(oldMembers.tree.Leaves())
	if _, err := w.members.Add(person(60).Commitment()); err != nil {
		t.Fatal(err)
	}
	w.snapshot = w.snapshot.Next(w.members, nostr.Timestamp(time.Now().Add(-30*time.Minute).Unix()))
	w.publish()
	w.accepted(w.act(1, like(note)))
	fresh, freshMembers := w.snapshot, w.members
	w.snapshot, w.members = old, oldTree
	w.accepted(w.act(1, like(note))) // superseded half an hour ago
	w.gate.cfg.Grace = 10 * time.Minute
	stale := w.act(1, like(note))
	w.refused(stale, "invalid", "stale")
	if text, _ := w.rule(stale, admit.Peer{Origin: admit.Bring}); !strings.Contains(text, "stale") {
		t.Errorf("brought from a relay of its author's: %q", text)
	}
	if text, _ := w.rule(stale, admit.Peer{Origin: admit.Import}); text != "" {
		t.Errorf("an import has no clock: %s", text)
	}
	w.snapshot, w.members = fresh, freshMembers
	w.accepted(w.act(1, like(note)))
}

func TestRemovedMemberCannotProveUnderTheNewRoot(t *testing.T) {
	w := newTown(t, time.Hour)
	if ok, err := w.members.Remove(person(4).Commitment()); !ok || err != nil {
		t.Fatal(err)
	}
	if n := w.members.People(); n != 11 {
		t.Errorf("%d people", n)
	}
	p, err := proverOf()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Act(t.Context(), p, person(4), w.snapshot.Group, w.members, like(note), nostr.GeneratePrivateKey()); err == nil {
		t.Error("a removed member made a proof")
	}
}
