package feeds

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strings"

	"agora/ranker"
	"agora/ranker/feature"
)

const (
	mostShown   = 200  // notes of a ranking, from its first on, whose reasons can be told
	mostReasons = 5    // told of one note
	mostRows    = 4096 // of the run that tells them
)

// shown is what the model saw of a ranking's first notes.
type shown struct {
	model  ranker.Digest
	inputs []feature.Tensor // row by row as the ranking is ordered
	means  []float32        // over all candidates, for inputs that are one number a note
	rows   int
}

// meaning is what the catalogue says of a feature.
type meaning struct {
	words string
	note  bool // it has a row for each note; otherwise it is the same for all
	one   bool // and the row is one float
}

// meanings is the catalogue by name.
func meanings() map[string]meaning {
	out := map[string]meaning{}
	for _, f := range feature.Catalogue() {
		out[f.Name] = meaning{f.Definition, strings.HasPrefix(f.Shape, "N"), f.Shape == "N" && f.Type == feature.Float32}
	}
	return out
}

// show keeps the rows of the first notes; nil when no model ran.
func (f *Feeds) show(l *Listing, c *candidates, list []ranked) *shown {
	if l.Model == (ranker.Digest{}) || c.batch.N != len(c.facts.Candidates) || c.batch.N == 0 {
		return nil
	}
	s := &shown{model: l.Model, rows: min(mostShown, len(list)), means: make([]float32, len(c.batch.Inputs))}
	for i := range c.batch.Inputs {
		t := &c.batch.Inputs[i]
		s.inputs = append(s.inputs, rowsOf(t, f.words[t.Name].note, c.batch.N, list[:s.rows]))
		if f.words[t.Name].one {
			total := 0.0
			for _, v := range t.Float {
				total += float64(v)
			}
			s.means[i] = float32(total / float64(c.batch.N))
		}
	}
	return s
}

func rowsOf(t *feature.Tensor, note bool, n int, list []ranked) feature.Tensor {
	out := feature.Tensor{Name: t.Name, Type: t.Type, Shape: slices.Clone(t.Shape)}
	if !note {
		out.Float, out.Int = slices.Clone(t.Float), slices.Clone(t.Int)
		return out
	}
	out.Shape[0] = int64(len(list))
	out.Float, out.Int = pick(t.Float, list, n), pick(t.Int, list, n)
	return out
}

// pick is the rows of a list, of n that there are.
func pick[T any](s []T, list []ranked, n int) []T {
	if len(s) == 0 {
		return nil
	}
	width := len(s) / n
	out := make([]T, len(list)*width)
	for i := range list {
		if at := list[i].at; width == 1 {
			out[i] = s[at]
		} else {
			copy(out[i*width:], cut(s, at, width))
		}
	}
	return out
}

func cut[T any](s []T, row, width int) []T {
	if len(s) == 0 {
		return nil
	}
	return s[row*width : (row+1)*width]
}

func (s *shown) bytes() (n int64) {
	if s == nil {
		return 0
	}
	for i := range s.inputs {
		n += 4*int64(cap(s.inputs[i].Float)) + 8*int64(cap(s.inputs[i].Int)) + 96
	}
	return n
}

// reasons says of each note which features weighed most: by how much its score
// falls when the feature is what it is for the candidates on average. All of it
// is one run of the model. Where that fails, a page has no reasons.
func (f *Feeds) reasons(ctx context.Context, rank *ranking, items []Item) {
	s := rank.shown
	var at []int // items whose rows are kept
	for i := range items {
		if items[i].Rank <= s.rows {
			at = append(at, i)
		}
	}
	var columns []int
	for i := range s.inputs {
		if f.words[s.inputs[i].Name].one {
			columns = append(columns, i)
		}
	}
	if len(columns) == 0 || len(at) == 0 {
		return
	}
	at = at[:min(len(at), max(1, mostRows/len(columns)))]
	scores, err := f.cfg.Scorer.Score(ctx, s.model, f.without(s, items, at, columns))
	if err != nil || ranker.CheckScores(scores, len(at)*len(columns)) != nil {
		return
	}
	for k, i := range at {
		for j, column := range columns {
			in := &s.inputs[column]
			items[i].Reasons = append(items[i].Reasons, Reason{
				Feature: in.Name, Value: in.Float[items[i].Rank-1], Weight: items[i].Score - scores[k*len(columns)+j], Words: f.words[in.Name].words,
			})
		}
		items[i].Reasons = strongest(items[i].Reasons)
	}
}

// without is one row for each note and column, that column at its mean.
func (f *Feeds) without(s *shown, items []Item, at, columns []int) feature.Batch {
	n := len(at) * len(columns)
	b := feature.Batch{N: n, Inputs: make([]feature.Tensor, len(s.inputs))}
	for i := range s.inputs {
		t := &s.inputs[i]
		if !f.words[t.Name].note {
			b.Inputs[i] = *t
			continue
		}
		width := (len(t.Float) + len(t.Int)) / s.rows
		out := feature.Tensor{Name: t.Name, Type: t.Type, Shape: slices.Clone(t.Shape)}
		out.Shape[0] = int64(n)
		for _, item := range at {
			for range columns {
				out.Float = append(out.Float, cut(t.Float, items[item].Rank-1, width)...)
				out.Int = append(out.Int, cut(t.Int, items[item].Rank-1, width)...)
			}
		}
		if j := slices.Index(columns, i); j >= 0 {
			for k := range at {
				out.Float[k*len(columns)+j] = s.means[i]
			}
		}
		b.Inputs[i] = out
	}
	return b
}

// strongest are the reasons that weigh most either way.
func strongest(all []Reason) []Reason {
	all = slices.DeleteFunc(all, func(r Reason) bool { return r.Weight == 0 || !finite(r.Weight) })
	slices.SortFunc(all, func(a, b Reason) int {
		return cmp.Or(cmp.Compare(math.Abs(float64(b.Weight)), math.Abs(float64(a.Weight))), cmp.Compare(a.Feature, b.Feature))
	})
	return slices.Clone(all[:min(mostReasons, len(all))])
}
