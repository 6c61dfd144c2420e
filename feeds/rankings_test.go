package feeds

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"agora/ranker/feature"
)

func keep(t *testing.T, k *rankings, asked string, own bool) *ranking {
	t.Helper()
	r, err := k.fresh(asked, 0, func() (*ranking, error) {
		rows := &shown{inputs: []feature.Tensor{{Float: make([]float32, 1000)}}}
		return &ranking{asked: asked, list: make([]place, 50), shown: rows, own: own, born: time.Now()}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWhoAsksAgainAndAgainCostsOthersNoCursor(t *testing.T) {
	k := newRankings(64<<10, time.Minute)
	other := keep(t, k, "other", true).cursor(10)
	var last string
	for range 100 {
		last = keep(t, k, "eager", true).cursor(10)
	}
	for asked, cursor := range map[string]string{"other": other, "eager": last} {
		if r, at, err := k.find(cursor, asked); err != nil || at != 10 || len(r.list) != 50 {
			t.Errorf("%s: %v", asked, err)
		}
	}
	if len(k.by) != mostOwn+1 || len(k.own) != 2 {
		t.Errorf("%d rankings of %d questions are kept", len(k.by), len(k.own))
	}
}

func TestWhereRoomIsShortReasonsGoBeforeCursors(t *testing.T) {
	k := newRankings(22<<10, time.Minute) // three whole ones, or ten bare ones
	var cursors []string
	for i := range 8 {
		cursors = append(cursors, keep(t, k, fmt.Sprint(i), true).cursor(1))
	}
	if k.bytes > k.most {
		t.Errorf("%d bytes, allowed %d", k.bytes, k.most)
	}
	for i, cursor := range cursors {
		r, _, err := k.find(cursor, fmt.Sprint(i))
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
		if whole := r.shown != nil; whole != (i == 7) {
			t.Errorf("ranking %d has what reasons need: %v", i, whole)
		}
	}
	for k.order.Len() > 0 {
		k.drop(k.order.Back())
	}
	if k.bytes != 0 || len(k.by)+len(k.own)+len(k.last) != 0 {
		t.Errorf("something is left: %d bytes, %d, %d, %d", k.bytes, len(k.by), len(k.own), len(k.last))
	}
}

// TestWhichRankingsHaveReasonsIsKnownInTheOrderOfUse makes, reads and loses
// rankings, and each time looks through them all.
func TestWhichRankingsHaveReasonsIsKnownInTheOrderOfUse(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	k := newRankings(60<<10, time.Minute)
	var cursors []string // by what was asked
	bared := 0
	for step := range 3000 {
		asked := r.IntN(12)
		switch {
		case asked < len(cursors) && r.IntN(2) == 0:
			_, _, _ = k.find(cursors[asked], fmt.Sprint(asked))
		case asked < len(cursors) && r.IntN(3) == 0:
			_, _ = k.fresh(fmt.Sprint(asked), time.Minute, func() (*ranking, error) { return nil, errUnmade })
		default:
			asked = min(asked, len(cursors))
			cursors = append(cursors[:asked], append([]string{keep(t, k, fmt.Sprint(asked), asked%2 == 0).cursor(1)}, cursors[min(asked+1, len(cursors)):]...)...)
		}
		if r.IntN(40) == 0 && k.order.Len() > 0 {
			k.drop(k.order.Front())
		}
		whole := k.whole.Front()
		for el := k.order.Front(); el != nil; el = el.Next() {
			if el.Value.(*ranking).shown == nil {
				bared++
				continue
			}
			if whole == nil || whole.Value != any(el) {
				t.Fatalf("step %d: the rankings that have what reasons need are not those that are listed", step)
			}
			whole = whole.Next()
		}
		if whole != nil || k.bytes > k.most {
			t.Fatalf("step %d: %d bytes; listed beyond those that have reasons: %v", step, k.bytes, whole)
		}
	}
	if bared == 0 {
		t.Error("none has lost what reasons need")
	}
}

// BenchmarkRankingsWithoutRoom puts one more in where there is room for bare
// ones only.
func BenchmarkRankingsWithoutRoom(b *testing.B) {
	k := newRankings(64<<20, time.Hour)
	one := func(n int) {
		rows := &shown{inputs: []feature.Tensor{{Float: make([]float32, 1000)}}}
		k.put(&ranking{asked: fmt.Sprint(n), list: make([]place, 50), shown: rows, born: time.Now()})
	}
	n := 0
	for ; n < 50_000; n++ {
		one(n)
	}
	for b.Loop() {
		one(n)
		n++
	}
}
