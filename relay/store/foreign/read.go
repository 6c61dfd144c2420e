package foreign

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"
	"time"

	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
)

// Query answers filters as our own store does: created_at descending, ties by
// lowest id, no event twice, each filter's limit honoured.
func (l *Log) Query(ctx context.Context, filters ...nostr.Filter) iter.Seq2[store.Record, error] {
	return l.QueryAt(ctx, math.MaxUint64, filters...)
}

// QueryAt is Query without what came after a position.
func (l *Log) QueryAt(ctx context.Context, upTo store.Pos, filters ...nostr.Filter) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		parts := make([]iter.Seq2[store.Record, error], len(filters))
		for i, f := range filters {
			parts[i] = l.one(ctx, upTo, f)
		}
		merged(parts)(yield)
	}
}

// one answers one filter.
func (l *Log) one(ctx context.Context, upTo store.Pos, f nostr.Filter) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		if f.LimitZero || impossible(f) {
			return
		}
		questions := questionsOf(f)
		parts := make([]iter.Seq2[store.Record, error], len(questions))
		for i, q := range questions {
			parts[i] = l.walk(ctx, q, f, l.firstPage(f.Limit, len(questions)))
		}
		left := f.Limit
		for rec, err := range merged(parts) {
			if err == nil {
				if rec.Pos = l.posOf(rec.ID()); rec.Pos > upTo {
					continue
				}
			}
			if !yield(rec, err) || err != nil {
				return
			}
			if left--; left == 0 {
				return
			}
		}
	}
}

// firstPage is how many events to ask for at first, so that two hundred
// authors do not cost two hundred full pages.
func (l *Log) firstPage(limit, questions int) int {
	if limit == 0 {
		return l.page
	}
	return min(l.page, max(16, 2*limit/questions))
}

func impossible(f nostr.Filter) bool {
	empty := f.IDs != nil && len(f.IDs) == 0 || f.Authors != nil && len(f.Authors) == 0 || f.Kinds != nil && len(f.Kinds) == 0
	for _, values := range f.Tags {
		empty = empty || len(values) == 0
	}
	return empty
}

// questionsOf breaks a filter into questions which every backend answers alike: one
// id, one tag value (p: of one kind), one author with or without one kind, one
// kind, or all.
// What else the filter says is checked here.
func questionsOf(f nostr.Filter) (questions []nostr.Filter) {
	if f.IDs != nil {
		return each(f.IDs, func(id string) nostr.Filter { return nostr.Filter{IDs: []string{id}} })
	}
	for _, name := range []string{"e", "a", "q"} { // these name one thing
		if values := f.Tags[name]; plain(values) {
			return byTag(name, values)
		}
	}
	if f.Authors != nil {
		return byAuthor(f)
	}
	if values := f.Tags["p"]; plain(values) && f.Kinds != nil && len(values)*len(f.Kinds) <= 256 {
		return byRecipient(f)
	}
	for name, values := range f.Tags {
		if name != "p" && plain(values) {
			return byTag(name, values)
		}
	}
	if f.Kinds != nil {
		return each(f.Kinds, func(kind int) nostr.Filter { return nostr.Filter{Kinds: []int{kind}} })
	}
	return []nostr.Filter{{}}
}

func byTag(name string, values []string) []nostr.Filter {
	return each(values, func(v string) nostr.Filter { return nostr.Filter{Tags: nostr.TagMap{name: {v}}} })
}

// byRecipient always names a kind: asked for a p tag without one, eventstore's
// LMDB and badger go through an index in the order of kinds, and take until
// for a kind.
func byRecipient(f nostr.Filter) (questions []nostr.Filter) {
	for _, key := range distinct(f.Tags["p"]) {
		questions = append(questions, each(f.Kinds, func(kind int) nostr.Filter {
			return nostr.Filter{Tags: nostr.TagMap{"p": {key}}, Kinds: []int{kind}}
		})...)
	}
	return questions
}

func byAuthor(f nostr.Filter) []nostr.Filter {
	if f.Kinds == nil || len(f.Kinds)*len(f.Authors) > 256 {
		return each(f.Authors, func(a string) nostr.Filter { return nostr.Filter{Authors: []string{a}} })
	}
	var questions []nostr.Filter
	for _, a := range distinct(f.Authors) {
		questions = append(questions, each(f.Kinds, func(kind int) nostr.Filter {
			return nostr.Filter{Authors: []string{a}, Kinds: []int{kind}}
		})...)
	}
	return questions
}

func each[T cmp.Ordered](list []T, question func(T) nostr.Filter) (questions []nostr.Filter) {
	for _, v := range distinct(list) {
		questions = append(questions, question(v))
	}
	return questions
}

func distinct[T cmp.Ordered](list []T) []T { return slices.Compact(slices.Sorted(slices.Values(list))) }

// plain reports whether every backend's tag index knows these values:
// eventstore's indexes leave out empty and long ones, and its SQL looks for
// them in JSON text, where others are escaped.
func plain(values []string) bool {
	return len(values) > 0 && !slices.ContainsFunc(values, func(v string) bool {
		return v == "" || len(v) > 100 || strings.ContainsFunc(v, func(r rune) bool {
			return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune(":/.-_=+@ ", r)
		})
	})
}

// walk reads one question page by page, newest first, and yields what matches
// f in our order. A page begins with the second in which the one before ended,
// which is held back until it is complete.
func (l *Log) walk(ctx context.Context, question, f nostr.Filter, page int) iter.Seq2[store.Record, error] {
	return func(yield func(store.Record, error) bool) {
		var second []store.Record // of one created_at, in the order found
		until := f.Until
		for {
			question.Until, question.Limit = until, page
			events, err := l.ask(ctx, question)
			if err != nil {
				yield(store.Record{}, err)
				return
			}
			for _, ev := range events {
				rec, use, err := l.recordOf(ev, f)
				if err != nil {
					yield(store.Record{}, err)
					return
				}
				if len(second) > 0 && int64(ev.CreatedAt) != second[0].CreatedAt() {
					if !flush(&second, yield) {
						return
					}
				}
				if use {
					second = append(second, rec)
				}
			}
			if last := len(events) - 1; len(events) < page || question.IDs != nil || f.Since != nil && events[last].CreatedAt < *f.Since {
				flush(&second, yield)
				return
			}
			if until, page, err = l.turn(until, page, events); err != nil {
				yield(store.Record{}, err)
				return
			}
		}
	}
}

// turn says where the next page begins, and how long it must be to get out of
// a second that fills one.
func (l *Log) turn(until *nostr.Timestamp, page int, events []*nostr.Event) (*nostr.Timestamp, int, error) {
	last := events[len(events)-1].CreatedAt
	if until == nil || last < *until {
		return &last, l.page, nil
	}
	if page >= l.page {
		return nil, 0, fmt.Errorf("the foreign store holds more than %d events of the second %d: open it with a higher limit", l.page, last)
	}
	return &last, l.page, nil
}

// flush yields a complete second by id, each event once, however often the
// backend holds it.
func flush(second *[]store.Record, yield func(store.Record, error) bool) bool {
	list := *second
	*second = nil
	slices.SortFunc(list, newestFirst)
	list = slices.CompactFunc(list, func(a, b store.Record) bool { return newestFirst(a, b) == 0 })
	for _, rec := range list {
		if !yield(rec, nil) {
			return false
		}
	}
	return true
}

func newestFirst(a, b store.Record) int {
	return cmp.Or(cmp.Compare(b.CreatedAt(), a.CreatedAt()), slices.Compare(a.HexID(), b.HexID()))
}

// recordOf encodes an event, and says whether it matches and has not expired.
func (l *Log) recordOf(ev *nostr.Event, f nostr.Filter) (rec store.Record, use bool, err error) {
	if rec, err = store.ParseRecord(l.encode(nil, ev)); err != nil {
		return rec, false, fmt.Errorf("the foreign store holds %s, which is damaged: %w", ev.ID, err)
	}
	at := expiration(ev)
	return rec, rec.Match(f) && (at == 0 || at > time.Now().Unix()), nil
}

// ask puts one question and reads its whole answer: the goroutine behind the
// channel of a backend ends only then, and some backends forget to close it
// when ctx ends first.
func (l *Log) ask(ctx context.Context, f nostr.Filter) (events []*nostr.Event, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l.io.RLock()
	defer l.io.RUnlock()
	return l.askHolding(ctx, f)
}

// askHolding is ask for who holds io.
func (l *Log) askHolding(ctx context.Context, f nostr.Filter) (events []*nostr.Event, err error) {
	ch, err := l.es.QueryEvents(context.WithoutCancel(ctx), f)
	if err != nil {
		return nil, fmt.Errorf("ask the foreign store: %w", err)
	}
	for ev := range ch {
		events = append(events, ev)
	}
	return events, nil
}

// merged puts sorted sequences into one, each event once. An error ends it.
func merged(parts []iter.Seq2[store.Record, error]) iter.Seq2[store.Record, error] {
	if len(parts) == 1 {
		return parts[0]
	}
	return func(yield func(store.Record, error) bool) {
		heads := make([]*pulled, 0, len(parts))
		defer func() {
			for _, h := range heads {
				h.stop()
			}
		}()
		for _, part := range parts {
			h := new(pulled)
			h.next, h.stop = iter.Pull2(part)
			heads = append(heads, h)
			h.advance()
		}
		var before store.Record
		for {
			first := firstOf(heads)
			if first == nil {
				return
			}
			rec, err := first.rec, first.err
			if err != nil {
				yield(store.Record{}, err)
				return
			}
			first.advance()
			if before.JSON != nil && newestFirst(before, rec) == 0 {
				continue
			}
			before = rec
			if !yield(rec, nil) {
				return
			}
		}
	}
}

// pulled is one sequence and what it has to give next.
type pulled struct {
	next func() (store.Record, error, bool)
	stop func()
	rec  store.Record
	err  error
	has  bool
}

func (p *pulled) advance() { p.rec, p.err, p.has = p.next() }

func firstOf(heads []*pulled) (first *pulled) {
	for _, h := range heads {
		switch {
		case !h.has:
		case h.err != nil:
			return h
		case first == nil || newestFirst(h.rec, first.rec) < 0:
			first = h
		}
	}
	return first
}

// Count counts what Query would give.
func (l *Log) Count(ctx context.Context, filters ...nostr.Filter) (n int64, err error) {
	for _, err := range l.Query(ctx, filters...) {
		if err != nil {
			return 0, err
		}
		n++
	}
	return n, nil
}

// Lookup yields events by id, in the order of ids, those that are not held
// left out.
func (l *Log) Lookup(ctx context.Context, ids []store.ID, yield func(store.Record) bool) error {
	for _, id := range ids {
		rec, held, err := l.record(ctx, id)
		if err != nil {
			return err
		}
		if held && !yield(rec) {
			return nil
		}
	}
	return nil
}

// Has reports whether an event is held.
func (l *Log) Has(id store.ID) (bool, error) {
	_, held, err := l.record(context.Background(), id)
	return held, err
}

func (l *Log) record(ctx context.Context, id store.ID) (rec store.Record, held bool, err error) {
	next, stop := iter.Pull2(l.Query(ctx, nostr.Filter{IDs: []string{id.String()}}))
	defer stop()
	rec, err, held = next()
	return rec, held && err == nil, err
}
