package tally

import (
	"strings"
	"unicode"
)

// A sketch is eight bytes, each of the smallest hash under one of eight hash
// functions over the text's runs of three words (minhash; Broder 1997): two
// texts agree in about as many eighths as they share of their runs. Links,
// numbers, mentions and marks are left out, so that a template filled in
// differently stays the same.
const (
	bands      = 4 // quarters of a sketch by which twins are looked up
	leastWords = 5 // shorter texts have no sketch: people do say the same
	alike      = 6 // bytes of eight that near-duplicates share
	mostTwins  = 256
	mostRuns   = 512 // words of a text that are looked at
)

// sketch is 0 for a text that is too short.
func sketch(text string) uint64 {
	var least [8]uint64
	for i := range least {
		least[i] = ^uint64(0)
	}
	var run [3]uint64
	words := 0
	for word := range strings.FieldsSeq(text) {
		h, ok := wordHash(word)
		if !ok {
			continue
		}
		run[0], run[1], run[2] = run[1], run[2], h
		if words++; words < 3 {
			continue
		}
		for i := range least {
			least[i] = min(least[i], mix(run[0]*3+run[1]*5+run[2]*7+uint64(i)*0x9e3779b97f4a7c15))
		}
		if words == mostRuns {
			break
		}
	}
	if words < leastWords {
		return 0
	}
	s := uint64(0)
	for i, h := range least {
		s |= h & 0xff << (8 * i)
	}
	return max(s, 1)
}

// wordHash is FNV-1a over the lower-cased letters; no for what is no word.
func wordHash(word string) (uint64, bool) {
	if strings.Contains(word, "://") || strings.HasPrefix(word, "nostr:") || strings.HasPrefix(word, "@") {
		return 0, false
	}
	h, letters := uint64(14695981039346656037), false
	for _, r := range word {
		if r < 0x80 && (r|0x20 < 'a' || r|0x20 > 'z') || r >= 0x80 && !unicode.IsLetter(r) {
			continue
		}
		if r < 0x80 {
			r |= 0x20
		} else {
			r = unicode.ToLower(r)
		}
		h, letters = (h^uint64(r))*1099511628211, true
	}
	return h, letters
}

// mix is the finish of splitmix64.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// similar reports whether two sketches are of near-duplicates.
func similar(a, b uint64) bool {
	same := 0
	for i := range 8 {
		if byte(a>>(8*i)) == byte(b>>(8*i)) {
			same++
		}
	}
	return same >= alike
}

// quarter is 16 bits of a sketch.
func quarter(sketch uint64, i int) uint16 { return uint16(sketch >> (16 * i)) }

// twins chains the notes whose sketches share a quarter. Two sketches that
// differ in two bytes share two quarters at least.
type twins [bands][]uint32 // place + 1 of the newest arrived, by quarter

type link struct{ next, prev uint32 } // place + 1

func newTwins() (t twins) {
	for i := range t {
		t[i] = make([]uint32, 1<<16)
	}
	return t
}

func (t *twins) add(notes *notes, place uint32) {
	n := notes.at(place)
	if n.sketch == 0 {
		return
	}
	for i := range t {
		head := &t[i][quarter(n.sketch, i)]
		n.twin[i] = link{next: *head}
		if *head != 0 {
			notes.at(*head - 1).twin[i].prev = place + 1
		}
		*head = place + 1
	}
}

func (t *twins) drop(notes *notes, place uint32) {
	n := notes.at(place)
	if n.sketch == 0 {
		return
	}
	for i := range t {
		l := n.twin[i]
		if l.prev != 0 {
			notes.at(l.prev - 1).twin[i].next = l.next
		} else {
			t[i][quarter(n.sketch, i)] = l.next
		}
		if l.next != 0 {
			notes.at(l.next - 1).twin[i].prev = l.prev
		}
		n.twin[i] = link{}
	}
}

// each walks the near-duplicates of a note that were written by now, each once.
// Of a quarter at most mostTwins are looked at; those that lie ahead of now do
// not use that up until they are many times more.
func (t *twins) each(notes *notes, n *note, now uint32, yield func(*note)) {
	if n.sketch == 0 {
		return
	}
	for i := range t {
		place := t[i][quarter(n.sketch, i)]
		for steps, ahead := 0, 0; place != 0 && steps < mostTwins && ahead < 16*mostTwins; {
			other := notes.at(place - 1)
			place = other.twin[i].next
			if other.created > now {
				ahead++
				continue
			}
			steps++
			if other != n && similar(n.sketch, other.sketch) && firstShared(n.sketch, other.sketch) == i {
				yield(other)
			}
		}
	}
}

// firstShared is the first quarter that two sketches share.
func firstShared(a, b uint64) int {
	for i := range bands {
		if quarter(a, i) == quarter(b, i) {
			return i
		}
	}
	return bands
}
