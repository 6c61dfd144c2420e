package crowd

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// world is a crowd in the making.
type world struct {
	cfg  Config
	real *Real
	rand *rand.Rand
	log  *Log

	taste   [][Topics]float64 // by key of the graph: share of each topic, adds up to 1
	lean    []float64         // by key, -1 … 1
	authors []author
	writes  map[int32]int // key: place in authors
	readers []reader
	facets  []facet // by note
}

type author struct {
	key    int32
	rate   float64 // notes a day
	talent float64 // around 0
}

type reader struct {
	key        int32
	visits     float64 // a day
	at         float64 // favourite hour, UTC
	warm       float64 // how readily they act at all
	talks      float64
	passes     float64 // reposts
	pays       float64
	grumbles   float64
	favourites map[int32]float64
	listed     bool
}

// facet is what a note is about, and how good.
type facet struct {
	topic   int
	quality float64
	side    float64 // -1 … 1; 0: takes none
	spam    bool
}

// people draws tastes, leanings, authors and readers.
func (w *world) people() {
	w.tastes()
	w.chooseAuthors()
	w.chooseReaders()
}

// tastes draws everybody's own, and moves them toward their neighbours' twice.
func (w *world) tastes() {
	n := len(w.real.Keys)
	w.taste, w.lean = make([][Topics]float64, n), make([]float64, n)
	for i := range w.taste {
		for k := range w.taste[i] {
			w.taste[i][k] = math.Pow(w.rand.ExpFloat64(), 3)
		}
		even(&w.taste[i])
		w.lean[i] = max(-1, min(1, w.rand.NormFloat64()*0.6))
	}
	for range 2 {
		next, lean := slices.Clone(w.taste), slices.Clone(w.lean)
		for i := range w.taste {
			near := w.real.Follows[i]
			if near == nil {
				near = w.real.Fans[i]
			}
			if len(near) > 0 {
				w.drift(&next[i], &lean[i], near)
			}
		}
		w.taste, w.lean = next, lean
	}
}

// drift moves a person a third of the way to twelve of those near.
func (w *world) drift(taste *[Topics]float64, lean *float64, near []int32) {
	var mean [Topics]float64
	side := 0.0
	for range 12 {
		other := near[w.rand.IntN(len(near))]
		for k, v := range w.taste[other] {
			mean[k] += v / 12
		}
		side += w.lean[other] / 12
	}
	for k := range taste {
		taste[k] = taste[k]*2/3 + mean[k]/3
	}
	*lean = *lean*0.7 + side*0.3
}

func even(v *[Topics]float64) {
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	for k := range v {
		v[k] /= sum
	}
}

// chooseAuthors prefers those who have many followers, or a list.
func (w *world) chooseAuthors() {
	type odds struct {
		key  int32
		luck float64
	}
	all := make([]odds, len(w.real.Keys))
	for i := range all {
		weight := 0.05 + math.Sqrt(float64(len(w.real.Fans[i])))
		if w.real.Follows[i] != nil {
			weight += 2
		}
		all[i] = odds{int32(i), w.rand.ExpFloat64() / weight}
	}
	slices.SortFunc(all, func(a, b odds) int {
		if a.luck < b.luck {
			return -1
		}
		return 1
	})
	w.writes = make(map[int32]int)
	for _, o := range all[:min(w.cfg.Authors, len(all))] {
		w.writes[o.key] = len(w.authors)
		w.authors = append(w.authors, author{
			key: o.key, rate: min(25, 0.4*math.Exp(w.rand.NormFloat64()*1.1)),
			talent: w.rand.NormFloat64()*0.6 + 0.08*math.Log1p(float64(len(w.real.Fans[o.key]))),
		})
	}
}

func (w *world) chooseReaders() {
	var listed, bare []int32
	for i, f := range w.real.Follows {
		if len(f) >= 20 {
			listed = append(listed, int32(i))
		} else if f == nil {
			bare = append(bare, int32(i))
		}
	}
	for n, from := range [][]int32{listed, bare} {
		w.rand.Shuffle(len(from), func(i, j int) { from[i], from[j] = from[j], from[i] })
		for _, key := range from[:min(len(from), []int{w.cfg.Listed, w.cfg.Bare}[n])] {
			w.readers = append(w.readers, w.reader(key, n == 0))
			w.log.Readers = append(w.log.Readers, key)
		}
	}
}

func (w *world) reader(key int32, listed bool) reader {
	r := reader{
		key: key, listed: listed, visits: min(5, 1.3*math.Exp(w.rand.NormFloat64()*0.5)), at: w.rand.Float64() * 24,
		warm: w.rand.NormFloat64() * 0.5, talks: w.rand.NormFloat64() * 0.8, passes: w.rand.NormFloat64() * 0.8,
		pays: w.rand.NormFloat64() * 1.2, grumbles: w.rand.NormFloat64() * 0.8, favourites: make(map[int32]float64),
	}
	want := 8 + w.rand.IntN(14)
	for tries := 0; len(r.favourites) < want && tries < 2000; tries++ {
		whom := w.authors[w.rand.IntN(len(w.authors))].key
		if listed {
			whom = w.real.Follows[key][w.rand.IntN(len(w.real.Follows[key]))]
		}
		if _, writes := w.writes[whom]; writes && w.rand.Float64() < 0.1+3*overlap(&w.taste[key], &w.taste[whom]) {
			r.favourites[whom] = 0.8 + w.rand.Float64()*1.7
		}
	}
	return r
}

func overlap(a, b *[Topics]float64) (sum float64) {
	for k := range a {
		sum += a[k] * b[k]
	}
	return sum
}

// pick draws from shares that add up to 1.
func (w *world) pick(shares *[Topics]float64) int {
	at := w.rand.Float64()
	for k, v := range shares {
		if at -= v; at < 0 {
			return k
		}
	}
	return Topics - 1
}

// fresh is a key that nobody has heard of.
func (w *world) fresh(what string, n int) int32 {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d %d", what, w.cfg.Seed, n))
	w.log.Keys = append(w.log.Keys, hex.EncodeToString(sum[:]))
	w.log.Follows, w.log.Mutes = append(w.log.Follows, nil), append(w.log.Mutes, nil)
	return int32(len(w.log.Keys) - 1)
}
