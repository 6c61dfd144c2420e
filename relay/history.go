package relay

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"agora/relay/admit"
	"agora/relay/store"
	"agora/relay/wire"

	"github.com/nbd-wtf/go-nostr"
)

// pageSize is how many bytes of rows are put together for one write.
const pageSize = 64 << 10

// notAnswered is a question that gets no answer, and why.
type notAnswered struct {
	prefix admit.Prefix
	text   string
}

func (n *notAnswered) Error() string { return refusal(n.prefix, n.text) }

var errTooSlow = &notAnswered{admit.Error, "this takes too long to answer: narrow it by authors, kinds, tags or time"}

// asking is one REQ being answered from what is stored. It belongs to the
// answerer.
type asking struct {
	s      *session
	sub    *sub
	lim    *limits
	head   store.Pos // the answer is that of the log up to here
	clock  *stopwatch
	buf    *[]byte
	now    int64                 // unix seconds
	rows   int                   // sent
	sent   map[store.ID]struct{} // what other than the log has sent; nil: nothing
	still  []int                 // filters whose pages nothing live follows
	whole  bool                  // something that was sent is not to be paged by time, as its order is its own
	broken error                 // the connection is
}

// run sends the stored matches and returns the hint for EOSE.
func (a *asking) run() (wire.Hint, error) {
	ctx, clock := startWatch(a.sub.ctx, a.lim.QueryTime)
	defer clock.stop()
	a.clock, a.now = clock, time.Now().Unix()
	a.buf = a.s.mem.pages.take()
	defer a.s.mem.pages.give(a.buf)
	plain, hints, err := a.elsewhere(ctx)
	if err == nil && len(plain) > 0 {
		var h wire.Hint
		h, err = a.fromLog(ctx, plain)
		hints = append(hints, h)
	}
	if err != nil && clock.expired() && a.sub.ctx.Err() == nil {
		if a.rows == 0 {
			return wire.NoHint, errTooSlow
		}
		err, hints = nil, []wire.Hint{wire.More}
	}
	if err != nil {
		return wire.NoHint, err
	}
	hint := together(hints)
	if hint == wire.More && a.whole {
		hint = wire.NoHint
	}
	return hint, a.flush()
}

// together is the hint for all filters of one REQ.
func together(hints []wire.Hint) wire.Hint {
	if slices.Contains(hints, wire.More) {
		return wire.More
	}
	if slices.Contains(hints, wire.NoHint) {
		return wire.NoHint
	}
	return wire.Finish
}

// elsewhere answers the filters that are not the log's: sources' and
// searches. It returns the others, each with its limit.
func (a *asking) elsewhere(ctx context.Context) (plain []nostr.Filter, hints []wire.Hint, err error) {
	for i, f := range a.sub.filters {
		written := f
		f.Limit = a.limit(f)
		page, mine, err := a.s.r.fromSource(ctx, a.s.door, a.s.viewer(), f, written)
		switch {
		case err != nil:
			return nil, nil, err
		case mine:
			if page.Still {
				a.still, a.whole = append(a.still, i), a.whole || page.Hint != wire.More
			}
			err = a.sendPage(page)
			hints = append(hints, page.Hint)
		case f.Limit == 0:
			hints = append(hints, wire.NoHint)
		case f.Search != "" && a.s.r.search == nil:
			err = &notAnswered{admit.Unsupported, "search is not enabled here"}
		case f.Search != "":
			var h wire.Hint
			h, err = a.fromSearch(ctx, f)
			hints = append(hints, h)
		default:
			plain = append(plain, f)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	return plain, hints, nil
}

// limit is how many stored events a filter gets: what it asks for, what we
// allow.
func (a *asking) limit(f nostr.Filter) int {
	if f.LimitZero {
		return 0
	}
	if f.Limit <= 0 {
		return a.lim.DefaultLimit
	}
	return min(f.Limit, a.lim.MaxLimit)
}

// pageFrom is the limit from which on a filter with until is taken for a page
// of a whole, rather than a question for just so many events.
const pageFrom = 50 // events

// share is how far one filter has got.
type share struct {
	left   int   // events still to be sent
	second int64 // created_at of all of them so far, when it is until of a page; else -1
	over   int   // events beyond the limit, still allowed to get past that second
	ask    int   // rows asked of the log in this round
	seen   int   // rows the log gave in this round
	more   bool  // a match was not sent
}

// shareOf begins one filter. Whoever pages by until comes back to the second
// where the last page ended. Were a page cut within that second again, he
// would never get past it: such a page has all of the second (NIP-67) and one
// event more.
func shareOf(f nostr.Filter, over int) share {
	sh := share{left: f.Limit, second: -1, over: over}
	if f.Until != nil && f.Limit >= pageFrom {
		sh.second = int64(*f.Until)
	}
	return sh
}

// take reports whether the filter may have a match of that created_at.
func (sh *share) take(at int64) bool {
	stuck := sh.second >= 0 // whatever it has had is of the second it began with
	if at != sh.second {
		sh.second = -1
	}
	switch {
	case sh.left > 0:
		sh.left--
		return true
	case stuck && sh.over > 0:
		sh.over--
		return true
	}
	return false
}

// room is how many matches it may still have; for one that has its limit, as
// many as are worth asking for.
func (sh *share) room() int {
	if sh.left == 0 && sh.second >= 0 && !sh.more {
		return min(sh.over, pageFrom)
	}
	return sh.left
}

// fromLog sends the log's matches, created_at descending. The log is asked
// for one row more than is wanted, to know whether there are more; where rows
// turn out to be invisible, it is asked again from there.
func (a *asking) fromLog(ctx context.Context, filters []nostr.Filter) (wire.Hint, error) {
	shares := make([]share, len(filters))
	for i, f := range filters {
		shares[i] = shareOf(f, a.lim.MaxLimit)
	}
	var edge edge
	for grow := 1; ; grow *= 2 {
		edge.begin()
		for i := range shares {
			shares[i].ask = shares[i].room()*grow + 1 + edge.old
			shares[i].seen = 0
			filters[i].Limit = shares[i].ask
			filters[i].Until = edge.bound(filters[i].Until)
		}
		again, err := a.round(ctx, filters, shares, &edge)
		if err != nil {
			return wire.NoHint, err
		}
		if !again {
			return hintOf(shares), nil
		}
	}
}

// hintOf says what the shares prove.
func hintOf(shares []share) wire.Hint {
	hint := wire.Finish
	for _, sh := range shares {
		if sh.more {
			return wire.More
		}
		if sh.seen >= sh.ask {
			hint = wire.NoHint
		}
	}
	return hint
}

// round reads the log once. Again means that a filter got fewer events than
// it may have although the log holds more rows.
func (a *asking) round(ctx context.Context, filters []nostr.Filter, shares []share, edge *edge) (again bool, err error) {
	hits := make([]int, 0, len(filters))
	for rec, err := range a.s.r.log.QueryAt(ctx, a.head, filters...) {
		if err != nil {
			return false, err
		}
		hits = hits[:0]
		for i := range filters {
			if len(filters) == 1 || rec.Match(filters[i]) {
				hits = append(hits, i)
				shares[i].seen++
			}
		}
		if edge.fresh(&rec) && a.s.r.visible(&rec, a.s.viewer(), a.now) && !a.already(&rec) {
			if err := a.deal(&rec, shares, hits); err != nil {
				return false, err
			}
		}
		if allMore(shares) {
			return false, nil
		}
		if slices.ContainsFunc(hits, func(i int) bool { return shares[i].seen == shares[i].ask && shares[i].room() > 0 }) {
			return true, nil
		}
	}
	return false, nil
}

func allMore(shares []share) bool {
	return !slices.ContainsFunc(shares, func(sh share) bool { return !sh.more })
}

// deal sends one event if any of the filters it matches may have it.
func (a *asking) deal(rec *store.Record, shares []share, hits []int) error {
	wanted := false
	for _, i := range hits {
		if shares[i].take(rec.CreatedAt()) {
			wanted = true
		}
	}
	if wanted {
		return a.row(rec.JSON)
	}
	for _, i := range hits {
		shares[i].more = true
	}
	return nil
}

// already reports whether a search or a source has sent the event.
func (a *asking) already(rec *store.Record) bool {
	if a.sent == nil {
		return false
	}
	_, ok := a.sent[rec.ID()]
	return ok
}

// edge is the last second of the log that was read, and what was met there.
type edge struct {
	at  int64
	ids []store.ID
	old int // of ids, those met in earlier rounds
}

// begin starts another round, which begins in the second where the last ended.
func (e *edge) begin() { e.old = len(e.ids) }

// fresh reports whether rec has not been met before, and notes it.
func (e *edge) fresh(rec *store.Record) bool {
	id := rec.ID()
	if rec.CreatedAt() != e.at {
		e.at, e.ids, e.old = rec.CreatedAt(), e.ids[:0], 0
	}
	if slices.Contains(e.ids[:e.old], id) {
		return false
	}
	e.ids = append(e.ids, id)
	return true
}

// bound is where a further round begins.
func (e *edge) bound(until *nostr.Timestamp) *nostr.Timestamp {
	at := nostr.Timestamp(e.at)
	if e.old == 0 || until != nil && *until <= at {
		return until
	}
	return &at
}

// row appends one record to the page, and sends the page when it is full.
func (a *asking) row(record []byte) error {
	*a.buf = a.s.appendEvent(*a.buf, a.sub, record)
	a.rows++
	if len(*a.buf) < pageSize {
		return nil
	}
	return a.flush()
}

// flush sends the page. The time the client takes is not the query's.
func (a *asking) flush() error {
	a.clock.pause()
	defer a.clock.resume()
	a.broken = a.s.send(a.buf)
	return a.broken
}

// sendPage sends what a source has selected.
func (a *asking) sendPage(page Page) error {
	for _, ev := range page.Events {
		rec, err := store.ParseRecord(wire.AppendEvent(nil, ev))
		if err != nil {
			return err
		}
		if !a.s.r.visible(&rec, a.s.viewer(), a.now) || a.already(&rec) {
			continue
		}
		a.note(rec.ID())
		if err := a.row(rec.JSON); err != nil {
			return err
		}
	}
	return nil
}

func (a *asking) note(id store.ID) {
	if a.sent == nil {
		a.sent = make(map[store.ID]struct{})
	}
	a.sent[id] = struct{}{}
}

// searchBatch is how many hits are looked up at once.
const searchBatch = 64

// fromSearch sends what the word index ranks, best first, after looking again
// whether it is there, matches and may be seen. When it sends only the best of
// them there is no hint: paging by time would skip in an order of relevance.
func (a *asking) fromSearch(ctx context.Context, f nostr.Filter) (wire.Hint, error) {
	sh, whole := share{left: f.Limit}, a.whole
	a.whole = true // until all of it is sent
	ids := make([]store.ID, 0, searchBatch)
	for id, err := range a.s.r.search.Search(ctx, f.Search, f) {
		if err != nil {
			return wire.NoHint, err
		}
		if ids = append(ids, id); len(ids) == searchBatch {
			if err := a.lookUp(ctx, f, ids, &sh); err != nil {
				return wire.NoHint, err
			}
			ids = ids[:0]
		}
		if sh.more {
			return wire.NoHint, nil
		}
	}
	if err := a.lookUp(ctx, f, ids, &sh); err != nil {
		return wire.NoHint, err
	}
	if sh.more {
		return wire.NoHint, nil
	}
	a.whole = whole
	return wire.Finish, nil
}

func (a *asking) lookUp(ctx context.Context, f nostr.Filter, ids []store.ID, sh *share) error {
	var failed error
	err := a.s.r.log.Lookup(ctx, ids, func(rec store.Record) bool {
		if !rec.Match(f) || !a.s.r.visible(&rec, a.s.viewer(), a.now) || rec.Pos > a.head || a.already(&rec) {
			return true
		}
		if sh.left == 0 {
			sh.more = true
			return false
		}
		sh.left--
		a.note(rec.ID())
		failed = a.row(rec.JSON)
		return failed == nil
	})
	return errors.Join(err, failed)
}

// stopwatch bounds the work on one question, without the time its client
// takes to read.
type stopwatch struct {
	cancel context.CancelFunc
	timer  *time.Timer
	left   time.Duration
	since  time.Time
	late   atomic.Bool
}

func startWatch(ctx context.Context, most time.Duration) (context.Context, *stopwatch) {
	ctx, cancel := context.WithCancel(ctx)
	w := &stopwatch{cancel: cancel, left: most, since: time.Now()}
	w.timer = time.AfterFunc(most, func() {
		w.late.Store(true)
		cancel()
	})
	return ctx, w
}

func (w *stopwatch) pause() {
	if w.timer.Stop() {
		w.left -= time.Since(w.since)
	}
}

func (w *stopwatch) resume() {
	if !w.expired() {
		w.since = time.Now()
		w.timer.Reset(max(w.left, 0))
	}
}

func (w *stopwatch) expired() bool { return w.late.Load() }

func (w *stopwatch) stop() {
	w.timer.Stop()
	w.cancel()
}
