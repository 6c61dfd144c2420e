package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
)

// load is how hard publishing presses.
type load struct {
	Conns    int // connections
	InFlight int // events of one connection without their OK
}

// parcel is one EVENT message ready to be sent.
type parcel struct {
	id    [8]byte // the first bytes of the event's id, by which its OK is known
	frame []byte  // the whole masked frame
}

// published is what publishing a set of events gave.
type published struct {
	Events    int
	Accepted  int           // OK true
	Refused   int           // OK false
	Wall      time.Duration // first byte out to last OK in
	CPU       time.Duration // of the relay, until it has come to rest
	P50, P99  time.Duration // from send to OK
	Refusal   string        // the first OK false
	PerSecond float64
	CPUMicros float64 // CPU per event, µs
	OwnMicros float64 // CPU of the client that drives it, per event, µs
}

// parcels frames every line of a corpus.
func parcels(lines [][]byte) ([]parcel, error) {
	out := make([]parcel, len(lines))
	for i, line := range lines {
		id, err := idOf(line)
		if err != nil {
			return nil, fmt.Errorf("line %d of the corpus: %w", i+1, err)
		}
		copy(out[i].id[:], id)
		message := make([]byte, 0, len(line)+16)
		message = append(append(append(message, `["EVENT",`...), line...), ']')
		out[i].frame = appendFrame(make([]byte, 0, len(message)+14), message)
	}
	return out, nil
}

// idOf reads the id out of an event's JSON.
func idOf(line []byte) ([]byte, error) {
	_, rest, ok := bytes.Cut(line, []byte(`"id":"`))
	if !ok || len(rest) < 64 {
		return nil, errors.New("no id")
	}
	return hex.DecodeString(string(rest[:64]))
}

// publish sends every event, shared out over the connections, and waits for
// every OK; then for the relay to rest.
func publish(ctx context.Context, s *server, events []parcel, l load) (published, error) {
	before, err := cpuOf(s.PID)
	if err != nil {
		return published{}, err
	}
	senders := make([]*sender, l.Conns)
	for i := range senders {
		c, err := dial(ctx, s.URL, 64<<10)
		if err != nil {
			return published{}, err
		}
		defer c.Close()
		senders[i] = &sender{conn: c, sent: map[[8]byte]time.Time{}, room: l.InFlight}
	}
	for i, ev := range events {
		to := senders[i%len(senders)]
		to.events = append(to.events, ev)
	}
	own, began := ownCPU(), time.Now()
	var g errgroup.Group
	for _, snd := range senders {
		g.Go(snd.run)
	}
	if err := g.Wait(); err != nil {
		return published{}, fmt.Errorf("publish: %w", err)
	}
	wall := time.Since(began)
	own = ownCPU() - own
	after, err := settle(ctx, s.PID, time.Minute)
	if err != nil {
		return published{}, err
	}
	p := sum(senders, wall, after-before)
	p.OwnMicros = float64(own.Microseconds()) / float64(max(p.Events, 1))
	return p, nil
}

func sum(senders []*sender, wall, cpu time.Duration) published {
	p := published{Wall: wall, CPU: cpu}
	var waits []time.Duration
	for _, s := range senders {
		p.Accepted += s.accepted
		p.Refused += s.refused
		waits = append(waits, s.waits...)
		if p.Refusal == "" {
			p.Refusal = s.refusal
		}
	}
	p.Events = p.Accepted + p.Refused
	p.P50, p.P99 = quantile(waits, 0.5), quantile(waits, 0.99)
	p.PerSecond = float64(p.Events) / wall.Seconds()
	p.CPUMicros = float64(cpu.Microseconds()) / float64(max(p.Events, 1))
	return p
}

// sender is one publishing connection; run owns it.
type sender struct {
	conn     *conn
	events   []parcel
	room     int // events that may still be sent before an OK comes
	sent     map[[8]byte]time.Time
	waits    []time.Duration
	accepted int
	refused  int
	refusal  string
	batch    []byte
}

// run sends as many events as there is room for in one write, reads the OKs
// that have come, and goes on.
func (s *sender) run() error {
	for len(s.events) > 0 || len(s.sent) > 0 {
		if err := s.fill(); err != nil {
			return err
		}
		if err := s.conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			return err
		}
		for first := true; len(s.sent) > 0 && (first || s.conn.in.Buffered() > 0); first = false {
			m, err := s.conn.next()
			if err != nil {
				return fmt.Errorf("with %d events without an OK: %w", len(s.sent), err)
			}
			if err := s.take(m); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *sender) fill() error {
	s.batch = s.batch[:0]
	now := time.Now()
	for ; s.room > 0 && len(s.events) > 0; s.room-- {
		s.batch = append(s.batch, s.events[0].frame...)
		s.sent[s.events[0].id] = now
		s.events = s.events[1:]
	}
	if len(s.batch) == 0 {
		return nil
	}
	_, err := s.conn.Write(s.batch)
	return err
}

func (s *sender) take(m []byte) error {
	rest, ok := bytes.CutPrefix(m, []byte(`["OK","`))
	if !ok {
		if bytes.HasPrefix(m, []byte(`["NOTICE"`)) || bytes.HasPrefix(m, []byte(`["CLOSED"`)) {
			return fmt.Errorf("the relay says %s", m)
		}
		return nil // AUTH and the like
	}
	var id [8]byte
	if len(rest) < 66 {
		return fmt.Errorf("not an OK: %s", m)
	}
	if _, err := hex.Decode(id[:], rest[:16]); err != nil {
		return fmt.Errorf("not an OK: %s", m)
	}
	at, ok := s.sent[id]
	if !ok {
		return fmt.Errorf("an OK for an event which waits for none: %s", m)
	}
	delete(s.sent, id)
	s.room++
	s.waits = append(s.waits, time.Since(at))
	if bytes.HasPrefix(bytes.TrimLeft(rest[65:], ", "), []byte("true")) {
		s.accepted++
		return nil
	}
	s.refused++
	if s.refusal == "" {
		s.refusal = string(m)
	}
	return nil
}
