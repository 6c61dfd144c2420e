package tally

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"sort"
)

// book is the whole state. Its owner holds Tally.mu.
type book struct {
	actors actors
	notes  notes
	twins  twins
	era    uint32           // of the tally's books, this one's number
	epoch  uint32           // counts the times that trust was weighed
	taken  [256]uint32      // counts acts taken back, by place of the note modulo their number
	recent []moment         // live notes by created_at, the latest last; at most mostRecent
	places []ref            // places without a note, the earliest made first; may name some that are gone
	empty  int              // places without a note
	lists  map[uint32]stamp // by actor: the mute list that is held
	live   int              // notes
	acts   int
	change uint64 // counts every change
	purged uint64 // the last change that took something back
}

type moment struct {
	created uint32
	ref     ref
}

type stamp struct {
	event   Key
	created uint32
}

// mostRecent is how many of the latest notes are kept in order: older ones are
// found by their author or by what was done with them.
const mostRecent = 1 << 14

func newBook() *book {
	return &book{actors: newActors(), notes: newNotes(), twins: newTwins(), lists: map[uint32]stamp{}}
}

// put takes in what an event says.
func (b *book) put(s *statement) {
	b.change++
	if s.note != nil {
		b.putNote(s)
	}
	if s.mutes != nil {
		b.putMutes(s)
	}
	for _, d := range s.deeds {
		b.putDeed(s, d)
	}
}

// place finds or makes the place of a note that an act or an answer names. No
// for an addressable note that is named by the id of one of its versions.
func (b *book) place(of target) (at uint32, ok bool) {
	if of.address {
		if at, ok := b.notes.named[of.id]; ok {
			return at, true
		}
	} else if at, ok := b.notes.find(of.id); ok {
		x := b.notes.at(at).extra
		return at, x == nil || x.address == nil
	}
	at = b.notes.make(of.id)
	if of.address {
		address := of.id
		b.notes.at(at).more().address = &address
		b.notes.named[address] = at
	}
	b.places = append(b.places, b.notes.refer(at))
	b.empty++
	return at, true
}

// putNote makes a place a live note. A newer version of an addressable note
// takes the place of the older with all that was done with it.
func (b *book) putNote(s *statement) {
	at, held := b.notes.find(s.event)
	if held && b.notes.at(at).live() {
		return
	}
	if s.note.address != (Key{}) {
		at = b.placeOfAddress(s)
	} else if !held {
		at = b.notes.make(s.event)
		b.empty++
	}
	n := b.notes.at(at)
	if n.live() { // an older version, whose removal has not been read yet
		if n.created > s.created {
			return
		}
		b.empty++
		b.detach(at)
	}
	b.empty--
	b.live++
	author := b.actors.intern(s.author)
	n.author, n.created, n.expires, n.kind = author, s.created, s.note.expires, s.note.kind
	b.actors.at(author).refs++
	b.actors.seen(author, s.created)
	b.chain(at)
	b.twins.add(at, n, s.note.sketch)
	b.remember(at)
	n.parent, n.root = b.refTo(s.note.parent), b.refTo(s.note.root)
	b.settle(at)
}

// placeOfAddress is the place of an addressable note, under the id of the
// version that is coming.
func (b *book) placeOfAddress(s *statement) uint32 {
	at, _ := b.place(target{id: s.note.address, address: true})
	if n := b.notes.at(at); n.id != s.event && !(n.live() && n.created > s.created) {
		if other, ok := b.notes.find(s.event); ok && other != at {
			b.remove(other) // acts that named the version alone
		}
		b.notes.index.drop(at, b.notes.name)
		n.id = s.event
		b.notes.index.add(at, b.notes.name)
	}
	return at
}

func (b *book) refTo(t target) ref {
	if t.id == (Key{}) {
		return ref{}
	}
	at, ok := b.place(t)
	if !ok {
		return ref{}
	}
	return b.notes.refer(at)
}

// chain puts a note at the head of its author's notes.
func (b *book) chain(at uint32) {
	n := b.notes.at(at)
	head := &b.actors.at(n.author).notes
	n.next, n.prev = *head, 0
	if *head != 0 {
		b.notes.at(*head - 1).prev = at + 1
	}
	*head = at + 1
}

// horizon is the created_at before which notes are no longer live: since, or,
// where fewer than least notes are younger, the least-th of the latest.
func (b *book) horizon(since uint32, least int) uint32 {
	switch {
	case least == 0:
		return since
	case len(b.recent) < least:
		return 0
	}
	return min(since, b.recent[len(b.recent)-least].created)
}

// remember puts a note among the latest, in order.
func (b *book) remember(at uint32) {
	m := moment{b.notes.at(at).created, b.notes.refer(at)}
	i := sort.Search(len(b.recent), func(i int) bool { return b.recent[i].created > m.created })
	b.recent = slices.Insert(b.recent, i, m)
	if len(b.recent) > mostRecent+mostRecent/4 {
		b.recent = slices.Delete(b.recent, 0, len(b.recent)-mostRecent)
	}
}

// detach makes a live note a place without one. What others did stays.
func (b *book) detach(at uint32) {
	n := b.notes.at(at)
	author := n.author
	if n.prev != 0 {
		b.notes.at(n.prev - 1).next = n.next
	} else {
		b.actors.at(author).notes = n.next
	}
	if n.next != 0 {
		b.notes.at(n.next - 1).prev = n.prev
	}
	b.twins.drop(at)
	b.forgetMoment(at)
	n.author, n.next, n.prev, n.parent, n.root = nobody, 0, 0, ref{}, ref{}
	b.live--
	b.actors.release(author)
	b.settle(at)
}

func (b *book) forgetMoment(at uint32) {
	want := moment{b.notes.at(at).created, b.notes.refer(at)}
	i := sort.Search(len(b.recent), func(i int) bool { return b.recent[i].created >= want.created })
	for ; i < len(b.recent) && b.recent[i].created == want.created; i++ {
		if b.recent[i].ref == want.ref {
			b.recent = slices.Delete(b.recent, i, i+1)
			return
		}
	}
}

// putDeed takes in one act.
func (b *book) putDeed(s *statement, d deed) {
	if d.against != (Key{}) {
		b.putAgainst(b.actors.intern(s.actor), s, d)
		return
	}
	at, ok := b.place(d.on)
	if !ok {
		return
	}
	actor := b.actors.intern(s.actor)
	n := b.notes.at(at)
	a := newAct(actor, s.created, d.action, s.classOf(d), s.event)
	if r := n.acts.rows(); r.has(actor, a.mark) {
		b.actors.forget(actor)
		return // read before
	}
	b.actors.at(actor).refs++
	b.actors.seen(actor, s.created)
	b.acts++
	b.share(n, actor, func() { n.acts = n.acts.insert(a) })
	n.latest = max(n.latest, a.at)
	n.proven = n.proven || a.class() != 0
	b.notes.marks[at] |= bits(actor)
	if d.action == Zap {
		n.more().zaps = append(n.more().zaps, zap{msat: s.msat, actor: actor, at: s.created, mark: a.mark, event: binary.BigEndian.Uint64(s.event[:])})
	}
	if n.acts.len() >= crowd && (n.extra == nil || n.extra.sums == nil) {
		b.settle(at)
	}
}

// share lets change alter what an actor did with a note, and keeps the sums.
func (b *book) share(n *note, actor uint32, change func()) {
	if n.extra == nil || n.extra.sums == nil || actor == n.author {
		change()
		return
	}
	weight := b.actors.weight[actor]
	n.extra.sums.add(n.acts.shareOf(actor), weight, -1)
	change()
	n.extra.sums.add(n.acts.shareOf(actor), weight, 1)
}

// settle adds a note's sums up anew, or does without them.
func (b *book) settle(at uint32) {
	n := b.notes.at(at)
	if n.acts.len() < crowd {
		if n.extra != nil {
			n.extra.sums = nil
		}
		return
	}
	var latest uint32
	for a := range n.acts.all {
		latest = max(latest, a.at)
	}
	s := b.actors.sum(n.acts, n.author, latest)
	n.extra = n.more()
	n.extra.sums = &s
}

// putAgainst takes in a report of an author.
func (b *book) putAgainst(actor uint32, s *statement, d deed) {
	of := b.actors.intern(d.against)
	a := newAct(actor, s.created, d.action, s.classOf(d), s.event)
	if r := b.actors.about[of].rows(); r.has(actor, a.mark) {
		b.actors.forget(actor)
		b.actors.forget(of)
		return
	}
	b.actors.at(actor).refs++
	b.actors.at(of).refs++
	b.actors.about[of] = b.actors.about[of].insert(a)
	b.acts++
}

// putMutes replaces a key's mute list by a newer one.
func (b *book) putMutes(s *statement) {
	actor := b.actors.intern(s.author)
	held, ok := b.lists[actor]
	if ok && (held.created > s.created || held.event == s.event) {
		return
	}
	if ok {
		b.dropAgainst(actor, held.event)
	}
	b.lists[actor] = stamp{s.event, s.created}
	b.actors.at(actor).refs++
	for _, key := range s.mutes {
		b.putAgainst(b.actors.intern(s.author), s, deed{action: Mute, against: key})
	}
	if ok {
		b.actors.release(actor)
	}
}

// sha is the name of an address.
func sha(address string) Key { return sha256.Sum256([]byte(address)) }
