package search

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// class is what a rune does to the word being read.
type class uint8

const (
	gap    class = iota // ends the word
	inside              // letter or digit of a word
	dense               // letter of a script written without spaces: read in pairs
	mark                // belongs to the letter before it
	sign                // emoji, currency, mathematics: a word of its own
	drop                // invisible: neither in a word nor the end of one
)

// classify says what r does. ASCII never comes here.
func classify(r rune) class {
	switch {
	case r == 0x200B, r == utf8.RuneError: // zero width space stands between Thai and Khmer words
		return gap
	case isDense(r):
		return denseClass(r)
	case unicode.IsLetter(r), unicode.IsNumber(r):
		return inside
	case unicode.IsMark(r):
		return markClass(r)
	case r >= 0x1F3FB && r <= 0x1F3FF: // skin tones
		return drop
	case unicode.Is(unicode.So, r), unicode.Is(unicode.Sc, r), r >= 0x2190 && unicode.Is(unicode.Sm, r):
		return sign
	case unicode.Is(unicode.Cf, r):
		return drop
	}
	return gap
}

// isDense reports whether r is in a script that we read in pairs of letters.
func isDense(r rune) bool {
	switch {
	case r < 0x0E00:
		return false
	case r < 0x0F00: // Thai, Lao
		return true
	case r >= 0x1000 && r < 0x10A0, r >= 0x1780 && r < 0x1800, r >= 0xAA60 && r < 0xAA80: // Myanmar, Khmer
		return true
	case r >= 0x3005 && r < 0x3100, r >= 0x31F0 && r < 0x3200: // kana and the iteration marks
		return true
	}
	return unicode.In(r, unicode.Han, unicode.Hangul)
}

func denseClass(r rune) class {
	switch {
	case unicode.IsMark(r):
		return mark
	case unicode.IsLetter(r):
		return dense
	case unicode.IsNumber(r):
		return inside
	}
	return gap
}

// markClass drops the marks that writers leave out at will: accents that no
// letter composes with, Hebrew points, Arabic vowels, variation selectors.
// Indic vowel signs and viramas are letters in all but name and stay.
func markClass(r rune) class {
	switch {
	case r >= 0x0300 && r <= 0x036F, r >= 0x0483 && r <= 0x0489, r >= 0x0591 && r <= 0x05C7,
		r >= 0x0610 && r <= 0x061A, r >= 0x064B && r <= 0x065F, r == 0x0670, r >= 0x06D6 && r <= 0x06ED,
		r >= 0x1AB0 && r <= 0x1AFF, r >= 0x1DC0 && r <= 0x1DFF, r >= 0x20D0 && r <= 0x20FF,
		r >= 0xFE00 && r <= 0xFE0F, r >= 0xFE20 && r <= 0xFE2F, r >= 0xE0100 && r <= 0xE01EF:
		return drop
	}
	return mark
}

// appendFold appends the folded form of a letter or digit: lower case, without
// accents, digits as ASCII, spellings that readers take for the same unified.
func appendFold(dst []byte, r rune) []byte {
	if unicode.Is(unicode.Nd, r) {
		return append(dst, '0'+digit(r))
	}
	if r == 0x0640 { // tatweel stretches a word, nothing more
		return dst
	}
	r = unicode.ToLower(r)
	if s := special(r); s != "" {
		return append(dst, s...)
	}
	if (r >= 0xC0 && r < 0x0400) || (r >= 0x1E00 && r < 0x2000) {
		r = unicode.ToLower(base(r))
	}
	if s := special(r); s != "" {
		return append(dst, s...)
	}
	return utf8.AppendRune(dst, r)
}

// base is the letter under a Latin or Greek letter's accents.
func base(r rune) rune {
	var b [utf8.UTFMax]byte
	n := utf8.EncodeRune(b[:], r)
	d := norm.NFD.Properties(b[:n]).Decomposition()
	if len(d) == 0 {
		return r
	}
	r, _ = utf8.DecodeRune(d)
	return r
}

// digit is the value of a decimal digit of any script. The ranges of Nd hold
// whole sets of ten.
func digit(r rune) byte {
	for _, t := range unicode.Nd.R16 {
		if r >= rune(t.Lo) && r <= rune(t.Hi) {
			return byte((r - rune(t.Lo)) % 10)
		}
	}
	for _, t := range unicode.Nd.R32 {
		if r >= rune(t.Lo) && r <= rune(t.Hi) {
			return byte((r - rune(t.Lo)) % 10)
		}
	}
	return 0
}

// special holds the foldings that Unicode's decomposition does not know. The
// Arabic ones are those of Lucene's ArabicNormalizer and PersianNormalizer.
func special(r rune) string {
	switch r {
	case 'ß', 'ẞ':
		return "ss"
	case 'æ':
		return "ae"
	case 'œ':
		return "oe"
	case 'ø':
		return "o"
	case 'ł':
		return "l"
	case 'đ', 'ð':
		return "d"
	case 'þ':
		return "th"
	case 'ı', 'İ':
		return "i"
	case 'ς':
		return "σ"
	case 'ё':
		return "е"
	case 'أ', 'إ', 'آ', 'ٱ':
		return "ا"
	case 'ى', 'ی':
		return "ي"
	case 'ة':
		return "ه"
	case 'ک':
		return "ك"
	}
	return ""
}
