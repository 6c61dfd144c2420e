package tally

import (
	"math"
	"sync/atomic"
)

// mostLens is how many actors of a note are looked at through a viewer's eyes:
// those whom the viewer trusts most, so that strangers, however many, displace
// nobody.
const mostLens = 64

// Lens is a viewer's eyes. Keys are named by their place, which Reader.Key and
// Reader.Place translate.
type Lens struct {
	AskTrust   func(actor uint32) float32 // 0 to 1; 0 for whom the viewer mutes
	AskFollows func(actor uint32) bool
	Self       uint32 // the viewer's own place; NoPlace: it has none

	// Trusts and Followed are what is known already, by place, so that nobody
	// needs to be asked: bits of a float32, UnknownTrust where there is none yet,
	// and a bit for each key that is followed. Of places beyond them the
	// functions are asked.
	Trusts   []uint32
	Followed []uint64
}

// UnknownTrust is a cell of Lens.Trusts that has not been filled.
const UnknownTrust = math.MaxUint32

// Trust is the viewer's trust in a key.
func (l *Lens) Trust(actor uint32) float32 {
	if bits := l.known(actor); bits != UnknownTrust {
		return math.Float32frombits(bits)
	}
	return l.AskTrust(actor)
}

// known is small enough to be part of the loops over acts.
func (l *Lens) known(actor uint32) (bits uint32) {
	if int(actor) < len(l.Trusts) {
		return atomic.LoadUint32(&l.Trusts[actor])
	}
	return UnknownTrust
}

// Follows reports whether the viewer follows a key.
func (l *Lens) Follows(actor uint32) bool {
	if at := int(actor / 64); at < len(l.Followed) {
		return l.Followed[at]&(1<<(actor%64)) != 0
	}
	return l.AskFollows(actor)
}

// steps of trust that are told apart when the most trusted are picked.
const steps = 1024

// step of a trust from 0 to 1.
func step(trust float32) int { return int(trust*(steps-1)) & (steps - 1) }

// bar says who is among the most trusted: whoever stands above it, and of those
// on it the first room.
type bar struct{ at, room int }

func (b *bar) lets(trust float32) bool {
	at := step(trust)
	if at == b.at && b.room > 0 {
		b.room--
		return true
	}
	return at > b.at
}

// barOf finds the bar of a note.
func (r *Reader) barOf(n Note, lens *Lens) bar {
	acts := n.inner.acts
	if len(acts) <= mostLens {
		return bar{at: 0, room: mostLens}
	}
	var count [steps]uint32
	last, sure := uint32(nobody), n.inner.latest <= r.now
	for _, a := range acts {
		if a.actor == last || a.actor == n.Author || !sure && a.at > r.now {
			continue
		}
		last = a.actor
		bits := lens.known(last)
		if bits == UnknownTrust {
			bits = math.Float32bits(lens.AskTrust(last))
		}
		count[step(math.Float32frombits(bits))]++
	}
	left := mostLens
	for at := steps - 1; at > 0; at-- {
		if int(count[at]) >= left {
			return bar{at, left}
		}
		left -= int(count[at])
	}
	return bar{0, left}
}

// Look adds to a note's counts the part that depends on who looks. All acts are seen for whom the
// viewer follows; trust is summed over those whom the viewer trusts most.
func (r *Reader) Look(n Note, lens *Lens, c *Counts) {
	acts := n.inner.acts
	bar := r.barOf(n, lens)
	for i := 0; i < len(acts); {
		j := i + 1
		for j < len(acts) && acts[j].actor == acts[i].actor {
			j++
		}
		actor, group := acts[i].actor, acts[i:j]
		i = j
		bits := lens.known(actor)
		if bits == UnknownTrust {
			bits = math.Float32bits(lens.AskTrust(actor))
		}
		trust := math.Float32frombits(bits)
		follows := trust > 0 && lens.Follows(actor)
		if actor != lens.Self && !follows && (trust == 0 || step(trust) < bar.at) || actor == n.Author {
			continue
		}
		sh := shareOf(group, r.now)
		if actor == lens.Self {
			c.Acted = c.Acted || sh.first != math.MaxUint32
		}
		if sh.done == 0 {
			continue
		}
		if bar.lets(trust) {
			for action := range Actions {
				c.Viewer[action] += trust * float32(sh.done>>action&1)
			}
		}
		if follows {
			c.ProofTrust += trust
			for action := range Actions {
				c.Proof[action] += sh.done >> action & 1
			}
		}
	}
}
