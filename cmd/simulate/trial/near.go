package trial

import (
	"cmp"
	"math"
	"slices"

	"agora/ranker/feature"
)

// The stage colike and pair.interest, by the rules of package feeds (colike.go
// there); TestCoLikersAreThoseOfFeeds holds the two together.
const (
	nearNotes    = 14 * day // age of notes that are looked through
	mostLiked    = 128      // of the reader's likes that co-likers are looked for by
	mostColiked  = 2000     // notes that co-likers like, kept for one reader
	mostInterest = 2000     // authors whom co-likers like, kept for one reader
	strangeTrust = 0.02     // what a key weighs that the reader has no trust in
	likesDamp    = 10       // likes that everybody is taken to have given beside those seen
	likesHalf    = 72       // hours in which a co-liker's like fades to a half
	likersDamp   = 5        // likers that every note is taken to have beside those seen
)

// near is what co-likers of a reader like.
type near struct {
	likes    map[int32]float32 // by note: the stage colike
	interest map[int32]float32 // by author
}

// liking says which actions are taken for liking.
func liking(a feature.Action) bool {
	return a == feature.Like || a == feature.Repost || a == feature.Zap
}

func (n *noteState) liked(who int32) bool {
	return slices.ContainsFunc(n.acts, func(d deed) bool { return d.who == who && liking(d.what) })
}

// likers yields each key that liked a note, once, as of its first like.
func (r *replay) likers(note int32, yield func(who int32, at int64)) {
	author := r.log.Notes[note].Author
	r.turn++
	for _, d := range r.notes[note].acts {
		if d.who != author && liking(d.what) && r.stamp[d.who] != r.turn {
			r.stamp[d.who] = r.turn
			yield(d.who, d.at)
		}
	}
}

// age takes the likes of notes that have grown old out of what keys gave.
func (r *replay) age() {
	for ; r.young < len(r.recent) && r.log.Notes[r.recent[r.young]].At < r.now-nearNotes; r.young++ {
		r.likers(r.recent[r.young], func(who int32, _ int64) { r.given[who]-- })
	}
}

// newFades is what a like is worth by its age in whole hours.
func newFades() (f []float32) {
	for age := range nearNotes/hour + 1 {
		f = append(f, float32(math.Exp2(-float64(age)/likesHalf)))
	}
	return f
}

// alike is how much each key is like the reader.
func (r *replay) alike(reader int32, mine []float32) []float32 {
	out := make([]float32, len(r.log.Keys))
	past, seen := r.past[reader], 0
	for i := len(past) - 1; i >= 0 && seen < mostLiked; i-- {
		d := past[i]
		if d.what != feature.Emoji && !liking(d.what) {
			continue
		}
		seen++
		likes := 0
		for _, other := range r.notes[d.note].acts {
			if other.what == feature.Like {
				likes++
			}
		}
		weight := float32(math.Exp2(-float64(r.now-d.at)/(30*day)) / math.Sqrt(1+float64(likes)))
		r.likers(d.note, func(who int32, _ int64) {
			if who != reader {
				out[who] += weight
			}
		})
	}
	for who, w := range out {
		if w > 0 {
			w *= max(mine[who], strangeTrust*r.web.global[who])
			out[who] = w / float32(math.Sqrt(likesDamp+float64(r.given[who])))
		}
	}
	return out
}

// surroundings looks over the notes of the last days.
func (r *replay) surroundings(reader int32, mine []float32) *near {
	alike := r.alike(reader, mine)
	out := &near{likes: make(map[int32]float32), interest: make(map[int32]float32)}
	for _, n := range r.recent[r.young:] {
		if r.log.Notes[n].Author == reader {
			continue
		}
		sum, crowd := float32(0), float32(0)
		r.likers(n, func(who int32, at int64) {
			crowd++
			if w := alike[who]; w > 0 {
				sum += w * r.fades[min((r.now-at)/hour, int64(len(r.fades)-1))]
			}
		})
		if sum > 0 {
			out.likes[n] = sum / float32(math.Sqrt(float64(crowd+likersDamp)))
			out.interest[r.log.Notes[n].Author] += sum / (likersDamp + crowd)
		}
	}
	best(out.likes, mostColiked)
	best(out.interest, mostInterest)
	return out
}

// best leaves what is worth most.
func best(worth map[int32]float32, most int) {
	if len(worth) <= most {
		return
	}
	all := make([]int32, 0, len(worth))
	for k := range worth {
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b int32) int { return cmp.Or(cmp.Compare(worth[b], worth[a]), cmp.Compare(a, b)) })
	for _, k := range all[most:] {
		delete(worth, k)
	}
}
