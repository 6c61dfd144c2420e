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
// differ in two bytes share two quarters at least. All that a walk looks at
// lies close together, by place of the note.
type twins struct {
	heads [bands]heads           // the newest arrived, by quarter
	pages []*[1 << pageBits]twin // by place; nil: nobody there has a sketch
	drops uint32                 // counts what was taken out
}

type twin struct {
	sketch     uint64 // 0: none
	created    uint32
	author     uint32
	next, prev [bands]uint32 // place + 1
}

func newTwins() (t twins) {
	for i := range t.heads {
		t.heads[i] = newHeads()
	}
	return t
}

// at is the row of a place that has had a sketch.
func (t *twins) at(place uint32) *twin { return &t.pages[place>>pageBits][place&(1<<pageBits-1)] }

// row is a place's; there is room for it afterwards.
func (t *twins) row(place uint32) *twin {
	page := int(place >> pageBits)
	for page >= len(t.pages) {
		t.pages = append(t.pages, nil)
	}
	if t.pages[page] == nil {
		t.pages[page] = new([1 << pageBits]twin)
	}
	return t.at(place)
}

// quarterOf says which i-th quarter the sketch of a place has.
func (t *twins) quarterOf(i int) func(place uint32) uint16 {
	return func(place uint32) uint16 { return quarter(t.at(place).sketch, i) }
}

// head of the chain of the notes that share a sketch's i-th quarter.
func (t *twins) head(sketch uint64, i int) uint32 {
	return t.heads[i].at(quarter(sketch, i), t.quarterOf(i))
}

func (t *twins) add(place uint32, n *note, sketch uint64) {
	if sketch == 0 {
		return
	}
	row := t.row(place)
	*row = twin{sketch: sketch, created: n.created, author: n.author}
	for i := range bands {
		head := t.head(sketch, i)
		row.next[i] = head
		if head != 0 {
			t.at(head - 1).prev[i] = place + 1
		}
		t.heads[i].set(quarter(sketch, i), place+1, t.quarterOf(i))
	}
}

func (t *twins) drop(place uint32) {
	if t.sketch(place) == 0 {
		return
	}
	row := t.at(place)
	t.drops++
	for i := range bands {
		next, prev := row.next[i], row.prev[i]
		switch {
		case prev != 0:
			t.at(prev - 1).next[i] = next
		case next != 0:
			t.heads[i].set(quarter(row.sketch, i), next, t.quarterOf(i))
		default:
			t.heads[i].drop(quarter(row.sketch, i), t.quarterOf(i))
		}
		if next != 0 {
			t.at(next - 1).prev[i] = prev
		}
	}
	*row = twin{}
}

// sketch is a note's; 0: it has none.
func (t *twins) sketch(place uint32) uint64 {
	if page := int(place >> pageBits); page >= len(t.pages) || t.pages[page] == nil {
		return 0
	}
	return t.at(place).sketch
}

// crossing is what the four chains through a sketch were when they were walked:
// who comes is at the head of a chain, and who goes is counted.
type crossing struct {
	heads [bands]uint32
	drops uint32
	of    uint32 // whose sketch: the note's place
	now   uint32 // of the walk; 0: some that were met lay ahead of it, so another moment sees others
}

// crossing of a note, as of now.
func (t *twins) crossing(of uint32, now uint32) (x crossing) {
	x.drops, x.of, x.now = t.drops, of, now
	if sketch := t.sketch(of); sketch != 0 {
		for i := range bands {
			x.heads[i] = t.head(sketch, i)
		}
	}
	return x
}

// still reports whether a walk as of now would meet the same as the one at x.
func (t *twins) still(of uint32, x *crossing, now uint32) bool {
	if x.now == 0 || now < x.now {
		return false
	}
	y := t.crossing(of, x.now)
	return *x == y
}

// each walks the near-duplicates of a note that were written by now, each once,
// and says whether some lay ahead. Of a quarter at most mostTwins are looked at; those that lie ahead of now do
// not use that up until they are many times more.
func (t *twins) each(of uint32, now uint32, yield func(*twin)) (later bool) {
	sketch := t.sketch(of)
	if sketch == 0 {
		return false
	}
	row := t.at(of)
	for i := range bands {
		if row.next[i] == 0 && row.prev[i] == 0 {
			continue // nobody shares this quarter
		}
		place := t.head(sketch, i)
		for steps, ahead := 0, 0; place != 0 && steps < mostTwins && ahead < 16*mostTwins; {
			at, other := place-1, t.at(place-1)
			place = other.next[i]
			if other.created > now {
				ahead++
				later = true
				continue
			}
			steps++
			if at != of && similar(sketch, other.sketch) && firstShared(sketch, other.sketch) == i {
				yield(other)
			}
		}
	}
	return later
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
