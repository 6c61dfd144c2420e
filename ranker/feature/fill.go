package feature

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// KnobPrefix begins the names of inputs that carry a listing's knobs:
// "knob.half_life" float32[1] is the knob half_life.
const KnobPrefix = "knob."

// InputError says why a declared input cannot be filled.
type InputError struct {
	Input  Input
	Reason string
}

func (e *InputError) Error() string {
	return fmt.Sprintf("input %q: %s (the catalogue: agora ranker features, docs/features.md)", e.Input.Name, e.Reason)
}

// Plan fills the inputs of one model. Make it once per model; it may be used
// by many goroutines, each with a Batch of its own.
type Plan struct {
	steps []step
}

type step struct {
	input Input
	tier  Tier
	fill  func(*Facts, *Tensor)
	knob  string // "" for a feature
	dims  []string
	sizes []int // of T and H, where the shape has them; -1 elsewhere
}

// Compile looks every input up in the catalogue. The error is an *InputError
// for a name that is not there or a type or shape that is another.
func Compile(inputs []Input) (*Plan, error) {
	known := make(map[string]Feature)
	for _, f := range Catalogue() {
		known[f.Name] = f
	}
	plan := &Plan{}
	for i, in := range inputs {
		if slices.ContainsFunc(inputs[:i], func(o Input) bool { return o.Name == in.Name }) {
			return nil, &InputError{in, "it is declared twice"}
		}
		f, ok := known[in.Name]
		if knob, is := strings.CutPrefix(in.Name, KnobPrefix); is && knob != "" {
			f, ok = Feature{Name: in.Name, Type: Float32, Shape: "1"}, true
		}
		if !ok {
			return nil, &InputError{in, fmt.Sprintf("catalogue %d knows no feature of this name", Version)}
		}
		st, err := newStep(f, in)
		if err != nil {
			return nil, err
		}
		plan.steps = append(plan.steps, st)
	}
	return plan, nil
}

func newStep(f Feature, in Input) (step, error) {
	st := step{input: in, tier: f.Tier, fill: f.fill, dims: strings.Split(f.Shape, ",")}
	if f.fill == nil {
		st.knob = strings.TrimPrefix(in.Name, KnobPrefix)
	}
	refuse := &InputError{in, fmt.Sprintf("is %s%v in the model and %s[%s] in the catalogue", in.Type, in.Shape, f.Type, f.Shape)}
	if in.Type != f.Type || len(in.Shape) != len(st.dims) {
		return step{}, refuse
	}
	for i, dim := range st.dims {
		size, ok := dimension(dim, in.Shape[i])
		if !ok {
			return step{}, refuse
		}
		st.sizes = append(st.sizes, size)
	}
	return st, nil
}

// dimension is how large a dimension of the catalogue is when the model
// declares it so; -1 is the number of candidates, which no model may fix.
func dimension(dim string, declared int64) (int, bool) {
	open := declared < 0
	switch dim {
	case "N":
		return -1, open
	case "T":
		if open {
			return DefaultTokens, true
		}
		return int(declared), declared >= 1 && declared <= MaxTokens
	case "H":
		if open {
			return DefaultHistory, true
		}
		return int(declared), declared >= 1 && declared <= MaxHistory
	}
	fixed, err := strconv.Atoi(dim)
	return fixed, err == nil && (open || declared == int64(fixed))
}

// Tier is the most private tier that the model asks for.
func (p *Plan) Tier() Tier {
	top := Public
	for _, st := range p.steps {
		top = max(top, st.tier)
	}
	return top
}

// PerCandidate tells that every input is one row per candidate, so that the
// batches of different readers could be one batch.
func (p *Plan) PerCandidate() bool {
	return !slices.ContainsFunc(p.steps, func(s step) bool { return s.dims[0] != "N" })
}

// Dims are the dimensions of each input, in the catalogue's letters.
func (p *Plan) Dims() [][]string {
	var out [][]string
	for _, s := range p.steps {
		out = append(out, slices.Clone(s.dims))
	}
	return out
}

// Knobs are the knobs that the model reads.
func (p *Plan) Knobs() []string {
	var out []string
	for _, s := range p.steps {
		if s.knob != "" {
			out = append(out, s.knob)
		}
	}
	return out
}

// Check holds a batch, filled by whomever, to what the model declares.
func (p *Plan) Check(b *Batch) error {
	if len(b.Inputs) != len(p.steps) {
		return fmt.Errorf("the batch has %d inputs, the model %d", len(b.Inputs), len(p.steps))
	}
	for i, s := range p.steps {
		t := &b.Inputs[i]
		length := int64(1)
		for dim, size := range s.sizes {
			if size < 0 {
				size = b.N
			}
			if len(t.Shape) != len(s.sizes) || t.Shape[dim] != int64(size) {
				return &InputError{s.input, fmt.Sprintf("the batch brings shape %v", t.Shape)}
			}
			length *= int64(size)
		}
		have := len(t.Float)
		if t.Type == Int64 {
			have = len(t.Int)
		}
		if t.Name != s.input.Name || t.Type != s.input.Type || int64(have) != length {
			return &InputError{s.input, fmt.Sprintf("the batch brings %q, %d of %s", t.Name, have, t.Type)}
		}
	}
	return nil
}

// Fill puts the facts into the batch, whose memory it uses again. The error is
// an *InputError when the facts lack a knob that the model reads.
func (p *Plan) Fill(facts *Facts, b *Batch) error {
	b.N = len(facts.Candidates)
	b.Inputs = slices.Grow(b.Inputs[:0], len(p.steps))[:len(p.steps)]
	for i := range p.steps {
		if err := p.steps[i].put(facts, &b.Inputs[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *step) put(facts *Facts, t *Tensor) error {
	t.Name, t.Type = s.input.Name, s.input.Type
	t.Shape = t.Shape[:0]
	length := 1
	for _, size := range s.sizes {
		if size < 0 {
			size = len(facts.Candidates)
		}
		length *= size
		t.Shape = append(t.Shape, int64(size))
	}
	if t.Type == Int64 {
		t.Int, t.Float = zeroed(t.Int, length), t.Float[:0]
	} else {
		t.Float, t.Int = zeroed(t.Float, length), t.Int[:0]
	}
	if s.knob != "" {
		value, ok := facts.Knobs[s.knob]
		if !ok {
			return &InputError{s.input, "the listing declares no such knob"}
		}
		t.Float[0] = value
		return nil
	}
	if s.tier <= facts.Tier {
		s.fill(facts, t)
	}
	return nil
}

func zeroed[T int64 | float32](old []T, length int) []T {
	s := slices.Grow(old[:0], length)[:length]
	clear(s)
	return s
}

// Fill is Compile and Plan.Fill at once, into a new batch.
func Fill(inputs []Input, facts *Facts) (Batch, error) {
	plan, err := Compile(inputs)
	if err != nil {
		return Batch{}, err
	}
	var b Batch
	err = plan.Fill(facts, &b)
	return b, err
}
