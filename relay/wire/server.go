package wire

import (
	"encoding/hex"
	"math"

	"github.com/nbd-wtf/go-nostr"
)

// ServerMessage is one parsed message of a relay. Which fields are set
// follows from Label, as noted beside each.
type ServerMessage struct {
	Label       string       // EVENT OK EOSE CLOSED NOTICE AUTH COUNT NEG-MSG NEG-ERR
	Sub         string       // EVENT EOSE CLOSED COUNT NEG-MSG NEG-ERR
	ID          string       // OK: the event id
	OK          bool         // OK
	Text        string       // OK CLOSED NOTICE NEG-ERR: the reason; AUTH: the challenge
	Event       *nostr.Event // EVENT: shape checked, id and signature not
	JSON        []byte       // EVENT: the canonical record of Event
	Hint        Hint         // EOSE
	Count       int64        // COUNT
	Approximate bool         // COUNT
	HLL         []byte       // COUNT: 256 registers, or nil
	Neg         []byte       // NEG-MSG: the frame, decoded from hex
	Most        int64        // NEG-ERR: records a query may match, 0 when not said
}

// ParseServer reads one message of a relay. Elements beyond those we know are
// ignored, so that newer relays are understood. The error is a *BadMessage.
func ParseServer(msg []byte) (ServerMessage, error) {
	src, err := text(msg)
	if err != nil {
		return ServerMessage{}, err
	}
	s := scanner{src: src}
	m, err := s.serverMessage()
	if err != nil {
		return ServerMessage{}, err
	}
	return m, nil
}

func (s *scanner) serverMessage() (ServerMessage, error) {
	var m ServerMessage
	if s.peek() != '[' {
		return m, s.wrong("a message", "an array")
	}
	s.pos++
	label, err := s.str("the first element of a message")
	if err != nil {
		return m, err
	}
	if label == "NEG-ERROR" { // as go-nostr writes it
		label = "NEG-ERR"
	}
	m.Label = label
	if err := s.serverBody(&m); err != nil {
		return m, err
	}
	for s.take(',') {
		if err := s.skip(1); err != nil {
			return m, err
		}
	}
	if err := s.want(']'); err != nil {
		return m, err
	}
	return m, s.end()
}

func (s *scanner) serverBody(m *ServerMessage) (err error) {
	switch m.Label {
	case "NOTICE", "AUTH":
		m.Text, err = s.nextString("a text")
		return err
	case "OK":
		return s.okBody(m)
	case "EVENT", "EOSE", "CLOSED", "COUNT", "NEG-MSG", "NEG-ERR":
	default:
		return unsupported("unknown message %q", clip(m.Label))
	}
	if m.Sub, err = s.nextString("a subscription id"); err != nil {
		return err
	}
	switch m.Label {
	case "EVENT":
		if err = s.next("an event"); err == nil {
			m.Event, m.JSON, err = s.event(Limits{})
		}
	case "EOSE":
		m.Hint, err = s.hint()
	case "CLOSED":
		m.Text, err = s.optionalString()
	case "COUNT":
		err = s.countBody(m)
	case "NEG-MSG":
		m.Neg, err = s.frame()
	case "NEG-ERR":
		err = s.negErrBody(m)
	}
	return err
}

func (s *scanner) nextString(name string) (string, error) {
	if err := s.next(name); err != nil {
		return "", err
	}
	return s.str(name)
}

// optionalString reads a reason, which older relays leave out.
func (s *scanner) optionalString() (string, error) {
	if !s.take(',') {
		return "", nil
	}
	return s.str("a reason")
}

func (s *scanner) okBody(m *ServerMessage) (err error) {
	if m.ID, err = s.nextString("an event id"); err != nil {
		return err
	}
	if err := s.next("true or false"); err != nil {
		return err
	}
	if m.OK, err = s.boolean("the third element of OK"); err != nil {
		return err
	}
	m.Text, err = s.optionalString()
	return err
}

func (s *scanner) boolean(name string) (bool, error) {
	c := s.peek()
	if c != 't' && c != 'f' {
		return false, s.wrong(name, "true or false")
	}
	return c == 't', s.skip(0)
}

// hint reads NIP-67's array, of which we know two words.
func (s *scanner) hint() (Hint, error) {
	h := NoHint
	if !s.take(',') {
		return h, nil
	}
	if s.peek() != '[' {
		return h, s.skip(1)
	}
	err := s.list("hints", func() error {
		if s.peek() != '"' {
			return s.skip(2)
		}
		word, err := s.str("hint")
		switch word {
		case "finish":
			h = Finish
		case "more":
			h = More
		}
		return err
	})
	return h, err
}

func (s *scanner) countBody(m *ServerMessage) error {
	if err := s.next("a count"); err != nil {
		return err
	}
	counted := false
	err := s.object("count", func(key string) (err error) {
		switch key {
		case "count":
			counted = true
			m.Count, err = s.integer(key, 0, math.MaxInt64)
		case "approximate":
			m.Approximate, err = s.boolean(key)
		case "hll":
			m.HLL, err = s.registers()
		default:
			err = s.skip(2)
		}
		return err
	})
	if err == nil && !counted {
		err = s.bad("COUNT holds no count")
	}
	return err
}

// registers reads the 256 one-byte registers of NIP-45.
func (s *scanner) registers() ([]byte, error) {
	v, err := s.str("hll")
	if err != nil {
		return nil, err
	}
	b, err := hex.DecodeString(v)
	if err != nil || len(b) != 256 {
		return nil, s.bad("hll must be 512 hex digits")
	}
	return b, nil
}

func (s *scanner) negErrBody(m *ServerMessage) (err error) {
	if m.Text, err = s.optionalString(); err != nil {
		return err
	}
	if !s.take(',') {
		return nil
	}
	if c := s.peek(); !isDigit(c) {
		return s.skip(1)
	}
	m.Most, err = s.integer("the bound of NEG-ERR", 0, math.MaxInt64)
	return err
}
