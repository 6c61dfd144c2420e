package store

import (
	"cmp"
	"encoding/binary"
	"slices"

	"github.com/PowerDNS/lmdb-go/lmdb"
)

// pending are the index rows of a commit that are not written yet. They are
// written in the order of their tables and keys, so that one search finds the
// page of many. Nothing may look for them there before flush.
type pending struct {
	rows  []pendingRow
	order []place
}

type pendingRow struct {
	key   []byte
	size  uint8
	value [entrySize]byte
}

// place is where a row belongs: its table, and its key's first bytes. Rows that
// tie lie close enough together.
type place struct {
	dbi  lmdb.DBI
	head uint64
	row  uint32
}

// add takes a row of at most entrySize bytes; key is not copied.
func (q *pending) add(dbi lmdb.DBI, key, value []byte) {
	var head [8]byte
	copy(head[:], key)
	q.order = append(q.order, place{dbi, binary.BigEndian.Uint64(head[:]), uint32(len(q.rows))})
	r := pendingRow{key: key, size: uint8(len(value))}
	copy(r.value[:], value)
	q.rows = append(q.rows, r)
}

// drop forgets all rows.
func (q *pending) drop() {
	clear(q.rows)
	q.rows, q.order = q.rows[:0], q.order[:0]
}

// flush writes all rows.
func (q *pending) flush(txn *lmdb.Txn) error {
	slices.SortFunc(q.order, func(a, b place) int {
		if a.dbi != b.dbi {
			return cmp.Compare(a.dbi, b.dbi)
		}
		return cmp.Compare(a.head, b.head)
	})
	defer q.drop()
	for list := q.order; len(list) > 0; {
		n := 1
		for n < len(list) && list[n].dbi == list[0].dbi {
			n++
		}
		if err := q.write(txn, list[:n]); err != nil {
			return err
		}
		list = list[n:]
	}
	return nil
}

// write puts rows of one table.
func (q *pending) write(txn *lmdb.Txn, list []place) error {
	cur, err := txn.OpenCursor(list[0].dbi)
	if err != nil {
		return err
	}
	defer cur.Close()
	for _, p := range list {
		r := &q.rows[p.row]
		if err := cur.Put(r.key, r.value[:r.size], 0); err != nil {
			return err
		}
	}
	return nil
}
