package enrol

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"agora/personhood/semaphore"
)

// slowNode answers after a second, and counts how often it is asked.
type slowNode struct {
	asked int
	valid bool
	err   error
}

func (n *slowNode) Valid(ctx context.Context, _ Question) (bool, error) {
	n.asked++
	select {
	case <-time.After(time.Second):
		return n.valid, n.err
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

func TestARootIsAskedOnceForAllWhoBringIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		node := &slowNode{valid: true}
		r := Remember(node)
		q := Question{Root: semaphore.Element{7}}
		want := func(valid bool, asked int) {
			t.Helper()
			if ok, err := r.Valid(t.Context(), q); ok != valid || err != nil || node.asked != asked {
				t.Errorf("%v %v, asked %d times, want %v and %d", ok, err, node.asked, valid, asked)
			}
		}
		first, leave := context.WithCancel(t.Context())
		gone := make(chan error, 1)
		go func() { _, err := r.Valid(first, q); gone <- err }()
		synctest.Wait()
		var crowd sync.WaitGroup
		for range 20 {
			crowd.Go(func() { want(true, 1) })
		}
		synctest.Wait()
		leave() // who asked first leaves: the others have their answer all the same
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		crowd.Wait()
		want(true, 1)
		q.Root[0]++
		want(true, 2)
		time.Sleep(yesKept)
		node.valid = false
		want(false, 3)
		want(false, 3)
		time.Sleep(noKept)
		node.err = errors.New("the node is down")
		if _, err := r.Valid(t.Context(), q); err == nil {
			t.Error("what could not be told is an answer")
		}
		node.err = nil
		want(false, 5)
	})
}

func TestRootsThatAnybodyMakesUpAreBounded(t *testing.T) {
	r := Remember(RootList{})
	for i := range uint64(3 * mostAnswers) {
		if _, err := r.Valid(t.Context(), Question{Root: semaphore.Element{i}}); err != nil || len(r.kept) > mostAnswers {
			t.Fatal(len(r.kept), err)
		}
	}
}
