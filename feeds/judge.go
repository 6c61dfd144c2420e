package feeds

import (
	"context"
	"fmt"
	"time"

	"agora/feeds/tally"
	"agora/ranker/feature"
)

// judgedFresh is how long the judgement of a candidate is good. The notes of a
// page are judged anew whenever they are shown.
const judgedFresh = 30 * time.Second

// judged is what the other rooms said of a note.
type judged struct {
	facts  feature.Signals
	refuse bool
	at     time.Time
}

// judge asks the other rooms. Without their answer nobody can tell what is
// refused, so there is no page.
func (f *Feeds) judge(ctx context.Context, c *candidates) error {
	if f.cfg.Signals == nil {
		return nil
	}
	now := time.Now()
	var ids []string
	f.judgedMu.Lock()
	for i, id := range c.ids {
		if j, ok := f.judged[id]; ok && now.Sub(j.at) < judgedFresh {
			c.judged(i, j)
			continue
		}
		ids = append(ids, hexKey(id))
	}
	f.judgedMu.Unlock()
	if len(ids) == 0 {
		return nil
	}
	signals, err := f.cfg.Signals.Signals(ctx, ids)
	if err != nil {
		return fmt.Errorf("judge candidates: %w", err)
	}
	fresh := make(map[tally.Key]judged, len(ids))
	for _, id := range ids {
		k, _ := key(id)
		fresh[k] = judged{at: now} // nobody said anything
	}
	for _, s := range signals {
		if k, ok := key(s.ID); ok {
			fresh[k] = judged{s.Facts, s.Refuse, now}
		}
	}
	f.judgedMu.Lock()
	defer f.judgedMu.Unlock()
	if len(f.judged) > f.cfg.Notes {
		clear(f.judged)
	}
	for k, j := range fresh {
		f.judged[k] = j
		if at, ok := c.at[k]; ok {
			c.judged(at, j)
		}
	}
	return nil
}

func (c *candidates) judged(at int, j judged) {
	c.signals[at] = j.facts
	if j.refuse {
		c.notes[at] = nil
	}
}
