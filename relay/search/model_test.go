package search

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
)

// scan is the model: every document, read again for every query.
type scan []modelDoc

type modelDoc struct {
	rec    store.Record
	counts [2]map[string]uint32 // by part; body holds the words of names too
	length [2]uint32
	texts  [][]string
}

func (p *scan) add(rec store.Record) {
	d := modelDoc{rec: rec, counts: [2]map[string]uint32{{}, {}}}
	var scratch []byte
	texts(&rec, &scratch, func(part part, text []byte) {
		var words []string
		split(text, func(w []byte, f form) bool {
			d.counts[body][string(w)]++
			if f == tail {
				return true
			}
			words = append(words, string(w))
			d.length[body]++
			if part == name {
				d.counts[name][string(w)]++
				d.length[name]++
			}
			return true
		})
		d.texts = append(d.texts, words)
	})
	if len(d.counts[body]) > 0 {
		*p = append(*p, d)
	}
}

func (p *scan) remove(id store.ID) {
	*p = slices.DeleteFunc(*p, func(d modelDoc) bool { return d.rec.ID() == id })
}

// meets lists the tables' values a word of the query finds in a document.
func (d *modelDoc) meets(q *Query, word string, t *tables) (out []float32) {
	see := func(part part, w string, t *table) {
		if n := d.counts[part][w]; n > 0 {
			out = append(out, t[weigh(n, d.length[part])])
		}
	}
	see(body, word, t.body)
	see(name, word, t.name)
	for w := range d.counts[name] {
		if word == q.typing && w != word && strings.HasPrefix(w, word) {
			see(name, w, t.start)
		}
	}
	for w := range d.counts[body] {
		if q.single[word] && w != word && strings.HasPrefix(w, word) {
			see(body, w, t.body)
		}
	}
	return out
}

func (d *modelDoc) phrase(q *Query, words []string) bool {
	for _, text := range d.texts {
		for i := range text {
			n := 0
			for n < len(words) && i+n < len(text) &&
				(text[i+n] == words[n] || q.single[words[n]] && strings.HasPrefix(text[i+n], words[n])) {
				n++
			}
			if n == len(words) {
				return true
			}
		}
	}
	return false
}

func (p scan) tables() *tables {
	var words, names, named float64
	for _, d := range p {
		words += float64(d.length[body])
		names += float64(d.length[name])
		if d.length[name] > 0 {
			named++
		}
	}
	n := names / max(named, 1)
	return &tables{newTable(words/max(float64(len(p)), 1), 1), newTable(n, nameFactor), newTable(n, prefixFactor)}
}

// search is Ranked, by reading everything.
func (p scan) search(q Query, f nostr.Filter) (hits []Hit) {
	if len(q.terms) == 0 {
		return nil
	}
	t := p.tables()
	rarities := make([]float32, len(q.terms))
	for j, w := range q.terms {
		df := 0
		for i := range p {
			df += len(p[i].meets(&q, w, t))
		}
		rarities[j] = rarity(uint64(len(p)), uint64(df))
	}
	tags, rest, byID := newCheck(nostr.Filter{Tags: f.Tags}), f, map[store.ID]*modelDoc{}
	rest.Tags = nil
	for i := range p {
		d := &p[i]
		row := describe(&d.rec, 0)
		passes := d.rec.Match(rest) && tags.pass(&row) // of tags the index knows less than the filter
		if d.rec.Match(f) && !passes {
			panic("the filter over rows refuses what the filter lets through")
		}
		if h, ok := d.hit(&q, t, rarities); ok && passes {
			hits = append(hits, h)
			byID[h.ID] = d
		}
	}
	order := func(x, y Hit) int {
		if x.Score != y.Score {
			return cmp.Compare(y.Score, x.Score)
		}
		if x.Created != y.Created {
			return cmp.Compare(y.Created, x.Created)
		}
		return bytes.Compare(x.ID[:], y.ID[:])
	}
	slices.SortFunc(hits, order)
	if len(q.Words) > 1 {
		first := hits[:min(len(hits), checkAtOnce)]
		for i := range first {
			n := 0
			for j := range len(q.Words) - 1 {
				if byID[first[i].ID].phrase(&q, q.Words[j:j+2]) {
					n++
				}
			}
			first[i].Score *= 1 + orderFactor*(float32(n)/float32(len(q.Words)-1))
		}
		slices.SortFunc(first, order)
	}
	hits = slices.DeleteFunc(hits, func(h Hit) bool { return !byID[h.ID].phrases(&q) })
	return hits
}

func (d *modelDoc) hit(q *Query, t *tables, rarities []float32) (Hit, bool) {
	score := float32(0)
	for j, w := range q.terms {
		m := d.meets(q, w, t)
		if len(m) == 0 {
			return Hit{}, false
		}
		score += slices.Max(m) * rarities[j]
	}
	for _, words := range q.Not {
		if len(words) == 1 && len(d.meets(q, words[0], t)) > 0 {
			return Hit{}, false
		}
	}
	return Hit{d.rec.ID(), score, d.rec.CreatedAt()}, true
}

func (d *modelDoc) phrases(q *Query) bool {
	for _, p := range q.Phrases {
		if !d.phrase(q, p) {
			return false
		}
	}
	for _, p := range q.Not {
		if len(p) > 1 && d.phrase(q, p) {
			return false
		}
	}
	return true
}

// babble makes events and queries out of a small vocabulary, so that they
// often meet.
type babble struct {
	r     *rand.Rand
	words []string
	n     int64
}

func newBabble(seed uint64) *babble {
	b := &babble{r: rand.New(rand.NewPCG(seed, 7))}
	b.words = strings.Fields("nostr Relay café bitcoin the a of don't 東京 京都 東京都に 猫 한국어 привет 🔥 zap zaps zapping العربية หมา https://primal.net/x #tag web3 ß")
	for i := range 80 {
		b.words = append(b.words, fmt.Sprintf("w%d", i))
	}
	return b
}

// author is a key that differs from others at its beginning, as keys do.
func author(n int) string { return fmt.Sprintf("%016x%048x", n, 0) }

func (b *babble) word() string { // the first of the list much more often
	f := b.r.Float64()
	return b.words[int(f*f*f*float64(len(b.words)))]
}

func (b *babble) text(most int) string {
	words := make([]string, 1+b.r.IntN(most))
	for i := range words {
		words[i] = b.word()
	}
	return strings.Join(words, " ")
}

func (b *babble) event() *nostr.Event {
	b.n++
	ev := &nostr.Event{
		Kind: []int{0, 1, 1, 1, 30023}[b.r.IntN(5)], PubKey: author(b.r.IntN(9)),
		CreatedAt: nostr.Timestamp(1_600_000_000 + b.r.IntN(500)), Content: b.text(25),
	}
	switch ev.Kind {
	case 0:
		ev.Content = fmt.Sprintf(`{"name":%q,"about":%q}`, b.text(3), ev.Content)
	case 30023:
		ev.Tags = nostr.Tags{{"title", b.text(4)}, {"d", fmt.Sprint(b.n)}}
	}
	ev.Tags = append(ev.Tags, nostr.Tag{"n", fmt.Sprint(b.n)}) // makes the id its own
	for range b.r.IntN(4) {
		ev.Tags = append(ev.Tags, nostr.Tag{"p", fmt.Sprint(b.r.IntN(20))}, nostr.Tag{"t", b.word()})
	}
	return ev
}

func (b *babble) query() string {
	var parts []string
	for range 1 + b.r.IntN(3) {
		switch b.r.IntN(10) {
		case 0:
			parts = append(parts, `"`+b.word()+" "+b.word()+`"`)
		case 1:
			parts = append(parts, "-"+b.word())
		case 2:
			parts = append(parts, `-"`+b.word()+" "+b.word()+`"`)
		case 3:
			w := []rune(b.word())
			parts = append(parts, string(w[:1+b.r.IntN(len(w))]))
		default:
			parts = append(parts, b.word())
		}
	}
	return strings.Join(parts, " ")
}

func (b *babble) filter() (f nostr.Filter) {
	if b.r.IntN(3) == 0 {
		f.Kinds = []int{b.r.IntN(2), 30023}
	}
	if b.r.IntN(4) == 0 {
		f.Authors = []string{author(b.r.IntN(9)), author(3)}
	}
	if b.r.IntN(4) == 0 {
		since, until := nostr.Timestamp(1_600_000_000+b.r.IntN(300)), nostr.Timestamp(1_600_000_200+b.r.IntN(300))
		f.Since, f.Until = &since, &until
	}
	if b.r.IntN(4) == 0 {
		f.Tags = nostr.TagMap{"p": {fmt.Sprint(b.r.IntN(20)), fmt.Sprint(b.r.IntN(20))}}
	}
	return f
}

func ranked(t testing.TB, ix *Index, q Query, f nostr.Filter) (hits []Hit) {
	t.Helper()
	for h, err := range ix.Ranked(context.Background(), q, f) {
		if err != nil {
			t.Fatal(err)
		}
		hits = append(hits, h)
	}
	return hits
}

// TestRankedEqualsReadingEverything compares hits, their order and their
// scores with a plain reading of all texts, while segments are written and
// merged.
func TestRankedEqualsReadingEverything(t *testing.T) {
	m, p, b := newMemory(), scan{}, newBabble(1)
	ix, _ := running(t, t.TempDir(), m, Config{})
	for round := range 60 {
		for range 1 + b.r.IntN(20) {
			ev := b.event()
			m.add(t, ev)
			p.add(record(t, ev))
		}
		caught(t, ix, m)
		for range 30 {
			s, f := b.query(), b.filter()
			q := Parse(s)
			got, want := ranked(t, ix, q, f), p.search(q, f)
			if !slices.Equal(got, want) {
				t.Fatalf("round %d, %d documents: %q %v\n got %d %v\nwant %d %v", round, len(p), s, f, len(got), short(got), len(want), short(want))
			}
		}
	}
	if st, err := ix.Stats(); err != nil || st.Segments < 2 || st.Segments >= 40 || st.Documents != uint64(len(p)) {
		t.Fatalf("%+v, %v for %d documents: nothing was merged, or all", st, err, len(p))
	}
}

func short(hits []Hit) string {
	var b strings.Builder
	for i, h := range hits[:min(len(hits), 12)] {
		fmt.Fprintf(&b, "\n%d: %x %v %d", i, h.ID[:4], h.Score, h.Created)
	}
	return b.String()
}

// TestRemovedIsNotFound compares the set of hits while events come, go and
// come again.
func TestRemovedIsNotFound(t *testing.T) {
	m, p, b := newMemory(), scan{}, newBabble(2)
	ix, _ := running(t, t.TempDir(), m, Config{})
	var gone []*nostr.Event
	events := map[store.ID]*nostr.Event{}
	for round := range 80 {
		m.mu.Lock()
		m.keeps = b.r.IntN(2) == 0
		m.mu.Unlock()
		for range 1 + b.r.IntN(15) {
			ev := b.event()
			if len(gone) > 0 && b.r.IntN(6) == 0 {
				ev, gone = gone[0], gone[1:]
			}
			id := m.add(t, ev)
			events[id] = ev
			p.add(record(t, ev))
		}
		for range b.r.IntN(15) {
			if len(p) == 0 {
				break
			}
			id := p[b.r.IntN(len(p))].rec.ID()
			gone = append(gone, events[id])
			m.remove(id)
			p.remove(id)
		}
		if b.r.IntN(2) == 0 {
			continue // more in one batch
		}
		caught(t, ix, m)
		for range 10 {
			s, f := b.query(), b.filter()
			q := Parse(s)
			got, want := idsOfHits(ix, t, q, f), sortedIDs(p.search(q, f))
			if !slices.Equal(got, want) {
				t.Fatalf("round %d: %q %v: got %d, want %d", round, s, f, len(got), len(want))
			}
		}
	}
	caught(t, ix, m)
	if st, err := ix.Stats(); err != nil || st.Documents != uint64(len(p)) {
		t.Fatalf("%+v, %v for %d documents", st, err, len(p))
	}
}

// idsOfHits reads the index alone: a hit that went must not even be offered.
func idsOfHits(ix *Index, t *testing.T, q Query, f nostr.Filter) []string {
	t.Helper()
	return sortedIDs(ranked(t, ix, q, f))
}

func sortedIDs(hits []Hit) (ids []string) {
	for _, h := range hits {
		ids = append(ids, fmt.Sprintf("%x", h.ID))
	}
	slices.Sort(ids)
	return ids
}

// TestEventThatComesBackIsFound lets an event go and come again within one
// batch, once with and once without having been indexed before.
func TestEventThatComesBackIsFound(t *testing.T) {
	m, dir, ev := newMemory(), t.TempDir(), note("boomerang", 1)
	m.keeps = true
	for range 2 {
		id := m.add(t, ev)
		m.remove(id)
		m.add(t, ev)
		ix, stop := running(t, dir, m, Config{})
		caught(t, ix, m)
		if got := ranked(t, ix, Parse("boomerang"), nostr.Filter{}); len(got) != 1 {
			t.Fatalf("%d hits", len(got))
		}
		stop()
		m.remove(id)
	}
}
