package graph

import (
	lru "container/list"
	"sync"
	"time"
)

// Basis says which ranking an answer comes from.
type Basis string

// The two rankings.
const (
	Personal Basis = "personal"
	Global   Basis = "global"
)

// View is the graph as one viewer sees it at one moment. It is cheap to copy,
// and is meant to be asked about many authors.
type View struct {
	Basis  Basis
	Reason string // why Basis is not the one asked for; empty when it is

	graph  *Graph
	viewer string
	key    key
	rank   *ranking
}

// Trust is how far the viewer may trust author, from 0 to 1; the package doc
// gives the scale.
func (v View) Trust(author string) float32 {
	return float32(v.score(author).trust)
}

// score is what a view says about one author.
type score struct {
	rank  float32 // PageRank
	trust float64 // 0 to 1
	muted bool
}

func (v View) score(author string) (s score) {
	k, ok := readKey([]byte(author))
	if !ok || v.graph == nil {
		return s
	}
	g := v.graph
	g.mu.RLock()
	n, known := g.web.find(k)
	if known && int(n) < len(v.rank.of) && g.web.nodes[n].born <= v.rank.version {
		s.rank = v.rank.of[n]
	}
	if me, ok := g.web.find(v.key); ok && known && v.viewer != "" {
		s.muted = g.web.muted(me, n)
	}
	g.mu.RUnlock()
	switch {
	case author == v.viewer:
		s.trust, s.muted = 1, false
	case !s.muted:
		s.trust = v.rank.trust(s.rank)
	}
	return s
}

// From is the graph as viewer sees it; an empty viewer asks for the global
// ranking. It computes the viewer's ranking unless a fresh one is held. When
// that cannot be had at once, the view is the global one and says why.
func (g *Graph) From(viewer string) View {
	v := View{Basis: Global, graph: g, rank: g.global.Load()}
	k, ok := readKey([]byte(viewer))
	if !ok {
		if viewer != "" {
			v.Reason = "the viewer is not a public key"
		}
		return v
	}
	v.viewer, v.key = viewer, k
	g.mu.RLock()
	n, known := g.web.find(k)
	var made stamp
	if known {
		if l := g.web.list(n, kindFollows, ""); l != nil && len(l.members) > 0 {
			made = l.stamp
		} else {
			known = false
		}
	}
	now := moment{version: g.web.version, purged: g.web.purged, list: made}
	g.mu.RUnlock()
	if !known {
		v.Reason = "no follow list of the viewer is held here"
		return v
	}
	rank := g.views.rank(k, now, func() *ranking { return g.rankFor(k) })
	if rank == nil {
		v.Reason = "too many personal rankings are being computed; ask again in a second"
		return v
	}
	v.Basis, v.rank = Personal, rank
	return v
}

// rankFor computes one viewer's ranking; nil when the viewer has just gone.
func (g *Graph) rankFor(viewer key) *ranking {
	l := g.currentLinks()
	g.mu.RLock()
	n, ok := g.web.find(viewer)
	ok = ok && int(n) < l.size && g.web.nodes[n].born <= l.version
	g.mu.RUnlock()
	if !ok {
		return nil
	}
	return newRanking(l, l.personal(n), int(n))
}

// moment is what a cached ranking is held against.
type moment struct {
	version uint64 // of the web now
	purged  uint64 // of its last removal
	list    stamp  // the viewer's own follow list
}

// views keeps personal rankings, the least recently used going first.
type views struct {
	most  int64         // bytes of rankings kept
	fresh time.Duration // how long one is good while others' lists change
	slots chan struct{} // rankings being computed; when full: the caller gets none

	mu    sync.Mutex // guards what follows
	held  map[key]*lru.Element
	order *lru.List // of *cached, most recently used first
	bytes int64
	busy  map[key]*computing

	computed, hit, refused uint64
}

type cached struct {
	viewer key
	rank   *ranking
	list   stamp
	at     time.Time
}

type computing struct {
	done chan struct{} // closed when rank is set
	rank *ranking
}

func newViews(atOnce int, most int64, fresh time.Duration) *views {
	return &views{
		most: most, fresh: fresh,
		slots: make(chan struct{}, atOnce), // rankings; when full: the global one is given
		held:  map[key]*lru.Element{}, order: lru.New(), busy: map[key]*computing{},
	}
}

// rank is viewer's ranking: the one held while it is fresh, the one another
// caller is computing, or a new one. It is nil when all slots are taken.
func (v *views) rank(viewer key, now moment, compute func() *ranking) *ranking {
	v.mu.Lock()
	if r := v.lookup(viewer, now); r != nil {
		v.mu.Unlock()
		return r
	}
	if c := v.busy[viewer]; c != nil {
		v.mu.Unlock()
		<-c.done
		return c.rank
	}
	select {
	case v.slots <- struct{}{}:
	default:
		v.refused++
		v.mu.Unlock()
		return nil
	}
	c := &computing{done: make(chan struct{})}
	v.busy[viewer] = c
	v.mu.Unlock()

	c.rank = compute()
	v.mu.Lock()
	v.computed++
	delete(v.busy, viewer)
	if c.rank != nil {
		v.keep(&cached{viewer: viewer, rank: c.rank, list: now.list, at: time.Now()})
	}
	v.mu.Unlock()
	close(c.done)
	<-v.slots
	return c.rank
}

func (v *views) lookup(viewer key, now moment) *ranking {
	el, ok := v.held[viewer]
	if !ok {
		return nil
	}
	c := el.Value.(*cached)
	current := c.rank.version == now.version ||
		c.rank.version >= now.purged && c.list == now.list && time.Since(c.at) < v.fresh
	if !current {
		v.evict(el)
		return nil
	}
	v.hit++
	v.order.MoveToFront(el)
	return c.rank
}

func (v *views) keep(c *cached) {
	if el, ok := v.held[c.viewer]; ok {
		v.evict(el)
	}
	v.held[c.viewer] = v.order.PushFront(c)
	v.bytes += c.rank.bytes()
	for v.bytes > v.most && v.order.Len() > 1 {
		v.evict(v.order.Back())
	}
}

func (v *views) evict(el *lru.Element) {
	c := v.order.Remove(el).(*cached)
	delete(v.held, c.viewer)
	v.bytes -= c.rank.bytes()
}
