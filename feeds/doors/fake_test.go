package doors

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"agora/feeds"
	"agora/feeds/market"

	"github.com/nbd-wtf/go-nostr"
)

// world is a small relay: notes, and feeds that rank them by a number that the
// test has given each.
type world struct {
	t      testing.TB
	notes  []*nostr.Event
	others []*nostr.Event     // held, and no note
	score  map[string]float32 // of notes
	gone   map[string]bool
	calls  int
	last   feeds.Request
	fail   error
}

// Query is Events.
func (w *world) Query(_ context.Context, fs ...nostr.Filter) iter.Seq2[*nostr.Event, error] {
	return func(yield func(*nostr.Event, error) bool) {
		for _, ev := range slices.Concat(w.notes, w.others) {
			if !w.gone[ev.ID] && slices.ContainsFunc(fs, func(f nostr.Filter) bool { return f.Matches(ev) }) && !yield(ev, nil) {
				return
			}
		}
	}
}

// Search is Searcher: by a word that stands in the note.
func (w *world) Search(_ context.Context, words string, f nostr.Filter) (ids []string, _ error) {
	for _, ev := range w.notes {
		f.Search = ""
		if strings.Contains(ev.Content, words) && !w.gone[ev.ID] && f.Matches(ev) {
			ids = append(ids, ev.ID)
		}
	}
	return ids, nil
}

// Page is Pages: notes by score, "hot" upwards and all others downwards. The
// cursor is the rank it goes on from.
func (w *world) Page(_ context.Context, r feeds.Request) (feeds.Page, error) {
	w.calls++
	w.last = r
	if w.fail != nil {
		return feeds.Page{}, w.fail
	}
	from := 0
	if r.Cursor != "" {
		var err error
		if from, err = strconv.Atoi(r.Cursor); err != nil {
			return feeds.Page{}, &feeds.Problem{Text: "this cursor is none of ours"}
		}
	}
	list := w.ranking(r)
	page := feeds.Page{Why: feeds.Why{Feed: r.Feed, Asked: r.Feed, Viewer: r.Viewer, Total: len(list), At: time.Now().Unix(), Knobs: r.Knobs}}
	for i := from; i < len(list) && i < from+r.Limit; i++ {
		it := feeds.Item{Event: list[i], Rank: i + 1, Score: w.score[list[i].ID]}
		if r.Reasons {
			it.Reasons = []feeds.Reason{{Feature: "note.age", Value: 1, Weight: 2, Words: "hours since it was written"}}
		}
		page.Items = append(page.Items, it)
	}
	if from+r.Limit < len(list) {
		page.Cursor = strconv.Itoa(from + r.Limit)
	}
	return page, nil
}

func (w *world) ranking(r feeds.Request) []*nostr.Event {
	heads := map[string]bool{}
	list := slices.DeleteFunc(slices.Clone(w.notes), func(ev *nostr.Event) bool {
		at := int64(ev.CreatedAt)
		return w.gone[ev.ID] || len(r.Kinds) > 0 && !slices.Contains(r.Kinds, ev.Kind) || len(r.Authors) > 0 && !slices.Contains(r.Authors, ev.PubKey) ||
			at < r.Since || r.Until > 0 && at > r.Until
	})
	slices.SortStableFunc(list, func(a, b *nostr.Event) int {
		if strings.HasPrefix(r.Feed, "hot") {
			return cmp.Compare(w.score[b.ID], w.score[a.ID])
		}
		return cmp.Compare(w.score[a.ID], w.score[b.ID])
	})
	return slices.DeleteFunc(list, func(ev *nostr.Event) bool {
		if !r.PerHead {
			return false
		}
		was := heads[ev.PubKey]
		heads[ev.PubKey] = true
		return was
	})
}

// wanted are the ids of a feed's page in rank order.
func (w *world) wanted(feed string, kinds ...int) []string {
	return ids(w.ranking(feeds.Request{Feed: feed, Kinds: kinds}))
}

func ids(list []*nostr.Event) []string {
	out := make([]string, 0, len(list))
	for _, ev := range list {
		out = append(out, ev.ID)
	}
	return out
}

// secret is a key of a test, by number.
func secret(n int) string { return fmt.Sprintf("%064x", 0x1000+n) }

func public(t testing.TB, n int) string {
	t.Helper()
	key, err := nostr.GetPublicKey(secret(n))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func signed(t testing.TB, n int, ev nostr.Event) *nostr.Event {
	t.Helper()
	if err := ev.Sign(secret(n)); err != nil {
		t.Fatal(err)
	}
	return &ev
}

// add holds a note of author n, some seconds old.
func (w *world) add(n, kind int, age int64, score float32, text string, tags ...nostr.Tag) *nostr.Event {
	w.t.Helper()
	ev := signed(w.t, n, nostr.Event{Kind: kind, CreatedAt: nostr.Timestamp(time.Now().Unix() - age), Content: text, Tags: tags})
	w.notes = append(w.notes, ev)
	w.score[ev.ID] = score
	return ev
}

// crowd is n notes of several authors and kinds whose scores have nothing to
// do with their age, over three days.
func (w *world) crowd(n int) {
	w.t.Helper()
	kinds := []int{1, 1, 1, 1, 20, 1, 30023, 1, 1068, 1}
	for i := range n {
		w.add(i%7, kinds[i%len(kinds)], int64(i)*(3*86400/int64(n))+60, float32((i*7919)%n), fmt.Sprintf("note %d about topic%d", i, i%3), nostr.Tag{"d", strconv.Itoa(i)})
	}
}

const testURL = "wss://relay.example"

// open gives the doors of a world with the feeds hot, latest, cool and near;
// near depends on who reads, hot has a knob.
func (w *world) open(change func(*Config)) *Doors {
	w.t.Helper()
	stall, err := market.New(market.Config{Events: w, Derive: derive, Authors: []string{public(w.t, 100)}})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, m := range []market.Manifest{
		{Slug: "hot", Name: "Hot", About: "What is hot.", Knobs: []market.Knob{{Name: "gravity", Min: 0, Max: 3, Default: 1.5, Unit: "1", About: "how fast notes sink"}}},
		{Slug: "latest", Name: "Latest"}, {Slug: "cool", Name: "Cool"}, {Slug: "near", Name: "Near you", Personalized: true, Fallback: "hot"},
	} {
		ev := m.Event(nostr.Now())
		if err := ev.Sign(secret(100)); err != nil {
			w.t.Fatal(err)
		}
		if !stall.Take(ev) {
			w.t.Fatalf("%s is not listed", m.Slug)
		}
	}
	cfg := Config{Pages: w, Market: stall, Events: w, Words: w, URL: testURL}
	if change != nil {
		change(&cfg)
	}
	d, err := New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

func derive(address string) ([32]byte, error) { return sha256.Sum256([]byte(address)), nil }

func newWorld(t testing.TB) *world {
	return &world{t: t, score: map[string]float32{}, gone: map[string]bool{}}
}
