package spam

import (
	_ "embed" // the head
	"encoding/json"
	"fmt"
	"math"
)

// Standing is what the operator's graph says of an author.
type Standing struct {
	Trust float32 // 0 to 1
	Hops  int     // from the nearest of the operator's seeds; negative: not reached
	Blind bool    // the graph reaches nobody: to be unknown says nothing

	Spared bool // the operator has granted an appeal of theirs: no score marks, hides or refuses them
}

// Past is what the log says of a key that the window does not know yet.
type Past struct {
	First   int64 // when this relay first held an event of it, seconds, not what the event claims; 0: none
	Profile bool  // a kind 0 with a name
	NIP05   bool
}

// Behaviours names the numbers of the behaviour head, each from 0 to 1 but the
// first two.
var behaviours = [...]string{
	"wording", "wording, if suspicious", "unknown keys write the same", "unknown keys write the same, from an unknown author",
	"share of unknown keys among those who write the same", "many alike notes in ten minutes",
	"trust of the author", "within two hops", "new key, doubtful words", "pace of the author", "even pauses",
	"strangers written to", "unknown keys link the same site", "no profile, doubtful words", "no NIP-05, doubtful words", "proof of work", "reports",
	"suspicious wording of an unknown, new key", "suspicious words of an unknown, new key",
	"new, unknown key without a profile", "words of an unknown, new key", "words of an unknown author", "unknown author", "unknown author, new key",
}

const behaviourCount = len(behaviours)

// Places in the row that rules of their own look at.
const (
	rowText    = 0
	rowCrowd   = 2
	rowSame    = 3
	rowSites   = 12
	rowReports = 16
)

// manner is one row of the behaviour head.
type manner [behaviourCount]float64

// mannerOf puts together what is known of one note. bits is its committed
// proof of work, text the log-odds of its wording.
func mannerOf(text float64, c *company, at int64, who Standing, bits int) manner {
	text = max(-6, min(6, text))
	unknown := 1 - min(1, 4*float64(who.Trust))
	if who.Hops >= 0 && who.Hops <= 2 {
		unknown = 0
	}
	crowd := satf(float64(max(0, c.strangers-1)), 3)
	share := 0.0
	if all := c.strangers + c.known; all > 1 {
		share = float64(c.strangers) / float64(all) * satf(float64(all-1), 2)
	}
	fresh := 1 / (1 + max(0, float64(at-c.key.First))/86400)
	doubt := sigmoid(text + 3) // being new, or without a profile, counts only where the words give reason to
	sites := satf(float64(max(0, c.siteStrangers-1)), 4) * float64(c.siteStrangers) / float64(max(1, c.siteStrangers+2*c.siteKnown))
	return manner{
		text, max(0, text), crowd, crowd * share * unknown * (0.3 + 0.7*fresh), share, satf(float64(max(0, c.rate-1)), 6) * unknown,
		float64(who.Trust), b2f(who.Hops >= 0 && who.Hops <= 2), fresh * doubt, satf(float64(max(0, c.key.Rate-1)), 5), even(&c.key.Gaps),
		satf(float64(c.key.Strangers), 5) * unknown, sites * unknown, b2f(!c.key.Profile) * doubt, b2f(!c.key.NIP05) * doubt,
		min(1, float64(bits)/24), satf(float64(c.key.Reports), 1), max(0, text) * unknown * fresh, sigmoid(text+1) * unknown * fresh,
		sigmoid(text+4) * unknown * fresh * b2f(!c.key.Profile), sigmoid(text+5) * unknown * fresh, sigmoid(text+3) * unknown, unknown, unknown * fresh,
	}
}

// even is 1 when all pauses of a key are of one order, 0 when they are of all:
// one minus their entropy. Fewer than six pauses say nothing.
func even(gaps *[8]uint8) float64 {
	sum := 0
	for _, n := range gaps {
		sum += int(n)
	}
	if sum < 6 {
		return 0
	}
	h := 0.0
	for _, n := range gaps {
		if n > 0 {
			p := float64(n) / float64(sum)
			h -= p * math.Log2(p)
		}
	}
	return 1 - h/3
}

func satf(x, half float64) float64 { return x / (x + half) }

func b2f(b bool) float64 { return float64(one(b)) }

// Line is a linear judgement of behaviour, with its thresholds.
type Line struct {
	Weights [behaviourCount]float64 `json:"weights"`
	Bias    float64                 `json:"bias"`
	Suspect float64                 `json:"suspect"` // log-odds that 1 % of ham of the validation part exceeds
	Sure    float64                 `json:"sure"`    // 0.1 %
}

// Differs says in what two lines are not the same, or nothing. Sums of many
// numbers may differ in their last digits from machine to machine.
func (l *Line) Differs(from Line) string {
	apart := func(a, b float64) bool { return !(math.Abs(a-b) <= 1e-6) }
	for i, w := range l.Weights {
		if apart(w, from.Weights[i]) {
			return fmt.Sprintf("%s weighs %v, not %v", behaviours[i], w, from.Weights[i])
		}
	}
	if apart(l.Bias, from.Bias) || apart(l.Suspect, from.Suspect) || apart(l.Sure, from.Sure) {
		return fmt.Sprintf("bias and thresholds are %v, %v and %v, not %v, %v and %v", l.Bias, l.Suspect, l.Sure, from.Bias, from.Suspect, from.Sure)
	}
	return ""
}

// Head judges behaviour, by one line where the operator's graph knows people
// and by another where it knows nobody: there everybody is a stranger. `agora
// spam train` fits it on the simulated stream.
type Head struct {
	Known  Line         `json:"known"`
	Blind  Line         `json:"blind"`
	Report StreamReport `json:"report"`
}

func (h *Head) line(blind bool) *Line {
	if blind {
		return &h.Blind
	}
	return &h.Known
}

//go:embed behaviour.json
var shippedHead []byte

// ShippedHead is the behaviour head embedded in this program.
func ShippedHead() (*Head, error) {
	h := new(Head)
	if err := json.Unmarshal(shippedHead, h); err != nil {
		return nil, fmt.Errorf("%w: behaviour: %w", ErrModel, err)
	}
	return h, nil
}

func (l *Line) logit(m *manner) float64 {
	v := l.Bias
	for i, w := range l.Weights {
		v += w * m[i]
	}
	return v
}

// The row's number for a new key in a campaign of six young, unknown keys with
// nobody known among them: enough by itself, whatever the words. Where nobody
// is known it takes a dozen.
const (
	sameByStrangers = 0.44
	sameByAnybody   = 0.66
)

// spokenFor is the log-odds of a wording below which it speaks for its author.
const spokenFor = -2

// lone says that nothing speaks against a note but how its own author writes,
// while the words speak for them: no other unknown key writes alike or links the
// same site, and nobody of standing has complained. A program that says when a
// block was found is such. That may be suspect; it is not beyond doubt.
func (m *manner) lone() bool {
	return m[rowText] < spokenFor && m[rowCrowd] == 0 && m[rowSites] == 0 && m[rowReports] == 0
}

// judge scores a row and says whether it is suspect, and whether beyond doubt.
func (h *Head) judge(m *manner, blind bool) (logit float64, suspect, sure bool) {
	l, many := h.line(blind), sameByStrangers
	if blind {
		many = sameByAnybody
	}
	logit = l.logit(m)
	sure = logit > l.Sure && !m.lone() || m[rowSame] >= many
	return logit, sure || logit > l.Suspect, sure
}

// fitHead is logistic regression by Newton's method with ridge: few numbers,
// so it is exact and fast. y is 0 or 1, weight what each row counts.
func fitHead(rows []manner, y []float64, ridge float64) (w [behaviourCount]float64, bias float64) {
	const n = behaviourCount + 1
	var at [n]float64
	for range 12 {
		var grad [n]float64
		var hess [n][n]float64
		for i := range at {
			hess[i][i] = ridge
			grad[i] = ridge * at[i]
		}
		for r := range rows {
			x := [n]float64{behaviourCount: 1}
			copy(x[:], rows[r][:])
			z := 0.0
			for i := range x {
				z += at[i] * x[i]
			}
			p := sigmoid(z)
			v := max(p*(1-p), 1e-9)
			for i := range x {
				grad[i] += (p - y[r]) * x[i]
				for j := range x {
					hess[i][j] += v * x[i] * x[j]
				}
			}
		}
		move := solve(&hess, grad)
		for i := range at {
			at[i] -= move[i]
		}
	}
	copy(w[:], at[:])
	return w, at[behaviourCount]
}

// solve is Gaussian elimination; a is positive definite.
func solve[V [behaviourCount + 1]float64, M [behaviourCount + 1][behaviourCount + 1]float64](a *M, b V) V {
	m, v := *a, b
	n := len(v)
	for i := range n {
		for r := i + 1; r < n; r++ {
			f := m[r][i] / m[i][i]
			for c := i; c < n; c++ {
				m[r][c] -= f * m[i][c]
			}
			v[r] -= f * v[i]
		}
	}
	for i := n - 1; i >= 0; i-- {
		for c := i + 1; c < n; c++ {
			v[i] -= m[i][c] * v[c]
		}
		v[i] /= m[i][i]
	}
	return v
}
