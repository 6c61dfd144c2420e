package relay

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	"agora/relay/admit"
	"agora/relay/wire"

	"github.com/gorilla/websocket"
	"github.com/nbd-wtf/go-nostr"
)

// oneDoor is a source and the one path that leads to it. It answers kind 1,
// refuses kind 20, and leaves the rest to the log.
type oneDoor struct {
	page Page
	came chan nostr.Filter
}

func (o oneDoor) Presence(door Door) (About, bool) {
	return About{Name: "Behind", Self: "me", DefaultLimit: 7}, door == "/f/one" || door == "/f/one?x=1"
}

func (o oneDoor) Select(_ context.Context, door Door, _ string, f nostr.Filter) (Page, bool, error) {
	if door == "/" {
		return Page{}, false, nil
	}
	if slices.Equal(f.Kinds, []int{20}) {
		return Page{Refusal: &admit.Refusal{Prefix: admit.Invalid, Text: "no such thing"}}, true, nil
	}
	if !slices.Equal(f.Kinds, []int{1}) {
		return Page{}, false, nil
	}
	o.came <- f
	return o.page, true, nil
}

func behind(t *testing.T, page Page) (*testRelay, oneDoor) {
	one := oneDoor{page, make(chan nostr.Filter, 8)}
	r := start(t, Config{About: About{Name: "Root", Contact: "mailto:a@b.example"}}, func(p *Parts) { p.Sources, p.Paths = []Source{one}, one })
	return r, one
}

func TestADoorThatIsKnownHasADocumentOfItsOwn(t *testing.T) {
	r, _ := behind(t, Page{})
	resp, body := r.get(t, "GET", "/f/one", "application/nostr+json")
	var doc Document
	if err := json.Unmarshal(body, &doc); err != nil || doc.Name != "Behind" || doc.Self != "me" || doc.Limitation.DefaultLimit != 7 || doc.Limitation.MaxLimit == 0 || doc.Contact != "mailto:a@b.example" {
		t.Errorf("%d %+v %v", resp.StatusCode, doc, err)
	}
	if resp, _ := r.get(t, "GET", "/f/two", "application/nostr+json"); resp.StatusCode != http.StatusNotFound {
		t.Errorf("an unknown door: %d", resp.StatusCode)
	}
}

func TestBehindADoorTheSourceSeesTheFilterAsItWasWritten(t *testing.T) {
	a := newAuthor()
	r, one := behind(t, Page{Events: []*nostr.Event{a.note(t, -9)}, Hint: wire.Finish})
	c := r.dialPath(t, "/f/one?x=1")
	got, hint := c.query("s", `{"kinds":[1],"limit":1000000000}`)
	if f := <-one.came; f.Limit != 1_000_000_000 || len(got) != 1 || hint != wire.Finish {
		t.Errorf("limit %d, %d events, hint %d", f.Limit, len(got), hint)
	}
	if c.query("s", `{"kinds":[1]}`); (<-one.came).Limit != 0 {
		t.Error("a limit came out of nothing")
	}
}

func TestARefusalOfASourceClosesTheQuestion(t *testing.T) {
	r, _ := behind(t, Page{})
	c := r.dialPath(t, "/f/one")
	c.send(req("s", `{"kinds":[20]}`))
	c.want("CLOSED", "s", "invalid: no such thing")
}

func TestAPageInItsOwnOrderIsNeverPagedByTime(t *testing.T) {
	a := newAuthor()
	old := a.note(t, -9000)
	for page, want := range map[wire.Hint]wire.Hint{wire.NoHint: wire.NoHint, wire.Finish: wire.NoHint, wire.More: wire.More} {
		r, _ := behind(t, Page{Events: []*nostr.Event{old}, Hint: page, Still: true})
		r.dial(t).mustPublish(a.event(t, 7, -1), a.event(t, 7, -2), a.event(t, 7, -3))
		if got, hint := r.dialPath(t, "/f/one").query("s", `{"kinds":[1]}`, `{"kinds":[7],"limit":2}`); hint != want || len(got) != 3 {
			t.Errorf("a page with hint %d beside a log that has more: hint %d, %d events", page, hint, len(got))
		}
	}
}

func TestNothingLiveFollowsAStillPage(t *testing.T) {
	a := newAuthor()
	for _, still := range []bool{true, false} {
		r, _ := behind(t, Page{Still: still})
		c := r.dialPath(t, "/f/one")
		c.query("s", `{"kinds":[1]}`)
		c.query("other", `{"kinds":[7]}`)
		note, like := a.note(t, 0), a.event(t, 7, 0)
		r.dial(t).mustPublish(note, like)
		if !still {
			c.want("EVENT", "s", "")
		}
		if m := c.want("EVENT", "other", ""); m.Event.ID != like.ID {
			t.Errorf("still %v: got %s", still, m.Event.ID)
		}
	}
}

// dialPath is dial by another door.
func (r *testRelay) dialPath(t *testing.T, path string) *client {
	t.Helper()
	ws, resp, err := new(websocket.Dialer).Dial(r.url+path, nil)
	if err != nil {
		t.Fatalf("dial: %v (%v)", err, resp)
	}
	t.Cleanup(func() { ws.Close() })
	c := &client{t: t, ws: ws}
	c.next() // the challenge
	return c
}
