package search

import (
	"bytes"
	"cmp"
	"slices"
)

// How much a name is worth beside a text, and the beginning of one.
const (
	nameFactor   = 2.0
	prefixFactor = 0.5
	maxPrefix    = 512 // words a beginning stands for, by segment: the first in the alphabet
)

// wanted is one word of a query with everything it stands for in one segment:
// its list, the list of names, lists of words it begins.
type wanted struct {
	docs  uint64 // postings in all of them
	lists []wantedList
}

type wantedList struct {
	pieces []piece
	table  *table // body or name, with its factor
}

// look gathers what a word stands for in a segment.
func (q *Query) look(v *view, segment uint64, word string, t *tables) (w wanted, err error) {
	add := func(key []byte, t *table) error {
		pieces, n, err := v.list(segment, key)
		if n > 0 {
			w.docs += uint64(n)
			w.lists = append(w.lists, wantedList{pieces, t})
		}
		return err
	}
	key := append([]byte{nameMark}, word...)
	if err := add(key[1:], t.body); err != nil {
		return w, err
	}
	if err := add(key, t.name); err != nil {
		return w, err
	}
	if word == q.typing {
		err = w.prefix(v, segment, key, t.start)
	}
	if err == nil && q.single[word] {
		err = w.prefix(v, segment, key[1:], t.body)
	}
	return w, err
}

// prefix adds the words that begin with key.
func (w *wanted) prefix(v *view, segment uint64, key []byte, t *table) error {
	ws := v.words(segment, key)
	var last []byte
	for n := 0; n < maxPrefix; {
		more, err := ws.next()
		if err != nil || !more || !bytes.HasPrefix(ws.word, key) {
			return err
		}
		if len(ws.word) == len(key) {
			continue // the word itself, which look has added
		}
		w.docs += uint64(ws.docs)
		if bytes.Equal(ws.word, last) { // a long list goes on
			l := &w.lists[len(w.lists)-1]
			l.pieces = append(l.pieces, ws.piece)
			continue
		}
		n++
		last = append(last[:0], ws.word...)
		w.lists = append(w.lists, wantedList{[]piece{ws.piece}, t})
	}
	return nil
}

// tables are the scores by weight, for the three things a word can meet.
type tables struct{ body, name, start *table }

// walk goes through the documents of one wanted word, ascending, each with the
// best score of its lists.
type walk struct {
	doc    uint32
	score  float32
	rarity float32
	more   bool

	one   reader // the only list,
	table *table
	all   []scored // or all lists, merged
	bad   bool
}

type scored struct {
	doc   uint32
	score float32
}

func newWalk(w wanted, rarity float32) *walk {
	k := &walk{rarity: rarity, more: true}
	if len(w.lists) == 1 {
		k.one, k.table = reader{pieces: w.lists[0].pieces}, w.lists[0].table
		k.next()
		return k
	}
	k.all = make([]scored, 0, w.docs)
	for _, l := range w.lists {
		r := reader{pieces: l.pieces}
		for r.next() {
			k.all = append(k.all, scored{r.doc, l.table[r.weight]})
		}
		k.bad = k.bad || r.bad
	}
	slices.SortFunc(k.all, func(x, y scored) int {
		return cmp.Or(cmp.Compare(x.doc, y.doc), cmp.Compare(y.score, x.score))
	})
	k.all = slices.CompactFunc(k.all, func(x, y scored) bool { return x.doc == y.doc })
	k.next()
	return k
}

func (k *walk) next() {
	if k.table == nil {
		if len(k.all) == 0 {
			k.more = false
			return
		}
		k.doc, k.score = k.all[0].doc, k.all[0].score*k.rarity
		k.all = k.all[1:]
		return
	}
	if !k.one.next() {
		k.more, k.bad = false, k.bad || k.one.bad
		return
	}
	k.doc, k.score = k.one.doc, k.table[k.one.weight]*k.rarity
}

// seek goes on to the first document not before doc.
func (k *walk) seek(doc uint32) bool {
	if k.table == nil && len(k.all) > 16 && k.more && k.doc < doc {
		i, _ := slices.BinarySearchFunc(k.all, doc, func(s scored, d uint32) int { return cmp.Compare(s.doc, d) })
		k.all = k.all[i:]
		k.next()
	}
	for k.more && k.doc < doc {
		k.next()
	}
	return k.more
}
