package feeds

import (
	"cmp"
	"math"
	"slices"

	"agora/feeds/tally"
	"agora/ranker/feature"
)

// ranked is one note of a ranking.
type ranked struct {
	id     tally.Key
	author uint32  // a number that authors of one ranking are told apart by
	score  float32 // as the model gave it
	at     int     // place among the candidates
}

// order puts candidates by score, the later first among equals and then the
// lower id, so that a ranking depends on nothing else.
func order(list []ranked, created func(int) int64) []ranked {
	worth := make([]weighed[float32], len(list))
	for i := range list {
		worth[i] = weighed[float32]{list[i].score, int32(i)}
	}
	slices.SortFunc(worth, func(a, b weighed[float32]) int {
		switch {
		case a.worth > b.worth:
			return -1
		case a.worth < b.worth:
			return 1
		}
		x, y := &list[a.at], &list[b.at]
		return cmp.Or(cmp.Compare(created(y.at), created(x.at)), slices.Compare(x.id[:], y.id[:]))
	})
	return inOrder(list, worth)
}

// weighed is a place of a list, small enough to be sorted in its stead.
type weighed[T float32 | float64] struct {
	worth T
	at    int32
}

// inOrder is a list in the order of its places.
func inOrder[T float32 | float64](list []ranked, places []weighed[T]) []ranked {
	out := make([]ranked, len(list))
	for i := range places {
		out[i] = list[places[i].at]
	}
	return out
}

// authorCap leaves at most so many notes of an author.
func authorCap(list []ranked, most int) []ranked {
	seen := map[uint32]int{}
	return slices.DeleteFunc(list, func(r ranked) bool {
		seen[r.author]++
		return seen[r.author] > most
	})
}

// authorDecay lets each further note of an author count less:
// (1-floor) decay^k + floor of its distance above the lowest score.
func authorDecay(list []ranked, decay, floor float64) []ranked {
	if len(list) == 0 {
		return list
	}
	low := list[len(list)-1].score
	worth := make([]weighed[float64], len(list))
	seen := make(map[uint32]int, len(list))
	var share []float64 // of the k-th note
	for i := range list {
		k := seen[list[i].author]
		seen[list[i].author] = k + 1
		if k == len(share) {
			share = append(share, (1-floor)*math.Pow(decay, float64(k))+floor)
		}
		worth[i] = weighed[float64]{float64(list[i].score-low) * share[k], int32(i)}
	}
	slices.SortFunc(worth, func(a, b weighed[float64]) int {
		switch {
		case a.worth > b.worth:
			return -1
		case a.worth < b.worth:
			return 1
		}
		return cmp.Compare(a.at, b.at)
	})
	return inOrder(list, worth)
}

// newAuthorSlot moves the best note of a new author up to a place, when none is
// above it already.
func newAuthorSlot(list []ranked, place int, fresh func(int) bool) []ranked {
	i := slices.IndexFunc(list, func(r ranked) bool { return fresh(r.at) })
	if i < place {
		return list
	}
	r := list[i]
	list = slices.Delete(list, i, i+1)
	return slices.Insert(list, place-1, r)
}

// bag is a text as a vector of unit length: each distinct token falls with a
// sign into one of its places (feature hashing, Weinberger et al. 2009).
type bag [64]float32

func bagOf(tokens []int32) (b bag) {
	for _, t := range tokens {
		h := uint32(t) * 2654435761
		sign := float32(1)
		if h>>25&1 == 1 {
			sign = -1
		}
		b[h>>26] += sign
	}
	norm := 0.0
	for _, v := range b {
		norm += float64(v) * float64(v)
	}
	if norm > 0 {
		k := float32(1 / math.Sqrt(norm))
		for i := range b {
			b[i] *= k
		}
	}
	return b
}

// textOf is a note's text vector, or the bag of its words where it has none.
func textOf(n *feature.Note) bag {
	if len(n.Vector) == len(bag{}) {
		return bag(n.Vector)
	}
	return bagOf(n.Tokens)
}

func (b *bag) dot(o *bag) (s float32) {
	for i := range b {
		s += b[i] * o[i]
	}
	return s
}

// likeness is how much two notes are the same to a reader: their texts, and
// whether one hand wrote them.
func likeness(a, b *bag, sameAuthor bool) float64 {
	s := float64(max(0, a.dot(b)))
	if sameAuthor {
		s = 0.5 + 0.5*s
	}
	return min(s, 0.999)
}

// dpp orders the first notes by greedy MAP inference on a determinantal point
// process (Chen, Zhang, Zhou 2018) with the kernel exp(a (q_i + q_j)/2) S_ij,
// q the score from 0 to 1, S the likeness, a = theta / (2 (1 - theta)): theta 1
// keeps the order by score, 0 looks at variety alone.
func dpp(list []ranked, first int, theta float64, text func(int) *bag) []ranked {
	n := min(first, len(list))
	if n < 3 || theta >= 1 {
		return list
	}
	high, low := list[0].score, list[0].score
	for _, r := range list[:n] {
		high, low = max(high, r.score), min(low, r.score)
	}
	quality := make([]float64, n)
	for i := range n {
		q := 1.0
		if high > low {
			q = float64(list[i].score-low) / float64(high-low)
		}
		quality[i] = math.Exp(theta / (2 * (1 - theta)) * q)
	}
	picked := greedy(n, quality, func(i, j int) float64 {
		return likeness(text(list[i].at), text(list[j].at), list[i].author == list[j].author)
	})
	out := make([]ranked, 0, len(list))
	for _, i := range picked {
		out = append(out, list[i])
	}
	return append(out, list[n:]...)
}

// greedy picks one after another what adds most to the determinant, by
// incremental Cholesky; what adds nothing keeps its order at the end.
func greedy(n int, quality []float64, same func(i, j int) float64) []int {
	gain := make([]float64, n)
	rows := make([][]float64, n)
	left := make([]int, n)
	for i := range n {
		gain[i] = quality[i] * quality[i]
		left[i] = i
	}
	var picked []int
	for len(left) > 0 {
		best := 0
		for k, i := range left {
			if gain[i] > gain[left[best]] {
				best = k
			}
		}
		i := left[best]
		if gain[i] < 1e-9 {
			break
		}
		left = slices.Delete(left, best, best+1)
		picked = append(picked, i)
		for _, j := range left {
			e := quality[i] * quality[j] * same(i, j)
			for k := range rows[i] {
				e -= rows[i][k] * rows[j][k]
			}
			e /= math.Sqrt(gain[i])
			rows[j] = append(rows[j], e)
			gain[j] -= e * e
		}
	}
	return append(picked, left...)
}

// arrange is all that follows the scores.
func (s *stages) arrange(list []ranked, c *candidates) []ranked {
	list = order(list, func(i int) int64 { return c.facts.Candidates[i].Note.CreatedAt })
	if s.cap > 0 {
		list = authorCap(list, s.cap)
	}
	if s.decay > 0 {
		list = authorDecay(list, s.decay, s.floor)
	}
	if s.dpp {
		texts := map[int]*bag{}
		list = dpp(list, s.first, s.theta, func(i int) *bag {
			if texts[i] == nil {
				b := textOf(c.facts.Candidates[i].Note)
				texts[i] = &b
			}
			return texts[i]
		})
	}
	if s.slot > 0 {
		list = newAuthorSlot(list, s.slot, func(i int) bool { return c.facts.Candidates[i].Sources&feature.FromNewAuthor != 0 })
	}
	return list
}
