package tally

import (
	"math"
	"math/rand/v2"
	"testing"
)

const firstLike = 1000 // created_at

// like puts the n-th like in, a second after the one before.
func like(b *book, who, note Key, n int) {
	b.put(&statement{event: keyOf(9, n), author: who, actor: who, created: firstLike + uint32(n), deeds: []deed{{action: Like, on: target{id: note}}}})
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
		r := &Reader{b, 9000}
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
	for i, want := range [][3]int{{1, 1, 0}, {1, 1, 1}, {}, {}, {}} {
		n, _ := r.Find(keyOf(1, i))
		if got := numbers(r.Twins(n)); got != want {
			t.Errorf("%q: %+v, want %+v", texts[i], got, want)
		}
	}
	b.drop(removal{event: keyOf(1, 0), author: keyOf(2, 0), kind: 1})
	n, _ := r.Find(keyOf(1, 1))
	if got := numbers(r.Twins(n)); got != [3]int{} {
		t.Errorf("after the other went: %+v", got)
	}
}

func numbers(t Twins) [3]int { return [3]int{t.Notes, t.Keys, t.Earlier} }

// TestTwinsSeenBeforeAreTheTwinsOfNow lets alike notes come, from before and
// from ahead, and go, and asks each time with what was said before.
func TestTwinsSeenBeforeAreTheTwinsOfNow(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 5))
	b := newBook()
	said, spared := map[int]Twins{}, 0
	for step := range 1500 {
		n := r.IntN(120)
		if r.IntN(20) == 0 {
			b.drop(removal{event: keyOf(1, n), author: keyOf(2, n%9), kind: 1})
			delete(said, n)
		} else if r.IntN(4) == 0 {
			sketch := uint64(0x0101010101010101)
			ahead := 0
			if r.IntN(30) == 0 {
				ahead = 420
			}
			for range r.IntN(4) {
				sketch ^= uint64(r.IntN(3)) << (8 * r.IntN(8))
			}
			b.put(&statement{event: keyOf(1, n), author: keyOf(2, n%9), actor: keyOf(2, n%9), created: uint32(1000 + step + ahead - r.IntN(400)), note: &noted{kind: 1, sketch: sketch}})
		}
		reader := &Reader{b, uint32(1000 + step)}
		if step%40 == 39 {
			reader.now -= 300
		}
		for i := range 120 {
			shown, ok := reader.Find(keyOf(1, i))
			if !ok {
				continue
			}
			before, want := said[i], reader.Twins(shown)
			got := reader.TwinsAgain(shown, before)
			if numbers(got) != numbers(want) {
				t.Fatalf("step %d, note %d: %v, want %v", step, i, numbers(got), numbers(want))
			}
			if before.seen.now != 0 && got == before {
				spared++
			}
			said[i] = got
		}
	}
	if spared < 500 {
		t.Errorf("only %d looks were spared", spared)
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
	if a, _ := b.actors.find(keyOf(2, 0)); b.actors.at(a).first != 1000 {
		t.Error("an author whose notes have become old looks new")
	}
}

func TestWhatANotesAuthorDoesWithItCountsForNothing(t *testing.T) {
	b := newBook()
	like(b, Key{2}, Key{1}, 1) // before the note is there
	b.put(&statement{event: Key{1}, author: Key{2}, actor: Key{2}, created: 900, note: &noted{kind: 1}})
	like(b, Key{2}, Key{1}, 2)
	r := &Reader{b, 9000}
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
	got := func() Author { r := &Reader{b, 9000}; return r.Author(r.Place(author)) }
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

// TestStrangersOfWeightDisplaceNobodyTheViewerTrusts lets two hundred keys of
// much trust, whom the viewer does not know, act beside forty whom only the
// viewer trusts.
func TestStrangersOfWeightDisplaceNobodyTheViewerTrusts(t *testing.T) {
	const grandees, friends = 200, 40
	b := newBook()
	friend := map[Key]bool{}
	for i := range friends {
		friend[keyOf(3, i)] = true
	}
	b.actors.trust = func(k Key) float32 {
		if friend[k] {
			return 0.001
		}
		return 0.9
	}
	note := Key{1}
	b.put(&statement{event: note, author: Key{2}, actor: Key{2}, created: 900, note: &noted{kind: 1}})
	n := 0
	for i := range grandees {
		like(b, keyOf(4, i), note, n)
		n++
	}
	for k := range friend {
		like(b, k, note, n)
		n++
	}
	r := &Reader{b, 9000}
	shown, _ := r.Find(note)
	lens := &Lens{Self: NoPlace, AskFollows: func(uint32) bool { return false }, AskTrust: func(a uint32) float32 {
		if friend[r.Key(a)] {
			return 0.5
		}
		return 0.125
	}}
	// 40 friends, and the first 24 of those who are trusted less
	if c := r.Counts(shown, lens); c.Viewer[Like] != 40*0.5+24*0.125 {
		t.Errorf("the viewer's counts are %v, want 23", c.Viewer[Like])
	}
	// cells filled beforehand say the same as asking
	lens.Known = make([]uint32, b.actors.size)
	for i := range lens.Known {
		lens.Known[i] = math.Float32bits(lens.AskTrust(uint32(i)))
	}
	lens.AskTrust = func(uint32) float32 { t.Error("asked for what is known"); return 0 }
	if c := r.Counts(shown, lens); c.Viewer[Like] != 23 {
		t.Errorf("by filled cells the viewer's counts are %v, want 23", c.Viewer[Like])
	}
	// as of a moment before most had acted, those who act later take no place
	early := &Reader{b, firstLike + 30}
	shown, _ = early.Find(note)
	if c := early.Counts(shown, lens); c.Viewer[Like] != 31*0.125 {
		t.Errorf("early the viewer's counts are %v, want %v", c.Viewer[Like], 31*0.125)
	}
}

// TestManyLikesOfOneKeyAreOne reads what each key did.
func TestManyLikesOfOneKeyAreOne(t *testing.T) {
	b := newBook()
	note := Key{1}
	b.put(&statement{event: note, author: Key{2}, actor: Key{2}, created: 900, note: &noted{kind: 1}})
	for n := range 50 {
		like(b, Key{3}, note, n)
	}
	like(b, Key{2}, note, 60) // the author's own
	r := &Reader{b, firstLike + 1000}
	shown, _ := r.Find(note)
	seen := 0
	r.Actors(shown, func(_ uint32, did Deeds) bool {
		seen++
		if !did.Done.Has(Like) || did.Done.Any(AllActions&^Liking) || did.Liked != firstLike {
			t.Errorf("the key did %b, first at %d", did.Done, did.Liked)
		}
		return true
	})
	if seen != 1 {
		t.Errorf("%d keys, want 1", seen)
	}
}

// TestEachNoteIsSeenOnceThoughOthersGetATurn walks more places than are seen at
// once.
func TestEachNoteIsSeenOnceThoughOthersGetATurn(t *testing.T) {
	b := newBook()
	const notes = 2*each + 77
	for n := range notes {
		b.put(&statement{event: keyOf(5, n), author: Key{2}, actor: Key{2}, created: 900, note: &noted{kind: 1}})
	}
	all := &Tally{book: b}
	seen := map[Key]int{}
	all.Each(1000, func(_ *Reader, n Note) bool {
		seen[n.ID]++
		return true
	})
	for id, times := range seen {
		if times != 1 {
			t.Fatalf("%x is seen %d times", id, times)
		}
	}
	some := 0
	all.Each(1000, func(*Reader, Note) bool {
		some++
		return some < each+5
	})
	if len(seen) != notes || some != each+5 {
		t.Errorf("%d of %d notes seen; stopped after %d, want %d", len(seen), notes, some, each+5)
	}
}
