package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"agora/relay/wire"

	"github.com/nbd-wtf/go-nostr"
)

// commitsOnly is a store without a sweeper: the moment between a request to
// vanish and the removal lasts as long as the test.
func commitsOnly(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.TempDir(), Config{NoSync: true, MapSize: 1 << 28})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.commitLoop(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, s.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

func testEvent(id, author byte, at int64, kind int, tags ...nostr.Tag) *nostr.Event {
	return &nostr.Event{
		ID: fmt.Sprintf("%064x", id), PubKey: fmt.Sprintf("%064x", author), CreatedAt: nostr.Timestamp(at),
		Kind: kind, Tags: tags, Content: "x", Sig: fmt.Sprintf("%0128x", id),
	}
}

func outcomeOf(t *testing.T, s *Store, ev *nostr.Event) Outcome {
	t.Helper()
	res, err := s.Append(t.Context(), Entry{Event: ev, JSON: wire.AppendEvent(nil, ev), Vanish: ev.Kind == 62})
	if err != nil {
		t.Fatal(err)
	}
	return res.Outcome
}

func TestWhatVanishesIsRefusedBeforeItIsRemovedAndNewMailIsSeenAtOnce(t *testing.T) {
	s := commitsOnly(t)
	own, del := testEvent(1, 1, 500, 1), testEvent(2, 1, 510, 5, nostr.Tag{"e", fmt.Sprintf("%064x", 9)})
	wrap := testEvent(3, 9, 400, 1059, nostr.Tag{"p", own.PubKey})
	request := testEvent(4, 1, 600, 62, nostr.Tag{"relay", "ALL_RELAYS"})
	for _, ev := range []*nostr.Event{own, del, wrap, request} {
		if out := outcomeOf(t, s, ev); out != Stored {
			t.Fatalf("kind %d: %v", ev.Kind, out)
		}
	}
	if !s.Sweeping() {
		t.Fatal("the removal is done already")
	}
	for _, ev := range []*nostr.Event{own, del, wrap} {
		if out := outcomeOf(t, s, ev); out != Vanished {
			t.Errorf("kind %d sent again: %v, want %v", ev.Kind, out, Vanished)
		}
		id, _ := ParseID(ev.ID)
		if has, err := s.Has(id); has || err != nil {
			t.Errorf("kind %d is said to be held (%v)", ev.Kind, err)
		}
	}
	if out := outcomeOf(t, s, request); out != Duplicate {
		t.Errorf("the request sent again: %v, want %v", out, Duplicate)
	}
	if out := outcomeOf(t, s, testEvent(5, 9, 400, 1059, nostr.Tag{"p", own.PubKey})); out != Stored {
		t.Errorf("new mail: %v, want %v", out, Stored)
	}
	var mail []string
	for rec, err := range s.Query(t.Context(), nostr.Filter{Kinds: []int{1059}}) {
		if err != nil {
			t.Fatal(err)
		}
		mail = append(mail, string(rec.HexID()))
	}
	if want := []string{fmt.Sprintf("%064x", 5)}; !slices.Equal(mail, want) {
		t.Errorf("wrapped messages %v are visible, want the new one alone", mail)
	}
}

// The race detector judges: a job that its caller no longer waits for writes
// nothing that the caller reads.
func TestASweepThatIsCalledOffLeavesItsJobToTheCommitter(t *testing.T) {
	s := commitsOnly(t)
	for _, ev := range []*nostr.Event{testEvent(1, 1, 500, 1), testEvent(2, 1, 600, 62, nostr.Tag{"relay", "ALL_RELAYS"})} {
		if out := outcomeOf(t, s, ev); out != Stored {
			t.Fatalf("kind %d: %v", ev.Kind, out)
		}
	}
	busy, held := make(chan struct{}), make(chan error, 1)
	go func() {
		held <- s.do(t.Context(), func(*writer) error {
			close(busy)
			time.Sleep(50 * time.Millisecond) // no channel: that would order the two for the detector
			return nil
		})
	}()
	<-busy
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if more, err := s.runJobs(ctx); more || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("called off: more %v, %v", more, err)
	}
	if err := <-held; err != nil {
		t.Error(err)
	}
	if more, err := s.runJobs(t.Context()); err != nil || !more && s.Sweeping() {
		t.Errorf("afterwards: more %v, %v", more, err)
	}
}
