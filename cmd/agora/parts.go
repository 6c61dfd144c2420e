package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"agora/httpapi"
	"agora/relay"
	"agora/relay/admit"
	"agora/relay/graph"
	"agora/relay/peer"
	"agora/relay/search"
	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
)

// parts are what a serving relay has beyond its core; those that are switched
// off are nil.
type parts struct {
	search *search.Index
	graph  *graph.Graph
	feeds  *feedsPart
	spam   *spamPart
	groups *groupsPart
	polls  *polls
	doors  doors
}

// addParts makes the parts and says which of them the relay works with.
func (s *server) addParts(c *core) (relay.Parts, error) {
	s.parts = &parts{}
	if err := s.openProjections(c); err != nil {
		return relay.Parts{}, errors.Join(err, s.parts.close())
	}
	page, err := newLanding(c.log, func(r *http.Request) (facts, error) { return s.facts(r) })
	if err != nil {
		return relay.Parts{}, errors.Join(err, s.parts.close())
	}
	if s.parts.spam, err = s.openSpam(c); err != nil {
		return relay.Parts{}, errors.Join(err, s.parts.close())
	}
	if c.cfg.Feeds && s.parts.graph != nil {
		if s.parts.feeds, err = s.openFeeds(c); err != nil {
			return relay.Parts{}, errors.Join(err, s.parts.close())
		}
	}
	if s.parts.groups, err = s.openGroups(c); err != nil {
		return relay.Parts{}, errors.Join(err, s.parts.close())
	}
	if s.parts.polls, err = s.openPolls(c); err != nil {
		return relay.Parts{}, errors.Join(err, s.parts.close())
	}
	if err := s.openDoors(c); err != nil {
		return relay.Parts{}, errors.Join(err, s.parts.close())
	}
	with := relay.Parts{Landing: s.parts.doors.openWeb(c.log, page), Gates: s.parts.spam.gates()}
	if s.parts.search != nil {
		with.Search = spamSearch{s.parts.search, c.store, s.parts.spam.desk}
	}
	if s.parts.feeds != nil {
		source := feedSource{s.parts.feeds.doors}
		with.Sources, with.Paths = []relay.Source{source}, source
		with.Gates = append(with.Gates, relay.Gate{Name: "listing", Gate: listingGate{}})
	}
	return with, nil
}

func (s *server) openProjections(c *core) (err error) {
	if c.cfg.Search {
		s.parts.search, err = search.Open(c.cfg.Data, c.store, search.Config{
			Budget: int64(c.cfg.SearchDisk), Metrics: c.metrics, Logger: c.log,
		})
		if err != nil {
			return fmt.Errorf("word index: %w", err)
		}
	}
	if !c.cfg.Graph {
		return nil
	}
	dir := filepath.Join(c.cfg.Data, graphDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("graph: %w", err)
	}
	assert, err := s.assertions(c)
	if err != nil {
		return err
	}
	s.parts.graph, err = graph.New(graph.Config{
		Store: c.store, Snapshot: filepath.Join(dir, "snapshot"), Logger: c.log,
		Visible: func(r store.Record, viewer string) bool { return s.visible(r, viewer) },
		Auth:    c.auth.Check, Assert: assert,
	})
	return err
}

// assertions are published as the relay's own, by keys of their own.
func (s *server) assertions(c *core) (graph.Assertions, error) {
	if c.cfg.Assertions == 0 {
		return graph.Assertions{}, nil
	}
	key, err := c.secret.derive("graph/assertions")
	if err != nil {
		return graph.Assertions{}, err
	}
	self, err := nostr.GetPublicKey(c.self)
	return graph.Assertions{
		Secret: key[:], Self: self, Relay: c.urls[0], Top: c.cfg.Assertions,
		Publish: func(ctx context.Context, ev *nostr.Event) error {
			reply, err := s.relay.Publish(ctx, ev, nil, admit.Peer{Origin: admit.Own})
			if err == nil && !reply.OK {
				err = errors.New(reply.Reason)
			}
			return err
		},
	}, err
}

// visible is the relay's predicate for one viewer, "" for anybody.
func (s *server) visible(r store.Record, viewer string) bool {
	var keys []string
	if viewer != "" {
		keys = []string{viewer}
	}
	return s.relay.Visible(&r, keys, time.Now().Unix())
}

// openDoors makes the HTTP handlers. The relay itself does not exist yet, so
// its handler asks for it when the first request comes.
func (s *server) openDoors(c *core) error {
	d := &s.parts.doors
	d.relay = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.relay.ServeHTTP(w, r) })
	if s.parts.graph != nil {
		handler, err := s.parts.graph.Handler()
		if err != nil {
			return err
		}
		d.graph = handler
	}
	if s.parts.feeds != nil {
		d.feeds, d.market, d.listed = s.parts.feeds.doors.Handler(), s.parts.feeds.market.Handler(), s.parts.feeds.listed
	}
	if c.cfg.Bring {
		bringer, err := s.bringer(c)
		if err != nil {
			return err
		}
		d.bring = bringer.Handler(c.auth.Check)
	}
	if c.cfg.HTTPExport {
		d.export = s.exporter(c, c.store.Query)
	}
	d.polls = s.parts.polls.handler()
	d.spam = httpapi.Open("GET", &spamDoor{part: s.parts.spam, core: c})
	d.groups = s.parts.groups.doors.Handler()
	c.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), storeGauges(c.store))
	d.metrics = promhttp.HandlerFor(c.metrics, promhttp.HandlerOpts{})
	d.health = http.HandlerFunc(s.health)
	return nil
}

// bringer fetches a key's own events from elsewhere.
func (s *server) bringer(c *core) (*peer.Bringer, error) {
	allowed, err := parseNetworks("dial_private", c.cfg.AllowPrivate)
	if err != nil {
		return nil, err
	}
	return peer.NewBringer(peer.BringConfig{
		Dialer: peer.NewDialer(peer.DialConfig{Allow: allowed}), Local: c.store,
		Index: c.cfg.IndexRelays, Own: c.urls, Logger: c.log,
		Sign: func(_ context.Context, ev *nostr.Event) error { return ev.Sign(c.self) },
		Publish: func(ctx context.Context, ev *nostr.Event, record []byte) (string, error) {
			return publishOne(ctx, c, ev, record, admit.Bring)
		},
	})
}

// Run keeps the projections up with the log.
func (p *parts) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return rest(ctx) })
	if p.search != nil {
		g.Go(func() error { return p.search.Run(ctx) })
	}
	if p.feeds != nil {
		g.Go(func() error { return p.feeds.Run(ctx) })
	}
	if p.spam != nil {
		g.Go(func() error { return p.spam.Run(ctx) })
	}
	if p.groups != nil {
		g.Go(func() error { return p.groups.Run(ctx) })
	}
	g.Go(func() error { return p.polls.Run(ctx) })
	if p.graph != nil {
		g.Go(func() error { return p.graph.Run(ctx) })
	}
	return errors.Join(g.Wait(), p.close())
}

func (p *parts) close() error {
	if p == nil || p.search == nil {
		return nil
	}
	index := p.search
	p.search = nil
	return index.Close()
}

// health is 200 as long as the store answers.
func (s *server) health(w http.ResponseWriter, _ *http.Request) {
	st, err := s.store.Stats()
	if err != nil {
		s.log.Error("health", "error", err)
		httpapi.Fail(w, http.StatusServiceUnavailable, "the store does not answer")
		return
	}
	httpapi.Reply(w, http.StatusOK, map[string]any{"status": "ok", "events": st.Events, "position": st.Head})
}

// storeGauges reads the store when the metrics are read.
func storeGauges(st *store.Store) prometheus.Collector {
	gauges := gaugeFuncs{}
	add := func(name, help string, value func(store.Stats) float64) {
		gauges = append(gauges, prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			now, err := st.Stats()
			if err != nil {
				return -1 // the log has the error; a gauge has no other way to say it
			}
			return value(now)
		}))
	}
	add("agora_store_held_events", "events held", func(s store.Stats) float64 { return float64(s.Events) })
	add("agora_store_disk_bytes", "size of the database file", func(s store.Stats) float64 { return float64(s.Bytes) })
	add("agora_store_used_bytes", "pages of the database that hold something", func(s store.Stats) float64 { return float64(s.Used) })
	add("agora_store_head_position", "last position of the log", func(s store.Stats) float64 { return float64(s.Head) })
	return gauges
}

// gaugeFuncs is several gauges as one collector.
type gaugeFuncs []prometheus.GaugeFunc

// Describe is part of prometheus.Collector.
func (g gaugeFuncs) Describe(ch chan<- *prometheus.Desc) {
	for _, each := range g {
		each.Describe(ch)
	}
}

// Collect is part of prometheus.Collector.
func (g gaugeFuncs) Collect(ch chan<- prometheus.Metric) {
	for _, each := range g {
		each.Collect(ch)
	}
}
