package personhood

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"agora/personhood/semaphore"

	"golang.org/x/sync/errgroup"
)

const (
	batchSize   = 64                     // proofs in a batch
	batchWait   = 5 * time.Millisecond   // how long the first of a batch waits for more
	mostWaiting = 1024                   // proofs that wait for a batch
	firstDelay  = 100 * time.Millisecond // for the first proof after a false one
	mostDelay   = 2 * time.Second
	redeemed    = 32            // good proofs in a row after which a spoiler is trusted again
	mostSpoiler = 4096          // spoilers remembered; beyond, the oldest goes
	spoilerFor  = 1 * time.Hour // how long one is remembered
)

// errStopped is the answer to proofs that came when nobody checks any more.
var errStopped = errors.New("the batcher has stopped")

// Batcher checks proofs together: up to 64, or whatever came within 5 ms. Who
// hands in a false one has their further proofs checked alone, one after the
// other and after a delay that doubles, so that a flood costs others nothing.
type Batcher struct {
	verifier *semaphore.Verifier
	asked    chan *ask     // proofs, up to mostWaiting; when full, callers wait
	alone    chan struct{} // one token: the proofs of all spoilers take one core at most
	stopped  chan struct{} // closed when Run has ended

	mu       sync.Mutex // guards what follows
	spoilers map[string]*spoiler
	stats    BatchStats
}

// BatchStats counts since the start.
type BatchStats struct {
	Batches, Proofs, False, Alone uint64
}

// spoiler is somebody who handed in a false proof.
type spoiler struct {
	turn  chan struct{} // one token: their proofs go one after the other
	delay time.Duration
	good  int // in a row
	last  time.Time
}

// ask is one proof that waits for its verdict.
type ask struct {
	who     string
	item    semaphore.Item
	verdict chan error // 1
}

// NewBatcher makes one; it checks nothing before Run.
func NewBatcher() *Batcher {
	return &Batcher{
		verifier: semaphore.NewVerifier(),
		asked:    make(chan *ask, mostWaiting), // proofs; when full, callers wait
		alone:    make(chan struct{}, 1),
		stopped:  make(chan struct{}),
		spoilers: make(map[string]*spoiler),
	}
}

// Stats are the counters.
func (b *Batcher) Stats() BatchStats {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.stats
}

// Verify waits for the verdict on one proof: nil, semaphore.ErrProof or
// semaphore.ErrDepth; any other error means that it could not be checked. who
// is answerable for it, a connection or an address; "" is nobody.
func (b *Batcher) Verify(ctx context.Context, who string, item semaphore.Item) error {
	if s := b.spoiler(who); s != nil {
		return b.verifyAlone(ctx, who, s, item)
	}
	a := &ask{who: who, item: item, verdict: make(chan error, 1)}
	select {
	case b.asked <- a:
	case <-b.stopped:
		return errStopped
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-a.verdict:
		return err
	case <-b.stopped: // it came between the last look and the end
		return errStopped
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Run checks until ctx ends; then those who wait get an error. It is called
// once.
func (b *Batcher) Run(ctx context.Context) error {
	defer close(b.stopped)
	g, work := errgroup.WithContext(context.WithoutCancel(ctx))
	g.SetLimit(runtime.GOMAXPROCS(0)) // batches under way; when that many are, proofs wait in asked
	for {
		batch := b.collect(ctx)
		if batch == nil {
			break
		}
		g.Go(func() error {
			b.settle(batch)
			return work.Err()
		})
	}
	err := g.Wait()
	for {
		select {
		case a := <-b.asked:
			a.verdict <- errStopped
		default:
			return errors.Join(err, context.Cause(ctx))
		}
	}
}

// collect waits for a first proof and takes what comes after it; nil when ctx
// has ended.
func (b *Batcher) collect(ctx context.Context) []*ask {
	var batch []*ask
	select {
	case a := <-b.asked:
		batch = append(batch, a)
	case <-ctx.Done():
		return nil
	}
	late := time.NewTimer(batchWait)
	defer late.Stop()
	for len(batch) < batchSize {
		select {
		case a := <-b.asked:
			batch = append(batch, a)
		case <-late.C:
			return batch
		case <-ctx.Done():
			return batch
		}
	}
	return batch
}

// settle checks one batch. Proofs of one origin stand together, so that the
// halving finds a spoiler's in one piece.
func (b *Batcher) settle(batch []*ask) {
	slices.SortStableFunc(batch, func(x, y *ask) int { return strings.Compare(x.who, y.who) })
	items := make([]semaphore.Item, len(batch))
	for i, a := range batch {
		items[i] = a.item
	}
	verdicts := b.verifier.VerifyBatch(items)
	b.mu.Lock()
	b.stats.Batches++
	b.stats.Proofs += uint64(len(batch))
	for i, a := range batch {
		if verdicts[i] != nil {
			b.stats.False++
			b.suspect(a.who)
		}
	}
	b.mu.Unlock()
	for i, a := range batch {
		a.verdict <- verdicts[i]
	}
}

// suspect remembers a spoiler. The caller holds mu.
func (b *Batcher) suspect(who string) {
	if who == "" || b.spoilers[who] != nil {
		return
	}
	if len(b.spoilers) >= mostSpoiler {
		oldest := ""
		for name, s := range b.spoilers {
			if oldest == "" || s.last.Before(b.spoilers[oldest].last) {
				oldest = name
			}
		}
		delete(b.spoilers, oldest)
	}
	b.spoilers[who] = &spoiler{turn: make(chan struct{}, 1), delay: firstDelay, last: time.Now()}
}

func (b *Batcher) spoiler(who string) *spoiler {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.spoilers[who]
	if s != nil && time.Since(s.last) > spoilerFor {
		delete(b.spoilers, who)
		return nil
	}
	return s
}

// verifyAlone lets a spoiler's proof wait for the one before and for its
// delay, and then checks it by itself.
func (b *Batcher) verifyAlone(ctx context.Context, who string, s *spoiler, item semaphore.Item) error {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return ctx.Err()
	}
	b.mu.Lock()
	delay := s.delay
	b.mu.Unlock()
	wait := time.NewTimer(delay)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case b.alone <- struct{}{}:
		defer func() { <-b.alone }()
	case <-ctx.Done():
		return ctx.Err()
	}
	err := b.verifier.Verify(item.Statement, item.Proof)
	b.judge(who, s, err == nil)
	return err
}

// judge makes a spoiler's delay longer or shorter, and forgives in the end.
func (b *Batcher) judge(who string, s *spoiler, good bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stats.Alone++
	s.last = time.Now()
	if !good {
		b.stats.False++
		s.good, s.delay = 0, min(2*s.delay, mostDelay)
		return
	}
	s.delay /= 2
	if s.good++; s.good >= redeemed && b.spoilers[who] == s {
		delete(b.spoilers, who)
	}
}
