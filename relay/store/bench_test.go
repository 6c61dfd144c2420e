package store_test

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"testing"

	"agora/relay/store"
	"agora/relay/store/storetest"

	"github.com/nbd-wtf/go-nostr"
)

// benchEvents makes n notes and reactions of 500 authors, about 600 bytes each.
func benchEvents(n int) []*nostr.Event {
	r := rand.New(rand.NewPCG(1, 2))
	h := func() string {
		var b [32]byte
		for i := range b {
			b[i] = byte(r.UintN(256))
		}
		return hex.EncodeToString(b[:])
	}
	authors := make([]string, 500)
	for i := range authors {
		authors[i] = h()
	}
	out := make([]*nostr.Event, n)
	for i := range out {
		ev := &nostr.Event{ID: h(), PubKey: authors[r.IntN(500)], CreatedAt: nostr.Timestamp(1_700_000_000 + i/4), Kind: 1,
			Tags: nostr.Tags{}, Sig: h() + h(), Content: fmt.Sprintf("%0150d", i)}
		if i > 10 && i%2 == 0 {
			ev.Kind = 7
			ev.Tags = nostr.Tags{{"e", out[r.IntN(i)].ID}, {"p", authors[r.IntN(500)]}}
		}
		out[i] = ev
	}
	return out
}

// BenchmarkAppend stores events in shared, synced commits.
func BenchmarkAppend(b *testing.B) {
	for _, sync := range []bool{true, false} {
		b.Run(fmt.Sprintf("sync=%v", sync), func(b *testing.B) {
			events := benchEvents(b.N)
			entries := make([]store.Entry, b.N)
			for i := range entries {
				entries[i] = storetest.Entry(events[i])
			}
			s := benchStore(b, !sync)
			b.ReportAllocs()
			b.ResetTimer()
			left := make(chan struct{}, 256) // events in flight
			for i := range b.N {
				left <- struct{}{}
				if err := s.Submit(b.Context(), entries[i], func(r store.Result, err error) {
					if err != nil || r.Outcome != store.Stored {
						b.Error(r, err)
					}
					<-left
				}); err != nil {
					b.Fatal(err)
				}
			}
			for range cap(left) {
				left <- struct{}{}
			}
		})
	}
}

func benchStore(b *testing.B, noSync bool) *store.Store {
	s, err := store.Open(b.TempDir(), store.Config{NoSync: noSync})
	if err != nil {
		b.Fatal(err)
	}
	go func() { _ = s.Run(b.Context()) }()
	return s
}

func loaded(b *testing.B, n int) (*store.Store, []*nostr.Event) {
	s := benchStore(b, true)
	events := benchEvents(n)
	for _, ev := range events {
		if err := s.Submit(b.Context(), storetest.Entry(ev), func(store.Result, error) {}); err != nil {
			b.Fatal(err)
		}
	}
	if err := s.SetMeta(b.Context(), "done", []byte{1}); err != nil {
		b.Fatal(err)
	}
	return s, events
}

// BenchmarkQuery reads the shapes of filter that clients send most.
func BenchmarkQuery(b *testing.B) {
	s, events := loaded(b, 50_000)
	authors := map[string]bool{}
	var feed, ids []string
	for _, ev := range events {
		if !authors[ev.PubKey] && len(feed) < 200 {
			authors[ev.PubKey] = true
			feed = append(feed, ev.PubKey)
		}
	}
	for i := range 50 {
		ids = append(ids, events[i*97].ID)
	}
	for name, f := range map[string]nostr.Filter{
		"kinds=1,7/limit=500":     {Kinds: []int{1, 7}, Limit: 500},
		"feed/authors=200":        {Kinds: []int{1}, Authors: feed, Limit: 100},
		"ids=50":                  {IDs: ids},
		"latest/limit=500":        {Limit: 500},
		"reactions/e=1":           {Kinds: []int{7}, Tags: nostr.TagMap{"e": ids[:1]}},
		"author+kind/limit=20":    {Kinds: []int{1}, Authors: feed[:1], Limit: 20},
		"mentions/p=1/kinds=1,7":  {Kinds: []int{1, 7}, Tags: nostr.TagMap{"p": feed[:1]}, Limit: 100},
		"everything/kind=1/count": {Kinds: []int{1}},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			rows := 0
			for b.Loop() {
				if name == "everything/kind=1/count" {
					n, err := s.Count(b.Context(), f)
					if err != nil {
						b.Fatal(err)
					}
					rows = int(n)
					continue
				}
				rows = 0
				for _, err := range s.Query(b.Context(), f) {
					if err != nil {
						b.Fatal(err)
					}
					rows++
				}
			}
			b.ReportMetric(float64(rows), "rows")
		})
	}
}
