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
	return l
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

// walk solves PageRank for a start distribution x, which it uses up, to which
// also the mass of dangling nodes returns.
//
// Because that mass returns to where walks start anyway, the ranking is the sum
// of all damped walks that end at a dangling node, made to add up to 1: with H
// the follow matrix without dangling rows, (I - d H')y = x and rank = y / |y|
// (Del Corso, Gulli, Romani: Fast PageRank Computation via a Sparse Linear
// System, 2005). The sum is taken term by term. A term's mass is at most d
// times that of the term before, so what is left out is at most mass d/(1-d);
// |y| >= 1, and so the bound holds for the ranking too, doubled by the division.
func (l *links) walk(x []float64) []float64 {
	y := slices.Clone(x)
	next := make([]float64, l.size)
	for mass := 1.0; mass*damping/(1-damping) > tolerance/2; {
		clear(next)
		for i, n := range l.from {
			if x[n] == 0 {
				continue
			}
			to := l.to[i]
			share := x[n] * damping / float64(len(to))
			for _, m := range to {
				next[m] += share
			}
		}
		mass = 0
		for n, v := range next {
			mass += v
			y[n] += v
		}
		x, next = next, x
	}
	total := 0.0
	for _, v := range y {
		total += v
	}
	for n := range y {
		y[n] /= total
	}
	return y
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
