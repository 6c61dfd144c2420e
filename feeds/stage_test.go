package feeds

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"agora/feeds/tally"
	"agora/ranker/feature"

	"github.com/nbd-wtf/go-nostr"
)

func listOf(scores ...float32) (out []ranked) {
	for i, s := range scores {
		out = append(out, ranked{id: tally.Key{byte(i)}, author: uint32(i), score: s, at: i})
	}
	return out
}

func places(list []ranked) (out []int) {
	for _, r := range list {
		out = append(out, r.at)
	}
	return out
}

func TestStagesAreReadAndWrongOnesRefused(t *testing.T) {
	s, err := readStages([]string{"from-global", "dpp theta=$variety", "author-decay", "max-age hours=24"}, map[string]float64{"variety": 0.3})
	if err != nil || s.theta != 0.3 || s.first != 150 || s.decay != 0.5 || s.floor != 0.25 || s.maxAge != 24 || s.sources != feature.FromGlobal {
		t.Errorf("%+v, %v", s, err)
	}
	for _, bad := range []string{"nothing", "dpp theta=2", "dpp theta=x", "dpp theta=NaN", "dpp alpha=1", "max-age hours=$none", "author-cap most=0"} {
		if CheckStages([]string{bad}, nil) == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestAuthorDecayLetsOthersPass(t *testing.T) {
	list := listOf(10, 9, 8, 0)
	list[1].author = list[0].author
	if got := places(authorDecay(list, 0.5, 0.25)); !slices.Equal(got, []int{0, 2, 1, 3}) {
		t.Errorf("order %v", got)
	}
	if got := places(authorCap(listOf(3, 2, 1), 1)); len(got) != 3 {
		t.Errorf("%d of three authors are left", len(got))
	}
}

func TestNewAuthorComesUpToTheSlotAndNoFurther(t *testing.T) {
	fresh := func(at int) bool { return at == 7 }
	if got := places(newAuthorSlot(listOf(9, 8, 7, 6, 5, 4, 3, 2), 3, fresh)); !slices.Equal(got, []int{0, 1, 7, 2, 3, 4, 5, 6}) {
		t.Errorf("order %v", got)
	}
	if got := places(newAuthorSlot(listOf(9, 8), 1, func(at int) bool { return at == 0 })); !slices.Equal(got, []int{0, 1}) {
		t.Errorf("order %v", got)
	}
}

// TestDPPPicksAsThePlainDeterminantDoes compares each pick with the candidate
// that makes the determinant of the kernel largest, computed from scratch.
func TestDPPPicksAsThePlainDeterminantDoes(t *testing.T) {
	w := newWorld(t, 1)
	for range 20 {
		n := 8
		list := listOf()
		bags := make([]bag, n)
		for i := range n {
			list = append(list, ranked{id: tally.Key{byte(i)}, author: uint32(w.r.IntN(4)), score: float32(n - i), at: i})
			var tokens []int32
			for range 6 {
				tokens = append(tokens, int32(w.r.IntN(12)))
			}
			bags[i] = bagOf(tokens)
		}
		const theta = 0.5
		got := places(dpp(list, n, theta, func(i int) *bag { return &bags[i] }))
		kernel := func(i, j int) float64 {
			q := func(i int) float64 { return math.Exp(theta / (2 * (1 - theta)) * float64(n-1-i) / float64(n-1)) }
			s := 1.0
			if i != j {
				s = likeness(&bags[i], &bags[j], list[i].author == list[j].author)
			}
			return q(i) * q(j) * s
		}
		var picked []int
		for len(picked) < n {
			best, most := -1, 1e-9
			for i := range n {
				if !slices.Contains(picked, i) {
					if d := determinant(append(slices.Clone(picked), i), kernel) / max(determinant(picked, kernel), 1e-300); d > most*(1+1e-6) {
						best, most = i, d
					}
				}
			}
			if best < 0 {
				break
			}
			picked = append(picked, best)
		}
		if !slices.Equal(got[:len(picked)], picked) {
			t.Fatalf("picked %v, the determinant says %v", got, picked)
		}
	}
}

// determinant by elimination; 1 of nothing.
func determinant(of []int, kernel func(i, j int) float64) float64 {
	m := make([][]float64, len(of))
	for a, i := range of {
		for _, j := range of {
			m[a] = append(m[a], kernel(i, j))
		}
	}
	d := 1.0
	for a := range m {
		d *= m[a][a]
		for b := a + 1; b < len(m); b++ {
			f := m[b][a] / m[a][a]
			for c := a; c < len(m); c++ {
				m[b][c] -= f * m[a][c]
			}
		}
	}
	return d
}

func TestBridgingPrefersWhatBothSidesLike(t *testing.T) {
	w := newWorld(t, 3)
	var left, right []string
	for range 15 {
		left, right = append(left, w.person(200)), append(right, w.person(200))
	}
	liked := func(n *nostr.Event, who []string, content string) {
		for _, k := range who {
			w.put(7, k, time.Hour, content, nostr.Tag{"e", n.ID}, nostr.Tag{"p", n.PubKey})
		}
	}
	var both, one *nostr.Event
	for i := range 12 {
		note := w.note(w.person(100), 2*time.Hour)
		switch {
		case i == 0:
			both = note
			liked(note, left, "+")
			liked(note, right, "+")
		case i%2 == 0:
			one = note
			liked(note, left, "+")
			liked(note, right, "-")
		default:
			liked(note, right, "+")
			liked(note, left, "-")
		}
	}
	w.settle()
	w.feeds.Factorise(time.Now())
	b := w.feeds.bridge
	at := func(ev *nostr.Event) bridged { k, _ := key(ev.ID); return b.notes[k] }
	if at(both).intercept <= at(one).intercept+0.2 || at(both).lower <= at(one).lower {
		t.Errorf("both sides %+v, one side %+v", at(both), at(one))
	}
	l, _ := key(left[0])
	r, _ := key(right[0])
	if b.raters[l]*b.raters[r] >= 0 || math.Abs(float64(at(both).factor)) > math.Abs(float64(at(one).factor)) {
		t.Errorf("the sides have factors %v and %v, notes %v and %v", b.raters[l], b.raters[r], at(both).factor, at(one).factor)
	}
}

func TestFactorisationIsTheSameHoweverTheNotesCame(t *testing.T) {
	var seen string
	for range 3 {
		w := newWorld(t, 4)
		var people []string
		for i := range 20 {
			people = append(people, w.person(byte(100+i)))
		}
		for range 10 {
			n := w.note(people[0], time.Hour)
			for _, k := range people[1:] {
				if w.r.IntN(2) == 0 {
					w.like(k, n)
				}
			}
		}
		w.settle()
		w.feeds.Factorise(time.Now())
		w.feeds.bridge.At = time.Time{}
		if now := fmt.Sprint(w.feeds.bridge.notes); seen == "" {
			seen = now
		} else if now != seen {
			t.Error("another factorisation of the same acts")
		}
	}
}

func TestCoLikersBringWhatTheyLikeAndStrangersDoNot(t *testing.T) {
	w := newWorld(t, 5)
	me, twin := w.person(200), w.person(200)
	var ring []string
	for range 50 {
		ring = append(ring, w.person(0)) // fresh keys that nobody trusts
	}
	wanted, pushed := w.note(w.person(90), time.Hour), w.note(w.person(90), time.Hour)
	for range 6 {
		n := w.note(w.person(90), 3*time.Hour)
		for _, who := range append([]string{me, twin}, ring...) {
			w.like(who, n)
		}
	}
	w.like(twin, wanted)
	for _, who := range ring {
		w.like(who, pushed)
	}
	w.listing["cf"] = Listing{Slug: "cf", Model: model, Tier: feature.Viewer, Stages: []string{"from-colikers", "colike"}}
	w.scorer.inputs = []feature.Input{column("stage.colike")}
	w.settle()
	p := w.page(Request{Feed: "cf", Viewer: me})
	scores := map[string]float32{}
	for _, it := range p.Items {
		scores[it.Event.ID] = it.Score
	}
	if scores[wanted.ID] <= 0 || scores[pushed.ID] != 0 {
		t.Errorf("the co-liker's note scores %v, the ring's %v", scores[wanted.ID], scores[pushed.ID])
	}
}

func TestOutOfNetworkAndRepliesAreLeftOutOnRequest(t *testing.T) {
	w := newWorld(t, 6)
	me, friend, stranger := w.person(100), w.person(100), w.person(100)
	w.graph.follows[me] = []string{friend}
	w.note(friend, time.Hour)
	out := w.note(stranger, time.Hour)
	w.put(1, stranger, 0, "an answer", nostr.Tag{"e", out.ID, "", "reply"})
	w.listing["x"] = Listing{Slug: "x", Tier: feature.Viewer, Stages: []string{"from-recent", "from-follows", "out-of-network", "no-replies"}}
	w.settle()
	if got := ids(w.page(Request{Feed: "x", Viewer: me})); !slices.Equal(got, []string{out.ID}) {
		t.Errorf("got %v", got)
	}
}

// TestOrderAndDecayAreThoseOfAPlainModel ranks lists with many equal scores,
// times and authors.
func TestOrderAndDecayAreThoseOfAPlainModel(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 3))
		var list []ranked
		var created []int64
		for i := range r.IntN(120) {
			score := float32(r.NormFloat64())
			if seed%2 == 0 {
				score = []float32{0, float32(math.Copysign(0, -1)), 1, -1, 2}[r.IntN(5)]
			}
			list = append(list, ranked{id: tally.Key{byte(r.IntN(256)), byte(i)}, author: uint32(r.IntN(9)), score: score, at: i})
			created = append(created, int64(r.IntN(4)))
		}
		plain := slices.Clone(list)
		slices.SortStableFunc(plain, func(a, b ranked) int {
			return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(created[b.at], created[a.at]), slices.Compare(a.id[:], b.id[:]))
		})
		got := order(slices.Clone(list), func(i int) int64 { return created[i] })
		if !slices.Equal(got, plain) {
			t.Fatalf("seed %d: ordered %v, want %v", seed, places(got), places(plain))
		}
		before := map[uint32]int{}
		worth := map[int]float64{}
		for _, n := range plain {
			worth[n.at] = float64(n.score-plain[len(plain)-1].score) * ((1-0.1)*math.Pow(0.7, float64(before[n.author])) + 0.1)
			before[n.author]++
		}
		slices.SortStableFunc(plain, func(a, b ranked) int { return cmp.Compare(worth[b.at], worth[a.at]) })
		if got := authorDecay(got, 0.7, 0.1); !slices.Equal(got, plain) {
			t.Fatalf("seed %d: decayed %v, want %v", seed, places(got), places(plain))
		}
	}
}
