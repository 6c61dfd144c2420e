package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"agora/cmd/simulate/crowd"
	"agora/cmd/simulate/trial"
	"agora/ranker"
	"agora/ranker/builtin"

	"github.com/urfave/cli/v3"
	"golang.org/x/sync/errgroup"
)

func rankerEvalCommand() *cli.Command {
	return &cli.Command{
		Name: "eval", Usage: "compare rankers by what readers did next", OnUsageError: wrongUsage, HideHelpCommand: true,
		SliceFlagSeparator: ",",
		Description: "It replays what happened, asks at moments of the later 30 % what a reader acted on\n" +
			"within two hours, and lets every built-in ranker order the same 400 notes as they stood\n" +
			"at that moment. Without --events what happened is simulated, and the tables say so.\n\n" +
			"Examples:\n  agora ranker eval --seeds 1 --families interest\n  agora ranker eval --ranker latest --ranker wot-hot --file mine=my-ranker.onnx\n" +
			"  agora export | agora ranker eval --events -",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "events", Usage: "`FILE` of events, one JSON object a line, - for standard input: a real log instead of a crowd"},
			&cli.StringFlag{Name: "real", Value: "testdata/nostr", Usage: "`folder` of the real graph and notes that the crowd stands on"},
			&cli.IntSliceFlag{Name: "seeds", Value: []int{1, 2, 3, 4, 5}, Usage: "crowds to make"},
			&cli.StringSliceFlag{Name: "families", Value: []string{"interest", "habit"}, Usage: "how the crowds behave; habit was never trained on"},
			&cli.StringSliceFlag{Name: "ranker", Usage: "`SLUG` of a built-in ranker; default: all that a replay can judge"},
			&cli.StringSliceFlag{Name: "file", Usage: "`NAME=FILE` of another ONNX model, judged beside them"},
			&cli.IntFlag{Name: "moments", Value: 2, Usage: "at most so many `moments` of each reader"},
			&cli.IntFlag{Name: "jobs", Value: runtime.NumCPU(), Usage: "crowds that are replayed at once, about 600 MB each"},
			&cli.IntFlag{Name: "pool", Value: 400, Usage: "`notes` that are ordered at each moment"},
		}, configFlags("onnxruntime", "device")...),
		Action: runRankerEval,
	}
}

// contest is what takes part, and where it runs.
type contest struct {
	ctx      context.Context
	out      io.Writer
	shelf    *ranker.Shelf
	all      []trial.Contestant
	settings trial.Settings
	jobs     int
}

func runRankerEval(ctx context.Context, cmd *cli.Command) error {
	cfg, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	families, err := parseFamilies(cmd.StringSlice("families"))
	if err != nil {
		return err
	}
	models := &judged{builtin: builtin.NewSource(), files: make(map[ranker.Digest][]byte)}
	all, err := contestants(cmd, models)
	if err != nil {
		return err
	}
	runtime, err := openRuntime(cfg, func(d ranker.Digest) bool {
		_, err := models.Model(ctx, d)
		return err == nil
	})
	if err != nil {
		return err
	}
	shelf, err := ranker.NewShelf(ranker.Config{Runtime: runtime, Models: models, Budget: time.Minute})
	if err != nil {
		return err
	}
	c := &contest{ctx: ctx, out: cmd.Root().Writer, shelf: shelf, all: all, settings: trial.Settings{Pool: cmd.Int("pool"), Moments: cmd.Int("moments")}, jobs: max(1, cmd.Int("jobs"))}
	if name := cmd.String("events"); name != "" {
		err = c.real(name)
	} else {
		err = c.simulated(cmd.String("real"), cmd.IntSlice("seeds"), families)
	}
	if ctx.Err() != nil {
		err = &exit{exitInterrupted, errors.New("interrupted before everything was replayed")}
	}
	return errors.Join(err, shelf.Close())
}

// judged are the built-in ones and the files that were named.
type judged struct {
	builtin *builtin.Source
	files   map[ranker.Digest][]byte
}

func (m *judged) Model(ctx context.Context, d ranker.Digest) ([]byte, error) {
	if raw, ok := m.files[d]; ok {
		return raw, nil
	}
	return m.builtin.Model(ctx, d)
}

// unjudged are rankers whose inputs no replay fills.
func unjudged(slug string) bool { return slug == "bridging" }

func contestants(cmd *cli.Command, models *judged) ([]trial.Contestant, error) {
	var all []trial.Contestant
	var slugs []string
	asked := cmd.StringSlice("ranker")
	for _, r := range builtin.Rankers() {
		slugs = append(slugs, r.Slug)
		base := slices.Contains([]string{"latest", "hot", "wot-hot"}, r.Slug)
		if base || slices.Contains(asked, r.Slug) || len(asked) == 0 && !unjudged(r.Slug) {
			all = append(all, trial.Contestant{Slug: r.Slug, Model: r.Digest, Knobs: builtinKnobs(r)})
		}
	}
	for _, slug := range asked {
		if !slices.Contains(slugs, slug) {
			return nil, usagef("there is no built-in ranker %q%s", slug, nearest(slug, slugs))
		}
	}
	for _, named := range cmd.StringSlice("file") {
		name, path, ok := strings.Cut(named, "=")
		if !ok || name == "" {
			return nil, usagef("--file takes NAME=FILE, not %q", named)
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return nil, usage(err)
		}
		models.files[ranker.Sum(raw)] = raw
		all = append(all, trial.Contestant{Slug: name, Model: ranker.Sum(raw), Knobs: map[string]float32{}})
	}
	return all, nil
}

func builtinKnobs(r builtin.Ranker) map[string]float32 {
	knobs := make(map[string]float32)
	for _, k := range r.Knobs {
		knobs[k.Name] = float32(k.Default)
	}
	return knobs
}

// simulated judges on crowds, family by family.
func (c *contest) simulated(dir string, seeds []int, families []crowd.Family) error {
	real, err := crowd.Load(dir)
	if err != nil {
		return usage(err)
	}
	fmt.Fprintf(c.out, "Simulated crowds on a real follow graph, simulator %s, seeds %v.\n\n", crowd.Digest(), seeds)
	for _, family := range families {
		if err := c.family(real, seeds, family); err != nil {
			return err
		}
	}
	return nil
}

func parseFamilies(names []string) (out []crowd.Family, err error) {
	for _, name := range names {
		switch name {
		case "interest":
			out = append(out, crowd.Interest)
		case "habit":
			out = append(out, crowd.Habit)
		default:
			return nil, usagef("there is no family %q: interest or habit", name)
		}
	}
	return out, nil
}

func (c *contest) family(real *crowd.Real, seeds []int, family crowd.Family) error {
	logs, outcomes := make([]*crowd.Log, len(seeds)), make([]*trial.Outcome, len(seeds))
	err := c.each(len(seeds), func(i int) (err error) {
		if logs[i], err = crowd.Make(crowd.Config{Seed: uint64(seeds[i]), Family: family}, real); err != nil {
			return err
		}
		outcomes[i], err = trial.Run(c.ctx, logs[i], c.settings, c.shelf, c.all)
		return err
	})
	if err != nil {
		return err
	}
	if err := c.ring(logs[0]); err != nil {
		return err
	}
	name := "Simulated, family " + family.String()
	if err := c.tell(name, outcomes); err != nil {
		return err
	}
	if err := c.outside(name, logs[:min(2, len(logs))]); err != nil {
		return err
	}
	for i, seed := range seeds {
		g := trial.Put("", outcomes[i:i+1], func(m trial.Moment) bool { return m.Listed })
		c.perSeed(seed, g)
	}
	return nil
}

// each does n things, as many at once as jobs allows.
func (c *contest) each(n int, do func(i int) error) error {
	var g errgroup.Group
	g.SetLimit(c.jobs)
	for i := range n {
		g.Go(func() error { return do(i) })
	}
	return g.Wait()
}

// outside judges discover, and what it is compared with, on what it is for:
// notes of keys that the reader does not follow. Two crowds are enough.
func (c *contest) outside(name string, logs []*crowd.Log) error {
	few := *c
	few.settings.Outside = true
	few.all = slices.DeleteFunc(slices.Clone(c.all), func(t trial.Contestant) bool {
		return !slices.Contains([]string{"latest", "hot", "wot-hot", "discover"}, t.Slug) && builtinSlug(t.Slug)
	})
	outcomes := make([]*trial.Outcome, len(logs))
	err := c.each(len(logs), func(i int) (err error) {
		outcomes[i], err = trial.Run(c.ctx, logs[i], few.settings, c.shelf, few.all)
		return err
	})
	if err != nil {
		return err
	}
	g := trial.Put(name+": readers who follow somebody, notes of others", outcomes, func(m trial.Moment) bool { return m.Listed })
	if err := g.Write(c.out); err != nil || g.Readers == 0 {
		return err
	}
	few.required(g, "discover", "wot-hot")
	return nil
}

func builtinSlug(slug string) bool {
	return slices.ContainsFunc(builtin.Rankers(), func(r builtin.Ranker) bool { return r.Slug == slug })
}

// real judges on events.
func (c *contest) real(name string) error {
	in := io.Reader(os.Stdin)
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return usage(err)
		}
		defer func() { _ = f.Close() }() // it was only read
		in = f
	}
	log, err := trial.Read(in)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	outcome, err := trial.Run(c.ctx, log, c.settings, c.shelf, c.all)
	if err != nil {
		return err
	}
	return c.tell(name, []*trial.Outcome{outcome})
}

// tell prints the tables, readers with and without a follow list apart, and
// what was required of them.
func (c *contest) tell(name string, outcomes []*trial.Outcome) error {
	for _, part := range []struct {
		name string
		keep func(trial.Moment) bool
	}{
		{"readers who follow somebody", func(m trial.Moment) bool { return m.Listed }},
		{"readers without a follow list", func(m trial.Moment) bool { return !m.Listed }},
	} {
		g := trial.Put(name+": "+part.name, outcomes, part.keep)
		if err := g.Write(c.out); err != nil {
			return err
		}
		if g.Readers > 0 {
			c.required(g, predicts()...)
		}
	}
	return nil
}

// predicts are the rankers that are to foresee what readers act on.
func predicts() []string {
	return []string{"wot-hot", "foryou-cf", "foryou-gbdt", "foryou-tower", "catch-up"}
}

// required tells which of the rankers are above latest and hot.
func (c *contest) required(g *trial.Group, slugs ...string) {
	fmt.Fprintln(c.out, "| required | nDCG@10 | |\n|---|---|---|")
	for _, slug := range slugs {
		if !slices.Contains(g.Slugs, slug) {
			continue
		}
		for _, base := range []string{"latest", "hot"} {
			lead := g.Lead(slug, base)
			fmt.Fprintf(c.out, "| %s above %s | %+.3f (%+.3f … %+.3f) | %s |\n", slug, base, lead.Mean, lead.Low, lead.High, metOrMissed(lead.Above(0)))
		}
	}
	for _, slug := range []string{"foryou-gbdt", "foryou-tower"} {
		if slices.Contains(g.Slugs, slug) {
			ratio := g.Ratio(slug, "wot-hot")
			fmt.Fprintf(c.out, "| %s at least 1.2 times wot-hot | %.2f (%.2f … %.2f) | %s |\n", slug, ratio.Mean, ratio.Low, ratio.High, metOrMissed(ratio.Mean >= 1.2))
		}
	}
	fmt.Fprintln(c.out)
}

func (c *contest) perSeed(seed int, g *trial.Group) {
	fmt.Fprintf(c.out, "seed %d:", seed)
	for _, slug := range []string{"foryou-gbdt", "foryou-tower"} {
		if slices.Contains(g.Slugs, slug) {
			fmt.Fprintf(c.out, " %s %.2f times wot-hot;", slug, g.Ratio(slug, "wot-hot").Mean)
		}
	}
	fmt.Fprintln(c.out)
}

func metOrMissed(met bool) string {
	if met {
		return "met"
	}
	return "missed"
}

// ring says what a vote ring can do to wot-hot.
func (c *contest) ring(log *crowd.Log) error {
	at := slices.IndexFunc(c.all, func(t trial.Contestant) bool { return t.Slug == "wot-hot" })
	r, err := trial.VoteRing(c.ctx, log, c.settings, c.shelf, c.all[at], 200)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.out, "Vote ring against wot-hot, %d moments: %d fresh keys move a note by %d places at most (required 0: %s); with 10 followed keys by %d more or less than those 10 alone, who move it by up to %d (required 0: %s).\n\n",
		r.Moments, trial.RingSize, r.Worst, metOrMissed(r.Worst == 0), r.Together, r.Friends, metOrMissed(r.Together == 0))
	return nil
}
