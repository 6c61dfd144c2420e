package main

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"agora/feeds"
	feedsdoors "agora/feeds/doors"
	"agora/feeds/market"
	"agora/feeds/tally"
	"agora/ranker"
	"agora/ranker/builtin"
	"agora/relay"
	"agora/relay/admit"
	"agora/relay/graph"
	"agora/relay/peer"
	"agora/relay/search"
	"agora/relay/wire"
	"agora/spam"

	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/sync/errgroup"
)

// leastNotes are ranked however old they are: about 1 MB, and whoever has just
// imported an archive sees it.
const leastNotes = 5000

// feedsPart is everything that ranks, with its doors.
type feedsPart struct {
	core   *core
	events readable
	models models
	shelf  *ranker.Shelf
	tally  *tally.Tally
	zaps   *zapKeys
	feeds  *feeds.Feeds
	market *market.Market
	doors  *feedsdoors.Doors
	jobs   *feedsdoors.Jobs
	abroad abroad
	listed chan struct{} // closed once what the log lists is listed
	author string        // hex secret key that signs the manifests of the rankers that come with the program

	authorKey string          // its public half
	ranked    <-chan struct{} // closed once the graph knows whom to trust
}

// openFeeds makes the feeds. They need the graph.
func (s *server) openFeeds(c *core) (_ *feedsPart, err error) {
	p := &feedsPart{core: c, events: readable{s}, models: models{}, listed: make(chan struct{})}
	for _, d := range builtin.Digests() {
		if p.models[d], err = builtin.NewSource().Model(context.Background(), d); err != nil {
			return nil, err
		}
	}
	p.models[ranker.Sum(spam.Tier0ONNX())] = spam.Tier0ONNX()
	if err := p.models.addNamed(c.cfg.Models); err != nil {
		return nil, usage(err)
	}
	key, err := c.secret.derive("feeds/author")
	if err != nil {
		return nil, err
	}
	p.author = hex.EncodeToString(key[:])
	if p.shelf, err = openShelf(c.cfg, p.models, c.metrics, c.log); err != nil {
		return nil, err
	}
	if err := p.openRanking(s); err != nil {
		return nil, errors.Join(err, p.shelf.Close())
	}
	if err := p.openDoors(s); err != nil {
		return nil, errors.Join(err, p.shelf.Close())
	}
	return p, nil
}

// openRanking makes what turns a request into a page.
func (p *feedsPart) openRanking(s *server) (err error) {
	dir := filepath.Join(p.core.cfg.Data, feedsDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("feeds: %w", err)
	}
	if p.authorKey, err = nostr.GetPublicKey(p.author); err != nil {
		return err
	}
	p.market, err = market.New(market.Config{
		Person: func(ev *nostr.Event) (uint8, error) {
			class, _, err := p.core.people.person(ev)
			return class, err
		},
		Events: p.events, Models: p.models, Authors: []string{p.authorKey}, Logger: p.core.log,
		Derive: func(address string) ([32]byte, error) { return p.core.secret.derive("feeds/listing/" + address) },
	})
	if err != nil {
		return err
	}
	known := s.parts.graph
	p.ranked = known.Ranked()
	if err := p.openZaps(); err != nil {
		return err
	}
	p.tally, err = tally.New(tally.Config{
		Store: p.core.store, Snapshot: filepath.Join(dir, "tally"), Logger: p.core.log,
		Live: p.core.cfg.FeedsAge.Duration, Least: leastNotes,
		Trust: func() func(tally.Key) float32 {
			view := known.From("")
			return func(k tally.Key) float32 { return view.Trust(hex.EncodeToString(k[:])) }
		},
		Seen: func(ev *nostr.Event) { p.feeds.Seen(ev) }, ZapKey: p.zaps.Key,
		Person: p.core.people.person, People: p.core.people.classNames(),
	})
	if err != nil {
		return err
	}
	wording, err := spamWording()
	if err != nil {
		p.core.log.Warn("the feed "+spamSlug+" has nothing to go by", "err", err)
	}
	p.feeds, err = feeds.New(feeds.Config{
		Events: p.events, Graph: socialGraph{known}, Tally: p.tally, Listings: stall{p.market}, Scorer: p.shelf,
		Signals: spamSignals{p.core.store, s.parts.spam.desk}, Encode: builtin.NewEncoder().Vector, Wording: wording,
		Metrics: p.core.metrics, Logger: p.core.log,
	})
	return err
}

// openZaps makes what finds zap keys. When the settings forbid to ask, none is
// ever found.
func (p *feedsPart) openZaps() error {
	allowed, err := parseNetworks("dial_private", p.core.cfg.AllowPrivate)
	if err != nil {
		return err
	}
	dialer := peer.NewDialer(peer.DialConfig{Allow: allowed, Request: zapKeyTime, MaxBody: zapKeyAnswer})
	p.zaps = newZapKeys(dialer.HTTP(), p.events.Query)
	return nil
}

func (p *feedsPart) openDoors(s *server) (err error) {
	cfg := feedsdoors.Config{
		Pages: p.feeds, Market: p.market, Events: p.events, Auth: p.core.auth.Check, URL: p.core.urls[0], Relays: p.core.cfg.DVMRelays,
		Icon:   cmp.Or(p.core.cfg.Icon, "http"+strings.TrimPrefix(p.core.urls[0], "ws")+"/assets/icon.png"),
		Compat: p.core.cfg.FeedsCompat, Logger: p.core.log, Metrics: p.core.metrics,
		Known: func(key string) bool { return s.knows(key) },
		Hidden: func(_ context.Context, viewer string, ev *nostr.Event) bool {
			return viewer != "" && viewer != ev.PubKey && s.parts.graph.Muted(viewer, ev.PubKey)
		},
	}
	if s.parts.search != nil {
		cfg.Words = wordHits{s.parts.search}
	}
	if p.doors, err = feedsdoors.New(cfg); err != nil {
		return err
	}
	p.jobs = p.doors.NewJobs(func(ctx context.Context, ev *nostr.Event) error {
		p.abroad.tell(ev)
		return p.publish(ctx, ev)
	})
	return p.openAbroad()
}

// openAbroad prepares what goes to other relays.
func (p *feedsPart) openAbroad() error {
	allowed, err := parseNetworks("dial_private", p.core.cfg.AllowPrivate)
	if err != nil {
		return err
	}
	p.abroad = newAbroad(p.core.cfg.DVMRelays)
	p.abroad.dialer, p.abroad.jobs, p.abroad.log = peer.NewDialer(peer.DialConfig{Allow: allowed}), p.jobs, p.core.log
	p.abroad.keys = func() (keys []string) {
		for _, l := range p.market.Listings() {
			keys = append(keys, l.Key)
		}
		return keys
	}
	p.abroad.said = p.announcements
	return nil
}

// knows reports whether anything is known of a key: it stands in some list, or
// has written something.
func (s *server) knows(key string) bool {
	if k := s.parts.graph.Eyes("").Known(key); k.Followers > 0 || k.Follows > 0 {
		return true
	}
	for _, err := range s.store.Query(context.Background(), nostr.Filter{Authors: []string{key}, Limit: 1}) {
		return err == nil
	}
	return false
}

// Run ranks, answers jobs and keeps the listings up with the log until ctx
// ends.
func (p *feedsPart) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		select { // weights taken before that would stand for an epoch
		case <-p.ranked:
		case <-ctx.Done():
		}
		return p.tally.Run(ctx)
	})
	g.Go(func() error { return p.feeds.Run(ctx) })
	if p.core.cfg.FeedsZaps {
		g.Go(func() error { return p.zaps.Run(ctx) })
	}
	g.Go(func() error { return p.jobs.Run(ctx) })
	g.Go(func() error { return p.doors.Run(ctx) })
	g.Go(func() error { return p.follow(ctx) })
	g.Go(func() error {
		select {
		case <-p.listed:
			return p.abroad.Run(ctx)
		case <-ctx.Done():
			return nil
		}
	})
	return errors.Join(g.Wait(), p.shelf.Close())
}

// publish hands in an event of one of our keys.
func (p *feedsPart) publish(ctx context.Context, ev *nostr.Event) error {
	reply, err := p.core.relay.Publish(ctx, ev, nil, admit.Peer{Origin: admit.Own})
	if err == nil && !reply.OK {
		err = errors.New(reply.Reason)
	}
	return err
}

// readable is the log as anybody may read it.
type readable struct{ s *server }

// Query is the Events of feeds, of its market and of its doors.
func (r readable) Query(ctx context.Context, filters ...nostr.Filter) iter.Seq2[*nostr.Event, error] {
	return func(yield func(*nostr.Event, error) bool) {
		for rec, err := range r.s.store.Query(ctx, filters...) {
			if err != nil {
				yield(nil, err)
				return
			}
			if !r.s.visible(rec, "") {
				continue
			}
			ev, err := rec.Event()
			if !yield(ev, err) || err != nil {
				return
			}
		}
	}
}

// socialGraph is relay/graph as feeds wants it.
type socialGraph struct{ *graph.Graph }

// From is the graph as one viewer sees it.
func (g socialGraph) From(viewer string) feeds.View { return eyes{g.Eyes(viewer)} }

type eyes struct{ *graph.Eyes }

func (e eyes) Toward(author string) feeds.Standing { return feeds.Standing(e.Eyes.Toward(author)) }
func (e eyes) About(pubkey string) feeds.Known     { return feeds.Known(e.Known(pubkey)) }

// stall is the market as feeds wants it.
type stall struct{ *market.Market }

// Listing finds a feed by any of its names.
func (m stall) Listing(name string) (feeds.Listing, bool) {
	l, ok := m.Market.Listing(name)
	if !ok {
		return feeds.Listing{}, false
	}
	out := feeds.Listing{
		Slug: m.Ref(l), Name: l.Name, Address: l.Address, Version: l.Event.ID, Model: l.Model, Stages: l.Stages, Tier: l.Privacy,
	}
	if !l.Admitted {
		out.Refused = "not admitted"
	}
	if other, ok := m.FallbackOf(l); ok {
		out.Fallback = m.Ref(other)
	}
	for _, k := range l.Knobs {
		out.Knobs = append(out.Knobs, feeds.Knob(k))
	}
	return out, true
}

// wordHits is the word index as the doors want it.
type wordHits struct{ index *search.Index }

// Search gives the ids of hits, best first.
func (w wordHits) Search(ctx context.Context, text string, f nostr.Filter) (ids []string, err error) {
	for id, err := range w.index.Search(ctx, text, f) {
		if err != nil {
			return nil, err
		}
		if ids = append(ids, hex.EncodeToString(id[:])); len(ids) >= f.Limit {
			break
		}
	}
	return ids, nil
}

// feedSource is the doors as the relay wants them.
type feedSource struct{ doors *feedsdoors.Doors }

// Select is a relay.Source.
func (f feedSource) Select(ctx context.Context, door relay.Door, viewer string, filter nostr.Filter) (relay.Page, bool, error) {
	var keys []string
	if viewer != "" {
		keys = []string{viewer}
	}
	got, mine, err := f.doors.Select(ctx, string(door), keys, filter)
	if err != nil || !mine {
		return relay.Page{}, mine, err
	}
	page := relay.Page{Events: got.Events, Still: true}
	switch got.Hint {
	case feedsdoors.Finish:
		page.Hint = wire.Finish
	case feedsdoors.More:
		page.Hint = wire.More
	case feedsdoors.NoHint:
	}
	if got.Prefix != "" {
		page.Refusal = &admit.Refusal{Prefix: admit.Prefix(got.Prefix), Text: got.Text}
	}
	return page, true, nil
}

// Presence is a relay.Paths.
func (f feedSource) Presence(door relay.Door) (relay.About, bool) {
	p, ok := f.doors.Presence(string(door))
	return relay.About{Name: p.Name, Description: p.Description, Icon: p.Icon, Self: p.Self, Software: p.Software, DefaultLimit: p.Usual, MaxLimit: p.Most}, ok
}
