// Command simulate makes a crowd on the real follow graph and writes what the
// rankers are trained on.
//
//	simulate tokens  --real testdata/nostr > tokens.jsonl
//	simulate rows    --real testdata/nostr --seeds 101,102 --out FOLDER
//	simulate events  --real testdata/nostr --seed 1 --family interest > events.jsonl
//	simulate ballots --work bin/ballots.jsonl
//	simulate digest
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"agora/cmd/simulate/ballots"
	"agora/cmd/simulate/crowd"
	"agora/cmd/simulate/trial"

	"github.com/urfave/cli/v3"
)

func main() {
	if err := program(os.Stdout).Run(context.Background(), os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "simulate:", err)
		os.Exit(1)
	}
}

func program(out io.Writer) *cli.Command {
	real := &cli.StringFlag{Name: "real", Value: "testdata/nostr", Usage: "folder with the real graph and notes"}
	return &cli.Command{
		Name: "simulate", Usage: "a seeded crowd on the real follow graph",
		Commands: []*cli.Command{
			{Name: "digest", Usage: "the simulator's name", Action: func(context.Context, *cli.Command) error {
				_, err := fmt.Fprintln(out, crowd.Digest())
				return err
			}},
			{Name: "tokens", Usage: "the tokens of every text, as JSON lines", Flags: []cli.Flag{real}, Action: func(_ context.Context, c *cli.Command) error {
				r, err := crowd.Load(c.String("real"))
				if err != nil {
					return err
				}
				return trial.Tokens(r, out)
			}},
			{Name: "rows", Usage: "training rows of the earlier part of crowds of family interest", Flags: []cli.Flag{
				real, &cli.IntSliceFlag{Name: "seeds", Value: []int{101, 102}}, &cli.StringFlag{Name: "out", Required: true},
			}, Action: rows},
			{Name: "events", Usage: "a crowd as signed events, to be imported by a relay; zaps are left out", Flags: []cli.Flag{
				real, &cli.Uint64Flag{Name: "seed", Value: 1}, &cli.StringFlag{Name: "family", Value: "interest", Usage: "interest or habit"},
				&cli.IntFlag{Name: "days", Value: 10},
			}, Action: func(_ context.Context, c *cli.Command) error { return events(c, out) }},
			{Name: "ballots", Usage: "the ballots of a seeded electorate, with real proofs; it goes on where it was stopped", Flags: []cli.Flag{
				&cli.StringFlag{Name: "work", Value: "bin/ballots.jsonl", Usage: "`FILE` of the ballots made so far"},
				&cli.StringFlag{Name: "pack", Usage: "then write them with the members into this `FOLDER`"},
				&cli.IntFlag{Name: "most", Value: ballots.Ballots, Usage: "stop at this number"},
			}, Action: func(ctx context.Context, c *cli.Command) error { return castBallots(ctx, c, out) }},
		},
	}
}

func rows(_ context.Context, c *cli.Command) error {
	r, err := crowd.Load(c.String("real"))
	if err != nil {
		return err
	}
	var logs []*crowd.Log
	for _, seed := range c.IntSlice("seeds") {
		log, err := crowd.Make(crowd.Config{Seed: uint64(seed)}, r)
		if err != nil {
			return err
		}
		logs = append(logs, log)
	}
	return trial.Rows(logs, trial.Settings{Moments: 3}, c.String("out"))
}

func events(c *cli.Command, out io.Writer) error {
	family, ok := map[string]crowd.Family{"interest": crowd.Interest, "habit": crowd.Habit}[c.String("family")]
	if !ok {
		return fmt.Errorf("there is no family %q: interest or habit", c.String("family"))
	}
	r, err := crowd.Load(c.String("real"))
	if err != nil {
		return err
	}
	log, err := crowd.Make(crowd.Config{Seed: c.Uint64("seed"), Family: family, Days: c.Int("days")}, r)
	if err != nil {
		return err
	}
	to := bufio.NewWriterSize(out, 1<<20)
	return errors.Join(log.Write(to, c.Uint64("seed")), to.Flush())
}

func castBallots(ctx context.Context, c *cli.Command, out io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	e, err := ballots.New()
	if err != nil {
		return err
	}
	err = e.Make(ctx, c.String("work"), c.Int("most"), func(made int) {
		if made%100 == 0 {
			fmt.Fprintf(out, "%d of %d\n", made, ballots.Ballots)
		}
	})
	if err != nil || c.String("pack") == "" {
		return err
	}
	made, err := e.Pack(c.String("work"), c.String("pack"))
	if err == nil {
		fmt.Fprintf(out, "%d of %d ballots are in %s\n", made, ballots.Ballots, c.String("pack"))
	}
	return err
}
