package graph

import (
	"math"
	"slices"
)

const (
	damping = 0.85
	// tolerance bounds the total (L1) error of a ranking before it is rounded to
	// float32, whose own rounding adds at most 6e-8 in total.
	tolerance = 1e-9
)

// links is the follow graph at one moment, free of locks: the lists in it are
// never changed in place.
type links struct {
	version uint64
	size    int        // node numbers in use or free
	free    []uint32   // of these, the free ones
	from    []uint32   // nodes that follow somebody
	to      [][]uint32 // whom; beside from, never empty, without the node itself
	inner   [][]uint32 // those of to that follow somebody too, as places in from
}

// links takes the moment's follow graph out of the web.
func (w *web) links() *links {
	l := &links{version: w.version, size: len(w.nodes), free: slices.Clone(w.free)}
	for n := range w.nodes {
		to := w.follows(uint32(n))
		if slices.Contains(to, uint32(n)) {
			to = slices.DeleteFunc(slices.Clone(to), func(m uint32) bool { return m == uint32(n) })
		}
		if len(to) > 0 {
			l.from = append(l.from, uint32(n))
			l.to = append(l.to, to)
		}
	}
	l.inner = l.among()
	return l
}

// among keeps of each follow list the keys that follow somebody themselves:
// in a real graph a few in a hundred, on whom all but the last step of a walk
// takes place.
func (l *links) among() [][]uint32 {
	place := make([]uint32, l.size) // in from, plus 1
	for i, n := range l.from {
		place[n] = uint32(i) + 1
	}
	inner := make([][]uint32, len(l.from))
	var found []uint32 // used again for each list
	for i, to := range l.to {
		found = found[:0]
		for _, m := range to {
			if at := place[m]; at > 0 {
				found = append(found, at-1)
			}
		}
		inner[i] = slices.Clone(found)
	}
	return inner
}

// personal is the PageRank as seen by one viewer: the walk starts there, and
// returns there from keys that follow nobody.
func (l *links) personal(viewer uint32) []float64 {
	x := make([]float64, l.size)
	x[viewer] = 1
	return l.walk(x)
}

// global is the PageRank of a walk that starts anywhere.
func (l *links) global() []float64 {
	x := make([]float64, l.size)
	for n := range x {
		x[n] = 1 / float64(l.size-len(l.free))
	}
	for _, n := range l.free {
		x[n] = 0
	}
	return l.walk(x)
}

// walk solves PageRank for a start distribution x, which it turns into the
// ranking; the mass of dangling nodes returns to where walks start.
//
// Because of that return, the ranking is the sum of all damped walks that end at
// a dangling node, made to add up to 1: with H the follow matrix without
// dangling rows, (I - d H')y = x and rank = y / |y| (Del Corso, Gulli, Romani:
// Fast PageRank Computation via a Sparse Linear System, 2005). Only visits to
// nodes that follow somebody lead on, so the sum is taken over those, term by
// term, and one last step carries all visits to everybody followed.
//
// A term's mass is at most d times that of the term before: what is left out of
// the visits is at most mass d/(1-d), and of y not twice that. |y| >= 1, and the
// division at most doubles the bound: in all 4 mass d/(1-d) <= tolerance.
func (l *links) walk(x []float64) []float64 {
	term := make([]float64, len(l.from))
	for i, n := range l.from {
		term[i] = x[n]
	}
	visits, next := slices.Clone(term), make([]float64, len(l.from))
	for mass := 1.0; 4*mass*damping/(1-damping) > tolerance; {
		clear(next)
		for i, v := range term {
			if v > 0 {
				spread(next, l.inner[i], v*damping/float64(len(l.to[i])))
			}
		}
		mass = 0
		for i, v := range next {
			mass += v
			visits[i] += v
		}
		term, next = next, term
	}
	for i, v := range visits {
		spread(x, l.to[i], v*damping/float64(len(l.to[i])))
	}
	total := 0.0
	for _, v := range x {
		total += v
	}
	for n := range x {
		x[n] /= total
	}
	return x
}

// spread gives each of the places to its share.
func spread(at []float64, to []uint32, share float64) {
	for _, m := range to {
		at[m] += share
	}
}

// ranking is a finished PageRank.
type ranking struct {
	version uint64    // of the web it was computed from
	of      []float32 // by node; adds up to 1
	sorted  []float32 // ascending, the positive ones, without the viewer's own
	others  int       // keys known then, without the viewer
}

// newRanking keeps a PageRank of l; viewer is -1 for the global one.
func newRanking(l *links, rank []float64, viewer int) *ranking {
	r := &ranking{version: l.version, of: make([]float32, len(rank)), others: l.size - len(l.free)}
	if viewer >= 0 {
		r.others--
	}
	positive := 0
	for n, v := range rank {
		r.of[n] = float32(v)
		if v > 0 {
			positive++
		}
	}
	r.sorted = make([]float32, 0, positive)
	for n, v := range r.of {
		if v > 0 && n != viewer {
			r.sorted = append(r.sorted, v)
		}
	}
	slices.Sort(r.sorted)
	return r
}

// bytes is how much memory the ranking takes.
func (r *ranking) bytes() int64 { return 4 * int64(cap(r.of)+cap(r.sorted)) }

// trust is the rank on the scale from 0 to 1 that the package doc gives.
func (r *ranking) trust(rank float32) float64 {
	if rank <= 0 {
		return 0
	}
	lower, _ := slices.BinarySearch(r.sorted, rank)
	position := max(1, len(r.sorted)-lower)
	return max(0, 1-math.Log(float64(position))/math.Log(float64(max(1, r.others)+1)))
}
