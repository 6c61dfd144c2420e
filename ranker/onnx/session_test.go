package onnx

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"agora/ranker"
	"agora/ranker/feature"
)

// testLibrary is where make onnxruntime puts it.
const testLibrary = "../../bin/" + libraryName

func testRuntime(t testing.TB) *Runtime {
	t.Helper()
	r, err := New(Config{
		Library: testLibrary, Device: CPU, Logger: slog.New(slog.DiscardHandler),
		Admit: func(ranker.Digest) bool { return true },
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func load(t testing.TB, model []byte) *Session {
	t.Helper()
	s, err := testRuntime(t).Load(t.Context(), model)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s.(*Session)
}

// trusts is a batch for models whose one input is author.trust.
func trusts(values ...float32) feature.Batch {
	return feature.Batch{N: len(values), Inputs: []feature.Tensor{
		{Name: "author.trust", Type: feature.Float32, Shape: []int64{int64(len(values))}, Float: values},
	}}
}

func TestScoresAreTheModelsAndInOrder(t *testing.T) {
	s := load(t, identityModel())
	for _, n := range []int{1, 2, 7, 300, 2, splitRows - 1, splitRows, 2001, 1} {
		var in []float32
		for i := range n {
			in = append(in, float32(i)/7)
		}
		got, err := s.Score(t.Context(), trusts(in...))
		if err != nil || !slices.Equal(got, in) {
			t.Errorf("%d: %v, %v", n, got, err)
		}
	}
	if got, err := s.Score(t.Context(), trusts()); err != nil || len(got) != 0 {
		t.Errorf("no candidates: %v, %v", got, err)
	}
}

func TestModelsOfEveryShapeRunAndTheContractIsFilled(t *testing.T) {
	names := []string{"note.age_hours", "author.trust", "count.likes_trust", "knob.weight_less"}[:3]
	for name, model := range map[string][]byte{
		"linear": linearModel(names), "dense": denseModel(names, 64, 32), "trees": treeModel(names, 50, 5, 5), "history": historyModel(),
	} {
		t.Run(name, func(t *testing.T) {
			s := load(t, model)
			if !s.Isolated() {
				t.Error("taken for one whose scores depend on the company")
			}
			one, err := s.trial(t.Context(), 40)
			if err != nil || len(one) != 40 {
				t.Fatalf("%d scores, %v", len(one), err)
			}
			two, err := s.trial(t.Context(), 40)
			if err != nil || !slices.Equal(one, two) {
				t.Errorf("the same batch scored twice differs: %v", err)
			}
		})
	}
}

// TestManyCandidatesAreTwoRuns holds all cores but one: each half has its turn.
func TestManyCandidatesAreTwoRuns(t *testing.T) {
	for _, m := range shipped(t) {
		s := load(t, m.model)
		b, err := s.sample(feature.Sample(5, splitRows+177))
		if err != nil {
			t.Fatal(err)
		}
		got, err := s.Score(t.Context(), b)
		if err != nil {
			t.Fatalf("%s: %v", m.name, err)
		}
		for range cap(s.slots) - 1 {
			s.slots <- struct{}{}
		}
		again, err := s.Score(t.Context(), b)
		for range cap(s.slots) - 1 {
			<-s.slots
		}
		if err != nil || !slices.Equal(got, again) {
			t.Errorf("%s: the scores depend on how many cores rest; %v", m.name, err)
		}
		whole, err := s.score(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		if err := differ(got, whole); err != nil {
			t.Errorf("%s: in two runs and in one %v", m.name, err)
		}
	}
}

func TestOnlyAdmittedDigestsAreLoaded(t *testing.T) {
	good, other := identityModel(), crowdModel()
	r := testRuntime(t)
	r.cfg.Admit = func(d ranker.Digest) bool { return d == ranker.Sum(good) }
	if _, err := r.Load(t.Context(), other); !errors.Is(err, ranker.ErrNotAdmitted) {
		t.Errorf("a model that nobody admitted: %v", err)
	}
	if _, err := r.Load(t.Context(), append(slices.Clone(good), 0)); !errors.Is(err, ranker.ErrNotAdmitted) {
		t.Errorf("an admitted model with one byte more: %v", err)
	}
	s, err := r.Load(t.Context(), good)
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := New(Config{Library: testLibrary}); err == nil {
		t.Error("a runtime that admits everything by forgetting to ask")
	}
}

func TestModelsThatBreakTheContractAreRefused(t *testing.T) {
	in := func() *builder { return (&builder{}).input("author.trust", elemFloat, -1) }
	same := func(b *builder, out string) *builder {
		return b.node("Identity", []string{"author.trust"}, []string{out})
	}
	external := identityModel()
	external = message(external, 7, message(nil, 5, message(text(nil, 8, "w"), 13, nil)))
	for name, c := range map[string]struct {
		model  []byte
		want   error
		reason string
	}{
		"empty":            {nil, ranker.ErrUnloadable, "unloadable"},
		"no model":         {[]byte("not an onnx file at all"), ranker.ErrUnloadable, "unloadable"},
		"cut off":          {identityModel()[:60], ranker.ErrUnloadable, "unloadable"},
		"external data":    {external, ranker.ErrContract, "unloadable"},
		"other output":     {same(in(), "score").output("score", elemFloat, -1).model(), ranker.ErrContract, "unloadable"},
		"two outputs":      {same(same(in(), "scores"), "more").output("scores", elemFloat, -1).output("more", elemFloat, -1).model(), ranker.ErrContract, "unloadable"},
		"fixed output":     {same(in(), "scores").output("scores", elemFloat, 5).model(), ranker.ErrContract, "unloadable"},
		"table output":     {same(in(), "scores").output("scores", elemFloat, -1, 1).model(), ranker.ErrContract, "unloadable"},
		"integer output":   {same(in(), "scores").output("scores", elemInt64, -1).model(), ranker.ErrContract, "unloadable"},
		"double input":     {same((&builder{}).input("author.trust", 11, -1), "scores").output("scores", elemFloat, -1).model(), ranker.ErrContract, "unloadable"},
		"no such operator": {simple("Frobnicate"), ranker.ErrUnloadable, "unloadable"},
		"H called N": {(&builder{}).input("author.trust", elemFloat, -1).raw(11, confused()).
			node("Add", []string{"author.trust", "viewer.history_hours"}, []string{"scores"}).output("scores", elemFloat, -1).model(), ranker.ErrContract, "unloadable"},
		"custom domain": {simple("evil.example:Run"), ranker.ErrUnloadable, "unloadable"},
		"length":        {doubleModel(), ranker.ErrUnloadable, "length"},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := testRuntime(t).Load(t.Context(), c.model)
			if err == nil {
				s.Close()
			}
			if !errors.Is(err, c.want) || ranker.Reason(err) != c.reason {
				t.Errorf("%v (%s)", err, ranker.Reason(err))
			}
		})
	}
	_, err := testRuntime(t).Load(t.Context(), linearModel([]string{"author.turst"}))
	if e, ok := errors.AsType[*feature.InputError](err); !ok || e.Input.Name != "author.turst" {
		t.Errorf("an input that is not in the catalogue: %v", err)
	}
}

// confused gives a history's dimension the name of the number of candidates.
func confused() []byte {
	return message(text(nil, 1, "viewer.history_hours"), 2, message(nil, 1, message(varint(nil, 1, elemFloat), 2, message(nil, 1, text(nil, 2, "N")))))
}

func TestScoresThatAreNoNumbersAreAnError(t *testing.T) {
	s := load(t, simple("Log"))
	if _, err := s.Score(t.Context(), trusts(1, 0, .5)); !errors.Is(err, ranker.ErrNotFinite) {
		t.Errorf("log 0: %v", err)
	}
	if _, err := s.Score(t.Context(), trusts(-1)); !errors.Is(err, ranker.ErrNotFinite) {
		t.Errorf("log -1: %v", err)
	}
	if _, err := s.Score(t.Context(), trusts(1, 2)); err != nil {
		t.Errorf("the session does not recover: %v", err)
	}
	for _, at := range []int{0, splitRows/2 - 1, splitRows / 2, splitRows - 1} { // in either half
		many := slices.Repeat([]float32{1}, splitRows)
		many[at] = 0
		if scores, err := s.Score(t.Context(), trusts(many...)); !errors.Is(err, ranker.ErrNotFinite) || scores != nil {
			t.Errorf("log 0 of candidate %d: %d scores, %v", at, len(scores), err)
		}
	}
}

func TestBatchesThatAreNotTheModelsAreRefused(t *testing.T) {
	s := load(t, identityModel())
	good := trusts(1, 2, 3)
	for name, spoil := range map[string]func(*feature.Batch){
		"fewer values": func(b *feature.Batch) { b.Inputs[0].Float = b.Inputs[0].Float[:2] },
		"other N":      func(b *feature.Batch) { b.N = 2 },
		"other name":   func(b *feature.Batch) { b.Inputs[0].Name = "pair.trust" },
		"no inputs":    func(b *feature.Batch) { b.Inputs = nil },
		"integers":     func(b *feature.Batch) { b.Inputs[0].Type = feature.Int64 },
		"other shape":  func(b *feature.Batch) { b.Inputs[0].Shape = []int64{1, 3} },
	} {
		b := feature.Batch{N: good.N, Inputs: slices.Clone(good.Inputs)}
		spoil(&b)
		if _, err := s.Score(t.Context(), b); !errors.Is(err, ranker.ErrContract) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestALateModelAnswersInTime runs a model that takes seconds, and one that
// cannot be stopped within one operation is no excuse either.
func TestALateModelAnswersInTime(t *testing.T) {
	model := slowModel(60)
	graph, err := inspect(model)
	if err != nil {
		t.Fatal(err)
	}
	s, err := testRuntime(t).open(model, graph, CPU)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = s.Score(ctx, trusts(.5))
	if took := time.Since(began); took > time.Second || !errors.Is(err, ranker.ErrLate) || ranker.Reason(err) != "late" {
		t.Errorf("after %v: %v", took, err)
	}
	closed := time.Now()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(closed); took > 3*time.Second {
		t.Errorf("the run went on for %v", took)
	}
	if _, err := s.Score(t.Context(), trusts(.5)); !errors.Is(err, ranker.ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestRunsAreBoundedByCoresAndWaitersLeaveInTime(t *testing.T) {
	s := load(t, identityModel())
	for range cap(s.slots) {
		s.slots <- struct{}{}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := s.Score(ctx, trusts(1)); !errors.Is(err, ranker.ErrLate) {
		t.Errorf("with every core taken: %v", err)
	}
	if len(s.waiting) != 0 {
		t.Error("who left still waits")
	}
	for range cap(s.slots) {
		<-s.slots
	}
	if _, err := s.Score(t.Context(), trusts(1)); err != nil {
		t.Error(err)
	}
}

// TestWhatWaitsIsTakenIntoOneRun lets requests pile up behind taken cores and
// counts the runs that answer them.
func TestWhatWaitsIsTakenIntoOneRun(t *testing.T) {
	s := load(t, identityModel())
	for range cap(s.slots) {
		s.slots <- struct{}{}
	}
	const clients = 40
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			in := []float32{float32(i), float32(i) + .5}
			got, err := s.Score(t.Context(), trusts(in...))
			if err != nil || !slices.Equal(got, in) {
				t.Errorf("client %d: %v, %v", i, got, err)
			}
		})
	}
	for {
		s.mu.Lock()
		n := len(s.waiting)
		s.mu.Unlock()
		if n == clients {
			break
		}
		time.Sleep(time.Millisecond)
	}
	<-s.slots // one core
	all.Wait()
	s.running.Wait()
	most := 0
	for range len(s.free) {
		set := <-s.free
		most = max(most, set.n)
		s.giveBack(set)
	}
	if most != 2*clients {
		t.Errorf("the largest run had %d rows of %d", most, 2*clients)
	}
	for range cap(s.slots) - 1 {
		<-s.slots
	}
}

func TestAModelWhoseScoresDependOnTheCompanyIsNeverJoined(t *testing.T) {
	if s := load(t, crowdModel()); s.Isolated() || s.joins() {
		t.Error("it is joined")
	}
	if s := load(t, historyModel()); s.joins() {
		t.Error("batches of different readers are joined")
	}
	if s := load(t, identityModel()); !s.joins() {
		t.Error("a model that could be joined is not")
	}
}

// TestAnswersAreRightUnderLoad mixes sizes, models and impatience, and
// compares every answer with the one a quiet machine gives.
func TestAnswersAreRightUnderLoad(t *testing.T) {
	names := []string{"note.age_hours", "author.trust", "rate.trust_1h", "author.followers"}
	for name, model := range map[string][]byte{"dense": denseModel(names, 32), "history": historyModel()} {
		s := load(t, model)
		var batches []feature.Batch
		var want [][]float32
		for i := range 16 {
			b, err := s.sample(feature.Sample(uint64(i), 1+i*i*3))
			if err != nil {
				t.Fatal(err)
			}
			scores, err := s.Score(t.Context(), b)
			if err != nil {
				t.Fatal(err)
			}
			batches, want = append(batches, b), append(want, scores)
		}
		var all sync.WaitGroup
		for client := range 12 {
			all.Go(func() {
				for i := range 60 {
					k := (client*7 + i) % len(batches)
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+i%5*20)*time.Millisecond)
					got, err := s.Score(ctx, batches[k])
					cancel()
					if err != nil && !errors.Is(err, ranker.ErrLate) {
						t.Errorf("%s: %v", name, err)
					}
					for row := range got {
						if !near(got[row], want[k][row], 1e-5) {
							t.Errorf("%s: row %d of batch %d is %v, want %v", name, row, k, got[row], want[k][row])
							return
						}
					}
				}
			})
		}
		all.Wait()
	}
}

func TestCloseDuringRunsAnswersEveryRequest(t *testing.T) {
	for round := range 20 {
		s := load(t, identityModel())
		var all sync.WaitGroup
		for client := range 8 {
			all.Go(func() {
				for i := range 40 {
					in := []float32{float32(client), float32(i)}
					got, err := s.Score(t.Context(), trusts(in...))
					if errors.Is(err, ranker.ErrClosed) {
						return
					}
					if err != nil || !slices.Equal(got, in) {
						t.Errorf("%v, %v", got, err)
					}
				}
			})
		}
		time.Sleep(time.Duration(round) * 20 * time.Microsecond)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		all.Wait()
		if n := len(s.free); n != 0 {
			t.Errorf("%d sets of tensors outlive their session", n)
		}
	}
}

// TestLoadingAndClosingKeepsNothing counts open files, goroutines and memory
// over many models.
func TestLoadingAndClosingKeepsNothing(t *testing.T) {
	model := denseModel(catalogueFloats(40), 256, 64)
	r := testRuntime(t)
	use := func() {
		s, err := r.Load(t.Context(), model)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.(*Session).trial(t.Context(), 500); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	files := func() int {
		names, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	for range 10 {
		use()
	}
	open, running, memory := files(), runtime.NumGoroutine(), resident(t)
	for range 100 {
		use()
	}
	if n := files(); n > open {
		t.Errorf("%d files open, before it were %d", n, open)
	}
	if n := runtime.NumGoroutine(); n > running+2 {
		t.Errorf("%d goroutines, before it were %d", n, running)
	}
	if grown := resident(t) - memory; grown > 30 {
		t.Errorf("%.0f MB more memory after 100 models", grown)
	}
}

func FuzzInspectNeverPanics(f *testing.F) {
	for _, m := range [][]byte{identityModel(), treeModel([]string{"author.trust"}, 1, 1, 1), historyModel(), []byte("x")} {
		f.Add(m)
	}
	f.Fuzz(func(_ *testing.T, model []byte) {
		if g, err := inspect(model); err == nil {
			_ = g.contract()
		}
	})
}
