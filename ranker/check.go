package ranker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"agora/ranker/feature"
)

// closeEnough is how far two scores of one candidate may lie apart when the
// company or the order differs: absolute up to 1, relative above. Libraries
// add up in another order for another batch.
const closeEnough = 1e-5

// Finding is one question that was put to a model, and its answer.
type Finding struct {
	Name   string
	OK     bool
	Detail string
}

// Check puts to a loaded model what its author promises by listing it: finite
// scores of the right number, for plausible candidates as for odd ones, the
// same ones for the same facts, whatever stands beside a candidate and in
// whatever order. Knobs are put at the values given, or 1.
func Check(ctx context.Context, s Session, knobs map[string]float32) ([]Finding, error) {
	plan, err := feature.Compile(s.Inputs())
	if err != nil {
		return nil, err
	}
	c := checker{ctx, s, plan, knobs}
	var out []Finding
	for _, question := range []struct {
		name string
		ask  func() (string, error)
	}{
		{"scores", c.sizes},
		{"odd facts", c.oddities},
		{"determinism", c.determinism},
		{"batch isolation", c.isolation},
		{"order", c.order},
		{"speed", c.speed},
	} {
		detail, err := question.ask()
		if cut := ctx.Err(); cut != nil {
			return out, cut
		}
		if err != nil {
			detail = err.Error()
		}
		out = append(out, Finding{question.name, err == nil, detail})
	}
	return out, nil
}

type checker struct {
	ctx     context.Context
	session Session
	plan    *feature.Plan
	knobs   map[string]float32
}

func (c *checker) score(facts *feature.Facts) ([]float32, error) {
	facts.Knobs = make(map[string]float32)
	for _, knob := range c.plan.Knobs() {
		facts.Knobs[knob] = 1
		if v, ok := c.knobs[knob]; ok {
			facts.Knobs[knob] = v
		}
	}
	var b feature.Batch
	if err := c.plan.Fill(facts, &b); err != nil {
		return nil, err
	}
	scores, err := c.session.Score(c.ctx, b)
	if err != nil {
		return nil, err
	}
	return scores, CheckScores(scores, b.N)
}

func (c *checker) sizes() (string, error) {
	sizes := []int{1, 2, 3, 50, 2000}
	for _, n := range sizes {
		if _, err := c.score(feature.Sample(uint64(n), n)); err != nil {
			return "", fmt.Errorf("%d candidates: %w", n, err)
		}
	}
	return fmt.Sprintf("finite, one per candidate, for %v candidates", sizes), nil
}

// oddities are what a young relay, a stranger or an attacker brings.
func (c *checker) oddities() (string, error) {
	nobody := feature.Sample(7, 20)
	nobody.Viewer, nobody.Tier = feature.Person{}, feature.Public
	huge := feature.Sample(8, 20)
	for i := range huge.Candidates {
		huge.Candidates[i].Note.CreatedAt = math.MinInt64
		huge.Candidates[i].Author.Followers = math.MaxUint32
		huge.Candidates[i].Counts.ZapMsat = math.MaxUint64
		huge.Candidates[i].Note.Characters = math.MaxUint32
	}
	ahead := feature.Sample(9, 20)
	for i := range ahead.Candidates {
		ahead.Candidates[i].Note.CreatedAt = math.MaxInt64
	}
	for _, odd := range []struct {
		name  string
		facts *feature.Facts
	}{
		{"nothing is known", &feature.Facts{Now: nobody.Now, Tier: feature.Personal, Candidates: make([]feature.Candidate, 20)}},
		{"nobody reads", nobody},
		{"numbers at their largest", huge},
		{"notes from the future", ahead},
	} {
		if _, err := c.score(odd.facts); err != nil {
			return "", fmt.Errorf("when %s: %w", odd.name, err)
		}
	}
	return "finite when nothing is known, nobody reads, numbers are huge and notes lie ahead", nil
}

func (c *checker) determinism() (string, error) {
	first, err := c.score(feature.Sample(1, 300))
	if err != nil {
		return "", err
	}
	for round := range 4 {
		if _, err := c.score(feature.Sample(uint64(100+round), 17)); err != nil {
			return "", err
		}
		again, err := c.score(feature.Sample(1, 300))
		if err != nil {
			return "", err
		}
		for i := range first {
			if math.Float32bits(first[i]) != math.Float32bits(again[i]) {
				return "", fmt.Errorf("the same candidate has %v and then %v", first[i], again[i])
			}
		}
	}
	return "the same bits five times, with other batches between", nil
}

func (c *checker) isolation() (string, error) {
	const n = 60
	whole, err := c.score(feature.Sample(2, n))
	if err != nil {
		return "", err
	}
	worst := 0.0
	for _, size := range []int{1, 7, 20} {
		for at := 0; at+size <= n; at += size {
			facts := feature.Sample(2, n)
			facts.Candidates = facts.Candidates[at : at+size]
			part, err := c.score(facts)
			if err != nil {
				return "", err
			}
			for i := range part {
				worst = max(worst, apart(part[i], whole[at+i]))
			}
		}
	}
	if worst > closeEnough {
		return "", fmt.Errorf("a score changes by %.2g with its company: score each candidate by itself", worst)
	}
	return fmt.Sprintf("alone or among others, scores lie at most %.1g apart", worst), nil
}

func (c *checker) order() (string, error) {
	const n = 200
	straight, err := c.score(feature.Sample(3, n))
	if err != nil {
		return "", err
	}
	facts, worst := feature.Sample(3, n), 0.0
	to := rand.New(rand.NewPCG(3, 3)).Perm(n)
	shuffled := slices.Clone(facts.Candidates)
	for i, j := range to {
		shuffled[j] = facts.Candidates[i]
	}
	facts.Candidates = shuffled
	mixed, err := c.score(facts)
	if err != nil {
		return "", err
	}
	for i, j := range to {
		worst = max(worst, apart(straight[i], mixed[j]))
	}
	if worst > closeEnough {
		return "", fmt.Errorf("a score changes by %.2g with the candidate's place in the batch", worst)
	}
	return fmt.Sprintf("in another order, scores lie at most %.1g apart", worst), nil
}

func apart(a, b float32) float64 {
	x, y := float64(a), float64(b)
	return math.Abs(x-y) / max(1, math.Abs(x))
}

// speed never fails: what is fast enough is the budget's to say.
func (c *checker) speed() (string, error) {
	var detail string
	for _, n := range []int{200, 2000} {
		facts, best := feature.Sample(4, n), time.Duration(math.MaxInt64)
		for range 5 {
			began := time.Now()
			if _, err := c.score(facts); err != nil {
				return "", errors.Join(err)
			}
			best = min(best, time.Since(began))
		}
		detail += fmt.Sprintf("%d candidates in %v (%.0f/s), ", n, best.Round(10*time.Microsecond), float64(n)/best.Seconds())
	}
	return detail + "filling included, best of five", nil
}
