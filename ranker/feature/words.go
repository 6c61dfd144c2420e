package feature

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Script is a writing system; text.script is its number.
type Script uint8

// The scripts that are told apart.
const (
	NoScript Script = iota // no letters, or others than these
	Latin
	Cyrillic
	Greek
	Arabic
	Hebrew
	Devanagari
	Thai
	Han
	Kana
	Hangul
	Scripts // how many there are
)

func scriptTables() [Scripts]*unicode.RangeTable {
	return [Scripts]*unicode.RangeTable{
		Latin: unicode.Latin, Cyrillic: unicode.Cyrillic, Greek: unicode.Greek, Arabic: unicode.Arabic, Hebrew: unicode.Hebrew,
		Devanagari: unicode.Devanagari, Thai: unicode.Thai, Han: unicode.Han, Kana: unicode.Katakana, Hangul: unicode.Hangul,
	}
}

func scriptsInWords() string {
	names := [Scripts]string{
		"none", "Latin", "Cyrillic", "Greek", "Arabic", "Hebrew", "Devanagari", "Thai", "Han", "kana", "Hangul",
	}
	var out []string
	for script, name := range names {
		out = append(out, fmt.Sprintf("%d %s", script, name))
	}
	return "writing system of most letters: " + strings.Join(out, ", ")
}

// scriptOf is the script of a letter; a text's letters are mostly of the same
// one, so the last is tried first.
func scriptOf(r rune, last Script, tables *[Scripts]*unicode.RangeTable) Script {
	if r < 0x250 {
		return Latin // the letters below here are
	}
	if tables[last] != nil && unicode.Is(tables[last], r) {
		return last
	}
	for script, table := range tables {
		if table != nil && unicode.Is(table, r) {
			return Script(script)
		}
	}
	if unicode.Is(unicode.Hiragana, r) {
		return Kana
	}
	return NoScript
}

// alone says which characters are words of their own: scripts that put no
// spaces between words.
func alone(r rune) bool {
	return r >= 0x0e00 && unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar)
}

// FNV-1a, 64 bits.
const (
	fnvOffset = 14695981039346656037
	fnvPrime  = 1099511628211
)

func fnv(h uint64, r rune) uint64 {
	var buf [4]byte
	for _, b := range buf[:copy(buf[:], string(r))] {
		h = (h ^ uint64(b)) * fnvPrime
	}
	return h
}

// eachWord walks the words of a text, as the FNV-1a of their lower-cased UTF-8,
// until take says no. A word is a run of letters, marks and digits; a
// character of a script without spaces is a word by itself. Lower case is
// Unicode's simple mapping, character by character.
func eachWord(text string, take func(hash uint64) bool) {
	h, open := uint64(fnvOffset), false
	for _, r := range text {
		letter := unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r)
		if open && (!letter || alone(r)) {
			if !take(h) {
				return
			}
			h, open = fnvOffset, false
		}
		switch {
		case !letter:
		case alone(r):
			if !take(fnv(fnvOffset, r)) {
				return
			}
		default:
			h, open = fnv(h, unicode.ToLower(r)), true
		}
	}
	if open {
		take(h)
	}
}

// Tokens is the hashed words of a text from its beginning, links left out, at
// most limit of them: 1 + FNV-1a mod (Vocabulary - 1).
func Tokens(text string, limit int) []int32 {
	if limit <= 0 {
		return nil
	}
	out := make([]int32, 0, min(limit, DefaultTokens))
	eachWord(withoutLinks(text, func(string) {}), func(hash uint64) bool {
		out = append(out, int32(1+hash%(Vocabulary-1)))
		return len(out) < limit
	})
	return slices.Clip(out)
}
