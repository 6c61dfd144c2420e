package search

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
)

// memory is a store that lives in a slice, can be filled without signatures,
// and forgets old removals when told to.
type memory struct {
	mu      sync.Mutex
	changes []store.Change // by position, from 1; a removed event keeps its place with no record
	held    map[store.ID]store.Record
	trimmed store.Pos // removals up to here are forgotten
	keeps   bool      // the log still yields what went later, as a reader sees it who was there first
	grown   chan struct{}
}

func newMemory() *memory {
	return &memory{held: map[store.ID]store.Record{}, grown: make(chan struct{})}
}

func (m *memory) grow() {
	close(m.grown)
	m.grown = make(chan struct{})
}

func (m *memory) add(t testing.TB, ev *nostr.Event) store.ID {
	t.Helper()
	rec := record(t, ev)
	m.mu.Lock()
	defer m.mu.Unlock()
	rec.Pos = store.Pos(len(m.changes) + 1)
	m.changes = append(m.changes, store.Change{Pos: rec.Pos, Record: rec})
	m.held[rec.ID()] = rec
	m.grow()
	return rec.ID()
}

func (m *memory) remove(id store.ID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	rec, ok := m.held[id]
	if !ok {
		return
	}
	delete(m.held, id)
	if !m.keeps {
		m.changes[rec.Pos-1].Record = store.Record{}
	}
	m.changes = append(m.changes, store.Change{
		Pos:     store.Pos(len(m.changes) + 1),
		Removed: &store.Removal{ID: id, PubKey: rec.PubKey(), Kind: rec.Kind()},
	})
	m.grow()
}

func (m *memory) Head() store.Pos {
	m.mu.Lock()
	defer m.mu.Unlock()
	return store.Pos(len(m.changes))
}

func (m *memory) Wait(ctx context.Context, after store.Pos) error {
	for {
		m.mu.Lock()
		n, grown := store.Pos(len(m.changes)), m.grown
		m.mu.Unlock()
		if n > after {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (m *memory) Changes(ctx context.Context, after store.Pos) iter.Seq2[store.Change, error] {
	return func(yield func(store.Change, error) bool) {
		for {
			m.mu.Lock()
			rest := m.changes[min(int(after), len(m.changes)):]
			part, trimmed := slices.Clone(rest[:min(len(rest), 1000)]), m.trimmed
			m.mu.Unlock()
			if after < trimmed {
				yield(store.Change{}, store.ErrTrimmed)
				return
			}
			if len(part) == 0 {
				return
			}
			for _, c := range part {
				after = c.Pos
				if ctx.Err() != nil {
					yield(store.Change{}, ctx.Err())
					return
				}
				if c.Removed == nil && c.Record.JSON == nil {
					continue
				}
				if !yield(c, nil) {
					return
				}
			}
		}
	}
}

func (m *memory) QueryAt(ctx context.Context, upTo store.Pos, filters ...nostr.Filter) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		m.mu.Lock()
		var list []store.Record
		for _, r := range m.held {
			if r.Pos <= upTo && r.Match(filters[0]) {
				list = append(list, r)
			}
		}
		m.mu.Unlock()
		slices.SortFunc(list, func(x, y store.Record) int {
			return cmp.Or(cmp.Compare(y.CreatedAt(), x.CreatedAt()), bytes.Compare(x.HexID(), y.HexID()))
		})
		for _, r := range list {
			if ctx.Err() != nil {
				yield(store.Record{}, ctx.Err())
				return
			}
			if !yield(r, nil) {
				return
			}
		}
	}
}

func (m *memory) Lookup(_ context.Context, ids []store.ID, yield func(store.Record) bool) error {
	for _, id := range ids {
		m.mu.Lock()
		r, ok := m.held[id]
		m.mu.Unlock()
		if ok && !yield(r) {
			return nil
		}
	}
	return nil
}

// record makes a canonical record of an event; a missing id is derived.
func record(t testing.TB, ev *nostr.Event) store.Record {
	t.Helper()
	if ev.PubKey == "" {
		ev.PubKey = fmt.Sprintf("%064x", 1)
	}
	if ev.Tags == nil {
		ev.Tags = nostr.Tags{}
	}
	if ev.ID == "" {
		sum := sha256.Sum256(fmt.Append(nil, ev.PubKey, ev.CreatedAt, ev.Kind, ev.Tags, ev.Content))
		ev.ID = hex.EncodeToString(sum[:])
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	part := func(v any) string {
		b.Reset()
		if err := enc.Encode(v); err != nil {
			t.Fatal(err)
		}
		return string(bytes.TrimSpace(b.Bytes()))
	}
	text := fmt.Sprintf(`{"id":"%s","pubkey":"%s","created_at":%d,"kind":%d,"tags":%s,"content":%s,"sig":"%0128x"}`,
		ev.ID, ev.PubKey, ev.CreatedAt, ev.Kind, part(ev.Tags), part(ev.Content), 0)
	rec, err := store.ParseRecord([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return rec
}

// running opens an index over m and follows it until the test ends or stop is
// called. Stop waits for Run and closes the index.
func running(t testing.TB, dir string, m source, cfg Config) (ix *Index, stop func()) {
	t.Helper()
	cfg.NoSync = true
	if cfg.Linger == 0 {
		cfg.Linger = time.Millisecond
	}
	if cfg.Deadline == 0 {
		cfg.Deadline = time.Minute
	}
	ix, err := open(dir, m, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1) // one result
	go func() { done <- ix.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error("Run:", err)
		}
		if err := ix.Close(); err != nil {
			t.Error("Close:", err)
		}
	})
	t.Cleanup(stop)
	return ix, stop
}

// caught waits until everything in m can be found.
func caught(t testing.TB, ix *Index, m source) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if err := ix.Wait(ctx, m.Head()); err != nil {
		t.Fatal("the index did not catch up:", err)
	}
}

func find(t testing.TB, ix *Index, query string, f nostr.Filter) (ids []store.ID) {
	t.Helper()
	for id, err := range ix.Search(context.Background(), query, f) {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

func note(content string, created int64) *nostr.Event {
	return &nostr.Event{Kind: 1, Content: content, CreatedAt: nostr.Timestamp(created)}
}
