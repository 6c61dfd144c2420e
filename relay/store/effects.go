package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"

	"agora/relay/lowhex"

	"github.com/PowerDNS/lmdb-go/lmdb"
	"github.com/nbd-wtf/go-nostr"
)

// obey does what a stored event asks of other events: NIP-09 deletion and
// NIP-62 vanish, in the event's own commit (a vanish in bulk: by jobs).
func (w *writer) obey(e *Entry, p *parsed) error {
	switch {
	case p.kind == 5:
		return w.delete(e.Event, p)
	case p.kind == 62 && e.Vanish:
		return w.beginVanish(p)
	}
	return nil
}

func (w *writer) delete(ev *nostr.Event, p *parsed) error {
	for _, tag := range ev.Tags {
		if len(tag) < 2 {
			continue
		}
		var err error
		switch tag[0] {
		case "e":
			err = w.deleteID(tag[1], p)
		case "a":
			err = w.deleteAddress(tag[1], p)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// deleteID buries one id under the deleter's key, held or not, and removes the
// event when it is the deleter's own or a wrapped message to the deleter.
func (w *writer) deleteID(hexID string, p *parsed) error {
	id, err := ParseID(hexID)
	if err != nil {
		return nil //nolint:nilerr // a malformed tag asks for nothing
	}
	pos, err := w.pos(id)
	if err != nil {
		return err
	}
	if pos != 0 {
		rec, err := w.record(pos)
		if err != nil {
			return err
		}
		own := rec.PubKey() == p.pubkey
		toMe := rec.kind == 1059 && rec.HasTag('p', ID(p.pubkey).String())
		if rec.kind == 5 || rec.kind == 62 || !own && !toMe {
			return nil
		}
		if err := w.removeAt(pos); err != nil {
			return err
		}
	}
	return w.txn.Put(w.s.t.tomb, tombKey(id, p.pubkey), posKey(Pos(p.created)), 0)
}

func (w *writer) deleteAddress(a string, p *parsed) error {
	kind, pubkey, d, ok := parseAddress(a)
	if !ok || pubkey != p.pubkey {
		return nil
	}
	key := addressKey(kind, pubkey[:], d)
	if at, err := w.time(w.s.t.tombaddr, key); err != nil || at >= p.created {
		return err
	}
	if err := w.txn.Put(w.s.t.tombaddr, key, posKey(Pos(p.created)), 0); err != nil {
		return err
	}
	v, err := w.txn.Get(w.s.t.address, key)
	if lmdb.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	rec, err := w.record(Pos(binary.BigEndian.Uint64(v)))
	if err != nil || rec.created > p.created {
		return err
	}
	return w.removeAt(rec.Pos)
}

// job is a bulk removal that outlives a restart.
type job struct {
	PubKey  ID    `json:"pubkey"`
	At      Pos   `json:"at"`      // position of the request: later messages to the author are welcome
	Until   int64 `json:"until"`   // created_at of the vanish request
	Request ID    `json:"request"` // the request itself stays
}

// MarshalText and UnmarshalText keep ids readable in job rows.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (id *ID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseID(string(b))
	return err
}

// beginVanish bars the author's past at once and leaves the removal to a job.
func (w *writer) beginVanish(p *parsed) error {
	v, err := json.Marshal(job{PubKey: ID(p.pubkey), At: w.head, Until: p.created, Request: p.id})
	if err != nil {
		return fmt.Errorf("vanish of %x: %w", p.pubkey, err)
	}
	w.cleared = true
	if err := w.txn.Put(w.s.t.vanish, p.pubkey[:], posKey(Pos(p.created)), 0); err != nil {
		return err
	}
	return w.txn.Put(w.s.t.job, posKey(w.head), v, 0)
}

// bulk is how many rows one commit of a job removes.
const bulk = 1000

// runJobs works off one slice of the oldest job; it says whether any is left.
func (s *Store) runJobs(ctx context.Context) (bool, error) {
	if s.vanishing.Load() == nil {
		return false, nil // an idle relay commits nothing
	}
	more := false // the committer's until do returns nil
	err := s.do(ctx, func(w *writer) error {
		key, j, err := w.firstJob()
		if key == nil || err != nil {
			more = false
			return err
		}
		more = true
		n, err := w.vanishSome(j)
		if err != nil || n > 0 {
			return err
		}
		w.cleared = true
		return w.txn.Del(s.t.job, key, nil)
	})
	if err != nil {
		return false, err
	}
	return more, nil
}

func (w *writer) firstJob() (key []byte, j job, err error) {
	cur, err := w.txn.OpenCursor(w.s.t.job)
	if err != nil {
		return nil, j, err
	}
	defer cur.Close()
	k, v, err := cur.Get(nil, nil, lmdb.First)
	if err != nil {
		return nil, j, ignoreNotFound(err)
	}
	if err := json.Unmarshal(v, &j); err != nil {
		return nil, j, fmt.Errorf("job row: %w: %w", errDamaged, err)
	}
	return bytes.Clone(k), j, nil
}

// vanishSome removes up to bulk of what a vanish request covers: the author's
// events up to its time, and wrapped messages to the author, which are buried
// by id because their times are backdated (NIP-59).
func (w *writer) vanishSome(j job) (int, error) {
	pk := [32]byte(j.PubKey)
	from := makeEntry(j.Until, ID{}, 0)
	own, err := w.runEntries(w.s.t.author, pk[:], from, j.At, bulk+1)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, e := range own {
		rec, err := w.record(e.pos())
		if err != nil {
			return n, err
		}
		if rec.ID() == j.Request || n == bulk {
			continue
		}
		if err := w.removeAt(e.pos()); err != nil {
			return n, err
		}
		n++
	}
	if n > 0 {
		return n, nil
	}
	wraps, err := w.runEntries(w.s.t.tagkind, tagKindKey(tagKey('p', j.PubKey.String()), 1059), entry{}, j.At, bulk)
	if err != nil {
		return 0, err
	}
	for _, e := range wraps {
		rec, err := w.record(e.pos())
		if err != nil {
			return n, err
		}
		if err := w.txn.Put(w.s.t.tomb, tombKey(rec.ID(), [32]byte{}), posKey(Pos(j.Until)), 0); err != nil {
			return n, err
		}
		if err := w.removeAt(e.pos()); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

// runEntries copies up to limit entries of a run, from the given one on, that
// were stored up to position upTo.
func (w *writer) runEntries(dbi lmdb.DBI, key []byte, from entry, upTo Pos, limit int) (out []entry, err error) {
	cur, err := w.txn.OpenCursor(dbi)
	if err != nil {
		return nil, err
	}
	defer cur.Close()
	_, v, err := cur.Get(key, from[:], lmdb.GetBothRange)
	for ; err == nil && len(out) < limit; _, v, err = cur.Get(nil, nil, lmdb.NextDup) {
		if e := entry(v); e.pos() <= upTo {
			out = append(out, e)
		}
	}
	return out, ignoreNotFound(err)
}

// loadVanishing reads the jobs under way, so that queries hide at once what is
// not yet removed.
func (s *Store) loadVanishing(txn *lmdb.Txn) error {
	cur, err := txn.OpenCursor(s.t.job)
	if err != nil {
		return err
	}
	defer cur.Close()
	m := map[[32]byte]vanishing{}
	_, v, err := cur.Get(nil, nil, lmdb.First)
	for ; err == nil; _, v, err = cur.Get(nil, nil, lmdb.Next) {
		var j job
		if err := json.Unmarshal(v, &j); err != nil {
			return fmt.Errorf("job row: %w: %w", errDamaged, err)
		}
		v := m[j.PubKey]
		if j.Until >= v.until {
			v.until, v.request = j.Until, j.Request
		}
		v.at = max(v.at, j.At)
		m[j.PubKey] = v
	}
	if !lmdb.IsNotFound(err) {
		return err
	}
	if len(m) == 0 {
		s.vanishing.Store(nil)
		return nil
	}
	s.vanishing.Store(&m)
	return nil
}

// vanishing is one bulk removal under way.
type vanishing struct {
	until   int64
	request ID
	at      Pos // what is stored later stays: new mail, and notes younger than the request
}

// hidden reports whether a vanish request that is still being worked off
// covers the record.
func (s *Store) hidden(r *Record) bool {
	m := s.vanishing.Load()
	if m == nil {
		return false
	}
	if v, ok := (*m)[r.PubKey()]; ok && r.created <= v.until && r.ID() != v.request {
		return true
	}
	if r.kind != 1059 {
		return false
	}
	hide := false
	r.Tags(func(name, value []byte) bool {
		var pk [32]byte
		if string(name) == "p" && lowhex.Decode(pk[:], string(value)) {
			v, ok := (*m)[pk]
			hide = ok && r.Pos <= v.at
		}
		return !hide
	})
	return hide
}

// Sweeping reports whether a bulk removal is still being worked off. What it
// covers is hidden already.
func (s *Store) Sweeping() bool { return s.vanishing.Load() != nil }
