package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"agora/relay/wire"

	"github.com/dgraph-io/badger/v4"
	"github.com/fiatjaf/eventstore"
	badgerstore "github.com/fiatjaf/eventstore/badger"
	lmdbstore "github.com/fiatjaf/eventstore/lmdb"
	"github.com/fiatjaf/eventstore/sqlite3"
	"github.com/nbd-wtf/go-nostr"
)

// foreignPage is how many events are asked of a foreign store at once.
const foreignPage = 10_000

// foreignMost is the limit a foreign store is opened with; it only bounds a
// second in which more than a page of events were created.
const foreignMost = 1 << 28

// foreignSource opens eventstore:lmdb:DIR and its like for reading.
func foreignSource(name string) (*source, error) {
	open, path, err := foreignStore("--from", name)
	if err != nil {
		return nil, usage(err)
	}
	return &source{each: func(ctx context.Context, s *source, yield func(line) bool) error {
		if err := open.Init(); err != nil {
			return fmt.Errorf("open %s: %w", path, err)
		}
		defer open.Close()
		return readForeign(ctx, open, path, s, yield)
	}}, nil
}

// foreignStore names the store, after a look whether it is there: opening
// would make an empty one.
func foreignStore(flag, name string) (eventstore.Store, string, error) {
	rest, ours := strings.CutPrefix(name, "eventstore:")
	kind, path, named := strings.Cut(rest, ":")
	if !ours || !named || path == "" {
		return nil, "", fmt.Errorf("%s %s: want eventstore:lmdb:DIR, eventstore:badger:DIR or eventstore:sqlite3:FILE", flag, name)
	}
	switch kind {
	case "lmdb":
		return &lmdbstore.LMDBBackend{Path: path, MaxLimit: foreignMost}, path, mustExist(flag, filepath.Join(path, "data.mdb"))
	case "badger":
		quiet := func(o badger.Options) badger.Options { return o.WithLogger(nil).WithSyncWrites(true) }
		return &badgerstore.BadgerBackend{Path: path, MaxLimit: foreignMost, BadgerOptionsModifier: quiet}, path, mustExist(flag, filepath.Join(path, "MANIFEST"))
	case "sqlite3":
		return &sqlite3.SQLite3Backend{DatabaseURL: path, QueryLimit: foreignMost}, path, mustExist(flag, path)
	}
	return nil, "", fmt.Errorf("%s %s: %q is no eventstore we can read: want lmdb, badger or sqlite3", flag, name, kind)
}

func mustExist(flag, file string) error {
	if _, err := os.Stat(file); err != nil {
		return fmt.Errorf("%s: no store here: %w", flag, err)
	}
	return nil
}

// readForeign pages through a store, newest first, by until. These stores end
// a page early without a word when they fail, so in the end the number of
// events is compared with what the store counts.
func readForeign(ctx context.Context, from eventstore.Store, path string, s *source, yield func(line) bool) error {
	if c, ok := from.(eventstore.Counter); ok {
		if n, err := c.CountEvents(ctx, nostr.Filter{}); err == nil {
			s.total = n
		}
	}
	page := foreignPages{store: from, size: foreignPage}
	for number := 1; ; {
		events, err := page.next(ctx)
		if err != nil {
			return fmt.Errorf("read %s after event %d: %w", path, number-1, err)
		}
		if len(events) == 0 {
			break
		}
		for _, ev := range events {
			if !yield(line{path, number, wire.AppendEvent(nil, ev)}) {
				return nil
			}
			s.read.Add(1)
			number++
		}
	}
	if got := s.read.Load(); got < s.total {
		return fmt.Errorf("%s counts %d events and gave %d: it is damaged, what could be read is imported", path, s.total, got)
	}
	return nil
}

// foreignPages walks a store by until. A page begins with the second in which
// the one before ended, so what was seen of that second is left out, as often
// as it was seen: such stores may hold an event twice.
type foreignPages struct {
	store eventstore.Store
	size  int
	until *nostr.Timestamp
	seen  map[string]int // id -> times, of the second `until`
}

// next is empty at the end.
func (p *foreignPages) next(ctx context.Context) ([]*nostr.Event, error) {
	for {
		events, err := p.ask(ctx)
		if err != nil {
			return nil, err
		}
		full := len(events) >= p.size
		fresh := p.unseen(events)
		if len(fresh) > 0 {
			return fresh, nil
		}
		if !full {
			return nil, nil
		}
		if p.size *= 2; p.size > foreignMost {
			return nil, errors.New("too many events in one second")
		}
	}
}

func (p *foreignPages) ask(ctx context.Context) (events []*nostr.Event, err error) {
	ch, err := p.store.QueryEvents(ctx, nostr.Filter{Until: p.until, Limit: p.size})
	if err != nil {
		return nil, err
	}
	for ev := range ch { // to the end, or the store's goroutine stays for ever
		events = append(events, ev)
	}
	return events, ctx.Err()
}

// unseen leaves out what the page before had and remembers the last second.
func (p *foreignPages) unseen(events []*nostr.Event) []*nostr.Event {
	if len(events) == 0 {
		return nil
	}
	before := p.seen
	last := events[len(events)-1].CreatedAt
	again := map[string]int{}
	var fresh []*nostr.Event
	for _, ev := range events {
		if ev.CreatedAt == last {
			again[ev.ID]++
		}
		if before[ev.ID] > 0 {
			before[ev.ID]--
			continue
		}
		fresh = append(fresh, ev)
	}
	p.until, p.seen = &last, again
	return fresh
}

// openAlone opens a store to write into, and refuses one that another program
// has open: each would take the other's serial numbers. badger sees to that
// itself.
func openAlone(es eventstore.Store, path string) error {
	if _, ok := es.(*lmdbstore.LMDBBackend); ok {
		if err := lmdbIsFree(filepath.Join(path, "lock.mdb")); err != nil {
			return err
		}
	}
	if err := es.Init(); err != nil {
		return fmt.Errorf("open %s (stop the relay that uses it first): %w", path, err)
	}
	db, ok := es.(*sqlite3.SQLite3Backend)
	if !ok {
		return nil
	}
	db.SetMaxOpenConns(1) // the one that holds the lock
	for _, statement := range []string{"PRAGMA busy_timeout = 2000", "PRAGMA synchronous = FULL", "PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE", "COMMIT"} {
		if _, err := db.Exec(statement); err != nil {
			db.Close()
			return fmt.Errorf("open %s alone (stop the relay that uses it first): %w", path, err)
		}
	}
	return nil
}

// lmdbIsFree looks at the lock that every process with the environment open
// holds on the first byte of its lock file.
func lmdbIsFree(name string) error {
	file, err := os.OpenFile(name, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the store to write: %w", err)
	}
	defer file.Close()
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Len: 1}
	if err := syscall.FcntlFlock(file.Fd(), syscall.F_GETLK, &lock); err != nil {
		return fmt.Errorf("look at %s: %w", name, err)
	}
	if lock.Type != syscall.F_UNLCK {
		return fmt.Errorf("%s is open in process %d: stop that relay first", filepath.Dir(name), lock.Pid)
	}
	return nil
}
