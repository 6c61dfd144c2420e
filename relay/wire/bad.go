package wire

import (
	"errors"
	"strings"
	"unicode/utf8"
)

// BadMessage is the refusal of a message that could not be parsed, with what
// is needed to answer it in its own terms: EVENT and AUTH by OK false when ID
// is known, REQ and COUNT by CLOSED and NEG-OPEN and NEG-MSG by NEG-ERR when
// Sub is known, and all else by NOTICE.
type BadMessage struct {
	Label  string // the message's first element, as sent; empty when it could not be read
	Sub    string // the subscription id, empty when it could not be read
	ID     string // the event id as sent, fit for print, empty when it could not be read
	Prefix string // "invalid" or "unsupported"
	Text   string // the reason, for people
}

// Error is the wire form, "prefix: text".
func (e *BadMessage) Error() string { return e.Prefix + ": " + e.Text }

// mostEcho is how many characters of a wrong id or subscription id we are
// willing to say back.
const mostEcho = 128

// refused turns the error of a parser into the answer for msg.
func refused(err error, msg string) error {
	if e, ok := errors.AsType[*BadMessage](err); ok {
		return addressed(e, msg)
	}
	return err
}

// addressed fills in, as far as it can be read, whom a refusal is for.
func addressed(e *BadMessage, msg string) *BadMessage {
	msg = strings.ToValidUTF8(msg, "\ufffd")
	s := scanner{src: msg}
	if !s.take('[') {
		return e
	}
	label, err := s.str("label")
	if err != nil {
		return e
	}
	e.Label = clip(label)
	if !s.take(',') {
		return e
	}
	switch label {
	case "EVENT", "AUTH":
		e.ID = looseID(msg[s.pos:])
	case "REQ", "COUNT", "CLOSE", "NEG-OPEN", "NEG-MSG", "NEG-CLOSE":
		if sub, err := s.str("subscription id"); err == nil && utf8.RuneCountInString(sub) <= mostEcho {
			e.Sub = sub
		}
	}
	return e
}

// looseID finds the id of an event that is not well formed: the string under
// the first key "id" of the outermost object.
func looseID(s string) string {
	depth := 0
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth <= 0 {
				return ""
			}
		case '"':
			token, after := looseString(s, i)
			i = after - 1
			rest := strings.TrimLeft(s[after:], " \t\r\n")
			if depth != 1 || token != "id" || !strings.HasPrefix(rest, ":") {
				continue
			}
			rest = strings.TrimLeft(rest[1:], " \t\r\n")
			if !strings.HasPrefix(rest, `"`) {
				return ""
			}
			id, _ := looseString(rest, 0)
			return printable(id)
		}
	}
	return ""
}

// looseString returns what stands between the quote at i and the next one
// that is not escaped, and the index after that.
func looseString(s string, i int) (string, int) {
	for j := i + 1; j < len(s); j++ {
		switch s[j] {
		case '\\':
			j++
		case '"':
			return s[i+1 : j], j + 1
		}
	}
	return "", len(s)
}

// printable returns s if it can be said back as it is, else nothing.
func printable(s string) string {
	if len(s) > mostEcho {
		return ""
	}
	for _, c := range []byte(s) {
		if c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			return ""
		}
	}
	return s
}
