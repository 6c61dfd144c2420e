package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// bench is one run: which relays, how much, and where things lie.
type bench struct {
	agora  string // our binary
	peer   string // the rival's binary, built as its README says; "" leaves it out
	peerC  string // the same with the C signature check; "" leaves it out
	corpus string // directory of the signed events
	tmp    string // directory for data, on the disk that is to be measured
	out    io.Writer
	events int // published and asked for in each round
	rounds int
	reps   int // of each query
	crowd  crowd
	load   load
	large  plan
	idles  int
	only   map[string]bool // parts to run; empty: all
}

// Parts of a run.
const (
	partRounds = "rounds" // publish, queries, fan-out, duplicates
	partLarge  = "large"
	partIdle   = "idle"
)

// Names of the contenders, as tables show them.
const (
	nameBare    = "agora, bare"
	nameFull    = "agora"
	nameKhatru  = "khatru + LMDB"
	nameKhatruC = "khatru + LMDB, C verify"
)

func (b *bench) bare() contender { return agora(b.agora, nameBare, bareFlags) }
func (b *bench) full() contender { return agora(b.agora, nameFull, fullFlags) }

func (b *bench) wants(part string) bool { return len(b.only) == 0 || b.only[part] }

func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(b.out, "%s  %s\n", time.Now().Format("15:04:05"), fmt.Sprintf(format, args...))
}

// round is what one round gave for one contender.
type round struct {
	Publish   published
	Duplicate published
	Queries   map[string]answered
	Fanout    fanned
}

// results is everything a run found. Rounds are in order, so that a reader can
// see the spread.
type results struct {
	Machine  machine
	Quick    bool
	Load     load
	Crowd    crowd
	Corpus   string
	MeanJSON int // bytes
	Rounds   map[string][]round
	Floor    []floored // as many events in flight as the clients have
	Overlap  []floored // the next batch is checked while one is committed
	Bare     []fanned  // the bare server's fan-out
	Large    *large
	Idle     map[string]idled
	Targets  []target
}

// run does all parts and judges them.
func (b *bench) run(ctx context.Context) (*results, error) {
	r := &results{Machine: thisMachine(), Load: b.load, Crowd: b.crowd, Rounds: map[string][]round{}, Idle: map[string]idled{}}
	steps := []struct {
		part string
		do   func(context.Context, *results) error
	}{{partRounds, b.runRounds}, {partIdle, b.runIdle}, {partLarge, b.runLarge}}
	for _, step := range steps {
		if !b.wants(step.part) {
			continue
		}
		if err := step.do(ctx, r); err != nil {
			return r, err
		}
	}
	r.Targets = judge(r)
	return r, nil
}

// runRounds lets every contender do the same in turn, round after round, so
// that a machine that slows down slows all of them down.
func (b *bench) runRounds(ctx context.Context, r *results) error {
	p := plan{Mix: b.events}
	file, err := p.ensure(ctx, b.corpus)
	if err != nil {
		return err
	}
	lines, err := readLines(file, 0)
	if err != nil {
		return err
	}
	r.Corpus = filepath.Base(file)
	for _, line := range lines {
		r.MeanJSON += len(line)
	}
	r.MeanJSON /= len(lines)
	set, err := newSet(lines, b.reps)
	if err != nil {
		return err
	}
	for i := range b.rounds {
		for _, c := range b.contenders() {
			b.say("round %d of %d: %s", i+1, b.rounds, c.Name)
			if err := b.oneRound(ctx, r, c, set, file); err != nil {
				return err
			}
		}
		b.say("round %d of %d: %s", i+1, b.rounds, bareSelf().Name)
		if err := b.bareFanOut(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) contenders() []contender {
	out := []contender{b.bare(), b.full()}
	if b.peer != "" {
		out = append(out, khatru(b.peer, nameKhatru))
	}
	if b.peerC != "" {
		out = append(out, khatru(b.peerC, nameKhatruC))
	}
	return out
}

// eventSet is what every contender is given and asked.
type eventSet struct {
	events  []parcel
	queries []query
}

func newSet(lines [][]byte, reps int) (eventSet, error) {
	events, err := parcels(lines)
	if err != nil {
		return eventSet{}, err
	}
	qs, err := queries(lines, reps)
	return eventSet{events, qs}, err
}

// oneRound publishes, asks, fans out and publishes again. After the bare relay
// the floor follows at once, with the rows that this relay has written.
func (b *bench) oneRound(ctx context.Context, r *results, c contender, set eventSet, file string) error {
	var got round
	err := during(ctx, c, b.tmp, func(s *server) (err error) {
		if got, err = b.measure(ctx, s, set); err != nil || c.Name != nameBare {
			return err
		}
		if err := s.stop(); err != nil {
			return err
		}
		return b.floors(ctx, r, file, storeOf(s.Dir))
	})
	if err != nil {
		return err
	}
	r.Rounds[c.Name] = append(r.Rounds[c.Name], got)
	b.say("  %.0f ev/s at %.0f µs, duplicates %.0f µs, fan-out %.1f µs at p50 %.1f ms", got.Publish.PerSecond, got.Publish.CPUMicros,
		got.Duplicate.CPUMicros, got.Fanout.CPUMicros, millis(got.Fanout.P50))
	return nil
}

func (b *bench) measure(ctx context.Context, s *server, set eventSet) (got round, err error) {
	if _, err = settle(ctx, s.PID, time.Minute); err != nil {
		return got, err
	}
	if got.Publish, err = publish(ctx, s, set.events, b.load); err != nil {
		return got, err
	}
	got.Queries = map[string]answered{}
	for _, q := range set.queries {
		if got.Queries[q.Name], err = ask(ctx, s, q); err != nil {
			return got, err
		}
	}
	if got.Fanout, err = fanOut(ctx, s, b.crowd); err != nil {
		return got, err
	}
	got.Duplicate, err = publish(ctx, s, set.events, b.load)
	return got, err
}

func (b *bench) floors(ctx context.Context, r *results, file, store string) error {
	plain, err := runFloor(ctx, file, store, b.tmp, false)
	if err != nil {
		return err
	}
	overlap, err := runFloor(ctx, file, store, b.tmp, true)
	if err != nil {
		return err
	}
	r.Floor, r.Overlap = append(r.Floor, plain), append(r.Overlap, overlap)
	b.say("  floor: %.0f ev/s at %.0f µs; overlapped %.0f ev/s at %.0f µs", plain.PerSecond, plain.CPUMicros, overlap.PerSecond, overlap.CPUMicros)
	return nil
}

func (b *bench) bareFanOut(ctx context.Context, r *results) error {
	return during(ctx, bareSelf(), b.tmp, func(s *server) error {
		f, err := fanOut(ctx, s, b.crowd)
		r.Bare = append(r.Bare, f)
		b.say("  fan-out %.1f µs at p50 %.1f ms", f.CPUMicros, millis(f.P50))
		return err
	})
}

func (b *bench) runIdle(ctx context.Context, r *results) error {
	p := plan{Mix: b.events}
	authors := make([]string, p.authors())
	for i := range authors {
		authors[i] = authorKey(i)[1]
	}
	for _, c := range []contender{b.full(), khatru(b.peer, nameKhatru)} {
		if c.Name == nameKhatru && b.peer == "" {
			continue
		}
		b.say("%d idle connections: %s", b.idles, c.Name)
		err := during(ctx, c, b.tmp, func(s *server) (err error) {
			r.Idle[c.Name], err = idle(ctx, s, b.idles, authors)
			return err
		})
		if err != nil {
			return err
		}
		b.say("  %.1f KB each", float64(r.Idle[c.Name].PerConn)/1000)
	}
	return nil
}

func (b *bench) runLarge(ctx context.Context, r *results) error {
	l, err := runLarge(ctx, b, b.large)
	if err != nil {
		return fmt.Errorf("%d events: %w", b.large.total(), err)
	}
	r.Large = &l
	return nil
}

// parts reads a list of part names.
func parts(list string) (map[string]bool, error) {
	known := []string{partRounds, partIdle, partLarge}
	out := map[string]bool{}
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("%q is no part of the benchmark: %s", name, strings.Join(known, ", "))
		}
		out[name] = true
	}
	return out, nil
}

// names lists the contenders that were measured, ours first.
func (r *results) names() []string {
	order := []string{nameBare, nameFull, nameKhatru, nameKhatruC}
	rest := slices.DeleteFunc(slices.Sorted(maps.Keys(r.Rounds)), func(n string) bool { return slices.Contains(order, n) })
	return slices.DeleteFunc(append(order, rest...), func(n string) bool { return len(r.Rounds[n]) == 0 })
}

// of is the median over the rounds of one contender.
func (r *results) of(name string, value func(round) float64) float64 {
	var all []float64
	for _, one := range r.Rounds[name] {
		all = append(all, value(one))
	}
	return median(all)
}

// prepare makes the directories a run needs.
func (b *bench) prepare() error {
	for _, dir := range []string{b.corpus, b.tmp} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}
