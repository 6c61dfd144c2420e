package ranker

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"agora/ranker/feature"

	"github.com/prometheus/client_golang/prometheus"
)

// files are models by digest.
type files map[Digest][]byte

func (f files) Model(_ context.Context, d Digest) ([]byte, error) {
	if m, ok := f[d]; ok {
		return m, nil
	}
	return nil, ErrNotAdmitted
}

func add(f files, text string) Digest {
	d := Sum([]byte(text))
	f[d] = []byte(text)
	return d
}

// fake is a runtime whose models do what their text says.
type fake struct {
	loads  atomic.Int32
	open   atomic.Int32
	broken atomic.Bool
	slow   time.Duration
}

type session struct {
	*fake
	text string
	mu   sync.RWMutex
	shut bool
}

func (f *fake) Load(_ context.Context, model []byte) (Session, error) {
	f.loads.Add(1)
	time.Sleep(f.slow)
	if f.broken.Load() {
		return nil, ErrUnloadable
	}
	f.open.Add(1)
	return &session{fake: f, text: string(model)}, nil
}

func (s *session) Inputs() []feature.Input {
	name := "author.trust"
	if s.text == "unknown" {
		name = "author.turst"
	}
	return []feature.Input{{Name: name, Shape: []int64{-1}}}
}

func (s *session) Score(ctx context.Context, b feature.Batch) ([]float32, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.shut {
		return nil, ErrClosed
	}
	out := make([]float32, b.N)
	switch s.text {
	case "late":
		<-ctx.Done()
		return nil, fmt.Errorf("%w: %w", ErrLate, ctx.Err())
	case "short":
		return out[1:], nil
	case "nan":
		out[b.N-1] = float32(math.NaN())
	case "infinite":
		out[0] = float32(math.Inf(-1))
	case "failing":
		return nil, ErrFailed
	}
	return out, nil
}

func (s *session) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shut {
		panic("closed twice")
	}
	s.shut = true
	s.open.Add(-1)
	return nil
}

func shelf(t *testing.T, cfg Config) *Shelf {
	t.Helper()
	s, err := NewShelf(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func batch(n int) feature.Batch { return feature.Batch{N: n} }

func TestEveryMishapHasItsReasonAndIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, registry := files{}, prometheus.NewRegistry()
		s := shelf(t, Config{Runtime: &fake{}, Models: f, Metrics: registry})
		var want []string
		for _, c := range []struct {
			text, reason string
			err          error
		}{
			{"good", "", nil}, {"late", "late", ErrLate}, {"short", "length", ErrLength}, {"nan", "nan", ErrNotFinite},
			{"infinite", "nan", ErrNotFinite}, {"failing", "failed", ErrFailed}, {"unknown", "unloadable", nil},
		} {
			began := time.Now()
			scores, err := s.Score(t.Context(), add(f, c.text), batch(3))
			if Reason(err) != c.reason || c.err != nil && !errors.Is(err, c.err) || (err == nil) != (len(scores) == 3) {
				t.Errorf("%s: %v, %v (%s)", c.text, scores, err, Reason(err))
			}
			if took := time.Since(began); took > 250*time.Millisecond {
				t.Errorf("%s took %v, more than the budget", c.text, took)
			}
			if c.reason != "" && c.text != "infinite" {
				want = append(want, c.reason)
			}
		}
		if _, err := s.Score(t.Context(), Sum([]byte("stranger")), batch(1)); Reason(err) != "admission" {
			t.Errorf("a stranger: %v", err)
		}
		counted := results(t, registry)
		for _, reason := range append(want, "ok", "admission") {
			if counted[reason] == 0 {
				t.Errorf("no metric counts %q", reason)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// results is how often agora_ranker_score_seconds saw each result.
func results(t *testing.T, registry *prometheus.Registry) map[string]uint64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]uint64)
	for _, family := range families {
		if family.GetName() != "agora_ranker_score_seconds" {
			continue
		}
		for _, m := range family.GetMetric() {
			out[m.GetLabel()[0].GetValue()] = m.GetHistogram().GetSampleCount()
		}
	}
	return out
}

func TestWithoutARuntimeEveryModelSaysWhy(t *testing.T) {
	why := errors.New("run make onnxruntime")
	s := shelf(t, Config{Models: files{}, Missing: why})
	_, err := s.Score(t.Context(), Digest{}, batch(1))
	if !errors.Is(err, ErrNoRuntime) || !errors.Is(err, why) || Reason(err) != "runtime" {
		t.Errorf("%v", err)
	}
}

func TestAFileWithAnotherDigestIsNeverLoaded(t *testing.T) {
	r, d := &fake{}, Sum([]byte("good"))
	s := shelf(t, Config{Runtime: r, Models: files{d: []byte("evil")}})
	if _, err := s.Score(t.Context(), d, batch(1)); !errors.Is(err, ErrNotAdmitted) || r.loads.Load() != 0 {
		t.Errorf("%v after %d loads", err, r.loads.Load())
	}
}

func TestAModelIsLoadedOnceHoweverManyAsk(t *testing.T) {
	f, r := files{}, &fake{slow: 20 * time.Millisecond}
	s, d := shelf(t, Config{Runtime: r, Models: f, Budget: time.Minute}), add(f, "good")
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if _, err := s.Score(t.Context(), d, batch(2)); err != nil {
				t.Error(err)
			}
			if plan, err := s.Plan(t.Context(), d); err != nil || plan == nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := r.loads.Load(); n != 1 {
		t.Errorf("loaded %d times", n)
	}
	if err := s.Close(); err != nil || r.open.Load() != 0 {
		t.Errorf("%v, %d sessions open", err, r.open.Load())
	}
	if _, err := s.Score(t.Context(), d, batch(1)); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

// TestASlowLoadIsLateOnceAndThenReady: the request that begins it does not
// wait beyond its budget, and the load goes on.
func TestASlowLoadIsLateOnceAndThenReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, r := files{}, &fake{slow: 3 * time.Second}
		s, d := shelf(t, Config{Runtime: r, Models: f}), add(f, "good")
		began := time.Now()
		if _, err := s.Score(t.Context(), d, batch(1)); Reason(err) != "late" || time.Since(began) != 250*time.Millisecond {
			t.Errorf("%v after %v", err, time.Since(began))
		}
		time.Sleep(3 * time.Second)
		if _, err := s.Score(t.Context(), d, batch(1)); err != nil || r.loads.Load() != 1 {
			t.Errorf("%v after %d loads", err, r.loads.Load())
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestAFailedLoadIsTriedAgainAfterAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, r := files{}, &fake{}
		s, d := shelf(t, Config{Runtime: r, Models: f}), add(f, "good")
		r.broken.Store(true)
		for range 5 {
			if _, err := s.Score(t.Context(), d, batch(1)); !errors.Is(err, ErrUnloadable) {
				t.Error(err)
			}
		}
		if n := r.loads.Load(); n != 1 {
			t.Errorf("tried %d times within a moment", n)
		}
		r.broken.Store(false)
		time.Sleep(time.Minute + time.Second)
		if _, err := s.Score(t.Context(), d, batch(1)); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestOnlyTheMostRecentModelsAreKept asks for many models from many sides;
// none may be closed under its user.
func TestOnlyTheMostRecentModelsAreKept(t *testing.T) {
	f, r := files{}, &fake{}
	s := shelf(t, Config{Runtime: r, Models: f, Keep: 3, Budget: time.Minute}) // lateness is not the matter here
	var digests []Digest
	for i := range 12 {
		digests = append(digests, add(f, fmt.Sprint("good ", i)))
	}
	var all sync.WaitGroup
	for client := range 8 {
		all.Go(func() {
			for i := range 300 {
				if _, err := s.Score(t.Context(), digests[(client+i*i)%len(digests)], batch(1)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	for _, d := range digests {
		if _, err := s.Plan(t.Context(), d); err != nil {
			t.Error(err)
		}
	}
	if n := s.held(); n > 3 {
		t.Errorf("%d models on a shelf for 3", n)
	}
	before := r.loads.Load()
	if _, err := s.Plan(t.Context(), digests[11]); err != nil || r.loads.Load() != before {
		t.Errorf("the last model used was put away: %v", err)
	}
	if err := s.Close(); err != nil || r.open.Load() != 0 {
		t.Errorf("%v, %d sessions open", err, r.open.Load())
	}
}

func TestCloseLeavesARunToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, r := files{}, &fake{}
		s, d := shelf(t, Config{Runtime: r, Models: f}), add(f, "late") // runs until its budget ends
		done := make(chan error)
		go func() {
			_, err := s.Score(t.Context(), d, batch(1))
			done <- err
		}()
		synctest.Wait()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if r.open.Load() != 1 {
			t.Error("closed under its user")
		}
		if err := <-done; Reason(err) != "late" {
			t.Error(err)
		}
		synctest.Wait()
		if r.open.Load() != 0 {
			t.Error("never closed")
		}
	})
}

func TestDigestsAreReadAsTheyAreWritten(t *testing.T) {
	d := Sum([]byte("x"))
	text, err := d.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	var back Digest
	if err := back.UnmarshalText(text); err != nil || back != d {
		t.Errorf("%v, %v", back, err)
	}
	for _, bad := range []string{"", "ab", strings.ToUpper(d.String()), d.String() + "00", strings.Repeat("g", 64)} {
		if _, err := ParseDigest(bad); err == nil {
			t.Errorf("%q is read as a digest", bad)
		}
	}
}

func TestContradictionsAreRefused(t *testing.T) {
	for _, cfg := range []Config{{}, {Models: files{}, Keep: -1}, {Models: files{}, Budget: -1}} {
		if _, err := NewShelf(cfg); err == nil {
			t.Errorf("%+v is taken", cfg)
		}
	}
}
