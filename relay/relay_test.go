package relay

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
)

// host is a relay that runs over a store of its own for one test.
type testRelay struct {
	*Relay
	store *store.Store
	url   string // ws://
	http  *httptest.Server
}

// start runs a relay until the test ends.
func start(t testing.TB, cfg Config, change func(*Parts)) *testRelay {
	t.Helper()
	st, err := store.Open(t.TempDir(), store.Config{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	parts := Parts{Log: st}
	if change != nil {
		change(&parts)
	}
	or(&cfg.Logger, slog.New(slog.DiscardHandler))
	r, err := New(cfg, parts)
	if err != nil {
		t.Fatal(err)
	}
	storeCtx, stopStore := context.WithCancel(context.Background())
	relayCtx, stopRelay := context.WithCancel(context.Background())
	storeDone, relayDone := make(chan error, 1), make(chan error, 1)
	go func() { storeDone <- st.Run(storeCtx) }()
	go func() { relayDone <- r.Run(relayCtx) }()
	r.sessions.admit(true)
	srv := httptest.NewServer(r)
	t.Cleanup(func() {
		stopRelay()
		if err := <-relayDone; err != nil {
			t.Errorf("relay: %v", err)
		}
		stopStore()
		if err := <-storeDone; err != nil {
			t.Errorf("store: %v", err)
		}
		srv.Close()
		if err := st.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return &testRelay{Relay: r, store: st, url: "ws" + strings.TrimPrefix(srv.URL, "http"), http: srv}
}

func TestSmoke(t *testing.T) {
	r := start(t, Config{}, nil)
	c, err := nostr.RelayConnect(t.Context(), r.url)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	sk := nostr.GeneratePrivateKey()
	ev := nostr.Event{Kind: 1, Content: "hello", CreatedAt: nostr.Now()}
	if err := ev.Sign(sk); err != nil {
		t.Fatal(err)
	}
	if err := c.Publish(t.Context(), ev); err != nil {
		t.Fatal(err)
	}
	got, err := c.QuerySync(t.Context(), nostr.Filter{Kinds: []int{1}})
	if err != nil || len(got) != 1 || got[0].ID != ev.ID {
		t.Fatal(got, err)
	}
}
