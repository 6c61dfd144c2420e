package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/PowerDNS/lmdb-go/lmdb"
)

// Retention is what the sweeper drops beyond what events ask for themselves.
// The zero value drops nothing. Requests to delete or vanish (kinds 5 and 62)
// are never dropped.
type Retention struct {
	MaxBytes int64     // of used pages; beyond it the oldest regular events go first; 0: no bound
	Rules    []AgeRule // the first rule that names a kind decides
}

// AgeRule bounds the age of kinds.
type AgeRule struct {
	Kinds  []int         // empty: every kind but replaceable and addressable ones
	MaxAge time.Duration // by created_at; 0: keep for ever
}

// SetRetention replaces the rules; the next sweep follows them.
func (s *Store) SetRetention(r Retention) { s.retention.Store(&r) }

// Sweeper's rhythm: how soon after a slice of work the next, and how long it
// rests when there was none.
const (
	sweepBusy = 10 * time.Millisecond
	sweepIdle = time.Second
)

// sweep works off bulk removals, expired events, retention and old markers, in
// slices of at most 1,000 rows a commit.
func (s *Store) sweep(ctx context.Context) error {
	timer := time.NewTimer(sweepBusy)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		more, err := s.sweepOnce(ctx)
		if errors.Is(err, ErrClosed) || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			s.cfg.Logger.Error("sweep failed, will try again", "err", err)
		}
		if more {
			timer.Reset(sweepBusy)
			continue
		}
		timer.Reset(sweepIdle)
	}
}

func (s *Store) sweepOnce(ctx context.Context) (more bool, err error) {
	for _, step := range []func(context.Context) (bool, error){s.runJobs, s.sweepExpired, s.sweepAge, s.sweepSize, s.trim} {
		if more, err := step(ctx); more || err != nil {
			return more, err
		}
	}
	return false, nil
}

// removeAll removes what list finds, in one commit; more when it found any.
func (s *Store) removeAll(ctx context.Context, list func(*lmdb.Txn) ([]Pos, error)) (more bool, err error) {
	var found []Pos
	if err := s.view(func(txn *lmdb.Txn) (err error) { found, err = list(txn); return err }); err != nil || len(found) == 0 {
		return false, err
	}
	err = s.do(ctx, func(w *writer) error {
		for _, pos := range found {
			v, err := w.txn.Get(s.t.log, posKey(pos))
			if lmdb.IsNotFound(err) || err == nil && v[0]&flagRemoved != 0 {
				continue // went meanwhile
			}
			if err != nil {
				return err
			}
			if err := w.removeAt(pos); err != nil {
				return err
			}
		}
		return nil
	})
	return err == nil, err
}

func (s *Store) sweepExpired(ctx context.Context) (bool, error) {
	return s.removeAll(ctx, func(txn *lmdb.Txn) (out []Pos, err error) {
		cur, err := txn.OpenCursor(s.t.expiry)
		if err != nil {
			return nil, err
		}
		defer cur.Close()
		now := uint64(time.Now().Unix())
		k, _, err := cur.Get(nil, nil, lmdb.First)
		for ; err == nil && len(out) < bulk && binary.BigEndian.Uint64(k) <= now; k, _, err = cur.Get(nil, nil, lmdb.Next) {
			out = append(out, Pos(binary.BigEndian.Uint64(k[8:])))
		}
		return out, ignoreNotFound(err)
	})
}

// sweepAge walks every kind that is held, from its oldest entry on.
func (s *Store) sweepAge(ctx context.Context) (bool, error) {
	rules := s.retention.Load().Rules
	if len(rules) == 0 {
		return false, nil
	}
	return s.removeAll(ctx, func(txn *lmdb.Txn) (out []Pos, err error) {
		cur, err := txn.OpenCursor(s.t.kind)
		if err != nil {
			return nil, err
		}
		defer cur.Close()
		k, _, err := cur.Get(nil, nil, lmdb.First)
		for ; err == nil && len(out) < bulk; k, _, err = cur.Get(nil, nil, lmdb.NextNoDup) {
			age := maxAge(rules, int(binary.BigEndian.Uint16(k)))
			if age == 0 {
				continue
			}
			// entries of cutoff itself stay; the run goes on with what is older
			first := makeEntry(time.Now().Add(-age).Unix()-1, ID{}, 0)
			_, v, err := cur.Get(bytes.Clone(k), first[:], lmdb.GetBothRange)
			for ; err == nil && len(out) < bulk; _, v, err = cur.Get(nil, nil, lmdb.NextDup) {
				e := entry(v)
				out = append(out, e.pos())
			}
			if ignoreNotFound(err) != nil {
				return nil, err
			}
			if lmdb.IsNotFound(err) { // GetBothRange may have lost its place
				if _, _, err := cur.Get(bytes.Clone(k), nil, lmdb.SetKey); err != nil {
					return nil, err
				}
			}
		}
		return out, ignoreNotFound(err)
	})
}

func maxAge(rules []AgeRule, kind int) time.Duration {
	if kind == 5 || kind == 62 {
		return 0
	}
	for _, r := range rules {
		if len(r.Kinds) == 0 && !replaceable(kind) && !addressable(kind) {
			return r.MaxAge
		}
		for _, k := range r.Kinds {
			if k == kind {
				return r.MaxAge
			}
		}
	}
	return 0
}

// sweepSize drops the oldest regular events while too much is used.
func (s *Store) sweepSize(ctx context.Context) (bool, error) {
	bound := s.retention.Load().MaxBytes
	if bound == 0 {
		return false, nil
	}
	st, err := s.Stats()
	if err != nil || st.Used <= bound {
		return false, err
	}
	return s.removeAll(ctx, func(txn *lmdb.Txn) (out []Pos, err error) {
		cur, err := txn.OpenCursor(s.t.created)
		if err != nil {
			return nil, err
		}
		defer cur.Close()
		_, v, err := cur.Get(nil, nil, lmdb.First)
		for seen := 0; err == nil && len(out) < bulk && seen < 20*bulk; _, v, err = cur.Get(nil, nil, lmdb.Next) {
			seen++
			rec, err := getRecord(txn, &s.t, Pos(binary.BigEndian.Uint64(v)))
			if err != nil {
				return nil, err
			}
			if k := rec.kind; k != 5 && k != 62 && !replaceable(k) && !addressable(k) {
				out = append(out, rec.Pos)
			}
		}
		return out, ignoreNotFound(err)
	})
}

// trim forgets removal markers more than KeepMarkers positions back.
func (s *Store) trim(ctx context.Context) (more bool, err error) {
	head := s.Head()
	if head <= KeepMarkers {
		return false, nil
	}
	return s.trimTo(ctx, head-KeepMarkers)
}

// trimTo looks at up to 20,000 rows from where it last stopped and drops up to
// 1,000 markers among them.
func (s *Store) trimTo(ctx context.Context, target Pos) (more bool, err error) {
	var from Pos
	if err := s.view(func(txn *lmdb.Txn) (err error) { from, err = s.metaPos(txn, metaTrimmed); return err }); err != nil {
		return false, err
	}
	if from+bulk > target { // not worth a commit yet
		return false, nil
	}
	err = s.do(ctx, func(w *writer) error {
		cur, err := w.txn.OpenCursor(s.t.log)
		if err != nil {
			return err
		}
		defer cur.Close()
		at, dropped := from, 0
		k, v, err := cur.Get(posKey(from+1), nil, lmdb.SetRange)
		for seen := 0; err == nil && seen < 20*bulk && dropped < bulk; k, v, err = cur.Get(nil, nil, lmdb.Next) {
			pos := Pos(binary.BigEndian.Uint64(k))
			if pos > target {
				break
			}
			at, seen = pos, seen+1
			if v[0]&flagRemoved != 0 {
				dropped++
				if err := cur.Del(0); err != nil {
					return err
				}
			}
		}
		if lmdb.IsNotFound(err) {
			at = target
		} else if err != nil {
			return err
		}
		return errors.Join(w.txn.Put(s.t.meta, []byte(metaTrimmed), posKey(at), 0),
			w.txn.Put(s.t.meta, []byte(metaHead), posKey(w.head), 0))
	})
	return err == nil, err
}

// Remove takes events out on the operator's word and reports how many were
// held. With ban they can never be stored again, held or not, until Unban.
func (s *Store) Remove(ctx context.Context, ids []ID, ban bool) (n int, err error) {
	for len(ids) > 0 {
		chunk := ids[:min(len(ids), bulk)]
		ids = ids[len(chunk):]
		got := 0
		err := s.do(ctx, func(w *writer) (err error) {
			got, err = w.removeIDs(chunk, ban)
			return err
		})
		if err != nil {
			return n, fmt.Errorf("remove events: %w", err)
		}
		n += got
	}
	return n, nil
}

func (w *writer) removeIDs(ids []ID, ban bool) (n int, err error) {
	for _, id := range ids {
		pos, err := w.pos(id)
		if err != nil {
			return n, err
		}
		if ban {
			if err := w.txn.Put(w.s.t.tomb, tombKey(id, [32]byte{}), posKey(math.MaxInt64), 0); err != nil {
				return n, err
			}
		}
		if pos == 0 {
			continue
		}
		if err := w.removeAt(pos); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// Unban lets events be stored again that Remove had banned.
func (s *Store) Unban(ctx context.Context, ids []ID) error {
	return s.do(ctx, func(w *writer) error {
		for _, id := range ids {
			key := tombKey(id, [32]byte{})
			at, err := w.time(s.t.tomb, key)
			if err != nil {
				return err
			}
			if at != math.MaxInt64 { // a vanish buried it, not the operator
				continue
			}
			if err := w.txn.Del(s.t.tomb, key, nil); err != nil {
				return err
			}
		}
		return nil
	})
}
