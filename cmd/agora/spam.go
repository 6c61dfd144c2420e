package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"agora/feeds"
	"agora/personhood"
	"agora/ranker"
	catalogue "agora/ranker/feature"
	"agora/relay"
	"agora/relay/admit"
	"agora/relay/graph"
	"agora/relay/search"
	"agora/relay/store"
	"agora/spam"

	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

const (
	spamWindow  = "spam-window" // the snapshot, in the data directory
	windowSaved = 5 * time.Minute
	kindLabel   = 1985
)

// spamPart is the room spam as this relay has it.
type spamPart struct {
	core    *core
	gate    *spam.Gate
	judge   *spam.Classifier
	window  *spam.Window
	past    *spamLog
	second  *secondOpinion // nil: models cannot run
	plugins []*spam.Plugin

	desk     *spam.Desk
	deskAt   store.Pos // what the desk was opened with
	operator func(pubkey string) bool
	graph    *graph.Graph // nil: none

	labels  chan string // ids of notes to publish a label about; 1024; when full: dropped and counted, the label beside the event stays
	told    *prometheus.CounterVec
	counted [spam.Refuse + 1][2]prometheus.Counter // of told, by action, done or dry
	dropped prometheus.Counter
}

// openSpam builds the part; nil without an error means that the relay runs
// without, which the log says.
func (s *server) openSpam(c *core) (*spamPart, error) {
	p := &spamPart{
		core: c, graph: s.parts.graph, labels: make(chan string, 1024), window: spam.NewWindow(),
		told: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "agora_spam_verdicts_total", Help: "Notes judged, by what the policy says; dry: nothing was done."}, []string{"action", "dry"}),
		dropped: prometheus.NewCounter(prometheus.CounterOpts{Name: "agora_spam_labels_dropped_total", Help: "Labels that were not published because too many waited."}),
	}
	for a := range p.counted {
		p.counted[a] = [2]prometheus.Counter{p.told.WithLabelValues(spam.Action(a).String(), "false"), p.told.WithLabelValues(spam.Action(a).String(), "true")}
	}
	if err := p.openPlugins(c.cfg, c.log); err != nil {
		return nil, err
	}
	if err := p.openDesk(context.Background()); err != nil {
		return nil, err
	}
	if c.cfg.SpamMode == "pass" {
		return p, nil
	}
	judge, err := spamModel(c.cfg.SpamModel)
	if err != nil {
		if c.cfg.SpamEnforce {
			return nil, fmt.Errorf("spam_enforce: %w", err)
		}
		c.log.Warn("running without the spam classifier", "err", err)
		return p, nil
	}
	p.judge = judge
	if err := p.window.Load(filepath.Join(c.cfg.Data, spamWindow)); err != nil {
		p.sayLost(err)
	}
	rules, err := c.cfg.spamRules()
	if err != nil {
		return nil, usage(err)
	}
	if p.past, err = openSpamLog(c.store, time.Now().Unix()); err != nil {
		return nil, err
	}
	settings := spam.Config{Rules: rules, DryRun: c.cfg.SpamDryRun, Log: p.past, Persons: provenDeeds{}, Outcome: p.outcome, Desk: p.desk, Notes: spamNotes{c.store}}
	if p.second, err = p.openSecond(spam.SecondONNX()); err != nil {
		return nil, err
	}
	if p.second != nil {
		settings.Second = p.second
	}
	if s.parts.graph != nil {
		settings.Crowd = newSpamCrowd(s.parts.graph, c.cfg)
	}
	if p.gate, err = spam.NewGate(judge, p.window, settings); err != nil {
		return nil, err
	}
	c.metrics.MustRegister(p.told, p.dropped)
	return p, nil
}

// openSecond is tier 1, or nobody where it cannot run: then tier 0 judges
// alone, and the log says so. Who enforces the classifier wants no start with a
// damaged model; a runtime is nobody's duty.
func (p *spamPart) openSecond(model []byte) (*secondOpinion, error) {
	second, err := openSecond(context.Background(), p.core.cfg, model)
	if err != nil {
		if p.core.cfg.SpamEnforce && !errors.Is(err, ranker.ErrNoRuntime) {
			return nil, fmt.Errorf("spam_enforce: %w", err)
		}
		p.core.log.Warn("the spam classifier runs without tier 1", "err", err)
		return nil, nil
	}
	second.asked = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "agora_spam_second_total", Help: "Notes that tier 1 was asked about, by how that ended."}, []string{"result"})
	p.core.metrics.MustRegister(second.asked)
	return second, nil
}

func (p *spamPart) sayLost(err error) {
	if errors.Is(err, os.ErrNotExist) {
		p.core.log.Info("the spam window begins empty")
		return
	}
	p.core.log.Warn("the spam window was lost, it begins empty", "err", err)
}

func (p *spamPart) openPlugins(cfg Config, log *slog.Logger) error {
	for _, command := range cfg.WritePolicy {
		plugin, err := spam.NewPlugin(strings.Fields(command), cfg.WritePolicyTime.Duration, log)
		if err != nil {
			return usage(err)
		}
		p.plugins = append(p.plugins, plugin)
	}
	return nil
}

// gates are what the relay asks.
func (p *spamPart) gates() (gates []relay.Gate) {
	from := []admit.Origin{admit.Socket, admit.Sync}
	for _, plugin := range p.plugins {
		gates = append(gates, relay.Gate{Name: "write-policy", Gate: plugin, Origins: from, Waits: onAll})
	}
	if p.gate != nil {
		gates = append(gates, relay.Gate{Name: "spam", Gate: p.gate, Origins: from})
	}
	return gates
}

// onAll: a plugin may take its time over any event, and those of one
// connection do not stand in line for it.
func onAll(*nostr.Event) bool { return true }

// spamRules are the operator's rules, then those of the mode.
func (cfg Config) spamRules() ([]spam.Rule, error) {
	var rules []spam.Rule
	for _, text := range cfg.SpamRules {
		r, err := spam.ParseRule(text)
		if err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	mode, err := spam.ParseAction(cfg.SpamMode)
	if err != nil {
		return nil, fmt.Errorf("spam_mode: %w", err)
	}
	return append(rules, spam.Rules(mode)...), nil
}

// outcome counts a judgement and, where the policy labels, has the label
// published.
func (p *spamPart) outcome(o spam.Outcome) {
	dry := 0
	if !o.Done {
		dry = 1
	}
	p.counted[o.Action][dry].Inc()
	if !o.Done && o.Action > spam.Measure {
		p.core.log.Info("spam dry run: would "+o.Action.String(), "event", o.Event.ID, "spam", o.Verdict.Spam, "reasons", reasonWords(&o.Verdict))
	}
	if !o.Done || o.Action != spam.Mark && o.Action != spam.Quarantine {
		return
	}
	select {
	case p.labels <- strings.Clone(o.Event.ID): // not the message it is cut from
	default:
		p.dropped.Inc()
	}
}

func reasonWords(v *spam.Verdict) string {
	words := make([]string, 0, 5)
	for _, r := range v.Reasons() {
		words = append(words, fmt.Sprintf("%s %+.1f", r.What, r.Weight))
	}
	return strings.Join(words, ", ")
}

// A label is about as many notes as came in this time: a campaign must not have
// the relay write as much as it does.
const (
	labelWait  = 500 * time.Millisecond
	mostLabels = 100
)

// labelEvent calls notes spam. Their authors it does not name: a p tag would call
// the people spam.
func labelEvent(notes []string) *nostr.Event {
	ev := &nostr.Event{Kind: kindLabel, CreatedAt: nostr.Now(), Tags: nostr.Tags{
		{"L", spam.Namespace}, {"l", spam.LabelSpam, spam.Namespace},
	}}
	for _, id := range notes {
		ev.Tags = append(ev.Tags, nostr.Tag{"e", id})
	}
	return ev
}

// Run keeps the plugins running, publishes labels and saves the window.
func (p *spamPart) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, plugin := range p.plugins {
		g.Go(func() error { return plugin.Run(ctx) })
	}
	g.Go(func() error { return p.followDesk(ctx) })
	if p.gate != nil {
		g.Go(func() error { p.publish(ctx); return nil })
		g.Go(func() error { return p.save(ctx) })
		g.Go(func() error { return p.past.run(ctx) })
	}
	return errors.Join(g.Wait(), p.second.Close()) // who is still judged is judged by tier 0 alone
}

// publish sends out the labels, several notes in each.
func (p *spamPart) publish(ctx context.Context) {
	for {
		notes := p.gather(ctx)
		if len(notes) == 0 {
			return
		}
		if notes = slices.DeleteFunc(notes, p.desk.Granted); len(notes) == 0 { // meanwhile
			continue
		}
		if err := p.say(ctx, labelEvent(notes)); err != nil && ctx.Err() == nil {
			p.core.log.Error("publish a spam label", "err", err)
		}
	}
}

// gather waits for a note, and a little for more. None means that ctx has ended.
func (p *spamPart) gather(ctx context.Context) (notes []string) {
	var late <-chan time.Time
	for len(notes) < mostLabels {
		select {
		case <-ctx.Done():
			return nil
		case <-late:
			return notes
		case id := <-p.labels:
			if notes = append(notes, id); late == nil {
				late = time.After(labelWait)
			}
		}
	}
	return notes
}

// say publishes an event of the relay's own.
func (p *spamPart) say(ctx context.Context, ev *nostr.Event) error {
	if err := ev.Sign(p.core.self); err != nil {
		return err
	}
	_, err := p.core.relay.Publish(ctx, ev, nil, admit.Peer{Origin: admit.Own})
	return err
}

func (p *spamPart) save(ctx context.Context) error {
	tick := time.NewTicker(windowSaved)
	defer tick.Stop()
	path := filepath.Join(p.core.cfg.Data, spamWindow)
	for {
		select {
		case <-ctx.Done():
			return p.window.Save(path)
		case <-tick.C:
			if err := p.window.Save(path); err != nil {
				p.core.log.Error("save the spam window", "err", err)
			}
		}
	}
}

// reload exchanges the policy.
func (p *spamPart) reload(cfg Config) {
	if p == nil || p.gate == nil {
		return
	}
	rules, err := cfg.spamRules()
	if err != nil {
		p.core.log.Error("reload: the spam rules stay", "err", err) // validate has read them before
		return
	}
	p.gate.Reload(rules, cfg.SpamDryRun)
}

// spamCrowd tells spam of the operator's web of trust; it is its Crowd.
type spamCrowd struct {
	graph *graph.Graph
	seeds []string

	mu   sync.Mutex               // guards what follows
	held map[string]spam.Standing // at most mostStandings; when full or old, emptied
	made time.Time
}

const (
	mostStandings = 1 << 16
	standingAge   = 5 * time.Minute
)

// spamSeeds are the keys that the web of trust begins with.
func spamSeeds(cfg Config) []string {
	if len(cfg.SpamSeeds) > 0 {
		return cfg.SpamSeeds
	}
	return cfg.Admins
}

func newSpamCrowd(g *graph.Graph, cfg Config) *spamCrowd {
	c := &spamCrowd{graph: g, held: map[string]spam.Standing{}}
	for _, text := range spamSeeds(cfg) {
		if key, err := parsePubKey(text); err == nil { // validate has read them before
			c.seeds = append(c.seeds, key)
		}
	}
	return c
}

func (c *spamCrowd) Standing(author string) spam.Standing {
	c.mu.Lock()
	now := time.Now()
	if len(c.held) >= mostStandings || now.Sub(c.made) > standingAge {
		clear(c.held)
		c.made = now
	}
	s, ok := c.held[author]
	c.mu.Unlock()
	if ok {
		return s
	}
	s = spam.Standing{Trust: c.graph.From("").Trust(author), Hops: -1}
	s.Blind = s.Trust < 0.05 // unless a seed follows anybody
	for _, seed := range c.seeds {
		for range c.graph.Follows(seed) {
			s.Blind = false
			break
		}
		if h := c.graph.Hops(seed, author); h >= 0 && (s.Hops < 0 || h < s.Hops) {
			s.Hops = h
		}
	}
	c.mu.Lock()
	c.held[strings.Clone(author)] = s // not the message it is cut from
	c.mu.Unlock()
	return s
}

func (c *spamCrowd) Follows(author, other string) bool {
	return c.graph.Direct(author, other)
}

// spamSignals tells feeds what spam found; it is its Signals.
type spamSignals struct {
	store *store.Store
	desk  *spam.Desk // nil: nothing was granted
}

func (s spamSignals) Signals(_ context.Context, ids []string) ([]feeds.Signal, error) {
	var out []feeds.Signal
	for _, text := range ids {
		labels, err := labelsOf(s.store, text)
		if err != nil {
			return nil, err
		}
		if labels == nil {
			continue
		}
		granted := s.desk.Granted(text)
		one := feeds.Signal{ID: text, Facts: catalogue.Signals{}, Refuse: spam.Quarantined(labels) && !granted}
		for _, l := range labels {
			if l.Namespace == spam.Namespace && l.Value == spam.LabelSpam && !granted {
				one.Facts.Spam = l.Score
			}
			if l.Namespace == spam.Namespace && l.Value == spam.LabelAI {
				one.Facts.AI = l.Score
			}
			if l.Namespace == personhood.LabelNamespace {
				one.Facts.Person = 1
			}
		}
		out = append(out, one)
	}
	return out, nil
}

func labelsOf(st *store.Store, text string) ([]admit.Label, error) {
	id, err := store.ParseID(text)
	if err != nil {
		return nil, err
	}
	return st.Labels(id)
}

// spamSearch leaves quarantined notes out unless include:spam asks for them.
type spamSearch struct {
	index *search.Index
	store *store.Store
	desk  *spam.Desk // nil: nothing was granted
}

const includeSpam = "include:spam"

func (s spamSearch) Search(ctx context.Context, query string, f nostr.Filter) iter.Seq2[store.ID, error] {
	words := strings.Fields(query)
	found := s.index.Search(ctx, query, f)
	for _, w := range words {
		if w == includeSpam {
			return found
		}
	}
	return func(yield func(store.ID, error) bool) {
		for id, err := range found {
			if err == nil {
				var labels []admit.Label
				if labels, err = s.store.Labels(id); err == nil && spam.Quarantined(labels) && !s.desk.Granted(id.String()) {
					continue
				}
			}
			if !yield(id, err) {
				return
			}
		}
	}
}
