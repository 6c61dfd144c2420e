package search

import (
	"time"

	"github.com/PowerDNS/lmdb-go/lmdb"
)

// Steps of what keeps the index small.
const (
	trashStep   = 4000 // pages deleted in one commit
	budgetShare = 3    // of 4 parts of the budget that segments may take; a merge under way and LMDB's free pages need the rest
	bigShare    = 16   // a segment is merged no further beyond this part of the budget, so that dropping one costs little
)

func (ix *Index) roomFor() int64 { return ix.cfg.Budget / 4 * budgetShare }

// tidy does one step: deletes pages, drops what is over the budget, or goes on
// with a merge. It reports whether there was anything to do.
func (ix *Index) tidy() (busy bool, err error) {
	switch {
	case len(ix.st.Trash) > 0:
		return true, ix.emptyTrash()
	case ix.st.bytes() > ix.roomFor():
		return true, ix.dropOldest()
	case ix.merge != nil:
		return true, ix.mergeOn()
	}
	from, to := chooseMerge(ix.st.Segments, ix.cfg.Budget/bigShare, time.Now().Unix())
	if from == to {
		return false, nil
	}
	return true, ix.beginMerge(from, to)
}

func (ix *Index) emptyTrash() error {
	st := ix.st.clone()
	return ix.update(&st, func(txn *lmdb.Txn) error {
		left, err := deletePages(txn, ix.pages, st.Trash[0], trashStep)
		if err == nil && !left {
			st.Trash = st.Trash[1:]
		}
		return err
	})
}

// dropOldest forgets the segment whose events are the oldest, in the mean.
func (ix *Index) dropOldest() error {
	if ix.merge != nil {
		if err := ix.giveUpMerge(); err != nil {
			return err
		}
	}
	st := ix.st.clone()
	at := 0
	for i, s := range st.Segments {
		if s.Created < st.Segments[at].Created {
			at = i
		}
	}
	s := st.Segments[at]
	st.Segments = append(st.Segments[:at], st.Segments[at+1:]...)
	st.Trash = append(st.Trash, s.Number)
	st.Dropped += uint64(s.Docs - s.Gone)
	err := ix.update(&st, func(*lmdb.Txn) error { return nil })
	if err != nil {
		return err
	}
	ix.stats.dropped.Add(float64(s.Docs - s.Gone))
	ix.cfg.Logger.Warn("the search index is over its budget: the oldest events can no longer be found",
		"events", s.Docs-s.Gone, "around", time.Unix(s.Created, 0).UTC().Format(time.DateOnly), "budget_bytes", ix.cfg.Budget)
	return ix.emptyTrash()
}

func (ix *Index) giveUpMerge() error {
	st := ix.st.clone()
	st.Trash = append(st.Trash, ix.merge.into.Number)
	ix.merge = nil
	return ix.update(&st, func(*lmdb.Txn) error { return nil })
}

func (ix *Index) beginMerge(from, to int) error {
	number := ix.st.Next
	st := ix.st.clone()
	st.Next++
	if err := ix.update(&st, func(*lmdb.Txn) error { return nil }); err != nil {
		return err
	}
	return ix.env.View(func(txn *lmdb.Txn) error {
		v, err := newView(txn, ix.pages)
		if err != nil {
			return err
		}
		defer v.close()
		ix.merge, err = newMerge(v, st.Segments[from:to], number)
		return err
	})
}

// mergeOn does a step of the merge under way: reads in one transaction, writes
// in another.
func (ix *Index) mergeOn() error {
	m := ix.merge
	var pages []page
	err := ix.env.View(func(txn *lmdb.Txn) error {
		v, err := newView(txn, ix.pages)
		if err != nil {
			return err
		}
		defer v.close()
		pages, err = m.step(v)
		return err
	})
	if err != nil {
		return err
	}
	if m.ids == nil && len(pages) == 0 {
		return ix.finishMerge()
	}
	m.into.Bytes += sizeOf(pages)
	err = ix.env.Update(func(txn *lmdb.Txn) error { return putPages(txn, ix.pages, pages) })
	if lmdb.IsMapFull(err) {
		return ix.dropOldest()
	}
	return err
}

func (ix *Index) finishMerge() error {
	m := ix.merge
	ix.merge = nil
	st := ix.st.clone()
	return ix.update(&st, func(txn *lmdb.Txn) error {
		ok, err := m.finish(txn, ix.pages, &st)
		if err == nil && !ok {
			st.Trash = append(st.Trash, m.into.Number)
		}
		return err
	})
}
