package feeds

import (
	"context"
	"slices"
	"testing"
	"time"

	"agora/ranker/feature"

	"github.com/nbd-wtf/go-nostr"
)

// TestLooksThatAreKeptAreThoseOfNow lets likes of crowds come and go between
// pages of one viewer, and looks with and without what was seen before.
func TestLooksThatAreKeptAreThoseOfNow(t *testing.T) {
	w := newWorld(t, 17)
	var people []string
	for i := range 60 {
		people = append(people, w.person(byte(i*4)))
	}
	me := people[59]
	w.graph.follows[me] = people[10:30]
	var notes, likes []*nostr.Event
	for i := range 12 {
		notes = append(notes, w.note(people[i], time.Hour))
	}
	for range 900 {
		likes = append(likes, w.like(people[w.r.IntN(60)], notes[w.r.IntN(len(notes))]))
	}
	w.settle()
	v, err := w.feeds.meet(t.Context(), me, w.now, nil)
	if err != nil {
		t.Fatal(err)
	}
	facts := func() (counts []feature.Counts, proofs []feature.Proof) {
		c := new(candidates)
		if err := w.feeds.gather(context.Background(), &wanted{viewer: v, stages: &stages{sources: feature.FromRecent}, now: time.Now().Unix()}, c); err != nil {
			t.Fatal(err)
		}
		for _, to := range c.facts.Candidates {
			to.Counts.Rate, to.Counts.TrustRate = [feature.Windows]float32{}, [feature.Windows]float32{} // they fade from second to second
			counts, proofs = append(counts, *to.Counts), append(proofs, *to.Proof)
		}
		return counts, proofs
	}
	for step := range 60 {
		if step > 0 {
			for range w.r.IntN(3) {
				likes = append(likes, w.like(people[w.r.IntN(60)], notes[w.r.IntN(len(notes))]))
			}
			if step%2 == 0 { // one goes and another comes: there are as many as before
				gone := likes[w.r.IntN(len(likes))]
				w.put(5, gone.PubKey, 0, "", nostr.Tag{"e", gone.ID})
				w.like(people[w.r.IntN(60)], &nostr.Event{ID: gone.Tags[0][1], PubKey: gone.Tags[1][1]})
			}
			w.settle()
		}
		counts, proofs := facts()
		if kept := w.feeds.sights.looks; kept < len(notes)/2 {
			t.Fatalf("%d looks are kept", kept)
		}
		w.feeds.sights = newSights()
		plain, proven := facts()
		if !slices.Equal(counts, plain) || !slices.Equal(proofs, proven) {
			t.Fatalf("step %d: with what was seen before\n%+v %+v\nwithout\n%+v %+v", step, counts, proofs, plain, proven)
		}
	}
}

// TestLooksStayWithinTheirBound fills them for many viewers.
func TestLooksStayWithinTheirBound(t *testing.T) {
	s := newSights()
	for i := range 2*mostLooks/1000 + 5 {
		l := s.take(string(rune('a'+i)), 1)
		l.list = make([]look, 1000)
		s.give(l)
		if s.looks > mostLooks || s.order.Len() != len(s.by) {
			t.Fatalf("%d looks of %d viewers are kept, and %d found", s.looks, s.order.Len(), len(s.by))
		}
	}
	if first := s.take("a", 1); len(first.list) != 0 {
		t.Error("the oldest are kept")
	}
	last := s.take(string(rune('a'+2*mostLooks/1000+4)), 1)
	if len(last.list) != 1000 {
		t.Error("the newest are gone")
	}
	s.give(last)
	if other := s.take(last.hex, 2); len(other.list) != 0 {
		t.Error("looks by another trust are used")
	}
}
