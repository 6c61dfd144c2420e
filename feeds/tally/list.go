package tally

import (
	"encoding/binary"
	"math"
	digits "math/bits"
	"slices"
	"sort"
)

// list is what was done with one note, or against one key: acts sorted by
// actor, then mark, then time. What one key did stands together.
//
// Acts are rows of 8 to 12 bytes: actor, time, mark. A list's actors take 2
// bytes each where their places allow it, 3 or 4 otherwise, and so do times,
// which are counted from a moment of the list's own. The first byte says how
// many bytes each takes, 4 with that moment follow, then come the rows.
type list []byte

const (
	listHead  = 5 // bytes
	leastWide = 2 // bytes of an actor or a time
	markWide  = 4 // bytes of a mark
)

// rows is a list laid open for reading.
type rows struct {
	data       []byte // the rows alone
	n          int    // how many
	size       int    // bytes of a row
	shift      uint8  // bits of the actor in it
	actorWide  int    // of these, those of the actor
	mask, span uint32 // the largest actor, and the largest time past since, that a row holds
	since      uint32
}

// masks are the largest numbers that so many bytes hold.
func masks(wide int) uint32 { return uint32(1<<(8*wide) - 1) }

// wideFor is how many bytes hold a number.
func wideFor(n uint32) int { return max(leastWide, (digits.Len32(n)+7)/8) }

func layout(actorWide, timeWide int, since uint32) rows {
	return rows{size: actorWide + timeWide + markWide, shift: uint8(8 * actorWide), actorWide: actorWide, mask: masks(actorWide), span: masks(timeWide), since: since}
}

func (l list) rows() rows {
	if len(l) == 0 {
		return layout(leastWide, leastWide, 0)
	}
	r := layout(int(l[0]&15), int(l[0]>>4), binary.LittleEndian.Uint32(l[1:]))
	r.data = l[listHead:]
	r.n = len(r.data) / r.size
	return r
}

func (l list) len() int {
	if len(l) == 0 {
		return 0
	}
	return (len(l) - listHead) / int(l[0]&15+l[0]>>4+markWide)
}

// actor of the i-th act. Four bytes are read where fewer count: a mark, at
// least, follows.
func (r *rows) actor(i int) uint32 { return binary.LittleEndian.Uint32(r.data[i*r.size:]) & r.mask }

// act is the i-th. The first eight bytes of a row hold actor and time.
func (r *rows) act(i int) act {
	from, to := i*r.size, (i+1)*r.size
	both := binary.LittleEndian.Uint64(r.data[from : from+8 : from+8])
	return act{
		actor: uint32(both) & r.mask,
		at:    r.since + uint32(both>>(r.shift&63))&r.span,
		mark:  binary.LittleEndian.Uint32(r.data[to-markWide : to : to]),
	}
}

// block is how many acts are read at once by who reads them all.
const block = 16

// read gives some acts, the from-th first, as many as there is room for. Rows
// of the usual widths are read with the least work: what is theirs is constant.
func (r *rows) read(from int, into []act) []act {
	into = into[:min(len(into), r.n-from)]
	data, since := r.data[from*r.size:], r.since
	switch {
	case r.mask == 1<<16-1 && r.span == 1<<24-1:
		for i := range into {
			row := (*[9]byte)(data)
			into[i] = act{
				actor: uint32(binary.LittleEndian.Uint16(row[:])),
				at:    since + binary.LittleEndian.Uint32(row[2:])&(1<<24-1),
				mark:  binary.LittleEndian.Uint32(row[5:]),
			}
			data = data[len(row):]
		}
	case r.mask == 1<<24-1 && r.span == 1<<24-1:
		for i := range into {
			row := (*[10]byte)(data)
			into[i] = act{
				actor: binary.LittleEndian.Uint32(row[:]) & (1<<24 - 1),
				at:    since + binary.LittleEndian.Uint32(row[3:])&(1<<24-1),
				mark:  binary.LittleEndian.Uint32(row[6:]),
			}
			data = data[len(row):]
		}
	default:
		for i := range into {
			into[i] = r.act(from + i)
		}
	}
	return into
}

func (r *rows) set(i int, a act) {
	row := r.data[i*r.size : (i+1)*r.size]
	var b [12]byte
	binary.LittleEndian.PutUint32(b[:], a.actor)
	binary.LittleEndian.PutUint32(b[r.actorWide:], a.at-r.since)
	binary.LittleEndian.PutUint32(b[r.size-markWide:], a.mark)
	copy(row, b[:])
}

// holds reports whether an act fits into a row.
func (r *rows) holds(a act) bool { return a.actor <= r.mask && a.at-r.since <= r.span }

// at is when the i-th act was done.
func (r *rows) at(i int) uint32 {
	return r.since + binary.LittleEndian.Uint32(r.data[i*r.size+r.actorWide:])&r.span
}

// actors writes down who did the acts, one after another.
func (r *rows) actors(into []uint32) {
	data, size, mask, at := r.data, r.size, r.mask, 0
	for i := range into {
		into[i] = binary.LittleEndian.Uint32(data[at:at+4:at+4]) & mask
		at += size
	}
}

// end is where the acts of the actor of the from-th end.
func (r *rows) end(from int) int {
	actor := r.actor(from)
	to := from + 1
	for to < r.n && r.actor(to) == actor {
		to++
	}
	return to
}

// done is what the actor of the from-th act, whose acts begin there, had done
// by now.
func (r *rows) done(from int, now uint32) (did Set) {
	row := r.data[from*r.size:]
	for actor := binary.LittleEndian.Uint32(row) & r.mask; ; {
		if r.since+binary.LittleEndian.Uint32(row[r.actorWide:])&r.span <= now {
			did |= 1 << (row[r.size-1] >> 4)
		}
		if row = row[r.size:]; len(row) == 0 || binary.LittleEndian.Uint32(row)&r.mask != actor {
			return did
		}
	}
}

// group is the range of an actor's acts.
func (r *rows) group(actor uint32) (from, to int) {
	from = sort.Search(r.n, func(i int) bool { return r.actor(i) >= actor })
	if from == r.n || r.actor(from) != actor {
		return from, from
	}
	return from, r.end(from)
}

// has reports whether an actor's acts are among them with that mark.
func (r *rows) has(actor, mark uint32) bool {
	from, to := r.group(actor)
	for i := from; i < to; i++ {
		if r.act(i).mark == mark {
			return true
		}
	}
	return false
}

// shareOf is what one key adds, whenever it acted.
func (l list) shareOf(actor uint32) share {
	r := l.rows()
	from, to := r.group(actor)
	if from == to {
		return share{first: math.MaxUint32}
	}
	s, _ := r.share(from, math.MaxUint32)
	return s
}

// all yields the acts in order.
func (l list) all(yield func(act) bool) {
	r := l.rows()
	for i := range r.n {
		if !yield(r.act(i)) {
			return
		}
	}
}

// pack makes a list with room for no more than its acts, which are in order.
func pack(acts []act) list {
	if len(acts) == 0 {
		return nil
	}
	low, high, last := uint32(math.MaxUint32), uint32(0), uint32(0)
	for _, a := range acts {
		low, high, last = min(low, a.at), max(high, a.at), max(last, a.actor)
	}
	l := fit(low, high, last, len(acts), 0)
	r := l.rows()
	for i, a := range acts {
		r.set(i, a)
	}
	return l
}

// fit makes a list of n empty rows, with room for more, for times from low to
// high and actors up to last. What a time can hold beyond those is shared out before and after, so
// that acts that come in any order seldom need another layout.
func fit(low, high, last uint32, n, more int) list {
	actorWide, timeWide := wideFor(last), wideFor(high-low)
	since := low - (masks(timeWide)-(high-low))/2
	row := actorWide + timeWide + markWide
	l := slices.Grow(list(nil), listHead+(n+more)*row)[:listHead+n*row]
	l[0] = byte(actorWide | timeWide<<4)
	binary.LittleEndian.PutUint32(l[1:], since)
	return l
}

// insert keeps the order. Long lists grow by a 32nd: memory is scarcer
// than the time to copy.
func (l list) insert(a act) list {
	r := l.rows()
	if len(l) == 0 || !r.holds(a) {
		l = l.refit(a)
		r = l.rows()
	}
	at := sort.Search(r.n, func(i int) bool { return r.act(i).compare(a) >= 0 })
	if len(l)+r.size > cap(l) {
		l = append(slices.Grow(list(nil), len(l)+len(l)/32+r.size), l...)
	}
	l = l[:len(l)+r.size]
	r.data = l[listHead:]
	copy(r.data[(at+1)*r.size:], r.data[at*r.size:r.n*r.size])
	r.set(at, a)
	return l
}

// refit is the same list with rows that hold a, too.
func (l list) refit(a act) list {
	low, high, last := a.at, a.at, a.actor
	for o := range l.all {
		low, high, last = min(low, o.at), max(high, o.at), max(last, o.actor)
	}
	wider := fit(low, high, last, l.len(), 1)
	r, i := wider.rows(), 0
	for o := range l.all {
		r.set(i, o)
		i++
	}
	return wider
}

// remove takes the i-th act out.
func (l list) remove(i int) list {
	size := l.rows().size
	return slices.Delete(l, listHead+i*size, listHead+(i+1)*size)
}
