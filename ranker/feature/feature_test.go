package feature

import (
	"errors"
	"flag"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files again")

func TestCatalogueIsCompleteAndNamesAreUnique(t *testing.T) {
	features := Catalogue()
	if len(features) < 60 {
		t.Errorf("%d features, 60 are promised", len(features))
	}
	seen := make(map[string]bool)
	for _, f := range features {
		if f.Name == "" || f.Shape == "" || f.Unit == "" || f.Definition == "" || f.Source == "" || f.fill == nil {
			t.Errorf("%+v lacks something", f)
		}
		if seen[f.Name] {
			t.Errorf("%s is there twice", f.Name)
		}
		seen[f.Name] = true
		if strings.HasPrefix(f.Name, KnobPrefix) {
			t.Errorf("%s stands where knobs do", f.Name)
		}
	}
}

func TestDocsPageIsCurrent(t *testing.T) {
	const page = "../../docs/features.md"
	if *update {
		if err := os.WriteFile(page, []byte(Markdown()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if string(text) != Markdown() {
		t.Error("docs/features.md is old: go test ./ranker/feature -run Docs -update")
	}
}

// everything declares all features as a model would.
func everything() []Input {
	var out []Input
	for _, f := range Catalogue() {
		in := Input{Name: f.Name, Type: f.Type}
		for dim := range strings.SplitSeq(f.Shape, ",") {
			size := int64(-1)
			switch dim {
			case "1":
				size = 1
			case "64":
				size = 64
			}
			in.Shape = append(in.Shape, size)
		}
		out = append(out, in)
	}
	return out
}

// rich is a set of facts in which every field is set, and each number another.
func rich(candidates int) *Facts {
	f := &Facts{Now: 1_800_000_000, Tier: Personal}
	next := int64(1)
	set(reflect.ValueOf(&f.Viewer).Elem(), &next)
	for range candidates {
		var c Candidate
		set(reflect.ValueOf(&c).Elem(), &next)
		c.Note.CreatedAt, c.Pair.LastAt = f.Now-next, f.Now-next
		c.Note.Script = Script(next % int64(Scripts))
		f.Candidates = append(f.Candidates, c)
	}
	return f
}

func set(v reflect.Value, next *int64) {
	*next++
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		set(v.Elem(), next)
	case reflect.Struct:
		for i := range v.NumField() {
			set(v.Field(i), next)
		}
	case reflect.Array:
		for i := range v.Len() {
			set(v.Index(i), next)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 3, 3))
		for i := range v.Len() {
			set(v.Index(i), next)
		}
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float32, reflect.Float64:
		v.SetFloat(float64(*next) / 4)
	case reflect.Uint8:
		v.SetUint(uint64(*next)%5 + 1)
	case reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(*next))
	case reflect.Int64, reflect.Int32:
		v.SetInt(*next)
	}
}

func values(t Tensor) []float64 {
	var out []float64
	for _, v := range t.Float {
		out = append(out, float64(v))
	}
	for _, v := range t.Int {
		out = append(out, float64(v))
	}
	return out
}

// TestEveryFactReachesAFeature changes each field of the facts by itself and
// looks for a feature that moves; a fact nobody can read is a defect.
func TestEveryFactReachesAFeature(t *testing.T) {
	plan, err := Compile(everything())
	if err != nil {
		t.Fatal(err)
	}
	facts := rich(1)
	var before, after Batch
	if err := plan.Fill(facts, &before); err != nil {
		t.Fatal(err)
	}
	var walk func(v reflect.Value, name string)
	walk = func(v reflect.Value, name string) {
		switch v.Kind() {
		case reflect.Pointer:
			walk(v.Elem(), name)
			return
		case reflect.Struct:
			for i := range v.NumField() {
				walk(v.Field(i), name+"."+v.Type().Field(i).Name)
			}
			return
		case reflect.Array, reflect.Slice:
			for i := range v.Len() {
				if v.Type() == reflect.TypeFor[[Scripts]float32]() {
					i = int(facts.Candidates[0].Note.Script)
				}
				walk(v.Index(i), name+"[]")
			}
			return
		}
		old := reflect.New(v.Type()).Elem()
		old.Set(v)
		switch v.Kind() {
		case reflect.Bool:
			v.SetBool(false)
		case reflect.Float32, reflect.Float64:
			v.SetFloat(v.Float() + 1)
		case reflect.Int64, reflect.Int32:
			v.SetInt(v.Int() - 3600)
		default:
			switch name {
			case ".Note.Kind":
				v.SetUint(1)
			case ".Sources":
				v.SetUint(0)
			default:
				v.SetUint(v.Uint() - 1)
			}
		}
		if err := plan.Fill(facts, &after); err != nil {
			t.Fatal(err)
		}
		if reflect.DeepEqual(before, after) {
			t.Errorf("no feature shows %s", name)
		}
		v.Set(old)
	}
	walk(reflect.ValueOf(&facts.Viewer).Elem(), ".Viewer")
	walk(reflect.ValueOf(&facts.Candidates[0]).Elem(), "")
}

func TestUnknownFactsAreZeros(t *testing.T) {
	facts := &Facts{Now: 1_800_000_000, Tier: Personal, Candidates: make([]Candidate, 3)}
	b, err := Fill(everything(), facts)
	if err != nil {
		t.Fatal(err)
	}
	for _, in := range b.Inputs {
		if in.Name == "clock.hour_of_day" || in.Name == "clock.day_of_week" {
			continue
		}
		if slices.ContainsFunc(values(in), func(v float64) bool { return v != 0 }) {
			t.Errorf("%s is %v without any fact", in.Name, values(in))
		}
	}
}

func TestWhatLiesAboveTheTierIsZero(t *testing.T) {
	tiers := make(map[string]Tier)
	for _, f := range Catalogue() {
		tiers[f.Name] = f.Tier
	}
	facts := rich(4)
	for facts.Tier = Public; facts.Tier <= Personal; facts.Tier++ {
		b, err := Fill(everything(), facts)
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range b.Inputs {
			some := slices.ContainsFunc(values(in), func(v float64) bool { return v != 0 })
			if above := tiers[in.Name] > facts.Tier; above && some {
				t.Errorf("%s is %s and shows at %s", in.Name, tiers[in.Name], facts.Tier)
			}
		}
	}
}

// TestOnlyPublicFeaturesAreTheSameForAll changes the reader and everything
// that is between reader and note; no public feature may move.
func TestPublicFeaturesAreTheSameForEveryReader(t *testing.T) {
	var public []Input
	tiers := make(map[string]Tier)
	for _, f := range Catalogue() {
		tiers[f.Name] = f.Tier
	}
	for _, in := range everything() {
		if tiers[in.Name] == Public {
			public = append(public, in)
		}
	}
	facts := rich(4)
	before, err := Fill(public, facts)
	if err != nil {
		t.Fatal(err)
	}
	facts.Viewer = Person{}
	for i := range facts.Candidates {
		c := &facts.Candidates[i]
		c.Pair, c.Proof = nil, nil
		c.Counts.Viewer = [Actions]float32{}
		c.Thread.ParentViewer, c.Thread.ToViewer, c.Thread.RootFollowed = 0, false, false
		c.Sources &= FromGlobal | FromRecent | FromNewAuthor
		c.Stages.CoLike, c.Stages.Novelty = 0, 0
	}
	after, err := Fill(public, facts)
	if err != nil {
		t.Fatal(err)
	}
	for i := range before.Inputs {
		if !reflect.DeepEqual(before.Inputs[i], after.Inputs[i]) {
			t.Errorf("%s is public and moves with the reader", before.Inputs[i].Name)
		}
	}
}

func TestDeclarationsThatTheCatalogueDoesNotKnowAreRefused(t *testing.T) {
	for _, in := range []Input{
		{"author.turst", Float32, []int64{-1}},
		{"author.trust", Int64, []int64{-1}},
		{"author.trust", Float32, []int64{8}},
		{"author.trust", Float32, []int64{-1, -1}},
		{"author.trust", Float32, nil},
		{"note.tokens", Int64, []int64{-1, 0}},
		{"note.tokens", Int64, []int64{-1, MaxTokens + 1}},
		{"viewer.history", Int64, []int64{MaxHistory + 1}},
		{"viewer.history_vectors", Float32, []int64{-1, 32}},
		{"viewer.follows", Float32, []int64{2}},
		{"knob.", Float32, []int64{1}},
		{"knob.x", Int64, []int64{1}},
		{"", Float32, []int64{-1}},
	} {
		_, err := Compile([]Input{in})
		if e, ok := errors.AsType[*InputError](err); !ok || e.Input.Name != in.Name || !strings.Contains(err.Error(), "docs/features.md") {
			t.Errorf("%v: %v", in, err)
		}
	}
	twice := Input{"author.trust", Float32, []int64{-1}}
	if _, err := Compile([]Input{twice, twice}); err == nil {
		t.Error("one input declared twice is taken")
	}
}

func TestShapesFollowTheModel(t *testing.T) {
	facts := rich(5)
	facts.Candidates[2].Note.Tokens = []int32{7, 8, 9}
	b, err := Fill([]Input{
		{"note.tokens", Int64, []int64{-1, 2}}, {"note.tokens_", Int64, nil},
	}, facts)
	if err == nil {
		t.Fatal("unknown name taken")
	}
	b, err = Fill([]Input{
		{"note.tokens", Int64, []int64{-1, 2}}, {"viewer.history", Int64, []int64{-1}},
		{"viewer.history_vectors", Float32, []int64{4, -1}}, {"author.trust", Float32, []int64{-1}},
	}, facts)
	if err != nil {
		t.Fatal(err)
	}
	want := [][]int64{{5, 2}, {DefaultHistory}, {4, 64}, {5}}
	for i, in := range b.Inputs {
		if !slices.Equal(in.Shape, want[i]) {
			t.Errorf("%s has shape %v, want %v", in.Name, in.Shape, want[i])
		}
	}
	if got := b.Inputs[0].Int[4:6]; !slices.Equal(got, []int64{7, 8}) {
		t.Errorf("tokens of the third note are %v", got)
	}
}

func TestKnobsComeFromTheListing(t *testing.T) {
	in := []Input{{"knob.half_life", Float32, []int64{1}}}
	if _, err := Fill(in, &Facts{}); err == nil {
		t.Error("a knob that nobody declares is filled")
	}
	b, err := Fill(in, &Facts{Knobs: map[string]float32{"half_life": 6}})
	if err != nil || b.Inputs[0].Float[0] != 6 {
		t.Errorf("%v, %v", b, err)
	}
}

// TestBatchMemoryIsUsedAgainAndLeavesNothingBehind fills a small batch into
// the memory of a large one.
func TestBatchMemoryIsUsedAgainAndLeavesNothingBehind(t *testing.T) {
	plan, err := Compile(everything())
	if err != nil {
		t.Fatal(err)
	}
	var used, fresh Batch
	if err := plan.Fill(rich(50), &used); err != nil {
		t.Fatal(err)
	}
	small := rich(3)
	small.Candidates[1] = Candidate{}
	small.Viewer.History = nil
	for _, b := range []*Batch{&used, &fresh} {
		if err := plan.Fill(small, b); err != nil {
			t.Fatal(err)
		}
	}
	for i := range fresh.Inputs {
		if !slices.Equal(values(used.Inputs[i]), values(fresh.Inputs[i])) {
			t.Errorf("%s keeps values of an earlier page", fresh.Inputs[i].Name)
		}
	}
	big := rich(50)
	if got := testing.AllocsPerRun(20, func() { _ = plan.Fill(big, &used) }); got > 0 {
		t.Errorf("%v allocations to fill a batch again", got)
	}
}

// TestACandidateIsFilledAlike wherever it stands and whoever stands beside it.
func TestACandidateIsFilledAlikeInAnyCompany(t *testing.T) {
	facts := rich(6)
	whole, err := Fill(everything(), facts)
	if err != nil {
		t.Fatal(err)
	}
	for i := range facts.Candidates {
		alone := *facts
		alone.Candidates = facts.Candidates[i : i+1]
		b, err := Fill(everything(), &alone)
		if err != nil {
			t.Fatal(err)
		}
		for j, in := range whole.Inputs {
			if in.Shape[0] != 6 {
				continue
			}
			width := max(len(in.Float), len(in.Int)) / 6
			if !slices.Equal(values(in)[i*width:(i+1)*width], values(b.Inputs[j])) {
				t.Errorf("%s of candidate %d depends on its company", in.Name, i)
			}
		}
	}
}

func TestAgesAreNeverNegativeAndAlwaysFinite(t *testing.T) {
	for _, at := range []int64{math.MinInt64, -1, 0, 1, 2_000_000_000, math.MaxInt64} {
		facts := &Facts{Now: 1_800_000_000, Tier: Personal, Viewer: Person{LastSeen: at, FirstSeen: at, History: []Past{{At: at}}},
			Candidates: []Candidate{{Note: &Note{CreatedAt: at}, Thread: &Thread{RootAt: at}, Pair: &Pair{LastAt: at}, Author: &Author{FirstSeen: at}}}}
		b, err := Fill(everything(), facts)
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range b.Inputs {
			for _, v := range in.Float {
				if v < 0 || math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
					t.Errorf("%s is %v for the time %d", in.Name, v, at)
				}
			}
		}
	}
}

func BenchmarkFillEverything(b *testing.B) {
	plan, err := Compile(everything())
	if err != nil {
		b.Fatal(err)
	}
	facts, batch := rich(2000), Batch{}
	for b.Loop() {
		if err := plan.Fill(facts, &batch); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.N*2000)/b.Elapsed().Seconds(), "candidates/s")
}
