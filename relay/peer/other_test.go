package peer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"agora/relay/store"
	"agora/relay/wire"

	"github.com/gorilla/websocket"
	"github.com/nbd-wtf/go-nostr"
)

// other is a relay of the other kind: a list of events and the manners of
// some relays we shall meet.
type other struct {
	noNeg    string // answer NEG-* with this NOTICE instead; "-": with silence
	tooMany  int    // NEG-OPEN on more events than this is blocked; 0: never, -1: always
	most     int    // events per REQ; 0: no bound
	mostIDs  int    // a REQ with more ids is closed; 0: no bound
	finish   bool   // says so at EOSE
	deaf     bool   // does not heed until
	restless bool   // has an event of now for each REQ, whatever that asks
	endless  bool   // shows events and no end of them
	wantAuth bool
	junk     bool // sends what was not asked for, and what is no event
	reject   func(*nostr.Event) string

	mu     sync.Mutex // guards what follows
	events map[string]*nostr.Event
	seen   map[string]int // messages by label
	url    string
}

func serveOther(t *testing.T, o *other) *other {
	t.Helper()
	o.events, o.seen = map[string]*nostr.Event{}, map[string]int{}
	up := websocket.Upgrader{CheckOrigin: func(*http.Request) bool { return true }}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer ws.Close()
		c := &otherConn{o: o, ws: ws, negs: map[string]*wire.Reconciler{}}
		if o.wantAuth {
			c.say(wire.AppendAuth(nil, "challenge"))
		}
		for {
			_, msg, err := ws.ReadMessage()
			if err != nil {
				return
			}
			c.handle(t, msg)
		}
	}))
	t.Cleanup(srv.Close)
	o.url = "ws" + strings.TrimPrefix(srv.URL, "http")
	return o
}

type otherConn struct {
	o      *other
	ws     *websocket.Conn
	negs   map[string]*wire.Reconciler
	authed bool
}

func (c *otherConn) say(msg []byte) { _ = c.ws.WriteMessage(websocket.TextMessage, msg) }

func (c *otherConn) handle(t *testing.T, msg []byte) {
	m, err := wire.Parse(msg, wire.Limits{})
	if err != nil {
		t.Errorf("we said %.200s: %v", msg, err)
		return
	}
	o := c.o
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seen[m.Label]++
	switch m.Label {
	case "AUTH":
		challenge := m.Event.Tags.FindWithValue("challenge", "challenge")
		ok, err := m.Event.CheckSignature()
		c.authed = ok && err == nil && challenge != nil && m.Event.Kind == 22242
		c.say(wire.AppendOK(nil, m.Event.ID, c.authed, ""))
	case "EVENT":
		c.event(m.Event)
	case "REQ":
		if o.wantAuth && !c.authed {
			c.say(wire.AppendClosed(nil, m.Sub, "auth-required: who are you?"))
			return
		}
		c.req(m)
	case "NEG-OPEN", "NEG-MSG":
		c.neg(t, m)
	}
}

func (c *otherConn) event(ev *nostr.Event) {
	why := ""
	if c.o.reject != nil {
		why = c.o.reject(ev)
	}
	if why == "" {
		c.o.events[ev.ID] = ev
	}
	c.say(wire.AppendOK(nil, ev.ID, why == "", why))
}

func (c *otherConn) matching(f nostr.Filter) []*nostr.Event {
	if c.o.deaf {
		f.Until = nil
	}
	var list []*nostr.Event
	for _, ev := range c.o.events {
		if f.Matches(ev) {
			list = append(list, ev)
		}
	}
	slices.SortFunc(list, func(a, b *nostr.Event) int {
		return cmp.Or(cmp.Compare(b.CreatedAt, a.CreatedAt), cmp.Compare(a.ID, b.ID))
	})
	return list
}

func (c *otherConn) req(m wire.Message) {
	f := m.Filters[0]
	if c.o.mostIDs > 0 && len(f.IDs) > c.o.mostIDs {
		c.say(wire.AppendClosed(nil, m.Sub, "invalid: too many ids"))
		return
	}
	list := c.matching(f)
	hint := wire.NoHint
	if c.o.finish {
		hint = wire.Finish
	}
	for _, most := range []int{f.Limit, c.o.most} {
		if most > 0 && len(list) > most {
			list, hint = list[:most], wire.NoHint
		}
	}
	if c.o.junk {
		rng := rand.New(rand.NewPCG(1, 99))
		c.say(wire.AppendEventFrame(nil, m.Sub, wire.AppendEvent(nil, note(rng, 1, 5))))
		c.say([]byte(`["EVENT","` + m.Sub + `",{"id":1}]`))
		c.say(wire.AppendEventFrame(nil, "never-opened", wire.AppendEvent(nil, note(rng, 1, 5))))
		c.say([]byte(`["WHAT"]`))
	}
	if c.o.restless {
		c.fresh(m.Sub, int64(c.o.seen["REQ"]))
	}
	for n := int64(0); c.o.endless && n < 3*pageMost; n++ {
		c.fresh(m.Sub, n)
	}
	for _, ev := range list {
		c.say(wire.AppendEventFrame(nil, m.Sub, wire.AppendEvent(nil, ev)))
	}
	c.say(wire.AppendEOSE(nil, m.Sub, hint))
}

// fresh shows an event that is not among the relay's.
func (c *otherConn) fresh(sub string, n int64) {
	rng := rand.New(rand.NewPCG(uint64(n), 98))
	c.say(wire.AppendEventFrame(nil, sub, wire.AppendEvent(nil, note(rng, 1, 1_800_000_000+n))))
}

func (c *otherConn) neg(t *testing.T, m wire.Message) {
	if c.o.noNeg != "" {
		if c.o.noNeg != "-" {
			c.say(wire.AppendNotice(nil, c.o.noNeg))
		}
		return
	}
	if c.o.wantAuth && !c.authed {
		c.say(wire.AppendNegErr(nil, m.Sub, "auth-required: who are you?", 0))
		return
	}
	if m.Label == "NEG-OPEN" {
		var keys []wire.NegKey
		for _, ev := range c.matching(m.Filters[0]) {
			id, _ := store.ParseID(ev.ID)
			keys = append(keys, wire.NegKeyOf(int64(ev.CreatedAt), id))
		}
		if c.o.tooMany != 0 && len(keys) > c.o.tooMany {
			c.say(wire.AppendNegErr(nil, m.Sub, "blocked: too many records", int64(c.o.tooMany)))
			return
		}
		c.negs[m.Sub] = &wire.Reconciler{Set: wire.NewNegVector(keys), Frame: 20_000}
	}
	frame, err := c.negs[m.Sub].Answer(context.Background(), m.Neg)
	if err != nil {
		t.Error(err)
		return
	}
	c.say(wire.AppendNegMsg(nil, m.Sub, frame))
}

// note makes an event whose id is right and whose signature is made up: what
// it is worth is decided by Publish, not here.
func note(rng *rand.Rand, kind int, created int64) *nostr.Event {
	ev := &nostr.Event{
		PubKey: fmt.Sprintf("%064x", 1+rng.IntN(3)), CreatedAt: nostr.Timestamp(created), Kind: kind,
		Tags: nostr.Tags{}, Content: fmt.Sprint(rng.Uint64()), Sig: strings.Repeat("ab", 64),
	}
	ev.ID = ev.GetID()
	return ev
}

// openStore opens and runs a store for the test's life.
func openStore(t *testing.T) *store.Store {
	t.Helper()
	s, err := store.Open(t.TempDir(), store.Config{MapSize: 1 << 30, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1) // the error of Run
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ended, s.Close()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// publishTo is what the relay does with an event, without its gates.
func publishTo(s *store.Store) Publish {
	return func(ctx context.Context, ev *nostr.Event, record []byte) (string, error) {
		if !ev.CheckID() {
			return "invalid: the id is wrong", nil
		}
		res, err := s.Append(ctx, store.Entry{Event: ev, JSON: record})
		switch {
		case err != nil:
			return "", err
		case res.Outcome == store.Stored:
			return "", nil
		}
		return res.Outcome.String() + ": not stored", nil
	}
}

func fill(t *testing.T, s *store.Store, list []*nostr.Event) {
	t.Helper()
	var g sync.WaitGroup
	for _, ev := range list {
		g.Go(func() {
			if why, err := publishTo(s)(t.Context(), ev, wire.AppendEvent(nil, ev)); err != nil || why != "" {
				t.Errorf("fill: %s %v", why, err)
			}
		})
	}
	g.Wait()
}

func held(t *testing.T, s *store.Store, f nostr.Filter) (ids []string) {
	t.Helper()
	for rec, err := range s.Query(t.Context(), f) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, string(rec.HexID()))
	}
	slices.Sort(ids)
	return ids
}

func (o *other) put(list []*nostr.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, ev := range list {
		o.events[ev.ID] = ev
	}
}

func (o *other) ids(f nostr.Filter) (ids []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, ev := range o.events {
		if f.Matches(ev) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}
