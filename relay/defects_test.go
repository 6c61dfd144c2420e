package relay

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
)

// The defects a to l were found in other relays and stores; each test shows
// that this relay does not have one of them.

func TestDefectA_AnEventSentAgainIsNotStoredAgain(t *testing.T) {
	r := start(t, Config{}, nil)
	a := newAuthor()
	var evs []*nostr.Event
	for i := range 50 {
		evs = append(evs, a.note(t, -i))
	}
	var all sync.WaitGroup
	for range 4 {
		c := r.dial(t)
		all.Go(func() { c.mustPublish(evs...) })
	}
	all.Wait()
	if got, _ := r.dial(t).query("s", `{"kinds":[1,7],"authors":["`+a.pk+`"]}`); len(got) != len(evs) {
		t.Errorf("%d rows for %d ids", len(got), len(evs))
	}
	if head := r.store.Head(); head != store.Pos(len(evs)) {
		t.Errorf("the log is at %d", head)
	}
}

func TestDefectB_ADeletedEventCannotBePublishedAgain(t *testing.T) {
	r := start(t, Config{}, nil)
	c, a, other := r.dial(t), newAuthor(), newAuthor()
	byID, never, address := a.note(t, -9), a.note(t, -8), a.event(t, 30023, -9, nostr.Tag{"d", "x"})
	c.mustPublish(byID, address)
	c.mustPublish(a.event(t, 5, 0, nostr.Tag{"e", byID.ID}, nostr.Tag{"e", never.ID}, nostr.Tag{"a", "30023:" + a.pk + ":x"}))
	for _, ev := range []*nostr.Event{byID, never, address, a.event(t, 30023, -1, nostr.Tag{"d", "x"})} {
		if m := c.publish(ev); m.OK {
			t.Errorf("kind %d was taken again", ev.Kind)
		}
	}
	c.mustPublish(a.event(t, 30023, 5, nostr.Tag{"d", "x"})) // newer than the deletion
	kept := a.note(t, -3)
	c.mustPublish(kept, other.event(t, 5, 0, nostr.Tag{"e", kept.ID}))
	if got, _ := c.query("s", `{"ids":["`+kept.ID+`"]}`); len(got) != 1 {
		t.Error("another author's deletion counts")
	}
}

func TestDefectC_AddressesAreIndexedByTheirFullValue(t *testing.T) {
	r := start(t, Config{}, nil)
	c, a := r.dial(t), newAuthor()
	address := "30023:" + a.pk + ":slug"
	want := a.note(t, 0, nostr.Tag{"a", address})
	c.mustPublish(want, a.note(t, 0, nostr.Tag{"a", address + "2"}), a.note(t, 0, nostr.Tag{"a", "30024" + address[5:]}))
	if got, _ := c.query("s", `{"#a":["`+address+`"]}`); len(got) != 1 || got[0].ID != want.ID {
		t.Errorf("%d events", len(got))
	}
}

func TestDefectD_ContentBeyond64KiBAndTimesBeyond32BitsAreKept(t *testing.T) {
	r := start(t, Config{Limits: Limits{MaxFuture: 200 * 365 * 24 * time.Hour}}, nil)
	c, a := r.dial(t), newAuthor()
	big := signedBy(t, a.sk, nostr.Event{Kind: 30023, Content: strings.Repeat("ü", 200_000), CreatedAt: 1 << 32, Tags: nostr.Tags{{"d", strings.Repeat("d", 70_000)}}})
	small := signedBy(t, a.sk, nostr.Event{Kind: 1, CreatedAt: 5})
	c.mustPublish(big, small)
	got, _ := c.query("s", `{}`)
	if len(got) != 2 || got[0].String() != big.String() || got[1].ID != small.ID {
		t.Errorf("%d events, or not the same, or not in their order", len(got))
	}
	if got, _ := c.query("s", fmt.Sprintf(`{"since":%d}`, int64(1)<<32)); len(got) != 1 {
		t.Errorf("since beyond 32 bits: %d events", len(got))
	}
}

func TestDefectE_OneStuckSubscriberDoesNotStallAPublisher(t *testing.T) {
	r := start(t, Config{}, nil)
	stuck, p, a := r.dial(t), r.dial(t), newAuthor()
	for i := range 50 {
		stuck.query(fmt.Sprint("s", i), `{"kinds":[1],"limit":0}`)
	}
	for range 100 { // 250 MB for somebody who does not read
		began := time.Now()
		p.mustPublish(signedBy(t, a.sk, nostr.Event{Kind: 1, Content: strings.Repeat("x", 50_000) + fmt.Sprint(a.n.Add(1))}))
		if took := time.Since(began); took > 5*time.Second {
			t.Fatalf("an OK took %v", took)
		}
	}
}

func TestDefectF_MessagesOfOneClientActInTheirOrder(t *testing.T) {
	r := start(t, Config{}, nil)
	c, a := r.dial(t), newAuthor()
	for i := range 100 {
		old, sub := a.event(t, 10_000, i-200), fmt.Sprint("s", i)
		c.send(eventMessage(old), req(sub, `{"kinds":[10000]}`), `["CLOSE","`+sub+`"]`)
		c.want("OK", old.ID, "")
		for m := c.peekAnswer(sub); m != ""; m = c.peekAnswer(sub) {
			if m != old.ID {
				t.Fatalf("round %d: an older version was served", i)
			}
		}
	}
}

// peekAnswer is the id of the next event of a subscription that may have been
// closed before its turn; empty when no more will come.
func (c *client) peekAnswer(sub string) string {
	c.t.Helper()
	c.send(`["COUNT","end",{"kinds":[9]}]`)
	id := ""
	for {
		switch m := c.next(); m.Label {
		case "EVENT":
			id = m.Event.ID
		case "COUNT":
			return id
		}
	}
}

func TestDefectG_ADeletionTakesAllItNames(t *testing.T) {
	r := start(t, Config{}, nil)
	c, a := r.dial(t), newAuthor()
	var tags nostr.Tags
	for i := range 300 {
		ev := a.note(t, -i-1)
		c.mustPublish(ev)
		tags = append(tags, nostr.Tag{"e", ev.ID})
	}
	c.mustPublish(a.event(t, 5, 0, tags...))
	if got, hint := c.query("s", `{"kinds":[1]}`); len(got) != 0 {
		t.Errorf("%d of 300 are left (hint %d)", len(got), hint)
	}
}

func TestDefectH_EventsOfManyClientsShareACommit(t *testing.T) {
	r := start(t, Config{}, nil)
	var all sync.WaitGroup
	const clients, each = 8, 64
	batches := make([][]*nostr.Event, clients)
	for i := range batches {
		a := newAuthor()
		for range each {
			batches[i] = append(batches[i], a.note(t, 0))
		}
	}
	for _, evs := range batches {
		c := r.dial(t)
		all.Go(func() {
			for _, ev := range evs {
				c.send(eventMessage(ev))
			}
			for _, ev := range evs {
				if m := c.want("OK", ev.ID, ""); !m.OK {
					t.Error(m.Text)
				}
			}
		})
	}
	all.Wait()
	st, err := r.store.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if st.Events != clients*each {
		t.Errorf("%d events", st.Events)
	}
}

func TestDefectI_AQuestionWithoutLimitSaysWhenItWasCut(t *testing.T) {
	r := start(t, Config{Limits: Limits{DefaultLimit: 4}}, nil)
	c, a := r.dial(t), newAuthor()
	for i := range 5 {
		c.mustPublish(a.note(t, -i))
	}
	if got, hint := c.query("s", `{}`); len(got) != 4 || hint != 2 {
		t.Errorf("%d events, hint %d", len(got), hint)
	}
	c.send(req("s", `{"search":"words"}`))
	c.want("CLOSED", "s", "unsupported: ") // never an empty answer
}

func TestDefectJ_ATagMatchesUnderItsOwnNameOnly(t *testing.T) {
	r := start(t, Config{}, nil)
	c, a := r.dial(t), newAuthor()
	v := strings.Repeat("ab", 32)
	for _, name := range []string{"e", "p", "q", "P", "E", "t"} {
		c.mustPublish(a.note(t, 0, nostr.Tag{name, v}))
	}
	for _, name := range []string{"e", "p", "q", "P", "E", "t"} {
		got, _ := c.query("s", `{"#`+name+`":["`+v+`"]}`)
		if len(got) != 1 || got[0].Tags[0][0] != name {
			t.Errorf("#%s: %d events", name, len(got))
		}
	}
}

func TestDefectK_AnAcknowledgedEventCanBeReadAtOnceByAnybody(t *testing.T) {
	r := start(t, Config{}, nil)
	p, c, a := r.dial(t), r.dial(t), newAuthor()
	for range 50 {
		ev := a.note(t, 0)
		began := time.Now()
		p.mustPublish(ev)
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("a quiet relay's OK took %v", took)
		}
		if got, _ := c.query("s", `{"ids":["`+ev.ID+`"]}`); len(got) != 1 {
			t.Fatal("acknowledged, and not there")
		}
	}
}

// countedLog counts how often the index was asked to count.
type countedLog struct {
	Log
	counts atomic.Int32
}

func (l *countedLog) Count(ctx context.Context, filters ...nostr.Filter) (int64, error) {
	l.counts.Add(1)
	return l.Log.Count(ctx, filters...)
}

func TestDefectL_CountingAndReconcilingNeedNoFullDecode(t *testing.T) {
	counted := new(countedLog)
	r := start(t, Config{}, func(p *Parts) { counted.Log = p.Log; p.Log = counted })
	c, a := r.dial(t), newAuthor()
	c.mustPublish(a.note(t, 0))
	c.send(`["COUNT","n",{"kinds":[1]}]`)
	if m := c.want("COUNT", "n", ""); m.Count != 1 || counted.counts.Load() != 1 {
		t.Errorf("count %d by %d index counts", m.Count, counted.counts.Load())
	}
}
