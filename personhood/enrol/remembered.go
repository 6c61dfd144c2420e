package enrol

import (
	"context"
	"sync"
	"time"

	"agora/personhood/semaphore"

	"golang.org/x/sync/singleflight"
)

// How long an answer about a root is kept, and how many. A root that is not
// known yet may be so with the chain's next block.
const (
	yesKept     = time.Minute
	noKept      = 10 * time.Second
	mostAnswers = 256 // roots; anybody can make up roots, so then all are forgotten
)

// Remembered asks about a root once for all who bring it within a minute. It
// is for answers that depend on the root alone, as RPC's do.
type Remembered struct {
	roots Roots
	one   singleflight.Group

	mu   sync.Mutex // guards what follows
	kept map[semaphore.Element]answer
}

type answer struct {
	valid bool
	until time.Time
}

// Remember keeps the answers of roots.
func Remember(roots Roots) *Remembered {
	return &Remembered{roots: roots, kept: map[semaphore.Element]answer{}}
}

// Valid implements Roots.
func (r *Remembered) Valid(ctx context.Context, q Question) (bool, error) {
	r.mu.Lock()
	a, ok := r.kept[q.Root]
	r.mu.Unlock()
	if ok && time.Now().Before(a.until) {
		return a.valid, nil
	}
	asked := r.one.DoChan(semaphore.Hex(q.Root), func() (any, error) {
		return r.ask(context.WithoutCancel(ctx), q) // who asked first may leave; others wait for it
	})
	select {
	case out := <-asked:
		valid, _ := out.Val.(bool)
		return valid, out.Err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// ask keeps a yes and a no, but not that it could not be told.
func (r *Remembered) ask(ctx context.Context, q Question) (bool, error) {
	valid, err := r.roots.Valid(ctx, q)
	if err != nil {
		return false, err
	}
	until := time.Now().Add(noKept)
	if valid {
		until = time.Now().Add(yesKept)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.kept) >= mostAnswers {
		clear(r.kept)
	}
	r.kept[q.Root] = answer{valid, until}
	return valid, nil
}
