package relay

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
)

// testRelay is a relay that runs over a store of its own for one test.
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

// connect is a go-nostr client. Its connection never ends while the test
// program runs: when one does, v0.52.3 writes and reads its own fields without
// a lock, and the race detector stops the test.
func (r *testRelay) connect(t *testing.T) *nostr.Relay {
	t.Helper()
	c, err := nostr.RelayConnect(context.Background(), "ws://"+lasting(t, strings.TrimPrefix(r.url, "ws://")))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// lasting is the address of a proxy for one connection. At the end of the test
// it passes nothing on any more, and keeps its near side open.
func lasting(t *testing.T, far string) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	up, err := net.Dial("tcp", far)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { up.Close() })
	go func() {
		near, err := ln.Accept()
		ln.Close()
		if err != nil {
			return
		}
		go io.Copy(near, up)
		_, _ = io.Copy(up, near)
		_, _ = io.Copy(io.Discard, near)
	}()
	return ln.Addr().String()
}

func TestTheGoNostrClientPublishesAsksAndListens(t *testing.T) {
	r := start(t, Config{}, nil)
	c, listener, a := r.connect(t), r.connect(t), newAuthor()
	first, second := a.note(t, -1), a.note(t, 0)
	if err := c.Publish(t.Context(), *first); err != nil {
		t.Fatal(err)
	}
	sub, err := listener.Subscribe(t.Context(), nostr.Filters{{Authors: []string{a.pk}}})
	if err != nil {
		t.Fatal(err)
	}
	if ev := <-sub.Events; ev.ID != first.ID {
		t.Error("another event was stored")
	}
	<-sub.EndOfStoredEvents
	if err := c.Publish(t.Context(), *second); err != nil {
		t.Fatal(err)
	}
	if ev := <-sub.Events; ev.ID != second.ID {
		t.Error("another event came live")
	}
	got, err := c.QuerySync(t.Context(), nostr.Filter{Kinds: []int{1}})
	if err != nil || len(got) != 2 { // in any order: the client hands each on from a goroutine of its own
		t.Errorf("%d events, %v", len(got), err)
	}
	n, _, err := c.Count(t.Context(), nostr.Filters{{Kinds: []int{1}}})
	if err != nil || n != 2 {
		t.Errorf("counted %d, %v", n, err)
	}
}

func TestTheGoNostrClientAuthenticates(t *testing.T) {
	r := start(t, Config{}, nil)
	c, a := r.connect(t), newAuthor()
	wrap := r.dial(t).wrap(a.pk)
	protected := a.note(t, 0, nostr.Tag{"-"})
	if err := c.Publish(t.Context(), *protected); err == nil {
		t.Error("a stranger published a protected event")
	}
	if err := c.Auth(t.Context(), func(ev *nostr.Event) error { return ev.Sign(a.sk) }); err != nil {
		t.Fatal(err)
	}
	if err := c.Publish(t.Context(), *protected); err != nil {
		t.Error(err)
	}
	got, err := c.QuerySync(t.Context(), nostr.Filter{Kinds: []int{1059}})
	if err != nil || len(got) != 1 || got[0].ID != wrap.ID {
		t.Errorf("%d wraps, %v", len(got), err)
	}
}
