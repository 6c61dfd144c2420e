package spam

import "math/bits"

const (
	slots      = 64  // minima of one sketch
	bands      = 32  // pairs of them, by which alike notes find each other
	mostTokens = 128 // of one text that are sketched
	leastToken = 4   // distinct tokens that a text needs to be like another
	alike      = 14  // slots in common that make two notes alike: a Jaccard index of about 0.22
)

// sketch is the minhash of a note's longer words, pairs of Han or Kana letters
// and sites. Two sketches agree in about as many slots of 64 as the share of
// tokens which the notes have in common.
type sketch [slots]uint16

// tokens lists what is sketched. Words of three letters and less say little
// and stand everywhere.
func (t *text) tokens(to []uint32) []uint32 {
	to = to[:0]
	for _, site := range t.leads {
		to = append(to, finish(site), finish(site^0xA5A5A5A5)) // a site weighs two words
	}
	var w word
	w.reset()
	letters := uint32(0) // the Han or Kana letter before, 0 for none
	for _, r := range t.out {
		if len(to) >= mostTokens {
			break
		}
		sc := scriptOf(r)
		single := sc == kana || sc == han
		if w.length > 0 && (single || sc == none) {
			if w.length >= 4 {
				to = append(to, finish(w.hash))
			}
			w.reset()
		}
		switch {
		case single:
			if letters != 0 {
				to = append(to, finish(letters*31+uint32(r)))
			}
			letters = uint32(r)
			continue
		case sc != none:
			w.add(r, sc)
		}
		letters = 0
	}
	return to
}

// sketchOf reports false when there is too little text to be like another.
func sketchOf(tokens []uint32, to *sketch) bool {
	distinct := 0
	var seen [4]uint64
	for _, h := range tokens {
		if mask := uint64(1) << (h % 64); seen[h>>6%4]&mask == 0 {
			seen[h>>6%4] |= mask
			distinct++
		}
	}
	if distinct < leastToken {
		return false
	}
	for k := range to {
		least := ^uint32(0)
		odd := uint32(k)*0x9E3779B2 + 0x85EBCA6B
		for _, h := range tokens {
			least = min(least, (h^odd>>3)*odd)
		}
		to[k] = uint16(finish(least))
	}
	return true
}

func (s *sketch) common(o *sketch) (n int) {
	for k := range s {
		n += one(s[k] == o[k])
	}
	return n
}

func (s *sketch) band(k int) uint32 {
	return finish(uint32(s[2*k])<<16 ^ uint32(s[2*k+1]) ^ uint32(k)*0x9E3779B1)
}

// crowd counts distinct keys in 32 bytes, by the bits their hashes set: exact
// within a tenth up to about 600, and never less than what was there.
type crowd [4]uint64

func (c *crowd) add(key uint64) {
	h := key * 0x9E3779B97F4A7C15 >> 56
	c[h/64] |= 1 << (h % 64)
}

// count undoes the collisions by table: linear counting.
func (c *crowd) count() int {
	n := bits.OnesCount64(c[0]) + bits.OnesCount64(c[1]) + bits.OnesCount64(c[2]) + bits.OnesCount64(c[3])
	if n < 64 {
		return n
	}
	return n + n*n/(2*(257-n))/2
}
