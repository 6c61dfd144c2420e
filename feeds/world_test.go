package feeds

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"agora/feeds/tally"
	"agora/ranker"
	"agora/ranker/feature"
	"agora/relay/store"
	"agora/relay/wire"

	"github.com/nbd-wtf/go-nostr"
)

// world is a store, a tally and feeds over them; only who follows whom and what
// a model says are made up.
type world struct {
	t       testing.TB
	r       *rand.Rand
	store   *store.Store
	tally   *tally.Tally
	feeds   *Feeds
	graph   *town
	listing map[string]Listing
	scorer  *formula
	signals *judges
	now     int64
}

// town says who follows and mutes whom; everybody whose key does not begin with
// 00 is trusted by how far down the alphabet it begins.
type town struct {
	follows map[string][]string
	mutes   map[string][]string
}

type townView struct {
	*town
	viewer string
}

func (g *town) Follows(pubkey string) iter.Seq[string] { return slices.Values(g.follows[pubkey]) }
func (g *town) From(viewer string) View                { return townView{g, viewer} }

func (v townView) Trust(pubkey string) float32 {
	if slices.Contains(v.mutes[v.viewer], pubkey) {
		return 0
	}
	return trusted(pubkey)
}

func trusted(pubkey string) float32 {
	b, _ := hex.DecodeString(pubkey[:2])
	return float32(b[0]) / 255
}

func (g *town) Muted(viewer, author string) bool { return slices.Contains(g.mutes[viewer], author) }

func (v townView) Toward(author string) Standing {
	s := Standing{Trust: v.Trust(author), Muted: v.Muted(v.viewer, author)}
	if slices.Contains(v.follows[v.viewer], author) {
		s.Hops, s.Follows = 1, true
	}
	s.FollowedBy = slices.Contains(v.follows[author], v.viewer)
	return s
}

func (v townView) About(pubkey string) Known {
	k := Known{Trust: trusted(pubkey), Follows: len(v.follows[pubkey])}
	for who, list := range v.follows {
		if slices.Contains(list, pubkey) {
			k.Followers++
			k.FollowersTrust += trusted(who)
		}
	}
	return k
}

// formula is a scorer that adds up what its model names, or fails.
type formula struct {
	inputs []feature.Input
	err    error
	after  func(ctx context.Context, scores []float32) ([]float32, error)
	runs   int
}

func (f *formula) Plan(context.Context, ranker.Digest) (*feature.Plan, error) {
	return feature.Compile(f.inputs)
}

func (f *formula) Score(ctx context.Context, _ ranker.Digest, b feature.Batch) ([]float32, error) {
	f.runs++
	if f.err != nil {
		return nil, f.err
	}
	out := make([]float32, b.N)
	for _, in := range b.Inputs {
		for i := range out {
			if len(in.Float) == b.N {
				out[i] += in.Float[i]
			}
		}
	}
	if f.after != nil {
		return f.after(ctx, out)
	}
	return out, nil
}

func column(name string) feature.Input {
	return feature.Input{Name: name, Type: feature.Float32, Shape: []int64{-1}}
}

type judges struct {
	refuse map[string]bool
	err    error
}

func (j *judges) Signals(_ context.Context, ids []string) (out []Signal, err error) {
	for _, id := range ids {
		out = append(out, Signal{ID: id, Refuse: j.refuse[id]})
	}
	return out, j.err
}

// log is the store as feeds ask for it.
type log struct{ *store.Store }

func (l log) Query(ctx context.Context, f ...nostr.Filter) iter.Seq2[*nostr.Event, error] {
	return func(yield func(*nostr.Event, error) bool) {
		for r, err := range l.Store.Query(ctx, f...) {
			if err != nil {
				yield(nil, err)
				return
			}
			ev, err := r.Event()
			if !yield(ev, err) {
				return
			}
		}
	}
}

func (w *world) Listing(slug string) (Listing, bool) {
	l, ok := w.listing[slug]
	return l, ok
}

var model = ranker.Digest{1}

func newWorld(t testing.TB, seed uint64) *world {
	t.Helper()
	st, err := store.Open(t.TempDir(), store.Config{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{
		t: t, r: rand.New(rand.NewPCG(seed, 9)), store: st, now: time.Now().Unix(),
		graph: &town{map[string][]string{}, map[string][]string{}}, scorer: &formula{inputs: []feature.Input{column("count.likes")}},
		signals: &judges{refuse: map[string]bool{}},
		listing: map[string]Listing{
			"latest": {Slug: "latest", Tier: feature.Viewer},
			"likes":  {Slug: "likes", Model: model, Fallback: "latest", Tier: feature.Personal},
		},
	}
	t.Cleanup(func() { st.Close() })
	w.run(st.Run)
	w.tally, err = tally.New(tally.Config{Store: st, Trust: func() func(tally.Key) float32 {
		return func(k tally.Key) float32 { return float32(k[0]) / 255 }
	}})
	if err != nil {
		t.Fatal(err)
	}
	w.run(w.tally.Run)
	w.open(Config{})
	return w
}

// open makes new feeds, with nothing remembered.
func (w *world) open(cfg Config) {
	w.t.Helper()
	cfg.Events, cfg.Graph, cfg.Tally, cfg.Listings, cfg.Scorer, cfg.Signals = log{w.store}, w.graph, w.tally, w, w.scorer, w.signals
	f, err := New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.feeds = f
}

func (w *world) run(what func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1) // one result
	go func() { done <- what(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			w.t.Error(err)
		}
	})
}

func (w *world) hex() string {
	var b [32]byte
	for i := range b {
		b[i] = byte(w.r.UintN(256))
	}
	return hex.EncodeToString(b[:])
}

// person is a key with a trust from 0 to 255.
func (w *world) person(trust byte) string { return fmt.Sprintf("%02x", trust) + w.hex()[2:] }

func (w *world) put(kind int, author string, age time.Duration, content string, tags ...nostr.Tag) *nostr.Event {
	w.t.Helper()
	if tags == nil {
		tags = nostr.Tags{}
	}
	ev := &nostr.Event{ID: w.hex(), PubKey: author, Kind: kind, Content: content, Tags: tags, Sig: w.hex() + w.hex(),
		CreatedAt: nostr.Timestamp(w.now - int64(age.Seconds()))}
	if _, err := w.store.Append(context.Background(), store.Entry{Event: ev, JSON: wire.AppendEvent(nil, ev), Vanish: kind == 62}); err != nil {
		w.t.Fatal(err)
	}
	return ev
}

func (w *world) note(author string, age time.Duration) *nostr.Event {
	return w.put(1, author, age, fmt.Sprintf("note %d says something of its own about %x", w.r.IntN(1e6), w.r.Uint64()))
}

func (w *world) like(who string, note *nostr.Event) *nostr.Event {
	return w.put(7, who, 0, "+", nostr.Tag{"e", note.ID}, nostr.Tag{"p", note.PubKey})
}

// settle waits until the tally knows what the store does.
func (w *world) settle() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	if err := w.tally.WaitFor(ctx, w.store.Head()); err != nil {
		w.t.Fatal(err)
	}
	w.feeds.LookOver(time.Now())
}

func (w *world) page(r Request) Page {
	w.t.Helper()
	p, err := w.feeds.Page(context.Background(), r)
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

func ids(p Page) (out []string) {
	for _, it := range p.Items {
		out = append(out, it.Event.ID)
	}
	return out
}
