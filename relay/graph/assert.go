package graph

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

const (
	providerTag = "30382:rank"
	// personalUsers is the store's meta value with the users that have books.
	personalUsers = "graph.nip85.users"
)

// Assertions says which NIP-85 cards are published, and how fast.
type Assertions struct {
	// Publish hands a signed event to the relay as its own. nil: no assertions.
	Publish func(context.Context, *nostr.Event) error
	Secret  []byte // 32 bytes all service keys are derived from; required
	Self    string // hex key of the relay, which no service key may be
	Relay   string // public URL of this relay, told to who asks for the keys

	Top         int           // keys with a card in the global ranking; 1,000
	PersonalTop int           // keys with a card per user; 200
	Users       int           // users with cards of their own; 100, -1: none
	Asked       int           // keys outside the top with a global card because somebody asked; 1,000
	Every       time.Duration // least time between two cards about one key; 1 minute
	PerSecond   int           // events published; 10
	Tick        time.Duration // between two looks at the graph; 5 s
}

func (a *Assertions) defaults() {
	a.Top = cmp.Or(a.Top, 1000)
	a.PersonalTop = cmp.Or(a.PersonalTop, 200)
	a.Users = cmp.Or(a.Users, 100)
	a.Asked = cmp.Or(a.Asked, 1000)
	a.Every = cmp.Or(a.Every, time.Minute)
	a.PerSecond = cmp.Or(a.PerSecond, 10)
	a.Tick = cmp.Or(a.Tick, 5*time.Second)
}

// cards keeps the published assertions true. All but asked belongs to run.
type cards struct {
	cfg      Assertions
	graph    *Graph
	services services
	global   *book
	personal map[key]*book
	pubkeys  map[key]string // of personal service keys, by user
	restored bool           // personal has been read back from the store
	last     time.Time      // when the personal books were last looked at
	pace     <-chan time.Time

	mu    sync.Mutex // guards what follows
	asked []key      // oldest first; when full: the oldest goes
	fresh bool       // somebody has asked since the last round
}

func newCards(g *Graph, cfg Assertions) (*cards, error) {
	cfg.defaults()
	if len(cfg.Secret) != 32 {
		return nil, fmt.Errorf("graph: Assertions.Secret has %d bytes, it needs 32", len(cfg.Secret))
	}
	if cfg.Top < 0 || cfg.PersonalTop < 0 || cfg.Asked < 0 || cfg.Every < 0 || cfg.PerSecond < 0 || cfg.Tick < 0 {
		return nil, errors.New("graph: the bounds of Assertions cannot be negative")
	}
	c := &cards{
		cfg: cfg, graph: g, services: services{secret: cfg.Secret, self: cfg.Self},
		personal: map[key]*book{}, pubkeys: map[key]string{},
	}
	global, err := c.newBook("", cfg.Top)
	if err != nil {
		return nil, fmt.Errorf("graph: %w", err)
	}
	c.global = global
	return c, nil
}

func (c *cards) newBook(viewer string, top int) (*book, error) {
	s, err := c.services.key(viewer)
	if err != nil {
		return nil, err
	}
	return &book{service: s, viewer: viewer, top: top, every: c.cfg.Every}, nil
}

// Ask has a global card published about pubkey even if it is not among the
// top. It does nothing without assertions, or for a key that nobody follows.
func (g *Graph) Ask(pubkey string) {
	k, ok := readKey([]byte(pubkey))
	if !ok || g.cards == nil {
		return
	}
	g.mu.RLock()
	n, known := g.web.find(k)
	known = known && len(g.web.nodes[n].followers) > 0
	g.mu.RUnlock()
	if known {
		g.cards.ask(k)
	}
}

func (c *cards) ask(k key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.Contains(c.asked, k) {
		return
	}
	if len(c.asked) >= c.cfg.Asked {
		c.asked = slices.Delete(c.asked, 0, 1)
	}
	c.asked, c.fresh = append(c.asked, k), true
}

// run publishes until ctx ends. A publication that fails is tried again.
func (c *cards) run(ctx context.Context) error {
	select {
	case <-c.graph.built:
	case <-ctx.Done():
		return nil
	}
	pace := time.NewTicker(time.Second / time.Duration(c.cfg.PerSecond))
	defer pace.Stop()
	c.pace = pace.C
	tick := time.NewTicker(c.cfg.Tick)
	defer tick.Stop()
	for {
		if err := c.round(ctx); err != nil && ctx.Err() == nil {
			c.graph.cfg.Logger.Warn("assertions are behind; trying again", "reason", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// round compares every book with the graph and publishes what differs.
func (c *cards) round(ctx context.Context) error {
	r := c.graph.global.Load()
	if r.version == 0 {
		return nil // nothing has been ranked yet
	}
	asked, fresh := c.askedSubjects(r)
	if fresh {
		c.global.upTo = 0
	}
	if err := c.update(ctx, c.global, r, asked); err != nil {
		return err
	}
	if time.Since(c.last) < c.cfg.Every {
		return nil // each personal book costs a ranking
	}
	c.last = time.Now()
	return c.roundPersonal(ctx, r)
}

// askedSubjects are those somebody asked for, and whether that was since the
// last call.
func (c *cards) askedSubjects(r *ranking) (out []subject, fresh bool) {
	c.mu.Lock()
	asked := slices.Clone(c.asked)
	fresh, c.fresh = c.fresh, false
	c.mu.Unlock()
	g := c.graph
	g.mu.RLock()
	defer g.mu.RUnlock()
	for _, k := range asked {
		if n, ok := g.web.find(k); ok {
			if s, ok := g.web.subject(r, n); ok {
				out = append(out, s)
			}
		}
	}
	return out, fresh
}

// update makes one book true.
func (c *cards) update(ctx context.Context, b *book, r *ranking, asked []subject) error {
	if b.upTo == r.version {
		return nil
	}
	if !b.loaded {
		if err := b.load(ctx, c.graph.cfg.Store); err != nil {
			return err
		}
	}
	c.graph.mu.RLock()
	subjects := c.graph.web.subjects(r, b.viewer, 2*b.top)
	c.graph.mu.RUnlock()
	p := b.plan(subjects, asked, time.Now())
	if err := c.takeBack(ctx, b, p.gone, false); err != nil {
		return err
	}
	if len(p.cards) > 0 {
		if err := c.publishProfile(ctx, b); err != nil {
			return err
		}
	}
	for _, s := range p.cards {
		ev, made := b.cardEvent(s, time.Now())
		if err := c.publish(ctx, b, ev); err != nil {
			return err
		}
		b.held[s.key] = made
	}
	if !p.early {
		b.upTo = r.version
	}
	return nil
}

func (c *cards) publishProfile(ctx context.Context, b *book) error {
	want := b.wantedProfile()
	if b.profile == want {
		return nil
	}
	at := max(time.Now().Unix(), b.floor+1)
	if err := c.publish(ctx, b, &nostr.Event{Kind: kindProfile, Content: want, CreatedAt: nostr.Timestamp(at)}); err != nil {
		return err
	}
	b.profile = want
	return nil
}

// takeBack deletes cards, and with all the profile as well.
func (c *cards) takeBack(ctx context.Context, b *book, gone []key, all bool) error {
	for part := range slices.Chunk(gone, cardAddresses) {
		ev := b.takeBack(part, all, time.Now())
		if err := c.publish(ctx, b, ev); err != nil {
			return err
		}
		b.floor = int64(ev.CreatedAt)
		for _, k := range part {
			delete(b.held, k)
		}
	}
	return nil
}

// publish signs and hands over one event, at the configured pace.
func (c *cards) publish(ctx context.Context, b *book, ev *nostr.Event) error {
	select {
	case <-c.pace:
	case <-ctx.Done():
		return ctx.Err()
	}
	if ev.Tags == nil {
		ev.Tags = nostr.Tags{}
	}
	if err := ev.Sign(b.secret); err != nil {
		return fmt.Errorf("sign an assertion: %w", err)
	}
	if err := c.cfg.Publish(ctx, ev); err != nil {
		return fmt.Errorf("publish kind %d by %s: %w", ev.Kind, b.pubkey, err)
	}
	return nil
}

// roundPersonal does the books of the users who asked for their own, and takes
// back those of users who no longer do.
func (c *cards) roundPersonal(ctx context.Context, r *ranking) error {
	if err := c.restore(ctx); err != nil {
		return err
	}
	users, err := c.users(r)
	if err != nil {
		return err
	}
	for k, b := range c.personal {
		if slices.Contains(users, k) {
			continue
		}
		if err := c.close(ctx, b); err != nil {
			return err
		}
		delete(c.personal, k)
		if err := c.remember(ctx); err != nil {
			return err
		}
	}
	for _, k := range users {
		if err := c.updateUser(ctx, k); err != nil {
			return err
		}
	}
	return nil
}

func (c *cards) updateUser(ctx context.Context, k key) error {
	b := c.personal[k]
	if b == nil {
		var err error
		if b, err = c.newBook(hexKey(k), c.cfg.PersonalTop); err != nil {
			return err
		}
		c.personal[k] = b
		if err := c.remember(ctx); err != nil { // first, so that no card is ever left behind
			return err
		}
	}
	view := c.graph.From(hexKey(k))
	if view.Basis != Personal {
		return nil // busy, or nothing to rank by: the next round will see
	}
	return c.update(ctx, b, view.rank, nil)
}

// close takes back all that a book has published.
func (c *cards) close(ctx context.Context, b *book) error {
	if !b.loaded {
		if err := b.load(ctx, c.graph.cfg.Store); err != nil {
			return err
		}
	}
	var all []key
	for k := range b.held {
		all = append(all, k)
	}
	return c.takeBack(ctx, b, all, true)
}

// restore reads which users had books before the last stop.
func (c *cards) restore(ctx context.Context) error {
	if c.restored {
		return nil
	}
	data, err := c.graph.cfg.Store.Meta(personalUsers)
	if err != nil {
		return fmt.Errorf("read the users of personal assertions: %w", err)
	}
	var users []string
	if len(data) > 0 {
		if err := json.Unmarshal(data, &users); err != nil {
			return fmt.Errorf("read the users of personal assertions: %w", err)
		}
	}
	for _, u := range users {
		if k, ok := readKey([]byte(u)); ok {
			b, err := c.newBook(u, c.cfg.PersonalTop)
			if err != nil {
				return err
			}
			c.personal[k] = b
		}
	}
	c.restored = true
	return nil
}

func (c *cards) remember(ctx context.Context) error {
	users := make([]string, 0, len(c.personal))
	for k := range c.personal {
		users = append(users, hexKey(k))
	}
	slices.Sort(users)
	data, err := json.Marshal(users)
	if err != nil {
		return err
	}
	if err := c.graph.cfg.Store.SetMeta(ctx, personalUsers, data); err != nil {
		return fmt.Errorf("store the users of personal assertions: %w", err)
	}
	return nil
}

// users are those whose kind 10040 names their own service key. When there are
// too many, those with the highest global rank come first; who has a book keeps
// it down to twice the last place.
func (c *cards) users(r *ranking) ([]key, error) {
	type user struct {
		key  key
		rank float32
	}
	var all []user
	for _, p := range c.graph.providers(r) {
		pubkey, err := c.pubkey(p.user)
		if err != nil {
			return nil, err
		}
		if slices.Contains(p.named, pubkey) {
			all = append(all, user{p.user, p.rank})
		}
	}
	slices.SortFunc(all, func(a, b user) int {
		return cmp.Or(cmp.Compare(b.rank, a.rank), cmp.Compare(hexKey(a.key), hexKey(b.key)))
	})
	var out []key
	for i, u := range all {
		if i < c.cfg.Users || i < 2*c.cfg.Users && c.personal[u.key] != nil {
			out = append(out, u.key)
		}
	}
	return out, nil
}

// mostPubkeys bounds the service keys remembered by user; beyond it they are
// derived again, 0.1 ms each.
const mostPubkeys = 10_000

func (c *cards) pubkey(user key) (string, error) {
	if pk, ok := c.pubkeys[user]; ok {
		return pk, nil
	}
	s, err := c.services.key(hexKey(user))
	if err != nil {
		return "", err
	}
	if len(c.pubkeys) >= mostPubkeys {
		clear(c.pubkeys)
	}
	c.pubkeys[user] = s.pubkey
	return s.pubkey, nil
}

// provider is one user's public choice of who ranks for them.
type provider struct {
	user  key
	named []string // hex keys
	rank  float32
}

func (g *Graph) providers(r *ranking) (out []provider) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	for n := range g.web.nodes {
		l := g.web.list(uint32(n), kindProviders, "")
		if l == nil {
			continue
		}
		p := provider{user: g.web.nodes[n].key, named: g.web.hexKeys(l.members)}
		if n < len(r.of) && g.web.nodes[n].born <= r.version {
			p.rank = r.of[n]
		}
		out = append(out, p)
	}
	return out
}

// serveAssertions tells which keys sign cards, and how to ask for one's own.
func (g *Graph) serveAssertions(_ *http.Request, of key) (any, error) {
	out := struct {
		Enabled   bool        `json:"enabled"`
		Algorithm string      `json:"algorithm,omitempty"`
		Global    string      `json:"global,omitempty"`
		Personal  string      `json:"personal,omitempty"`
		HowTo     string      `json:"how,omitempty"`
		Tags      []nostr.Tag `json:"tags,omitempty"`
	}{}
	if g.cards == nil {
		return out, nil
	}
	s, err := g.cards.services.key(hex.EncodeToString(of[:]))
	if err != nil {
		return nil, err
	}
	out.Enabled, out.Algorithm, out.Global = true, algorithm, g.cards.global.pubkey
	if g.cards.cfg.Users < 0 {
		return out, nil
	}
	out.Personal = s.pubkey
	out.HowTo = "publish a kind 10040 with these tags here, and cards as seen by this key will follow; take it back and they go"
	out.Tags = []nostr.Tag{{providerTag, s.pubkey, g.cards.cfg.Relay}, {"30382:followers", s.pubkey, g.cards.cfg.Relay}}
	return out, nil
}
