package store_test

import (
	"fmt"
	"testing"

	"agora/relay/admit"
	"agora/relay/store"
	"agora/relay/store/storetest"

	"github.com/nbd-wtf/go-nostr"
)

func note(id byte, author byte, at int64, kind int, tags ...nostr.Tag) *nostr.Event {
	if tags == nil {
		tags = nostr.Tags{}
	}
	return &nostr.Event{
		ID: fmt.Sprintf("%064x", id), PubKey: fmt.Sprintf("%064x", author), CreatedAt: nostr.Timestamp(at),
		Kind: kind, Tags: tags, Content: "x", Sig: fmt.Sprintf("%0128x", id),
	}
}

func appendOutcome(t *testing.T, s *store.Store, ev *nostr.Event, claims ...admit.Claim) store.Outcome {
	t.Helper()
	res, err := s.Append(t.Context(), storetest.Entry(ev, claims...))
	if err != nil {
		t.Fatal(err)
	}
	return res.Outcome
}

func expect(t *testing.T, got, want store.Outcome) {
	t.Helper()
	if got != want {
		t.Errorf("got %v, want %v", got, want)
	}
}

func held(t *testing.T, s *store.Store, f nostr.Filter) []string {
	t.Helper()
	return storetest.IDs(t, s.Query(t.Context(), f))
}

func TestClaimSpentTwiceKeepsFirstEvent(t *testing.T) {
	s := running(t, store.Config{NoSync: true})
	c := admit.Claim{Key: []byte("nullifier"), Rule: admit.First}
	expect(t, appendOutcome(t, s, note(1, 1, 100, 7), c), store.Stored)
	expect(t, appendOutcome(t, s, note(2, 2, 200, 7), c), store.Claimed)
	if ids := held(t, s, nostr.Filter{}); len(ids) != 1 || ids[0] != note(1, 1, 0, 0).ID {
		t.Errorf("held: %v", ids)
	}
}

func TestFirstClaimOutlivesDeletionOfItsEvent(t *testing.T) {
	s := running(t, store.Config{NoSync: true})
	c := admit.Claim{Key: []byte("nullifier"), Rule: admit.First}
	expect(t, appendOutcome(t, s, note(1, 1, 100, 7), c), store.Stored)
	expect(t, appendOutcome(t, s, note(9, 1, 150, 5, nostr.Tag{"e", note(1, 1, 0, 0).ID})), store.Stored)
	expect(t, appendOutcome(t, s, note(2, 2, 200, 7), c), store.Claimed)
}

func TestNewestClaimReplacesItsHolder(t *testing.T) {
	s := running(t, store.Config{NoSync: true})
	c := admit.Claim{Key: []byte("vote"), Rule: admit.Newest, Most: 2}
	expect(t, appendOutcome(t, s, note(5, 1, 100, 1018), c), store.Stored)
	expect(t, appendOutcome(t, s, note(6, 2, 100, 1018), c), store.Older) // same time, higher id
	expect(t, appendOutcome(t, s, note(7, 2, 90, 1018), c), store.Older)
	expect(t, appendOutcome(t, s, note(4, 3, 100, 1018), c), store.Stored) // same time, lower id
	expect(t, appendOutcome(t, s, note(8, 4, 101, 1018), c), store.Stored)
	expect(t, appendOutcome(t, s, note(9, 5, 102, 1018), c), store.Claimed) // changed hands twice already
	if ids := held(t, s, nostr.Filter{Kinds: []int{1018}}); len(ids) != 1 || ids[0] != note(8, 0, 0, 0).ID {
		t.Errorf("held: %v", ids)
	}
}

// Two events of one batch that claim the same key: the commit is shared, the
// claim is not.
func TestSecondClaimInTheSameBatchIsRefused(t *testing.T) {
	s := running(t, store.Config{NoSync: true})
	const n = 200
	outcomes := make(chan store.Outcome, n) // one per event
	for i := range n {
		e := storetest.Entry(note(byte(i), byte(i), 100, 7), admit.Claim{Key: []byte("k"), Rule: admit.First})
		if err := s.Submit(t.Context(), e, func(r store.Result, err error) {
			if err != nil {
				t.Error(err)
			}
			outcomes <- r.Outcome
		}); err != nil {
			t.Fatal(err)
		}
	}
	stored := 0
	for range n {
		if o := <-outcomes; o == store.Stored {
			stored++
		} else if o != store.Claimed {
			t.Errorf("outcome %v", o)
		}
	}
	if stored != 1 {
		t.Errorf("%d events hold one claim", stored)
	}
}

func TestLabelsAreKeptAndGoWithTheEvent(t *testing.T) {
	s := running(t, store.Config{NoSync: true})
	e := storetest.Entry(note(1, 1, 100, 1))
	e.Labels = []admit.Label{{Namespace: "spam", Value: "quarantine", Score: .9}}
	if _, err := s.Append(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	id, _ := store.ParseID(e.Event.ID)
	labels, err := s.Labels(id)
	if err != nil || len(labels) != 1 || labels[0] != e.Labels[0] {
		t.Fatalf("%v %v", labels, err)
	}
	if n, err := s.Remove(t.Context(), []store.ID{id}, true); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if labels, err := s.Labels(id); labels != nil || err != nil {
		t.Fatalf("%v %v", labels, err)
	}
	expect(t, appendOutcome(t, s, e.Event), store.Deleted)
	if err := s.Unban(t.Context(), []store.ID{id}); err != nil {
		t.Fatal(err)
	}
	expect(t, appendOutcome(t, s, e.Event), store.Stored)
}
