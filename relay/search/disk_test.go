package search

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"agora/relay/store"

	"github.com/PowerDNS/lmdb-go/lmdb"
	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// TestRemovedTextLeavesTheDisk looks for the removed word itself.
func TestRemovedTextLeavesTheDisk(t *testing.T) {
	m := newMemory()
	ix, stop := running(t, t.TempDir(), m, Config{})
	id := m.add(t, note("xylophone of mine", 1))
	m.add(t, note("a trumpet", 2))
	caught(t, ix, m)
	if n := pagesWith(t, ix, "xylophone"); n == 0 {
		t.Fatal("the word is not on the disk in the first place")
	}
	m.remove(id)
	caught(t, ix, m)
	ix = tidied(t, ix, m, stop)
	if n := pagesWith(t, ix, "xylophone"); n > 0 {
		t.Fatalf("the word is still on %d pages", n)
	}
	if n := pagesWith(t, ix, "trumpet"); n != 1 {
		t.Fatalf("the other note's word is on %d pages", n)
	}
}

// tidied stops an index and returns it open, with everything merged that Run
// would have merged while idle.
func tidied(t *testing.T, ix *Index, m source, stop func()) *Index {
	t.Helper()
	stop()
	ix, err := open(filepath.Dir(ix.dir), m, Config{NoSync: true, Kinds: ix.cfg.Kinds, Budget: ix.cfg.Budget})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ix.Close() })
	for busy := true; busy; {
		if busy, err = ix.tidy(); err != nil {
			t.Fatal(err)
		}
	}
	return ix
}

func pagesWith(t *testing.T, ix *Index, word string) (n int) {
	t.Helper()
	err := ix.view(func(v *view, _ *state) error {
		for k, val, err := v.cur.Get(nil, nil, lmdb.First); !lmdb.IsNotFound(err); k, val, err = v.cur.Get(nil, nil, lmdb.Next) {
			if err != nil {
				return err
			}
			if bytes.Contains(k, []byte(word)) || bytes.Contains(val, []byte(word)) {
				n++
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestFullBudgetDropsTheOldestAndTheFileStaysWithin(t *testing.T) {
	const budget = 16 << 20
	reg := prometheus.NewRegistry()
	m, r := newMemory(), rand.New(rand.NewPCG(3, 3))
	ix, stop := running(t, t.TempDir(), m, Config{Budget: budget, Metrics: reg})
	var first, last store.ID
	for i := range 20_000 {
		var b strings.Builder
		fmt.Fprintf(&b, "needle%d", i)
		for range 15 { // words that no two events share
			fmt.Fprintf(&b, " x%015x%015x%015x", r.Int64(), r.Int64(), r.Int64())
		}
		last = m.add(t, note(b.String(), int64(1_600_000_000+i)))
		if i == 0 {
			first = last
		}
	}
	caught(t, ix, m)
	st, err := ix.Stats()
	if err != nil || st.Dropped == 0 || st.Documents+st.Dropped != 20_000 || st.Bytes > budget {
		t.Fatalf("%+v, %v", st, err)
	}
	info, err := os.Stat(filepath.Join(ix.dir, "data.mdb"))
	if err != nil || info.Size() > budget {
		t.Fatalf("the file has %d bytes, %v", info.Size(), err)
	}
	if got := find(t, ix, "needle19999", nostr.Filter{}); !slices.Equal(got, []store.ID{last}) {
		t.Fatalf("the newest is not found: %x", got)
	}
	if got := find(t, ix, "needle0", nostr.Filter{}); len(got) != 0 {
		t.Fatalf("the oldest (%x) is still found: %x", first[:4], got)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) { // another segment may go between the two looks
		got := metric(t, reg, "agora_search_dropped_events_total").GetCounter().GetValue()
		if st, err = ix.Stats(); err != nil {
			t.Fatal(err)
		}
		if got == float64(st.Dropped) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the metric says %v of %d", got, st.Dropped)
		}
	}
	t.Logf("%+v, file of %d bytes", st, info.Size())
	ix = tidied(t, ix, m, stop)
	if n := ix.st.bytes(); n > budget/4*3 {
		t.Fatalf("segments take %d bytes: nothing is left for merging", n)
	}
}

func TestSmallerBudgetGivesTheDiskBack(t *testing.T) {
	m := newMemory()
	ix, stop := running(t, t.TempDir(), m, Config{Budget: 64 << 20})
	r := rand.New(rand.NewPCG(4, 4))
	for i := range 20_000 {
		words := make([]string, 15)
		for j := range words {
			words[j] = fmt.Sprintf("x%015x%015x%015x", r.Int64(), r.Int64(), r.Int64())
		}
		m.add(t, note(strings.Join(words, " "), int64(1_600_000_000+i)))
	}
	id := m.add(t, note("needle", 1_700_000_000))
	caught(t, ix, m)
	stop()
	file := filepath.Join(ix.dir, "data.mdb")
	if info, err := os.Stat(file); err != nil || info.Size() <= 16<<20 {
		t.Fatalf("the first file is too small for this test: %v", err)
	}
	ix, _ = running(t, filepath.Dir(ix.dir), m, Config{Budget: 16 << 20})
	caught(t, ix, m)
	if info, err := os.Stat(file); err != nil || info.Size() > 16<<20 {
		t.Fatalf("the file has %d bytes, %v", info.Size(), err)
	}
	if got := find(t, ix, "needle", nostr.Filter{}); !slices.Equal(got, []store.ID{id}) {
		t.Fatalf("found %x", got)
	}
}

func metric(t *testing.T, reg *prometheus.Registry, name string) *dto.Metric {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0]
		}
	}
	t.Fatalf("no metric %s", name)
	return nil
}

// TestLagStaysBelowTwoSeconds publishes for a while at 2,000 a second, with
// the default settings, and reads the metric.
func TestLagStaysBelowTwoSeconds(t *testing.T) {
	reg := prometheus.NewRegistry()
	m := newMemory()
	ix, err := open(t.TempDir(), m, Config{Metrics: reg})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1) // one result
	go func() { done <- ix.Run(ctx) }()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for i := range 200 {
		<-tick.C
		for j := range 20 {
			m.add(t, note(fmt.Sprintf("tick number%d %d", i, j), int64(i)))
		}
	}
	caught(t, ix, m)
	h := metric(t, reg, "agora_search_lag_seconds").GetHistogram()
	for _, b := range h.GetBucket() {
		if b.GetUpperBound() == 2 && b.GetCumulativeCount() < h.GetSampleCount()*99/100 {
			t.Errorf("%d of %d batches within 2 s", b.GetCumulativeCount(), h.GetSampleCount())
		}
	}
	if h.GetSampleCount() < 3 {
		t.Errorf("%d batches were measured", h.GetSampleCount())
	}
	cancel()
	if err := errors.Join(<-done, ix.Close()); err != nil {
		t.Fatal(err)
	}
}

// TestLongListsAreWholeAfterMerges indexes a word so common that its list goes
// over several pages, with removals in between.
func TestLongListsAreWholeAfterMerges(t *testing.T) {
	m := flood(t, 70_000)
	ix, stop := running(t, t.TempDir(), m, Config{Kinds: []int{1}})
	caught(t, ix, m)
	ix = tidied(t, ix, m, stop)
	q := Parse("gm")
	var hits, pieces, postings int
	err := ix.view(func(v *view, st *state) error {
		r := ranking{q: &q, most: 1 << 20, ctx: t.Context(), deadline: time.Now().Add(time.Minute)}
		if err := r.run(v, st); err != nil {
			return err
		}
		hits = len(r.best)
		for _, s := range st.Segments {
			p, n, err := v.list(s.Number, []byte("gm"))
			if err != nil {
				return err
			}
			pieces, postings = max(pieces, len(p)), postings+int(n)
		}
		return nil
	})
	if err != nil || hits != len(m.held) || postings < hits || pieces < 2 {
		t.Fatalf("%d hits, %d postings, up to %d pieces, of %d events: %v", hits, postings, pieces, len(m.held), err)
	}
	checkDisk(t, ix)
	again(t, ix)
	if got := find(t, ix, "gm number69999", nostr.Filter{}); len(got) > 1 {
		t.Fatalf("a note is found %d times", len(got))
	}
	checkDisk(t, ix)
	if err := ix.view(func(v *view, st *state) error {
		r := ranking{q: &q, most: 1 << 20, ctx: t.Context(), deadline: time.Now().Add(time.Minute)}
		err := r.run(v, st)
		if len(r.best) != hits {
			t.Errorf("%d hits after another merge, %d before", len(r.best), hits)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

// again merges all segments into one, long lists included.
func again(t *testing.T, ix *Index) {
	t.Helper()
	err := ix.beginMerge(0, len(ix.st.Segments))
	for err == nil && ix.merge != nil {
		err = ix.mergeOn()
	}
	if err != nil || len(ix.st.Segments) != 1 {
		t.Fatalf("%d segments, %v", len(ix.st.Segments), err)
	}
}

// TestSearchesWhileTheIndexChanges runs queries beside writing, merging and
// closing.
func TestSearchesWhileTheIndexChanges(t *testing.T) {
	m := newMemory()
	ix, stop := running(t, t.TempDir(), m, Config{})
	done := make(chan error, 4) // one result of each
	for range 4 {
		go func() {
			for {
				for h, err := range ix.Ranked(context.Background(), Parse("gm number"), nostr.Filter{Kinds: []int{1}}) {
					if errors.Is(err, store.ErrClosed) {
						done <- nil
						return
					}
					if err != nil || h.Score <= 0 {
						done <- fmt.Errorf("hit %+v: %w", h, err)
						return
					}
				}
			}
		}()
	}
	for i := range 3000 {
		id := m.add(t, note(fmt.Sprint("gm number ", i), int64(i)))
		if i%5 == 0 {
			m.remove(id)
		}
	}
	caught(t, ix, m)
	stop()
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestDamagedPagesAreNamed(t *testing.T) {
	m := newMemory()
	ix, stop := running(t, t.TempDir(), m, Config{})
	m.add(t, note("hello world", 1))
	caught(t, ix, m)
	err := ix.env.Update(func(txn *lmdb.Txn) error {
		cur, err := txn.OpenCursor(ix.pages)
		if err != nil {
			return err
		}
		defer cur.Close()
		k, v, err := cur.Get(pageKey(0, 't'), nil, lmdb.SetRange)
		for err == nil && k[8] != 't' {
			k, v, err = cur.Get(nil, nil, lmdb.Next)
		}
		if err != nil {
			return err
		}
		return txn.Put(ix.pages, k, v[:len(v)-1], 0)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range ix.Search(t.Context(), "world", nostr.Filter{}) {
		if !errors.Is(err, errDamaged) {
			t.Fatalf("got %v", err)
		}
		stop()
		return
	}
	t.Fatal("the damage was not noticed")
}
