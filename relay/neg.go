package relay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"agora/relay/admit"
	"agora/relay/store"
	"agora/relay/wire"

	"github.com/nbd-wtf/go-nostr"
)

// Bounds of NIP-77. A set kept ready costs a negotiation two blocks of 1,024
// keys; any other is gathered in memory, 40 bytes an event.
const (
	negPerSession = 8               // negotiations open at once on one connection; one more is refused
	negTotalKeys  = 1_000_000       // events gathered for all open negotiations together; more is refused
	negGather     = 2 * time.Second // to gather one set
	negWork       = 30 * time.Second
	negFrame      = 128 << 10 // bytes of a frame of ours, two hex digits each on the wire
	negAtOnce     = 2         // sets gathered at the same time; others wait
)

// labelNegIdle is what a timer asks the answerer: close this one if it is
// idle. No client can say it, wire.Parse knows no such label.
const labelNegIdle = "NEG-IDLE"

// negBook is what the negotiations of all sessions share.
type negBook struct {
	keys      atomic.Int64  // gathered and still held
	gathering chan struct{} // negAtOnce tokens; when all are out: wait
}

func newNegBook() *negBook { return &negBook{gathering: make(chan struct{}, negAtOnce)} }

// negState is what a session holds of its open negotiations, by id; these ids
// live apart from those of subscriptions.
type negState map[string]*negotiation

// negotiation is one open reconciliation.
type negotiation struct {
	set   wire.NegSet
	spent time.Duration // work done for its frames, at most negWork
	last  time.Time     // of the last frame
	idle  *time.Timer
	free  func()      // gives back what is held for it; safe to call again
	leave func() bool // takes free off the session's end
}

// readySets is a log that keeps fingerprints of some sets; *store.Store does.
type readySets interface {
	ReadySet(f nostr.Filter) (*store.Set, error)
}

// neg answers NEG-OPEN, NEG-MSG and NEG-CLOSE. It runs in the answerer:
// one at a time per session, in the order of asking.
func (s *session) neg(ctx context.Context, m wire.Message) error {
	n := s.negs[m.Sub]
	switch m.Label {
	case "NEG-OPEN":
		s.negClose(m.Sub)
		return s.negOpen(ctx, m)
	case "NEG-MSG":
		if n == nil {
			s.strays.Add(1)
			return s.negErr(m.Sub, "closed: no negotiation of this id is open")
		}
		return s.negAnswer(ctx, n, m)
	case labelNegIdle:
		if n != nil && time.Since(n.last) >= s.r.limits().NegentropyIdle {
			s.negClose(m.Sub)
			return s.negErr(m.Sub, "closed: no frame came for too long")
		}
		return nil
	}
	s.negClose(m.Sub)
	return nil
}

func (s *session) negClose(id string) {
	if n := s.negs[id]; n != nil {
		n.leave()
		n.free()
		delete(s.negs, id)
	}
}

func (s *session) negErr(id, reason string) error {
	return s.tell(wire.AppendNegErr(nil, id, reason, 0))
}

func (s *session) negRefuse(id string, p admit.Prefix, text string) error {
	if p == admit.AuthRequired {
		if err := s.tell(wire.AppendAuth(nil, s.challenge)); err != nil {
			return err
		}
	}
	return s.negErr(id, refusal(p, text))
}

func (s *session) negOpen(ctx context.Context, m wire.Message) error {
	lim := s.r.limits()
	if !s.r.negentropy() {
		return s.negRefuse(m.Sub, admit.Unsupported, "this relay does not reconcile, ask by REQ")
	}
	if len(s.negs) >= negPerSession {
		return s.negRefuse(m.Sub, admit.Blocked, fmt.Sprintf("at most %d negotiations per connection: close one first", negPerSession))
	}
	if p, text := s.r.mayAsk(m.Filters, s.viewer(), lim); p != "" {
		return s.negRefuse(m.Sub, p, text)
	}
	if m.Filters[0].Search != "" {
		return s.negRefuse(m.Sub, admit.Unsupported, "a search cannot be reconciled")
	}
	if !s.place.openSub(lim.Budget.IPSubscriptions, s.exempt) {
		return s.negRefuse(m.Sub, admit.RateLimited, "too many open subscriptions from your address")
	}
	set, held, err := s.negSet(ctx, m.Filters[0], lim)
	if err != nil {
		s.place.closeSub()
		return s.negFailed(m.Sub, err, lim)
	}
	n := &negotiation{set: set}
	n.idle = time.AfterFunc(lim.NegentropyIdle, func() {
		s.fifo.push(&job{m: wire.Message{Label: labelNegIdle, Sub: m.Sub}})
		s.pokeAnswerer()
	})
	n.free = sync.OnceFunc(func() {
		n.idle.Stop()
		s.place.closeSub()
		s.r.negs.keys.Add(-int64(held))
	})
	n.leave = context.AfterFunc(s.ctx, n.free)
	if s.negs == nil {
		s.negs = negState{}
	}
	s.negs[m.Sub] = n
	return s.negAnswer(ctx, n, m)
}

// negAnswer answers one frame.
func (s *session) negAnswer(ctx context.Context, n *negotiation, m wire.Message) error {
	began := time.Now()
	work, done := context.WithTimeout(ctx, negWork-n.spent)
	frame, err := (&wire.Reconciler{Set: n.set, Frame: negFrame}).Answer(work, m.Neg)
	done()
	n.last = time.Now()
	n.spent += n.last.Sub(began)
	n.idle.Reset(s.r.limits().NegentropyIdle)
	if err != nil || n.spent >= negWork {
		s.negClose(m.Sub)
	}
	switch {
	case err == nil:
		return s.tell(wire.AppendNegMsg(nil, m.Sub, frame))
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, wire.ErrNegFrame):
		return s.negRefuse(m.Sub, admit.Invalid, err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return s.negErr(m.Sub, "closed: this negotiation has used up its time")
	}
	return s.negFailed(m.Sub, err, s.r.limits())
}

// Why a set is not gathered.
var (
	errNegTooMany = errors.New("too many events to reconcile")
	errNegCrowded = errors.New("too many events are being reconciled already")
)

func (s *session) negFailed(id string, err error, lim *limits) error {
	const advice = "narrow the filter by time, author or kind"
	switch {
	case s.ctx.Err() != nil:
		return s.ctx.Err()
	case errors.Is(err, errNegTooMany):
		text := refusal(admit.Blocked, "too many records for a filter that is not kept ready: "+advice)
		return s.tell(wire.AppendNegErr(nil, id, text, int64(lim.MaxNegentropy)))
	case errors.Is(err, errNegCrowded):
		return s.negRefuse(id, admit.Blocked, "too many negotiations are open here, try again later")
	}
	return s.negErr(id, s.r.failed("reconcile", id, err).Reason)
}

// negSet is what the viewer may see of the filter's events, and how many keys
// it holds in memory.
func (s *session) negSet(ctx context.Context, f nostr.Filter, lim *limits) (set wire.NegSet, held int, err error) {
	if log, ok := s.r.log.(readySets); ok {
		ready, err := log.ReadySet(f)
		if err != nil {
			return nil, 0, fmt.Errorf("open the set of %s: %w", f, err)
		}
		if ready != nil {
			return &visibleSet{Set: ready, s: s}, 0, nil
		}
	}
	keys, err := s.negKeys(ctx, f, lim.MaxNegentropy)
	if err != nil {
		return nil, 0, err
	}
	held = len(keys)
	if s.r.negs.keys.Add(int64(held)) > negTotalKeys && held > 0 {
		s.r.negs.keys.Add(-int64(held))
		return nil, 0, errNegCrowded
	}
	return wire.NewNegVector(keys), held, nil
}

// negKeys gathers the keys of the events that match f and may be seen, most at
// the most.
func (s *session) negKeys(ctx context.Context, f nostr.Filter, most int) ([]wire.NegKey, error) {
	select {
	case s.r.negs.gathering <- struct{}{}:
		defer func() { <-s.r.negs.gathering }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	work, done := context.WithTimeout(ctx, negGather)
	defer done()
	var keys []wire.NegKey
	now, v := time.Now().Unix(), s.viewer()
	for rec, err := range s.r.log.QueryAt(work, s.r.log.Head(), f) {
		if work.Err() != nil && ctx.Err() == nil {
			return nil, errNegTooMany
		}
		if err != nil {
			return nil, fmt.Errorf("gather %s: %w", f, err)
		}
		if !s.r.visible(&rec, v, now) {
			continue
		}
		if len(keys) == most {
			return nil, errNegTooMany
		}
		keys = append(keys, wire.NegKeyOf(rec.CreatedAt(), rec.ID()))
	}
	return slices.Clip(keys), nil
}

// visibleSet names only events that the viewer may see. Its sums speak of the
// set as it is kept ready, which leaves out the kinds nobody may see: what else
// is hidden, such as a banned author's events, makes a range differ for good
// but is never named.
type visibleSet struct {
	*store.Set
	s *session
}

// Keys implements wire.NegSet.
func (v *visibleSet) Keys(ctx context.Context, lo, hi wire.NegKey, limit int) ([]wire.NegKey, error) {
	var seen []wire.NegKey
	for len(seen) < limit {
		want := limit - len(seen)
		part, err := v.Set.Keys(ctx, lo, hi, want)
		if err != nil {
			return nil, err
		}
		if seen, err = v.appendVisible(ctx, seen, part); err != nil {
			return nil, err
		}
		if len(part) < want {
			break
		}
		lo = wire.NegAfter(part[len(part)-1])
	}
	return seen, nil
}

func (v *visibleSet) appendVisible(ctx context.Context, seen, part []wire.NegKey) ([]wire.NegKey, error) {
	ids := make([]store.ID, len(part))
	for i, k := range part {
		ids[i] = store.ID(k[8:])
	}
	now, who := time.Now().Unix(), v.s.viewer()
	err := v.s.r.log.Lookup(ctx, ids, func(rec store.Record) bool {
		id := rec.ID()
		for !bytes.Equal(part[0][8:], id[:]) { // gone since
			part = part[1:]
		}
		if v.s.r.visible(&rec, who, now) {
			seen = append(seen, part[0])
		}
		part = part[1:]
		return true
	})
	return seen, err
}

// negentropy reports whether NIP-77 is spoken here.
func (r *Relay) negentropy() bool { return r.limits().MaxNegentropy > 0 }
