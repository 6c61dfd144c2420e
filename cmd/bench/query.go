package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// query is one question of the benchmark: a filter for each repetition, so
// that no answer is the one before.
type query struct {
	Name    string
	Filters []string
}

// answered is what asking a query gave.
type answered struct {
	Asked     int // repetitions
	Rows      int // of all repetitions
	P50, P99  time.Duration
	CPUMillis float64 // of the relay, per repetition; ticks of 10 ms over all of them
}

func (a answered) perAnswer() float64 { return float64(a.Rows) / float64(max(a.Asked, 1)) }

// Names of the queries, as the targets call them.
const (
	queryKinds    = "kinds 1,7 limit 500"
	queryFeed     = "feed of 200 authors, limit 100"
	queryIDs      = "50 ids"
	queryProfiles = "100 profiles"
	queryTime     = "since/until, half a day of notes"
	queryTag      = "reactions to 10 notes"
)

// queries makes the questions for a corpus, reps of each, always the same.
func queries(lines [][]byte, reps int) ([]query, error) {
	d, err := digest(lines)
	if err != nil {
		return nil, err
	}
	rng := rand.New(rand.NewPCG(corpusSeed, 7))
	repeat := func(name string, filter func() nostr.Filter) query {
		q := query{Name: name}
		for range reps {
			q.Filters = append(q.Filters, filter().String())
		}
		return q
	}
	return []query{
		repeat(queryKinds, func() nostr.Filter { return nostr.Filter{Kinds: []int{1, 7}, Limit: 500} }),
		repeat(queryFeed, func() nostr.Filter {
			return nostr.Filter{Kinds: []int{1}, Authors: pick(rng, d.authors, 200), Limit: 100}
		}),
		repeat(queryIDs, func() nostr.Filter { return nostr.Filter{IDs: pick(rng, d.lasting, 50)} }),
		repeat(queryProfiles, func() nostr.Filter {
			return nostr.Filter{Kinds: []int{0}, Authors: pick(rng, d.authors, 100)}
		}),
		repeat(queryTime, func() nostr.Filter {
			since := d.first + nostr.Timestamp(rng.Int64N(int64(d.last-d.first)-43_200))
			until := since + 43_200
			return nostr.Filter{Kinds: []int{1}, Since: &since, Until: &until, Limit: 500}
		}),
		repeat(queryTag, func() nostr.Filter {
			return nostr.Filter{Kinds: []int{7}, Tags: nostr.TagMap{"e": pick(rng, d.notes, 10)}, Limit: 200}
		}),
	}, nil
}

// digested is what the questions are made from.
type digested struct {
	authors     []string
	notes       []string
	lasting     []string // ids that nothing replaces
	first, last nostr.Timestamp
}

func digest(lines [][]byte) (digested, error) {
	var d digested
	seen := map[string]bool{}
	for i, line := range lines {
		var ev nostr.Event
		if err := json.Unmarshal(line, &ev); err != nil {
			return d, fmt.Errorf("line %d of the corpus: %w", i+1, err)
		}
		if !seen[ev.PubKey] {
			seen[ev.PubKey] = true
			d.authors = append(d.authors, ev.PubKey)
		}
		if ev.Kind == 1 {
			d.notes = append(d.notes, ev.ID)
		}
		if nostr.IsRegularKind(ev.Kind) {
			d.lasting = append(d.lasting, ev.ID)
		}
		if d.first == 0 || ev.CreatedAt < d.first {
			d.first = ev.CreatedAt
		}
		d.last = max(d.last, ev.CreatedAt)
	}
	return d, nil
}

// pick takes n different values, or all there are.
func pick(rng *rand.Rand, from []string, n int) []string {
	order := rng.Perm(len(from))
	out := make([]string, 0, n)
	for _, i := range order[:min(n, len(order))] {
		out = append(out, from[i])
	}
	return out
}

// ask puts one query to the relay on one connection, all repetitions in turn.
func ask(ctx context.Context, s *server, q query) (answered, error) {
	c, err := dial(ctx, s.URL, 256<<10)
	if err != nil {
		return answered{}, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		return answered{}, err
	}
	for _, f := range q.Filters[:min(3, len(q.Filters))] { // warm-up
		if _, err := c.ask("warm", f, nil); err != nil {
			return answered{}, err
		}
	}
	before, err := cpuOf(s.PID)
	if err != nil {
		return answered{}, err
	}
	a := answered{Asked: len(q.Filters)}
	times := make([]time.Duration, 0, len(q.Filters))
	for _, f := range q.Filters {
		began := time.Now()
		rows, err := c.ask("q", f, nil)
		if err != nil {
			return answered{}, fmt.Errorf("query %q: %w", q.Name, err)
		}
		times = append(times, time.Since(began))
		a.Rows += rows
		if err := c.say(`["CLOSE","q"]`); err != nil {
			return answered{}, err
		}
	}
	after, err := cpuOf(s.PID)
	if err != nil {
		return answered{}, err
	}
	a.P50, a.P99 = quantile(times, 0.5), quantile(times, 0.99)
	a.CPUMillis = millis(after-before) / float64(len(q.Filters))
	return a, nil
}
