package tally

import (
	"math"
	digits "math/bits"
	"slices"
	"sync/atomic"
)

// mostLens is how many actors of a note are looked at through a viewer's eyes:
// those whom the viewer trusts most, so that strangers, however many, displace
// nobody.
const mostLens = 64

// Lens is a viewer's eyes, for one goroutine at a time. Keys are named by their
// place, which Reader.Key and Reader.Place translate.
type Lens struct {
	AskTrust   func(actor uint32) float32 // 0 to 1; 0 for whom the viewer mutes
	AskFollows func(actor uint32) bool
	Self       uint32 // the viewer's own place; NoPlace: it has none

	// Known is what has been asked already, by place: UnknownTrust where nothing
	// has. Lenses of the same viewer may share it. Of places beyond it the
	// functions are asked each time.
	Known []uint32
	// Followed has a bit for each place whose key is followed; beyond it
	// AskFollows is asked.
	Followed []uint64

	seen   []uint32 // by act of the note that is looked at: the cell of the first act of a key, 0 for others
	picked []uint32 // the acts whose cells count
	steps  [steps]uint32
	coarse [steps / stride]uint32
}

// UnknownTrust is a cell of Lens.Known that has not been filled. A filled one
// has the bits of the trust, a float32 from 0 to 1, in which the upper two are
// free: one says that the viewer follows the key and trusts it, the other that
// it is the viewer.
const (
	UnknownTrust = math.MaxUint32
	cellFollows  = 1 << 31
	cellSelf     = 1 << 30
	cellTrust    = cellSelf - 1
)

// Trust is the viewer's trust in a key.
func (l *Lens) Trust(actor uint32) float32 {
	return math.Float32frombits(l.cell(actor) & cellTrust)
}

// known is small enough to be part of the loops over acts.
func (l *Lens) known(actor uint32) (cell uint32) {
	if int(actor) < len(l.Known) {
		return atomic.LoadUint32(&l.Known[actor])
	}
	return UnknownTrust
}

func (l *Lens) cell(actor uint32) uint32 {
	if cell := l.known(actor); cell != UnknownTrust {
		return cell
	}
	return l.ask(actor)
}

func (l *Lens) ask(actor uint32) uint32 {
	cell := uint32(0)
	if trust := l.AskTrust(actor); trust > 0 {
		cell = math.Float32bits(min(trust, 1))
		if l.Follows(actor) {
			cell |= cellFollows
		}
	}
	if actor == l.Self {
		cell |= cellSelf
	}
	if int(actor) < len(l.Known) {
		atomic.StoreUint32(&l.Known[actor], cell)
	}
	return cell
}

// Follows reports whether the viewer follows a key.
func (l *Lens) Follows(actor uint32) bool {
	if at := int(actor / 64); at < len(l.Followed) {
		return l.Followed[at]&(1<<(actor%64)) != 0
	}
	return l.AskFollows(actor)
}

// steps of trust are told apart when the most trusted are picked; so many
// strides of them are counted together, too.
const (
	steps  = 1024
	stride = 32
)

// step of the trust, from 0 to 1, in a cell.
func step(cell uint32) int {
	return int(math.Float32frombits(cell&cellTrust)*(steps-1)) & (steps - 1)
}

// bar says who is among the most trusted: whoever stands above it, and of those
// on it the first room.
type bar struct{ at, room int }

func (b *bar) lets(at int) bool {
	if at == b.at && b.room > 0 {
		b.room--
		return true
	}
	return at > b.at
}

// look fills seen, and finds the bar.
func (l *Lens) look(r *Reader, n Note, acts *rows) bar {
	l.seen = slices.Grow(l.seen[:0], acts.n)[:acts.n]
	crowded := acts.n > mostLens
	if crowded {
		clear(l.steps[:])
		clear(l.coarse[:])
	}
	last, sure := uint32(nobody), n.inner.latest <= r.now
	acts.actors(l.seen)
	for i, actor := range l.seen {
		if actor == last || actor == n.Author || !sure && acts.at(i) > r.now {
			l.seen[i] = 0
			continue
		}
		last = actor
		cell := l.known(last)
		if cell == UnknownTrust {
			cell = l.ask(last)
		}
		l.seen[i] = cell
		if crowded {
			if at := step(cell); at > 0 {
				l.steps[at]++
				l.coarse[at/stride]++
			}
		}
	}
	if !crowded {
		return bar{at: 0, room: mostLens}
	}
	return l.bar()
}

func (l *Lens) bar() bar {
	left := mostLens
	for group := len(l.coarse) - 1; group >= 0; group-- {
		if count := int(l.coarse[group]); group > 0 && count < left {
			left -= count
			continue
		}
		for at := group*stride + stride - 1; at > 0 && at >= group*stride; at-- {
			if int(l.steps[at]) >= left {
				return bar{at, left}
			}
			left -= int(l.steps[at])
		}
	}
	return bar{0, left}
}

// Look adds to a note's counts the part that depends on who looks. All acts are
// seen for whom the viewer follows; trust is summed over those whom the viewer
// trusts most.
func (r *Reader) Look(n Note, lens *Lens, c *Counts) {
	if len(n.inner.acts) == 0 {
		return
	}
	acts := n.inner.acts.rows()
	bar := lens.look(r, n, &acts)
	low := uint32(1) // cells below stand under the bar: half a step is more than rounding adds
	if bar.at > 0 {
		low = math.Float32bits((float32(bar.at) - 0.5) / (steps - 1))
	}
	for _, i := range lens.pick(low) {
		r.see(&acts, int(i), lens.seen[i], &bar, c)
	}
}

// pick is where the cells stand that are no lower. Few are, here and there, so
// it takes no branch for them that a processor would have to guess.
func (l *Lens) pick(low uint32) []uint32 {
	l.picked = slices.Grow(l.picked[:0], len(l.seen))[:len(l.seen)]
	n := 0
	for i, cell := range l.seen {
		l.picked[n] = uint32(i)
		one := 0
		if cell >= low {
			one = 1
		}
		n += one
	}
	return l.picked[:n]
}

// see adds what one key did, whose acts begin at from.
func (r *Reader) see(acts *rows, from int, cell uint32, bar *bar, c *Counts) {
	at := step(cell)
	if cell < cellSelf && at < bar.at {
		return
	}
	did := acts.done(from, r.now)
	if did == 0 {
		return
	}
	if cell&cellSelf != 0 {
		c.Acted = c.Acted || did.Any(raising)
	}
	trust := math.Float32frombits(cell & cellTrust)
	if bar.lets(at) {
		for done := uint16(did); done != 0; done &= done - 1 {
			c.Viewer[digits.TrailingZeros16(done)] += trust
		}
	}
	if cell&cellFollows != 0 {
		c.ProofTrust += trust
		for done := uint16(did); done != 0; done &= done - 1 {
			c.Proof[digits.TrailingZeros16(done)]++
		}
	}
}
