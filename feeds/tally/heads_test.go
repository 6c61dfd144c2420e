package tally

import (
	"math/rand/v2"
	"testing"
)

// TestHeadsAreThoseOfAMap sets and drops quarters, from none to all there are,
// beside a map.
func TestHeadsAreThoseOfAMap(t *testing.T) {
	for _, most := range []int{40, 3000, quarters} {
		r := rand.New(rand.NewPCG(uint64(most), 4))
		h, want := newHeads(), map[uint16]uint32{}
		of := func(place uint32) uint16 { return uint16(place) } // a place's lower half is its quarter
		for range 6 * most {
			q := uint16(r.IntN(most))
			if _, ok := want[q]; ok && r.IntN(5) < 2 {
				h.drop(q, of)
				delete(want, q)
				continue
			}
			head := r.Uint32N(1000)<<16 + uint32(q) + 1
			h.set(q, head, of)
			want[q] = head
		}
		for q := range quarters {
			if got := h.at(uint16(q), of); got != want[uint16(q)] {
				t.Fatalf("of %d quarters, the head of %d is %d, want %d", most, q, got, want[uint16(q)])
			}
		}
		if h.used != len(want) {
			t.Errorf("%d quarters are held, want %d", h.used, len(want))
		}
	}
}

// TestTheHeadsOfFewNotesTakeLittle also fills a table to its largest size, in
// which each quarter has a cell of its own.
func TestTheHeadsOfFewNotesTakeLittle(t *testing.T) {
	h := newHeads()
	of := func(place uint32) uint16 { return uint16(place) }
	for q := range quarters {
		h.set(uint16(q), uint32(q)+1, of)
		if cells := len(h.cells); q < quarters/4 && cells > 2*q+64 {
			t.Fatalf("%d cells for %d quarters", cells, q+1)
		}
	}
	seen := map[int]bool{}
	for q := range quarters {
		seen[h.home(uint16(q))] = true
	}
	if len(h.cells) != quarters || len(seen) != quarters {
		t.Errorf("%d cells, and %d of them are homes; want %d", len(h.cells), len(seen), quarters)
	}
}
