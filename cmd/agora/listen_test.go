package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// Whoever types localhost signs for localhost, in NIP-42 and in NIP-98.
func TestARelayOnThisMachineIsAlsoLocalhost(t *testing.T) {
	s, _ := startServer(t, nil)
	local := func(url string) string { return strings.Replace(url, "127.0.0.1", "localhost", 1) }
	key := nostr.GeneratePrivateKey()
	for _, url := range []string{s.at.relay, local(s.at.relay)} {
		r, err := nostr.RelayConnect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.QuerySync(t.Context(), nostr.Filter{IDs: []string{strings.Repeat("0", 64)}}); err != nil { // after the challenge
			t.Fatal(err)
		}
		if err := r.Auth(t.Context(), func(ev *nostr.Event) error { return ev.Sign(key) }); err != nil {
			t.Errorf("NIP-42 at %s: %v", url, err)
		}
		_ = r.Close() // its work is done
	}
	for _, url := range []string{s.at.page, local(s.at.page)} {
		status, body := do(t, signed(t, http.MethodGet, url+"/v1/spam/"+strings.Repeat("0", 64), nil, key))
		if status != http.StatusNotFound {
			t.Errorf("NIP-98 at %s: %d %s", url, status, body)
		}
	}
	if s.urls[0] != s.at.relay {
		t.Errorf("it calls itself %s, not %s", s.urls[0], s.at.relay)
	}
}
