package crowd

import (
	"os"
	"reflect"
	"sync"
	"testing"
)

// load reads the real graph once for all tests.
var load = sync.OnceValues(func() (*Real, error) { return Load("../../../testdata/nostr") })

func real(t testing.TB) *Real {
	t.Helper()
	r, err := load()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTheSameSeedMakesTheSameCrowdAndAnotherDoesNot(t *testing.T) {
	r := real(t)
	small := Config{Seed: 1, Days: 2, Authors: 100, Listed: 30, Bare: 10, Spam: 10, Ring: 20}
	a, err := Make(small, r)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Make(small, r)
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a, b) {
		t.Error("the same seed made another crowd")
	}
	small.Seed = 2
	c, err := Make(small, r)
	if err != nil {
		t.Fatal(err)
	}
	if reflect.DeepEqual(a.Acts, c.Acts) {
		t.Error("two seeds made one crowd")
	}
}

func TestNobodyActsBeforeTheNoteIsWrittenOrTwiceInOneWay(t *testing.T) {
	for _, family := range []Family{Interest, Habit} {
		l, err := Make(Config{Seed: 3, Family: family, Days: 3, Authors: 200, Listed: 60, Bare: 20, Spam: 10, Ring: 20}, real(t))
		if err != nil {
			t.Fatal(err)
		}
		var deeds [Deeds]int
		last := int64(0)
		for _, a := range l.Acts {
			if a.At < last {
				t.Fatal("the acts are not in the order of time")
			}
			last = a.At
			deeds[a.Deed]++
			if a.At < l.Notes[a.Note].At {
				t.Errorf("%v acts on a note of %d s later", a, l.Notes[a.Note].At-a.At)
			}
			if a.Deed != Write && a.Who == l.Notes[a.Note].Author {
				t.Errorf("%v acts on their own note", a)
			}
		}
		for _, d := range []Deed{Write, Like, Dislike, Reply, Repost, Zap} {
			if deeds[d] == 0 {
				t.Errorf("%v: nobody ever did %d", family, d)
			}
		}
	}
}

func TestTheSimulatorIsTheOneThatWasFrozen(t *testing.T) {
	frozen, err := os.ReadFile("testdata/frozen.txt")
	if err != nil {
		t.Fatal(err)
	}
	if Digest()+"\n" != string(frozen) {
		t.Errorf("the simulator is %s: what was trained on the frozen one must be trained and judged again", Digest())
	}
}
