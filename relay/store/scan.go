package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"sort"

	"github.com/PowerDNS/lmdb-go/lmdb"
)

// cursors holds one cursor per table for the life of a read transaction; runs
// share them, because a run needs its cursor only while it fetches a page.
type cursors struct {
	txn  *lmdb.Txn
	t    *tables
	open []tableCursor // a handful
	key  [8]byte       // of the record read last
	from entry         // sought last
}

type tableCursor struct {
	dbi lmdb.DBI
	cur *lmdb.Cursor
}

func newCursors(txn *lmdb.Txn, t *tables) *cursors { return &cursors{txn: txn, t: t} }

func (cs *cursors) at(dbi lmdb.DBI) (*lmdb.Cursor, error) {
	for i := range cs.open {
		if cs.open[i].dbi == dbi {
			return cs.open[i].cur, nil
		}
	}
	cur, err := cs.txn.OpenCursor(dbi)
	if err != nil {
		return nil, err
	}
	cs.open = append(cs.open, tableCursor{dbi, cur})
	return cur, nil
}

// record reads one record by cursor, which finds neighbours in the log without
// going down the tree again.
func (cs *cursors) record(pos Pos) (Record, error) {
	cur, err := cs.at(cs.t.log)
	if err != nil {
		return Record{}, err
	}
	binary.BigEndian.PutUint64(cs.key[:], uint64(pos))
	_, v, err := cur.Get(cs.key[:], nil, lmdb.SetKey)
	return asRecord(pos, v, err)
}

func (cs *cursors) close() {
	for _, c := range cs.open {
		c.cur.Close()
	}
}

// seek fetches the first entry not less than from and, but for the first time,
// those of its page behind it. An empty page means that the run is through.
func (r *run) seek(cs *cursors, from entry) error {
	r.page = nil
	if r.ids != nil {
		return r.seekIDs(cs, from)
	}
	if r.key == nil {
		return r.seekCreated(cs, from)
	}
	cur, err := cs.at(r.dbi)
	if err != nil {
		return err
	}
	cs.from = from
	_, v, err := cur.Get(r.key, cs.from[:], lmdb.GetBothRange)
	if lmdb.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	if !r.asked { // of most runs of a feed, one entry is all that is needed
		r.asked, r.page = true, v
		return nil
	}
	// A lone value has no page of duplicates, and LMDB then leaves what it was
	// given in place: v, which points into the map, not into Go's memory.
	_, page, err := cur.Get(r.key, v, lmdb.GetMultiple)
	if err != nil {
		return err
	}
	if len(page)%entrySize != 0 {
		return fmt.Errorf("a page of %d bytes of entries: %w", len(page), errDamaged)
	}
	n := sort.Search(len(page)/entrySize, func(i int) bool {
		return bytes.Compare(page[i*entrySize:(i+1)*entrySize], cs.from[:]) >= 0
	})
	r.page = page[n*entrySize:]
	return nil
}

// seekIDs looks the ids up and orders them.
func (r *run) seekIDs(cs *cursors, from entry) error {
	var list []entry
	for _, id := range r.ids {
		v, err := cs.txn.Get(cs.t.id, id[:])
		if lmdb.IsNotFound(err) {
			continue
		}
		if err != nil {
			return err
		}
		rec, err := cs.record(Pos(binary.BigEndian.Uint64(v)))
		if err != nil {
			return err
		}
		if e := makeEntry(rec.created, id, rec.Pos); !e.less(&from) {
			list = append(list, e)
		}
	}
	slices.SortFunc(list, func(a, b entry) int { return bytes.Compare(a[:], b[:]) })
	r.own = r.own[:0]
	for _, e := range list {
		r.own = append(r.own, e[:]...)
	}
	r.page = r.own
	return nil
}

// createdPage is how many keys of the created index are read at a time.
const createdPage = 64

// seekCreated reads the created index backwards, newest first, and makes
// entries of its keys.
func (r *run) seekCreated(cs *cursors, from entry) error {
	cur, err := cs.at(cs.t.created)
	if err != nil {
		return err
	}
	// The key that sorts just above every key of from's slot or newer: keys
	// hold the complement of the id, so the lowest id is the highest key.
	bound := binary.BigEndian.AppendUint64(make([]byte, 0, 40), uint64(from.created()))
	for _, b := range from[fieldSize : 2*fieldSize] {
		bound = append(bound, ^b)
	}
	for len(bound) < 40 {
		bound = append(bound, 0xff)
	}
	k, v, err := cur.Get(bound, nil, lmdb.SetRange)
	switch {
	case lmdb.IsNotFound(err):
		k, v, err = cur.Get(nil, nil, lmdb.Last)
	case err == nil && !bytes.Equal(k, bound):
		k, v, err = cur.Get(nil, nil, lmdb.Prev)
	}
	r.own = r.own[:0]
	for ; err == nil && len(r.own) < createdPage*entrySize; k, v, err = cur.Get(nil, nil, lmdb.Prev) {
		if len(k) != 40 || len(v) != 8 {
			return errDamaged
		}
		var id ID
		for i := range fieldSize {
			id[i] = ^k[8+i]
		}
		e := makeEntry(int64(binary.BigEndian.Uint64(k)), id, Pos(binary.BigEndian.Uint64(v)))
		if e.less(&from) {
			continue // the same slot, at a position already passed
		}
		r.own = append(r.own, e[:]...)
	}
	r.page = r.own
	return ignoreNotFound(err)
}
