package personhood

import (
	"strings"
	"testing"
	"time"

	"agora/personhood/semaphore"
	"agora/relay/admit"

	"github.com/nbd-wtf/go-nostr"
)

// newCommunity is a town whose relay takes notes of people only.
func newCommunity(t *testing.T) *town {
	w := newTown(t, time.Minute)
	cfg := w.gate.cfg
	cfg.Require = []int{1, 7}
	var err error
	if w.gate, err = NewGate(cfg); err != nil {
		t.Fatal(err)
	}
	return w
}

func post(slot string) nostr.Event {
	return nostr.Event{Kind: 1, Content: "hello", Tags: nostr.Tags{{"slot", slot}}}
}

func TestACommunityTakesWhatItNamesFromPeopleOnly(t *testing.T) {
	w := newCommunity(t)
	for _, kind := range []int{1, 7} {
		plain := nostr.Event{Kind: kind, Content: "+", CreatedAt: nostr.Now(), Tags: nostr.Tags{{"e", note}}}
		w.sign(&plain, nostr.GeneratePrivateKey())
		w.refused(&plain, "restricted", "need a proof of personhood")
	}
	other := nostr.Event{Kind: 30023, CreatedAt: nostr.Now()}
	w.sign(&other, nostr.GeneratePrivateKey())
	w.accepted(&other)
	r := w.accepted(w.act(0, post("0")))
	if len(r.Claims) != 1 || r.Claims[0].Rule != admit.First || len(r.Labels) != 1 {
		t.Errorf("%+v", r)
	}
	w.accepted(w.act(0, like(note)))
}

func TestAPersonHasSoManyPostsADayAndNoMore(t *testing.T) {
	w := newCommunity(t)
	first := w.accepted(w.act(0, post("3")))
	again := w.act(0, post("3")) // another key, another event
	if r := w.accepted(again); string(r.Claims[0].Key) != string(first.Claims[0].Key) {
		t.Error("one slot has two claims")
	}
	w.spent[string(first.Claims[0].Key)] = true
	w.refused(again, "duplicate", "this person has already used this slot of the day")
	if r := w.accepted(w.act(0, post("4"))); string(r.Claims[0].Key) == string(first.Claims[0].Key) {
		t.Error("two slots have one claim")
	}
	if r := w.accepted(w.act(1, post("3"))); string(r.Claims[0].Key) == string(first.Claims[0].Key) {
		t.Error("two people have one claim")
	}
	p, _ := proverOf()
	for _, slot := range []string{"100", "-1", "03", "", "x", "1e1"} {
		ev := post(slot)
		ev.CreatedAt = nostr.Now()
		if _, err := Act(t.Context(), p, person(0), w.snapshot.Group, w.members, ev, nostr.GeneratePrivateKey()); err == nil {
			t.Errorf("slot %q", slot)
		}
	}
	old := post("5")
	old.CreatedAt = nostr.Now() - 3600
	w.refused(w.act(0, old), "invalid", "dated 1h")
	if text, _ := w.rule(w.act(0, old), admit.Peer{Origin: admit.Sync}); text != "" {
		t.Errorf("from another relay: %s", text)
	}
	w.gate.cfg.Require = nil
	w.refused(w.act(0, post("6")), "invalid", "is not for events of kind 1 here")
}

// A clock that was ahead when a root was published and then was set right: the
// order of roots is that of their numbers.
func TestRootsOfAClockThatJumped(t *testing.T) {
	w := newTown(t, -24*time.Hour) // the first root is dated tomorrow
	acts := w.act(0, like(note))
	w.accepted(acts)
	if err := w.members.Tree().Insert(person(50).Commitment()); err != nil {
		t.Fatal(err)
	}
	w.snapshot = w.snapshot.Next(w.members, nostr.Timestamp(time.Now().Add(-2*time.Hour).Unix())) // the clock was set right
	w.publish()
	w.gate.Forget(w.snapshot.Group)
	w.refused(acts, "invalid", "stale")
	w.accepted(w.act(50, like(strings.Repeat("c", 64))))
	// an entry that looks newer and has a lower number makes nothing current
	old := w.snapshot
	old.Seq, old.At, old.Root = 1, nostr.Now()+3600, semaphore.Hash(old.Root, old.Root)
	w.snapshot, old = old, w.snapshot
	w.publish()
	w.snapshot = old
	w.gate.Forget(w.snapshot.Group)
	w.accepted(w.act(50, like(strings.Repeat("d", 64))))
}
