package feeds

import (
	"math"

	"agora/feeds/tally"
	"agora/ranker/feature"
)

// near is what is found around a viewer in one look over the notes.
type near struct {
	looked   int64        // when, Unix seconds; 0: never
	followed []tally.Spot // the newest notes of followed keys
	trusted  []tally.Spot // notes that followed keys acted upon, those with most of their trust first
	liked    []tally.Spot // notes that co-likers like, the best first
	likes    map[tally.Spot]coliked
	interest map[tally.Key]float32 // by author: how much co-likers like what it writes
	zaps     []deed                // the viewer's own, whose receipts are signed by others
}

// coliked is how much co-likers like a note: the sum of how much each is like
// the viewer, for each of the half-lives of their likes.
type coliked struct {
	sums  [len(halfLives)]float32
	crowd float32 // likers of the note
}

type likedAt struct {
	coliked
	spot tally.Spot
}

// halfLives, in hours, are those that the stage colike knows; the nearest to
// what a listing asks for is taken.
var halfLives = [...]float64{24, 72, 168, 720}

const (
	mostLiked    = 128  // of the viewer's likes that co-likers are looked for by
	mostColiked  = 2000 // notes that co-likers like, kept for one viewer
	mostInterest = 2000 // authors whom co-likers like, kept for one viewer
	strangeTrust = 0.02 // what a key weighs as a co-liker that the viewer has no trust in
	likesDamp    = 10   // likes that everybody is taken to have given beside those seen
)

// surroundings looks once over the notes of the last days.
func (f *Feeds) surroundings(r *tally.Reader, v *viewer, now int64) near {
	lens := v.lens(r)
	size, _ := r.Places()
	alike := v.alike(r, lens, size, now)
	f.spread(r, alike)
	follows := make([]bool, size)
	for k := range v.follows {
		if at := r.Place(k); at != tally.NoPlace {
			follows[at] = true
		}
	}
	followed, trusted, liked := newTop[tally.Spot](2*mostFollowed), newTop[tally.Spot](mostNear), newTop[likedAt](mostColiked)
	interest := make([]float32, size)
	var zaps []deed
	r.All(func(n tally.Note) bool {
		age := now - n.Created
		if age > int64(nearNotes.Seconds()) {
			return true
		}
		if follows[n.Author] {
			followed.add(-float32(age), n.ID, r.Spot(n))
		}
		proof, of := float32(0), coliked{}
		r.Actors(n, func(actor uint32, did tally.Deeds) bool {
			if follows[actor] && did.Done.Any(favours) {
				proof += lens.Trust(actor)
			}
			if actor == lens.Self && did.Done.Has(tally.Zap) {
				zaps = append(zaps, v.zapped(r, n)...)
			}
			if !did.Done.Any(tally.Liking) {
				return true
			}
			of.crowd++
			if w := alike[actor]; w > 0 {
				for i := range of.sums {
					of.sums[i] += w * f.fades.at(i, now-did.Liked)
				}
			}
			return true
		})
		if proof > 0 {
			trusted.add(proof*fade(age), n.ID, r.Spot(n))
		}
		if score := of.sums[1]; score > 0 && n.Author != lens.Self {
			liked.add(score/float32(math.Sqrt(float64(of.crowd)+5)), n.ID, likedAt{of, r.Spot(n)})
			interest[n.Author] += score / (5 + of.crowd)
		}
		return true
	})
	out := near{looked: now, zaps: zaps, followed: followed.first(2 * mostFollowed), trusted: trusted.first(mostNear)}
	out.likes = make(map[tally.Spot]coliked, mostColiked)
	for _, l := range liked.first(mostColiked) {
		out.likes[l.spot] = l.coliked
		if len(out.liked) < mostNear {
			out.liked = append(out.liked, l.spot)
		}
	}
	authors := newTop[struct{}](mostInterest)
	for at, x := range interest {
		if x > 0 {
			authors.add(x, r.Key(uint32(at)), struct{}{})
		}
	}
	out.interest = make(map[tally.Key]float32, mostInterest)
	for _, p := range authors.best() {
		out.interest[p.id] = p.value
	}
	return out
}

// favours are the actions that speak for a note.
const favours = tally.AllActions &^ (1<<tally.Dislike | 1<<tally.Report)

// zapped is the viewer's zaps of a note.
func (v *viewer) zapped(r *tally.Reader, n tally.Note) (out []deed) {
	r.Acts(n, func(actor uint32, action tally.Action, at int64) bool {
		if action == tally.Zap && r.Key(actor) == v.key {
			out = append(out, deed{note: n.ID, author: r.Key(n.Author), action: feature.Zap, at: at})
		}
		return true
	})
	return out
}

// spread divides how much a key is like the viewer by the square root of how
// much the key likes at all: who likes everything says little.
func (f *Feeds) spread(r *tally.Reader, alike []float32) {
	f.topMu.RLock()
	given := f.given
	f.topMu.RUnlock()
	for at, w := range alike {
		if w > 0 {
			alike[at] = w / float32(math.Sqrt(likesDamp+float64(given[r.Key(uint32(at))])))
		}
	}
}

// countLikes is how many notes of the last days each key liked.
func countLikes(r *tally.Reader, now int64) map[tally.Key]uint32 {
	size, _ := r.Places()
	given := make([]uint32, size)
	r.All(func(n tally.Note) bool {
		if now-n.Created <= int64(nearNotes.Seconds()) {
			r.Actors(n, func(actor uint32, did tally.Deeds) bool {
				if did.Done.Any(tally.Liking) {
					given[actor]++
				}
				return true
			})
		}
		return true
	})
	out := map[tally.Key]uint32{}
	for at, n := range given {
		if n > 0 {
			out[r.Key(uint32(at))] = n
		}
	}
	return out
}

// fades is what a like is worth by its age in whole hours, for each half-life.
type fades [len(halfLives)][]float32

func newFades() (f fades) {
	for i, half := range halfLives {
		for hour := range int(nearNotes.Hours()) + 1 {
			f[i] = append(f[i], float32(math.Exp2(-float64(hour)/half)))
		}
	}
	return f
}

// at takes ages in seconds; a like that lies ahead is as of now.
func (f *fades) at(i int, age int64) float32 {
	return f[i][min(max(age, 0)/3600, int64(len(f[i])-1))]
}

// fade halves what a note is worth every two days.
func fade(age int64) float32 { return float32(math.Exp2(-float64(age) / (2 * 86400))) }

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
		r.Actors(n, func(actor uint32, did tally.Deeds) bool {
			if actor != lens.Self && did.Done.Any(tally.Liking) {
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
func (n *near) colike(at tally.Spot, halfLife, popularity float64) float32 {
	of, ok := n.likes[at]
	if !ok {
		return 0
	}
	nearest := 0
	for i, hours := range halfLives {
		if math.Abs(math.Log(hours/halfLife)) < math.Abs(math.Log(halfLives[nearest]/halfLife)) {
			nearest = i
		}
	}
	return float32(float64(of.sums[nearest]) / math.Pow(5+float64(of.crowd), popularity))
}
