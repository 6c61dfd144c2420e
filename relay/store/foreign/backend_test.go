package foreign

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"testing"
	"time"

	"agora/relay/store"
	"agora/relay/wire"

	"github.com/fiatjaf/eventstore"
	"github.com/nbd-wtf/go-nostr"
)

// lent is our own store as an eventstore.Store.
func lent(t *testing.T) *Backend {
	t.Helper()
	st, err := store.Open(t.TempDir(), store.Config{MapSize: 1 << 30, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1) // one error, sent when Run returns
	go func() { ended <- st.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, st.Close()); err != nil {
			t.Error(err)
		}
	})
	b := &Backend{Writer: st, Reader: st, Encode: wire.AppendEvent, Vanish: func(*nostr.Event) bool { return true }}
	if err := b.Init(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func (b *Backend) contents(t *testing.T, f nostr.Filter) (contents []string) {
	t.Helper()
	ch, err := b.QueryEvents(t.Context(), f)
	if err != nil {
		t.Fatal(err)
	}
	for ev := range ch {
		if ok, err := ev.CheckSignature(); !ok || err != nil {
			t.Errorf("%v came back changed", ev)
		}
		contents = append(contents, ev.Content)
	}
	return contents
}

func TestOurStoreServesAsAnEventstore(t *testing.T) {
	b := lent(t)
	alice := nostr.GeneratePrivateKey()
	one := signed(t, alice, 1, 100, "one", nostr.Tag{"t", "x"})
	two := signed(t, alice, 1, 200, "two")
	for _, ev := range []*nostr.Event{one, two} {
		if err := b.SaveEvent(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.SaveEvent(t.Context(), one); !errors.Is(err, eventstore.ErrDupEvent) {
		t.Errorf("a duplicate: %v", err)
	}
	if got := b.contents(t, nostr.Filter{}); !slices.Equal(got, []string{"two", "one"}) {
		t.Errorf("all: %v", got)
	}
	if got := b.contents(t, nostr.Filter{Tags: nostr.TagMap{"t": {"x"}}}); !slices.Equal(got, []string{"one"}) {
		t.Errorf("by tag: %v", got)
	}
	if got := b.contents(t, nostr.Filter{LimitZero: true}); got != nil {
		t.Errorf("limit 0: %v", got)
	}
	if got := b.contents(t, nostr.Filter{Search: "one"}); got != nil {
		t.Errorf("search is not the store's: %v", got)
	}
	if n, err := b.CountEvents(t.Context(), nostr.Filter{Limit: 1}); n != 2 || err != nil {
		t.Errorf("count: %d %v", n, err)
	}
	if err := b.DeleteEvent(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	if err := b.SaveEvent(t.Context(), one); err != nil {
		t.Errorf("a removed event comes again: %v", err)
	}
}

func TestOurStoreReplacesForItsCaller(t *testing.T) {
	b := lent(t)
	alice := nostr.GeneratePrivateKey()
	for _, ev := range []*nostr.Event{
		signed(t, alice, 0, 200, "new"), signed(t, alice, 0, 100, "old"), signed(t, alice, 0, 200, "new"),
	} {
		if err := b.ReplaceEvent(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
	}
	if got := b.contents(t, nostr.Filter{Kinds: []int{0}}); !slices.Equal(got, []string{"new"}) {
		t.Errorf("profiles: %v", got)
	}
	note := signed(t, alice, 1, 150, "note")
	for _, ev := range []*nostr.Event{note, signed(t, alice, 5, 160, "", nostr.Tag{"e", note.ID})} {
		if err := b.SaveEvent(t.Context(), ev); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.SaveEvent(t.Context(), note); err == nil || errors.Is(err, eventstore.ErrDupEvent) {
		t.Errorf("a deleted event comes again: %v", err)
	}
	if err := b.SaveEvent(t.Context(), signed(t, alice, 62, 300, "")); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); len(b.contents(t, nostr.Filter{Kinds: []int{0, 1}})) > 0; {
		if time.Now().After(end) {
			t.Fatal("a vanished key's events stay")
		}
	}
}

func TestAbandonedAnswerLeavesNoGoroutine(t *testing.T) {
	b := lent(t)
	alice := nostr.GeneratePrivateKey()
	for i := range 20 {
		if err := b.SaveEvent(t.Context(), signed(t, alice, 1, nostr.Timestamp(i+1), "x")); err != nil {
			t.Fatal(err)
		}
	}
	before := runtime.NumGoroutine()
	for range 100 {
		ch, err := b.QueryEvents(context.Background(), nostr.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		<-ch // and no more
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines, %d before", after, before)
	}
}

func TestBackendBoundsItsAnswers(t *testing.T) {
	b := lent(t)
	b.MaxLimit = 3
	alice := nostr.GeneratePrivateKey()
	for i := range 9 {
		if err := b.SaveEvent(t.Context(), signed(t, alice, 1, nostr.Timestamp(i+1), "x")); err != nil {
			t.Fatal(err)
		}
	}
	for limit, want := range map[int]int{0: 3, 2: 2, 1000: 3} {
		if got := len(b.contents(t, nostr.Filter{Limit: limit})); got != want {
			t.Errorf("limit %d gives %d events, want %d", limit, got, want)
		}
	}
}
