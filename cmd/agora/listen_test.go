package main

import (
	"net/http"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/nbd-wtf/go-nostr"
)

// Whoever types localhost signs for localhost, in NIP-42 and in NIP-98.
func TestARelayOnThisMachineIsAlsoLocalhost(t *testing.T) {
	s, _ := startServer(t, nil)
	local := func(url string) string { return strings.Replace(url, "127.0.0.1", "localhost", 1) }
	key := nostr.GeneratePrivateKey()
	for _, url := range []string{s.at.relay, local(s.at.relay)} {
		if ok, why := authAt(t, url, key); !ok {
			t.Errorf("NIP-42 at %s: %s", url, why)
		}
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

// authAt authenticates as key at the relay of this URL.
func authAt(t *testing.T, url, key string) (ok bool, why string) {
	t.Helper()
	ws, _, err := websocket.DefaultDialer.DialContext(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	var label, challenge, id string
	if err := ws.ReadJSON(&[]any{&label, &challenge}); err != nil || label != "AUTH" {
		t.Fatal(label, err)
	}
	ev := nostr.Event{Kind: 22242, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"relay", url}, {"challenge", challenge}}}
	if err := ev.Sign(key); err != nil {
		t.Fatal(err)
	}
	if err := ws.WriteMessage(websocket.TextMessage, []byte(`["AUTH",`+ev.String()+`]`)); err != nil {
		t.Fatal(err)
	}
	if err := ws.ReadJSON(&[]any{&label, &id, &ok, &why}); err != nil || id != ev.ID {
		t.Fatal(label, id, err)
	}
	return ok, why
}
