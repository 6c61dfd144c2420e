package spam

import (
	"bytes"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"
)

// textReport is what train.py measured, out of fold.
type textReport struct {
	Spam, Scam, AI headReport
	Repeats        []headReport
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

const bursts = 8 // that measure

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
	fmt.Fprintf(b, cardHead, c.model.about.Digest, len(shipped)+len(shippedVectors)+len(secondONNX)+len(tier0ONNX)+len(shippedHead),
		spelled(c.head.Report.Tested), burstSeed, burstSeed+bursts-1)
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
	r, blind := &c.head.Report.Known, &c.head.Report.Blind
	rows := []cardRow{
		{"Nostr notes, text alone, campaigns held out", "AUC ≥ .93, TPR ≥ .60 at 1 % FPR", t.Spam.String(), t.Spam.AUC >= .93 && t.Spam.TPR >= .6},
		{"the same with the folds cut otherwise", "", repeats(t.Repeats), true},
		{"tier 1 on the grey zone, campaigns held out", "helps", c.vectors.Report.String(), c.vectors.Report.TPR > c.vectors.Report.TPRTier0},
		{"with behaviour, simulated streams, campaigns held out", "F1 ≥ .95; TPR ≥ .95 at 1 % FPR, ≥ .85 at 0.1 %", r.String(), r.F1 >= .95 && r.TPR1 >= .95 && r.TPR01 >= .85},
		{"each of these streams by itself", "", r.each(), true},
		{"the same at the thresholds that are shipped", "", r.shipped(), true},
		{"the same with tier 1", "", c.head.Report.Second.String(), true},
		{"the same on a relay whose graph knows nobody", "", blind.String() + "; " + blind.shipped(), true},
	}
	rows = append(rows, c.burstRow(samples, false), c.burstRow(samples, true), c.withinRow(samples))
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

func (r *SideReport) String() string {
	return fmt.Sprintf("F1 %.3f; TPR %.3f at 1 %%, %.3f at 0.1 %% (AUC %.4f; %d of %d); with thresholds of the other folds TPR %.3f at an FPR of %.2f %%, and %.3f at %.2f %%; text alone %.3f",
		r.F1, r.TPR1, r.TPR01, r.AUC, r.Spam, r.Notes, r.At1.TPR, 100*r.At1.FPR, r.At01.TPR, 100*r.At01.FPR, r.Text.TPR)
}

func (r *SideReport) each() string {
	var words []string
	for _, s := range r.Seeds {
		words = append(words, fmt.Sprintf("%.3f, %.3f, %.3f", s.F1, s.TPR1, s.TPR01))
	}
	least := Range{1, 1, 1}
	for _, s := range r.Seeds {
		least = Range{min(least.F1, s.F1), min(least.TPR1, s.TPR1), min(least.TPR01, s.TPR01)}
	}
	return fmt.Sprintf("best F1, TPR at 1 %%, at 0.1 %%: %s; the least %.3f, %.3f, %.3f", strings.Join(words, " · "), least.F1, least.TPR1, least.TPR01)
}

func (r *SideReport) shipped() string {
	return fmt.Sprintf("suspect: TPR %.3f at an FPR of %.2f %% (%.2f %% of the ham by unknown keys); sure: TPR %.3f at %.3f %%",
		r.Suspect.TPR, 100*r.Suspect.FPR, 100*r.Unknown.FPR, r.Sure.TPR, 100*r.Sure.FPR)
}

func (r *secondReport) String() string {
	return fmt.Sprintf("%.1f %% of the notes (%d, %d of them spam): AUC there %.3f, tier 0's %.3f; TPR of all notes at 1 %% FPR %.3f, without %.3f; with the other folds' threshold %.3f at %.2f %%, without %.3f at %.2f %%",
		100*r.Share, r.Notes, r.Spam, r.AUC, r.AUCTier0, r.TPR, r.TPRTier0, r.Crossed[0], 100*r.Crossed[1], r.CrossedTier0[0], 100*r.CrossedTier0[1])
}

func repeats(all []headReport) string {
	var words []string
	for _, h := range all {
		words = append(words, fmt.Sprintf("AUC %.3f, TPR %.3f (other folds' threshold %.3f at %.2f %%)", h.AUC, h.TPR, h.TPRCrossed, 100*h.FPRCrossed))
	}
	return strings.Join(words, " · ")
}

func (h headReport) String() string {
	return fmt.Sprintf("AUC %.3f (%.3f–%.3f), TPR %.3f (%.3f–%.3f) at %g %% FPR; with the other folds' threshold TPR %.3f at an FPR of %.2f %% (%s); %d of %d",
		h.AUC, h.AUC95[0], h.AUC95[1], h.TPR, h.TPR95[0], h.TPR95[1], 100*h.At, h.TPRCrossed, 100*h.FPRCrossed, percent(h.FPRCrossed95), h.Positives, h.Negatives)
}

func spelled(seeds []uint64) string {
	words := make([]string, 0, len(seeds))
	for _, s := range seeds {
		words = append(words, fmt.Sprint(s))
	}
	return strings.Join(words, ", ")
}

func percent(i [2]float64) string { return fmt.Sprintf("%.2f–%.2f %%", 100*i[0], 100*i[1]) }

func (c *Classifier) burstRow(samples []Sample, blind bool) cardRow {
	var sum, worst Bursts
	met := true
	for _, b := range c.MeasureBursts(samples, burstSeed, bursts, 1000, blind) {
		sum.After, sum.Caught, sum.Ham, sum.Hit = sum.After+b.After, sum.Caught+b.Caught, sum.Ham+b.Ham, sum.Hit+b.Hit
		worst.Caught = min(b.Caught-b.After, worst.Caught)
		worst.Hit = max(b.Hit, worst.Hit)
		met = met && b.Caught*100 >= b.After*99 && b.Hit*1000 <= b.Ham
	}
	what, must := "bursts of 1,000 fresh keys, 1:20 in real notes, 8 seeds, templates not used in fitting", "≥ 99 % after the first 10, ≤ 0.1 % of real notes hit"
	if blind {
		what, must = "the same on a relay whose graph knows nobody", ""
	}
	return cardRow{what, must,
		fmt.Sprintf("%.2f %% caught, %.3f %% hit; in the worst %d missed, %d of 20,000 hit", 100*float64(sum.Caught)/float64(sum.After), 100*float64(sum.Hit)/float64(sum.Ham), -worst.Caught, worst.Hit), met}
}

// withinRow counts authors within two hops whose notes the default policy
// would refuse or hide.
func (c *Classifier) withinRow(samples []Sample) cardRow {
	rules, n, hit, suspect := Rules(Refuse), 0, 0, 0
	for seed := range uint64(3) {
		stream := Stream(7+seed, samples, false)
		for i, s := range c.Play(stream, samples) {
			if !stream[i].Within2 {
				continue
			}
			n++
			var v Verdict
			_, v.Suspect, v.Sure = c.head.judge(&s.row, false)
			suspect += one(v.Suspect)
			hit += one(Decide(rules, 1, stream[i].Who, &v) >= Quarantine)
		}
	}
	return cardRow{"authors within two hops of the operator's seeds", "≤ 0.1 % false positives",
		fmt.Sprintf("%d of %d refused or hidden (by rule no score may; upper bound %.3f %%); %.2f %% get a label", hit, n, 300/float64(n), 100*float64(suspect)/float64(n)), hit == 0}
}

// costRows times every note in several rounds and takes its best: the others
// tell of whatever else the machine did.
func (c *Classifier) costRows(samples []Sample) []cardRow {
	window, who := NewWindow(), Standing{Hops: -1}
	took := make([]time.Duration, len(samples))
	sum := time.Duration(0)
	for round := range 8 {
		for i, s := range samples {
			begin := time.Now()
			c.time(s.Text, uint64(i+1), window, who)
			if d := time.Since(begin); round == 0 || d < took[i] {
				took[i] = d
			}
		}
	}
	for _, d := range took {
		sum += d
	}
	slices.Sort(took)
	p50, p99 := took[len(took)/2], took[len(took)*99/100]
	return []cardRow{
		{"tier 0 with behaviour, one core", "≤ 15 µs p50, no allocation", fmt.Sprintf("p50 %.1f µs, p99 %.1f µs (notes of 4 KiB), mean %.1f µs on %s, the best of 8 rounds; allocations are held to 0 by a test; tier 1: see BENCHMARKS.md",
			us(p50), us(p99), us(sum)/float64(len(took)), runtime.GOARCH), us(p50) <= 15},
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

Made by ` + "`spam/train/train.sh`" + `, which also writes this page. Model %s; all models together %d bytes, embedded in the program.

Tier 0 is a linear model over hashed character 3- to 5-grams and word 1- and 2-grams (2^18 rows of int8) and 30 numbers of
structure, with heads for spam, for scam and for machine-written text; a second linear head adds 24 numbers of behaviour. The
Go code and the Python that trained it agree bit for bit (TestGoSeesBitForBitWhatTheTrainerSaw). Letters of other alphabets
that look like Latin ones count as one, invisible characters and combining marks not at all; letters set apart and digits in
the place of letters are put right (TestDisguiseHidesNoScam). The head of tier 0 is also tier0.onnx, which the relay lists as
the ranker spam-words.

Tier 1 is second.onnx: 90 trees over the structure and 16 numbers of a truncated SVD of the n-grams (second.model). It is asked
about the 5 %% of texts nearest to tier 0's threshold, and its log-odds take the place of tier 0's. Without a usable ONNX runtime
tier 0 judges alone, and the log says so.

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
are written there. Its figures say how the parts work together under those assumptions, not what a relay will see. The head and
its thresholds are from streams of seeds 0 to 5; every figure here is from streams of seeds %s and bursts of seeds
%d to %d, each fold judged by a head and thresholds that saw none of its campaigns.

What was chosen after looking, and at what:

- The six numbers of behaviour that were added last, on streams of seeds 50 to 52, which measure nothing now.
- The weight of the bursts in fitting and the habits of the simulated authors, while the figures of streams 200 to 204 were in
  sight. They measure nothing now.
- How many streams the head is fitted on (3, 6 and 10 were tried, with as many bursts and with twice and three times as many; 6
  with as many is shipped), on streams of seeds 100 to 129 and bursts of seeds 100 to 139. Streams 400 to 404, on which the head
  before this one reached F1 .955, TPR .957 at 1 %% and .896 at 0.1 %%, measure nothing now.
- The threshold of "sure" under bursts (0.0005, 0.0004 and 0.0002 of the ham were tried, the last is shipped), on bursts that
  measure nothing now, nor do those of seeds 300 to 307. The four templates that measure are still the same four: other draws of
  them are new, their wording is not.
- That the pace of one key alone is not beyond doubt where the words speak for it, after the bursts of seeds 500 to 507 had
  missed their row by the block notices of one key, on bursts of seeds 100 to 199 (log-odds of the words below 0, -1, -2 and -3
  were tried: all much the same; -2 is shipped). Before, 11 of those hundred bursts missed the row, then none.
- The seeds of the table were first played, once, after all of this was final; nothing was changed since.
- Han's factor (twenty times the odds that Latin is asked for, instead of ten), after seeing its hits out of fold. Its row below
  is therefore no test of that choice; 99 ham notes leave none to make one with.
- No texts were kept aside. What was tuned about them (regularisation, weights, n-grams, the share that tier 1 is asked about) was
  tuned on the five folds that measure; the rows with the folds cut otherwise show how far that moves the figures on this corpus.

Two heads are fitted: one for relays whose graph knows people, one for relays whose graph knows nobody, where everybody is a
stranger and most keys are new. The second is asked more before it says "sure".

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
- Scripts with fewer than 500 ham notes are asked for twenty times the odds that Latin is: their spam is missed more often, and
  what little is known of their ham does not decide. With the folds cut otherwise the figures move by a few points: see the table.
- A program that nobody known follows, run by a key a few hours old, which writes every half minute, is suspect whatever its
  words, and labelled; beyond doubt only where its words, its links or other keys speak against it too. So is a spammer who
  writes fast with one key in words that speak for it: labelled, not hidden.
- A relay that knows nobody yet (no graph, no seeds) misses more and is wrong more often: see its rows. Set spam_seeds.
- Of a text longer than 4 KiB only the two ends are read: what stands between is not seen.
- A patient spammer who writes each note anew, with aged keys and profiles, is met by the words alone.
- Readers who copy one text by many unknown keys (a petition) look like a campaign. Who wrote it first is not blamed for the copies;
  the others can appeal.
- Letters set apart count as a word from four on (three by other signs than spaces), digits in the place of letters in words of
  four on, one or two together. Other signs in the place of letters ("c@sh"), and words misspelt, are not put right.
`
