package builtin

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"agora/ranker"
	"agora/ranker/feature"
)

func TestEveryListingHasItsFileAndItsDigest(t *testing.T) {
	source := NewSource()
	slugs := make(map[string]bool)
	for _, r := range Rankers() {
		if slugs[r.Slug] {
			t.Errorf("%s is listed twice", r.Slug)
		}
		slugs[r.Slug] = true
		model, err := source.Model(t.Context(), r.Digest)
		if err != nil {
			t.Fatal(err)
		}
		if got := ranker.Sum(model); got != r.Digest {
			t.Errorf("%s: the file has digest %s, the listing says %s: run make models", r.Slug, got, r.Digest)
		}
		if r.Name == "" || r.About == "" || r.Licence == "" {
			t.Errorf("%s: an empty name, text or licence", r.Slug)
		}
	}
	for _, r := range Rankers() {
		if r.Fallback != "" && !slugs[r.Fallback] {
			t.Errorf("%s falls back to %q, which is not listed", r.Slug, r.Fallback)
		}
	}
}

func TestFallbacksEnd(t *testing.T) {
	next := make(map[string]string)
	for _, r := range Rankers() {
		next[r.Slug] = r.Fallback
	}
	for slug := range next {
		at := slug
		for range len(next) + 1 {
			at = next[at]
		}
		if at != "" {
			t.Errorf("the fallbacks of %s go in a circle", slug)
		}
	}
}

func TestEveryKnobIsReadByItsModelAndItsDefaultIsAllowed(t *testing.T) {
	source := NewSource()
	for _, r := range Rankers() {
		model, err := source.Model(t.Context(), r.Digest)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Count(model, []byte("knob.")) > 0 != (len(r.Knobs) > 0) {
			t.Errorf("%s: the listing's knobs are not those of the model", r.Slug)
		}
		for _, k := range r.Knobs {
			if !bytes.Contains(model, []byte("knob."+k.Name)) {
				t.Errorf("%s: the model does not read the knob %s", r.Slug, k.Name)
			}
			if k.Min >= k.Max || k.Default < k.Min || k.Default > k.Max {
				t.Errorf("%s: knob %s: default %v in %v … %v", r.Slug, k.Name, k.Default, k.Min, k.Max)
			}
		}
	}
}

func TestAModelReadsNoStageThatItsListingLeavesOff(t *testing.T) {
	source := NewSource()
	for _, r := range Rankers() {
		model, err := source.Model(t.Context(), r.Digest)
		if err != nil {
			t.Fatal(err)
		}
		for _, stage := range []string{"colike", "novelty", "bridge"} {
			on := slices.ContainsFunc(r.Stages, func(s string) bool { return s == stage || strings.HasPrefix(s, stage+" ") })
			if bytes.Contains(model, []byte("stage."+stage)) && !on {
				t.Errorf("%s reads stage.%s, which is 0 without the stage %s", r.Slug, stage, stage)
			}
		}
	}
}

func TestAStrangersDigestIsNotServed(t *testing.T) {
	if _, err := NewSource().Model(t.Context(), ranker.Digest{1}); !errors.Is(err, ranker.ErrNotAdmitted) {
		t.Errorf("error %v", err)
	}
}

func TestTheModelCardNamesTheFilesThatAreHereAndTheFrozenSimulator(t *testing.T) {
	card, err := os.ReadFile("../kit/README.md")
	if err != nil {
		t.Fatal(err)
	}
	frozen, err := os.ReadFile("../../cmd/simulate/crowd/testdata/frozen.txt")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(card, bytes.TrimSpace(frozen)) {
		t.Error("the card names another simulator")
	}
	for _, r := range Rankers() {
		trained := r.Slug == "foryou-gbdt" || r.Slug == "foryou-tower"
		if trained && !bytes.Contains(card, []byte(r.Digest.String())) {
			t.Errorf("the card does not name %s as %s", r.Slug, r.Digest)
		}
	}
}

func TestTextVectorsAreOfLengthOneAndAlikeForAlikeTexts(t *testing.T) {
	e := NewEncoder()
	vector := func(text string) []float32 { return e.Vector(feature.Tokens(text, feature.DefaultTokens)) }
	bitcoin, mining, coffee := vector("bitcoin mining and the price of bitcoin"), vector("the bitcoin price today, and mining"), vector("good morning, coffee and a walk")
	if near, far := dot(bitcoin, mining), dot(bitcoin, coffee); near <= far {
		t.Errorf("similarity %v of one subject, %v of two", near, far)
	}
	if length := dot(bitcoin, bitcoin); length < 0.999 || length > 1.001 {
		t.Errorf("length %v", length)
	}
	if v := vector("zzqqxx"); v != nil {
		t.Errorf("a word nobody knows has the vector %v", v)
	}
}

func dot(a, b []float32) (sum float32) {
	for i := range a {
		sum += a[i] * b[i]
	}
	return sum
}
