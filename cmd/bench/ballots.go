package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"agora/cmd/simulate/ballots"

	"github.com/urfave/cli/v3"
)

func ballotsCommand() *cli.Command {
	return &cli.Command{
		Name: "ballots", Usage: "how many real ballots a second a relay takes, and what a recount costs, as JSON",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "agora", Value: "bin/agora", Usage: "our `binary`"},
			&cli.StringFlag{Name: "ballots", Value: "testdata/ballots", Usage: "`folder` that make ballots has filled"},
			&cli.StringFlag{Name: "tmp", Value: "bin/bench-data", Usage: "`directory` for data, on the disk to be measured"},
			&cli.IntFlag{Name: "rounds", Value: 3, Usage: "each on a fresh relay; the best is reported beside all"},
		},
		Action: func(ctx context.Context, cmd *cli.Command) error {
			out, err := benchBallots(ctx, cmd)
			if err != nil {
				return err
			}
			return json.NewEncoder(os.Stdout).Encode(out)
		},
	}
}

// ballotsTaken is what one poll gave.
type ballotsTaken struct {
	Ballots   int
	PerSecond []float64 // of each round
	CPUMicros []float64 // of the relay, for each ballot
	Refusal   string    `json:",omitempty"`
	Recount   recounted
}

// recounted is what agora poll recount took over all ballots, replaced ones too.
type recounted struct {
	Ballots int
	CPU     time.Duration
	MaxRSS  int64 // bytes
	Said    string
}

// benchBallots publishes the ballots of one poll, one of each person, over
// eight connections. They were made once, so the relay is told not to mind
// their age; everything else at its door is as ever.
func benchBallots(ctx context.Context, cmd *cli.Command) (out ballotsTaken, err error) {
	folder := cmd.String("ballots")
	head, cast, err := ballots.Read(folder)
	if err != nil {
		return out, fmt.Errorf("%w; make ballots makes them", err)
	}
	events, err := parcels(ballots.Last(cast))
	if err != nil {
		return out, err
	}
	if err := os.MkdirAll(cmd.String("tmp"), 0o755); err != nil {
		return out, err
	}
	out.Ballots = len(events)
	ours := agora(cmd.String("agora"), "agora", append(append([]string{}, fullFlags...), "--person-ballot-window=1000000h"))
	for range cmd.Int("rounds") {
		err := during(ctx, ours, cmd.String("tmp"), func(s *server) error {
			first, err := parcels(head)
			if err != nil {
				return err
			}
			got, err := publish(ctx, s, first, load{Conns: 1, InFlight: 1})
			if err != nil || got.Refused > 0 {
				return errors.Join(err, errors.New("the poll is refused: "+got.Refusal))
			}
			if got, err = publish(ctx, s, events, load{Conns: 8, InFlight: 64}); err != nil {
				return err
			}
			out.PerSecond, out.CPUMicros, out.Refusal = append(out.PerSecond, got.PerSecond), append(out.CPUMicros, got.CPUMicros), got.Refusal
			return nil
		})
		if err != nil {
			return out, err
		}
	}
	out.Recount, err = recountFile(ctx, cmd.String("agora"), folder, len(cast))
	return out, err
}

func recountFile(ctx context.Context, binary, folder string, n int) (recounted, error) {
	cmd := exec.CommandContext(ctx, binary, "poll", "recount", filepath.Join(folder, ballots.File), "--members", filepath.Join(folder, ballots.MembersFile))
	said, err := cmd.CombinedOutput()
	if err != nil {
		return recounted{}, fmt.Errorf("agora poll recount: %w: %s", err, said)
	}
	r := recounted{Ballots: n, CPU: cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), Said: string(said)}
	if use, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		r.MaxRSS = use.Maxrss << 10
	}
	return r, nil
}
