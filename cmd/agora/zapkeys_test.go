package main

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"agora/feeds/tally"

	"github.com/nbd-wtf/go-nostr"
)

// everywhere sends each request to one server, whatever host it names.
type everywhere struct{ to *httptest.Server }

func (e everywhere) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Set("Asked", req.URL.String())
	req.URL.Scheme, req.URL.Host = "http", strings.TrimPrefix(e.to.URL, "http://")
	return http.DefaultTransport.RoundTrip(req)
}

func TestZapKeyIsWhatTheRecipientsAddressDeclares(t *testing.T) {
	wallet := strings.Repeat("79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798", 1)
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		switch r.Header.Get("Asked") {
		case "https://pay.example/.well-known/lnurlp/ann":
			fmt.Fprintf(w, `{"allowsNostr":true,"nostrPubkey":%q}`, wallet)
		case "https://pay.example/.well-known/lnurlp/bob":
			fmt.Fprintf(w, `{"allowsNostr":false,"nostrPubkey":%q}`, wallet)
		case "https://pay.example/.well-known/lnurlp/eve":
			fmt.Fprint(w, strings.Repeat(" ", 1<<20)+`{}`)
		default:
			http.NotFound(w, r)
		}
	}))
	defer server.Close()
	ann, bob, eve, none := tally.Key{1}, tally.Key{2}, tally.Key{3}, tally.Key{4}
	profiles := map[string]string{
		fmt.Sprintf("%x", ann[:]): `{"lud16":"ann@pay.example"}`, fmt.Sprintf("%x", bob[:]): `{"lud16":"bob@pay.example"}`,
		fmt.Sprintf("%x", eve[:]): `{"lud16":"eve@pay.example"}`,
	}
	z := newZapKeys(&http.Client{Transport: everywhere{server}}, func(_ context.Context, f ...nostr.Filter) iter.Seq2[*nostr.Event, error] {
		return func(yield func(*nostr.Event, error) bool) {
			if text, ok := profiles[f[0].Authors[0]]; ok {
				yield(&nostr.Event{Content: text}, nil)
			}
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1) // one result
	go func() { done <- z.Run(ctx) }()
	for range 3 { // more than one receipt waits for the same key
		for _, who := range []tally.Key{ann, bob, eve, none} {
			z.Key(who)
		}
	}
	tried := func(k tally.Key) bool { z.mu.Lock(); defer z.mu.Unlock(); return !z.known[k].at.IsZero() }
	for end := time.Now().Add(time.Minute); !tried(none) || !tried(ann); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not within 10 s: four answers")
		}
	}
	if key, ok := z.Key(ann); !ok || fmt.Sprintf("%x", key[:]) != wallet {
		t.Errorf("ann's key is %x, %v", key, ok)
	}
	for _, who := range []tally.Key{bob, eve, none} {
		if _, ok := z.Key(who); ok {
			t.Errorf("%x has a zap key", who[:1])
		}
	}
	cancel()
	if err := <-done; err != nil || asked != 3 {
		t.Errorf("%d questions, want 3; %v", asked, err)
	}
}

func TestAZapAddressNamesAHostAndNothingElse(t *testing.T) {
	for address, want := range map[string]string{
		"ann@pay.example": "https://pay.example/.well-known/lnurlp/ann", "ann": "", "@pay.example": "", "ann@": "",
		"ann@pay.example/x": "", "a/../b@pay.example": "", "ann@a@b": "", "ann@pay.example?x": "",
	} {
		if got, err := zapURL(address); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", address, got, err)
		}
	}
}
