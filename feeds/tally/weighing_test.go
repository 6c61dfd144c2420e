package tally

import (
	"testing"
	"time"
)

// Weights are taken soon after a start and while many keys come, and once an
// epoch when all is quiet.
func TestWeightsAreTakenWhileKeysComeAndThenOnceAnEpoch(t *testing.T) {
	epoch, now := 10*time.Minute, time.Unix(1_700_000_000, 0)
	w := weighing{gap: weighAgain}
	w.taken(1000, epoch, now)
	count := func(keys int, weighty bool, span time.Duration) (n int) {
		for end := now.Add(span); now.Before(end); now = now.Add(time.Second) {
			if w.due(keys, weighty, now) {
				w.taken(keys, epoch, now)
				n++
			}
		}
		return n
	}
	if n := count(1000, true, time.Hour); n < 10 || n > 15 {
		t.Errorf("%d times in a quiet hour, want 7 in the first epoch and then one each", n)
	}
	if n := count(5000, true, 10*time.Second); n < 2 {
		t.Errorf("%d times after an import", n)
	}
	if n := count(5000, true, time.Hour); n > 15 {
		t.Errorf("%d times in the hour after it", n)
	}
	if n := count(5000, false, time.Minute); n < 15 {
		t.Errorf("%d times in a minute in which nobody weighs anything", n)
	}
}
