package relay

import (
	"bufio"
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

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

// BenchmarkQuestion asks for 500 of 5,000 notes of some 660 bytes.
func BenchmarkQuestion(b *testing.B) {
	r := start(b, Config{}, nil)
	a := newAuthor()
	for i := range 5000 {
		ev := signedBy(b, a.sk, nostr.Event{Kind: 1, Content: strings.Repeat("x", 320), CreatedAt: nostr.Timestamp(1_700_000_000 + i)})
		if err := r.Submit(b.Context(), ev, nil, admit.Peer{Origin: admit.Own}, func(Reply, error) {}); err != nil {
			b.Fatal(err)
		}
	}
	eventually(b, "all are stored", func() bool { return r.store.Head() == 5000 })
	c := r.dial(b)
	nc := c.ws.NetConn()
	in := bufio.NewReaderSize(nc, 64<<10)
	end := []byte(`["EOSE","q"`)
	var took []time.Duration
	for b.Loop() {
		began := time.Now()
		c.send(`["REQ","q",{"kinds":[1,7],"limit":500}]`)
		for done := false; !done; {
			head, _ := in.Peek(4)
			n, skip := int(head[1]), 2
			if n == 126 {
				n, skip = int(head[2])<<8|int(head[3]), 4
			}
			_, _ = in.Discard(skip)
			body, err := in.Peek(n)
			if err != nil {
				b.Fatal(err)
			}
			done = bytes.HasPrefix(body, end)
			_, _ = in.Discard(n)
		}
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-us")
}
