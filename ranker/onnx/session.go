package onnx

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"agora/ranker"
	"agora/ranker/feature"

	ort "github.com/yalue/onnxruntime_go"
)

// joinRows is how many candidates one run takes from the queue at most. A
// batch as large as this gains nothing from company.
const joinRows = 256

// splitRows is how many candidates are scored in two runs, so that a page does
// not wait while another core rests. Where the halves begin depends on the
// number of candidates alone: the same page has the same scores, to the bit.
const splitRows = 1024

// Session is one model, ready to run.
type Session struct {
	inputs   []feature.Input
	plan     *feature.Plan
	device   Device
	note     string
	isolated bool // a candidate's score does not depend on its company
	run      *ort.DynamicAdvancedSession
	slots    chan struct{} // the runtime's
	free     chan *buffers

	mu      sync.Mutex // guards what follows
	waiting []*job     // bounded by the requests that wait in Score
	closed  bool
	running sync.WaitGroup
}

// job is one request. done is closed after scores and err are set.
type job struct {
	batch  *feature.Batch
	queued bool // guarded by Session.mu: nobody has copied the batch yet
	done   chan struct{}
	scores []float32
	err    error
}

// Inputs is what the model declares, in its order.
func (s *Session) Inputs() []feature.Input { return slices.Clone(s.inputs) }

// Device is where it runs.
func (s *Session) Device() Device { return s.device }

// Note says why it does not run on the chosen device; "" when it does.
func (s *Session) Note() string { return s.note }

// Isolated tells that a candidate's score does not depend on its company, as
// far as trials with made-up candidates show.
func (s *Session) Isolated() bool { return s.isolated }

// Score gives one finite number per candidate. It waits for a core; a request
// for a few candidates joins others of the same model that wait.
func (s *Session) Score(ctx context.Context, b feature.Batch) ([]float32, error) {
	if err := s.plan.Check(&b); err != nil {
		return nil, fmt.Errorf("%w: %w", ranker.ErrContract, err)
	}
	if b.N == 0 {
		return nil, nil
	}
	if b.N < splitRows || !s.joins() || s.device != CPU {
		return s.score(ctx, b)
	}
	upper, lower := halves(&b)
	var rest []float32
	var failed error
	var other sync.WaitGroup
	other.Go(func() { rest, failed = s.score(ctx, lower) })
	scores, err := s.score(ctx, upper)
	other.Wait()
	if err = cmp.Or(err, failed); err != nil {
		return nil, err
	}
	return append(scores, rest...), nil
}

// halves are parts of a batch that has a row for each candidate in all inputs.
func halves(b *feature.Batch) (upper, lower feature.Batch) {
	upper.N, lower.N = b.N/2, b.N-b.N/2
	for i := range b.Inputs {
		t := &b.Inputs[i]
		u, l := *t, *t
		u.Shape, l.Shape = slices.Clone(t.Shape), slices.Clone(t.Shape)
		u.Shape[0], l.Shape[0] = int64(upper.N), int64(lower.N)
		floats, ints := len(t.Float)/b.N*upper.N, len(t.Int)/b.N*upper.N
		u.Float, l.Float = t.Float[:floats], t.Float[floats:]
		u.Int, l.Int = t.Int[:ints], t.Int[ints:]
		upper.Inputs, lower.Inputs = append(upper.Inputs, u), append(lower.Inputs, l)
	}
	return upper, lower
}

// score is Score in one run.
func (s *Session) score(ctx context.Context, b feature.Batch) ([]float32, error) {
	j := &job{batch: &b, queued: true, done: make(chan struct{})}
	if err := s.enter(j); err != nil {
		return nil, err
	}
	select {
	case s.slots <- struct{}{}:
		s.lead(ctx, j)
	case <-j.done:
	case <-ctx.Done():
	}
	select {
	case <-j.done:
		return j.scores, j.err
	case <-ctx.Done():
		s.withdraw(j)
	}
	select {
	case <-j.done:
		return j.scores, j.err
	default:
		return nil, fmt.Errorf("%w: %w", ranker.ErrLate, ctx.Err())
	}
}

// enter puts a job where the next run looks for company, when it may have any.
func (s *Session) enter(j *job) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ranker.ErrClosed
	}
	if s.joins() && j.batch.N < joinRows {
		s.waiting = append(s.waiting, j)
	}
	return nil
}

func (s *Session) joins() bool { return s.isolated && s.plan.PerCandidate() }

// withdraw takes back a job whose time is up, so that its batch is not read
// after Score has returned.
func (s *Session) withdraw(j *job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j.queued = false
	s.waiting = slices.DeleteFunc(s.waiting, func(o *job) bool { return o == j })
}

// lead runs its own job and what waits beside it. It is called with a slot,
// which goes back when the run ends.
func (s *Session) lead(ctx context.Context, own *job) {
	jobs, set, err := s.gather(own)
	if len(jobs) == 0 { // another run has taken it
		<-s.slots
		return
	}
	if err != nil {
		<-s.slots
		finish(jobs, nil, err)
		s.running.Done()
		return
	}
	if len(jobs) > 1 {
		ctx = context.WithoutCancel(ctx) // a run for many does not end with the time of one
	}
	go func() {
		defer s.running.Done()
		scores, err := set.score(ctx, s.run)
		<-s.slots
		finish(jobs, scores, err)
		s.giveBack(set)
	}()
}

// gather takes the own job, and as many that wait as one run may have, and
// copies their batches. It counts the run as running when there is a job.
func (s *Session) gather(own *job) ([]*job, *buffers, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !own.queued {
		return nil, nil, nil
	}
	own.queued = false
	jobs, rows, rest := []*job{own}, own.batch.N, s.waiting[:0]
	for _, j := range s.waiting {
		switch {
		case j == own:
		case own.batch.N < joinRows && rows+j.batch.N <= joinRows:
			j.queued = false
			jobs, rows = append(jobs, j), rows+j.batch.N
		default:
			rest = append(rest, j)
		}
	}
	clear(s.waiting[len(rest):])
	s.waiting = rest
	if s.closed {
		finish(jobs, nil, ranker.ErrClosed)
		return nil, nil, nil
	}
	s.running.Add(1)
	set, err := s.tensors(jobs, rows)
	return jobs, set, err
}

// tensors is a set that holds the batches of the jobs.
func (s *Session) tensors(jobs []*job, rows int) (*buffers, error) {
	var set *buffers
	select {
	case set = <-s.free:
	default:
		set = &buffers{}
	}
	if err := set.shape(jobs[0].batch, rows); err != nil {
		set.destroy()
		return nil, fmt.Errorf("%w: %w", ranker.ErrFailed, err)
	}
	at := 0
	for _, j := range jobs {
		set.copyRows(j.batch, at)
		at += j.batch.N
	}
	return set, nil
}

func (s *Session) giveBack(set *buffers) {
	select {
	case s.free <- set:
	default:
		set.destroy()
	}
}

// finish gives each job its part of the scores. A score that is no number
// fails only the job it belongs to.
func finish(jobs []*job, scores []float32, err error) {
	at := 0
	for _, j := range jobs {
		j.err = err
		if err == nil {
			j.scores = scores[at : at+j.batch.N : at+j.batch.N]
			at += j.batch.N
			j.err = ranker.CheckScores(j.scores, j.batch.N)
		}
		close(j.done)
	}
}

// Close waits for what is running.
func (s *Session) Close() error {
	s.mu.Lock()
	was := s.closed
	s.closed = true
	s.mu.Unlock()
	s.running.Wait()
	if was {
		return nil
	}
	for len(s.free) > 0 {
		(<-s.free).destroy()
	}
	return s.run.Destroy()
}

// trial scores n made-up candidates.
func (s *Session) trial(ctx context.Context, n int) ([]float32, error) {
	b, err := s.sample(feature.Sample(1, n))
	if err != nil {
		return nil, err
	}
	return s.Score(ctx, b)
}

func (s *Session) sample(facts *feature.Facts) (b feature.Batch, err error) {
	for _, knob := range s.plan.Knobs() {
		facts.Knobs[knob] = 1
	}
	err = s.plan.Fill(facts, &b)
	return b, err
}

// settle runs the model in company and candidate by candidate, to learn
// whether it may be run in company.
func (s *Session) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, trialTime)
	defer cancel()
	const n = 5
	together, err := s.trial(ctx, n)
	if err != nil {
		return err
	}
	facts := feature.Sample(1, n)
	all := facts.Candidates
	s.isolated = true
	for i := range all {
		facts.Candidates = all[i : i+1]
		b, err := s.sample(facts)
		if err != nil {
			return err
		}
		alone, err := s.Score(ctx, b)
		if err != nil {
			return err
		}
		if !near(alone[0], together[i], 1e-5) {
			s.isolated = false
		}
	}
	return nil
}

// agree is an error when two sessions of one model differ by more than
// Tolerance on made-up candidates.
func agree(ctx context.Context, a, b *Session) error {
	const n = 64
	x, err := a.trial(ctx, n)
	if err != nil {
		return err
	}
	y, err := b.trial(ctx, n)
	if err != nil {
		return err
	}
	return differ(x, y)
}

func differ(x, y []float32) error {
	if len(x) != len(y) {
		return errors.New("the numbers of scores differ")
	}
	for i := range x {
		if !near(x[i], y[i], Tolerance) {
			return fmt.Errorf("scores differ: %v and %v", x[i], y[i])
		}
	}
	return nil
}

func near(a, b float32, within float64) bool {
	x, y := float64(a), float64(b)
	return max(x, y)-min(x, y) <= within*max(1, x, -x)
}
