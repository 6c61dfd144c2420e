package feeds

import (
	"fmt"
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
