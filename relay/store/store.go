package store

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"agora/relay/admit"

	"github.com/PowerDNS/lmdb-go/lmdb"
	"github.com/nbd-wtf/go-nostr"
)

// Config sets up a Store. Zero fields mean the documented default.
type Config struct {
	MapSize   int64          // bytes of address space, the bound on the file; default 1 TiB
	ReadOnly  bool           // another process may be writing
	NoLock    bool           // with ReadOnly: make no lock file. Only where nobody writes: a writer would not know of us, and give pages that we read to others
	NoSync    bool           // commits are not synced: benchmarks only, a crash loses events
	BatchSize int            // entries per commit; default 256
	BatchWait time.Duration  // from the start of one shared commit to that of the next, at least; up to eight times that while entries are on their way (Expect); default 3 ms
	Sets      []nostr.Filter // kept ready for negentropy besides the whole log; no limit, no search
	Hidden    []int          // kinds that are in no set kept ready; default 1059, wrapped messages
	Retention Retention      // what the sweeper drops; may change later by SetRetention
	Logger    *slog.Logger   // default: discards
}

func (c *Config) defaults() {
	if c.MapSize == 0 {
		c.MapSize = 1 << 40
	}
	if c.BatchSize == 0 {
		c.BatchSize = 256
	}
	if c.BatchWait == 0 {
		c.BatchWait = 3 * time.Millisecond
	}
	if c.Hidden == nil {
		c.Hidden = []int{1059}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
}

// KeepMarkers is how many positions back the log keeps removal markers.
const KeepMarkers = 2_000_000

// tables are the named databases; the fields say what the package doc says.
type tables struct {
	log, id, created, author, authorkind, kind, tag, tagkind, address, expiry,
	claim, tomb, tombaddr, vanish, label, meta, job, set, setitem lmdb.DBI
}

const dup = lmdb.DupSort | lmdb.DupFixed

func (t *tables) all() []table {
	return []table{
		{"log", &t.log, 0}, {"id", &t.id, 0}, {"created", &t.created, 0},
		{"author", &t.author, dup}, {"authorkind", &t.authorkind, dup}, {"kind", &t.kind, dup},
		{"tag", &t.tag, dup}, {"tagkind", &t.tagkind, dup}, {"address", &t.address, 0},
		{"expiry", &t.expiry, 0}, {"claim", &t.claim, 0}, {"tomb", &t.tomb, 0},
		{"tombaddr", &t.tombaddr, 0}, {"vanish", &t.vanish, 0}, {"label", &t.label, 0},
		{"meta", &t.meta, 0}, {"job", &t.job, 0},
		{"set", &t.set, 0}, {"setitem", &t.setitem, 0},
	}
}

type table struct {
	name  string
	dbi   *lmdb.DBI
	flags uint
}

// Store is one environment. Its methods may be called concurrently.
type Store struct {
	cfg Config
	dir string
	env *lmdb.Env
	t   tables

	queue   chan request   // entries and other writes; 1,024; when full, Submit waits
	readers chan *lmdb.Txn // idle read transactions; 64; when full, the transaction is aborted
	head    atomic.Uint64  // last committed position

	mu     sync.Mutex
	grown  chan struct{} // closed at every commit that moves head; guarded by mu
	closed atomic.Bool

	stopped   chan struct{} // closed when Run has returned
	lastBatch int           // size of the last commit; owned by the committer
	lastBegan time.Time     // when it began; owned by the committer
	lastEnded time.Time     // when it ended; owned by the committer
	coming    func() int    // entries about to be submitted

	vanishing atomic.Pointer[map[[32]byte]vanishing] // bulk removals not yet through, by author; nil: none
	retention atomic.Pointer[Retention]
	pads      sync.Pool // *pad, of queries that have ended
	sets      *sets     // fingerprints kept ready for negentropy
}

// Open opens or creates the store in dir. It starts nothing: writes are done
// by Run. An unfinished migration is resumed here.
func Open(dir string, cfg Config) (*Store, error) {
	cfg.defaults()
	s := &Store{
		cfg: cfg, dir: dir,
		queue:   make(chan request, 1024), // requests; when full: Submit waits
		readers: make(chan *lmdb.Txn, 64), // transactions; when full: abort instead of keeping
		grown:   make(chan struct{}),
		stopped: make(chan struct{}),
		coming:  func() int { return 0 },
	}
	s.retention.Store(&cfg.Retention)
	if err := s.openEnv(); err != nil {
		return nil, fmt.Errorf("open store %s: %w", dir, broken(err))
	}
	if err := s.load(); err != nil {
		s.dropReaders()
		_ = s.env.Close() // the first error tells more
		return nil, fmt.Errorf("open store %s: %w", dir, broken(err))
	}
	return s, nil
}

func (s *Store) openEnv() error {
	if !s.cfg.ReadOnly {
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			return err
		}
	}
	env, err := lmdb.NewEnv()
	if err != nil {
		return err
	}
	err = errors.Join(env.SetMaxDBs(32), env.SetMaxReaders(1024), env.SetMapSize(s.cfg.MapSize))
	if err == nil {
		err = env.Open(s.dir, s.flags(), 0o600)
	}
	if err == nil && !s.cfg.ReadOnly {
		_, err = env.ReaderCheck() // slots of processes that died
	}
	if err != nil {
		_ = env.Close() // the first error tells more
		if op, ok := errors.AsType[*lmdb.OpError](err); ok {
			return fmt.Errorf("%s: %w", op.Op, op.Errno) // so that errors.Is sees what the system said
		}
		return err
	}
	s.env = env
	return nil
}

func (s *Store) flags() uint {
	flags := uint(0)
	if s.cfg.ReadOnly {
		flags |= lmdb.Readonly
		if s.cfg.NoLock {
			flags |= lmdb.NoLock
		}
	}
	if s.cfg.NoSync {
		flags |= lmdb.NoSync
	}
	return flags
}

// load opens the tables, checks the schema and reads what lives in memory.
func (s *Store) load() error {
	open := func(txn *lmdb.Txn) error {
		flags := uint(lmdb.Create)
		if s.cfg.ReadOnly {
			flags = 0
		}
		for _, tab := range s.t.all() {
			dbi, err := txn.OpenDBI(tab.name, tab.flags|flags)
			if err != nil {
				return fmt.Errorf("table %s: %w", tab.name, err)
			}
			*tab.dbi = dbi
		}
		return nil
	}
	if s.cfg.ReadOnly {
		if err := s.env.View(open); err != nil {
			return err
		}
		if err := s.checkSchema(); err != nil {
			return err
		}
	} else {
		if err := s.env.Update(open); err != nil {
			return err
		}
		if err := s.migrate(); err != nil {
			return err
		}
	}
	return s.view(func(txn *lmdb.Txn) error {
		head, err := s.lastPos(txn)
		if err != nil {
			return err
		}
		s.head.Store(uint64(head))
		if s.sets, err = newSets(s); err != nil {
			return err
		}
		return s.loadVanishing(txn)
	})
}

// Expect tells the committer whom to ask how many entries are about to be
// submitted, so that they share a commit. To be called before Run.
func (s *Store) Expect(coming func() int) { s.coming = coming }

// Close lets go of the environment. Run must have returned, and no read may be
// under way.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.dropReaders()
	return s.env.Close()
}

func (s *Store) dropReaders() {
	for {
		select {
		case txn := <-s.readers:
			txn.Abort()
		default:
			return
		}
	}
}

// Head is the position of the last durable change.
func (s *Store) Head() Pos {
	if s.cfg.ReadOnly { // another process writes
		var head Pos
		_ = s.view(func(txn *lmdb.Txn) (err error) { head, err = s.lastPos(txn); return err })
		return head
	}
	return Pos(s.head.Load())
}

// Wait returns once Head is beyond after, or with ctx's error.
func (s *Store) Wait(ctx context.Context, after Pos) error {
	for {
		s.mu.Lock()
		grown := s.grown
		s.mu.Unlock()
		if s.Head() > after {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// advance publishes a new head and wakes who waits for it.
func (s *Store) advance(head Pos) {
	s.head.Store(uint64(head))
	s.mu.Lock()
	close(s.grown)
	s.grown = make(chan struct{})
	s.mu.Unlock()
}

// view runs fn in a read transaction, taken from the idle ones where possible.
// Slices read in fn point into the map and must not leave it.
func (s *Store) view(fn func(*lmdb.Txn) error) error {
	txn, err := s.begin()
	if err != nil {
		return err
	}
	defer s.end(txn)
	return fn(txn)
}

func (s *Store) begin() (*lmdb.Txn, error) {
	if s.closed.Load() {
		return nil, ErrClosed
	}
	select {
	case txn := <-s.readers:
		if err := txn.Renew(); err != nil {
			txn.Abort()
			return nil, fmt.Errorf("begin read: %w", err)
		}
		return txn, nil
	default:
	}
	txn, err := s.env.BeginTxn(nil, lmdb.Readonly)
	if err != nil {
		return nil, fmt.Errorf("begin read: %w", err)
	}
	txn.RawRead = true
	return txn, nil
}

func (s *Store) end(txn *lmdb.Txn) {
	txn.Reset()
	select {
	case s.readers <- txn:
	default:
		txn.Abort()
	}
}

func (s *Store) lastPos(txn *lmdb.Txn) (Pos, error) {
	cur, err := txn.OpenCursor(s.t.log)
	if err != nil {
		return 0, err
	}
	defer cur.Close()
	k, _, err := cur.Get(nil, nil, lmdb.Last)
	if lmdb.IsNotFound(err) {
		// every marker trimmed and every event gone: the counter goes on
		v, err := txn.Get(s.t.meta, []byte(metaHead))
		if lmdb.IsNotFound(err) {
			return 0, nil
		}
		if err != nil {
			return 0, err
		}
		return Pos(binary.BigEndian.Uint64(v)), nil
	}
	if err != nil {
		return 0, err
	}
	return Pos(binary.BigEndian.Uint64(k)), nil
}

// Names in the meta table that are the store's own; callers' names get a
// prefix and cannot meet them.
const (
	metaSchema    = "schema"    // uint32
	metaMigrating = "migrating" // Pos up to which the running migration is through
	metaTrimmed   = "trimmed"   // Pos up to which removal markers are gone
	metaHead      = "head"      // Pos, written when markers are trimmed
	metaUser      = "user/"
)

// Meta reads a small durable value; nil when there is none.
func (s *Store) Meta(key string) (value []byte, err error) {
	err = s.view(func(txn *lmdb.Txn) error {
		v, err := txn.Get(s.t.meta, []byte(metaUser+key))
		if lmdb.IsNotFound(err) {
			return nil
		}
		value = append([]byte{}, v...)
		return err
	})
	return value, err
}

// SetMeta writes a small durable value and returns after the commit; nil
// removes it. The key may have up to 256 bytes.
func (s *Store) SetMeta(ctx context.Context, key string, value []byte) error {
	if len(key) > 256 {
		return fmt.Errorf("meta key of %d bytes: at most 256", len(key))
	}
	value = append([]byte{}, value...)
	return s.do(ctx, func(w *writer) error {
		if len(value) == 0 {
			return ignoreNotFound(w.txn.Del(s.t.meta, []byte(metaUser+key), nil))
		}
		return w.txn.Put(s.t.meta, []byte(metaUser+key), value, 0)
	})
}

// MetaKeys lists the keys of SetMeta that begin with prefix, in order.
func (s *Store) MetaKeys(prefix string) (keys []string, err error) {
	full := metaUser + prefix
	err = s.view(func(txn *lmdb.Txn) error {
		cur, err := txn.OpenCursor(s.t.meta)
		if err != nil {
			return err
		}
		defer cur.Close()
		k, _, err := cur.Get([]byte(full), nil, lmdb.SetRange)
		for ; err == nil && len(k) >= len(full) && string(k[:len(full)]) == full; k, _, err = cur.Get(nil, nil, lmdb.Next) {
			keys = append(keys, string(k[len(metaUser):]))
		}
		return ignoreNotFound(err)
	})
	return keys, err
}

func ignoreNotFound(err error) error {
	if lmdb.IsNotFound(err) {
		return nil
	}
	return err
}

// Stats describes the store at one moment.
type Stats struct {
	Events  uint64 // held
	Head    Pos
	Bytes   int64 // of data.mdb on disk
	Used    int64 // bytes of pages that hold something
	MapSize int64
}

// Stats counts pages, not rows: it costs microseconds.
func (s *Store) Stats() (st Stats, err error) {
	err = s.view(func(txn *lmdb.Txn) error {
		n, err := txn.Stat(s.t.id)
		if err != nil {
			return err
		}
		info, err := s.env.Info()
		if err != nil {
			return err
		}
		free, err := freePages(txn)
		st.Events = n.Entries
		st.Used = (info.LastPNO + 1 - free) * int64(n.PSize)
		return err
	})
	if err != nil {
		return st, fmt.Errorf("stats: %w", err)
	}
	fi, err := os.Stat(filepath.Join(s.dir, "data.mdb"))
	if err != nil {
		return st, fmt.Errorf("stats: %w", err)
	}
	st.Head, st.Bytes, st.MapSize = s.Head(), fi.Size(), s.cfg.MapSize
	return st, nil
}

// freePages adds up LMDB's list of pages that may be used again: table 0,
// whose values begin with a count in the machine's byte order.
func freePages(txn *lmdb.Txn) (n int64, err error) {
	cur, err := txn.OpenCursor(0)
	if err != nil {
		return 0, err
	}
	defer cur.Close()
	_, v, err := cur.Get(nil, nil, lmdb.First)
	for ; err == nil; _, v, err = cur.Get(nil, nil, lmdb.Next) {
		if len(v) >= 8 {
			n += int64(binary.NativeEndian.Uint64(v))
		}
	}
	return n, ignoreNotFound(err)
}

// Labels are the marks gates left on an event; nil when there are none.
func (s *Store) Labels(id ID) (labels []admit.Label, err error) {
	err = s.view(func(txn *lmdb.Txn) error {
		v, err := txn.Get(s.t.label, id[:])
		if lmdb.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return err
		}
		return json.Unmarshal(v, &labels)
	})
	if err != nil {
		return nil, fmt.Errorf("labels of %s: %w", id, err)
	}
	return labels, nil
}

func errDamagedMeta(key string, err error) error {
	return fmt.Errorf("meta %s: %w", key, errors.Join(err, errDamaged))
}
