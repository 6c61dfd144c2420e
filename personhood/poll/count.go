package poll

import (
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
)

// OptionResult is what one option got.
type OptionResult struct {
	Option
	Ballots int    `json:"ballots"`           // that name it; ranked: that name it first
	Credits int    `json:"credits,omitempty"` // quadratic
	Votes   string `json:"votes,omitempty"`   // quadratic: the sum of square roots, six decimals

	micro int64 // Votes in millionths
}

// Round is one round of an instant run-off.
type Round struct {
	Votes     []int    `json:"votes"`          // by the poll's order of options; out ones have 0
	Exhausted int      `json:"exhausted"`      // ballots that name none of those left
	Out       []string `json:"out,omitempty"`  // who leaves after it
	Tie       bool     `json:"tied,omitempty"` // the rule for ties decided who leaves
}

// Result is the outcome of counting.
type Result struct {
	Ballots int            `json:"ballots"`
	Options []OptionResult `json:"options"`
	Rounds  []Round        `json:"rounds,omitempty"` // ranked
	Leading []string       `json:"leading"`          // the winner; several when they are level
}

// Equal reports whether two results say the same.
func (r Result) Equal(o Result) bool {
	a, errA := json.Marshal(r)
	b, errB := json.Marshal(o)
	return errA == nil && errB == nil && string(a) == string(b)
}

// Count counts ballots, one of each voter.
func (p *Poll) Count(ballots [][]Choice) Result {
	r := Result{Ballots: len(ballots), Options: make([]OptionResult, len(p.Options)), Leading: []string{}}
	for i, o := range p.Options {
		r.Options[i].Option = o
	}
	roots := squareRoots()
	for _, b := range ballots {
		for i, c := range b {
			if p.Method == Ranked && i > 0 {
				break
			}
			o := &r.Options[c.Option]
			o.Ballots++
			o.Credits += c.Credits
			o.micro += roots[c.Credits]
		}
	}
	if p.Method == Quadratic {
		for i := range r.Options {
			m := r.Options[i].micro
			r.Options[i].Votes = fmt.Sprintf("%d.%06d", m/1e6, m%1e6)
		}
	}
	if p.Method == Ranked {
		p.runOff(ballots, &r)
		return r
	}
	r.lead()
	return r
}

// squareRoots are those of 0 to 100, in millionths, rounded down: whole
// numbers, so that sums do not depend on an order.
func squareRoots() (roots [Credits + 1]int64) {
	for c := range roots {
		n := new(big.Int).Mul(big.NewInt(int64(c)), big.NewInt(1e12))
		roots[c] = n.Sqrt(n).Int64()
	}
	return roots
}

// lead names those with the most votes.
func (r *Result) lead() {
	weight := func(o OptionResult) int64 {
		if o.micro > 0 {
			return o.micro
		}
		return int64(o.Ballots)
	}
	most := int64(0)
	for _, o := range r.Options {
		most = max(most, weight(o))
	}
	for _, o := range r.Options {
		if most > 0 && weight(o) == most {
			r.Leading = append(r.Leading, o.ID)
		}
	}
}

// runOff is an instant run-off. In each round a ballot counts for the best of
// its options that are left. Who has more than half of the ballots that still
// count wins. Otherwise all options without a vote leave, or, when there are
// none, the one with the fewest votes; of several with the fewest, the one
// that had fewer in the round before, and so on back to the first; and when
// all rounds are level, the one that stands later in the poll.
func (p *Poll) runOff(ballots [][]Choice, r *Result) {
	left := make([]bool, len(p.Options))
	for i := range left {
		left[i] = true
	}
	next := make([]int, len(ballots)) // the place in each ballot of the choice that counts
	for remaining := len(left); remaining > 0; {
		round := Round{Votes: make([]int, len(left))}
		for i, b := range ballots {
			for next[i] < len(b) && !left[b[next[i]].Option] {
				next[i]++
			}
			if next[i] == len(b) {
				round.Exhausted++
				continue
			}
			round.Votes[b[next[i]].Option]++
		}
		standing := len(ballots) - round.Exhausted
		best := slices.Max(round.Votes)
		if standing == 0 || 2*best > standing || remaining == 1 {
			r.Rounds = append(r.Rounds, round)
			if standing > 0 {
				r.Leading = append(r.Leading, p.Options[slices.Index(round.Votes, best)].ID)
			}
			return
		}
		var out []int
		out, round.Tie = leaving(left, round.Votes, r.Rounds)
		for _, o := range out {
			left[o] = false
			round.Out = append(round.Out, p.Options[o].ID)
		}
		remaining -= len(out)
		r.Rounds = append(r.Rounds, round)
	}
}

// leaving says which options leave after a round.
func leaving(left []bool, votes []int, before []Round) (out []int, tie bool) {
	fewest := -1
	for o, in := range left {
		if in && votes[o] == 0 {
			out = append(out, o)
		}
		if in && (fewest < 0 || votes[o] < fewest) {
			fewest = votes[o]
		}
	}
	if len(out) > 0 {
		return out, false
	}
	for o, in := range left {
		if in && votes[o] == fewest {
			out = append(out, o)
		}
	}
	tie = len(out) > 1
	for i := len(before) - 1; i >= 0 && len(out) > 1; i-- {
		least := slices.MinFunc(out, func(a, b int) int { return before[i].Votes[a] - before[i].Votes[b] })
		out = slices.DeleteFunc(out, func(o int) bool { return before[i].Votes[o] > before[i].Votes[least] })
	}
	return out[len(out)-1:], tie
}
