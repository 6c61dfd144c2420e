package relay

import (
	"io"
	"strings"
	"testing"

	"agora/relay/admit"

	"github.com/nbd-wtf/go-nostr"
)

// BenchmarkFanOut hands one ephemeral event to 200 subscribers per round. What
// the listeners cost is in it too.
func BenchmarkFanOut(b *testing.B) {
	r := start(b, Config{}, nil)
	a := newAuthor()
	for range 200 {
		c := r.dial(b)
		c.query("f", `{"kinds":[20001]}`)
		go io.Copy(io.Discard, c.ws.NetConn())
	}
	ev := signedBy(b, a.sk, nostr.Event{Kind: 20001, Content: strings.Repeat("x", 260)})
	for b.Loop() {
		if reply, err := r.Publish(b.Context(), ev, nil, admit.Peer{}); err != nil || !reply.OK {
			b.Fatal(reply, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/200, "ns/delivery")
}
