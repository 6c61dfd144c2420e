package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"agora/feeds/market"
	"agora/ranker"

	"github.com/urfave/cli/v3"
)

// inChild says in the environment that this process is the one that checks, and
// how much memory it may use.
const inChild = "RANKER_CHECK_BYTES"

func rankerCheckCommand() *cli.Command {
	return &cli.Command{
		Name: "check", Usage: "hold an ONNX file to the contract of rankers", ArgsUsage: "FILE",
		OnUsageError: wrongUsage, HideHelpCommand: true,
		Description: "It loads the file in a process of its own, compares its inputs with the catalogue, and\n" +
			"runs it on made-up candidates: finite scores of the right number, the same for the same\n" +
			"facts, whatever stands beside a candidate and in whatever order. Exit code 1 when it fails,\n" +
			"or wants more time or memory than it may have.\n\n" +
			"Examples:\n  agora ranker check my-ranker.onnx\n  agora ranker check my-ranker.onnx --knob hours=12 --device cpu",
		Flags: append([]cli.Flag{
			&cli.StringSliceFlag{Name: "knob", Usage: "`NAME=VALUE` of a knob that the model reads; default 1"},
			&cli.DurationFlag{Name: "time", Value: time.Minute, Usage: "how long loading and all runs may take together"},
			&cli.StringFlag{Name: "memory", Value: "1GiB", Usage: "how much `SIZE` the process may hold, the runtime's 100 MB included"},
		}, configFlags("onnxruntime", "device")...),
		Action: runRankerCheck,
	}
}

// runRankerCheck starts the process that checks, and ends it when it takes too
// long: a stranger's file may be made to exhaust whoever loads it.
func runRankerCheck(ctx context.Context, cmd *cli.Command) error {
	if cmd.Args().Len() != 1 {
		return usagef("check which ranker? Name one ONNX file")
	}
	if _, err := parseKnobs(cmd.StringSlice("knob")); err != nil {
		return err
	}
	file := cmd.Args().First()
	if about, err := os.Stat(file); err != nil {
		return usage(err)
	} else if !about.Mode().IsRegular() || about.Size() > market.MaxModel {
		return fmt.Errorf("%s: a ranker is a file of at most %d bytes", file, market.MaxModel)
	}
	if limit := os.Getenv(inChild); limit != "" {
		return checkHere(ctx, cmd, file, limit)
	}
	var memory Size
	if err := memory.UnmarshalText([]byte(cmd.String("memory"))); err != nil || memory < 256<<20 || cmd.Duration("time") <= 0 {
		return usagef("--memory takes a size of at least 256MiB such as 1GiB, --time a duration such as 1m")
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, cmd.Duration("time"))
	defer cancel()
	child := exec.CommandContext(ctx, self, os.Args[1:]...)
	child.Args[0] = os.Args[0]
	child.Env = append(os.Environ(), inChild+"="+strconv.FormatInt(int64(memory), 10), "GOTRACEBACK=none")
	said := &start{}
	child.Stdout, child.Stderr = cmd.Root().Writer, said
	child.WaitDelay = 5 * time.Second
	err = child.Run()
	if err == nil || said.inOrder() {
		_, _ = os.Stderr.Write(said.text)
	}
	return checked(ctx, file, cmd, said, err)
}

// start keeps the first 64 KiB that are written to it.
type start struct{ text []byte }

func (s *start) Write(p []byte) (int, error) {
	s.text = append(s.text, p[:min(len(p), 64<<10-len(s.text))]...)
	return len(p), nil
}

// inOrder reports whether a process has said itself why it failed. Where it ran
// out of memory the Go runtime ends it instead, with pages of registers and an
// exit code that we use too.
func (s *start) inOrder() bool {
	return bytes.HasPrefix(s.text, []byte("agora: ")) || bytes.Contains(s.text, []byte("\nagora: "))
}

// checked says what became of the process.
func checked(ctx context.Context, file string, cmd *cli.Command, said *start, err error) error {
	ended, ok := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return fmt.Errorf("%s: it was not through after %v: a reader's page does not wait for it (--time allows more)", file, cmd.Duration("time"))
	case ctx.Err() != nil:
		return ctx.Err()
	case !ok:
		return fmt.Errorf("start the process that checks: %w", err)
	case said.inOrder() && (ended.ExitCode() == exitFailed || ended.ExitCode() == exitUsage):
		return &exit{ended.ExitCode(), errors.New("")} // it has said why
	}
	return fmt.Errorf("%s: it brought the process that ran it down (%v), most likely by wanting more than %s of memory", file, ended.ProcessState, cmd.String("memory"))
}

// checkHere loads and questions the model, in a process that may be lost.
func checkHere(ctx context.Context, cmd *cli.Command, file, limit string) error {
	most, err := strconv.ParseUint(limit, 10, 63)
	if err != nil {
		return fmt.Errorf("%s: %w", inChild, err)
	}
	// what is allocated and can be written to; it counts before it is used
	if err := syscall.Setrlimit(syscall.RLIMIT_DATA, &syscall.Rlimit{Cur: most, Max: most}); err != nil {
		return fmt.Errorf("limit the memory of a check: %w", err)
	}
	cfg, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	knobs, err := parseKnobs(cmd.StringSlice("knob"))
	if err != nil {
		return err
	}
	model, err := os.ReadFile(file)
	if err != nil {
		return usage(err)
	}
	digest := ranker.Sum(model)
	runtime, err := openRuntime(cfg, func(d ranker.Digest) bool { return d == digest })
	if err != nil {
		return err
	}
	out := cmd.Root().Writer
	fmt.Fprintf(out, "%s\nsha256 %s, %d bytes\n", file, digest, len(model))
	session, err := runtime.Load(ctx, model)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return errors.Join(checkSession(ctx, out, session, knobs), session.Close())
}
