package spam

import (
	"hash/fnv"
	"math"
	"slices"
)

// StreamReport is what the simulated streams measured, every fold with a head
// and thresholds from others, on streams of other seeds than those that the head
// and its thresholds are from.
type StreamReport struct {
	Known  SideReport `json:"known"`
	Blind  SideReport `json:"blind"`  // on a relay whose graph knows nobody
	Second SideReport `json:"second"` // the known side when tier 1 is asked
	Fitted []uint64   `json:"fitted_on_seeds"`
	Tested []uint64   `json:"tested_on_seeds"`
}

// SideReport is the report of one line.
type SideReport struct {
	Notes   int     `json:"notes"`
	Spam    int     `json:"spam"`
	AUC     float64 `json:"auc"`
	F1      float64 `json:"f1"`    // at the threshold of the best F1 of the validation part
	TPR1    float64 `json:"tpr_1"` // on the ROC of all folds together
	TPR01   float64 `json:"tpr_01"`
	Seeds   []Range `json:"seeds"` // the same for each seed of its own
	At1     Rates   `json:"at_1"`
	At01    Rates   `json:"at_01"`
	Suspect Rates   `json:"at_suspect"` // at the thresholds that are shipped
	Sure    Rates   `json:"at_sure"`
	Unknown Rates   `json:"unknown_at_suspect"` // ham by keys that the graph does not reach; FPR only
	Text    Rates   `json:"text_alone_at_1"`
}

// Range is what one stream reached.
type Range struct {
	F1    float64 `json:"f1"`
	TPR1  float64 `json:"tpr_1"`
	TPR01 float64 `json:"tpr_01"`
}

// Rates are a true and a false positive rate, with the counts they rest on.
type Rates struct {
	TPR       float64 `json:"tpr"`
	FPR       float64 `json:"fpr"`
	Positives int     `json:"positives"`
	Negatives int     `json:"negatives"`
}

// Bursts is one simulated burst.
type Bursts struct {
	Seed   uint64 `json:"seed"`
	Notes  int    `json:"notes"`
	After  int    `json:"after_first_10"` // of the burst, beyond the first ten
	Caught int    `json:"caught"`
	Ham    int    `json:"ham"`
	Hit    int    `json:"ham_hit"`
}

// scored is a note of a stream with its row and, later, its score.
type scored struct {
	spam, within, unknown bool
	text                  float64
	row                   manner
	z                     float64
	fold                  int
	seed                  uint64
}

const (
	folds   = 4
	fitOnly = folds // rows that are never tested
)

// foldOf keeps campaigns whole.
func foldOf(campaign string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(campaign)) // a hash takes everything
	return int(finish(h.Sum32()) % folds)
}

// Play sends a stream through a window of its own and returns its rows. Texts
// of the corpus keep their out-of-fold score; the burst's are scored.
func (c *Classifier) Play(stream []Arrival, samples []Sample) []scored {
	window := NewWindow()
	w := c.pool.Get().(*work)
	defer c.pool.Put(w)
	out := make([]scored, 0, len(stream))
	for _, a := range stream {
		words, logit := a.Text, 0.0
		var v Verdict
		if a.Sample >= 0 {
			words, logit = samples[a.Sample].Text, samples[a.Sample].Logit
		}
		sc := c.wording(w, words, &v)
		if a.Sample < 0 {
			logit = sc[headSpam]
		}
		if window.needsPast(a.Key) {
			window.learn(a.Key, a.At, a.past)
			window.report(1, a.Key, a.reports)
		}
		out = append(out, scored{
			spam: a.Spam, within: a.Within2, unknown: a.Who.Hops < 0, text: logit, row: c.manner(w, logit, a.arrival, window),
		})
	}
	return out
}

// Seeds of the streams: a head is fitted and its thresholds are set on some,
// and it is measured on others, which nobody looked at before the head was
// final. Who changes the head after looking at their figures moves them on, and
// says so in cardHead: streams 50 to 52, 100 to 129, 200 to 204 and 400 to 404 and
// bursts 100 to 199, 300 to 307 and 500 to 507 are used up in this way.
var testSeeds = []uint64{600, 601, 602, 603, 604}

// plan says how much a head is fitted on.
type plan struct {
	streams []uint64 // seeds
	bursts  int      // that take part in fitting
	notes   int      // of each
	quiet   int      // bursts whose ham the threshold of "sure" is taken from
	among   int      // notes of each of those
}

// shippedPlan is what the shipped head is fitted on.
func shippedPlan() plan {
	return plan{streams: []uint64{0, 1, 2, 3, 4, 5}, bursts: 6, notes: 150, quiet: 3, among: 500}
}

const burstSeed = 600 // of the first burst that measures

// Fit learns the behaviour head on seeded streams over the samples, measures
// it across campaigns on streams of other seeds, and returns the head to ship.
func (c *Classifier) Fit(samples []Sample) *Head {
	h := &Head{}
	h.Known, h.Report.Known = c.side(samples, samples, false)
	h.Blind, h.Report.Blind = c.side(samples, samples, true)
	_, h.Report.Second = c.side(samples, withSecond(samples), false)
	h.Report.Fitted, h.Report.Tested = shippedPlan().streams, testSeeds
	return h
}

// Lines fits both lines of the head and measures nothing.
func (c *Classifier) Lines(samples []Sample) (known, blind Line) {
	known, _ = c.fit(samples, shippedPlan(), false)
	blind, _ = c.fit(samples, shippedPlan(), true)
	return known, blind
}

func (c *Classifier) side(samples, tested []Sample, blind bool) (Line, SideReport) {
	l, fitting := c.fit(samples, shippedPlan(), blind)
	return l, across(fitting, c.streams(tested, testSeeds, blind), &l)
}

// fit is the line of one side, with its thresholds, and what it was fitted on.
func (c *Classifier) fit(samples []Sample, by plan, blind bool) (l Line, fitting []scored) {
	fitting = c.streams(samples, by.streams, blind)
	for i := range by.bursts { // bursts only ever take part in fitting
		rows := c.Play(Burst(uint64(1000+i), samples, by.notes, burstTemplates[:2], blind), samples)
		for k, row := range rows {
			if row.fold = fitOnly; row.spam || k%5 == 0 { // few of their ham, which would outweigh that of the streams
				fitting = append(fitting, row)
			}
		}
	}
	l = *lineOn(fitting, func(*scored) bool { return true })
	// thresholds come from scores of lines that did not see the fold
	held := outOfFold(fitting, func(fold int) bool { return true })
	l.Suspect = max(cut(held, 0.01), cut(unknown(held), 0.02))
	l.Sure = max(cut(held, 0.001), cut(unknown(held), 0.002))
	var burst []scored // ham at the pace of a burst, for the threshold only
	for i := range by.quiet {
		burst = append(burst, c.Play(Burst(uint64(2000+i), samples, by.among, burstTemplates[:2], blind), samples)...)
	}
	for i := range burst {
		burst[i].z = l.logit(&burst[i].row)
	}
	most := 0.0002
	if blind { // there it would keep too much from being sure
		most = 0.001
	}
	l.Sure = max(l.Sure, cut(burst, most))
	l.Suspect = min(l.Suspect, l.Sure)
	return l, fitting
}

// streams plays every fold by itself, for each seed.
func (c *Classifier) streams(samples []Sample, seeds []uint64, blind bool) (all []scored) {
	for _, seed := range seeds {
		for fold := range folds {
			var part []Sample
			for _, s := range samples {
				if foldOf(s.Campaign) == fold {
					part = append(part, s)
				}
			}
			rows := c.Play(Stream(100*seed+uint64(fold), part, blind), part)
			for i := range rows {
				rows[i].fold, rows[i].seed = fold, seed
			}
			all = append(all, rows...)
		}
	}
	return all
}

func unknown(all []scored) []scored {
	return slices.DeleteFunc(slices.Clone(all), func(s scored) bool { return !s.unknown })
}

func lineOn(all []scored, use func(*scored) bool) *Line {
	var rows []manner
	var y []float64
	for i := range all {
		if s := &all[i]; use(s) {
			rows, y = append(rows, s.row), append(y, b2f(s.spam))
		}
	}
	l := new(Line)
	l.Weights, l.Bias = fitHead(rows, y, 1)
	return l
}

// outOfFold scores the rows of the folds in use by lines that saw only the
// others of them.
func outOfFold(all []scored, use func(fold int) bool) (out []scored) {
	for fold := range folds {
		if !use(fold) {
			continue
		}
		l := lineOn(all, func(s *scored) bool { return s.fold != fold && (s.fold == fitOnly || use(s.fold)) })
		for _, s := range all {
			if s.fold == fold {
				s.z = l.logit(&s.row)
				out = append(out, s)
			}
		}
	}
	return out
}

// across tests every fold by a line fitted on the others, with thresholds from
// what the others say of one another. shipped is only measured at: its
// thresholds, on those scores.
func across(fitting, testing []scored, shipped *Line) (r SideReport) {
	var at1, at01, f1 [3]int // tp, fp, fn
	var text [3]int
	var all []scored
	for fold := range folds {
		others := func(f int) bool { return f != fold }
		held := outOfFold(fitting, others)
		l := lineOn(fitting, func(s *scored) bool { return s.fold != fold })
		c1, c01, best := cut(held, 0.01), cut(held, 0.001), bestF1(held)
		ct := cutOf(held, 0.01, func(s *scored) float64 { return s.text })
		for _, s := range testing {
			if s.fold != fold {
				continue
			}
			s.z = l.logit(&s.row)
			tally(&at1, s.spam, s.z > c1)
			tally(&at01, s.spam, s.z > c01)
			tally(&f1, s.spam, s.z > best)
			tally(&text, s.spam, s.text > ct)
			all = append(all, s)
		}
	}
	r.Notes = len(all)
	for i := range all {
		r.Spam += one(all[i].spam)
	}
	ham := r.Notes - r.Spam
	r.At1, r.At01, r.Text = rates(at1, ham), rates(at01, ham), rates(text, ham)
	r.F1, r.AUC = f1Of(f1), auc(all)
	r.TPR1, r.TPR01 = above(all, cut(all, 0.01)), above(all, cut(all, 0.001))
	r.Suspect, r.Sure = at(all, shipped.Suspect), at(all, shipped.Sure)
	r.Unknown = Rates{FPR: aboveHam(unknown(all), shipped.Suspect)}
	for _, seed := range testSeeds {
		one := slices.DeleteFunc(slices.Clone(all), func(s scored) bool { return s.seed != seed })
		r.Seeds = append(r.Seeds, Range{F1: bestF1Of(one), TPR1: above(one, cut(one, 0.01)), TPR01: above(one, cut(one, 0.001))})
	}
	return r
}

func at(all []scored, threshold float64) Rates {
	return Rates{TPR: above(all, threshold), FPR: aboveHam(all, threshold)}
}

func f1Of(t [3]int) float64 { return 2 * float64(t[0]) / float64(max(1, 2*t[0]+t[1]+t[2])) }

func bestF1Of(all []scored) float64 {
	var t [3]int
	at := bestF1(all)
	for i := range all {
		tally(&t, all[i].spam, all[i].z > at)
	}
	return f1Of(t)
}

func tally(t *[3]int, spam, flagged bool) {
	switch {
	case spam && flagged:
		t[0]++
	case flagged:
		t[1]++
	case spam:
		t[2]++
	}
}

func rates(t [3]int, ham int) Rates {
	spam := t[0] + t[2]
	return Rates{TPR: float64(t[0]) / float64(max(1, spam)), FPR: float64(t[1]) / float64(max(1, ham)), Positives: spam, Negatives: ham}
}

// cut is the least score that at most the share fpr of the ham exceeds.
func cut(all []scored, fpr float64) float64 {
	return cutOf(all, fpr, func(s *scored) float64 { return s.z })
}

func cutOf(all []scored, fpr float64, by func(*scored) float64) float64 {
	var ham []float64
	for i := range all {
		if !all[i].spam {
			ham = append(ham, by(&all[i]))
		}
	}
	if len(ham) == 0 {
		return math.Inf(1)
	}
	slices.Sort(ham)
	return ham[len(ham)-1-int(fpr*float64(len(ham)))]
}

// bestF1 is the threshold with the best F1.
func bestF1(all []scored) float64 {
	sorted := slices.Clone(all)
	slices.SortFunc(sorted, func(a, b scored) int { return -compare(a.z, b.z) })
	spam := 0
	for i := range sorted {
		spam += one(sorted[i].spam)
	}
	tp, best, at := 0, 0.0, math.Inf(1)
	for i := range sorted {
		tp += one(sorted[i].spam)
		if f := 2 * float64(tp) / float64(i+1+spam); f > best {
			best, at = f, sorted[i].z-1e-9
		}
	}
	return at
}

// above is the share of spam that scores higher.
func above(all []scored, at float64) float64 {
	n, k := 0, 0
	for i := range all {
		n += one(all[i].spam)
		k += one(all[i].spam && all[i].z > at)
	}
	return float64(k) / float64(max(1, n))
}

func aboveHam(all []scored, at float64) float64 {
	n, k := 0, 0
	for i := range all {
		n += one(!all[i].spam)
		k += one(!all[i].spam && all[i].z > at)
	}
	return float64(k) / float64(max(1, n))
}

func compare(a, b float64) int { return one(a > b) - one(a < b) }

func auc(all []scored) float64 {
	sorted := slices.Clone(all)
	slices.SortFunc(sorted, func(a, b scored) int { return compare(a.z, b.z) })
	ham, pairs, spam := 0, 0.0, 0
	for i := range sorted {
		if sorted[i].spam {
			spam++
			pairs += float64(ham)
			continue
		}
		ham++
	}
	return pairs / float64(max(1, spam)) / float64(max(1, ham))
}

// MeasureBursts plays bursts of fresh keys, with as many seeds from the first
// on, against the head that is shipped.
func (c *Classifier) MeasureBursts(samples []Sample, first, seeds, notes int, blind bool) (out []Bursts) {
	for seed := range seeds {
		stream := Burst(uint64(first+seed), samples, notes, burstTemplates[2:], blind)
		rows := c.Play(stream, samples)
		b := Bursts{Seed: uint64(first + seed), Notes: notes}
		for i := range rows {
			_, _, flagged := c.head.judge(&rows[i].row, blind)
			switch {
			case stream[i].Burst && stream[i].Seq >= 10:
				b.After++
				b.Caught += one(flagged)
			case !stream[i].Spam:
				b.Ham++
				b.Hit += one(flagged)
			}
		}
		out = append(out, b)
	}
	return out
}
