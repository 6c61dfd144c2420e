package search

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"agora/relay/store"

	"github.com/PowerDNS/lmdb-go/lmdb"
)

// A segment is the index of a stretch of the log. It is written once and never
// changed, except that documents which went are marked. Its pages are rows of
// the LMDB table "pages", under the segment's number and a letter:
//
//	d chunk          -> 68 documents of 60 bytes
//	i id prefix      -> up to 340 pairs of an id's first 8 bytes and its document, ascending; the key is the first
//	t word           -> words in ascending order with their posting lists; the key is the first word
//	t word 0 number  -> the next stretch of one long list
//	x chunk          -> bitmap of 16,384 documents that went
//
// Integers are big-endian. A page is 4,080 bytes at most unless one word's
// list is longer: what LMDB keeps in one page of its own.
const (
	pageSize    = 4080
	docSize     = 60
	docsPerPage = pageSize / docSize
	idSize      = 12
	longList    = 64 << 10 // bytes after which a list goes on in another page
	deadPerPage = 1 << 14  // documents
)

// segment is what the state says of one.
type segment struct {
	Number  uint64 `json:"n"`
	Docs    uint32 `json:"docs"`            // with those that went
	Gone    uint32 `json:"gone,omitempty"`  // documents marked as gone
	Since   int64  `json:"since,omitempty"` // when the first of them went, seconds since 1970
	Words   uint64 `json:"words"`           // length of all bodies together
	Names   uint64 `json:"names,omitempty"` // length of all names together
	Named   uint32 `json:"named,omitempty"` // documents that have a name
	Bytes   int64  `json:"bytes"`           // on disk, roughly
	Created int64  `json:"created"`         // mean created_at
}

// document is one row.
type document struct {
	id      store.ID
	author  uint64 // the first 8 bytes of the public key
	created int64
	kind    uint16
	tags    uint64 // a Bloom filter of the single-letter tags, two bits each
	words   uint16 // length of the body, for merging the means; at most 65,535
}

func (d *document) append(dst []byte) []byte {
	dst = append(dst, d.id[:]...)
	dst = binary.BigEndian.AppendUint64(dst, d.author)
	dst = binary.BigEndian.AppendUint64(dst, uint64(d.created))
	dst = binary.BigEndian.AppendUint16(dst, d.kind)
	dst = binary.BigEndian.AppendUint64(dst, d.tags)
	return binary.BigEndian.AppendUint16(dst, d.words)
}

func readDocument(row []byte) document {
	return document{
		id: store.ID(row[:32]), author: binary.BigEndian.Uint64(row[32:]),
		created: int64(binary.BigEndian.Uint64(row[40:])), kind: binary.BigEndian.Uint16(row[48:]),
		tags: binary.BigEndian.Uint64(row[50:]), words: binary.BigEndian.Uint16(row[58:]),
	}
}

// page is one row on its way to the disk.
type page struct{ key, value []byte }

func pageKey(segment uint64, letter byte, rest ...byte) []byte {
	k := binary.BigEndian.AppendUint64(make([]byte, 0, 9+len(rest)), segment)
	return append(append(k, letter), rest...)
}

func chunkKey(segment uint64, letter byte, chunk uint32) []byte {
	return pageKey(segment, letter, binary.BigEndian.AppendUint32(nil, chunk)...)
}

// termWriter packs words, which come in ascending order, into pages.
type termWriter struct {
	segment uint64
	pages   []page
	bytes   int    // in pages
	first   []byte // the first word of the page being filled
	last    []byte // the last word written
	buf     []byte
	parts   uint16 // pages of the word being written, when its list is long
}

// add writes one word with its whole list, or the next stretch of the list of
// the word before.
func (w *termWriter) add(word []byte, p piece) {
	again := w.last != nil && bytes.Equal(word, w.last)
	size := len(p.bytes) + len(word) + 16
	if again || len(w.buf) > 0 && len(w.buf)+size > pageSize {
		w.flush()
	}
	if again {
		w.parts++
	} else {
		w.parts = 0
	}
	shared := 0
	if len(w.buf) == 0 {
		w.first = append(w.first[:0], word...)
	} else {
		for shared < min(len(word), len(w.last)) && word[shared] == w.last[shared] {
			shared++
		}
	}
	w.buf = append(w.buf, byte(shared), byte(len(word)-shared))
	w.buf = append(w.buf, word[shared:]...)
	w.buf = binary.AppendUvarint(w.buf, uint64(p.docs))
	w.buf = binary.AppendUvarint(w.buf, uint64(p.last))
	w.buf = binary.AppendUvarint(w.buf, uint64(len(p.bytes)))
	w.buf = append(w.buf, p.bytes...)
	w.last = append(w.last[:0], word...)
	if w.parts > 0 {
		w.flush() // a stretch is alone in its page
	}
}

func (w *termWriter) flush() {
	if len(w.buf) == 0 {
		return
	}
	key := pageKey(w.segment, 't', w.first...)
	if w.parts > 0 {
		key = append(key, 0, byte(w.parts>>8), byte(w.parts))
	}
	w.pages = append(w.pages, page{key, bytes.Clone(w.buf)})
	w.bytes += len(w.buf)
	w.buf = w.buf[:0]
}

// take hands over the full pages.
func (w *termWriter) take() []page {
	p := w.pages
	w.pages, w.bytes = nil, 0
	return p
}

var errDamaged = errors.New("the search index is damaged: delete its directory, it builds itself again")

// termPage reads the words of one page.
type termPage struct {
	rest []byte
	word []byte
	piece
}

func (t *termPage) reset(value []byte) { t.rest, t.word = value, t.word[:0] }

// next steps to the next word of the page; more is false at its end.
func (t *termPage) next() (more bool, err error) {
	r := t.rest
	if len(r) == 0 {
		return false, nil
	}
	if len(r) < 2 || int(r[0]) > len(t.word) || len(r) < 2+int(r[1]) {
		return false, errDamaged
	}
	shared, n := int(r[0]), int(r[1])
	t.word = append(t.word[:shared], r[2:2+n]...)
	r = r[2+n:]
	var f [3]uint64
	for i := range f {
		v, n := binary.Uvarint(r)
		if n <= 0 {
			return false, errDamaged
		}
		f[i], r = v, r[n:]
	}
	if f[2] > uint64(len(r)) {
		return false, errDamaged
	}
	t.piece = piece{docs: uint32(f[0]), last: uint32(f[1]), bytes: r[:f[2]]}
	t.rest = r[f[2]:]
	return true, nil
}

// view reads segments within one transaction. What it hands out is valid
// until the transaction ends.
type view struct {
	txn   *lmdb.Txn
	pages lmdb.DBI
	cur   *lmdb.Cursor
}

func newView(txn *lmdb.Txn, pages lmdb.DBI) (*view, error) {
	txn.RawRead = true
	cur, err := txn.OpenCursor(pages)
	return &view{txn, pages, cur}, err
}

func (v *view) close() { v.cur.Close() }

// floor finds the page with the greatest key not above key, if it belongs to
// the same segment and letter; otherwise the first page above.
func (v *view) floor(key []byte) (k, value []byte, err error) {
	k, value, err = v.cur.Get(key, nil, lmdb.SetRange)
	if err == nil && bytes.Equal(k, key) {
		return k, value, nil
	}
	op := uint(lmdb.Prev)
	if lmdb.IsNotFound(err) {
		op = lmdb.Last
	} else if err != nil {
		return nil, nil, err
	}
	pk, pv, err := v.cur.Get(nil, nil, op)
	if err == nil && bytes.HasPrefix(pk, key[:9]) {
		return pk, pv, nil
	}
	if err != nil && !lmdb.IsNotFound(err) {
		return nil, nil, err
	}
	k, value, err = v.cur.Get(key, nil, lmdb.SetRange)
	if lmdb.IsNotFound(err) || err == nil && !bytes.HasPrefix(k, key[:9]) {
		return nil, nil, nil
	}
	return k, value, err
}

// following steps to the next page of the same segment and letter.
func (v *view) following(prefix []byte) (k, value []byte, err error) {
	k, value, err = v.cur.Get(nil, nil, lmdb.Next)
	if lmdb.IsNotFound(err) || err == nil && !bytes.HasPrefix(k, prefix[:9]) {
		return nil, nil, nil
	}
	return k, value, err
}

// words walks the words of a segment in ascending order; a long list comes as
// several pieces under the same word.
type words struct {
	v     *view
	key   []byte // of the segment's first page wanted
	from  []byte
	found bool // the first page was looked for
	termPage
}

// words starts at the given word or the first above it. Two walks need two
// views, for a view has one cursor.
func (v *view) words(segment uint64, from []byte) *words {
	return &words{v: v, key: pageKey(segment, 't', from...), from: from}
}

func (w *words) next() (bool, error) {
	for {
		more, err := w.termPage.next()
		if err != nil {
			return false, fmt.Errorf("segment %d: %w", binary.BigEndian.Uint64(w.key), err)
		}
		if more {
			if bytes.Compare(w.word, w.from) >= 0 {
				return true, nil
			}
			continue
		}
		var value []byte
		if w.found {
			_, value, err = w.v.following(w.key)
		} else {
			_, value, err = w.v.floor(w.key)
		}
		if err != nil || value == nil {
			return false, err
		}
		w.found = true
		w.reset(value)
	}
}

// list is the posting list of one word; empty when the segment lacks it.
func (v *view) list(segment uint64, word []byte) (pieces []piece, docs uint32, err error) {
	w := v.words(segment, word)
	for {
		more, err := w.next()
		if err != nil {
			return nil, 0, err
		}
		if !more || !bytes.Equal(w.word, word) {
			return pieces, docs, nil
		}
		pieces = append(pieces, w.piece)
		docs += w.docs
	}
}

// rows is one page of documents.
func (v *view) rows(segment uint64, chunk uint32) ([]byte, error) {
	b, err := v.txn.Get(v.pages, chunkKey(segment, 'd', chunk))
	if err != nil || len(b) == 0 || len(b)%docSize != 0 {
		return nil, fmt.Errorf("segment %d, documents %d: %w", segment, chunk, errors.Join(err, errDamaged))
	}
	return b, nil
}

// dead is the bitmap of the documents that went.
func (v *view) dead(s segment) (bitmap, error) {
	if s.Gone == 0 {
		return nil, nil
	}
	m := make(bitmap, (s.Docs+63)/64)
	for chunk := uint32(0); chunk*deadPerPage < s.Docs; chunk++ {
		b, err := v.txn.Get(v.pages, chunkKey(s.Number, 'x', chunk))
		if lmdb.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("segment %d, gone: %w", s.Number, err)
		}
		for i := 0; i+8 <= len(b) && int(chunk)*deadPerPage/64+i/8 < len(m); i += 8 {
			m[int(chunk)*deadPerPage/64+i/8] = binary.BigEndian.Uint64(b[i:])
		}
	}
	return m, nil
}

// find looks for an event in a segment; an event that went and came again may
// be there twice.
func (v *view) find(segment uint64, id store.ID) (docs []uint32, err error) {
	key := pageKey(segment, 'i', id[:8]...)
	_, value, err := v.floor(key)
	for ; err == nil && value != nil; _, value, err = v.following(key) {
		for ; len(value) >= idSize; value = value[idSize:] {
			switch bytes.Compare(value[:8], id[:8]) {
			case 1:
				return docs, nil
			case 0:
				doc := binary.BigEndian.Uint32(value[8:])
				row, err := v.row(segment, doc)
				if err != nil {
					return nil, err
				}
				if bytes.Equal(row[:32], id[:]) {
					docs = append(docs, doc)
				}
			}
		}
	}
	return docs, err
}

// row is one document.
func (v *view) row(segment uint64, doc uint32) ([]byte, error) {
	rows, err := v.rows(segment, doc/docsPerPage)
	if err != nil {
		return nil, err
	}
	at := int(doc%docsPerPage) * docSize
	if at+docSize > len(rows) {
		return nil, fmt.Errorf("segment %d, document %d: %w", segment, doc, errDamaged)
	}
	return rows[at : at+docSize], nil
}

// markGone notes that a document went. It reports whether it was there still.
func markGone(txn *lmdb.Txn, pages lmdb.DBI, segment uint64, doc uint32) (bool, error) {
	key := chunkKey(segment, 'x', doc/deadPerPage)
	old, err := txn.Get(pages, key)
	if err != nil && !lmdb.IsNotFound(err) {
		return false, err
	}
	b := make([]byte, deadPerPage/8)
	copy(b, old)
	at := doc % deadPerPage
	word := binary.BigEndian.Uint64(b[at/64*8:])
	if word&(1<<(at%64)) != 0 {
		return false, nil
	}
	binary.BigEndian.PutUint64(b[at/64*8:], word|1<<(at%64))
	return true, txn.Put(pages, key, b, 0)
}

// deletePages removes up to most pages of a segment. It reports whether any
// are left.
func deletePages(txn *lmdb.Txn, pages lmdb.DBI, segment uint64, most int) (left bool, err error) {
	cur, err := txn.OpenCursor(pages)
	if err != nil {
		return false, err
	}
	defer cur.Close()
	prefix := binary.BigEndian.AppendUint64(nil, segment)
	for range most {
		k, _, err := cur.Get(prefix, nil, lmdb.SetRange)
		if lmdb.IsNotFound(err) || err == nil && !bytes.HasPrefix(k, prefix) {
			return false, nil
		}
		if err == nil {
			err = cur.Del(0)
		}
		if err != nil {
			return false, err
		}
	}
	return true, nil
}
