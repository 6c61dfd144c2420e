package wire

import (
	"errors"
	"slices"
	"strconv"
	"unicode/utf8"

	"agora/relay/lowhex"

	"github.com/nbd-wtf/go-nostr"
)

// mostUnknown bounds the keys of an event that we do not know; they are
// dropped, and compared with each other for duplicates.
const mostUnknown = 32

// MaxCreatedAt is the latest created_at that is read, in seconds since 1970:
// some nine million years from now, and within what the store's keys hold.
const MaxCreatedAt = 1<<48 - 1

// ParseEvent reads one event and returns it with its canonical record. The
// shape is checked, id and signature are not. The error is a *BadMessage.
func ParseEvent(json []byte) (*nostr.Event, []byte, error) {
	src, err := text(json)
	if err != nil {
		return nil, nil, err
	}
	s := scanner{src: src}
	ev, record, err := s.event(Limits{})
	if err == nil {
		err = s.end()
	}
	if err != nil {
		if e, ok := errors.AsType[*BadMessage](err); ok {
			e.Label, e.ID = "EVENT", looseID(src)
		}
		return nil, nil, err
	}
	return ev, record, nil
}

// text copies a message out of its buffer, once; all that is parsed from it
// is cut from that copy.
func text(b []byte) (string, error) {
	src := string(b)
	if !utf8.Valid(b) {
		i := 0
		for i < len(b) {
			r, n := utf8.DecodeRune(b[i:])
			if r == utf8.RuneError && n == 1 {
				break
			}
			i += n
		}
		return src, &BadMessage{Prefix: "invalid", Text: "not valid UTF-8 at byte " + strconv.Itoa(i)}
	}
	return src, nil
}

// The seven fields, as bits.
const (
	hasID = 1 << iota
	hasPubKey
	hasCreatedAt
	hasKind
	hasTags
	hasContent
	hasSig
)

// fieldNames are in the order of the bits above.
var fieldNames = [...]string{"id", "pubkey", "created_at", "kind", "tags", "content", "sig"}

func fieldBit(key string) uint8 {
	switch key {
	case "id":
		return hasID
	case "pubkey":
		return hasPubKey
	case "created_at":
		return hasCreatedAt
	case "kind":
		return hasKind
	case "tags":
		return hasTags
	case "content":
		return hasContent
	case "sig":
		return hasSig
	}
	return 0
}

// event reads an event object and prints its record.
func (s *scanner) event(lim Limits) (*nostr.Event, []byte, error) {
	ev := new(nostr.Event)
	var seen uint8
	var unknown []string
	s.peek()
	start := s.pos
	err := s.object("event", func(key string) error {
		bit := fieldBit(key)
		if bit == 0 {
			if slices.Contains(unknown, key) {
				return s.bad("duplicate key %q", clip(key))
			}
			if len(unknown) == mostUnknown {
				return s.bad("more than %d unknown keys", mostUnknown)
			}
			unknown = append(unknown, key)
			return s.skip(1)
		}
		if seen&bit != 0 {
			return s.bad("duplicate key %q", key)
		}
		seen |= bit
		return s.field(ev, bit, lim)
	})
	if err != nil {
		return nil, nil, err
	}
	for i, name := range fieldNames {
		if seen&(1<<i) == 0 {
			return nil, nil, s.bad("the event has no %s", name)
		}
	}
	// The record is never longer than what it was read from.
	return ev, AppendEvent(make([]byte, 0, s.pos-start), ev), nil
}

// field reads the value of one known key.
func (s *scanner) field(ev *nostr.Event, bit uint8, lim Limits) (err error) {
	switch bit {
	case hasID:
		ev.ID, err = s.hexString("id", 64)
	case hasPubKey:
		ev.PubKey, err = s.hexString("pubkey", 64)
	case hasSig:
		ev.Sig, err = s.hexString("sig", 128)
	case hasCreatedAt:
		var n int64
		n, err = s.integer("created_at", 0, MaxCreatedAt)
		ev.CreatedAt = nostr.Timestamp(n)
	case hasKind:
		var n int64
		n, err = s.integer("kind", 0, 65535)
		ev.Kind = int(n)
	case hasTags:
		ev.Tags, err = s.tags(lim.EventTags)
	case hasContent:
		ev.Content, err = s.str("content")
		if err == nil && lim.Content > 0 && len(ev.Content) > lim.Content && utf8.RuneCountInString(ev.Content) > lim.Content {
			err = s.bad("content is longer than %d characters", lim.Content)
		}
	}
	return err
}

// hexString reads a string of exactly n lower-case hex digits.
func (s *scanner) hexString(name string, n int) (string, error) {
	v, err := s.str(name)
	if err != nil {
		return "", err
	}
	if !lowhex.Is(v, n) {
		return "", s.bad("%s must be %d lower-case hex digits", name, n)
	}
	return v, nil
}

// tags reads the tags of an event: arrays of one or more strings. All tags
// share one array, each capped at its own end.
func (s *scanner) tags(most int) (nostr.Tags, error) {
	var itemRoom [32]string
	var endRoom [16]int
	items, ends := itemRoom[:0], endRoom[:0]
	err := s.list("tags", func() error {
		if most > 0 && len(ends) == most {
			return s.bad("more than %d tags", most)
		}
		if s.peek() != '[' {
			return s.wrong("tags["+strconv.Itoa(len(ends))+"]", "an array of strings")
		}
		before := len(items)
		err := s.list("tag", func() error {
			if s.peek() != '"' {
				return s.wrong("tags["+strconv.Itoa(len(ends))+"]["+strconv.Itoa(len(items)-before)+"]", "a string")
			}
			v, err := s.str("tag")
			items = append(items, v)
			return err
		})
		if err == nil && len(items) == before {
			err = s.bad("tags[%d] is empty", len(ends))
		}
		ends = append(ends, len(items))
		return err
	})
	if err != nil {
		return nil, err
	}
	flat := slices.Clone(items)
	tags := make(nostr.Tags, len(ends))
	from := 0
	for i, to := range ends {
		tags[i] = flat[from:to:to]
		from = to
	}
	return tags, nil
}

// AppendEvent appends the canonical record of ev: compact JSON of its seven
// fields in the order id, pubkey, created_at, kind, tags, content, sig. In
// strings only \n \" \\ \r \t \b \f are escaped, as NIP-01 escapes them for
// the id; the other control characters, which JSON cannot hold as they are,
// become \u00xx.
func AppendEvent(dst []byte, ev *nostr.Event) []byte {
	dst = append(dst, `{"id":"`...)
	dst = append(dst, ev.ID...)
	dst = append(dst, `","pubkey":"`...)
	dst = append(dst, ev.PubKey...)
	dst = append(dst, `","created_at":`...)
	dst = strconv.AppendInt(dst, int64(ev.CreatedAt), 10)
	dst = append(dst, `,"kind":`...)
	dst = strconv.AppendInt(dst, int64(ev.Kind), 10)
	dst = append(dst, `,"tags":`...)
	dst = appendTags(dst, ev.Tags, false)
	dst = append(dst, `,"content":`...)
	dst = appendQuoted(dst, ev.Content, false)
	dst = append(dst, `,"sig":"`...)
	dst = append(dst, ev.Sig...)
	return append(dst, `"}`...)
}

func appendTags(dst []byte, tags nostr.Tags, verbatim bool) []byte {
	dst = append(dst, '[')
	for i, tag := range tags {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, '[')
		for j, v := range tag {
			if j > 0 {
				dst = append(dst, ',')
			}
			dst = appendQuoted(dst, v, verbatim)
		}
		dst = append(dst, ']')
	}
	return append(dst, ']')
}

// appendQuoted appends s in quotes. Control characters without a short escape
// become \u00xx, or stay as they are when verbatim.
func appendQuoted(dst []byte, s string, verbatim bool) []byte {
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		next := plainUntil(s, i)
		dst = append(dst, s[i:next]...)
		if next == len(s) {
			break
		}
		dst = appendEscaped(dst, s[next], verbatim)
		i = next + 1
	}
	return append(dst, '"')
}

func appendEscaped(dst []byte, c byte, verbatim bool) []byte {
	switch c {
	case '"', '\\':
		return append(dst, '\\', c)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	case '\b':
		return append(dst, '\\', 'b')
	case '\f':
		return append(dst, '\\', 'f')
	}
	if verbatim {
		return append(dst, c)
	}
	const digits = "0123456789abcdef"
	return append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
}
