package wire

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds the nesting of values we skip; what we read nests four deep.
const maxDepth = 32

// scanner reads one JSON text from front to back and refuses at the first
// fault. The text must already be valid UTF-8. Strings without escapes are
// cut out of src, so src must never change: it is a string.
type scanner struct {
	src string
	pos int
	tmp []byte // decoded bytes of the string at hand
}

// bad is the refusal of what stands at the current position.
func (s *scanner) bad(format string, args ...any) error {
	return &BadMessage{Prefix: "invalid", Text: fmt.Sprintf(format, args...)}
}

// wrong says that the value at the current position is not what is wanted.
func (s *scanner) wrong(name, want string) error {
	if s.peek() == ']' && strings.HasSuffix(strings.TrimRight(s.src[:s.pos], " \t\r\n"), "[") {
		return s.bad("%s is missing: it must be %s", name, want)
	}
	return s.bad("%s must be %s, not %s", name, want, s.found())
}

// found names what stands at the current position.
func (s *scanner) found() string {
	switch c := s.peek(); {
	case s.pos >= len(s.src):
		return "the end of the message"
	case c == '{':
		return "an object"
	case c == '[':
		return "an array"
	case c == '"':
		return "a string"
	case c == '-' || isDigit(c):
		return "a number"
	case strings.HasPrefix(s.src[s.pos:], "null"):
		return "null"
	case c == 't' || c == 'f':
		return "a boolean"
	}
	return "malformed JSON at byte " + strconv.Itoa(s.pos)
}

// peek skips white space and returns the next byte, 0 at the end.
func (s *scanner) peek() byte {
	for s.pos < len(s.src) {
		switch c := s.src[s.pos]; c {
		case ' ', '\t', '\n', '\r':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// take steps over c if it comes next.
func (s *scanner) take(c byte) bool {
	if s.peek() != c || s.pos >= len(s.src) {
		return false
	}
	s.pos++
	return true
}

func (s *scanner) want(c byte) error {
	if !s.take(c) {
		return s.bad("malformed JSON: expected '%c' at byte %d", c, s.pos)
	}
	return nil
}

// end refuses anything but white space after the value.
func (s *scanner) end() error {
	if s.peek(); s.pos < len(s.src) {
		return s.bad("malformed JSON: something follows the end at byte %d", s.pos)
	}
	return nil
}

// list calls item before each element of an array; item must consume it.
func (s *scanner) list(name string, item func() error) error {
	if !s.take('[') {
		return s.wrong(name, "an array")
	}
	if s.take(']') {
		return nil
	}
	for {
		if err := item(); err != nil {
			return err
		}
		if s.take(',') {
			continue
		}
		return s.want(']')
	}
}

// object calls value with each key of an object; value must consume what the
// key stands for.
func (s *scanner) object(name string, value func(key string) error) error {
	if !s.take('{') {
		return s.wrong(name, "an object")
	}
	if s.take('}') {
		return nil
	}
	for {
		key, err := s.str("a key")
		if err != nil {
			return err
		}
		if err := s.want(':'); err != nil {
			return err
		}
		if err := value(key); err != nil {
			return err
		}
		if s.take(',') {
			continue
		}
		return s.want('}')
	}
}

// integer reads a whole number from least to most. Fractions and exponents
// are refused, even where their value is whole.
func (s *scanner) integer(name string, least, most int64) (int64, error) {
	c := s.peek()
	if c != '-' && !isDigit(c) {
		return 0, s.wrong(name, "an integer")
	}
	start := s.pos
	if err := s.skipNumber(); err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(s.src[start:s.pos], 10, 64)
	if err != nil || n < least || n > most {
		return 0, s.bad("%s must be an integer from %d to %d, not %s", name, least, most, clip(s.src[start:s.pos]))
	}
	return n, nil
}

// str reads a string and decodes its escapes.
func (s *scanner) str(name string) (string, error) {
	if !s.take('"') {
		return "", s.wrong(name, "a string")
	}
	start := s.pos
	end := plainUntil(s.src, start)
	if end < len(s.src) && s.src[end] == '"' {
		s.pos = end + 1
		return s.src[start:end], nil
	}
	return s.escaped(name, start, end)
}

// escaped reads the rest of a string whose first special byte is at end.
func (s *scanner) escaped(name string, start, end int) (string, error) {
	if s.tmp == nil {
		s.tmp = make([]byte, 0, min(len(s.src)-start, 1<<16)) // decoded is never longer than encoded
	}
	buf := append(s.tmp[:0], s.src[start:end]...)
	for s.pos = end; ; {
		if s.pos >= len(s.src) {
			return "", s.bad("malformed JSON: %s has no closing quote", name)
		}
		switch c := s.src[s.pos]; {
		case c == '"':
			s.pos++
			s.tmp = buf
			return string(buf), nil
		case c < 0x20:
			return "", s.bad("malformed JSON: %s holds a raw control character (0x%02x) at byte %d", name, c, s.pos)
		}
		var err error
		if buf, err = s.escape(name, buf); err != nil {
			return "", err
		}
		next := plainUntil(s.src, s.pos)
		buf = append(buf, s.src[s.pos:next]...)
		s.pos = next
	}
}

// escape decodes the one escape at the current position.
func (s *scanner) escape(name string, buf []byte) ([]byte, error) {
	if s.pos+1 >= len(s.src) {
		return nil, s.bad("malformed JSON: %s ends within an escape", name)
	}
	c := s.src[s.pos+1]
	if i := strings.IndexByte(`"\/bfnrt`, c); i >= 0 {
		s.pos += 2
		return append(buf, "\"\\/\b\f\n\r\t"[i]), nil
	}
	if c != 'u' {
		return nil, s.bad("malformed JSON: %s holds an unknown escape at byte %d", name, s.pos)
	}
	r, err := s.hex4(name)
	if err != nil {
		return nil, err
	}
	switch {
	case r == 0:
		return nil, s.bad("%s holds NUL (\\u0000), which we do not keep", name)
	case r >= 0xdc00 && r < 0xe000:
		return nil, s.bad("%s holds a lone surrogate (\\u%04x)", name, r)
	case r >= 0xd800 && r < 0xdc00:
		low := rune(-1)
		if strings.HasPrefix(s.src[s.pos:], `\u`) {
			if low, err = s.hex4(name); err != nil {
				return nil, err
			}
		}
		if low < 0xdc00 || low > 0xdfff {
			return nil, s.bad("%s holds a lone surrogate (\\u%04x)", name, r)
		}
		r = (r-0xd800)<<10 + (low - 0xdc00) + 0x10000
	}
	return utf8.AppendRune(buf, r), nil
}

// hex4 reads \uXXXX.
func (s *scanner) hex4(name string) (rune, error) {
	if s.pos+6 > len(s.src) {
		return 0, s.bad("malformed JSON: %s ends within an escape", name)
	}
	var r rune
	for _, c := range []byte(s.src[s.pos+2 : s.pos+6]) {
		switch {
		case isDigit(c):
			r = r<<4 | rune(c-'0')
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			r = r<<4 | rune(c|0x20-'a'+10)
		default:
			return 0, s.bad("malformed JSON: %s holds a broken \\u escape at byte %d", name, s.pos)
		}
	}
	s.pos += 6
	return r, nil
}

// skip reads any value and forgets it.
func (s *scanner) skip(depth int) error {
	if depth > maxDepth {
		return s.bad("nested more than %d deep", maxDepth)
	}
	switch c := s.peek(); {
	case c == '{':
		return s.object("value", func(string) error { return s.skip(depth + 1) })
	case c == '[':
		return s.list("value", func() error { return s.skip(depth + 1) })
	case c == '"':
		_, err := s.str("value")
		return err
	case c == '-' || isDigit(c):
		return s.skipNumber()
	}
	for _, word := range [...]string{"null", "true", "false"} {
		if strings.HasPrefix(s.src[s.pos:], word) {
			s.pos += len(word)
			return nil
		}
	}
	return s.bad("malformed JSON: expected a value at byte %d", s.pos)
}

// skipNumber steps over one number in JSON's grammar.
func (s *scanner) skipNumber() error {
	start := s.pos
	if s.src[s.pos] == '-' {
		s.pos++
	}
	zero := s.pos < len(s.src) && s.src[s.pos] == '0'
	n := s.digits()
	ok := n == 1 || n > 1 && !zero
	if ok && s.pos < len(s.src) && s.src[s.pos] == '.' {
		s.pos++
		ok = s.digits() > 0
	}
	if ok && s.pos < len(s.src) && s.src[s.pos]|0x20 == 'e' {
		s.pos++
		if s.pos < len(s.src) && (s.src[s.pos] == '+' || s.src[s.pos] == '-') {
			s.pos++
		}
		ok = s.digits() > 0
	}
	if !ok {
		return s.bad("malformed JSON: broken number at byte %d", start)
	}
	return nil
}

func (s *scanner) digits() int {
	start := s.pos
	for s.pos < len(s.src) && isDigit(s.src[s.pos]) {
		s.pos++
	}
	return s.pos - start
}

func isDigit(c byte) bool { return c-'0' <= 9 }

// clip shortens what a client sent to what is fit to be said back.
func clip(s string) string {
	const most = 40 // bytes
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// plainUntil returns the index of the first byte from i on that a JSON string
// cannot hold as it is: a quote, a backslash, a control character; len(s) if
// there is none. It looks at eight bytes at a time.
func plainUntil(s string, i int) int {
	for ; i+8 <= len(s); i += 8 {
		w := uint64(s[i]) | uint64(s[i+1])<<8 | uint64(s[i+2])<<16 | uint64(s[i+3])<<24 |
			uint64(s[i+4])<<32 | uint64(s[i+5])<<40 | uint64(s[i+6])<<48 | uint64(s[i+7])<<56
		q, b := w^(ones*'"'), w^(ones*'\\')
		// The lowest bit set marks the first such byte; bits above it may lie.
		if m := ((q-ones)&^q | (b-ones)&^b | (w-ones*0x20)&^w) & highs; m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
	}
	for ; i < len(s); i++ {
		if c := s[i]; c == '"' || c == '\\' || c < 0x20 {
			return i
		}
	}
	return i
}
