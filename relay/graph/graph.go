package graph

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"agora/relay/store"

	"golang.org/x/sync/errgroup"
)

// Config is how a graph is made. A zero field means the default beside it.
type Config struct {
	Store    *store.Store // the log; required
	Snapshot string       // file for a quick start; empty: build from the store at every start
	Logger   *slog.Logger // slog.Default()

	AtOnce     int           // personal rankings computed at once; 2
	CacheBytes int64         // of personal rankings kept; 16 MiB
	Fresh      time.Duration // how long a personal ranking is good while others' lists change; 2 s
	Exports    int           // exports served at once; 4

	// Visible says who may read a record; viewer is empty for the public. The
	// export shows what it allows. Required for Handler.
	Visible func(r store.Record, viewer string) bool
	// Auth checks a request's NIP-98 header against its body and gives the key
	// that signed it. Without it the export takes no header.
	Auth func(r *http.Request, body []byte) (pubkey string, err error)

	Assert Assertions // NIP-85; off without a Publish
}

func (c *Config) defaults() {
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.AtOnce == 0 {
		c.AtOnce = 2
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = 16 << 20
	}
	if c.Fresh == 0 {
		c.Fresh = 2 * time.Second
	}
	if c.Exports == 0 {
		c.Exports = 4
	}
}

// Graph is who follows, mutes and vouches for whom. Its methods may be called
// at any time, from any goroutine; until Run has read the log they know less.
type Graph struct {
	cfg     Config
	views   *views
	global  atomic.Pointer[ranking] // never nil
	exports chan struct{}           // exports being served; when full: 503
	cards   *cards                  // nil without assertions

	mu  sync.RWMutex // guards web
	web *web

	linksMu sync.Mutex // guards links
	links   *links     // of the latest version anybody asked for

	posMu sync.Mutex // guards pos and moved
	pos   store.Pos
	moved chan struct{} // closed and replaced when pos grows
	built chan struct{} // closed once the log has been read to where it ended at start

	ranked chan struct{} // closed once that has a ranking
}

// New makes a graph; it knows nothing until Run.
func New(cfg Config) (*Graph, error) {
	if cfg.Store == nil {
		return nil, errors.New("graph: Config.Store is missing")
	}
	return newGraph(cfg)
}

func newGraph(cfg Config) (*Graph, error) {
	cfg.defaults()
	if cfg.AtOnce < 0 || cfg.CacheBytes < 0 || cfg.Fresh < 0 || cfg.Exports < 0 {
		return nil, errors.New("graph: AtOnce, CacheBytes, Fresh and Exports cannot be negative")
	}
	g := &Graph{
		cfg: cfg, web: newWeb(),
		views:   newViews(cfg.AtOnce, cfg.CacheBytes, cfg.Fresh),
		exports: make(chan struct{}, cfg.Exports), // exports; when full: 503
		moved:   make(chan struct{}),
		built:   make(chan struct{}),
		ranked:  make(chan struct{}),
	}
	g.global.Store(&ranking{})
	if cfg.Assert.Publish == nil {
		return g, nil
	}
	var err error
	g.cards, err = newCards(g, cfg.Assert)
	return g, err
}

// Run reads the log and follows it until ctx ends. It returns nil when told to
// stop, and an error when the store cannot be read.
func (g *Graph) Run(ctx context.Context) error {
	tasks, inner := errgroup.WithContext(ctx)
	if g.cards != nil {
		tasks.Go(func() error { return g.cards.run(inner) })
	}
	tasks.Go(func() error { return g.rerank(inner) })
	tasks.Go(func() error { return g.follow(inner) })
	if err := tasks.Wait(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("graph: %w", err)
	}
	return nil
}

// Built is closed once the graph has read the whole log as it was at start.
func (g *Graph) Built() <-chan struct{} { return g.built }

// Ranked is closed once that log has its first ranking too: from then on Trust
// knows it.
func (g *Graph) Ranked() <-chan struct{} { return g.ranked }

// Follows yields whom pubkey follows, in the order of its list.
func (g *Graph) Follows(pubkey string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, k := range g.followKeys(pubkey) {
			if !yield(hex.EncodeToString(k[:])) {
				return
			}
		}
	}
}

func (g *Graph) followKeys(pubkey string) []key {
	k, ok := readKey([]byte(pubkey))
	if !ok {
		return nil
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	n, ok := g.web.find(k)
	if !ok {
		return nil
	}
	return g.web.keys(g.web.follows(n))
}

// keys gives nodes their public keys.
func (w *web) keys(nodes []uint32) []key {
	out := make([]key, len(nodes))
	for i, n := range nodes {
		out[i] = w.nodes[n].key
	}
	return out
}

// pair finds two keys; the caller holds g.mu.
func (g *Graph) pair(a, b string) (na, nb uint32, ok bool) {
	ka, oka := readKey([]byte(a))
	kb, okb := readKey([]byte(b))
	if !oka || !okb {
		return 0, 0, false
	}
	na, oka = g.web.find(ka)
	nb, okb = g.web.find(kb)
	return na, nb, oka && okb
}

// Muted reports whether viewer's public mute list names author.
func (g *Graph) Muted(viewer, author string) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	v, a, ok := g.pair(viewer, author)
	return ok && g.web.muted(v, a)
}

// Direct reports whether author follows other, however many they follow.
func (g *Graph) Direct(author, other string) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	a, o, ok := g.pair(author, other)
	if !ok {
		return false
	}
	_, direct := slices.BinarySearch(g.web.nodes[o].followers, a)
	return direct
}

// Hops is how many follows lead from viewer to author: 0 to oneself, 1 to whom
// one follows, -1 where no way of at most MostHops is known.
func (g *Graph) Hops(viewer, author string) int {
	if _, ok := readKey([]byte(viewer)); ok && viewer == author {
		return 0
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	v, a, ok := g.pair(viewer, author)
	if !ok {
		return -1
	}
	return g.web.hops(v, a)
}

// Trust is From(viewer).Trust(author): who asks about many authors should take
// the View once.
func (g *Graph) Trust(viewer, author string) float32 { return g.From(viewer).Trust(author) }

// Relays is pubkey's relay list (NIP-65), in its own order.
func (g *Graph) Relays(pubkey string) []Relay {
	k, ok := readKey([]byte(pubkey))
	if !ok {
		return nil
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	if n, ok := g.web.find(k); ok {
		if l := g.web.list(n, kindRelays, ""); l != nil {
			return l.relays // never changed in place
		}
	}
	return nil
}

// currentLinks is the follow graph as it is now, taken once per version.
func (g *Graph) currentLinks() *links {
	g.linksMu.Lock()
	defer g.linksMu.Unlock()
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.links == nil || g.links.version != g.web.version {
		g.links = g.web.links()
	}
	return g.links
}
