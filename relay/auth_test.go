package relay

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

func TestAuthenticationIsCheckedToTheLetter(t *testing.T) {
	r := start(t, Config{PublicURLs: []string{"wss://relay.example.com/some/path", "ws://127.0.0.1:7447"}}, nil)
	c, a := r.dial(t), newAuthor()
	try := func(url string, change func(*nostr.Event)) (bool, string) {
		t.Helper()
		ev := authEvent(t, url, c.challenge, a.sk)
		if change != nil {
			change(ev)
		}
		c.send(`["AUTH",` + jsonOf(ev) + `]`)
		m := c.want("OK", ev.ID, "")
		return m.OK, m.Text
	}
	resign := func(change func(*nostr.Event)) func(*nostr.Event) {
		return func(ev *nostr.Event) {
			change(ev)
			if err := ev.Sign(a.sk); err != nil {
				t.Fatal(err)
			}
		}
	}
	ours := "wss://relay.example.com"
	for name, bad := range map[string]struct {
		url    string
		change func(*nostr.Event)
	}{
		"another host":       {"wss://relay.example.org", nil},
		"another port":       {"wss://relay.example.com:444", nil},
		"the wrong scheme":   {"ws://relay.example.com", nil},
		"no URL":             {"relay.example.com", nil},
		"no relay tag":       {ours, resign(func(ev *nostr.Event) { ev.Tags = ev.Tags[1:] })},
		"no challenge":       {ours, resign(func(ev *nostr.Event) { ev.Tags = ev.Tags[:1] })},
		"another challenge":  {ours, resign(func(ev *nostr.Event) { ev.Tags[1][1] = "guess" })},
		"another kind":       {ours, resign(func(ev *nostr.Event) { ev.Kind = 22243 })},
		"too old":            {ours, resign(func(ev *nostr.Event) { ev.CreatedAt -= 601 })},
		"too far ahead":      {ours, resign(func(ev *nostr.Event) { ev.CreatedAt += 660 })},
		"a forged signature": {ours, func(ev *nostr.Event) { ev.Sig = strings.Repeat("0", 128) }},
		"a forged key":       {ours, func(ev *nostr.Event) { ev.PubKey = newAuthor().pk }},
	} {
		if ok, text := try(bad.url, bad.change); ok || !strings.HasPrefix(text, "invalid: ") {
			t.Errorf("%s: %v %q", name, ok, text)
		}
	}
	for _, url := range []string{ours, "wss://RELAY.example.com:443/other/path", "https://relay.example.com/", "ws://127.0.0.1:7447/"} {
		if ok, text := try(url, nil); !ok {
			t.Errorf("%s: %q", url, text)
		}
	}
	if keys := r.sessions.list()[0].viewer(); !slices.Equal(keys, viewer{a.pk}) {
		t.Errorf("authenticated keys: %v", keys)
	}
}

func TestWithoutPublicURLsTheNameTheClientUsedCounts(t *testing.T) {
	r := start(t, Config{}, nil)
	a := newAuthor()
	if m := r.dial(t).authenticate(r.url+"/", a.sk); !m.OK {
		t.Error(m.Text)
	}
	if m := r.dial(t).authenticate("ws://elsewhere.example", a.sk); m.OK {
		t.Error("a signature for another relay was taken")
	}
}

func TestSeveralKeysOfAConnectionAllCount(t *testing.T) {
	r := start(t, Config{}, nil)
	c, p, a, b := r.dial(t), r.dial(t), newAuthor(), newAuthor()
	wraps := []*nostr.Event{p.wrap(a.pk), p.wrap(b.pk)}
	c.authenticate(r.url, a.sk)
	c.authenticate(r.url, b.sk)
	got, _ := c.query("s", `{"kinds":[1059]}`)
	if len(got) != len(wraps) {
		t.Errorf("%d of 2 wraps", len(got))
	}
	for _, who := range []*author{a, b} {
		if m := c.publish(who.note(t, 0, nostr.Tag{"-"})); !m.OK {
			t.Error(m.Text)
		}
	}
}

// wrap publishes a wrapped message to pk.
func (c *client) wrap(pk string) *nostr.Event {
	c.t.Helper()
	ev := newAuthor().event(c.t, 1059, -100, nostr.Tag{"p", pk})
	c.mustPublish(ev)
	return ev
}

func TestAnAuthenticationIsNeverStoredNorPassedOn(t *testing.T) {
	r := start(t, Config{}, nil)
	c, other, a := r.dial(t), r.dial(t), newAuthor()
	other.query("s", `{}`)
	ev := authEvent(t, r.url, c.challenge, a.sk)
	if m := c.publish(ev); m.OK || !strings.HasPrefix(m.Text, "invalid: ") {
		t.Errorf("as an EVENT: %v %q", m.OK, m.Text)
	}
	if m := c.authenticate(r.url, a.sk); !m.OK {
		t.Error(m.Text)
	}
	other.silent()
	if r.store.Head() != 0 {
		t.Error("it was stored")
	}
}

func TestARelayThatAsksForAuthenticationSaysSo(t *testing.T) {
	r := start(t, Config{QuietAuth: true, Limits: Limits{AuthToRead: true, AuthToWrite: true}}, nil)
	c, a := r.dial(t), newAuthor()
	c.send(req("s", `{"kinds":[1]}`))
	m := c.next()
	if m.Label != "AUTH" || m.Text == "" {
		t.Fatalf("got %+v, want the challenge", m)
	}
	c.challenge = m.Text
	c.want("CLOSED", "s", "auth-required: ")
	c.send(`["COUNT","n",{"kinds":[1]}]`)
	c.next()
	c.want("CLOSED", "n", "auth-required: ")
	ev := a.note(t, 0)
	c.send(eventMessage(ev))
	c.next() // the challenge
	if m := c.want("OK", ev.ID, "auth-required: "); m.OK {
		t.Error("taken")
	}
	// Sent without waiting: what follows an AUTH is from that key.
	auth := authEvent(t, r.url, c.challenge, a.sk)
	c.send(`["AUTH",`+jsonOf(auth)+`]`, eventMessage(ev), req("s", `{"kinds":[1]}`))
	c.want("OK", auth.ID, "")
	if m := c.want("OK", ev.ID, ""); !m.OK {
		t.Error(m.Text)
	}
	c.want("EVENT", "s", "")
	c.want("EOSE", "s", "")
	if doc := r.Info(); !doc.Limitation.AuthRequired || !doc.Limitation.RestrictedWrites {
		t.Error("NIP-11 does not say so")
	}
}

func TestChallengesDiffer(t *testing.T) {
	r := start(t, Config{}, nil)
	if a, b := r.dial(t).challenge, r.dial(t).challenge; a == b || len(a) < 32 {
		t.Errorf("%q and %q", a, b)
	}
}

func TestAddressesThatHangUpAreRememberedForAWhile(t *testing.T) {
	r := start(t, Config{}, nil)
	c := r.dial(t)
	c.ws.Close()
	eventually(t, "the connection is gone", func() bool { return len(r.sessions.list()) == 0 })
	r.places.sweep(time.Now())
	if len(r.places.m) == 0 {
		t.Log("nothing was spent, so nothing is remembered")
	}
	r.places.sweep(time.Now().Add(time.Hour))
	if n := len(r.places.m); n != 0 {
		t.Errorf("%d addresses are remembered after an hour", n)
	}
}
