package feeds

import (
	"cmp"
	"math"
	"slices"

	"agora/feeds/tally"
	"agora/ranker/feature"
)

// near is what is found around a viewer in one look over the notes.
type near struct {
	trusted  []tally.Key // notes that followed keys acted upon, those with most of their trust first
	liked    []tally.Key // notes that co-likers like, the best first
	likes    map[tally.Key][]colike
	interest map[tally.Key]float32 // by author: how much co-likers like what it writes
}

// colike is one co-liker's like of a note.
type colike struct {
	weight float32 // how much the co-liker is like the viewer
	age    float32 // hours since the like
	crowd  float32 // likers of the note
}

const (
	mostLiked    = 128  // of the viewer's likes that co-likers are looked for by
	mostColiked  = 4000 // notes that co-likers like, kept for one viewer
	strangeTrust = 0.02 // what a key weighs as a co-liker that the viewer has no trust in
	likesDamp    = 10   // likes that everybody is taken to have given beside those seen
)

// surroundings looks once over the notes of the last days.
func (f *Feeds) surroundings(r *tally.Reader, v *viewer, now int64) near {
	lens := v.lens(r)
	size, _ := r.Places()
	alike := v.alike(r, lens, size, now)
	spread(r, alike, now)
	follows := make([]bool, size)
	for k := range v.follows {
		if at := r.Place(k); at != tally.NoPlace {
			follows[at] = true
		}
	}
	out := near{likes: map[tally.Key][]colike{}, interest: map[tally.Key]float32{}}
	var trusted, liked []worth
	r.All(func(n tally.Note) bool {
		if now-n.Created > int64(nearNotes.Seconds()) {
			return true
		}
		proof, score, crowd := float32(0), float32(0), float32(0)
		var of []colike
		last := uint32(tally.NoPlace)
		r.Acts(n, func(actor uint32, action tally.Action, at int64) bool {
			if follows[actor] && actor != last && action != tally.Dislike && action != tally.Report {
				proof += lens.Trust(actor)
			}
			last = actor
			if actor == lens.Self && action == tally.Zap {
				v.history = append(v.history, deed{note: n.ID, author: r.Key(n.Author), action: feature.Zap, at: at})
			}
			if !likes(action) {
				return true
			}
			crowd++
			if w := alike[actor]; w > 0 {
				age := float32(now-at) / 3600
				of = append(of, colike{weight: w, age: age})
				score += w * float32(math.Exp2(-float64(age)/72))
			}
			return true
		})
		if proof > 0 {
			trusted = append(trusted, worth{n.ID, proof * fade(now-n.Created)})
		}
		if score > 0 && n.Author != lens.Self {
			for i := range of {
				of[i].crowd = crowd
			}
			out.likes[n.ID] = of
			liked = append(liked, worth{n.ID, score / float32(math.Sqrt(float64(crowd)+5))})
			out.interest[r.Key(n.Author)] += score / (5 + crowd)
		}
		return true
	})
	out.trusted, out.liked = best(trusted, mostNear), best(liked, mostColiked)
	if len(out.likes) > mostColiked {
		kept := make(map[tally.Key][]colike, mostColiked)
		for _, id := range out.liked {
			kept[id] = out.likes[id]
		}
		out.likes = kept
	}
	out.liked = out.liked[:min(len(out.liked), mostNear)]
	return out
}

// likes says which actions are taken for liking.
func likes(a tally.Action) bool { return a == tally.Like || a == tally.Zap || a == tally.Repost }

// spread divides how much a key is like the viewer by the square root of how
// much the key likes at all: who likes everything says little.
func spread(r *tally.Reader, alike []float32, now int64) {
	given := make([]uint32, len(alike))
	r.All(func(n tally.Note) bool {
		if now-n.Created <= int64(nearNotes.Seconds()) {
			r.Acts(n, func(actor uint32, action tally.Action, _ int64) bool {
				if likes(action) {
					given[actor]++
				}
				return true
			})
		}
		return true
	})
	for at, w := range alike {
		if w > 0 {
			alike[at] = w / float32(math.Sqrt(likesDamp+float64(given[at])))
		}
	}
}

// fade halves what a note is worth every two days.
func fade(age int64) float32 { return float32(math.Exp2(-float64(age) / (2 * 86400))) }

type worth struct {
	id    tally.Key
	value float32
}

// best are the ids worth most, in order.
func best(list []worth, most int) []tally.Key {
	slices.SortFunc(list, func(a, b worth) int {
		return cmp.Or(cmp.Compare(b.value, a.value), slices.Compare(a.id[:], b.id[:]))
	})
	out := make([]tally.Key, 0, min(most, len(list)))
	for _, w := range list[:min(most, len(list))] {
		out = append(out, w.id)
	}
	return out
}

// alike is how much each key is like the viewer, by place: the notes that both
// like, the recent and the seldom liked more, over the square root of how much
// the key likes at all, times the viewer's trust in it. Keys that nobody whom
// the viewer trusts vouches for weigh next to nothing, however many they are.
func (v *viewer) alike(r *tally.Reader, lens *tally.Lens, size int, now int64) []float32 {
	shared := make([]float32, size)
	seen := 0
	for _, d := range v.history {
		if d.action != feature.Like && d.action != feature.Emoji && d.action != feature.Repost && d.action != feature.Zap {
			continue
		}
		n, ok := r.Find(d.note)
		if !ok {
			continue
		}
		if seen++; seen > mostLiked {
			break
		}
		c := r.Counts(n, nil)
		weight := math.Exp2(-float64(now-d.at)/(30*86400)) / math.Sqrt(1+float64(c.Actors[tally.Like]))
		r.Acts(n, func(actor uint32, action tally.Action, _ int64) bool {
			if actor != lens.Self && likes(action) {
				shared[actor] += float32(weight)
			}
			return true
		})
	}
	for at, s := range shared {
		if s > 0 {
			trust := max(lens.Trust(uint32(at)), strangeTrust*r.Weight(uint32(at)))
			shared[at] = s * trust
		}
	}
	return shared
}

// colike is the stage's score of a note.
func (n *near) colike(id tally.Key, halfLife, popularity float64) float32 {
	s, crowd := 0.0, 0.0
	for _, c := range n.likes[id] {
		s += float64(c.weight) * math.Exp2(-float64(c.age)/halfLife)
		crowd = float64(c.crowd)
	}
	if s == 0 {
		return 0
	}
	return float32(s / math.Pow(5+crowd, popularity))
}
