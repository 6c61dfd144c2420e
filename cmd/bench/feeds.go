package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"agora/feeds"
	"agora/feeds/tally"
	"agora/ranker"
	"agora/ranker/builtin"
	"agora/ranker/feature"
	"agora/ranker/onnx"
	"agora/relay/graph"
	"agora/relay/store"
	"agora/relay/wire"

	"github.com/klauspost/compress/zstd"
	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/urfave/cli/v3"
	"golang.org/x/sync/errgroup"
)

func feedsCommand() *cli.Command {
	return &cli.Command{
		Name: "feeds", Usage: "how soon a page is ranked, on the real follow graph, as JSON",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "graph", Value: "testdata/nostr", Usage: "`directory` of the graph's files"},
			&cli.StringFlag{Name: "library", Value: "bin/libonnxruntime.so.1", Usage: "the ONNX runtime"},
			&cli.StringFlag{Name: "tmp", Value: "bin/bench-data/feeds", Usage: "`directory` of the store; kept, and used again"},
			&cli.StringSliceFlag{Name: "feed", Value: []string{"foryou-gbdt", "hot"}, Usage: "slugs of built-in rankers"},
			&cli.IntFlag{Name: "notes", Value: 100_000, Usage: "live notes"},
			&cli.IntFlag{Name: "acts", Value: 500_000, Usage: "likes and answers"},
			&cli.IntFlag{Name: "viewers", Value: 200, Usage: "different readers"},
			&cli.FloatFlag{Name: "rate", Value: 40, Usage: "requests a second, whatever the answers take"},
			&cli.IntFlag{Name: "publish", Value: 20_000, Usage: "signed events to publish with and without pages beside; 0: none"},
			&cli.DurationFlag{Name: "time", Value: 30 * time.Second, Usage: "how long"},
			&cli.StringFlag{Name: "profile", Usage: "write processor profiles of warm pages to `FILE`.FEED"},
			&cli.StringFlag{Name: "device", Value: "cpu", Usage: "where models run"},
		},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			b := &feedBench{cmd: cmd, r: rand.New(rand.NewPCG(1, 1)), now: time.Now().Unix(), metrics: prometheus.NewRegistry()}
			out, err := b.run(ctx)
			if err != nil {
				return err
			}
			return json.NewEncoder(os.Stdout).Encode(out)
		},
	}
}

// feedBench is a relay's reading half without its sockets.
type feedBench struct {
	cmd     *cli.Command
	r       *rand.Rand
	now     int64
	keys    []string   // of the real graph
	lists   [][]string // follow lists, beside owners
	owners  []string
	store   *store.Store
	graph   *graph.Graph
	tally   *tally.Tally
	feeds   *feeds.Feeds
	shelf   *ranker.Shelf
	viewers []string
	metrics *prometheus.Registry
	report  *feedReport
	rss     int64
}

// feedResult is what one feed cost.
type feedResult struct {
	Feed       string             `json:"feed"`
	Pages      int                `json:"pages"`
	Candidates int                `json:"candidates"`
	Fallbacks  int                `json:"fallbacks"`
	Rate       float64            `json:"per_second"`
	ColdP50    float64            `json:"cold_p50_ms"`
	ColdP95    float64            `json:"cold_p95_ms"`
	P50        float64            `json:"p50_ms"`
	P95        float64            `json:"p95_ms"`
	P99        float64            `json:"p99_ms"`
	CPU        float64            `json:"cpu_s_per_1000_pages"` // background work included
	Parts      map[string]float64 `json:"ms_per_page_by_part"`  // by the clock
	Alone      float64            `json:"publish_per_second_alone,omitempty"`
	Beside     float64            `json:"publish_per_second_beside_pages,omitempty"`
}

type feedReport struct {
	Notes   int                `json:"live_notes"`
	Acts    int                `json:"acts"`
	Keys    int                `json:"keys"`
	Built   float64            `json:"tally_built_s"`
	RSS     map[string]float64 `json:"rss_mb_by_room"` // what the process grew by when the room was opened; feeds: after the loads
	Results []feedResult       `json:"results"`
}

func (b *feedBench) run(ctx context.Context) (*feedReport, error) {
	b.report = &feedReport{RSS: map[string]float64{}}
	if err := b.readGraph(b.cmd.String("graph")); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	group, inner := errgroup.WithContext(ctx)
	defer func() {
		cancel()
		_ = group.Wait() // what had to be said has been said by then
	}()
	if err := b.openStore(inner, group); err != nil {
		return nil, err
	}
	b.grew("start and store")
	if err := b.openFeeds(inner, group); err != nil {
		return nil, err
	}
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 2) // as agora serve does
	}
	st := b.tally.Stats()
	b.report.Notes, b.report.Acts, b.report.Keys = st.Notes, st.Acts, st.Keys
	for _, feed := range b.cmd.StringSlice("feed") {
		res, err := b.load(ctx, feed)
		if err != nil {
			return nil, err
		}
		if err := b.publishing(ctx, feed, res); err != nil {
			return nil, err
		}
		b.report.Results = append(b.report.Results, *res)
	}
	b.grew("feeds and models")
	return b.report, nil
}

// grew notes by how much the process has grown since it was asked last.
func (b *feedBench) grew(room string) {
	debug.FreeOSMemory()
	now, err := rssAnonOf(os.Getpid())
	if err != nil {
		return // the table lacks a row
	}
	b.report.RSS[room] = float64(now-b.rss) / 1e6
	b.rss = now
}

func readZst(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		return "", err
	}
	defer z.Close()
	var text strings.Builder
	_, err = z.WriteTo(&text)
	return text.String(), err
}

func (b *feedBench) readGraph(dir string) error {
	users, err := readZst(filepath.Join(dir, "graph-users.tsv.zst"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(users) {
		_, key, _ := strings.Cut(strings.TrimSpace(line), "\t")
		b.keys = append(b.keys, key)
	}
	follows, err := readZst(filepath.Join(dir, "graph-follows.tsv.zst"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(follows) {
		parts := strings.FieldsFunc(strings.TrimSpace(line), func(r rune) bool { return r == '\t' || r == ',' || r == ' ' })
		var list []string
		for i, part := range parts {
			n, err := strconv.Atoi(part)
			if err != nil {
				return fmt.Errorf("graph: %w", err)
			}
			switch {
			case i == 0:
				b.owners = append(b.owners, b.keys[n])
			case i > 1:
				list = append(list, b.keys[n])
			}
		}
		b.lists = append(b.lists, list)
	}
	return nil
}

// openStore opens the store, and fills a new one.
func (b *feedBench) openStore(ctx context.Context, group *errgroup.Group) error {
	dir := b.cmd.String("tmp")
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	st, err := store.Open(dir, store.Config{NoSync: true})
	if err != nil {
		return err
	}
	b.store = st
	group.Go(func() error { return st.Run(ctx) })
	return b.fill(ctx)
}

func (b *feedBench) hex() string {
	var id [32]byte
	for i := range id {
		id[i] = byte(b.r.UintN(256))
	}
	return hex.EncodeToString(id[:])
}

// event is unsigned: what is measured comes after the signature check.
func (b *feedBench) event(kind int, author string, at int64, content string, tags nostr.Tags) *nostr.Event {
	return &nostr.Event{ID: b.hex(), PubKey: author, Kind: kind, CreatedAt: nostr.Timestamp(at), Content: content, Tags: tags, Sig: b.hex() + b.hex()}
}

func (b *feedBench) put(ctx context.Context, kind int, author string, at int64, content string, tags nostr.Tags) (string, error) {
	ev := b.event(kind, author, at, content, tags)
	return ev.ID, b.store.Submit(ctx, store.Entry{Event: ev, JSON: wire.AppendEvent(nil, ev)}, func(store.Result, error) {})
}

// fill writes follow lists as they are, and notes and acts that are made up:
// who is followed much writes much, and what is liked much is liked more.
func (b *feedBench) fill(ctx context.Context) error {
	for i, owner := range b.owners {
		var tags nostr.Tags
		for _, k := range b.lists[i] {
			tags = append(tags, nostr.Tag{"p", k})
		}
		if _, err := b.put(ctx, 3, owner, b.now-86400, "", tags); err != nil {
			return err
		}
	}
	writer := func() string {
		list := b.lists[b.r.IntN(len(b.lists))]
		return list[b.r.IntN(len(list))]
	}
	words := strings.Fields("relay note key zap coffee morning bitcoin music train river light code friend book city rain garden idea truth work play night road song")
	notes := make([][2]string, b.cmd.Int("notes"))
	for i := range notes {
		var text []string
		for range 8 + b.r.IntN(40) {
			text = append(text, words[b.r.IntN(len(words))])
		}
		author := writer()
		id, err := b.put(ctx, 1, author, b.now-int64(b.r.IntN(10*86400)), strings.Join(text, " "), nostr.Tags{})
		if err != nil {
			return err
		}
		notes[i] = [2]string{id, author}
	}
	zipf := rand.NewZipf(b.r, 1.1, 30, uint64(len(notes)-1))
	for range b.cmd.Int("acts") {
		of := notes[zipf.Uint64()]
		who, kind, text := b.owners[b.r.IntN(len(b.owners))], 7, "+"
		if b.r.IntN(3) == 0 {
			who = writer()
		}
		if b.r.IntN(12) == 0 {
			kind, text = 6, ""
		}
		if _, err := b.put(ctx, kind, who, b.now-int64(b.r.IntN(5*86400)), text, nostr.Tags{{"e", of[0]}, {"p", of[1]}}); err != nil {
			return err
		}
	}
	last := b.event(1, b.owners[0], b.now, "last", nostr.Tags{}) // answered when all before it is stored
	_, err := b.store.Append(ctx, store.Entry{Event: last, JSON: wire.AppendEvent(nil, last)})
	return err
}

// town is relay/graph as feeds ask for it.
type town struct{ *graph.Graph }

func (g town) From(viewer string) feeds.View { return eyes{g.Eyes(viewer)} }

type eyes struct{ *graph.Eyes }

func (e eyes) Toward(author string) feeds.Standing { return feeds.Standing(e.Eyes.Toward(author)) }
func (e eyes) About(key string) feeds.Known        { return feeds.Known(e.Known(key)) }

// readable is the store as feeds ask for it.
type readable struct{ *store.Store }

func (l readable) Query(ctx context.Context, f ...nostr.Filter) iter.Seq2[*nostr.Event, error] {
	return func(yield func(*nostr.Event, error) bool) {
		for r, err := range l.Store.Query(ctx, f...) {
			if err != nil {
				yield(nil, err)
				return
			}
			if ev, err := r.Event(); !yield(ev, err) {
				return
			}
		}
	}
}

// shelved lists the built-in rankers.
type shelved struct{ by map[string]feeds.Listing }

func (s shelved) Listing(slug string) (feeds.Listing, bool) { l, ok := s.by[slug]; return l, ok }

func listings() shelved {
	out := shelved{map[string]feeds.Listing{}}
	for _, r := range builtin.Rankers() {
		l := feeds.Listing{Slug: r.Slug, Name: r.Name, Model: r.Digest, Stages: r.Stages, Fallback: r.Fallback}
		if r.Personalised {
			l.Tier = feature.Personal
		}
		for _, k := range r.Knobs {
			l.Knobs = append(l.Knobs, feeds.Knob(k))
		}
		out.by[r.Slug] = l
	}
	return out
}

func (b *feedBench) openFeeds(ctx context.Context, group *errgroup.Group) error {
	quiet := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	device, err := onnx.ParseDevice(b.cmd.String("device"))
	if err != nil {
		return err
	}
	admitted := builtin.Digests()
	engine, err := onnx.New(onnx.Config{Library: b.cmd.String("library"), Device: device, Logger: quiet,
		Admit: func(d ranker.Digest) bool { return slices.Contains(admitted, d) }})
	if err != nil {
		return err
	}
	if b.shelf, err = ranker.NewShelf(ranker.Config{Runtime: engine, Models: builtin.NewSource()}); err != nil {
		return err
	}
	if b.graph, err = graph.New(graph.Config{Store: b.store, Logger: quiet, CacheBytes: 256 << 20, Fresh: time.Minute}); err != nil {
		return err
	}
	group.Go(func() error { return b.graph.Run(ctx) })
	<-b.graph.Built()
	b.grew("graph")
	began := time.Now()
	b.tally, err = tally.New(tally.Config{Store: b.store, Logger: quiet,
		Seen: func(ev *nostr.Event) { b.feeds.Seen(ev) },
		Trust: func() func(tally.Key) float32 {
			view := b.graph.From("")
			return func(k tally.Key) float32 { return view.Trust(hex.EncodeToString(k[:])) }
		}})
	if err != nil {
		return err
	}
	b.feeds, err = feeds.New(feeds.Config{
		Events: readable{b.store}, Graph: town{b.graph}, Tally: b.tally, Listings: listings(), Scorer: b.shelf,
		Encode: builtin.NewEncoder().Vector, Logger: quiet, Metrics: b.metrics,
	})
	if err != nil {
		return err
	}
	group.Go(func() error { return b.tally.Run(ctx) })
	group.Go(func() error { return b.feeds.Run(ctx) })
	<-b.tally.Built()
	if err := b.tally.WaitFor(ctx, b.store.Head()); err != nil {
		return err
	}
	b.report.Built = time.Since(began).Seconds()
	b.tally.Reweigh(time.Now())
	b.feeds.LookOver(time.Now())
	b.grew("tally, and what feeds keep of notes")
	for _, at := range b.r.Perm(len(b.owners))[:min(b.cmd.Int("viewers"), len(b.owners))] {
		b.viewers = append(b.viewers, b.owners[at])
	}
	return nil
}
