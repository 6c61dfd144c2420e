package main

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"agora/relay"
	"agora/relay/admit"
	"agora/relay/peer"
	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
)

// twin is one of two relays in this process.
type twin struct {
	relay *relay.Relay
	store *store.Store
	url   string
}

func startTwin(t *testing.T) *twin {
	t.Helper()
	s, err := store.Open(t.TempDir(), store.Config{MapSize: 1 << 30, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	r, err := relay.New(relay.Config{Logger: slog.New(slog.DiscardHandler)}, relay.Parts{Log: s})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	storeCtx, stopStore := context.WithCancel(context.Background())
	ended := make(chan error, 2) // of the relay, then of the store
	go func() { ended <- r.Run(ctx) }()
	stored := make(chan error, 1) // the store's
	go func() { stored <- s.Run(storeCtx) }()
	srv := httptest.NewServer(r)
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		stopStore()
		if err := <-stored; err != nil {
			t.Error(err)
		}
		srv.Close()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &twin{relay: r, store: s, url: "ws" + strings.TrimPrefix(srv.URL, "http")}
}

func (w *twin) publish(ctx context.Context, ev *nostr.Event, record []byte) (string, error) {
	reply, err := w.relay.Publish(ctx, ev, record, admit.Peer{Origin: admit.Sync})
	if err != nil || reply.OK && reply.Outcome == store.Stored {
		return "", err
	}
	return reply.Reason, nil
}

func (w *twin) ids(t *testing.T) (ids []string) {
	t.Helper()
	for rec, err := range w.store.Query(t.Context(), nostr.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		if rec.Kind() != nostr.KindGiftWrap {
			ids = append(ids, string(rec.HexID()))
		}
	}
	slices.Sort(ids)
	return ids
}

// randomLife makes what two relays may have seen of a few people: notes, lists
// that replace one another, deletions.
func randomLife(t *testing.T, rng *rand.Rand, n int) (list []*nostr.Event) {
	t.Helper()
	keys := make([]string, 5)
	for i := range keys {
		keys[i] = nostr.GeneratePrivateKey()
	}
	for i := range n {
		ev := &nostr.Event{
			Kind: []int{0, 1, 1, 1, 3, 7, 5, 30023, 1059}[rng.IntN(9)], Content: fmt.Sprint("life ", i),
			CreatedAt: nostr.Timestamp(1_700_000_000 + rng.IntN(500)), Tags: nostr.Tags{},
		}
		switch {
		case ev.Kind == 30023:
			ev.Tags = nostr.Tags{{"d", fmt.Sprint(rng.IntN(3))}}
		case ev.Kind == 5 && len(list) > 0:
			ev.Tags = nostr.Tags{{"e", list[rng.IntN(len(list))].ID}}
		case ev.Kind == 1059:
			ev.Tags = nostr.Tags{{"p", strings.Repeat("ab", 32)}}
		}
		if err := ev.Sign(keys[rng.IntN(len(keys))]); err != nil {
			t.Fatal(err)
		}
		list = append(list, ev)
	}
	return list
}

// TestTwoRelaysThatDifferAreEqualAfterOneSync lets both see some of the same
// lives, in different orders, and then meet.
func TestTwoRelaysThatDifferAreEqualAfterOneSync(t *testing.T) {
	for seed := range uint64(3) {
		rng := rand.New(rand.NewPCG(seed, 3))
		a, b := startTwin(t), startTwin(t)
		var g sync.WaitGroup
		for _, ev := range randomLife(t, rng, 600) {
			for _, w := range [][]*twin{{a}, {b}, {a, b}}[rng.IntN(3)] {
				g.Go(func() {
					if why, err := w.publish(t.Context(), ev, nil); err != nil {
						t.Error(why, err)
					}
				})
			}
		}
		g.Wait()
		if slices.Equal(a.ids(t), b.ids(t)) {
			t.Fatal("they do not even differ")
		}
		dialer := peer.NewDialer(peer.DialConfig{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
		sum, err := peer.Sync(t.Context(), dialer, peer.Job{URL: b.url, Direction: peer.Both, Local: a.store, Publish: a.publish})
		if err != nil {
			t.Fatal(err)
		}
		if here, there := a.ids(t), b.ids(t); !slices.Equal(here, there) {
			t.Errorf("seed %d: %d and %d events, %+v", seed, len(here), len(there), sum)
		}
		if sum.Method != "negentropy" || sum.Missing > 0 {
			t.Errorf("%+v", sum)
		}
	}
}
