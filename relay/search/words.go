package search

import (
	"bytes"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// maxWord bounds a word, in bytes; what is longer is cut at a letter.
const maxWord = 64

// form says how a word was read.
type form uint8

const (
	plain form = iota // a run of letters and digits, or a sign
	pair              // two letters of a script written without spaces
	lone              // the only letter of such a run
	tail              // the last letter of such a run: indexed so that one letter can be looked for, no word of its own
)

// splitter cuts one text into words.
type splitter struct {
	emit func(word []byte, f form) bool // false stops; word is valid during the call
	word []byte                         // the word being read, folded
	prev []byte                         // dense run: the letter before the one in word, with its marks
	run  int                            // letters in the dense run; 0: word is a plain one
	flag bool                           // word is the first half of a flag
	done bool
}

// split cuts text into folded words, in order, and hands each to emit. Words
// are runs of letters, marks and digits; a letter sequence of a script without
// spaces (Han, kana, Hangul, Thai, Lao, Khmer, Burmese) becomes overlapping
// pairs; an emoji is a word. Of an address only the host counts. Its time is
// linear in the text, whatever the text.
func split(text []byte, emit func(word []byte, f form) bool) {
	s := splitter{emit: emit, word: make([]byte, 0, 2*maxWord)}
	var folded []byte
	for len(text) > 0 && !s.done {
		part := text[:cut(text)]
		text = text[len(part):]
		if !utf8.Valid(part) { // which would also hide what follows from normalisation
			part = bytes.ToValidUTF8(part, []byte(" "))
		}
		if !norm.NFKC.IsNormal(part) {
			folded = norm.NFKC.Append(folded[:0], part...)
			part = folded
		}
		s.scan(part)
	}
	s.flush()
}

// readAtOnce is how many bytes of a text are normalised at once: one that
// grows to many times its size is given up early.
const readAtOnce = 16 << 10

// cut is where the first part of a text ends: after a space, or at least
// between letters, for what is looked at together must be in one part.
func cut(text []byte) int {
	if len(text) <= readAtOnce {
		return len(text)
	}
	if i := bytes.LastIndexByte(text[readAtOnce/2:readAtOnce], ' '); i >= 0 {
		return readAtOnce/2 + i + 1
	}
	if i := norm.NFKC.LastBoundary(text[:readAtOnce]); i > 0 {
		return i
	}
	return len(clip(text, readAtOnce))
}

func (s *splitter) scan(t []byte) {
	for i := 0; i < len(t) && !s.done; {
		c := t[i]
		if c >= utf8.RuneSelf {
			i += s.wide(t, i)
			continue
		}
		if low := asciiFold(c); low != 0 {
			s.endDense()
			s.add(low)
			i++
			continue
		}
		switch {
		case c == '\'' && s.inWord():
			i += s.apostrophe(t[i+1:], 1)
		case c == ':' && s.inWord():
			i += s.colon(t[i+1:])
		default:
			s.flush()
			i++
		}
	}
}

// asciiFold is the lower case of an ASCII letter or digit, else 0.
func asciiFold(c byte) byte {
	switch {
	case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		return c
	case c >= 'A' && c <= 'Z':
		return c + 'a' - 'A'
	}
	return 0
}

func (s *splitter) inWord() bool { return s.run == 0 && len(s.word) > 0 && !s.flag }

func (s *splitter) add(c byte) {
	if s.flag {
		s.flush()
	}
	if len(s.word) < maxWord {
		s.word = append(s.word, c)
	}
}

// wide reads the rune at t[i] and says how many bytes it took.
func (s *splitter) wide(t []byte, i int) int {
	r, n := utf8.DecodeRune(t[i:])
	if (r == '’' || r == 'ʼ') && s.inWord() {
		return s.apostrophe(t[i+n:], n)
	}
	switch classify(r) {
	case inside:
		s.endDense()
		if s.flag {
			s.flush()
		}
		if len(s.word) < maxWord {
			s.word = clip(appendFold(s.word, r), maxWord)
		}
	case dense:
		s.dense(r)
	case mark:
		if len(s.word) > 0 && len(s.word) < maxWord {
			s.word = clip(utf8.AppendRune(s.word, r), s.room())
		}
	case sign:
		s.sign(r)
	case gap:
		s.flush()
	case drop:
	}
	return n
}

// room is how many bytes the word being read may take: half a word for a dense
// letter, which is stored with its neighbour.
func (s *splitter) room() int {
	if s.run > 0 {
		return maxWord / 2
	}
	return maxWord
}

// clip cuts b to at most n bytes, at a rune.
func clip(b []byte, n int) []byte {
	if len(b) <= n {
		return b
	}
	for n > 0 && !utf8.RuneStart(b[n]) {
		n--
	}
	return b[:n]
}

// dense adds a letter of a script without spaces: prev and word hold the last
// two, and each neighbouring couple is emitted once.
func (s *splitter) dense(r rune) {
	if s.run == 0 {
		s.flush()
	}
	if s.run >= 2 {
		s.pair()
	}
	if s.run > 0 {
		s.prev = append(s.prev[:0], s.word...)
	}
	s.run++
	s.word = utf8.AppendRune(s.word[:0], r)
}

func (s *splitter) pair() {
	n := len(s.prev)
	s.prev = append(s.prev, s.word...)
	s.send(s.prev, pair)
	s.prev = s.prev[:n]
}

func (s *splitter) endDense() {
	if s.run > 0 {
		s.flush()
	}
}

// sign emits a symbol; two regional indicators make one flag.
func (s *splitter) sign(r rune) {
	letter := r >= 0x1F1E6 && r <= 0x1F1FF
	if letter && s.flag {
		s.word = utf8.AppendRune(s.word, r)
		s.flush()
		return
	}
	s.flush()
	s.word = utf8.AppendRune(s.word, r)
	if letter {
		s.flag = true
		return
	}
	s.flush()
}

// apostrophe joins don't, cuts l'eau after its article, and takes the s off
// bitcoin's. rest follows the apostrophe, which is n bytes long.
func (s *splitter) apostrophe(rest []byte, n int) int {
	r, size := utf8.DecodeRune(rest)
	if size == 0 || !letterLike(r) {
		s.flush()
		return n
	}
	if r == 's' || r == 'S' {
		if after, _ := utf8.DecodeRune(rest[1:]); !letterLike(after) {
			s.flush()
			return n + 1
		}
	}
	if utf8.RuneCount(s.word) <= 2 {
		s.flush()
	}
	return n
}

func letterLike(r rune) bool {
	if r < utf8.RuneSelf {
		return asciiFold(byte(r)) != 0
	}
	c := classify(r)
	return r != utf8.RuneError && (c == inside || c == mark)
}

// colon looks at what follows "word:". Of scheme://host/path it reads the host;
// nostr: before an entity is no word. It says how far to go on.
func (s *splitter) colon(rest []byte) int {
	if bytes.HasPrefix(rest, []byte("//")) {
		s.word = s.word[:0]
		return 1 + 2 + s.address(rest[2:])
	}
	if string(s.word) == "nostr" && isEntity(rest) {
		s.word = s.word[:0]
		return 1
	}
	s.flush()
	return 1
}

// address emits the words of the host and says how long the address is.
func (s *splitter) address(rest []byte) int {
	end := bytes.IndexFunc(rest, func(r rune) bool {
		return r <= ' ' || r >= utf8.RuneSelf && classify(r) != inside || bytes.ContainsRune([]byte(`"<>()[]{}|\^`+"`"), r)
	})
	if end < 0 {
		end = len(rest)
	}
	host := rest[:end]
	if i := bytes.IndexAny(host, "/?#"); i >= 0 {
		host = host[:i]
	}
	if i := bytes.LastIndexByte(host, '@'); i >= 0 {
		host = host[i+1:]
	}
	if i := bytes.LastIndexByte(host, ':'); i >= 0 {
		host = host[:i]
	}
	if len(host) > 4 && bytes.EqualFold(host[:4], []byte("www.")) {
		host = host[4:]
	}
	s.scan(clip(host, 255)) // octets of a host name, RFC 1035
	s.flush()
	return end
}

// isEntity reports whether t starts with a NIP-19 entity.
func isEntity(t []byte) bool {
	n := bytes.IndexFunc(t, func(r rune) bool { return r >= utf8.RuneSelf || asciiFold(byte(r)) == 0 })
	if n < 0 {
		n = len(t)
	}
	return n >= 50 && entityPrefix(t) != ""
}

// entityPrefix is the kind of machine-made string t starts with: a NIP-19
// entity, a Lightning invoice, an ecash token.
func entityPrefix(t []byte) string {
	for _, p := range [...]string{"npub1", "note1", "nevent1", "nprofile1", "naddr1", "nsec1", "nrelay1", "lnbc", "lnurl1", "cashu"} {
		if len(t) >= len(p) && bytes.EqualFold(t[:len(p)], []byte(p)) {
			return p
		}
	}
	return ""
}

// flush ends the word or the dense run.
func (s *splitter) flush() {
	switch {
	case s.run == 1:
		s.send(s.word, lone)
	case s.run > 1:
		s.pair()
		s.send(s.word, tail)
	case len(s.word) > 0 && !s.isNoise():
		s.send(s.word, plain)
	}
	s.word, s.prev, s.run, s.flag = s.word[:0], s.prev[:0], 0, false
}

// isNoise says that the word is an entity nobody types. A public key is kept:
// it finds who is mentioned.
func (s *splitter) isNoise() bool {
	if len(s.word) < 50 {
		return false
	}
	p := entityPrefix(s.word)
	return p != "" && p != "npub1"
}

func (s *splitter) send(word []byte, f form) {
	if !s.done && len(word) > 0 {
		s.done = !s.emit(word, f)
	}
}
