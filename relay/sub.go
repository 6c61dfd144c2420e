package relay

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"time"

	"agora/relay/admit"
	"agora/relay/store"
	"agora/relay/wire"

	"github.com/nbd-wtf/go-nostr"
)

// sub is one open subscription.
type sub struct {
	s       *session
	id      string
	head    []byte // ["EVENT","id", as it goes before each record
	filters []nostr.Filter
	ctx     context.Context
	cancel  context.CancelFunc
	still   []int // filters that speak of no event to come; owned by the answerer

	// Guarded by s.link.mu.
	gone   bool      // closed or replaced: nothing more is sent
	behind bool      // live events are not pushed: the answerer reads them from the log, after at
	at     store.Pos // everything up to here was sent or did not match
}

// req opens a subscription and queues its question.
func (s *session) req(m wire.Message, lim *limits) {
	if s.spend(queryRate, 1) > 0 {
		s.later(wire.AppendClosed(nil, m.Sub, refusal(admit.RateLimited, "too many questions, slow down")))
		return
	}
	sb := &sub{s: s, id: m.Sub, filters: m.Filters, behind: true}

	sb.head = bytes.TrimSuffix(wire.AppendEventFrame(nil, m.Sub, nil), []byte("]"))
	sb.ctx, sb.cancel = context.WithCancel(s.ctx)
	s.closeSub(m.Sub)
	if text := s.openSub(sb, lim); text != "" {
		sb.cancel()
		s.later(wire.AppendClosed(nil, m.Sub, text))
		return
	}
	s.fifo.push(&job{sub: sb})
	s.pokeAnswerer()
}

// openSub enters a subscription in the books; a text refuses it.
func (s *session) openSub(sb *sub, lim *limits) string {
	s.subMu.Lock()
	defer s.subMu.Unlock()
	if len(s.subs) >= lim.MaxSubscriptions {
		return refusal(admit.Blocked, fmt.Sprintf("at most %d subscriptions per connection: close one first", lim.MaxSubscriptions))
	}
	if !s.place.openSub(lim.Budget.IPSubscriptions, s.exempt) {
		return refusal(admit.RateLimited, "too many open subscriptions from your address")
	}
	if s.subs == nil {
		s.subs = make(map[string]*sub)
	}
	s.subs[sb.id] = sb
	s.r.metrics.subscriptions.Inc()
	return ""
}

// closeSub ends the subscription of that id at once, its running question
// included. Unknown ids are no error.
func (s *session) closeSub(id string) {
	s.subMu.Lock()
	sb := s.subs[id]
	delete(s.subs, id)
	s.subMu.Unlock()
	if sb != nil {
		s.forget(sb)
	}
}

// drop ends sb from our side, unless another has taken its id by now.
func (s *session) drop(sb *sub) {
	s.subMu.Lock()
	if s.subs[sb.id] == sb {
		delete(s.subs, sb.id)
	} else {
		sb = nil
	}
	s.subMu.Unlock()
	if sb != nil {
		s.forget(sb)
	}
}

func (s *session) forget(sb *sub) {
	sb.cancel()
	s.link.mu.Lock()
	sb.gone = true
	s.link.mu.Unlock()
	s.r.live.remove(sb)
	s.place.closeSub()
	s.r.metrics.subscriptions.Dec()
}

// closeAllSubs ends all.
func (s *session) closeAllSubs() {
	s.subMu.Lock()
	all := s.subs
	s.subs = nil
	s.subMu.Unlock()
	for _, sb := range all {
		s.forget(sb)
	}
}

// ended reports whether the subscription was closed or replaced, or its
// connection is gone.
func (sb *sub) ended() bool { return sb.ctx.Err() != nil }

// answerReq answers a REQ: what is stored, EOSE, and from then on what comes.
func (s *session) answerReq(sb *sub) error {
	if sb.ctx.Err() != nil { // closed or replaced while it waited
		return s.ctx.Err()
	}
	lim := s.r.limits()
	if p, text := s.r.mayAsk(sb.filters, s.viewer(), lim); p != "" {
		s.drop(sb)
		return s.closed(sb.id, p, text)
	}
	at := s.r.log.Head()
	s.r.live.add(sb)
	a := &asking{s: s, sub: sb, lim: lim, head: at}
	hint, err := a.run()
	switch {
	case a.broken != nil || sb.ended():
		return a.broken
	case err != nil:
		s.drop(sb)
		return s.closedFor(sb.id, err)
	}
	if len(a.still) > 0 {
		sb.still = a.still
		s.r.live.remove(sb)
		s.r.live.add(sb)
	}
	if err := s.tell(wire.AppendEOSE(nil, sb.id, hint)); err != nil {
		return err
	}
	return s.catchUp(sb, at)
}

// closedFor says why a question could not be answered.
func (s *session) closedFor(sub string, err error) error {
	if no := new(notAnswered); asNotAnswered(err, &no) {
		return s.closed(sub, no.prefix, no.text)
	}
	reply := s.r.failed("query", sub, err)
	return s.tell(wire.AppendClosed(nil, sub, reply.Reason))
}

// catchUpAll lets every subscription that fell behind catch up.
func (s *session) catchUpAll() error {
	s.link.mu.Lock()
	lagging := s.lagging
	s.lagging = nil
	s.link.mu.Unlock()
	for _, sb := range lagging {
		if err := s.catchUp(sb, sb.at); err != nil {
			return err
		}
	}
	return nil
}

// catchUp sends what the log holds after at, and puts the subscription live
// where the log ends: no gap and no repeat.
func (s *session) catchUp(sb *sub, at store.Pos) error {
	live := sb.liveFilters()
	for !s.r.live.rejoin(sb, at) {
		var err error
		if at, err = s.replay(sb, live, at); err != nil {
			return err
		}
		if sb.ctx.Err() != nil {
			return s.ctx.Err()
		}
	}
	return nil
}

// replay sends one page of matching changes after at, and returns how far it
// came.
func (s *session) replay(sb *sub, live []nostr.Filter, at store.Pos) (store.Pos, error) {
	buf := s.mem.pages.take()
	defer s.mem.pages.give(buf)
	began := time.Now()
	for c, err := range s.r.log.Changes(sb.ctx, at) {
		if err != nil && sb.ctx.Err() != nil {
			break
		}
		if err != nil {
			s.drop(sb)
			return at, s.closedFor(sb.id, err)
		}
		at = c.Pos
		if c.Removed == nil && matchesAny(live, &c.Record) && s.r.visible(&c.Record, s.viewer(), began.Unix()) {
			*buf = s.appendEvent(*buf, sb, c.Record.JSON)
		}
		if len(*buf) >= pageSize {
			break
		}
	}
	return at, s.send(buf)
}

func matchesAny(filters []nostr.Filter, rec *store.Record) bool {
	return slices.ContainsFunc(filters, rec.Match)
}

// liveFilters are those that speak of events to come: a search does not, and
// neither does a filter that nothing can match.
func (sb *sub) liveFilters() []nostr.Filter {
	live := make([]nostr.Filter, 0, len(sb.filters))
	for i, f := range sb.filters {
		if f.Search == "" && !slices.Contains(sb.still, i) {
			live = append(live, f)
		}
	}
	return live
}

// appendEvent appends the frame that carries one record to sb.
func (s *session) appendEvent(dst []byte, sb *sub, record []byte) []byte {
	if s.deflated && len(record) >= deflateFrom {
		buf := s.mem.slips.take()
		*buf = append(append(append(*buf, sb.head...), record...), ']')
		dst = s.mem.appendDeflated(dst, nil, *buf)
		s.mem.slips.give(buf)
		return dst
	}
	dst = appendHeader(dst, opText, len(sb.head)+len(record)+1)
	dst = append(append(dst, sb.head...), record...)
	return append(dst, ']')
}
