package peer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"agora/relay/store"
	"agora/relay/wire"

	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/sync/errgroup"
)

// BringConfig sets up a Bringer. Zero fields mean the documented default.
type BringConfig struct {
	Dialer  *Dialer
	Local   Local
	Publish Publish                                   // with the origin "bring"
	Index   []string                                  // relays asked for a relay list that we do not hold; default none
	Own     []string                                  // our own public URLs, never asked
	Sign    func(context.Context, *nostr.Event) error // NIP-42 with the relay's key; nil: we stay anonymous
	Relays  int                                       // asked at most for one key; default 8
	Events  int                                       // from one relay at most; default 200,000
	Bytes   int64                                     // from one relay at most; default 1 GiB
	Time    time.Duration                             // for one key, all its relays; default 15 min
	AtOnce  int                                       // keys at the same time; default 2; one more is refused
	Logger  *slog.Logger                              // default slog.Default()
}

func (c *BringConfig) defaults() error {
	if c.Dialer == nil || c.Local == nil || c.Publish == nil {
		return errors.New("bring needs a dialer, a log and a way to publish")
	}
	if c.Relays == 0 {
		c.Relays = 8
	}
	if c.Events == 0 {
		c.Events = 200_000
	}
	if c.Bytes == 0 {
		c.Bytes = 1 << 30
	}
	if c.Time == 0 {
		c.Time = 15 * time.Minute
	}
	if c.AtOnce == 0 {
		c.AtOnce = 2
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return nil
}

const (
	kindRelayList = 10002
	relaysAtOnce  = 3                // of one key
	indexTime     = 20 * time.Second // to find a relay list
	listBytes     = 1 << 20          // read from one index relay at most
)

// Errors of Bring a caller can branch on.
var (
	ErrBusy     = errors.New("too many are fetching their events now, try again later")
	ErrUnderWay = errors.New("the events of this key are being fetched already")
	ErrNoRelays = errors.New("no relay list (kind 10002) of this key was found, or it names no relay to fetch from")
)

// Bringer fetches what a key has signed from the relays which that key says it
// writes to.
type Bringer struct {
	cfg BringConfig

	mu   sync.Mutex          // guards what follows
	busy map[string]struct{} // keys under way; at most AtOnce; when full: ErrBusy
}

// NewBringer makes a Bringer.
func NewBringer(cfg BringConfig) (*Bringer, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	return &Bringer{cfg: cfg, busy: map[string]struct{}{}}, nil
}

// Brought accounts for one Bring, relay by relay.
type Brought struct {
	PubKey string            `json:"pubkey"`
	Relays []Summary         `json:"relays"`
	Failed map[string]string `json:"failed,omitempty"` // why, by relay; what came before still counts
	Stored int               `json:"stored"`
}

// Bring fetches the events of pubkey (hex). What its owner has deleted here, or
// asked to vanish, stays gone. progress may be nil; it is told of one relay at
// a time, from several goroutines but never at once.
func (b *Bringer) Bring(ctx context.Context, pubkey string, progress func(Summary)) (Brought, error) {
	out := Brought{PubKey: pubkey, Failed: map[string]string{}}
	if !nostr.IsValidPublicKey(pubkey) {
		return out, fmt.Errorf("%q is no public key", pubkey)
	}
	if err := b.enter(pubkey); err != nil {
		return out, err
	}
	defer b.leave(pubkey)
	ctx, cancel := context.WithTimeout(ctx, b.cfg.Time)
	defer cancel()
	relays, err := b.writeRelays(ctx, pubkey)
	if err != nil {
		return out, err
	}
	if len(relays) == 0 {
		return out, ErrNoRelays
	}
	var mu sync.Mutex // guards out and progress
	var g errgroup.Group
	g.SetLimit(relaysAtOnce)
	for _, at := range relays {
		g.Go(func() error {
			sum, err := b.from(ctx, at, pubkey, func(s Summary) {
				mu.Lock()
				defer mu.Unlock()
				if progress != nil {
					progress(s)
				}
			})
			mu.Lock()
			defer mu.Unlock()
			out.Relays = append(out.Relays, sum)
			out.Stored += sum.Stored
			if err != nil {
				if ctx.Err() != nil { // which a dial in progress says in words of its own
					err = fmt.Errorf("%w: %w", ctx.Err(), err)
				}
				out.Failed[at] = reason(err)
				b.cfg.Logger.Info("bring failed", "relay", at, "pubkey", pubkey, "err", err)
			}
			return nil
		})
	}
	return out, g.Wait()
}

// reason is what the key's owner is told: not which of our addresses was asked
// for, or what the resolver said.
func reason(err error) string {
	switch {
	case errors.Is(err, ErrAddress):
		return "its address is not public"
	case errors.Is(err, ErrTooMuch):
		return "it sent more than we take"
	case errors.Is(err, context.DeadlineExceeded):
		return "it took too long"
	case errors.Is(err, context.Canceled):
		return "stopped"
	case errors.Is(err, errSilent):
		return "it does not answer"
	case errors.Is(err, errAuthWanted):
		return "it wants us to authenticate"
	}
	return "it could not be reached, or broke off"
}

func (b *Bringer) enter(pubkey string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, busy := b.busy[pubkey]; busy {
		return ErrUnderWay
	}
	if len(b.busy) >= b.cfg.AtOnce {
		return ErrBusy
	}
	b.busy[pubkey] = struct{}{}
	return nil
}

func (b *Bringer) leave(pubkey string) {
	b.mu.Lock()
	delete(b.busy, pubkey)
	b.mu.Unlock()
}

func (b *Bringer) from(ctx context.Context, at, pubkey string, progress func(Summary)) (Summary, error) {
	return Sync(ctx, b.cfg.Dialer, Job{
		URL: at, Filter: nostr.Filter{Authors: []string{pubkey}}, Direction: Down,
		Local: b.cfg.Local, Publish: b.cfg.Publish, Sign: b.cfg.Sign, Progress: progress,
		MaxEvents: b.cfg.Events, MaxBytes: b.cfg.Bytes, Silence: 30 * time.Second,
		Visible: func(*store.Record) bool { return true }, // only their own, and nothing is sent
	})
}

// writeRelays reads the key's relay list, fetching it when we hold none.
func (b *Bringer) writeRelays(ctx context.Context, pubkey string) ([]string, error) {
	list, err := b.heldList(ctx, pubkey)
	if err != nil || list != nil {
		return b.writable(list), err
	}
	for _, at := range b.cfg.Index {
		if err := b.askIndex(ctx, at, pubkey); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			b.cfg.Logger.Info("index relay failed", "relay", at, "err", err)
			continue
		}
		if list, err = b.heldList(ctx, pubkey); err != nil || list != nil {
			break
		}
	}
	return b.writable(list), err
}

func (b *Bringer) heldList(ctx context.Context, pubkey string) (list *nostr.Event, err error) {
	f := nostr.Filter{Authors: []string{pubkey}, Kinds: []int{kindRelayList}, Limit: 1}
	for rec, err := range b.cfg.Local.Query(ctx, f) {
		if err != nil {
			return nil, fmt.Errorf("read the relay list of %s: %w", pubkey, err)
		}
		return rec.Event()
	}
	return nil, nil
}

// askIndex fetches the key's relay list from one relay and publishes it, so
// that its signature is checked as any other's.
func (b *Bringer) askIndex(ctx context.Context, at, pubkey string) error {
	ctx, cancel := context.WithTimeout(ctx, indexTime)
	defer cancel()
	r, err := dial(ctx, b.cfg.Dialer, at, listBytes, b.cfg.Sign)
	if err != nil {
		return err
	}
	defer r.close()
	f := nostr.Filter{Authors: []string{pubkey}, Kinds: []int{kindRelayList}, Limit: 1}
	if err := r.send(wire.AppendReq(nil, "list", f)); err != nil {
		return err
	}
	for {
		one, err := r.next(ctx, indexTime)
		if err != nil {
			return err
		}
		m := one.m
		switch {
		case one.bad != nil || m.Sub != "list":
		case m.Label == "EVENT" && f.Matches(m.Event):
			_, err := b.cfg.Publish(ctx, m.Event, m.JSON)
			return err
		case m.Label == "EOSE" || m.Label == "CLOSED":
			return nil
		}
	}
}

// writable picks the relays a list says are written to (NIP-65), each once,
// without ourselves.
func (b *Bringer) writable(list *nostr.Event) []string {
	if list == nil {
		return nil
	}
	known := map[string]struct{}{}
	for _, own := range b.cfg.Own {
		if u, err := relayURL(own); err == nil {
			known[u.Host] = struct{}{}
		}
	}
	var out []string
	for _, tag := range list.Tags {
		if len(tag) < 2 || tag[0] != "r" || len(tag) > 2 && tag[2] == "read" {
			continue
		}
		u, err := relayURL(tag[1])
		if err != nil {
			continue
		}
		key := u.Host + strings.TrimRight(u.Path, "/")
		if _, ours := known[u.Host]; ours || has(known, key) {
			continue
		}
		known[key] = struct{}{}
		if out = append(out, plain(u)); len(out) == b.cfg.Relays {
			break
		}
	}
	return out
}

func has(set map[string]struct{}, key string) bool { _, ok := set[key]; return ok }

func plain(u *url.URL) string { return strings.TrimRight(u.String(), "/") }

// UnderWay lists the keys whose events are being fetched.
func (b *Bringer) UnderWay() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.busy))
}
