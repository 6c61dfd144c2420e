package main

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"agora/personhood"
	"agora/personhood/semaphore"
	"agora/relay/admit"

	"github.com/nbd-wtf/go-nostr"
)

// village is a group of people whose members count at a relay.
type village struct {
	t        *testing.T
	s        *server
	snapshot personhood.Snapshot
	members  *personhood.Members
	people   []*semaphore.Identity
	prover   *semaphore.Prover
}

func newVillage(t *testing.T, size int) *village {
	t.Helper()
	v := &village{t: t}
	var leaves []semaphore.Element
	for range size {
		id := semaphore.NewIdentity()
		v.people, leaves = append(v.people, id), append(leaves, id.Commitment())
	}
	key := nostr.GeneratePrivateKey()
	pub, err := nostr.GetPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	if v.members, err = personhood.NewMembers(leaves); err != nil {
		t.Fatal(err)
	}
	v.snapshot = personhood.Snapshot{Group: personhood.Address{Key: pub, D: "village"}}.Next(v.members, nostr.Now())
	v.s, _ = startServer(t, func(c *Config) { c.PersonGroups = []string{v.snapshot.Group.String()} })
	if v.prover, err = semaphore.NewProver(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = v.prover.Close(context.Background()) })
	group, log := v.snapshot.Events()
	for _, ev := range []*nostr.Event{&group, &log} {
		if err := ev.Sign(key); err != nil {
			t.Fatal(err)
		}
		if text := v.publish(ev); text != "" {
			t.Fatalf("kind %d: %s", ev.Kind, text)
		}
	}
	return v
}

// act is what person i does, with a fresh key.
func (v *village) act(i int, ev nostr.Event) *nostr.Event {
	v.t.Helper()
	if ev.CreatedAt == 0 {
		ev.CreatedAt = nostr.Now()
	}
	out, err := personhood.Act(v.t.Context(), v.prover, v.people[i], v.snapshot.Group, v.members, ev, nostr.GeneratePrivateKey())
	if err != nil {
		v.t.Fatal(err)
	}
	return out
}

// publish is the relay's answer to an event from a socket, "" for OK.
func (v *village) publish(ev *nostr.Event) string {
	v.t.Helper()
	from := admit.Peer{Origin: admit.Socket, IP: netip.MustParseAddr("192.0.2.1")}
	reply, err := v.s.core.relay.Publish(v.t.Context(), ev, nil, from)
	if err != nil {
		v.t.Fatal(err)
	}
	if reply.OK {
		return ""
	}
	return reply.Reason
}

func (v *village) held(f nostr.Filter) (n int) {
	for _, err := range v.s.store.Query(v.t.Context(), f) {
		if err != nil {
			v.t.Fatal(err)
		}
		n++
	}
	return n
}

func TestAPersonIsCountedOnceWhateverTheKey(t *testing.T) {
	v := newVillage(t, 3)
	note := strings.Repeat("a", 64)
	like := nostr.Event{Kind: 7, Content: "+", Tags: nostr.Tags{{"e", note}}}
	first, second := v.act(0, like), v.act(0, like)
	answers := make([]string, 2) // both at once: the commit decides, not the look before it
	var wg sync.WaitGroup
	for i, ev := range []*nostr.Event{first, second} {
		wg.Go(func() { answers[i] = v.publish(ev) })
	}
	wg.Wait()
	if (answers[0] == "") == (answers[1] == "") {
		t.Fatalf("answers %q", answers)
	}
	if refused := answers[0] + answers[1]; !strings.HasPrefix(refused, "duplicate: ") {
		t.Errorf("refused with %q", refused)
	}
	if text := v.publish(v.act(0, like)); !strings.Contains(text, "this person has already reacted") {
		t.Errorf("a third: %q", text)
	}
	if text := v.publish(v.act(1, like)); text != "" {
		t.Errorf("another person: %s", text)
	}
	if n := v.held(nostr.Filter{Kinds: []int{7}}); n != 2 {
		t.Errorf("%d likes are held", n)
	}
	stolen := *v.act(2, like)
	stolen.Content = "-"
	if err := stolen.Sign(nostr.GeneratePrivateKey()); err != nil {
		t.Fatal(err)
	}
	if text := v.publish(&stolen); !strings.HasPrefix(text, "invalid: pop proof does not verify") {
		t.Errorf("a stolen proof: %q", text)
	}
}

func TestANewerBallotReplacesAPersonsOlderOne(t *testing.T) {
	v := newVillage(t, 2)
	now := nostr.Now()
	poll := nostr.Event{Kind: 1068, CreatedAt: now - 100, Content: "tea?", Tags: nostr.Tags{
		{"option", "y", "yes"}, {"option", "n", "no"},
		{"pop", "semaphore4", v.snapshot.Group.String(), semaphore.Hex(v.snapshot.Root), "20"},
	}}
	if err := poll.Sign(nostr.GeneratePrivateKey()); err != nil {
		t.Fatal(err)
	}
	if text := v.publish(&poll); text != "" {
		t.Fatal(text)
	}
	ballot := func(at nostr.Timestamp) *nostr.Event {
		return v.act(0, nostr.Event{Kind: 1018, CreatedAt: at, Tags: nostr.Tags{{"e", poll.ID}, {"response", "y"}}})
	}
	for i := range nostr.Timestamp(personhood.MostRevotes + 1) {
		if text := v.publish(ballot(now - 50 + i)); text != "" {
			t.Fatalf("ballot %d: %s", i, text)
		}
		if n := v.held(nostr.Filter{Kinds: []int{1018}}); n != 1 {
			t.Fatalf("%d ballots are held after %d", n, i+1)
		}
	}
	if text := v.publish(ballot(now)); text == "" {
		t.Error("a sixth revote was taken")
	}
	if text := v.publish(ballot(now - 80)); text == "" {
		t.Error("an older ballot was taken")
	}
}
