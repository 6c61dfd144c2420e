package graph

import (
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
)

// Keys is one page of public keys.
type Keys struct {
	Count   int      `json:"count"`                // on all pages together
	Updated int64    `json:"created_at,omitempty"` // of the event, Unix seconds; a change between two pages means: begin again
	Event   string   `json:"event,omitempty"`      // its id
	Keys    []string `json:"keys"`
	Cursor  string   `json:"cursor,omitempty"` // asks for the next page; absent on the last
}

// Set is one follow set (30000) or starter pack (39089).
type Set struct {
	Kind  int    `json:"kind"`
	D     string `json:"d"`
	Title string `json:"title,omitempty"`
	Keys
}

// RelayUse is one relay of a relay list.
type RelayUse struct {
	URL   string `json:"url"`
	Read  bool   `json:"read"`
	Write bool   `json:"write"`
}

// Standing is how one key stands with a viewer, or with everybody.
type Standing struct {
	From     string  `json:"from,omitempty"` // the viewer; absent: nobody in particular
	Basis    Basis   `json:"basis"`          // the ranking that pagerank, trust and rank come from
	Reason   string  `json:"reason,omitempty"`
	PageRank float64 `json:"pagerank"` // share of the walk; all keys together have 1
	Trust    float64 `json:"trust"`    // 0 to 1
	Rank     int     `json:"rank"`     // trust in whole hundredths
	Hops     *int    `json:"hops,omitempty"`
	Follows  bool    `json:"follows"` // the viewer follows this key
	Muted    bool    `json:"muted"`   // the viewer mutes it publicly
}

// About is the answer to GET /v1/graph/{key}.
type About struct {
	PubKey    string     `json:"pubkey"`
	Npub      string     `json:"npub"`
	Known     bool       `json:"known"` // some list here is by this key or names it
	Follows   Keys       `json:"follows"`
	Followers Keys       `json:"followers"`
	Mutes     Keys       `json:"mutes"`
	Lists     []Set      `json:"lists"`
	Relays    []RelayUse `json:"relays"`
	Trust     Standing   `json:"trust"`
}

// mostLists is how many sets one answer shows; more are reached by their d.
const mostLists = 50

func (g *Graph) serveKey(r *http.Request, of key) (any, error) {
	q := r.URL.Query()
	p, err := readPage(q)
	if err != nil {
		return nil, err
	}
	if p.cursor != "" {
		return nil, badRequest("a cursor belongs to one list: add /follows, /followers or /mutes to the address")
	}
	viewer, err := optionalKey(q, "viewer")
	if err != nil {
		return nil, err
	}
	a := About{Trust: g.standing(viewer, of), Lists: []Set{}, Relays: []RelayUse{}}
	a.PubKey, a.Npub = names(of)
	g.mu.RLock()
	defer g.mu.RUnlock()
	n, known := g.web.find(of)
	a.Known = known
	a.Follows, _ = g.web.pageOf(n, known, kindFollows, p) // a page from the beginning has no cursor to be wrong
	a.Mutes, _ = g.web.pageOf(n, known, kindMutes, p)
	a.Followers, _ = g.web.followersOf(n, known, p)
	if !known {
		return a, nil
	}
	for _, l := range g.web.sets(n) {
		if len(a.Lists) < mostLists {
			a.Lists = append(a.Lists, g.web.set(l, page{limit: p.limit}))
		}
	}
	if l := g.web.list(n, kindRelays, ""); l != nil {
		for _, r := range l.relays {
			a.Relays = append(a.Relays, RelayUse{r.URL(), r.Read, r.Write})
		}
	}
	return a, nil
}

func (g *Graph) serveFollows(r *http.Request, of key) (any, error) {
	return g.servePage(r, of, func(n uint32, known bool, p page) (Keys, error) {
		return g.web.pageOf(n, known, kindFollows, p)
	})
}

func (g *Graph) serveMutes(r *http.Request, of key) (any, error) {
	return g.servePage(r, of, func(n uint32, known bool, p page) (Keys, error) {
		return g.web.pageOf(n, known, kindMutes, p)
	})
}

func (g *Graph) serveFollowers(r *http.Request, of key) (any, error) {
	return g.servePage(r, of, func(n uint32, known bool, p page) (Keys, error) {
		return g.web.followersOf(n, known, p)
	})
}

func (g *Graph) servePage(r *http.Request, of key, read func(uint32, bool, page) (Keys, error)) (any, error) {
	p, err := readPage(r.URL.Query())
	if err != nil {
		return nil, err
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	n, known := g.web.find(of)
	return read(n, known, p)
}

// serveLists shows all sets of a key, or pages through one of them.
func (g *Graph) serveLists(r *http.Request, of key) (any, error) {
	q := r.URL.Query()
	p, err := readPage(q)
	if err != nil {
		return nil, err
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	n, known := g.web.find(of)
	if q.Has("kind") || q.Has("d") {
		return g.web.oneSet(n, known, q, p)
	}
	at, err := p.offset()
	if err != nil {
		return nil, err
	}
	out := struct {
		Count  int    `json:"count"`
		Lists  []Set  `json:"lists"`
		Cursor string `json:"cursor,omitempty"`
	}{Lists: []Set{}}
	if !known {
		return out, nil
	}
	sets := g.web.sets(n)
	out.Count = len(sets)
	for i := at; i < len(sets); i++ {
		if len(out.Lists) == mostLists {
			out.Cursor = strconv.Itoa(i)
			break
		}
		out.Lists = append(out.Lists, g.web.set(sets[i], page{limit: p.limit}))
	}
	return out, nil
}

func (w *web) oneSet(n uint32, known bool, q url.Values, p page) (any, error) {
	kind, err := strconv.Atoi(q.Get("kind"))
	if err != nil || kind != kindSet && kind != kindPack {
		return nil, badRequest(fmt.Sprintf("kind must be %d or %d, and d the list's name", kindSet, kindPack))
	}
	if _, err := p.offset(); err != nil {
		return nil, err
	}
	if known {
		if l := w.list(n, kind, q.Get("d")); l != nil {
			return w.set(l, p), nil
		}
	}
	return Set{Kind: kind, D: q.Get("d"), Keys: Keys{Keys: []string{}}}, nil
}

// sets are n's lists of the kinds that have names.
func (w *web) sets(n uint32) []*list {
	lists := w.nodes[n].lists
	from := slices.IndexFunc(lists, func(l *list) bool { return l.kind >= kindSet })
	if from < 0 {
		return nil
	}
	return lists[from:]
}

func (w *web) set(l *list, p page) Set {
	keys, _ := w.pageOfList(l, p) // the cursor has been checked, or there is none
	return Set{Kind: l.kind, D: l.d, Title: l.title, Keys: keys}
}

func (w *web) pageOf(n uint32, known bool, kind int, p page) (Keys, error) {
	if !known {
		return w.pageOfList(nil, p)
	}
	return w.pageOfList(w.list(n, kind, ""), p)
}

// pageOfList is a page in the author's own order; its cursor is an offset.
func (w *web) pageOfList(l *list, p page) (Keys, error) {
	at, err := p.offset()
	if err != nil {
		return Keys{}, err
	}
	if l == nil {
		return Keys{Keys: []string{}}, nil
	}
	k := Keys{Count: len(l.members), Updated: l.created, Event: l.id.String()}
	at = min(at, len(l.members))
	end := min(at+p.limit, len(l.members))
	k.Keys = w.hexKeys(l.members[at:end])
	if end < len(l.members) {
		k.Cursor = strconv.Itoa(end)
	}
	return k, nil
}

// followersOf is a page in the order of the nodes' numbers, which do not
// change: who follows from the first page to the last is shown exactly once.
func (w *web) followersOf(n uint32, known bool, p page) (Keys, error) {
	at, err := p.offset() // the first number that has not been looked at
	if err != nil || !known {
		return Keys{Keys: []string{}}, err
	}
	all := w.nodes[n].followers
	from, _ := slices.BinarySearch(all, uint32(min(at, math.MaxUint32)))
	end := min(from+p.limit, len(all))
	k := Keys{Count: len(all), Keys: w.hexKeys(all[from:end])}
	if end < len(all) {
		k.Cursor = strconv.FormatUint(uint64(all[end]), 10)
	}
	return k, nil
}

func (w *web) hexKeys(nodes []uint32) []string {
	out := make([]string, len(nodes))
	for i, n := range nodes {
		out[i] = hexKey(w.nodes[n].key)
	}
	return out
}

func (g *Graph) serveTrust(r *http.Request, of key) (any, error) {
	from, err := optionalKey(r.URL.Query(), "from")
	if err != nil {
		return nil, err
	}
	out := struct {
		PubKey string `json:"pubkey"`
		Npub   string `json:"npub"`
		Standing
	}{Standing: g.standing(from, of)}
	out.PubKey, out.Npub = names(of)
	return out, nil
}

// standing gathers all that is said about of, as seen by viewer.
func (g *Graph) standing(viewer string, of key) Standing {
	view := g.From(viewer)
	author := hexKey(of)
	s := view.score(author)
	out := Standing{
		From: viewer, Basis: view.Basis, Reason: view.Reason,
		PageRank: float64(s.rank), Trust: s.trust, Rank: int(math.Round(100 * s.trust)), Muted: s.muted,
	}
	if viewer == "" {
		return out
	}
	if hops := g.Hops(viewer, author); hops >= 0 {
		out.Hops, out.Follows = &hops, hops == 1
	}
	return out
}
