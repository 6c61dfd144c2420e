package main

import (
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"agora/relay/admit"
	"agora/spam"

	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/sync/errgroup"
)

// BenchmarkPublish compares publishing without the spam gate and with it: one
// operation is 1,024 real notes, no spam, by 256 keys that nobody knows, at most 64 on their way at once,
// signatures and synced commits included. The clock says little on a busy machine;
// cpu-µs/event is the process's time on its cores.
func BenchmarkPublish(b *testing.B) {
	samples, err := readSamples("../../spam/testdata/stream.jsonl.zst")
	if err != nil {
		b.Fatal(err)
	}
	samples = slices.DeleteFunc(samples, func(s spam.Sample) bool { return s.Spam == 1 })
	places := runtime.GOMAXPROCS(0)
	b.Cleanup(func() { runtime.GOMAXPROCS(places) })
	widen() // as serve does
	for _, mode := range []string{"pass", "quarantine"} {
		b.Run("spam_mode="+mode, func(b *testing.B) {
			s, _ := startServer(b, func(c *Config) { c.SpamMode, c.Feeds = mode, false })
			keys := make([]string, 256)
			for i := range keys {
				keys[i] = nostr.GeneratePrivateKey()
			}
			n, used := 0, time.Duration(0)
			for b.Loop() {
				b.StopTimer()
				notes := make([]nostr.Event, 1024)
				for i := range notes {
					n++
					notes[i] = nostr.Event{Kind: 1, CreatedAt: nostr.Now(), Content: samples[n%len(samples)].Text, Tags: nostr.Tags{{"t", keys[i%256][:6+i/256]}}}
					notes[i].Tags = append(notes[i].Tags, nostr.Tag{"n", string(rune('a'+n%26)) + keys[(n/256)%256]})
					if err := notes[i].Sign(keys[i%256]); err != nil {
						b.Fatal(err)
					}
				}
				b.StartTimer()
				begin := cpuTime(b)
				publishAll(b, s, notes)
				used += cpuTime(b) - begin
			}
			b.ReportMetric(float64(used.Microseconds())/float64(n), "cpu-µs/event")
		})
	}
}

// cpuTime is how long this process has been on the cores.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func publishAll(b *testing.B, s *server, notes []nostr.Event) {
	b.Helper()
	var g errgroup.Group
	g.SetLimit(64)
	for i := range notes {
		g.Go(func() error {
			_, err := s.relay.Publish(b.Context(), &notes[i], nil, admit.Peer{Origin: admit.Socket})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
}
