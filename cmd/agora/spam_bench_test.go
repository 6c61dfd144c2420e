package main

import (
	"testing"

	"agora/relay/admit"

	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/sync/errgroup"
)

// BenchmarkPublish compares publishing without the spam gate and with it: one
// operation is 1,024 notes by 256 authors, at most 64 on their way at once,
// signatures and synced commits included.
func BenchmarkPublish(b *testing.B) {
	for _, mode := range []string{"pass", "quarantine"} {
		b.Run("spam_mode="+mode, func(b *testing.B) {
			s, _ := startServer(b, func(c *Config) { c.SpamMode, c.Feeds = mode, false })
			keys := make([]string, 256)
			for i := range keys {
				keys[i] = nostr.GeneratePrivateKey()
			}
			n := 0
			for b.Loop() {
				b.StopTimer()
				notes := make([]nostr.Event, 1024)
				for i := range notes {
					n++
					notes[i] = nostr.Event{Kind: 1, CreatedAt: nostr.Now(), Content: hamText + " " + keys[n%256][:8], Tags: nostr.Tags{{"t", keys[i%256][:6+i/256]}}}
					notes[i].Tags = append(notes[i].Tags, nostr.Tag{"n", string(rune('a'+n%26)) + keys[(n/256)%256]})
					if err := notes[i].Sign(keys[i%256]); err != nil {
						b.Fatal(err)
					}
				}
				b.StartTimer()
				publishAll(b, s, notes)
			}
		})
	}
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
