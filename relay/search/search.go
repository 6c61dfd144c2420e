package search

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"slices"
	"time"

	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
)

// Bounds of one search.
const (
	firstHits    = 256    // hits ranked at first, when the filter's limit does not say more
	maxHits      = 32_768 // hits a search yields at most
	moreHits     = 8      // times as many are ranked when the caller goes on
	checkAtOnce  = 128    // events whose text is read at once; within the first of these, words in order count
	maxReads     = 16_384 // events whose text is read for one search, within Config.Deadline
	readTogether = 32     // events of one look into the store
	orderFactor  = 0.5    // what words in the order asked add to a score
)

// Search yields the ids of stored events that answer a NIP-50 search, best
// first: see [Index.Ranked]. When the query holds nothing but extensions, the
// filter alone is meant: then what matches it comes, newest first.
func (ix *Index) Search(ctx context.Context, query string, f nostr.Filter) iter.Seq2[store.ID, error] {
	return func(yield func(store.ID, error) bool) {
		q := Parse(query)
		if q.Blank {
			f.Search, f.Limit = "", 0
			for r, err := range ix.log.QueryAt(ctx, ix.log.Head(), f) {
				if err != nil {
					yield(store.ID{}, err)
					return
				}
				if !yield(r.ID(), nil) {
					return
				}
			}
			return
		}
		for h, err := range ix.Ranked(ctx, q, f) {
			if !yield(h.ID, err) || err != nil {
				return
			}
		}
	}
}

// Ranked yields the events in which every word and phrase of q occurs and
// nothing that it excludes, best first: by BM25, then newer, then lowest id. A
// word asked for last also finds names that begin with it. Ids, authors, kinds,
// times and tags of f are applied; its Limit only says how many are probably
// wanted: the caller takes as many as it needs, after it has asked the store
// whether the event is still there, matches f exactly (tags of the index are
// approximate) and may be read.
//
// At most 32,768 hits come. A query has until Config.Deadline: then the events
// indexed last have been looked at, and what was found is ranked. A query
// without words finds nothing; when it is Blank, the filter alone is meant and
// the store answers it.
func (ix *Index) Ranked(ctx context.Context, q Query, f nostr.Filter) iter.Seq2[Hit, error] {
	return func(yield func(Hit, error) bool) {
		seen := map[store.ID]bool{}
		spent := reading{words: newTextReader(&q)}
		for most := min(max(2*f.Limit, firstHits), 4096); ; most = min(most*moreHits, maxHits) {
			hits, full, err := ix.best(ctx, &q, f, most)
			if err != nil {
				yield(Hit{}, err)
				return
			}
			hits = slices.DeleteFunc(hits, func(h Hit) bool { return seen[h.ID] })
			for part := range slices.Chunk(hits, checkAtOnce) {
				for _, h := range part {
					seen[h.ID] = true
				}
				part, err := ix.confirm(ctx, &q, part, &spent)
				for _, h := range part {
					if !yield(h, nil) {
						return
					}
				}
				if err != nil {
					yield(Hit{}, err)
					return
				}
			}
			if spent.over(ix.cfg.Deadline) {
				ix.stats.cut.Inc()
			}
			if !full || most == maxHits || q.needsText() && spent.over(ix.cfg.Deadline) {
				return
			}
		}
	}
}

// best ranks the hits of the index alone, once its turn has come. It reports
// whether there were more.
func (ix *Index) best(ctx context.Context, q *Query, f nostr.Filter, most int) ([]Hit, bool, error) {
	select {
	case ix.slots <- struct{}{}:
		defer func() { <-ix.slots }()
	case <-ctx.Done():
		return nil, false, ctx.Err()
	}
	began := time.Now()
	r := ranking{q: q, check: newCheck(f), most: most, ctx: ctx, deadline: began.Add(ix.cfg.Deadline)}
	if err := ix.view(r.run); err != nil {
		return nil, false, fmt.Errorf("search: %w", err)
	}
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	ix.stats.query.Observe(time.Since(began).Seconds())
	if r.short {
		ix.stats.cut.Inc()
	}
	slices.SortFunc(r.best, func(x, y Hit) int { return x.compare(&y) })
	return r.best, r.full, nil
}

// reading is what a search has spent on reading texts.
type reading struct {
	events int
	time   time.Duration
	words  *textReader
}

// confirm reads the texts of hits where the index alone cannot tell: whether
// phrases occur and, among the best, whether words stand in the order asked.
// When its time is up, hits with phrases are left out, others stay as they are.
func (ix *Index) confirm(ctx context.Context, q *Query, hits []Hit, spent *reading) ([]Hit, error) {
	first := spent.events == 0 && len(q.Words) > 1
	if !first && !q.needsText() {
		return hits, nil
	}
	factor := float32(0)
	if first {
		factor = orderFactor
	}
	out := make([]Hit, 0, len(hits))
	for part := range slices.Chunk(hits, readTogether) {
		if spent.over(ix.cfg.Deadline) {
			if !q.needsText() {
				out = append(out, part...)
			}
			continue
		}
		began := time.Now()
		var err error
		if out, err = ix.read(ctx, part, spent.words, factor, out); err != nil {
			return nil, fmt.Errorf("search: read texts: %w", err)
		}
		spent.events += len(part)
		spent.time += time.Since(began)
	}
	if first {
		slices.SortFunc(out, func(x, y Hit) int { return x.compare(&y) })
	}
	return out, nil
}

func (r *reading) over(deadline time.Duration) bool {
	return r.events >= maxReads || r.time > deadline
}

// read appends the hits that are still held and have the phrases asked for.
// Words in the order asked raise a score by up to factor of it.
func (ix *Index) read(ctx context.Context, hits []Hit, words *textReader, factor float32, out []Hit) ([]Hit, error) {
	ids := make([]store.ID, len(hits))
	for i := range hits {
		ids[i] = hits[i].ID
	}
	i := 0
	err := ix.log.Lookup(ctx, ids, func(r store.Record) bool {
		id := r.ID()
		for i < len(ids) && ids[i] != id {
			i++ // no longer held
		}
		if i == len(ids) {
			return false
		}
		if order, ok := words.read(&r); ok {
			h := hits[i]
			h.Score *= 1 + factor*order
			out = append(out, h)
		}
		i++
		return true
	})
	return out, err
}

// needsText says that the index alone cannot answer.
func (q *Query) needsText() bool {
	return len(q.Phrases) > 0 || slices.ContainsFunc(q.Not, func(w []string) bool { return len(w) > 1 })
}

// textReader reads events for a query's words: each word of a text becomes the
// set of the query's words that it is.
type textReader struct {
	q       *Query
	bits    map[string]uint64 // the query's words, one bit each
	phrases [][]uint64
	not     [][]uint64
	pairs   [][]uint64 // neighbours in Words
	scratch []byte
	seq     []uint64
}

func newTextReader(q *Query) *textReader {
	t := &textReader{q: q, bits: map[string]uint64{}}
	t.pairsOf(q.Words)
	for _, p := range q.Phrases {
		t.phrases = append(t.phrases, t.code(p))
	}
	for _, p := range q.Not {
		if c := t.code(p); len(p) > 1 && !slices.Contains(c, 0) {
			t.not = append(t.not, c)
		}
	}
	return t
}

func (t *textReader) pairsOf(words []string) {
	for i := range max(len(words)-1, 0) {
		t.pairs = append(t.pairs, t.code(words[i:i+2]))
	}
}

// code turns words into bits; 0 stands for a word beyond the 64th.
func (t *textReader) code(words []string) []uint64 {
	out := make([]uint64, len(words))
	for i, w := range words {
		if _, ok := t.bits[w]; !ok && len(t.bits) < 64 {
			t.bits[w] = 1 << len(t.bits)
		}
		out[i] = t.bits[w]
	}
	return out
}

// read says which share of the query's neighbouring words are neighbours in
// the event's texts, and whether its phrases are as asked.
func (t *textReader) read(r *store.Record) (order float32, ok bool) {
	t.seq = t.seq[:0]
	texts(r, &t.scratch, func(_ part, text []byte) {
		split(text, func(w []byte, f form) bool {
			if f != tail {
				t.seq = append(t.seq, t.mask(w))
			}
			return len(t.seq) < 2*maxLength
		})
		t.seq = append(t.seq, 0) // a phrase does not reach from one text into the next
	})
	for _, p := range t.phrases {
		if !contains(t.seq, p) {
			return 0, false
		}
	}
	for _, p := range t.not {
		if contains(t.seq, p) {
			return 0, false
		}
	}
	for _, p := range t.pairs {
		if contains(t.seq, p) {
			order++
		}
	}
	return order / float32(max(len(t.pairs), 1)), true
}

func (t *textReader) mask(word []byte) uint64 {
	m := t.bits[string(word)]
	for s := range t.q.single {
		if bytes.HasPrefix(word, []byte(s)) {
			m |= t.bits[s]
		}
	}
	return m
}

// contains looks for a run of words.
func contains(seq, run []uint64) bool {
	for i := 0; i+len(run) <= len(seq); i++ {
		n := 0
		for n < len(run) && seq[i+n]&run[n] != 0 {
			n++
		}
		if n == len(run) {
			return true
		}
	}
	return false
}
