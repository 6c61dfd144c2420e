package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"iter"
	"math"
	"slices"
	"time"

	"github.com/PowerDNS/lmdb-go/lmdb"
	"github.com/nbd-wtf/go-nostr"
)

// Bounds of one read transaction: past any of them it is let go and the read
// resumes by key.
const (
	batchRows  = 512                   // records
	batchBytes = 1 << 20               // of records
	batchTime  = 20 * time.Millisecond // checked every 64 entries
)

// Query yields what matches any of the filters, created_at descending, ties by
// lowest id, no event twice. Each filter's own Limit holds (0 means none,
// unless LimitZero); Search is not looked at; a list that is empty but not nil
// matches nothing. A record's bytes are valid within the loop's body, until its
// next step or its end: Clone what is to be kept.
func (s *Store) Query(ctx context.Context, filters ...nostr.Filter) iter.Seq2[Record, error] {
	return s.QueryAt(ctx, math.MaxUint64, filters...)
}

// QueryAt is Query over what was stored up to position upTo. A caller that
// reads Head first and follows the log from there sees every event once, but
// for those replaced or removed meanwhile.
func (s *Store) QueryAt(ctx context.Context, upTo Pos, filters ...nostr.Filter) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		q, err := s.plan(filters, upTo)
		if err != nil {
			yield(Record{}, err)
			return
		}
		q.pad, _ = s.pads.Get().(*pad)
		if q.pad == nil {
			q.pad = new(pad)
		}
		defer s.pads.Put(q.pad)
		for !q.done {
			if err := ctx.Err(); err != nil {
				yield(Record{}, err)
				return
			}
			err := q.batch(true)
			for i := range q.pad.rows {
				if !yield(q.pad.rows[i], nil) {
					return
				}
			}
			if err != nil {
				yield(Record{}, err)
				return
			}
		}
	}
}

// Count counts what Query would yield. Filters whose index answers alone are
// counted without reading a record.
func (s *Store) Count(ctx context.Context, filters ...nostr.Filter) (n int64, err error) {
	q, err := s.plan(filters, math.MaxUint64)
	if err != nil {
		return 0, err
	}
	for !q.done {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		before := q.rows
		if err := q.batch(false); err != nil {
			return n, err
		}
		n += q.rows - before
	}
	return n, nil
}

// Lookup yields the events of ids, in the order given; those not held are
// passed over.
func (s *Store) Lookup(ctx context.Context, ids []ID, yield func(Record) bool) error {
	for chunk := range slices.Chunk(ids, batchRows) {
		if err := ctx.Err(); err != nil {
			return err
		}
		var found []Record
		err := s.view(func(txn *lmdb.Txn) error {
			for _, id := range chunk {
				v, err := txn.Get(s.t.id, id[:])
				if lmdb.IsNotFound(err) {
					continue
				}
				if err != nil {
					return err
				}
				rec, err := getRecord(txn, &s.t, Pos(binary.BigEndian.Uint64(v)))
				if err != nil {
					return err
				}
				if !s.hidden(&rec) && !expired(&rec) {
					found = append(found, rec.Clone())
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, rec := range found {
			if !yield(rec) {
				return nil
			}
		}
	}
	return nil
}

// Has reports whether the event is held and not about to be removed: what has
// expired or vanished is gone from the moment it is hidden.
func (s *Store) Has(id ID) (held bool, err error) {
	err = s.view(func(txn *lmdb.Txn) error {
		v, err := txn.Get(s.t.id, id[:])
		if err != nil {
			return ignoreNotFound(err)
		}
		rec, err := getRecord(txn, &s.t, Pos(binary.BigEndian.Uint64(v)))
		held = err == nil && !expired(&rec) && !s.hidden(&rec)
		return err
	})
	return held, err
}

func expired(r *Record) bool { return r.expires != 0 && r.expires <= time.Now().Unix() }

// query is a planned read: one stream per filter, merged.
type query struct {
	s       *Store
	upTo    Pos
	streams []*stream
	last    entry // the last slot dealt with, its pos above any
	begun   bool  // last is set
	done    bool
	rows    int64    // passed on so far
	group   []Record // what next returned last
	pad     *pad     // nil when records are only counted
}

// pad holds the copies of one batch of records. Pads are used again, so that
// reading leaves the collector little to do.
type pad struct {
	rows   []Record
	chunks [][]byte // of padChunk bytes, and those of longer records
	used   int      // chunks in use
}

// padChunk is the room for some 90 records; a longer one gets a chunk of its own.
const padChunk = 64 << 10

// reset makes all room free and lets go of chunks made for long records.
func (p *pad) reset() {
	p.rows, p.used = p.rows[:0], 0
	p.chunks = slices.DeleteFunc(p.chunks, func(c []byte) bool { return cap(c) > padChunk })
	for i := range p.chunks {
		p.chunks[i] = p.chunks[i][:0]
	}
}

// keep copies a record out of the map.
func (p *pad) keep(r Record) {
	n := len(r.JSON)
	for p.used == 0 || len(p.chunks[p.used-1])+n > cap(p.chunks[p.used-1]) {
		if p.used == len(p.chunks) {
			p.chunks = append(p.chunks, make([]byte, 0, max(n, padChunk)))
		}
		p.used++
	}
	c := p.chunks[p.used-1]
	r.JSON = append(c, r.JSON...)[len(c) : len(c)+n : len(c)+n]
	p.chunks[p.used-1] = c[:len(c)+n]
	p.rows = append(p.rows, r)
}

// batch does a transaction's worth of the query. With records it leaves copies
// on the pad.
func (q *query) batch(records bool) error {
	deadline := time.Now().Add(batchTime)
	if records {
		q.pad.reset()
	}
	return q.s.view(func(txn *lmdb.Txn) error {
		cs := newCursors(txn, &q.s.t)
		defer cs.close()
		for i := range q.streams {
			if err := q.streams[i].resume(cs, q); err != nil {
				return err
			}
		}
		fast := !records && q.s.vanishing.Load() == nil && !q.s.due(txn)
		began, size := q.rows, 0
		for n := 1; ; n++ {
			group, more, err := q.next(cs, fast)
			if err != nil {
				return err
			}
			if !more {
				q.done = true
				return nil
			}
			for _, rec := range group {
				q.rows++
				if records {
					q.pad.keep(rec)
					size += len(rec.JSON)
				}
			}
			if q.rows-began >= batchRows || size >= batchBytes || n%64 == 0 && time.Now().After(deadline) {
				return nil
			}
		}
	})
}

// due reports whether an event has expired that the sweeper has not yet taken.
func (s *Store) due(txn *lmdb.Txn) bool {
	cur, err := txn.OpenCursor(s.t.expiry)
	if err != nil {
		return true
	}
	defer cur.Close()
	k, _, err := cur.Get(nil, nil, lmdb.First)
	return err == nil && int64(binary.BigEndian.Uint64(k)) <= time.Now().Unix()
}

// next returns the records of the next slot (created_at and the first bytes of
// the id) that any stream lets through: none, one or, for ids made to collide,
// several, which only the whole id can order. The slice is used again. Fast
// leaves the records of covered streams unread.
func (q *query) next(cs *cursors, fast bool) (group []Record, more bool, err error) {
	best := -1
	for i, st := range q.streams {
		if st.ok && (best < 0 || st.head.less(&q.streams[best].head)) {
			best = i
		}
	}
	if best < 0 {
		return nil, false, nil
	}
	slot := q.streams[best].head
	group = q.group[:0]
	for _, st := range q.streams {
		for st.ok && st.head.sameSlot(&slot) {
			rec, pass, err := st.take(cs, q, fast)
			if err != nil {
				return nil, false, err
			}
			if pass && !slices.ContainsFunc(group, func(g Record) bool { return g.Pos == rec.Pos }) {
				group = append(group, rec)
			}
		}
	}
	putField(slot[2*fieldSize:], maxField)
	q.last, q.begun = slot, true
	q.group = group
	if len(group) > 1 && !fast {
		slices.SortFunc(group, func(a, b Record) int { return bytes.Compare(a.HexID(), b.HexID()) })
	}
	return group, true, nil
}

// stream is one filter's runs, merged newest first.
type stream struct {
	f      nostr.Filter
	left   int    // rows still allowed; -1: no bound
	since  int64  // entries older than this end a run
	first  entry  // where each run begins
	covers bool   // every entry of the runs matches the filter
	runs   []*run // a heap by head
	head   entry
	ok     bool
}

// run is what one index holds under one key. It keeps a page of entries that
// points into the map and is dropped with the transaction.
type run struct {
	dbi   lmdb.DBI
	key   []byte // nil: the whole created index, or ids
	ids   []ID   // a run made of these alone
	page  []byte
	own   []byte // the page, where the index holds no entries
	asked bool   // seek has been here before
	end   bool
}

// resume places the stream's runs at the entry after the query's last.
func (st *stream) resume(cs *cursors, q *query) error {
	st.ok = false
	if st.left == 0 {
		return nil
	}
	from := st.first
	if q.begun && from.less(&q.last) {
		from = q.last // its pos is above any: no entry of the slot comes again
	}
	live := st.runs[:0]
	for _, r := range st.runs {
		if r.end {
			continue
		}
		if err := r.seek(cs, from); err != nil {
			return err
		}
		if st.alive(r) {
			live = append(live, r)
		}
	}
	st.runs = live
	for i := len(st.runs)/2 - 1; i >= 0; i-- {
		st.down(i)
	}
	st.peek()
	return nil
}

// alive reports whether the run has an entry within the time asked for.
func (st *stream) alive(r *run) bool {
	if len(r.page) < entrySize {
		r.end = true
		return false
	}
	e := entry(r.page)
	if e.created() < st.since {
		r.end = true
		return false
	}
	return true
}

func (st *stream) peek() {
	st.ok = len(st.runs) > 0 && st.left != 0
	if st.ok {
		st.head = entry(st.runs[0].page)
	}
}

// take consumes the head and says whether its event is among the answer.
func (st *stream) take(cs *cursors, q *query, fast bool) (rec Record, pass bool, err error) {
	e := st.head
	for st.ok && st.head == e { // the same event in several runs
		if err := st.step(cs); err != nil {
			return rec, false, err
		}
	}
	if e.pos() > q.upTo {
		return rec, false, nil
	}
	if rec.Pos = e.pos(); !fast || !st.covers {
		if rec, err = cs.record(e.pos()); err != nil {
			return rec, false, err
		}
		if !st.covers && !rec.Match(st.f) || expired(&rec) || q.s.hidden(&rec) {
			return rec, false, nil
		}
	}
	if st.left > 0 {
		st.left--
		st.ok = st.ok && st.left > 0
	}
	return rec, true, nil
}

// step moves the first run on and restores the heap.
func (st *stream) step(cs *cursors) error {
	r := st.runs[0]
	last := entry(r.page)
	r.page = r.page[entrySize:]
	if len(r.page) < entrySize {
		if err := r.seek(cs, last.following()); err != nil {
			return err
		}
	}
	if !st.alive(r) {
		n := len(st.runs) - 1
		st.runs[0] = st.runs[n]
		st.runs = st.runs[:n]
	}
	st.down(0)
	st.peek()
	return nil
}

// down restores the heap order below i.
func (st *stream) down(i int) {
	for {
		c := 2*i + 1
		if c >= len(st.runs) {
			return
		}
		if c+1 < len(st.runs) && bytes.Compare(st.runs[c+1].page[:entrySize], st.runs[c].page[:entrySize]) < 0 {
			c++
		}
		if bytes.Compare(st.runs[i].page[:entrySize], st.runs[c].page[:entrySize]) <= 0 {
			return
		}
		st.runs[i], st.runs[c] = st.runs[c], st.runs[i]
		i = c
	}
}
