package search

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
)

func TestSearchFindsWhatHoldsEveryWordBestFirst(t *testing.T) {
	m := newMemory()
	ix, _ := running(t, t.TempDir(), m, Config{})
	long := m.add(t, note("a relay is what a note goes through, and a relay has search only when somebody has written the search for that relay", 10))
	best := m.add(t, note("relay search", 5))
	m.add(t, note("a relay alone", 7))
	reversed := m.add(t, note("search relay", 9))
	caught(t, ix, m)
	got := find(t, ix, "Relay search", nostr.Filter{})
	if !slices.Equal(got, []store.ID{best, reversed, long}) {
		t.Fatalf("got %d hits in another order: %x", len(got), got)
	}
}

func TestNamesComeBeforeTextsAndMatchByTheirBeginning(t *testing.T) {
	m := newMemory()
	ix, _ := running(t, t.TempDir(), m, Config{})
	text := m.add(t, note("jack said jack and jack", 9))
	jackson := m.add(t, &nostr.Event{Kind: 0, CreatedAt: 2, Content: `{"name":"jackson"}`})
	jack := m.add(t, &nostr.Event{Kind: 0, CreatedAt: 1, Content: `{"name":"jack","about":"bio"}`})
	caught(t, ix, m)
	for query, want := range map[string][]store.ID{
		"jack":     {jack, text, jackson},
		"jac":      {jackson, jack},
		`"jac"`:    nil,
		"jac bio":  nil,
		"bio jac":  {jack},
		"jack -no": {jack, text},
		"j":        nil,
	} {
		got := find(t, ix, query, nostr.Filter{})
		if query == "jac" {
			slices.SortFunc(got, func(x, y store.ID) int { return strings.Compare(string(x[:]), string(y[:])) })
			slices.SortFunc(want, func(x, y store.ID) int { return strings.Compare(string(x[:]), string(y[:])) })
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %x, want %x", query, got, want)
		}
	}
}

func TestScriptsWithoutSpacesAreFoundByAnyPartOfThem(t *testing.T) {
	m := newMemory()
	ix, _ := running(t, t.TempDir(), m, Config{})
	tokyo := m.add(t, note("私は東京都に住んでいる黒猫", 1))
	thai := m.add(t, note("วันนี้อากาศดีมาก", 2))
	korean := m.add(t, note("비트코인을 샀다", 3))
	m.add(t, note("京都の東京タワーではない都市", 4)) // holds both pairs of 東京都, apart
	caught(t, ix, m)
	for query, want := range map[string]store.ID{
		"東京都": tokyo, "猫": tokyo, "住": tokyo, "黒猫": tokyo, "อากาศ": thai, "비트코인": korean, `"私は東"`: tokyo,
	} {
		if got := find(t, ix, query, nostr.Filter{}); !slices.Equal(got, []store.ID{want}) {
			t.Errorf("%s: got %x, want %x", query, got, want)
		}
	}
}

// TestSearchGoesOnPastTheFirstHits takes more than are ranked at first, in
// order and none twice.
func TestSearchGoesOnPastTheFirstHits(t *testing.T) {
	m, r := newMemory(), rand.New(rand.NewPCG(8, 8))
	for i := range 6000 {
		m.add(t, note(fmt.Sprintf("gm number%d", i), r.Int64N(1000)))
	}
	ix, _ := running(t, t.TempDir(), m, Config{})
	caught(t, ix, m)
	hits := ranked(t, ix, Parse("gm"), nostr.Filter{Limit: 5})
	if len(hits) != len(m.held) {
		t.Fatalf("%d hits of %d", len(hits), len(m.held))
	}
	seen := map[store.ID]bool{}
	for i, h := range hits {
		if seen[h.ID] || i > 0 && (h.Score > hits[i-1].Score || h.Score == hits[i-1].Score && h.Created > hits[i-1].Created) {
			t.Fatalf("hit %d comes twice or out of order", i)
		}
		seen[h.ID] = true
	}
}

// TestSearchIsBounded asks what costs most and looks at the clock.
func TestSearchIsBounded(t *testing.T) {
	m := flood(t, 40_000)
	ix, _ := running(t, t.TempDir(), m, Config{Deadline: 100 * time.Millisecond})
	caught(t, ix, m)
	long := strings.Repeat("gm the of and to a ", 100<<10/19)
	many := ""
	for i := range 100 {
		many += fmt.Sprintf("w%d ", i)
	}
	for _, q := range []string{long, many, `"gm gm"`, "gm", strings.Repeat("猫 ", 50), "-gm", "w*", strings.Repeat(`-"gm x" gm `, 40)} {
		began := time.Now()
		n := 0
		for _, err := range ix.Ranked(t.Context(), Parse(q), nostr.Filter{Limit: 20}) {
			if err != nil {
				t.Fatal(err)
			}
			if n++; n == 20 {
				break
			}
		}
		if d := time.Since(began); d > 3*time.Second {
			t.Errorf("%.40q took %v", q, d)
		}
	}
}

// TestDeadlineRanksWhatWasFound gives a query no time at all.
func TestDeadlineRanksWhatWasFound(t *testing.T) {
	m := flood(t, 2000)
	ix, _ := running(t, t.TempDir(), m, Config{Deadline: time.Nanosecond})
	caught(t, ix, m)
	if got := find(t, ix, "gm", nostr.Filter{}); len(got) >= len(m.held) {
		t.Fatalf("all %d hits came past the deadline", len(got))
	}
}

func TestCancelledSearchSaysSo(t *testing.T) {
	m := flood(t, 100)
	ix, stop := running(t, t.TempDir(), m, Config{})
	caught(t, ix, m)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for _, err := range ix.Search(ctx, "gm", nostr.Filter{}) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
	stop()
	for _, err := range ix.Search(t.Context(), "gm", nostr.Filter{}) {
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
}

func TestEmptyListsInAFilterMatchNothing(t *testing.T) {
	m := flood(t, 10)
	ix, _ := running(t, t.TempDir(), m, Config{})
	caught(t, ix, m)
	for _, f := range []nostr.Filter{
		{Kinds: []int{}}, {Authors: []string{}}, {IDs: []string{}}, {Tags: nostr.TagMap{"p": {}}},
		{Authors: []string{"zz"}}, {Tags: nostr.TagMap{"long": {"x"}}},
	} {
		if got := find(t, ix, "gm", f); len(got) != 0 {
			t.Errorf("%v: %d hits", f, len(got))
		}
	}
}

// TestOneEventHasAtMostSoManyWords indexes the longest hostile contents.
func TestOneEventHasAtMostSoManyWords(t *testing.T) {
	m := newMemory()
	ix, _ := running(t, t.TempDir(), m, Config{})
	var b strings.Builder
	for i := range 60_000 {
		fmt.Fprintf(&b, "w%x ", i)
	}
	id := m.add(t, note(b.String(), 1))
	for _, s := range []string{"a", "\u0301", "東", "ﷺ", "🤣 "} {
		m.add(t, note(strings.Repeat(s, 512<<10/len(s)), 2))
	}
	caught(t, ix, m)
	if got := find(t, ix, "w0 w1387", nostr.Filter{}); !slices.Equal(got, []store.ID{id}) {
		t.Errorf("the first words are not found: %x", got)
	}
	if got := find(t, ix, "we000", nostr.Filter{}); len(got) != 0 {
		t.Errorf("a word beyond the bound is found: %x", got)
	}
	checkDisk(t, ix)
}
