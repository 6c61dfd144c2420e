package tally

import "math"

// Key is a public key or an event id.
type Key = [32]byte

// Unit is how many parts of trust 1 has in stored weights.
const Unit = math.MaxUint16

// actor is what is held of a key that wrote a live note or acted on one.
type actor struct {
	notes uint32 // place + 1 of the newest arrived of its notes; they are a chain
	refs  uint32 // notes, acts and lists that name it
	first uint32 // created_at of its earliest event seen, Unix seconds; 0: none
}

// actors is the table of keys, in pages that are never moved; places of those
// gone are used again.
type actors struct {
	keys   []*[1 << pageBits]Key
	pages  []*[1 << pageBits]actor
	size   int      // places ever used
	weight []uint16 // by place: global trust at the epoch, in 65,535ths
	free   []uint32
	index  index
	about  map[uint32]list // what was done against a key: reports, mutes
	trust  func(Key) float32
	reuse  uint64 // counts places given to another key
	aging  bool   // what is released now has only become old: its key is remembered
}

func newActors() actors {
	return actors{index: newIndex(), about: map[uint32]list{}, trust: func(Key) float32 { return 0 }}
}

func (a *actors) at(n uint32) *actor { return &a.pages[n>>pageBits][n&(1<<pageBits-1)] }

// name is the key at a place; zero: nobody's.
func (a *actors) name(n uint32) *Key { return &a.keys[n>>pageBits][n&(1<<pageBits-1)] }

// held is how many keys there are.
func (a *actors) held() int { return a.size - len(a.free) }

func (a *actors) find(k Key) (uint32, bool) { return a.index.find(&k, a.name) }

// intern gives a key its place.
func (a *actors) intern(k Key) uint32 {
	if n, ok := a.find(k); ok {
		return n
	}
	n := uint32(a.size)
	if last := len(a.free) - 1; last >= 0 {
		n, a.free = a.free[last], a.free[:last]
		a.reuse++
	} else {
		a.grow(1)
	}
	*a.name(n), a.weight[n] = k, weigh(a.trust(k))
	a.index.add(n, a.name)
	return n
}

// grow makes places that are nobody's yet.
func (a *actors) grow(more int) {
	for a.size += more; a.size > len(a.pages)<<pageBits; {
		a.keys = append(a.keys, new([1 << pageBits]Key))
		a.pages = append(a.pages, new([1 << pageBits]actor))
	}
	if a.size > cap(a.weight) {
		a.weight = append(make([]uint16, 0, a.size+a.size/16+64), a.weight...)
	}
	a.weight = a.weight[:a.size]
}

// forget gives up the place of a key that nothing names any more.
func (a *actors) forget(n uint32) {
	if at := a.at(n); a.aging || at.refs > 0 || at.notes != 0 {
		return
	}
	a.index.drop(n, a.name)
	*a.name(n), *a.at(n), a.weight[n] = Key{}, actor{}, 0
	a.free = append(a.free, n)
}

// release takes back one naming of a key.
func (a *actors) release(n uint32) {
	a.at(n).refs--
	a.forget(n)
}

func (a *actors) seen(n uint32, at uint32) {
	if first := &a.at(n).first; *first == 0 || at < *first {
		*first = at
	}
}

func weigh(trust float32) uint16 {
	return uint16(math.Round(float64(min(max(trust, 0), 1)) * Unit))
}
