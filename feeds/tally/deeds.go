package tally

// Set is a set of actions, a bit for each.
type Set uint16

// AllActions is every action that a key can do with a note; Liking those that
// are taken for liking it.
const (
	AllActions Set = 1<<Actions - 1
	Liking     Set = 1<<Like | 1<<Repost | 1<<Zap
)

// Has reports whether an action is in the set.
func (s Set) Has(a Action) bool { return s&(1<<a) != 0 }

// Any reports whether the sets have an action in common.
func (s Set) Any(of Set) bool { return s&of != 0 }

// Deeds is what one key did with a note.
type Deeds struct {
	Done  Set
	Liked int64 // created_at of its first act of Liking; 0: none
}

// Actors yields each key that did something with a note by now, but for its
// author, once: many events of one key are no more than one.
func (r *Reader) Actors(n Note, yield func(actor uint32, did Deeds) bool) {
	acts := n.inner.acts.rows()
	var some [block]act
	actor, did := n.Author, Deeds{}
	for from := 0; from < acts.n; from += block {
		for _, a := range acts.read(from, some[:]) {
			if a.actor != actor {
				if did.Done != 0 && actor != n.Author && !yield(actor, did) {
					return
				}
				actor, did = a.actor, Deeds{}
			}
			if a.at > r.now {
				continue
			}
			did.Done |= 1 << a.action()
			if Liking.Has(a.action()) && (did.Liked == 0 || int64(a.at) < did.Liked) {
				did.Liked = int64(a.at)
			}
		}
	}
	if did.Done != 0 && actor != n.Author {
		yield(actor, did)
	}
}

// Version is another one after somebody acted on a note, or took that back, or
// trust was weighed anew.
type Version struct{ acts, latest, taken, epoch uint32 }

// Version of what was done with a note.
func (r *Reader) Version(n Note) Version {
	return Version{uint32(n.inner.acts.len()), n.inner.latest, r.b.taken[n.place%uint32(len(r.b.taken))], r.b.epoch}
}

// Size is how many acts there are on a note, and whether all were done by now.
func (r *Reader) Size(n Note) (acts int, settled bool) {
	return n.inner.acts.len(), n.inner.latest <= r.now
}
