package tally

import "hash/maphash"

// index finds the place of a 32-byte name in a table that holds the names. It
// is an open table of 4-byte cells, so that a name costs it 5 to 6 bytes. Its
// hash is seeded: nobody can choose names that collide.
type index struct {
	seed  maphash.Seed
	cells []uint32 // place + 1; 0: free
	used  int
}

func newIndex() index { return index{seed: maphash.MakeSeed(), cells: make([]uint32, 64)} }

// home is the cell where the search for a name begins.
func (x *index) home(name *Key) int {
	h := maphash.Bytes(x.seed, name[:])
	return int((h >> 32) * uint64(len(x.cells)) >> 32)
}

func (x *index) next(cell int) int {
	if cell++; cell < len(x.cells) {
		return cell
	}
	return 0
}

// find gives the place of a name; name tells which name a place holds.
func (x *index) find(want *Key, name func(uint32) *Key) (uint32, bool) {
	for c := x.home(want); x.cells[c] != 0; c = x.next(c) {
		if place := x.cells[c] - 1; *name(place) == *want {
			return place, true
		}
	}
	return 0, false
}

// add puts in a place whose name is not in the index yet.
func (x *index) add(place uint32, name func(uint32) *Key) {
	if x.used*5 >= len(x.cells)*4 {
		x.grow(name)
	}
	x.put(place, name)
	x.used++
}

func (x *index) put(place uint32, name func(uint32) *Key) {
	c := x.home(name(place))
	for x.cells[c] != 0 {
		c = x.next(c)
	}
	x.cells[c] = place + 1
}

func (x *index) grow(name func(uint32) *Key) {
	old := x.cells
	x.cells = make([]uint32, len(old)+len(old)/4+16)
	for _, cell := range old {
		if cell != 0 {
			x.put(cell-1, name)
		}
	}
}

// drop takes a place out; the cells after it move up, so that no search ends
// too early.
func (x *index) drop(place uint32, name func(uint32) *Key) {
	c := x.home(name(place))
	for x.cells[c] != place+1 {
		if x.cells[c] == 0 {
			return
		}
		c = x.next(c)
	}
	x.used--
	hole := c
	for c = x.next(c); x.cells[c] != 0; c = x.next(c) {
		home := x.home(name(x.cells[c] - 1))
		if (c-home+len(x.cells))%len(x.cells) >= (c-hole+len(x.cells))%len(x.cells) {
			x.cells[hole] = x.cells[c]
			hole = c
		}
	}
	x.cells[hole] = 0
}
