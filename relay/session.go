package relay

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"agora/relay/admit"
	"agora/relay/wire"

	"github.com/gorilla/websocket"
)

// session is one connection: a reader that parses and hands out, and an
// answerer that answers in the order of asking.
type session struct {
	*link
	r      *Relay
	ws     *websocket.Conn // owned by the reader
	ctx    context.Context // ends when the reader does
	cancel context.CancelFunc

	door      Door
	ip        netip.Addr
	host      string // as the client named us; used when no public URL is set
	exempt    bool   // from rates
	challenge string
	place     *place  // its address's shared account
	mine      account // owned by the reader

	authed atomic.Pointer[[]string] // hex keys that have proven themselves; never changed in place

	draining atomic.Bool // the relay is closing down: read nothing more

	wake chan struct{} // pokes for the answerer; when full: one is already waiting
	fifo fifo

	subMu sync.Mutex // guards subs
	subs  map[string]*sub

	lagging []*sub // to be caught up by the answerer; guarded by link.mu

	negs   negState     // owned by the answerer
	strays atomic.Int64 // frames of no negotiation, answered and not yet paid for
}

// viewer is who reads: the keys this connection has authenticated.
func (s *session) viewer() viewer {
	if keys := s.authed.Load(); keys != nil {
		return *keys
	}
	return nil
}

// peer is who publishes.
func (s *session) peer() admit.Peer {
	return admit.Peer{Origin: admit.Socket, IP: s.ip, Authed: s.viewer()}
}

// read is the reader: it returns when the connection is gone or misbehaves,
// with the close code for the client.
func (s *session) read() (code int, reason string) {
	for !s.draining.Load() {
		if !s.awaitRoom() {
			return websocket.CloseGoingAway, ""
		}
		if code, reason := s.next(); code != 0 {
			return code, reason
		}
	}
	return 0, ""
}

// awaitRoom waits until the answerer has caught up, and for the bytes budget.
// While it waits, the socket is not read.
func (s *session) awaitRoom() bool {
	if wait := s.spend(bytesRate, 0); wait > 0 {
		s.r.metrics.throttled.Inc()
		select {
		case <-time.After(wait):
		case <-s.ctx.Done():
			return false
		}
	}
	return s.fifo.awaitRoom() && s.ctx.Err() == nil
}

// next reads and handles one message. A code other than 0 ends the session.
func (s *session) next() (code int, reason string) {
	most := s.r.limits().MaxMessage
	s.ws.SetReadLimit(int64(most)) // bytes as they come; readAll counts them inflated
	kind, body, err := s.ws.NextReader()
	if err != nil {
		return closing(err, most)
	}
	s.lastRead.Store(time.Now().Unix())
	buf := s.mem.slips.take() // only now: an idle connection holds none
	defer s.mem.slips.give(buf)
	*buf, err = readAll(*buf, body, most)
	s.spend(bytesRate, float64(len(*buf)))
	s.r.metrics.received.Add(float64(len(*buf)))
	switch {
	case err != nil:
		return closing(err, most)
	case kind != websocket.TextMessage:
		return websocket.CloseUnsupportedData, "invalid: a message must be a text frame"
	}
	return s.handle(*buf)
}

// readAll appends what r holds to buf, at most most bytes.
func readAll(buf []byte, r io.Reader, most int) ([]byte, error) {
	for {
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, max(1024, len(buf)))
		}
		n, err := r.Read(buf[len(buf):min(cap(buf), most+1)])
		buf = buf[:len(buf)+n]
		if len(buf) > most {
			return buf, websocket.ErrReadLimit
		}
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
}

// closing is how a session ends after its socket gave err.
func closing(err error, most int) (code int, reason string) {
	if errors.Is(err, websocket.ErrReadLimit) {
		return websocket.CloseMessageTooBig, fmt.Sprintf("invalid: a message may have at most %d bytes", most)
	}
	if ce := new(websocket.CloseError); errors.As(err, &ce) {
		return websocket.CloseNormalClosure, ""
	}
	return websocket.CloseProtocolError, ""
}

// handle takes one message of the client. A code other than 0 ends the session.
func (s *session) handle(msg []byte) (code int, reason string) {
	lim := s.r.limits()
	m, err := wire.Parse(msg, lim.wire)
	if err != nil {
		return s.answerBad(err)
	}
	if n := s.strays.Swap(0); n > 0 && s.spend(queryRate, float64(n)) > 0 {
		return nonsense()
	}
	switch m.Label {
	case "EVENT":
		s.event(m)
	case "REQ":
		s.req(m, lim)
	case "COUNT":
		s.ask(m)
	case "CLOSE":
		s.closeSub(m.Sub)
	case "AUTH":
		s.auth(m)
	default: // NEG-OPEN, NEG-MSG, NEG-CLOSE
		s.ask(m)
	}
	return 0, ""
}

// nonsense ends a session that has spent its questions on what is none. An
// answer to each more would let a client have us write for nothing.
func nonsense() (code int, reason string) {
	return websocket.ClosePolicyViolation, refusal(admit.RateLimited, "too many messages that make no sense here")
}

// answerBad answers a message that could not be parsed, in its own terms. It
// costs as much as a good one: an event where it has an event's id, else a
// question.
func (s *session) answerBad(err error) (code int, reason string) {
	bad := new(wire.BadMessage)
	if !errors.As(err, &bad) {
		bad = &wire.BadMessage{Prefix: string(admit.Error), Text: err.Error()}
	}
	s.r.metrics.bad.Inc()
	event := (bad.Label == "EVENT" || bad.Label == "AUTH") && bad.ID != ""
	switch {
	case event && s.spend(eventRate, 1) > 0: // like a good one
		s.later(wire.AppendOK(nil, bad.ID, false, refusal(admit.RateLimited, "slow down, then send it again")))
	case event:
		s.later(wire.AppendOK(nil, bad.ID, false, bad.Error()))
	case s.spend(queryRate, 1) > 0:
		return nonsense()
	case (bad.Label == "REQ" || bad.Label == "COUNT") && bad.Sub != "":
		s.later(wire.AppendClosed(nil, bad.Sub, bad.Error()))
	case (bad.Label == "NEG-OPEN" || bad.Label == "NEG-MSG") && bad.Sub != "":
		s.later(wire.AppendNegErr(nil, bad.Sub, bad.Error(), 0))
	default:
		s.later(wire.AppendNotice(nil, bad.Error()))
	}
	return 0, ""
}

// later puts a ready answer in its place in the order of asking.
func (s *session) later(frame []byte) { s.fifo.push(&job{frame: frame}); s.pokeAnswerer() }

func (s *session) pokeAnswerer() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// event hands in an EVENT.
func (s *session) event(m wire.Message) {
	if m.Event.Kind != kindVanish && s.spend(eventRate, 1) > 0 { // a request to vanish is never turned away
		s.later(wire.AppendOK(nil, m.Event.ID, false, refusal(admit.RateLimited, "slow down, then send it again")))
		return
	}
	j := &job{id: m.Event.ID, s: s, pending: true}
	sub := &submission{ctx: s.r.work, ev: m.Event, record: m.JSON, from: s.peer(), parsed: true, done: j.done}
	if s.fifo.push(j) && s.r.mayExamine() {
		s.eventHere(j, sub)
		return
	}
	if err := s.r.submit(sub); err != nil {
		j.done(Reply{}, err)
	}
}

// eventHere examines an event in the reader, and answers it there if the
// answer is known then: for a client that waits for each OK, that spares two
// changes of goroutine.
func (s *session) eventHere(j *job, sub *submission) {
	s.fifo.examineHere(j)
	s.r.examine(sub)
	s.r.examining.Add(-1)
	mine, tell := s.fifo.examined(j)
	if tell {
		s.pokeAnswerer()
	}
	if !mine {
		return
	}
	buf := s.mem.slips.take()
	defer s.mem.slips.give(buf)
	*buf = s.appendReply(*buf, j)
	if !s.sayNow(*buf) {
		s.fifo.push(j)
		s.pokeAnswerer()
	}
}

// ask queues a question for the answerer.
func (s *session) ask(m wire.Message) {
	if (m.Label == "COUNT" || m.Label == "NEG-OPEN") && s.spend(queryRate, 1) > 0 {
		text := refusal(admit.RateLimited, "too many questions, slow down")
		if m.Label == "COUNT" {
			s.later(wire.AppendClosed(nil, m.Sub, text))
			return
		}
		s.later(wire.AppendNegErr(nil, m.Sub, text, 0))
		return
	}
	s.fifo.push(&job{m: m})
	s.pokeAnswerer()
}
