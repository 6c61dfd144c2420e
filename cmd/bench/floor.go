package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/PowerDNS/lmdb-go/lmdb"
	"github.com/nbd-wtf/go-nostr"
)

// The floor is the work no durable relay can leave out: checking each id and
// signature, and putting the rows our store keeps of each event into LMDB, 256
// events to a synced commit. The rows are read out of a store that our relay
// has written, so they are the same keys and values, byte for byte. No socket,
// no parsing, no decisions. It runs in a process of its own, like a relay.

const floorBatch = 256 // events per commit, as in the store

// floored is what a run of the floor gave.
type floored struct {
	Events    int
	Wall      time.Duration
	CPU       time.Duration
	PerSecond float64
	CPUMicros float64 // per event
	Verify    float64 // µs of CPU per event for the check alone, from a run without puts
	Rows      float64 // rows per event
}

// row is one put.
type row struct {
	table      int
	key, value []byte
}

// layout is what a store holds: its tables and, per log position, the rows.
type layout struct {
	tables []tableSpec
	rows   map[uint64][]row
}

type tableSpec struct {
	name  string
	flags uint
}

// runFloor measures the floor in a child process.
func runFloor(ctx context.Context, events, store, tmp string, overlap bool) (floored, error) {
	self, err := os.Executable()
	if err != nil {
		return floored{}, err
	}
	args := []string{"floor", "--events", events, "--store", store, "--tmp", tmp}
	if overlap {
		args = append(args, "--overlap")
	}
	cmd := exec.CommandContext(ctx, self, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return floored{}, fmt.Errorf("the floor: %w", err)
	}
	var f floored
	return f, json.Unmarshal(out, &f)
}

// floor does the work in this process. Without overlap a batch is checked on
// all cores and then committed, as 256 events in flight allow no more; with
// overlap the next batch is checked while one is committed.
func floor(ctx context.Context, events, store, tmp string, overlap bool) (floored, error) {
	evs, err := readEvents(events)
	if err != nil {
		return floored{}, err
	}
	l, err := readLayout(store)
	if err != nil {
		return floored{}, fmt.Errorf("read the rows of %s: %w", store, err)
	}
	dir, err := os.MkdirTemp(tmp, "floor-*")
	if err != nil {
		return floored{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	sink, err := openRows(dir, l)
	if err != nil {
		return floored{}, err
	}
	defer func() { _ = sink.env.Close() }()
	batches := slices.Collect(slices.Chunk(evs, floorBatch))
	rows := l.inBatches(len(batches))
	runtime.GC()
	var f floored
	cpu, began := ownCPU(), time.Now()
	if err := work(ctx, batches, rows, sink, overlap); err != nil {
		return floored{}, err
	}
	f.Wall, f.CPU, f.Events = time.Since(began), ownCPU()-cpu, len(evs)
	f.PerSecond = float64(f.Events) / f.Wall.Seconds()
	f.CPUMicros = float64(f.CPU.Microseconds()) / float64(f.Events)
	cpu = ownCPU()
	for _, b := range batches {
		if err := verify(b); err != nil {
			return floored{}, err
		}
	}
	f.Verify = float64((ownCPU() - cpu).Microseconds()) / float64(f.Events)
	for _, r := range rows {
		f.Rows += float64(len(r)) / float64(f.Events)
	}
	return f, nil
}

func work(ctx context.Context, batches [][]*nostr.Event, rows [][]row, sink *rowSink, overlap bool) error {
	if !overlap {
		for i, b := range batches {
			if err := errors.Join(ctx.Err(), verify(b), sink.commit(rows[i])); err != nil {
				return err
			}
		}
		return nil
	}
	ready := make(chan int, 1) // checked batches; when full the checkers wait for the commit
	errs := make(chan error, 1)
	go func() { // ends after the last batch or the first bad one
		defer close(ready)
		for i, b := range batches {
			if err := errors.Join(ctx.Err(), verify(b)); err != nil {
				errs <- err
				return
			}
			ready <- i
		}
		errs <- nil
	}()
	for i := range ready {
		if err := sink.commit(rows[i]); err != nil {
			return err
		}
	}
	return <-errs
}

// verify checks ids and signatures on all cores.
func verify(events []*nostr.Event) error {
	var next atomic.Int64
	var bad atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= len(events) {
					return
				}
				if ok, err := events[i].CheckSignature(); !ok || err != nil { // hashes the event, too
					bad.Add(1)
				}
			}
		})
	}
	wg.Wait()
	if n := bad.Load(); n > 0 {
		return fmt.Errorf("%d events of the corpus have a bad signature", n)
	}
	return nil
}

func readEvents(name string) ([]*nostr.Event, error) {
	lines, err := readLines(name, 0)
	if err != nil {
		return nil, err
	}
	out := make([]*nostr.Event, len(lines))
	for i, line := range lines {
		out[i] = &nostr.Event{}
		if err := json.Unmarshal(line, out[i]); err != nil {
			return nil, fmt.Errorf("line %d of %s: %w", i+1, name, err)
		}
	}
	return out, nil
}

// readLayout reads every row of a store and sorts it to the log position it
// belongs to: the row's value ends in it, or, in the log, its key is it.
func readLayout(dir string) (layout, error) {
	l := layout{rows: map[uint64][]row{}}
	env, err := lmdb.NewEnv()
	if err != nil {
		return l, err
	}
	defer func() { _ = env.Close() }()
	if err := errors.Join(env.SetMaxDBs(64), env.SetMapSize(1<<40)); err != nil {
		return l, err
	}
	if err := env.Open(dir, lmdb.Readonly, 0o600); err != nil {
		return l, err
	}
	return l, env.View(l.read)
}

func (l *layout) read(txn *lmdb.Txn) error {
	root, err := txn.OpenRoot(0)
	if err != nil {
		return err
	}
	err = each(txn, root, func(name, _ []byte) error {
		dbi, err := txn.OpenDBI(string(name), 0)
		if err != nil {
			return err
		}
		flags, err := txn.Flags(dbi)
		if err != nil {
			return err
		}
		l.tables = append(l.tables, tableSpec{string(name), flags})
		return nil
	})
	if err != nil {
		return err
	}
	for i, t := range l.tables {
		dbi, err := txn.OpenDBI(t.name, 0)
		if err != nil {
			return err
		}
		if err := each(txn, dbi, func(k, v []byte) error { l.add(i, k, v); return nil }); err != nil {
			return err
		}
	}
	return nil
}

func (l *layout) add(table int, key, value []byte) {
	at := value
	if l.tables[table].name == "log" {
		at = key
	}
	if len(at) < 8 {
		return // a setting of the store
	}
	pos := binary.BigEndian.Uint64(at[len(at)-8:])
	l.rows[pos] = append(l.rows[pos], row{table, slices.Clone(key), slices.Clone(value)})
}

func each(txn *lmdb.Txn, dbi lmdb.DBI, visit func(k, v []byte) error) error {
	cur, err := txn.OpenCursor(dbi)
	if err != nil {
		return err
	}
	defer cur.Close()
	for {
		k, v, err := cur.Get(nil, nil, lmdb.Next)
		if lmdb.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := visit(k, v); err != nil {
			return err
		}
	}
}

// inBatches deals the rows out in log order, as many positions to each batch.
func (l *layout) inBatches(n int) [][]row {
	var order []uint64
	for pos := range l.rows {
		order = append(order, pos)
	}
	slices.Sort(order)
	out := make([][]row, n)
	for i, pos := range order {
		b := i * n / len(order)
		out[b] = append(out[b], l.rows[pos]...)
	}
	return out
}

// rowSink is the environment the rows go to.
type rowSink struct {
	env    *lmdb.Env
	tables []lmdb.DBI
	log    int // the table that is appended to
}

func openRows(dir string, l layout) (*rowSink, error) {
	env, err := lmdb.NewEnv()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(env.SetMaxDBs(64), env.SetMapSize(1<<40), env.Open(filepath.Clean(dir), 0, 0o600)); err != nil {
		_ = env.Close()
		return nil, err
	}
	s := &rowSink{env: env, log: -1}
	err = env.Update(func(txn *lmdb.Txn) error {
		for i, t := range l.tables {
			dbi, err := txn.OpenDBI(t.name, t.flags|lmdb.Create)
			if err != nil {
				return err
			}
			s.tables = append(s.tables, dbi)
			if t.name == "log" {
				s.log = i
			}
		}
		return nil
	})
	return s, err
}

// commit puts the rows in one synced transaction.
func (s *rowSink) commit(rows []row) error {
	return s.env.Update(func(txn *lmdb.Txn) error {
		for _, r := range rows {
			var flags uint
			if r.table == s.log {
				flags = lmdb.Append
			}
			if err := txn.Put(s.tables[r.table], r.key, r.value, flags); err != nil {
				return err
			}
		}
		return nil
	})
}

// ownCPU is the processor time this process has used.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
