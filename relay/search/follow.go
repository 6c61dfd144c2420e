package search

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"agora/relay/store"

	"github.com/PowerDNS/lmdb-go/lmdb"
	"github.com/nbd-wtf/go-nostr"
)

// source is the part of a store that the index reads; *store.Store is it, and
// a test has another, which forgets.
type source interface {
	Head() store.Pos
	Wait(ctx context.Context, after store.Pos) error
	Changes(ctx context.Context, after store.Pos) iter.Seq2[store.Change, error]
	QueryAt(ctx context.Context, upTo store.Pos, filters ...nostr.Filter) iter.Seq2[store.Record, error]
	Lookup(ctx context.Context, ids []store.ID, yield func(store.Record) bool) error
}

// Bounds of a batch: what is reached first writes it.
const (
	batchDocs    = 8192
	batchBytes   = 16 << 20 // of records
	batchChanges = 100_000
	busyBatch    = 256                    // changes after which the next batch waits longer
	busyLinger   = 500 * time.Millisecond // at most; keeps segments from being many and small
	idleCheck    = time.Minute            // how often an idle index looks for what has to leave the disk
)

// Run follows the log until ctx is done, and first builds what is missing.
func (ix *Index) Run(ctx context.Context) error {
	err := ix.run(ctx)
	if ctx.Err() != nil && (err == nil || errors.Is(err, ctx.Err())) {
		if ix.env == nil {
			return nil
		}
		return ix.save() // the position, past changes of other kinds
	}
	return err
}

func (ix *Index) run(ctx context.Context) error {
	for ctx.Err() == nil {
		if ix.st.Rebuild != nil {
			if err := ix.rebuild(ctx); err != nil {
				return fmt.Errorf("build search index: %w", err)
			}
		}
		err := ix.follow(ctx)
		if !errors.Is(err, store.ErrTrimmed) {
			return err
		}
		ix.cfg.Logger.Warn("the log no longer reaches back to the search index: building it again", "pos", ix.st.Pos)
		if err := ix.startOver(); err != nil {
			return fmt.Errorf("reset search index: %w", err)
		}
	}
	return ctx.Err()
}

// follow reads the log from the index's position on. Between batches it does
// one step of what keeps the index small; with nothing to do it waits.
func (ix *Index) follow(ctx context.Context) error {
	since := time.Now() // when the oldest change not yet indexed can have come
	for ctx.Err() == nil {
		now, linger := time.Now(), ix.cfg.Linger
		if ix.log.Head() <= store.Pos(ix.pos.Load()) {
			busy, err := ix.tidy()
			if err != nil {
				return err
			}
			if since = now; busy {
				continue
			}
			if err := ix.idle(ctx); err != nil {
				return err
			}
			since = time.Now()
		} else {
			n, atHead, err := ix.batchAndTidy(ctx, since)
			if err != nil {
				return err
			}
			if !atHead {
				continue
			}
			since = now
			if n > busyBatch {
				linger = max(linger, busyLinger)
			}
		}
		if err := pause(ctx, linger); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (ix *Index) batchAndTidy(ctx context.Context, since time.Time) (n int, atHead bool, err error) {
	if n, atHead, err = ix.batch(ctx); err != nil {
		return n, atHead, err
	}
	ix.stats.lag.Observe(time.Since(since).Seconds())
	return n, atHead, ix.keepUp()
}

// keepUp does one step of tidying after a batch, and as many as it takes when
// merging falls behind.
func (ix *Index) keepUp() error {
	for {
		busy, err := ix.tidy()
		if err != nil || !busy || len(ix.st.Segments) < mergeCrowd {
			return err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// idle waits for the log to grow, or for the time to look after the disk.
func (ix *Index) idle(ctx context.Context) error {
	if cap(ix.work.docs) > busyBatch {
		ix.work = newBatch() // an idle index holds no memory of busy times
	}
	short, cancel := context.WithTimeout(ctx, idleCheck)
	defer cancel()
	err := ix.log.Wait(short, store.Pos(ix.pos.Load()))
	if ctx.Err() != nil || err == nil || !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if ix.st.Pos < store.Pos(ix.pos.Load()) {
		return ix.save()
	}
	return nil
}

// batch reads changes and writes them as one segment. It reports how many it
// read and whether it came to the log's end.
func (ix *Index) batch(ctx context.Context) (n int, atHead bool, err error) {
	pos := store.Pos(ix.pos.Load())
	var gone []store.ID // in older segments
	var fallen []uint32 // in this batch
	defer ix.work.reset()
	atHead = true
	for c, err := range ix.log.Changes(ctx, pos) {
		if err != nil {
			return n, false, err
		}
		pos, n = c.Pos, n+1
		switch {
		case c.Removed == nil && ix.kinds[c.Record.Kind()]:
			ix.work.add(&c.Record)
		case c.Removed != nil && ix.kinds[c.Removed.Kind]:
			if doc, ok := ix.work.last(c.Removed.ID); ok {
				fallen = append(fallen, doc)
			}
			gone = append(gone, c.Removed.ID)
		}
		if len(ix.work.docs) >= batchDocs || ix.work.text >= ix.batchBytes() || n >= batchChanges {
			atHead = false
			break
		}
	}
	if len(ix.work.docs) == 0 && len(gone) == 0 {
		ix.advance(pos) // nothing to write; the position follows with the next commit
		return n, atHead, nil
	}
	return n, atHead, ix.commit(func(st *state) { st.Pos = pos }, gone, fallen)
}

// batchBytes keeps a batch small beside the budget.
func (ix *Index) batchBytes() int { return int(min(batchBytes, ix.cfg.Budget/bigShare)) }

// last finds the newest document of an event in the batch.
func (b *batch) last(id store.ID) (uint32, bool) {
	for i := len(b.docs) - 1; i >= 0; i-- {
		if b.docs[i].id == id {
			return uint32(i), true
		}
	}
	return 0, false
}

// commit writes the batch, the removals and what set changes, all at once. A
// full map costs the oldest segment, not the batch.
func (ix *Index) commit(set func(*state), gone []store.ID, fallen []uint32) error {
	for {
		err := ix.tryCommit(set, gone, fallen)
		if !lmdb.IsMapFull(err) || len(ix.st.Segments) == 0 {
			return err
		}
		if err := ix.dropOldest(); err != nil {
			return fmt.Errorf("make room in the search index: %w", err)
		}
	}
}

func (ix *Index) tryCommit(set func(*state), gone []store.ID, fallen []uint32) error {
	st := ix.st.clone()
	older := len(st.Segments)
	var pages []page
	if len(ix.work.docs) > 0 {
		var s segment
		s, pages = ix.work.write(st.Next)
		st.Next++
		st.Segments = append(st.Segments, s)
	}
	set(&st)
	return ix.update(&st, func(txn *lmdb.Txn) error {
		if err := putPages(txn, ix.pages, pages); err != nil {
			return err
		}
		for _, doc := range fallen {
			s := &st.Segments[len(st.Segments)-1]
			if err := ix.mark(txn, s, doc); err != nil {
				return err
			}
		}
		return ix.removeFrom(txn, st.Segments[:older], gone)
	})
}

// removeFrom marks the documents of events that went.
func (ix *Index) removeFrom(txn *lmdb.Txn, segs []segment, gone []store.ID) error {
	v, err := newView(txn, ix.pages)
	if err != nil {
		return err
	}
	defer v.close()
	for _, id := range gone {
		for i := range segs {
			docs, err := v.find(segs[i].Number, id)
			if err != nil {
				return err
			}
			for _, doc := range docs {
				if err := ix.mark(txn, &segs[i], doc); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (ix *Index) mark(txn *lmdb.Txn, s *segment, doc uint32) error {
	fresh, err := markGone(txn, ix.pages, s.Number, doc)
	if err != nil || !fresh {
		return err
	}
	if s.Gone == 0 {
		s.Since = time.Now().Unix()
	}
	s.Gone++
	return nil
}

func putPages(txn *lmdb.Txn, dbi lmdb.DBI, pages []page) error {
	for _, p := range pages {
		if err := txn.Put(dbi, p.key, p.value, 0); err != nil {
			return err
		}
	}
	return nil
}

// update runs f and writes st in one commit, and makes st the state when it is
// through.
func (ix *Index) update(st *state, f func(*lmdb.Txn) error) error {
	err := ix.env.Update(func(txn *lmdb.Txn) error {
		if err := f(txn); err != nil {
			return err
		}
		return ix.writeState(txn, st)
	})
	if err != nil {
		return err
	}
	ix.st = *st
	ix.publish()
	return nil
}

// save writes the position alone.
func (ix *Index) save() error {
	st := ix.st.clone()
	if st.Rebuild == nil {
		st.Pos = max(st.Pos, store.Pos(ix.pos.Load()))
	}
	return ix.update(&st, func(*lmdb.Txn) error { return nil })
}

func (st *state) clone() state {
	c := *st
	c.Segments, c.Trash = slices.Clone(st.Segments), slices.Clone(st.Trash)
	return c
}

// publish tells readers and metrics of the state just written.
func (ix *Index) publish() {
	ix.stats.documents.Set(float64(ix.st.docs()))
	ix.stats.bytes.Set(float64(ix.st.bytes()))
	ix.stats.segments.Set(float64(len(ix.st.Segments)))
	if ix.st.Rebuild == nil {
		ix.advance(ix.st.Pos)
	}
}

func (ix *Index) advance(pos store.Pos) {
	ix.stats.behind.Set(max(float64(ix.log.Head())-float64(pos), 0))
	ix.mu.Lock()
	defer ix.mu.Unlock()
	if uint64(pos) > ix.pos.Load() {
		ix.pos.Store(uint64(pos))
	}
	close(ix.grown)
	ix.grown = make(chan struct{})
}

// Wait returns once everything up to pos can be found, or with ctx's error.
func (ix *Index) Wait(ctx context.Context, pos store.Pos) error {
	for {
		ix.mu.Lock()
		grown := ix.grown
		ix.mu.Unlock()
		if store.Pos(ix.pos.Load()) >= pos {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// startOver empties the index and prepares to read the whole store.
func (ix *Index) startOver() error {
	ix.merge = nil
	st := state{
		Version: version, Kinds: ix.cfg.Kinds, Next: ix.st.Next + 1, Dropped: ix.st.Dropped,
		Rebuild: &rebuild{Head: ix.log.Head(), Until: -1},
	}
	return ix.update(&st, func(txn *lmdb.Txn) error { return txn.Drop(ix.pages, false) })
}

// rebuild reads the store from its newest event back, until all is read or the
// budget is used up, and goes on where it was interrupted. Events that came
// after it began are left to the log.
func (ix *Index) rebuild(ctx context.Context) error {
	f := nostr.Filter{Kinds: ix.cfg.Kinds}
	r := *ix.st.Rebuild
	if r.After != "" {
		until := nostr.Timestamp(r.Until)
		f.Until = &until
	}
	defer ix.work.reset()
	for rec, err := range ix.log.QueryAt(ctx, r.Head, f) {
		if err != nil {
			return err
		}
		id := string(rec.HexID())
		if r.After != "" && rec.CreatedAt() == r.Until && id <= r.After {
			continue
		}
		if rec.Pos <= r.Head {
			ix.work.add(&rec)
		}
		r.Until, r.After = rec.CreatedAt(), id
		if len(ix.work.docs) < batchDocs && ix.work.text < ix.batchBytes() {
			continue
		}
		full, err := ix.rebuildStep(ctx, r)
		if err != nil {
			return err
		}
		if full {
			break
		}
	}
	return ix.commit(func(st *state) { st.Rebuild, st.Pos = nil, r.Head }, nil, nil)
}

// rebuildStep writes a batch of the rebuild with how far it came. It reports
// true when the budget is used up: what is left is older.
func (ix *Index) rebuildStep(ctx context.Context, r rebuild) (full bool, err error) {
	if err := ix.commit(func(st *state) { st.Rebuild = &r }, nil, nil); err != nil {
		return false, err
	}
	ix.work.reset()
	for ctx.Err() == nil {
		if busy, err := ix.tidy(); err != nil || !busy {
			return ix.st.bytes() > ix.roomFor()*9/10, err
		}
	}
	return false, ctx.Err()
}

// segmentOf is the segment a page belongs to.
func segmentOf(key []byte) (uint64, error) {
	if len(key) < 9 {
		return 0, errDamaged
	}
	return binary.BigEndian.Uint64(key), nil
}
