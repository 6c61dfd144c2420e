package tally

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"time"

	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
)

// Config is how a tally is made. A zero field means the default beside it.
type Config struct {
	Store    *store.Store  // the log; required
	Snapshot string        // file for a quick start; empty: read the log at every start
	Live     time.Duration // how long a note is tallied after its created_at; 30 days
	Notes    int           // live notes at most; 1,000,000
	Least    int           // that many of the latest notes are tallied however old they are, at most 16,384; 0
	Places   int           // places without a note at most; 200,000
	Keys     int           // keys remembered at most, beyond those in use; 2,000,000
	Epoch    time.Duration // between two takings of all weights; 10 minutes
	Logger   *slog.Logger  // slog.Default()

	// Trust gives the global trust of keys, 0 to 1, as it is when asked. It is
	// called at the beginning of an epoch, and what it gives is asked about
	// every key. Nil: nobody weighs anything.
	Trust func() func(Key) float32
	// ZapKey gives the key that signs zap receipts for a recipient, once that is
	// known. Nil: no zap counts.
	ZapKey func(recipient Key) (Key, bool)
	// Sign checks an event's signature; the event's own method by default.
	Sign func(*nostr.Event) bool
	// Person says of an event that is held whether it proved to be one person's
	// act: of which class, 1 to Classes, and on what. Class 0: it is a key's.
	Person func(*nostr.Event) (class uint8, on Key, err error)
	// People names what the classes are. A snapshot made under other names is
	// not used.
	People string
	// Seen is told of every note that comes, before it can be found here; the
	// event must not be kept. Nil: nobody.
	Seen func(*nostr.Event)
}

func (c *Config) defaults() error {
	if c.Store == nil {
		return errors.New("tally: Config.Store is missing")
	}
	if c.Live < 0 || c.Notes < 0 || c.Places < 0 || c.Keys < 0 || c.Epoch < 0 {
		return errors.New("tally: Live, Notes, Places, Keys and Epoch cannot be negative")
	}
	if c.Least < 0 || c.Least > mostRecent {
		return fmt.Errorf("tally: Least must be between 0 and %d", mostRecent)
	}
	if c.Live == 0 {
		c.Live = 30 * 24 * time.Hour
	}
	if c.Notes == 0 {
		c.Notes = 1_000_000
	}
	if c.Places == 0 {
		c.Places = 200_000
	}
	if c.Keys == 0 {
		c.Keys = 2_000_000
	}
	if c.Epoch == 0 {
		c.Epoch = 10 * time.Minute
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Sign == nil {
		c.Sign = func(ev *nostr.Event) bool { ok, err := ev.CheckSignature(); return ok && err == nil }
	}
	return nil
}

// Tally counts. Its methods may be called at any time, from any goroutine;
// until Run has read the log they know less.
type Tally struct {
	cfg     Config
	waiting waiting // owned by Run

	mu    sync.RWMutex // guards what follows
	book  *book
	epoch int64 // when the weights were taken, Unix seconds; 0: never

	heaviest uint16 // weight then

	posMu sync.Mutex // guards pos and moved
	pos   store.Pos
	moved chan struct{} // closed and replaced when pos grows
	built chan struct{} // closed once the log has been read to where it ended at start
}

// New makes a tally; it knows nothing until Run.
func New(cfg Config) (*Tally, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	return &Tally{cfg: cfg, book: newBook(), moved: make(chan struct{}), built: make(chan struct{})}, nil
}

// Run reads the log and follows it until ctx ends. It returns nil when told to
// stop, and an error when the store cannot be read.
func (t *Tally) Run(ctx context.Context) error {
	if err := t.follow(ctx); err != nil && ctx.Err() == nil {
		return fmt.Errorf("tally: %w", err)
	}
	return nil
}

// Built is closed once the tally has read the whole log as it was at start.
func (t *Tally) Built() <-chan struct{} { return t.built }

// WaitFor returns once the tally reflects the log up to pos, or with ctx.
func (t *Tally) WaitFor(ctx context.Context, pos store.Pos) error {
	for {
		t.posMu.Lock()
		at, moved := t.pos, t.moved
		t.posMu.Unlock()
		if at >= pos {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (t *Tally) arrived(pos store.Pos) {
	t.posMu.Lock()
	defer t.posMu.Unlock()
	t.pos = pos
	close(t.moved)
	t.moved = make(chan struct{})
}

// Stats says how much there is.
type Stats struct {
	Notes  int   // live
	Places int   // without a note
	Acts   int   // on notes and against authors
	Keys   int   // that wrote or did those
	Epoch  int64 // when the weights were taken, Unix seconds: the epoch's name; 0: never
	Zaps   int   // receipts that wait for the recipient's zap key
}

// Stats is how much there is now.
func (t *Tally) Stats() Stats {
	t.mu.RLock()
	defer t.mu.RUnlock()
	b := t.book
	return Stats{
		Notes: b.live, Places: b.empty, Acts: b.acts,
		Keys: b.actors.held(), Epoch: t.epoch, Zaps: int(t.waiting.size.Load()),
	}
}

// Reweigh begins an epoch: every key gets the trust it has now, and all sums
// are added up anew. Readers wait while that lasts, about 20 ms for a million
// acts.
func (t *Tally) Reweigh(now time.Time) {
	if t.cfg.Trust == nil {
		return
	}
	trust := t.cfg.Trust()
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.book
	b.actors.trust, t.heaviest = trust, 0
	b.epoch++
	for n := range uint32(b.actors.size) {
		if key := *b.actors.name(n); key != (Key{}) {
			b.actors.weight[n] = weigh(trust(key))
			t.heaviest = max(t.heaviest, b.actors.weight[n])
		}
	}
	for at := range b.notes.size {
		if n := b.notes.at(at); n.extra != nil && n.extra.sums != nil {
			b.settle(at)
		}
	}
	t.epoch = now.Unix()
}

// weighty reports whether any key weighed anything at the last taking.
func (t *Tally) weighty() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.heaviest > 0
}

// moment32 is a time of asking on the tally's scale.
func moment32(now int64) uint32 { return uint32(min(max(now, 0), math.MaxUint32-2)) }
