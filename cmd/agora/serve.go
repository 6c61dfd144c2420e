package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"
	"golang.org/x/sync/errgroup"
)

// drainTime is how long HTTP answers under way may take once the relay is told
// to stop. The relay drains its websockets within 8 s of its own.
const drainTime = 8 * time.Second

func serveCommand() *cli.Command {
	return &cli.Command{
		Name: "serve", Usage: "run the relay",
		OnUsageError: wrongUsage, HideHelpCommand: true,
		Description: `Listens for Nostr clients on a websocket and for browsers on the same address.
Every setting below may also stand in a TOML file (--config) or in the
environment. SIGHUP reads them again and changes policy and limits without
dropping a connection; SIGTERM and SIGINT drain for at most 10 s.

--store serves the events of another Go relay where they lie, with its program
stopped. Such a store keeps events and nothing else: no search, graph, feeds,
spam filter, proofs of personhood, retention or ready negentropy sets. Where it
cannot do what the settings ask for, the relay does not start. Bans, deletions
and requests to vanish are kept in --data. import --from brings the same events
into a store that can do all of it.

Examples:
  agora serve
  agora serve --listen 0.0.0.0:7447 --public-urls wss://relay.example --data /var/lib/agora
  agora serve --print-config > agora.toml
  agora serve --config agora.toml
  agora serve --store eventstore:lmdb:/srv/khatru/db --data ./beside
  AGORA_ADMINS=npub1… agora serve --tls-cert chain.pem --tls-key key.pem --listen 0.0.0.0:443`,
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "print-config", Usage: "print every setting with its value, default, unit and meaning, and end"},
		}, configFlags()...),
		Action: runServe,
	}
}

func runServe(ctx context.Context, cmd *cli.Command) error {
	cfg, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	if cmd.Bool("print-config") {
		return printConfig(cmd.Root().Writer, cfg)
	}
	if cmd.Args().Present() {
		return usagef("serve takes no arguments, only settings (see: agora serve --help)")
	}
	hup := make(chan os.Signal, 1) // signals; when full: one reload covers both
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	log, level, err := newLogger(cfg)
	if err != nil {
		return err
	}
	reload := func() (Config, error) { return loadConfig(cmd) }
	if cfg.Store != "" {
		return serveForeign(ctx, cmd.Root().Writer, cfg, log, level, reload, hup)
	}
	s, err := openServer(ctx, cfg, log)
	if err != nil {
		return err
	}
	s.level, s.reload = level, reload
	widen()
	if err := s.greet(cmd.Root().Writer); err != nil {
		return errors.Join(err, s.close())
	}
	return s.Run(ctx, hup)
}

// beyondCores is how many goroutines may run at once beyond one a core. A check
// of a signature and a sync are calls into C, which keep a core's place in Go
// until the runtime sees that they last, and a ranking keeps one for
// milliseconds: with a few places more the system shares the cores out, and
// publishing does not stand behind pages.
const beyondCores = 2

// widen makes these places. What is counted by cores must have been counted.
// Whoever sets GOMAXPROCS knows better.
func widen() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + beyondCores)
	}
}

// server is a core with its doors open.
type server struct {
	*core
	level    *slog.LevelVar
	reload   func() (Config, error)
	data     *dataDir
	cert     *certificate
	listener net.Listener
	inside   net.Listener // of metrics_listen; nil without it
	door     net.Listener
	at       addresses
	parts    *parts
}

// openServer takes the address, then the data directory, then opens the store:
// whatever is in the way is told before anything is touched.
func openServer(ctx context.Context, cfg Config, log *slog.Logger) (_ *server, err error) {
	s := &server{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.close())
		}
	}()
	urls, err := s.take(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if s.door, err = listenDoor(ctx, cfg.Data); err != nil {
		return nil, err
	}
	s.core, err = openCore(cfg, urls, log, s.addParts)
	return s, err
}

// take takes the addresses and the data directory, and says by which URLs the
// relay is known.
func (s *server) take(ctx context.Context, cfg Config) (urls []string, err error) {
	if s.cert, err = newCertificate(cfg); err != nil {
		return nil, err
	}
	if s.listener, err = listen(ctx, "listen", cfg.Listen); err != nil {
		return nil, err
	}
	if cfg.MetricsListen != "" {
		if s.inside, err = listen(ctx, "metrics-listen", cfg.MetricsListen); err != nil {
			return nil, err
		}
	}
	s.at = urlsOf(s.listener, s.cert != nil)
	if s.data, err = holdData(cfg.Data, holder{Command: "serve", URL: s.at.relay}); err != nil {
		return nil, err
	}
	if len(cfg.PublicURLs) > 0 {
		return cfg.PublicURLs, nil
	}
	return localNames(s.listener, s.at.relay), nil
}

// close gives back what was taken, when serving never began.
func (s *server) close() error {
	var err error
	for _, l := range []net.Listener{s.listener, s.inside, s.door} {
		if l != nil {
			err = errors.Join(err, l.Close())
		}
	}
	if s.core != nil {
		err = errors.Join(err, s.parts.close(), s.store.Close())
	}
	if s.data != nil {
		err = errors.Join(err, s.data.release())
	}
	return err
}

// greet tells the operator where everything is.
func (s *server) greet(w io.Writer) error {
	st, err := s.store.Stats()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, `agora %s
  relay    %s
  page     %s
  data     %s (%s, %s)
  import   %s import --data %s FILE    JSON lines, plain, .gz or .zst, also while serving
`, version(), s.urls[0], s.at.page, s.cfg.Data, howMany(int64(st.Events), "event"), Size(st.Bytes).human(), os.Args[0], s.cfg.Data)
	if s.inside != nil && err == nil {
		_, err = fmt.Fprintf(w, "  metrics  http://%s/metrics\n", s.inside.Addr())
	}
	return err
}

// Run serves until ctx ends or something of ours fails, then drains.
func (s *server) Run(ctx context.Context, hup <-chan os.Signal) error {
	err := s.core.run(ctx, func(ctx context.Context) error {
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error { return s.relay.Run(ctx) })
		g.Go(func() error { return s.parts.Run(ctx) })
		g.Go(func() error { return (&door{s.door, s.core, s.log}).Run(ctx) })
		g.Go(func() error { return s.serveHTTP(ctx, s.cert.wrap(s.listener), s.parts.doors.mux(s.inside != nil)) })
		if s.inside != nil {
			g.Go(func() error { return s.serveHTTP(ctx, s.inside, s.parts.doors.inside()) })
		}
		g.Go(func() error { s.watch(ctx, hup, s.reloadNow); return nil })
		if err := g.Wait(); err != nil && !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	})
	if err == nil {
		s.log.Info("drained and stopped")
	}
	return errors.Join(err, s.data.release())
}

// serveHTTP answers on l until ctx ends, then lets what is under way finish.
func (s *server) serveHTTP(ctx context.Context, l net.Listener, h http.Handler) error {
	srv := newServer(h, s.cfg.Handshake.Duration, s.log)
	ended := make(chan error, 1) // Serve's last word
	go func() { ended <- srv.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("listen on %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	draining, stop := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer stop()
	if err := srv.Shutdown(draining); err != nil {
		s.log.Warn("HTTP answers were cut off at the end", "error", err)
		return srv.Close()
	}
	return nil
}

// watch reloads at every SIGHUP.
func (s *server) watch(ctx context.Context, hup <-chan os.Signal, reload func() error) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-hup:
			if err := reload(); err != nil {
				s.log.Error("reload: nothing was changed", "error", err)
			}
		}
	}
}

// reloadNow reads the settings again.
func (s *server) reloadNow() error {
	return s.reloadWith(func(cfg Config) (func(), error) {
		retention, err := parseRetention(cfg.Retention)
		return func() {
			s.parts.spam.reload(cfg)
			s.store.SetRetention(retention)
		}, err
	})
}

// reloadWith reads the settings again and gives them to the parts that every
// relay has; check looks at what else there is, and returns what puts it into
// force. Everything is checked before the first of them takes effect.
func (s *server) reloadWith(check func(Config) (apply func(), err error)) error {
	cfg, err := s.reload()
	if err != nil {
		return err
	}
	apply, err := check(cfg)
	if err != nil {
		return err
	}
	level := new(slog.LevelVar)
	if err := setLevel(level, cfg.LogLevel); err != nil {
		return err
	}
	if err := s.cert.reload(); err != nil {
		return err
	}
	if err := s.manage.Reload(cfg.policy()); err != nil {
		return err
	}
	s.relay.Reload(cfg.limits())
	apply()
	s.level.Set(level.Level())
	s.tellChanges(cfg)
	return nil
}

// tellChanges logs what has changed, and what waits for a restart.
func (s *server) tellChanges(cfg Config) {
	before := settings(&s.cfg)
	for i, now := range settings(&cfg) {
		if now.toml() == before[i].toml() {
			continue
		}
		if !now.reload {
			s.log.Warn("reload: this setting needs a restart", "setting", now.name, "in force", before[i].toml(), "in the file", now.toml())
			continue
		}
		s.log.Info("reload: changed", "setting", now.name, "from", before[i].toml(), "to", now.toml())
		before[i].value.Set(now.value)
	}
	s.log.Info("reloaded")
}
