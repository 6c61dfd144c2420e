package relay

import (
	"context"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"

	"agora/relay/store/foreign"
	"agora/relay/wire"

	"github.com/fiatjaf/eventstore/slicestore"
	"github.com/nbd-wtf/go-nostr"
)

var _ Log = (*foreign.Log)(nil)

// TestRelayServesAForeignStore publishes, reads and listens on a relay whose
// log is somebody else's store, which held an event before we came.
func TestRelayServesAForeignStore(t *testing.T) {
	es := &slicestore.SliceStore{}
	if err := es.Init(); err != nil {
		t.Fatal(err)
	}
	alice := nostr.GeneratePrivateKey()
	old := nostr.Event{Kind: 1, CreatedAt: 1700000000, Tags: nostr.Tags{}, Content: "held before"}
	_ = old.Sign(alice)
	if err := es.SaveEvent(t.Context(), &old); err != nil {
		t.Fatal(err)
	}
	l, err := foreign.New(foreign.Config{Store: es, Encode: wire.AppendEvent, Graves: filepath.Join(t.TempDir(), "graves")})
	if err != nil {
		t.Fatal(err)
	}
	r, err := New(Config{}, Parts{Log: l})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	logCtx, cancelLog := context.WithCancel(context.Background())
	var relayGroup, logGroup sync.WaitGroup
	logGroup.Go(func() { _ = l.Run(logCtx) })
	relayGroup.Go(func() { _ = r.Run(ctx) })
	o := &office{t: t, srv: httptest.NewServer(r)}
	t.Cleanup(func() {
		cancel()
		relayGroup.Wait()
		o.srv.Close()
		cancelLog()
		logGroup.Wait()
	})
	eventually(t, "the relay takes connections", func() bool {
		r.sessions.mu.Lock()
		defer r.sessions.mu.Unlock()
		return r.sessions.open
	})
	listener, writer := o.connect(""), o.connect("")
	if got, _ := listener.ask("live", nostr.Filter{Kinds: []int{1}}); len(got) != 1 || got[0].ID != old.ID {
		t.Fatalf("stored before: %v", got)
	}
	ev, err := o.send(writer, alice, 1)
	if err != nil {
		t.Fatal(err)
	}
	var heard nostr.Event
	decode(t, listener.await("EVENT")[2], &heard)
	if heard.ID != ev.ID {
		t.Errorf("heard %s, want %s", heard.ID, ev.ID)
	}
	if _, err := o.send(writer, alice, 5, nostr.Tag{"e", old.ID}); err != nil {
		t.Fatal(err)
	}
	if got, _ := o.read(writer, nostr.Filter{Kinds: []int{1}}); len(got) != 1 || got[0].ID != ev.ID {
		t.Errorf("after a deletion: %v", got)
	}
	if n := o.count(writer, nostr.Filter{Kinds: []int{1}}); n != 1 {
		t.Errorf("count is %d, want 1", n)
	}
	if err := writer.publish(old); err == nil {
		t.Error("a deleted event was taken again")
	}
}
