package personhood

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"agora/personhood/semaphore"

	"github.com/nbd-wtf/go-nostr"
)

// Events answers filters from the log, newest first; cmd/agora adapts the
// store to it.
type Events interface {
	Query(ctx context.Context, filters ...nostr.Filter) iter.Seq2[*nostr.Event, error]
}

const (
	mostGroups   = 1024             // groups whose root log is held; beyond, all are forgotten and read again
	mostRoots    = 100_000          // entries of one group's root log: eleven years of hourly ones
	freshFor     = 10 * time.Second // how long a root log is believed complete
	askAgain     = time.Second      // how often, at most, a root we do not know makes us read the log again
	defaultGrace = time.Hour        // how long a root counts after the next was published
	mostGrace    = 24 * time.Hour
)

// roots knows which roots a group has published, from its own root log. A root
// that is in no log signed by the group's key is nobody's: anyone can make a
// tree.
type roots struct {
	events Events

	mu    sync.Mutex // guards what follows
	known map[Address]*history
}

// history is one group's root log. It is never changed once it is in known.
type history struct {
	read       time.Time
	published  map[semaphore.Element]nostr.Timestamp
	superseded map[semaphore.Element]nostr.Timestamp // absent: current
}

// of returns the history of a group; again says that a root was not in it.
func (r *roots) of(ctx context.Context, group Address, again bool) (*history, error) {
	r.mu.Lock()
	h := r.known[group]
	r.mu.Unlock()
	if h != nil {
		age := time.Since(h.read)
		if age < freshFor && !again || age < askAgain {
			return h, nil
		}
	}
	h, err := r.load(ctx, group)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known) >= mostGroups || r.known == nil {
		r.known = make(map[Address]*history)
	}
	r.known[group] = h
	return h, nil
}

// load reads a root log. A root counts as published from its first entry, and
// as superseded from the first entry with a higher sequence number.
func (r *roots) load(ctx context.Context, group Address) (*history, error) {
	h := &history{
		read: time.Now(), published: map[semaphore.Element]nostr.Timestamp{},
		superseded: map[semaphore.Element]nostr.Timestamp{},
	}
	var log []Snapshot
	filter := nostr.Filter{
		Kinds: []int{KindRootLog}, Authors: []string{group.Key},
		Tags: nostr.TagMap{"a": {group.String()}}, Limit: mostRoots,
	}
	for ev, err := range r.events.Query(ctx, filter) {
		if err != nil {
			return nil, fmt.Errorf("read the root log of %s: %w", group, err)
		}
		s, err := ParseSnapshot(ev)
		if err != nil || s.Group != group {
			continue // not an entry of this log
		}
		if at, ok := h.published[s.Root]; !ok || s.At < at {
			h.published[s.Root] = s.At
		}
		log = append(log, s)
	}
	h.supersede(log)
	return h, nil
}

// supersede notes when each root was followed by another. The latest entry's
// root is current, even when it was so before.
func (h *history) supersede(log []Snapshot) {
	slices.SortFunc(log, func(a, b Snapshot) int { return cmp.Compare(a.Seq, b.Seq) })
	for i, s := range log {
		delete(h.superseded, s.Root)
		if i > 0 && log[i-1].Root != s.Root {
			h.superseded[log[i-1].Root] = s.At
		}
	}
}

// The ways in which a root does not count.
var (
	errUnknownGroup = errors.New("group has published no root here")
	errUnknownRoot  = errors.New("root was never published by this group")
	errStaleRoot    = errors.New("root is stale: the group has published newer ones")
)

// check says whether root counts at a moment; a zero moment asks only whether
// it was ever published. Refusals are the errors above.
func (r *roots) check(ctx context.Context, group Address, root semaphore.Element, now time.Time, grace time.Duration) error {
	h, err := r.of(ctx, group, false)
	if err != nil {
		return err
	}
	if _, ok := h.published[root]; !ok {
		if h, err = r.of(ctx, group, true); err != nil {
			return err
		}
	}
	if len(h.published) == 0 {
		return errUnknownGroup
	}
	if _, ok := h.published[root]; !ok {
		return errUnknownRoot
	}
	if now.IsZero() {
		return nil
	}
	if at, ok := h.superseded[root]; ok && now.Sub(at.Time()) > grace {
		return errStaleRoot
	}
	return nil
}

// forget lets a group's root log be read again.
func (r *roots) forget(group Address) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.known, group)
}
