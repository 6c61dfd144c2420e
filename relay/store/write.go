package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"agora/relay/admit"
	"agora/relay/lowhex"

	"github.com/PowerDNS/lmdb-go/lmdb"
)

// errDamaged marks our own corruption: an index and the log disagree.
var errDamaged = errors.New("an index and the log disagree: run agora check")

// put stores one entry, or says why not. Nothing is written unless the outcome
// is Stored.
func (w *writer) put(e *Entry) (Result, error) {
	p, err := w.s.t.parse(e.Event)
	if err != nil {
		return Result{}, err
	}
	rec, err := ParseRecord(e.JSON)
	if err != nil || rec.ID() != p.id {
		return Result{}, fmt.Errorf("event %s: its record is not canonical", e.Event.ID)
	}
	if p.expires != 0 && p.expires <= time.Now().Unix() {
		return Result{Outcome: Expired}, nil
	}
	if out, err := w.refused(e, &p); out != 0 || err != nil {
		return Result{Outcome: out}, err
	}
	loser, out, err := w.rival(&p)
	if out != 0 || err != nil {
		return Result{Outcome: out}, err
	}
	claims, out, err := w.claims(e.Claims, &p)
	if out != 0 || err != nil {
		return Result{Outcome: out}, err
	}
	if loser != 0 {
		if err := w.removeAt(loser); err != nil {
			return Result{}, err
		}
	}
	for _, c := range claims {
		if err := w.take(c, &p); err != nil {
			return Result{}, err
		}
	}
	pos, err := w.insert(e, &p)
	if err != nil {
		return Result{}, err
	}
	rec.Pos, rec.expires = pos, p.expires
	w.notes = append(w.notes, note{rec: rec})
	return Result{Outcome: Stored, Pos: pos}, w.obey(e, &p)
}

// refused checks what is held and what must never come back.
func (w *writer) refused(e *Entry, p *parsed) (Outcome, error) {
	t := &w.s.t
	pos, err := w.pos(p.id)
	if err != nil {
		return 0, err
	}
	if pos != 0 {
		return w.again(p, pos)
	}
	if at, err := w.time(t.vanish, p.pubkey[:]); err != nil || at >= p.created {
		return Vanished, err
	}
	if p.kind != 5 && p.kind != 62 {
		if gone, err := w.buried(e, p); gone || err != nil {
			return Deleted, err
		}
	}
	if p.address != nil {
		if at, err := w.time(t.tombaddr, p.address); err != nil || at >= p.created {
			return Deleted, err
		}
	}
	return 0, nil
}

// again is the answer to an event that is held: a duplicate, unless it is
// about to be removed for a request to vanish.
func (w *writer) again(p *parsed, pos Pos) (Outcome, error) {
	rec, err := w.record(pos)
	if err != nil {
		return 0, err
	}
	if w.s.hidden(&rec) {
		return Vanished, nil
	}
	if p.kind == 62 { // the request itself is covered by its own time, and stays
		return Duplicate, nil
	}
	at, err := w.time(w.s.t.vanish, p.pubkey[:])
	if err != nil || at >= p.created {
		return Vanished, err
	}
	return Duplicate, nil
}

// buried looks for a tombstone by the author, the operator or, for a wrapped
// message, its recipients (NIP-59).
func (w *writer) buried(e *Entry, p *parsed) (bool, error) {
	deleters := [][32]byte{p.pubkey, {}}
	if p.kind == 1059 {
		for _, tag := range e.Event.Tags {
			var pk [32]byte
			if len(tag) >= 2 && tag[0] == "p" && lowhex.Decode(pk[:], tag[1]) && len(deleters) < 64 {
				deleters = append(deleters, pk)
			}
		}
	}
	for _, pk := range deleters {
		if gone, err := w.has(w.s.t.tomb, tombKey(p.id, pk)); gone || err != nil {
			return gone, err
		}
	}
	return false, nil
}

func tombKey(id ID, deleter [32]byte) []byte {
	return append(append(make([]byte, 0, 64), id[:]...), deleter[:]...)
}

// rival finds the version that p would replace; Older when that one stays.
func (w *writer) rival(p *parsed) (loser Pos, out Outcome, err error) {
	if p.address == nil {
		return 0, 0, nil
	}
	v, err := w.txn.Get(w.s.t.address, p.address)
	if lmdb.IsNotFound(err) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, err
	}
	held, err := w.record(Pos(binary.BigEndian.Uint64(v)))
	if err != nil {
		return 0, 0, err
	}
	if !newer(p.created, p.id, held.created, held.ID()) {
		return 0, Older, nil
	}
	return held.Pos, 0, nil
}

// newer reports whether version a wins over b: later, or as late with the
// lower id (NIP-01).
func newer(aTime int64, a ID, bTime int64, b ID) bool {
	return aTime > bTime || aTime == bTime && bytes.Compare(a[:], b[:]) < 0
}

// claimRow is the value of the claim table.
type claimRow struct {
	rule    admit.Rule
	times   uint16 // how often it changed hands
	created int64
	holder  ID // zero: the holder is gone
}

func (c *claimRow) bytes() []byte {
	b := append(make([]byte, 0, 43), byte(c.rule))
	b = binary.BigEndian.AppendUint16(b, c.times)
	b = binary.BigEndian.AppendUint64(b, uint64(c.created))
	return append(b, c.holder[:]...)
}

func parseClaim(b []byte) (c claimRow, err error) {
	if len(b) != 43 {
		return c, fmt.Errorf("claim row of %d bytes: %w", len(b), errDamaged)
	}
	c.rule, c.times = admit.Rule(b[0]), binary.BigEndian.Uint16(b[1:])
	c.created, c.holder = int64(binary.BigEndian.Uint64(b[3:])), ID(b[11:])
	return c, nil
}

// taking is a claim that will be granted, with the row it had.
type taking struct {
	key  [32]byte
	rule admit.Rule
	old  *claimRow // nil: it was free
}

// claims decides all claims of one event before any is taken.
func (w *writer) claims(list []admit.Claim, p *parsed) (out []taking, _ Outcome, _ error) {
	for _, c := range list {
		t := taking{key: sha256.Sum256(c.Key), rule: c.Rule}
		v, err := w.txn.Get(w.s.t.claim, t.key[:])
		if err != nil && !lmdb.IsNotFound(err) {
			return nil, 0, err
		}
		if err == nil {
			old, err := parseClaim(v)
			if err != nil {
				return nil, 0, err
			}
			if c.Rule != admit.Newest || old.rule != admit.Newest || c.Most > 0 && old.times >= c.Most {
				return nil, Claimed, nil
			}
			// a holder that is gone still bars what is older than it was
			if !newer(p.created, p.id, old.created, old.holder) {
				return nil, Older, nil
			}
			t.old = &old
		}
		out = append(out, t)
	}
	return out, 0, nil
}

// take grants a claim and removes the event that held it.
func (w *writer) take(c taking, p *parsed) error {
	now := claimRow{rule: c.rule, created: p.created, holder: p.id}
	if c.old != nil {
		now.times = c.old.times + 1
		if pos, err := w.pos(c.old.holder); err != nil {
			return err
		} else if pos != 0 {
			if err := w.removeAt(pos); err != nil {
				return err
			}
		}
	}
	// the event's own list of claims, so that removal can find them
	if err := w.txn.Put(w.s.t.claim, c.key[:], now.bytes(), 0); err != nil {
		return err
	}
	return w.txn.Put(w.s.t.claim, append(append([]byte{}, p.id[:]...), c.key[:]...), []byte(present), 0)
}

// insert writes the record and what later events of the same commit are held
// against; the other index rows are pending.
func (w *writer) insert(e *Entry, p *parsed) (Pos, error) {
	t := &w.s.t
	pos := w.head + 1
	key := posKey(pos)
	if err := w.txn.Put(t.log, key, logRow(p, e.JSON), lmdb.Append); err != nil {
		return 0, err
	}
	w.head = pos
	if err := w.txn.Put(t.id, p.id[:], key, 0); err != nil {
		return 0, err
	}
	w.pending.add(t.created, createdKey(p.created, p.id), key)
	ent := makeEntry(p.created, p.id, pos)
	for _, r := range p.rows {
		w.pending.add(r.dbi, r.key, ent[:])
	}
	if p.address != nil {
		if err := w.txn.Put(t.address, p.address, key, 0); err != nil {
			return 0, err
		}
	}
	if p.expires != 0 {
		if err := w.txn.Put(t.expiry, append(posKey(Pos(p.expires)), key...), []byte(present), 0); err != nil {
			return 0, err
		}
	}
	return pos, w.label(p.id, e.Labels)
}

func (w *writer) label(id ID, labels []admit.Label) error {
	if len(labels) == 0 {
		return nil
	}
	v, err := json.Marshal(labels)
	if err != nil {
		return fmt.Errorf("labels of %s: %w", id, err)
	}
	return w.txn.Put(w.s.t.label, id[:], v, 0)
}

// removeAt takes the event at pos out of the log and every index, and leaves a
// removal marker. Its claims stay as bare hashes.
func (w *writer) removeAt(pos Pos) error {
	if err := w.pending.flush(w.txn); err != nil { // it may have come in this commit
		return err
	}
	rec, err := w.record(pos)
	if err != nil {
		return err
	}
	ev, err := rec.Event()
	if err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	p, err := w.s.t.parse(ev)
	if err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	w.notes = append(w.notes, note{rec: rec.Clone(), removed: true})
	if err := w.unindex(&p, pos); err != nil {
		return fmt.Errorf("remove %s at %d: %w", p.id, pos, err)
	}
	w.head++
	return w.txn.Put(w.s.t.log, posKey(w.head), markerRow(&p), lmdb.Append)
}

func (w *writer) unindex(p *parsed, pos Pos) error {
	t := &w.s.t
	key := posKey(pos)
	ent := makeEntry(p.created, p.id, pos)
	for _, r := range p.rows {
		// a tag repeated out of sight of parse was indexed once
		if err := w.txn.Del(r.dbi, r.key, ent[:]); ignoreNotFound(err) != nil {
			return err
		}
	}
	if err := errors.Join(w.txn.Del(t.log, key, nil), w.txn.Del(t.id, p.id[:], nil),
		w.txn.Del(t.created, createdKey(p.created, p.id), nil)); err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	if p.address != nil {
		if err := w.txn.Del(t.address, p.address, nil); err != nil {
			return fmt.Errorf("%w: %w", errDamaged, err)
		}
	}
	if p.expires != 0 {
		if err := w.txn.Del(t.expiry, append(posKey(Pos(p.expires)), key...), nil); ignoreNotFound(err) != nil {
			return err
		}
	}
	if err := ignoreNotFound(w.txn.Del(t.label, p.id[:], nil)); err != nil {
		return err
	}
	return w.release(p.id)
}

// release leaves the claims of a removed event standing without a holder: the
// key and its created_at stay, the id goes.
func (w *writer) release(id ID) error {
	cur, err := w.txn.OpenCursor(w.s.t.claim)
	if err != nil {
		return err
	}
	defer cur.Close()
	for {
		k, _, err := cur.Get(id[:], nil, lmdb.SetRange)
		if lmdb.IsNotFound(err) || err == nil && (len(k) != 64 || !bytes.HasPrefix(k, id[:])) {
			return nil
		}
		if err != nil {
			return err
		}
		key := bytes.Clone(k[32:])
		if err := cur.Del(0); err != nil {
			return err
		}
		v, err := w.txn.Get(w.s.t.claim, key)
		if err != nil {
			return fmt.Errorf("claim of %s: %w: %w", id, errDamaged, err)
		}
		c, err := parseClaim(v)
		if err != nil {
			return err
		}
		if c.holder == id {
			c.holder = ID{}
			if err := w.txn.Put(w.s.t.claim, key, c.bytes(), 0); err != nil {
				return err
			}
		}
	}
}

func (w *writer) has(dbi lmdb.DBI, key []byte) (bool, error) {
	_, err := w.txn.Get(dbi, key)
	if lmdb.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// time reads an 8-byte time; -1 when there is none.
func (w *writer) time(dbi lmdb.DBI, key []byte) (int64, error) {
	v, err := w.txn.Get(dbi, key)
	if lmdb.IsNotFound(err) {
		return -1, nil
	}
	if err != nil || len(v) != 8 {
		return -1, errors.Join(err, errDamaged)
	}
	return int64(binary.BigEndian.Uint64(v)), nil
}

// pos finds an event by id; 0 when it is not held.
func (w *writer) pos(id ID) (Pos, error) {
	v, err := w.txn.Get(w.s.t.id, id[:])
	if lmdb.IsNotFound(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	return Pos(binary.BigEndian.Uint64(v)), nil
}

// record reads an event that an index says is there. Its bytes point into the
// map: they are valid until the next write of this transaction.
func (w *writer) record(pos Pos) (Record, error) { return getRecord(w.txn, &w.s.t, pos) }

func getRecord(txn *lmdb.Txn, t *tables, pos Pos) (Record, error) {
	var key [8]byte // does not escape: LMDB copies it
	binary.BigEndian.PutUint64(key[:], uint64(pos))
	v, err := txn.Get(t.log, key[:])
	return asRecord(pos, v, err)
}

// asRecord reads what a look-up gave of a log row that an index says is there:
// anything but an event is damage.
func asRecord(pos Pos, v []byte, err error) (Record, error) {
	if err != nil {
		return Record{}, fmt.Errorf("log row %d: %w: %w", pos, errDamaged, err)
	}
	c, err := readLog(pos, v)
	if err != nil || c.Removed != nil {
		return Record{}, fmt.Errorf("log row %d: %w", pos, errors.Join(err, errDamaged))
	}
	return c.Record, nil
}
