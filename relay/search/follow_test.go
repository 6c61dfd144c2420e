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
	"slices"
	"testing"
	"time"

	"agora/relay/store"

	"github.com/PowerDNS/lmdb-go/lmdb"
	"github.com/nbd-wtf/go-nostr"
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
