package wire

import (
	"encoding/hex"
	"unicode/utf8"
)

// defaultSubID is NIP-01's bound on a subscription id, in characters.
const defaultSubID = 64

// Parse reads one client message. What it returns shares nothing with msg.
// Where it refuses, the error is a *BadMessage that says whom to answer how.
func Parse(msg []byte, lim Limits) (Message, error) {
	src, err := text(msg)
	if err != nil {
		return Message{}, refused(err, src)
	}
	s := scanner{src: src}
	m, err := s.message(lim)
	if err != nil {
		return Message{}, refused(err, src)
	}
	return m, nil
}

func (s *scanner) message(lim Limits) (Message, error) {
	var m Message
	if s.peek() != '[' {
		return m, s.wrong("a message", "an array")
	}
	s.pos++
	label, err := s.str("the first element of a message")
	if err != nil {
		return m, err
	}
	m.Label = label
	switch label {
	case "EVENT", "AUTH":
		if err = s.next("an event"); err == nil {
			m.Event, m.JSON, err = s.event(lim)
		}
	case "REQ", "COUNT":
		if m.Sub, err = s.sub(lim); err == nil {
			err = s.filters(&m, lim)
		}
	case "CLOSE", "NEG-CLOSE":
		m.Sub, err = s.sub(lim)
	case "NEG-OPEN":
		if m.Sub, err = s.sub(lim); err == nil {
			err = s.negOpen(&m, lim)
		}
	case "NEG-MSG":
		if m.Sub, err = s.sub(lim); err == nil {
			m.Neg, err = s.frame()
		}
	default:
		return m, unsupported("unknown message %q", clip(label))
	}
	if err != nil {
		return m, err
	}
	if s.peek() == ',' {
		return m, s.bad("%s has too many elements", label)
	}
	if err := s.want(']'); err != nil {
		return m, err
	}
	return m, s.end()
}

// next steps to the next element of the message.
func (s *scanner) next(what string) error {
	if s.peek() == ']' {
		return s.bad("the message ends where %s should stand", what)
	}
	return s.want(',')
}

func (s *scanner) sub(lim Limits) (string, error) {
	if err := s.next("a subscription id"); err != nil {
		return "", err
	}
	id, err := s.str("a subscription id")
	if err != nil {
		return "", err
	}
	most := lim.SubID
	if most == 0 {
		most = defaultSubID
	}
	if id == "" {
		return "", s.bad("a subscription id must not be empty")
	}
	if len(id) > most && utf8.RuneCountInString(id) > most {
		return "", s.bad("a subscription id may have at most %d characters", most)
	}
	return id, nil
}

// filters reads one filter or more, up to the end of the message.
func (s *scanner) filters(m *Message, lim Limits) error {
	for {
		if err := s.next("a filter"); err != nil {
			return err
		}
		if lim.Filters > 0 && len(m.Filters) == lim.Filters {
			return s.bad("more than %d filters", lim.Filters)
		}
		f, err := s.filter(lim)
		if err != nil {
			return err
		}
		m.Filters = append(m.Filters, f)
		if s.peek() != ',' {
			return nil
		}
	}
}

func (s *scanner) negOpen(m *Message, lim Limits) error {
	if err := s.next("a filter"); err != nil {
		return err
	}
	f, err := s.filter(lim)
	if err != nil {
		return err
	}
	m.Filters = append(m.Filters, f)
	m.Neg, err = s.frame()
	return err
}

// frame reads a negentropy frame: hex of at least the version byte.
func (s *scanner) frame() ([]byte, error) {
	if err := s.next("a negentropy frame"); err != nil {
		return nil, err
	}
	v, err := s.str("a negentropy frame")
	if err != nil {
		return nil, err
	}
	b, err := hex.DecodeString(v)
	if err != nil || len(b) == 0 {
		return nil, s.bad("a negentropy frame must be hex, two digits per byte, and not empty")
	}
	return b, nil
}
