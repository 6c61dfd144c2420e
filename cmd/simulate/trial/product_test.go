package trial

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"agora/cmd/simulate/crowd"
	"agora/feeds"
	"agora/feeds/tally"
	"agora/ranker"
	"agora/ranker/feature"
	"agora/relay/store"
	"agora/relay/wire"

	"github.com/nbd-wtf/go-nostr"
)

// TestCoLikersAreThoseOfFeeds puts a crowd's log into a store, lets feeds make
// pages of it, and compares what it finds around readers with what a trial does.
func TestCoLikersAreThoseOfFeeds(t *testing.T) {
	now := time.Now().Unix()
	log := recentLog(small(t, 5), now)
	r := newReplay(log, newWeb(log.Follows, log.Mutes, map[int32][]float32{}))
	r.advance(now)
	f := openFeeds(t, log, r.web)
	for _, reader := range busiest(r, 4) {
		mine := r.web.of(reader)
		near := r.surroundings(reader, mine)
		if len(near.likes) < 20 {
			t.Fatalf("reader %d has only %d notes by co-likers", reader, len(near.likes))
		}
		place := map[string]int32{}
		for n := range log.Notes {
			place[log.Notes[n].ID] = int32(n)
		}
		for slug, want := range map[string]func(n int32) float32{
			"colike":   func(n int32) float32 { return near.likes[n] },
			"interest": func(n int32) float32 { return r.between(reader, log.Notes[n].Author, mine, near).Interest },
			"hops":     func(n int32) float32 { return float32(r.web.hops(reader, log.Notes[n].Author, mine)) },
		} {
			page, err := f.Page(t.Context(), feeds.Request{Feed: slug, Viewer: log.Keys[reader], Limit: 500})
			if err != nil {
				t.Fatal(err)
			}
			checked := 0
			for _, it := range page.Items {
				n, ok := place[it.Event.ID]
				if !ok {
					continue // an answer or a quote, which a trial has no notes of
				}
				checked++
				// a like may grow an hour older while this runs
				if w := want(n); math.Abs(float64(it.Score-w)) > 0.02*float64(w) {
					t.Fatalf("%s of reader %d: feeds says %v, the trial %v", slug, reader, it.Score, w)
				}
			}
			if page.Why.Fallback != "" || checked < 100 {
				t.Fatalf("%s: %d notes, fallback %q", slug, checked, page.Why.Fallback)
			}
		}
	}
}

// recentLog is a log that ends now, without zaps, whose receipts nobody signed.
func recentLog(log *crowd.Log, now int64) *crowd.Log {
	l := *log
	off := now - 60 - l.End
	l.Start, l.End = l.Start+off, l.End+off
	l.Notes = slices.Clone(l.Notes)
	for i := range l.Notes {
		l.Notes[i].At += off
	}
	l.Acts = slices.DeleteFunc(slices.Clone(l.Acts), func(a crowd.Act) bool { return a.Deed == crowd.Zap })
	for i := range l.Acts {
		l.Acts[i].At += off
	}
	return &l
}

// busiest are the readers who did most, one of them at least without a list.
func busiest(r *replay, n int) []int32 {
	all := slices.Clone(r.log.Readers)
	slices.SortStableFunc(all, func(a, b int32) int { return len(r.past[b]) - len(r.past[a]) })
	bare := slices.IndexFunc(all, func(who int32) bool { return r.web.sets[who] == nil })
	return append(all[:n-1], all[max(bare, n-1)])
}

// plainGraph is a trial's web as feeds ask for a graph.
type plainGraph struct {
	log   *crowd.Log
	web   *web
	place map[string]int32
}

type plainView struct {
	*plainGraph
	viewer int32 // -1: nobody
}

func (g *plainGraph) Follows(key string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, whom := range g.log.Follows[g.place[key]] {
			if !yield(g.log.Keys[whom]) {
				return
			}
		}
	}
}

func (g *plainGraph) From(viewer string) feeds.View {
	if viewer == "" {
		return plainView{g, -1}
	}
	return plainView{g, g.place[viewer]}
}

func (v plainView) trust() []float32 {
	if v.viewer < 0 {
		return v.web.global
	}
	return v.web.of(v.viewer)
}

func (v plainView) Trust(key string) float32 { return v.trust()[v.place[key]] }

func (g *plainGraph) Muted(string, string) bool { return false }

func (v plainView) Toward(key string) feeds.Standing {
	who := v.place[key]
	return feeds.Standing{Trust: v.trust()[who], Hops: int(v.web.hops(v.viewer, who, v.trust())), Follows: v.web.sets[v.viewer][who]}
}

func (v plainView) About(key string) feeds.Known {
	return feeds.Known{Trust: v.web.global[v.place[key]]}
}

// columnOf is a scorer whose score is one column.
type columnOf struct{ names map[ranker.Digest]string }

func (c columnOf) Plan(_ context.Context, d ranker.Digest) (*feature.Plan, error) {
	return feature.Compile([]feature.Input{{Name: c.names[d], Shape: []int64{-1}}})
}

func (c columnOf) Score(_ context.Context, _ ranker.Digest, b feature.Batch) ([]float32, error) {
	return slices.Clone(b.Inputs[0].Float), nil
}

func (c columnOf) Listing(slug string) (feeds.Listing, bool) {
	for d, name := range c.names {
		if strings.HasSuffix(name, "."+slug) {
			return feeds.Listing{Slug: slug, Model: d, Tier: feature.Viewer, Stages: []string{"from-recent", "colike half_life=72 popularity=0.5"}}, true
		}
	}
	return feeds.Listing{}, false
}

type stored struct{ *store.Store }

func (s stored) Query(ctx context.Context, f ...nostr.Filter) iter.Seq2[*nostr.Event, error] {
	return func(yield func(*nostr.Event, error) bool) {
		for r, err := range s.Store.Query(ctx, f...) {
			if err != nil {
				yield(nil, err)
				return
			}
			if ev, err := r.Event(); !yield(ev, err) {
				return
			}
		}
	}
}

func openFeeds(t *testing.T, log *crowd.Log, w *web) *feeds.Feeds {
	t.Helper()
	st, err := store.Open(t.TempDir(), store.Config{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	runs(t, st.Run)
	g := &plainGraph{log, w, map[string]int32{}}
	for i, k := range log.Keys {
		g.place[k] = int32(i)
	}
	for i, a := range log.Acts {
		ev := eventOf(log, a, i)
		if err := st.Submit(t.Context(), store.Entry{Event: ev, JSON: wire.AppendEvent(nil, ev)}, func(store.Result, error) {}); err != nil {
			t.Fatal(err)
		}
	}
	last := &nostr.Event{ID: strings.Repeat("e", 64), PubKey: log.Keys[0], Kind: 10002, CreatedAt: nostr.Timestamp(log.End), Tags: nostr.Tags{}, Sig: strings.Repeat("e", 128)}
	if _, err := st.Append(t.Context(), store.Entry{Event: last, JSON: wire.AppendEvent(nil, last)}); err != nil {
		t.Fatal(err)
	}
	counts, err := tally.New(tally.Config{Store: st, Trust: func() func(tally.Key) float32 {
		return func(k tally.Key) float32 { return w.global[g.place[hex.EncodeToString(k[:])]] }
	}})
	if err != nil {
		t.Fatal(err)
	}
	runs(t, counts.Run)
	if err := counts.WaitFor(t.Context(), st.Head()); err != nil {
		t.Fatal(err)
	}
	columns := columnOf{map[ranker.Digest]string{{1}: "stage.colike", {2}: "pair.interest", {3}: "pair.hops"}}
	f, err := feeds.New(feeds.Config{Events: stored{st}, Graph: g, Tally: counts, Listings: columns, Scorer: columns})
	if err != nil {
		t.Fatal(err)
	}
	counts.Reweigh(time.Now())
	f.LookOver(time.Now())
	return f
}

func runs(t *testing.T, what func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1) // one result
	go func() { done <- what(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// eventOf is an act as an unsigned event.
func eventOf(log *crowd.Log, a crowd.Act, i int) *nostr.Event {
	n := log.Notes[a.Note]
	ev := &nostr.Event{
		ID: fmt.Sprintf("%064x", i+1), PubKey: log.Keys[a.Who], CreatedAt: nostr.Timestamp(a.At), Sig: strings.Repeat("e", 128),
		Tags: nostr.Tags{{"e", n.ID}, {"p", log.Keys[n.Author]}},
	}
	switch a.Deed {
	case crowd.Write:
		ev.ID, ev.Kind, ev.Content, ev.Tags = n.ID, 1, n.Text, nostr.Tags{}
	case crowd.Like:
		ev.Kind, ev.Content = 7, "+"
	case crowd.Dislike:
		ev.Kind, ev.Content = 7, "-"
	case crowd.Emoji:
		ev.Kind, ev.Content = 7, "🤙"
	case crowd.Reply:
		ev.Kind, ev.Content, ev.Tags[0] = 1, "yes", nostr.Tag{"e", n.ID, "", "root"}
	case crowd.Quote:
		ev.Kind, ev.Content, ev.Tags[0] = 1, "see", nostr.Tag{"q", n.ID}
	case crowd.Repost:
		ev.Kind = 6
	case crowd.Report:
		ev.Kind, ev.Tags[0] = 1984, nostr.Tag{"e", n.ID, "spam"}
	}
	return ev
}
