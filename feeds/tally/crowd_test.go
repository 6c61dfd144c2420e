package tally

import (
	"math"
	"testing"
)

// like puts a like of a key in.
func like(b *book, who, note Key, n int) {
	b.put(&statement{event: keyOf(9, n), author: who, actor: who, created: 1000, deeds: []deed{{action: Like, on: target{id: note}}}})
}

func TestACrowdOfFreshKeysDisplacesNobody(t *testing.T) {
	for _, fresh := range []int{10, 100, 1000} {
		b := newBook()
		friends := map[Key]bool{}
		for i := range 40 {
			friends[keyOf(1, i)] = true
		}
		b.actors.trust = func(k Key) float32 {
			if friends[k] {
				return 0.5
			}
			return 0
		}
		note, n := Key{1}, 0
		b.put(&statement{event: note, author: Key{2}, actor: Key{2}, created: 900, note: &noted{kind: 1}})
		ring := func(from, to int) {
			for i := from; i < to; i++ {
				like(b, keyOf(2, i), note, n)
				n++
			}
		}
		ring(0, fresh/2)
		for k := range friends {
			like(b, k, note, n)
			n++
		}
		ring(fresh/2, fresh)
		r := &Reader{b, 2000}
		lens := &Lens{AskTrust: func(a uint32) float32 {
			if friends[r.Key(a)] {
				return 0.25
			}
			return 0
		}, AskFollows: func(uint32) bool { return false }, Self: NoPlace}
		shown, _ := r.Find(note)
		c := r.Counts(shown, lens)
		if c.Actors[Like] != uint32(40+fresh) || math.Abs(float64(c.Trust[Like]-20)) > 0.01 || c.Viewer[Like] != 10 {
			t.Errorf("%d fresh keys: %d keys, trust %v, the viewer's %v; want %d, 20, 10", fresh, c.Actors[Like], c.Trust[Like], c.Viewer[Like], 40+fresh)
		}
		if support := r.Support(shown); math.Abs(support-20) > 0.01 {
			t.Errorf("%d fresh keys: support %v, want 20", fresh, support)
		}
	}
}

func TestTwinsAreFoundAndPassedOver(t *testing.T) {
	texts := []string{
		"Buy cheap followers now at https://a.example/x and get 1000 for free today only my friends",
		"buy CHEAP followers now at https://b.example/yy and get 5000 for free today only my friends!!",
		"a quiet morning by the river with coffee and a book about the history of lighthouses",
		"gm",
		"gm",
	}
	b := newBook()
	for i, text := range texts {
		b.put(&statement{event: keyOf(1, i), author: keyOf(2, i), actor: keyOf(2, i), created: uint32(100 + i), note: &noted{kind: 1, sketch: sketch(text)}})
	}
	r := &Reader{b, 200}
	for i, want := range []Twins{{1, 1, 0}, {1, 1, 1}, {}, {}, {}} {
		n, _ := r.Find(keyOf(1, i))
		if got := r.Twins(n); got != want {
			t.Errorf("%q: %+v, want %+v", texts[i], got, want)
		}
	}
	b.drop(removal{event: keyOf(1, 0), author: keyOf(2, 0), kind: 1})
	n, _ := r.Find(keyOf(1, 1))
	if got := r.Twins(n); got != (Twins{}) {
		t.Errorf("after the other went: %+v", got)
	}
}

func TestBoundsHoldAndTheOldestGoFirst(t *testing.T) {
	b := newBook()
	for i := range 100 {
		b.put(&statement{event: keyOf(1, i), author: keyOf(2, i%7), actor: keyOf(2, i%7), created: uint32(1000 + i), note: &noted{kind: 1}})
		like(b, keyOf(3, i), keyOf(4, i), i) // notes that nobody has
	}
	b.tidy(1010, 50, 20, 1000)
	if b.live != 50 || b.empty > 20 {
		t.Fatalf("%d notes, %d places; allowed 50 and 20", b.live, b.empty)
	}
	r := &Reader{b, 5000}
	for i := range 100 {
		if _, ok := r.Find(keyOf(1, i)); ok != (i >= 50) {
			t.Errorf("note %d of 100: held %v", i, ok)
		}
	}
	if a, _ := b.actors.find(keyOf(2, 0)); b.actors.list[a].first != 1000 {
		t.Error("an author whose notes have become old looks new")
	}
}

func TestWhatANotesAuthorDoesWithItCountsForNothing(t *testing.T) {
	b := newBook()
	like(b, Key{2}, Key{1}, 1) // before the note is there
	b.put(&statement{event: Key{1}, author: Key{2}, actor: Key{2}, created: 900, note: &noted{kind: 1}})
	like(b, Key{2}, Key{1}, 2)
	r := &Reader{b, 2000}
	n, _ := r.Find(Key{1})
	if c := r.Counts(n, nil); c.Actors[Like] != 0 {
		t.Errorf("%d keys like it", c.Actors[Like])
	}
}

func TestReportsAndMutesOfAnAuthorComeAndGo(t *testing.T) {
	b := newBook()
	b.actors.trust = func(Key) float32 { return 0.5 }
	author := Key{7}
	b.put(&statement{event: Key{1}, author: author, actor: author, created: 900, note: &noted{kind: 1}})
	for i := range 3 {
		who := keyOf(1, i)
		b.put(&statement{event: keyOf(2, i), author: who, actor: who, created: 950, mutes: []Key{author, keyOf(5, i)}})
		b.put(&statement{event: keyOf(3, i), author: who, actor: who, created: 950, deeds: []deed{{action: Report, against: author}}})
	}
	got := func() Author { r := &Reader{b, 2000}; return r.Author(r.Place(author)) }
	if a := got(); a.Muters != 3 || a.Reporters != 3 || math.Abs(float64(a.MuteTrust-1.5)) > 0.001 {
		t.Errorf("%d mute, %d report, trust %v", a.Muters, a.Reporters, a.MuteTrust)
	}
	who := keyOf(1, 0)
	b.put(&statement{event: keyOf(4, 0), author: who, actor: who, created: 960, mutes: []Key{}})       // a newer list without the author
	b.put(&statement{event: keyOf(4, 1), author: who, actor: who, created: 940, mutes: []Key{author}}) // an older one
	b.drop(removal{event: keyOf(2, 1), author: keyOf(1, 1), kind: kindMutes})
	b.drop(removal{event: keyOf(3, 2), author: keyOf(1, 2), kind: kindReport})
	if a := got(); a.Muters != 1 || a.Reporters != 2 {
		t.Errorf("after all that went: %d mute, %d report, want 1 and 2", a.Muters, a.Reporters)
	}
}
