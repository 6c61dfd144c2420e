package feeds

import (
	"context"
	"iter"
	"time"

	"agora/ranker"
	"agora/ranker/feature"

	"github.com/nbd-wtf/go-nostr"
)

// Events gives the notes that anybody may read: the relay's own log behind its
// visible predicate. Deleted, expired and vanished events are not in it.
type Events interface {
	Query(ctx context.Context, f ...nostr.Filter) iter.Seq2[*nostr.Event, error]
}

// Graph knows who follows whom; cmd/agora adapts relay/graph to it.
type Graph interface {
	// Follows yields whom a key follows.
	Follows(pubkey string) iter.Seq[string]
	// From is the graph as one viewer sees it, "" for nobody in particular. It
	// is taken once per page and asked about many authors.
	From(viewer string) View
	// Muted reports whether a viewer mutes an author, as it is now.
	Muted(viewer, author string) bool
}

// View is the graph as one viewer sees it at one moment.
type View interface {
	// Trust is the viewer's trust in a key, 0 for whom the viewer mutes; the
	// global trust where there is no viewer.
	Trust(pubkey string) float32
	// Toward is how the viewer stands to an author.
	Toward(author string) Standing
	// About is what is known of a key, whoever asks.
	About(pubkey string) Known
}

// Standing is how a viewer stands to an author.
type Standing struct {
	Trust      float32 // 0 … 1
	Hops       int     // steps along follows, 3 for three or more; 0: none known
	Muted      bool    // the viewer's public mute list names the author
	Follows    bool    // the viewer follows the author
	FollowedBy bool    // the author follows the viewer
	Common     int     // keys that both follow
	Either     int     // keys that either follows
}

// Known is what the graph knows of one key.
type Known struct {
	Trust          float32 // global, 0 … 1
	Followers      int     // distinct keys
	FollowersTrust float32 // sum of their global trust
	Follows        int     // keys
}

// Signals is what other rooms judge: spam, persons. A note that is not
// answered for is judged by nobody.
type Signals interface {
	Signals(ctx context.Context, ids []string) ([]Signal, error)
}

// Signal is the judgement of one note.
type Signal struct {
	ID     string
	Facts  feature.Signals
	Refuse bool // refused as spam or held back for a moderator: on no page
}

// Scorer runs a model; *ranker.Shelf does.
type Scorer interface {
	// Plan says how to fill the model's inputs.
	Plan(ctx context.Context, model ranker.Digest) (*feature.Plan, error)
	// Score gives one finite number per candidate, or an error that
	// ranker.Reason knows.
	Score(ctx context.Context, model ranker.Digest, b feature.Batch) ([]float32, error)
}

// Listings knows which feeds there are; the market does.
type Listings interface {
	Listing(slug string) (Listing, bool)
}

// Listing is one feed as its manifest declares it.
type Listing struct {
	Slug     string
	Name     string
	Address  string        // "32190:<pubkey>:<slug>"
	Version  string        // of the manifest: its event id; empty: none
	Model    ranker.Digest // zero: none, its stages alone make the order
	Refused  string        // why its model may not run here; its fallback answers; empty: it may
	Knobs    []Knob
	Stages   []string     // as the package doc says
	Fallback string       // slug; empty: latest first, which needs no model
	Tier     feature.Tier // the most private features it declares; those beyond are zero
}

// Knob is a number that a reader may turn.
type Knob struct {
	Name              string
	Min, Max, Default float64
	Unit, About       string
}

// Request asks for one page.
type Request struct {
	Feed     string
	Viewer   string // hex key as whom to read: public facts of anybody
	Signed   bool   // the reader proved to be Viewer: personal features may be used
	Limit    int    // 1 … MaxLimit; 0: DefaultLimit
	Cursor   string // from a page before
	Knobs    map[string]float64
	Kinds    []int // of notes; empty: all content kinds
	Authors  []string
	Since    int64 // created_at, Unix seconds; 0: none
	Until    int64 // the same
	PerHead  bool  // one note per author (distinct:author)
	Reasons  bool  // say what weighed most in each note; costs one more run of the model
	Deadline time.Time
}

// The bounds of a request.
const (
	DefaultLimit  = 50
	MaxLimit      = 500
	MaxCandidates = 2000 // notes that are ranked for one page
)

// Page is a cut of a ranking.
type Page struct {
	Items  []Item
	Cursor string // asks for the next page; empty: there is none
	Why    Why
}

// Item is one note of a page.
type Item struct {
	Event   *nostr.Event
	Rank    int     // place in the whole ranking, from 1
	Score   float32 // as the model gave it
	Reasons []Reason
	People  feature.People // what people, not keys, did with it by now
}

// Reason is one feature that weighed in a score.
type Reason struct {
	Feature string  // a name of the catalogue
	Value   float32 // what the model saw
	Weight  float32 // how much lower the score is with the batch's mean in its place
	Words   string  // the catalogue's definition
}

// Why says how a page came about.
type Why struct {
	Feed       string // the listing that ranked it
	Asked      string // the listing that was asked for
	Address    string
	Version    string
	Model      ranker.Digest
	Catalogue  int    // feature.Version
	Fallback   string // why Feed is not Asked, one word of ranker.Reason, or Listing.Refused; empty: it is
	Viewer     string // as whom; empty: as nobody
	Tier       feature.Tier
	Stages     []string
	Knobs      map[string]float64
	Candidates int   // that were ranked
	At         int64 // the moment of ranking, Unix seconds
	Total      int   // notes of the whole ranking
}

// Problem is a request that cannot be answered as it stands.
type Problem struct {
	Unknown bool   // there is no such thing (HTTP 404); otherwise it is wrong (400)
	Text    string // for the reader
}

func (p *Problem) Error() string { return p.Text }
