package doors

import (
	"context"
	"fmt"
	"sync"

	"github.com/nbd-wtf/go-nostr"
)

// An author who wants to be on no ranked page says so with an event of kind
// 30078 under this d tag, and takes it back by deleting that event.
const (
	KindOptOut = 30078
	optOutName = "agora-feeds-optout"
)

// OptOuts is the set of those authors, 100 bytes each.
type OptOuts struct {
	mu sync.RWMutex      // guards what follows
	by map[string]string // author -> event id
	id map[string]string // event id -> author
}

// Load reads them all; Take and Drop tell what follows.
func (o *OptOuts) Load(ctx context.Context, events Events) error {
	for ev, err := range events.Query(ctx, nostr.Filter{Kinds: []int{KindOptOut}, Tags: nostr.TagMap{"d": {optOutName}}}) {
		if err != nil {
			return fmt.Errorf("read opt-outs: %w", err)
		}
		o.Take(ev)
	}
	return nil
}

// Take notes an opt-out; other events are none of its business.
func (o *OptOuts) Take(ev *nostr.Event) {
	if ev.Kind != KindOptOut || ev.Tags.GetD() != optOutName {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.by == nil {
		o.by, o.id = map[string]string{}, map[string]string{}
	}
	delete(o.id, o.by[ev.PubKey])
	o.by[ev.PubKey], o.id[ev.ID] = ev.ID, ev.PubKey
}

// Drop forgets the opt-out that was event id.
func (o *OptOuts) Drop(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if author, ok := o.id[id]; ok {
		delete(o.id, id)
		delete(o.by, author)
	}
}

// Has reports whether an author is on no page.
func (o *OptOuts) Has(author string) bool {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.by[author] != ""
}
