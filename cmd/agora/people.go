package main

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"

	"agora/feeds/tally"
	"agora/personhood"
	"agora/relay"
	"agora/relay/admit"
	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
)

// people counts persons instead of keys, whichever way their events come in.
type people struct {
	gate    *personhood.Gate
	batcher *personhood.Batcher
	store   *store.Store
	classes []string // addresses of the groups that count, each a class of its own from 1 on
}

// openPeople belongs to the core and not to a serving relay's parts: an import
// must spend nullifiers too.
func openPeople(cfg Config, key secret, s *store.Store, metrics prometheus.Registerer) (*people, error) {
	groups, err := cfg.countedGroups(key)
	if err != nil {
		return nil, err
	}
	if len(groups) > tally.Classes {
		return nil, usagef("person_groups and groups: %d groups count people, at most %d can be told apart", len(groups), tally.Classes)
	}
	self, err := key.self()
	if err != nil {
		return nil, err
	}
	host, err := nostr.GetPublicKey(self)
	if err != nil {
		return nil, err
	}
	p := &people{batcher: personhood.NewBatcher(), store: s, classes: groups}
	p.gate, err = personhood.NewGate(personhood.Config{
		Groups: groups, Require: cfg.PersonKinds, Grace: cfg.PersonGrace.Duration,
		Window: cfg.PersonWindow.Duration, Host: host,
		Events: wholeLog{s}, Checker: p.batcher, Spent: s,
	})
	metrics.MustRegister(p.counters())
	return p, usage(err)
}

// counters read the batcher when the metrics are read.
func (p *people) counters() prometheus.Collector {
	all := gaugeFuncs{}
	for _, c := range []struct {
		name, help string
		value      func(personhood.BatchStats) uint64
	}{
		{"agora_personhood_batches_total", "batches of proofs checked", func(s personhood.BatchStats) uint64 { return s.Batches }},
		{"agora_personhood_proofs_total", "proofs checked in batches", func(s personhood.BatchStats) uint64 { return s.Proofs }},
		{"agora_personhood_alone_total", "proofs of spoilers, checked alone", func(s personhood.BatchStats) uint64 { return s.Alone }},
		{"agora_personhood_false_total", "proofs that did not verify", func(s personhood.BatchStats) uint64 { return s.False }},
	} {
		all = append(all, prometheus.NewCounterFunc(prometheus.CounterOpts{Name: c.name, Help: c.help}, func() float64 {
			return float64(c.value(p.batcher.Stats()))
		}))
	}
	return all
}

// person says of a stored event whether its proof was accepted when it came,
// and what the proof is for. The label beside the event tells, not the tag,
// which says what its author likes.
func (p *people) person(ev *nostr.Event) (class uint8, on tally.Key, err error) {
	if !personhood.Has(ev) {
		return 0, on, nil
	}
	deed, err := personhood.DeedOf(ev)
	if err != nil {
		return 0, on, nil //nolint:nilerr // what is no deed proves nothing
	}
	labels, err := labelsOf(p.store, ev.ID)
	if err != nil {
		return 0, on, err
	}
	for _, l := range labels {
		if i := slices.Index(p.classes, l.Value); l.Namespace == personhood.LabelNamespace && i >= 0 {
			return uint8(i + 1), deed.Target, nil
		}
	}
	return 0, on, nil
}

// provenDeeds is a spam.Persons. The person gate comes first, so a deed with a
// proof that gets further, or is stored, has been proven; a poll's tag proves
// nothing.
type provenDeeds struct{}

func (provenDeeds) Proven(_ context.Context, ev *nostr.Event) (bool, error) {
	if !personhood.Has(ev) {
		return false, nil
	}
	_, err := personhood.DeedOf(ev)
	return err == nil, nil
}

// classNames names the classes, in their order.
func (p *people) classNames() string { return strings.Join(p.classes, "\n") }

// relayGate watches every way in.
func (p *people) relayGate() relay.Gate {
	return relay.Gate{
		Name: "person", Gate: p.gate, Waits: personhood.Has,
		Origins: []admit.Origin{admit.Socket, admit.Import, admit.Sync, admit.Bring, admit.Own},
	}
}

// run checks proofs until ctx ends.
func (p *people) run(ctx context.Context) error {
	if err := p.batcher.Run(ctx); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// wholeLog is the store as the gate reads it: polls and root logs, whoever may
// see them.
type wholeLog struct{ store *store.Store }

// Query implements personhood.Events.
func (l wholeLog) Query(ctx context.Context, filters ...nostr.Filter) iter.Seq2[*nostr.Event, error] {
	return func(yield func(*nostr.Event, error) bool) {
		for rec, err := range l.store.Query(ctx, filters...) {
			if err != nil {
				yield(nil, err)
				return
			}
			ev, err := rec.Event()
			if !yield(ev, err) || err != nil {
				return
			}
		}
	}
}
