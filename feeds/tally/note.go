package tally

import (
	"math"
)

// nobody is the author of a place without a note.
const nobody = math.MaxUint32

// crowd is how many acts a note has before its sums are kept ready. Fewer are
// added up whenever they are asked for.
const crowd = 64

// note is a live note, or a place for one that others have acted on.
type note struct {
	id      Key
	author  uint32 // nobody: a place without a note
	created uint32 // Unix seconds
	expires uint32 // the same; 0: never
	latest  uint32 // created_at of the latest act there ever was
	next    uint32 // place + 1 of the author's note that came before
	prev    uint32 // place + 1 of the author's note that came after
	parent  ref    // what it answers
	root    ref    // what its thread began with
	gen     uint32 // how often the place has been given up
	kind    uint16
	proven  bool // some act was a person's
	acts    list
	extra   *extra
}

// extra is what few notes have.
type extra struct {
	sums    *sums // when there is a crowd
	zaps    []zap
	address *Key // sha256 of its address, of an addressable event; nil: none
}

// zap is a verified zap receipt.
type zap struct {
	msat  uint64
	actor uint32 // who paid
	at    uint32
	mark  uint32 // as the act's
	event uint64 // the first 8 bytes of the receipt's id
}

// ref names a note by its place, as long as it is not given up.
type ref struct{ place, gen uint32 } // place + 1; 0: none

// pageBits says how many rows a page has: as many as make pages of notes, keys,
// actors and sketches sizes that the allocator gives out whole.
const pageBits = 9

// notes is the table of notes, in pages that are never moved.
type notes struct {
	pages [][]note
	marks []uint64 // by place: two bits for each actor, so that an act is found without looking everywhere
	free  []uint32
	size  uint32 // places ever used
	index index
	named map[Key]uint32 // addressable notes by sha256 of their address
}

func newNotes() notes { return notes{index: newIndex(), named: map[Key]uint32{}} }

func (n *notes) at(place uint32) *note {
	return &n.pages[place>>pageBits][place&(1<<pageBits-1)]
}

func (n *notes) name(place uint32) *Key { return &n.at(place).id }

func (n *notes) find(id Key) (uint32, bool) { return n.index.find(&id, n.name) }

// make gives a place to an id that has none.
func (n *notes) make(id Key) uint32 {
	place := n.size
	if last := len(n.free) - 1; last >= 0 {
		place, n.free = n.free[last], n.free[:last]
	} else {
		if place>>pageBits == uint32(len(n.pages)) {
			n.pages = append(n.pages, make([]note, 1<<pageBits))
			n.marks = append(n.marks, make([]uint64, 1<<pageBits)...)
		}
		n.size++
	}
	gen := n.at(place).gen
	*n.at(place) = note{id: id, author: nobody, gen: gen}
	n.marks[place] = 0
	n.index.add(place, n.name)
	return place
}

// drop gives a place up.
func (n *notes) drop(place uint32) {
	n.index.drop(place, n.name)
	*n.at(place) = note{author: nobody, gen: n.at(place).gen + 1}
	n.marks[place] = 0
	n.free = append(n.free, place)
}

// refer names a place; the name dies with the place.
func (n *notes) refer(place uint32) ref { return ref{place + 1, n.at(place).gen} }

// follow is the note that a ref names, when there is one.
func (n *notes) follow(r ref) (*note, bool) {
	if r.place == 0 {
		return nil, false
	}
	at := n.at(r.place - 1)
	return at, at.gen == r.gen
}

// bits are an actor's two of 64.
func bits(actor uint32) uint64 {
	x := uint64(actor+1) * 0x9e3779b97f4a7c15
	return 1<<(x>>58) | 1<<(x>>52&63)
}

func (n *note) live() bool { return n.author != nobody }

// more is the note's extra, made when there is none.
func (n *note) more() *extra {
	if n.extra == nil {
		n.extra = new(extra)
	}
	return n.extra
}
