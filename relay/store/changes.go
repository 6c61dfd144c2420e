package store

import (
	"context"
	"encoding/binary"
	"iter"
	"time"

	"github.com/PowerDNS/lmdb-go/lmdb"
)

// Changes yields the log after a position up to its head, ascending. Events
// that have been removed since are passed over; their markers come later. It
// fails with ErrTrimmed when markers that far back are gone. A record's bytes
// are valid until the next step.
func (s *Store) Changes(ctx context.Context, after Pos) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		var buf []byte
		for {
			if err := ctx.Err(); err != nil {
				yield(Change{}, err)
				return
			}
			var batch []Change
			var err error
			batch, buf, err = s.changes(after, buf[:0], true)
			for i := range batch {
				if !yield(batch[i], nil) {
					return
				}
			}
			if err != nil {
				yield(Change{}, err)
				return
			}
			if len(batch) == 0 {
				return
			}
			after = batch[len(batch)-1].Pos
		}
	}
}

// changes copies one transaction's worth of the log into buf. A strict reader
// fails where it would miss trimmed markers.
func (s *Store) changes(after Pos, buf []byte, strict bool) (out []Change, _ []byte, err error) {
	deadline := time.Now().Add(batchTime)
	err = s.view(func(txn *lmdb.Txn) error {
		if trimmed, err := s.metaPos(txn, metaTrimmed); err != nil {
			return err
		} else if strict && after < trimmed && after != 0 {
			return ErrTrimmed
		}
		cur, err := txn.OpenCursor(s.t.log)
		if err != nil {
			return err
		}
		defer cur.Close()
		k, v, err := cur.Get(posKey(after+1), nil, lmdb.SetRange)
		for ; err == nil; k, v, err = cur.Get(nil, nil, lmdb.Next) {
			c, err := readLog(Pos(binary.BigEndian.Uint64(k)), v)
			if err != nil {
				return err
			}
			if c.Removed == nil {
				if len(buf)+len(c.Record.JSON) > cap(buf) {
					buf = make([]byte, 0, max(8<<10, len(c.Record.JSON), min(4*cap(buf), 256<<10)))
				}
				at := len(buf)
				buf = append(buf, c.Record.JSON...)
				c.Record.JSON = buf[at:len(buf):len(buf)]
			}
			out = append(out, c)
			if len(out) >= batchRows || len(buf) >= batchBytes || len(out)%64 == 63 && time.Now().After(deadline) {
				return nil
			}
		}
		return ignoreNotFound(err)
	})
	return out, buf, err
}

func (s *Store) metaPos(txn *lmdb.Txn, key string) (Pos, error) {
	v, err := txn.Get(s.t.meta, []byte(key))
	if lmdb.IsNotFound(err) {
		return 0, nil
	}
	if err != nil || len(v) != 8 {
		return 0, errDamagedMeta(key, err)
	}
	return Pos(binary.BigEndian.Uint64(v)), nil
}
