package graph

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"agora/relay/store"
	"agora/relay/wire"

	"github.com/nbd-wtf/go-nostr"
)

// desk is a house whose assertions are published step by step.
type desk struct {
	*house
	cards     *cards
	cfg       Assertions
	published []*nostr.Event
	fail      error
}

func newDesk(t *testing.T, cfg Assertions) *desk {
	t.Helper()
	d := &desk{house: newHouse(t, Config{Fresh: time.Nanosecond}), cfg: cfg}
	d.cfg.Secret = bytes.Repeat([]byte{7}, 32)
	if d.cfg.Every == 0 {
		d.cfg.Every = time.Nanosecond
	}
	d.cfg.Publish = func(_ context.Context, ev *nostr.Event) error {
		if d.fail != nil {
			return d.fail
		}
		if ok, err := ev.CheckSignature(); !ok || err != nil {
			t.Errorf("published with a bad signature: %v", ev)
		}
		d.published = append(d.published, ev)
		d.putUnseen(ev)
		return nil
	}
	d.reopen()
	return d
}

// reopen is a restart of the assertions: nothing is remembered but the store.
func (d *desk) reopen() {
	d.t.Helper()
	c, err := newCards(d.graph, d.cfg)
	if err != nil {
		d.t.Fatal(err)
	}
	pace := make(chan time.Time)
	close(pace)
	c.pace = pace
	d.cards, d.graph.cards = c, c
}

// round ranks the graph anew and publishes; it gives what was published.
func (d *desk) round() []*nostr.Event {
	d.t.Helper()
	d.settle()
	d.published = nil
	l := d.graph.currentLinks()
	d.graph.global.Store(newRanking(l, l.global(), -1))
	if err := d.cards.round(d.t.Context()); err != nil && d.fail == nil {
		d.t.Fatal(err)
	}
	return d.published
}

// standing is what a signer says now about keys, out of the store.
func (d *desk) standing(signer string) map[string]string {
	out := map[string]string{}
	for r, err := range d.store.Query(d.t.Context(), nostr.Filter{Kinds: []int{kindCard}, Authors: []string{signer}}) {
		if err != nil {
			d.t.Fatal(err)
		}
		ev, err := r.Event()
		if err != nil {
			d.t.Fatal(err)
		}
		out[ev.Tags.GetD()] = ev.Tags.Find("rank")[1] + " " + ev.Tags.Find("followers")[1]
	}
	return out
}

func TestAssertionsArePublishedOnceAndAgainOnlyOnChange(t *testing.T) {
	d, p := newDesk(t, Assertions{}), people(6)
	d.put(
		p[0].sign(t, kindFollows, 100, "", naming(p[1], p[2])...),
		p[1].sign(t, kindFollows, 100, "", naming(p[2])...),
		p[3].sign(t, kindFollows, 100, "", naming(p[2])...),
	)
	first := d.round()
	if len(first) != 3 || first[0].Kind != kindProfile {
		t.Fatalf("published %v, want a profile and two cards", first)
	}
	signer := d.cards.global.pubkey
	for _, ev := range first {
		if ev.PubKey != signer {
			t.Errorf("signed by %s, not by the service key", ev.PubKey)
		}
	}
	cards := d.standing(signer)
	if cards[p[2].pubkey] != "100 3" || len(cards) != 2 {
		t.Errorf("the cards say %v", cards)
	}
	var s Standing
	get(t, d.serve()+p[1].pubkey+"/trust", 200, &s)
	if want := fmt.Sprintf("%d 1", s.Rank); cards[p[1].pubkey] != want {
		t.Errorf("the card says %q, the address %q", cards[p[1].pubkey], want)
	}
	if again := d.round(); len(again) != 0 {
		t.Errorf("nothing changed, and %v was published", again)
	}
	d.reopen()
	if again := d.round(); len(again) != 0 {
		t.Errorf("only a restart, and %v was published", again)
	}
	d.put(p[4].sign(t, kindFollows, 100, "", naming(p[2])...))
	changed := d.round()
	found := false
	for _, ev := range changed {
		found = found || ev.Tags.GetD() == p[2].pubkey
		if ev.Kind != kindCard {
			t.Errorf("only values changed, and %v was published", ev)
		}
	}
	if !found || d.standing(signer)[p[2].pubkey] != "100 4" {
		t.Errorf("a new follower: published %v", changed)
	}
	d.put(p[2].sign(t, 1, 100, "a note is no change of the graph"))
	if again := d.round(); len(again) != 0 {
		t.Errorf("a note came, and %v was published", again)
	}
}

func TestOneKeyHasNoTwoCardsWithinTheLeastTime(t *testing.T) {
	d, p := newDesk(t, Assertions{Every: time.Hour}), people(5)
	d.put(p[0].sign(t, kindFollows, 100, "", naming(p[1])...))
	d.round()
	d.put(p[2].sign(t, kindFollows, 100, "", naming(p[1])...))
	if again := d.round(); len(again) != 0 {
		t.Errorf("published %v", again)
	}
}

func TestOnlyTheTopAndTheAskedHaveCards(t *testing.T) {
	d, p := newDesk(t, Assertions{Top: 2}), people(12)
	for i := 1; i <= 6; i++ { // key i has i-1 followers or so: 6 the most
		d.put(p[i].sign(t, kindFollows, 100, "", naming(p[i+1:7]...)...))
	}
	d.round()
	cards := d.standing(d.cards.global.pubkey)
	if len(cards) != 2 || cards[p[6].pubkey] == "" || cards[p[5].pubkey] == "" {
		t.Fatalf("the cards say %v", cards)
	}
	d.graph.Ask(p[2].pubkey)
	d.graph.Ask(p[11].pubkey) // unknown
	d.graph.Ask("nonsense")
	d.round()
	if cards := d.standing(d.cards.global.pubkey); len(cards) != 3 || cards[p[2].pubkey] == "" {
		t.Errorf("after asking the cards say %v", cards)
	}
	d.reopen() // what was asked is forgotten, and the card taken back
	d.round()
	if cards := d.standing(d.cards.global.pubkey); len(cards) != 2 {
		t.Errorf("after a restart the cards say %v", cards)
	}
	d.reopen()
	d.graph.Ask(p[2].pubkey) // and asked again, perhaps within the same second
	d.round()
	if cards := d.standing(d.cards.global.pubkey); len(cards) != 3 {
		t.Errorf("after asking again the cards say %v", cards)
	}
}

func TestWhoVanishesLosesTheCard(t *testing.T) {
	d, p := newDesk(t, Assertions{}), people(4)
	d.put(p[0].sign(t, kindFollows, 100, "", naming(p[1], p[2])...))
	d.round()
	d.put(p[1].sign(t, kindVanish, 200, "", nostr.Tag{"relay", "ALL_RELAYS"}))
	d.round()
	if cards := d.standing(d.cards.global.pubkey); len(cards) != 1 || cards[p[2].pubkey] == "" {
		t.Errorf("the cards say %v", cards)
	}
}

func TestAUserWhoAsksHasCardsOfTheirOwnUntilTheyAskNoMore(t *testing.T) {
	d, p := newDesk(t, Assertions{}), people(6)
	d.put(
		p[0].sign(t, kindFollows, 100, "", naming(p[1])...),
		p[1].sign(t, kindFollows, 100, "", naming(p[2])...),
		p[3].sign(t, kindFollows, 100, "", naming(p[4])...),
	)
	var keys struct {
		Enabled          bool
		Global, Personal string
		Tags             []nostr.Tag
	}
	get(t, d.serve()+p[0].pubkey+"/assertions", 200, &keys)
	if !keys.Enabled || keys.Global == keys.Personal || keys.Global != d.cards.global.pubkey || len(keys.Tags) != 2 {
		t.Fatalf("/assertions says %+v", keys)
	}
	d.round()
	if cards := d.standing(keys.Personal); len(cards) != 0 {
		t.Fatalf("nobody asked, and there are %v", cards)
	}
	other, _ := d.cards.services.key(p[5].pubkey)
	d.put(p[3].sign(t, kindProviders, 100, "", nostr.Tag{providerTag, other.pubkey, ""})) // names another's key
	d.put(p[0].sign(t, kindProviders, 100, "", keys.Tags...))
	d.round()
	cards := d.standing(keys.Personal)
	if len(cards) != 2 || cards[p[1].pubkey] == "" || cards[p[2].pubkey] == "" {
		t.Errorf("as seen by the user: %v", cards)
	}
	if others := d.standing(other.pubkey); len(others) != 0 {
		t.Errorf("asked by a stranger, and there are %v", others)
	}
	if again := d.round(); len(again) != 0 {
		t.Errorf("nothing changed, and %v was published", again)
	}
	d.put(p[0].sign(t, kindProviders, 200, ""))
	d.reopen() // even if that came while nothing ran
	d.round()
	if cards := d.standing(keys.Personal); len(cards) != 0 {
		t.Errorf("no longer asked for, and there are %v", cards)
	}
	for r := range d.store.Query(t.Context(), nostr.Filter{Kinds: []int{kindProfile}, Authors: []string{keys.Personal}}) {
		t.Errorf("the profile is still there: %s", r.JSON)
	}
}

func TestAFailedPublicationIsTriedAgain(t *testing.T) {
	d, p := newDesk(t, Assertions{}), people(3)
	d.put(p[0].sign(t, kindFollows, 100, "", naming(p[1])...))
	d.fail = errors.New("disk full")
	d.round()
	d.fail = nil
	if again := d.round(); len(again) != 2 {
		t.Errorf("published %v", again)
	}
}

func TestServiceKeysAreTheirOwnAndNeverTheRelays(t *testing.T) {
	s := services{secret: bytes.Repeat([]byte{1}, 32)}
	global, err := s.key("")
	if err != nil {
		t.Fatal(err)
	}
	again, _ := s.key("")
	a, _ := s.key(newPerson(0).pubkey)
	b, _ := s.key(newPerson(1).pubkey)
	if again != global || a == b || a == global {
		t.Error("the keys are not one per viewer, or not always the same")
	}
	// Fixed, because cards signed by another key would be orphans. Computed with
	// Python's hmac and the curve's equation.
	if want := "d49685be76210dc3665ae07dd7e2b5e7ef25ae779b60e3ad5e91269ee4fa31de"; global.pubkey != want {
		t.Errorf("the global key is %s, want %s", global.pubkey, want)
	}
	publish := func(context.Context, *nostr.Event) error { return nil }
	if _, err := New(Config{Store: new(store.Store), Assert: Assertions{Publish: publish, Secret: s.secret, Self: global.pubkey}}); err == nil {
		t.Error("the relay's own key was taken")
	}
	if _, err := New(Config{Store: new(store.Store), Assert: Assertions{Publish: publish, Secret: []byte("short")}}); err == nil {
		t.Error("a short secret was taken")
	}
}

func TestRunPublishesAssertionsByItself(t *testing.T) {
	h := &house{t: t, store: openStore(t, t.TempDir())}
	cards := make(chan *nostr.Event, 10)
	h.start(Config{Assert: Assertions{
		Secret: make([]byte, 32), PerSecond: 1000, Tick: time.Millisecond,
		Publish: func(ctx context.Context, ev *nostr.Event) error {
			_, err := h.store.Append(ctx, store.Entry{Event: ev, JSON: wire.AppendEvent(nil, ev)})
			if ev.Kind == kindCard {
				cards <- ev
			}
			return err
		},
	}})
	p := people(2)
	h.put(p[0].sign(t, kindFollows, 100, "", naming(p[1])...))
	select {
	case ev := <-cards:
		if rank, err := strconv.Atoi(ev.Tags.Find("rank")[1]); err != nil || rank < 0 || rank > 100 || ev.Tags.GetD() != p[1].pubkey {
			t.Errorf("published %v", ev)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("no card within 20 s")
	}
}

func TestWithoutAssertionsTheAddressSaysSo(t *testing.T) {
	h := newHouse(t, Config{})
	var out map[string]json.RawMessage
	if get(t, h.serve()+newPerson(0).pubkey+"/assertions", http.StatusOK, &out); string(out["enabled"]) != "false" {
		t.Errorf("answered %s", out)
	}
}
