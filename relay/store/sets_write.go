package store

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/bits"
	"slices"

	"github.com/PowerDNS/lmdb-go/lmdb"
)

// save brings every set up to the state of txn: notes are the events that came
// and went in it. It is the committer's last step, so an undone commit leaves
// nothing behind. Each commit also does one step of what run waits for.
func (st *sets) save(txn *lmdb.Txn, notes []note) error {
	defs, err := st.load(txn)
	if err != nil {
		return err
	}
	busy := !st.settled(defs)
	if len(notes) == 0 && !busy {
		return nil
	}
	for i := range defs {
		if d := &defs[i]; !d.Drop {
			if err := st.apply(txn, d, d.changes(notes)); err != nil {
				return err
			}
		}
	}
	if !busy && !slices.ContainsFunc(defs, func(d setDef) bool { return d.Drop }) {
		return nil
	}
	if defs, err = st.step(txn, defs); err != nil {
		return err
	}
	raw, err := json.Marshal(defs)
	if err != nil {
		return fmt.Errorf("definitions of the sets: %w", err)
	}
	return txn.Put(st.s.t.meta, []byte(metaSets), raw, 0)
}

func (d *setDef) changes(notes []note) []setChange {
	list := make([]setChange, 0, len(notes))
	for i := range notes {
		if c, any := d.change(&notes[i].rec, !notes[i].removed); any && d.covers(c.key) {
			list = append(list, c)
		}
	}
	return list
}

// step agrees the definitions with the configuration and does a bounded piece
// of the work that is left.
func (st *sets) step(txn *lmdb.Txn, defs []setDef) ([]setDef, error) {
	last := uint16(0)
	for i := range defs {
		last = max(last, defs[i].Number)
		defs[i].Drop = defs[i].Drop || !slices.ContainsFunc(st.want, defs[i].same)
	}
	for _, want := range st.want {
		if !slices.ContainsFunc(defs, want.same) {
			last++
			want.Number = last
			var err error
			if want.match, err = want.filter(); err != nil {
				return nil, err
			}
			if err := st.putBlock(txn, last, setKey{}, block{}); err != nil {
				return nil, err
			}
			defs = append(defs, want)
		}
	}
	for i := range defs {
		if defs[i].Drop {
			gone, err := st.drop(txn, defs[i].Number)
			if gone {
				defs = slices.Delete(defs, i, i+1)
			}
			return defs, err
		}
		if !defs[i].Done {
			return defs, st.build(txn, &defs[i])
		}
	}
	return defs, nil
}

// build adds the next setBuild events to the set.
func (st *sets) build(txn *lmdb.Txn, d *setDef) error {
	cur, err := txn.OpenCursor(st.s.t.created)
	if err != nil {
		return err
	}
	defer cur.Close()
	var list []setChange
	from := d.Next
	if from == nil {
		from = []byte{0}
	}
	k, v, err := cur.Get(from, nil, lmdb.SetRange)
	for read := 0; err == nil && read < setBuild; read++ {
		rec, err := getRecord(txn, &st.s.t, Pos(binary.BigEndian.Uint64(v)))
		if err != nil {
			return err
		}
		if c, any := d.change(&rec, true); any {
			list = append(list, c)
		}
		k, v, err = cur.Get(nil, nil, lmdb.Next)
		if lmdb.IsNotFound(err) {
			k = nil
			break
		}
		if err != nil {
			return err
		}
	}
	if err != nil && !lmdb.IsNotFound(err) {
		return err
	}
	if err != nil || k == nil {
		d.Done, d.Next = true, nil
	} else {
		d.Next = bytes.Clone(k)
	}
	return st.apply(txn, d, list)
}

// drop deletes a piece of a set; true when nothing is left.
func (st *sets) drop(txn *lmdb.Txn, n uint16) (bool, error) {
	prefix := binary.BigEndian.AppendUint16(nil, n)
	left := setDelete
	for _, dbi := range []lmdb.DBI{st.s.t.set, st.s.t.setitem} {
		cur, err := txn.OpenCursor(dbi)
		if err != nil {
			return false, err
		}
		defer cur.Close()
		for ; left > 0; left-- {
			k, _, err := cur.Get(prefix, nil, lmdb.SetRange)
			if lmdb.IsNotFound(err) || err == nil && !bytes.HasPrefix(k, prefix) {
				break
			}
			if err == nil {
				err = cur.Del(0)
			}
			if err != nil {
				return false, err
			}
		}
	}
	return left > 0, nil
}

// block is what is known of the events between its lower bound and the next.
type block struct {
	n      uint32    // events in the set
	hidden uint32    // events among them that are not; whole set only
	sum    [4]uint64 // of the ids as little-endian numbers mod 2^256, least significant word first
}

func (b *block) change(c setChange) {
	switch {
	case c.hidden && c.add:
		b.hidden++
	case c.hidden:
		b.hidden--
	case c.add:
		b.n++
		b.sum = addSum(b.sum, idSum(&c.key))
	default:
		b.n--
		b.sum = subSum(b.sum, idSum(&c.key))
	}
}

func (b *block) weight() int { return int(b.n) + int(b.hidden) }

func idSum(k *setKey) (sum [4]uint64) {
	for i := range sum {
		sum[i] = binary.LittleEndian.Uint64(k[8+8*i:])
	}
	return sum
}

func addSum(a, b [4]uint64) [4]uint64 {
	var carry uint64
	for i := range a {
		a[i], carry = bits.Add64(a[i], b[i], carry)
	}
	return a
}

func subSum(a, b [4]uint64) [4]uint64 {
	var borrow uint64
	for i := range a {
		a[i], borrow = bits.Sub64(a[i], b[i], borrow)
	}
	return a
}

func parseBlock(v []byte) (b block, err error) {
	if len(v) != 40 {
		return b, fmt.Errorf("set block of %d bytes: %w", len(v), errDamaged)
	}
	b.n, b.hidden = binary.BigEndian.Uint32(v), binary.BigEndian.Uint32(v[4:])
	for i := range b.sum {
		b.sum[i] = binary.LittleEndian.Uint64(v[8+8*i:])
	}
	return b, nil
}

func (st *sets) putBlock(txn *lmdb.Txn, n uint16, lo setKey, b block) error {
	v := binary.BigEndian.AppendUint32(make([]byte, 0, 40), b.n)
	v = binary.BigEndian.AppendUint32(v, b.hidden)
	for _, word := range b.sum {
		v = binary.LittleEndian.AppendUint64(v, word)
	}
	return txn.Put(st.s.t.set, setRow(n, lo), v, 0)
}

// apply enters changes into the blocks of one set, and the items.
func (st *sets) apply(txn *lmdb.Txn, d *setDef, list []setChange) error {
	for _, c := range list {
		if err := st.item(txn, d, c); err != nil {
			return err
		}
	}
	slices.SortStableFunc(list, func(a, b setChange) int { return compareSetKeys(a.key, b.key) })
	var touched []setKey
	for len(list) > 0 {
		lo, hi, b, err := st.blockOf(txn, d.Number, list[0].key)
		if err != nil {
			return err
		}
		for len(list) > 0 && setBefore(&list[0].key, &hi) {
			b.change(list[0])
			list = list[1:]
		}
		if err := st.putBlock(txn, d.Number, lo, b); err != nil {
			return err
		}
		if w := b.weight(); w > blockMax || w < blockMin {
			touched = append(touched, lo)
		}
	}
	for _, lo := range touched {
		if err := st.balance(txn, d, lo); err != nil {
			return err
		}
	}
	return nil
}

// item keeps the rows of setitem: members of a filter's set, hidden events of
// the whole one (whose members are those of the created index).
func (st *sets) item(txn *lmdb.Txn, d *setDef, c setChange) error {
	if d.whole() && !c.hidden {
		return nil
	}
	if c.add {
		return txn.Put(st.s.t.setitem, setRow(d.Number, c.key), []byte(present), 0)
	}
	return ignoreNotFound(txn.Del(st.s.t.setitem, setRow(d.Number, c.key), nil))
}

// blockOf finds the block a key falls into, and its bounds.
func (st *sets) blockOf(txn *lmdb.Txn, n uint16, key setKey) (lo, hi setKey, b block, err error) {
	cur, err := txn.OpenCursor(st.s.t.set)
	if err != nil {
		return lo, hi, b, err
	}
	defer cur.Close()
	want := setRow(n, key)
	k, v, err := cur.Get(want, nil, lmdb.SetRange)
	if err == nil && bytes.Equal(k, want) {
		lo = key
		if b, err = parseBlock(v); err == nil {
			k, _, err = cur.Get(nil, nil, lmdb.Next)
		}
		hi = boundOf(n, k, err)
		return lo, hi, b, ignoreNotFound(err)
	}
	if hi = boundOf(n, k, err); err == nil {
		k, v, err = cur.Get(nil, nil, lmdb.Prev)
	} else if lmdb.IsNotFound(err) {
		k, v, err = cur.Get(nil, nil, lmdb.Last)
	}
	if err != nil || len(k) != 42 || binary.BigEndian.Uint16(k) != n {
		return lo, hi, b, fmt.Errorf("set %d has no block for %x: %w: %w", n, key, errDamaged, err)
	}
	lo = setKey(k[2:])
	b, err = parseBlock(v)
	return lo, hi, b, err
}

// boundOf reads the lower bound of the block at k, or the end when k belongs to
// another set or to none.
func boundOf(n uint16, k []byte, err error) setKey {
	if err != nil || len(k) != 42 || binary.BigEndian.Uint16(k) != n {
		return setEnd()
	}
	return setKey(k[2:])
}

// balance splits a block that has grown too large and joins a small one to the
// one before it.
func (st *sets) balance(txn *lmdb.Txn, d *setDef, at setKey) error {
	lo, hi, b, err := st.blockOf(txn, d.Number, at)
	if err != nil || lo != at { // at was joined to another
		return err
	}
	switch {
	case b.weight() > blockMax:
		return st.split(txn, d, lo, hi, b)
	case b.weight() < blockMin && lo != setKey{}:
		return st.join(txn, d, lo, b)
	}
	return nil
}

func (st *sets) join(txn *lmdb.Txn, d *setDef, lo setKey, b block) error {
	to, _, a, err := st.blockOf(txn, d.Number, before(lo))
	if err != nil || a.weight()+b.weight() > blockJoin {
		return err
	}
	a.n, a.hidden, a.sum = a.n+b.n, a.hidden+b.hidden, addSum(a.sum, b.sum)
	if err := st.putBlock(txn, d.Number, to, a); err != nil {
		return err
	}
	return txn.Del(st.s.t.set, setRow(d.Number, lo), nil)
}

func (st *sets) split(txn *lmdb.Txn, d *setDef, lo, hi setKey, b block) error {
	items, err := st.items(txn, d.Number, d.whole(), lo, hi)
	if err != nil {
		return err
	}
	var sum block
	var last setKey
	for part := range slices.Chunk(items, blockCut) {
		var p block
		for _, it := range part {
			p.change(setChange{key: it.key, add: true, hidden: it.hidden})
		}
		if sum != (block{}) { // the first part keeps the old bound
			lo = shortest(last, part[0].key)
		}
		last = part[len(part)-1].key
		sum = block{sum.n + p.n, sum.hidden + p.hidden, addSum(sum.sum, p.sum)}
		if err := st.putBlock(txn, d.Number, lo, p); err != nil {
			return err
		}
	}
	if sum != b {
		return fmt.Errorf("set %d: the block up to %x and the events in it disagree: %w", d.Number, hi, errDamaged)
	}
	return nil
}
