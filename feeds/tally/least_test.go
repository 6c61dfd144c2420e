package tally

import (
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// An archive is older than what is live: its latest notes are tallied all the
// same, with what was done there, until younger ones take their place.
func TestTheLatestFewAreTalliedHoweverOld(t *testing.T) {
	w := newWorld(t, 9, 5)
	w.start(Config{Live: 24 * time.Hour, Least: 10})
	note := func(i int, created int64) *nostr.Event {
		ev := w.event(1, w.authors[i%5], "a note")
		ev.CreatedAt = nostr.Timestamp(created)
		w.append(ev)
		return ev
	}
	var old []*nostr.Event
	for i := range 30 {
		old = append(old, note(i, w.now-100*86400+int64(i)))
	}
	act := w.event(7, w.authors[0], "+", nostr.Tag{"e", old[29].ID})
	act.CreatedAt = old[29].CreatedAt + 5
	w.append(act)
	held := func() (n int, likes int) {
		if err := w.tally.WaitFor(t.Context(), w.store.Head()); err != nil {
			t.Fatal(err)
		}
		w.tally.tidy(time.Unix(w.now, 0))
		w.tally.Read(w.now, func(r *Reader) {
			r.Recent(func(at Note) bool {
				n++
				likes += int(r.Counts(at, nil).Actors[Like])
				return true
			})
		})
		return n, likes
	}
	if n, likes := held(); n != 10 || likes != 1 {
		t.Errorf("of 30 old notes %d are tallied, with %d likes; want 10 and 1", n, likes)
	}
	for i := range 7 {
		note(i, w.now-int64(i))
	}
	if n, likes := held(); n != 10 || likes != 1 {
		t.Errorf("with 7 young notes %d are tallied, with %d likes; want 10 and 1", n, likes)
	}
	for i := range 7 {
		note(i, w.now-10-int64(i))
	}
	if n, likes := held(); n != 14 || likes != 0 {
		t.Errorf("with 14 young notes %d are tallied, with %d likes; want those 14", n, likes)
	}
}
