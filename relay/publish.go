package relay

import (
	"context"
	"fmt"
	"runtime"

	"agora/relay/admit"
	"agora/relay/lowhex"
	"agora/relay/store"
	"agora/relay/wire"

	"github.com/nbd-wtf/go-nostr"
)

// Reply is what came of an event.
type Reply struct {
	OK      bool
	Reason  string        // "prefix: text"; may be empty when OK
	Outcome store.Outcome // 0: it never got to the store
}

// submission is one event on its way in.
type submission struct {
	ctx    context.Context
	ev     *nostr.Event
	record []byte
	id     store.ID
	from   admit.Peer
	parsed bool // by wire, from text: its fields have the right shape
	done   func(Reply, error)
}

// Publish takes in one event and returns when it is durable or refused. It is,
// with Submit, the only way in. record is the canonical form of ev, nil if the
// caller has none. A refusal is an answer; an error means that we could not
// tell and nothing is stored.
func (r *Relay) Publish(ctx context.Context, ev *nostr.Event, record []byte, from admit.Peer) (Reply, error) {
	type answer struct {
		reply Reply
		err   error
	}
	came := make(chan answer, 1) // the one answer
	err := r.Submit(ctx, ev, record, from, func(reply Reply, err error) { came <- answer{reply, err} })
	if err != nil {
		return Reply{}, err
	}
	select {
	case a := <-came:
		return a.reply, a.err
	case <-ctx.Done():
		return Reply{}, fmt.Errorf("publish %s: %w", ev.ID, ctx.Err())
	}
}

// Submit is Publish without waiting, for callers with many events in flight.
// It waits only while all verifiers are busy. done is called once, unless
// Submit returns an error, on a goroutine that must not be held up.
func (r *Relay) Submit(ctx context.Context, ev *nostr.Event, record []byte, from admit.Peer, done func(Reply, error)) error {
	if record == nil {
		record = wire.AppendEvent(nil, ev)
	}
	return r.submit(&submission{ctx: ctx, ev: ev, record: record, from: from, done: done})
}

func (r *Relay) submit(s *submission) error {
	select {
	case r.verify <- s:
		if r.work.Err() != nil {
			r.refuseWaiting() // the verifiers may have gone before it came
		}
		return nil
	case <-s.ctx.Done():
		return fmt.Errorf("publish %s: %w", s.ev.ID, s.ctx.Err())
	case <-r.work.Done():
		return store.ErrClosed
	}
}

// mayExamine lets a caller examine one event itself while fewer are examined
// than there are processors. Who may takes one off examining when done.
func (r *Relay) mayExamine() bool {
	if len(r.verify) > 0 {
		return false
	}
	if r.examining.Add(1) <= int32(runtime.GOMAXPROCS(0)) {
		return true
	}
	r.examining.Add(-1)
	return false
}

// Coming is how many events are being examined or wait for it: most of them
// are about to go to the log.
func (r *Relay) Coming() int { return len(r.verify) + int(r.examining.Load()) }

// verifier examines what is submitted until ctx ends.
func (r *Relay) verifier(ctx context.Context) {
	for {
		select {
		case s := <-r.verify:
			r.examining.Add(1)
			r.examine(s)
			r.examining.Add(-1)
		case <-ctx.Done():
			r.refuseWaiting()
			return
		}
	}
}

// refuseWaiting answers those who came too late.
func (r *Relay) refuseWaiting() {
	for {
		select {
		case s := <-r.verify:
			s.done(Reply{}, store.ErrClosed)
		default:
			return
		}
	}
}

// examine takes one submission through the door: id, duplicate, signature,
// gates, log. What a gate has to wait for does not hold up a verifier.
func (r *Relay) examine(s *submission) {
	if reply, ended, err := r.identify(s); ended || err != nil {
		r.settle(s, reply, err)
		return
	}
	if !r.gatesWait(s) {
		r.decide(s)
		return
	}
	select {
	case r.waiting <- struct{}{}:
		r.waiters.Go(func() {
			r.decide(s)
			<-r.waiting
		})
	default:
		r.decide(s)
	}
}

// decide asks the gates and hands in to the log.
func (r *Relay) decide(s *submission) {
	reply, entry, err := r.door(s)
	if err != nil || entry == nil {
		r.settle(s, reply, err)
		return
	}
	err = r.log.Submit(s.ctx, *entry, func(res store.Result, err error) {
		if err != nil {
			r.settle(s, Reply{}, fmt.Errorf("store %s: %w", s.ev.ID, err))
			return
		}
		r.settle(s, replyTo(res.Outcome), nil)
	})
	if err != nil {
		r.settle(s, Reply{}, fmt.Errorf("store %s: %w", s.ev.ID, err))
	}
}

// settle gives the answer.
func (r *Relay) settle(s *submission, reply Reply, err error) {
	r.metrics.published(s.from.Origin, reply, err)
	s.done(reply, err)
}

// identify sees that the event is what it says, and new. ended says that reply
// is the answer.
func (r *Relay) identify(s *submission) (reply Reply, ended bool, err error) {
	if text := misshapen(s); text != "" {
		return deny(admit.Invalid, text), true, nil
	}
	if !lowhex.Decode(s.id[:], s.ev.ID) || !wire.CheckID(s.ev) {
		return deny(admit.Invalid, "the id is not the hash of the event"), true, nil
	}
	if !nostr.IsEphemeralKind(s.ev.Kind) {
		held, err := r.log.Has(s.id)
		if err != nil {
			return Reply{}, false, fmt.Errorf("look for %s: %w", s.ev.ID, err)
		}
		if held {
			return replyTo(store.Duplicate), true, nil
		}
	}
	if !r.keys.CheckSignature(s.ev) {
		return deny(admit.Invalid, "the signature is wrong"), true, nil
	}
	return Reply{}, false, nil
}

// door answers what the gates and this relay's own services can answer without
// the store; an entry goes on to it.
func (r *Relay) door(s *submission) (reply Reply, entry *store.Entry, err error) {
	ruling, err := r.rule(s)
	if err != nil {
		return Reply{}, nil, err
	}
	if ruling.Refusal != nil {
		return Reply{Reason: ruling.Refusal.String()}, nil, nil
	}
	if r.manage != nil && r.manage.Answers(s.ev.Kind) {
		ok, text, err := r.manage.Answer(s.ctx, s.ev)
		return Reply{OK: ok, Reason: text}, nil, err
	}
	if nostr.IsEphemeralKind(s.ev.Kind) {
		return r.pass(s), nil, nil
	}
	return Reply{}, &store.Entry{
		Event: s.ev, JSON: s.record, Claims: ruling.Claims, Labels: ruling.Labels,
		Vanish: s.ev.Kind == kindVanish && r.meansUs(s.ev),
	}, nil
}

// misshapen says what is wrong with an event's fixed fields. wire has looked at
// those that came as text; others come as they are.
func misshapen(s *submission) string {
	ev := s.ev
	switch {
	case s.parsed:
		return ""
	case !lowhex.Is(ev.ID, 64):
		return "the id is not 64 lower-case hex digits"
	case !lowhex.Is(ev.PubKey, 64):
		return "the pubkey is not 64 lower-case hex digits"
	case !lowhex.Is(ev.Sig, 128):
		return "the signature is not 128 lower-case hex digits"
	case ev.Kind < 0 || ev.Kind > 65535:
		return "the kind is not between 0 and 65535"
	case ev.CreatedAt < 0:
		return "created_at is negative"
	}
	return ""
}

// pass hands an ephemeral event to those who listen now; nobody keeps it.
func (r *Relay) pass(s *submission) Reply {
	rec, err := store.ParseRecord(s.record)
	if err != nil {
		return deny(admit.Invalid, "the event is not well formed")
	}
	if !r.live.passing(&rec) {
		return Reply{OK: true, Reason: refusal(admit.Mute, "nobody was listening")}
	}
	return Reply{OK: true}
}

func deny(p admit.Prefix, text string) Reply { return Reply{Reason: refusal(p, text)} }

// replyTo puts the store's outcome in words.
func replyTo(o store.Outcome) Reply {
	reply := Reply{Outcome: o}
	switch o {
	case store.Stored:
		reply.OK = true
	case store.Duplicate:
		reply.OK, reply.Reason = true, refusal(admit.Duplicate, "already have this event")
	case store.Older:
		reply.OK, reply.Reason = true, refusal(admit.Duplicate, "a newer version of this event is held")
	case store.Deleted:
		reply.Reason = refusal(admit.Blocked, "this event was deleted")
	case store.Vanished:
		reply.Reason = refusal(admit.Blocked, "its author has asked to vanish from here")
	case store.Expired:
		reply.Reason = refusal(admit.Invalid, "this event has expired")
	case store.Claimed:
		reply.Reason = refusal(admit.Duplicate, "not counted: this has been done already, and as often as it may be")
	default:
		reply.Reason = refusal(admit.Error, "could not store this")
	}
	return reply
}
