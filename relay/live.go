package relay

import (
	"context"
	"fmt"
	"sync"
	"time"

	"agora/relay/store"
)

// dispatcher hands new events to the subscriptions that want them. It follows
// the log by position; what a connection cannot take now, its answerer reads
// from the log later.
type dispatcher struct {
	r *Relay

	mu    sync.RWMutex // guards what follows
	index index
	at    store.Pos // handed out up to here

	spare sync.Pool // *handing, for events that are not kept
}

// flushEvery bounds how many events are handed out before the sockets get
// them, so that a burst does not fill outboxes that could have been emptied.
const flushEvery = 32 // events

// run follows the log until ctx ends.
func (d *dispatcher) run(ctx context.Context) error {
	var h handing
	for {
		if err := d.r.log.Wait(ctx, d.at); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("follow the log: %w", err)
		}
		n := 0
		for c, err := range d.r.log.Changes(ctx, d.at) {
			if err != nil {
				if ctx.Err() != nil {
					return nil
				}
				return fmt.Errorf("follow the log: %w", err)
			}
			d.change(&h, &c)
			if n++; n%flushEvery == 0 {
				h.flush()
			}
		}
		h.flush()
	}
}

// change hands out one step of the log. The position moves first: whoever
// rejoins from now on has either read this step or is refused.
func (d *dispatcher) change(h *handing, c *store.Change) {
	d.mu.Lock()
	d.at = c.Pos
	var wants []*sub
	if c.Removed == nil {
		wants = d.index.find(&h.found, &c.Record)
	}
	d.mu.Unlock()
	h.now = c.Pos >= d.r.log.Head()
	d.hand(h, wants, &c.Record, c.Pos)
}

// passing hands out an event that is not kept. It reports whether anybody
// listened.
func (d *dispatcher) passing(rec *store.Record) (heard bool) {
	h, _ := d.spare.Get().(*handing)
	if h == nil {
		h = &handing{now: true}
	}
	d.mu.RLock()
	wants := d.index.find(&h.found, rec)
	d.mu.RUnlock()
	heard = d.hand(h, wants, rec, 0)
	h.flush()
	d.spare.Put(h)
	return heard
}

// handing is one round of handing out: what it reuses from event to event,
// and whose outboxes it has to flush.
type handing struct {
	now   bool // no further event follows at once: send, do not gather
	found finding
	body  body
	frame []byte
	dirty []*session
}

// hand gives rec to all who want it. pos 0 means that the log does not hold
// it.
func (d *dispatcher) hand(h *handing, wants []*sub, rec *store.Record, pos store.Pos) (heard bool) {
	if len(wants) == 0 {
		return false
	}
	h.body.reset(rec.JSON)
	now := time.Now().Unix()
	for _, sb := range wants {
		if !d.r.visible(rec, sb.s.viewer(), now) {
			continue
		}
		heard = true
		if sb.s.push(h, sb, pos) {
			h.dirty = append(h.dirty, sb.s)
		}
	}
	return heard
}

func (h *handing) flush() {
	for i, s := range h.dirty {
		s.flush()
		h.dirty[i] = nil
	}
	h.dirty = h.dirty[:0]
}

// push gives one event to sb: to its socket when nothing waits there, else to
// the outbox. True means that the caller is to flush the session.
func (s *session) push(h *handing, sb *sub, pos store.Pos) (mine bool) {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	if s.link.closed || sb.gone || pos != 0 && (sb.behind || pos <= sb.at) {
		return false
	}
	if h.now && s.clear() {
		h.frame = s.mem.appendShared(h.frame[:0], sb.head, &h.body, s.deflated)
		s.sendLocked(h.frame)
		s.r.metrics.delivered.Inc()
		return false
	}
	if !s.room(len(sb.head) + len(h.body.plain)) {
		s.fallBehind(sb, pos)
		return false
	}
	box := s.box()
	*box = s.mem.appendShared(*box, sb.head, &h.body, s.deflated)
	s.frames++
	s.r.metrics.delivered.Inc()
	mine, s.queued = !s.queued, true
	return mine
}

// fallBehind leaves what sb cannot be given now to the log; what the log does
// not hold is dropped. Called with link.mu held.
func (s *session) fallBehind(sb *sub, pos store.Pos) {
	if pos == 0 {
		s.r.metrics.dropped.Inc()
		return
	}
	sb.behind, sb.at = true, pos-1
	s.lagging = append(s.lagging, sb)
	s.r.metrics.lagging.Inc()
	s.poke()
}

// add enters a subscription that is still behind: events that the log does
// not keep reach it at once.
func (d *dispatcher) add(sb *sub) {
	filters := sb.liveFilters()
	d.mu.Lock()
	defer d.mu.Unlock()
	if sb.ctx.Err() == nil { // else remove has come first
		d.index.add(sb, filters)
	}
}

// remove forgets a subscription.
func (d *dispatcher) remove(sb *sub) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.index.remove(sb)
}

// rejoin puts a subscription live that has been sent everything up to at. It
// is refused when the dispatcher is already further: read on, then ask again.
func (d *dispatcher) rejoin(sb *sub, at store.Pos) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.at > at {
		return false
	}
	sb.s.link.mu.Lock()
	sb.behind, sb.at = false, at
	sb.s.link.mu.Unlock()
	return true
}
