package trial

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"agora/cmd/simulate/crowd"
	"agora/ranker"
	"agora/ranker/feature"

	"github.com/nbd-wtf/go-nostr"
)

// load reads the real graph once for all tests.
var load = sync.OnceValues(func() (*crowd.Real, error) { return crowd.Load("../../../testdata/nostr") })

func small(t testing.TB, seed uint64) *crowd.Log {
	t.Helper()
	real, err := load()
	if err != nil {
		t.Fatal(err)
	}
	log, err := crowd.Make(crowd.Config{Seed: seed, Days: 4, Authors: 300, Listed: 20, Bare: 10, Spam: 10, Ring: 20}, real)
	if err != nil {
		t.Fatal(err)
	}
	return log
}

// TestNoFactMovesWhenLaterEventsAreAdded replays a log whole and cut off at
// each moment, and compares every number of the catalogue.
func TestNoFactMovesWhenLaterEventsAreAdded(t *testing.T) {
	log := small(t, 1)
	s := Settings{Moments: 1, Pool: 60}
	s.defaults()
	plan, err := feature.Compile(columns())
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	err = each(log, s, 0.7, 1, func(r *replay, m moment, pool []int32) error {
		if seen++; seen > 3 {
			return nil
		}
		cut := *log
		cut.Acts = slices.Clone(log.Acts[:slices.IndexFunc(log.Acts, func(a crowd.Act) bool { return a.At >= m.at })])
		early := newReplay(&cut, r.web)
		early.advance(m.at)
		if again := early.pool(m.reader, s.Pool, false); !slices.Equal(again, pool) {
			t.Fatal("another pool when nothing later is known")
		}
		var a, b feature.Batch
		if err := plan.Fill(r.scene(m.reader, pool), &a); err != nil {
			return err
		}
		if err := plan.Fill(early.scene(m.reader, pool), &b); err != nil {
			return err
		}
		for i := range a.Inputs {
			if !reflect.DeepEqual(a.Inputs[i], b.Inputs[i]) {
				t.Errorf("%s knows what comes later", a.Inputs[i].Name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen < 3 {
		t.Fatalf("only %d moments", seen)
	}
}

func TestMeasuresOfOrdersWorkedOutByHand(t *testing.T) {
	gains := []float64{0, 1, 0, 2}
	order := []int{3, 0, 1, 2} // 2, 0, 1, 0
	want := (3 + 1/math.Log2(4)) / (3 + 1/math.Log2(3))
	if got := ndcg(order, gains, 10); math.Abs(got-want) > 1e-12 {
		t.Errorf("nDCG %v, want %v", got, want)
	}
	if got := recall(order, gains, 2); got != 0.5 {
		t.Errorf("recall %v", got)
	}
	if got, want := precision(order, gains), (1+2.0/3)/2; math.Abs(got-want) > 1e-12 {
		t.Errorf("precision %v, want %v", got, want)
	}
	if got := auc(order, func(i int) bool { return gains[i] > 0 }); got != 0.75 {
		t.Errorf("AUC %v", got)
	}
	if got := auc(order, func(int) bool { return false }); !math.IsNaN(got) {
		t.Errorf("AUC of nothing: %v", got)
	}
	if got := gini(map[int32]int{1: 5, 2: 5}); got != 0 {
		t.Errorf("Gini of even places %v", got)
	}
	if got := gini(map[int32]int{1: 0, 2: 0, 3: 0, 4: 8}); got != 0.75 {
		t.Errorf("Gini of one author %v", got)
	}
}

// formula scores by a function of the batch's first input.
type formula struct{ input string }

func (f formula) Plan(context.Context, ranker.Digest) (*feature.Plan, error) {
	return feature.Compile([]feature.Input{{Name: f.input, Shape: []int64{-1}}})
}

func (f formula) Score(_ context.Context, d ranker.Digest, b feature.Batch) ([]float32, error) {
	out := slices.Clone(b.Inputs[0].Float)
	if d[0] == 1 {
		for i := range out {
			out[i] = -out[i]
		}
	}
	return out, nil
}

func TestARankerAndItsReverseAreTold(t *testing.T) {
	out, err := Run(t.Context(), small(t, 2), Settings{Pool: 100}, formula{"pair.trust"}, []Contestant{{Slug: "trust"}, {Slug: "distrust", Model: ranker.Digest{1}}})
	if err != nil {
		t.Fatal(err)
	}
	g := Put("all", []*Outcome{out}, func(Moment) bool { return true })
	if lead := g.Lead("trust", "distrust"); !lead.Above(0) {
		t.Errorf("trust leads distrust by %+v", lead)
	}
	if lead := g.Lead("trust", "trust"); lead != (Interval{}) {
		t.Errorf("a ranker leads itself by %+v", lead)
	}
	var table bytes.Buffer
	if err := g.Write(&table); err != nil || !strings.Contains(table.String(), "| distrust |") {
		t.Errorf("table %q, error %v", table.String(), err)
	}
}

func TestARingMovesRawCountsAndNotProof(t *testing.T) {
	log := small(t, 3)
	raw, err := VoteRing(t.Context(), log, Settings{Pool: 100}, formula{"count.likes"}, Contestant{Slug: "raw"}, 2)
	if err != nil {
		t.Fatal(err)
	}
	proof, err := VoteRing(t.Context(), log, Settings{Pool: 100}, formula{"proof.trust"}, Contestant{Slug: "proof"}, 2)
	if err != nil {
		t.Fatal(err)
	}
	if raw.Moments < 2 || raw.Worst == 0 {
		t.Errorf("the ring moved nothing in a ranking by raw counts: %+v", raw)
	}
	if proof.Worst != 0 || proof.Together != 0 || proof.Friends == 0 {
		t.Errorf("in a ranking by whom one follows, the ring counts or friends do not: %+v", proof)
	}
}

func TestEventsBecomeTheLogThatTheySay(t *testing.T) {
	alice, bob := strings.Repeat("a1", 32), strings.Repeat("b2", 32)
	id := func(n int) string { return fmt.Sprintf("%064x", n) }
	var in bytes.Buffer
	for i, ev := range []nostr.Event{
		{PubKey: bob, Kind: 3, CreatedAt: 1, Tags: nostr.Tags{{"p", alice}, {"p", "junk"}, {"p"}}},
		{PubKey: bob, Kind: 7, CreatedAt: 200, Content: "+", Tags: nostr.Tags{{"e", id(9)}}},
		{PubKey: bob, Kind: 7, CreatedAt: 50, Content: "+", Tags: nostr.Tags{{"e", id(9)}}}, // before the note
		{PubKey: alice, Kind: 7, CreatedAt: 210, Content: "+", Tags: nostr.Tags{{"e", id(9)}}},
		{PubKey: bob, Kind: 1, CreatedAt: 220, Content: "yes", Tags: nostr.Tags{{"e", id(9), "", "reply"}}},
		{PubKey: bob, Kind: 6, CreatedAt: 230, Tags: nostr.Tags{{"e", id(9)}}},
		{PubKey: bob, Kind: 7, CreatedAt: 240, Content: "-", Tags: nostr.Tags{{"e", id(9)}}},
		{PubKey: bob, Kind: 1984, CreatedAt: 250, Tags: nostr.Tags{{"e", id(9), "spam"}}},
		{PubKey: bob, Kind: 7, CreatedAt: 1e12, Content: "+", Tags: nostr.Tags{{"e", id(9)}}}, // milliseconds
	} {
		ev.ID = id(100 + i)
		line, err := json.Marshal(ev)
		if err != nil {
			t.Fatal(err)
		}
		in.Write(append(line, '\n'))
	}
	note, err := json.Marshal(nostr.Event{ID: id(9), PubKey: alice, Kind: 1, CreatedAt: 100, Content: "hello"})
	if err != nil {
		t.Fatal(err)
	}
	in.Write(note)
	log, err := Read(&in)
	if err != nil {
		t.Fatal(err)
	}
	var deeds []crowd.Deed
	for _, a := range log.Acts {
		deeds = append(deeds, a.Deed)
	}
	if want := []crowd.Deed{crowd.Write, crowd.Like, crowd.Reply, crowd.Repost, crowd.Dislike, crowd.Report}; !slices.Equal(deeds, want) {
		t.Errorf("deeds %v, want %v", deeds, want)
	}
	if len(log.Follows[0]) != 1 || len(log.Readers) != 1 || log.Keys[log.Readers[0]] != bob {
		t.Errorf("follows %v, readers %v", log.Follows, log.Readers)
	}
}

// TestACrowdReadBackFromItsEventsIsTheCrowd also holds the signatures.
func TestACrowdReadBackFromItsEventsIsTheCrowd(t *testing.T) {
	log := small(t, 4)
	log.Follows, log.Mutes = make([][]int32, len(log.Keys)), make([][]int32, len(log.Keys)) // half a million signatures are too slow
	log.Follows[log.Readers[0]] = []int32{log.Notes[0].Author}
	log.Acts = log.Acts[:600]
	var out bytes.Buffer
	if err := log.Write(&out, 4); err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(out.Bytes()[:min(out.Len(), 5000)]) {
		var ev nostr.Event
		if json.Unmarshal(line, &ev) != nil {
			break // cut
		}
		if ok, err := ev.CheckSignature(); !ok || err != nil || !ev.CheckID() {
			t.Fatalf("a signature does not hold: %v", err)
		}
	}
	var want, got [crowd.Deeds]int
	for _, a := range log.Acts {
		want[a.Deed]++
	}
	want[crowd.Zap] = 0
	back, err := Read(&out)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range back.Acts {
		got[a.Deed]++
	}
	if got != want {
		t.Errorf("deeds %v, want %v", got, want)
	}
}

func FuzzEvents(f *testing.F) {
	f.Add(`{"id":"","pubkey":"","created_at":5,"kind":1,"tags":[["q"],["e"],[]],"content":"","sig":""}`)
	f.Add(`{"kind":9735,"created_at":5,"tags":[["description","{}"],["e","x"]]}`)
	f.Fuzz(func(t *testing.T, line string) {
		if _, err := Read(strings.NewReader(line)); err == nil {
			t.Error("one line cannot be enough to judge by")
		}
	})
}
