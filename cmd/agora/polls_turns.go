package main

import (
	"context"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

const (
	countsAtOnce = 2                // tallies being counted for readers
	countWait    = 10 * time.Second // then a reader is told to ask again
)

// turns lets one reader at a time count a poll, and few count at all: counting
// reads all ballots, and anybody may ask.
type turns struct {
	all chan struct{} // counts under way; when full, others wait

	mu   sync.Mutex // guards what follows
	each map[string]*turn
}

// turn is of one poll; it is forgotten with its last user.
type turn struct {
	free  chan struct{} // holds one while the poll is being counted
	users int
}

func newTurns() *turns {
	return &turns{all: make(chan struct{}, countsAtOnce), each: map[string]*turn{}}
}

// take waits for the turn to count a poll. The poll's own comes first, so that
// many readers of one poll keep nobody from another.
func (t *turns) take(ctx context.Context, id string, wait time.Duration) (leave func(), err error) {
	t.mu.Lock()
	mine := t.each[id]
	if mine == nil {
		mine = &turn{free: make(chan struct{}, 1)} // one counts
		t.each[id] = mine
	}
	mine.users++
	t.mu.Unlock()
	drop := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if mine.users--; mine.users == 0 {
			delete(t.each, id)
		}
	}
	late := time.NewTimer(wait)
	defer late.Stop()
	if err := enter(ctx, mine.free, late.C); err != nil {
		drop()
		return nil, err
	}
	if err := enter(ctx, t.all, late.C); err != nil {
		<-mine.free
		drop()
		return nil, err
	}
	return func() { <-t.all; <-mine.free; drop() }, nil
}

func enter(ctx context.Context, place chan struct{}, late <-chan time.Time) error {
	select {
	case place <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-late:
		return problem(http.StatusServiceUnavailable, "too many polls are being counted at the moment; ask again in ten seconds")
	}
}

// seats are places for long answers, of which one address may have only some.
type seats struct {
	most, each int

	mu    sync.Mutex // guards what follows
	taken int
	by    map[netip.Prefix]int
}

func newSeats(most, each int) *seats {
	return &seats{most: most, each: each, by: map[netip.Prefix]int{}}
}

// take is a place for this address; false when there is none.
func (s *seats) take(addr netip.Addr) (leave func(), ok bool) {
	who, err := callerOf(addr)
	if err != nil {
		who = netip.Prefix{} // all without an address are one
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken >= s.most || s.by[who] >= s.each {
		return nil, false
	}
	s.taken++
	s.by[who]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.taken--
		if s.by[who]--; s.by[who] == 0 {
			delete(s.by, who)
		}
	}, true
}
