// Package search is the word index behind NIP-50: which stored events hold
// these words, and which of them are meant. It is an asynchronous projection of
// the log with a disk budget of its own: delete its directory, and Run builds
// it again.
//
// # Promises
//
// What is indexed and the position in the log that it reaches are one commit:
// a crash neither loses nor doubles an event. A hit is a hint: between an
// event's removal and the index's learning of it lies the lag, so the caller
// asks the store for the event, its filter and who may read it.
//
// # How
//
// Changes are gathered in memory and written as an immutable segment
// (segment.go); neighbouring segments of a size are merged in small steps
// between commits, so that an event is rewritten a few times in its life and a
// query looks into some tens of segments. What went is marked, no longer found
// at once, and leaves the disk with the next merge, within a day.
package search

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"agora/relay/store"

	"github.com/PowerDNS/lmdb-go/lmdb"
	"github.com/prometheus/client_golang/prometheus"
)

// version is of the layout and of the way text is cut into words; another one
// on the disk means to build the index again.
const version = 1

// Config sets up an Index. Zero fields mean the documented default.
type Config struct {
	Kinds    []int                 // event kinds indexed; default Kinds()
	Budget   int64                 // bytes on disk; when full the oldest events are dropped from the index; default 2 GiB, at least 16 MiB
	Linger   time.Duration         // how long a first change waits for company before it is written; default 100 ms
	Deadline time.Duration         // of one query; then what was found is ranked; default 250 ms
	Metrics  prometheus.Registerer // default: none
	Logger   *slog.Logger          // default: discards
	NoSync   bool                  // commits are not synced: tests and benchmarks only
}

func (c *Config) defaults() error {
	if c.Kinds == nil {
		c.Kinds = Kinds()
	}
	if c.Budget == 0 {
		c.Budget = 2 << 30
	}
	if c.Budget < 16<<20 {
		return fmt.Errorf("a budget of %d bytes is too small for a word index: 16 MiB at least", c.Budget)
	}
	if c.Linger == 0 {
		c.Linger = 100 * time.Millisecond
	}
	if c.Deadline == 0 {
		c.Deadline = 250 * time.Millisecond
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.Kinds = slices.Compact(slices.Sorted(slices.Values(c.Kinds)))
	return checkKinds(c.Kinds)
}

// state is what the index knows of itself. It is one row, written in the
// commit that makes it true.
type state struct {
	Version  int       `json:"version"`
	Kinds    []int     `json:"kinds"`
	Pos      store.Pos `json:"pos"`      // all changes up to here are in the index
	Next     uint64    `json:"next"`     // number of the next segment
	Segments []segment `json:"segments"` // oldest first
	Trash    []uint64  `json:"trash"`    // segments whose pages are being deleted
	Rebuild  *rebuild  `json:"rebuild,omitempty"`
	Dropped  uint64    `json:"dropped,omitempty"` // documents dropped for the budget, ever
}

// rebuild is how far the reading of the whole store has come, newest event
// first.
type rebuild struct {
	Head  store.Pos `json:"head"`  // what came later is read from the log afterwards
	Until int64     `json:"until"` // created_at of the last event read
	After string    `json:"after"` // its id, hex; empty at the beginning
}

func (st *state) bytes() (n int64) {
	for _, s := range st.Segments {
		n += s.Bytes
	}
	return n
}

func (st *state) docs() (n uint64) {
	for _, s := range st.Segments {
		n += uint64(s.Docs - s.Gone)
	}
	return n
}

// Index is the word index of one store. Its methods may be called
// concurrently.
type Index struct {
	cfg    Config
	dir    string
	log    source
	env    *lmdb.Env
	meta   lmdb.DBI
	pages  lmdb.DBI
	kinds  map[int]bool
	stats  *stats
	closed sync.RWMutex  // read-locked by queries; Close takes it
	slots  chan struct{} // taken by queries that read the index

	st    state  // owned by Run after Open
	merge *merge // owned by Run
	work  *batch // owned by Run

	pos   atomic.Uint64 // everything up to here can be found
	mu    sync.Mutex
	grown chan struct{} // closed and replaced when pos moves; guarded by mu
}

// Open opens or creates the index in dir/search of what st holds. It starts
// nothing: Run follows the log.
func Open(dir string, st *store.Store, cfg Config) (*Index, error) {
	return open(dir, st, cfg)
}

func open(dir string, log source, cfg Config) (*Index, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	ix := &Index{
		cfg: cfg, dir: filepath.Join(dir, "search"), log: log, kinds: map[int]bool{},
		work: newBatch(), grown: make(chan struct{}),
		slots: make(chan struct{}, 4*runtime.GOMAXPROCS(0)), // queries; when full: a query waits
	}
	for _, k := range cfg.Kinds {
		ix.kinds[k] = true
	}
	var err error
	if ix.stats, err = newStats(cfg.Metrics); err != nil {
		return nil, err
	}
	if err := ix.openEnv(); err != nil {
		return nil, fmt.Errorf("open search index %s: %w", ix.dir, err)
	}
	if err := ix.load(); err != nil {
		_ = ix.env.Close() // the first error tells more
		return nil, fmt.Errorf("open search index %s: %w", ix.dir, err)
	}
	return ix, nil
}

func (ix *Index) openEnv() error {
	if err := os.MkdirAll(ix.dir, 0o700); err != nil {
		return err
	}
	env, err := lmdb.NewEnv()
	if err != nil {
		return err
	}
	flags := uint(0)
	if ix.cfg.NoSync {
		flags |= lmdb.NoSync
	}
	size := (ix.cfg.Budget + 4095) / 4096 * 4096 // the file never grows beyond the budget
	if err := ix.discardLarger(size); err != nil {
		return err
	}
	err = errors.Join(env.SetMaxDBs(4), env.SetMaxReaders(1024), env.SetMapSize(size))
	if err == nil {
		err = env.Open(ix.dir, flags, 0o600)
	}
	if err == nil {
		_, err = env.ReaderCheck()
	}
	if err != nil {
		_ = env.Close() // the first error tells more
		return err
	}
	ix.env = env
	return nil
}

// discardLarger deletes an index that was made under a larger budget: its file
// would not become smaller, and there is no room to work in it.
func (ix *Index) discardLarger(size int64) error {
	file := filepath.Join(ix.dir, "data.mdb")
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() <= size {
		return nil
	}
	if err != nil {
		return err
	}
	ix.cfg.Logger.Warn("the search index is larger than its budget: building it again", "bytes", info.Size(), "budget_bytes", size)
	return os.Remove(file)
}

// load reads the state, or begins anew when it is of another version or of
// other kinds, and throws away what an interrupted merge left.
func (ix *Index) load() error {
	return ix.env.Update(func(txn *lmdb.Txn) (err error) {
		if ix.meta, err = txn.OpenDBI("meta", lmdb.Create); err != nil {
			return err
		}
		if ix.pages, err = txn.OpenDBI("pages", lmdb.Create); err != nil {
			return err
		}
		st, err := ix.readState(txn)
		if err != nil {
			return err
		}
		if st.Version != version || !slices.Equal(st.Kinds, ix.cfg.Kinds) {
			if err := txn.Drop(ix.pages, false); err != nil {
				return err
			}
			st = state{Version: version, Kinds: ix.cfg.Kinds, Next: 1}
		}
		if err := ix.findOrphans(txn, &st); err != nil {
			return err
		}
		ix.st = st
		ix.publish()
		return ix.writeState(txn, &st)
	})
}

func (ix *Index) readState(txn *lmdb.Txn) (st state, err error) {
	b, err := txn.Get(ix.meta, []byte("state"))
	if lmdb.IsNotFound(err) {
		return st, nil
	}
	if err != nil {
		return st, err
	}
	if err := json.Unmarshal(b, &st); err != nil {
		return st, fmt.Errorf("state: %w: %w", errDamaged, err)
	}
	return st, nil
}

func (ix *Index) writeState(txn *lmdb.Txn, st *state) error {
	b, err := json.Marshal(st)
	if err != nil {
		return err
	}
	return txn.Put(ix.meta, []byte("state"), b, 0)
}

// findOrphans puts the segments that the state does not know on the trash, and
// sees to it that their numbers are not used again.
func (ix *Index) findOrphans(txn *lmdb.Txn, st *state) error {
	known := map[uint64]bool{}
	for _, s := range st.Segments {
		known[s.Number] = true
	}
	for _, n := range st.Trash {
		known[n] = true
	}
	cur, err := txn.OpenCursor(ix.pages)
	if err != nil {
		return err
	}
	defer cur.Close()
	for n := uint64(0); ; n++ {
		k, _, err := cur.Get(pageKey(n, 0), nil, lmdb.SetRange)
		if lmdb.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		if n, err = segmentOf(k); err != nil {
			return err
		}
		if !known[n] {
			st.Trash = append(st.Trash, n)
		}
		st.Next = max(st.Next, n+1)
	}
}

// Close lets go of the files. Run must have returned; queries under way are
// waited for.
func (ix *Index) Close() error {
	ix.closed.Lock()
	defer ix.closed.Unlock()
	if ix.env == nil {
		return nil
	}
	err := ix.env.Close()
	ix.env = nil
	ix.stats.unregister()
	return err
}

// view runs f in a read transaction with the state that belongs to it.
func (ix *Index) view(f func(v *view, st *state) error) error {
	ix.closed.RLock()
	defer ix.closed.RUnlock()
	if ix.env == nil {
		return store.ErrClosed
	}
	return ix.env.View(func(txn *lmdb.Txn) error {
		v, err := newView(txn, ix.pages)
		if err != nil {
			return err
		}
		defer v.close()
		st, err := ix.readState(txn)
		if err != nil {
			return err
		}
		return f(v, &st)
	})
}

// Stats is the size of an index.
type Stats struct {
	Documents uint64    // events that can be found
	Bytes     int64     // on disk, without free pages
	Budget    int64     // bytes
	Pos       store.Pos // everything up to here can be found
	Dropped   uint64    // events dropped for the budget, ever
	Segments  int
	Rebuild   bool // the index is being built from the whole store
}

// Stats reads the size of the index.
func (ix *Index) Stats() (s Stats, err error) {
	err = ix.view(func(_ *view, st *state) error {
		s = Stats{
			Documents: st.docs(), Bytes: st.bytes(), Budget: ix.cfg.Budget, Pos: st.Pos,
			Dropped: st.Dropped, Segments: len(st.Segments), Rebuild: st.Rebuild != nil,
		}
		s.Pos = max(s.Pos, store.Pos(ix.pos.Load()))
		return nil
	})
	return s, err
}
