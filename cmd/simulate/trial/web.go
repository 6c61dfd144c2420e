package trial

import (
	"math"
	"slices"
	"sort"
)

// web is the follow graph, which stands still during a trial. Trust is as
// package graph defines it.
type web struct {
	follows [][]int32
	sets    []map[int32]bool // by key, of those that follow anybody
	fans    []int32          // by key: how many follow it
	from    []int32
	inner   [][]int32 // of follows, those in from, as places there
	global  []float32 // trust by key
	fanWt   []float32 // trust of the fans added up
	muteWt  []float32
	mine    map[int32][]float32 // by reader
}

// newWeb uses personal trust again that another web of the same lists found.
func newWeb(follows, mutes [][]int32, mine map[int32][]float32) *web {
	n := len(follows)
	w := &web{follows: follows, sets: make([]map[int32]bool, n), fans: make([]int32, n), fanWt: make([]float32, n), muteWt: make([]float32, n), mine: mine}
	place := make([]int32, n)
	for who, list := range follows {
		if len(list) == 0 {
			continue
		}
		w.from = append(w.from, int32(who))
		place[who] = int32(len(w.from))
		w.sets[who] = make(map[int32]bool, len(list))
		for _, whom := range list {
			w.sets[who][whom] = true
		}
	}
	for _, who := range w.from {
		var in []int32
		for _, whom := range follows[who] {
			if place[whom] > 0 {
				in = append(in, place[whom]-1)
			}
		}
		w.inner = append(w.inner, in)
	}
	start := make([]float64, n)
	for i := range start {
		start[i] = 1 / float64(n)
	}
	w.global = trust(w.walk(start), -1)
	for who := range follows {
		for whom := range w.sets[who] {
			w.fans[whom]++
			w.fanWt[whom] += w.global[who]
		}
	}
	for who, list := range mutes {
		for _, whom := range list {
			w.muteWt[whom] += w.global[who]
		}
	}
	return w
}

// walk is PageRank with damping 0.85 from a start distribution, as
// relay/graph's: the sum of all damped walks, made to add up to 1.
func (w *web) walk(x []float64) []float64 {
	term := make([]float64, len(w.from))
	for i, n := range w.from {
		term[i] = x[n]
	}
	visits, next := slices.Clone(term), make([]float64, len(w.from))
	for mass := 1.0; mass > 1e-6; {
		clear(next)
		for i, v := range term {
			if v > 0 {
				share := v * 0.85 / float64(len(w.follows[w.from[i]]))
				for _, m := range w.inner[i] {
					next[m] += share
				}
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
		share := v * 0.85 / float64(len(w.follows[w.from[i]]))
		for _, m := range w.follows[w.from[i]] {
			x[m] += share
		}
	}
	return x
}

// trust is 1 - ln(position) / ln(N + 1).
func trust(rank []float64, viewer int) []float32 {
	var sorted []float64
	others := len(rank)
	for n, v := range rank {
		if v > 0 && n != viewer {
			sorted = append(sorted, v)
		}
	}
	if viewer >= 0 {
		others--
	}
	slices.Sort(sorted)
	out := make([]float32, len(rank))
	for n, v := range rank {
		if v <= 0 {
			continue
		}
		position := max(1, len(sorted)-sort.SearchFloat64s(sorted, v))
		out[n] = float32(max(0, 1-math.Log(float64(position))/math.Log(float64(others+1))))
	}
	return out
}

// of is the trust of one reader in everybody; the global one for a reader who
// follows nobody.
func (w *web) of(reader int32) []float32 {
	if w.sets[reader] == nil {
		return w.global
	}
	if t, ok := w.mine[reader]; ok {
		return t
	}
	start := make([]float64, len(w.follows))
	start[reader] = 1
	t := trust(w.walk(start), int(reader))
	w.mine[reader] = t
	return t
}

func (w *web) common(a, b int32) (both int, share float32) {
	small, large := w.sets[a], w.sets[b]
	if len(small) > len(large) {
		small, large = large, small
	}
	for k := range small {
		if large[k] {
			both++
		}
	}
	if either := len(small) + len(large) - both; either > 0 {
		share = float32(both) / float32(either)
	}
	return both, share
}

// hops are as relay/graph counts them: 3 for whoever is further away and
// reached by the reader's own ranking.
func (w *web) hops(from, to int32, mine []float32) uint8 {
	if w.sets[from][to] {
		return 1
	}
	for _, mid := range w.follows[from] {
		if w.sets[mid][to] {
			return 2
		}
	}
	if w.sets[from] != nil && mine[to] > 0 {
		return 3
	}
	return 0
}
