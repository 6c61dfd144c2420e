package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sort"

	"github.com/PowerDNS/lmdb-go/lmdb"
)

// Set is a set of events kept ready, or the part of it between two times. A
// key is created_at (8 bytes big-endian), then the id; ranges include lo and
// exclude hi. One goroutine at a time may use it. Each call answers for the
// moment it is made.
type Set struct {
	s      *Store
	number uint16
	whole  bool
	lo, hi setKey // what the set is narrowed to

	held [2]heldBlock // blocks read last
	turn int          // the one to overwrite next
}

// heldBlock is a block read from the disk, as of one transaction.
type heldBlock struct {
	txn  uintptr // 0: nothing
	lo   setKey
	keys []setKey
}

// setRows is what all blocks of a set say, as of one transaction. It is not
// changed once made.
type setRows struct {
	txn  uintptr
	rows []setSum // by rising lo; the last stands at setEnd
}

// setSum says what lies below a bound.
type setSum struct {
	lo  setKey
	n   int
	sum [4]uint64
}

// Sum adds up the ids between lo and hi as little-endian numbers mod 2^256
// (four words, least significant first), and counts them.
func (s *Set) Sum(ctx context.Context, lo, hi [40]byte) (sum [4]uint64, n int, err error) {
	lo, hi = s.within(lo, hi)
	err = s.read(ctx, func(v *setView) error {
		low, err := v.below(lo)
		if err != nil {
			return err
		}
		high, err := v.below(hi)
		sum, n = subSum(high.sum, low.sum), high.n-low.n
		return err
	})
	return sum, n, err
}

// Keys lists the keys between lo and hi in ascending order, at most limit.
func (s *Set) Keys(ctx context.Context, lo, hi [40]byte, limit int) (keys [][40]byte, err error) {
	lo, hi = s.within(lo, hi)
	err = s.read(ctx, func(v *setView) error {
		for i := v.index(lo); i < len(v.rows)-1 && setBefore(&v.rows[i].lo, &hi); i++ {
			part, err := v.block(i)
			if err != nil {
				return err
			}
			part = part[rank(part, lo):rank(part, hi)]
			keys = append(keys, part[:min(len(part), limit-len(keys))]...)
			if len(keys) == limit {
				return nil
			}
		}
		return nil
	})
	return keys, err
}

// Cut finds a bound above lo with about k keys between the two; k is at least
// 1. It is exact unless a block begins in the second half of those keys: then
// that block's bound will do, and nothing need be read. All ones when the set
// ends before.
func (s *Set) Cut(ctx context.Context, lo [40]byte, k int) (at [40]byte, err error) {
	lo, hi := s.within(lo, setEnd())
	err = s.read(ctx, func(v *setView) error {
		low, err := v.below(lo)
		if err != nil {
			return err
		}
		i := v.holding(low.n + k)
		if i == len(v.rows)-1 || v.rows[i].n > low.n+k/2 {
			at = v.rows[i].lo
			return nil
		}
		before, err := v.nth(low.n + k - 1)
		if err != nil {
			return err
		}
		if at, err = v.nth(low.n + k); err == nil {
			at = shortest(before, at)
		}
		return err
	})
	if !setBefore(&at, &hi) {
		at = setEnd()
	}
	return at, err
}

func (s *Set) within(lo, hi setKey) (setKey, setKey) {
	if setBefore(&lo, &s.lo) {
		lo = s.lo
	}
	if setBefore(&s.hi, &hi) {
		hi = s.hi
	}
	if setBefore(&hi, &lo) {
		hi = lo
	}
	return lo, hi
}

// setView is a set in one read transaction.
type setView struct {
	*Set
	txn  *lmdb.Txn
	rows []setSum
}

func (s *Set) read(ctx context.Context, fn func(*setView) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.s.view(func(txn *lmdb.Txn) error {
		rows, err := s.s.sets.snapshot(txn, s.number)
		if err != nil {
			return err
		}
		return fn(&setView{Set: s, txn: txn, rows: rows})
	})
}

// snapshot reads all blocks of a set, unless they were read in the same state
// before: about 2 blocks per 1,000 events, 80 bytes each.
func (st *sets) snapshot(txn *lmdb.Txn, n uint16) ([]setSum, error) {
	st.mu.Lock()
	seen := st.rows[n]
	st.mu.Unlock()
	if seen != nil && seen.txn == txn.ID() {
		return seen.rows, nil
	}
	fresh := &setRows{txn: txn.ID()}
	var at setSum
	err := eachRow(txn, st.s.t.set, setRow(n, setKey{}), func(k, v []byte) (bool, error) {
		if lo := boundOf(n, k, nil); lo != setEnd() {
			b, err := parseBlock(v)
			at.lo = lo
			fresh.rows = append(fresh.rows, at)
			at.n, at.sum = at.n+int(b.n), addSum(at.sum, b.sum)
			return true, err
		}
		return false, nil
	})
	if err != nil {
		return nil, fmt.Errorf("read set %d: %w", n, err)
	}
	if len(fresh.rows) == 0 {
		return nil, fmt.Errorf("set %d is no longer kept", n)
	}
	at.lo = setEnd()
	fresh.rows = append(fresh.rows, at)
	st.mu.Lock()
	st.rows[n] = fresh
	st.mu.Unlock()
	return fresh.rows, nil
}

// index is the block that k falls into.
func (v *setView) index(k setKey) int {
	return sort.Search(len(v.rows), func(i int) bool { return setBefore(&k, &v.rows[i].lo) }) - 1
}

// below sums up everything under k.
func (v *setView) below(k setKey) (setSum, error) {
	i := v.index(k)
	at := v.rows[i]
	if at.lo == k {
		return at, nil
	}
	keys, err := v.block(i)
	if err != nil {
		return at, err
	}
	for _, key := range keys[:rank(keys, k)] {
		at.n, at.sum = at.n+1, addSum(at.sum, idSum(&key))
	}
	return at, nil
}

// holding is the block of the key with n keys below it in the whole set; the
// last row when there is none.
func (v *setView) holding(n int) int {
	return sort.Search(len(v.rows), func(i int) bool { return v.rows[i].n > n }) - 1
}

// nth is the key with n keys below it in the whole set.
func (v *setView) nth(n int) (setKey, error) {
	i := v.holding(n)
	if i == len(v.rows)-1 {
		return setEnd(), nil
	}
	keys, err := v.block(i)
	if err != nil {
		return setEnd(), err
	}
	return keys[n-v.rows[i].n], nil
}

// block reads the keys of block i.
func (v *setView) block(i int) ([]setKey, error) {
	lo, hi := v.rows[i].lo, v.rows[i+1].lo
	for _, h := range v.held {
		if h.txn == v.txn.ID() && h.lo == lo {
			return h.keys, nil
		}
	}
	items, err := v.s.sets.items(v.txn, v.number, v.whole, lo, hi)
	if err != nil {
		return nil, err
	}
	keys := make([]setKey, 0, len(items))
	for _, it := range items {
		if !it.hidden {
			keys = append(keys, it.key)
		}
	}
	if want := v.rows[i+1].n - v.rows[i].n; len(keys) != want {
		return nil, fmt.Errorf("set %d says that %d events follow %x, %d do: %w", v.number, want, lo, len(keys), errDamaged)
	}
	v.held[v.turn] = heldBlock{txn: v.txn.ID(), lo: lo, keys: keys}
	v.turn = 1 - v.turn
	return keys, nil
}

// shortest is the bound between two neighbours that ends in most zeros.
func shortest(before, at setKey) setKey {
	same := 0
	for same < len(at)-1 && before[same] == at[same] {
		same++
	}
	clear(at[same+1:])
	return at
}

func rank(keys []setKey, k setKey) int {
	i, _ := slices.BinarySearchFunc(keys, k, compareSetKeys)
	return i
}

// check recounts every set from the log and compares block by block.
func (st *sets) check(txn *lmdb.Txn) error {
	defs, err := st.load(txn)
	if err != nil {
		return err
	}
	for i := range defs {
		if d := &defs[i]; d.Done && !d.Drop {
			if err := st.checkSet(txn, d); err != nil {
				return fmt.Errorf("set %d of %s: %w", d.Number, d.Filter, err)
			}
		}
	}
	return nil
}

func (st *sets) checkSet(txn *lmdb.Txn, d *setDef) error {
	for lo := (setKey{}); ; {
		_, hi, b, err := st.blockOf(txn, d.Number, lo)
		if err != nil {
			return err
		}
		keys, err := createdKeys(txn, st.s.t.created, lo, hi)
		if err != nil {
			return err
		}
		var want block
		for _, k := range keys {
			rec, err := st.record(txn, k)
			if err != nil {
				return err
			}
			if c, any := d.change(&rec, true); any {
				want.change(c)
			}
		}
		if items, err := st.items(txn, d.Number, d.whole(), lo, hi); err != nil || len(items) != b.weight() {
			return fmt.Errorf("block %x holds %d events and %d items: %w", lo, b.weight(), len(items), errors.Join(err, errDamaged))
		}
		if want != b || b.weight() > blockMax {
			return fmt.Errorf("block %x says %d events (%d hidden), the log %d (%d): %w", lo, b.n, b.hidden, want.n, want.hidden, errDamaged)
		}
		if hi == setEnd() {
			return nil
		}
		lo = hi
	}
}

func (st *sets) record(txn *lmdb.Txn, k setKey) (Record, error) {
	row := flipID(k)
	v, err := txn.Get(st.s.t.created, row[:])
	if err != nil {
		return Record{}, fmt.Errorf("created row %x: %w: %w", k, errDamaged, err)
	}
	return getRecord(txn, &st.s.t, Pos(binary.BigEndian.Uint64(v)))
}
