package tally

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"agora/relay/store"
)

// framed is the tally's snapshot in its frame; its body (see encode) is all keys,
// places, acts and lists.
func framed(st *store.Store, path string) store.Snapshot {
	return store.Snapshot{Store: st, Path: path, Magic: "agora tally 2\n", Token: "tally.snapshot"}
}

// snapshot is the file that spares a start the reading of the log, and what is
// known of it.
type snapshot struct {
	file   store.Snapshot // without a path: none is kept
	log    *slog.Logger
	change uint64    // of the book in the file
	held   bool      // there is a file
	loose  bool      // the store does not know its token: it will not be used
	at     time.Time // when it was last written, read or tried
}

// load reads the file. A nil book means there is none to be used.
func (s *snapshot) load() (*state, store.Pos, error) {
	if s.file.Path == "" {
		return nil, 0, nil
	}
	body, pos, err := s.file.Load()
	var b *state
	if err == nil && body != nil {
		b, err = decode(body)
	}
	if errors.Is(err, store.ErrSnapshot) {
		s.log.Error("the tally reads the log", "file", s.file.Path, "reason", err)
		return nil, 0, nil
	}
	if err != nil || b == nil {
		return nil, 0, err
	}
	s.change, s.at, s.held = b.book.change, time.Now(), true
	return b, pos, nil
}

// forget removes the file, which holds what its author has taken back.
func (s *snapshot) forget() error {
	if !s.held {
		return nil
	}
	if err := s.file.Remove(); err != nil {
		return err
	}
	s.held, s.change = false, 0
	return nil
}

// save writes the file anew: whole or not at all.
func (s *snapshot) save(ctx context.Context, body []byte, change uint64, pos store.Pos) error {
	err := s.file.Save(ctx, body, pos)
	s.loose = errors.Is(err, store.ErrUntold)
	if err != nil && !s.loose {
		return err
	}
	s.change, s.at, s.held = change, time.Now(), true
	if s.loose { // it is written again before long; nothing is lost
		s.log.Warn("the tally's snapshot is not trusted yet", "reason", err)
	}
	return nil
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
	due := snap.file.Path != "" && !(snap.held && !snap.loose && change == snap.change) && time.Since(snap.at) >= every
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

func (w *writer) list(acts list) {
	w.u32(uint32(acts.len()))
	for a := range acts.all {
		w.act(a)
	}
}

func (w *writer) ref(r ref) {
	w.u32(r.place)
	w.u32(r.gen)
}

// encode writes a book. The caller holds the lock.
func encode(b *book, waiting []*receipt) []byte {
	w := &writer{out: make([]byte, 0, b.actors.size*37+int(b.notes.size)*90+b.acts*12+1024)}
	w.u64(b.change)
	w.u64(b.purged)
	w.u32(uint32(b.actors.size))
	for n := range uint32(b.actors.size) {
		w.key(*b.actors.name(n))
		w.u32(b.actors.at(n).first)
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
	w.list(n.acts)
	if n.extra == nil {
		w.key(Key{})
		w.u32(0)
		return
	}
	if n.extra.address == nil {
		w.key(Key{})
	} else {
		w.key(*n.extra.address)
	}
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
		w.list(acts)
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

var errSnapshot = fmt.Errorf("%w: its contents make no sense", store.ErrSnapshot)
