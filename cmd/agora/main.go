// Agora is a Nostr relay in one binary. This package reads flags and settings,
// makes the parts from the bottom up and runs them; it is the only one that
// knows every room.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/urfave/cli/v3"
)

// Exit codes, as the README lists them.
const (
	exitDone        = 0
	exitFailed      = 1   // it could not be done; stderr says why
	exitUsage       = 2   // wrong flags, arguments or configuration; nothing was touched
	exitDamaged     = 3   // check found damage
	exitInterrupted = 130 // stopped by SIGINT or SIGTERM before the work was done
)

// exit carries an exit code with an error.
type exit struct {
	code int
	err  error
}

func (e *exit) Error() string { return e.err.Error() }
func (e *exit) Unwrap() error { return e.err }

// usage marks err as the caller's mistake.
func usage(err error) error {
	if err == nil {
		return nil
	}
	return &exit{exitUsage, err}
}

func usagef(format string, args ...any) error { return usage(fmt.Errorf(format, args...)) }

func main() { os.Exit(apart(os.Args)) }

// run is main without the exit, so that tests can call it.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := commands().Run(ctx, args)
	if err == nil {
		return exitDone
	}
	if text := err.Error(); text != "" {
		fmt.Fprintln(os.Stderr, "agora: "+printable(text, '\n', '\t')) // relays and files have had their say in it
	}
	if e, ok := errors.AsType[*exit](err); ok {
		return e.code
	}
	return exitFailed
}

// commands is the whole command line.
func commands() *cli.Command {
	root := &cli.Command{
		Name:  "agora",
		Usage: "a Nostr relay whose readers own their graph",
		UsageText: "agora serve                         # relay on ws://127.0.0.1:7447, data in ./data\n" +
			"agora import old-relay.jsonl.zst    # events in\n" +
			"agora export > all.jsonl            # events out",
		Description: "Exit codes: 0 done; 1 it could not be done; 2 wrong flags, arguments or configuration;\n" +
			"3 check found damage, or poll recount a difference; 130 interrupted before the work was done.",
		Version:         version(),
		HideHelpCommand: true,
		Suggest:         true,
		ExitErrHandler:  func(context.Context, *cli.Command, error) {}, // run decides
		OnUsageError:    wrongUsage,
		Action:          noCommand,
		Commands: []*cli.Command{
			serveCommand(), importCommand(), exportCommand(), syncCommand(), checkCommand(),
			backupCommand(), compactCommand(), keyCommand(), rankerCommand(), personCommand(), groupCommand(), pollCommand(), spamCommand(), versionCommand(),
		},
	}
	keepCommas(root)
	return root
}

// keepCommas lets a flag that may be repeated hold commas, as the text of an
// option does, but where a command says what separates its lists.
func keepCommas(cmd *cli.Command) {
	cmd.DisableSliceFlagSeparator = cmd.SliceFlagSeparator == ""
	for _, sub := range cmd.Commands {
		keepCommas(sub)
	}
}

// wrongUsage keeps the library from printing the whole help over the one line
// that says what is wrong.
func wrongUsage(_ context.Context, cmd *cli.Command, err error, _ bool) error {
	if _, flag, unknown := strings.Cut(err.Error(), "flag provided but not defined: -"); unknown && len(flag) > 2 {
		var names []string
		for _, f := range cmd.Flags {
			for _, name := range f.Names() {
				names = append(names, "--"+name)
			}
		}
		flag = strings.TrimLeft(flag, "-")
		flag = "--" + flag
		return usagef("there is no flag %s%s (see: %s --help)", flag, nearest(flag, append(names, "--help")), cmd.FullName())
	}
	return usagef("%w (see: %s --help)", err, cmd.FullName())
}

func noCommand(_ context.Context, cmd *cli.Command) error {
	if name := cmd.Args().First(); name != "" {
		var names []string
		for _, c := range cmd.Commands {
			names = append(names, c.Name)
		}
		return usagef("there is no command %q%s (see: agora --help)", name, nearest(name, names))
	}
	return cli.ShowRootCommandHelp(cmd)
}
