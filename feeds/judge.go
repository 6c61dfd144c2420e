package feeds

import (
	"context"
	"fmt"
	"time"

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
	var at []int
	for i, n := range c.notes {
		if n == nil {
			continue
		}
		if j := n.judged.Load(); j != nil && now.Sub(j.at) < judgedFresh {
			c.judged(i, j)
			continue
		}
		ids, at = append(ids, hexKey(c.ids[i])), append(at, i)
	}
	if len(ids) == 0 {
		return nil
	}
	signals, err := f.cfg.Signals.Signals(ctx, ids)
	if err != nil {
		return fmt.Errorf("judge candidates: %w", err)
	}
	fresh := make(map[string]*judged, len(ids))
	for _, id := range ids {
		fresh[id] = &judged{at: now} // nobody said anything
	}
	for _, s := range signals {
		if j := fresh[s.ID]; j != nil {
			j.facts, j.refuse = s.Facts, s.Refuse
		}
	}
	for k, i := range at {
		j := fresh[ids[k]]
		c.notes[i].judged.Store(j)
		c.judged(i, j)
	}
	return nil
}

func (c *candidates) judged(at int, j *judged) {
	c.signals[at] = j.facts
	if j.refuse {
		c.notes[at] = nil
	}
}
