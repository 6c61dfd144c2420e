package tally

import (
	"bytes"
	"cmp"
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
	snapshotMagic = "agora tally 1\n"
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

// reader takes a body apart; after a bad read all others give zeros.
type reader struct {
	rest []byte
	bad  bool
}

func (r *reader) take(n int) []byte {
	if n > len(r.rest) {
		r.bad, r.rest = true, nil
		return nil
	}
	out := r.rest[:n]
	r.rest = r.rest[n:]
	return out
}

func (r *reader) key() (k Key) { copy(k[:], r.take(len(k))); return k }

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// count is a number of items which take at least size bytes each.
func (r *reader) count(size int) int {
	n := int(r.u32())
	if n > len(r.rest)/size {
		r.bad, r.rest = true, nil
		return 0
	}
	return n
}

// below is a place in a table of n.
func (r *reader) below(n int) uint32 {
	v := r.u32()
	if int64(v) >= int64(n) {
		r.bad, r.rest = true, nil
		return 0
	}
	return v
}

func (r *reader) ref() ref { return ref{r.u32(), r.u32()} }

func (r *reader) act(keys int) act { return act{r.below(keys), r.u32(), r.u32()} }

// decode reads a book, and derives all that encode leaves out: indexes, chains,
// sums, how often a key is named.
func decode(body []byte) (*state, error) {
	r, b := &reader{rest: body}, newBook()
	b.change, b.purged = r.u64(), r.u64()
	keys := r.count(36)
	b.actors.list = make([]actor, keys)
	for i := range b.actors.list {
		b.actors.list[i].key, b.actors.list[i].first = r.key(), r.u32()
	}
	r.notes(b)
	r.about(b)
	places := b.places[:0]
	for range r.count(8) {
		if at := r.ref(); at.place > 0 && at.place <= b.notes.size {
			places = append(places, at)
		}
	}
	b.places = places
	s := &state{book: b}
	for range r.count(176) {
		s.waiting = append(s.waiting, r.receipt())
	}
	if r.bad || len(r.rest) > 0 {
		return nil, errSnapshot
	}
	return s, b.derive()
}

// state is what a snapshot holds.
type state struct {
	book    *book
	waiting []*receipt
}

func (r *reader) receipt() *receipt {
	z := &receipt{statement: statement{event: r.key(), author: r.key(), actor: r.key()}, recipient: r.key()}
	z.created, z.msat = r.u32(), r.u64()
	z.deeds = []deed{{action: Zap, on: target{id: r.key(), address: r.u32() == 1}}}
	return z
}

func (r *reader) notes(b *book) {
	keys, size := len(b.actors.list), r.count(36)
	for at := range size {
		if at>>pageBits == len(b.notes.pages) {
			b.notes.pages = append(b.notes.pages, make([]note, 1<<pageBits))
			b.notes.marks = append(b.notes.marks, make([]uint64, 1<<pageBits)...)
		}
		n := b.notes.at(uint32(at))
		n.id, n.gen, n.author = r.key(), r.u32(), nobody
		if n.id == (Key{}) {
			continue
		}
		r.note(b, uint32(at), n, keys)
	}
	b.notes.size = uint32(size)
}

func (r *reader) note(b *book, at uint32, n *note, keys int) {
	if n.author = r.u32(); n.author != nobody && int64(n.author) >= int64(keys) {
		r.bad = true
	}
	n.created, n.expires, n.latest, n.kind = r.u32(), r.u32(), r.u32(), uint16(r.u32())
	sketch := r.u64()
	if n.live() {
		b.twins.add(at, n, sketch)
	}
	n.parent, n.root = r.ref(), r.ref()
	if some := r.count(12); some > 0 {
		n.acts = make([]act, some)
		for i := range n.acts {
			n.acts[i] = r.act(keys)
		}
	}
	if address := r.key(); address != (Key{}) {
		n.more().address = address
	}
	for range r.count(28) {
		z := zap{msat: r.u64(), actor: r.below(keys), at: r.u32(), mark: r.u32(), event: r.u64()}
		n.more().zaps = append(n.more().zaps, z)
	}
}

func (r *reader) about(b *book) {
	keys := len(b.actors.list)
	for range r.count(8) {
		of := r.below(keys)
		acts := make([]act, r.count(12))
		for i := range acts {
			acts[i] = r.act(keys)
		}
		b.actors.about[of] = acts
	}
	for range r.count(40) {
		b.lists[r.below(keys)] = stamp{r.key(), r.u32()}
	}
}

// derive makes what follows from keys, notes and acts.
func (b *book) derive() error {
	for i := range b.actors.list {
		if b.actors.list[i].key == (Key{}) {
			b.actors.free = append(b.actors.free, uint32(i))
			continue
		}
		if _, twice := b.actors.find(b.actors.list[i].key); twice {
			return errSnapshot
		}
		b.actors.index.add(uint32(i), b.actors.name)
	}
	var live []uint32
	for at := range b.notes.size {
		n := b.notes.at(at)
		if n.id == (Key{}) {
			b.notes.free = append(b.notes.free, at)
			continue
		}
		if _, twice := b.notes.find(n.id); twice || n.parent.place > b.notes.size || n.root.place > b.notes.size {
			return errSnapshot
		}
		if err := b.deriveNote(at, n); err != nil {
			return err
		}
		if n.live() {
			live = append(live, at)
		}
	}
	b.deriveAbout()
	b.deriveRecent(live)
	return nil
}

func (b *book) deriveNote(at uint32, n *note) error {
	b.notes.index.add(at, b.notes.name)
	if n.extra != nil && n.extra.address != (Key{}) {
		b.notes.named[n.extra.address] = at
	}
	for i, a := range n.acts {
		if i > 0 && n.acts[i-1].compare(a) > 0 || a.action() >= Actions {
			return errSnapshot
		}
		b.actors.list[a.actor].refs++
		b.notes.marks[at] |= bits(a.actor)
	}
	b.acts += len(n.acts)
	if !n.live() {
		b.empty++
		b.settle(at)
		return nil
	}
	b.live++
	b.actors.list[n.author].refs++
	b.chain(at)
	b.settle(at)
	return nil
}

func (b *book) deriveAbout() {
	for of, acts := range b.actors.about {
		b.actors.list[of].refs += uint32(len(acts))
		for _, a := range acts {
			b.actors.list[a.actor].refs++
		}
		b.acts += len(acts)
	}
	for of := range b.lists {
		b.actors.list[of].refs++
	}
}

// deriveRecent puts the latest notes in order.
func (b *book) deriveRecent(live []uint32) {
	b.recent = make([]moment, 0, len(live))
	for _, at := range live {
		b.recent = append(b.recent, moment{b.notes.at(at).created, b.notes.refer(at)})
	}
	slices.SortStableFunc(b.recent, func(x, y moment) int { return cmp.Compare(x.created, y.created) })
	if len(b.recent) > mostRecent {
		b.recent = append([]moment(nil), b.recent[len(b.recent)-mostRecent:]...)
	}
}
