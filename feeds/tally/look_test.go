package tally

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// plainLook is Look as it is promised: what each key did together, of the keys
// that are trusted at all the 64 most trusted, by steps of trust, and among
// equals the first.
func (r *Reader) plainLook(n Note, lens *Lens, c *Counts) {
	type person struct {
		trust   float32
		follows bool
		self    bool
		share   share
	}
	var all []person
	acts := slices.Collect(n.inner.acts.all)
	for from, to := 0, 0; from < len(acts); from = to {
		who := acts[from].actor
		share := share{first: math.MaxUint32}
		for to = from; to < len(acts) && acts[to].actor == who; to++ {
			if a := acts[to]; a.at <= r.now {
				share.done |= 1 << a.action()
				if a.action().positive() {
					share.first = min(share.first, a.at)
				}
			}
		}
		if who == n.Author {
			continue
		}
		p := person{trust: lens.AskTrust(who), self: who == lens.Self, share: share}
		p.follows = p.trust > 0 && lens.AskFollows(who)
		if p.share.done != 0 {
			all = append(all, p)
		}
	}
	level := func(p person) int { return int(p.trust * 1023) }
	for i, p := range all {
		above := 0
		for j, o := range all {
			if o.trust > 0 && (level(o) > level(p) || level(o) == level(p) && j < i) {
				above++
			}
		}
		for action := range Actions {
			if p.share.done>>action&1 == 0 {
				continue
			}
			if above < 64 {
				c.Viewer[action] += p.trust
			}
			if p.follows {
				c.Proof[action]++
			}
		}
		if p.follows {
			c.ProofTrust += p.trust
		}
		c.Acted = c.Acted || p.self && p.share.first != math.MaxUint32
	}
}

// TestLooksAreThoseOfAPlainModel looks at crowds of every size through many
// eyes, now and as of before, with and without a table of what is known.
func TestLooksAreThoseOfAPlainModel(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 7))
		b, note := newBook(), Key{1}
		b.put(&statement{event: note, author: keyOf(2, 0), actor: keyOf(2, 0), created: 900, note: &noted{kind: 1}})
		for n := range []int{3, 64, 65, 70, 300, 900}[seed%6] {
			who := keyOf(2, rnd.IntN(500))
			b.put(&statement{event: keyOf(9, n), author: who, actor: who, created: uint32(1000 + rnd.IntN(1000)),
				deeds: []deed{{action: Action(rnd.IntN(int(Actions))), on: target{id: note}}}})
		}
		trusts, follows := make([]float32, b.actors.size), make([]bool, b.actors.size)
		for i := range trusts {
			switch rnd.IntN(4) {
			case 0:
				trusts[i] = float32(rnd.IntN(40)) / 1023 // whole steps, and the lowest ones
			case 1:
				trusts[i] = rnd.Float32() / 1000
			case 2:
				trusts[i] = float32(math.Pow(rnd.Float64(), float64(1+seed%8)))
			}
			follows[i] = rnd.IntN(6) == 0
		}
		self := rnd.IntN(len(trusts))
		trusts[self] = 1 // as of everybody in their own eyes
		lens := &Lens{Self: uint32(self),
			AskTrust:   func(a uint32) float32 { return trusts[a] },
			AskFollows: func(a uint32) bool { return follows[a] }}
		if seed%3 > 0 {
			lens.Known = make([]uint32, len(trusts)*int(seed%3)/2)
			for i := range lens.Known {
				lens.Known[i] = UnknownTrust
			}
		}
		for _, now := range []uint32{5000, 1500, 1100, 5000} {
			r := &Reader{b, now}
			shown, _ := r.Find(note)
			var got, want Counts
			r.Look(shown, lens, &got)
			r.plainLook(shown, lens, &want)
			if got != want {
				t.Fatalf("seed %d, as of %d:\ngot  %+v\nwant %+v", seed, now, got, want)
			}
		}
	}
}

// TestASpotNamesOneNoteAndDiesWithIt lets notes go, others come to their
// places, and the whole book be made anew.
func TestASpotNamesOneNoteAndDiesWithIt(t *testing.T) {
	all := &Tally{book: newBook()}
	put := func(n int) {
		all.book.put(&statement{event: keyOf(1, n), author: keyOf(2, n), actor: keyOf(2, n), created: 900, note: &noted{kind: 1}})
	}
	at := func(s Spot) (id Key, ok bool) {
		all.Read(1000, func(r *Reader) {
			var n Note
			n, ok = r.At(s)
			id = n.ID
		})
		return id, ok
	}
	var spots []Spot
	for n := range 50 {
		put(n)
		all.Read(1000, func(r *Reader) {
			shown, _ := r.Find(keyOf(1, n))
			spots = append(spots, r.Spot(shown))
		})
	}
	for n := 0; n < 50; n += 2 {
		all.book.drop(removal{event: keyOf(1, n), author: keyOf(2, n), kind: 1})
		put(100 + n)
	}
	for n, s := range spots {
		if id, ok := at(s); ok != (n%2 == 1) || ok && id != keyOf(1, n) {
			t.Errorf("spot %d names %x, %v", n, id[:4], ok)
		}
	}
	all.Read(1000, func(r *Reader) {
		if _, ok := r.At(Spot{}); ok {
			t.Error("no spot is a note")
		}
	})
	_, before := placesOf(all)
	all.forgetAll()
	for _, more := range []int{0, 50} {
		for n := range more {
			put(200 + n)
		}
		for n, s := range spots {
			if id, ok := at(s); ok {
				t.Errorf("spot %d of the book before names %x", n, id[:4])
			}
		}
	}
	if _, after := placesOf(all); after == before {
		t.Error("the keys have other places, and nobody is told")
	}
}

func placesOf(t *Tally) (size int, reused uint64) {
	t.Read(1000, func(r *Reader) { size, reused = r.Places() })
	return size, reused
}
