package foreign

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"agora/relay/store"

	"github.com/fiatjaf/eventstore"
	"github.com/nbd-wtf/go-nostr"
)

// Config names what a Log stands on; zero fields mean the default.
type Config struct {
	Store    eventstore.Store                         // after Init; whoever opened it closes it, after Run has returned
	Encode   func(dst []byte, ev *nostr.Event) []byte // the canonical record: wire.AppendEvent
	Graves   string                                   // a file of our own beside the store: what may not come back
	Page     int                                      // events per question; default 500; no more than the backend's own limit (MaxLimit, QueryLimit), or events go unseen
	Remember int                                      // changes kept for those who follow; default 131,072; older ones are ErrTrimmed
}

// Log serves a foreign store as the relay's Log. Positions begin anew with
// each process.
type Log struct {
	es       eventstore.Store
	encode   func([]byte, *nostr.Event) []byte
	page     int
	remember int

	queue    chan request // requests, 256; when full: Submit waits
	stopping chan struct{}
	gate     sync.RWMutex // read-held while a request is put into queue
	closed   bool         // guarded by gate

	io     sync.RWMutex // write-held while the store changes, read-held while a page is read: not every backend can do both
	graves *graves      // owned by the writer; bans are read under io

	mu      sync.Mutex // guards what follows
	head    store.Pos
	trimmed store.Pos // changes up to here are not remembered
	changes []change  // after trimmed, one per position
	at      map[store.ID]store.Pos
	moved   chan struct{} // closed when head moves
}

// request is an entry and who waits for its answer; or some other work for
// the writer.
type request struct {
	entry store.Entry
	work  func() error // instead of entry
	done  func(store.Result, error)
}

// change is one step, kept without the event: it is looked up when somebody
// asks.
type change struct {
	id      store.ID
	removed *store.Removal
}

// New reads the graves and looks whether the store holds anything. It starts
// nothing.
func New(cfg Config) (*Log, error) {
	if cfg.Store == nil || cfg.Encode == nil || cfg.Graves == "" {
		return nil, errors.New("a foreign log needs Store, Encode and Graves")
	}
	if cfg.Page == 0 {
		cfg.Page = 500
	}
	if cfg.Remember == 0 {
		cfg.Remember = 1 << 17
	}
	g, err := openGraves(cfg.Graves)
	if err != nil {
		return nil, err
	}
	l := &Log{
		es: cfg.Store, encode: cfg.Encode, page: cfg.Page, remember: cfg.Remember,
		queue:    make(chan request, 256), // requests; when full: Submit waits
		stopping: make(chan struct{}),
		graves:   g,
		at:       make(map[store.ID]store.Pos),
		moved:    make(chan struct{}),
	}
	first, err := l.ask(context.Background(), nostr.Filter{Limit: 1})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the foreign store: %w", err), g.close())
	}
	if len(first) > 0 { // all that was there before us has position 1
		l.head, l.trimmed = 1, 1
	}
	return l, nil
}

// Run writes what is submitted until ctx ends.
func (l *Log) Run(ctx context.Context) error {
	for {
		select {
		case r := <-l.queue:
			l.serve(ctx, r)
		case <-ctx.Done():
			close(l.stopping)
			l.gate.Lock()
			l.closed = true
			l.gate.Unlock()
			l.refuseQueued()
			time.Sleep(lastRead)
			return l.graves.close()
		}
	}
}

// lastRead is how long Run waits before the store may be closed: eventstore's
// LMDB ends a read transaction only after it has closed the channel of its
// answer, and the program dies (SIGSEGV) when the map goes in between.
const lastRead = 100 * time.Millisecond

func (l *Log) refuseQueued() {
	for {
		select {
		case r := <-l.queue:
			r.done(store.Result{}, store.ErrClosed)
		default:
			return
		}
	}
}

func (l *Log) serve(ctx context.Context, r request) {
	if r.work != nil {
		r.done(store.Result{}, r.work())
		return
	}
	r.done(l.put(context.WithoutCancel(ctx), r.entry))
}

// Submit hands in one event; done runs on the writer once the backend has it,
// and must not block. How durable it then is, is the backend's promise.
func (l *Log) Submit(ctx context.Context, e store.Entry, done func(store.Result, error)) error {
	return l.enqueue(ctx, request{entry: e, done: done})
}

func (l *Log) enqueue(ctx context.Context, r request) error {
	l.gate.RLock()
	defer l.gate.RUnlock()
	if l.closed {
		return store.ErrClosed
	}
	select {
	case l.queue <- r:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-l.stopping:
		return store.ErrClosed
	}
}

// Append is Submit that waits.
func (l *Log) Append(ctx context.Context, e store.Entry) (store.Result, error) {
	return l.wait(ctx, request{entry: e})
}

func (l *Log) wait(ctx context.Context, r request) (store.Result, error) {
	type answer struct {
		res store.Result
		err error
	}
	came := make(chan answer, 1) // the one answer
	r.done = func(res store.Result, err error) { came <- answer{res, err} }
	if err := l.enqueue(ctx, r); err != nil {
		return store.Result{}, err
	}
	select {
	case a := <-came:
		return a.res, a.err
	case <-ctx.Done():
		return store.Result{}, ctx.Err()
	}
}

// step notes a change and returns its position.
func (l *Log) step(c change) store.Pos {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.head++
	l.changes = append(l.changes, c)
	if c.removed == nil {
		l.at[c.id] = l.head
	} else {
		delete(l.at, c.id)
	}
	if over := len(l.changes) - l.remember; over >= l.remember/4+1 {
		l.forget(over)
	}
	close(l.moved)
	l.moved = make(chan struct{})
	return l.head
}

// forget drops the oldest changes. Called with mu held.
func (l *Log) forget(n int) {
	for i, c := range l.changes[:n] {
		if pos, ok := l.at[c.id]; ok && pos == l.trimmed+store.Pos(i)+1 {
			delete(l.at, c.id)
		}
	}
	l.changes = append([]change(nil), l.changes[n:]...)
	l.trimmed += store.Pos(n)
}

// posOf is where an event stands; what is older than our memory stands at 1.
func (l *Log) posOf(id store.ID) store.Pos {
	l.mu.Lock()
	defer l.mu.Unlock()
	if pos, ok := l.at[id]; ok {
		return pos
	}
	return 1
}

// Head is the last position.
func (l *Log) Head() store.Pos {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head
}

// Wait returns once Head is beyond after.
func (l *Log) Wait(ctx context.Context, after store.Pos) error {
	for {
		l.mu.Lock()
		head, moved := l.head, l.moved
		l.mu.Unlock()
		if head > after {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Changes walks what happened after a position of this process. What is older
// than its memory, or than the process, is ErrTrimmed: ask Query. An event
// that has gone since is left out; its removal comes later.
func (l *Log) Changes(ctx context.Context, after store.Pos) iter.Seq2[store.Change, error] {
	return func(yield func(store.Change, error) bool) {
		for pos := after + 1; ; pos++ {
			c, ok, err := l.changeAt(pos)
			if err != nil || !ok {
				if err != nil {
					yield(store.Change{}, err)
				}
				return
			}
			out := store.Change{Pos: pos, Removed: c.removed}
			if c.removed == nil {
				rec, held, err := l.record(ctx, c.id)
				if err != nil {
					yield(store.Change{}, err)
					return
				}
				if !held {
					continue
				}
				out.Record = rec
			}
			if !yield(out, nil) {
				return
			}
		}
	}
}

func (l *Log) changeAt(pos store.Pos) (c change, ok bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case pos <= l.trimmed:
		return c, false, store.ErrTrimmed
	case pos > l.head:
		return c, false, nil
	}
	return l.changes[pos-l.trimmed-1], true, nil
}
