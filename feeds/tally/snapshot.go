package tally

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
	"time"

	"agora/relay/store"
)

// A snapshot file is
//
//	magic, token (16 bytes), position (8), body, SHA-256 of all before (32)
//
// and a body (see encode) all keys, places, acts and lists. The token also
// stands in the store, so that a snapshot is never used with another store, nor
// with an older copy of its own.
const (
	snapshotMagic = "agora tally 2\n"
	snapshotToken = "tally.snapshot" // key of the store's meta values
	snapshotHead  = len(snapshotMagic) + 16 + 8
)

// snapshot is the file that spares a start the reading of the log. It is a
// convenience: one that is missing, damaged or foreign costs time, not truth.
type snapshot struct {
	path   string // empty: none is kept
	store  *store.Store
	log    *slog.Logger
	change uint64    // of the book in the file
	held   bool      // there is a file
	loose  bool      // the store does not know its token: it will not be used
	at     time.Time // when it was last written, read or tried
}

// load reads the file. A nil book means there is none to be used.
func (s *snapshot) load() (*state, store.Pos, error) {
	if s.path == "" {
		return nil, 0, nil
	}
	file, err := os.ReadFile(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read the tally's snapshot: %w", err)
	}
	token, err := s.store.Meta(snapshotToken)
	if err != nil {
		return nil, 0, fmt.Errorf("read the token of the tally's snapshot: %w", err)
	}
	b, pos, err := decodeSnapshot(file, token)
	if err == nil && pos > s.store.Head() {
		err = fmt.Errorf("it is at position %d, the log ends at %d", pos, s.store.Head())
	}
	if err != nil {
		s.log.Error("the tally's snapshot cannot be used: reading the log", "file", s.path, "reason", err)
		return nil, 0, nil
	}
	s.change, s.at, s.held = b.book.change, time.Now(), true
	return b, pos, nil
}

// forget removes the file, which holds what its author has taken back.
func (s *snapshot) forget() error {
	if !s.held {
		return nil
	}
	if err := os.Remove(s.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove the tally's snapshot: %w", err)
	}
	s.held, s.change = false, 0
	return nil
}

// save writes the file anew: whole or not at all.
func (s *snapshot) save(ctx context.Context, body []byte, change uint64, pos store.Pos) error {
	token := make([]byte, 16)
	_, _ = rand.Read(token) // never fails, by its contract
	file := make([]byte, 0, snapshotHead+len(body)+sha256.Size)
	file = append(append(file, snapshotMagic...), token...)
	file = append(binary.BigEndian.AppendUint64(file, uint64(pos)), body...)
	sum := sha256.Sum256(file)
	if err := writeWhole(s.path, append(file, sum[:]...)); err != nil {
		return fmt.Errorf("write the tally's snapshot: %w", err)
	}
	s.change, s.at, s.held, s.loose = change, time.Now(), true, false
	if err := s.store.SetMeta(ctx, snapshotToken, token); err != nil {
		// The file is not trusted at the next start, unless it is written again
		// before; nothing is lost.
		s.loose = true
		s.log.Warn("the token of the tally's snapshot could not be stored", "reason", err)
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

// purge removes the snapshot when something has been taken back since it was
// written: it still holds that.
func (t *Tally) purge(snap *snapshot) {
	t.mu.RLock()
	purged := t.book.purged
	t.mu.RUnlock()
	if purged <= snap.change {
		return
	}
	if err := snap.forget(); err != nil {
		snap.log.Error("a snapshot of the tally with something that was taken back is still on disk", "reason", err)
	}
}

// keep writes the snapshot when it is due. A disk that refuses is told to the
// operator, and does not stop the tally.
func (t *Tally) keep(ctx context.Context, snap *snapshot, pos store.Pos, every time.Duration) {
	t.mu.RLock()
	change := t.book.change
	due := snap.path != "" && !(snap.held && !snap.loose && change == snap.change) && time.Since(snap.at) >= every
	var body []byte
	if due {
		body = encode(t.book, t.waiting.list)
	}
	t.mu.RUnlock()
	if !due {
		return
	}
	if err := snap.save(ctx, body, change, pos); err != nil {
		snap.at = time.Now()
		snap.log.Warn("the tally goes on without a snapshot", "reason", err)
	}
}

// writer appends numbers and keys.
type writer struct{ out []byte }

func (w *writer) key(k Key)    { w.out = append(w.out, k[:]...) }
func (w *writer) u32(v uint32) { w.out = binary.LittleEndian.AppendUint32(w.out, v) }
func (w *writer) u64(v uint64) { w.out = binary.LittleEndian.AppendUint64(w.out, v) }

func (w *writer) act(a act) {
	w.u32(a.actor)
	w.u32(a.at)
	w.u32(a.mark)
}

func (w *writer) ref(r ref) {
	w.u32(r.place)
	w.u32(r.gen)
}

// encode writes a book. The caller holds the lock.
func encode(b *book, waiting []*receipt) []byte {
	w := &writer{out: make([]byte, 0, len(b.actors.list)*37+int(b.notes.size)*90+b.acts*12+1024)}
	w.u64(b.change)
	w.u64(b.purged)
	w.u32(uint32(len(b.actors.list)))
	for _, a := range b.actors.list {
		w.key(a.key)
		w.u32(a.first)
	}
	w.u32(b.notes.size)
	for at := range b.notes.size {
		w.note(b.notes.at(at), b.twins.sketch(at))
	}
	w.about(b)
	w.u32(uint32(len(b.places)))
	for _, r := range b.places {
		w.ref(r)
	}
	w.u32(uint32(len(waiting)))
	for _, z := range waiting {
		w.receipt(z)
	}
	return w.out
}

func (w *writer) note(n *note, sketch uint64) {
	w.key(n.id)
	w.u32(n.gen)
	if n.id == (Key{}) {
		return
	}
	for _, v := range []uint32{n.author, n.created, n.expires, n.latest, uint32(n.kind)} {
		w.u32(v)
	}
	w.u64(sketch)
	w.ref(n.parent)
	w.ref(n.root)
	w.u32(uint32(len(n.acts)))
	for _, a := range n.acts {
		w.act(a)
	}
	if n.extra == nil {
		w.key(Key{})
		w.u32(0)
		return
	}
	w.key(n.extra.address)
	w.u32(uint32(len(n.extra.zaps)))
	for _, z := range n.extra.zaps {
		w.u64(z.msat)
		w.u32(z.actor)
		w.u32(z.at)
		w.u32(z.mark)
		w.u64(z.event)
	}
}

func (w *writer) about(b *book) {
	w.u32(uint32(len(b.actors.about)))
	for of, acts := range b.actors.about {
		w.u32(of)
		w.u32(uint32(len(acts)))
		for _, a := range acts {
			w.act(a)
		}
	}
	w.u32(uint32(len(b.lists)))
	for of, s := range b.lists {
		w.u32(of)
		w.key(s.event)
		w.u32(s.created)
	}
}

func (w *writer) receipt(z *receipt) {
	w.key(z.event)
	w.key(z.author)
	w.key(z.actor)
	w.key(z.recipient)
	w.u32(z.created)
	w.u64(z.msat)
	on := z.deeds[0].on
	w.key(on.id)
	if on.address {
		w.u32(1)
	} else {
		w.u32(0)
	}
}

var errSnapshot = errors.New("its contents make no sense")

// decodeSnapshot checks a file and reads it.
func decodeSnapshot(file, token []byte) (*state, store.Pos, error) {
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
	b, err := decode(body[snapshotHead:])
	return b, pos, err
}
