package graph

import (
	"bytes"
	"cmp"
	"slices"

	"agora/relay/store"
)

// The kinds read from the log.
const (
	kindFollows   = 3
	kindVanish    = 62
	kindMutes     = 10000
	kindRelays    = 10002
	kindProviders = 10040 // NIP-85: whose assertions this user wants
	kindSet       = 30000
	kindPack      = 39089
)

// kinds lists them, for the query that builds the graph anew.
func kinds() []int {
	return []int{kindFollows, kindVanish, kindMutes, kindRelays, kindProviders, kindSet, kindPack}
}

type key = [32]byte

// stamp is what decides which of two versions of a list stands.
type stamp struct {
	id      store.ID
	created int64 // Unix seconds
}

// before reports whether o replaces s: newer, or as new with the lower id.
func (s stamp) before(o stamp) bool {
	if s.created != o.created {
		return s.created < o.created
	}
	return bytes.Compare(o.id[:], s.id[:]) < 0
}

// statement is one event, read: what its author says about others.
type statement struct {
	stamp
	author  key
	kind    int
	d       string
	title   string
	members []key // as given, may repeat
	relays  []Relay
}

// list is a statement as it is held. It is never changed after it has been
// linked into the web, so members may be read without a lock.
type list struct {
	stamp
	kind    int
	d       string
	title   string
	members []uint32 // nodes, in the author's order, each once
	relays  []Relay
}

func (l *list) compare(kind int, d string) int {
	return cmp.Or(cmp.Compare(l.kind, kind), cmp.Compare(l.d, d))
}

// mutes reports whether being a member means being muted.
func (l *list) mutes() bool { return l.kind == kindMutes || l.kind == kindSet && l.d == "mute" }

// node is one public key. Its number is its place in web.nodes; the number of a
// key that nobody mentions any more is given to another.
type node struct {
	key       key
	followers []uint32 // nodes, ascending
	lists     []*list  // by (kind, d)
	held      uint32   // mentions in lists other than follow lists
	born      uint64   // version of the web when the key took this number
}

// web is the graph itself: plain data, no lock, no clock.
type web struct {
	nodes   []node
	number  map[key]uint32
	free    []uint32 // numbers that belong to no key
	edges   int      // follows, self-follows included
	lists   int
	version uint64 // grows with every change
	purged  uint64 // version of the last removal without replacement

	seen  []uint32 // by node: the round of marking that saw it last
	round uint32
}

func newWeb() *web { return &web{number: map[key]uint32{}} }

// size is how many keys are known.
func (w *web) size() int { return len(w.nodes) - len(w.free) }

// find gives the number of a key that is known.
func (w *web) find(k key) (uint32, bool) {
	n, ok := w.number[k]
	return n, ok
}

func (w *web) intern(k key) uint32 {
	if n, ok := w.number[k]; ok {
		return n
	}
	var n uint32
	if last := len(w.free) - 1; last >= 0 {
		n, w.free = w.free[last], w.free[:last]
	} else {
		n = uint32(len(w.nodes))
		w.nodes = append(w.nodes, node{})
		w.seen = append(w.seen, 0)
	}
	w.nodes[n] = node{key: k, born: w.version}
	w.number[k] = n
	return n
}

// release forgets a key that nothing mentions.
func (w *web) release(n uint32) {
	nd := &w.nodes[n]
	if len(nd.followers) > 0 || len(nd.lists) > 0 || nd.held > 0 {
		return
	}
	if at, ok := w.number[nd.key]; !ok || at != n {
		return // already free
	}
	delete(w.number, nd.key)
	*nd = node{}
	w.free = append(w.free, n)
}

// place is where in n's lists an address stands or would stand.
func (w *web) place(n uint32, kind int, d string) (int, bool) {
	return slices.BinarySearchFunc(w.nodes[n].lists, kind, func(l *list, kind int) int { return l.compare(kind, d) })
}

// list is what n says under an address, or nil.
func (w *web) list(n uint32, kind int, d string) *list {
	if at, ok := w.place(n, kind, d); ok {
		return w.nodes[n].lists[at]
	}
	return nil
}

// follows are the keys that n follows; not to be changed.
func (w *web) follows(n uint32) []uint32 {
	if lists := w.nodes[n].lists; len(lists) > 0 && lists[0].kind == kindFollows {
		return lists[0].members // kind 3 sorts first
	}
	return nil
}

// put takes in a statement and reports whether it changed anything. One that
// is not newer than what is held changes nothing.
func (w *web) put(s statement) bool {
	if n, ok := w.number[s.author]; ok {
		if held := w.list(n, s.kind, s.d); held != nil && !held.before(s.stamp) {
			return false
		}
	}
	w.version++
	n := w.intern(s.author)
	l := &list{stamp: s.stamp, kind: s.kind, d: s.d, title: s.title, members: w.members(s.members), relays: s.relays}
	at, held := w.place(n, s.kind, s.d)
	var old *list
	if held {
		old = w.nodes[n].lists[at]
		w.nodes[n].lists[at] = l
	} else {
		w.nodes[n].lists = slices.Insert(w.nodes[n].lists, at, l)
		w.lists++
	}
	w.link(n, old, l)
	return true
}

// drop takes out the list which that event made, and reports whether one stood.
func (w *web) drop(id store.ID, author key) bool {
	n, ok := w.number[author]
	if !ok {
		return false
	}
	at := slices.IndexFunc(w.nodes[n].lists, func(l *list) bool { return l.id == id })
	if at < 0 {
		return false
	}
	w.version++
	w.purged = w.version
	old := w.nodes[n].lists[at]
	w.nodes[n].lists = slices.Delete(w.nodes[n].lists, at, at+1)
	w.lists--
	w.link(n, old, nil)
	w.release(n)
	return true
}

// members gives keys their numbers, each once, in order.
func (w *web) members(keys []key) []uint32 {
	if len(keys) == 0 {
		return nil
	}
	w.mark(nil)
	out := make([]uint32, 0, len(keys))
	for _, k := range keys {
		if n := w.intern(k); w.seen[n] != w.round {
			w.seen[n] = w.round
			out = append(out, n)
		}
	}
	return slices.Clip(out)
}

// mark begins a new round of marking with these nodes.
func (w *web) mark(nodes []uint32) {
	if w.round++; w.round == 0 { // wrapped around after 4 billion rounds
		clear(w.seen)
		w.round = 1
	}
	for _, n := range nodes {
		w.seen[n] = w.round
	}
}

// link moves n's mentions from one version of a list to the next; either may be
// nil, and both stand under the same address.
func (w *web) link(n uint32, old, now *list) {
	var before, after []uint32
	if old != nil {
		before = old.members
	}
	if now != nil {
		after = now.members
	}
	follows := old != nil && old.kind == kindFollows || now != nil && now.kind == kindFollows
	if follows {
		w.edges += len(after) - len(before)
	}
	w.mark(before)
	for _, m := range after {
		if w.seen[m] != w.round {
			w.mention(n, m, follows)
		}
	}
	w.mark(after)
	for _, m := range before {
		if w.seen[m] != w.round {
			w.unmention(n, m, follows)
			w.release(m)
		}
	}
}

func (w *web) mention(n, m uint32, follows bool) {
	nd := &w.nodes[m]
	if !follows {
		nd.held++
		return
	}
	if n == m {
		return
	}
	if at, held := slices.BinarySearch(nd.followers, n); !held {
		nd.followers = slices.Insert(nd.followers, at, n)
	}
}

func (w *web) unmention(n, m uint32, follows bool) {
	nd := &w.nodes[m]
	if !follows {
		nd.held--
		return
	}
	if at, held := slices.BinarySearch(nd.followers, n); held {
		nd.followers = slices.Delete(nd.followers, at, at+1)
	}
}

// muted reports whether viewer's public lists mute author.
func (w *web) muted(viewer, author uint32) bool {
	for _, l := range w.nodes[viewer].lists {
		if l.mutes() && slices.Contains(l.members, author) {
			return true
		}
	}
	return false
}

// gone reports whether n has asked to vanish and has not come back with a
// follow list since.
func (w *web) gone(n uint32) bool {
	left := w.list(n, kindVanish, "")
	if left == nil {
		return false
	}
	back := w.list(n, kindFollows, "")
	return back == nil || back.created <= left.created
}
