package relay

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"agora/relay/store"
	"agora/relay/wire"

	"github.com/gorilla/websocket"
	"github.com/nbd-wtf/go-nostr"
)

// TestHistoryAndLiveMeetWithoutGapOrRepeat subscribes again and again while
// others publish: each subscription must see every event exactly once.
func TestHistoryAndLiveMeetWithoutGapOrRepeat(t *testing.T) {
	r := start(t, Config{Limits: Limits{DefaultLimit: 100_000, MaxLimit: 100_000}}, nil)
	const writers, each, readers = 4, 60, 24
	notes := make([][]*nostr.Event, writers)
	total := 0
	for w := range notes {
		a := newAuthor()
		for i := range each {
			notes[w] = append(notes[w], a.note(t, -i%7))
			total++
		}
	}
	var all sync.WaitGroup
	for _, mine := range notes {
		c := r.dial(t)
		all.Go(func() {
			for _, ev := range mine {
				c.send(eventMessage(ev))
			}
			for range mine {
				if m := c.next(); !m.OK {
					t.Errorf("refused: %s", m.Text)
				}
			}
		})
	}
	for i := range readers {
		c := r.dial(t)
		time.Sleep(time.Duration(rand.IntN(8)) * time.Millisecond) // begin anywhere
		all.Go(func() { readAllOnce(t, c, i, total) })
	}
	all.Wait()
}

func readAllOnce(t *testing.T, c *client, i, total int) {
	filters := []string{`{"kinds":[1]}`}
	if i%3 == 1 {
		filters = append(filters, `{"limit":100000}`) // overlapping: still once each
	}
	c.send(req("s", filters...))
	seen := map[string]bool{}
	eose := false
	for len(seen) < total || !eose {
		m, err := c.read(patience)
		if err != nil {
			t.Errorf("reader %d has %d of %d: %v", i, len(seen), total, err)
			return
		}
		switch m.Label {
		case "EOSE":
			eose = true
		case "EVENT":
			if seen[m.Event.ID] {
				t.Errorf("reader %d got %s twice (after EOSE: %v)", i, m.Event.ID, eose)
				return
			}
			seen[m.Event.ID] = true
		default:
			t.Errorf("reader %d got %+v", i, m)
		}
	}
	c.silent()
}

// busyLog does something in the middle of every query for kind 1.
type busyLog struct {
	Log
	midway func()
}

func (l *busyLog) QueryAt(ctx context.Context, at store.Pos, filters ...nostr.Filter) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		for rec, err := range l.Log.QueryAt(ctx, at, filters...) {
			rec = rec.Clone()
			if slices.Equal(filters[0].Kinds, []int{1}) {
				l.midway()
			}
			if !yield(rec, err) {
				return
			}
		}
	}
}

func TestWhatIsStoredAndPassedOnDuringAQuestionArrivesOnceAfterIt(t *testing.T) {
	busy, a := new(busyLog), newAuthor()
	r := start(t, Config{}, func(p *Parts) { busy.Log = p.Log; p.Log = busy })
	c, p := r.dial(t), r.dial(t)
	var stored []*nostr.Event
	first := a.note(t, 0)
	p.mustPublish(first)
	passing := a.event(t, 20_001, 0)
	busy.midway = func() {
		for i := range 3 {
			ev := a.note(t, i-1)
			p.mustPublish(ev)
			stored = append(stored, ev)
		}
		p.mustPublish(passing)
		eventually(t, "the dispatcher is past them", func() bool {
			r.live.mu.RLock()
			defer r.live.mu.RUnlock()
			return r.live.at >= r.store.Head()
		})
	}
	c.send(req("s", `{"kinds":[1]}`, `{"kinds":[20001]}`))
	var got []string
	for range 6 {
		if m := c.next(); m.Label == "EVENT" {
			got = append(got, m.Event.ID)
		} else {
			got = append(got, m.Label)
		}
	}
	want := []string{passing.ID, first.ID, "EOSE", stored[0].ID, stored[1].ID, stored[2].ID}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
	c.silent()
}

// askedLog tells when somebody asks where its end is.
type askedLog struct {
	Log
	asked atomic.Pointer[func()]
}

func (l *askedLog) Head() store.Pos {
	if f := l.asked.Load(); f != nil {
		(*f)()
	}
	return l.Log.Head()
}

func TestWhoRejoinsWhileAnEventIsHandedOutIsSentToTheLog(t *testing.T) {
	log := new(askedLog)
	r := start(t, Config{}, func(p *Parts) { log.Log = p.Log; p.Log = log })
	sb := &sub{s: &session{link: new(link)}, behind: true}
	refused := make(chan bool, 1)
	midway := func() { // the dispatcher asks between finding who wants an event and handing it out
		log.asked.Store(nil)
		refused <- !r.live.rejoin(sb, 0)
	}
	p, ev := r.dial(t), newAuthor().note(t, 0)
	log.asked.Store(&midway)
	p.mustPublish(ev)
	if !<-refused {
		t.Error("a subscription that has read up to 0 is live while event 1 is being handed out")
	}
	eventually(t, "the dispatcher is past it", func() bool {
		r.live.mu.RLock()
		defer r.live.mu.RUnlock()
		return r.live.at == 1
	})
	if !r.live.rejoin(sb, 1) {
		t.Error("a subscription that has read everything is refused")
	}
}

// TestASlowReaderIsSentEverythingInTheEnd fills a subscriber's socket and
// outbox, and then lets it read.
func TestASlowReaderIsSentEverythingInTheEnd(t *testing.T) {
	r := start(t, Config{}, nil)
	slow, p, a := r.dial(t), r.dial(t), newAuthor()
	slow.query("s", `{"kinds":[1]}`)
	slow.query("t", `{"authors":["`+a.pk+`"],"limit":0}`)
	var ids []string
	for i := range 300 {
		ev := signedBy(t, a.sk, nostr.Event{Kind: 1, Content: fmt.Sprint(i) + strings.Repeat("x", 50_000)})
		p.mustPublish(ev)
		ids = append(ids, ev.ID)
	}
	if lagged := counterValue(t, r.metrics.lagging); lagged == 0 {
		t.Fatal("the subscriber never fell behind: the test shows nothing")
	}
	got := map[string][]string{}
	for len(got["s"]) < len(ids) || len(got["t"]) < len(ids) {
		m := slow.next()
		if m.Label != "EVENT" {
			t.Fatalf("got %+v", m)
		}
		got[m.Sub] = append(got[m.Sub], m.Event.ID)
	}
	for sub, seen := range got {
		if !slices.Equal(seen, ids) {
			t.Errorf("subscription %s got %d events, not those published in their order", sub, len(seen))
		}
	}
	slow.silent()
	last := a.note(t, 0)
	p.mustPublish(last) // live again
	for range 2 {
		if m := slow.next(); m.Label != "EVENT" || m.Event.ID != last.ID {
			t.Errorf("after catching up came %+v", m)
		}
	}
}

func TestEphemeralEventsReachListenersAndAreNeverStored(t *testing.T) {
	r := start(t, Config{}, nil)
	c, p, a := r.dial(t), r.dial(t), newAuthor()
	alone := a.event(t, 20_000, 0)
	if m := p.publish(alone); !m.OK || !strings.HasPrefix(m.Text, "mute: ") {
		t.Errorf("nobody listened, and the answer is %v %q", m.OK, m.Text)
	}
	c.query("s", `{"kinds":[20000,29999]}`)
	for _, kind := range []int{20_000, 29_999} {
		ev := a.event(t, kind, 0)
		if m := p.publish(ev); !m.OK || m.Text != "" {
			t.Errorf("kind %d: %v %q", kind, m.OK, m.Text)
		}
		if m := c.want("EVENT", "s", ""); m.Event.ID != ev.ID {
			t.Errorf("got another event")
		}
		if m := p.publish(ev); !m.OK { // it is not held, so it is no duplicate
			t.Errorf("again: %q", m.Text)
		}
		c.want("EVENT", "s", "")
	}
	if evs, _ := r.dial(t).query("all", `{}`); len(evs) != 0 {
		t.Errorf("%d events are stored", len(evs))
	}
	if r.store.Head() != 0 {
		t.Error("the log has moved")
	}
}

func TestEphemeralEventsBeyondTheOutboxAreDroppedAndCounted(t *testing.T) {
	r := start(t, Config{}, nil)
	slow, p, a := r.dial(t), r.dial(t), newAuthor()
	slow.query("s", `{"kinds":[20001]}`)
	for range 500 {
		p.mustPublish(signedBy(t, a.sk, nostr.Event{Kind: 20_001, Content: strings.Repeat("x", 60_000)}))
	}
	if counterValue(t, r.metrics.dropped) == 0 {
		t.Error("30 MB have gone somewhere, and nothing was dropped")
	}
	slow.want("EVENT", "s", "")
}

func TestLiveEventsHonourTimeBoundsAndIgnoreLimit(t *testing.T) {
	r := start(t, Config{}, nil)
	c, p, a := r.dial(t), r.dial(t), newAuthor()
	now := nostr.Now()
	c.query("s", fmt.Sprintf(`{"since":%d,"until":%d,"limit":1}`, now-100, now+100))
	early, in, in2, late := a.note(t, -200), a.note(t, 0), a.note(t, 1), a.note(t, 300)
	p.mustPublish(early, in, late, in2)
	for _, want := range []*nostr.Event{in, in2} {
		if m := c.want("EVENT", "s", ""); m.Event.ID != want.ID {
			t.Errorf("got created_at %d", m.Event.CreatedAt)
		}
	}
	c.silent()
}

// TestTheIndexFindsWhatThePlainModelFinds holds the inverted index of filters
// to asking every filter.
func TestTheIndexFindsWhatThePlainModelFinds(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	authors := []*author{newAuthor(), newAuthor(), newAuthor()}
	var events []*nostr.Event
	for range 150 {
		a := authors[rnd.IntN(3)]
		var tags nostr.Tags
		for range rnd.IntN(4) {
			tags = append(tags, nostr.Tag{pick(rnd, "r", "i", "t", "client"), pick(rnd, "x", "y", "z", authors[0].pk), "more"})
		}
		if rnd.IntN(5) == 0 {
			tags = append(tags, nostr.Tag{"t"})
		}
		events = append(events, a.event(t, rnd.IntN(4), rnd.IntN(10), tags...))
	}
	x := newIndex()
	subs := map[*sub][]nostr.Filter{}
	var order []*sub
	for round := range 400 {
		sb := new(sub)
		for range 1 + rnd.IntN(3) {
			subs[sb] = append(subs[sb], randomFilter(rnd, authors, events))
		}
		x.add(sb, subs[sb])
		order = append(order, sb)
		if round%3 == 0 {
			gone := order[rnd.IntN(len(order))]
			x.remove(gone)
			delete(subs, gone)
		}
	}
	var mem finding
	hits := 0
	for _, ev := range events {
		rec, err := store.ParseRecord(wire.AppendEvent(nil, ev))
		if err != nil {
			t.Fatal(err)
		}
		got := map[*sub]int{}
		for _, sb := range x.find(&mem, &rec) {
			got[sb]++
		}
		for sb, filters := range subs {
			want := 0
			if nostr.Filters(filters).Match(ev) {
				want = 1
				hits++
			}
			if got[sb] != want {
				t.Fatalf("%s: found %d times, want %d, by %v", ev, got[sb], want, filters)
			}
			delete(got, sb)
		}
		if len(got) > 0 {
			t.Fatal("a subscription that was removed was found")
		}
	}
	if hits < 1000 {
		t.Errorf("only %d hits: the test shows little", hits)
	}
	for sb := range subs {
		x.remove(sb)
	}
	if n := len(x.subs) + len(x.all) + len(x.ids) + len(x.authors) + len(x.tags) + len(x.kinds); n != 0 {
		t.Errorf("an emptied index holds %d entries", n)
	}
}

func pick(rnd *rand.Rand, from ...string) string { return from[rnd.IntN(len(from))] }

func randomFilter(rnd *rand.Rand, authors []*author, events []*nostr.Event) nostr.Filter {
	var f nostr.Filter
	if rnd.IntN(4) == 0 {
		f.IDs = []string{events[rnd.IntN(len(events))].ID, events[rnd.IntN(len(events))].ID}
	}
	if rnd.IntN(3) == 0 {
		f.Authors = []string{authors[rnd.IntN(3)].pk, authors[rnd.IntN(3)].pk}
	}
	if rnd.IntN(2) == 0 {
		f.Kinds = []int{rnd.IntN(4), rnd.IntN(4)}
	}
	if rnd.IntN(3) == 0 {
		f.Tags = nostr.TagMap{pick(rnd, "r", "i", "t"): {pick(rnd, "x", "y"), "z"}}
		if rnd.IntN(2) == 0 {
			f.Tags["t"] = []string{pick(rnd, "x", "y", "z"), authors[0].pk, "w"}
		}
	}
	if rnd.IntN(4) == 0 {
		since := nostr.Now() + nostr.Timestamp(rnd.IntN(10))
		f.Since = &since
	}
	if rnd.IntN(4) == 0 {
		until := nostr.Now() + nostr.Timestamp(rnd.IntN(10))
		f.Until = &until
	}
	if rnd.IntN(20) == 0 {
		f.Kinds = []int{}
	}
	return f
}

// TestCompressedFramesCarryTheSame holds a client with permessage-deflate and
// one without to the same rows, stored and live.
func TestCompressedFramesCarryTheSame(t *testing.T) {
	r := start(t, Config{}, nil)
	p, a := r.dial(t), newAuthor()
	var evs []*nostr.Event
	for _, n := range []int{0, 100, 400, 511, 600, 5_000, 70_000, 400_000} {
		evs = append(evs, signedBy(t, a.sk, nostr.Event{Kind: 1, Content: strings.Repeat("agora ☀ ", n/9)}))
	}
	p.mustPublish(evs[:4]...)
	squeezed := r.dialWith(t, &websocket.Dialer{EnableCompression: true}, nil)
	plain := r.dial(t)
	sub := strings.Repeat("s", 64)
	for _, c := range []*client{squeezed, plain} {
		if got, _ := c.query(sub, `{}`); len(got) != 4 {
			t.Fatalf("%d stored events", len(got))
		}
	}
	p.mustPublish(evs[4:]...)
	for _, c := range []*client{squeezed, plain} {
		for _, ev := range evs[4:] {
			m := c.want("EVENT", sub, "")
			if m.Event.String() != ev.String() {
				t.Fatal("another event came")
			}
		}
		if got, _ := c.query("again", `{}`); len(got) != len(evs) {
			t.Fatalf("%d events", len(got))
		}
	}
	if s := r.sessions.list(); !slices.ContainsFunc(s, func(s *session) bool { return s.deflated }) {
		t.Error("nobody's frames were compressed")
	}
}
