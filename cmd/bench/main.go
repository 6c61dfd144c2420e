// Bench measures relays: how many events a second with an OK after the commit,
// how much processor time each, how soon questions are answered. It starts ours
// and a rival in turn, gives them the same events, and says which of our targets
// were met. Any other relay can be driven by its URL.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := command().Run(ctx, os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func command() *cli.Command {
	return &cli.Command{
		Name:      "bench",
		Usage:     "load and latency of relays, side by side",
		UsageText: "make bench                                   # everything, into BENCHMARKS.md\nbench run --quick                            # two minutes\nbench drive ws://127.0.0.1:7777 --pid 1234   # any relay that runs here",
		Commands:  []*cli.Command{runCommand(), driveCommand(), floorCommand(), bareCommand(), eventsCommand(), feedsCommand(), ballotsCommand()},
	}
}

func runCommand() *cli.Command {
	return &cli.Command{
		Name:  "run",
		Usage: "start ours and the rival, measure both, judge the targets",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "agora", Value: "bin/agora", Usage: "our `binary`"},
			&cli.StringFlag{Name: "khatru", Usage: "the rival's `binary`, from cmd/bench/peers; empty: ours alone"},
			&cli.StringFlag{Name: "khatru-c", Usage: "the rival built with the C signature check, shown for comparison"},
			&cli.StringFlag{Name: "corpus", Value: "bin/corpus", Usage: "`directory` that keeps the signed events"},
			&cli.StringFlag{Name: "tmp", Value: "bin/bench-data", Usage: "`directory` for data, on the disk to be measured"},
			&cli.BoolFlag{Name: "quick", Usage: "one round, 50,000 events instead of a million: about two minutes"},
			&cli.IntFlag{Name: "rounds", Value: 5, Usage: "interleaved rounds; the medians are reported"},
			&cli.IntFlag{Name: "events", Value: 5000, Usage: "events published in a round"},
			&cli.StringFlag{Name: "only", Usage: "parts to run: rounds, idle, large; empty: all"},
			&cli.StringFlag{Name: "json", Usage: "write everything that was measured to this `file`"},
			&cli.StringFlag{Name: "markdown", Usage: "write the results into this `file`, between its marks"},
		},
		Action: runAction,
	}
}

func runAction(ctx context.Context, cmd *cli.Command) error {
	only, err := parts(cmd.String("only"))
	if err != nil {
		return err
	}
	b := &bench{
		agora: cmd.String("agora"), peer: cmd.String("khatru"), peerC: cmd.String("khatru-c"),
		corpus: cmd.String("corpus"), tmp: cmd.String("tmp"), out: os.Stderr,
		events: cmd.Int("events"), rounds: cmd.Int("rounds"), reps: 60,
		crowd: crowd{Listeners: 200, Events: 400, PerSecond: 100},
		load:  load{Conns: 8, InFlight: 32},
		large: plan{Mix: 800_000, Deep: 200_000}, idles: 5000, only: only,
	}
	if cmd.Bool("quick") {
		b.rounds, b.reps, b.crowd.Events, b.idles = 1, 30, 100, 1000
		b.large = plan{Mix: 40_000, Deep: 10_000}
	}
	if err := b.prepare(); err != nil {
		return err
	}
	r, err := b.run(ctx)
	if err != nil {
		return err
	}
	r.Quick = cmd.Bool("quick")
	fmt.Print(r.markdown())
	if name := cmd.String("json"); name != "" {
		err = errors.Join(err, writeJSON(name, r))
	}
	if name := cmd.String("markdown"); name != "" {
		err = errors.Join(err, writeResults(name, r))
	}
	return err
}

func driveCommand() *cli.Command {
	return &cli.Command{
		Name: "drive", Usage: "measure a relay that is running", ArgsUsage: "ws://HOST:PORT",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "pid", Required: true, Usage: "its process, for processor time and memory"},
			&cli.StringFlag{Name: "corpus", Value: "bin/corpus", Usage: "`directory` that keeps the signed events"},
			&cli.IntFlag{Name: "events", Value: 5000, Usage: "events to publish"},
			&cli.IntFlag{Name: "listeners", Value: 200, Usage: "subscribers of the fan-out"},
		},
		Action: driveAction,
	}
}

func driveAction(ctx context.Context, cmd *cli.Command) error {
	if cmd.Args().Len() != 1 {
		return errors.New("say which relay: bench drive ws://HOST:PORT --pid PID")
	}
	s := &server{URL: cmd.Args().First(), PID: cmd.Int("pid")}
	file, err := plan{Mix: cmd.Int("events")}.ensure(ctx, cmd.String("corpus"))
	if err != nil {
		return err
	}
	lines, err := readLines(file, 0)
	if err != nil {
		return err
	}
	set, err := newSet(lines, 60)
	if err != nil {
		return err
	}
	b := &bench{load: load{Conns: 8, InFlight: 32}, crowd: crowd{Listeners: cmd.Int("listeners"), Events: 400, PerSecond: 100}}
	got, err := b.measure(ctx, s, set)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(got)
}

func floorCommand() *cli.Command {
	return &cli.Command{
		Name: "floor", Usage: "the work no durable relay can leave out, as JSON",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "events", Required: true, Usage: "`file` of signed events"},
			&cli.StringFlag{Name: "store", Required: true, Usage: "`directory` of a store that holds them; its rows are put again"},
			&cli.StringFlag{Name: "tmp", Usage: "`directory` on the disk to be measured"},
			&cli.BoolFlag{Name: "overlap", Usage: "check the next batch while one is committed"},
		},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			f, err := floor(ctx, cmd.String("events"), cmd.String("store"), cmd.String("tmp"), cmd.Bool("overlap"))
			if err != nil {
				return err
			}
			return json.NewEncoder(os.Stdout).Encode(f)
		},
	}
}

func bareCommand() *cli.Command {
	return &cli.Command{
		Name: "bare", Usage: "the bare server that the fan-out is compared with",
		Flags:  []cli.Flag{&cli.StringFlag{Name: "listen", Value: "127.0.0.1:0"}},
		Action: func(ctx context.Context, cmd *cli.Command) error { return serveBare(ctx, cmd.String("listen")) },
	}
}

func eventsCommand() *cli.Command {
	return &cli.Command{
		Name: "events", Usage: "make a corpus of signed events and print its file name",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "corpus", Value: "bin/corpus", Usage: "`directory` that keeps the signed events"},
			&cli.IntFlag{Name: "mix", Value: 5000, Usage: "events of the mix"},
			&cli.IntFlag{Name: "deep", Usage: "further notes of one author"},
		},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			began := time.Now()
			p := plan{Mix: cmd.Int("mix"), Deep: cmd.Int("deep")}
			file, err := p.ensure(ctx, cmd.String("corpus"))
			if err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "%d events in %s\n", p.total(), time.Since(began).Round(time.Millisecond))
			fmt.Println(file)
			return nil
		},
	}
}
