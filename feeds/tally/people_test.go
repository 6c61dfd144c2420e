package tally

import "testing"

// proven puts an act of a person in.
func proven(b *book, n int, class uint8, action Action, meant Key, on ...target) {
	s := &statement{event: keyOf(9, n), author: keyOf(3, n), actor: keyOf(3, n), created: uint32(1000 + n), class: class, meant: meant}
	for _, t := range on {
		s.deeds = append(s.deeds, deed{action: action, on: t})
	}
	b.put(s)
}

func TestPeopleAreCountedApartAndClassesAreNotAddedUp(t *testing.T) {
	b := newBook()
	note, other := Key{1}, Key{5}
	for _, id := range []Key{note, other} {
		b.put(&statement{event: id, author: Key{2}, actor: Key{2}, created: 900, note: &noted{kind: 1}})
	}
	address := target{id: Key{7}, address: true}
	for i := range 3 {
		proven(b, i, 1, Like, note, target{id: note})
	}
	for i := range 2 {
		proven(b, 10+i, 2, Like, note, target{id: note})
	}
	like(b, keyOf(4, 0), note, 50)                                                      // a key
	proven(b, 20, 1, Report, other, target{id: other}, target{id: note})                // the proof is for one of the two
	proven(b, 21, 1, Like, note, address)                                               // an address is not what it is for
	proven(b, 22, Classes+1, Like, note, target{id: note})                              // no such class: a key
	b.put(&statement{event: keyOf(9, 23), author: Key{2}, actor: Key{2}, created: 1000, // the note's own author
		class: 1, meant: note, deeds: []deed{{action: Like, on: target{id: note}}}})
	count := func(b *book, now uint32, id Key) Counts {
		r := &Reader{b, now}
		n, ok := r.Find(id)
		if !ok {
			t.Fatal("the note is gone")
		}
		return r.Counts(n, nil)
	}
	c := count(b, 5000, note)
	if c.People[Like] != 3 || c.Actors[Like] != 7 || c.People[Report] != 0 || c.Actors[Report] != 1 {
		t.Errorf("people %v, keys %v", c.People, c.Actors)
	}
	if c := count(b, 5000, other); c.People[Report] != 1 {
		t.Errorf("the one it is for: %v", c.People)
	}
	if c := count(b, 1001, note); c.People[Like] != 2 {
		t.Errorf("as of a moment: %v", c.People)
	}
	b.drop(removal{event: keyOf(9, 0), author: keyOf(3, 0), kind: kindReaction})
	if c := count(b, 5000, note); c.People[Like] != 2 || c.Actors[Like] != 6 {
		t.Errorf("after one was taken back: people %v, keys %v", c.People, c.Actors)
	}
}

func TestCrowdsOfPeopleAreCountedToo(t *testing.T) {
	b := newBook()
	note := Key{1}
	b.put(&statement{event: note, author: Key{2}, actor: Key{2}, created: 900, note: &noted{kind: 1}})
	for i := range 300 { // beyond the size from which sums are kept ready
		proven(b, i, uint8(1+i%2), Dislike, note, target{id: note})
	}
	r := &Reader{b, 5000}
	n, _ := r.Find(note)
	if c := r.Counts(n, nil); c.People[Dislike] != 150 || c.Actors[Dislike] != 300 {
		t.Errorf("people %v, keys %v", c.People, c.Actors)
	}
}
