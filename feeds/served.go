package feeds

import (
	lru "container/list"
	"sync"
	"time"

	"agora/feeds/tally"
)

const (
	mostReaders = 5000             // readers whose last pages are remembered
	mostServed  = 512              // notes remembered of each
	visit       = 30 * time.Minute // pages closer than this belong to one visit
)

// readers remembers, in memory only, what signed readers were served last.
type readers struct {
	mu    sync.Mutex // guards what follows
	by    map[string]*lru.Element
	order *lru.List // of *reader, most recently used first
}

// reader is one person's last pages.
type reader struct {
	hex    string
	last   int64 // the last page, Unix seconds
	before int64 // the last page of the visit before this one; 0: none known
	ring   [mostServed]tally.Key
	at     int
	ids    map[tally.Key]bool
}

func newReaders() *readers {
	return &readers{by: map[string]*lru.Element{}, order: lru.New()}
}

// recallServed fills in what depends on the pages before.
func (f *Feeds) recallServed(r *Request, c *candidates) {
	if !r.Signed {
		return
	}
	f.readers.mu.Lock()
	defer f.readers.mu.Unlock()
	el, ok := f.readers.by[r.Viewer]
	if !ok {
		return
	}
	who := el.Value.(*reader)
	c.facts.Viewer.LastSeen = who.before
	if c.facts.Now-who.last > int64(visit.Seconds()) {
		c.facts.Viewer.LastSeen = who.last
	}
	for i, id := range c.ids {
		c.facts.Candidates[i].Proof.Seen = who.ids[id]
	}
}

// served remembers a page.
func (f *Feeds) served(r *Request, items []Item) {
	if !r.Signed {
		return
	}
	k := f.readers
	k.mu.Lock()
	defer k.mu.Unlock()
	el, ok := k.by[r.Viewer]
	if !ok {
		el = k.order.PushFront(&reader{hex: r.Viewer, ids: map[tally.Key]bool{}})
		k.by[r.Viewer] = el
		if k.order.Len() > mostReaders {
			delete(k.by, k.order.Remove(k.order.Back()).(*reader).hex)
		}
	}
	k.order.MoveToFront(el)
	who, now := el.Value.(*reader), time.Now().Unix()
	if who.last != 0 && now-who.last > int64(visit.Seconds()) {
		who.before = who.last
	}
	who.last = now
	for _, it := range items {
		id, ok := key(it.Event.ID)
		if !ok || who.ids[id] {
			continue
		}
		delete(who.ids, who.ring[who.at])
		who.ring[who.at], who.ids[id] = id, true
		who.at = (who.at + 1) % mostServed
	}
}
