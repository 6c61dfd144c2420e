package graph

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"
	"unique"

	"agora/relay/store"
)

// framed is the graph's snapshot in its frame; its body (see encode) is all keys
// and lists.
func framed(st *store.Store, path string) store.Snapshot {
	return store.Snapshot{Store: st, Path: path, Magic: "agora graph 1\n", Token: "graph.snapshot"}
}

// snapshot is the file that spares a start the reading of all lists, and what is
// known of it.
type snapshot struct {
	file    store.Snapshot // without a path: none is kept
	log     *slog.Logger
	version uint64    // of the web in the file; 0 when there is none
	at      time.Time // when it was last written, read or tried; zero: it is due
}

func (s *snapshot) saved(version uint64) { s.version, s.at = version, time.Now() }

// load reads the file. A nil web means there is none to be used.
func (s *snapshot) load() (*web, store.Pos, error) {
	if s.file.Path == "" {
		return nil, 0, nil
	}
	body, pos, err := s.file.Load()
	var w *web
	if err == nil && body != nil {
		w, err = decodeWeb(body)
	}
	if errors.Is(err, store.ErrSnapshot) {
		s.log.Error("the graph is built from the store", "file", s.file.Path, "reason", err)
		return nil, 0, nil
	}
	return w, pos, err
}

// forget removes the file, which holds a list that its author has taken back.
func (s *snapshot) forget() error {
	if s.file.Path == "" || s.version == 0 {
		return nil
	}
	if err := s.file.Remove(); err != nil {
		return err
	}
	s.version = 0
	return nil
}

// save writes the file anew: whole or not at all.
func (s *snapshot) save(ctx context.Context, body []byte, version uint64, pos store.Pos) error {
	err := s.file.Save(ctx, body, pos)
	if err != nil && !errors.Is(err, store.ErrUntold) {
		return err
	}
	s.saved(version)
	if err != nil { // the file is then not trusted at the next start; nothing is lost
		s.log.Warn("the graph's snapshot will not be used", "reason", err)
	}
	return nil
}

// encode writes all keys, then all lists, with counts before each. The caller
// holds the lock.
func (w *web) encode() []byte {
	out := make([]byte, 0, 40*w.size()+3*w.edges)
	out = binary.AppendUvarint(out, uint64(len(w.nodes)))
	for n := range w.nodes {
		out = append(out, w.nodes[n].key[:]...)
	}
	out = binary.AppendUvarint(out, uint64(w.lists))
	for n := range w.nodes {
		for _, l := range w.nodes[n].lists {
			out = l.encode(binary.AppendUvarint(out, uint64(n)))
		}
	}
	return out
}

func (l *list) encode(out []byte) []byte {
	out = append(out, l.id[:]...)
	out = binary.AppendVarint(out, l.created)
	out = binary.AppendUvarint(out, uint64(l.kind))
	out = appendString(appendString(out, l.d), l.title)
	out = binary.AppendUvarint(out, uint64(len(l.members)))
	for _, m := range l.members {
		out = binary.AppendUvarint(out, uint64(m))
	}
	out = binary.AppendUvarint(out, uint64(len(l.relays)))
	for _, r := range l.relays {
		mode := byte(0)
		if r.Read {
			mode |= 1
		}
		if r.Write {
			mode |= 2
		}
		out = append(appendString(out, r.URL()), mode)
	}
	return out
}

func appendString(out []byte, s string) []byte {
	return append(binary.AppendUvarint(out, uint64(len(s))), s...)
}

var errSnapshot = fmt.Errorf("%w: its contents make no sense", store.ErrSnapshot)

// decodeWeb puts every list in through the front door, so that a file can
// break a promise of the web no more than an event can.
func decodeWeb(body []byte) (*web, error) {
	r := reader{rest: body}
	keys := make([]key, r.count(len(key{})))
	for i := range keys {
		copy(keys[i][:], r.take(len(key{})))
	}
	w := newWeb()
	for range r.count(1) {
		s, ok := r.statement(keys)
		if !ok {
			return nil, errSnapshot
		}
		w.put(s)
	}
	if r.bad || len(r.rest) > 0 {
		return nil, errSnapshot
	}
	return w, nil
}

// reader takes a body apart; after a bad read all others give zeros.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) fail() {
	r.bad, r.rest = true, nil
}

func (r *reader) take(n int) []byte {
	if n > len(r.rest) {
		r.fail()
		return nil
	}
	out := r.rest[:n]
	r.rest = r.rest[n:]
	return out
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

// count is a number of items which take at least size bytes each.
func (r *reader) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.rest)/size) {
		r.fail()
		return 0
	}
	return int(n)
}

func (r *reader) string() string { return string(r.take(r.count(1))) }

func (r *reader) statement(keys []key) (s statement, ok bool) {
	key := func() (k key) {
		n := r.uvarint()
		if n >= uint64(len(keys)) {
			r.fail()
			return k
		}
		return keys[n]
	}
	s.author = key()
	copy(s.id[:], r.take(len(s.id)))
	created, n := binary.Varint(r.rest)
	if n <= 0 {
		r.fail()
		return s, false
	}
	s.created, r.rest = created, r.rest[n:]
	s.kind, s.d, s.title = int(r.uvarint()), r.string(), r.string()
	for range r.count(1) {
		s.members = append(s.members, key())
	}
	for range r.count(2) {
		url, mode := r.string(), r.take(1)
		if r.bad {
			return s, false
		}
		s.relays = append(s.relays, Relay{url: unique.Make(url), Read: mode[0]&1 != 0, Write: mode[0]&2 != 0})
	}
	s.relays = slices.Clip(s.relays)
	return s, !r.bad
}
