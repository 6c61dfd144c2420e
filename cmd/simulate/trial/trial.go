package trial

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"agora/cmd/simulate/crowd"
	"agora/ranker"
	"agora/ranker/feature"
)

// Scorer runs models; *ranker.Shelf does.
type Scorer interface {
	Plan(ctx context.Context, model ranker.Digest) (*feature.Plan, error)
	Score(ctx context.Context, model ranker.Digest, b feature.Batch) ([]float32, error)
}

// Contestant is one ranker to judge.
type Contestant struct {
	Slug  string
	Model ranker.Digest
	Knobs map[string]float32
}

// Outcome is what a trial of one log found.
type Outcome struct {
	Slugs   []string
	Moments []Moment
	Gini    []float64       // by ranker: of the first ten places over all moments
	Took    []time.Duration // by ranker: median of filling and scoring one pool
	Pool    float64         // notes a pool, mean
}

// Moment is one moment's measures, by ranker.
type Moment struct {
	Reader  int32
	Listed  bool // the reader follows somebody
	Results []result
}

// Run judges rankers by the later part of a log.
func Run(ctx context.Context, log *crowd.Log, s Settings, by Scorer, all []Contestant) (*Outcome, error) {
	s.defaults()
	j := &judge{ctx: ctx, log: log, by: by, took: make([][]time.Duration, len(all)), out: &Outcome{}}
	for _, c := range all {
		plan, err := by.Plan(ctx, c.Model)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Slug, err)
		}
		j.all, j.plans = append(j.all, c), append(j.plans, plan)
		j.out.Slugs = append(j.out.Slugs, c.Slug)
		j.places = append(j.places, make(map[int32]int))
	}
	if err := each(log, s, s.From, 1, j.moment); err != nil {
		return nil, err
	}
	for i := range all {
		slices.Sort(j.took[i])
		j.out.Gini = append(j.out.Gini, gini(j.places[i]))
		if n := len(j.took[i]); n > 0 {
			j.out.Took = append(j.out.Took, j.took[i][n/2])
		} else {
			j.out.Took = append(j.out.Took, 0)
		}
	}
	j.out.Pool /= float64(max(1, len(j.out.Moments)))
	return j.out, nil
}

type judge struct {
	ctx    context.Context
	log    *crowd.Log
	by     Scorer
	all    []Contestant
	plans  []*feature.Plan
	batch  feature.Batch
	took   [][]time.Duration
	places []map[int32]int
	out    *Outcome
}

// moment lets every ranker order one pool.
func (j *judge) moment(r *replay, m moment, pool []int32) error {
	answers := r.answers(m)
	gains, what, spam := make([]float64, len(pool)), make([][len(targets)]bool, len(pool)), []bool(nil)
	found := 0.0
	for i, n := range pool {
		gains[i], what[i] = gain(answers[n]), hits(answers[n])
		found += gains[i]
		if j.log.Spam != nil {
			spam = append(spam, j.log.Spam[j.log.Notes[n].Author])
		}
	}
	if found == 0 {
		return nil // they acted on nothing that was in the pool: no order is better
	}
	facts := r.scene(m.reader, pool)
	at := Moment{Reader: m.reader, Listed: r.web.sets[m.reader] != nil}
	for i := range j.all {
		order, err := j.order(i, facts)
		if err != nil {
			return err
		}
		for _, place := range order[:min(10, len(order))] {
			j.places[i][j.log.Notes[pool[place]].Author]++
		}
		at.Results = append(at.Results, measure(order, gains, what, facts, spam))
	}
	j.out.Moments = append(j.out.Moments, at)
	j.out.Pool += float64(len(pool))
	return j.ctx.Err()
}

// order is the places in the pool, best first; the newer first where scores are
// equal.
func (j *judge) order(i int, facts *feature.Facts) ([]int, error) {
	began := time.Now()
	facts.Knobs = j.all[i].Knobs
	if err := j.plans[i].Fill(facts, &j.batch); err != nil {
		return nil, fmt.Errorf("%s: %w", j.all[i].Slug, err)
	}
	scores, err := j.by.Score(j.ctx, j.all[i].Model, j.batch)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", j.all[i].Slug, err)
	}
	j.took[i] = append(j.took[i], time.Since(began))
	order := make([]int, len(scores))
	for k := range order {
		order[k] = k
	}
	slices.SortStableFunc(order, func(a, b int) int {
		if c := compare(scores[b], scores[a]); c != 0 {
			return c
		}
		return int(facts.Candidates[b].Note.CreatedAt - facts.Candidates[a].Note.CreatedAt)
	})
	return order, nil
}

func known(v float64) bool { return !math.IsNaN(v) }
