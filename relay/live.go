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

	mu    sync.RWMutex // guards what follows; held for reading while one event is handed out
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

// change hands out one step of the log.
func (d *dispatcher) change(h *handing, c *store.Change) {
	d.mu.RLock()
	if c.Removed == nil {
		d.hand(h, &c.Record, c.Pos)
	}
	d.mu.RUnlock()
	d.mu.Lock()
	d.at = c.Pos
	d.mu.Unlock()
}

// passing hands out an event that is not kept. It reports whether anybody
// listened.
func (d *dispatcher) passing(rec *store.Record) (heard bool) {
	h, _ := d.spare.Get().(*handing)
	if h == nil {
		h = new(handing)
	}
	d.mu.RLock()
	heard = d.hand(h, rec, 0)
	d.mu.RUnlock()
	h.flush()
	d.spare.Put(h)
	return heard
}

// handing is one round of handing out: what it reuses from event to event,
// and whose outboxes it has to flush.
type handing struct {
	found finding
	body  body
	dirty []*session
}

// hand puts rec into the outboxes of all who want it. pos 0 means that the
// log does not hold it. Called with mu held for reading.
func (d *dispatcher) hand(h *handing, rec *store.Record, pos store.Pos) (heard bool) {
	wants := d.index.find(&h.found, rec)
	if len(wants) == 0 {
		return false
	}
	h.body.reset(rec.JSON)
	now := time.Now().Unix()
	for _, sb := range wants {
		s := sb.s
		if !d.r.visible(rec, s.viewer(), now) {
			continue
		}
		heard = true
		if s.push(sb, &h.body, pos) {
			h.dirty = append(h.dirty, s)
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

// push puts one event into the outbox for sb. True means that the caller is
// to flush the session.
func (s *session) push(sb *sub, b *body, pos store.Pos) (mine bool) {
	s.link.mu.Lock()
	defer s.link.mu.Unlock()
	if s.link.closed || sb.gone || pos != 0 && (sb.behind || pos <= sb.at) {
		return false
	}
	n := len(sb.head) + len(b.plain)
	if !s.room(n) {
		if pos == 0 {
			s.r.metrics.dropped.Inc()
			return false
		}
		sb.behind, sb.at = true, pos-1
		s.lagging = append(s.lagging, sb)
		s.r.metrics.lagging.Inc()
		s.poke()
		return false
	}
	box := s.box()
	*box = s.mem.appendShared(*box, sb.head, b, s.deflated)
	s.frames++
	s.r.metrics.delivered.Inc()
	mine, s.queued = !s.queued, true
	return mine
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
