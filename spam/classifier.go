package spam

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"math/bits"
	"slices"
	"sync"

	"github.com/nbd-wtf/go-nostr"
)

// Reason is one thing that spoke for a verdict.
type Reason struct {
	What   string  `json:"what"`
	Weight float64 `json:"weight"` // of log-odds
}

const mostReasons = 5

// Verdict is what a classifier says of one note. Spam, Scam and AI are
// probabilities at even odds; AI is a soft sign and no reason to refuse.
type Verdict struct {
	Spam, Scam, AI float64
	Threshold      float64 // of Spam, above which a note is suspect
	Suspect        bool    // above the threshold that 1 % of ham exceeded
	Sure           bool    // above the one that 0.1 % exceeded
	IsScam, IsAI   bool    // above theirs (2 %, 1 %)
	Exempt         bool    // behaviour was not looked at
	Script         string
	reasons        [mostReasons]Reason
	n              int
}

// Reasons are the weightiest first; they belong to the verdict.
func (v *Verdict) Reasons() []Reason { return v.reasons[:v.n] }

// weigh keeps the reasons that speak for spam, the weightiest first.
func (v *Verdict) weigh(what string, weight float64) {
	if weight < 0.05 {
		return
	}
	at := v.n
	for at > 0 && v.reasons[at-1].Weight < weight {
		at--
	}
	if at == mostReasons {
		return
	}
	if v.n < mostReasons {
		v.n++
	}
	copy(v.reasons[at+1:v.n], v.reasons[at:v.n-1])
	v.reasons[at] = Reason{what, weight}
}

// Classifier judges texts and events. It is safe for concurrent use and
// allocates nothing once warm.
type Classifier struct {
	model   *Model
	head    *Head
	vectors *vectors
	pool    sync.Pool // *work
}

// work is the memory for one verdict.
type work struct {
	text   *text
	s      [structures]float32
	vector [vectorSize]float32
	tokens []uint32
	sketch sketch
	pass   passage
}

// NewClassifier joins a model of texts with a head of behaviour. Its error is
// an ErrModel: what tier 1 needs in the program is damaged.
func NewClassifier(model *Model, head *Head) (*Classifier, error) {
	v, err := readVectors(shippedVectors)
	if err != nil {
		return nil, err
	}
	c := &Classifier{model: model, head: head, vectors: v}
	c.pool.New = func() any { return &work{text: newText(), tokens: make([]uint32, 0, mostTokens)} }
	return c, nil
}

// Model says which model speaks.
func (c *Classifier) Model() About { return c.model.about }

// Text judges a text alone, as if its author were unknown. A nil Second leaves
// it to tier 0.
func (c *Classifier) Text(ctx context.Context, s string, second Second) (v Verdict) {
	w := c.pool.Get().(*work)
	defer c.pool.Put(w)
	c.alone(ctx, w, s, second, &v)
	return v
}

func (c *Classifier) alone(ctx context.Context, w *work, s string, second Second, v *Verdict) {
	tier0 := c.wording(w, s, v)[headSpam]
	text, threshold := c.asked(ctx, w, tier0, second), c.model.cuts.Suspect[latin]
	if text != tier0 {
		threshold = c.vectors.Suspect
	}
	k := w.text.script()
	threshold += c.model.cuts.stricter(k)
	v.Spam, v.Threshold = sigmoid(text), sigmoid(threshold)
	v.Suspect, v.Sure = text > threshold, text > c.model.cuts.Sure[k]
}

// Wording is a text as models see it: the sums of its n-grams for spam, scam
// and machine-written (spam.words), its structure and its vector.
func (c *Classifier) Wording(s string) []float32 {
	w := c.pool.Get().(*work)
	defer c.pool.Put(w)
	w.text.read(s)
	w.text.gather()
	w.text.structure(&w.s)
	c.vectors.vector(w.text.rows, &w.vector)
	row := make([]float32, 0, heads+structures+vectorSize)
	sums := c.model.words(w.text.rows)
	row = append(row, sums[:]...)
	row = append(row, w.s[:]...)
	return append(row, w.vector[:]...)
}

// wording scores a text and gives the reasons that lie in it.
func (c *Classifier) wording(w *work, s string, v *Verdict) scores {
	w.text.read(s)
	w.text.gather()
	w.text.structure(&w.s)
	sc := c.model.judge(w.text, &w.s)
	v.Script = w.text.script().String()
	v.Spam, v.Scam, v.AI = sigmoid(sc[headSpam]), sigmoid(sc[headScam]), sigmoid(sc[headAI])
	v.IsScam, v.IsAI = sc[headScam] > c.model.cuts.Scam[0], sc[headAI] > c.model.cuts.AI[0]
	if sc[headSpam] < spokenFor {
		return sc
	}
	h := &c.model.heads[headSpam]
	words := sc[headSpam] - h.Shift - h.Slope*h.Bias
	for i, weight := range h.Weights {
		part := h.Slope * weight * float64(w.s[i])
		words -= part
		v.weigh(Structure[i], part)
	}
	v.weigh("the words", words)
	return sc
}

// Scene is what is known of an event beyond itself.
type Scene struct {
	Window *Window
	Who    Standing
	Second Second // asked where tier 0 is unsure; nil: nobody
	Exempt bool   // its personhood proof verifies: behaviour is not looked at
	Meets  int    // strangers it writes to
	Now    int64
}

// Event judges an event with its behaviour, and books it in the window. ctx is
// for scene.Second.
func (c *Classifier) Event(ctx context.Context, ev *nostr.Event, in Scene) (v Verdict) {
	w := c.pool.Get().(*work)
	defer c.pool.Put(w)
	if in.Exempt || in.Window == nil {
		c.alone(ctx, w, ev.Content, in.Second, &v)
		v.Exempt = in.Exempt
		return v
	}
	text := c.asked(ctx, w, c.wording(w, ev.Content, &v)[headSpam], in.Second)
	c.behave(w, &v, text, arrival{
		Key: keyOf(ev.PubKey), At: in.Now, Who: in.Who, Meets: in.Meets, Bits: committedWork(ev),
	}, in.Window)
	return v
}

// arrival is how a note comes.
type arrival struct {
	Key   uint64
	At    int64
	Who   Standing
	Meets int
	Bits  int
}

// behave adds to a verdict on a text what the window knows.
func (c *Classifier) behave(w *work, v *Verdict, text float64, a arrival, window *Window) manner {
	m := c.manner(w, text, a, window)
	z, suspect, sure := c.head.judge(&m, a.Who.Blind)
	v.Spam, v.Suspect, v.Sure = sigmoid(z), suspect, sure
	v.Threshold = sigmoid(c.head.line(a.Who.Blind).Suspect)
	for i, weight := range c.head.line(a.Who.Blind).Weights[2:] {
		v.weigh(behaviours[i+2], weight*m[i+2])
	}
	return m
}

// manner books a note whose text has been read, and returns its row.
func (c *Classifier) manner(w *work, text float64, a arrival, window *Window) manner {
	w.tokens = w.text.tokens(w.tokens)
	can := sketchOf(w.tokens, &w.sketch)
	w.pass = passage{
		key: a.Key, at: a.At, sketch: &w.sketch, can: can, sites: w.text.leads,
		known: a.Who.Trust >= 0.1 || a.Who.Hops >= 0 && a.Who.Hops <= 2, meets: a.Meets,
	}
	company := window.pass(&w.pass)
	text -= c.model.cuts.stricter(w.text.script())
	return mannerOf(text, &company, a.At, a.Who, a.Bits)
}

// keyOf is the first eight bytes of a public key, never 0.
func keyOf(pubkey string) uint64 {
	var raw [8]byte
	if len(pubkey) < 16 {
		return 1
	}
	if _, err := hex.Decode(raw[:], []byte(pubkey[:16])); err != nil {
		return 1
	}
	return max(1, binary.BigEndian.Uint64(raw[:]))
}

// committedWork is the NIP-13 work an event was mined for: its leading zero
// bits, but not more than its nonce tag commits to. Zeros by luck count nothing.
func committedWork(ev *nostr.Event) int {
	for _, tag := range ev.Tags {
		if len(tag) < 3 || tag[0] != "nonce" {
			continue
		}
		target := 0
		for _, r := range tag[2] {
			if r < '0' || r > '9' || target > 256 {
				return 0
			}
			target = 10*target + int(r-'0')
		}
		if zeros := leadingZeros(ev.ID); zeros >= target {
			return target
		}
		return 0
	}
	return 0
}

func leadingZeros(id string) (n int) {
	for i := range len(id) {
		v := fromHex(id[i])
		n += bits.LeadingZeros8(v) - 4
		if v != 0 {
			return n
		}
	}
	return n
}

func fromHex(b byte) byte {
	switch {
	case b >= '0' && b <= '9':
		return b - '0'
	case b >= 'a' && b <= 'f':
		return b - 'a' + 10
	}
	return 15
}

// Explain lists the n-grams of a text that weigh most for spam, in words. It
// allocates; it is for people.
func (c *Classifier) Explain(s string, most int) []Reason {
	t := newText()
	t.read(s)
	t.gather()
	h, length := &c.model.heads[headSpam], norm(len(t.rows))
	var all []Reason
	seen := map[uint32]bool{}
	for n := 3; n <= 5; n++ {
		for i := 0; i+n <= len(t.out); i++ {
			hash := uint32(n) * 0x9E3779B1
			for _, r := range t.out[i : i+n] {
				hash = step(hash, r)
			}
			row := finish(hash) >> (32 - tableBits)
			if seen[row] {
				continue
			}
			seen[row] = true
			weight := h.Slope * h.Scale * float64(int8(c.model.table[row*4+headSpam])) / length
			all = append(all, Reason{symbols(t.out[i : i+n]), weight})
		}
	}
	slices.SortFunc(all, func(a, b Reason) int { return cmp.Compare(b.Weight, a.Weight) })
	return all[:min(most, len(all))]
}

// symbols is a piece of normalised text as people can read it.
func symbols(rs []rune) string {
	names := map[rune]string{symLink: "<link>", symPath: "<path>", symMedia: "<picture>", symMention: "<mention>", symInvoice: "<invoice>", symBlob: "<code>"}
	var out []byte
	for _, r := range rs {
		if name, ok := names[r]; ok {
			out = append(out, name...)
			continue
		}
		out = append(out, string(r)...)
	}
	return string(out)
}

// Structure names the numbers of structure, as train/features.py orders them.
var Structure = [structures]string{
	"length", "words", "links", "media links", "distinct sites", "mentions", "invoices", "long codes",
	"hashtags", "cashtags", "digits", "capitals", "punctuation", "exclamation marks", "question marks",
	"emoji", "line breaks", "invisible characters", "combining marks", "look-alike letters",
	"words of mixed script", "longest repeat", "repetition", "words per link", "only a link",
	"bare domains", "money signs", "long words", "no words", "two scripts",
}
