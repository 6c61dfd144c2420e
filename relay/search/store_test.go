package search

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"agora/relay/store"
	"agora/relay/store/storetest"

	"github.com/nbd-wtf/go-nostr"
)

// openStore is a running store of dir.
func openStore(t *testing.T, dir string) (*store.Store, func()) {
	t.Helper()
	s, err := store.Open(dir, store.Config{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1) // one result
	go func() { done <- s.Run(ctx) }()
	return s, func() {
		cancel()
		if err := errors.Join(<-done, s.Close()); err != nil {
			t.Error(err)
		}
	}
}

func put(t *testing.T, s *store.Store, ev *nostr.Event) store.ID {
	t.Helper()
	rec := record(t, ev)
	ev.Sig = strings.Repeat("0", 128)
	res, err := s.Append(t.Context(), storetest.Entry(ev))
	if err != nil || res.Outcome != store.Stored {
		t.Fatalf("%v %v", res.Outcome, err)
	}
	return rec.ID()
}

// TestIndexFollowsARealStore publishes, replaces, deletes and restarts.
func TestIndexFollowsARealStore(t *testing.T) {
	dir := t.TempDir()
	s, closeStore := openStore(t, dir)
	ix, err := Open(dir, s, Config{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1) // one result
	go func() { done <- ix.Run(ctx) }()
	now := time.Now().Unix()

	old := put(t, s, &nostr.Event{Kind: 0, CreatedAt: nostr.Timestamp(now - 9), Content: `{"name":"fiatjaf"}`})
	caught(t, ix, s)
	want := func(query string, f nostr.Filter, ids ...store.ID) {
		t.Helper()
		if got := find(t, ix, query, f); !slices.Equal(got, ids) {
			t.Errorf("%q: got %x, want %x", query, got, ids)
		}
	}
	want("fiatj", nostr.Filter{}, old)
	profile := put(t, s, &nostr.Event{Kind: 0, CreatedAt: nostr.Timestamp(now - 8), Content: `{"name":"fiatjaf","about":"the relay"}`})
	first := put(t, s, note("talking of fiatjaf", now-7))
	second := put(t, s, note("second note of the relay", now-6))
	caught(t, ix, s)
	want("fiatjaf", nostr.Filter{}, profile, first)
	want("relay", nostr.Filter{Kinds: []int{1}}, second)
	want("include:spam language:en", nostr.Filter{Kinds: []int{1}}, second, first)
	want("!!!", nostr.Filter{})
	put(t, s, &nostr.Event{Kind: 5, CreatedAt: nostr.Timestamp(now - 5), Tags: nostr.Tags{{"e", first.String()}}})
	caught(t, ix, s)
	want("fiatjaf", nostr.Filter{}, profile)

	cancel()
	if err := errors.Join(<-done, ix.Close()); err != nil {
		t.Fatal(err)
	}
	closeStore()
	s, closeStore = openStore(t, dir)
	defer closeStore()
	third := put(t, s, note("third note", now-4))
	ix, _ = running(t, dir, s, Config{})
	caught(t, ix, s)
	want("note", nostr.Filter{}, third, second)
}

func TestIndexMayBeDeletedAndComesBack(t *testing.T) {
	dir := t.TempDir()
	s, closeStore := openStore(t, dir)
	defer closeStore()
	for i := range 300 {
		put(t, s, note(fmt.Sprint("gm ", i), time.Now().Unix()-int64(i)))
	}
	for range 2 {
		ix, stop := running(t, t.TempDir(), s, Config{})
		caught(t, ix, s)
		if got := find(t, ix, "gm", nostr.Filter{}); len(got) != 300 {
			t.Fatalf("found %d", len(got))
		}
		stop()
	}
}
