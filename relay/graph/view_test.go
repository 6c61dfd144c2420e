package graph

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
)

func TestAThirdViewerAtOnceGetsTheGlobalRankingAndIsToldSo(t *testing.T) {
	h, p := newHouse(t, Config{}), people(4)
	h.put(p[0].sign(t, kindFollows, 100, "", naming(p[1])...))
	url := h.serve()
	h.graph.views.slots <- struct{}{}
	h.graph.views.slots <- struct{}{}
	var s Standing
	if get(t, url+p[1].pubkey+"/trust?from="+p[0].pubkey, 200, &s); s.Basis != Global || s.Reason == "" {
		t.Errorf("with both places taken: %+v", s)
	}
	<-h.graph.views.slots
	if get(t, url+p[1].pubkey+"/trust?from="+p[0].pubkey, 200, &s); s.Basis != Personal {
		t.Errorf("with a free place: %+v", s)
	}
	h.graph.views.slots <- struct{}{}
	s = Standing{}
	if get(t, url+p[1].pubkey+"/trust?from="+p[0].pubkey, 200, &s); s.Basis != Personal || s.Reason != "" {
		t.Errorf("with the answer at hand: %+v", s)
	}
}

func TestAPersonalRankingIsKeptUntilItMustNotBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newViews(1, 1<<20, 2*time.Second)
		mine, computed := key{1}, 0
		now := moment{version: 10, purged: 5, list: stamp{created: 1}}
		ask := func() int {
			v.rank(mine, now, func() *ranking { computed++; return &ranking{version: now.version} })
			return computed
		}
		ask()
		if ask() != 1 {
			t.Error("computed twice though nothing changed")
		}
		time.Sleep(time.Hour)
		if ask() != 1 {
			t.Error("computed again though nothing changed")
		}
		now.version = 11
		if ask() != 2 {
			t.Error("an hour old, the graph changed, and not computed again")
		}
		now.version = 12
		if ask() != 2 {
			t.Error("computed again within two seconds though only others' lists changed")
		}
		now.list.created = 2
		if ask() != 3 {
			t.Error("the viewer's own list changed, and the ranking did not")
		}
		now.version, now.purged = 13, 13
		if ask() != 4 {
			t.Error("a list was taken back, and the ranking kept it")
		}
	})
}

func TestOneViewersQuestionsShareOneComputation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newViews(2, 1<<20, time.Second)
		computed, release := 0, make(chan struct{})
		var asking sync.WaitGroup
		for range 10 {
			asking.Go(func() {
				r := v.rank(key{1}, moment{version: 1}, func() *ranking {
					computed++
					<-release
					return &ranking{version: 1}
				})
				if r == nil {
					t.Error("turned away")
				}
			})
		}
		synctest.Wait()
		close(release)
		asking.Wait()
		if computed != 1 {
			t.Errorf("computed %d times", computed)
		}
	})
}

func TestTheCacheOfRankingsStaysWithinItsBytes(t *testing.T) {
	v := newViews(1, 10_000, time.Second)
	for i := range 100 {
		v.rank(key{byte(i)}, moment{}, func() *ranking { return &ranking{of: make([]float32, 300)} })
	}
	if v.bytes > 10_000 || v.order.Len() != len(v.held) || v.order.Len() != 8 {
		t.Errorf("%d rankings, %d by key, of %d bytes", v.order.Len(), len(v.held), v.bytes)
	}
	if v.held[key{99}] == nil || v.held[key{0}] != nil {
		t.Error("the latest went, or the oldest stayed")
	}
}

func TestReadersAndTheLogAtTheSameTime(t *testing.T) {
	h, p := newHouse(t, Config{Fresh: time.Nanosecond}), people(8)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for i := range 3 {
		readers.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 0))
			for {
				select {
				case <-stop:
					return
				default:
				}
				a, b := p[rng.IntN(len(p))].pubkey, p[rng.IntN(len(p))].pubkey
				if trust := h.graph.Trust(a, b); trust < 0 || trust > 1 {
					t.Errorf("trust %g", trust)
				}
				h.graph.Muted(a, b)
				h.graph.Hops(a, b)
				for range h.graph.Follows(a) {
				}
				h.graph.standing(a, keyOf(b))
			}
		})
	}
	rng := rand.New(rand.NewPCG(9, 9))
	for i := range 60 {
		who := p[rng.IntN(len(p))]
		ev := who.sign(t, kindFollows, int64(i), "", naming(p[rng.IntN(len(p))], newPerson(100+i))...)
		if i%9 == 8 {
			ev = who.sign(t, kindDeletion, int64(i), "", nostr.Tag{"a", "3:" + who.pubkey + ":"})
		}
		h.put(ev)
	}
	close(stop)
	readers.Wait()
}

func TestMetricsCountWhatIsHeld(t *testing.T) {
	h, p := newHouse(t, Config{}), people(3)
	h.put(p[0].sign(t, kindFollows, 100, "", naming(p[1], p[2])...))
	r := prometheus.NewRegistry()
	r.MustRegister(h.graph)
	all, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, m := range all {
		got[m.GetName()] = m.GetMetric()[0].GetGauge().GetValue()
	}
	if got["agora_graph_keys"] != 3 || got["agora_graph_follows"] != 2 || got["agora_graph_lists"] != 1 || got["agora_graph_lag_positions"] != 0 {
		t.Errorf("metrics say %v", got)
	}
}

// The trust scale is part of what is promised: see the package doc.
func TestTrustFollowsTheDocumentedScale(t *testing.T) {
	r := &ranking{others: 41_704}
	for i := range 41_704 {
		r.sorted = append(r.sorted, float32(i+1))
	}
	for position, want := range map[int]string{1: "1.00", 100: "0.57", 1000: "0.35", 10_000: "0.13", 41_704: "0.00"} {
		if got := fmt.Sprintf("%.2f", r.trust(float32(41_704-position+1))); got != want {
			t.Errorf("position %d: trust %s, want %s", position, got, want)
		}
	}
	if r.trust(0) != 0 || new(ranking).trust(0) != 0 {
		t.Error("a rank of 0 has trust")
	}
}
