package spam

import (
	"hash/fnv"
	"math"
	"slices"
)

// StreamReport is what the simulated stream measured, every fold with a head
// and thresholds from others.
type StreamReport struct {
	Notes    int      `json:"notes"`
	Spam     int      `json:"spam"`
	AUC      float64  `json:"auc"`
	F1       float64  `json:"f1"`    // at the threshold of the best F1 of the validation part
	TPR1     float64  `json:"tpr_1"` // on the ROC of all folds together
	TPR01    float64  `json:"tpr_01"`
	At1      Rates    `json:"at_1"`
	At01     Rates    `json:"at_01"`
	Shipped  Rates    `json:"at_shipped_sure"`
	Within2  Rates    `json:"within_two_hops"` // FPR only
	Text     Rates    `json:"text_alone_at_1"`
	Bursts   []Bursts `json:"bursts"`
	BestF1At float64  `json:"best_f1_at"`
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
	spam, within bool
	text         float64
	row          manner
	z            float64
	fold         int
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
		}
		out = append(out, scored{spam: a.Spam, within: a.Within2, text: logit, row: c.manner(w, logit, a.arrival, window)})
	}
	return out
}

// Fit learns the behaviour head on seeded streams over the samples, measures
// it across campaigns and returns the head to ship.
func (c *Classifier) Fit(samples []Sample, seeds int) *Head {
	var all []scored
	for seed := range seeds {
		for fold := range folds {
			var part []Sample
			for _, s := range samples {
				if foldOf(s.Campaign) == fold {
					part = append(part, s)
				}
			}
			rows := c.Play(Stream(uint64(100*seed+fold), part), part)
			for i := range rows {
				rows[i].fold = fold
			}
			all = append(all, rows...)
		}
	}
	for seed := range 2 * seeds { // bursts only ever take part in fitting
		stream := Burst(uint64(1000+seed), samples, 150, burstTemplates[:2])
		rows := c.Play(stream, samples)
		for i := range rows {
			rows[i].fold = fitOnly
		}
		all = append(all, rows...)
	}
	head := &Head{}
	head.Report = across(all)
	whole := headOn(all, func(scored) bool { return true })
	head.Weights, head.Bias = whole.Weights, whole.Bias
	// thresholds come from scores of heads that did not see the fold: what
	// across left in z
	tested := slices.DeleteFunc(slices.Clone(all), func(s scored) bool { return s.fold == fitOnly })
	head.Suspect, head.Sure = cut(tested, 0.01), cut(tested, 0.001)
	held := Burst(2000, samples, 1000, burstTemplates[:2]) // ham at the pace of a burst, to set the threshold only
	rows := c.Play(held, samples)
	for i := range rows {
		rows[i].z = head.logit(&rows[i].row)
	}
	head.Sure = max(head.Sure, cut(rows, 0.0005))
	head.Report.Shipped = Rates{
		TPR: above(tested, head.Sure), FPR: aboveHam(tested, head.Sure), Positives: head.Report.Spam, Negatives: head.Report.Notes - head.Report.Spam,
	}
	return head
}

func headOn(all []scored, use func(scored) bool) *Head {
	var rows []manner
	var y []float64
	for _, s := range all {
		if use(s) {
			rows, y = append(rows, s.row), append(y, b2f(s.spam))
		}
	}
	h := new(Head)
	h.Weights, h.Bias = fitHead(rows, y, 1)
	return h
}

// across rotates the folds: two to fit, one for thresholds, one to test.
func across(all []scored) (r StreamReport) {
	var at1, at01, f1 [3]int // tp, fp, fn
	var text [2]int
	within := [2]int{}
	sumF1 := 0.0
	for fold := range folds {
		validation := (fold + 1) % folds
		h := headOn(all, func(s scored) bool { return s.fold != fold && s.fold != validation })
		var held, tested []scored
		for i := range all {
			s := &all[i]
			if s.fold != fold && s.fold != validation {
				continue
			}
			z := h.logit(&s.row)
			if s.fold == fold {
				s.z = z
				tested = append(tested, *s)
				continue
			}
			v := *s
			v.z = z
			held = append(held, v)
		}
		c1, c01, best := cut(held, 0.01), cut(held, 0.001), bestF1(held)
		sumF1 += best
		ct := cutOf(held, 0.01, func(s *scored) float64 { return s.text })
		for i := range tested {
			s := &tested[i]
			tally(&at1, s.spam, s.z > c1)
			tally(&at01, s.spam, s.z > c01)
			tally(&f1, s.spam, s.z > best)
			text[one(s.spam)] += one(s.text > ct)
			if s.within {
				within[0]++
				within[1] += one(s.z > c1)
			}
		}
	}
	all = slices.DeleteFunc(slices.Clone(all), func(s scored) bool { return s.fold == fitOnly })
	r.Notes = len(all)
	for i := range all {
		r.Spam += one(all[i].spam)
	}
	ham := r.Notes - r.Spam
	r.At1, r.At01 = rates(at1, ham), rates(at01, ham)
	r.F1 = 2 * float64(f1[0]) / float64(2*f1[0]+f1[1]+f1[2])
	r.BestF1At = sumF1 / folds
	r.Text = Rates{TPR: float64(text[1]) / float64(r.Spam), FPR: float64(text[0]) / float64(ham), Positives: r.Spam, Negatives: ham}
	r.Within2 = Rates{FPR: float64(within[1]) / float64(max(1, within[0])), Negatives: within[0]}
	r.AUC = auc(all)
	r.TPR1, r.TPR01 = above(all, cut(all, 0.01)), above(all, cut(all, 0.001))
	return r
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

// MeasureBursts plays bursts of 1,000 keys against the head that is shipped.
func (c *Classifier) MeasureBursts(samples []Sample, seeds, notes int) (out []Bursts) {
	for seed := range seeds {
		stream := Burst(uint64(seed), samples, notes, burstTemplates[2:])
		rows := c.Play(stream, samples)
		b := Bursts{Seed: uint64(seed), Notes: notes}
		for i, s := range rows {
			_, flagged := c.head.sure(&s.row)
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
