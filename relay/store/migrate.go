package store

import (
	"encoding/binary"
	"fmt"

	"github.com/PowerDNS/lmdb-go/lmdb"
)

// schema is the layout this program reads and writes.
const schema = 2

// migrations[n] turns schema n into n+1. Each step takes events in log order,
// after a position, in slices; progress is kept in the commit of each slice,
// so a migration that stopped half way resumes where it was.
func (s *Store) migrations() map[uint32]func(w *writer, rec *Record) error {
	return map[uint32]func(*writer, *Record) error{
		1: (*writer).addTagKind, // schema 1 had no tagkind index
	}
}

// addTagKind writes the rows of the tagkind index.
func (w *writer) addTagKind(rec *Record) error {
	ev, err := rec.Event()
	if err != nil {
		return err
	}
	p, err := w.s.t.parse(ev)
	if err != nil {
		return err
	}
	ent := makeEntry(p.created, p.id, rec.Pos)
	for _, r := range p.rows {
		if r.dbi == w.s.t.tagkind {
			if err := w.txn.Put(r.dbi, r.key, ent[:], 0); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) readSchema() (n uint32, err error) {
	err = s.view(func(txn *lmdb.Txn) error {
		v, err := txn.Get(s.t.meta, []byte(metaSchema))
		if lmdb.IsNotFound(err) {
			return nil
		}
		if err != nil || len(v) != 4 {
			return errDamagedMeta(metaSchema, err)
		}
		n = binary.BigEndian.Uint32(v)
		return nil
	})
	return n, err
}

func (s *Store) checkSchema() error {
	n, err := s.readSchema()
	if err == nil && n != schema {
		err = fmt.Errorf("schema %d, this program reads schema %d: start `agora serve` once to migrate", n, schema)
	}
	return err
}

// migrate brings the store to the current schema, slice by slice.
func (s *Store) migrate() error {
	n, err := s.readSchema()
	if err != nil {
		return err
	}
	if n == 0 { // a new store
		return s.env.Update(func(txn *lmdb.Txn) error { return s.putSchema(txn, schema) })
	}
	if n > schema {
		return fmt.Errorf("schema %d is newer than this program, which knows up to %d: use a newer agora", n, schema)
	}
	for ; n < schema; n++ {
		step := s.migrations()[n]
		if step == nil {
			return fmt.Errorf("schema %d is too old for this program", n)
		}
		s.cfg.Logger.Info("migrating the store", "from", n, "to", n+1)
		for done := false; !done; {
			if done, err = s.migrateSlice(n, step); err != nil {
				return fmt.Errorf("migrate schema %d to %d (run again to resume): %w", n, n+1, err)
			}
		}
	}
	return nil
}

func (s *Store) putSchema(txn *lmdb.Txn, n uint32) error {
	return txn.Put(s.t.meta, []byte(metaSchema), binary.BigEndian.AppendUint32(nil, n), 0)
}

// migrateSlice migrates up to 1,000 events and remembers how far it came.
func (s *Store) migrateSlice(from uint32, step func(*writer, *Record) error) (done bool, err error) {
	var after Pos
	if err := s.view(func(txn *lmdb.Txn) (err error) { after, err = s.metaPos(txn, metaMigrating); return err }); err != nil {
		return false, err
	}
	batch, _, err := s.changes(after, nil, false)
	if err != nil {
		return false, err
	}
	return len(batch) == 0, s.env.Update(func(txn *lmdb.Txn) error {
		w := &writer{s: s, txn: txn}
		for i := range batch {
			if batch[i].Removed != nil {
				continue
			}
			if err := step(w, &batch[i].Record); err != nil {
				return fmt.Errorf("event %s: %w", batch[i].Record.HexID(), err)
			}
		}
		if len(batch) == 0 {
			if err := ignoreNotFound(txn.Del(s.t.meta, []byte(metaMigrating), nil)); err != nil {
				return err
			}
			return s.putSchema(txn, from+1)
		}
		return txn.Put(s.t.meta, []byte(metaMigrating), posKey(batch[len(batch)-1].Pos), 0)
	})
}
