package personhood

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"agora/personhood/poll"
	"agora/personhood/semaphore"
	"agora/relay/admit"

	"github.com/nbd-wtf/go-nostr"
)

func TestABallotThatDoesNotFitItsPollIsRefusedWithOneReason(t *testing.T) {
	w := newTown(t, time.Hour)
	multi := nostr.Tag{"polltype", "multiplechoice"}
	single, quadratic := w.poll(), w.poll(multi, nostr.Tag{"method", "quadratic"})
	cast := func(of *nostr.Event, tags ...nostr.Tag) *nostr.Event {
		return w.act(1, nostr.Event{Kind: KindBallot, Tags: append(nostr.Tags{{"e", of.ID}}, tags...)})
	}
	w.refused(cast(single), "invalid", "pop ballot has no response")
	w.refused(cast(single, nostr.Tag{"response", "z"}), "invalid", "which the poll does not have")
	w.refused(cast(quadratic, nostr.Tag{"response", "a", "-5"}), "invalid", "not a whole number")
	w.refused(cast(quadratic, nostr.Tag{"response", "a", "101"}), "invalid", "not a whole number")
	w.refused(cast(quadratic, nostr.Tag{"response", "a", "99"}, nostr.Tag{"response", "b", "2"}), "invalid", "more than 100 credits")
	w.accepted(cast(quadratic, nostr.Tag{"response", "a", "64"}, nostr.Tag{"response", "b", "36"}))
	good := w.act(1, ballot(single, "a"))
	good.Tags = append(good.Tags, nostr.Tag{"e", quadratic.ID})
	w.refused(good, "invalid", "wants one e tag")
	many := nostr.Event{Kind: KindPoll, CreatedAt: nostr.Now(), Tags: nostr.Tags{single.Tags[2]}}
	for i := range 10_000 {
		many.Tags = append(many.Tags, nostr.Tag{"option", fmt.Sprint(i), "x"})
	}
	w.sign(&many, nostr.GeneratePrivateKey())
	w.refused(&many, "invalid", "more than 128 options")
}

func TestAClosedPollTakesOnlyWhatItWasClosedWith(t *testing.T) {
	w := newTown(t, time.Hour)
	host := nostr.GeneratePrivateKey()
	key, _ := nostr.GetPublicKey(host)
	now := nostr.Now()
	of := w.poll(nostr.Tag{"endsAt", fmt.Sprint(now + 600)}, nostr.Tag{"host", key})
	in, out := w.act(1, ballot(of, "a")), w.act(2, ballot(of, "b"))
	p, err := poll.Parse(of)
	if err != nil {
		t.Fatal(err)
	}
	seal := func(by string, at nostr.Timestamp) {
		target, _ := poll.ParseID(of.ID)
		id, _ := poll.ParseID(in.ID)
		for _, ev := range (poll.Close{Poll: target, Group: p.Group, Root: p.Root, At: at, IDs: []poll.ID{id}}).Events() {
			w.sign(&ev, by)
			w.accepted(&ev)
			w.log.hold(&ev)
		}
	}
	seal(nostr.GeneratePrivateKey(), now+600+poll.CloseAfter) // anybody may say so
	seal(host, now+600)                                       // but not before its time
	w.accepted(out)
	seal(host, now+600+poll.CloseAfter) // the clock may since have jumped back
	w.refused(out, "invalid", "poll is closed")
	for _, origin := range []admit.Origin{admit.Import, admit.Sync, admit.Bring} {
		if text, _ := w.rule(out, admit.Peer{Origin: origin}); !strings.Contains(text, "poll is closed") {
			t.Errorf("by %s: %q", origin, text)
		}
	}
	w.accepted(in) // a mirror may be late
	w.log.hold(in)
	drop := nostr.Event{Kind: nostr.KindDeletion, CreatedAt: now, PubKey: in.PubKey, Tags: nostr.Tags{{"e", in.ID}}}
	w.refused(&drop, "blocked", "its poll has been closed with it")
	second := w.poll(nostr.Tag{"endsAt", fmt.Sprint(now + 600)}, nostr.Tag{"host", key})
	late := w.act(1, ballot(second, "a"))
	w.log.hold(late)
	late = &nostr.Event{Kind: nostr.KindDeletion, CreatedAt: now, PubKey: late.PubKey, Tags: nostr.Tags{{"e", late.ID}}}
	w.accepted(late)
	w.gate.Closing(second.ID, true)
	w.refused(late, "blocked", "is being closed")
	drop.PubKey = out.PubKey // somebody else's request deletes nothing anyway
	w.accepted(&drop)
}

func TestAMalformedCloseIsRefused(t *testing.T) {
	w := newTown(t, time.Hour)
	w.refused(&nostr.Event{Kind: poll.KindClose}, "invalid", "has no")
	w.refused(&nostr.Event{Kind: poll.KindCertificate}, "invalid", "has no")
}

// source is a recount of what the town's log holds.
func (w *town) source(members []byte) Source {
	return Source{Events: w.log.events, Members: func(context.Context, Snapshot) ([]byte, error) { return members, nil }}
}

func TestARecountTrustsNoMembersFile(t *testing.T) {
	w := newTown(t, time.Hour)
	of := w.poll()
	w.log.hold(w.act(1, ballot(of, "a")), w.act(2, ballot(of, "b")), w.act(2, ballot(of, "b")))
	file := w.members.File()
	r, err := CountAgain(t.Context(), w.source(file))
	if err != nil || r.Count != 2 || r.People != 12 || len(r.Passed) != 1 || r.Close != nil || !r.Agrees() {
		t.Fatalf("%+v %v", r, err)
	}
	for name, spoil := range map[string]func([]byte) []byte{
		"one leaf less": func(b []byte) []byte { return b[32:] },
		"other order":   func(b []byte) []byte { return append(b[32:], b[:32]...) },
		"cut":           func(b []byte) []byte { return b[:33] },
		"empty":         func([]byte) []byte { return nil },
	} {
		if _, err := CountAgain(t.Context(), w.source(spoil(append([]byte(nil), file...)))); err == nil || !strings.Contains(err.Error(), "SHA-256") {
			t.Errorf("%s: %v", name, err)
		}
	}
	src := w.source(file)
	src.Poll = strings.Repeat("0", 64)
	if _, err := CountAgain(t.Context(), src); !errors.Is(err, ErrNoPoll) {
		t.Errorf("a poll that is not there: %v", err)
	}
	w.poll()
	if _, err := CountAgain(t.Context(), w.source(file)); !errors.Is(err, ErrManyPolls) {
		t.Errorf("two polls: %v", err)
	}
}

func TestARecountOfARootNeverPublishedOrOfATwinGroupEnds(t *testing.T) {
	w := newTown(t, time.Hour)
	of := w.poll()
	file := w.members.File()
	w.log.hold(w.act(1, ballot(of, "a")))
	whole := w.log.events
	w.log.events = nil
	for _, ev := range whole { // without the root log, whoever says what
		if ev.Kind != KindRootLog {
			w.log.events = append(w.log.events, ev)
		}
	}
	forged := nostr.Event{Kind: KindRootLog, CreatedAt: 1, Tags: nostr.Tags{
		{"a", w.snapshot.Group.String()}, {"root", semaphore.Hex(w.snapshot.Root)}, {"seq", "1"}, {"prev", ""}, {"size", "12"}, {"x", strings.Repeat("0", 64)},
	}}
	w.sign(&forged, nostr.GeneratePrivateKey())
	w.log.hold(&forged)
	if _, err := CountAgain(t.Context(), w.source(file)); !errors.Is(err, ErrNoRoot) {
		t.Errorf("a root out of nowhere: %v", err)
	}
	pub, _ := nostr.GetPublicKey(w.key)
	w.snapshot.Group = Address{pub, "twin"}
	w.publish()
	if _, err := CountAgain(t.Context(), w.source(file)); !errors.Is(err, ErrNoRoot) {
		t.Errorf("the same root in a twin group: %v", err)
	}
}

func TestARecountNamesEveryBallotThatDoesNotHold(t *testing.T) {
	w := newTown(t, time.Hour)
	of := w.poll()
	good := w.act(1, ballot(of, "a"))
	w.log.hold(good)
	key := nostr.GeneratePrivateKey()
	why := map[string]string{}
	spoil := func(reason string, change func(*nostr.Event)) {
		ev := *good
		ev.Tags = nil
		for _, tag := range good.Tags {
			ev.Tags = append(ev.Tags, append(nostr.Tag(nil), tag...))
		}
		change(&ev)
		w.sign(&ev, key)
		w.log.hold(&ev)
		why[ev.ID] = reason
	}
	spoil("does not verify", func(*nostr.Event) {}) // another key has taken the proof
	spoil("does not verify", func(e *nostr.Event) { e.CreatedAt++ })
	spoil("does not have", func(e *nostr.Event) { e.Tags[1][1] = "zz" })
	spoil("more than one poll", func(e *nostr.Event) { e.Tags = append(e.Tags, nostr.Tag{"e", note}) })
	spoil("root is not the one", func(e *nostr.Event) { first(e, "pop")[3] = strings.Repeat("0", 64) })
	spoil("group is not the one", func(e *nostr.Event) { first(e, "pop")[2] = "32191:" + note + ":x" })
	spoil("different nullifiers", func(e *nostr.Event) { first(e, "n")[1] = strings.Repeat("0", 64) })
	spoil("nullifier is not 64", func(e *nostr.Event) {
		over := plusOrder(first(e, "n")[1])
		first(e, "n")[1], first(e, "pop")[5] = over, over
	})
	spoil("malformed", func(e *nostr.Event) { first(e, "pop")[6] = strings.Repeat("A", 172) })
	spoil("older than its poll", func(e *nostr.Event) { e.CreatedAt = 5 })
	r, err := CountAgain(t.Context(), w.source(w.members.File()))
	if err != nil || r.Count != 1 || len(r.Invalid) != len(why) {
		t.Fatalf("%d counted, %d not valid, %v", r.Count, len(r.Invalid), err)
	}
	for _, p := range r.Invalid {
		if want, ok := why[p.ID.String()]; !ok || !strings.Contains(p.Why, want) {
			t.Errorf("%s: %q, want %q", p.ID, p.Why, want)
		}
	}
}
