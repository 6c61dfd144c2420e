package ranker

import (
	"context"
	"math"
	"testing"

	"agora/ranker/feature"
)

// liar is a model with one fault.
type liar struct {
	input string
	score func(row, n int, value float32) float32
}

func (l liar) Inputs() []feature.Input { return []feature.Input{{Name: l.input, Shape: []int64{-1}}} }
func (l liar) Close() error            { return nil }

func (l liar) Score(_ context.Context, b feature.Batch) ([]float32, error) {
	out := make([]float32, b.N)
	for i := range out {
		out[i] = l.score(i, b.N, b.Inputs[0].Float[i])
	}
	return out, nil
}

func TestCheckFindsEachFault(t *testing.T) {
	calls := float32(0)
	for fault, l := range map[string]liar{
		"":                {"author.trust", func(_, _ int, v float32) float32 { return v }},
		"scores":          {"author.trust", func(_, n int, v float32) float32 { return v / float32(n-3) * float32(n-3) }},
		"odd facts":       {"note.age_hours", func(_, _ int, v float32) float32 { return float32(math.Log(float64(v))) }},
		"determinism":     {"author.trust", func(_, _ int, v float32) float32 { calls++; return v + calls*1e-7 }},
		"batch isolation": {"author.trust", func(_, n int, v float32) float32 { return v * float32(n) }},
		"order":           {"author.trust", func(i, _ int, v float32) float32 { return v + float32(i)*1e-4 }},
	} {
		findings, err := Check(t.Context(), l, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range findings {
			if f.Name == fault && f.OK {
				t.Errorf("a model that fails at %s passes: %s", fault, f.Detail)
			}
			if fault == "" && !f.OK {
				t.Errorf("a good model fails at %s: %s", f.Name, f.Detail)
			}
			if f.Detail == "" {
				t.Errorf("%s says nothing", f.Name)
			}
		}
	}
}

func TestCheckRefusesWhatTheCatalogueDoesNotKnow(t *testing.T) {
	if _, err := Check(t.Context(), liar{input: "author.turst"}, nil); err == nil {
		t.Error("it is checked")
	}
}
