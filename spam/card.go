package spam

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"runtime"
	"slices"
	"time"
)

// textReport is what train.py measured, out of fold.
type textReport struct {
	Spam, Scam, AI headReport
	Scripts        []scriptReport
}

type headReport struct {
	AUC                  float64    `json:"auc"`
	AUC95                [2]float64 `json:"auc95"`
	TPR                  float64    `json:"tpr"`
	TPR95                [2]float64 `json:"tpr95"`
	At                   float64    `json:"at"`
	TPRCrossed           float64    `json:"tpr_crossed"`
	FPRCrossed           float64    `json:"fpr_crossed"`
	FPRCrossed95         [2]float64 `json:"fpr_crossed95"`
	Positives, Negatives int
}

type scriptReport struct {
	Script       string
	Ham, Spam    int
	Hits         int
	FPR95        [2]float64 `json:"fpr95"`
	HitsCrossed  int        `json:"hits_crossed"`
	FPRCrossed95 [2]float64 `json:"fpr_crossed95"`
	TPR, AUC     float64
}

// row of the table of numbers.
type cardRow struct {
	what, must, reached string
	met                 bool
}

// Card writes the model card, MODEL.md. Bursts and cost are measured now, the
// rest when the model was made.
func (c *Classifier) Card(samples []Sample) ([]byte, error) {
	var text textReport
	if err := json.Unmarshal(c.model.about.Report, &text); err != nil {
		return nil, fmt.Errorf("%w: its report: %w", ErrModel, err)
	}
	b := new(bytes.Buffer)
	fmt.Fprintf(b, cardHead, c.model.about.Digest, len(shipped))
	fmt.Fprint(b, "| what | must reach | reached | |\n|---|---|---|---|\n")
	for _, r := range c.cardRows(&text, samples) {
		verdict := "**missed**"
		switch {
		case r.must == "" || r.must == "reported":
			verdict = ""
		case r.met:
			verdict = "met"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s |\n", r.what, r.must, r.reached, verdict)
	}
	writeScripts(b, text.Scripts)
	fmt.Fprint(b, cardFoot)
	return b.Bytes(), nil
}

func (c *Classifier) cardRows(t *textReport, samples []Sample) []cardRow {
	r := &c.head.Report
	rows := []cardRow{
		{"Nostr notes, text alone, campaigns held out", "AUC ≥ .93, TPR ≥ .60 at 1 % FPR", t.Spam.String(), t.Spam.AUC >= .93 && t.Spam.TPR >= .6},
		{"with behaviour, simulated stream, campaigns held out", "F1 ≥ .95; TPR ≥ .95 at 1 % FPR, ≥ .85 at 0.1 %",
			fmt.Sprintf("F1 %.3f; TPR %.3f at 1 %%, %.3f at 0.1 %% (AUC %.4f); with thresholds of the validation fold TPR %.3f at an FPR of %.2f %%, and %.3f at %.2f %%; text alone %.3f",
				r.F1, r.TPR1, r.TPR01, r.AUC, r.At1.TPR, 100*r.At1.FPR, r.At01.TPR, 100*r.At01.FPR, r.Text.TPR), r.F1 >= .95 && r.TPR1 >= .95 && r.TPR01 >= .85},
		{"the same, at the threshold that is shipped", "", fmt.Sprintf("TPR %.3f at an FPR of %.3f %%", r.Shipped.TPR, 100*r.Shipped.FPR), true},
	}
	rows = append(rows, c.burstRow(samples), c.withinRow(samples))
	for _, s := range t.Scripts {
		if s.Script == "Han" {
			rows = append(rows, cardRow{"Han, FPR at the shipped threshold", "upper bound ≤ 10 %",
				fmt.Sprintf("%d of %d, 95 %% interval %s; AUC within Han %.3f", s.Hits, s.Ham, percent(s.FPR95), s.AUC), s.FPR95[1] <= 0.10})
		}
	}
	rows = append(rows,
		cardRow{"scam and phishing posts (x-posts), against all others", "TPR ≥ .80 at 2 % FPR", t.Scam.String(), t.Scam.TPR >= .8},
		cardRow{"machine-written replies against human ones of the same threads", "reported", t.AI.String(), true})
	return append(rows, c.costRows(samples)...)
}

func (h headReport) String() string {
	return fmt.Sprintf("AUC %.3f (%.3f–%.3f), TPR %.3f (%.3f–%.3f) at %g %% FPR; with the other folds' threshold TPR %.3f at an FPR of %.2f %% (%s); %d of %d",
		h.AUC, h.AUC95[0], h.AUC95[1], h.TPR, h.TPR95[0], h.TPR95[1], 100*h.At, h.TPRCrossed, 100*h.FPRCrossed, percent(h.FPRCrossed95), h.Positives, h.Negatives)
}

func percent(i [2]float64) string { return fmt.Sprintf("%.2f–%.2f %%", 100*i[0], 100*i[1]) }

func (c *Classifier) burstRow(samples []Sample) cardRow {
	var sum, worst Bursts
	met := true
	for _, b := range c.MeasureBursts(samples, 8, 1000) {
		sum.After, sum.Caught, sum.Ham, sum.Hit = sum.After+b.After, sum.Caught+b.Caught, sum.Ham+b.Ham, sum.Hit+b.Hit
		worst.Caught = min(b.Caught-b.After, worst.Caught)
		worst.Hit = max(b.Hit, worst.Hit)
		met = met && b.Caught*100 >= b.After*99 && b.Hit*1000 <= b.Ham
	}
	return cardRow{"bursts of 1,000 fresh keys, 1:20 in real notes, 8 seeds, templates not used in fitting", "≥ 99 % after the first 10, ≤ 0.1 % of real notes hit",
		fmt.Sprintf("%.2f %% caught, %.3f %% hit; in the worst %d missed, %d of 20,000 hit", 100*float64(sum.Caught)/float64(sum.After), 100*float64(sum.Hit)/float64(sum.Ham), -worst.Caught, worst.Hit), met}
}

// withinRow counts authors within two hops whose notes the default policy
// would refuse or hide.
func (c *Classifier) withinRow(samples []Sample) cardRow {
	rules, n, hit, suspect := Rules(Refuse), 0, 0, 0
	for seed := range uint64(3) {
		stream := Stream(7+seed, samples)
		for i, s := range c.Play(stream, samples) {
			if !stream[i].Within2 {
				continue
			}
			n++
			var v Verdict
			z, sure := c.head.sure(&s.row)
			v.Sure, v.Suspect = sure, sure || z > c.head.Suspect
			suspect += one(v.Suspect)
			hit += one(Decide(rules, 1, stream[i].Who, &v) >= Quarantine)
		}
	}
	return cardRow{"authors within two hops of the operator's seeds", "≤ 0.1 % false positives",
		fmt.Sprintf("%d of %d refused or hidden (by rule no score may; upper bound %.3f %%); %.2f %% get a label", hit, n, 300/float64(n), 100*float64(suspect)/float64(n)), hit == 0}
}

func (c *Classifier) costRows(samples []Sample) []cardRow {
	window, who := NewWindow(), Standing{Hops: -1}
	took := make([]time.Duration, 0, len(samples))
	grey := 0
	for range 2 { // the first round warms
		took, grey = took[:0], 0
		for i, s := range samples {
			begin := time.Now()
			c.time(s.Text, uint64(i+1), window, who)
			took = append(took, time.Since(begin))
			grey += one(c.grey(s.Logit))
		}
	}
	slices.Sort(took)
	p50, p99 := took[len(took)/2], took[len(took)*99/100]
	return []cardRow{
		{"tier 0 with behaviour, one core", "≤ 15 µs p50, no allocation", fmt.Sprintf("p50 %.1f µs, p99 %.1f µs on %s with %d cores; allocations are held to 0 by a test",
			us(p50), us(p99), runtime.GOARCH, runtime.NumCPU()), us(p50) <= 15},
		{"share of notes in the grey zone of tier 1", "5 %", fmt.Sprintf("%.1f %%; no tier 1 model is shipped", 100*float64(grey)/float64(len(samples))), math.Abs(float64(grey)/float64(len(samples))-.05) < .03},
	}
}

// time judges one note as the gate does.
func (c *Classifier) time(text string, key uint64, window *Window, who Standing) {
	var v Verdict
	w := c.pool.Get().(*work)
	sc := c.wording(w, text, &v)
	c.behave(w, &v, sc[headSpam], arrival{Key: key, At: simulated + int64(key), Who: who}, window)
	c.pool.Put(w)
}

func us(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

func writeScripts(b *bytes.Buffer, scripts []scriptReport) {
	fmt.Fprint(b, "\n## By script\n\nScripts with at least 40 ham notes. The shipped threshold is one per script; the second column of\n"+
		"intervals takes each note's threshold from the other folds. No hit in n notes claims no less than 3/n.\n\n"+
		"| script | ham | spam | FPR, 95 % | with other folds' threshold | TPR | AUC within |\n|---|---|---|---|---|---|---|\n")
	for _, s := range scripts {
		tpr, auc := "–", "–"
		if s.Spam > 0 {
			tpr, auc = fmt.Sprintf("%.3f", s.TPR), fmt.Sprintf("%.3f", s.AUC)
		}
		fmt.Fprintf(b, "| %s | %d | %d | %d hits, %s | %d hits, %s | %s | %s |\n", s.Script, s.Ham, s.Spam, s.Hits, percent(s.FPR95), s.HitsCrossed, percent(s.FPRCrossed95), tpr, auc)
	}
}

const cardHead = `# The spam model

Made by ` + "`spam/train/train.sh`" + `, which also writes this page. Model %s, %d bytes, embedded in the program.

Tier 0 is a linear model over hashed character 3- to 5-grams and word 1- and 2-grams (2^18 rows of int8) and 30 numbers of
structure, with heads for spam, for scam and for machine-written text; a second linear head adds 18 numbers of behaviour. The
Go code and the Python that trained it agree bit for bit (TestGoSeesBitForBitWhatTheTrainerSaw).

## Data

Listed with sources and licences in testdata/README.md. Spam: Nostr notes of February 2023, and, at half weight, X posts, SMS,
YouTube comments and Telegram messages. Scam: X posts with the labels scam or phishing against all others. AI: replies that
people flagged, against the posts they answer and the complaints about them, and essays.

## How it was measured

Five folds by campaign: the corpus's own campaigns for Nostr, near-duplicates elsewhere. Each score comes from a model that saw
no note of that campaign. The shipped thresholds are quantiles of those scores; beside them stands what the other folds'
thresholds reach. Intervals of AUC and TPR resample whole campaigns, those of rates are exact (Clopper-Pearson).

The Nostr notes carry neither key nor time. **The stream is simulated**: texts, labels and campaigns are real, keys, times,
standing in the graph, profiles and the burst's paraphrases come from the seeded generator in simulate.go, whose assumptions
are written there. Its figures say how the parts work together under those assumptions, not what a relay will see.

## Numbers

`

const cardFoot = `
## What it gets wrong

- Campaigns that are nothing but a link to a picture look like what people post; text alone misses them all.
- Single notes labelled spam that hold nothing of it (a greeting, keyboard noise, an insult, "follow me") are missed.
- Notices of new blocks, long lists, bare numbers and addresses, invitations to groups, and adult pictures are the ham most often suspected.
- One corpus of one month: scripts other than Latin and Han have too little to measure, Japanese and Spanish spam is not in it.
- Machine-written text is learned from 474 flagged replies of one place and time. What stands for people are the posts they answer
  and the complaints about them, which differ in topic and length too: its figures flatter it. It is a soft sign, and no rule can refuse by it.
- With the other folds' thresholds Han has 4 hits in 99, an upper bound of 10.02 %: the shipped threshold was set on all of them.
- A relay that knows nobody yet (no graph, no seeds) takes every author for unknown and every key for young.
- A patient spammer who writes each note anew, with aged keys and profiles, is met by the words alone.
- Readers who copy one text by many unknown keys (a petition) look like a campaign; a quarantine can be undone by appeal.
- Tier 1 (an ONNX model on the grey zone) has its interface (spam.Second) but no model yet, so grey notes are judged by tier 0 alone.
`
