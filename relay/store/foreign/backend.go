package foreign

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"agora/relay/store"

	"github.com/fiatjaf/eventstore"
	"github.com/nbd-wtf/go-nostr"
)

// Writer is what Backend needs to put events in and take them out;
// *store.Store is one.
type Writer interface {
	Append(ctx context.Context, e store.Entry) (store.Result, error)
	Remove(ctx context.Context, ids []store.ID, ban bool) (int, error)
}

// Reader is what Backend needs to answer filters; *store.Store is one.
type Reader interface {
	Query(ctx context.Context, filters ...nostr.Filter) iter.Seq2[store.Record, error]
	Count(ctx context.Context, filters ...nostr.Filter) (int64, error)
}

// Backend is our store as an eventstore.Store, for khatru and its like. The
// store's Run must be running. It keeps our store's rules: replacements,
// deletions, tombstones and expiry need no help from the caller.
type Backend struct {
	Writer   Writer
	Reader   Reader
	Encode   func(dst []byte, ev *nostr.Event) []byte // the canonical record: wire.AppendEvent
	MaxLimit int                                      // events per answer at most, and without a limit in the filter; default 5,000
	Vanish   func(*nostr.Event) bool                  // whether a kind 62 names this relay; nil: none does
}

var (
	_ eventstore.Store   = (*Backend)(nil)
	_ eventstore.Counter = (*Backend)(nil)
)

// Init checks that all parts are there.
func (b *Backend) Init() error {
	if b.Writer == nil || b.Reader == nil || b.Encode == nil {
		return errors.New("a backend needs Writer, Reader and Encode")
	}
	if b.MaxLimit == 0 {
		b.MaxLimit = 5000
	}
	return nil
}

// Close does nothing: whoever opened the store closes it.
func (*Backend) Close() {}

// QueryEvents gives a channel that already holds the whole answer. No
// goroutine stands behind it, so it may be left half read.
func (b *Backend) QueryEvents(ctx context.Context, f nostr.Filter) (chan *nostr.Event, error) {
	if f.Limit <= 0 || f.Limit > b.MaxLimit {
		f.Limit = b.MaxLimit
	}
	var events []*nostr.Event
	if f.Search == "" { // the word index is not the store's
		for rec, err := range b.Reader.Query(ctx, f) {
			if err != nil {
				return nil, fmt.Errorf("query: %w", err)
			}
			ev, err := rec.Event()
			if err != nil {
				return nil, err
			}
			events = append(events, ev)
		}
	}
	ch := make(chan *nostr.Event, len(events)) // the whole answer
	for _, ev := range events {
		ch <- ev
	}
	close(ch)
	return ch, nil
}

// SaveEvent stores an event whose id and signature the caller has checked.
func (b *Backend) SaveEvent(ctx context.Context, ev *nostr.Event) error {
	vanish := ev.Kind == kindVanish && b.Vanish != nil && b.Vanish(ev)
	res, err := b.Writer.Append(ctx, store.Entry{Event: ev, JSON: b.Encode(nil, ev), Vanish: vanish})
	if err != nil {
		return fmt.Errorf("save %s: %w", ev.ID, err)
	}
	switch res.Outcome {
	case store.Stored, store.Older: // that a newer version is held is no failure here either
		return nil
	case store.Duplicate:
		return eventstore.ErrDupEvent
	}
	return fmt.Errorf("blocked: %s is %v", ev.ID, res.Outcome)
}

// ReplaceEvent is SaveEvent: our store replaces by itself, in one commit.
func (b *Backend) ReplaceEvent(ctx context.Context, ev *nostr.Event) error {
	if err := b.SaveEvent(ctx, ev); !errors.Is(err, eventstore.ErrDupEvent) {
		return err
	}
	return nil
}

// DeleteEvent removes an event, which may come again.
func (b *Backend) DeleteEvent(ctx context.Context, ev *nostr.Event) error {
	id, err := store.ParseID(ev.ID)
	if err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	_, err = b.Writer.Remove(ctx, []store.ID{id}, false)
	return err
}

// CountEvents counts what a filter without its limit finds.
func (b *Backend) CountEvents(ctx context.Context, f nostr.Filter) (int64, error) {
	f.Limit, f.LimitZero = 0, false
	return b.Reader.Count(ctx, f)
}
