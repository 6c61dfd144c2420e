package trial

import (
	"math"
	"slices"

	"agora/ranker/feature"
)

// metric numbers what is measured at each moment.
type metric int

const (
	ndcg10 metric = iota
	ndcg50
	recall50
	meanPrecision
	aucLike
	aucReply
	aucRepost
	aucZap
	aucNegative
	diversity
	spam50
	metrics
)

// names are what tables call them.
func (m metric) String() string {
	return [...]string{"nDCG@10", "nDCG@50", "Recall@50", "MAP", "AUC like", "AUC reply", "AUC repost", "AUC zap", "AUC negative", "diversity", "spam@50"}[m]
}

// result is one moment's measures; what could not be measured is NaN.
type result [metrics]float64

// measure judges one order of a pool: order is places in the pool, best first.
func measure(order []int, gains []float64, answers [][len(targets)]bool, facts *feature.Facts, spam []bool) result {
	var m result
	m[ndcg10], m[ndcg50] = ndcg(order, gains, 10), ndcg(order, gains, 50)
	m[recall50], m[meanPrecision] = recall(order, gains, 50), precision(order, gains)
	for t := range targets {
		m[aucLike+metric(t)] = auc(order, func(i int) bool { return answers[i][t] })
	}
	m[diversity] = spread(order[:min(10, len(order))], facts)
	if m[spam50] = math.NaN(); spam != nil {
		m[spam50] = 0
		for _, i := range order[:min(50, len(order))] {
			if spam[i] {
				m[spam50]++
			}
		}
	}
	return m
}

// ndcg is the sum of (2^gain - 1) / log2(place + 1) over the first k, divided
// by the best there could be.
func ndcg(order []int, gains []float64, k int) float64 {
	best := slices.Clone(gains)
	slices.SortFunc(best, func(a, b float64) int { return compare(float32(b), float32(a)) })
	have, ideal := 0.0, 0.0
	for i := range min(k, len(order)) {
		have += (math.Exp2(gains[order[i]]) - 1) / math.Log2(float64(i)+2)
		ideal += (math.Exp2(best[i]) - 1) / math.Log2(float64(i)+2)
	}
	if ideal == 0 {
		return math.NaN()
	}
	return have / ideal
}

func recall(order []int, gains []float64, k int) float64 {
	hit, all := 0.0, 0.0
	for i, at := range order {
		if gains[at] > 0 {
			all++
			if i < k {
				hit++
			}
		}
	}
	return hit / all // NaN when there is nothing to find
}

func precision(order []int, gains []float64) float64 {
	hit, sum := 0.0, 0.0
	for i, at := range order {
		if gains[at] > 0 {
			hit++
			sum += hit / float64(i+1)
		}
	}
	return sum / hit
}

// auc is the chance that a note with the answer stands above one without.
func auc(order []int, yes func(int) bool) float64 {
	below, above, no := 0.0, 0.0, 0.0
	for _, at := range order {
		if yes(at) {
			above++
			below += no
		} else {
			no++
		}
	}
	if above == 0 || no == 0 {
		return math.NaN()
	}
	return 1 - below/(above*no)
}

// spread is one less the mean similarity of the texts to one another.
func spread(order []int, facts *feature.Facts) float64 {
	sum, n := 0.0, 0.0
	for i, a := range order {
		for _, b := range order[:i] {
			sum += float64(dot(facts.Candidates[a].Note.Vector, facts.Candidates[b].Note.Vector))
			n++
		}
	}
	return 1 - sum/n
}

// gini is how unevenly places fall to authors: 0 evenly, toward 1 all to one.
func gini(places map[int32]int) float64 {
	all := make([]int, 0, len(places))
	total := 0
	for _, n := range places {
		all = append(all, n)
		total += n
	}
	slices.Sort(all)
	sum := 0.0
	for i, n := range all {
		sum += float64(2*(i+1)-len(all)-1) * float64(n)
	}
	return sum / float64(max(1, len(all)*total))
}
