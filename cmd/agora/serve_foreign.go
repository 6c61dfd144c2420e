package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"agora/httpapi"
	"agora/relay"
	"agora/relay/admit"
	"agora/relay/store"
	"agora/relay/store/foreign"
	"agora/relay/wire"

	"github.com/fiatjaf/eventstore"
	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
)

// foreignServer serves another Go relay's store: the protocol, without what
// only our own store and its projections can do. The embedded server has
// neither store nor parts.
type foreignServer struct {
	*server
	es   eventstore.Store
	held *foreign.Log
}

const (
	gravesFile = "graves"     // beside a foreign store: what may not come back
	manageDir  = "management" // beside a foreign store: what NIP-86 has changed
)

func serveForeign(ctx context.Context, w io.Writer, cfg Config, log *slog.Logger, level *slog.LevelVar, reload func() (Config, error), hup <-chan os.Signal) error {
	s := &foreignServer{server: &server{level: level, parts: &parts{}}}
	s.reload = func() (Config, error) {
		cfg, err := reload()
		return fitForeign(cfg), errors.Join(err, foreignAsks(cfg))
	}
	if err := s.open(ctx, cfg, log); err != nil {
		return errors.Join(err, s.close())
	}
	if err := s.greet(w); err != nil {
		return errors.Join(err, s.close())
	}
	return s.Run(ctx, hup)
}

// foreignAsks refuses settings that would silently do nothing.
func foreignAsks(cfg Config) error {
	plain := defaults()
	for _, ask := range []struct {
		setting string
		asked   bool
	}{
		{"retention", len(cfg.Retention) > 0}, {"ready_sets", len(cfg.ReadySets) > 0},
		{"person_groups", len(cfg.PersonGroups) > 0}, {"groups", len(cfg.Groups) > 0}, {"person_kinds", len(cfg.PersonKinds) > 0},
		{"spam_mode", cfg.SpamMode != plain.SpamMode && cfg.SpamMode != "pass"}, {"spam_enforce", cfg.SpamEnforce},
		{"spam_rules", len(cfg.SpamRules) > 0}, {"write_policy", len(cfg.WritePolicy) > 0},
		{"dvm_relays", len(cfg.DVMRelays) > 0}, {"models", len(cfg.Models) > 0},
	} {
		if ask.asked {
			return usagef("%s needs a store of our own, %s cannot keep what it takes: leave %s out, or bring the events in (agora import --from %s)", ask.setting, cfg.Store, ask.setting, cfg.Store)
		}
	}
	return nil
}

// fitForeign lowers the limits to what the store has room for.
func fitForeign(cfg Config) Config {
	cfg.MaxContent = min(cfg.MaxContent, foreign.MaxContent)
	return cfg
}

// open takes the addresses and the data directory, then opens the store.
func (s *foreignServer) open(ctx context.Context, cfg Config, log *slog.Logger) error {
	if err := foreignAsks(cfg); err != nil {
		return err
	}
	es, path, err := foreignStore("--store", cfg.Store)
	if err != nil {
		return usage(err)
	}
	if err := existingData(cfg.Data); err == nil {
		return usagef("%s holds a store of our own: name another directory with --data, where bans and deletions of %s are kept", cfg.Data, path)
	}
	urls, err := s.take(ctx, cfg)
	if err != nil {
		return err
	}
	c := &core{cfg: fitForeign(cfg), urls: urls, log: log, metrics: prometheus.NewRegistry()}
	s.core = c
	if c.secret, err = loadSecret(cfg.Data); err != nil {
		return err
	}
	if c.self, err = c.secret.self(); err != nil {
		return err
	}
	if err := openAlone(es, path); err != nil {
		return err
	}
	s.es = es
	s.held, err = foreign.New(foreign.Config{Store: es, Encode: wire.AppendEvent, Graves: filepath.Join(cfg.Data, gravesFile)})
	if err != nil {
		return err
	}
	return s.openRelay()
}

func (s *foreignServer) openRelay() (err error) {
	c := s.core
	if c.auth, err = admit.NewHTTPAuth(c.urls); err != nil {
		return usage(fmt.Errorf("public_urls: %w", err))
	}
	c.manage, err = relay.NewManagement(relay.ManagementConfig{
		Policy: c.cfg.policy(), Secret: c.self, Keeper: fileKeeper(filepath.Join(c.cfg.Data, manageDir)), Shelf: s.held, Signer: c.auth, Logger: c.log,
	})
	if err != nil {
		return usage(err)
	}
	page, err := newLanding(c.log, s.foreignFacts)
	if err != nil {
		return err
	}
	settings, err := c.relayConfig()
	if err != nil {
		return err
	}
	room := relay.Gate{Name: "room", Gate: roomGate{}, Origins: []admit.Origin{admit.Socket, admit.Own}, Waits: func(*nostr.Event) bool { return false }}
	c.relay, err = relay.New(settings, relay.Parts{Log: s.held, Manage: c.manage, Landing: page, Gates: []relay.Gate{room}})
	if err != nil {
		return err
	}
	s.parts.doors = s.foreignDoors(page)
	return nil
}

// roomGate turns away what the store has no room for.
type roomGate struct{}

func (roomGate) Rule(_ context.Context, ev *nostr.Event, _ admit.Peer) (admit.Ruling, error) {
	if why := foreign.Unfit(ev); why != "" {
		return admit.Refuse(admit.Invalid, why), nil
	}
	return admit.Ruling{}, nil
}

func (s *foreignServer) foreignDoors(page http.Handler) doors {
	c := s.core
	d := doors{relay: c.relay, about: page}
	if c.cfg.HTTPExport {
		d.export = s.exporter(c, s.held.Query)
	}
	c.metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	d.metrics = promhttp.HandlerFor(c.metrics, promhttp.HandlerOpts{})
	d.health = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if _, err := s.held.Has(store.ID{}); err != nil {
			c.log.Error("health", "error", err)
			httpapi.Fail(w, http.StatusServiceUnavailable, "the store does not answer")
			return
		}
		httpapi.Reply(w, http.StatusOK, map[string]any{"status": "ok", "store": c.cfg.Store})
	})
	return d
}

// foreignFacts are what the landing page says; such a store does not say how
// much it holds without being read through.
func (s *foreignServer) foreignFacts(r *http.Request) (facts, error) {
	doc := s.relay.Info()
	f := facts{
		Name: doc.Name, Description: doc.Description, Contact: doc.Contact, Terms: doc.TermsOfService,
		URLs: s.shownURLs(r), Events: "not counted", Disk: "another relay's store",
		NIPs: joinInts(doc.SupportedNIPs), Version: version(),
	}
	f.Features = s.features(pageOf(f.URLs[0]), doc.SupportedNIPs)
	return f, nil
}

// greet says where everything is, and what this store leaves out.
func (s *foreignServer) greet(w io.Writer) error {
	_, err := fmt.Fprintf(w, `agora %s
  relay    %s
  page     %s
  store    %s
  data     %s (bans, deletions, keys)
  without  search, graph, feeds, spam filter, proofs of personhood, retention, ready negentropy sets;
           content beyond %d bytes; expired events are hidden, not removed
  import   agora import --from %s brings these events into a store that can do all of it
`, version(), s.urls[0], s.at.page, s.cfg.Store, s.cfg.Data, foreign.MaxContent, s.cfg.Store)
	if s.inside != nil && err == nil {
		_, err = fmt.Fprintf(w, "  metrics  http://%s/metrics\n", s.inside.Addr())
	}
	return err
}

// Run serves until ctx ends or something of ours fails, then drains. The log
// outlives the relay, the store outlives the log.
func (s *foreignServer) Run(ctx context.Context, hup <-chan os.Signal) error {
	storing, stopStoring := context.WithCancel(context.WithoutCancel(ctx))
	defer stopStoring()
	stored := make(chan error, 1) // the log's last word
	go func() { stored <- s.held.Run(storing) }()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.relay.Run(ctx) })
	g.Go(func() error { return s.serveHTTP(ctx, s.cert.wrap(s.listener), s.parts.doors.mux(s.inside != nil)) })
	if s.inside != nil {
		g.Go(func() error { return s.serveHTTP(ctx, s.inside, s.parts.doors.inside()) })
	}
	g.Go(func() error { s.watch(ctx, hup, s.reloadNow); return nil })
	err := g.Wait()
	if errors.Is(err, context.Canceled) {
		err = nil
	}
	stopStoring()
	err = errors.Join(err, <-stored)
	s.es.Close()
	if err == nil {
		s.log.Info("drained and stopped")
	}
	return errors.Join(err, s.data.release())
}

// reloadNow is the server's, without what a foreign store has not.
func (s *foreignServer) reloadNow() error {
	return s.reloadWith(func(Config) (func(), error) { return func() {}, nil })
}

// close gives back what was taken, when serving never began.
func (s *foreignServer) close() error {
	if s.es != nil {
		s.es.Close()
	}
	s.core = nil
	return s.server.close()
}

// fileKeeper keeps small values as files of a directory: relay.Keeper for a
// relay without a store of its own.
type fileKeeper string

func (k fileKeeper) path(key string) string {
	return filepath.Join(string(k), strings.NewReplacer("/", "_", ":", "_").Replace(key))
}

// Meta is nil for a key that has no value.
func (k fileKeeper) Meta(key string) ([]byte, error) {
	value, err := os.ReadFile(k.path(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return value, err
}

// SetMeta replaces a value at once, or removes it when it is empty; either is
// on disk when it returns.
func (k fileKeeper) SetMeta(_ context.Context, key string, value []byte) error {
	if err := os.MkdirAll(string(k), 0o700); err != nil {
		return err
	}
	if len(value) == 0 {
		if err := os.Remove(k.path(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return syncDir(string(k))
	}
	return writeWhole(k.path(key), value)
}
