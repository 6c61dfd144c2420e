package tally

import (
	"encoding/binary"
	"slices"
)

// removal is an event that is no longer held.
type removal struct {
	event, author Key
	kind          int
}

// drop subtracts an event that went. It reports whether anything changed.
func (b *book) drop(r removal) bool {
	before := b.change
	if isNote(r.kind) {
		if at, ok := b.notes.find(r.event); ok && b.notes.at(at).live() {
			b.detach(at)
			b.empty++
			b.places = append(b.places, b.notes.refer(at))
			b.change++
		}
	}
	if r.kind == kindZap {
		b.dropZap(r.event)
	} else if actor, ok := b.actors.find(r.author); ok && acts(r.kind) {
		b.dropActs(actor, r)
	}
	if b.change != before {
		b.purged = b.change
		return true
	}
	return false
}

// dropActs finds an actor's acts by the two bits that each leaves at a note.
func (b *book) dropActs(actor uint32, r removal) {
	b.actors.at(actor).refs++ // it must not go while its acts do
	defer b.actors.release(actor)
	if r.kind == kindMutes || r.kind == kindReport {
		b.dropAgainst(actor, r.event)
		if held, ok := b.lists[actor]; ok && held.event == r.event {
			delete(b.lists, actor)
			b.actors.release(actor)
		}
		if r.kind == kindMutes {
			return
		}
	}
	want := bits(actor)
	for at, mark := range b.notes.marks[:b.notes.size] {
		if mark&want == want {
			b.dropAct(uint32(at), actor, r.event)
		}
	}
}

// dropZap finds a receipt, whose author is not who paid.
func (b *book) dropZap(event Key) {
	want := binary.BigEndian.Uint64(event[:])
	for at := range b.notes.size {
		n := b.notes.at(at)
		if n.extra == nil {
			continue
		}
		for _, z := range slices.Clone(n.extra.zaps) {
			if z.event == want {
				b.dropAct(at, z.actor, event)
			}
		}
	}
}

func (b *book) dropAct(at, actor uint32, event Key) {
	n := b.notes.at(at)
	r := n.acts.rows()
	from, to := r.group(actor)
	for i := to - 1; i >= from; i-- {
		a := r.act(i)
		if !a.from(event) {
			continue
		}
		b.share(n, actor, func() { n.acts = n.acts.remove(i) })
		if a.action() == Zap {
			x := n.more()
			x.zaps = slices.DeleteFunc(x.zaps, func(z zap) bool { return z.actor == actor && z.mark == a.mark })
		}
		b.acts--
		b.change++
		b.taken[at%uint32(len(b.taken))]++
		b.actors.release(actor)
		if n.acts.len() == crowd/2 {
			b.settle(at)
		}
	}
}

// dropAgainst takes back what an event of an actor did against authors.
func (b *book) dropAgainst(actor uint32, event Key) {
	for of, acts := range b.actors.about {
		r := acts.rows()
		from, to := r.group(actor)
		for i := to - 1; i >= from; i-- {
			if a := r.act(i); !a.from(event) {
				continue
			}
			acts = acts.remove(i)
			b.acts--
			b.change++
			b.actors.release(actor)
			if len(acts) == 0 {
				delete(b.actors.about, of)
			} else {
				b.actors.about[of] = acts
			}
			b.actors.release(of)
		}
	}
}

// remove gives a place up with all that was done there.
func (b *book) remove(at uint32) {
	n := b.notes.at(at)
	if n.live() {
		b.detach(at)
		b.empty++
	}
	b.empty--
	for a := range n.acts.all {
		b.actors.release(a.actor)
	}
	b.acts -= n.acts.len()
	if n.extra != nil && n.extra.address != nil {
		delete(b.notes.named, *n.extra.address)
	}
	b.notes.drop(at)
	b.change++
}

// tidy keeps the bounds: notes before since go, then the oldest above most, and
// the places made first above places.
func (b *book) tidy(since uint32, most, places, keys int) {
	b.actors.aging = true
	defer func() { b.actors.aging = false }()
	var ages []uint32
	for at := range b.notes.size {
		n := b.notes.at(at)
		switch {
		case !n.live():
		case n.created < since:
			b.remove(at)
		case b.live > most:
			ages = append(ages, n.created)
		}
	}
	if b.live > most {
		slices.Sort(ages)
		b.dropOlder(ages[len(ages)-most])
	}
	for len(b.places) > 0 && (b.empty > places || len(b.places) > 2*places+1024) {
		r := b.places[0]
		b.places = b.places[1:]
		if n, ok := b.notes.follow(r); ok && !n.live() {
			b.remove(r.place - 1)
		}
	}
	if b.actors.held() > keys {
		b.actors.aging = false
		for n := range uint32(b.actors.size) {
			if *b.actors.name(n) != (Key{}) {
				b.actors.forget(n)
			}
		}
	}
}

func (b *book) dropOlder(than uint32) {
	for at := range b.notes.size {
		if n := b.notes.at(at); n.live() && n.created < than {
			b.remove(at)
		}
	}
}
