package search

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"slices"
	"time"

	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
)

// Hit is an event that a query found.
type Hit struct {
	ID      store.ID
	Score   float32 // BM25 over the query's words; a name counts double, words in the order asked up to half more
	Created int64   // created_at
}

// before is the order of hits: better first, then newer, then lowest id.
func (h *Hit) before(o *Hit) bool { return h.compare(o) < 0 }

func (h *Hit) compare(o *Hit) int {
	return cmp.Or(cmp.Compare(o.Score, h.Score), cmp.Compare(o.Created, h.Created), bytes.Compare(h.ID[:], o.ID[:]))
}

// ranking is one evaluation of a query: the best hits, at most most of them.
type ranking struct {
	q        *Query
	check    check
	most     int
	best     []Hit // a heap, the worst on top
	deadline time.Time
	ctx      context.Context
	short    bool // the deadline came first
	full     bool // there were more than most
}

// check is a filter over document rows. Tags are tested against a Bloom
// filter: what passes may still lack the tag.
type check struct {
	kinds        map[uint16]bool
	authors      map[uint64]bool
	ids          map[store.ID]bool
	since, until int64
	tags         [][]uint64 // for each tag name the bits of its values
	any          bool       // there is something to test
	none         bool       // nothing can pass
}

func newCheck(f nostr.Filter) check {
	c := check{since: -1 << 62, until: 1 << 62}
	if f.Kinds != nil {
		c.kinds = map[uint16]bool{}
		for _, k := range f.Kinds {
			c.kinds[uint16(k)] = true
		}
	}
	if f.Authors != nil {
		c.authors = map[uint64]bool{}
		for _, a := range f.Authors {
			if b, err := hex.DecodeString(a); err == nil && len(b) == 32 {
				c.authors[binary.BigEndian.Uint64(b)] = true
			}
		}
	}
	if f.IDs != nil {
		c.ids = map[store.ID]bool{}
		for _, id := range f.IDs {
			if b, err := hex.DecodeString(id); err == nil && len(b) == 32 {
				c.ids[store.ID(b)] = true
			}
		}
	}
	if f.Since != nil {
		c.since = int64(*f.Since)
	}
	if f.Until != nil {
		c.until = int64(*f.Until)
	}
	c.addTags(f.Tags)
	c.any = c.kinds != nil || c.authors != nil || c.ids != nil || f.Since != nil || f.Until != nil || len(c.tags) > 0
	c.none = c.none || c.kinds != nil && len(c.kinds) == 0 || c.authors != nil && len(c.authors) == 0 || c.ids != nil && len(c.ids) == 0
	return c
}

func (c *check) addTags(tags nostr.TagMap) {
	for name, values := range tags {
		if len(name) != 1 || len(values) == 0 {
			c.none = true // only single letters are indexed (NIP-01)
			continue
		}
		bits := make([]uint64, len(values))
		for i, v := range values {
			bits[i] = tagBits(name[0], v)
		}
		c.tags = append(c.tags, bits)
	}
}

func (c *check) pass(d *document) bool {
	switch {
	case d.created < c.since, d.created > c.until,
		c.kinds != nil && !c.kinds[d.kind],
		c.authors != nil && !c.authors[d.author],
		c.ids != nil && !c.ids[d.id]:
		return false
	}
	for _, bits := range c.tags {
		if !slices.ContainsFunc(bits, func(b uint64) bool { return d.tags&b == b }) {
			return false
		}
	}
	return true
}

// run evaluates the query over all segments, newest first. Every word is
// looked up first, for its rarity is a matter of the whole index. When time
// runs out, the older segments are left out.
func (r *ranking) run(v *view, st *state) error {
	if len(r.q.terms) == 0 || r.check.none {
		return nil
	}
	t, docs := tablesOf(st)
	found, df, err := r.lookAll(v, st.Segments, t)
	if err != nil {
		return err
	}
	rarities := make([]float32, len(df))
	for j := range df {
		rarities[j] = rarity(docs, df[j])
	}
	for i := len(st.Segments) - 1; i >= 0 && found[i] != nil && !r.late(); i-- {
		if err := r.segment(v, st.Segments[i], found[i], rarities, t); err != nil {
			return err
		}
	}
	return nil
}

// lookAll looks every word up in every segment, for half the time there is.
func (r *ranking) lookAll(v *view, segs []segment, t *tables) (found [][]wanted, df []uint64, err error) {
	half := time.Now().Add(time.Until(r.deadline) / 2)
	found = make([][]wanted, len(segs))
	df = make([]uint64, len(r.q.terms))
	for i := len(segs) - 1; i >= 0; i-- {
		if time.Now().After(half) {
			r.short = true
			break
		}
		found[i] = make([]wanted, len(r.q.terms))
		for j, word := range r.q.terms {
			if found[i][j], err = r.q.look(v, segs[i].Number, word, t); err != nil {
				return nil, nil, err
			}
			df[j] += found[i][j].docs
		}
	}
	return found, df, nil
}

// late looks at the clock.
func (r *ranking) late() bool {
	r.short = r.short || time.Now().After(r.deadline) || r.ctx.Err() != nil
	return time.Now().After(r.deadline) || r.ctx.Err() != nil
}

func tablesOf(st *state) (*tables, uint64) {
	var docs, words, names, named uint64
	for _, s := range st.Segments {
		docs, words = docs+uint64(s.Docs), words+s.Words
		names, named = names+s.Names, named+uint64(s.Named)
	}
	body := float64(words) / float64(max(docs, 1))
	name := float64(names) / float64(max(named, 1))
	return &tables{newTable(body, 1), newTable(name, nameFactor), newTable(name, prefixFactor)}, docs
}

// segment finds the documents in which every word occurs and none of the
// excluded.
func (r *ranking) segment(v *view, s segment, found []wanted, rarities []float32, t *tables) error {
	walks := make([]*walk, 0, len(found))
	for j, w := range found {
		if w.docs == 0 {
			return nil
		}
		walks = append(walks, newWalk(w, rarities[j]))
	}
	order := make([]int, len(walks))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(x, y int) int { return cmp.Compare(found[x].docs, found[y].docs) })
	not, err := r.excluded(v, s, t)
	if err != nil {
		return err
	}
	dead, err := v.dead(s)
	if err != nil {
		return err
	}
	p := &pass{r: r, v: v, s: s, walks: walks, order: order, not: not, dead: dead, chunk: -1}
	return p.run()
}

// excluded are the walks of the excluded words; excluded phrases are looked
// for in the texts.
func (r *ranking) excluded(v *view, s segment, t *tables) (not []*walk, err error) {
	for _, words := range r.q.Not {
		if len(words) != 1 {
			continue
		}
		w, err := r.q.look(v, s.Number, words[0], t)
		if err != nil {
			return nil, err
		}
		if w.docs > 0 {
			not = append(not, newWalk(w, 0))
		}
	}
	return not, nil
}

// pass is the evaluation of one segment.
type pass struct {
	r     *ranking
	v     *view
	s     segment
	walks []*walk // in the query's order, in which scores are added up
	order []int   // of walks, the rarest first
	not   []*walk
	dead  bitmap

	chunk int64 // the page of rows at hand
	rows  []byte
}

func (p *pass) run() error {
	doc := uint32(0)
	for n := 1; n%4096 != 0 || !p.r.late(); n++ {
		at, ok := p.meet(doc)
		if !ok {
			break
		}
		if err := p.offer(at); err != nil {
			return err
		}
		doc = at + 1
	}
	for _, w := range p.walks {
		if w.bad {
			return errDamaged
		}
	}
	return nil
}

// meet finds the first document from doc on that every walk comes to.
func (p *pass) meet(doc uint32) (uint32, bool) {
	for i := 0; i < len(p.order); {
		w := p.walks[p.order[i]]
		if !w.seek(doc) {
			return 0, false
		}
		if w.doc == doc {
			i++
			continue
		}
		if doc = w.doc; i > 0 {
			i = 0
		} else {
			i = 1
		}
	}
	return doc, true
}

// offer takes a document into the ranking if it is good enough.
func (p *pass) offer(doc uint32) error {
	if p.dead.has(doc) {
		return nil
	}
	score := float32(0)
	for _, w := range p.walks {
		score += w.score
	}
	r := p.r
	if len(r.best) == r.most && score < r.best[0].Score {
		r.full = true
		return nil
	}
	for _, w := range p.not {
		if w.seek(doc) && w.doc == doc {
			return nil
		}
	}
	if c := int64(doc / docsPerPage); c != p.chunk {
		rows, err := p.v.rows(p.s.Number, uint32(c))
		if err != nil {
			return err
		}
		p.chunk, p.rows = c, rows
	}
	at := int(doc%docsPerPage) * docSize
	if at+docSize > len(p.rows) {
		return errDamaged
	}
	d := readDocument(p.rows[at : at+docSize])
	if r.check.any && !r.check.pass(&d) {
		return nil
	}
	r.keep(Hit{d.id, score, d.created})
	return nil
}

// keep puts a hit on the heap, whose top is the worst.
func (r *ranking) keep(h Hit) {
	if len(r.best) < r.most {
		r.best = append(r.best, h)
		for i := len(r.best) - 1; i > 0; {
			up := (i - 1) / 2
			if !r.best[up].before(&r.best[i]) {
				break
			}
			r.best[up], r.best[i] = r.best[i], r.best[up]
			i = up
		}
		return
	}
	r.full = true
	if !h.before(&r.best[0]) {
		return
	}
	r.best[0] = h
	for i := 0; ; {
		worst := i
		for _, c := range [...]int{2*i + 1, 2*i + 2} {
			if c < len(r.best) && r.best[worst].before(&r.best[c]) {
				worst = c
			}
		}
		if worst == i {
			return
		}
		r.best[i], r.best[worst] = r.best[worst], r.best[i]
		i = worst
	}
}
