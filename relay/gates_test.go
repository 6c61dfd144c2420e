package relay

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"agora/relay/admit"
	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip13"
)

// TestWhichGateWatchesWhichWayIn is the table of ARCHITECTURE.md: for each
// kind of event that some gate turns away, the ways in it may come by.
func TestWhichGateWatchesWhichWayIn(t *testing.T) {
	own := newAuthor()
	r := start(t, Config{OwnKeys: []string{own.pk}, PublicURLs: []string{"wss://here.example"}, Limits: Limits{MaxTags: 10}}, nil)
	a := newAuthor()
	embedded := a.note(t, 0, nostr.Tag{"-"})
	for name, c := range map[string]struct {
		make   func() *nostr.Event
		passes string // origins
	}{
		"plain":                    {func() *nostr.Event { return a.note(t, 0) }, "socket import sync bring own"},
		"an hour ahead":            {func() *nostr.Event { return a.note(t, 3600) }, "import sync bring own"},
		"many tags":                {func() *nostr.Event { return a.note(t, 0, make11Tags()...) }, "import own"},
		"expired":                  {func() *nostr.Event { return a.note(t, 0, nostr.Tag{"expiration", "1"}) }, ""},
		"protected":                {func() *nostr.Event { return a.note(t, 0, nostr.Tag{"-"}) }, "import bring own"},
		"protected, in more words": {func() *nostr.Event { return a.note(t, 0, nostr.Tag{"-", ""}) }, "import bring own"},
		"our own protected":        {func() *nostr.Event { return own.note(t, 0, nostr.Tag{"-"}) }, "socket import sync bring own"},
		"repost of a protected one": {func() *nostr.Event {
			return signedBy(t, a.sk, nostr.Event{Kind: 6, Content: embedded.String(), Tags: nostr.Tags{{"n", fmt.Sprint(a.n.Add(1))}}})
		}, "import bring own"},
		"repost of a protected one, escaped": {func() *nostr.Event {
			text := strings.ReplaceAll(embedded.String(), `"-"`, `"\u002D"`)
			return signedBy(t, a.sk, nostr.Event{Kind: 6, Content: text, Tags: nostr.Tags{{"n", fmt.Sprint(a.n.Add(1))}}})
		}, "import bring own"},
		"vanish from elsewhere": {func() *nostr.Event {
			return newAuthor().event(t, 62, 0, nostr.Tag{"relay", "wss://there.example"})
		}, ""},
		"vanish from nowhere": {func() *nostr.Event { return newAuthor().event(t, 62, 0) }, ""},
		"vanish from here, an hour ahead": {func() *nostr.Event {
			return newAuthor().event(t, 62, 3600, nostr.Tag{"relay", "wss://HERE.example:443/x"})
		}, "socket import sync bring own"},
		"an authentication": {func() *nostr.Event { return a.event(t, 22242, 0) }, ""},
	} {
		for o := admit.Socket; o <= admit.Own; o++ {
			want := strings.Contains(c.passes, o.String())
			reply, err := r.Publish(t.Context(), c.make(), nil, admit.Peer{Origin: o})
			if err != nil {
				t.Fatal(err)
			}
			if reply.OK != want {
				t.Errorf("%s by %s: %v %q", name, o, reply.OK, reply.Reason)
			}
			if prefix, _, ok := strings.Cut(reply.Reason, ": "); !reply.OK && (!ok || prefix == "") {
				t.Errorf("%s by %s: the reason has no prefix: %q", name, o, reply.Reason)
			}
		}
	}
}

func make11Tags() (tags nostr.Tags) {
	for i := range 11 {
		tags = append(tags, nostr.Tag{"t", fmt.Sprint(i)})
	}
	return tags
}

func TestForgedEventsAreRefusedByEveryWayIn(t *testing.T) {
	r := start(t, Config{}, nil)
	a := newAuthor()
	for name, forge := range map[string]func(*nostr.Event){
		"content":   func(ev *nostr.Event) { ev.Content += "!" },
		"id":        func(ev *nostr.Event) { ev.ID = strings.Repeat("a", 64) },
		"short id":  func(ev *nostr.Event) { ev.ID = ev.ID[:62] },
		"upper id":  func(ev *nostr.Event) { ev.ID = strings.ToUpper(ev.ID) },
		"signature": func(ev *nostr.Event) { ev.Sig = strings.Repeat("a", 128) },
		"no sig":    func(ev *nostr.Event) { ev.Sig = "" },
		"key":       func(ev *nostr.Event) { ev.PubKey = newAuthor().pk; ev.ID = ev.GetID() },
		"bad key":   func(ev *nostr.Event) { ev.PubKey = strings.Repeat("f", 64); ev.ID = ev.GetID() },
		"control":   func(ev *nostr.Event) { ev.Content = "\x01"; ev.ID = ev.GetID() },
	} {
		for o := admit.Socket; o <= admit.Own; o++ {
			ev := a.note(t, 0)
			forge(ev)
			reply, err := r.Publish(t.Context(), ev, nil, admit.Peer{Origin: o})
			if err != nil || reply.OK || !strings.HasPrefix(reply.Reason, "invalid: ") {
				t.Errorf("%s by %s: %+v %v", name, o, reply, err)
			}
		}
	}
	if r.store.Head() != 0 {
		t.Error("something was stored")
	}
}

func TestADuplicateCostsNoSignatureCheck(t *testing.T) {
	r := start(t, Config{}, nil)
	c, a := r.dial(t), newAuthor()
	ev := a.note(t, 0)
	c.mustPublish(ev)
	again := *ev
	again.Sig = strings.Repeat("0", 128) // nobody looks at it
	if m := c.publish(&again); !m.OK || !strings.HasPrefix(m.Text, "duplicate: ") {
		t.Errorf("%v %q", m.OK, m.Text)
	}
	if got, _ := c.query("s", `{}`); len(got) != 1 || got[0].Sig != ev.Sig {
		t.Error("the held event has changed")
	}
}

func TestWorkCountsUpToTheTargetItWasCommittedTo(t *testing.T) {
	r := start(t, Config{Limits: Limits{MinPow: 8}}, nil)
	c, a := r.dial(t), newAuthor()
	mine := func(bits int, committed string) *nostr.Event {
		ev := nostr.Event{Kind: 1, PubKey: a.pk, CreatedAt: nostr.Now(), Content: fmt.Sprint(a.n.Add(1))}
		for i := 0; ; i++ {
			ev.Tags = nostr.Tags{{"nonce", fmt.Sprint(i)}}
			if committed != "" {
				ev.Tags[0] = append(ev.Tags[0], committed)
			}
			if nip13.Difficulty(ev.GetID()) >= bits {
				break
			}
		}
		return signedBy(t, a.sk, ev)
	}
	for name, c2 := range map[string]struct {
		ev *nostr.Event
		ok bool
	}{
		"enough":         {mine(8, "8"), true},
		"more":           {mine(10, "9"), true},
		"luck":           {mine(8, "2"), false},
		"not committed":  {mine(8, ""), false},
		"committed only": {a.note(t, 0, nostr.Tag{"nonce", "1", "20"}), false},
	} {
		if nip13.Difficulty(c2.ev.ID) != zeroBits(c2.ev.ID) {
			t.Fatalf("%s: %d zero bits, NIP-13 says %d", c2.ev.ID, zeroBits(c2.ev.ID), nip13.Difficulty(c2.ev.ID))
		}
		if m := c.publish(c2.ev); m.OK != c2.ok || !m.OK && !strings.HasPrefix(m.Text, "pow: ") {
			t.Errorf("%s: %v %q", name, m.OK, m.Text)
		}
	}
	if got := r.Info().Limitation; got.MinPowDifficulty != 8 || !got.RestrictedWrites {
		t.Error("NIP-11 does not announce it")
	}
}

func TestProtectedEventsComeFromTheirAuthorOnly(t *testing.T) {
	r := start(t, Config{}, nil)
	c, a, other := r.dial(t), newAuthor(), newAuthor()
	ev := a.note(t, 0, nostr.Tag{"-"})
	c.send(eventMessage(ev))
	if m := c.next(); m.Label != "AUTH" {
		t.Fatalf("got %+v, want the challenge", m)
	}
	c.want("OK", ev.ID, "auth-required: ")
	c.authenticate(r.url, other.sk)
	if m := c.publish(ev); m.OK || !strings.HasPrefix(m.Text, "restricted: ") {
		t.Errorf("as another: %v %q", m.OK, m.Text)
	}
	c.authenticate(r.url, a.sk)
	c.mustPublish(ev)
	for _, kind := range []int{6, 16} {
		repost := signedBy(t, other.sk, nostr.Event{Kind: kind, Content: ev.String(), Tags: nostr.Tags{{"e", ev.ID, ""}}})
		if m := c.publish(repost); m.OK || !strings.HasPrefix(m.Text, "blocked: ") {
			t.Errorf("kind %d: %v %q", kind, m.OK, m.Text)
		}
		bare := signedBy(t, other.sk, nostr.Event{Kind: kind, Tags: nostr.Tags{{"e", ev.ID, ""}}})
		c.mustPublish(bare)
	}
}

// gateFunc is a gate of the tests.
type gateFunc func(ev *nostr.Event) (admit.Ruling, error)

func (g gateFunc) Rule(_ context.Context, ev *nostr.Event, _ admit.Peer) (admit.Ruling, error) {
	return g(ev)
}

func TestARefusalIsAnAnswerAndAnErrorStoresNothing(t *testing.T) {
	var mu sync.Mutex // guards asked
	var asked []string
	gate := func(name string) Gate {
		return Gate{Name: name, Gate: gateFunc(func(ev *nostr.Event) (admit.Ruling, error) {
			mu.Lock()
			asked = append(asked, name)
			mu.Unlock()
			switch ev.Content {
			case name + " no":
				return admit.Refuse(admit.Restricted, "not by "+name), nil
			case name + " fails":
				return admit.Ruling{}, errors.New("the model is gone")
			}
			return admit.Ruling{}, nil
		})}
	}
	r := start(t, Config{PublicURLs: []string{"ws://here.example"}}, func(p *Parts) { p.Gates = []Gate{gate("first"), gate("second")} })
	c, a := r.dial(t), newAuthor()
	for content, want := range map[string]string{"first no": "restricted: not by first", "second no": "restricted: not by second", "second fails": "error: "} {
		mu.Lock()
		asked = nil
		mu.Unlock()
		ev := signedBy(t, a.sk, nostr.Event{Kind: 1, Content: content})
		c.send(eventMessage(ev))
		if m := c.want("OK", ev.ID, want); m.OK {
			t.Errorf("%s was taken", content)
		}
		mu.Lock()
		if strings.HasPrefix(content, "first") && len(asked) != 1 {
			t.Errorf("%s: asked %v", content, asked)
		}
		asked = nil
		mu.Unlock()
	}
	vanish := signedBy(t, a.sk, nostr.Event{Kind: 62, Content: "first no", Tags: nostr.Tags{{"relay", "ALL_RELAYS"}}})
	c.mustPublish(vanish) // no gate may refuse it
	mu.Lock()
	defer mu.Unlock()
	if len(asked) != 0 {
		t.Errorf("gates were asked about a request to vanish: %v", asked)
	}
	if n := r.store.Head(); n != 1 {
		t.Errorf("the log is at %d, want the request to vanish alone", n)
	}
}

func TestASpentClaimIsNotCounted(t *testing.T) {
	r := start(t, Config{}, func(p *Parts) {
		p.Gates = []Gate{{Name: "person", Gate: gateFunc(func(*nostr.Event) (admit.Ruling, error) {
			return admit.Ruling{Claims: []admit.Claim{{Key: []byte("nullifier"), Rule: admit.First}}}, nil
		})}}
	})
	c, a := r.dial(t), newAuthor()
	c.mustPublish(a.note(t, 0))
	if m := c.publish(a.note(t, 0)); m.OK || !strings.HasPrefix(m.Text, "duplicate: not counted") {
		t.Errorf("%v %q", m.OK, m.Text)
	}
}

func TestEveryOutcomeOfTheStoreHasItsWords(t *testing.T) {
	r := start(t, Config{PublicURLs: []string{"ws://here.example"}}, nil)
	c, a := r.dial(t), newAuthor()
	note := a.note(t, -5)
	newer, older := a.event(t, 0, 0), a.event(t, 0, -10)
	c.mustPublish(note, newer)
	if m := c.publish(older); !m.OK || !strings.HasPrefix(m.Text, "duplicate: a newer") {
		t.Errorf("older: %v %q", m.OK, m.Text)
	}
	c.mustPublish(a.event(t, 5, 0, nostr.Tag{"e", note.ID}))
	if m := c.publish(note); m.OK || !strings.HasPrefix(m.Text, "blocked: ") {
		t.Errorf("deleted: %v %q", m.OK, m.Text)
	}
	old := a.note(t, -50)
	c.mustPublish(a.event(t, 62, -1, nostr.Tag{"relay", "ws://here.example"}))
	if m := c.publish(old); m.OK || !strings.HasPrefix(m.Text, "blocked: ") {
		t.Errorf("vanished: %v %q", m.OK, m.Text)
	}
	c.mustPublish(a.note(t, 5)) // newer events are welcome
	if _, _, ok := strings.Cut(replyTo(store.Outcome(99)).Reason, ": "); !ok {
		t.Error("an unknown outcome has no reason")
	}
}

func TestReloadingLimitsKeepsConnections(t *testing.T) {
	r := start(t, Config{}, nil)
	c, p, a := r.dial(t), r.dial(t), newAuthor()
	c.query("s", `{"kinds":[1]}`)
	r.Reload(Limits{MaxFuture: time.Second, MaxSubscriptions: 1})
	if m := p.publish(a.note(t, 60)); m.OK {
		t.Error("the old limit holds")
	}
	p.mustPublish(a.note(t, 0))
	c.want("EVENT", "s", "") // the subscription lives on
	c.send(req("t", `{}`))
	c.want("CLOSED", "t", "blocked: ") // a second one is too many
}
