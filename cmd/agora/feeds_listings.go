package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	feedsdoors "agora/feeds/doors"
	"agora/feeds/market"
	"agora/ranker/builtin"
	catalogue "agora/ranker/feature"
	"agora/ranker/onnx"
	"agora/relay/admit"
	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
)

// follow lists what the log holds, signs in the rankers that come with the
// program, and then hears of every manifest, opt-out and job that comes or
// goes.
func (p *feedsPart) follow(ctx context.Context) error {
	at := p.core.store.Head()
	err := p.market.Load(ctx)
	if err == nil {
		err = p.doors.OptOuts().Load(ctx, p.events)
	}
	if err == nil {
		err = p.listBuiltin(ctx)
	}
	if err == nil {
		err = p.introduce(ctx)
	}
	if err == nil {
		err = p.announceAll(ctx)
	}
	if err == nil {
		close(p.listed)
	}
	for err == nil {
		if err = p.core.store.Wait(ctx, at); err == nil {
			at, err = p.catchUp(ctx, at)
		}
	}
	if ctx.Err() == nil {
		return fmt.Errorf("feeds: %w", err)
	}
	return nil
}

// catchUp takes in what came after at, and returns how far it got.
func (p *feedsPart) catchUp(ctx context.Context, at store.Pos) (store.Pos, error) {
	for c, err := range p.core.store.Changes(ctx, at) {
		if err != nil {
			return at, err
		}
		at = c.Pos
		if c.Removed != nil {
			p.went(ctx, c.Removed)
			continue
		}
		switch kind := c.Record.Kind(); {
		case kind == market.KindManifest, kind == feedsdoors.KindOptOut, kind >= feedsdoors.KindJobNotes && kind <= feedsdoors.KindJobSearch:
			ev, err := c.Record.Event()
			if err != nil {
				return at, err
			}
			p.came(ctx, ev)
		}
	}
	return at, nil
}

func (p *feedsPart) came(ctx context.Context, ev *nostr.Event) {
	switch ev.Kind {
	case market.KindManifest:
		if p.market.Take(ev) {
			if l, ok := p.market.Listing(fmt.Sprintf("%d:%s:%s", ev.Kind, ev.PubKey, ev.Tags.GetD())); ok {
				p.announceSoon(ctx, l)
			}
		}
	case feedsdoors.KindOptOut:
		p.doors.OptOuts().Take(ev)
	default:
		p.jobs.Take(ev)
	}
}

func (p *feedsPart) went(ctx context.Context, r *store.Removal) {
	id := hex.EncodeToString(r.ID[:])
	switch r.Kind {
	case market.KindManifest:
		for _, l := range p.market.Listings() {
			if l.Event.ID == id && p.market.Drop(id) {
				p.withdraw(ctx, l)
				break
			}
		}
	case feedsdoors.KindOptOut:
		p.doors.OptOuts().Drop(id)
	}
}

// listBuiltin publishes the manifests of the rankers that come with the
// program, where they say something new.
func (p *feedsPart) listBuiltin(ctx context.Context) error {
	for _, r := range append(builtin.Rankers(), spamRanker()) {
		m, err := p.manifest(r)
		if err != nil {
			return fmt.Errorf("list %s: %w", r.Slug, err)
		}
		held, listed := p.market.Listing(r.Slug)
		at := nostr.Now()
		if listed {
			m.Prev = held.Prev
			if held.Model != m.Model {
				m.Prev = held.Model
			}
			at = max(at, held.Event.CreatedAt+1)
		}
		ev := m.Event(at)
		if listed && slices.EqualFunc(held.Event.Tags, ev.Tags, slices.Equal[nostr.Tag]) {
			continue
		}
		if err := ev.Sign(p.author); err != nil {
			return err
		}
		if err := p.publish(ctx, ev); err != nil {
			return fmt.Errorf("list %s: %w", r.Slug, err)
		}
		p.market.Take(ev)
	}
	return nil
}

// introduce says who lists the rankers that come along, so that clients show a
// name and not a key.
func (p *feedsPart) introduce(ctx context.Context) error {
	profile, err := json.Marshal(map[string]any{
		"name": p.core.cfg.Name, "about": "Lists the feed algorithms that come with the relay " + p.core.urls[0] + ".", "bot": true,
	})
	if err != nil {
		return err
	}
	ev := &nostr.Event{Kind: nostr.KindProfileMetadata, CreatedAt: nostr.Now(), Content: string(profile), Tags: nostr.Tags{}}
	if err := ev.Sign(p.author); err != nil {
		return err
	}
	held, err := p.held(ctx, ev)
	if err != nil || held != nil && held.Content == ev.Content {
		return err
	}
	if err := p.publish(ctx, ev); err != nil {
		return fmt.Errorf("say who lists the rankers: %w", err)
	}
	return nil
}

// manifest is what a ranker's author declares of it.
func (p *feedsPart) manifest(r builtin.Ranker) (market.Manifest, error) {
	m := market.Manifest{
		Slug: r.Slug, Name: r.Name, About: r.About, Model: r.Digest, Size: int64(len(p.models[r.Digest])), Stages: r.Stages,
		Fallback: r.Fallback, Personalized: r.Personalised, License: r.Licence,
	}
	for _, k := range r.Knobs {
		m.Knobs = append(m.Knobs, market.Knob(k))
	}
	var err error
	if m.Inputs, m.Privacy, err = declared(p.models[r.Digest]); m.Personalized {
		m.Privacy = max(m.Privacy, catalogue.Viewer)
	}
	return m, err
}

// declared is what a model's file says of itself: the names of its inputs, and
// how much of its reader they tell.
func declared(model []byte) (names []string, tier catalogue.Tier, err error) {
	inputs, err := onnx.Inputs(model)
	if err != nil {
		return nil, 0, err
	}
	plan, err := catalogue.Compile(inputs)
	if err != nil {
		return nil, 0, err
	}
	for _, in := range inputs {
		names = append(names, in.Name)
	}
	return names, plan.Tier(), nil
}

// announceAll says what must be said, or said again.
func (p *feedsPart) announceAll(ctx context.Context) error {
	for _, l := range p.market.Listings() {
		if err := p.announce(ctx, l); err != nil {
			return err
		}
	}
	return nil
}

// mostAnnounced is how many listings there may be while strangers' are still
// announced: each is four events of ours for one of theirs.
const mostAnnounced = 1000

// announce publishes what helps other clients find a listing, unless the log
// has it already.
func (p *feedsPart) announce(ctx context.Context, l *market.Listing) error {
	if !l.Admitted || len(p.market.Listings()) > mostAnnounced && l.Author != p.authorKey {
		return nil
	}
	list, err := p.doors.Announcements(l, nostr.Now())
	if err != nil {
		return err
	}
	for _, ev := range list {
		held, err := p.held(ctx, ev)
		if err != nil {
			return err
		}
		if held != nil && feedsdoors.SameAnnouncement(held, ev) {
			continue
		}
		if err := p.publish(ctx, ev); err != nil && !errors.Is(err, context.Canceled) {
			p.core.log.Warn("a feed was not announced", "feed", l.Slug, "kind", ev.Kind, "error", err)
		}
	}
	return nil
}

// announcements is all of them, for relays elsewhere.
func (p *feedsPart) announcements() (all []*nostr.Event) {
	for _, l := range p.market.Listings() {
		if !l.Admitted {
			continue
		}
		list, err := p.doors.Announcements(l, nostr.Now())
		if err != nil {
			p.core.log.Error("announce a feed", "feed", l.Slug, "error", err)
			continue
		}
		all = append(all, list...)
	}
	return all
}

// held is what the log has in the place of ev; nil: nothing.
func (p *feedsPart) held(ctx context.Context, ev *nostr.Event) (*nostr.Event, error) {
	f := nostr.Filter{Kinds: []int{ev.Kind}, Authors: []string{ev.PubKey}, Limit: 1}
	if nostr.IsAddressableKind(ev.Kind) {
		f.Tags = nostr.TagMap{"d": {ev.Tags.GetD()}}
	}
	for rec, err := range p.core.store.Query(ctx, f) {
		if err != nil {
			return nil, err
		}
		return rec.Event()
	}
	return nil, nil
}

// announceSoon announces a listing that has come while the relay runs.
func (p *feedsPart) announceSoon(ctx context.Context, l *market.Listing) {
	if err := p.announce(ctx, l); err != nil && ctx.Err() == nil {
		p.core.log.Error("announce a feed", "feed", l.Slug, "error", err)
	}
}

// withdraw takes back the announcements of a listing that is gone.
func (p *feedsPart) withdraw(ctx context.Context, l *market.Listing) {
	if newer, err := p.held(ctx, l.Event); err != nil || newer != nil || !l.Admitted {
		return // replaced, and not gone
	}
	ev, err := p.doors.Withdrawal(l, nostr.Now())
	if err == nil {
		err = p.publish(ctx, ev)
	}
	if err != nil && ctx.Err() == nil {
		p.core.log.Warn("a feed's announcements were not withdrawn", "feed", l.Slug, "error", err)
	}
}

// listingGate turns away manifests that are none: their author should hear of
// it, and not only the operator's log.
type listingGate struct{}

func (listingGate) Rule(_ context.Context, ev *nostr.Event, _ admit.Peer) (admit.Ruling, error) {
	if ev.Kind != market.KindManifest {
		return admit.Ruling{}, nil
	}
	if _, err := market.ParseManifest(ev); err != nil {
		return admit.Refuse(admit.Invalid, "this is no listing of a ranker: "+err.Error()), nil //nolint:nilerr // the refusal says it
	}
	return admit.Ruling{}, nil
}
