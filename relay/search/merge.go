package search

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"

	"github.com/PowerDNS/lmdb-go/lmdb"
)

// How segments grow: mergeFan segments of one size class, and smaller ones
// that lie between them, become one. A class is a factor of eight in documents.
const (
	mergeFan   = 8
	mergeCrowd = 80        // segments
	mergeStep  = 2 << 20   // bytes written in one commit of a merge
	mergeDocs  = 1 << 20   // documents in a segment that is merged no further
	purgeAge   = 24 * 3600 // seconds a document that went may stay in a segment
)

// chooseMerge picks neighbours to merge: [from, to). Segments larger than big
// bytes stay as they are, but for one with enough documents that went: it is
// written again alone.
func chooseMerge(segs []segment, big int64, now int64) (from, to int) {
	fixed := func(s segment) bool { return s.Bytes > big || s.Docs >= mergeDocs }
	for class := 0; class < 11; class++ {
		first, last, n := -1, 0, 0 // the run's first and last segment of this very class
		for i, s := range segs {
			switch c := sizeClass(s.Docs); {
			case fixed(s) || c > class:
				n = 0
			case c == class:
				if n == 0 {
					first = i
				}
				last, n = i, n+1
			}
			if n == mergeFan {
				return first, fit(segs, first, last+1, big)
			}
		}
	}
	for i, s := range segs {
		if s.Gone > 0 && (s.Gone >= s.Docs/8+1 || now-s.Since > purgeAge) {
			return i, i + 1
		}
	}
	return crowded(segs, fixed)
}

// crowded picks the smallest neighbours when there are more segments than a
// query should look into, which only odd patterns of rates bring about.
func crowded(segs []segment, fixed func(segment) bool) (from, to int) {
	best := uint64(math.MaxUint64)
	for i := 0; len(segs) > mergeCrowd && i+mergeFan <= len(segs); i++ {
		docs, ok := uint64(0), true
		for _, s := range segs[i : i+mergeFan] {
			docs += uint64(s.Docs)
			ok = ok && !fixed(s)
		}
		if ok && docs < best {
			best, from, to = docs, i, i+mergeFan
		}
	}
	return from, to
}

// fit shortens a run until what it makes is about big bytes and not more
// documents than a segment may have. Two segments are always taken.
func fit(segs []segment, from, to int, big int64) int {
	var bytes int64
	var docs uint32
	for i := from; i < to; i++ {
		bytes += segs[i].Bytes
		docs += segs[i].Docs
		if i >= from+2 && (bytes > 2*big || docs > 2*mergeDocs) {
			return i
		}
	}
	return to
}

func sizeClass(docs uint32) int { return (bits.Len32(docs) - 1) / 3 }

// merge is one merge under way. It works in steps, so that new events are
// written in between. Until finish, nothing refers to what it wrote.
type merge struct {
	sources []segment
	into    segment
	dead    []bitmap   // what had gone when the merge began
	base    []uint32   // the first new number of each source
	ranks   [][]uint32 // dead documents before each 64, by source

	source int    // rows: the source being copied
	chunk  uint32 // rows: its next page
	docs   []byte // rows not written yet
	ids    []idEntry
	sum    int64  // of created_at
	rows   bool   // the rows are done
	words  bool   // the words are done
	after  []byte // the last word done
	out    termWriter
	acc    []byte // scratch
}

func newMerge(v *view, sources []segment, number uint64) (*merge, error) {
	m := &merge{sources: sources, into: segment{Number: number}, out: termWriter{segment: number}}
	n := uint32(0)
	for _, s := range sources {
		dead, err := v.dead(s)
		if err != nil {
			return nil, err
		}
		m.dead = append(m.dead, dead)
		m.base = append(m.base, n)
		m.ranks = append(m.ranks, rankOf(dead))
		n += s.Docs - dead.count()
		m.into.Names += s.Names
		m.into.Named += s.Named
	}
	m.into.Docs = n
	m.ids = make([]idEntry, 0, n)
	return m, nil
}

func rankOf(m bitmap) []uint32 {
	r := make([]uint32, len(m))
	n := uint32(0)
	for i, w := range m {
		r[i] = n
		n += uint32(bits.OnesCount64(w))
	}
	return r
}

// number is the new number of a document that stays.
func (m *merge) number(source int, doc uint32) uint32 {
	n := m.base[source] + doc
	if i := int(doc >> 6); i < len(m.ranks[source]) {
		n -= m.ranks[source][i] + uint32(bits.OnesCount64(m.dead[source][i]&(1<<(doc&63)-1)))
	}
	return n
}

// step makes the next pages, about mergeStep bytes. Once it makes none, the
// merge is ready to be finished.
func (m *merge) step(v *view) ([]page, error) {
	if !m.rows {
		return m.copyRows(v)
	}
	if !m.words {
		return m.copyWords(v)
	}
	if m.ids != nil {
		pages := idPages(m.into.Number, m.ids)
		m.ids = nil
		return pages, nil
	}
	return nil, nil
}

func (m *merge) copyRows(v *view) (pages []page, err error) {
	for len(pages) < mergeStep/pageSize && m.source < len(m.sources) {
		rows, err := v.rows(m.sources[m.source].Number, m.chunk)
		if err != nil {
			return nil, err
		}
		for i := 0; i*docSize < len(rows); i++ {
			if !m.dead[m.source].has(m.chunk*docsPerPage + uint32(i)) {
				m.row(rows[i*docSize : (i+1)*docSize])
			}
		}
		for len(m.docs) >= docsPerPage*docSize {
			pages = append(pages, m.rowPage(docsPerPage*docSize))
		}
		m.chunk++
		if m.chunk*docsPerPage >= m.sources[m.source].Docs {
			m.source, m.chunk = m.source+1, 0
		}
	}
	if m.source == len(m.sources) {
		m.rows = true
		if len(m.docs) > 0 {
			pages = append(pages, m.rowPage(len(m.docs)))
		}
		if len(m.ids) != int(m.into.Docs) {
			return nil, fmt.Errorf("merge into segment %d: %d documents instead of %d: %w", m.into.Number, len(m.ids), m.into.Docs, errDamaged)
		}
		m.into.Created = m.sum / max(int64(len(m.ids)), 1)
	}
	return pages, nil
}

func (m *merge) row(row []byte) {
	d := readDocument(row)
	m.sum += min(max(d.created, 1e9), 1e10-1)
	m.into.Words += uint64(d.words)
	m.ids = append(m.ids, idEntry{binary.BigEndian.Uint64(row), uint32(len(m.ids))})
	m.docs = append(m.docs, row...)
}

func (m *merge) rowPage(n int) page {
	chunk := (uint32(len(m.ids)) - uint32(len(m.docs)/docSize)) / docsPerPage
	p := page{chunkKey(m.into.Number, 'd', chunk), bytes.Clone(m.docs[:n])}
	m.docs = append(m.docs[:0], m.docs[n:]...)
	return p
}

// lane is one source of the words being merged.
type lane struct {
	source int
	words  *words
	more   bool
}

func (l *lane) advance() (err error) {
	l.more, err = l.words.next()
	return err
}

// copyWords merges words after m.after until a step's worth is written.
func (m *merge) copyWords(v *view) ([]page, error) {
	lanes, closeAll, err := m.lanes(v)
	defer closeAll()
	if err != nil {
		return nil, err
	}
	var word []byte
	for m.out.bytes < mergeStep {
		word = leastWord(lanes, word)
		if len(word) == 0 {
			m.words = true
			m.out.flush()
			break
		}
		if err := m.join(lanes, word); err != nil {
			return nil, err
		}
		m.after = append(m.after[:0], word...)
	}
	return m.out.take(), nil
}

func (m *merge) lanes(v *view) (lanes []*lane, closeAll func(), err error) {
	var views []*view
	closeAll = func() {
		for _, v := range views {
			v.close()
		}
	}
	for i, s := range m.sources {
		own, err := newView(v.txn, v.pages)
		if err != nil {
			return nil, closeAll, err
		}
		views = append(views, own)
		l := &lane{source: i, words: own.words(s.Number, m.after)}
		if err := l.advance(); err != nil {
			return nil, closeAll, err
		}
		for l.more && m.after != nil && bytes.Equal(l.words.word, m.after) {
			if err := l.advance(); err != nil {
				return nil, closeAll, err
			}
		}
		lanes = append(lanes, l)
	}
	return lanes, closeAll, nil
}

// leastWord is the next word of all lanes; empty at their end.
func leastWord(lanes []*lane, word []byte) []byte {
	var least *lane
	for _, l := range lanes {
		if l.more && (least == nil || bytes.Compare(l.words.word, least.words.word) < 0) {
			least = l
		}
	}
	if least == nil {
		return word[:0]
	}
	return append(word[:0], least.words.word...)
}

// join writes the list of one word: the lists of the sources one after the
// other.
func (m *merge) join(lanes []*lane, word []byte) error {
	acc, last := piece{bytes: m.acc[:0]}, uint32(0)
	for _, l := range lanes {
		old := uint32(0) // the source's own last document
		for n := 0; l.more && bytes.Equal(l.words.word, word); n++ {
			p := l.words.piece
			if acc.docs > 0 && len(acc.bytes)+len(p.bytes) > longList {
				m.out.add(word, acc)
				acc = piece{bytes: acc.bytes[:0]}
			}
			if err := m.appendPiece(&acc, l.source, p, old, n == 0, &last); err != nil {
				return err
			}
			old = p.last
			if err := l.advance(); err != nil {
				return err
			}
		}
	}
	if acc.docs > 0 {
		m.out.add(word, acc)
	}
	m.acc = acc.bytes
	return nil
}

// appendPiece appends one stretch of a source's list to acc. Only where
// documents went is the list read; elsewhere the first distance alone is
// written anew. The last document written is kept in last.
func (m *merge) appendPiece(acc *piece, source int, p piece, old uint32, first bool, last *uint32) error {
	if m.dead[source] == nil {
		if first {
			d, n := binary.Uvarint(p.bytes)
			if n <= 0 {
				return errDamaged
			}
			acc.bytes = binary.AppendUvarint(acc.bytes, uint64(m.base[source]+uint32(d)-*last))
			acc.bytes = append(acc.bytes, p.bytes[n:]...)
		} else {
			acc.bytes = append(acc.bytes, p.bytes...)
		}
		acc.docs += p.docs
		*last = m.base[source] + p.last
		acc.last = *last
		return nil
	}
	r := reader{pieces: []piece{p}, doc: old}
	for r.next() {
		if m.dead[source].has(r.doc) {
			continue
		}
		n := m.number(source, r.doc)
		acc.bytes = appendPosting(acc.bytes, n-*last, r.weight)
		acc.docs++
		*last = n
		acc.last = n
	}
	return nil
}

// finish makes the new segment take the place of its sources, in the state and
// on the disk. Documents that went meanwhile are marked in it. It reports
// false when a source is no longer there: then the merge was in vain.
func (m *merge) finish(txn *lmdb.Txn, pages lmdb.DBI, st *state) (bool, error) {
	at := -1
	for i := range st.Segments {
		if st.Segments[i].Number == m.sources[0].Number {
			at = i
		}
	}
	if at < 0 || at+len(m.sources) > len(st.Segments) {
		return false, nil
	}
	now := st.Segments[at : at+len(m.sources)]
	for i := range now {
		if now[i].Number != m.sources[i].Number {
			return false, nil
		}
	}
	if err := m.carryGone(txn, pages, now); err != nil {
		return false, err
	}
	for _, s := range now {
		st.Trash = append(st.Trash, s.Number)
	}
	rest := append([]segment{}, st.Segments[at+len(m.sources):]...)
	st.Segments = st.Segments[:at]
	if m.into.Docs > 0 {
		st.Segments = append(st.Segments, m.into)
	}
	st.Segments = append(st.Segments, rest...)
	return true, nil
}

// carryGone marks in the new segment what went since the merge began.
func (m *merge) carryGone(txn *lmdb.Txn, pages lmdb.DBI, now []segment) error {
	v, err := newView(txn, pages)
	if err != nil {
		return err
	}
	defer v.close()
	for i, s := range now {
		if s.Gone == m.sources[i].Gone {
			continue
		}
		dead, err := v.dead(s)
		if err != nil {
			return err
		}
		for doc := range s.Docs {
			if !dead.has(doc) || m.dead[i].has(doc) {
				continue
			}
			if _, err := markGone(txn, pages, m.into.Number, m.number(i, doc)); err != nil {
				return err
			}
			m.into.Gone++
			m.into.Since = s.Since
		}
	}
	return nil
}
