package store

import (
	"math"
	"slices"

	"agora/relay/lowhex"

	"github.com/PowerDNS/lmdb-go/lmdb"
	"github.com/nbd-wtf/go-nostr"
)

// maxRuns bounds the runs one filter is spread over; past it a coarser index
// is read and its rows are checked one by one.
const maxRuns = 4096

// plan turns filters into streams.
func (s *Store) plan(filters []nostr.Filter, upTo Pos) (*query, error) {
	q := &query{s: s, upTo: upTo}
	for _, f := range filters {
		if f.LimitZero || f.Limit < 0 || empty(f) {
			continue
		}
		st, err := s.stream(f)
		if err != nil {
			return nil, err
		}
		q.streams = append(q.streams, st)
	}
	q.done = len(q.streams) == 0
	return q, nil
}

// empty reports whether f can match nothing.
func empty(f nostr.Filter) bool {
	none := func(list []string) bool { return list != nil && len(list) == 0 }
	if none(f.IDs) || none(f.Authors) || f.Kinds != nil && len(f.Kinds) == 0 {
		return true
	}
	for _, values := range f.Tags {
		if len(values) == 0 {
			return true
		}
	}
	return f.Until != nil && (*f.Until < 0 || f.Since != nil && *f.Since > *f.Until)
}

func (s *Store) stream(f nostr.Filter) (*stream, error) {
	st := &stream{f: f, left: -1}
	if f.Limit > 0 {
		st.left = f.Limit
	}
	if f.Since != nil {
		st.since = int64(*f.Since)
	}
	until := int64(math.MaxInt64)
	if f.Until != nil {
		until = int64(*f.Until)
	}
	st.first = makeEntry(until, ID{}, 0)
	if f.IDs != nil {
		st.runs = []*run{{ids: parseIDs(f.IDs)}}
		return st, nil
	}
	options := s.options(f)
	best := options[0]
	if len(options) > 1 {
		if err := s.view(func(txn *lmdb.Txn) (err error) {
			best, err = cheapest(txn, options)
			return err
		}); err != nil {
			return nil, err
		}
	}
	st.covers = best.covers
	runs := make([]run, len(best.rows))
	for i, r := range best.rows {
		runs[i] = run{dbi: r.dbi, key: r.key}
		st.runs = append(st.runs, &runs[i])
	}
	return st, nil
}

func parseIDs(list []string) (ids []ID) {
	for _, h := range unique(list) {
		if id, err := ParseID(h); err == nil {
			ids = append(ids, id)
		}
	}
	return ids
}

// option is one way to read a filter.
type option struct {
	rows   []row
	covers bool // no row needs a look at its record
}

// options lists the ways worth comparing; there is always one.
func (s *Store) options(f nostr.Filter) (out []option) {
	names := make([]string, 0, len(f.Tags))
	for name := range f.Tags {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if rows, exact := s.tagRows(name, f); rows != nil {
			out = append(out, option{rows, exact && len(f.Tags) == 1 && f.Authors == nil})
		}
	}
	if f.Authors != nil {
		rows, exact := s.authorRows(f)
		out = append(out, option{rows, exact && len(f.Tags) == 0})
	}
	if len(out) > 0 {
		return out
	}
	if f.Kinds != nil {
		for _, k := range unique(f.Kinds) {
			if k >= 0 && k <= 65535 {
				out = append(out, option{rows: []row{{s.t.kind, kindKey(k)}}})
			}
		}
		return []option{{rows: flatten(out), covers: len(f.Tags) == 0}}
	}
	return []option{{rows: []row{{dbi: s.t.created}}, covers: len(f.Tags) == 0}}
}

func flatten(list []option) (rows []row) {
	for _, o := range list {
		rows = append(rows, o.rows...)
	}
	return rows
}

// tagRows spreads one tag of the filter over runs, by kind too where the index
// has it; nil when the name is no single letter.
func (s *Store) tagRows(name string, f nostr.Filter) (rows []row, exact bool) {
	if len(name) != 1 || !isLetter(name[0]) {
		return nil, false
	}
	values := unique(f.Tags[name])
	rows = []row{}
	if f.Kinds != nil && hasTagKind(name[0]) && len(values)*len(f.Kinds) <= maxRuns {
		for _, v := range values {
			key := tagKey(name[0], v)
			for _, k := range unique(f.Kinds) {
				rows = append(rows, row{s.t.tagkind, tagKindKey(key, k)})
			}
		}
		return rows, true
	}
	for _, v := range values {
		rows = append(rows, row{s.t.tag, tagKey(name[0], v)})
	}
	return rows, f.Kinds == nil
}

func (s *Store) authorRows(f nostr.Filter) (rows []row, exact bool) {
	rows = []row{}
	byKind := f.Kinds != nil && len(f.Authors)*len(f.Kinds) <= maxRuns
	for _, a := range unique(f.Authors) {
		var pk [32]byte
		if !lowhex.Decode(pk[:], a) {
			continue
		}
		if !byKind {
			rows = append(rows, row{s.t.author, pk[:]})
			continue
		}
		for _, k := range unique(f.Kinds) {
			rows = append(rows, row{s.t.authorkind, authorKindKey(pk[:], k)})
		}
	}
	return rows, byKind || f.Kinds == nil
}

func unique[T int | string](list []T) []T {
	if len(list) < 2 {
		return list
	}
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}

// cheapest picks the option with the fewest entries in all its runs.
func cheapest(txn *lmdb.Txn, options []option) (best option, err error) {
	least := uint64(math.MaxUint64)
	for _, o := range options {
		n := uint64(len(o.rows))
		for _, r := range o.rows {
			if n >= least {
				break
			}
			c, err := count(txn, r)
			if err != nil {
				return best, err
			}
			n += c
		}
		if n < least {
			best, least = o, n
		}
	}
	return best, nil
}

func count(txn *lmdb.Txn, r row) (uint64, error) {
	cur, err := txn.OpenCursor(r.dbi)
	if err != nil {
		return 0, err
	}
	defer cur.Close()
	if _, _, err := cur.Get(r.key, nil, lmdb.SetKey); err != nil {
		return 0, ignoreNotFound(err)
	}
	return cur.Count()
}
