package feeds

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"agora/feeds/tally"

	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

// Config is what feeds are made of. A zero field means the default beside it.
type Config struct {
	Events   Events       // required
	Graph    Graph        // required
	Tally    *tally.Tally // required
	Listings Listings     // required
	Scorer   Scorer       // nil: no model runs, fallbacks answer
	Signals  Signals      // nil: nobody judges
	// Encode makes a text vector of feature.VectorSize numbers, of length 1, out
	// of a note's tokens; it is called once for each note. Nil: no vectors.
	Encode func(tokens []int32) []float32
	// Wording is what the spam classifier sees of a text, as feature.Note has it;
	// it is called once for each note. Nil: none.
	Wording func(text string) []float32

	Refresh      time.Duration // between two looks over all live notes for those most acted upon; 3 s
	Factorise    time.Duration // between two factorisations for the stage bridge; 10 minutes
	Fresh        time.Duration // how long a ranking that is the same for everybody is shown to others; 2 s
	Keep         time.Duration // how long a cursor is good; 15 minutes
	RankingBytes int64         // of rankings kept for cursors; 64 MiB
	Viewers      int           // viewers kept warm; 1,000
	ViewerFresh  time.Duration // how long what a viewer did is kept; 1 minute
	Notes        int           // notes whose facts are kept; 200,000
	Metrics      prometheus.Registerer
	Logger       *slog.Logger
}

func (c *Config) defaults() error {
	if c.Events == nil || c.Graph == nil || c.Tally == nil || c.Listings == nil {
		return errors.New("feeds: Events, Graph, Tally and Listings are needed")
	}
	if c.Refresh < 0 || c.Factorise < 0 || c.Fresh < 0 || c.Keep < 0 || c.RankingBytes < 0 || c.Viewers < 0 || c.ViewerFresh < 0 || c.Notes < 0 {
		return errors.New("feeds: no setting can be negative")
	}
	set(&c.Refresh, 3*time.Second)
	set(&c.Factorise, 10*time.Minute)
	set(&c.Fresh, 2*time.Second)
	set(&c.Keep, 15*time.Minute)
	set(&c.RankingBytes, 64<<20)
	set(&c.Viewers, 1000)
	set(&c.ViewerFresh, time.Minute)
	set(&c.Notes, 200_000)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return nil
}

func set[T time.Duration | int | int64](v *T, value T) {
	if *v == 0 {
		*v = value
	}
}

// Feeds makes pages. Its methods may be called from any goroutine; until Run
// has looked over the notes, pages have fewer candidates.
type Feeds struct {
	cfg      Config
	notes    *noteCache
	authors  *authorCache
	viewers  *viewerCache
	rankings *rankings
	readers  *readers
	sights   *sights
	metrics  metrics
	words    map[string]meaning // of features, by name
	work     sync.Pool          // of *candidates
	slots    chan struct{}      // rankings being made; two a core; when full: requests wait, or leave

	fades  fades
	tables atomic.Uint64 // counts the viewers' tables of trust

	lookMu  sync.Mutex // guards counted, and that one looks over at a time
	counted time.Time  // when given was counted

	topMu  sync.RWMutex         // guards what follows
	top    []tally.Spot         // notes most acted upon, the best first
	bridge *bridging            // nil: not factorised yet
	public View                 // nobody's in particular
	given  map[tally.Key]uint32 // likes that each key gave lately
}

// New checks and builds; it starts nothing.
func New(cfg Config) (*Feeds, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	f := &Feeds{
		cfg: cfg, notes: newNoteCache(cfg.Notes, cfg.Encode, cfg.Wording), authors: newAuthorCache(),
		viewers: newViewerCache(cfg.Viewers), rankings: newRankings(cfg.RankingBytes, cfg.Keep), metrics: newMetrics(),
		readers: newReaders(), sights: newSights(), words: meanings(), fades: newFades(), public: cfg.Graph.From(""),
	}
	f.slots = make(chan struct{}, 2*runtime.GOMAXPROCS(0))
	f.work.New = func() any { return new(candidates) }
	if cfg.Metrics != nil {
		if err := f.metrics.register(cfg.Metrics, f); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// Seen tells of a note that has come; the tally calls it.
func (f *Feeds) Seen(ev *nostr.Event) { f.notes.put(ev) }

// Run looks after what is the same for every page, until ctx ends.
func (f *Feeds) Run(ctx context.Context) error {
	select {
	case <-f.cfg.Tally.Built():
	case <-ctx.Done():
		return nil
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return every(ctx, f.cfg.Refresh, func() { f.LookOver(time.Now()) }) })
	g.Go(func() error { return every(ctx, f.cfg.Factorise, func() { f.Factorise(time.Now()) }) })
	g.Go(func() error { return f.viewers.run(ctx, f) })
	return g.Wait()
}

// every does something at once, and then again and again.
func every(ctx context.Context, pause time.Duration, do func()) error {
	for {
		do()
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
	}
}
