package feeds

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"agora/feeds/tally"
	"agora/ranker/feature"
)

// The factorisation that Community Notes does, with its settings
// (communitynotes, matrix_factorization.py):
//
//	r = mu + i_u + i_n + f_u f_n
//
// A rating is 1 for a like, zap, repost or emoji, 0 for a dislike or report, and
// 0 for some keys that follow the author, were active and did nothing: without
// them nearly every rating is 1. Only keys with some trust rate.
const (
	interceptPenalty = 0.15
	factorPenalty    = 0.03
	leastRatings     = 5       // of a note, and of a key
	mostRatings      = 400_000 // the latest notes count
	impliedShare     = 1.0     // implied zeros per rating, at most
	rounds           = 30
	bridgeAge        = 30 * 86400
)

// bridging is a finished factorisation.
type bridging struct {
	notes  map[tally.Key]bridged
	raters map[tally.Key]float32 // f_u
	At     time.Time
	Used   int // ratings
}

type bridged struct{ intercept, factor, lower float32 }

func (b *bridging) put(id tally.Key, to *feature.Stages) {
	n := b.notes[id]
	to.BridgeIntercept, to.BridgeFactor, to.BridgeLower = n.intercept, n.factor, n.lower
}

// rating is one cell of the matrix, by places in the lists of keys and notes.
type rating struct {
	user, note int
	value      float64
}

// Factorise does the stage bridge's work for all notes. Run does it again and
// again.
func (f *Feeds) Factorise(now time.Time) {
	began := time.Now()
	m := f.ratings(now)
	b := m.solve()
	b.At = now
	f.metrics.seconds.WithLabelValues("bridge").Observe(time.Since(began).Seconds())
	f.topMu.Lock()
	defer f.topMu.Unlock()
	f.bridge = b
}

// matrix is the ratings, and whose they are.
type matrix struct {
	ratings []rating
	users   []tally.Key
	notes   []tally.Key
}

type collector struct {
	m      matrix
	user   map[tally.Key]int
	author []tally.Key // by note
	rated  []map[int]bool
}

// ratings reads who liked and disliked what.
func (f *Feeds) ratings(now time.Time) matrix {
	c := &collector{user: map[tally.Key]int{}}
	f.cfg.Tally.Each(now.Unix(), func(r *tally.Reader, n tally.Note) bool {
		if now.Unix()-n.Created < bridgeAge {
			c.note(r, n)
		}
		return len(c.m.ratings) < mostRatings
	})
	c.imply(f.cfg.Graph)
	return c.m.dense()
}

// note takes the ratings of one note in; a key that did both is taken at its
// worst.
func (c *collector) note(r *tally.Reader, n tally.Note) {
	values := map[uint32]float64{}
	r.Acts(n, func(actor uint32, action tally.Action, _ int64) bool {
		if r.Weight(actor) == 0 {
			return true
		}
		switch action {
		case tally.Like, tally.Emoji, tally.Repost, tally.Zap:
			if _, ok := values[actor]; !ok {
				values[actor] = 1
			}
		case tally.Dislike, tally.Report:
			values[actor] = 0
		}
		return true
	})
	if len(values) < leastRatings {
		return
	}
	at := len(c.m.notes)
	c.m.notes = append(c.m.notes, n.ID)
	c.author = append(c.author, r.Key(n.Author))
	rated := map[int]bool{}
	for actor, value := range values {
		k := r.Key(actor)
		u, ok := c.user[k]
		if !ok {
			u = len(c.m.users)
			c.user[k] = u
			c.m.users = append(c.m.users, k)
		}
		rated[u] = true
		c.m.ratings = append(c.m.ratings, rating{u, at, value})
	}
	c.rated = append(c.rated, rated)
}

// imply adds zeros: for each note some of the keys that follow its author,
// rated other notes and left this one alone, as many as rated it. Which ones is
// decided by the note's id.
func (c *collector) imply(g Graph) {
	readers := map[tally.Key][]int{} // by author
	for u, k := range c.m.users {
		for follows := range g.Follows(hexKey(k)) {
			if a, ok := key(follows); ok {
				readers[a] = append(readers[a], u)
			}
		}
	}
	for at, id := range c.m.notes {
		from := readers[c.author[at]]
		want := int(impliedShare * float64(len(c.rated[at])))
		r := rand.New(rand.NewPCG(binary.BigEndian.Uint64(id[:]), 1))
		for tries := 0; tries < 2*want && len(from) > 0 && want > 0; tries++ {
			u := from[r.IntN(len(from))]
			if !c.rated[at][u] {
				c.rated[at][u] = true
				want--
				c.m.ratings = append(c.m.ratings, rating{u, at, 0})
			}
		}
	}
}

// dense leaves out keys with too few ratings, and puts what is left in an order
// that does not depend on the order of reading.
func (m *matrix) dense() matrix {
	given := make([]int, len(m.users))
	for _, r := range m.ratings {
		given[r.user]++
	}
	m.ratings = slices.DeleteFunc(m.ratings, func(r rating) bool { return given[r.user] < leastRatings })
	slices.SortFunc(m.ratings, func(a, b rating) int {
		if c := slices.Compare(m.notes[a.note][:], m.notes[b.note][:]); c != 0 {
			return c
		}
		return slices.Compare(m.users[a.user][:], m.users[b.user][:])
	})
	return *m
}

// latent is one key's or note's part of the model.
type latent struct{ intercept, factor float64 }

// solve alternates between keys and notes; each step is a least squares of two
// unknowns for each, exact.
func (m *matrix) solve() *bridging {
	users, notes := make([]latent, len(m.users)), make([]latent, len(m.notes))
	for i, k := range m.users { // a beginning that depends on nothing but the key
		users[i].factor = float64(int64(binary.BigEndian.Uint64(k[8:])))/math.MaxInt64*0.1 + 0.01
	}
	mu := 0.0
	for _, r := range m.ratings {
		mu += r.value / float64(max(len(m.ratings), 1))
	}
	for range rounds {
		m.step(notes, users, mu, func(r rating) (int, int) { return r.note, r.user })
		m.step(users, notes, mu, func(r rating) (int, int) { return r.user, r.note })
	}
	gram := m.step(notes, users, mu, func(r rating) (int, int) { return r.note, r.user })
	return m.finish(users, notes, gram, mu)
}

// normal is the 2 by 2 normal equations of one side.
type normal struct{ one, factor, square, sum, cross float64 }

// step solves one side with the other held.
func (m *matrix) step(side, other []latent, mu float64, of func(rating) (int, int)) []normal {
	sums := make([]normal, len(side))
	for _, r := range m.ratings {
		at, by := of(r)
		o, n := other[by], &sums[at]
		rest := r.value - mu - o.intercept
		n.one++
		n.factor += o.factor
		n.square += o.factor * o.factor
		n.sum += rest
		n.cross += rest * o.factor
	}
	for i, n := range sums {
		a, d := n.one+interceptPenalty, n.square+factorPenalty
		det := a*d - n.factor*n.factor
		side[i] = latent{(n.sum*d - n.factor*n.cross) / det, (a*n.cross - n.factor*n.sum) / det}
	}
	return sums
}

// finish takes the bounds of the intercepts from what the model leaves
// unexplained.
func (m *matrix) finish(users, notes []latent, gram []normal, mu float64) *bridging {
	b := &bridging{notes: make(map[tally.Key]bridged, len(notes)), raters: make(map[tally.Key]float32, len(users)), Used: len(m.ratings)}
	wrong := 0.0
	for _, r := range m.ratings {
		u, n := users[r.user], notes[r.note]
		e := r.value - mu - u.intercept - n.intercept - u.factor*n.factor
		wrong += e * e
	}
	variance := wrong / float64(max(len(m.ratings), 1))
	for i, n := range notes {
		g := gram[i]
		if g.one == 0 {
			continue
		}
		a, d := g.one+interceptPenalty, g.square+factorPenalty
		deviation := math.Sqrt(variance * d / (a*d - g.factor*g.factor))
		b.notes[m.notes[i]] = bridged{float32(n.intercept), float32(n.factor), float32(n.intercept - 1.96*deviation)}
	}
	for i, u := range users {
		b.raters[m.users[i]] = float32(u.factor)
	}
	return b
}
