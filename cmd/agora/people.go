package main

import (
	"context"
	"errors"
	"iter"

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
}

// openPeople belongs to the core and not to a serving relay's parts: an import
// must spend nullifiers too.
func openPeople(cfg Config, key secret, s *store.Store, metrics prometheus.Registerer) (*people, error) {
	p := &people{batcher: personhood.NewBatcher()}
	groups, err := cfg.countedGroups(key)
	if err != nil {
		return nil, err
	}
	p.gate, err = personhood.NewGate(personhood.Config{
		Groups: groups, Require: cfg.PersonKinds, Grace: cfg.PersonGrace.Duration,
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
