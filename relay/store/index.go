package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"agora/relay/lowhex"

	"github.com/PowerDNS/lmdb-go/lmdb"
	"github.com/nbd-wtf/go-nostr"
)

// An entry's three fields have 6 bytes each.
const (
	fieldSize = 6
	entrySize = 3 * fieldSize
	maxField  = 1<<(8*fieldSize) - 1
)

// MaxCreatedAt is the latest created_at, in seconds since 1970, that the store
// takes: some nine million years from now.
const MaxCreatedAt = maxField

// entry is one row of a run: ^created_at, the first bytes of the id, pos.
// Ascending byte order is created_at descending, ties by lowest id.
type entry [entrySize]byte

func makeEntry(created int64, id ID, pos Pos) (e entry) {
	putField(e[:], ^uint64(min(created, MaxCreatedAt)))
	copy(e[fieldSize:], id[:fieldSize])
	putField(e[2*fieldSize:], uint64(pos))
	return e
}

func putField(b []byte, n uint64) {
	var full [8]byte
	binary.BigEndian.PutUint64(full[:], n)
	copy(b[:fieldSize], full[8-fieldSize:])
}

func field(b []byte) uint64 {
	var full [8]byte
	copy(full[8-fieldSize:], b[:fieldSize])
	return binary.BigEndian.Uint64(full[:])
}

func (e *entry) created() int64 { return int64(^field(e[:]) & maxField) }
func (e *entry) pos() Pos       { return Pos(field(e[2*fieldSize:])) }

func (e *entry) less(o *entry) bool { return bytes.Compare(e[:], o[:]) < 0 }

// sameSlot reports whether two entries tie in created_at and the id bytes that
// the entry carries; only the records can order them then.
func (e *entry) sameSlot(o *entry) bool { return bytes.Equal(e[:2*fieldSize], o[:2*fieldSize]) }

// following is the smallest entry after e.
func (e entry) following() entry {
	putField(e[2*fieldSize:], uint64(e.pos())+1)
	return e
}

// present is the value of a row whose key says all. It is not empty because
// an empty value's address may be the end of its page, which the LMDB binding
// touches, and which may be the end of the file.
const present = "\x01"

func posKey(p Pos) []byte { return binary.BigEndian.AppendUint64(make([]byte, 0, 8), uint64(p)) }

func createdKey(created int64, id ID) []byte {
	k := binary.BigEndian.AppendUint64(make([]byte, 0, 40), uint64(created))
	for _, b := range id {
		k = append(k, ^b)
	}
	return k
}

func kindKey(kind int) []byte {
	return binary.BigEndian.AppendUint16(make([]byte, 0, 2), uint16(kind))
}

func authorKindKey(pubkey []byte, kind int) []byte {
	k := append(make([]byte, 0, 34), pubkey...)
	return binary.BigEndian.AppendUint16(k, uint16(kind))
}

// Forms of a tag value in a key.
const (
	tagHex    = 1 // 32 bytes, from 64 lower-case hex digits
	tagPlain  = 2 // as it is
	tagHashed = 3 // SHA-256
)

func tagKey(letter byte, value string) []byte {
	k := append(make([]byte, 0, 40), letter)
	if len(value) == 64 {
		var raw [32]byte
		if lowhex.Decode(raw[:], value) {
			return append(append(k, tagHex), raw[:]...)
		}
	}
	if len(value) <= 200 {
		return append(append(k, tagPlain), value...)
	}
	sum := sha256.Sum256([]byte(value))
	return append(append(k, tagHashed), sum[:]...)
}

func tagKindKey(tag []byte, kind int) []byte {
	k := append(make([]byte, 0, len(tag)+2), tag...)
	return binary.BigEndian.AppendUint16(k, uint16(kind))
}

func hasTagKind(letter byte) bool {
	return letter == 'e' || letter == 'p' || letter == 'a' || letter == 'q'
}

// ParseID reads 64 lower-case hex digits.
func ParseID(s string) (id ID, err error) {
	if !lowhex.Decode(id[:], s) {
		return id, fmt.Errorf("%q is not 64 lower-case hex digits", s)
	}
	return id, nil
}

// String is the lower-case hex form.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Classes of kinds (NIP-01).
func replaceable(kind int) bool { return kind == 0 || kind == 3 || kind >= 10000 && kind < 20000 }
func addressable(kind int) bool { return kind >= 30000 && kind < 40000 }

// addressKey is the key of the one version held of a replaceable or
// addressable event.
func addressKey(kind int, pubkey []byte, d string) []byte {
	if !addressable(kind) {
		d = ""
	}
	sum := sha256.Sum256([]byte(d))
	k := binary.BigEndian.AppendUint16(make([]byte, 0, 50), uint16(kind))
	return append(append(k, pubkey...), sum[:16]...)
}

// parseAddress reads "kind:pubkey:d" (NIP-01); ok is false when it is not one
// of a replaceable or addressable kind.
func parseAddress(a string) (kind int, pubkey [32]byte, d string, ok bool) {
	k, rest, found := strings.Cut(a, ":")
	if !found {
		return 0, pubkey, "", false
	}
	pk, d, _ := strings.Cut(rest, ":")
	kind, err := strconv.Atoi(k)
	if err != nil || !replaceable(kind) && !addressable(kind) || !lowhex.Decode(pubkey[:], pk) {
		return 0, pubkey, "", false
	}
	return kind, pubkey, d, true
}

// parsed is an event with the keys the indexes need, decoded once.
type parsed struct {
	id      ID
	pubkey  [32]byte
	created int64
	kind    int
	expires int64  // 0: never
	address []byte // nil for regular kinds
	rows    []row
}

// row is one index row to write or delete; its value is the event's entry.
type row struct {
	dbi lmdb.DBI
	key []byte
}

// parse decodes ev. It repeats no row: a tag given twice is indexed once.
func (t *tables) parse(ev *nostr.Event) (p parsed, err error) {
	if !lowhex.Decode(p.id[:], ev.ID) || !lowhex.Decode(p.pubkey[:], ev.PubKey) {
		return p, fmt.Errorf("event %q by %q: id and pubkey must be 64 lower-case hex digits", ev.ID, ev.PubKey)
	}
	if ev.Kind < 0 || ev.Kind > 65535 || ev.CreatedAt < 0 || ev.CreatedAt > MaxCreatedAt {
		return p, fmt.Errorf("event %s: kind %d or created_at %d is out of range", ev.ID, ev.Kind, ev.CreatedAt)
	}
	p.created, p.kind = int64(ev.CreatedAt), ev.Kind
	if replaceable(p.kind) || addressable(p.kind) {
		p.address = addressKey(p.kind, p.pubkey[:], firstTag(ev.Tags, "d"))
	}
	p.expires = expiration(ev.Tags)
	p.rows = append(make([]row, 0, 3+2*len(ev.Tags)),
		row{t.author, p.pubkey[:]}, row{t.authorkind, authorKindKey(p.pubkey[:], p.kind)}, row{t.kind, kindKey(p.kind)})
	for i, tag := range ev.Tags {
		if len(tag) < 2 || len(tag[0]) != 1 || !isLetter(tag[0][0]) || repeated(ev.Tags[:i], tag) {
			continue
		}
		key := tagKey(tag[0][0], tag[1])
		p.rows = append(p.rows, row{t.tag, key})
		if hasTagKind(tag[0][0]) {
			p.rows = append(p.rows, row{t.tagkind, tagKindKey(key, p.kind)})
		}
	}
	return p, nil
}

// repeated looks back at most 64 tags; the index itself refuses the same row
// twice, so a repeat further back only costs time.
func repeated(before nostr.Tags, tag nostr.Tag) bool {
	for _, b := range before[max(0, len(before)-64):] {
		if len(b) >= 2 && b[0] == tag[0] && b[1] == tag[1] {
			return true
		}
	}
	return false
}

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' }

func firstTag(tags nostr.Tags, name string) string {
	for _, t := range tags {
		if len(t) >= 2 && t[0] == name {
			return t[1]
		}
	}
	return ""
}

// expiration reads NIP-40's tag; 0 when there is none that can be read.
func expiration(tags nostr.Tags) int64 {
	n, err := strconv.ParseInt(firstTag(tags, "expiration"), 10, 64)
	if err != nil {
		return 0
	}
	return max(n, 1)
}
