package relay

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"agora/relay/wire"

	"github.com/gorilla/websocket"
	"github.com/nbd-wtf/go-nostr"
)

// patience is how long a test waits for what must come.
const patience = 20 * time.Second

// client is a raw websocket client.
type client struct {
	t         testing.TB
	ws        *websocket.Conn
	challenge string
}

// dial connects and reads the challenge.
func (r *testRelay) dial(t testing.TB) *client {
	t.Helper()
	return r.dialWith(t, new(websocket.Dialer), nil)
}

func (r *testRelay) dialWith(t testing.TB, d *websocket.Dialer, h http.Header) *client {
	t.Helper()
	ws, resp, err := d.Dial(r.url, h)
	if err != nil {
		t.Fatalf("dial: %v (%v)", err, resp)
	}
	t.Cleanup(func() { ws.Close() })
	c := &client{t: t, ws: ws}
	if !r.cfg.QuietAuth {
		m := c.next()
		if m.Label != "AUTH" || m.Text == "" {
			t.Fatalf("first message is %+v, want AUTH", m)
		}
		c.challenge = m.Text
	}
	return c
}

// send sends raw messages, each a text frame.
func (c *client) send(msgs ...string) {
	c.t.Helper()
	for _, m := range msgs {
		if err := c.ws.WriteMessage(websocket.TextMessage, []byte(m)); err != nil {
			c.t.Fatalf("send %.80s: %v", m, err)
		}
	}
}

// next is the next message of the relay.
func (c *client) next() wire.ServerMessage {
	c.t.Helper()
	m, err := c.read(patience)
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

func (c *client) read(wait time.Duration) (wire.ServerMessage, error) {
	_ = c.ws.SetReadDeadline(time.Now().Add(wait))
	_, b, err := c.ws.ReadMessage()
	if err != nil {
		return wire.ServerMessage{}, err
	}
	return wire.ParseServer(b)
}

// want reads on to the next message and holds its label, id and text to what
// is expected; an empty text is not looked at.
func (c *client) want(label, id, text string) wire.ServerMessage {
	c.t.Helper()
	m := c.next()
	got := m.Sub
	if label == "OK" {
		got = m.ID
	}
	if m.Label != label || got != id || !strings.HasPrefix(m.Text, text) {
		c.t.Fatalf("got %s %s %q (ok %v), want %s %s %q", m.Label, got, m.Text, m.OK, label, id, text)
	}
	return m
}

// publish sends an event and returns its OK.
func (c *client) publish(ev *nostr.Event) wire.ServerMessage {
	c.t.Helper()
	c.send(eventMessage(ev))
	return c.want("OK", ev.ID, "")
}

// mustPublish is publish of what must be taken.
func (c *client) mustPublish(evs ...*nostr.Event) {
	c.t.Helper()
	for _, ev := range evs {
		if m := c.publish(ev); !m.OK {
			c.t.Fatalf("kind %d was refused: %s", ev.Kind, m.Text)
		}
	}
}

// query asks and returns the stored events with the hint of EOSE.
func (c *client) query(sub string, filters ...string) ([]*nostr.Event, wire.Hint) {
	c.t.Helper()
	c.send(req(sub, filters...))
	var evs []*nostr.Event
	for {
		m := c.next()
		switch {
		case m.Label == "EVENT" && m.Sub == sub:
			evs = append(evs, m.Event)
		case m.Label == "EOSE" && m.Sub == sub:
			return evs, m.Hint
		default:
			c.t.Fatalf("while asking %v: %+v", filters, m)
		}
	}
}

// silent fails when anything comes before an answer to a question asked now:
// what was sent before it would have come first.
func (c *client) silent() {
	c.t.Helper()
	if evs, _ := c.query("silence", `{"ids":["`+strings.Repeat("0", 64)+`"]}`); len(evs) > 0 {
		c.t.Fatal("an event that nobody has")
	}
	c.send(`["CLOSE","silence"]`)
}

// authenticate proves sk.
func (c *client) authenticate(url, sk string) wire.ServerMessage {
	c.t.Helper()
	ev := authEvent(c.t, url, c.challenge, sk)
	c.send(`["AUTH",` + jsonOf(ev) + `]`)
	return c.want("OK", ev.ID, "")
}

func authEvent(t testing.TB, url, challenge, sk string) *nostr.Event {
	return signedBy(t, sk, nostr.Event{Kind: 22242, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"relay", url}, {"challenge", challenge}}})
}

func req(sub string, filters ...string) string {
	return fmt.Sprintf(`["REQ",%q,%s]`, sub, strings.Join(filters, ","))
}

func eventMessage(ev *nostr.Event) string { return `["EVENT",` + jsonOf(ev) + `]` }

func jsonOf(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func signedBy(t testing.TB, sk string, ev nostr.Event) *nostr.Event {
	t.Helper()
	if ev.Tags == nil {
		ev.Tags = nostr.Tags{}
	}
	if ev.CreatedAt == 0 {
		ev.CreatedAt = nostr.Now()
	}
	if err := ev.Sign(sk); err != nil {
		t.Fatal(err)
	}
	return &ev
}

// author is a key with a counter, so that its notes differ.
type author struct {
	sk, pk string
	n      atomic.Int64
}

func newAuthor() *author {
	sk := nostr.GeneratePrivateKey()
	pk, err := nostr.GetPublicKey(sk)
	if err != nil {
		panic(err)
	}
	return &author{sk: sk, pk: pk}
}

// note is a kind 1 with content of its own, dated seconds from now.
func (a *author) note(t testing.TB, seconds int, tags ...nostr.Tag) *nostr.Event {
	return a.event(t, 1, seconds, tags...)
}

func (a *author) event(t testing.TB, kind, seconds int, tags ...nostr.Tag) *nostr.Event {
	t.Helper()
	return signedBy(t, a.sk, nostr.Event{
		Kind: kind, Content: fmt.Sprintf("%s number %d", a.pk[:8], a.n.Add(1)),
		CreatedAt: nostr.Now() + nostr.Timestamp(seconds), Tags: tags,
	})
}

func idsOf(evs []*nostr.Event) []string {
	ids := make([]string, len(evs))
	for i, ev := range evs {
		ids[i] = ev.ID
	}
	return ids
}

// inOrder reports whether events stand newest first, ties lowest id first.
func inOrder(evs []*nostr.Event) bool {
	return slices.IsSortedFunc(evs, func(a, b *nostr.Event) int {
		if a.CreatedAt != b.CreatedAt {
			return int(b.CreatedAt - a.CreatedAt)
		}
		return strings.Compare(a.ID, b.ID)
	})
}

// gone reports whether the relay has hung up, and with which code.
func (c *client) gone() (code int, text string) {
	c.t.Helper()
	for {
		_, err := c.read(patience)
		ce := new(websocket.CloseError)
		var ne net.Error
		switch {
		case errors.As(err, &ce):
			return ce.Code, ce.Text
		case errors.As(err, &ne) && ne.Timeout():
			c.t.Fatal("the relay has not hung up")
		case err != nil:
			return 0, err.Error()
		}
	}
}
