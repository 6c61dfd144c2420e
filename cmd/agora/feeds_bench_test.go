package main

import (
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/nbd-wtf/go-nostr"
)

// crowdedTown has as many live notes as a page ranks at most.
func crowdedTown(b *testing.B) *town {
	w := newTown(b, nil)
	now := nostr.Now()
	for i := range 2000 {
		w.put(i%6, nostr.Event{Kind: 1, CreatedAt: now - nostr.Timestamp(i*40), Content: fmt.Sprintf("one of many, number %d", i)})
	}
	w.settle()
	w.parts.feeds.feeds.LookOver(time.Now())
	return w
}

// tail reports the middle and the tail of what was measured.
func tail(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
	b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "p95-ms")
}

// BenchmarkJob is from the EVENT of a job on one websocket to its result on
// the same, over 2,000 candidates, each job by another reader.
func BenchmarkJob(b *testing.B) {
	w := crowdedTown(b)
	for _, feed := range []string{"hot", "foryou-gbdt"} {
		b.Run(feed, func(b *testing.B) {
			l, ok := w.parts.feeds.market.Listing(feed)
			if !ok {
				b.Skip("this ranker is not built")
			}
			line := w.dial("/")
			if err := line.ws.WriteMessage(websocket.TextMessage, []byte(`["REQ","r",{"kinds":[6300],"authors":["`+l.Key+`"],"limit":0}]`)); err != nil {
				b.Fatal(err)
			}
			var took []time.Duration
			for b.Loop() {
				job := nostr.Event{Kind: 5300, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"p", l.Key}, {"param", "user", w.public(len(took) % 6)}}}
				if err := job.Sign(nostr.GeneratePrivateKey()); err != nil {
					b.Fatal(err)
				}
				begun := time.Now()
				if err := line.ws.WriteMessage(websocket.TextMessage, []byte(`["EVENT",`+job.String()+`]`)); err != nil {
					b.Fatal(err)
				}
				for label := ""; label != "EVENT"; {
					var m []any
					if err := line.ws.ReadJSON(&m); err != nil {
						b.Fatal(err)
					}
					label = m[0].(string)
				}
				took = append(took, time.Since(begun))
			}
			tail(b, took)
		})
	}
}

// BenchmarkDoor is one first page over HTTP and over a websocket.
func BenchmarkDoor(b *testing.B) {
	w := crowdedTown(b)
	b.Run("http", func(b *testing.B) {
		var took []time.Duration
		for b.Loop() {
			begun := time.Now()
			if resp, body := fetch(b, w.at.page+"/v1/feeds/hot"); resp.StatusCode != http.StatusOK {
				b.Fatal(body)
			}
			took = append(took, time.Since(begun))
		}
		tail(b, took)
	})
	for _, path := range []string{"/f/hot", "/f/hot/time", "/f/hot/ranked"} {
		b.Run("ws"+path, func(b *testing.B) {
			line := w.dial(path)
			var took []time.Duration
			for b.Loop() {
				begun := time.Now()
				if events, _, _ := line.ask(`{"kinds":[1,6],"limit":50}`); len(events) < 50 {
					b.Fatalf("%d events", len(events))
				}
				took = append(took, time.Since(begun))
			}
			tail(b, took)
		})
	}
}
