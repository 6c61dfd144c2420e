package ranker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"agora/ranker/feature"

	"github.com/prometheus/client_golang/prometheus"
)

// Source has the files of models; whoever keeps the listings does.
type Source interface {
	// Model is the file with this digest. No such file is ErrNotAdmitted.
	Model(ctx context.Context, d Digest) ([]byte, error)
}

// Config of a Shelf.
type Config struct {
	Runtime Runtime               // nil: every model answers ErrNoRuntime
	Missing error                 // why Runtime is nil, told with every ErrNoRuntime
	Models  Source                // required
	Budget  time.Duration         // for one Score, waiting and loading included; default 250 ms
	Keep    int                   // sessions held in memory at most; default 32; beyond it the longest unused goes
	Retry   time.Duration         // after a load failed, until it is tried again; default 1 minute
	Metrics prometheus.Registerer // nil: none
}

// Shelf holds the models in use: it loads one when it is first asked for, puts
// the longest unused away, and holds every run to its budget. It is the Scorer
// that feeds asks for.
type Shelf struct {
	cfg     Config
	metrics metrics

	mu      sync.Mutex // guards what follows
	entries map[Digest]*entry
	closed  bool
	work    sync.WaitGroup // loads under way
}

// entry is one model on the shelf. After ready is closed, plan, session and
// err no longer change; the rest is guarded by Shelf.mu.
type entry struct {
	ready   chan struct{}
	plan    *feature.Plan
	session Session
	err     error
	failed  time.Time

	users int
	used  time.Time
	gone  bool // off the shelf: the last user closes it
}

// NewShelf checks the configuration; it loads nothing yet.
func NewShelf(cfg Config) (*Shelf, error) {
	if cfg.Models == nil {
		return nil, errors.New("ranker: a shelf needs a source of models")
	}
	if cfg.Budget < 0 || cfg.Keep < 0 || cfg.Retry < 0 {
		return nil, fmt.Errorf("ranker: budget %v, keep %d and retry %v may not be negative", cfg.Budget, cfg.Keep, cfg.Retry)
	}
	if cfg.Budget == 0 {
		cfg.Budget = 250 * time.Millisecond
	}
	if cfg.Keep == 0 {
		cfg.Keep = 32
	}
	if cfg.Retry == 0 {
		cfg.Retry = time.Minute
	}
	s := &Shelf{cfg: cfg, entries: make(map[Digest]*entry), metrics: newMetrics()}
	if cfg.Metrics != nil {
		if err := s.metrics.register(cfg.Metrics, s.held); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// Plan says how to fill a model's inputs. It loads the model when need be.
func (s *Shelf) Plan(ctx context.Context, d Digest) (*feature.Plan, error) {
	e, err := s.take(ctx, d)
	if err != nil {
		return nil, err
	}
	defer s.release(e)
	return e.plan, nil
}

// Score runs a model over a batch within the budget. The error is one that
// Reason knows, and is counted.
func (s *Shelf) Score(ctx context.Context, d Digest, b feature.Batch) ([]float32, error) {
	began := time.Now()
	scores, err := s.score(ctx, d, b)
	s.metrics.count(time.Since(began), b.N, err)
	return scores, err
}

func (s *Shelf) score(ctx context.Context, d Digest, b feature.Batch) ([]float32, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Budget)
	defer cancel()
	e, err := s.take(ctx, d)
	if err != nil {
		return nil, err
	}
	defer s.release(e)
	scores, err := e.session.Score(ctx, b)
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", d, err)
	}
	if err := CheckScores(scores, b.N); err != nil {
		return nil, fmt.Errorf("model %s: %w", d, err)
	}
	return scores, nil
}

// take is a loaded entry that its caller must release.
func (s *Shelf) take(ctx context.Context, d Digest) (*entry, error) {
	if s.cfg.Runtime == nil {
		return nil, errors.Join(ErrNoRuntime, s.cfg.Missing)
	}
	e, err := s.entry(d)
	if err != nil {
		return nil, err
	}
	select {
	case <-e.ready:
	case <-ctx.Done():
		s.release(e)
		return nil, fmt.Errorf("load model %s: %w (%w)", d, ErrLate, ctx.Err())
	}
	if e.err != nil {
		s.release(e)
		return nil, fmt.Errorf("load model %s: %w", d, e.err)
	}
	return e, nil
}

// entry counts its caller among the users of an entry, which it makes, and
// begins to load, when there is none or the one there failed a while ago.
func (s *Shelf) entry(d Digest) (*entry, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	e := s.entries[d]
	if e == nil || !e.failed.IsZero() && time.Since(e.failed) > s.cfg.Retry {
		e = &entry{ready: make(chan struct{})}
		s.entries[d] = e
		s.work.Go(func() { s.load(d, e) })
	}
	e.users++
	e.used = time.Now()
	s.evict()
	return e, nil
}

// evict takes the longest unused sessions off the shelf while there are too
// many. It is called with mu held.
func (s *Shelf) evict() {
	for len(s.entries) > s.cfg.Keep {
		var oldest Digest
		var least *entry
		for d, e := range s.entries {
			if e.users == 0 && (least == nil || e.used.Before(least.used)) {
				oldest, least = d, e
			}
		}
		if least == nil {
			return // all in use: the number of requests bounds them
		}
		delete(s.entries, oldest)
		least.gone = true
		s.work.Go(least.close)
	}
}

// load fills an entry. It is not bounded by the budget of the request that
// began it, so that a model that is slow to load is ready for a later one.
func (s *Shelf) load(d Digest, e *entry) {
	began := time.Now()
	session, plan, err := s.open(d)
	s.mu.Lock()
	e.session, e.plan, e.err = session, plan, err
	if err != nil {
		e.failed = time.Now()
	}
	s.mu.Unlock()
	close(e.ready)
	s.metrics.loads.WithLabelValues(result(err)).Observe(time.Since(began).Seconds())
}

func (s *Shelf) open(d Digest) (Session, *feature.Plan, error) {
	ctx := context.Background() // see load
	model, err := s.cfg.Models.Model(ctx, d)
	if err != nil {
		return nil, nil, err
	}
	if got := Sum(model); got != d {
		return nil, nil, fmt.Errorf("%w: the file has digest %s", ErrNotAdmitted, got)
	}
	session, err := s.cfg.Runtime.Load(ctx, model)
	if err != nil {
		return nil, nil, err
	}
	plan, err := feature.Compile(session.Inputs())
	if err != nil {
		return nil, nil, errors.Join(err, session.Close())
	}
	return session, plan, nil
}

// release gives an entry back; the last user of one that is gone closes it.
func (s *Shelf) release(e *entry) {
	s.mu.Lock()
	e.users--
	last := e.gone && e.users == 0
	if last && !s.closed {
		s.work.Add(1)
	}
	shut := s.closed
	s.mu.Unlock()
	if !last {
		return
	}
	if !shut {
		defer s.work.Done()
	}
	e.close()
}

func (e *entry) close() {
	<-e.ready
	if e.session != nil {
		_ = e.session.Close() // nothing can be done, and nobody waits for it
	}
}

func (s *Shelf) held() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.entries)
}

// Close puts every model away; those in use when their last run ends.
func (s *Shelf) Close() error {
	s.mu.Lock()
	s.closed = true
	var idle []*entry
	for d, e := range s.entries {
		e.gone = true
		if e.users == 0 {
			idle = append(idle, e)
		}
		delete(s.entries, d)
	}
	s.mu.Unlock()
	for _, e := range idle {
		e.close()
	}
	s.work.Wait()
	return nil
}
