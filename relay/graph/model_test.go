package graph

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"agora/relay/store"
)

// model is the graph as plain as can be: the statements that stand.
type model map[string]statement

func address(s statement) string { return fmt.Sprintf("%x/%d/%s", s.author, s.kind, s.d) }

func (m model) put(s statement) {
	old, held := m[address(s)]
	if !held || s.created > old.created || s.created == old.created && slices.Compare(s.id[:], old.id[:]) < 0 {
		m[address(s)] = s
	}
}

func (m model) drop(id store.ID) {
	maps.DeleteFunc(m, func(_ string, s statement) bool { return s.id == id })
}

// members are the distinct members of what author says under kind and d.
func (m model) members(author key, kind int, d string) (out []key) {
	for _, k := range m[address(statement{author: author, kind: kind, d: d})].members {
		if !slices.Contains(out, k) {
			out = append(out, k)
		}
	}
	return out
}

func (m model) known() map[key]bool {
	out := map[key]bool{}
	for _, s := range m {
		out[s.author] = true
		for _, k := range s.members {
			out[k] = true
		}
	}
	return out
}

func (m model) followers(of key, all []key) (out []key) {
	for _, k := range all {
		if k != of && slices.Contains(m.members(k, kindFollows, ""), of) {
			out = append(out, k)
		}
	}
	return out
}

func (m model) muted(viewer, author key) bool {
	return slices.Contains(m.members(viewer, kindMutes, ""), author) || slices.Contains(m.members(viewer, kindSet, "mute"), author)
}

func (m model) hops(a, b key) int {
	at := map[key]int{a: 0}
	for level := []key{a}; len(level) > 0; {
		var next []key
		for _, k := range level {
			for _, f := range m.members(k, kindFollows, "") {
				if _, seen := at[f]; !seen {
					at[f] = at[k] + 1
					next = append(next, f)
				}
			}
		}
		level = next
	}
	if n, ok := at[b]; ok && n <= MostHops {
		return n
	}
	return -1
}

func sorted(keys []key) []key {
	slices.SortFunc(keys, func(a, b key) int { return slices.Compare(a[:], b[:]) })
	return keys
}

// compare fails where the web and the model disagree.
func (m model) compare(t *testing.T, w *web, all []key, seed, step uint64) {
	t.Helper()
	known, edges := m.known(), 0
	if w.size() != len(known) || len(w.number) != len(known) {
		t.Fatalf("seed %d step %d: %d keys (%d by name), want %d", seed, step, w.size(), len(w.number), len(known))
	}
	if w.lists != len(m) {
		t.Fatalf("seed %d step %d: %d lists, want %d", seed, step, w.lists, len(m))
	}
	for _, k := range all {
		n, ok := w.find(k)
		if ok != known[k] {
			t.Fatalf("seed %d step %d: key known %v, want %v", seed, step, ok, known[k])
		}
		if !ok {
			continue
		}
		want := m.members(k, kindFollows, "")
		edges += len(want)
		if got := w.keys(w.follows(n)); !slices.Equal(got, want) {
			t.Fatalf("seed %d step %d: follows %x, want %x", seed, step, got, want)
		}
		if got, want := sorted(w.keys(w.nodes[n].followers)), sorted(m.followers(k, all)); !slices.Equal(got, want) {
			t.Fatalf("seed %d step %d: followers %x, want %x", seed, step, got, want)
		}
		for _, o := range all {
			b, ok := w.find(o)
			if !ok {
				continue
			}
			if got, want := w.muted(n, b), m.muted(k, o); got != want {
				t.Fatalf("seed %d step %d: muted %v, want %v", seed, step, got, want)
			}
			if got, want := w.hops(n, b), m.hops(k, o); got != want {
				t.Fatalf("seed %d step %d: %d hops, want %d", seed, step, got, want)
			}
		}
	}
	if w.edges != edges {
		t.Fatalf("seed %d step %d: %d follows counted, want %d", seed, step, w.edges, edges)
	}
}

func TestGraphEqualsThePlainModelUnderRandomChanges(t *testing.T) {
	kindsOf := []int{kindFollows, kindFollows, kindFollows, kindMutes, kindSet, kindPack, kindRelays, kindProviders}
	for seed := range uint64(25) {
		rng := rand.New(rand.NewPCG(seed, 7))
		var all []key
		for i := range 14 {
			all = append(all, sha256.Sum256(fmt.Append(nil, "key", i)))
		}
		w, m := newWeb(), model{}
		var past []statement
		for step := range uint64(120) {
			switch p := rng.IntN(10); {
			case p < 7:
				s := statement{kind: kindsOf[rng.IntN(len(kindsOf))], author: all[rng.IntN(8)]}
				s.id, s.created = sha256.Sum256(fmt.Append(nil, seed, step)), int64(rng.IntN(40))
				if s.kind >= kindSet {
					s.d = []string{"", "a", "mute"}[rng.IntN(3)]
				}
				for range rng.IntN(5) {
					s.members = append(s.members, all[rng.IntN(len(all))])
				}
				past = append(past, s)
				w.put(s)
				m.put(s)
			case p < 9 && len(past) > 0: // a deletion, perhaps of a version long replaced
				s := past[rng.IntN(len(past))]
				w.drop(s.id, s.author)
				m.drop(s.id)
			default: // a vanish: everything of one author, in the log's order
				author := all[rng.IntN(8)]
				for _, s := range past {
					if s.author == author {
						w.drop(s.id, s.author)
						m.drop(s.id)
					}
				}
			}
			if step%10 == 9 {
				m.compare(t, w, all, seed, step)
			}
		}
		again, err := decodeWeb(w.encode())
		if err != nil {
			t.Fatal(err)
		}
		m.compare(t, again, all, seed, 9999)
	}
}

func TestForgottenKeysLeaveNoMemoryBehind(t *testing.T) {
	w := newWeb()
	author := sha256.Sum256([]byte("author"))
	for i := range 1000 { // one list after another, each of a hundred keys never seen before
		s := statement{stamp: stamp{id: sha256.Sum256(fmt.Append(nil, i)), created: int64(i)}, author: author, kind: kindFollows}
		for j := range 100 {
			s.members = append(s.members, sha256.Sum256(fmt.Append(nil, i, " ", j)))
		}
		w.put(s)
	}
	if w.size() != 101 || len(w.nodes) > 201 {
		t.Errorf("%d keys in %d places; want 101 in at most 201", w.size(), len(w.nodes))
	}
}

func TestAKeyThatTakesAForgottenOnesNumberInheritsNoRank(t *testing.T) {
	g, err := newGraph(Config{})
	if err != nil {
		t.Fatal(err)
	}
	a, b, c := sha256.Sum256([]byte("a")), sha256.Sum256([]byte("b")), sha256.Sum256([]byte("c"))
	g.web.put(statement{stamp: stamp{id: store.ID{1}, created: 1}, author: a, kind: kindFollows, members: []key{b}})
	l := g.currentLinks()
	g.global.Store(newRanking(l, l.global(), -1))
	if g.Trust("", hex.EncodeToString(b[:])) == 0 {
		t.Fatal("the followed key has no trust")
	}
	before, _ := g.web.find(b)
	g.web.drop(store.ID{1}, a)
	g.web.put(statement{stamp: stamp{id: store.ID{2}, created: 2}, author: c, kind: kindMutes})
	g.web.put(statement{stamp: stamp{id: store.ID{3}, created: 2}, author: a, kind: kindMutes})
	n := -1
	for _, k := range []key{a, c} {
		if at, _ := g.web.find(k); at == before {
			n = int(at)
			if trust := g.Trust("", hex.EncodeToString(k[:])); trust != 0 {
				t.Errorf("trust %g was inherited", trust)
			}
		}
	}
	if n < 0 {
		t.Fatal("no key took the number: the test tests nothing")
	}
}

func TestAGraphBuiltAnewKeepsNoRankOfTheOld(t *testing.T) {
	g, err := newGraph(Config{})
	if err != nil {
		t.Fatal(err)
	}
	made := func(a, b byte) *web {
		w := newWeb()
		for i := range byte(3) { // the versions of both webs are alike
			w.put(statement{stamp: stamp{id: store.ID{a, i}, created: int64(i)}, author: key{a}, kind: kindFollows, members: []key{{b}}})
		}
		return w
	}
	g.adopt(made(1, 2))
	l := g.currentLinks()
	g.global.Store(newRanking(l, l.global(), -1))
	second := key{2}
	if g.Trust("", hexKey(second)) == 0 {
		t.Fatal("the followed key has no trust")
	}
	g.adopt(made(3, 4))
	for _, k := range []key{{2}, {4}} {
		if trust := g.Trust("", hexKey(k)); trust != 0 {
			t.Errorf("key %d has trust %g out of the old graph", k[0], trust)
		}
	}
	if l := g.currentLinks(); len(l.from) != 1 || l.version <= g.global.Load().version {
		t.Errorf("the links are those of the old graph: %+v", l)
	}
}
