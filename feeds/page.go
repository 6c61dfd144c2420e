package feeds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"agora/feeds/tally"
	"agora/ranker"
	"agora/ranker/feature"

	"github.com/nbd-wtf/go-nostr"
)

// Page answers a request. The error is a *Problem when the request is at fault.
func (f *Feeds) Page(ctx context.Context, r Request) (Page, error) {
	l, err := f.check(&r)
	if err != nil {
		return Page{}, err
	}
	rank, at, err := f.rank(ctx, &r, &l)
	if err != nil {
		return Page{}, err
	}
	began := time.Now()
	p, err := f.cut(ctx, &r, rank, at)
	if err != nil {
		return Page{}, err
	}
	f.took("cut", began)
	f.metrics.pages.WithLabelValues(l.Slug).Inc()
	return p, nil
}

// check finds the listing, and says what is wrong with a request.
func (f *Feeds) check(r *Request) (Listing, error) {
	l, ok := f.cfg.Listings.Listing(r.Feed)
	if !ok {
		return l, &Problem{Unknown: true, Text: fmt.Sprintf("there is no feed %q here", clip(r.Feed))}
	}
	if r.Limit == 0 {
		r.Limit = DefaultLimit
	}
	if r.Limit < 0 || r.Limit > MaxLimit {
		return l, &Problem{Text: fmt.Sprintf("limit must be from 1 to %d", MaxLimit)}
	}
	if _, ok := key(r.Viewer); r.Viewer != "" && !ok {
		return l, &Problem{Text: "the viewer must be a public key, 64 hex digits"}
	}
	for _, a := range r.Authors {
		if _, ok := key(a); !ok {
			return l, &Problem{Text: "authors must be public keys, 64 hex digits each"}
		}
	}
	if r.Signed && r.Viewer == "" {
		return l, &Problem{Text: "nobody signed"}
	}
	knobs, err := l.turn(r.Knobs)
	r.Knobs = knobs
	return l, err
}

// tier is the most private kind of feature that a request and a listing both
// allow.
func tier(r *Request, l *Listing) feature.Tier {
	t := feature.Public
	switch {
	case r.Viewer != "" && r.Signed:
		t = feature.Personal
	case r.Viewer != "":
		t = feature.Viewer
	}
	return min(t, l.Tier)
}

// asked names all that a ranking depends on. A listing that uses nothing about
// its reader is ranked once for all; whom each of them mutes is left out later.
func asked(r *Request, l *Listing, s *stages) (name string, shared bool) {
	viewer := r.Viewer
	if l.Tier == feature.Public && !s.outside && s.sources&(feature.FromFollows|feature.FromTrusted|feature.FromCoLikers) == 0 && s.sources != 0 && !s.colike && !s.novelty {
		viewer = ""
	}
	text, _ := json.Marshal([]any{ // plain values always marshal; maps are sorted by key
		l.Slug, l.Address, l.Version, l.Model.String(), viewer, viewer != "" && r.Signed, r.Knobs, r.Kinds, r.Authors, r.Since, r.Until, r.PerHead,
	})
	return string(text), viewer == ""
}

// rank is the ranking that a request is answered from, and where to begin. One
// that is the same for all is made for nobody in particular, and its reader need
// not be met.
func (f *Feeds) rank(ctx context.Context, r *Request, l *Listing) (*ranking, int, error) {
	s, err := f.staged(r, l, nil)
	if err != nil {
		return nil, 0, &Problem{Text: fmt.Sprintf("the feed %s cannot be used: %v", l.Slug, err)}
	}
	name, shared := asked(r, l, &s)
	if r.Cursor != "" {
		return at3(f.rankings.find(r.Cursor, name))
	}
	age := f.cfg.Fresh
	if !shared && r.Signed {
		age = 0 // what was served before counts
	}
	asker := *r
	if shared {
		asker.Viewer, asker.Signed = "", false
	}
	patience := ctx
	if age > 0 {
		patience = context.WithoutCancel(ctx) // others wait for this one
	}
	rank, err := f.rankings.fresh(name, age, func() (*ranking, error) {
		began := time.Now()
		v, err := f.of(patience, asker.Viewer)
		if err != nil {
			return nil, err
		}
		f.took("viewer", began)
		select {
		case f.slots <- struct{}{}:
			defer func() { <-f.slots }()
		case <-patience.Done():
			return nil, patience.Err()
		}
		rank, err := f.make(context.WithoutCancel(ctx), &asker, l, v, name)
		if err == nil {
			rank.own = !shared && r.Signed // as another key many may read at once
		}
		return rank, err
	})
	return rank, 0, err
}

func at3(r *ranking, at int, err error) (*ranking, int, error) { return r, at, err }

// staged reads a listing's stages. Without a source they are the default ones;
// a viewer that is nil follows nobody.
func (f *Feeds) staged(r *Request, l *Listing, v *viewer) (stages, error) {
	s, err := readStages(l.Stages, r.Knobs)
	if s.sources == 0 {
		s.sources = feature.FromRecent | feature.FromGlobal
		if l.Tier > feature.Public && v != nil && len(v.follows) > 0 {
			s.sources |= feature.FromFollows | feature.FromTrusted
		}
	}
	if r.PerHead {
		s.cap = 1
	}
	return s, err
}

// make ranks. When the listing cannot, its fallback does, and at the end of all
// fallbacks the newest come first.
func (f *Feeds) make(ctx context.Context, r *Request, l *Listing, v *viewer, name string) (*ranking, error) {
	reason := ""
	for range 4 {
		rank, err := f.try(ctx, r, l, v, reason == "")
		if err == nil {
			rank.asked, rank.why.Fallback = name, reason
			rank.why.Asked = r.Feed
			return rank, nil
		}
		failed, ok := errors.AsType[*modelError](err)
		if !ok {
			return nil, err
		}
		if reason == "" {
			reason = failed.reason
			f.metrics.fallbacks.WithLabelValues(failed.label).Inc()
			f.cfg.Logger.Warn("a fallback answers", "feed", l.Slug, "fallback", l.Fallback, "reason", err)
		}
		next, ok := f.cfg.Listings.Listing(l.Fallback)
		if !ok || l.Fallback == "" {
			break
		}
		l = &next
	}
	last := Listing{Slug: "latest", Name: "Latest", Tier: l.Tier}
	rank, err := f.try(ctx, r, &last, v, false)
	if err == nil {
		rank.asked, rank.why.Fallback, rank.why.Asked = name, reason, r.Feed
	}
	return rank, err
}

// modelError is a model that gave no scores: the reader gets the fallback.
type modelError struct {
	reason string // for the reader
	label  string // for the metric
	err    error
}

func (e *modelError) Error() string { return fmt.Sprintf("%s: %v", e.reason, e.err) }
func (e *modelError) Unwrap() error { return e.err }

var errRefused = errors.New("the listing's model may not run here")

// try makes one ranking by one listing. A fallback is turned by its own knobs.
func (f *Feeds) try(ctx context.Context, r *Request, l *Listing, v *viewer, first bool) (*ranking, error) {
	if l.Refused != "" {
		return nil, &modelError{l.Refused, "refused", errRefused}
	}
	ask := *r
	if !first {
		ask.Knobs, _ = l.turn(nil) // defaults are never refused
	}
	s, err := f.staged(&ask, l, v)
	if err != nil {
		return nil, &modelError{"stages", "stages", err}
	}
	now := time.Now()
	c := f.work.Get().(*candidates)
	defer f.work.Put(c)
	w := &wanted{kinds: r.Kinds, since: r.Since, until: r.Until, viewer: v, stages: &s, now: now.Unix()}
	for _, a := range r.Authors {
		k, _ := key(a)
		w.authors = append(w.authors, k)
	}
	if err := f.gather(ctx, w, c); err != nil {
		return nil, err
	}
	f.took("gather", now)
	c.facts.Tier, c.facts.Knobs = tier(r, l), narrow(ask.Knobs)
	f.recallServed(r, c)
	scores, err := f.score(ctx, l, c)
	if err != nil {
		return nil, err
	}
	list := make([]ranked, len(c.ids))
	for i := range list {
		list[i] = ranked{id: c.ids[i], author: c.writers[i], score: scores[i], at: i}
	}
	began := time.Now()
	list = s.arrange(list, c)
	f.took("arrange", began)
	places := make([]place, len(list))
	for i, n := range list {
		places[i] = place{n.id, n.score}
	}
	return &ranking{list: places, born: now, shown: f.show(l, c, list), why: Why{
		Feed: l.Slug, Address: l.Address, Version: l.Version, Model: l.Model, Catalogue: feature.Version, Viewer: r.Viewer,
		Tier: c.facts.Tier, Stages: slices.Clone(l.Stages), Knobs: ask.Knobs, Candidates: len(c.ids), At: now.Unix(), Total: len(list),
	}}, nil
}

// took tells how long a part of a page took.
func (f *Feeds) took(part string, began time.Time) {
	f.metrics.seconds.WithLabelValues(part).Observe(time.Since(began).Seconds())
}

func narrow(knobs map[string]float64) map[string]float32 {
	out := make(map[string]float32, len(knobs))
	for name, v := range knobs {
		out[name] = float32(v)
	}
	return out
}

// score runs the model, or puts the newest first where there is none.
func (f *Feeds) score(ctx context.Context, l *Listing, c *candidates) ([]float32, error) {
	n := len(c.facts.Candidates)
	if l.Model == (ranker.Digest{}) {
		out := make([]float32, n)
		for i := range out {
			out[i] = -float32(c.facts.Now-c.facts.Candidates[i].Note.CreatedAt) / 3600
		}
		return out, nil
	}
	if n == 0 {
		return nil, nil
	}
	if f.cfg.Scorer == nil {
		return nil, failed(ranker.ErrNoRuntime)
	}
	plan, err := f.cfg.Scorer.Plan(ctx, l.Model)
	if err != nil {
		return nil, failed(err)
	}
	began := time.Now()
	if err := plan.Fill(&c.facts, &c.batch); err != nil {
		return nil, failed(err)
	}
	f.took("fill", began)
	began = time.Now()
	scores, err := f.cfg.Scorer.Score(ctx, l.Model, c.batch)
	if err == nil {
		err = ranker.CheckScores(scores, n)
	}
	if err != nil {
		return nil, failed(err)
	}
	f.took("score", began)
	return scores, nil
}

func failed(err error) error {
	reason := ranker.Reason(err)
	return &modelError{reason, reason, err}
}

// cut takes a page out of a ranking, from a place on. What has gone, is muted
// or is refused since is passed over.
func (f *Feeds) cut(ctx context.Context, r *Request, rank *ranking, at int) (Page, error) {
	p := Page{Why: rank.why, Items: make([]Item, 0, r.Limit)}
	p.Why.Viewer = r.Viewer
	for at < len(rank.list) && len(p.Items) < r.Limit {
		end := min(at+r.Limit-len(p.Items), len(rank.list))
		events, err := f.readable(ctx, r.Viewer, rank.list[at:end])
		if err != nil {
			return Page{}, err
		}
		for i := at; i < end; i++ {
			if ev := events[rank.list[i].id]; ev != nil {
				p.Items = append(p.Items, Item{Event: ev, Rank: i + 1, Score: rank.list[i].score})
			}
		}
		at = end
	}
	if at < len(rank.list) {
		p.Cursor = rank.cursor(at)
	}
	f.people(p.Items)
	f.served(r, p.Items)
	if r.Reasons && rank.shown != nil {
		f.reasons(ctx, rank, p.Items)
	}
	return p, nil
}

// people says of each note what people did with it, apart from keys.
func (f *Feeds) people(items []Item) {
	f.cfg.Tally.Read(time.Now().Unix(), func(r *tally.Reader) {
		for i := range items {
			id, _ := key(items[i].Event.ID)
			if n, ok := r.Find(id); ok {
				items[i].People = peopleOf(r.People(n))
			}
		}
	})
}

func peopleOf(p [tally.Actions]uint32) feature.People {
	return feature.People{Likes: p[tally.Like], Dislikes: p[tally.Dislike], Emoji: p[tally.Emoji], Reports: p[tally.Report]}
}

// readable reads the events that may be shown now: a mute holds from the next
// page on.
func (f *Feeds) readable(ctx context.Context, viewer string, list []place) (map[tally.Key]*nostr.Event, error) {
	ids := make([]string, 0, len(list))
	for _, n := range list {
		ids = append(ids, hexKey(n.id))
	}
	out := make(map[tally.Key]*nostr.Event, len(ids))
	if len(ids) == 0 {
		return out, nil
	}
	for ev, err := range f.cfg.Events.Query(ctx, nostr.Filter{IDs: ids}) {
		if err != nil {
			return nil, fmt.Errorf("read a page: %w", err)
		}
		if k, ok := key(ev.ID); ok && (viewer == "" || viewer == ev.PubKey || !f.cfg.Graph.Muted(viewer, ev.PubKey)) {
			out[k] = ev
		}
	}
	return out, f.dropRefused(ctx, ids, out)
}

func (f *Feeds) dropRefused(ctx context.Context, ids []string, out map[tally.Key]*nostr.Event) error {
	if f.cfg.Signals == nil {
		return nil
	}
	signals, err := f.cfg.Signals.Signals(ctx, ids)
	if err != nil {
		return fmt.Errorf("judge a page: %w", err)
	}
	for _, s := range signals {
		if k, ok := key(s.ID); ok && s.Refuse {
			delete(out, k)
		}
	}
	return nil
}

func finite(v float32) bool { return !math.IsNaN(float64(v)) && !math.IsInf(float64(v), 0) }
