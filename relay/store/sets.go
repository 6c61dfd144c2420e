package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/PowerDNS/lmdb-go/lmdb"
	"github.com/nbd-wtf/go-nostr"
)

// sets keeps fingerprints of some event sets ready for negentropy (NIP-77):
// the whole log and each filter of Config.Sets, without the kinds of
// Config.Hidden. A set is a row of blocks, each with the number of its events
// and the sum of their ids; the committer keeps them in the commit of the
// event itself, so a restart finds them as they were. What a block holds is
// read from the disk when it is asked for.
//
//	set      number, lower bound -> events, hidden events, sum of ids
//	setitem  number, key         -> nothing: a member; in the whole set: a hidden event
type sets struct {
	s    *Store
	want []setDef // numbers aside

	mu   sync.Mutex          // guards what follows
	raw  []byte              // the definitions as they stand in the meta table
	defs []setDef            // the same, parsed
	rows map[uint16]*setRows // last seen, by set
}

// setDef is one set, as the meta table keeps it.
type setDef struct {
	Number uint16 `json:"n"`
	Filter string `json:"filter"`         // canonical, see setFilter
	Hidden []int  `json:"hidden"`         // kinds left out
	Next   []byte `json:"next,omitempty"` // created keys below it are in the set; other keys are not, unless Done
	Done   bool   `json:"done"`
	Drop   bool   `json:"drop,omitempty"` // its rows are being deleted
	match  nostr.Filter
}

const (
	metaSets  = "sets"
	wholeSet  = `{}`
	setBuild  = 1000 // events read per commit while a set is built
	setDelete = 2000 // rows deleted per commit while a set is dropped
	blockMax  = 1024 // events per block, hidden ones included; more: it is split
	blockCut  = 512  // events of each part
	blockMin  = 128  // fewer: it joins the block before it when both fit blockJoin
	blockJoin = 768
)

// setKey orders events by created_at, then id: 8 bytes big-endian, 32 bytes.
type setKey = [40]byte

func makeSetKey(created int64, id ID) (k setKey) {
	binary.BigEndian.PutUint64(k[:8], uint64(created))
	copy(k[8:], id[:])
	return k
}

// setEnd is above every key.
func setEnd() setKey { return setKey(bytes.Repeat([]byte{0xff}, 40)) }

func setBefore(a, b *setKey) bool { return bytes.Compare(a[:], b[:]) < 0 }

func compareSetKeys(a, b setKey) int { return bytes.Compare(a[:], b[:]) }

// setRow is a key of the two tables.
func setRow(n uint16, k setKey) []byte {
	return append(binary.BigEndian.AppendUint16(make([]byte, 0, 42), n), k[:]...)
}

func newSets(s *Store) (*sets, error) {
	st := &sets{s: s, rows: map[uint16]*setRows{}}
	hidden := slices.Sorted(slices.Values(s.cfg.Hidden))
	for _, f := range append([]nostr.Filter{{}}, s.cfg.Sets...) {
		text, ok := setFilter(f)
		if !ok {
			return nil, fmt.Errorf("the filter %s cannot be kept ready: it has a limit, a search or an empty list", f)
		}
		d := setDef{Filter: text, Hidden: hidden}
		if !slices.ContainsFunc(st.want, d.same) {
			st.want = append(st.want, d)
		}
	}
	return st, nil
}

// setFilter is the canonical form of a filter, since and until aside; false
// when it cannot be a set.
func setFilter(f nostr.Filter) (string, bool) {
	if f.Limit != 0 || f.LimitZero || f.Search != "" {
		return "", false
	}
	f.Since, f.Until = nil, nil
	if empty(f) {
		return "", false
	}
	tags := map[string][]string{}
	for name, values := range f.Tags {
		tags[name] = tidy(values)
	}
	text, err := json.Marshal(struct {
		IDs     []string            `json:"ids,omitempty"`
		Authors []string            `json:"authors,omitempty"`
		Kinds   []int               `json:"kinds,omitempty"`
		Tags    map[string][]string `json:"tags,omitempty"`
	}{tidy(f.IDs), tidy(f.Authors), tidy(f.Kinds), tags})
	return string(text), err == nil
}

func tidy[T int | string](list []T) []T {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}

func (d setDef) same(o setDef) bool {
	return !d.Drop && !o.Drop && d.Filter == o.Filter && slices.Equal(d.Hidden, o.Hidden)
}

func (d *setDef) whole() bool { return d.Filter == wholeSet }

// covers reports whether an event with this key belongs to the part that is
// already built.
func (d *setDef) covers(k setKey) bool {
	return d.Done || bytes.Compare(createdKey(int64(binary.BigEndian.Uint64(k[:8])), ID(k[8:])), d.Next) < 0
}

// change is one event that enters or leaves a set.
type setChange struct {
	key    setKey
	add    bool
	hidden bool // whole set only
}

// change says what rec's coming or going means to the set.
func (d *setDef) change(rec *Record, add bool) (c setChange, any bool) {
	c = setChange{key: makeSetKey(rec.CreatedAt(), rec.ID()), add: add}
	c.hidden = slices.Contains(d.Hidden, rec.Kind())
	if d.whole() {
		return c, true
	}
	return c, !c.hidden && rec.Match(d.match)
}

// load reads the definitions as txn sees them.
func (st *sets) load(txn *lmdb.Txn) ([]setDef, error) {
	raw, err := txn.Get(st.s.t.meta, []byte(metaSets))
	if lmdb.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the definitions of the sets: %w", err)
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	if bytes.Equal(raw, st.raw) {
		return slices.Clone(st.defs), nil
	}
	var defs []setDef
	if err := json.Unmarshal(raw, &defs); err != nil {
		return nil, fmt.Errorf("definitions of the sets: %w: %w", errDamaged, err)
	}
	for i := range defs {
		d := &defs[i]
		if d.match, err = d.filter(); err != nil {
			return nil, err
		}
	}
	st.raw, st.defs = bytes.Clone(raw), defs
	return slices.Clone(defs), nil
}

func (d *setDef) filter() (f nostr.Filter, err error) {
	var text struct {
		IDs, Authors []string
		Kinds        []int
		Tags         nostr.TagMap
	}
	if err := json.Unmarshal([]byte(d.Filter), &text); err != nil {
		return f, fmt.Errorf("set %d: %w: %w", d.Number, errDamaged, err)
	}
	return nostr.Filter{IDs: text.IDs, Authors: text.Authors, Kinds: text.Kinds, Tags: text.Tags}, nil
}

// ReadySet is the set of the events that match f, when it is one that is kept
// ready; f's since and until narrow it. The kinds of Config.Hidden are not in
// it. It is nil when there is none, or while it is still being built.
func (s *Store) ReadySet(f nostr.Filter) (*Set, error) {
	since, until := f.Since, f.Until
	text, ok := setFilter(f)
	if !ok || empty(nostr.Filter{Since: since, Until: until}) {
		return nil, nil
	}
	set := &Set{s: s, hi: setEnd()}
	err := s.view(func(txn *lmdb.Txn) error {
		defs, err := s.sets.load(txn)
		for _, d := range defs {
			if d.Done && d.same(setDef{Filter: text, Hidden: s.sets.want[0].Hidden}) {
				set.number, set.whole = d.Number, d.whole()
			}
		}
		return err
	})
	if err != nil || set.number == 0 {
		return nil, err
	}
	if since != nil && *since > 0 {
		set.lo = makeSetKey(int64(*since), ID{})
	}
	if until != nil {
		binary.BigEndian.PutUint64(set.hi[:8], uint64(*until)+1)
		clear(set.hi[8:])
	}
	return set, nil
}

// run has the committer build what is new and drop what is no longer wanted,
// a step with every commit; it supplies the commits.
func (st *sets) run(ctx context.Context) error {
	for {
		settled := false
		err := st.s.view(func(txn *lmdb.Txn) error {
			defs, err := st.load(txn)
			settled = st.settled(defs)
			return err
		})
		if err != nil {
			return err
		}
		if settled {
			<-ctx.Done()
			return nil
		}
		err = st.s.do(ctx, func(*writer) error { return nil })
		if err != nil && (ctx.Err() != nil || errors.Is(err, ErrClosed)) {
			return nil //nolint:nilerr // the end is no failure
		}
		if err != nil {
			return fmt.Errorf("build the sets: %w", err)
		}
	}
}

func (st *sets) settled(defs []setDef) bool {
	for _, d := range defs {
		if !d.Done || d.Drop || !slices.ContainsFunc(st.want, d.same) {
			return false
		}
	}
	return len(defs) == len(st.want)
}
