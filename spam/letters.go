package spam

// Letters are told apart by tables of our own: those of Unicode change from
// version to version, and two programs must see the same.

type script uint8

const (
	none script = iota
	latin
	greek
	cyrillic
	arabic // and Hebrew
	indic
	thai
	kana
	hangul
	han
	otherScript
	scripts
)

var scriptNames = [scripts]string{"none", "Latin", "Greek", "Cyrillic", "Arabic", "Indic", "Thai", "Kana", "Hangul", "Han", "other"}

func (s script) String() string { return scriptNames[s] }

var (
	mediaEnds = [...]string{"jpg", "jpeg", "png", "gif", "webp", "mp4", "mov", "webm", "mp3", "svg"}
	entities  = [...]string{"npub1", "note1", "nevent1", "nprofile1", "naddr1", "nsec1"}
	invoices  = [...]string{"lnbc", "lnurl", "lntb", "cashua", "cashub"}
	domains   = [...]string{
		"com", "net", "org", "io", "top", "xyz", "me", "vip", "cc", "ru", "cn", "app", "co", "gg", "ly",
		"shop", "site", "online", "club", "info", "live", "link",
	}
)

func lower(r rune) rune {
	switch {
	case r >= 'A' && r <= 'Z':
		return r + 32
	case r < 0xC0:
		return r
	case r <= 0xDE && r != 0xD7:
		return r + 32
	case r >= 0x100 && r <= 0x137, r >= 0x14A && r <= 0x177:
		return r | 1
	case r >= 0x139 && r <= 0x148, r >= 0x179 && r <= 0x17E:
		return r + r&1
	case r >= 0x391 && r <= 0x3A9, r >= 0x410 && r <= 0x42F:
		return r + 32
	case r >= 0x400 && r <= 0x40F:
		return r + 80
	}
	return r
}

// scriptOf is none for what is no letter.
func scriptOf(r rune) script {
	switch {
	case r < 0x80:
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return latin
		}
		return none
	case r < 0x370:
		if r >= 0xC0 && r <= 0x24F && r != 0xD7 && r != 0xF7 {
			return latin
		}
		return none
	case r < 0x400:
		return greek
	case r < 0x530:
		return cyrillic
	case r < 0x590:
		return otherScript
	case r < 0x900:
		return arabic
	case r < 0xE00:
		return indic
	case r < 0xE80:
		return thai
	case r >= 0x1100 && r <= 0x11FF, r >= 0xAC00 && r <= 0xD7AF:
		return hangul
	case r < 0x2000:
		return otherScript
	case r >= 0x3040 && r <= 0x30FF:
		return kana
	case r >= 0x3400 && r <= 0x9FFF, r >= 0xF900 && r <= 0xFAFF, r >= 0x20000 && r <= 0x323AF:
		return han
	}
	return none
}

func space(r rune) bool {
	switch r {
	case ' ', '\t', '\n', 11, 12, '\r', 0x85, 0xA0, 0x3000, 0x2028, 0x2029:
		return true
	}
	return r >= 0x2000 && r <= 0x200A
}

// invisible characters have no place in a text but to break up its words.
func invisible(r rune) bool {
	switch r {
	case 0x200B, 0x200C, 0x200E, 0x200F, 0xFEFF, 0xAD, 0x180E, 0x115F, 0x3164:
		return true
	}
	return r >= 0x2060 && r <= 0x2064 || r >= 0x202A && r <= 0x202E || r >= 0x2066 && r <= 0x2069 || r >= 0xE0020 && r <= 0xE007F
}

// joiner is a part of one emoji.
func joiner(r rune) bool {
	return r == 0x200D || r >= 0xFE00 && r <= 0xFE0F || r >= 0x1F3FB && r <= 0x1F3FF
}

func combining(r rune) bool {
	return r >= 0x300 && r <= 0x36F || r >= 0x1AB0 && r <= 0x1AFF || r >= 0x20D0 && r <= 0x20FF || r >= 0x483 && r <= 0x489
}

func emoji(r rune) bool { return r >= 0x2190 && r <= 0x2BFF || r >= 0x1F000 && r <= 0x1FAFF }

func money(r rune) bool {
	switch r {
	case '$', 0xA3, 0xA5, 0x20AC, 0x20BF, 0x20BD, 0x20B9:
		return true
	}
	return false
}

func punct(r rune) bool {
	return r >= 33 && r <= 47 || r >= 58 && r <= 64 || r >= 91 && r <= 96 || r >= 123 && r <= 126 || r >= 0x3001 && r <= 0x3011
}

// fold brings look-alikes out of other blocks back to ASCII; 0 when r is none.
func fold(r rune) rune {
	switch {
	case r < 0x24B6:
		return 0
	case r <= 0x24CF:
		return r - 0x24B6 + 'A'
	case r <= 0x24E9:
		return r - 0x24D0 + 'a'
	case r >= 0xFF01 && r <= 0xFF5E:
		return r - 0xFEE0
	case r >= 0x1D7CE && r <= 0x1D7FF:
		return '0' + (r-0x1D7CE)%10
	case r >= 0x1D400 && r <= 0x1D6A3:
		if i := (r - 0x1D400) % 52; i >= 26 {
			return 'a' + i - 26
		}
		return 'A' + (r-0x1D400)%52
	case r >= 0x1F130 && r <= 0x1F149:
		return r - 0x1F130 + 'A'
	}
	return 0
}

func alnum(r rune) bool { return r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' }

// seenAs is the letter that a lower-case one counts as: those of other alphabets
// which look like a Latin one are the same to a reader.
func seenAs(r rune) rune {
	if r < 0x131 || r > 0x51D {
		return r
	}
	switch r {
	case 'ɑ', 'α', 'а':
		return 'a'
	case 'β', 'в':
		return 'b'
	case 'с':
		return 'c'
	case 'ԁ':
		return 'd'
	case 'ε', 'е':
		return 'e'
	case 'ɡ':
		return 'g'
	case 'н', 'һ':
		return 'h'
	case 'ı', 'ι', 'і':
		return 'i'
	case 'ј':
		return 'j'
	case 'κ', 'к':
		return 'k'
	case 'м':
		return 'm'
	case 'η':
		return 'n'
	case 'ο', 'о':
		return 'o'
	case 'ρ', 'р':
		return 'p'
	case 'ԛ':
		return 'q'
	case 'г':
		return 'r'
	case 'ѕ':
		return 's'
	case 'τ', 'т':
		return 't'
	case 'υ':
		return 'u'
	case 'ν':
		return 'v'
	case 'ω', 'ԝ':
		return 'w'
	case 'χ', 'х':
		return 'x'
	case 'γ', 'у':
		return 'y'
	}
	return r
}
