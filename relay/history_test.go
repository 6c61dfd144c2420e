package relay

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"agora/relay/store"
	"agora/relay/wire"

	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

func counterValue(t testing.TB, c prometheus.Counter) float64 {
	t.Helper()
	var m dto.Metric
	if err := c.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue()
}

// TestAnyQuestionIsAnsweredLikeThePlainModel asks random filters with limits
// over a log in which many events are hidden from most viewers.
func TestAnyQuestionIsAnsweredLikeThePlainModel(t *testing.T) {
	r := start(t, Config{}, nil)
	rnd := rand.New(rand.NewPCG(3, 4))
	me, other := newAuthor(), newAuthor()
	authors := []*author{me, other, newAuthor()}
	var all []*nostr.Event
	for range 200 {
		kind := []int{1, 7, 1059, 1059, 1059}[rnd.IntN(5)]
		tags := nostr.Tags{{"p", pick(rnd, me.pk, other.pk)}, {"t", pick(rnd, "x", "y", "z")}}
		all = append(all, authors[rnd.IntN(3)].event(t, kind, -rnd.IntN(12), tags...))
	}
	p := r.dial(t)
	p.mustPublish(all...)
	stranger, known := r.dial(t), r.dial(t)
	if m := known.authenticate(r.url, me.sk); !m.OK {
		t.Fatal(m.Text)
	}
	for round := range 150 {
		var filters []nostr.Filter
		for range 1 + rnd.IntN(3) {
			f := randomFilter(rnd, authors, all)
			if f.Kinds != nil {
				f.Kinds = append(f.Kinds, 1, 1059)
			}
			f.Limit = rnd.IntN(30)
			f.LimitZero = f.Limit == 0
			if rnd.IntN(3) == 0 {
				f.Limit, f.LimitZero = 0, false
			}
			filters = append(filters, f)
		}
		for _, c := range []struct {
			*client
			keys viewer
		}{{stranger, nil}, {known, viewer{me.pk}}} {
			if p, _ := r.mayAsk(filters, c.keys, r.limits()); p != "" {
				continue
			}
			texts := make([]string, len(filters))
			for i, f := range filters {
				texts[i] = string(wire.AppendFilter(nil, f))
			}
			want, hint := modelAnswer(all, filters, c.keys, 500)
			got, gotHint := c.query("s", texts...)
			if !slices.Equal(idsOf(got), idsOf(want)) {
				t.Fatalf("round %d, viewer %v, %v:\ngot  %d events\nwant %d", round, c.keys, texts, len(got), len(want))
			}
			if gotHint != hint && gotHint != wire.NoHint {
				t.Fatalf("round %d, viewer %v, %v: hint %d, want %d", round, c.keys, texts, gotHint, hint)
			}
		}
	}
}

// modelAnswer is what a REQ has to bring: for each filter its newest visible
// matches up to its limit, each event once.
func modelAnswer(all []*nostr.Event, filters []nostr.Filter, v viewer, most int) ([]*nostr.Event, wire.Hint) {
	sorted := slices.Clone(all)
	slices.SortFunc(sorted, func(a, b *nostr.Event) int {
		if a.CreatedAt != b.CreatedAt {
			return int(b.CreatedAt - a.CreatedAt)
		}
		return strings.Compare(a.ID, b.ID)
	})
	taken, matched := map[string]bool{}, map[string]bool{}
	for _, f := range filters {
		n, limit := 0, f.Limit
		if limit == 0 && !f.LimitZero {
			limit = most
		}
		for _, ev := range sorted {
			hidden := ev.Kind == 1059 && !slices.ContainsFunc(v, func(k string) bool { return ev.Tags.FindWithValue("p", k) != nil })
			if hidden || !f.Matches(ev) {
				continue
			}
			matched[ev.ID] = true
			if n < limit {
				n++
				taken[ev.ID] = true
			}
		}
	}
	want := slices.DeleteFunc(sorted, func(ev *nostr.Event) bool { return !taken[ev.ID] })
	if len(matched) > len(taken) {
		return want, wire.More
	}
	return want, wire.Finish
}

func TestEOSESaysWhetherThereIsMore(t *testing.T) {
	r := start(t, Config{Limits: Limits{DefaultLimit: 5, MaxLimit: 8}}, nil)
	c, a := r.dial(t), newAuthor()
	for i := range 10 {
		c.mustPublish(a.note(t, -i))
	}
	for i, q := range []struct {
		filters []string
		rows    int
		hint    wire.Hint
	}{
		{[]string{`{"limit":3}`}, 3, wire.More},
		{[]string{`{}`}, 5, wire.More},            // the default limit
		{[]string{`{"limit":100}`}, 8, wire.More}, // the highest
		{[]string{`{"limit":1000000000000}`}, 8, wire.More},
		{[]string{`{"kinds":[2]}`}, 0, wire.Finish},
		{[]string{`{"kinds":[1],"limit":0}`}, 0, wire.NoHint},
		{[]string{`{"authors":["` + a.pk + `"],"since":` + fmt.Sprint(nostr.Now()-3) + `}`}, -1, wire.Finish},
		{[]string{`{"limit":3}`, `{"limit":8}`}, 8, wire.More},
		{[]string{`{"kinds":[2]}`, `{"kinds":[3]}`}, 0, wire.Finish},
	} {
		got, hint := c.query(fmt.Sprint("s", i), q.filters...)
		if q.rows >= 0 && len(got) != q.rows || hint != q.hint || !inOrder(got) {
			t.Errorf("%v: %d rows, hint %d, want %d and %d", q.filters, len(got), hint, q.rows, q.hint)
		}
	}
	exact := start(t, Config{Limits: Limits{DefaultLimit: 10}}, nil)
	c = exact.dial(t)
	for i := range 10 {
		c.mustPublish(a.note(t, -i))
	}
	if got, hint := c.query("s", `{}`); len(got) != 10 || hint != wire.Finish {
		t.Errorf("exactly as many as the limit: %d rows, hint %d", len(got), hint)
	}
}

func TestPagingByUntilReachesEveryEvent(t *testing.T) {
	r := start(t, Config{}, nil)
	c, a := r.dial(t), newAuthor()
	total := 237
	for i := range total {
		c.mustPublish(a.note(t, -i/3))
	}
	seen := map[string]bool{}
	until := nostr.Now() + 10
	for {
		evs, hint := c.query("s", fmt.Sprintf(`{"limit":20,"until":%d}`, until))
		for _, ev := range evs {
			seen[ev.ID] = true
			until = ev.CreatedAt
		}
		if hint == wire.Finish {
			break
		}
	}
	if len(seen) != total {
		t.Errorf("%d of %d events", len(seen), total)
	}
}

// 130 events of one second do not fit into a page of 50: the page that lies in
// that second has all of it and goes on, or the client would get it for ever.
func TestPagingByUntilGetsPastASecondThatHoldsMoreThanAPage(t *testing.T) {
	r := start(t, Config{}, nil)
	c, a := r.dial(t), newAuthor()
	total, base := 0, nostr.Now()
	for second, n := range []int{3, 130, 60, 3} {
		for range n {
			c.mustPublish(a.note(t, int(base-nostr.Now())-second))
			total++
		}
	}
	seen := map[string]bool{}
	until := nostr.Now() + 10
	for range 12 {
		evs, hint := c.query("s", fmt.Sprintf(`{"limit":50,"until":%d}`, until))
		if len(evs) > 131 || !inOrder(evs) {
			t.Fatalf("a page of %d rows, in order: %v", len(evs), inOrder(evs))
		}
		for _, ev := range evs {
			seen[ev.ID] = true
			until = ev.CreatedAt
		}
		if hint == wire.Finish {
			break
		}
	}
	if len(seen) != total {
		t.Errorf("%d of %d events", len(seen), total)
	}
	if evs, hint := c.query("few", fmt.Sprintf(`{"limit":10,"until":%d}`, until+2)); len(evs) != 10 || hint != wire.More {
		t.Errorf("a question for 10 events: %d, hint %d", len(evs), hint)
	}
}

// The log is asked again for one filter, whose rows were invisible; the other
// one keeps its own until.
func TestUntilHoldsForEachFilterWhenAnotherIsReadFurther(t *testing.T) {
	r := start(t, Config{}, nil)
	c, a, b := r.dial(t), newAuthor(), newAuthor()
	for i := range 40 {
		c.mustPublish(a.event(t, 1059, -i, nostr.Tag{"p", b.pk}))
	}
	for i := range 5 {
		c.mustPublish(a.note(t, -100-i))
		c.mustPublish(b.note(t, -5*i))
	}
	old := b.note(t, -60)
	c.mustPublish(old)
	got, hint := c.query("s", `{"authors":["`+a.pk+`"],"limit":3}`, fmt.Sprintf(`{"authors":["%s"],"until":%d}`, b.pk, old.CreatedAt))
	if len(got) != 4 || got[0].ID != old.ID || hint != wire.More {
		t.Errorf("%d rows, hint %d: want the old note of one and three of the other", len(got), hint)
	}
}

// fixedSearch ranks ids as they are given.
type fixedSearch []store.ID

func (f fixedSearch) Search(context.Context, string, nostr.Filter) iter.Seq2[store.ID, error] {
	return func(yield func(store.ID, error) bool) {
		for _, id := range f {
			if !yield(id, nil) {
				return
			}
		}
	}
}

func TestSearchAnswersInTheIndexesOrderWithTheLimitLast(t *testing.T) {
	a, me := newAuthor(), newAuthor()
	found := new(fixedSearch)
	r := start(t, Config{}, func(p *Parts) { p.Search = found })
	c := r.dial(t)
	add := func(ev *nostr.Event, store_ bool) string {
		if store_ {
			c.mustPublish(ev)
		}
		id, err := store.ParseID(ev.ID)
		if err != nil {
			t.Fatal(err)
		}
		*found = append(*found, id)
		return ev.ID
	}
	var want []string
	add(a.event(t, 1059, 0, nostr.Tag{"p", me.pk}), true) // invisible
	add(a.note(t, 0), false)                              // gone
	want = append(want, add(a.note(t, -50), true))
	add(a.event(t, 7, 0), true) // does not match
	want = append(want, add(a.note(t, 0), true), add(a.note(t, -100), true))
	got, hint := c.query("s", `{"kinds":[1,1059],"search":"x","limit":2}`)
	if !slices.Equal(idsOf(got), want[:2]) || hint != wire.NoHint { // paging by time would skip hits
		t.Errorf("%d hits, hint %d", len(got), hint)
	}
	if _, hint = c.query("s", `{"kinds":[1,1059],"search":"x","limit":2}`, `{"limit":1}`); hint != wire.NoHint {
		t.Errorf("a cut search beside a cut filter: hint %d", hint)
	}
	got, hint = c.query("s", `{"kinds":[1,1059],"search":"x sort:whatever"}`, `{"kinds":[1]}`)
	if !slices.Equal(idsOf(got), want) || hint != wire.Finish {
		t.Errorf("%d rows, hint %d", len(got), hint)
	}
	plain := start(t, Config{}, nil).dial(t)
	plain.send(req("s", `{"search":"x"}`))
	plain.want("CLOSED", "s", "unsupported: ")
}

// oneFeed is a source that answers kind 6 with a page of its own.
type oneFeed struct{ page Page }

func (o oneFeed) Select(_ context.Context, door Door, _ string, f nostr.Filter) (Page, bool, error) {
	return o.page, door == "/" && slices.Equal(f.Kinds, []int{6}), nil
}

func TestASourceAnswersItsFiltersBeforeTheLog(t *testing.T) {
	a, me := newAuthor(), newAuthor()
	page := Page{Hint: wire.NoHint, Events: []*nostr.Event{a.event(t, 6, -9), a.event(t, 6, 0), a.event(t, 1059, 0, nostr.Tag{"p", me.pk})}}
	r := start(t, Config{}, func(p *Parts) { p.Sources = []Source{oneFeed{page}} })
	c := r.dial(t)
	note := a.note(t, 0)
	c.mustPublish(note, page.Events[0])
	got, hint := c.query("s", `{"kinds":[6]}`, `{"kinds":[1,6,7]}`)
	want := []string{page.Events[0].ID, page.Events[1].ID, note.ID}
	if !slices.Equal(idsOf(got), want) || hint != wire.NoHint {
		t.Errorf("got %d events, hint %d: a page keeps its order, repeats nothing, and hides what is private", len(got), hint)
	}
}
