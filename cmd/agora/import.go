package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"agora/relay/admit"
	"agora/relay/store"
	"agora/relay/wire"

	"github.com/nbd-wtf/go-nostr"
	"github.com/urfave/cli/v3"
)

func importCommand() *cli.Command {
	return &cli.Command{
		Name: "import", Usage: "read events from files, from stdin or out of another relay's store",
		ArgsUsage: "FILE… | -", OnUsageError: wrongUsage, HideHelpCommand: true,
		Description: `Each line is an event {…} or ["EVENT", {…}], as strfry and others export them;
files may be plain or compressed (gzip, zstd). Works while the relay is serving
the same data directory. The summary accounts for every line. What is already
held is recognised, so an interrupted import is simply run again.

Examples:
  agora import events.jsonl.zst
  agora import --rejects bad.jsonl old/*.jsonl.gz
  ssh old-relay strfry export | agora import -
  agora import --from eventstore:lmdb:/srv/khatru/db
  agora import --from eventstore:badger:/srv/relay/badger
  agora import --from eventstore:sqlite3:/srv/relay/events.sqlite`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "from", Usage: "read out of another Go relay's `STORE`: eventstore:lmdb:DIR, eventstore:badger:DIR or eventstore:sqlite3:FILE (stop that relay first)"},
			&cli.StringFlag{Name: "rejects", Usage: "write lines that were not taken to `FILE`, as JSON lines with file, line, reason and text"},
		}, configFlags("data", "log_level", "log_json")...),
		Action: runImport,
	}
}

func runImport(ctx context.Context, cmd *cli.Command) error {
	cfg, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	from, err := importSource(cmd.String("from"), cmd.Args().Slice())
	if err != nil {
		return err
	}
	rejects, err := createRejects(cmd.String("rejects"))
	if err != nil {
		return err
	}
	log := newLedger(rejects.writer())
	began := time.Now()
	err = withPublisher(ctx, cfg, "import", func(p publisher, _ *store.Store) error {
		bar := startProgress(os.Stderr, from, log)
		defer bar.stop()
		return importAll(ctx, from, p, log)
	})
	err = errors.Join(err, rejects.close())
	if summary := log.summary(cmd.Root().Writer, time.Since(began)); summary != nil {
		return errors.Join(err, summary)
	}
	return importEnd(ctx, err, log)
}

// importEnd says how the import ended.
func importEnd(ctx context.Context, err error, log *ledger) error {
	lines, _ := log.seen()
	if ctx.Err() != nil {
		return &exit{exitInterrupted, fmt.Errorf("interrupted after %d lines: run the same command again to go on, what is held is recognised", lines)}
	}
	if err != nil {
		return fmt.Errorf("import stopped: %w", err)
	}
	if bad := log.counts[malformed]; bad > 0 && bad+log.counts[blank] == lines {
		return fmt.Errorf("no line is an event: is this a file of JSON lines?")
	}
	return nil
}

// source is where an import reads.
type source struct {
	read  atomic.Int64 // bytes so far, before unpacking
	total int64        // bytes; 0 when nobody can tell
	each  func(ctx context.Context, s *source, yield func(line) bool) error
}

func importSource(store string, files []string) (*source, error) {
	if store != "" && len(files) > 0 {
		return nil, usagef("give files or --from, not both")
	}
	if store != "" {
		return foreignSource(store)
	}
	if len(files) == 0 {
		return nil, usagef("import what? Name files of JSON lines, or - for stdin (see: agora import --help)")
	}
	s := &source{each: func(_ context.Context, s *source, yield func(line) bool) error {
		return eachFile(files, s, yield)
	}}
	for _, name := range files {
		if name == "-" {
			s.total = 0
			return s, nil
		}
		info, err := os.Stat(name)
		if err != nil {
			return nil, usage(err) // before anything is read: a mistyped name should cost nothing
		}
		if info.IsDir() {
			return nil, usagef("%s is a directory: name the files in it", name)
		}
		s.total += info.Size()
	}
	return s, nil
}

func eachFile(files []string, s *source, yield func(line) bool) error {
	more := true
	for _, name := range files {
		r, err := openLines(name, &s.read)
		if err != nil {
			return err
		}
		err = readLines(name, r, func(l line) bool {
			more = yield(l)
			return more
		})
		if err := errors.Join(err, r.Close()); err != nil || !more {
			return err
		}
	}
	return nil
}

// publisher is the way into the relay: the one of this process, or the door of
// one that is running.
type publisher interface {
	// publish hands in one event and returns; done is called once with what
	// became of it. An error means that done will not be called.
	publish(ctx context.Context, ev *nostr.Event, record []byte, origin admit.Origin, done func(verdict)) error
}

// importAll reads every line and returns when each has its verdict. Reading
// stops at the end, when ctx ends and at the first line that failed.
func importAll(ctx context.Context, from *source, p publisher, log *ledger) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	lines := make(chan line, 256) // lines; when full: the file is not read on
	read := make(chan error, 1)   // the reader's last word
	go func() {
		err := from.each(ctx, from, func(l line) bool {
			select {
			case lines <- l:
				return true
			case <-ctx.Done():
				return false
			}
		})
		close(lines)
		read <- err
	}()
	var workers, flights sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() { importLines(ctx, stop, lines, p, log, &flights) })
	}
	workers.Wait()
	flights.Wait()
	if err := log.failure(); err != nil {
		return err
	}
	select {
	case err := <-read:
		return err
	case <-ctx.Done():
		// The reader may wait for a pipe that says nothing; no call can end
		// that wait, but the end of the process, which is near.
		return context.Cause(ctx)
	}
}

// importLines takes lines until there are no more, ctx ends, or one has failed.
func importLines(ctx context.Context, stop context.CancelCauseFunc, lines <-chan line, p publisher, log *ledger, flights *sync.WaitGroup) {
	for {
		select {
		case l, more := <-lines:
			if !more {
				return
			}
			importLine(ctx, l, p, log, flights)
			if err := log.failure(); err != nil {
				stop(err)
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// importLine gives one line its verdict, now or when the relay has answered.
func importLine(ctx context.Context, l line, p publisher, log *ledger, flights *sync.WaitGroup) {
	if l.text != nil && len(l.text) == 0 {
		log.enter(l, verdict{Word: blank})
		return
	}
	text, err := eventIn(l.text)
	if err != nil {
		log.enter(l, verdict{malformed, err.Error()})
		return
	}
	ev, record, err := wire.ParseEvent(text)
	if err != nil {
		log.enter(l, verdict{malformed, err.Error()})
		return
	}
	flights.Add(1)
	err = p.publish(context.WithoutCancel(ctx), ev, record, admit.Import, func(v verdict) {
		log.enter(l, v)
		flights.Done()
	})
	if err != nil {
		log.enter(l, verdict{failed, err.Error()})
		flights.Done()
	}
}

// rejectsFile is the file of --rejects, or nothing.
type rejectsFile struct{ file *os.File }

func createRejects(name string) (rejectsFile, error) {
	if name == "" {
		return rejectsFile{}, nil
	}
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return rejectsFile{}, usage(fmt.Errorf("rejects: %w", err))
	}
	return rejectsFile{file}, nil
}

func (r rejectsFile) writer() io.Writer {
	if r.file == nil {
		return nil
	}
	return r.file
}

func (r rejectsFile) close() error {
	if r.file == nil {
		return nil
	}
	return r.file.Close()
}
