package search

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// Bounds of one query; what is beyond them is ignored.
const (
	maxQuery = 4096 // bytes read of a search string
	maxTerms = 32   // different words looked up
	maxExt   = 64   // key:value extensions kept
)

// Query is a search string, taken apart. Words are folded: lower case, without
// accents.
type Query struct {
	Words   []string            // each must occur, in any order
	Phrases [][]string          // the words of each must occur one after the other
	Not     [][]string          // words or phrases that must not occur
	Ext     map[string][]string // NIP-50 extensions, key:value, in the order given
	Blank   bool                // nothing but extensions was asked for: the filter alone says what is wanted

	single map[string]bool // words of one letter of a script without spaces: they match any pair that starts with it
	typing string          // the last word, when it stands alone: it also matches the beginning of a name
	terms  []string        // the different words of Words and Phrases, at most maxTerms
}

// Parse reads a NIP-50 search string. It knows words, "quoted phrases",
// -excluded words and -"excluded phrases", and key:value extensions, whose
// meaning is the caller's business. Any string is a query: what cannot be read
// is left out. A string with words but none that can be found ("!!!") finds
// nothing; it is not Blank.
func Parse(s string) Query {
	q := Query{Ext: map[string][]string{}, single: map[string]bool{}, Blank: true}
	if len(s) > maxQuery {
		s = string(clip([]byte(s), maxQuery))
	}
	s = strings.ToValidUTF8(s, " ")
	for s = strings.TrimLeftFunc(s, isSpace); s != ""; s = strings.TrimLeftFunc(s, isSpace) {
		s = q.part(s)
	}
	q.collect()
	return q
}

// part reads the first part of s and returns the rest.
func (q *Query) part(s string) string {
	if key, rest, ok := extension(s); ok {
		value, rest := quotedOrWord(rest)
		if len(q.Ext) < maxExt && len(q.Ext[key]) < maxExt {
			q.Ext[key] = append(q.Ext[key], value)
		}
		return rest
	}
	not := len(s) > 1 && s[0] == '-' && s[1] != '-' && s[1] != ' '
	if not {
		s = s[1:]
	}
	quoted := s[0] == '"'
	text, rest := quotedOrWord(s)
	q.Blank = q.Blank && text == ""
	q.add(text, quoted, not)
	q.typing = ""
	if rest == "" && !quoted && !not && len(q.Words) > 0 {
		q.typing = q.Words[len(q.Words)-1]
	}
	return rest
}

// extension splits "key:value …" off s. A key is lower case; an address
// (https://…) and a mention (nostr:npub1…) are words.
func extension(s string) (key, rest string, ok bool) {
	n := 0
	for n < len(s) && (s[n] >= 'a' && s[n] <= 'z' || n > 0 && (s[n] >= '0' && s[n] <= '9' || s[n] == '_' || s[n] == '-')) {
		n++
	}
	if n == 0 || n+1 >= len(s) || s[n] != ':' || s[:n] == "nostr" {
		return "", s, false
	}
	rest = s[n+1:]
	if strings.HasPrefix(rest, "//") || rest[0] == ' ' {
		return "", s, false
	}
	return s[:n], rest, true
}

// quotedOrWord takes a "quoted text" (the closing quote may be missing) or
// everything up to the next space.
func quotedOrWord(s string) (text, rest string) {
	if s[0] == '"' {
		text, rest, _ = strings.Cut(s[1:], `"`)
		return text, rest
	}
	if i := strings.IndexFunc(s, func(r rune) bool { return r == '"' || isSpace(r) }); i >= 0 {
		return s[:i], s[i:]
	}
	return s, ""
}

func isSpace(r rune) bool { return r <= ' ' || r == 0x3000 || r == 0xA0 || r >= 0x2000 && r <= 0x200A }

// add files the words of one part. Pairs of a script without spaces stand for
// a text, so they must stand together, as the words of a quoted phrase must.
func (q *Query) add(text string, quoted, not bool) {
	var words []string
	together := quoted || not
	split([]byte(text), func(w []byte, f form) bool {
		if f == tail {
			return true
		}
		together = together || f == pair
		if f == lone {
			q.single[string(w)] = true
		}
		words = append(words, string(w))
		return true
	})
	switch {
	case len(words) == 0:
	case not:
		q.Not = append(q.Not, words)
	case together && len(words) > 1:
		q.Phrases = append(q.Phrases, words)
	default:
		q.Words = append(q.Words, words...)
	}
}

// collect makes the list of terms to look up. Words beyond the bound are
// ignored, except that a phrase or an exclusion is ignored as a whole.
func (q *Query) collect() {
	var words []string
	for _, w := range q.Words {
		if q.want(w) && !slices.Contains(words, w) {
			words = append(words, w)
		}
	}
	q.Words = words
	q.Phrases = slices.DeleteFunc(q.Phrases, func(p []string) bool {
		return !q.want(p...)
	})
	if len(q.Not) > maxTerms {
		q.Not = q.Not[:maxTerms]
	}
	if !slices.Contains(q.Words, q.typing) || utf8.RuneCountInString(q.typing) < 2 {
		q.typing = ""
	}
}

func (q *Query) want(words ...string) bool {
	terms := q.terms
	for _, w := range words {
		if !slices.Contains(terms, w) {
			terms = append(terms, w)
		}
	}
	if len(terms) > maxTerms {
		return false
	}
	q.terms = terms
	return true
}
