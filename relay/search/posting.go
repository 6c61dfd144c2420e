package search

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// A posting list says in which documents of a segment a word occurs. A posting
// is the distance from the previous document (the first: from 0) as a uvarint,
// and one byte of weight: how often the word occurs there and how long the
// text is, three and five bits, so that a score is one look into a table and
// needs nothing of the document. Lists of one word can be joined by copying.

// weigh packs how often a word occurs and the length of its text, in words.
func weigh(times, length uint32) byte {
	t := min(times, 4)
	switch {
	case times > 15:
		t = 8
	case times > 9:
		t = 7
	case times > 6:
		t = 6
	case times > 4:
		t = 5
	}
	return byte(t-1)<<5 | lengthClass(length)
}

// lengthClass is about twice the binary logarithm, 0 to 31.
func lengthClass(n uint32) byte {
	if n <= 1 {
		return 0
	}
	log := bits.Len32(n) - 1 // n >= 1<<log
	half := 0
	if log > 0 && n&(1<<(log-1)) != 0 { // upper half of the octave
		half = 1
	}
	return byte(min(2*log+half, 31))
}

// timesOf and lengthOf are what a weight stands for.
func timesOf(w byte) float64 {
	return [...]float64{1, 2, 3, 4, 5.5, 8, 12, 20}[w>>5]
}

func lengthOf(w byte) float64 {
	c := int(w & 31)
	n := math.Ldexp(1, c/2)
	if c%2 == 1 {
		n *= 1.5
	}
	return n
}

// BM25's two constants, at their usual values (Robertson and Zaragoza 2009).
const (
	k1 = 1.2
	b  = 0.75
)

// table is BM25 without the rarity of the word, by weight.
type table [256]float32

func newTable(meanLength, factor float64) *table {
	t := new(table)
	meanLength = max(meanLength, 1)
	for w := range t {
		tf, l := timesOf(byte(w)), lengthOf(byte(w))
		t[w] = float32(factor * tf * (k1 + 1) / (tf + k1*(1-b+b*l/meanLength)))
	}
	return t
}

// rarity is BM25's weight of a word that occurs in df of n documents.
func rarity(n, df uint64) float32 {
	df = min(df, n)
	return float32(math.Log1p((float64(n-df) + 0.5) / (float64(df) + 0.5)))
}

// piece is a stretch of one word's list as it lies in a block.
type piece struct {
	docs  uint32 // postings in bytes
	last  uint32 // the last document
	bytes []byte
}

// reader walks one word's list within a segment, oldest document first.
type reader struct {
	pieces []piece
	at     []byte
	doc    uint32
	weight byte
	bad    bool // the list ended where a posting should not
}

func (r *reader) next() bool {
	for len(r.at) == 0 {
		if len(r.pieces) == 0 {
			return false
		}
		r.at, r.pieces = r.pieces[0].bytes, r.pieces[1:]
	}
	if c := r.at[0]; c < 0x80 && len(r.at) > 1 {
		r.doc += uint32(c)
		r.weight, r.at = r.at[1], r.at[2:]
		return true
	}
	d, n := binary.Uvarint(r.at)
	if n <= 0 || n >= len(r.at) {
		r.at, r.pieces, r.bad = nil, nil, true
		return false
	}
	r.doc += uint32(d)
	r.weight, r.at = r.at[n], r.at[n+1:]
	return true
}

func appendPosting(dst []byte, distance uint32, weight byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(distance)), weight)
}

// bitmap marks documents of a segment, by number.
type bitmap []uint64

func (m bitmap) has(doc uint32) bool {
	i := doc >> 6
	return int(i) < len(m) && m[i]&(1<<(doc&63)) != 0
}

func (m bitmap) count() (n uint32) {
	for _, w := range m {
		n += uint32(bits.OnesCount64(w))
	}
	return n
}
