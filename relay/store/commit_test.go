package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"agora/relay/wire"

	"github.com/nbd-wtf/go-nostr"
)

// Times are after the last commit began.
func TestACommitWaitsForCompany(t *testing.T) {
	const forever = time.Hour
	for _, c := range []struct {
		name   string
		ended  time.Duration // when the last commit ended
		coming time.Duration // until when entries are on their way
		queued int
		want   time.Duration
	}{
		{"nobody comes: BatchWait", 0, 0, 0, 3 * time.Millisecond},
		{"a long commit: a moment for those it answered", 10 * time.Millisecond, 0, 0, 11 * time.Millisecond},
		{"a long commit with others on their way", 10 * time.Millisecond, 14 * time.Millisecond, 0, 14 * time.Millisecond},
		{"they never come", 10 * time.Millisecond, forever, 0, companyMost * 3 * time.Millisecond},
		{"the batch is full", 10 * time.Millisecond, forever, 255, 10 * time.Millisecond},
		{"one is missing", 10 * time.Millisecond, forever, 254, companyMost * 3 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			began := time.Now()
			s := &Store{queue: make(chan request, 1024), lastBegan: began, lastEnded: began.Add(c.ended)}
			s.cfg.defaults()
			s.Expect(func() int {
				if time.Since(began) < c.coming {
					return 1
				}
				return 0
			})
			for range c.queued {
				s.queue <- request{}
			}
			time.Sleep(c.ended)
			s.awaitCompany(t.Context())
			if got := time.Since(began); got < c.want || got > c.want+companyLook {
				t.Errorf("%s: the next commit begins after %s, want %s", c.name, got, c.want)
			}
		})
	}
}

func TestACommitWaitsForNobodyWhenTheStoreStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		s := &Store{queue: make(chan request, 1024), lastBegan: began, lastEnded: began, coming: func() int { return 1 }}
		s.cfg.defaults()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond/4)
		defer cancel()
		s.awaitCompany(ctx)
		if got := time.Since(began); got > companyLook {
			t.Errorf("it waits %s", got)
		}
	})
}

// crowdEvent is one of few events by few authors, so that duplicates, versions
// that replace one another and deletions of what has just come fill a batch.
func crowdEvent(rng *rand.Rand) *nostr.Event {
	id, author := byte(1+rng.IntN(120)), byte(1+rng.IntN(3))
	at := int64(1000 + int(id)%40)
	switch kind := []int{1, 0, 30023, 5}[id%4]; kind {
	case 5:
		victim := fmt.Sprintf("%064x", 1+rng.IntN(120))
		return testEvent(id, author, at, kind, nostr.Tag{"e", victim}, nostr.Tag{"a", fmt.Sprintf("0:%064x:", author)})
	case 30023:
		return testEvent(id, author, at, kind, nostr.Tag{"d", "x"}, nostr.Tag{"t", "y"})
	default:
		return testEvent(id, author, at, kind, nostr.Tag{"e", fmt.Sprintf("%064x", rng.IntN(9))}, nostr.Tag{"expiration", "99999999999"})
	}
}

// idle is a store of which nobody runs the committer.
func idle(t *testing.T) *Store {
	t.Helper()
	s, err := Open(t.TempDir(), Config{NoSync: true, MapSize: 1 << 28})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// commitTogether is the committer's work on one batch.
func commitTogether(s *Store, list []request) error {
	runtime.LockOSThread() // an LMDB write transaction belongs to its thread
	defer runtime.UnlockOSThread()
	return newWriter(s).try(list)
}

// One after another and all in one commit, the same events leave the same
// store, and each of its indexes is whole.
func TestABatchIsAsGoodAsItsEventsOneByOne(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 1))
		single, batched := commitsOnly(t), idle(t)
		list := make([]request, 200)
		var got, want []Outcome
		for i := range list {
			ev := crowdEvent(rng)
			want = append(want, outcomeOf(t, single, ev))
			list[i] = request{entry: Entry{Event: ev, JSON: wire.AppendEvent(nil, ev)}, done: func(res Result, err error) {
				if err != nil {
					t.Error(err)
				}
				got = append(got, res.Outcome)
			}}
		}
		if err := commitTogether(batched, list); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("seed %d, event %d: %v in a batch, %v alone", seed, i, got[i], want[i])
			}
		}
		rep, err := batched.Check(t.Context(), CheckOptions{})
		if err != nil || rep.Bad != 0 || rep.Events == 0 {
			t.Fatalf("seed %d: %+v, %v", seed, rep, err)
		}
		alone, err := single.Check(t.Context(), CheckOptions{})
		if err != nil || rep.Events != alone.Events || rep.Rows != alone.Rows || rep.Markers != alone.Markers {
			t.Fatalf("seed %d: in a batch %+v, alone %+v, %v", seed, rep, alone, err)
		}
	}
}
