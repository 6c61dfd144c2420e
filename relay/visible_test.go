package relay

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"agora/relay/store"
	"agora/relay/wire"

	"github.com/nbd-wtf/go-nostr"
)

// everything is a Searcher that finds all ids of a log.
type everything struct{ log Log }

func (e everything) Search(ctx context.Context, _ string, f nostr.Filter) iter.Seq2[store.ID, error] {
	return func(yield func(store.ID, error) bool) {
		f.Search, f.Limit = "", 0
		for rec, err := range e.log.QueryAt(ctx, e.log.Head(), f) {
			if !yield(rec.ID(), err) {
				return
			}
		}
	}
}

// TestAWrappedMessageLeavesByNoExitButToItsRecipient tries every exit of the
// relay with a wrap, as a stranger, as another key and as its recipient.
func TestAWrappedMessageLeavesByNoExitButToItsRecipient(t *testing.T) {
	me, other := newAuthor(), newAuthor()
	page := Page{}
	r := start(t, Config{}, func(p *Parts) {
		p.Search = everything{p.Log}
		p.Sources = []Source{&feedOf{&page}}
	})
	p := r.dial(t)
	wrap := p.wrap(me.pk)
	p.mustPublish(other.note(t, 0))
	page.Events = []*nostr.Event{wrap}
	id, rec := wrap.ID, recordOf(t, wrap)

	for name, exit := range map[string]func(c *client) bool{
		"REQ by nothing":   sees(`{}`),
		"REQ by kind":      sees(`{"kinds":[1,1059]}`),
		"REQ by kind only": sees(`{"kinds":[1059]}`),
		"REQ by id":        sees(`{"ids":["` + id + `"]}`),
		"REQ by author":    sees(`{"authors":["` + wrap.PubKey + `"]}`),
		"REQ by p":         sees(`{"#p":["` + me.pk + `"]}`),
		"REQ by p, kind":   sees(`{"#p":["` + me.pk + `"],"kinds":[1059]}`),
		"two filters":      sees(`{"#p":["`+me.pk+`"]}`, `{"kinds":[1059],"limit":1}`),
		"search":           sees(`{"search":"x"}`),
		"search by kind":   sees(`{"search":"x","kinds":[1059]}`),
		"a source":         sees(`{"kinds":[6]}`),
		"COUNT": func(c *client) bool {
			c.send(`["COUNT","n",{"authors":["` + wrap.PubKey + `"]}]`)
			return c.want("COUNT", "n", "").Count > 0
		},
		"COUNT by kind": func(c *client) bool {
			c.send(`["COUNT","n",{"kinds":[1059]}]`)
			m := c.afterChallenge()
			return m.Label == "COUNT" && m.Count > 0
		},
		"COUNT by p with its registers": func(c *client) bool {
			c.send(`["COUNT","n",{"#p":["` + me.pk + `"]}]`)
			m := c.want("COUNT", "n", "")
			return m.Count > 0 || bytes.ContainsFunc(m.HLL, func(r rune) bool { return r != 0 })
		},
		"negentropy":         negotiates(`{}`, wrap, p),
		"negentropy by kind": negotiates(`{"kinds":[1059]}`, wrap, p),
		"negentropy by p":    negotiates(`{"#p":["`+me.pk+`"]}`, wrap, p),
		"live":               hears(t, r, wrapTo(me.pk, 1059), `{}`),
		"live by kind":       hears(t, r, wrapTo(me.pk, 1059), `{"kinds":[1,1059]}`),
		"live by p":          hears(t, r, wrapTo(me.pk, 1059), `{"#p":["`+me.pk+`"]}`),
		"live, ephemeral":    hears(t, r, wrapTo(me.pk, 21059), `{"#p":["`+me.pk+`"]}`),
		"Visible": func(c *client) bool {
			return r.Visible(&rec, c.keys(r), time.Now().Unix())
		},
	} {
		if exit(r.dial(t)) {
			t.Errorf("%s: a stranger saw the wrap", name)
		}
		c := r.dial(t)
		c.authenticate(r.url, other.sk)
		if exit(c) {
			t.Errorf("%s: another key saw the wrap", name)
		}
		c = r.dial(t)
		c.authenticate(r.url, other.sk)
		c.authenticate(r.url, me.sk)
		if !exit(c) && name != "negentropy" { // what is kept ready has no wraps for anybody

			t.Errorf("%s: the recipient did not see the wrap", name)
		}
	}
}

// feedOf answers kind 6 with a page.
type feedOf struct{ page *Page }

func (o *feedOf) Select(_ context.Context, _ Door, _ string, f nostr.Filter) (Page, bool, error) {
	return *o.page, slices.Equal(f.Kinds, []int{6}), nil
}

func recordOf(t *testing.T, ev *nostr.Event) store.Record {
	t.Helper()
	rec, err := store.ParseRecord(wire.AppendEvent(nil, ev))
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// afterChallenge is the next message that is no AUTH.
func (c *client) afterChallenge() wire.ServerMessage {
	c.t.Helper()
	for {
		if m := c.next(); m.Label != "AUTH" {
			return m
		}
	}
}

// keys are those the relay knows of the newest connection.
func (c *client) keys(r *testRelay) viewer {
	for _, s := range r.sessions.list() {
		if s.challenge == c.challenge {
			return s.viewer()
		}
	}
	return nil
}

// sees asks and reports whether a wrap came.
func sees(filters ...string) func(*client) bool {
	return func(c *client) (seen bool) {
		c.send(req("s", filters...))
		for {
			switch m := c.afterChallenge(); m.Label {
			case "EVENT":
				seen = seen || m.Event.Kind == 1059
			case "EOSE":
				return seen
			case "CLOSED":
				if !strings.HasPrefix(m.Text, "auth-required: ") {
					c.t.Errorf("closed: %q", m.Text)
				}
				return seen
			}
		}
	}
}

func wrapTo(pk string, kind int) func(testing.TB) *nostr.Event {
	return func(t testing.TB) *nostr.Event { return newAuthor().event(t, kind, 0, nostr.Tag{"p", pk}) }
}

// hears subscribes and reports whether a wrap published then arrives.
func hears(t *testing.T, r *testRelay, make func(testing.TB) *nostr.Event, filter string) func(*client) bool {
	return func(c *client) bool {
		c.send(req("live", filter))
		for m := c.next(); m.Label != "EOSE"; m = c.next() {
		}
		// events are handed out in the order of the log: what has not come before the mark, does not
		mark := newAuthor()
		if got, _ := c.query("mark", `{"authors":["`+mark.pk+`"]}`); len(got) != 0 {
			t.Errorf("%d events of a new key", len(got))
		}
		ev, last := make(t), mark.note(t, 0)
		p := r.dial(t)
		p.mustPublish(ev)
		p.mustPublish(last)
		heard := false
		for m := c.next(); m.Sub != "mark"; m = c.next() {
			heard = heard || m.Label == "EVENT" && m.Event.ID == ev.ID
		}
		return heard
	}
}

// negotiates reports whether the relay's answer to a client with an empty set
// names the wrap. Ids travel as they are, so that looking for the bytes will do.
func negotiates(filter string, wrap *nostr.Event, _ *client) func(*client) bool {
	return func(c *client) bool {
		// Version 1, one range without end, fingerprint mode, of nothing: the
		// relay answers with the ids it has.
		c.send(fmt.Sprintf(`["NEG-OPEN","n",%s,"61000002%s"]`, filter, "00"))
		m := c.afterChallenge()
		if m.Label == "NEG-ERR" {
			return false
		}
		c.send(`["NEG-CLOSE","n"]`)
		rec, err := store.ParseID(wrap.ID)
		return err == nil && bytes.Contains(m.Neg, rec[:])
	}
}

func TestExpiredEventsAreRefusedAndNeverServedAgain(t *testing.T) {
	r := start(t, Config{}, nil)
	c, p, a := r.dial(t), r.dial(t), newAuthor()
	past := a.note(t, -10, nostr.Tag{"expiration", fmt.Sprint(nostr.Now() - 1)})
	if m := p.publish(past); m.OK || !strings.HasPrefix(m.Text, "invalid: ") {
		t.Errorf("already expired: %v %q", m.OK, m.Text)
	}
	soon := a.note(t, 0, nostr.Tag{"expiration", fmt.Sprint(nostr.Now() + 2)})
	p.mustPublish(soon)
	if got, _ := c.query("s", `{}`); len(got) != 1 {
		t.Fatalf("%d events before the time", len(got))
	}
	eventually(t, "it goes", func() bool {
		got, _ := c.query("s", `{}`)
		return len(got) == 0
	})
	p.mustPublish(a.event(t, 30, 0, nostr.Tag{"expiration", fmt.Sprint(nostr.Now() + 3600)}))
	for rec, err := range r.store.Query(t.Context(), nostr.Filter{Kinds: []int{30}}) {
		if now := time.Now().Unix(); err != nil || !r.Visible(&rec, nil, now) || r.Visible(&rec, nil, now+3700) {
			t.Errorf("an hour's expiration does not hold an hour (%v)", err)
		}
	}
	ephemeral := a.event(t, 20_000, 0, nostr.Tag{"expiration", "1"})
	if m := p.publish(ephemeral); !m.OK {
		t.Errorf("expiration has no effect on ephemeral events: %q", m.Text)
	}
}

func TestRestrictedKindsAreForTheirTwoParties(t *testing.T) {
	r := start(t, Config{Restricted: []int{4}}, nil)
	from, to, p := newAuthor(), newAuthor(), r.dial(t)
	p.mustPublish(from.event(t, 4, 0, nostr.Tag{"p", to.pk}))
	for _, who := range []*author{from, to} {
		c := r.dial(t)
		c.authenticate(r.url, who.sk)
		if got, _ := c.query("s", `{"kinds":[4]}`); len(got) != 1 {
			t.Errorf("a party sees %d messages", len(got))
		}
	}
	c := r.dial(t)
	c.send(req("s", `{"kinds":[4]}`))
	c.next()
	c.want("CLOSED", "s", "auth-required: ")
	c.authenticate(r.url, newAuthor().sk)
	if got, _ := c.query("s", `{"kinds":[4]}`); len(got) != 0 {
		t.Error("a third one sees the message")
	}
}
