package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"

	"agora/relay"
	"agora/relay/admit"
	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
)

// core is the log and the one way into it: what import and sync need, and what
// serve hangs its doors on.
type core struct {
	cfg     Config
	secret  secret
	self    string // hex secret key of the relay
	urls    []string
	log     *slog.Logger
	metrics *prometheus.Registry
	store   *store.Store
	manage  *relay.Management
	auth    *admit.HTTPAuth
	people  *people
	relay   *relay.Relay
}

// openCore builds the core in a data directory that is held. more adds what a
// serving relay has beyond it, once the store is open. Nothing is started.
func openCore(cfg Config, urls []string, log *slog.Logger, more func(*core) (relay.Parts, error)) (_ *core, err error) {
	c := &core{cfg: cfg, urls: urls, log: log, metrics: prometheus.NewRegistry()}
	if c.secret, err = loadSecret(cfg.Data); err != nil {
		return nil, err
	}
	if c.self, err = c.secret.self(); err != nil {
		return nil, err
	}
	settings, err := c.storeConfig()
	if err != nil {
		return nil, err
	}
	if c.store, err = store.Open(filepath.Join(cfg.Data, storeDir), settings); err != nil {
		return nil, err
	}
	if err := c.openRelay(more); err != nil {
		return nil, errors.Join(err, c.store.Close())
	}
	return c, nil
}

func (c *core) openRelay(more func(*core) (relay.Parts, error)) (err error) {
	if c.auth, err = admit.NewHTTPAuth(c.urls); err != nil {
		return usage(fmt.Errorf("public_urls: %w", err))
	}
	c.manage, err = relay.NewManagement(relay.ManagementConfig{
		Policy: c.cfg.policy(), Secret: c.self, Keeper: c.store, Shelf: c.store, Signer: c.auth, Logger: c.log,
	})
	if err != nil {
		return usage(err)
	}
	if c.people, err = openPeople(c.cfg, c.secret, c.store, c.metrics); err != nil {
		return err
	}
	var parts relay.Parts
	if more != nil {
		if parts, err = more(c); err != nil {
			return err
		}
	}
	// The person gate comes first: an event with a proof that reaches the gates
	// after it has been proven, which the spam gate relies on.
	parts.Gates = append([]relay.Gate{c.people.relayGate()}, parts.Gates...)
	parts.Log, parts.Manage = c.store, c.manage
	settings, err := c.relayConfig()
	if err != nil {
		return err
	}
	if c.relay, err = relay.New(settings, parts); err != nil {
		return err
	}
	c.store.Expect(c.relay.Coming)
	return nil
}

// storeConfig is the same for every command that writes: other ready sets or
// hidden kinds would make the store build its sets anew.
func (c *core) storeConfig() (store.Config, error) {
	retention, err := parseRetention(c.cfg.Retention)
	if err != nil {
		return store.Config{}, err
	}
	sets, err := parseSets(c.cfg.ReadySets)
	if err != nil {
		return store.Config{}, err
	}
	return store.Config{
		MapSize:   int64(c.cfg.MapSize),
		BatchSize: c.cfg.BatchEvents, BatchWait: c.cfg.BatchWait.Duration,
		Sets: sets, Hidden: append([]int{nostr.KindGiftWrap}, c.cfg.PrivateKinds...),
		Retention: retention, Logger: c.log,
	}, nil
}

func parseSets(texts []string) ([]nostr.Filter, error) {
	var sets []nostr.Filter
	for _, text := range texts {
		f, err := parseFilter(text)
		if err != nil {
			return nil, usagef("ready_sets: %q: %w", text, err)
		}
		if f.Limit != 0 || f.LimitZero {
			return nil, usagef("ready_sets: %q: a set has no limit", text)
		}
		sets = append(sets, f)
	}
	return sets, nil
}

func (c *core) relayConfig() (relay.Config, error) {
	proxies, err := parseNetworks("trusted_proxies", c.cfg.TrustedProxies)
	if err != nil {
		return relay.Config{}, err
	}
	exempt, err := parseNetworks("budget_exempt", c.cfg.BudgetExempt)
	if err != nil {
		return relay.Config{}, err
	}
	public, err := nostr.GetPublicKey(c.self)
	if err != nil {
		return relay.Config{}, err
	}
	about, err := c.cfg.about(public)
	return relay.Config{
		About: about, PublicURLs: c.urls, TrustedProxies: proxies, Exempt: exempt,
		Limits: c.cfg.limits(), NoCompression: !c.cfg.Compression, Restricted: c.cfg.PrivateKinds,
		OwnKeys: []string{public}, Registerer: c.metrics, Logger: c.log,
	}, err
}

// parseNetworks reads addresses and CIDR networks.
func parseNetworks(setting string, texts []string) ([]netip.Prefix, error) {
	list := []netip.Prefix{} // not nil: an empty setting means none, not the default
	for _, text := range texts {
		if addr, err := netip.ParseAddr(text); err == nil {
			list = append(list, netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()))
			continue
		}
		network, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, usagef("%s: %q is neither an address nor a network such as 10.0.0.0/8", setting, text)
		}
		list = append(list, network.Masked())
	}
	return list, nil
}

// run keeps the log and the relay going for as long as work takes.
func (c *core) run(ctx context.Context, work func(ctx context.Context) error) error {
	storing, stopStoring := context.WithCancel(context.WithoutCancel(ctx))
	defer stopStoring()
	working, stopWorking := context.WithCancelCause(ctx)
	defer stopWorking(nil)
	stored := make(chan error, 1) // the store's last word
	go func() {
		err := c.store.Run(storing)
		stopWorking(fmt.Errorf("the store stopped: %w", err))
		stored <- err
	}()
	proven := make(chan error, 1) // the batcher's last word
	go func() { proven <- c.people.run(storing) }()
	err := work(working)
	stopStoring()
	return errors.Join(err, <-proven, <-stored, c.store.Close())
}

// core is a publisher.
func (c *core) publish(ctx context.Context, ev *nostr.Event, record []byte, origin admit.Origin, done func(verdict)) error {
	return c.relay.Submit(ctx, ev, record, admit.Peer{Origin: origin}, func(reply relay.Reply, err error) {
		done(verdictOf(reply, err))
	})
}

func verdictOf(reply relay.Reply, err error) verdict {
	switch {
	case err != nil:
		return verdict{failed, err.Error()}
	case reply.Outcome != 0:
		return verdict{Word: reply.Outcome.String()}
	case reply.OK: // an ephemeral event, or a request that was answered
		return verdict{refused, "not of a kind that is kept"}
	}
	return verdict{refused, reply.Reason}
}

// withPublisher gives work the way in, and the store to read: this process's
// own when nobody holds the data directory, otherwise the door of the relay
// that does.
func withPublisher(ctx context.Context, cfg Config, command string, work func(publisher, *store.Store) error) error {
	log, _, err := newLogger(cfg)
	if err != nil {
		return err
	}
	data, err := holdData(cfg.Data, holder{Command: command})
	if busy, ok := errors.AsType[*busyError](err); ok {
		return throughDoor(ctx, cfg, busy, work)
	}
	if err != nil {
		return err
	}
	err = inProcess(ctx, cfg, log, work)
	return errors.Join(err, data.release())
}

func throughDoor(ctx context.Context, cfg Config, busy *busyError, work func(publisher, *store.Store) error) error {
	caller, err := callDoor(ctx, cfg.Data)
	if errors.Is(err, errNoDoor) {
		return busy
	}
	if err != nil {
		return err
	}
	held, err := openReading(cfg)
	if err != nil {
		return errors.Join(err, caller.close())
	}
	return errors.Join(work(caller, held), caller.close(), held.Close())
}

// importBatch is the least number of events in a full commit of a process that
// answers no clients: nobody waits for one event, so the disk is asked less.
const importBatch = 1024

func inProcess(ctx context.Context, cfg Config, log *slog.Logger, work func(publisher, *store.Store) error) error {
	urls := cfg.PublicURLs
	if len(urls) == 0 {
		urls = []string{"ws://" + cfg.Listen}
	}
	cfg.BatchEvents = max(cfg.BatchEvents, importBatch)
	c, err := openCore(cfg, urls, log, nil)
	if err != nil {
		return err
	}
	return c.run(context.WithoutCancel(ctx), func(ctx context.Context) error {
		relaying, stop := context.WithCancel(ctx)
		ended := make(chan error, 1) // the relay's last word
		go func() { ended <- c.relay.Run(relaying) }()
		err := work(c, c.store)
		stop()
		return errors.Join(err, <-ended)
	})
}
