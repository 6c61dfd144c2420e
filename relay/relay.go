// Package relay speaks the Nostr protocol over websockets: sessions,
// subscriptions, Publish, NIP-11, NIP-42, NIP-86. What comes in goes to the
// log through Publish; what goes out has passed visible.
package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"agora/relay/admit"
	"agora/relay/store"
	"agora/relay/wire"

	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

// Config says how a relay presents itself and whom it trusts. Zero fields
// mean the documented default.
type Config struct {
	About          About
	PublicURLs     []string       // where clients reach us; their host and port count for NIP-42 and NIP-62, the path does not
	TrustedProxies []netip.Prefix // whose X-Forwarded-For and Forwarded count
	Exempt         []netip.Prefix // spared the rates of Budget; nil means loopback
	Limits         Limits
	NoCompression  bool                  // do not offer permessage-deflate
	QuietAuth      bool                  // send the AUTH challenge only when it is needed, not at once
	Restricted     []int                 // further kinds that only their author and those in their p tags may read, such as 4
	OwnKeys        []string              // hex keys this relay signs with: their protected events may come by sync
	Registerer     prometheus.Registerer // default: metrics go nowhere
	Logger         *slog.Logger          // default slog.Default()
}

// Parts are what the relay works with; only Log is needed.
type Parts struct {
	Log     Log
	Gates   []Gate       // rule in this order, after the relay's own
	Manage  *Management  // NIP-86
	Search  Searcher     // NIP-50
	Sources []Source     // asked in this order before the log
	Paths   Paths        // further doors; nil: there is only "/"
	Landing http.Handler // for a browser on the root path; default 404
}

// Gate is an admit.Gate with its name, for the metrics, and the ways in it
// watches.
type Gate struct {
	Name    string
	Gate    admit.Gate
	Origins []admit.Origin // nil means sockets only

	// Waits says on which events the gate waits for something other than a
	// processor: those hold up no verifier, and no others get a deadline. nil:
	// it holds up a verifier, until a deadline.
	Waits func(*nostr.Event) bool
}

// Relay serves one log over websockets.
type Relay struct {
	cfg        Config
	log        Log
	manage     *Management
	search     Searcher
	sources    []Source
	paths      Paths
	landing    http.Handler
	gates      [admit.Own + 1][]gate
	waits      [admit.Own + 1][]func(*nostr.Event) bool // those of the gates that wait on some events
	restricted []int
	hosts      []string // host:port of PublicURLs
	logger     *slog.Logger
	metrics    *metrics
	mem        *memory
	keys       wire.Keys
	lim        atomic.Pointer[limits]
	live       dispatcher
	places     places
	negs       *negBook

	verify chan *submission // at most verifyQueue submissions; when full: whoever submits waits

	examining atomic.Int32   // events being examined now
	waiting   chan struct{}  // a token for each event that a gate waits on, at most mostWaiting; beyond, a verifier waits
	waiters   sync.WaitGroup // their goroutines

	work     context.Context // ends when the last session has been drained
	endWork  context.CancelFunc
	running  atomic.Bool
	failedAt atomic.Int64  // unix seconds, when a failure was last logged
	begun    chan struct{} // closed once Run takes connections
	sessions sessions
}

// limits is Limits as it is in force, with what follows from it.
type limits struct {
	Limits
	wire wire.Limits
}

// verifyQueue is how many submissions wait for a verifier: as many as one
// commit takes.
const verifyQueue = 256

// mostWaiting is how many events gates may wait on beside the verifiers: what
// sixteen connections may have under way.
const mostWaiting = 1024

// New checks and builds a relay. It starts nothing.
func New(cfg Config, parts Parts) (*Relay, error) {
	if parts.Log == nil {
		return nil, errors.New("a relay needs a Log")
	}
	hosts, err := publicHosts(cfg.PublicURLs)
	if err != nil {
		return nil, err
	}
	r := &Relay{
		cfg: cfg, log: parts.Log, manage: parts.Manage, search: parts.Search, sources: parts.Sources, paths: parts.Paths, landing: parts.Landing,
		restricted: cfg.Restricted, hosts: hosts, logger: cfg.Logger, mem: newMemory(),
		verify: make(chan *submission, verifyQueue), waiting: make(chan struct{}, mostWaiting), negs: newNegBook(), begun: make(chan struct{}),
	}
	or(&r.logger, slog.Default())
	if r.cfg.Exempt == nil {
		r.cfg.Exempt = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	if r.metrics, err = newMetrics(cfg.Registerer); err != nil {
		return nil, err
	}
	r.work, r.endWork = context.WithCancel(context.Background())
	r.live = dispatcher{r: r, index: newIndex(), at: parts.Log.Head()}
	r.places.m = make(map[netip.Addr]*place)
	r.sessions.init()
	r.Reload(cfg.Limits)
	r.layGates(parts.Gates)
	if r.manage != nil {
		r.manage.attach(r)
	}
	return r, nil
}

// Reload exchanges the limits. Connections stay; what they do next is held to
// the new ones.
func (r *Relay) Reload(l Limits) {
	l = l.withDefaults()
	r.lim.Store(&limits{Limits: l, wire: wire.Limits{
		EventTags: l.MaxTags, Content: l.MaxContent, Filters: l.MaxFilters, FilterItems: l.MaxFilterItems, SubID: l.MaxSubID,
	}})
}

func (r *Relay) limits() *limits { return r.lim.Load() }

// drainTime is how long open connections may take to get their answers once
// the relay is told to stop.
const drainTime = 8 * time.Second

// Run works until ctx ends, then takes no more connections, lets the open ones
// have the answers they are owed, closes them and returns. The log must be
// running before and until after.
func (r *Relay) Run(ctx context.Context) error {
	if !r.running.CompareAndSwap(false, true) {
		return errors.New("a relay runs once")
	}
	g, fail := errgroup.WithContext(r.work)
	for range runtime.GOMAXPROCS(0) {
		g.Go(func() error { r.verifier(r.work); return nil })
	}
	g.Go(func() error { return r.live.run(r.work) })
	g.Go(func() error { r.tend(r.work); return nil })
	if r.manage != nil {
		g.Go(func() error { return r.manage.run(r.work) })
	}
	r.sessions.admit(true)
	close(r.begun)
	select {
	case <-ctx.Done():
	case <-fail.Done(): // something of ours has failed
	}
	r.sessions.admit(false)
	r.sessions.drain(drainTime)
	r.endWork()
	err := g.Wait()
	r.waiters.Wait()
	if err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	return nil
}

// publishOwn hands in an event which the relay has signed.
func (r *Relay) publishOwn(ctx context.Context, ev *nostr.Event) error {
	reply, err := r.Publish(ctx, ev, nil, admit.Peer{Origin: admit.Own})
	if err == nil && !reply.OK {
		err = errors.New(reply.Reason)
	}
	return err
}

// dropBlocked closes the connections of blocked addresses.
func (r *Relay) dropBlocked() {
	for _, s := range r.sessions.list() {
		if _, blocked := r.manage.Blocked(s.ip); blocked {
			s.abandon()
		}
	}
}

// failed logs what went wrong on our side and makes the answer the client
// gets of it.
func (r *Relay) failed(what, about string, err error) Reply {
	no := new(notAnswered)
	switch {
	case asNotAnswered(err, &no):
		return Reply{Reason: no.Error()}
	case errors.Is(err, context.Canceled), errors.Is(err, store.ErrClosed):
		return Reply{Reason: refusal(admit.Error, "the relay is closing down, try again later")}
	}
	r.metrics.failures.Inc()
	if now := time.Now().Unix(); r.failedAt.Swap(now) == now { // a full disk fails every event: one line a second will do
		return Reply{Reason: refusal(admit.Error, "could not "+what+" this now, try again later")}
	}
	r.logger.Error("could not "+what, "about", about, "err", err)
	return Reply{Reason: refusal(admit.Error, "could not "+what+" this now, try again later")}
}

func asNotAnswered(err error, to **notAnswered) bool { return errors.As(err, to) }

// sessions are the open connections.
type sessions struct {
	mu    sync.Mutex // guards what follows
	open  bool
	all   map[*session]bool // true once the handshake is over: before, there is nothing to write to
	group sync.WaitGroup    // their goroutines
}

func (s *sessions) init() { s.all = make(map[*session]bool) }

func (s *sessions) admit(open bool) {
	s.mu.Lock()
	s.open = open
	s.mu.Unlock()
}

// enter books a session with its two goroutines, or says why not.
func (s *sessions) enter(one *session, most int) (no string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.open {
		return "this relay is closing down"
	}
	if len(s.all) >= most {
		return "this relay is full"
	}
	s.all[one] = false
	s.group.Add(1)
	return ""
}

// ready lists a session whose handshake is over. False means that the relay
// has closed meanwhile.
func (s *sessions) ready(one *session) (open bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all[one] = true
	return s.open
}

func (s *sessions) leave(one *session) {
	s.mu.Lock()
	delete(s.all, one)
	s.mu.Unlock()
	s.group.Done()
}

func (s *sessions) list() []*session {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]*session, 0, len(s.all))
	for one, ready := range s.all {
		if ready {
			list = append(list, one)
		}
	}
	return list
}

// drain asks every session to end, and closes those that take too long.
func (s *sessions) drain(most time.Duration) {
	for _, one := range s.list() {
		one.drainAndEnd()
	}
	timer := time.AfterFunc(most, func() {
		for _, one := range s.list() {
			one.abandon()
		}
	})
	defer timer.Stop()
	s.group.Wait()
}
