package feeds

import (
	lru "container/list"
	"sync"

	"agora/feeds/tally"
)

const (
	fewActs   = 48      // a note with fewer is looked at anew each time
	mostLooks = 300_000 // kept for all viewers together, 130 bytes each at most
)

// look is what a viewer saw of a note that many acted on.
type look struct {
	spot    tally.Spot
	version tally.Version
	viewer  [tally.Actions]float32
	proof   [tally.Actions]uint16
	trust   float32
	acted   bool
}

// looks is what one viewer saw lately. One page at a time has it.
type looks struct {
	hex   string
	table uint64 // of the trust that it was seen with
	at    map[uint32]int
	list  []look
}

// see adds the viewer's part to a note's counts, from before when nobody has
// acted on the note since, nor taken an act back.
func (l *looks) see(r *tally.Reader, n *tally.Note, lens *tally.Lens, version tally.Version, c *tally.Counts) {
	acts, settled := r.Size(*n)
	if l == nil || !settled || acts < fewActs {
		r.Look(*n, lens, c)
		return
	}
	at, ok := l.at[n.Place()]
	if ok && l.list[at].version == version && l.list[at].spot == r.Spot(*n) {
		seen := &l.list[at]
		c.Viewer, c.Proof, c.ProofTrust, c.Acted = seen.viewer, seen.proof, seen.trust, seen.acted
		return
	}
	r.Look(*n, lens, c)
	seen := look{r.Spot(*n), version, c.Viewer, c.Proof, c.ProofTrust, c.Acted}
	if ok {
		l.list[at] = seen
		return
	}
	l.at[n.Place()] = len(l.list)
	l.list = append(l.list, seen)
}

// sights keeps the looks of viewers, the longest unused going first.
type sights struct {
	mu    sync.Mutex // guards what follows
	by    map[string]*lru.Element
	order *lru.List // of *looks, most recently used first
	looks int
}

func newSights() *sights { return &sights{by: map[string]*lru.Element{}, order: lru.New()} }

// take is a viewer's looks, for one page; whoever comes meanwhile begins anew.
func (s *sights) take(hex string, table uint64) *looks {
	s.mu.Lock()
	defer s.mu.Unlock()
	if el, ok := s.by[hex]; ok {
		s.drop(el)
		if l := el.Value.(*looks); l.table == table && len(l.list) < 2*MaxCandidates {
			return l
		}
	}
	return &looks{hex: hex, table: table, at: map[uint32]int{}}
}

func (s *sights) drop(el *lru.Element) {
	l := s.order.Remove(el).(*looks)
	delete(s.by, l.hex)
	s.looks -= len(l.list)
}

// give keeps a viewer's looks.
func (s *sights) give(l *looks) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if el, ok := s.by[l.hex]; ok {
		s.drop(el)
	}
	s.by[l.hex] = s.order.PushFront(l)
	s.looks += len(l.list)
	for s.looks > mostLooks {
		s.drop(s.order.Back())
	}
}
