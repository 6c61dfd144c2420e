package tally

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// TestAListIsASortedSliceOfActs puts acts in and takes them out, with actors
// and times of every size and in every order, beside a plain slice.
func TestAListIsASortedSliceOfActs(t *testing.T) {
	actors := []uint32{0, 255, 256, 65_535, 65_536, 1<<24 - 1, 1 << 24, math.MaxUint32 - 1}
	times := []uint32{1, 65_536, 1 << 20, 1<<24 + 1, 1 << 31, math.MaxUint32 - 1}
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 3))
		var l list
		var want []act
		few, spread := actors[r.IntN(len(actors))], times[r.IntN(len(times))]
		for step := range 300 {
			if len(want) > 0 && r.IntN(5) == 0 {
				i := r.IntN(len(want))
				l, want = l.remove(i), slices.Delete(want, i, i+1)
				continue
			}
			a := act{actor: r.Uint32N(few + 1), at: 1 + r.Uint32N(spread), mark: r.Uint32()}
			if r.IntN(50) == 0 {
				a.actor, a.at = actors[r.IntN(len(actors))], times[r.IntN(len(times))]
			}
			if step%2 == 1 && len(want) > 0 {
				a.actor = want[r.IntN(len(want))].actor
			}
			l = l.insert(a)
			want = append(want, a)
			slices.SortFunc(want, act.compare)
		}
		if got := slices.Collect(l.all); !slices.Equal(got, want) || l.len() != len(want) {
			t.Fatalf("seed %d: %d acts, want %d:\n%v\n%v", seed, l.len(), len(want), got, want)
		}
		if got := slices.Collect(pack(want).all); !slices.Equal(got, want) {
			t.Fatalf("seed %d: packed at once they are others", seed)
		}
		groupsAgree(t, l.rows(), want)
	}
}

func groupsAgree(t *testing.T, r rows, want []act) {
	var some [block]act
	for from := 0; from < len(want); from += block {
		if got := r.read(from, some[:]); !slices.Equal(got, want[from:min(from+block, len(want))]) {
			t.Fatalf("from the %d-th on %v are read, want %v", from, got, want[from:])
		}
	}
	for i, a := range want {
		from, to := r.group(a.actor)
		if from > i || to <= i || from > 0 && want[from-1].actor == a.actor || to < len(want) && want[to].actor == a.actor {
			t.Fatalf("the acts of %d are %d to %d", a.actor, from, to)
		}
		other := slices.Contains(want, act{a.actor, a.at, a.mark ^ 1})
		if !r.has(a.actor, a.mark) || r.has(a.actor, a.mark^1) != other {
			t.Fatalf("the mark %d of %d is not found, or one that it has not", a.mark, a.actor)
		}
	}
}

// TestActsInAnyOrderOfTimeSeldomNeedAnotherLayout counts how often a list is
// laid out anew when each act is farther off than all before.
func TestActsInAnyOrderOfTimeSeldomNeedAnotherLayout(t *testing.T) {
	for name, at := range map[string]func(i int) uint32{
		"later and later":     func(i int) uint32 { return 1_700_000_000 + uint32(i)*300 },
		"earlier and earlier": func(i int) uint32 { return 1_700_000_000 - uint32(i)*300 },
		"to and fro":          func(i int) uint32 { return uint32(1_700_000_000 + (i%2*2-1)*i*300) },
		"all of time":         func(i int) uint32 { return uint32(i) * 0x9e3779b1 },
	} {
		var l list
		layouts := 0
		for i := range 5000 {
			a := act{actor: uint32(i % 1000), at: at(i), mark: uint32(i)}
			if r := l.rows(); len(l) == 0 || !r.holds(a) {
				layouts++
			}
			l = l.insert(a)
		}
		if layouts > 45 {
			t.Errorf("%s: laid out %d times for 5,000 acts", name, layouts)
		}
	}
}
