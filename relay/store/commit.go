package store

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"time"

	"github.com/PowerDNS/lmdb-go/lmdb"
	"golang.org/x/sync/errgroup"
)

// request is one thing for the committer to do: an entry, or a function.
type request struct {
	entry Entry
	fn    func(*writer) error // instead of entry
	done  func(Result, error) // called on the committer after the sync; must not block
}

// Submit hands in an entry without waiting for its commit. done is called
// exactly once unless Submit returns an error; it runs on the committer, after
// the sync, and must not block.
func (s *Store) Submit(ctx context.Context, e Entry, done func(Result, error)) error {
	return s.enqueue(ctx, request{entry: e, done: done})
}

// Append stores an entry and returns after the commit that holds it.
func (s *Store) Append(ctx context.Context, e Entry) (Result, error) {
	return s.wait(ctx, request{entry: e})
}

// do runs fn in a write transaction of the committer and returns after its
// commit. fn may run twice: when an entry beside it makes the batch fail. When
// do returns an error fn may be running still, so what it writes is the
// caller's only after nil.
func (s *Store) do(ctx context.Context, fn func(*writer) error) error {
	_, err := s.wait(ctx, request{fn: fn})
	return err
}

func (s *Store) wait(ctx context.Context, r request) (Result, error) {
	type answer struct {
		res Result
		err error
	}
	ch := make(chan answer, 1) // answers; exactly one is sent
	r.done = func(res Result, err error) { ch <- answer{res, err} }
	if err := s.enqueue(ctx, r); err != nil {
		return Result{}, err
	}
	select {
	case a := <-ch:
		return a.res, a.err
	case <-ctx.Done():
		return Result{}, fmt.Errorf("wait for the commit: %w", ctx.Err())
	}
}

func (s *Store) enqueue(ctx context.Context, r request) error {
	if s.cfg.ReadOnly {
		return ErrReadOnly
	}
	select {
	case <-s.stopped:
		return ErrClosed
	default:
	}
	select {
	case s.queue <- r:
	case <-s.stopped:
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("hand to the committer: %w", ctx.Err())
	}
	select {
	case <-s.stopped: // the committer may be gone already: answer what is left
		s.refuseQueued()
	default:
	}
	return nil
}

// refuseQueued answers what is still queued after the committer has ended.
func (s *Store) refuseQueued() {
	for {
		select {
		case r := <-s.queue:
			r.done(Result{}, ErrClosed)
		default:
			return
		}
	}
}

// Run commits and sweeps until ctx is done; what was queued by then is still
// committed. It returns an error when the store can no longer be trusted.
func (s *Store) Run(ctx context.Context) error {
	if s.cfg.ReadOnly {
		<-ctx.Done()
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.commitLoop(ctx) })
	g.Go(func() error { return s.sweep(ctx) })
	g.Go(func() error { return s.sets.run(ctx) })
	err := g.Wait()
	close(s.stopped)
	s.refuseQueued()
	return err
}

func (s *Store) commitLoop(ctx context.Context) error {
	runtime.LockOSThread() // an LMDB write transaction belongs to its thread
	defer runtime.UnlockOSThread()
	w := newWriter(s)
	batch := make([]request, 0, s.cfg.BatchSize)
	for {
		batch = s.gather(ctx, batch[:0])
		if len(batch) == 0 {
			return nil // ctx is done and the queue is empty
		}
		if err := w.commit(batch); err != nil {
			return err
		}
		s.lastEnded = time.Now()
	}
}

// gather waits for a first request and takes what has queued up behind it.
// When the last commit was shared, the company is waited for: a commit writes
// whole pages, so the more events share one, the less each costs. A lone
// publisher never pays that.
func (s *Store) gather(ctx context.Context, batch []request) []request {
	select {
	case r := <-s.queue:
		batch = append(batch, r)
	case <-ctx.Done():
	}
	if len(batch) > 0 && s.lastBatch > 1 {
		s.awaitCompany(ctx)
	}
	for len(batch) < s.cfg.BatchSize {
		select {
		case r := <-s.queue:
			batch = append(batch, r)
			continue
		default:
		}
		break
	}
	s.lastBatch, s.lastBegan = len(batch), time.Now()
	return batch
}

const (
	// companyLook is how often the committer looks who has come. It does not
	// wake for each request: it has a thread of its own, so that waking it
	// costs a change of thread.
	companyLook = time.Millisecond / 2
	// companyTail is how long those who were just answered get to come back.
	companyTail = time.Millisecond
	// companyMost is how many times BatchWait the committer waits at most for
	// those it was told of: some never come, for they are refused.
	companyMost = 8
)

// awaitCompany returns when nobody more is to be waited for.
func (s *Store) awaitCompany(ctx context.Context) {
	look := time.NewTicker(companyLook)
	defer look.Stop()
	enough := min(s.cfg.BatchSize-1, cap(s.queue)) // with the one taken already
	for len(s.queue) < enough && !s.waitedEnough(time.Now()) {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

// waitedEnough says so BatchWait after the last commit began and companyTail
// after it ended, or later while entries are on their way.
func (s *Store) waitedEnough(now time.Time) bool {
	since := now.Sub(s.lastBegan)
	if since >= companyMost*s.cfg.BatchWait {
		return true
	}
	return since >= s.cfg.BatchWait && now.Sub(s.lastEnded) >= companyTail && s.coming() == 0
}

// writer is the committer's workspace, owned by its goroutine.
type writer struct {
	s       *Store
	txn     *lmdb.Txn
	head    Pos
	results []Result
	notes   []note // what the sets must learn in the same commit
	pending pending
	cleared bool // a bulk removal ended or began: reload vanishing
	full    shortage
}

// shortage is a time in which the disk took nothing.
type shortage struct {
	since, told time.Time // told: when the log last heard of it
	refused     int       // requests turned away since
}

// note is one event that came or went in this commit.
type note struct {
	rec     Record // clone
	removed bool
}

func newWriter(s *Store) *writer { return &writer{s: s} }

// commit stores a batch in one synced transaction. When the transaction fails,
// each request is tried in one of its own, so that none fails for another's
// sake. Only damage that makes the store useless is returned.
func (w *writer) commit(batch []request) error {
	err := w.try(batch)
	if noRoom(err) { // trying one by one would only fail as often
		w.tellFull(err, len(batch))
		for _, r := range batch {
			r.done(Result{}, err)
		}
		return nil
	}
	if err != nil && len(batch) > 1 {
		for i := range batch {
			if err := w.try(batch[i : i+1]); err != nil {
				if err := w.fail(batch[i], err); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err != nil {
		return w.fail(batch[0], err)
	}
	if w.full.refused > 0 && len(w.notes) > 0 { // a duplicate alone writes nothing
		w.s.cfg.Logger.Info("the disk takes writes again", "refused", w.full.refused, "after", time.Since(w.full.since).Round(time.Second))
		w.full = shortage{}
	}
	return nil
}

// tellFull logs that n requests found no room, at most once a minute: whoever
// publishes must not fill what is left of the disk with lines.
func (w *writer) tellFull(err error, n int) {
	now := time.Now()
	if w.full.refused == 0 {
		w.full.since = now
	}
	w.full.refused += n
	if now.Sub(w.full.told) < time.Minute {
		return
	}
	w.full.told = now
	w.s.cfg.Logger.Error("the disk is full or failing: nothing is stored until that is mended, reads go on", "err", err, "refused", w.full.refused)
}

// noRoom reports whether the disk or the map is full, or the disk fails: LMDB
// calls a write that was cut short by a full disk EIO. It passes by itself
// once there is room, and reads go on meanwhile.
func noRoom(err error) bool {
	return lmdb.IsMapFull(err) || lmdb.IsErrnoSys(err, syscall.EIO) || lmdb.IsErrnoSys(err, syscall.ENOSPC) || lmdb.IsErrnoSys(err, syscall.EDQUOT)
}

// fail answers a request whose transaction was undone.
func (w *writer) fail(r request, err error) error {
	r.done(Result{}, err)
	if errors.Is(err, errDamaged) || lmdb.IsErrno(err, lmdb.Panic) || lmdb.IsErrno(err, lmdb.Corrupted) {
		return fmt.Errorf("the store in %s is damaged: %w", w.s.dir, err)
	}
	w.s.cfg.Logger.Error("commit failed, nothing of it was stored", "err", err)
	return nil
}

// try runs the batch in one transaction and, when it is durable, answers.
func (w *writer) try(batch []request) error {
	w.results, w.notes, w.cleared = w.results[:0], w.notes[:0], false
	w.pending.drop() // of a transaction that failed
	err := w.s.env.UpdateLocked(func(txn *lmdb.Txn) error {
		txn.RawRead = true
		w.txn, w.head = txn, Pos(w.s.head.Load())
		for i := range batch {
			res, err := w.run(&batch[i])
			if err != nil {
				return err
			}
			w.results = append(w.results, res)
		}
		if err := w.pending.flush(txn); err != nil {
			return err
		}
		return w.s.sets.save(txn, w.notes)
	})
	w.txn = nil
	if err != nil {
		return err
	}
	if w.cleared {
		if err := w.s.view(w.s.loadVanishing); err != nil {
			return err
		}
	}
	if w.head != Pos(w.s.head.Load()) {
		w.s.advance(w.head)
	}
	for i := range batch {
		batch[i].done(w.results[i], nil)
		batch[i] = request{}
	}
	return nil
}

func (w *writer) run(r *request) (Result, error) {
	if r.fn != nil {
		if err := w.pending.flush(w.txn); err != nil {
			return Result{}, err
		}
		return Result{}, r.fn(w)
	}
	return w.put(&r.entry)
}
