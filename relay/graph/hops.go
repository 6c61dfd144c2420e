package graph

import "slices"

// MostHops is how far Hops looks.
const MostHops = 8

// hops is the length of the shortest way from a to b along follows: 0 for
// oneself, -1 when there is none of at most MostHops. It searches from both
// ends, level by level, always on the side with fewer keys to look at.
func (w *web) hops(a, b uint32) int {
	if a == b {
		return 0
	}
	if _, direct := slices.BinarySearch(w.nodes[b].followers, a); direct {
		return 1
	}
	seen := make([]byte, len(w.nodes)) // which end has reached a node
	const ahead, behind = 1, 2
	seen[a], seen[b] = ahead, behind
	front, back := []uint32{a}, []uint32{b}
	for steps := 1; steps <= MostHops && len(front) > 0 && len(back) > 0; steps++ {
		var met bool
		if len(front) <= len(back) {
			front, met = expand(front, w.follows, seen, ahead)
		} else {
			back, met = expand(back, func(n uint32) []uint32 { return w.nodes[n].followers }, seen, behind)
		}
		if met {
			return steps
		}
	}
	return -1
}

// expand goes one step from every node of a level. It reports whether it met
// what the other end has reached.
func expand(level []uint32, next func(uint32) []uint32, seen []byte, side byte) (reached []uint32, met bool) {
	for _, n := range level {
		for _, m := range next(n) {
			switch seen[m] {
			case 0:
				seen[m] = side
				reached = append(reached, m)
			case side:
			default:
				return nil, true
			}
		}
	}
	return reached, false
}
