package doors

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"

	"agora/feeds"
	"agora/feeds/market"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"
	"github.com/prometheus/client_golang/prometheus"
)

// Pages ranks; *feeds.Feeds does.
type Pages interface {
	Page(ctx context.Context, r feeds.Request) (feeds.Page, error)
}

// Events gives the events that anybody may read; cmd/agora adapts the store.
type Events interface {
	Query(ctx context.Context, f ...nostr.Filter) iter.Seq2[*nostr.Event, error]
}

// Searcher finds notes by their words, best first: at most f.Limit ids.
type Searcher interface {
	Search(ctx context.Context, words string, f nostr.Filter) ([]string, error)
}

// Config of Doors. Zero fields mean the documented default.
type Config struct {
	Pages   Pages                                                          // required
	Market  *market.Market                                                 // required
	Events  Events                                                         // required
	Words   Searcher                                                       // nil: words beside sort: or feed: are refused
	Known   func(pubkey string) bool                                       // nil: everybody is
	Hidden  func(ctx context.Context, viewer string, ev *nostr.Event) bool // muted by the viewer, or refused since it was ranked; nil: never
	Auth    func(r *http.Request, body []byte) (pubkey string, err error)  // NIP-98; nil: nobody can sign
	URL     string                                                         // ws:// or wss:// address of the relay's root, without a slash at the end; required
	Icon    string                                                         // URL of the picture of feeds that have none
	Relays  []string                                                       // where else our jobs are answered
	Compat  bool                                                           // NIP-11 of /f/ names CompatSoftware
	Logger  *slog.Logger                                                   // default slog.Default()
	Metrics prometheus.Registerer                                          // nil: none
}

// CompatSoftware is another project's address. A client that keeps a relay's
// order only where NIP-11 says this needs it said; it is an operator's choice,
// off by default, and the description owns up to it.
const CompatSoftware = "https://github.com/bitvora/algo-relay"

// Doors are all of them for one set of listings.
type Doors struct {
	cfg      Config
	books    books
	out      OptOuts
	streams  chan struct{} // event streams under way; when full: 503
	slots    chan struct{} // pages being made; when full: the question waits, at most pageTime
	ended    chan struct{} // closed when streams are to end
	requests *prometheus.CounterVec
}

// New checks the configuration and starts nothing.
func New(cfg Config) (*Doors, error) {
	if cfg.Pages == nil || cfg.Market == nil || cfg.Events == nil || !strings.HasPrefix(cfg.URL, "ws") {
		return nil, errors.New("doors: Pages, Market, Events and a websocket URL are needed")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	cfg.URL = strings.TrimSuffix(cfg.URL, "/")
	d := &Doors{
		cfg:     cfg,
		ended:   make(chan struct{}),
		slots:   make(chan struct{}, 4*runtime.GOMAXPROCS(0)), // pages; when full: see Doors
		streams: make(chan struct{}, mostStreams),             // streams; when full: 503
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agora_doors_pages_total", Help: "pages asked for, by door and by what came of it",
		}, []string{"door", "outcome"}),
	}
	if cfg.Metrics != nil {
		if err := cfg.Metrics.Register(d.requests); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// Run lets the streams end with ctx: an HTTP server that drains would wait for
// them. Doors run once.
func (d *Doors) Run(ctx context.Context) error {
	<-ctx.Done()
	close(d.ended)
	return nil
}

// OptOuts are the authors who want to be on no page; whoever follows the log
// tells it.
func (d *Doors) OptOuts() *OptOuts { return &d.out }

// ask is one question for a page, whatever door it came through.
type ask struct {
	door    string // for the metrics
	listing *market.Listing
	viewer  string // hex
	signed  bool   // the viewer has proven the key
	knobs   map[string]float64
	kinds   []int
	authors []string
	since   int64
	until   int64
	perHead bool
	limit   int
	cursor  string
	reasons bool
}

// deepest is how many notes of one ranking a door looks at, at most.
const deepest = 1000

// pageTime is how long one page may take, waiting included.
const pageTime = 10 * time.Second

// errBusy says that a page was not made in time.
var errBusy = errors.New("too many pages are asked for at the moment")

// page answers with the notes that may be shown.
func (d *Doors) page(ctx context.Context, a ask) (feeds.Page, error) {
	ctx, stop := context.WithTimeoutCause(ctx, pageTime, errBusy)
	defer stop()
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	case <-ctx.Done():
		d.count(a.door, feeds.Page{}, errBusy)
		return feeds.Page{}, context.Cause(ctx)
	}
	page, err := d.cfg.Pages.Page(ctx, feeds.Request{
		Feed: d.cfg.Market.Ref(a.listing), Viewer: a.viewer, Signed: a.signed, Limit: min(a.limit, feeds.MaxLimit), Cursor: a.cursor,
		Knobs: a.knobs, Kinds: a.kinds, Authors: a.authors, Since: a.since, Until: a.until, PerHead: a.perHead, Reasons: a.reasons,
	})
	d.count(a.door, page, err)
	if err != nil {
		return page, err
	}
	page.Items = slices.DeleteFunc(page.Items, func(it feeds.Item) bool { return d.out.Has(it.Event.PubKey) })
	return page, nil
}

// deep is page without the bound of one request: up to a.limit notes of one
// ranking.
func (d *Doors) deep(ctx context.Context, a ask) (feeds.Page, error) {
	want := min(a.limit, deepest)
	a.limit = want
	page, err := d.page(ctx, a)
	for err == nil && page.Cursor != "" && len(page.Items) < want {
		a.cursor, a.limit = page.Cursor, want-len(page.Items)
		var next feeds.Page
		if next, err = d.page(ctx, a); err == nil {
			page.Items, page.Cursor = append(page.Items, next.Items...), next.Cursor
		}
	}
	return page, err
}

func (d *Doors) count(door string, page feeds.Page, err error) {
	outcome := "ok"
	problem, wrong := errors.AsType[*feeds.Problem](err)
	switch {
	case wrong && problem.Unknown:
		outcome = "unknown"
	case wrong:
		outcome = "invalid"
	case err != nil:
		outcome = "failed"
	case page.Why.Fallback != "":
		outcome = "fallback"
	}
	d.requests.WithLabelValues(door, outcome).Inc()
}

// invalid is a mistake of the one who asks.
func invalid(format string, args ...any) error {
	return &feeds.Problem{Text: fmt.Sprintf(format, args...)}
}

func unknown(format string, args ...any) error {
	return &feeds.Problem{Unknown: true, Text: fmt.Sprintf(format, args...)}
}

// listing finds a listing by its name.
func (d *Doors) listing(name string) (*market.Listing, error) {
	if l, ok := d.cfg.Market.Listing(name); ok {
		return l, nil
	}
	return nil, unknown("there is no feed %q here; GET /v1/feeds names them all", clip(name))
}

// known reads the key as which somebody wants to read, and asks whether
// anything is known of it.
func (d *Doors) known(text string) (string, error) {
	key, err := parseKey(text)
	if err != nil {
		return "", err
	}
	if d.cfg.Known != nil && !d.cfg.Known(key) {
		return "", unknown("nothing is known here of the viewer %s: no list of theirs, and nobody's list names them", clip(text))
	}
	return key, nil
}

// parseKey reads a public key as npub, nprofile or 64 hex digits.
func parseKey(text string) (string, error) {
	if nostr.IsValidPublicKey(text) {
		return text, nil
	}
	if len(text) < 2000 && (strings.HasPrefix(text, "npub1") || strings.HasPrefix(text, "nprofile1")) {
		_, value, err := nip19.Decode(text)
		key, _ := value.(string)
		if profile, ok := value.(nostr.ProfilePointer); ok {
			key = profile.PublicKey
		}
		if err == nil && nostr.IsValidPublicKey(key) {
			return key, nil
		}
	}
	return "", invalid("%q is no public key: want npub1… or 64 lower-case hex digits", clip(text))
}

// clip keeps a stranger's text short in our answer.
func clip(s string) string {
	if r := []rune(s); len(r) > 80 {
		return string(r[:80]) + "…"
	}
	return s
}
