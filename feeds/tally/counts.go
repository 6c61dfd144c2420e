package tally

import (
	"math"
	"slices"
)

// mostChain is how many of an author's notes are looked at, from the one that
// arrived last.
const mostChain = 200

// Counts is what keys did with a note, up to a moment.
type Counts struct {
	Actors     [Actions]uint32  // distinct keys, those of people among them
	People     [Actions]uint32  // those that proved to be one person each, of the largest class
	Trust      [Actions]float32 // sum of their trust at the epoch
	Viewer     [Actions]float32 // sum of the viewer's trust in them, of the 64 whom the viewer trusts most
	Rate       [Windows]float32 // distinct keys per hour, decayed with the window
	TrustRate  [Windows]float32 // the same, each as its trust
	Msat       uint64           // millisats of zaps
	MsatTrust  float64          // the same, each times the payer's trust
	Proof      [Actions]uint16  // keys that the viewer follows
	ProofTrust float32          // the viewer's trust in those, each once
	Acted      bool             // the viewer liked, answered, reposted, quoted or zapped it
}

// NoPlace is the place of a key that is not known here.
const NoPlace = nobody

// Note is a live note, within one Read.
type Note struct {
	ID      Key
	Author  uint32 // place of the author's key
	Created int64  // Unix seconds
	Kind    int
	Reply   bool // it answers another
	Expires int64
	place   uint32
	inner   *note
}

// Reader answers as of one moment; it is valid within Tally.Read.
type Reader struct {
	b   *book
	now uint32
}

// Read lets fn ask about the tally as of now, Unix seconds. The tally does not
// change meanwhile, so fn must be short.
func (t *Tally) Read(now int64, fn func(*Reader)) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	fn(&Reader{t.book, moment32(now)})
}

// Key is the key at a place.
func (r *Reader) Key(actor uint32) Key { return *r.b.actors.name(actor) }

// Place is where a key is; NoPlace when nothing is known of it.
func (r *Reader) Place(key Key) uint32 {
	if at, ok := r.b.actors.find(key); ok {
		return at
	}
	return NoPlace
}

// Places is one more than the highest place a key may have, and a number that
// changes when a place has been given to another key.
func (r *Reader) Places() (size int, reused uint64) {
	return r.b.actors.size, uint64(r.b.era)<<40 + r.b.actors.reuse
}

// Weight is the trust of a key at the epoch.
func (r *Reader) Weight(actor uint32) float32 { return float32(r.b.actors.weight[actor]) / Unit }

// note shows a place, when there is a note by now.
func (r *Reader) note(at uint32) (Note, bool) {
	n := r.b.notes.at(at)
	if !n.live() || n.created > r.now || n.expires != 0 && n.expires <= r.now {
		return Note{}, false
	}
	return Note{
		ID: n.id, Author: n.author, Created: int64(n.created), Kind: int(n.kind), Expires: int64(n.expires),
		Reply: n.parent.place != 0, place: at, inner: n,
	}, true
}

// Find is the live note with an id.
func (r *Reader) Find(id Key) (Note, bool) {
	if at, ok := r.b.notes.find(id); ok {
		return r.note(at)
	}
	return Note{}, false
}

// Spot is where a note stands in the tally, for finding it again without its
// id. It names nothing once the note has gone.
type Spot struct {
	at  ref
	era uint32
}

// Spot of a note.
func (r *Reader) Spot(n Note) Spot { return Spot{r.b.notes.refer(n.place), r.b.era} }

// At is the live note at a spot.
func (r *Reader) At(s Spot) (Note, bool) {
	if s.era != r.b.era {
		return Note{}, false
	}
	if _, ok := r.b.notes.follow(s.at); !ok {
		return Note{}, false
	}
	return r.note(s.at.place - 1)
}

// Place of a note is its own as long as the tally does not change.
func (n Note) Place() uint32 { return n.place }

// Recent yields live notes, the latest first, as far back as they are kept in
// order.
func (r *Reader) Recent(yield func(Note) bool) {
	for _, m := range slices.Backward(r.b.recent) {
		if _, ok := r.b.notes.follow(m.ref); !ok {
			continue
		}
		if n, ok := r.note(m.ref.place - 1); ok && !yield(n) {
			return
		}
	}
}

// By yields an author's live notes, the last to arrive first, at most 200.
func (r *Reader) By(author uint32, yield func(Note) bool) {
	at := r.b.actors.at(author).notes
	for steps, ahead := 0, 0; at != 0 && steps < mostChain && ahead < 16*mostChain; {
		n, ok := r.note(at - 1)
		at = r.b.notes.at(at - 1).next
		if !ok {
			ahead++
			continue
		}
		steps++
		if !yield(n) {
			return
		}
	}
}

// Newest yields the notes of some authors that are not older than since, the
// newest first. Of one author at most 3,200 are looked at.
func (r *Reader) Newest(authors []uint32, since int64, yield func(Note) bool) {
	var found []uint64 // created_at and place
	for _, author := range authors {
		at := r.b.actors.at(author).notes
		for steps := 0; at != 0 && steps < 16*mostChain; steps++ {
			n := r.b.notes.at(at - 1)
			if n.created <= r.now && int64(n.created) >= since {
				found = append(found, uint64(n.created)<<32|uint64(at-1))
			}
			at = n.next
		}
	}
	slices.Sort(found)
	for _, v := range slices.Backward(found) {
		if n, ok := r.note(uint32(v)); ok && !yield(n) {
			return
		}
	}
}

// All yields every live note, in no order that means anything.
func (r *Reader) All(yield func(Note) bool) {
	for at := range r.b.notes.size {
		if n, ok := r.note(at); ok && !yield(n) {
			return
		}
	}
}

// Each yields every live note as All does, and lets others at the tally after
// every few thousand places: what comes or goes meanwhile may be seen or not.
func (t *Tally) Each(now int64, yield func(*Reader, Note) bool) {
	for from, size := uint32(0), uint32(1); from < size; {
		t.Read(now, func(r *Reader) {
			size = r.b.notes.size
			for to := min(from+each, size); from < to; from++ {
				if n, ok := r.note(from); ok && !yield(r, n) {
					from, size = 0, 0
					return
				}
			}
		})
	}
}

const each = 4096 // places

// Acts yields what was done with a note by now, but for what its author did:
// who, what, when.
func (r *Reader) Acts(n Note, yield func(actor uint32, action Action, at int64) bool) {
	acts := n.inner.acts.rows()
	var some [block]act
	for from := 0; from < acts.n; from += block {
		for _, a := range acts.read(from, some[:]) {
			if a.at <= r.now && a.actor != n.Author && !yield(a.actor, a.action(), int64(a.at)) {
				return
			}
		}
	}
}

// Counts adds up what was done with a note. A nil lens leaves what is the
// viewer's at zero.
func (r *Reader) Counts(n Note, lens *Lens) (c Counts) {
	r.total(n, &c)
	if x := n.inner.extra; x != nil {
		for _, z := range x.zaps {
			if z.at <= r.now && z.actor != n.Author {
				c.Msat += z.msat
				c.MsatTrust += float64(z.msat) * float64(r.Weight(z.actor))
			}
		}
	}
	if lens != nil {
		r.Look(n, lens, &c)
	}
	return c
}

// People counts what people did with a note.
func (r *Reader) People(n Note) (most [Actions]uint32) {
	if !n.inner.proven {
		return most
	}
	return people(n.inner.acts, n.Author, r.now)
}

// total is the part that is the same for every viewer. The sums kept ready are
// of all there is, so they do when nothing of it lies ahead of now.
func (r *Reader) total(n Note, c *Counts) {
	var s sums
	if x := n.inner.extra; x != nil && x.sums != nil && n.inner.latest <= r.now {
		s = *x.sums
		s.advance(r.now)
	} else if len(n.inner.acts) > 0 {
		s = r.b.actors.sum(n.inner.acts, n.Author, r.now)
	}
	c.Actors = s.actors
	c.People = r.People(n)
	for action := range Actions {
		c.Trust[action] = float32(float64(s.trust[action]) / Unit)
	}
	for w, span := range windows() {
		c.Rate[w] = float32(max(0, s.rate[w]) * 3600 / span)
		c.TrustRate[w] = float32(max(0, s.weight[w]) / Unit * 3600 / span)
	}
}

// Twins counts near-duplicates of a note that were written by now.
type Twins struct {
	Notes   int // at most some hundreds
	Keys    int // distinct authors of those
	Earlier int // older than the note
	seen    crossing
	era     uint32 // of the book
}

// Twins looks for near-duplicates.
func (r *Reader) Twins(n Note) Twins { return r.TwinsAgain(n, Twins{}) }

// TwinsAgain is Twins; what it said of the same note before spares the look when
// nothing came or went that could be alike.
func (r *Reader) TwinsAgain(n Note, before Twins) (t Twins) {
	if before.era == r.b.era && r.b.twins.still(n.place, &before.seen, r.now) {
		return before
	}
	var authors []uint32
	t.seen, t.era = r.b.twins.crossing(n.place, r.now), r.b.era
	later := r.b.twins.each(n.place, r.now, func(o *twin) {
		t.Notes++
		if o.created < n.inner.created {
			t.Earlier++
		}
		if !slices.Contains(authors, o.author) {
			authors = append(authors, o.author)
		}
	})
	t.Keys = len(authors)
	if later {
		t.seen.now = 0
	}
	return t
}

// Thread is where a note stands in its conversation.
type Thread struct {
	Depth        int    // notes above it
	RootAt       int64  // created_at of the root; 0: it is not held
	Siblings     int    // distinct keys that answered the same note, without this author
	ParentAuthor uint32 // NoPlace: not held, or none
	RootAuthor   uint32 // the same
}

const mostDepth = 100 // notes above a note that are counted

// Thread looks upward from a note.
func (r *Reader) Thread(n Note) Thread {
	t := Thread{ParentAuthor: NoPlace, RootAuthor: NoPlace}
	if n.inner.parent.place == 0 {
		return t
	}
	if root, ok := r.b.notes.follow(n.inner.root); ok && root.live() && root.created <= r.now {
		t.RootAt, t.RootAuthor = int64(root.created), root.author
	}
	parent, ok := r.b.notes.follow(n.inner.parent)
	if !ok {
		t.Depth = 1
		return t
	}
	if parent.live() && parent.created <= r.now {
		t.ParentAuthor = parent.author
	}
	last := uint32(nobody)
	for a := range parent.acts.all {
		if a.action() == Reply && a.at <= r.now && a.actor != n.Author && a.actor != last {
			last = a.actor
			t.Siblings++
		}
	}
	for at := n.inner; t.Depth < mostDepth; t.Depth++ {
		if at, ok = r.b.notes.follow(at.parent); !ok || at.created > r.now {
			break
		}
	}
	t.Depth = max(t.Depth, 1)
	return t
}

// Author is what an author's notes got, and how often it writes.
type Author struct {
	FirstSeen   int64   // created_at of its first note seen here, Unix seconds
	Notes       int     // live, of the last 200
	Replies     int     // of those, answers
	Notes24h    int     // of the last 24 hours
	PerDay      float32 // notes per day, decayed with a time constant of 7 days
	LikesTrust  float32 // trust of the likes of those notes
	ReplyTrust  float32 // trust of the answers to them
	Msat        uint64  // zaps of them, millisats
	ReportTrust float32 // trust of the distinct keys that report the author
	Reporters   int     // those keys
	MuteTrust   float32 // trust of the distinct keys that mute it
	Muters      int
	Written     []int64 // created_at of those notes, ascending
}

// Author looks at an author's notes.
func (r *Reader) Author(of uint32) (a Author) {
	if first := r.b.actors.at(of).first; first <= r.now {
		a.FirstSeen = int64(first)
	}
	for n := range func(yield func(Note) bool) { r.By(of, yield) } {
		age := float64(r.now - n.inner.created)
		a.Notes++
		a.PerDay += float32(math.Exp(-age/(7*86400)) / 7)
		if n.Reply {
			a.Replies++
		}
		if age <= 86400 {
			a.Notes24h++
		}
		var c Counts
		r.total(n, &c)
		a.LikesTrust += c.Trust[Like]
		a.ReplyTrust += c.Trust[Reply]
		if x := n.inner.extra; x != nil {
			for _, z := range x.zaps {
				if z.at <= r.now && z.actor != of {
					a.Msat += z.msat
				}
			}
		}
		a.Written = append(a.Written, n.Created)
	}
	slices.Sort(a.Written)
	a.Reporters, a.ReportTrust = r.against(of, Report)
	a.Muters, a.MuteTrust = r.against(of, Mute)
	return a
}

// against is who did something against an author: distinct keys, and their
// trust.
func (r *Reader) against(of uint32, action Action) (keys int, trust float32) {
	last := uint32(nobody)
	for a := range r.b.actors.about[of].all {
		if a.action() == action && a.at <= r.now && a.actor != last {
			last = a.actor
			keys++
			trust += r.Weight(a.actor)
		}
	}
	return keys, trust
}

// AuthorActors is how many distinct keys did what with any of an author's last
// 200 notes, and the sum of their trust, each key once per action.
func (r *Reader) AuthorActors(of uint32) (actors [Actions]uint32, trust [Actions]float32) {
	done := map[uint32]uint16{}
	for n := range func(yield func(Note) bool) { r.By(of, yield) } {
		for a := range n.inner.acts.all {
			if a.at <= r.now && a.actor != of {
				done[a.actor] |= 1 << a.action()
			}
		}
	}
	var sum [Actions]uint64
	for actor, did := range done {
		for action := range Actions {
			if did&(1<<action) != 0 {
				actors[action]++
				sum[action] += uint64(r.b.actors.weight[actor])
			}
		}
	}
	for action := range Actions {
		trust[action] = float32(float64(sum[action]) / Unit)
	}
	return actors, trust
}

// FirstSeen is created_at of an author's first note seen here, Unix seconds.
func (r *Reader) FirstSeen(author uint32) int64 { return int64(r.b.actors.at(author).first) }

// Support is a note's likes, answers, reposts, quotes and zaps less its
// dislikes and reports, each key once per action and as its trust.
func (r *Reader) Support(n Note) float64 {
	if len(n.inner.acts) == 0 {
		return 0
	}
	if x := n.inner.extra; x != nil && x.sums != nil && n.inner.latest <= r.now {
		return support(&x.sums.trust)
	}
	var trust [Actions]uint32
	acts := n.inner.acts.rows()
	before := act{actor: nobody}
	for i := range acts.n {
		a := acts.act(i)
		if a.actor == n.Author || a.at > r.now || before.actor == a.actor && before.action() == a.action() {
			continue
		}
		before = a
		trust[a.action()] += uint32(r.b.actors.weight[a.actor])
	}
	return support(&trust)
}

func support(trust *[Actions]uint32) float64 {
	good := int64(trust[Like]) + int64(trust[Emoji]) + int64(trust[Reply]) + int64(trust[Repost]) + int64(trust[Quote]) + int64(trust[Zap])
	return float64(good-int64(trust[Dislike])-int64(trust[Report])) / Unit
}
