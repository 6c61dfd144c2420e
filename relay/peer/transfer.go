package peer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"agora/relay/store"
	"agora/relay/wire"

	"github.com/nbd-wtf/go-nostr"
)

const (
	maxBatch   = 250 // ids per REQ; fewer after a relay refuses that many
	minBatch   = 20
	openReqs   = 4         // REQs under way at once
	inUpload   = 32        // events sent whose OK has not come
	pageLimit  = 500       // events per page of a relay without NIP-77
	pageMost   = 5_000     // messages of a page; a relay may show all of one second
	maxRetries = 5         // sendings of one event that the other relay puts off
	maxSeen    = 2_000_000 // ids remembered of a relay without NIP-77; beyond it, nothing is uploaded
)

// download fetches events by id and publishes them.
func (e *exchange) download(ctx context.Context, need []store.ID) error {
	open := map[string]*fetch{}
	for (len(need) > 0 || len(open) > 0) && !(e.full() && len(open) == 0) {
		for len(open) < openReqs && len(need) > 0 && !e.full() {
			f := newFetch(need[:min(e.batch, len(need))])
			need = need[f.asked:]
			sub := e.newSub()
			open[sub] = f
			if err := e.r.send(wire.AppendReq(nil, sub, nostr.Filter{IDs: hexIDs(f.ids())})); err != nil {
				return err
			}
		}
		one, err := e.r.next(ctx, e.Silence)
		if err != nil {
			return err
		}
		f := open[one.m.Sub]
		switch {
		case one.bad != nil:
			e.count(func(s *Summary) { s.Unreadable++ })
		case f == nil:
			e.unasked(one.m)
		case one.m.Label == "EVENT":
			e.fetched(f, one.m)
		case one.m.Label == "EOSE" || one.m.Label == "CLOSED":
			delete(open, one.m.Sub)
			rest, err := e.fetchEnd(ctx, f, one.m)
			if err != nil {
				return err
			}
			need = append(need, rest...)
		}
	}
	return nil
}

// fetch is one REQ for ids.
type fetch struct {
	left  map[store.ID]struct{}
	asked int
}

func newFetch(ids []store.ID) *fetch {
	f := &fetch{left: make(map[store.ID]struct{}, len(ids)), asked: len(ids)}
	for _, id := range ids {
		f.left[id] = struct{}{}
	}
	return f
}

func (f *fetch) ids() []store.ID {
	ids := make([]store.ID, 0, len(f.left))
	for id := range f.left {
		ids = append(ids, id)
	}
	return ids
}

func (e *exchange) unasked(m wire.ServerMessage) {
	if m.Label == "EVENT" {
		e.count(func(s *Summary) { s.Unasked++ })
	}
}

// fetched takes an event in, when it was asked for.
func (e *exchange) fetched(f *fetch, m wire.ServerMessage) {
	id, err := store.ParseID(m.Event.ID)
	_, asked := f.left[id]
	if err != nil || !asked || !e.Filter.Matches(m.Event) {
		e.unasked(m)
		return
	}
	delete(f.left, id)
	e.publish(id, m)
}

// publish hands an event to our relay. It waits while inPublish others are
// under way, and then the socket is not read.
func (e *exchange) publish(id store.ID, m wire.ServerMessage) {
	e.count(func(s *Summary) {
		if was, known := e.down.of[id]; !known || was.what == absent {
			s.Downloaded++
		}
	})
	e.taking.Add(1)
	e.pool.Go(func() error {
		defer e.taking.Done()
		reason, err := e.Publish(e.ctx, m.Event, m.JSON)
		switch {
		case err != nil:
			return fmt.Errorf("publish %s: %w", m.Event.ID, err)
		case reason == "":
			e.settleDown(id, moved, "", "")
		case tagProtected(m.Event.Tags) && prefix(reason) != "duplicate":
			e.settleDown(id, kept, keptProtected, reason)
		default:
			e.settleDown(id, refused, prefix(reason), reason)
		}
		return nil
	})
}

// fetchEnd deals with the end of a REQ: what is to be asked for again, and
// what will not come.
func (e *exchange) fetchEnd(ctx context.Context, f *fetch, m wire.ServerMessage) (again []store.ID, err error) {
	got := f.asked - len(f.left)
	switch {
	case m.Label == "EOSE" && got > 0: // perhaps a limit of theirs cut it short
		again = f.ids()
	case m.Label == "CLOSED" && prefix(m.Text) == "auth-required" && !e.r.authed && e.r.awaitAuth(ctx, openWait):
		again = f.ids()
	case m.Label == "CLOSED" && f.asked > minBatch: // perhaps too many at once
		e.batch = max(minBatch, min(e.batch, f.asked/2))
		again = f.ids()
	default:
		for id := range f.left {
			e.settleDown(id, absent, "", "")
		}
	}
	if m.Label == "CLOSED" {
		return again, nil
	}
	return again, e.r.send(wire.AppendClose(nil, m.Sub))
}

// upload sends events by id, inUpload at a time, once what came is taken in:
// that may replace what we would send.
func (e *exchange) upload(ctx context.Context, have []store.ID) error {
	e.taking.Wait()
	up := uploads{e: e, open: map[string]sending{}}
	for len(have) > 0 {
		page := have[:min(maxBatch, len(have))]
		have = have[len(page):]
		records, err := e.records(ctx, page)
		if err != nil {
			return err
		}
		for _, rec := range records {
			if err := up.send(ctx, rec); err != nil {
				return err
			}
		}
	}
	for len(up.open) > 0 {
		if err := up.await(ctx); err != nil {
			return err
		}
	}
	return nil
}

// records reads what may be sent, copied.
func (e *exchange) records(ctx context.Context, ids []store.ID) (list []store.Record, err error) {
	unseen := make(map[store.ID]struct{}, len(ids))
	for _, id := range ids {
		unseen[id] = struct{}{}
	}
	err = e.Local.Lookup(ctx, ids, func(rec store.Record) bool {
		delete(unseen, rec.ID())
		if why := e.keeps(&rec); why != "" {
			e.settleUp(rec.ID(), kept, why, "")
		} else {
			list = append(list, rec.Clone())
		}
		return true
	})
	if err != nil {
		return nil, fmt.Errorf("read our own events: %w", err)
	}
	for id := range unseen {
		e.settleUp(id, gone, "", "")
	}
	return list, nil
}

// protected reports NIP-70's tag: only the author may publish it elsewhere.
func protected(rec *store.Record) (found bool) {
	rec.Tags(func(name, _ []byte) bool {
		found = string(name) == "-"
		return !found
	})
	return found
}

func tagProtected(tags nostr.Tags) bool {
	return slices.ContainsFunc(tags, func(t nostr.Tag) bool { return len(t) > 0 && t[0] == "-" })
}

// uploads are the events under way to the other relay.
type uploads struct {
	e    *exchange
	open map[string]sending // by hex id; at most inUpload; when full: wait for an OK
}

type sending struct {
	rec   store.Record
	tries int
}

func (u *uploads) send(ctx context.Context, rec store.Record) error {
	for len(u.open) >= inUpload {
		if err := u.await(ctx); err != nil {
			return err
		}
	}
	u.open[string(rec.HexID())] = sending{rec: rec, tries: 1}
	return u.e.r.send(wire.AppendEventMessage(nil, rec.JSON))
}

// await takes one message, an OK most likely.
func (u *uploads) await(ctx context.Context) error {
	one, err := u.e.r.next(ctx, u.e.Silence)
	if err != nil {
		return err
	}
	s, ours := u.open[one.m.ID]
	if one.bad != nil || one.m.Label != "OK" || !ours {
		return nil //nolint:nilerr // what is no answer to us is passed over
	}
	why := prefix(one.m.Text)
	if !one.m.OK && s.tries < maxRetries && (why == "rate-limited" || why == "auth-required" && !u.e.r.authed && u.e.r.awaitAuth(ctx, openWait)) {
		return u.again(ctx, s, why)
	}
	delete(u.open, one.m.ID)
	if one.m.OK {
		u.e.settleUp(s.rec.ID(), moved, "", "")
		return nil
	}
	u.e.settleUp(s.rec.ID(), refused, why, one.m.Text)
	return nil
}

// again sends an event once more, after a pause that doubles.
func (u *uploads) again(ctx context.Context, s sending, why string) error {
	if why == "rate-limited" {
		select {
		case <-time.After(time.Second << (s.tries - 1)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.tries++
	u.open[string(s.rec.HexID())] = s
	return u.e.r.send(wire.AppendEventMessage(nil, s.rec.JSON))
}

// paged walks a relay that does not know NIP-77 from its newest event to its
// oldest.
func (e *exchange) paged(ctx context.Context, f nostr.Filter) error {
	seen := map[store.ID]struct{}{}
	at, stale, asked := f, 0, false
	at.Limit = pageLimit
	for !e.full() {
		p, err := e.page(ctx, at, seen)
		if errors.Is(err, errAuthWanted) && !asked && e.r.awaitAuth(ctx, openWait) {
			asked = true
			continue
		}
		if err != nil {
			return err
		}
		if p.events == 0 || p.hint == wire.Finish {
			break
		}
		until := p.oldest
		if stale++; p.fresh > 0 {
			stale = 0
		}
		if stale > 0 { // the whole page was one second that we have seen
			until--
		}
		if stale > 1 || until < 0 { // it does not heed until
			break
		}
		at.Until = &until
	}
	if e.Direction&Up == 0 || len(seen) >= maxSeen || e.full() {
		return nil
	}
	return e.uploadUnseen(ctx, f, seen)
}

// page is what one REQ of a walk brought.
type page struct {
	events int
	fresh  int // not seen before
	oldest nostr.Timestamp
	hint   wire.Hint
}

func (e *exchange) page(ctx context.Context, f nostr.Filter, seen map[store.ID]struct{}) (p page, err error) {
	sub := e.newSub()
	if err := e.r.send(wire.AppendReq(nil, sub, f)); err != nil {
		return p, err
	}
	for range pageMost {
		one, err := e.r.next(ctx, e.Silence)
		if err != nil {
			return p, err
		}
		m := one.m
		switch {
		case one.bad != nil:
			e.count(func(s *Summary) { s.Unreadable++ })
		case m.Sub != sub:
			e.unasked(m)
		case m.Label == "EVENT":
			e.paging(&p, f, m, seen)
		case m.Label == "EOSE":
			p.hint = m.Hint
			return p, e.r.send(wire.AppendClose(nil, sub))
		case m.Label == "CLOSED" && prefix(m.Text) == "auth-required":
			return p, errAuthWanted
		case m.Label == "CLOSED":
			return p, fmt.Errorf("%s ended the query: %s", e.r.url, m.Text)
		}
	}
	return p, fmt.Errorf("%s does not end a page of %d events: more than %d messages came", e.r.url, pageLimit, pageMost)
}

// paging takes one event of a page. What the page does not ask for is no part
// of it, or a relay that does not heed until would be walked for ever.
func (e *exchange) paging(p *page, asked nostr.Filter, m wire.ServerMessage, seen map[store.ID]struct{}) {
	id, err := store.ParseID(m.Event.ID)
	if err != nil || !asked.Matches(m.Event) {
		e.unasked(m)
		return
	}
	if p.events == 0 || m.Event.CreatedAt < p.oldest {
		p.oldest = m.Event.CreatedAt
	}
	p.events++
	if _, again := seen[id]; again {
		return
	}
	p.fresh++
	if len(seen) < maxSeen {
		seen[id] = struct{}{}
	}
	if e.Direction&Down != 0 {
		e.count(func(s *Summary) { s.Need += e.down.unknown([]store.ID{id}) })
		e.publish(id, m)
	}
}

// uploadUnseen sends what the other relay did not show us.
func (e *exchange) uploadUnseen(ctx context.Context, f nostr.Filter, seen map[store.ID]struct{}) error {
	e.taking.Wait()
	var have []store.ID
	for rec, err := range e.Local.Query(ctx, f) {
		if err != nil {
			return fmt.Errorf("read our own events: %w", err)
		}
		id := rec.ID()
		if _, there := seen[id]; !there && e.mayLeave(&rec) {
			have = append(have, id)
		}
	}
	have, _ = e.todo(have, nil)
	e.count(func(s *Summary) { s.Have += e.up.unknown(have) })
	return e.upload(ctx, have)
}

// negError reads the reason of a NEG-ERR.
func negError(text string) error {
	low := strings.ToLower(text)
	switch {
	case prefix(low) == "auth-required":
		return errAuthWanted
	case prefix(low) == "blocked", strings.Contains(low, "too many"), strings.Contains(low, "too big"), strings.Contains(low, "results_too_big"):
		return errTooManyThere
	case prefix(low) == "closed", prefix(low) == "error", prefix(low) == "unsupported":
		return errNoNegentropy
	}
	return fmt.Errorf("the relay says %q", text)
}

// aboutNegentropy reports whether a NOTICE that follows our NEG-OPEN says that
// the relay does not understand it.
func aboutNegentropy(text string) bool {
	low := strings.ToLower(text)
	for _, word := range []string{"neg", "unknown", "unrecogni", "unsupported", "invalid", "bad m", "not implemented", "could not parse", "failed to parse", "cmd"} {
		if strings.Contains(low, word) {
			return true
		}
	}
	return false
}
