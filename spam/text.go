package spam

import "math"

// Of a longer text only its two ends are read, in bytes.
const (
	headBytes = 3072
	tailBytes = 1024
)

// Symbols that stand for what is too various to be compared letter by letter:
// a link keeps its site, and of its path only whether it is a picture.
const (
	symLink = 0xE000 + iota
	symPath
	symMedia
	symMention
	symInvoice
	symBlob
)

const mostSites = 16 // distinct sites of one text that are counted

// counts is what was met on the way through a text.
type counts struct {
	links, media, mentions, invoices, blobs, hashtags, cashtags int
	digits, capitals, punct, bang, quest, emoji, lines          int
	invisible, marks, fancy, repeat, bare, money, letters       int
}

// text is the working memory for one text; it is used again and again. It sees
// what Text of train/features.py sees, bit for bit.
type text struct {
	runes []rune // the input, decoded
	out   []rune // symbols
	n     counts
	sites []uint32 // hashes of the sites linked
	leads []uint32 // those of them that are more than the place of a picture
	words []uint32 // hashes of the words
	long  int      // words of 13 letters and more
	mixed int      // words of Latin, Greek and Cyrillic letters together
	per   [scripts]int
	run   int

	seen [1 << tableBits / 64]uint64 // rows met in this text
	rows []uint32                    // the same as a list
}

func newText() *text {
	const most = headBytes + tailBytes
	return &text{
		runes: make([]rune, 0, most), out: make([]rune, 0, 2*most), sites: make([]uint32, 0, mostSites), leads: make([]uint32, 0, mostSites),
		words: make([]uint32, 0, 2*most), rows: make([]uint32, 0, 10*most),
	}
}

// read takes a text apart.
func (t *text) read(s string) {
	t.runes, t.out, t.words = t.runes[:0], append(t.out[:0], ' '), t.words[:0]
	t.sites, t.leads = t.sites[:0], t.leads[:0]
	t.n, t.per, t.long, t.mixed, t.run = counts{}, [scripts]int{}, 0, 0, 0
	t.decode(s)
	t.normalise()
	t.unmask()
	if t.out[len(t.out)-1] != ' ' {
		t.out = append(t.out, ' ')
	}
	t.split()
}

// decode keeps the two ends of s, cut between characters.
func (t *text) decode(s string) {
	if len(s) <= headBytes+tailBytes {
		t.append(s)
		return
	}
	a, b := headBytes, len(s)-tailBytes
	for a > headBytes-3 && s[a]&0xC0 == 0x80 {
		a--
	}
	for b < len(s)-tailBytes+3 && s[b]&0xC0 == 0x80 {
		b++
	}
	t.append(s[:a])
	t.append(s[b:])
}

func (t *text) append(s string) {
	for _, r := range s { // a byte that is no UTF-8 is one U+FFFD
		t.runes = append(t.runes, r)
	}
}

func (t *text) put(r rune) {
	if t.out[len(t.out)-1] == r {
		t.run++
		t.n.repeat = max(t.n.repeat, t.run)
		if r == ' ' && t.run >= 2 || t.run >= 3 { // two spaces may part words of letters set apart
			return
		}
	} else {
		t.run = 0
	}
	t.out = append(t.out, r)
}

// normalise turns runes into symbols.
func (t *text) normalise() {
	fresh, digits := true, 0 // fresh: a word may begin here
	for i := 0; i < len(t.runes); {
		r := t.runes[i]
		if fresh && alnum(r) {
			if end := t.special(i); end > i {
				i, digits = end, 0
				continue
			}
		}
		if r == '#' {
			if end := t.reference(i); end > i {
				i, fresh, digits = end, true, 0
				continue
			}
		}
		i++
		switch {
		case invisible(r):
			t.n.invisible++
			continue
		case joiner(r):
			continue
		case combining(r):
			t.n.marks++
			continue
		}
		r = t.folded(r)
		if space(r) {
			t.n.lines += one(r == '\n')
			t.put(' ')
			fresh, digits = true, 0
			continue
		}
		if r >= '0' && r <= '9' {
			t.n.digits++
			if digits++; digits <= 4 {
				t.out, t.run = append(t.out, r), 0
			}
			fresh = false
			continue
		}
		digits = 0
		fresh = t.letter(r, i)
	}
}

// folded brings letters of decorative alphabets back to ASCII.
func (t *text) folded(r rune) rune {
	f := fold(r)
	if f == 0 {
		return r
	}
	if r < 0xFF00 || r > 0xFFFF || alnum(f) {
		t.n.fancy++
	}
	return f
}

// letter counts and keeps one character; i is where the next one stands.
func (t *text) letter(r rune, i int) (fresh bool) {
	if i < len(t.runes) {
		t.n.hashtags += one(r == '#' && scriptOf(t.runes[i]) != none)
		t.n.cashtags += one(r == '$' && scriptOf(t.runes[i]) == latin)
	}
	low := lower(r)
	sc := scriptOf(low)
	t.n.capitals += one(low != r)
	t.n.letters += one(sc != none)
	t.n.bang += one(r == '!')
	t.n.quest += one(r == '?')
	t.n.money += one(money(r))
	t.n.emoji += one(emoji(r))
	t.n.punct += one(punct(r))
	t.put(low)
	return sc == none || sc >= kana
}

// reference reads the old form of a mention, #[0].
func (t *text) reference(i int) int {
	s := t.runes
	if i+2 >= len(s) || s[i+1] != '[' || s[i+2] < '0' || s[i+2] > '9' {
		return i
	}
	e := i + 2
	for e < len(s) && s[e] >= '0' && s[e] <= '9' {
		e++
	}
	if e >= len(s) || s[e] != ']' {
		return i
	}
	t.n.mentions++
	t.put(symMention)
	return e + 1
}

// starts reports whether word, in lower-case ASCII, stands at i.
func (t *text) starts(i int, word string) bool {
	if i+len(word) > len(t.runes) {
		return false
	}
	for k := range len(word) {
		if r := t.runes[i+k]; r >= 0x80 || lower(r) != rune(word[k]) {
			return false
		}
	}
	return true
}

func (t *text) startsAny(i int, words []string) bool {
	for _, w := range words {
		if t.starts(i, w) {
			return true
		}
	}
	return false
}

// special reads a link, mention, invoice or code that begins at i and returns
// where it ends, or i.
func (t *text) special(i int) int {
	switch lower(t.runes[i]) {
	case 'h', 'w':
		for _, scheme := range [...]string{"https://", "http://", "www."} {
			if t.starts(i, scheme) {
				return t.link(i + len(scheme))
			}
		}
	}
	end := i
	for end < len(t.runes) && alnum(t.runes[end]) {
		end++
	}
	if end-i >= 20 {
		return t.code(i, end)
	}
	if end-i >= 2 && end+2 < len(t.runes) && t.runes[end] == '.' && t.domainEnds(end) {
		t.n.bare++
		return t.link(i)
	}
	return i
}

// code reads a long run of letters and digits.
func (t *text) code(i, end int) int {
	switch {
	case t.startsAny(i, entities[:]):
		t.n.mentions++
		t.put(symMention)
	case t.startsAny(i, invoices[:]):
		t.n.invoices++
		t.put(symInvoice)
	case end-i >= 60 || t.digitsIn(i, end) >= 3:
		t.n.blobs++
		t.put(symBlob)
	default:
		return i
	}
	return end
}

func (t *text) digitsIn(i, end int) (n int) {
	for _, r := range t.runes[i:end] {
		n += one(r >= '0' && r <= '9')
	}
	return n
}

// domainEnds says whether a domain without a scheme ends after this dot, or
// goes on with a path.
func (t *text) domainEnds(dot int) bool {
	s, e := t.runes, dot+1
	for e < len(s) && s[e] >= 'a' && s[e] <= 'z' {
		e++
	}
	n := e - dot - 1
	if n < 2 || n > 6 {
		return false
	}
	if e < len(s) && s[e] == '/' {
		return true
	}
	if e < len(s) && !space(s[e]) {
		return false
	}
	for _, d := range domains {
		if len(d) == n && t.starts(dot+1, d) {
			return true
		}
	}
	return false
}

// split hashes the words: letters and digits that stand together; each letter
// of Han and Kana and each symbol is a word.
func (t *text) split() {
	var w word
	w.reset()
	for i, r := range t.out {
		sc := scriptOf(r)
		t.per[sc]++
		r = seenAs(r)
		t.out[i] = r
		switch {
		case r >= 0x2190 && (sc == none || sc == kana || sc == han):
			t.close(&w)
			w.hash, w.length = step(w.hash, r), 1
			t.close(&w)
		case sc == none && r != '0':
			t.close(&w)
		default:
			w.add(r, sc)
		}
	}
	t.close(&w)
	t.per[none] = 0
}

// word is the word being read.
type word struct {
	hash   uint32
	length int
	first  script
	mixed  bool
}

func (w *word) reset() { *w = word{hash: 0x9747B28C} }

func (w *word) add(r rune, sc script) {
	w.hash = step(w.hash, r)
	w.length++
	switch {
	case sc == none:
	case w.first == none:
		w.first = sc
	case sc != w.first && sc <= cyrillic && w.first <= cyrillic:
		w.mixed = true
	}
}

func (t *text) close(w *word) {
	if w.length == 0 {
		w.reset()
		return
	}
	t.words = append(t.words, finish(w.hash))
	t.long += one(w.length >= 13)
	t.mixed += one(w.mixed)
	w.reset()
}

// script is the one most letters are of.
func (t *text) script() script {
	top := none
	for k := none; k < scripts; k++ {
		if t.per[k] > t.per[top] {
			top = k
		}
	}
	return top
}

// gather lists the rows of the table that the n-grams point at, each once.
func (t *text) gather() {
	for _, row := range t.rows {
		t.seen[row/64] = 0
	}
	t.rows = t.rows[:0]
	for n := 3; n <= 5; n++ {
		seed := uint32(n) * 0x9E3779B1 // wraps, as it should
		for i := 0; i+n <= len(t.out); i++ {
			h := seed
			for _, r := range t.out[i : i+n] {
				h = step(h, r)
			}
			t.row(finish(h))
		}
	}
	for i, w := range t.words {
		t.row(finish(w ^ 0x85EBCA6B))
		if i > 0 {
			t.row(finish(t.words[i-1]*31 + w))
		}
	}
}

func (t *text) row(h uint32) {
	row := h >> (32 - tableBits)
	if mask := uint64(1) << (row % 64); t.seen[row/64]&mask == 0 {
		t.seen[row/64] |= mask
		t.rows = append(t.rows, row)
	}
}

func step(h uint32, r rune) uint32 { return (h ^ uint32(r)) * 16777619 }

// finish is murmur3's finaliser: every bit of h moves every bit of the result.
func finish(h uint32) uint32 {
	h ^= h >> 16
	h *= 0x85EBCA6B
	h ^= h >> 13
	h *= 0xC2B2AE35
	return h ^ h>>16
}

// structure fills the row that Structure names.
func (t *text) structure(to *[structures]float32) {
	n, words, symbols := &t.n, len(t.words), len(t.out)-1
	kinds := 0
	for _, k := range t.per {
		kinds += one(8*k > max(1, n.letters))
	}
	only := n.links > 0 && words <= 12 && n.links*10 >= words
	*to = [structures]float32{
		sat(symbols, 200), sat(words, 40), sat(n.links, 2), sat(n.media, 2), sat(len(t.sites), 2),
		sat(n.mentions, 2), sat(n.invoices, 1), sat(n.blobs, 2), sat(n.hashtags, 3), sat(n.cashtags, 2),
		part(n.digits, 2*symbols), part(n.capitals, n.letters), part(n.punct, symbols), sat(n.bang, 2),
		sat(n.quest, 2), sat(n.emoji, 3), sat(n.lines, 4), sat(n.invisible, 2), sat(n.marks, 4),
		sat(n.fancy, 4), sat(t.mixed, 1), sat(n.repeat, 8), part(len(t.rows), 3*symbols+2*words), part(words, words+8*n.links),
		float32(one(only)), sat(n.bare, 1), sat(n.money, 2), part(t.long, words), float32(one(words == 0)), float32(one(kinds > 1)),
	}
}

// sat is a count as a share of 1, a half at half.
func sat(x, half int) float32 { return float32(x) / float32(x+half) }

func part(x, of int) float32 { return float32(min(x, of)) / float32(max(of, 1)) }

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}

// norm makes texts of different length comparable.
func norm(rows int) float64 { return math.Sqrt(float64(max(rows, 32))) }
