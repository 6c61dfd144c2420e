package store

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/nbd-wtf/go-nostr"
)

// Flags in the first byte of a log row.
const (
	flagExpires = 1 << 0 // 8 bytes of expiration follow
	flagRemoved = 1 << 7 // a removal marker: id, pubkey, kind
)

// Where the fields of a canonical record begin; the first two have a fixed
// width.
const (
	idAt      = len(`{"id":"`)
	pubkeyAt  = idAt + 64 + len(`","pubkey":"`)
	createdAt = pubkeyAt + 64 + len(`","created_at":`)
	sigLen    = len(`,"sig":"`) + 128 + len(`"}`)
)

// Record is one stored event. Its accessors read the JSON in place.
type Record struct {
	Pos     Pos
	JSON    []byte // canonical: {"id","pubkey","created_at","kind","tags","content","sig"}
	created int64
	expires int64
	kind    int
	tagsAt  int // offset of the tags' opening bracket
}

var errShape = errors.New("not a canonical record")

// ParseRecord reads the fixed fields of a canonical record.
func ParseRecord(json []byte) (r Record, err error) {
	if len(json) < createdAt+sigLen || json[idAt-1] != '"' || json[pubkeyAt-1] != '"' || json[createdAt-1] != ':' {
		return r, errShape
	}
	i := createdAt
	for ; i < len(json) && '0' <= json[i] && json[i] <= '9'; i++ {
		r.created = r.created*10 + int64(json[i]-'0')
	}
	rest, ok := bytes.CutPrefix(json[i:], []byte(`,"kind":`))
	if !ok {
		return r, errShape
	}
	j := 0
	for ; j < len(rest) && '0' <= rest[j] && rest[j] <= '9'; j++ {
		r.kind = r.kind*10 + int(rest[j]-'0')
	}
	if !bytes.HasPrefix(rest[j:], []byte(`,"tags":[`)) {
		return r, errShape
	}
	r.JSON = json
	r.tagsAt = len(json) - len(rest) + j + len(`,"tags":`)
	return r, nil
}

// readLog reads one row of the log.
func readLog(pos Pos, v []byte) (Change, error) {
	bad := func() (Change, error) {
		return Change{}, fmt.Errorf("log row %d is damaged: run agora check", pos)
	}
	if len(v) < 1 {
		return bad()
	}
	if v[0]&flagRemoved != 0 {
		if len(v) != 1+32+32+2 {
			return bad()
		}
		rm := &Removal{ID: ID(v[1:33]), PubKey: [32]byte(v[33:65]), Kind: int(binary.BigEndian.Uint16(v[65:]))}
		return Change{Pos: pos, Removed: rm}, nil
	}
	body, expires := v[1:], int64(0)
	if v[0]&flagExpires != 0 {
		if len(body) < 8 {
			return bad()
		}
		expires, body = int64(binary.BigEndian.Uint64(body)), body[8:]
	}
	r, err := ParseRecord(body)
	if err != nil {
		return bad()
	}
	r.Pos, r.expires = pos, expires
	return Change{Pos: pos, Record: r}, nil
}

func logRow(p *parsed, json []byte) []byte {
	if p.expires == 0 {
		return append(append(make([]byte, 0, 1+len(json)), 0), json...)
	}
	v := append(make([]byte, 0, 9+len(json)), flagExpires)
	return append(binary.BigEndian.AppendUint64(v, uint64(p.expires)), json...)
}

func markerRow(p *parsed) []byte {
	v := append(make([]byte, 0, 67), flagRemoved)
	v = append(append(v, p.id[:]...), p.pubkey[:]...)
	return binary.BigEndian.AppendUint16(v, uint16(p.kind))
}

// ID is the event's id.
func (r *Record) ID() (id ID) {
	_, _ = hex.Decode(id[:], r.JSON[idAt:idAt+64])
	return id
}

// HexID is the event's id as it stands in the record.
func (r *Record) HexID() []byte { return r.JSON[idAt : idAt+64] }

// PubKey is the author's key.
func (r *Record) PubKey() (pk [32]byte) {
	_, _ = hex.Decode(pk[:], r.JSON[pubkeyAt:pubkeyAt+64])
	return pk
}

// HexPubKey is the author's key as it stands in the record.
func (r *Record) HexPubKey() []byte { return r.JSON[pubkeyAt : pubkeyAt+64] }

// CreatedAt is in seconds since 1970.
func (r *Record) CreatedAt() int64 { return r.created }

// Kind is the event's kind.
func (r *Record) Kind() int { return r.kind }

// Expires is NIP-40's expiration in seconds since 1970; 0 means never.
func (r *Record) Expires() int64 { return r.expires }

// Clone copies the bytes, so that the record may be kept.
func (r *Record) Clone() Record {
	c := *r
	c.JSON = slices.Clone(r.JSON)
	return c
}

// Event decodes the record into an event of its own memory.
func (r *Record) Event() (*nostr.Event, error) {
	ev := new(nostr.Event)
	if err := ev.UnmarshalJSON(slices.Clone(r.JSON)); err != nil {
		return nil, fmt.Errorf("decode record %s: %w", r.HexID(), err)
	}
	return ev, nil
}

// Tags calls yield with each tag's name and first value (nil when it has
// none) until yield returns false. The bytes are valid during the call only.
func (r *Record) Tags(yield func(name, value []byte) bool) {
	var name, value []byte // scratch for unescaped strings
	s := tagScanner{buf: r.JSON, at: r.tagsAt + 1}
	for s.openTag() {
		n := s.str(&name)
		var v []byte
		if s.more() {
			v = s.str(&value)
		}
		if !yield(n, v) {
			return
		}
		s.closeTag()
	}
}

// HasTag reports whether the event carries the single-letter tag with value.
func (r *Record) HasTag(letter byte, value string) (found bool) {
	r.Tags(func(n, v []byte) bool {
		found = v != nil && len(n) == 1 && n[0] == letter && string(v) == value
		return !found
	})
	return found
}

// Match reports whether the event matches f, its Search and Limit aside. A
// list that is empty but not nil matches nothing.
func (r *Record) Match(f nostr.Filter) bool {
	if f.Since != nil && r.created < int64(*f.Since) || f.Until != nil && r.created > int64(*f.Until) {
		return false
	}
	if f.Kinds != nil && !slices.Contains(f.Kinds, r.kind) {
		return false
	}
	if f.Authors != nil && !containsBytes(f.Authors, r.HexPubKey()) {
		return false
	}
	if f.IDs != nil && !containsBytes(f.IDs, r.HexID()) {
		return false
	}
	return len(f.Tags) == 0 || r.matchTags(f.Tags)
}

func (r *Record) matchTags(want nostr.TagMap) bool {
	for name, values := range want {
		hit := false
		r.Tags(func(n, v []byte) bool {
			hit = v != nil && string(n) == name && containsBytes(values, v)
			return !hit
		})
		if !hit {
			return false
		}
	}
	return true
}

func containsBytes(list []string, b []byte) bool {
	for _, s := range list {
		if s == string(b) {
			return true
		}
	}
	return false
}

// tagScanner walks the tags of a canonical record. It trusts the shape that
// the canonical encoder gave.
type tagScanner struct {
	buf []byte
	at  int
}

// openTag steps into the next tag; false at the end of the list.
func (s *tagScanner) openTag() bool {
	if s.at < len(s.buf) && s.buf[s.at] == ',' {
		s.at++
	}
	if s.at >= len(s.buf) || s.buf[s.at] != '[' {
		return false
	}
	s.at++
	return s.at < len(s.buf) && s.buf[s.at] == '"'
}

// more reports whether another string follows in this tag, and steps to it.
func (s *tagScanner) more() bool {
	if s.at < len(s.buf) && s.buf[s.at] == ',' {
		s.at++
		return true
	}
	return false
}

// str reads the string at the cursor; scratch holds it when it had escapes.
func (s *tagScanner) str(scratch *[]byte) []byte {
	start := s.at + 1
	for i := start; i < len(s.buf); i++ {
		switch s.buf[i] {
		case '"':
			s.at = i + 1
			return s.buf[start:i]
		case '\\':
			return s.escaped(start, i, scratch)
		}
	}
	s.at = len(s.buf)
	return nil
}

func (s *tagScanner) escaped(start, i int, scratch *[]byte) []byte {
	out := append((*scratch)[:0], s.buf[start:i]...)
	for i < len(s.buf) && s.buf[i] != '"' {
		if s.buf[i] != '\\' || i+1 >= len(s.buf) {
			out = append(out, s.buf[i])
			i++
			continue
		}
		c := s.buf[i+1]
		i += 2
		if c == 'u' && i+4 <= len(s.buf) {
			n, _ := strconv.ParseUint(string(s.buf[i:i+4]), 16, 16)
			out = utf8.AppendRune(out, rune(n))
			i += 4
			continue
		}
		out = append(out, unescape(c))
	}
	s.at = i + 1
	*scratch = out
	return out
}

func unescape(c byte) byte {
	switch c {
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	}
	return c
}

// closeTag skips what is left of the tag.
func (s *tagScanner) closeTag() {
	for s.at < len(s.buf) {
		switch s.buf[s.at] {
		case ']':
			s.at++
			return
		case '"':
			s.skip()
		default:
			s.at++
		}
	}
}

func (s *tagScanner) skip() {
	for s.at++; s.at < len(s.buf); s.at++ {
		switch s.buf[s.at] {
		case '\\':
			s.at++
		case '"':
			s.at++
			return
		}
	}
}
