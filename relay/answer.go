package relay

import (
	"strings"
	"time"

	"agora/relay/admit"
	"agora/relay/wire"
)

// answer is the answerer: it writes what the client is owed in the order of
// asking, drains the outbox when the socket was slow, and lets subscriptions
// that fell behind catch up. It returns when the session ends, when the socket
// is broken, or, while the session drains, when nothing is owed.
func (s *session) answer() {
	var jobs []*job
	for {
		select {
		case <-s.wake:
		case <-s.ctx.Done():
			return
		}
		jobs = s.fifo.take(jobs[:0])
		err := s.answerJobs(jobs)
		clear(jobs)
		s.fifo.rest()
		if err == nil {
			err = s.drain(s.stall())
		}
		if err == nil {
			err = s.catchUpAll()
		}
		if err != nil {
			s.abandon() // the reader meets the closed socket
			return
		}
		if s.fifo.finished() {
			return
		}
	}
}

// answerJobs answers in order; ready answers that follow one another leave in
// one write.
func (s *session) answerJobs(jobs []*job) error {
	if len(jobs) == 0 {
		return nil
	}
	buf := s.mem.slips.take()
	defer s.mem.slips.give(buf)
	for _, j := range jobs {
		switch {
		case j.frame != nil:
			*buf = s.mem.appendText(*buf, j.frame, s.deflated)
		case j.id != "":
			*buf = s.appendReply(*buf, j)
		default:
			if err := s.send(buf); err != nil {
				return err
			}
			if err := s.run(j); err != nil {
				return err
			}
		}
	}
	return s.send(buf)
}

// appendReply appends the OK to an EVENT; a want for authentication comes with
// the challenge.
func (s *session) appendReply(dst []byte, j *job) []byte {
	if !j.reply.OK && strings.HasPrefix(j.reply.Reason, string(admit.AuthRequired)) {
		dst = s.mem.appendText(dst, wire.AppendAuth(nil, s.challenge), s.deflated)
	}
	return appendOK(dst, j.id, j.reply)
}

// appendOK appends the frame of an OK without an intermediate copy: an OK is
// never long enough to be worth deflating.
func appendOK(dst []byte, id string, reply Reply) []byte {
	var small [256]byte
	text := wire.AppendOK(small[:0], id, reply.OK, reply.Reason)
	return append(appendHeader(dst, opText, len(text)), text...)
}

// send writes the frames in buf, waiting for the socket, and empties it.
func (s *session) send(buf *[]byte) error {
	if len(*buf) == 0 {
		return nil
	}
	err := s.write(*buf, s.stall())
	s.r.metrics.sent.Add(float64(len(*buf)))
	*buf = (*buf)[:0]
	return err
}

// tell sends one message, waiting for the socket. Only the answerer calls it.
func (s *session) tell(payload []byte) error {
	buf := s.mem.slips.take()
	defer s.mem.slips.give(buf)
	*buf = s.mem.appendText(*buf, payload, s.deflated)
	return s.send(buf)
}

func (s *session) stall() time.Duration { return s.r.limits().Budget.WriteStall }

// run answers one question.
func (s *session) run(j *job) error {
	started := time.Now()
	defer func() { s.r.metrics.question(j, time.Since(started)) }()
	switch {
	case j.sub != nil:
		return s.answerReq(j.sub)
	case j.m.Label == "COUNT":
		return s.answerCount(j.m)
	default:
		return s.neg(s.ctx, j.m)
	}
}

// refusal is "prefix: text", the form of every no.
func refusal(p admit.Prefix, text string) string { return string(p) + ": " + text }

// closed ends a subscription from our side. A want for authentication comes
// with the challenge.
func (s *session) closed(sub string, p admit.Prefix, text string) error {
	if p == admit.AuthRequired {
		if err := s.tell(wire.AppendAuth(nil, s.challenge)); err != nil {
			return err
		}
	}
	return s.tell(wire.AppendClosed(nil, sub, refusal(p, text)))
}
