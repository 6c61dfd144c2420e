package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/PowerDNS/lmdb-go/lmdb"
)

// setItem is an event between the bounds of a block.
type setItem struct {
	key    setKey
	hidden bool
}

// items reads the events between two bounds, in ascending order.
func (st *sets) items(txn *lmdb.Txn, n uint16, whole bool, lo, hi setKey) ([]setItem, error) {
	if !whole {
		keys, err := st.itemKeys(txn, n, lo, hi)
		return asItems(keys), err
	}
	keys, err := createdKeys(txn, st.s.t.created, lo, hi)
	if err != nil {
		return nil, err
	}
	hidden, err := st.itemKeys(txn, n, lo, hi)
	if err != nil {
		return nil, err
	}
	items := asItems(keys)
	for i := range items {
		if len(hidden) > 0 && items[i].key == hidden[0] {
			items[i].hidden, hidden = true, hidden[1:]
		}
	}
	if len(hidden) > 0 {
		return nil, fmt.Errorf("set %d hides %x, which is not held: %w", n, hidden[0], errDamaged)
	}
	return items, nil
}

func asItems(keys []setKey) []setItem {
	items := make([]setItem, len(keys))
	for i, k := range keys {
		items[i].key = k
	}
	return items
}

func (st *sets) itemKeys(txn *lmdb.Txn, n uint16, lo, hi setKey) (keys []setKey, err error) {
	end := setRow(n, hi)
	err = eachKey(txn, st.s.t.setitem, setRow(n, lo), func(k []byte) bool {
		if bytes.Compare(k, end) >= 0 {
			return false
		}
		keys = append(keys, setKey(k[2:]))
		return true
	})
	return keys, err
}

// createdKeys reads the keys between two bounds out of the created index,
// which is ordered by created_at, then by falling id: within the first and the
// last second only the rows that belong are visited.
func createdKeys(txn *lmdb.Txn, dbi lmdb.DBI, lo, hi setKey) (keys []setKey, err error) {
	if !setBefore(&lo, &hi) {
		return nil, nil
	}
	take := func(from, last setKey) { // both included
		if err != nil {
			return
		}
		err = eachKey(txn, dbi, from[:], func(k []byte) bool {
			if bytes.Compare(k, last[:]) > 0 {
				return false
			}
			keys = append(keys, flipID(setKey(k)))
			return true
		})
	}
	first, end := setTime(&lo), setTime(&hi)
	top := flipID(hi) // the row of hi itself does not belong
	if first == end {
		take(after(top), flipID(lo))
	} else {
		take(secondStart(first), flipID(lo))
		take(secondStart(first+1), secondEnd(end-1))
		take(after(top), secondEnd(end))
	}
	slices.SortFunc(keys, compareSetKeys)
	return keys, err
}

func setTime(k *setKey) uint64 { return binary.BigEndian.Uint64(k[:8]) }

// flipID turns a set key into a created key and back.
func flipID(k setKey) setKey {
	for i := 8; i < len(k); i++ {
		k[i] = ^k[i]
	}
	return k
}

func secondStart(t uint64) (k setKey) {
	binary.BigEndian.PutUint64(k[:8], t)
	return k
}

func secondEnd(t uint64) setKey { return flipID(secondStart(t)) }

// after is the next key in byte order.
func after(k setKey) setKey {
	for i := len(k) - 1; i >= 0; i-- {
		k[i]++
		if k[i] != 0 {
			break
		}
	}
	return k
}

// before is the key just below k in byte order.
func before(k setKey) setKey {
	for i := len(k) - 1; i >= 0; i-- {
		k[i]--
		if k[i] != 0xff {
			break
		}
	}
	return k
}

// eachKey calls yield with the keys from on, until it returns false.
func eachKey(txn *lmdb.Txn, dbi lmdb.DBI, from []byte, yield func(k []byte) bool) error {
	return eachRow(txn, dbi, from, func(k, _ []byte) (bool, error) { return yield(k), nil })
}

// eachRow calls yield with the rows from on, until it returns false.
func eachRow(txn *lmdb.Txn, dbi lmdb.DBI, from []byte, yield func(k, v []byte) (bool, error)) error {
	cur, err := txn.OpenCursor(dbi)
	if err != nil {
		return err
	}
	defer cur.Close()
	k, v, err := cur.Get(from, nil, lmdb.SetRange)
	for err == nil {
		var more bool
		if more, err = yield(k, v); err != nil || !more {
			return err
		}
		k, v, err = cur.Get(nil, nil, lmdb.Next)
	}
	return ignoreNotFound(err)
}
