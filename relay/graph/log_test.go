package graph

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"agora/relay/store"
	"agora/relay/wire"

	"github.com/nbd-wtf/go-nostr"
)

// person is somebody who signs.
type person struct{ secret, pubkey string }

func newPerson(i int) person {
	secret := fmt.Sprintf("%064x", i+1)
	pubkey, _ := nostr.GetPublicKey(secret)
	return person{secret, pubkey}
}

func people(n int) (out []person) {
	for i := range n {
		out = append(out, newPerson(i))
	}
	return out
}

func (p person) sign(t *testing.T, kind int, created int64, content string, tags ...nostr.Tag) *nostr.Event {
	t.Helper()
	ev := &nostr.Event{Kind: kind, CreatedAt: nostr.Timestamp(created), Tags: append(nostr.Tags{}, tags...), Content: content}
	if err := ev.Sign(p.secret); err != nil {
		t.Fatal(err)
	}
	return ev
}

// naming makes p tags.
func naming(who ...person) (tags []nostr.Tag) {
	for _, p := range who {
		tags = append(tags, nostr.Tag{"p", p.pubkey})
	}
	return tags
}

// house is a store and a graph that follows it.
type house struct {
	t     *testing.T
	store *store.Store
	graph *Graph
	stop  func()
}

func openStore(t *testing.T, dir string) *store.Store {
	t.Helper()
	s, err := store.Open(dir, store.Config{MapSize: 64 << 20, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // after all that runs has stopped
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	running(t, "store", s.Run)
	return s
}

// running runs a Run until the test ends, or until the returned stop.
func running(t *testing.T, name string, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func newHouse(t *testing.T, cfg Config) *house {
	t.Helper()
	h := &house{t: t, store: openStore(t, t.TempDir())}
	h.start(cfg)
	return h
}

// start puts a new graph on the store.
func (h *house) start(cfg Config) {
	h.t.Helper()
	cfg.Store = h.store
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Visible == nil {
		cfg.Visible = func(store.Record, string) bool { return true }
	}
	g, err := New(cfg)
	if err != nil {
		h.t.Fatal(err)
	}
	h.graph, h.stop = g, running(h.t, "graph", g.Run)
	select {
	case <-g.Built():
	case <-time.After(20 * time.Second):
		h.t.Fatal("the graph was not built within 20 s")
	}
}

// put stores events and waits until the graph has seen them.
func (h *house) put(events ...*nostr.Event) {
	h.t.Helper()
	for _, ev := range events {
		e := store.Entry{Event: ev, JSON: wire.AppendEvent(nil, ev), Vanish: ev.Kind == kindVanish}
		if _, err := h.store.Append(h.t.Context(), e); err != nil {
			h.t.Fatal(err)
		}
	}
	h.settle()
}

func (h *house) settle() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	if err := h.graph.WaitFor(ctx, h.store.Head()); err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) follows(p person) []string { return slices.Collect(h.graph.Follows(p.pubkey)) }

// until waits for something that the log's background work brings about.
func (h *house) until(what string, ok func() bool) {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), time.Minute)
	defer cancel()
	for !ok() {
		if _, moved := h.graph.position(); !ok() {
			select {
			case <-moved:
			case <-ctx.Done():
				h.t.Fatalf("not within 20 s: %s", what)
			}
		}
	}
}

func TestNewerListsReplaceAndOlderNever(t *testing.T) {
	h, p := newHouse(t, Config{}), people(4)
	h.put(p[0].sign(t, kindFollows, 100, "", naming(p[1], p[2], p[1])...))
	if got, want := h.follows(p[0]), []string{p[1].pubkey, p[2].pubkey}; !slices.Equal(got, want) {
		t.Fatalf("follows %v, want %v", got, want)
	}
	h.put(p[0].sign(t, kindFollows, 200, "", naming(p[3])...), p[0].sign(t, kindFollows, 150, "", naming(p[1])...))
	if got, want := h.follows(p[0]), []string{p[3].pubkey}; !slices.Equal(got, want) {
		t.Fatalf("follows %v, want %v", got, want)
	}
	if h.graph.Hops(p[0].pubkey, p[1].pubkey) != -1 || h.graph.Hops(p[0].pubkey, p[3].pubkey) != 1 {
		t.Error("the hops are those of the old list")
	}
	if h.graph.Direct(p[0].pubkey, p[1].pubkey) || !h.graph.Direct(p[0].pubkey, p[3].pubkey) || h.graph.Direct(p[3].pubkey, p[0].pubkey) || h.graph.Direct("x", p[3].pubkey) {
		t.Error("who is followed is as the old list has it, or the wrong way round")
	}
}

func TestDeletionTakesTheListAway(t *testing.T) {
	h, p := newHouse(t, Config{}), people(3)
	follows := p[0].sign(t, kindFollows, 100, "", naming(p[1])...)
	mutes := p[0].sign(t, kindMutes, 100, "", naming(p[2])...)
	h.put(follows, mutes)
	if !h.graph.Muted(p[0].pubkey, p[2].pubkey) || h.graph.Muted(p[2].pubkey, p[0].pubkey) {
		t.Fatal("the mute is not as published")
	}
	h.put(p[0].sign(t, kindDeletion, 200, "", nostr.Tag{"e", follows.ID}, nostr.Tag{"a", "10000:" + p[0].pubkey + ":"}))
	h.until("the lists are gone", func() bool {
		return len(h.follows(p[0])) == 0 && !h.graph.Muted(p[0].pubkey, p[2].pubkey)
	})
	if n := h.graph.web.size(); n != 0 {
		t.Errorf("%d keys are still remembered", n)
	}
}

func TestVanishTakesEverythingOfTheKey(t *testing.T) {
	snap := filepath.Join(t.TempDir(), "graph.snap")
	h, p := newHouse(t, Config{Snapshot: snap}), people(4)
	h.put(
		p[0].sign(t, kindFollows, 100, "", naming(p[1])...),
		p[0].sign(t, kindMutes, 100, "", naming(p[2])...),
		p[0].sign(t, kindSet, 100, "", append(naming(p[3]), nostr.Tag{"d", "friends"})...),
		p[0].sign(t, kindRelays, 100, "", nostr.Tag{"r", "wss://example.com"}),
		p[1].sign(t, kindFollows, 100, "", naming(p[0])...),
	)
	h.stop() // writes a snapshot
	h.start(Config{Snapshot: snap})
	if _, err := os.Stat(snap); err != nil {
		t.Fatal(err)
	}
	h.put(p[0].sign(t, kindVanish, 200, "", nostr.Tag{"relay", "ALL_RELAYS"}))
	h.until("nothing of the key is left", func() bool {
		return len(h.follows(p[0])) == 0 && !h.graph.Muted(p[0].pubkey, p[2].pubkey) && len(h.graph.Relays(p[0].pubkey)) == 0
	})
	h.until("the file with the old lists is gone", func() bool { _, err := os.Stat(snap); return os.IsNotExist(err) })
	if got := h.follows(p[1]); len(got) != 1 {
		t.Errorf("another's list became %v", got)
	}
	gone := func() bool {
		h.graph.mu.RLock()
		defer h.graph.mu.RUnlock()
		n, _ := h.graph.web.find(keyOf(p[0].pubkey))
		return h.graph.web.gone(n)
	}
	if !gone() {
		t.Error("the key is not known to have left")
	}
	h.put(p[0].sign(t, kindFollows, 300, "", naming(p[3])...))
	if got := h.follows(p[0]); len(got) != 1 || gone() {
		t.Errorf("who came back follows %v, and is gone: %v", got, gone())
	}
}

// everything is all a graph says, to compare two.
func everything(g *Graph) map[string]string {
	g.mu.RLock()
	defer g.mu.RUnlock()
	out := map[string]string{}
	for k, n := range g.web.number {
		for _, l := range g.web.nodes[n].lists {
			out[fmt.Sprintf("%x %d %s", k, l.kind, l.d)] = fmt.Sprint(l.id, l.created, l.title, g.web.hexKeys(l.members), l.relays)
		}
		followers := g.web.hexKeys(g.web.nodes[n].followers)
		slices.Sort(followers)
		out[hexKey(k)] = fmt.Sprint(followers)
	}
	return out
}

func TestGraphOfARandomLogIsWhatTheStoreHolds(t *testing.T) {
	dir := t.TempDir()
	h, p := newHouse(t, Config{Snapshot: filepath.Join(dir, "snap")}), people(8)
	rng := rand.New(rand.NewPCG(3, 3))
	kindsOf := []int{1, kindFollows, kindFollows, kindMutes, kindSet, kindPack, kindRelays, kindProviders, kindDeletion, kindVanish}
	var past []*nostr.Event
	for i := range 400 {
		kind, who := kindsOf[rng.IntN(len(kindsOf))], p[rng.IntN(len(p))]
		if kind == kindVanish && rng.IntN(4) > 0 {
			continue
		}
		tags := []nostr.Tag{{"d", fmt.Sprint(rng.IntN(3))}, {"title", "t"}, {"r", "wss://r.example", "read"}}
		for range rng.IntN(4) {
			tags = append(tags, nostr.Tag{"p", p[rng.IntN(len(p))].pubkey})
		}
		if kind == kindDeletion && len(past) > 0 {
			target := past[rng.IntN(len(past))]
			tags = []nostr.Tag{{"e", target.ID}, {"a", fmt.Sprintf("%d:%s:%s", target.Kind, target.PubKey, target.Tags.GetD())}}
		}
		if kind == kindVanish {
			tags = []nostr.Tag{{"relay", "ALL_RELAYS"}}
		}
		ev := who.sign(t, kind, int64(1000+i+rng.IntN(40)), "", tags...)
		past = append(past, ev)
		h.put(ev)
		if i%97 == 96 { // a restart on the snapshot, in the middle
			h.stop()
			h.start(Config{Snapshot: filepath.Join(dir, "snap")})
		}
	}
	held := func() map[string]string {
		m := newWeb()
		for r, err := range h.store.Query(t.Context(), nostr.Filter{}) {
			if err != nil {
				t.Fatal(err)
			}
			if s, ours, err := read(&r); err != nil {
				t.Fatal(err)
			} else if ours {
				m.put(s)
			}
		}
		return everything(&Graph{web: m})
	}
	h.until("the graph is what the store holds", func() bool { return maps.Equal(everything(h.graph), held()) })
	if len(held()) < 10 {
		t.Fatalf("only %d lists are left: the test tests little", len(held()))
	}
}

func TestADamagedSnapshotIsRebuiltLoudly(t *testing.T) {
	snap := filepath.Join(t.TempDir(), "graph.snap")
	h, p := newHouse(t, Config{Snapshot: snap}), people(3)
	h.put(p[0].sign(t, kindFollows, 100, "", naming(p[1], p[2])...))
	h.stop()
	good, err := os.ReadFile(snap)
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"a bit flipped":  flip(good, len(good)/2),
		"cut short":      good[:len(good)-10],
		"empty":          {},
		"another magic":  flip(good, 3),
		"another token":  flip(good, len("agora graph 1\n")+2),
		"other contents": bytes.Repeat([]byte("x"), 500),
	} {
		if err := os.WriteFile(snap, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		h.start(Config{Snapshot: snap, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if got := h.follows(p[0]); len(got) != 2 {
			t.Errorf("%s: follows %v", name, got)
		}
		h.stop()
		if !strings.Contains(log.String(), "level=ERROR") {
			t.Errorf("%s: nothing was said: %s", name, log.String())
		}
	}
}

func TestEveryFlippedBitOfASnapshotIsNoticed(t *testing.T) {
	snap := filepath.Join(t.TempDir(), "graph.snap")
	h, p := newHouse(t, Config{Snapshot: snap}), people(3)
	h.put(p[0].sign(t, kindFollows, 100, "", naming(p[1], p[2])...))
	h.stop()
	good, err := os.ReadFile(snap)
	if err != nil {
		t.Fatal(err)
	}
	frame := framed(h.store, snap)
	token, err := h.store.Meta(frame.Token)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := frame.Open(good, token); err != nil {
		t.Fatal(err)
	}
	for at := range good {
		if _, _, err := frame.Open(flip(good, at), token); !errors.Is(err, store.ErrSnapshot) {
			t.Errorf("the bit at %d of %d was not missed", at, len(good))
		}
	}
}

func flip(data []byte, at int) []byte {
	out := bytes.Clone(data)
	out[at] ^= 1
	return out
}

func TestASnapshotOfAnotherStoreIsNotUsed(t *testing.T) {
	snap := filepath.Join(t.TempDir(), "graph.snap")
	p := people(3)
	h := newHouse(t, Config{Snapshot: snap})
	h.put(p[0].sign(t, kindFollows, 100, "", naming(p[1], p[2])...))
	h.stop()
	other := newHouse(t, Config{})
	for i := range 5 { // so that its log is the longer one
		other.putUnseen(p[2].sign(t, 1, int64(i), ""))
	}
	other.stop()
	other.start(Config{Snapshot: snap})
	if got := other.follows(p[0]); len(got) != 0 {
		t.Errorf("the other store's graph has %v", got)
	}
}

func TestAStartOnASnapshotReadsNoListAgain(t *testing.T) {
	snap := filepath.Join(t.TempDir(), "graph.snap")
	h, p := newHouse(t, Config{Snapshot: snap}), people(3)
	h.put(p[0].sign(t, kindFollows, 100, "", naming(p[1])...))
	h.stop()
	h.putUnseen(p[1].sign(t, kindFollows, 100, "", naming(p[2])...)) // while no graph runs
	var log bytes.Buffer
	h.start(Config{Snapshot: snap, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if len(h.follows(p[0])) != 1 || len(h.follows(p[1])) != 1 {
		t.Error("the graph is not what the store holds")
	}
	h.stop()
	if strings.Contains(log.String(), "built from the store") {
		t.Error("the snapshot was not used")
	}
}

// putUnseen stores an event that no graph waits for.
func (h *house) putUnseen(ev *nostr.Event) {
	h.t.Helper()
	if _, err := h.store.Append(h.t.Context(), store.Entry{Event: ev, JSON: wire.AppendEvent(nil, ev)}); err != nil {
		h.t.Fatal(err)
	}
}

func FuzzDecodeSnapshot(f *testing.F) {
	w := newWeb()
	w.put(statement{stamp: stamp{id: store.ID{1}, created: 5}, author: key{1}, kind: kindFollows, members: []key{{2}, {3}}})
	w.put(statement{stamp: stamp{id: store.ID{2}, created: 5}, author: key{1}, kind: kindSet, d: "d", title: "t", members: []key{{2}}})
	f.Add(w.encode())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, body []byte) {
		w, err := decodeWeb(body)
		if err != nil {
			return
		}
		if again, err := decodeWeb(w.encode()); err != nil || again.size() != w.size() || again.lists != w.lists {
			t.Fatalf("what was read cannot be written and read again: %v", err)
		}
	})
}
