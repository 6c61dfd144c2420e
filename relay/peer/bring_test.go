package peer

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"
)

// person is a key that writes to relays.
type person struct {
	sk, pk string
	n      int
}

func newPerson(t *testing.T) *person {
	t.Helper()
	sk := nostr.GeneratePrivateKey()
	pk, err := nostr.GetPublicKey(sk)
	if err != nil {
		t.Fatal(err)
	}
	return &person{sk: sk, pk: pk}
}

func (p *person) sign(t *testing.T, kind int, tags nostr.Tags) *nostr.Event {
	t.Helper()
	p.n++
	ev := &nostr.Event{Kind: kind, CreatedAt: nostr.Timestamp(1_700_000_000 + p.n), Tags: tags, Content: strings.Repeat("x", p.n%7)}
	if err := ev.Sign(p.sk); err != nil {
		t.Fatal(err)
	}
	return ev
}

func (p *person) list(t *testing.T, relays ...nostr.Tag) *nostr.Event {
	t.Helper()
	return p.sign(t, kindRelayList, relays)
}

func newBringer(t *testing.T, cfg BringConfig) *Bringer {
	t.Helper()
	if cfg.Dialer == nil {
		cfg.Dialer = testDialer()
	}
	b, err := NewBringer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBringFetchesAKeysOwnEventsFromItsWriteRelays(t *testing.T) {
	me, rng := newPerson(t), rand.New(rand.NewPCG(1, 1))
	write, unmarked, read := serveOther(t, &other{}), serveOther(t, &other{noNeg: "unknown cmd"}), serveOther(t, &other{})
	var mine [3][]*nostr.Event
	for i, o := range []*other{write, unmarked, read} {
		for range 40 {
			mine[i] = append(mine[i], me.sign(t, 1, nil))
		}
		o.put(mine[i])
		o.put(notes(rng, 30, 100)) // of others
	}
	s := openStore(t)
	private := "ws://10.255.255.1:1"
	fill(t, s, []*nostr.Event{me.list(t,
		nostr.Tag{"r", write.url, "write"}, nostr.Tag{"r", unmarked.url}, nostr.Tag{"r", read.url, "read"}, nostr.Tag{"r", private},
		nostr.Tag{"r", write.url + "/"}, nostr.Tag{"r", "wss://me.example.com/x"}, nostr.Tag{"r", "not a url"}, nostr.Tag{"r"}, nostr.Tag{"p", me.pk},
	)})
	b := newBringer(t, BringConfig{Logger: quiet(), Local: s, Publish: publishTo(s), Own: []string{"wss://me.example.com"}})
	seen := 0
	got, err := b.Bring(t.Context(), me.pk, func(Summary) { seen++ })
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Relays) != 3 || got.Stored != 80 || got.Failed[private] != "its address is not public" || len(got.Failed) != 1 {
		t.Errorf("%+v", got)
	}
	for i, want := range []int{40, 40, 0} {
		n := 0
		for _, ev := range mine[i] {
			if slices.Contains(held(t, s, nostr.Filter{}), ev.ID) {
				n++
			}
		}
		if n != want {
			t.Errorf("relay %d: %d events brought, want %d", i, n, want)
		}
	}
	if all := held(t, s, nostr.Filter{}); len(all) != 81 {
		t.Errorf("%d events are held: somebody else's came too", len(all))
	}
	if seen == 0 || len(b.UnderWay()) != 0 {
		t.Errorf("progress told %d times, %v under way", seen, b.UnderWay())
	}
}

func TestBringFindsTheRelayListByItsIndexRelays(t *testing.T) {
	me := newPerson(t)
	index, home := serveOther(t, &other{}), serveOther(t, &other{})
	index.put([]*nostr.Event{me.list(t, nostr.Tag{"r", home.url})})
	home.put([]*nostr.Event{me.sign(t, 1, nil), me.sign(t, 0, nil)})
	s := openStore(t)
	b := newBringer(t, BringConfig{Logger: quiet(), Local: s, Publish: publishTo(s), Index: []string{"ws://10.0.0.1", index.url}})
	if got, err := b.Bring(t.Context(), me.pk, nil); err != nil || got.Stored != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := b.Bring(t.Context(), newPerson(t).pk, nil); !errors.Is(err, ErrNoRelays) {
		t.Errorf("without a list: %v", err)
	}
	if _, err := b.Bring(t.Context(), "not a key", nil); err == nil {
		t.Error("brought for no key")
	}
}

func TestBringAsksNoMoreRelaysThanItsBound(t *testing.T) {
	me := newPerson(t)
	var tags nostr.Tags
	for i := range 30 {
		tags = append(tags, nostr.Tag{"r", "ws://10.0.0." + string(rune('1'+i%9)) + ":" + string(rune('1'+i/9))})
	}
	s := openStore(t)
	fill(t, s, []*nostr.Event{me.sign(t, kindRelayList, tags)})
	got, err := newBringer(t, BringConfig{Logger: quiet(), Local: s, Publish: publishTo(s)}).Bring(t.Context(), me.pk, nil)
	if err != nil || len(got.Failed) != 8 {
		t.Errorf("%d relays were tried: %v", len(got.Failed), err)
	}
}

func TestOneBringPerKeyAndFewAtOnce(t *testing.T) {
	s := openStore(t)
	silent := serveOther(t, &other{noNeg: "-"})
	people := []*person{newPerson(t), newPerson(t), newPerson(t)}
	for _, p := range people {
		fill(t, s, []*nostr.Event{p.list(t, nostr.Tag{"r", silent.url})})
	}
	b := newBringer(t, BringConfig{Logger: quiet(), Local: s, Publish: publishTo(s)})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan Brought, 2) // one per Bring
	for _, p := range people[:2] {
		go func() {
			got, _ := b.Bring(ctx, p.pk, nil)
			ended <- got
		}()
	}
	for end := time.Now().Add(time.Minute); len(b.UnderWay()) < 2; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("they do not start")
		}
	}
	if _, err := b.Bring(ctx, people[0].pk, nil); !errors.Is(err, ErrUnderWay) {
		t.Errorf("the same key again: %v", err)
	}
	if _, err := b.Bring(ctx, people[2].pk, nil); !errors.Is(err, ErrBusy) {
		t.Errorf("a third key: %v", err)
	}
	cancel()
	for range 2 {
		if got := <-ended; got.Failed[silent.url] != "stopped" {
			t.Errorf("%+v", got)
		}
	}
	if len(b.UnderWay()) != 0 {
		t.Errorf("%v still under way", b.UnderWay())
	}
}

func TestBringOverHTTPIsForTheKeyItself(t *testing.T) {
	me, s := newPerson(t), openStore(t)
	home := serveOther(t, &other{})
	home.put([]*nostr.Event{me.sign(t, 1, nil)})
	fill(t, s, []*nostr.Event{me.list(t, nostr.Tag{"r", home.url})})
	b := newBringer(t, BringConfig{Logger: quiet(), Local: s, Publish: publishTo(s)})
	mux := http.NewServeMux()
	mux.Handle("/v1/graph/{npub}/bring", b.Handler(func(r *http.Request, _ []byte) (string, error) {
		who := r.Header.Get("Authorization")
		if who == "" {
			return "", errors.New("no Authorization header")
		}
		return who, nil
	}))
	srv := httptest.NewServer(mux)
	defer srv.Close()
	npub, err := nip19.EncodePublicKey(me.pk)
	if err != nil {
		t.Fatal(err)
	}
	nsec, _ := nip19.EncodePrivateKey(me.sk)
	nprofile, _ := nip19.EncodeProfile(me.pk, nil)
	for _, c := range []struct {
		method, key, who string
		code             int
		body             string
	}{
		{"POST", npub, "", 401, "no Authorization"},
		{"POST", npub, newPerson(t).pk, 403, "itself"},
		{"POST", nsec, me.pk, 400, "key"},
		{"POST", "npub1xyz", me.pk, 400, "key"},
		{"POST", strings.ToUpper(me.pk), me.pk, 400, "key"},
		{"GET", npub, me.pk, 405, "POST"},
		{"OPTIONS", npub, "", 204, ""},
		{"POST", npub, me.pk, 200, `"stored":1`},
		{"POST", nprofile, me.pk, 200, `"stored":0`}, // it is held already
		{"POST", me.pk, me.pk, 200, `"done"`},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, srv.URL+"/v1/graph/"+c.key+"/bring", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", c.who)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		var last string
		for lines := bufio.NewScanner(res.Body); lines.Scan(); last = lines.Text() {
			if !json.Valid(lines.Bytes()) {
				t.Errorf("%s %s: %q is no JSON", c.method, c.key, lines.Text())
			}
		}
		_ = res.Body.Close()
		if res.StatusCode != c.code || !strings.Contains(last, c.body) || res.Header.Get("Access-Control-Allow-Origin") != "*" {
			t.Errorf("%s %s as %.8s: %d %q, want %d %q", c.method, c.key, c.who, res.StatusCode, last, c.code, c.body)
		}
	}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
