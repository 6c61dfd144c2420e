package tally

import (
	"cmp"
	"encoding/binary"
	"math"
)

// Action is what a key did with a note, or against an author.
type Action uint8

// The actions. The first eight are numbered as the catalogue of features does.
const (
	Like Action = iota
	Dislike
	Emoji
	Reply
	Repost
	Quote
	Zap
	Report
	Actions           // how many there are on notes
	Mute    = Actions // against an author only
)

// Windows over which rates are taken, in seconds.
const (
	Min15 = iota
	Hour1
	Hour6
	Hour24
	Windows
)

func windows() [Windows]float64 { return [Windows]float64{900, 3600, 6 * 3600, 24 * 3600} }

// act is one event that acts on a note.
type act struct {
	actor uint32
	at    uint32 // created_at
	mark  uint32 // action in the upper 4 bits, then 3 of the class of person, then 25 bits of the event's id
}

const (
	markBits  = 25
	classBits = 3
	// Classes is how many classes of people are told apart, from 1 on.
	Classes = 1<<classBits - 1
)

func newAct(actor, at uint32, action Action, class uint8, event Key) act {
	return act{actor, at, (uint32(action)<<classBits|uint32(class))<<markBits | binary.BigEndian.Uint32(event[:])>>(32-markBits)}
}

func (a act) action() Action { return Action(a.mark >> (markBits + classBits)) }

// class is of the person who proved to have acted; 0: a key did.
func (a act) class() uint8 { return uint8(a.mark>>markBits) & Classes }

func (a act) from(event Key) bool {
	return a.mark<<(32-markBits) == binary.BigEndian.Uint32(event[:])&^(1<<(32-markBits)-1)
}

// people counts those who proved to be one person each. Every such act is one
// person's, for a nullifier is spent once. One human may be in two classes, so
// classes are not added up: the largest counts.
func people(acts list, author, now uint32) (most [Actions]uint32) {
	var of [Actions][Classes + 1]uint32
	for a := range acts.all {
		if c := a.class(); c != 0 && a.at <= now && a.actor != author {
			of[a.action()][c]++
			most[a.action()] = max(most[a.action()], of[a.action()][c])
		}
	}
	return most
}

func (a act) compare(b act) int {
	return cmp.Or(cmp.Compare(a.actor, b.actor), cmp.Compare(a.mark, b.mark), cmp.Compare(a.at, b.at))
}

// raising are the actions that make a rate rise.
const raising = AllActions &^ (1<<Dislike | 1<<Report)

func (a Action) positive() bool { return raising.Has(a) }

// share is what one key adds to a note's counts: which actions, and the time of
// the first that makes rates rise.
type share struct {
	done  uint16 // bit per action
	first uint32 // MaxUint32: none
}

// share reads, as of now, what the actor of the from-th act did, whose acts
// begin there, and says where they end.
func (r *rows) share(from int, now uint32) (s share, to int) {
	s.first = math.MaxUint32
	actor := r.actor(from)
	for to = from; to < r.n; to++ {
		a := r.act(to)
		if a.actor != actor {
			break
		}
		if a.at > now {
			continue
		}
		s.done |= 1 << a.action()
		if a.action().positive() {
			s.first = min(s.first, a.at)
		}
	}
	return s, to
}

// sums are a note's counts. Rates are as of at.
type sums struct {
	actors [Actions]uint32
	trust  [Actions]uint32 // in 65,535ths
	rate   [Windows]float64
	weight [Windows]float64 // the same, each key as its weight in 65,535ths
	at     uint32
}

// faded is the age in windows at which a key no longer adds to a rate: what it
// would add is one in 10^13.
const faded = 30

// add puts a key's share in, or with sign -1 takes it out.
func (s *sums) add(sh share, weight uint16, sign int) {
	for action := range Actions {
		if sh.done&(1<<action) != 0 {
			s.actors[action] += uint32(sign)
			s.trust[action] += uint32(sign * int(weight))
		}
	}
	if sh.first == math.MaxUint32 {
		return
	}
	s.advance(max(s.at, sh.first))
	for w, span := range windows() {
		age := float64(s.at-sh.first) / span
		if age > faded {
			continue
		}
		part := float64(sign) * math.Exp(-age)
		s.rate[w] += part
		s.weight[w] += part * float64(weight)
	}
}

// advance lets rates decay up to a moment.
func (s *sums) advance(to uint32) {
	if to <= s.at {
		return
	}
	for w, span := range windows() {
		k := math.Exp(-float64(to-s.at) / span)
		s.rate[w] *= k
		s.weight[w] *= k
	}
	s.at = to
}

// sum counts acts as of now, those of the note's author left out.
func (a *actors) sum(acts list, author, now uint32) (s sums) {
	s.at = now
	r := acts.rows()
	for i := 0; i < r.n; {
		actor := r.actor(i)
		share, to := r.share(i, now)
		if actor != author {
			s.add(share, a.weight[actor], 1)
		}
		i = to
	}
	return s
}
