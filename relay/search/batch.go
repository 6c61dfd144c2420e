package search

import (
	"cmp"
	"encoding/binary"
	"slices"

	"agora/relay/store"
)

// maxWords bounds the different words indexed of one event; what comes after
// them is not found.
const maxWords = 5000

// maxLength bounds the words read of one event, the same ones counted again.
const maxLength = 1<<16 - 1

// nameMark stands before a word of a name in the index, so that names can be
// told from text and looked up by their beginning.
const nameMark = 1

// batch gathers documents in memory until they are written as a segment.
type batch struct {
	terms map[string]uint32
	words []string // by term
	list  []posting
	seen  []sight // by term
	docs  []document
	text  int // bytes of records read
	total struct {
		words, names uint64
		named        uint32
	}

	fresh   []uint32 // terms of the document being read
	scratch []byte
	key     []byte
}

// posting is one word in one document.
type posting struct {
	term, doc uint32
	weight    byte
}

// sight counts a term in the document being read.
type sight struct{ doc, times uint32 } // doc is one more than its number

func newBatch() *batch { return &batch{terms: map[string]uint32{}} }

// reset empties the batch and keeps its memory for the next, unless it grew
// beyond what a usual one needs.
func (b *batch) reset() {
	if len(b.words) > 200_000 {
		*b = *newBatch()
		return
	}
	clear(b.terms)
	b.words, b.list, b.seen, b.docs, b.text = b.words[:0], b.list[:0], b.seen[:0], b.docs[:0], 0
	b.total.words, b.total.names, b.total.named = 0, 0, 0
}

// add reads one record. A record without any word is left out.
func (b *batch) add(r *store.Record) {
	var length [2]uint32 // words, by part
	b.fresh = b.fresh[:0]
	b.text += len(r.JSON)
	texts(r, &b.scratch, func(p part, text []byte) {
		split(text, func(w []byte, f form) bool {
			b.count(w)
			if f != tail {
				length[body]++
			}
			if p == name && f != tail {
				b.key = append(append(b.key[:0], nameMark), w...)
				b.count(b.key)
				length[name]++
			}
			return len(b.fresh) < maxWords && length[body] < maxLength
		})
	})
	if len(b.fresh) == 0 {
		return
	}
	weights := [2]uint32{length[body], length[name]}
	for _, t := range b.fresh {
		p := body
		if b.words[t][0] == nameMark {
			p = name
		}
		b.list = append(b.list, posting{t, uint32(len(b.docs)), weigh(b.seen[t].times, weights[p])})
	}
	b.total.words += uint64(length[body])
	b.total.names += uint64(length[name])
	if length[name] > 0 {
		b.total.named++
	}
	b.docs = append(b.docs, describe(r, length[body]))
}

func (b *batch) count(word []byte) {
	t, ok := b.terms[string(word)]
	if !ok {
		t = uint32(len(b.words))
		s := string(word)
		b.terms[s] = t
		b.words = append(b.words, s)
		b.seen = append(b.seen, sight{})
	}
	s := &b.seen[t]
	if n := uint32(len(b.docs)) + 1; s.doc != n {
		*s = sight{doc: n}
		b.fresh = append(b.fresh, t)
	}
	s.times++
}

// describe makes the row of a record.
func describe(r *store.Record, words uint32) document {
	pk := r.PubKey()
	d := document{
		id: r.ID(), author: binary.BigEndian.Uint64(pk[:8]), created: r.CreatedAt(),
		kind: uint16(r.Kind()), words: uint16(words),
	}
	r.Tags(func(name, value []byte) bool {
		if len(name) == 1 {
			d.tags |= tagBits(name[0], value)
		}
		return true
	})
	return d
}

// tagBits are a tag's two bits in a document's Bloom filter: FNV-1a, mixed.
func tagBits[T []byte | string](letter byte, value T) uint64 {
	h := (uint64(14695981039346656037) ^ uint64(letter)) * 1099511628211
	for i := range len(value) {
		h = (h ^ uint64(value[i])) * 1099511628211
	}
	h ^= h >> 29
	return 1<<(h&63) | 1<<(h>>6&63)
}

// write turns the batch into the pages of a segment.
func (b *batch) write(number uint64) (segment, []page) {
	s := segment{Number: number, Docs: uint32(len(b.docs)), Words: b.total.words, Names: b.total.names, Named: b.total.named}
	w := &termWriter{segment: number}
	lists := b.lists()
	order := make([]uint32, len(b.words))
	for i := range order {
		order[i] = uint32(i)
	}
	slices.SortFunc(order, func(x, y uint32) int { return cmp.Compare(b.words[x], b.words[y]) })
	var enc, word []byte
	for _, t := range order {
		enc = enc[:0]
		last := uint32(0)
		for _, p := range lists[t] {
			enc = appendPosting(enc, p.doc-last, p.weight)
			last = p.doc
		}
		word = append(word[:0], b.words[t]...)
		w.add(word, piece{docs: uint32(len(lists[t])), last: last, bytes: enc})
	}
	w.flush()
	pages := append(w.take(), rowPages(number, b.docs)...)
	pages = append(pages, idPages(number, idsOf(b.docs))...)
	s.Bytes, s.Created = sizeOf(pages), meanCreated(b.docs)
	return s, pages
}

// lists sorts the postings by term, keeping the order of documents.
func (b *batch) lists() [][]posting {
	start := make([]int, len(b.words)+1)
	for _, p := range b.list {
		start[p.term+1]++
	}
	for i := range len(b.words) {
		start[i+1] += start[i]
	}
	sorted := make([]posting, len(b.list))
	at := slices.Clone(start)
	for _, p := range b.list {
		sorted[at[p.term]] = p
		at[p.term]++
	}
	lists := make([][]posting, len(b.words))
	for t := range lists {
		lists[t] = sorted[start[t]:start[t+1]]
	}
	return lists
}

// rowPages lays documents out, the first as number 0.
func rowPages(segment uint64, docs []document) (pages []page) {
	for chunk := 0; chunk*docsPerPage < len(docs); chunk++ {
		rows := docs[chunk*docsPerPage:]
		rows = rows[:min(len(rows), docsPerPage)]
		value := make([]byte, 0, len(rows)*docSize)
		for i := range rows {
			value = rows[i].append(value)
		}
		pages = append(pages, page{chunkKey(segment, 'd', uint32(chunk)), value})
	}
	return pages
}

// idEntry finds a document by the first 8 bytes of its event's id.
type idEntry struct {
	prefix uint64
	doc    uint32
}

func idsOf(docs []document) []idEntry {
	ids := make([]idEntry, len(docs))
	for i := range docs {
		ids[i] = idEntry{binary.BigEndian.Uint64(docs[i].id[:8]), uint32(i)}
	}
	return ids
}

// idPages sorts ids and lays them out.
func idPages(segment uint64, ids []idEntry) (pages []page) {
	slices.SortFunc(ids, func(x, y idEntry) int {
		return cmp.Or(cmp.Compare(x.prefix, y.prefix), cmp.Compare(x.doc, y.doc))
	})
	for part := range slices.Chunk(ids, pageSize/idSize) {
		key := pageKey(segment, 'i', binary.BigEndian.AppendUint64(nil, part[0].prefix)...)
		value := make([]byte, 0, len(part)*idSize)
		for _, e := range part {
			value = binary.BigEndian.AppendUint64(value, e.prefix)
			value = binary.BigEndian.AppendUint32(value, e.doc)
		}
		pages = append(pages, page{key, value})
	}
	return pages
}

// sizeOf is what pages take on the disk: a value beyond half a page of LMDB
// lies in whole pages of its own.
func sizeOf(pages []page) (n int64) {
	for _, p := range pages {
		n += int64(len(p.key)) + 16
		size := int64(len(p.value))
		if size > 1900 {
			size = (size + 16 + 4095) / 4096 * 4096
		}
		n += size
	}
	return n
}

// meanCreated is the mean created_at, each within what 2001 to 2286 allows, so
// that one absurd date does not move a segment.
func meanCreated(docs []document) int64 {
	var sum int64
	for i := range docs {
		sum += min(max(docs[i].created, 1e9), 1e10-1)
	}
	return sum / max(int64(len(docs)), 1)
}
