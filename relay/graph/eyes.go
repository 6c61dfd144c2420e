package graph

import "slices"

// Eyes is a View that can also say what lies between the viewer and an author.
// It is meant to be asked about many authors within a minute or so: whom the
// viewer follows is looked up once.
type Eyes struct {
	View
	mine    map[uint32]bool // nodes that the viewer follows
	version uint64          // of the web when they were looked up
}

// Between is what lies between a viewer and an author.
type Between struct {
	Trust      float32 // 0 to 1
	Hops       int     // steps along follows: 1, 2, or 3 for three and more; 0 where none are known
	Muted      bool    // the viewer's public mute list names the author
	Follows    bool    // the viewer follows the author
	FollowedBy bool    // the author follows the viewer
	Common     int     // keys that both follow
	Either     int     // keys that either follows
}

// Known is what the graph knows of a key, whoever asks.
type Known struct {
	Trust          float32 // by the global ranking
	Followers      int
	FollowersTrust float32 // sum of their trust by the global ranking
	Follows        int
}

// Eyes gives a viewer's; an empty viewer has nobody's.
func (g *Graph) Eyes(viewer string) *Eyes {
	e := &Eyes{View: g.From(viewer), mine: map[uint32]bool{}}
	g.mu.RLock()
	defer g.mu.RUnlock()
	e.version = g.web.version
	if k, ok := readKey([]byte(viewer)); ok {
		if n, ok := g.web.find(k); ok {
			for _, m := range g.web.follows(n) {
				e.mine[m] = m != n
			}
		}
	}
	return e
}

// Toward is what lies between the viewer and an author.
func (e *Eyes) Toward(author string) Between {
	s := e.score(author)
	b := Between{Trust: float32(s.trust), Muted: s.muted, Either: len(e.mine)}
	k, ok := readKey([]byte(author))
	if !ok || e.viewer == "" {
		return b
	}
	g := e.graph
	g.mu.RLock()
	defer g.mu.RUnlock()
	n, ok := g.web.find(k)
	if !ok {
		return b
	}
	b.Follows = e.follows(n)
	for _, m := range g.web.follows(n) {
		switch {
		case g.web.nodes[m].key == e.key:
			b.FollowedBy = true
			b.Either++
		case e.follows(m):
			b.Common++
		default:
			b.Either++
		}
	}
	switch {
	case b.Follows:
		b.Hops = 1
	case slices.ContainsFunc(g.web.nodes[n].followers, e.follows):
		b.Hops = 2
	case e.Basis == Personal && s.rank > 0:
		b.Hops = 3
	}
	return b
}

// follows reports whether the viewer follows a node, unless the node's number
// has been given to another key since. The caller holds the graph's lock.
func (e *Eyes) follows(n uint32) bool {
	return e.mine[n] && e.graph.web.nodes[n].born <= e.version
}

// Known is what the graph knows of a key.
func (e *Eyes) Known(pubkey string) (out Known) {
	k, ok := readKey([]byte(pubkey))
	if !ok {
		return out
	}
	g := e.graph
	global := g.global.Load()
	g.mu.RLock()
	defer g.mu.RUnlock()
	n, ok := g.web.find(k)
	if !ok {
		return out
	}
	trust := func(n uint32) float32 {
		if int(n) >= len(global.of) || g.web.nodes[n].born > global.version {
			return 0
		}
		return float32(global.trust(global.of[n]))
	}
	out = Known{Trust: trust(n), Followers: len(g.web.nodes[n].followers), Follows: len(g.web.follows(n))}
	for _, m := range g.web.nodes[n].followers {
		out.FollowersTrust += trust(m)
	}
	return out
}
