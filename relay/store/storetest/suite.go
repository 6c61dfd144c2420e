package storetest

import (
	"context"
	"iter"
	"testing"

	"agora/relay/admit"
	"agora/relay/store"
	"agora/relay/wire"

	"github.com/nbd-wtf/go-nostr"
)

// Store is what the suite checks; *store.Store satisfies it.
type Store interface {
	Has(id store.ID) (bool, error)
	Append(ctx context.Context, e store.Entry) (store.Result, error)
	Head() store.Pos
	Changes(ctx context.Context, after store.Pos) iter.Seq2[store.Change, error]
	Query(ctx context.Context, filters ...nostr.Filter) iter.Seq2[store.Record, error]
	Count(ctx context.Context, filters ...nostr.Filter) (int64, error)
}

// Entry wraps an event as the relay would hand it in.
func Entry(ev *nostr.Event, claims ...admit.Claim) store.Entry {
	return store.Entry{Event: ev, JSON: wire.AppendEvent(nil, ev), Claims: claims, Vanish: ev.Kind == 62}
}

// IDs collects the ids of a query, failing the test on an error.
func IDs(t *testing.T, seq iter.Seq2[store.Record, error]) (ids []string) {
	t.Helper()
	for rec, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, string(rec.HexID()))
	}
	return ids
}

// Run is the conformance suite. open gives a fresh, running store; settle
// waits until bulk removals are through (nil where there are none).
func Run(t *testing.T, open func(*testing.T) Store, settle func(*testing.T, Store)) {
	t.Run("EqualsThePlainModel", func(t *testing.T) { equalsModel(t, open, settle) })
	t.Run("ChangesReplayToTheSameSet", func(t *testing.T) { changesReplay(t, open, settle) })
}

func equalsModel(t *testing.T, open func(*testing.T) Store, settle func(*testing.T, Store)) {
	for seed := range uint64(8) {
		s, m, w := open(t), NewModel(), NewWorld(seed)
		for step := range 400 {
			ev := w.Event()
			got, err := s.Append(t.Context(), Entry(ev))
			if err != nil {
				t.Fatal(err)
			}
			if want := m.Append(ev, true); got.Outcome != want {
				t.Fatalf("seed %d step %d: kind %d is %v, the model says %v", seed, step, ev.Kind, got.Outcome, want)
			}
			if ev.Kind == 62 && settle != nil {
				settle(t, s)
			}
			if step%4 == 3 {
				compare(t, s, m, w)
			}
		}
	}
}

func compare(t *testing.T, s Store, m *Model, w *World) {
	t.Helper()
	filters := make([]nostr.Filter, 1+w.R.IntN(3))
	for i := range filters {
		filters[i] = w.Filter()
	}
	want := m.Query(filters...)
	got := IDs(t, s.Query(t.Context(), filters...))
	ok := len(got) == len(want)
	for i := 0; ok && i < len(got); i++ {
		ok = got[i] == want[i].ID
	}
	if !ok {
		t.Fatalf("%v:\n got %d %v\nwant %d %v", filters, len(got), got, len(want), want)
	}
	n, err := s.Count(t.Context(), filters...)
	if err != nil {
		t.Fatal(err)
	}
	if n != int64(len(want)) {
		t.Fatalf("%v: count is %d, want %d", filters, n, len(want))
	}
}

// changesReplay follows the log in steps and ends with what a query holds.
func changesReplay(t *testing.T, open func(*testing.T) Store, settle func(*testing.T, Store)) {
	s, w := open(t), NewWorld(99)
	held, at := map[string]bool{}, store.Pos(0)
	follow := func() {
		for c, err := range s.Changes(t.Context(), at) {
			if err != nil {
				t.Fatal(err)
			}
			if c.Pos <= at {
				t.Fatalf("position %d after %d", c.Pos, at)
			}
			at = c.Pos
			if c.Removed != nil {
				delete(held, c.Removed.ID.String())
				continue
			}
			held[string(c.Record.HexID())] = true
		}
	}
	for step := range 600 {
		ev := w.Event()
		if _, err := s.Append(t.Context(), Entry(ev)); err != nil {
			t.Fatal(err)
		}
		if ev.Kind == 62 && settle != nil {
			settle(t, s)
		}
		if step%50 == 0 {
			follow()
		}
	}
	follow()
	all := IDs(t, s.Query(t.Context(), nostr.Filter{}))
	if len(all) != len(held) {
		t.Fatalf("the log replays to %d events, the store holds %d", len(held), len(all))
	}
	for _, id := range all {
		if !held[id] {
			t.Fatalf("%s is held but not in the log", id)
		}
	}
	if at != s.Head() {
		t.Fatalf("the log ends at %d, head is %d", at, s.Head())
	}
}
