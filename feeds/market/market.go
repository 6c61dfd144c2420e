package market

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"agora/ranker"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"
)

// Events gives the events that anybody may read; cmd/agora adapts the store.
type Events interface {
	Query(ctx context.Context, f ...nostr.Filter) iter.Seq2[*nostr.Event, error]
}

// Config of a Market.
type Config struct {
	Events  Events                                 // where manifests are found; required
	Derive  func(address string) ([32]byte, error) // the secret key that answers for a listing; required
	Models  map[ranker.Digest][]byte               // the files that may run here: shipped, or named in the settings
	Authors []string                               // hex keys whose slugs stand for themselves, the first wins; others are named by address
	Logger  *slog.Logger                           // default slog.Default()

	// Person says of a review whether it proved to be one person's, and of which
	// class, from 1; 0: a key's. Nil: all are keys'.
	Person func(*nostr.Event) (class uint8, err error)
}

// Listing is one ranker as it is listed. It is never changed.
type Listing struct {
	Manifest
	Author   string // hex
	Address  string
	Event    *nostr.Event // the manifest
	Admitted bool         // its model may run here, or it has none
	Key      string       // hex public key under which the relay answers for it

	secret string
}

// Sign signs ev as this listing.
func (l *Listing) Sign(ev *nostr.Event) error { return ev.Sign(l.secret) }

// Secret is the listing's secret key in hex, for what is encrypted to it. It
// leaves the process by no door.
func (l *Listing) Secret() string { return l.secret }

// mostListings bounds the listings held; beyond it only those of
// Config.Authors are listed.
const mostListings = 10_000

// Market holds the listings in memory. Whoever follows the log tells it of
// manifests that come and go.
type Market struct {
	cfg  Config
	most int // mostListings, less in a test

	mu    sync.RWMutex // guards what follows
	by    map[string]*Listing
	keys  map[string]*Listing // by Listing.Key
	ids   map[string]string   // event id -> address
	order []*Listing          // by slug, then author; nil: to be made again

	countingMu sync.Mutex // held by the one who counts reviews: a crowd that asks costs one count
	reviewsMu  sync.Mutex // guards reviews
	reviews    map[string]counted
}

// New checks the configuration. Load fills the market.
func New(cfg Config) (*Market, error) {
	if cfg.Events == nil || cfg.Derive == nil {
		return nil, errors.New("market: Events and Derive are needed")
	}
	for d, model := range cfg.Models {
		if ranker.Sum(model) != d {
			return nil, fmt.Errorf("market: a model is kept as %s, and its digest is %s", d, ranker.Sum(model))
		}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	return &Market{cfg: cfg, most: mostListings, by: map[string]*Listing{}, keys: map[string]*Listing{}, ids: map[string]string{}}, nil
}

// Load reads every manifest there is. What the log brings afterwards is told
// by Take and Drop.
func (m *Market) Load(ctx context.Context) error {
	for ev, err := range m.cfg.Events.Query(ctx, nostr.Filter{Kinds: []int{KindManifest}}) {
		if err != nil {
			return fmt.Errorf("read manifests: %w", err)
		}
		m.Take(ev)
	}
	return nil
}

// Take lists a manifest in place of its former version. One that cannot be
// read is not listed, and neither is its former version: its author has
// replaced it. It reports whether the listings have changed.
func (m *Market) Take(ev *nostr.Event) bool {
	l, err := m.listing(ev)
	if err != nil {
		m.cfg.Logger.Info("a manifest is not listed", "id", ev.ID, "author", ev.PubKey, "why", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	address := fmt.Sprintf("%d:%s:%s", ev.Kind, ev.PubKey, ev.Tags.GetD())
	old := m.by[address]
	if old != nil && !newer(ev, old.Event) {
		return false
	}
	if old != nil {
		m.forget(old)
	}
	if err != nil || len(m.by) >= m.most && !slices.Contains(m.cfg.Authors, ev.PubKey) {
		return old != nil
	}
	m.by[l.Address], m.keys[l.Key], m.ids[ev.ID], m.order = l, l, l.Address, nil
	return true
}

// newer reports whether a replaces b (NIP-01: ties go to the lower id).
func newer(a, b *nostr.Event) bool {
	return cmp.Or(cmp.Compare(a.CreatedAt, b.CreatedAt), strings.Compare(b.ID, a.ID)) > 0
}

// Drop takes a manifest off the list that is no longer held: deleted, vanished,
// replaced. It reports whether it was listed.
func (m *Market) Drop(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := m.by[m.ids[id]]
	if l == nil {
		return false
	}
	m.forget(l)
	return true
}

// forget is called with mu held.
func (m *Market) forget(l *Listing) {
	delete(m.by, l.Address)
	delete(m.keys, l.Key)
	delete(m.ids, l.Event.ID)
	m.order = nil
}

func (m *Market) listing(ev *nostr.Event) (*Listing, error) {
	manifest, err := ParseManifest(ev)
	if err != nil {
		return nil, err
	}
	l := &Listing{Manifest: manifest, Author: ev.PubKey, Address: manifest.Address(ev.PubKey), Event: ev}
	l.Admitted = l.Model == ranker.Digest{} || m.cfg.Models[l.Model] != nil
	key, err := m.cfg.Derive(l.Address)
	if err != nil {
		return nil, fmt.Errorf("derive a key: %w", err)
	}
	l.secret = hex.EncodeToString(key[:])
	l.Key, err = nostr.GetPublicKey(l.secret)
	return l, err
}

// Listing finds a listing by what people and programs call it: a slug of one
// of Config.Authors, an naddr, or an address.
func (m *Market) Listing(name string) (*Listing, bool) {
	name = strings.TrimPrefix(name, "nostr:")
	if strings.HasPrefix(name, "naddr1") {
		address, ok := readNaddr(name)
		if !ok {
			return nil, false
		}
		name = address
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	if l := m.by[name]; l != nil {
		return l, true
	}
	for _, author := range m.cfg.Authors {
		if l := m.by[fmt.Sprintf("%d:%s:%s", KindManifest, author, name)]; l != nil {
			return l, true
		}
	}
	return nil, false
}

// Ref is the shortest name by which Listing finds l.
func (m *Market) Ref(l *Listing) string {
	if found, ok := m.Listing(l.Slug); ok && found.Address == l.Address {
		return l.Slug
	}
	name, err := nip19.EncodeEntity(l.Author, KindManifest, l.Slug, nil)
	if err != nil {
		return l.Address
	}
	return name
}

// FallbackOf is the listing that answers in place of l, if it names one.
func (m *Market) FallbackOf(l *Listing) (*Listing, bool) {
	if l.Fallback == "" {
		return nil, false
	}
	name := l.Fallback
	if !strings.Contains(name, ":") {
		name = fmt.Sprintf("%d:%s:%s", KindManifest, l.Author, name)
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	found := m.by[name]
	return found, found != nil
}

// Listings are all, by slug and author. The slice is not to be changed.
func (m *Market) Listings() []*Listing {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.order == nil {
		m.order = make([]*Listing, 0, len(m.by))
		for _, l := range m.by {
			m.order = append(m.order, l)
		}
		slices.SortFunc(m.order, func(a, b *Listing) int {
			return cmp.Or(strings.Compare(a.Slug, b.Slug), strings.Compare(a.Author, b.Author))
		})
	}
	return m.order
}

// ByKey finds the listing that answers under a key.
func (m *Market) ByKey(key string) (*Listing, bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	l, ok := m.keys[key]
	return l, ok
}

// Model is the file with this digest, if it may run here; otherwise the error
// is ranker.ErrNotAdmitted.
func (m *Market) Model(_ context.Context, d ranker.Digest) ([]byte, error) {
	if model := m.cfg.Models[d]; model != nil {
		return model, nil
	}
	return nil, fmt.Errorf("%w: %s", ranker.ErrNotAdmitted, d)
}
