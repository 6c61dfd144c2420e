package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/PowerDNS/lmdb-go/lmdb"
	"github.com/nbd-wtf/go-nostr"
)

// CheckOptions says how far Check goes.
type CheckOptions struct {
	Verify   func(*nostr.Event) error // id or signature of one event; nil: neither
	Progress func(done, total uint64) // called now and then; may be nil
}

// Report is what Check found.
type Report struct {
	Events   uint64
	Markers  uint64   // removal markers in the log
	Rows     uint64   // index rows compared
	Bad      uint64   // problems
	Problems []string // the first 100 of them, each naming what is wrong
}

func (r *Report) problem(format string, args ...any) {
	if r.Bad++; len(r.Problems) < 100 {
		r.Problems = append(r.Problems, fmt.Sprintf(format, args...))
	}
}

// Check compares every index with every record, both ways, in one read
// transaction: on a store that is being written to, the file grows meanwhile.
// What is wrong stands in the report; an error means that it could not tell.
func (s *Store) Check(ctx context.Context, o CheckOptions) (rep Report, err error) {
	err = s.view(func(txn *lmdb.Txn) error {
		c := &checker{s: s, txn: txn, o: o, rep: &rep, rows: map[lmdb.DBI]uint64{}}
		if err := c.log(ctx); err != nil {
			return err
		}
		if err := c.strays(ctx); err != nil {
			return err
		}
		err := s.sets.check(txn)
		if errors.Is(err, errDamaged) {
			c.rep.problem("%v", err)
			return nil
		}
		return err
	})
	if err != nil {
		return rep, fmt.Errorf("check store: %w", broken(err))
	}
	return rep, nil
}

// broken marks what LMDB says of a file whose pages are not what they were.
func broken(err error) error {
	for _, is := range []lmdb.Errno{lmdb.Corrupted, lmdb.PageNotFound, lmdb.Invalid} {
		if op, ok := errors.AsType[*lmdb.OpError](err); ok && errors.Is(op.Errno, is) || errors.Is(err, is) {
			return fmt.Errorf("%w: %w", ErrBroken, err)
		}
	}
	return err
}

type checker struct {
	s    *Store
	txn  *lmdb.Txn
	o    CheckOptions
	rep  *Report
	rows map[lmdb.DBI]uint64 // rows the records account for
}

// log goes through every record and looks up each row it should have.
func (c *checker) log(ctx context.Context) error {
	st, err := c.txn.Stat(c.s.t.log)
	if err != nil {
		return err
	}
	cur, err := c.txn.OpenCursor(c.s.t.log)
	if err != nil {
		return err
	}
	defer cur.Close()
	k, v, err := cur.Get(nil, nil, lmdb.First)
	for n := uint64(0); err == nil; k, v, err = cur.Get(nil, nil, lmdb.Next) {
		if n++; n%1024 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			if c.o.Progress != nil {
				c.o.Progress(n, st.Entries)
			}
		}
		ch, err := readLog(Pos(binary.BigEndian.Uint64(k)), v)
		switch {
		case err != nil:
			c.rep.problem("%v", err)
		case ch.Removed != nil:
			c.rep.Markers++
		default:
			if err := c.record(&ch.Record); err != nil {
				return err
			}
		}
	}
	return ignoreNotFound(err)
}

func (c *checker) record(rec *Record) error {
	c.rep.Events++
	ev, err := rec.Event()
	if err != nil {
		c.rep.problem("log row %d: %v", rec.Pos, err)
		return nil
	}
	p, err := c.s.t.parse(ev)
	if err != nil {
		c.rep.problem("log row %d: %v", rec.Pos, err)
		return nil
	}
	if p.expires != rec.expires {
		c.rep.problem("event %s: expires at %d, its log row says %d", ev.ID, p.expires, rec.expires)
	}
	if c.o.Verify != nil {
		if err := c.o.Verify(ev); err != nil {
			c.rep.problem("event %s: %v", ev.ID, err)
		}
	}
	return c.indexed(rec, &p, ev)
}

// indexed looks up every row of one event.
func (c *checker) indexed(rec *Record, p *parsed, ev *nostr.Event) error {
	t, key := &c.s.t, posKey(rec.Pos)
	single := []struct {
		name  string
		dbi   lmdb.DBI
		key   []byte
		value []byte
	}{{"id", t.id, p.id[:], key}, {"created", t.created, createdKey(p.created, p.id), key}}
	if p.address != nil {
		single = append(single, single[0])
		single[2].name, single[2].dbi, single[2].key = "address", t.address, p.address
	}
	if p.expires != 0 {
		single = append(single, single[0])
		last := &single[len(single)-1]
		last.name, last.dbi, last.key, last.value = "expiry", t.expiry, append(posKey(Pos(p.expires)), key...), []byte(present)
	}
	for _, r := range single {
		c.rows[r.dbi]++
		c.rep.Rows++
		v, err := c.txn.Get(r.dbi, r.key)
		if ignoreNotFound(err) != nil {
			return err
		}
		if err != nil || !bytes.Equal(v, r.value) {
			c.rep.problem("event %s at %d: its row in index %s is missing or points elsewhere", ev.ID, rec.Pos, r.name)
		}
	}
	return c.runs(rec, p, ev)
}

func (c *checker) runs(rec *Record, p *parsed, ev *nostr.Event) error {
	ent := makeEntry(p.created, p.id, rec.Pos)
	slices.SortFunc(p.rows, func(a, b row) int {
		if a.dbi != b.dbi {
			return int(a.dbi) - int(b.dbi)
		}
		return bytes.Compare(a.key, b.key)
	})
	rows := slices.CompactFunc(p.rows, func(a, b row) bool { return a.dbi == b.dbi && bytes.Equal(a.key, b.key) })
	for _, r := range rows {
		c.rows[r.dbi]++
		c.rep.Rows++
		cur, err := c.txn.OpenCursor(r.dbi)
		if err != nil {
			return err
		}
		_, _, err = cur.Get(r.key, ent[:], lmdb.GetBoth)
		cur.Close()
		if ignoreNotFound(err) != nil {
			return err
		}
		if err != nil {
			c.rep.problem("event %s at %d: its row in index %s is missing", ev.ID, rec.Pos, c.name(r.dbi))
		}
	}
	return nil
}

func (c *checker) name(dbi lmdb.DBI) string {
	for _, tab := range c.s.t.all() {
		if *tab.dbi == dbi {
			return tab.name
		}
	}
	return "unknown"
}

// strays finds rows that no record accounts for: first by count, then, where
// the counts differ, one by one.
func (c *checker) strays(ctx context.Context) error {
	t := &c.s.t
	for _, dbi := range []lmdb.DBI{t.id, t.created, t.author, t.authorkind, t.kind, t.tag, t.tagkind, t.address, t.expiry} {
		st, err := c.txn.Stat(dbi)
		if err != nil {
			return err
		}
		if st.Entries == c.rows[dbi] {
			continue
		}
		c.rep.problem("index %s has %d rows, the records account for %d", c.name(dbi), st.Entries, c.rows[dbi])
		if err := c.stray(ctx, dbi); err != nil {
			return err
		}
	}
	return nil
}

// stray names the rows of one index that point to no event.
func (c *checker) stray(ctx context.Context, dbi lmdb.DBI) error {
	cur, err := c.txn.OpenCursor(dbi)
	if err != nil {
		return err
	}
	defer cur.Close()
	k, v, err := cur.Get(nil, nil, lmdb.First)
	for n := 0; err == nil; k, v, err = cur.Get(nil, nil, lmdb.Next) {
		if n++; n%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		pos, ok := rowPos(k, v)
		if !ok {
			c.rep.problem("index %s: row %x is malformed", c.name(dbi), k)
			continue
		}
		if _, err := getRecord(c.txn, &c.s.t, pos); err != nil {
			c.rep.problem("index %s: row %x points to %d, where no event is", c.name(dbi), k, pos)
		}
	}
	return ignoreNotFound(err)
}

func rowPos(k, v []byte) (Pos, bool) {
	switch len(v) {
	case 8:
		return Pos(binary.BigEndian.Uint64(v)), true
	case entrySize:
		e := entry(v)
		return e.pos(), true
	case len(present):
		if len(k) == 16 { // expiry
			return Pos(binary.BigEndian.Uint64(k[8:])), true
		}
	}
	return 0, false
}
