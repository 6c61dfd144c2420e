package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"agora/relay/store"
	"agora/relay/wire"

	"github.com/nbd-wtf/go-nostr"
	"github.com/urfave/cli/v3"
)

func checkCommand() *cli.Command {
	return &cli.Command{
		Name: "check", Usage: "verify every index against every record",
		OnUsageError: wrongUsage, HideHelpCommand: true,
		Description: `Verifies every index against every record and every record's id; with
--signatures every signature too. Works while the relay is serving. Names what is
wrong and exits with 3 when anything is.

Examples:
  agora check
  agora check --signatures --data /var/lib/agora`,
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "signatures", Usage: "verify every signature too"},
		}, configFlags("data")...),
		Action: runCheck,
	}
}

func runCheck(ctx context.Context, cmd *cli.Command) error {
	cfg, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	if cmd.Args().Present() {
		return usagef("check takes no arguments: name the directory with --data")
	}
	held, err := openReading(cfg)
	if err != nil {
		return damage(err)
	}
	defer func() { _ = held.Close() }() // it was only read
	verify := verifyID
	if cmd.Bool("signatures") {
		verify = verifyBoth
	}
	report, err := held.Check(ctx, store.CheckOptions{Verify: verify, Progress: checkProgress(os.Stderr)})
	if ctx.Err() != nil {
		return &exit{exitInterrupted, errors.New("interrupted before everything was checked")}
	}
	if err != nil {
		return damage(err)
	}
	return tellReport(cmd.Root().Writer, report, cmd.Bool("signatures"))
}

// damage gives an error that says so the code of what check found.
func damage(err error) error {
	if errors.Is(err, store.ErrBroken) {
		return &exit{exitDamaged, fmt.Errorf("%w: restore a backup", err)}
	}
	return err
}

// tellReport prints what was found; damage is an error with a code of its own.
func tellReport(w io.Writer, r store.Report, signatures bool) error {
	for _, problem := range r.Problems {
		fmt.Fprintln(w, problem)
	}
	what := "ids"
	if signatures {
		what = "ids and signatures"
	}
	fmt.Fprintf(w, "checked %s with their %s, and %s\n", howMany(int64(r.Events), "event"), what, howMany(int64(r.Rows), "index row"))
	if r.Bad > 0 {
		return &exit{exitDamaged, fmt.Errorf("%d problems found: restore a backup, or export what is whole and import it into a new directory", r.Bad)}
	}
	return nil
}

// checkProgress draws on a terminal only.
func checkProgress(out *os.File) func(done, total uint64) {
	if !isTerminal(out) {
		return nil
	}
	return func(done, total uint64) {
		fmt.Fprintf(out, "\r\x1b[K%s%d of %d rows", portion(int64(done), int64(total)), done, total)
		if done == total {
			fmt.Fprint(out, "\r\x1b[K")
		}
	}
}

// verifyID asks what the door asks: an event that was taken in is no damage.
func verifyID(ev *nostr.Event) error {
	if !wire.CheckID(ev) {
		return errors.New("the id is not the hash of the event")
	}
	return nil
}

func verifyBoth(ev *nostr.Event) error {
	if err := verifyID(ev); err != nil {
		return err
	}
	if !wire.CheckSignature(ev) {
		return errors.New("the signature is wrong")
	}
	return nil
}

func backupCommand() *cli.Command {
	return &cli.Command{
		Name: "backup", Usage: "copy the data to a new directory that serve opens",
		ArgsUsage: "DIR", OnUsageError: wrongUsage, HideHelpCommand: true,
		Description: `A consistent copy of one moment, also while the relay is serving: the store and
the relay's secret. Keep it as safe as the data itself. The word index and the
graph are made again when the copy is first served.

Examples:
  agora backup /backup/agora-$(date +%F)
  agora serve --data /backup/agora-2026-11-22`,
		Flags:  configFlags("data"),
		Action: runBackup,
	}
}

func runBackup(_ context.Context, cmd *cli.Command) error {
	cfg, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	if cmd.Args().Len() != 1 {
		return usagef("backup where? Name one new directory (see: agora backup --help)")
	}
	dir := cmd.Args().First()
	if inside(dir, cfg.Data) {
		return usagef("%s lies in the data directory %s itself: a backup belongs elsewhere", dir, cfg.Data)
	}
	if err := emptyDir(dir); err != nil {
		return usage(err)
	}
	held, err := openReading(cfg)
	if err != nil {
		return err
	}
	defer func() { _ = held.Close() }() // it was only read
	if err := backup(held, cfg.Data, dir); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	fmt.Fprintf(cmd.Root().Writer, "backed up to %s; serve it with: agora serve --data %s\n", dir, dir)
	return nil
}

// inside reports whether dir is, or lies in, the directory of.
func inside(dir, of string) bool {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return false
	}
	if of, err = filepath.Abs(of); err != nil {
		return false
	}
	rel, err := filepath.Rel(of, dir)
	return err == nil && filepath.IsLocal(rel)
}

// backup copies the secret before the store, so that a copy that holds events
// always holds the keys that signed the relay's own.
func backup(held *store.Store, from, to string) error {
	s, err := readSecret(filepath.Join(from, secretFile))
	if err == nil {
		err = writeSecret(filepath.Join(to, secretFile), s)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // an imported, never served store has no secret yet
		return err
	}
	dir := filepath.Join(to, storeDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return held.Backup(dir)
}

func emptyDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s is not empty: a backup needs a new directory", dir)
	}
	return nil
}

func compactCommand() *cli.Command {
	return &cli.Command{
		Name: "compact", Usage: "give the space of removed events back to the disk",
		OnUsageError: wrongUsage, HideHelpCommand: true,
		Description: `Rewrites the store without its free pages. The relay must be stopped, and the
disk needs room for a second copy while this runs; the old file is replaced only
when the new one is whole.

Examples:
  agora compact
  agora compact --data /var/lib/agora`,
		Flags:  configFlags("data"),
		Action: runCompact,
	}
}

func runCompact(_ context.Context, cmd *cli.Command) (err error) {
	cfg, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	if cmd.Args().Present() {
		return usagef("compact takes no arguments: name the directory with --data")
	}
	if err := existingData(cfg.Data); err != nil {
		return err
	}
	data, err := holdData(cfg.Data, holder{Command: "compact"})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, data.release()) }()
	dir := filepath.Join(cfg.Data, storeDir)
	before, after, err := store.Compact(dir)
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.Root().Writer, "%s before, %s now\n", Size(before).human(), Size(after).human())
	return nil
}
