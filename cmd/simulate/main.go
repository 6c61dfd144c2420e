// Command simulate makes a crowd on the real follow graph and writes what the
// rankers are trained on.
//
//	simulate tokens  --real testdata/nostr > tokens.jsonl
//	simulate rows    --real testdata/nostr --seeds 101,102 --out FOLDER
//	simulate events  --real testdata/nostr --seed 1 --family interest > events.jsonl
//	simulate digest
package main

import (
	"context"
	"fmt"
	"io"
	"os"

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
