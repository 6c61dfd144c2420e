package trial

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"agora/cmd/simulate/crowd"
	"agora/ranker/feature"
)

// RingSize is how many fresh keys a vote ring has.
const RingSize = 1000

// Ring is what a ring could move.
type Ring struct {
	Moments  int
	Worst    int // places that 1,000 fresh keys moved a note, at most
	Friends  int // places that 10 followed keys moved it, at most
	Together int // places by which ring and friends together differ from the friends alone, at most
}

// VoteRing lets 1,000 fresh keys, which follow one another and a hundred known
// keys, like a note that stands low, before readers who follow somebody; then
// ten that the reader follows do it with them.
func VoteRing(ctx context.Context, log *crowd.Log, s Settings, by Scorer, c Contestant, most int) (Ring, error) {
	s.defaults()
	ringed, first := withRing(log)
	plan, err := by.Plan(ctx, c.Model)
	if err != nil {
		return Ring{}, fmt.Errorf("%s: %w", c.Slug, err)
	}
	var out Ring
	enough := errors.New("enough")
	s.Mine = make(map[int32][]float32) // the ring counts among the keys
	j := &judge{ctx: ctx, log: ringed, by: by, all: []Contestant{c}, plans: []*feature.Plan{plan}, took: make([][]time.Duration, 1)}
	err = each(ringed, s, s.From, 1, func(r *replay, m moment, pool []int32) error {
		if out.Moments == most {
			return enough
		}
		if len(ringed.Follows[m.reader]) < 10 {
			return nil
		}
		out.Moments++
		return out.attack(j, r, m, pool, first)
	})
	if errors.Is(err, enough) {
		err = nil
	}
	return out, err
}

// withRing is the log with the ring's keys behind all others.
func withRing(log *crowd.Log) (*crowd.Log, int32) {
	l := *log
	first := int32(len(l.Keys))
	l.Keys, l.Follows, l.Mutes = slices.Clone(l.Keys), slices.Clone(l.Follows), slices.Clone(l.Mutes)
	for i := range int32(RingSize) {
		l.Keys = append(l.Keys, fmt.Sprintf("%064x", i+1))
		var follows []int32
		for k := range int32(20) {
			follows = append(follows, first+(i+k+1)%RingSize)
		}
		for k := range int32(100) {
			follows = append(follows, k)
		}
		l.Follows, l.Mutes = append(l.Follows, follows), append(l.Mutes, nil)
	}
	return &l, first
}

func (o *Ring) attack(j *judge, r *replay, m moment, pool []int32, first int32) error {
	before, err := j.standing(r, m, pool)
	if err != nil {
		return err
	}
	at := slices.Index(before, len(before)*3/4) // stands at three quarters
	note := pool[at]
	own := r.notes[note].acts
	var ring, friends []deed
	for i := range int32(RingSize) {
		ring = append(ring, deed{at: m.at - 600, who: first + i, note: note})
	}
	for _, who := range r.log.Follows[m.reader][:10] {
		friends = append(friends, deed{at: m.at - 300, who: who, note: note})
	}
	var place [3]int
	for i, acts := range [][]deed{slices.Concat(own, ring), slices.Concat(own, friends), slices.Concat(own, ring, friends)} {
		r.notes[note].acts = acts
		after, err := j.standing(r, m, pool)
		if err != nil {
			return err
		}
		place[i] = after[at]
	}
	r.notes[note].acts = own
	o.Worst = max(o.Worst, abs(before[at]-place[0]))
	o.Friends = max(o.Friends, abs(before[at]-place[1]))
	o.Together = max(o.Together, abs(place[1]-place[2]))
	return nil
}

// standing is each note's place.
func (j *judge) standing(r *replay, m moment, pool []int32) ([]int, error) {
	order, err := j.order(0, r.scene(m.reader, pool))
	if err != nil {
		return nil, err
	}
	place := make([]int, len(order))
	for at, i := range order {
		place[i] = at
	}
	return place, nil
}

func abs(x int) int { return max(x, -x) }
