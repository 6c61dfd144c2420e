package search

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"

	"agora/relay/store"
)

// Kinds are the kinds indexed by default: those whose text is written to be
// read. Profiles, channels, handlers and shops keep theirs in JSON.
func Kinds() []int {
	return []int{
		0, 1, 9, 11, 20, 21, 22, 40, 41, 42, 1063, 1068, 1111, 1311, 1337, 1621, 2003, 9802,
		30000, 30003, 30004, 30005, 30017, 30018, 30023, 30311, 30315, 30402, 30617, 30818, 31922, 31923,
		31924, 31990, 34235, 34236, 34550, 39000, 39089,
	}
}

// sealed are the kinds whose content is encrypted or whose existence is
// private; asking for one is a mistake.
func sealed() []int {
	return []int{4, 13, 14, 15, 443, 444, 445, 1059, 1060, 10013, 13194, 21059, 22242, 23194, 23195, 24133, 27235, 30078, 31234}
}

func checkKinds(kinds []int) error {
	for _, k := range sealed() {
		if slices.Contains(kinds, k) {
			return fmt.Errorf("kind %d is encrypted or private and cannot be indexed", k)
		}
	}
	return nil
}

// part says which field of a document a text belongs to.
type part uint8

const (
	body part = iota
	name      // what a person, group, article or shop is called
)

// texts hands every text of the record that is meant to be found to yield, in
// a fixed order. The bytes are valid during the call.
func texts(r *store.Record, scratch *[]byte, yield func(p part, text []byte)) {
	r.Tags(func(tag, value []byte) bool {
		switch string(tag) {
		case "title", "name":
			yield(name, value)
		case "t", "summary", "description", "about", "subject":
			yield(body, value)
		}
		return true
	})
	content := contentOf(r.JSON, scratch)
	switch r.Kind() {
	case 0, 40, 41, 30017, 30018, 31990:
		jsonTexts(content, yield)
	case 30000: // a list's content is its encrypted part
	default:
		yield(body, content)
	}
}

// jsonTexts reads the fields of a profile and of everything that copied its
// form. What is not JSON has no text.
func jsonTexts(content []byte, yield func(p part, text []byte)) {
	var f struct {
		Name        looseString `json:"name"`
		DisplayName looseString `json:"display_name"`
		OldDisplay  looseString `json:"displayName"`
		NIP05       looseString `json:"nip05"`
		About       looseString `json:"about"`
		Description looseString `json:"description"`
	}
	if json.Unmarshal(content, &f) != nil {
		return
	}
	for _, s := range []looseString{f.Name, f.DisplayName, f.OldDisplay, f.NIP05} {
		yield(name, []byte(s))
	}
	yield(body, []byte(f.About))
	yield(body, []byte(f.Description))
}

// looseString reads a JSON string and takes anything else for an empty one.
type looseString string

// UnmarshalJSON never fails.
func (s *looseString) UnmarshalJSON(b []byte) error {
	var v string
	if json.Unmarshal(b, &v) == nil {
		*s = looseString(v)
	}
	return nil
}

// contentOf is the content of a canonical record, unescaped. The key cannot
// occur earlier: inside a string its quotes would be escaped.
func contentOf(record []byte, scratch *[]byte) []byte {
	const end = len(`","sig":"`) + 128 + len(`"}`)
	i := bytes.Index(record, []byte(`,"content":"`))
	if i < 0 {
		return nil
	}
	i += len(`,"content":"`)
	if len(record)-end < i {
		return nil
	}
	raw := record[i : len(record)-end]
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw
	}
	*scratch = unescape((*scratch)[:0], raw)
	return *scratch
}

// unescape appends the JSON string raw without its escapes.
func unescape(dst, raw []byte) []byte {
	for len(raw) > 0 {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 || i+1 >= len(raw) {
			return append(dst, raw...)
		}
		dst = append(dst, raw[:i]...)
		c := raw[i+1]
		raw = raw[i+2:]
		switch c {
		case 'n', 'r', 't', 'b', 'f':
			dst = append(dst, ' ')
		case 'u':
			r, n := hexRune(raw)
			dst, raw = utf8.AppendRune(dst, r), raw[n:]
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// hexRune reads the digits of \uXXXX, and the second half of a pair.
func hexRune(raw []byte) (rune, int) {
	unit := func(b []byte) (rune, bool) {
		if len(b) < 4 {
			return 0, false
		}
		n, err := strconv.ParseUint(string(b[:4]), 16, 16)
		return rune(n), err == nil
	}
	r, ok := unit(raw)
	if !ok {
		return utf8.RuneError, 0
	}
	if utf16.IsSurrogate(r) && len(raw) >= 10 && raw[4] == '\\' && raw[5] == 'u' {
		low, _ := unit(raw[6:])
		if both := utf16.DecodeRune(r, low); both != utf8.RuneError {
			return both, 10
		}
	}
	return r, 4
}
