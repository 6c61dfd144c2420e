package graph

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"
	"unique"

	"agora/relay/store"
)

// A snapshot file is
//
//	magic, token (16 bytes), position (8), body, SHA-256 of all before (32)
//
// and a body (see encode) all keys and lists. The token also stands in the
// store, so that a snapshot is never used with another store, nor with an older
// copy of its own.
const (
	snapshotMagic = "agora graph 1\n"
	snapshotToken = "graph.snapshot" // key of the store's meta values
	snapshotHead  = len(snapshotMagic) + 16 + 8
)

// snapshot is the file that spares a start the reading of all lists. It is a
// convenience: one that is missing, damaged or foreign costs time, not truth.
type snapshot struct {
	path    string // empty: none is kept
	store   *store.Store
	log     *slog.Logger
	version uint64    // of the web in the file; 0 when there is none
	at      time.Time // when it was last written, read or tried; zero: it is due
}

func (s *snapshot) saved(version uint64) { s.version, s.at = version, time.Now() }

// load reads the file. A nil web means there is none to be used.
func (s *snapshot) load() (*web, store.Pos, error) {
	if s.path == "" {
		return nil, 0, nil
	}
	file, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read the graph's snapshot: %w", err)
	}
	token, err := s.store.Meta(snapshotToken)
	if err != nil {
		return nil, 0, fmt.Errorf("read the token of the graph's snapshot: %w", err)
	}
	web, pos, err := decodeSnapshot(file, token)
	if err == nil && pos > s.store.Head() {
		err = fmt.Errorf("it is at position %d, the log ends at %d", pos, s.store.Head())
	}
	if err != nil {
		s.log.Error("the graph's snapshot cannot be used: building the graph from the store", "file", s.path, "reason", err)
		return nil, 0, nil
	}
	return web, pos, nil
}

// forget removes the file, which holds a list that its author has taken back.
func (s *snapshot) forget() error {
	if s.path == "" || s.version == 0 {
		return nil
	}
	if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the graph's snapshot: %w", err)
	}
	s.version = 0
	return nil
}

// save writes the file anew: whole or not at all.
func (s *snapshot) save(ctx context.Context, body []byte, version uint64, pos store.Pos) error {
	token := make([]byte, 16)
	_, _ = rand.Read(token) // never fails, by its contract
	file := make([]byte, 0, snapshotHead+len(body)+sha256.Size)
	file = append(append(file, snapshotMagic...), token...)
	file = append(binary.BigEndian.AppendUint64(file, uint64(pos)), body...)
	sum := sha256.Sum256(file)
	if err := writeWhole(s.path, append(file, sum[:]...)); err != nil {
		return fmt.Errorf("write the graph's snapshot: %w", err)
	}
	s.saved(version)
	if err := s.store.SetMeta(ctx, snapshotToken, token); err != nil {
		// The file is then not trusted at the next start; nothing is lost.
		s.log.Warn("the token of the graph's snapshot could not be stored", "reason", err)
	}
	return nil
}

// writeWhole puts a file in place in one step, and on the disk.
func writeWhole(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the first error is the one to tell
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
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

var errSnapshot = errors.New("its contents make no sense")

// decodeSnapshot checks a file and reads it.
func decodeSnapshot(file, token []byte) (*web, store.Pos, error) {
	if len(file) < snapshotHead+sha256.Size || !bytes.HasPrefix(file, []byte(snapshotMagic)) {
		return nil, 0, errors.New("it is not a snapshot of this version")
	}
	body, sum := file[:len(file)-sha256.Size], file[len(file)-sha256.Size:]
	if want := sha256.Sum256(body); !bytes.Equal(want[:], sum) {
		return nil, 0, errors.New("its checksum is wrong")
	}
	if !bytes.Equal(token, body[len(snapshotMagic):len(snapshotMagic)+16]) {
		return nil, 0, errors.New("it belongs to another store, or to a later state of this one")
	}
	pos := store.Pos(binary.BigEndian.Uint64(body[len(snapshotMagic)+16:]))
	web, err := decodeWeb(body[snapshotHead:])
	return web, pos, err
}

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
