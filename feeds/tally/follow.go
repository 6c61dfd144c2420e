package tally

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"agora/relay/store"
)

const (
	saveEvery = 5 * time.Minute // between snapshots of a tally that changes
	tidyEvery = time.Minute     // between two checks of the bounds and of waiting zaps
	// weighAgain is after how long weights are taken again at the beginning:
	// whoever knows trust may still be at its own.
	weighAgain = 2 * time.Second
)

// follow brings the tally up to the log and keeps it there.
func (t *Tally) follow(ctx context.Context) error {
	snap := &snapshot{file: framed(t.cfg.Store, t.cfg.Snapshot), log: t.cfg.Logger}
	pos, err := t.start(snap)
	if err != nil {
		return err
	}
	t.Reweigh(time.Now())
	var tidied time.Time
	weights := weighing{gap: weighAgain}
	for first := true; ; first = false {
		if pos, err = t.catchUp(ctx, pos); err != nil {
			return err
		}
		if time.Since(tidied) > tidyEvery {
			t.tidy(time.Now())
			tidied = time.Now()
		}
		if first || weights.due(t.Stats().Keys, t.weighty(), time.Now()) {
			t.Reweigh(time.Now())
			weights.taken(t.Stats().Keys, t.cfg.Epoch, time.Now())
		}
		t.purge(snap)
		t.arrived(pos)
		if first {
			close(t.built)
		}
		t.keep(ctx, snap, pos, saveEvery)
		if err := t.wait(ctx, pos, weights.gap); err != nil {
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			defer cancel()
			t.keep(last, snap, pos, 0)
			return err
		}
	}
}

// weighing says when weights are due. While many keys come, as in an import,
// trust changes as fast as they do; later an epoch is soon enough.
type weighing struct {
	last time.Time
	keys int           // then
	gap  time.Duration // until the next; doubled each time, up to an epoch
}

func (w *weighing) due(keys int, weighty bool, now time.Time) bool {
	if !weighty || keys > w.keys+w.keys/4 {
		w.gap = weighAgain
	}
	return now.Sub(w.last) > w.gap
}

func (w *weighing) taken(keys int, epoch time.Duration, now time.Time) {
	w.last, w.keys, w.gap = now, keys, min(2*w.gap, epoch)
}

// wait returns when the log has grown, or after a while: weights and bounds
// are looked after even when nobody writes.
func (t *Tally) wait(ctx context.Context, pos store.Pos, untilWeights time.Duration) error {
	pause := min(tidyEvery, t.cfg.Epoch)
	if t.cfg.Trust != nil {
		pause = min(pause, untilWeights)
	}
	short, cancel := context.WithTimeout(ctx, pause)
	defer cancel()
	if err := t.cfg.Store.Wait(short, pos); err != nil && (ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded)) {
		return err
	}
	return nil
}

// start gives the position from which the log has to be read on.
func (t *Tally) start(snap *snapshot) (store.Pos, error) {
	if err := t.samePeople(snap); err != nil {
		return 0, err
	}
	held, pos, err := snap.load()
	if err != nil || held == nil {
		return 0, err
	}
	t.mu.Lock()
	held.book.era = t.book.era + 1
	t.book = held.book
	t.mu.Unlock()
	for _, z := range held.waiting {
		t.waiting.add(z)
	}
	return pos, nil
}

// peopleNames is the key of the store's meta value that names the classes of
// people in the snapshot.
const peopleNames = "tally.people"

// samePeople lets the snapshot go when the classes of people have changed:
// what it says of people would be of others.
func (t *Tally) samePeople(snap *snapshot) error {
	if snap.file.Path == "" {
		return nil
	}
	names, err := t.cfg.Store.Meta(peopleNames)
	if err != nil || string(names) == t.cfg.People {
		return err
	}
	if names != nil {
		t.cfg.Logger.Info("the groups that count people have changed: counting anew")
	}
	if err := snap.file.Remove(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return t.cfg.Store.SetMeta(ctx, peopleNames, []byte(t.cfg.People))
}

// catchUp applies the log from pos to its present end. Where the log no longer
// tells what went, all is built anew, from the log's beginning.
func (t *Tally) catchUp(ctx context.Context, pos store.Pos) (store.Pos, error) {
	end := t.cfg.Store.Head()
	for c, err := range t.cfg.Store.Changes(ctx, pos) {
		if errors.Is(err, store.ErrTrimmed) {
			t.cfg.Logger.Warn("the log no longer reaches back to the tally's position: building it anew", "position", pos)
			t.forgetAll()
			return t.catchUp(ctx, 0)
		}
		if err != nil {
			return pos, fmt.Errorf("follow the log from %d: %w", pos, err)
		}
		if err := t.apply(&c); err != nil {
			return pos, err
		}
		if pos = c.Pos; pos >= end {
			break // what came meanwhile is for the next time, or nobody would ever be told
		}
	}
	return max(pos, end), nil
}

func (t *Tally) forgetAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	trust, era := t.book.actors.trust, t.book.era
	t.book = newBook()
	t.book.actors.trust, t.book.era = trust, era+1
	t.waiting.takeAll()
}

func (t *Tally) apply(c *store.Change) error {
	if gone := c.Removed; gone != nil {
		if gone.Kind == kindZap {
			t.waiting.drop(Key(gone.ID))
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		t.book.drop(removal{event: Key(gone.ID), author: gone.PubKey, kind: gone.Kind})
		return nil
	}
	if kind := c.Record.Kind(); kind != kindMutes && t.past(c.Record.CreatedAt(), time.Now()) {
		if isNote(kind) {
			t.met(&c.Record)
		}
		return nil
	}
	s, ev, err := read(&c.Record)
	if err != nil || s == nil {
		return err
	}
	if c.Record.Kind() == kindZap {
		if z, err := readReceipt(s, ev, t.cfg.Sign); err == nil {
			t.zap(z)
		}
		return nil
	}
	if t.cfg.Person != nil && s.note == nil {
		if s.class, s.meant, err = t.cfg.Person(ev); err != nil {
			return fmt.Errorf("whose event %s is: %w", ev.ID, err)
		}
	}
	if s.note != nil && t.cfg.Seen != nil {
		t.cfg.Seen(ev)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.book.put(s)
	return nil
}

// past reports whether what was created then is no longer tallied.
func (t *Tally) past(created int64, now time.Time) bool {
	since := now.Add(-t.cfg.Live).Unix()
	if created >= since || t.cfg.Least == 0 {
		return created < since
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	return created < int64(t.book.horizon(moment32(since), t.cfg.Least))
}

// met remembers of a note that is no longer live when its author was there.
func (t *Tally) met(r *store.Record) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := &t.book.actors
	a.seen(a.intern(r.PubKey()), seconds(r.CreatedAt()))
}

// tidy keeps the bounds, and tries the zaps that wait.
func (t *Tally) tidy(now time.Time) {
	t.mu.Lock()
	t.book.tidy(t.book.horizon(moment32(now.Add(-t.cfg.Live).Unix()), t.cfg.Least), t.cfg.Notes, t.cfg.Places, t.cfg.Keys)
	t.mu.Unlock()
	for _, z := range t.waiting.takeAll() {
		t.zap(z)
	}
}

// zap counts a receipt whose signer is the recipient's declared zap key, and
// lets it wait while none is known.
func (t *Tally) zap(z *receipt) {
	if t.cfg.ZapKey == nil {
		return
	}
	key, known := t.cfg.ZapKey(z.recipient)
	if !known {
		t.waiting.add(z)
		return
	}
	if key != z.author {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.book.put(&z.statement)
}

// mostWaiting is how many receipts wait for a zap key; when there are more,
// the earliest is forgotten until the tally is built anew.
const mostWaiting = 16_384

// waiting is the receipts whose recipient has no known zap key yet.
type waiting struct {
	list []*receipt
	size atomic.Int32
}

func (w *waiting) add(z *receipt) {
	if len(w.list) >= mostWaiting {
		w.list = w.list[1:]
	}
	w.list = append(w.list, z)
	w.size.Store(int32(len(w.list)))
}

func (w *waiting) drop(event Key) {
	for i, z := range w.list {
		if z.event == event {
			w.list = append(w.list[:i:i], w.list[i+1:]...)
			w.size.Store(int32(len(w.list)))
			return
		}
	}
}

func (w *waiting) takeAll() []*receipt {
	list := w.list
	w.list = nil
	w.size.Store(0)
	return list
}
