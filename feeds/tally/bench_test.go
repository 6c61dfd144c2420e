package tally

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"agora/relay/store"
	"agora/relay/wire"

	"github.com/nbd-wtf/go-nostr"
)

// crowdOf is a made-up relay: notes, keys, and acts that favour some notes as
// they do in life (Zipf).
type crowdOf struct {
	r    *rand.Rand
	zipf *rand.Zipf
	keys int
	ids  []Key
	now  int64
}

func newCrowd(notes, keys int) *crowdOf {
	r := rand.New(rand.NewPCG(1, 1))
	c := &crowdOf{r: r, zipf: rand.NewZipf(r, 1.1, 20, uint64(notes-1)), keys: keys, now: time.Now().Unix()}
	for i := range notes {
		c.ids = append(c.ids, keyOf(1, i))
	}
	return c
}

func keyOf(space, i int) (k Key) {
	binary.BigEndian.PutUint64(k[:], mix(uint64(i)*2654435761+uint64(space)<<40+1))
	binary.BigEndian.PutUint64(k[8:], uint64(i))
	k[31] = byte(space)
	return k
}

func (c *crowdOf) note(i int) *statement {
	author := keyOf(2, c.r.IntN(c.keys/4))
	return &statement{event: c.ids[i], author: author, actor: author, created: uint32(c.now - int64(c.r.IntN(7*86400))),
		note: &noted{kind: 1, sketch: c.r.Uint64() | 1}}
}

func (c *crowdOf) act(i int) *statement {
	who := keyOf(2, c.r.IntN(c.keys))
	return &statement{event: keyOf(3, i), author: who, actor: who, created: uint32(c.now - int64(c.r.IntN(7*86400))),
		deeds: []deed{{action: Like, on: target{id: c.ids[c.zipf.Uint64()]}}}}
}

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// fill makes a book of notes with acts each on average.
func (c *crowdOf) fill(acts int) *book {
	b := newBook()
	b.actors.trust = trust
	for i := range c.ids {
		b.put(c.note(i))
	}
	for i := range acts {
		b.put(c.act(i))
	}
	return b
}

func TestMemoryStaysWithin250BytesANoteAnd12AnActor(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's own memory is not ours")
	}
	// From many notes that nobody acts on to few that all do, by few keys and by
	// more than there are notes.
	for _, size := range []struct{ notes, acts, keys int }{
		{100_000, 0, 40_000}, {100_000, 200_000, 40_000}, {100_000, 1_000_000, 40_000}, {50_000, 1_000_000, 40_000},
		{20_000, 1_000_000, 40_000}, {20_000, 1_000_000, 1_000}, {5_000, 1_000_000, 10_000}, {5_000, 1_000_000, 40_000}, {2_000, 100_000, 4_000},
	} {
		c := newCrowd(size.notes, size.keys)
		before := heap()
		b := c.fill(size.acts)
		used := heap() - before
		want := 250*int64(b.live) + 12*int64(b.acts)
		t.Logf("%d notes, %d acts, %d keys: %d bytes, of %d allowed: %.0f %%", b.live, b.acts, b.actors.size, used, want, 100*float64(used)/float64(want))
		if used > want {
			t.Errorf("%d notes with %d acts take %d bytes, allowed %d", b.live, b.acts, used, want)
		}
		runtime.KeepAlive(b)
	}
}

func BenchmarkApply(b *testing.B) {
	c := newCrowd(100_000, 40_000)
	book := c.fill(500_000)
	i := 500_000
	begin := cpuTime()
	for b.Loop() {
		book.put(c.act(i))
		i++
	}
	b.ReportMetric(float64(cpuTime()-begin)/float64(b.N), "cpu-ns/op")
}

func BenchmarkDrop(b *testing.B) {
	c := newCrowd(100_000, 40_000)
	book := c.fill(500_000)
	var acts []*statement
	for b.Loop() {
		b.StopTimer()
		s := c.act(1_000_000 + len(acts))
		acts = append(acts, s)
		book.put(s)
		b.StartTimer()
		book.drop(removal{event: s.event, author: s.author, kind: kindReaction})
	}
}

func BenchmarkLook2000(b *testing.B) {
	c := newCrowd(100_000, 40_000)
	book := c.fill(500_000)
	r := &Reader{book, moment32(c.now)}
	lens := &Lens{AskTrust: func(a uint32) float32 { return float32(a&255) / 256 }, AskFollows: func(a uint32) bool { return a%100 == 0 }, Self: NoPlace}
	lens.Known = make([]uint32, 50_000)
	for i := range lens.Known {
		lens.Known[i] = UnknownTrust
	}
	begin := cpuTime()
	for b.Loop() {
		for _, id := range c.ids[:2000] {
			n, _ := r.Find(id)
			var counts Counts
			r.Look(n, lens, &counts)
		}
	}
	b.ReportMetric(float64(cpuTime()-begin)/float64(b.N), "cpu-ns/op")
}

// BenchmarkRead2000 takes what is the same for every reader: counts, support,
// who acted.
func BenchmarkRead2000(b *testing.B) {
	c := newCrowd(100_000, 40_000)
	book := c.fill(500_000)
	r := &Reader{book, moment32(c.now)}
	begin, seen := cpuTime(), 0
	for b.Loop() {
		for _, id := range c.ids[:2000] {
			n, _ := r.Find(id)
			r.Counts(n, nil)
			r.Support(n)
			for range func(yield func(uint32, int64) bool) {
				r.Acts(n, func(actor uint32, _ Action, at int64) bool { return yield(actor, at) })
			} {
				seen++
			}
			r.Actors(n, func(uint32, Deeds) bool { seen++; return true })
		}
	}
	b.ReportMetric(float64(cpuTime()-begin)/float64(b.N), "cpu-ns/op")
}

// eventsOf writes a log of real shape: kinds 1 and 7.
func (c *crowdOf) log(b testing.TB, st *store.Store, events int) {
	ctx := b.Context()
	hexOf := func(k Key) string { return fmt.Sprintf("%x", k[:]) }
	for i := range events {
		ev := &nostr.Event{ID: hexOf(keyOf(4, i)), PubKey: hexOf(keyOf(2, c.r.IntN(c.keys))), Kind: 7, Content: "+",
			CreatedAt: nostr.Timestamp(c.now - int64(c.r.IntN(7*86400))), Sig: hexOf(keyOf(5, i)) + hexOf(keyOf(6, i))}
		ev.Tags = nostr.Tags{{"e", hexOf(c.ids[c.zipf.Uint64()])}, {"p", hexOf(keyOf(2, c.r.IntN(c.keys)))}}
		if i < len(c.ids) {
			ev.ID, ev.Kind, ev.Tags = hexOf(c.ids[i]), 1, nostr.Tags{}
			ev.Content = "the quick brown fox jumps over the lazy dog, and number " + fmt.Sprint(i) + " said: that was a fine day to go out and see what else there is in this world of ours"
		}
		if err := st.Submit(ctx, store.Entry{Event: ev, JSON: wire.AppendEvent(nil, ev)}, func(store.Result, error) {}); err != nil {
			b.Fatal(err)
		}
	}
}

// TestMillionEventsAreReadInTime is measured by hand: AGORA_MILLION=1000000 go
// test -run Million -v -timeout 1h. What it logs is CPU time too, which others
// on the machine disturb less.
func TestMillionEventsAreReadInTime(t *testing.T) {
	events, _ := strconv.Atoi(os.Getenv("AGORA_MILLION"))
	if events == 0 {
		t.Skip("writes a million events; set AGORA_MILLION=1000000")
	}
	w := newWorld(t, 1, 1)
	c := newCrowd(events/10, events/25)
	c.log(t, w.store, events)
	w.append(w.event(1, w.authors[0], "last"))
	path := filepath.Join(t.TempDir(), "snapshot")
	for _, how := range []string{"rebuilt from the log", "restored from its snapshot"} {
		begin, cpu := time.Now(), cpuTime()
		stop := w.start(Config{Snapshot: path})
		<-w.tally.Built()
		t.Logf("%s: %v, %v of CPU, for %+v", how, time.Since(begin), cpuTime()-cpu, w.tally.Stats())
		stop()
	}
}

// cpuTime is what the process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
