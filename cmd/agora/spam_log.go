package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"agora/relay/store"
	"agora/spam"

	"github.com/nbd-wtf/go-nostr"
)

// spamLog tells spam of the past of keys; it is its Log. An event's own time is
// its author's to choose, so a key is as old as the place of its events in the
// log: every hour the log's head is written down.
type spamLog struct {
	store *store.Store

	mu    sync.Mutex // guards what follows
	marks []logMark  // oldest first, at most mostMarks
}

// logMark says that the log had reached a position.
type logMark struct {
	At  int64     `json:"at"` // Unix seconds
	Pos store.Pos `json:"pos"`
}

const (
	marksKey  = "spam/marks"
	mostMarks = 10 * 24
	markEvery = time.Hour
)

// openSpamLog reads the marks. What the log holds before there are any counts
// as old: whoever set the relay up has brought it.
func openSpamLog(st *store.Store, now int64) (*spamLog, error) {
	l := &spamLog{store: st, marks: []logMark{{now - mostMarks*3600, st.Head()}}}
	raw, err := st.Meta(marksKey)
	if err != nil || raw == nil {
		return l, err
	}
	if err := json.Unmarshal(raw, &l.marks); err != nil {
		return nil, fmt.Errorf("%s in the store: %w", marksKey, err)
	}
	return l, nil
}

// mark writes the log's head down.
func (l *spamLog) mark(ctx context.Context, now int64) error {
	l.mu.Lock()
	l.marks = append(l.marks, logMark{now, l.store.Head()})
	l.marks = l.marks[max(0, len(l.marks)-mostMarks):]
	raw, err := json.Marshal(l.marks)
	l.mu.Unlock()
	if err != nil {
		return err
	}
	return l.store.SetMeta(ctx, marksKey, raw)
}

// run marks the log until ctx ends.
func (l *spamLog) run(ctx context.Context) error {
	tick := time.NewTicker(markEvery)
	defer tick.Stop()
	for {
		if err := l.mark(ctx, time.Now().Unix()); err != nil && ctx.Err() == nil {
			return fmt.Errorf("mark the log: %w", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// since is by when an event at a position was here; 0: since the last mark.
func (l *spamLog) since(pos store.Pos) int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.marks {
		if m.Pos >= pos {
			return m.At
		}
	}
	return 0
}

// Past looks at a key's profile, and at what it wrote before the last week by
// its own account: where that stands in the log tells the truth.
func (l *spamLog) Past(ctx context.Context, pubkey string) (past spam.Past, err error) {
	before := nostr.Timestamp(time.Now().Add(-7 * 24 * time.Hour).Unix())
	for _, f := range []nostr.Filter{
		{Authors: []string{pubkey}, Kinds: []int{nostr.KindProfileMetadata}, Limit: 1},
		{Authors: []string{pubkey}, Until: &before, Limit: 1},
	} {
		for rec, err := range l.store.Query(ctx, f) {
			if err != nil {
				return past, err
			}
			if at := l.since(rec.Pos); at > 0 && (past.First == 0 || at < past.First) {
				past.First = at
			}
			if rec.Kind() == nostr.KindProfileMetadata {
				past.Profile, past.NIP05 = true, strings.Contains(string(rec.JSON), `nip05`)
			}
		}
	}
	return past, nil
}
