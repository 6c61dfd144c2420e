package tally

import "math"

// Key is a public key or an event id.
type Key = [32]byte

// Unit is how many parts of trust 1 has in stored weights.
const Unit = math.MaxUint16

// actor is a key that wrote a live note or acted on one.
type actor struct {
	key   Key
	notes uint32 // place + 1 of the newest arrived of its notes; they are a chain
	refs  uint32 // notes, acts and lists that name it
	first uint32 // created_at of its earliest event seen, Unix seconds; 0: none
}

// actors is the table of keys; places of those gone are used again.
type actors struct {
	list   []actor
	weight []uint16 // by place: global trust at the epoch, in 65,535ths
	free   []uint32
	index  index
	about  map[uint32][]act // what was done against a key: reports, mutes; acts sorted as a note's
	trust  func(Key) float32
	reuse  uint64 // counts places given to another key
	aging  bool   // what is released now has only become old: its key is remembered
}

func newActors() actors {
	return actors{index: newIndex(), about: map[uint32][]act{}, trust: func(Key) float32 { return 0 }}
}

func (a *actors) name(n uint32) *Key { return &a.list[n].key }

func (a *actors) find(k Key) (uint32, bool) { return a.index.find(&k, a.name) }

// intern gives a key its place.
func (a *actors) intern(k Key) uint32 {
	if n, ok := a.find(k); ok {
		return n
	}
	n := uint32(len(a.list))
	fresh, weight := actor{key: k}, weigh(a.trust(k))
	if last := len(a.free) - 1; last >= 0 {
		n, a.free = a.free[last], a.free[:last]
		a.list[n], a.weight[n] = fresh, weight
		a.reuse++
	} else {
		if len(a.list) == cap(a.list) {
			more := len(a.list) + len(a.list)/8 + 16
			a.list = append(make([]actor, 0, more), a.list...)
			a.weight = append(make([]uint16, 0, more), a.weight...)
		}
		a.list, a.weight = append(a.list, fresh), append(a.weight, weight)
	}
	a.index.add(n, a.name)
	return n
}

// forget gives up the place of a key that nothing names any more.
func (a *actors) forget(n uint32) {
	if a.aging || a.list[n].refs > 0 || a.list[n].notes != 0 {
		return
	}
	a.index.drop(n, a.name)
	a.list[n], a.weight[n] = actor{}, 0
	a.free = append(a.free, n)
}

// release takes back one naming of a key.
func (a *actors) release(n uint32) {
	a.list[n].refs--
	a.forget(n)
}

func (a *actors) seen(n uint32, at uint32) {
	if first := &a.list[n].first; *first == 0 || at < *first {
		*first = at
	}
}

func weigh(trust float32) uint16 {
	return uint16(math.Round(float64(min(max(trust, 0), 1)) * Unit))
}
