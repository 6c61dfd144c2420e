package spam

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"agora/relay/admit"

	"github.com/nbd-wtf/go-nostr"
)

// Namespaces of labels (NIP-32).
const (
	Namespace = "agora/spam"     // ours: spam, scam, ai, quarantine, each with its probability
	Why       = "agora/spam/why" // beside the event: the reasons
	Appeals   = "agora/appeal"   // an author's: not-spam; the operator's: granted, denied
)

// Values of labels in Namespace.
const (
	LabelSpam       = "spam"
	LabelScam       = "scam"
	LabelAI         = "ai"
	LabelQuarantine = "quarantine"
)

// Crowd tells how authors stand with the operator; cmd makes it of the graph.
type Crowd interface {
	Standing(author string) Standing
	Follows(author, other string) bool // other is followed by author
}

// Log tells what is known of a key; cmd makes it of the store.
type Log interface {
	Past(ctx context.Context, pubkey string) (Past, error)
}

// Persons says whether an event carries a personhood proof that verifies.
type Persons interface {
	Proven(ctx context.Context, ev *nostr.Event) (bool, error)
}

// Config of a Gate. Zero fields mean the documented default.
type Config struct {
	Rules   []Rule
	DryRun  bool    // tell what would have happened, do nothing
	Kinds   []int   // what is judged; default 1, 42, 1111, 1311, 30023
	Crowd   Crowd   // nil: nobody is known
	Log     Log     // nil: no past
	Persons Persons // nil: no proofs
	Second  Second  // nil: tier 0 alone
	Desk    *Desk   // nil: appeals are events like others
	Notes   Notes   // what appeals are about; nil: nothing is held
	Outcome func(Outcome)
}

// Outcome is told after each judgement, for metrics and labels.
type Outcome struct {
	Event   *nostr.Event // not to be kept or changed
	Verdict Verdict
	Action  Action // what the rules say
	Done    bool   // false: a dry run
}

// Gate applies the operator's policy. It is an admit.Gate.
type Gate struct {
	cfg    Config
	judge  *Classifier
	window *Window
	rules  atomic.Pointer[[]Rule]
	dry    atomic.Bool

	mu      sync.Mutex   // guards what follows
	refused [4096]turned // the last refusals, for their authors to ask about; the oldest makes room
	next    int
}

// turned is a refusal that is remembered.
type turned struct {
	id, author string
	verdict    Verdict
}

// NewGate checks and builds; it starts nothing.
func NewGate(judge *Classifier, window *Window, cfg Config) (*Gate, error) {
	if judge == nil || window == nil {
		return nil, fmt.Errorf("a spam gate needs a classifier and a window")
	}
	if cfg.Kinds == nil {
		cfg.Kinds = []int{1, 42, 1111, 1311, 30023}
	}
	g := &Gate{cfg: cfg, judge: judge, window: window}
	g.Reload(cfg.Rules, cfg.DryRun)
	return g, nil
}

// Reload exchanges the policy.
func (g *Gate) Reload(rules []Rule, dry bool) {
	g.rules.Store(&rules)
	g.dry.Store(dry)
}

// Rule judges one event.
func (g *Gate) Rule(ctx context.Context, ev *nostr.Event, from admit.Peer) (admit.Ruling, error) {
	switch ev.Kind {
	case nostr.KindProfileMetadata:
		g.window.introduce(keyOf(ev.PubKey), time.Now().Unix())
		return admit.Ruling{}, nil
	case nostr.KindReporting:
		g.report(ev)
		return admit.Ruling{}, nil
	case kindLabel:
		if note, ok := Appeal(ev); ok && g.cfg.Desk != nil && from.Origin != admit.Own {
			return g.appeal(ctx, ev, note)
		}
		return admit.Ruling{}, nil
	}
	if !slices.Contains(g.cfg.Kinds, ev.Kind) || from.Origin == admit.Own {
		return admit.Ruling{}, nil
	}
	v, who, err := g.verdict(ctx, ev, time.Now().Unix())
	if err != nil {
		return admit.Ruling{}, err
	}
	action, dry := Decide(*g.rules.Load(), ev.Kind, who, &v), g.dry.Load()
	if g.cfg.Outcome != nil {
		g.cfg.Outcome(Outcome{Event: ev, Verdict: v, Action: action, Done: !dry})
	}
	if dry || action < Mark {
		return admit.Ruling{}, nil
	}
	if action == Refuse {
		g.remember(ev, v)
		return admit.Refuse(admit.Blocked, refusalText(ev, &v)), nil
	}
	return admit.Ruling{Labels: labelsOf(&v, action)}, nil
}

// Replay judges a stored event as of the time it gives itself, and says what the
// policy would do. It does nothing, but the window takes the event in.
func (g *Gate) Replay(ctx context.Context, ev *nostr.Event) (Verdict, Action, error) {
	v, who, err := g.verdict(ctx, ev, int64(ev.CreatedAt))
	if err != nil {
		return v, Pass, err
	}
	return v, Decide(*g.rules.Load(), ev.Kind, who, &v), nil
}

// refusalText names the reason and the way to appeal.
func refusalText(ev *nostr.Event, v *Verdict) string {
	why := "how it is written"
	if rs := v.Reasons(); len(rs) > 0 {
		why = rs[0].What
	}
	return fmt.Sprintf("this looks like spam (%s); to appeal, publish kind 1985 with [\"L\",%q] [\"l\",\"not-spam\",%q] [\"e\",%q]; details: /v1/spam/%s",
		why, Appeals, Appeals, ev.ID, ev.ID)
}

// labelsOf is what is kept beside a stored event.
func labelsOf(v *Verdict, action Action) []admit.Label {
	labels := []admit.Label{{Namespace: Namespace, Value: LabelSpam, Score: float32(v.Spam)}}
	if v.IsScam {
		labels = append(labels, admit.Label{Namespace: Namespace, Value: LabelScam, Score: float32(v.Scam)})
	}
	if v.IsAI {
		labels = append(labels, admit.Label{Namespace: Namespace, Value: LabelAI, Score: float32(v.AI)})
	}
	if action == Quarantine {
		labels = append(labels, admit.Label{Namespace: Namespace, Value: LabelQuarantine, Score: float32(v.Spam)})
	}
	for _, r := range v.Reasons() {
		labels = append(labels, admit.Label{Namespace: Why, Value: r.What, Score: float32(r.Weight)})
	}
	return labels
}

// Quarantined reports whether one of an event's labels keeps it out of feeds
// and search.
func Quarantined(labels []admit.Label) bool {
	return slices.ContainsFunc(labels, func(l admit.Label) bool { return l.Namespace == Namespace && l.Value == LabelQuarantine })
}

// verdict gathers what is known of an event and judges it.
func (g *Gate) verdict(ctx context.Context, ev *nostr.Event, now int64) (v Verdict, who Standing, err error) {
	scene := Scene{Window: g.window, Who: Standing{Hops: -1, Blind: true}, Now: now}
	if g.cfg.Crowd != nil {
		scene.Who = g.cfg.Crowd.Standing(ev.PubKey)
		scene.Meets = g.strangers(ev)
	}
	scene.Who.Spared = g.cfg.Desk.Spared(ev.PubKey)
	if g.cfg.Persons != nil {
		if scene.Exempt, err = g.cfg.Persons.Proven(ctx, ev); err != nil {
			return v, who, fmt.Errorf("personhood of %s: %w", ev.ID, err)
		}
	}
	if key := keyOf(ev.PubKey); g.cfg.Log != nil && !scene.Exempt && !near(scene.Who) && g.window.needsPast(key) {
		past, err := g.cfg.Log.Past(ctx, ev.PubKey)
		if err != nil {
			return v, who, fmt.Errorf("past of %s: %w", ev.PubKey, err)
		}
		g.window.learn(key, scene.Now, past)
	}
	scene.Second = g.cfg.Second
	return g.judge.Event(ctx, ev, scene), scene.Who, nil
}

// mostMeets is how many p tags are looked at.
const mostMeets = 20

// strangers counts the keys an event writes to that do not follow its author.
func (g *Gate) strangers(ev *nostr.Event) (n int) {
	looked := 0
	for _, tag := range ev.Tags {
		if len(tag) < 2 || tag[0] != "p" || tag[1] == ev.PubKey {
			continue
		}
		if looked++; looked > mostMeets {
			break
		}
		n += one(!g.cfg.Crowd.Follows(tag[1], ev.PubKey))
	}
	return n
}

// report weighs a NIP-56 report by the trust of who complains.
func (g *Gate) report(ev *nostr.Event) {
	if g.cfg.Crowd == nil {
		return
	}
	who := g.cfg.Crowd.Standing(ev.PubKey)
	weight := who.Trust
	if near(who) {
		weight = max(weight, 0.5)
	}
	for _, tag := range ev.Tags {
		if len(tag) >= 2 && tag[0] == "p" && weight > 0 {
			g.window.report(keyOf(ev.PubKey), keyOf(tag[1]), weight)
		}
	}
}

// remember keeps copies: an event's strings are cut from the whole message, which
// would stay as long as they do.
func (g *Gate) remember(ev *nostr.Event, v Verdict) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.refused[g.next] = turned{strings.Clone(ev.ID), strings.Clone(ev.PubKey), v}
	g.next = (g.next + 1) % len(g.refused)
}

// Refused finds a recent refusal by its event's id.
func (g *Gate) Refused(id string) (author string, v Verdict, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.refused {
		if g.refused[i].id == id {
			return g.refused[i].author, g.refused[i].verdict, true
		}
	}
	return "", Verdict{}, false
}
