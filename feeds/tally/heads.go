package tally

import "math/rand/v2"

// heads finds, by a quarter of a sketch, the place of the newest arrived note
// that has it. It is an open table that grows with the notes, up to one cell
// for each quarter there is: then no search takes more than one step. Where a
// quarter stands is salted, so that nobody can choose texts that crowd.
type heads struct {
	cells []uint32 // place + 1; 0: free
	used  int
	salt  [2]uint16
}

const quarters = 1 << 16

func newHeads() heads {
	return heads{cells: make([]uint32, 64), salt: [2]uint16{uint16(rand.Uint32()) | 1, uint16(rand.Uint32()) | 1}}
}

// home is the cell where the search for a quarter begins; in the largest table
// each has its own, for all that is done to it can be undone.
func (h *heads) home(quarter uint16) int {
	x := quarter * h.salt[0]
	x = (x ^ x>>8) * h.salt[1]
	return int(x) * len(h.cells) / quarters
}

func (h *heads) next(cell int) int {
	if cell++; cell < len(h.cells) {
		return cell
	}
	return 0
}

// cell is where a quarter stands, or would; of says which a place has.
func (h *heads) cell(quarter uint16, of func(place uint32) uint16) int {
	c := h.home(quarter)
	for len(h.cells) < quarters && h.cells[c] != 0 && of(h.cells[c]-1) != quarter {
		c = h.next(c)
	}
	return c
}

// at is the head of a quarter's chain: place + 1; 0: none.
func (h *heads) at(quarter uint16, of func(uint32) uint16) uint32 {
	return h.cells[h.cell(quarter, of)]
}

// set gives a quarter's chain a head: place + 1.
func (h *heads) set(quarter uint16, head uint32, of func(uint32) uint16) {
	c := h.cell(quarter, of)
	if h.cells[c] == 0 {
		if h.used++; len(h.cells) < quarters && h.used*5 > len(h.cells)*4 {
			h.grow(of)
			c = h.cell(quarter, of)
		}
	}
	h.cells[c] = head
}

func (h *heads) grow(of func(uint32) uint16) {
	old, size := h.cells, len(h.cells)+len(h.cells)/4+16
	if size > quarters/2 {
		size = quarters
	}
	h.cells = make([]uint32, size)
	for _, head := range old {
		if head != 0 {
			h.cells[h.cell(of(head-1), of)] = head
		}
	}
}

// drop takes a quarter out whose chain has ended; the cells after it move up,
// so that no search ends too early.
func (h *heads) drop(quarter uint16, of func(uint32) uint16) {
	hole := h.cell(quarter, of)
	h.used--
	h.cells[hole] = 0
	if len(h.cells) == quarters {
		return
	}
	for c := h.next(hole); h.cells[c] != 0; c = h.next(c) {
		home := h.home(of(h.cells[c] - 1))
		if (c-home+len(h.cells))%len(h.cells) >= (c-hole+len(h.cells))%len(h.cells) {
			h.cells[hole], h.cells[c] = h.cells[c], 0
			hole = c
		}
	}
}
