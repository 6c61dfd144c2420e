package relay

import (
	"context"
	"strconv"
	"testing"
	"time"

	"agora/relay/admit"

	"github.com/nbd-wtf/go-nostr"
)

// gathering lets events of kind 7 through once enough of them wait together.
type gathering struct {
	came chan struct{} // one token for each that waits
	all  chan struct{} // closed when all have come
}

func (g *gathering) Rule(ctx context.Context, ev *nostr.Event, _ admit.Peer) (admit.Ruling, error) {
	if ev.Kind != 7 {
		return admit.Ruling{}, nil
	}
	g.came <- struct{}{}
	select {
	case <-g.all:
		return admit.Ruling{}, nil
	case <-ctx.Done():
		return admit.Ruling{}, ctx.Err()
	}
}

func TestEventsThatAGateWaitsOnHoldUpNobody(t *testing.T) {
	const together = 64
	g := &gathering{came: make(chan struct{}, together), all: make(chan struct{})}
	r := start(t, Config{}, func(p *Parts) {
		p.Gates = []Gate{{Name: "gathering", Gate: g, Waits: func(ev *nostr.Event) bool { return ev.Kind == 7 }}}
	})
	key := nostr.GeneratePrivateKey()
	sign := func(kind int, content string) *nostr.Event {
		ev := nostr.Event{Kind: kind, CreatedAt: nostr.Now(), Content: content}
		if err := ev.Sign(key); err != nil {
			t.Fatal(err)
		}
		return &ev
	}
	answers := make(chan error, together)
	for i := range together {
		go func() {
			reply, err := r.Publish(t.Context(), sign(7, strconv.Itoa(i)), nil, admit.Peer{})
			if err == nil && !reply.OK {
				t.Errorf("refused: %s", reply.Reason)
			}
			answers <- err
		}()
	}
	for i := range together {
		select {
		case <-g.came:
		case <-time.After(4 * time.Second):
			t.Fatalf("only %d events wait at once", i)
		}
	}
	if reply, err := r.Publish(t.Context(), sign(1, "plain"), nil, admit.Peer{}); err != nil || !reply.OK {
		t.Fatalf("a plain event behind them: %+v, %v", reply, err)
	}
	close(g.all)
	for range together {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
}

// The committer waits for those alone that are still to come.
func TestWhatIsBeingExaminedIsComing(t *testing.T) {
	g := &gathering{came: make(chan struct{}, 1), all: make(chan struct{})}
	r := start(t, Config{}, func(p *Parts) { p.Gates = []Gate{{Name: "gathering", Gate: g}} })
	ev := nostr.Event{Kind: 7, CreatedAt: nostr.Now()}
	if err := ev.Sign(nostr.GeneratePrivateKey()); err != nil {
		t.Fatal(err)
	}
	if n := r.Coming(); n != 0 {
		t.Errorf("%d events come to a relay that was given none", n)
	}
	answered := make(chan error, 1)
	go func() {
		_, err := r.Publish(t.Context(), &ev, nil, admit.Peer{})
		answered <- err
	}()
	<-g.came
	if n := r.Coming(); n != 1 {
		t.Errorf("%d events come while one is before a gate", n)
	}
	close(g.all)
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); r.Coming() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d events come after the last was answered", r.Coming())
		}
	}
}
