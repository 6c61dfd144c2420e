package search

import (
	"context"
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"agora/relay/store"

	"github.com/klauspost/compress/zstd"
	"github.com/nbd-wtf/go-nostr"
)

// realTexts are the notes of testdata.
func realTexts(t testing.TB) []string {
	t.Helper()
	f, err := os.Open("testdata/notes.csv.zst")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	rows, err := csv.NewReader(z).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	out := make([]string, 0, len(rows))
	for _, r := range rows[1:] {
		out = append(out, r[0])
	}
	return out
}

// likeReal makes n notes, each a real text with part of another, so that there
// are more than the real ones.
func likeReal(t testing.TB, n int) *memory {
	texts, m, r := realTexts(t), newMemory(), rand.New(rand.NewPCG(11, 11))
	for i := range n {
		a, b := []rune(texts[r.IntN(len(texts))]), []rune(texts[r.IntN(len(texts))])
		ev := note(string(a)+" "+string(b[:r.IntN(min(len(b), 80)+1)]), int64(1_600_000_000+i))
		ev.PubKey = author(r.IntN(5000))
		ev.Tags = nostr.Tags{{"p", fmt.Sprintf("%064x", r.IntN(5000))}, {"e", fmt.Sprintf("%064x", i)}, {"n", fmt.Sprint(i)}}
		m.add(t, ev)
	}
	return m
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// catchUp indexes and merges all there is, without Run.
func catchUp(ix *Index) error {
	for atHead := false; !atHead; {
		var err error
		if _, atHead, err = ix.batch(context.Background()); err != nil {
			return err
		}
		if err := ix.keepUp(); err != nil {
			return err
		}
	}
	for {
		if busy, err := ix.tidy(); err != nil || !busy {
			return err
		}
	}
}

// BenchmarkIndex builds an index of 100,000 notes, synced, with all merges,
// and reports the CPU time of one event.
func BenchmarkIndex(b *testing.B) {
	const n = 100_000
	m := likeReal(b, n)
	size := 0
	for _, c := range m.changes {
		size += len(c.Record.JSON)
	}
	for b.Loop() {
		began := cpu()
		ix, err := open(b.TempDir(), m, Config{})
		if err == nil {
			err = catchUp(ix)
		}
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64((cpu()-began).Microseconds())/n, "cpu-µs/event")
		b.ReportMetric(float64(ix.st.bytes())/n, "bytes/event")
		b.ReportMetric(float64(size)/n, "json-bytes/event")
		b.ReportMetric(float64(len(ix.st.Segments)), "segments")
		if info, err := os.Stat(filepath.Join(ix.dir, "data.mdb")); err == nil {
			b.ReportMetric(float64(info.Size())/n, "file-bytes/event")
		}
		_ = ix.Close()
	}
}

// BenchmarkLive is the same at the pace of a busy relay: 1,000 events a commit.
func BenchmarkLive(b *testing.B) {
	const n, portion = 100_000, 1000
	all := likeReal(b, n)
	for b.Loop() {
		m := newMemory()
		ix, err := open(b.TempDir(), m, Config{})
		if err != nil {
			b.Fatal(err)
		}
		var spent time.Duration
		for part := range slices.Chunk(all.changes, portion) {
			m.changes = append(m.changes, part...)
			began := cpu()
			if _, _, err = ix.batch(context.Background()); err == nil {
				err = ix.keepUp()
			}
			if err != nil {
				b.Fatal(err)
			}
			spent += cpu() - began
		}
		b.ReportMetric(float64(spent.Microseconds())/n, "cpu-µs/event")
		b.ReportMetric(float64(len(ix.st.Segments)), "segments")
		_ = ix.Close()
	}
}

// BenchmarkQuery asks an index of 100,000 notes for 20 hits.
func BenchmarkQuery(b *testing.B) {
	ix, err := open(b.TempDir(), likeReal(b, 100_000), Config{NoSync: true})
	if err == nil {
		err = catchUp(ix)
	}
	if err != nil {
		b.Fatal(err)
	}
	defer ix.Close()
	for _, q := range []string{"lightning", "the", "bitcoin", "nostr relay", "the and of", `"good morning"`, "bitc", "xyzzyx", "bitcoin -price lightning wallet node"} {
		b.Run(q, func(b *testing.B) {
			n := 0
			var ids [20]store.ID
			for b.Loop() {
				n = 0
				for id, err := range ix.Search(b.Context(), q, nostr.Filter{Limit: 20}) {
					if err != nil {
						b.Fatal(err)
					}
					ids[n] = id
					if n++; n == len(ids) {
						break
					}
				}
			}
			b.ReportMetric(float64(n), "hits")
		})
	}
}

// BenchmarkSplit cuts the real notes into words.
func BenchmarkSplit(b *testing.B) {
	texts, n, size := realTexts(b), 0, 0
	for b.Loop() {
		for _, s := range texts {
			size += len(s)
			split([]byte(s), func([]byte, form) bool { n++; return true })
		}
	}
	b.SetBytes(int64(size / b.N))
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/word")
}
