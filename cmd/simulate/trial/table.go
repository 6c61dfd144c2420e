package trial

import (
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// draws is how often readers are drawn anew for an interval.
const draws = 1000

// Interval is a mean with its 95 % interval, by bootstrap over readers.
type Interval struct{ Mean, Low, High float64 }

// Above says that the whole interval lies above a number.
func (i Interval) Above(x float64) bool { return i.Low > x }

// Group is outcomes put together, of all readers or of some.
type Group struct {
	Name    string
	Slugs   []string
	Readers int
	Moments int
	Gini    []float64
	Took    []time.Duration
	by      [][]result             // by reader: the mean of their moments, by ranker
	drawn   map[metric][][]float64 // by draw, by ranker: means; made when first asked for
}

// Put takes the outcomes of several logs as one; keep says which moments.
func Put(name string, outcomes []*Outcome, keep func(Moment) bool) *Group {
	g := &Group{Name: name, Slugs: outcomes[0].Slugs}
	for _, o := range outcomes {
		by := make(map[int32][]Moment)
		var order []int32
		for _, m := range o.Moments {
			if !keep(m) {
				continue
			}
			if by[m.Reader] == nil {
				order = append(order, m.Reader)
			}
			by[m.Reader] = append(by[m.Reader], m)
			g.Moments++
		}
		for _, who := range order {
			g.by = append(g.by, reader(by[who], len(g.Slugs)))
		}
	}
	for i := range g.Slugs {
		sum, took := 0.0, []time.Duration{}
		for _, o := range outcomes {
			sum += o.Gini[i] / float64(len(outcomes))
			took = append(took, o.Took[i])
		}
		slices.Sort(took)
		g.Gini, g.Took = append(g.Gini, sum), append(g.Took, took[len(took)/2])
	}
	g.Readers = len(g.by)
	return g
}

// reader is the mean of one reader's moments, by ranker, over what is known.
func reader(moments []Moment, rankers int) []result {
	out := make([]result, rankers)
	for i := range out {
		for m := range metrics {
			sum, n := 0.0, 0.0
			for _, at := range moments {
				if v := at.Results[i][m]; known(v) {
					sum += v
					n++
				}
			}
			out[i][m] = sum / n
		}
	}
	return out
}

// interval is of f over the means of drawn readers. f gets each ranker's mean
// of one measure.
func (g *Group) interval(m metric, f func(means []float64) float64) Interval {
	all := make([]int, len(g.by))
	for i := range all {
		all[i] = i
	}
	out := Interval{Mean: f(g.means(m, all))}
	drawn := make([]float64, draws)
	for i, means := range g.draw(m, all) {
		drawn[i] = f(means)
	}
	slices.Sort(drawn)
	out.Low, out.High = drawn[draws*25/1000], drawn[draws*975/1000-1]
	return out
}

// draw is the means of readers drawn anew, the same draws for every ranker, so
// that they can be compared pair by pair.
func (g *Group) draw(m metric, some []int) [][]float64 {
	if g.drawn[m] != nil {
		return g.drawn[m]
	}
	r := rand.New(rand.NewPCG(1, uint64(m)))
	out := make([][]float64, draws)
	for i := range out {
		for k := range some {
			some[k] = r.IntN(len(g.by))
		}
		out[i] = g.means(m, some)
	}
	if g.drawn == nil {
		g.drawn = make(map[metric][][]float64)
	}
	g.drawn[m] = out
	return out
}

func (g *Group) means(m metric, readers []int) []float64 {
	sums, n := make([]float64, len(g.Slugs)), make([]float64, len(g.Slugs))
	for _, k := range readers {
		for i := range sums {
			if v := g.by[k][i][m]; known(v) {
				sums[i] += v
				n[i]++
			}
		}
	}
	for i := range sums {
		sums[i] /= n[i]
	}
	return sums
}

func (g *Group) place(slug string) int { return slices.Index(g.Slugs, slug) }

// Lead is a ranker's nDCG@10 less another's.
func (g *Group) Lead(slug, over string) Interval {
	a, b := g.place(slug), g.place(over)
	return g.interval(ndcg10, func(m []float64) float64 { return m[a] - m[b] })
}

// Ratio is a ranker's nDCG@10 in multiples of another's.
func (g *Group) Ratio(slug, of string) Interval {
	a, b := g.place(slug), g.place(of)
	return g.interval(ndcg10, func(m []float64) float64 { return m[a] / m[b] })
}

// Write prints the group as Markdown: each mean with its interval.
func (g *Group) Write(to io.Writer) error {
	if g.Readers == 0 {
		_, err := fmt.Fprintf(to, "### %s\n\nno readers\n\n", g.Name)
		return err
	}
	fmt.Fprintf(to, "### %s\n\n%d readers, %d moments; 95 %% intervals by bootstrap over readers\n\n| ranker |", g.Name, g.Readers, g.Moments)
	for m := range metrics {
		fmt.Fprintf(to, " %s |", m)
	}
	fmt.Fprint(to, " author Gini | ms a pool |\n|---|")
	for range metrics + 2 {
		fmt.Fprint(to, "---|")
	}
	fmt.Fprintln(to)
	for i, slug := range g.Slugs {
		fmt.Fprintf(to, "| %s |", slug)
		for m := range metrics {
			v := g.interval(m, func(means []float64) float64 { return means[i] })
			fmt.Fprint(to, cell(v))
		}
		fmt.Fprintf(to, " %.3f | %.2f |\n", g.Gini[i], float64(g.Took[i].Microseconds())/1000)
	}
	_, err := fmt.Fprintln(to)
	return err
}

func cell(v Interval) string {
	if math.IsNaN(v.Mean) {
		return " – |"
	}
	return fmt.Sprintf(" %.3f (%.3f … %.3f) |", v.Mean, v.Low, v.High)
}
