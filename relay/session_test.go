package relay

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"agora/relay/admit"
	"agora/relay/store"
	"agora/relay/wire"

	"github.com/gorilla/websocket"
	"github.com/nbd-wtf/go-nostr"
)

func TestAnswersComeInTheOrderOfAsking(t *testing.T) {
	r := start(t, Config{}, nil)
	c, a := r.dial(t), newAuthor()
	var msgs, want []string
	var notes []*nostr.Event
	for i := range 40 {
		ev := a.note(t, -i)
		notes = append(notes, ev)
		bad := *ev
		bad.Sig = strings.Repeat("0", 128)
		bad.ID = strings.Repeat("1", 64)
		sub := fmt.Sprintf("s%d", i)
		msgs = append(msgs, eventMessage(ev), eventMessage(&bad), `["REQ","bad",{"kinds":["x"]}]`, fmt.Sprintf(`["COUNT",%q,{"authors":[%q]}]`, sub, a.pk), `[]`)
		want = append(want, "OK "+ev.ID, "OK "+bad.ID, "CLOSED bad", fmt.Sprintf("COUNT %s %d", sub, i+1), "NOTICE ")
	}
	var sending sync.WaitGroup
	sending.Go(func() { c.send(msgs...) })
	for i, w := range want {
		m := c.next()
		got := m.Label + " " + m.Sub + m.ID
		if m.Label == "COUNT" {
			got += fmt.Sprint(" ", min(m.Count, int64(i/5+1))) // what came later may be in already
		}
		if got != w {
			t.Fatalf("answer %d is %q, want %q", i, got, w)
		}
	}
	sending.Wait()
	if evs, hint := c.query("all", `{"kinds":[1]}`); len(evs) != len(notes) || hint != wire.Finish {
		t.Fatalf("%d events, hint %d", len(evs), hint)
	}
}

func TestAQuestionSeesItsClientsEarlierEvents(t *testing.T) {
	r := start(t, Config{}, nil)
	c, a := r.dial(t), newAuthor()
	for i := range 20 {
		ev := a.note(t, 0)
		sub := fmt.Sprintf("s%d", i)
		c.send(eventMessage(ev), req(sub, `{"ids":["`+ev.ID+`"]}`), `["CLOSE","x"]`)
		c.want("OK", ev.ID, "")
		if m := c.want("EVENT", sub, ""); m.Event.ID != ev.ID {
			t.Fatal("another event")
		}
		c.want("EOSE", sub, "")
		c.send(fmt.Sprintf(`["CLOSE",%q]`, sub))
	}
}

func TestAUsedIDReplacesTheSubscription(t *testing.T) {
	r := start(t, Config{}, nil)
	c, a, b := r.dial(t), newAuthor(), newAuthor()
	if evs, _ := c.query("s", `{"authors":["`+a.pk+`"]}`); len(evs) != 0 {
		t.Fatal("events out of nowhere")
	}
	c.query("s", `{"authors":["`+b.pk+`"]}`)
	p := r.dial(t)
	of, ob := a.note(t, 0), b.note(t, 0)
	p.mustPublish(of, ob)
	if m := c.want("EVENT", "s", ""); m.Event.ID != ob.ID {
		t.Fatalf("got an event of the replaced filter")
	}
	c.silent()
}

func TestNothingComesAfterClose(t *testing.T) {
	r := start(t, Config{}, nil)
	c, a := r.dial(t), newAuthor()
	c.query("s", `{}`)
	c.send(`["CLOSE","s"]`, `["CLOSE","never opened"]`)
	c.silent()
	r.dial(t).mustPublish(a.note(t, 0))
	c.silent()
	eventually(t, "the index forgets them", func() bool {
		r.live.mu.RLock()
		defer r.live.mu.RUnlock()
		return len(r.live.index.subs) == 0
	})
}

// blockingLog is a log whose queries for kind 777 wait for their end.
type blockingLog struct {
	Log
	entered chan struct{}
}

func (l *blockingLog) QueryAt(ctx context.Context, at store.Pos, filters ...nostr.Filter) iter.Seq2[store.Record, error] {
	if !slices.Equal(filters[0].Kinds, []int{777}) {
		return l.Log.QueryAt(ctx, at, filters...)
	}
	return func(yield func(store.Record, error) bool) {
		l.entered <- struct{}{}
		<-ctx.Done()
		yield(store.Record{}, ctx.Err())
	}
}

func TestCloseEndsARunningQuestionAtOnce(t *testing.T) {
	slow := &blockingLog{entered: make(chan struct{}, 1)}
	r := start(t, Config{}, func(p *Parts) { slow.Log = p.Log; p.Log = slow })
	c := r.dial(t)
	c.send(req("s", `{"kinds":[777]}`))
	<-slow.entered
	c.send(`["CLOSE","s"]`)
	c.silent() // would wait for ever behind the question
}

func TestQuestionsThatTakeTooLongAreClosed(t *testing.T) {
	slow := &blockingLog{entered: make(chan struct{}, 1)}
	r := start(t, Config{Limits: Limits{QueryTime: 50 * time.Millisecond}}, func(p *Parts) { slow.Log = p.Log; p.Log = slow })
	c := r.dial(t)
	c.send(req("s", `{"kinds":[777]}`))
	c.want("CLOSED", "s", "error: this takes too long")
	c.silent()
}

func TestAnAnswerThatIsReadyWaitsForTheQuestionBeforeIt(t *testing.T) {
	slow := &blockingLog{entered: make(chan struct{}, 1)}
	r := start(t, Config{Limits: Limits{QueryTime: 300 * time.Millisecond}}, func(p *Parts) { slow.Log = p.Log; p.Log = slow })
	c, ev := r.dial(t), newAuthor().event(t, 20_000, 0)
	c.send(req("s", `{"kinds":[777]}`))
	<-slow.entered
	c.send(eventMessage(ev))
	c.want("CLOSED", "s", "error: ")
	c.want("OK", ev.ID, "mute: ")
}

func TestAStuckClientDelaysNobody(t *testing.T) {
	r := start(t, Config{}, nil)
	a := newAuthor()
	fill := r.dial(t)
	big := strings.Repeat("x", 60_000)
	for i := range 50 {
		fill.mustPublish(signedBy(t, a.sk, nostr.Event{Kind: 1, Content: fmt.Sprint(i, big)}))
	}
	stuck := r.dial(t)
	for i := range 60 { // asks for 180 MB and reads nothing
		stuck.send(req(fmt.Sprintf("s%d", i), `{"kinds":[1]}`))
	}
	c := r.dial(t)
	c.query("live", `{"kinds":[1],"limit":0}`)
	p := r.dial(t)
	for range 20 {
		ev := a.note(t, 0)
		began := time.Now()
		p.mustPublish(ev)
		c.want("EVENT", "live", "")
		if took := time.Since(began); took > 5*time.Second {
			t.Fatalf("a stuck client held up the others for %v", took)
		}
	}
}

func TestASilentConnectionIsPingedAndADeadOneDropped(t *testing.T) {
	r := start(t, Config{Limits: Limits{Budget: Budget{Ping: 200 * time.Millisecond, Idle: 3 * time.Second}}}, nil)
	alive, dead := r.dial(t), r.dial(t)
	pinged := make(chan struct{}, 100)
	alive.ws.SetPingHandler(func(string) error {
		pinged <- struct{}{}
		return alive.ws.WriteControl(websocket.PongMessage, nil, time.Now().Add(time.Second))
	})
	dead.ws.SetPingHandler(func(string) error { return nil })
	go func() { _, _, _ = alive.ws.NextReader() }()
	dead.gone()
	<-pinged
	eventually(t, "the dead connection is forgotten", func() bool { return len(r.sessions.list()) == 1 })
}

func TestPingsAreAnsweredAndAFloodOfThemHoldsNoMemory(t *testing.T) {
	r := start(t, Config{}, nil)
	c := r.dial(t)
	ponged := make(chan string, 1)
	c.ws.SetPongHandler(func(data string) error { ponged <- data; return nil })
	if err := c.ws.WriteControl(websocket.PingMessage, []byte("marco"), time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	c.silent()
	if got := <-ponged; got != "marco" {
		t.Errorf("pong %q", got)
	}
	for range 200_000 {
		if c.ws.WriteControl(websocket.PingMessage, []byte("polo"), time.Now().Add(time.Second)) != nil {
			break // it does not take them any more: just as well
		}
	}
	s := r.sessions.list()[0]
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	if s.out != nil && len(*s.out)-s.sent > 2*outboxBytes {
		t.Errorf("the outbox holds %d bytes", len(*s.out))
	}
}

// holdingLog holds every answer back until it is let go.
type holdingLog struct {
	Log
	held atomic.Int32
	free chan struct{}
}

func (l *holdingLog) Submit(ctx context.Context, e store.Entry, done func(store.Result, error)) error {
	return l.Log.Submit(ctx, e, func(res store.Result, err error) {
		l.held.Add(1)
		go func() { <-l.free; done(res, err) }()
	})
}

func TestShutdownGivesTheAnswersThatAreOwedAndSaysGoodbye(t *testing.T) {
	slow := &holdingLog{free: make(chan struct{})}
	r := start(t, Config{}, func(p *Parts) { slow.Log = p.Log; p.Log = slow })
	c, idle, a := r.dial(t), r.dial(t), newAuthor()
	idle.query("s", `{}`)
	var sent []*nostr.Event
	for range 30 {
		ev := a.note(t, 0)
		sent = append(sent, ev)
		c.send(eventMessage(ev))
	}
	eventually(t, "all are in the log", func() bool { return slow.held.Load() == 30 })
	ended := make(chan struct{})
	go func() { r.sessions.admit(false); r.sessions.drain(drainTime); close(ended) }()
	if code, text := idle.gone(); code != websocket.CloseGoingAway || text == "" {
		t.Errorf("the idle client was told %d %q", code, text)
	}
	close(slow.free)
	for _, ev := range sent {
		if m := c.want("OK", ev.ID, ""); !m.OK {
			t.Error(m.Text)
		}
	}
	if code, _ := c.gone(); code != websocket.CloseGoingAway {
		t.Errorf("told %d", code)
	}
	c.ws.Close()
	idle.ws.Close()
	<-ended
}

func TestSubscriptionsAreBounded(t *testing.T) {
	r := start(t, Config{Limits: Limits{MaxSubscriptions: 3}}, nil)
	c := r.dial(t)
	for i := range 3 {
		c.query(fmt.Sprint(i), `{"kinds":[9]}`)
	}
	c.send(req("one more", `{"kinds":[9]}`))
	c.want("CLOSED", "one more", "blocked: at most 3")
	c.query("2", `{"kinds":[10]}`) // a used id is no further one
	c.send(`["CLOSE","0"]`)
	c.query("one more", `{"kinds":[9]}`)
}

func TestOverTLSTheSameIsSaid(t *testing.T) {
	r := start(t, Config{}, nil)
	srv := httptest.NewTLSServer(r)
	t.Cleanup(srv.Close)
	r.url = "wss" + strings.TrimPrefix(srv.URL, "https")
	secure := &websocket.Dialer{TLSClientConfig: srv.Client().Transport.(*http.Transport).TLSClientConfig, EnableCompression: true}
	c, p, a := r.dialWith(t, secure, nil), r.dialWith(t, secure, nil), newAuthor()
	if m := c.authenticate(r.url, a.sk); !m.OK {
		t.Error(m.Text)
	}
	c.query("s", `{"kinds":[1,20001]}`)
	for i := range 100 {
		ev := a.event(t, []int{1, 20_001}[i%2], 0, nostr.Tag{"t", strings.Repeat("x", i*100)})
		p.mustPublish(ev)
		if m := c.want("EVENT", "s", ""); m.Event.ID != ev.ID {
			t.Fatal("another event")
		}
	}
	if got, hint := c.query("t", `{"kinds":[1]}`); len(got) != 50 || hint != wire.Finish {
		t.Errorf("%d events, hint %d", len(got), hint)
	}
}

func TestWhoComesTooLateIsTold(t *testing.T) {
	r := start(t, Config{}, nil)
	c := r.dial(t)
	ev := newAuthor().note(t, 0)
	r.sessions.admit(false)
	if _, resp, err := websocket.DefaultDialer.DialContext(t.Context(), r.url, nil); err == nil || resp == nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a closing relay took a connection: %v", resp)
	}
	r.endWork()
	if _, err := r.Publish(t.Context(), ev, nil, admit.Peer{}); err == nil {
		t.Error("published after the end")
	}
	c.ws.Close()
}
