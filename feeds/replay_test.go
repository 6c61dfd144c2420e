package feeds

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"agora/feeds/tally"
	"agora/ranker/feature"

	"github.com/nbd-wtf/go-nostr"
)

// everything is an input for each feature of the catalogue.
func everything() (in []feature.Input) {
	for _, f := range feature.Catalogue() {
		var shape []int64
		for dim := range strings.SplitSeq(f.Shape, ",") {
			size := int64(-1)
			fmt.Sscan(dim, &size)
			shape = append(shape, size)
		}
		in = append(in, feature.Input{Name: f.Name, Type: f.Type, Shape: shape})
	}
	return in
}

// history is a life of some days: who writes, answers, likes, reposts, quotes
// and reports what, in the order of time. Lists and profiles, of which only
// the newest version is held, are not in it.
func (w *world) history(people []string, from, to time.Duration, steps int) {
	var notes []*nostr.Event
	for i := range steps {
		age := from - (from-to)*time.Duration(i)/time.Duration(steps)
		who := people[w.r.IntN(len(people))]
		if len(notes) < 5 || w.r.IntN(4) == 0 {
			notes = append(notes, w.put(1, who, age, fmt.Sprintf("the %d th word about a matter of taste and time", w.r.IntN(9))))
			continue
		}
		of := notes[max(0, len(notes)-1-w.r.IntN(20))]
		e, p := nostr.Tag{"e", of.ID, "", "reply"}, nostr.Tag{"p", of.PubKey}
		switch w.r.IntN(8) {
		case 0:
			notes = append(notes, w.put(1, who, age, "an answer of some length, with a link https://example.com/a.jpg", e, p))
		case 1:
			w.put(6, who, age, "", e, p)
		case 2:
			notes = append(notes, w.put(1, who, age, "a quote", nostr.Tag{"q", of.ID}))
		case 3:
			w.put(1984, who, age, "", e, p)
		case 4:
			w.put(7, who, age, "-", e, p)
		default:
			w.put(7, who, age, "+", e, p)
		}
	}
}

// columnsAt is every feature of every candidate as of a moment, by note.
func (w *world) columnsAt(me string, now int64) map[tally.Key][]string {
	w.t.Helper()
	w.open(Config{})
	w.feeds.LookOver(time.Unix(now, 0))
	w.feeds.Factorise(time.Unix(now, 0))
	v, err := w.feeds.meet(context.Background(), me, now, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := readStages([]string{"from-follows", "from-trusted", "from-colikers", "from-global", "from-recent", "from-new-authors", "colike", "bridge", "novelty"}, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	c := new(candidates)
	if err := w.feeds.gather(context.Background(), &wanted{viewer: v, stages: &s, now: now}, c); err != nil {
		w.t.Fatal(err)
	}
	c.facts.Tier = feature.Personal
	plan, err := feature.Compile(everything())
	if err != nil {
		w.t.Fatal(err)
	}
	var b feature.Batch
	if err := plan.Fill(&c.facts, &b); err != nil {
		w.t.Fatal(err)
	}
	out := map[tally.Key][]string{}
	for i, id := range c.ids {
		for _, t := range b.Inputs {
			width := (len(t.Float) + len(t.Int))
			row := 0
			if t.Shape[0] == int64(b.N) {
				width, row = width/b.N, i
			}
			out[id] = append(out[id], fmt.Sprint(t.Name, cut(t.Float, row, width), cut(t.Int, row, width)))
		}
	}
	return out
}

func TestNoFeatureMovesWhenLaterEventsAreAdded(t *testing.T) {
	w := newWorld(t, 11)
	var people []string
	for i := range 25 {
		people = append(people, w.person(byte(60+i*7)))
	}
	me := people[0]
	w.graph.follows[me] = people[1:9]
	w.graph.follows[people[1]] = people[3:12]
	w.history(people, 72*time.Hour, 24*time.Hour, 900)
	w.settle()
	moment := w.now - 24*3600
	before := w.columnsAt(me, moment)
	if len(before) < 150 {
		t.Fatalf("only %d candidates", len(before))
	}
	moving := map[string]bool{}
	for _, row := range before {
		for _, cell := range row {
			moving[cell] = true
		}
	}
	if len(moving) < 2000 {
		t.Fatalf("only %d different cells: the history moves too little", len(moving))
	}
	w.history(people, 24*time.Hour-time.Second, 0, 900)
	w.like(me, &nostr.Event{ID: fmt.Sprintf("%x", firstOf(before)), PubKey: people[3]})
	w.settle()
	after := w.columnsAt(me, moment)
	if len(after) != len(before) {
		t.Errorf("%d candidates became %d", len(before), len(after))
	}
	for id, row := range before {
		if !slices.Equal(row, after[id]) {
			for i := range row {
				if i >= len(after[id]) || row[i] != after[id][i] {
					t.Fatalf("note %x: %s became %s", id[:4], row[i], append(after[id], row...)[i])
				}
			}
		}
	}
}

func firstOf(m map[tally.Key][]string) (first tally.Key) {
	for id := range m {
		if first == (tally.Key{}) || slices.Compare(id[:], first[:]) < 0 {
			first = id
		}
	}
	return first
}
