package search

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
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

// checkDisk reads every page and fails on what does not add up: pages of no
// segment, documents that cannot be found by id, postings of documents that do
// not exist. It returns the ids that are not marked as gone.
func checkDisk(t *testing.T, ix *Index) map[store.ID]int {
	t.Helper()
	live := map[store.ID]int{}
	err := ix.view(func(v *view, st *state) error {
		known := map[uint64]bool{}
		for _, s := range st.Segments {
			known[s.Number] = true
			checkSegment(t, v, s, live)
		}
		for _, n := range st.Trash {
			known[n] = true
		}
		if st.Rebuild == nil && ix.merge != nil {
			known[ix.merge.into.Number] = true
		}
		for k, _, err := v.cur.Get(nil, nil, lmdb.First); !lmdb.IsNotFound(err); k, _, err = v.cur.Get(nil, nil, lmdb.Next) {
			if err != nil {
				return err
			}
			if n := binary.BigEndian.Uint64(k); !known[n] {
				return fmt.Errorf("page %q of segment %d, which the state does not know", k[8:], n)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return live
}

func checkSegment(t *testing.T, v *view, s segment, live map[store.ID]int) {
	t.Helper()
	dead, err := v.dead(s)
	if err != nil || dead.count() != s.Gone {
		t.Fatalf("segment %d: %d marked, state says %d, %v", s.Number, dead.count(), s.Gone, err)
	}
	for doc := range s.Docs {
		row, err := v.row(s.Number, doc)
		if err != nil {
			t.Fatal(err)
		}
		d := readDocument(row)
		if docs, err := v.find(s.Number, d.id); err != nil || !slices.Contains(docs, doc) {
			t.Fatalf("segment %d: document %d is not found by its id: %v, %v", s.Number, doc, docs, err)
		}
		if !dead.has(doc) {
			live[d.id]++
		}
	}
	var before []byte
	for w, more := v.words(s.Number, nil), true; more; {
		if more, err = w.next(); err != nil {
			t.Fatal(err)
		}
		if !more {
			break
		}
		if bytes.Compare(before, w.word) > 0 {
			t.Fatalf("segment %d: %q after %q", s.Number, w.word, before)
		}
		before = append(before[:0], w.word...)
		if w.last >= s.Docs {
			t.Fatalf("segment %d: %q occurs in document %d of %d", s.Number, w.word, w.last, s.Docs)
		}
	}
}

// flood fills a memory with n notes that a seed determines, every tenth of
// which goes again.
func flood(t testing.TB, n int) *memory {
	m, r := newMemory(), rand.New(rand.NewPCG(5, 5))
	var ids []store.ID
	for i := range n {
		id := m.add(t, note(fmt.Sprintf("gm number%d w%d w%d", i, r.IntN(500), r.IntN(500)), int64(1_600_000_000+i)))
		if ids = append(ids, id); i%10 == 9 {
			j := r.IntN(len(ids))
			m.remove(ids[j])
		}
	}
	return m
}

// slowed hands the log out in small portions, so that there are many commits.
type slowed struct{ *memory }

func (s slowed) Changes(ctx context.Context, after store.Pos) iter.Seq2[store.Change, error] {
	return func(yield func(store.Change, error) bool) {
		n := 0
		for c, err := range s.memory.Changes(ctx, after) {
			if n++; n > 97 || !yield(c, err) {
				return
			}
		}
	}
}

const killDir = "AGORA_SEARCH_KILL_DIR"

// TestMain lets the test binary be the process that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(killDir); dir != "" {
		indexUntilKilled(dir)
	}
	os.Exit(m.Run())
}

func indexUntilKilled(dir string) {
	ix, err := open(dir, slowed{flood(new(testing.T), 20_000)}, Config{Linger: time.Microsecond, NoSync: true})
	if err == nil {
		fmt.Println("open")
		err = ix.Run(context.Background())
	}
	fmt.Println(err)
	os.Exit(1)
}

// TestKilledIndexNeitherLosesNorDoubles kills a process that indexes, again
// and again, and compares what is on the disk with the log.
func TestKilledIndexNeitherLosesNorDoubles(t *testing.T) {
	dir := t.TempDir()
	r := rand.New(rand.NewPCG(uint64(os.Getpid()), 1))
	for range 6 {
		killOnce(t, dir, time.Duration(r.IntN(150))*time.Millisecond)
		m := flood(t, 20_000)
		ix, err := open(dir, m, Config{NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		compareLog(t, ix, m, ix.st.Pos)
		if err := ix.Close(); err != nil {
			t.Fatal(err)
		}
	}
	m := flood(t, 20_000)
	ix, _ := running(t, dir, m, Config{})
	caught(t, ix, m)
	compareLog(t, ix, m, m.Head())
}

func killOnce(t *testing.T, dir string, after time.Duration) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), killDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if line, _ := bufio.NewReader(out).ReadString('\n'); line != "open\n" {
		t.Error("the process to be killed says", line)
	}
	time.Sleep(after) // the moment of the kill is the input of this test
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// compareLog checks that the index holds exactly what the log holds up to pos:
// what came and did not go by then. What went before it was read may be absent
// from the beginning.
func compareLog(t *testing.T, ix *Index, m *memory, pos store.Pos) {
	t.Helper()
	live := checkDisk(t, ix)
	goneLater := map[store.ID]bool{}
	for _, c := range m.changes {
		if c.Removed != nil && c.Pos > pos {
			goneLater[c.Removed.ID] = true
		}
	}
	want := 0
	for id, rec := range m.held {
		if rec.Pos > pos {
			continue
		}
		if want++; live[id] != 1 {
			t.Fatalf("at %d: %x of position %d is there %d times", pos, id[:4], rec.Pos, live[id])
		}
	}
	for id, n := range live {
		if _, held := m.held[id]; n != 1 || !held && !goneLater[id] {
			t.Fatalf("at %d: %x, which went, is there %d times", pos, id[:4], n)
		}
	}
	t.Logf("position %d: %d events, %d on disk", pos, want, len(live))
}

func TestTrimmedLogIsBuiltAgainFromTheStore(t *testing.T) {
	dir, m := t.TempDir(), flood(t, 500)
	ix, stop := running(t, dir, m, Config{})
	caught(t, ix, m)
	stop()
	for _, id := range slices.Collect(maps.Keys(m.held))[:100] {
		m.remove(id)
	}
	m.mu.Lock()
	m.trimmed = store.Pos(len(m.changes))
	m.mu.Unlock()
	m.add(t, note("one more", 1))
	ix, _ = running(t, dir, m, Config{})
	caught(t, ix, m)
	compareLog(t, ix, m, m.Head())
}

func TestOtherKindsAreBuiltAgain(t *testing.T) {
	dir, m := t.TempDir(), newMemory()
	id1 := m.add(t, note("apple", 1))
	id7 := m.add(t, &nostr.Event{Kind: 7, Content: "apple"})
	ix, stop := running(t, dir, m, Config{})
	caught(t, ix, m)
	if got := find(t, ix, "apple", nostr.Filter{}); !slices.Equal(got, []store.ID{id1}) {
		t.Fatalf("found %x", got)
	}
	stop()
	ix, _ = running(t, dir, m, Config{Kinds: []int{7}})
	caught(t, ix, m)
	if got := find(t, ix, "apple", nostr.Filter{}); !slices.Equal(got, []store.ID{id7}) {
		t.Fatalf("found %x", got)
	}
}

// breaking stops the reading of the whole store after so many events.
type breaking struct {
	*memory
	after int
}

var errBroken = errors.New("broken off")

func (b *breaking) QueryAt(ctx context.Context, upTo store.Pos, f ...nostr.Filter) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		n := 0
		for r, err := range b.memory.QueryAt(ctx, upTo, f...) {
			if n++; n > b.after {
				yield(store.Record{}, errBroken)
				return
			}
			if !yield(r, err) {
				return
			}
		}
	}
}

// TestRebuildGoesOnWhereItWasInterrupted breaks a rebuild off in its middle,
// lets events come and go, and compares.
func TestRebuildGoesOnWhereItWasInterrupted(t *testing.T) {
	dir, m := t.TempDir(), flood(t, 100)
	m.trimmed = 1
	for i := range 3*batchDocs + 100 { // many of one second
		m.add(t, note(fmt.Sprint("many ", i), int64(1_700_000_000+i/5000)))
	}
	b := &breaking{memory: m, after: 2*batchDocs + 50}
	ix, err := open(dir, b, Config{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := ix.Run(t.Context()); !errors.Is(err, errBroken) {
		t.Fatal(err)
	}
	if st := ix.st; st.Rebuild == nil || st.docs() != 2*batchDocs {
		t.Fatalf("%d events before the break", st.docs())
	}
	if err := ix.Close(); err != nil {
		t.Fatal(err)
	}
	for i, id := range slices.Collect(maps.Keys(m.held)) {
		if i%50 == 0 {
			m.remove(id)
		}
	}
	m.add(t, note("late", 1_700_000_001))
	ix, _ = running(t, dir, m, Config{})
	caught(t, ix, m)
	compareLog(t, ix, m, m.Head())
}

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
	ix, err := open(filepath.Dir(ix.dir), m, Config{NoSync: true, Kinds: ix.cfg.Kinds})
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
	ix, _ := running(t, t.TempDir(), m, Config{Budget: budget, Metrics: reg})
	var first, last store.ID
	for i := range 30_000 {
		var b strings.Builder
		fmt.Fprintf(&b, "needle%d", i)
		for range 80 {
			fmt.Fprintf(&b, " %x", r.IntN(1<<20))
		}
		last = m.add(t, note(b.String(), int64(1_600_000_000+i)))
		if i == 0 {
			first = last
		}
	}
	caught(t, ix, m)
	st, err := ix.Stats()
	if err != nil || st.Dropped == 0 || st.Documents+st.Dropped != 30_000 || st.Bytes > budget {
		t.Fatalf("%+v, %v", st, err)
	}
	info, err := os.Stat(filepath.Join(ix.dir, "data.mdb"))
	if err != nil || info.Size() > budget {
		t.Fatalf("the file has %d bytes, %v", info.Size(), err)
	}
	if got := find(t, ix, "needle29999", nostr.Filter{}); !slices.Equal(got, []store.ID{last}) {
		t.Fatalf("the newest is not found: %x", got)
	}
	if got := find(t, ix, "needle0", nostr.Filter{}); len(got) != 0 {
		t.Fatalf("the oldest (%x) is still found: %x", first[:4], got)
	}
	if got := metric(t, reg, "agora_search_dropped_events_total").GetCounter().GetValue(); got != float64(st.Dropped) {
		t.Fatalf("the metric says %v of %d", got, st.Dropped)
	}
	t.Logf("%+v, file of %d bytes", st, info.Size())
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
