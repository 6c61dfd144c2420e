package tally

import (
	"cmp"
	"encoding/binary"
	"slices"
)

// reader takes a body apart; after a bad read all others give zeros.
type reader struct {
	rest []byte
	bad  bool
	acts []act // of the list read last
}

func (r *reader) take(n int) []byte {
	if n > len(r.rest) {
		r.bad, r.rest = true, nil
		return nil
	}
	out := r.rest[:n]
	r.rest = r.rest[n:]
	return out
}

func (r *reader) key() (k Key) { copy(k[:], r.take(len(k))); return k }

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// count is a number of items which take at least size bytes each.
func (r *reader) count(size int) int {
	n := int(r.u32())
	if n > len(r.rest)/size {
		r.bad, r.rest = true, nil
		return 0
	}
	return n
}

// below is a place in a table of n.
func (r *reader) below(n int) uint32 {
	v := r.u32()
	if int64(v) >= int64(n) {
		r.bad, r.rest = true, nil
		return 0
	}
	return v
}

func (r *reader) ref() ref { return ref{r.u32(), r.u32()} }

func (r *reader) act(keys int) act { return act{r.below(keys), r.u32(), r.u32()} }

func (r *reader) list(keys int) list {
	r.acts = r.acts[:0]
	for range r.count(12) {
		r.acts = append(r.acts, r.act(keys))
	}
	return pack(r.acts)
}

// decode reads a book, and derives all that encode leaves out: indexes, chains,
// sums, how often a key is named.
func decode(body []byte) (*state, error) {
	r, b := &reader{rest: body}, newBook()
	b.change, b.purged = r.u64(), r.u64()
	keys := r.count(36)
	b.actors.grow(keys)
	for n := range uint32(keys) {
		*b.actors.name(n), b.actors.at(n).first = r.key(), r.u32()
	}
	r.notes(b)
	r.about(b)
	places := b.places[:0]
	for range r.count(8) {
		if at := r.ref(); at.place > 0 && at.place <= b.notes.size {
			places = append(places, at)
		}
	}
	b.places = places
	s := &state{book: b}
	for range r.count(176) {
		s.waiting = append(s.waiting, r.receipt())
	}
	if r.bad || len(r.rest) > 0 {
		return nil, errSnapshot
	}
	return s, b.derive()
}

// state is what a snapshot holds.
type state struct {
	book    *book
	waiting []*receipt
}

func (r *reader) receipt() *receipt {
	z := &receipt{statement: statement{event: r.key(), author: r.key(), actor: r.key()}, recipient: r.key()}
	z.created, z.msat = r.u32(), r.u64()
	z.deeds = []deed{{action: Zap, on: target{id: r.key(), address: r.u32() == 1}}}
	return z
}

func (r *reader) notes(b *book) {
	keys, size := b.actors.size, r.count(36)
	for at := range size {
		if at>>pageBits == len(b.notes.pages) {
			b.notes.pages = append(b.notes.pages, make([]note, 1<<pageBits))
			b.notes.marks = append(b.notes.marks, make([]uint64, 1<<pageBits)...)
		}
		n := b.notes.at(uint32(at))
		n.id, n.gen, n.author = r.key(), r.u32(), nobody
		if n.id == (Key{}) {
			continue
		}
		r.note(b, uint32(at), n, keys)
	}
	b.notes.size = uint32(size)
}

func (r *reader) note(b *book, at uint32, n *note, keys int) {
	if n.author = r.u32(); n.author != nobody && int64(n.author) >= int64(keys) {
		r.bad = true
	}
	n.created, n.expires, n.latest, n.kind = r.u32(), r.u32(), r.u32(), uint16(r.u32())
	sketch := r.u64()
	if n.live() {
		b.twins.add(at, n, sketch)
	}
	n.parent, n.root = r.ref(), r.ref()
	n.acts = r.list(keys)
	if key := r.key(); key != (Key{}) {
		address := key
		n.more().address = &address
	}
	for range r.count(28) {
		z := zap{msat: r.u64(), actor: r.below(keys), at: r.u32(), mark: r.u32(), event: r.u64()}
		n.more().zaps = append(n.more().zaps, z)
	}
}

func (r *reader) about(b *book) {
	keys := b.actors.size
	for range r.count(8) {
		of := r.below(keys)
		b.actors.about[of] = r.list(keys)
	}
	for range r.count(40) {
		b.lists[r.below(keys)] = stamp{r.key(), r.u32()}
	}
}

// derive makes what follows from keys, notes and acts.
func (b *book) derive() error {
	for n := range uint32(b.actors.size) {
		key := b.actors.name(n)
		if *key == (Key{}) {
			b.actors.free = append(b.actors.free, n)
			continue
		}
		if _, twice := b.actors.find(*key); twice {
			return errSnapshot
		}
		b.actors.index.add(n, b.actors.name)
	}
	var live []uint32
	for at := range b.notes.size {
		n := b.notes.at(at)
		if n.id == (Key{}) {
			b.notes.free = append(b.notes.free, at)
			continue
		}
		if _, twice := b.notes.find(n.id); twice || n.parent.place > b.notes.size || n.root.place > b.notes.size {
			return errSnapshot
		}
		if err := b.deriveNote(at, n); err != nil {
			return err
		}
		if n.live() {
			live = append(live, at)
		}
	}
	b.deriveAbout()
	b.deriveRecent(live)
	return nil
}

func (b *book) deriveNote(at uint32, n *note) error {
	b.notes.index.add(at, b.notes.name)
	if n.extra != nil && n.extra.address != nil {
		b.notes.named[*n.extra.address] = at
	}
	before := act{}
	for a := range n.acts.all {
		if before.compare(a) > 0 || a.action() >= Actions {
			return errSnapshot
		}
		before = a
		b.actors.at(a.actor).refs++
		b.notes.marks[at] |= bits(a.actor)
		n.proven = n.proven || a.class() != 0
	}
	b.acts += n.acts.len()
	if !n.live() {
		b.empty++
		b.settle(at)
		return nil
	}
	b.live++
	b.actors.at(n.author).refs++
	b.chain(at)
	b.settle(at)
	return nil
}

func (b *book) deriveAbout() {
	for of, acts := range b.actors.about {
		b.actors.at(of).refs += uint32(acts.len())
		for a := range acts.all {
			b.actors.at(a.actor).refs++
		}
		b.acts += acts.len()
	}
	for of := range b.lists {
		b.actors.at(of).refs++
	}
}

// deriveRecent puts the latest notes in order.
func (b *book) deriveRecent(live []uint32) {
	b.recent = make([]moment, 0, len(live))
	for _, at := range live {
		b.recent = append(b.recent, moment{b.notes.at(at).created, b.notes.refer(at)})
	}
	slices.SortStableFunc(b.recent, func(x, y moment) int { return cmp.Compare(x.created, y.created) })
	if len(b.recent) > mostRecent {
		b.recent = append([]moment(nil), b.recent[len(b.recent)-mostRecent:]...)
	}
}
