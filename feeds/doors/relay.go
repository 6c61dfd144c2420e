package doors

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"agora/feeds"
	"agora/feeds/market"

	"github.com/nbd-wtf/go-nostr"
)

// Hint is what an EOSE says beside itself (NIP-67).
type Hint uint8

// The hints.
const (
	NoHint Hint = iota
	Finish
	More
)

// Selection is the answer to one filter of a REQ.
type Selection struct {
	Events []*nostr.Event // in the order in which they are to be sent
	Hint   Hint
	Prefix string // not empty: a refusal, "invalid", "auth-required" …
	Text   string // of the refusal
}

// shape is how a page is brought into a relay's answer.
type shape string

const (
	ranks   shape = ""
	bands   shape = "time"
	reposts shape = "ranked"
)

// parseDoor takes a path such as /f/hot/ranked?gravity=2 apart. ok is false
// for the root and for what is no door of a feed.
func (d *Doors) parseDoor(path string) (l *market.Listing, s shape, query string, ok bool) {
	path, query, _ = strings.Cut(path, "?")
	rest, ok := strings.CutPrefix(path, "/f/")
	if !ok {
		return nil, "", "", false
	}
	name, tail, _ := strings.Cut(strings.TrimSuffix(rest, "/"), "/")
	if s = shape(tail); s != ranks && s != bands && s != reposts || name == "" {
		return nil, "", "", false
	}
	l, ok = d.cfg.Market.Listing(name)
	return l, s, query, ok
}

// Presence is how the relay of one feed presents itself (NIP-11).
type Presence struct {
	Name        string
	Description string
	Icon        string
	Self        string // hex
	Software    string // empty: the relay's own
	Usual, Most int    // events for a filter that names no limit, and for one that names a high one
}

// Presence says how the relay behind a path presents itself; ok is false for
// paths that are no feed's.
func (d *Doors) Presence(path string) (p Presence, ok bool) {
	l, s, _, ok := d.parseDoor(path)
	if !ok {
		return p, false
	}
	p = Presence{Name: l.Name, Description: l.About, Icon: l.Picture, Self: l.Key, Usual: deepest, Most: deepest}
	switch s {
	case ranks:
		p.Usual = feeds.DefaultLimit
	case bands:
		p.Name, p.Description = p.Name+" by time", p.Description+" The best of every six hours, for clients that sort by time."
	case reposts:
		p.Name, p.Description = p.Name+" ranked", p.Description+" Reposts whose time is their rank, for clients that sort by time."
	}
	if d.cfg.Compat {
		p.Software = CompatSoftware
		p.Description += " The software field names another project, so that clients which know only that one keep our order; this relay runs Agora."
	}
	p.Description = strings.TrimSpace(p.Description)
	return p, true
}

// mostAsked bounds a limit: clients ask for up to 1000, and whoever asks for a
// billion has made a mistake.
const mostAsked = 5000

// Select answers one filter that came in by path, read by somebody who has
// proven these keys. mine is false where the relay answers by itself.
func (d *Doors) Select(ctx context.Context, path string, keys []string, f nostr.Filter) (s Selection, mine bool, err error) {
	switch {
	case f.Search != "":
		s, mine, err = d.search(ctx, keys, f)
	case path == "/":
		return s, false, nil
	default:
		s, mine, err = d.feed(ctx, path, keys, f)
	}
	if problem, ok := errors.AsType[*feeds.Problem](err); ok {
		return Selection{Prefix: "invalid", Text: problem.Text}, true, nil
	}
	return s, mine, err
}

// feed answers a filter on /f/.
func (d *Doors) feed(ctx context.Context, path string, keys []string, f nostr.Filter) (s Selection, mine bool, err error) {
	l, sh, query, ok := d.parseDoor(path)
	if !ok && strings.HasPrefix(path, "/f/") {
		return s, true, unknown("there is no feed at this address any more")
	}
	if !ok || !wantsPage(f) || sh == reposts && f.Authors != nil && !slices.Contains(f.Authors, l.Key) {
		return s, false, nil
	}
	a, err := d.socketAsk(l, keys, query, f)
	if err != nil {
		return s, true, err
	}
	switch a.door = "f" + string(sh); {
	case sh == bands, sh == reposts && !asksReposts(f):
		s, err = d.byTime(ctx, a)
	case sh == reposts && l.Personalized && len(keys) == 0:
		return Selection{Prefix: "auth-required", Text: "this feed depends on who reads: authenticate first"}, true, nil
	case sh == reposts:
		s, err = d.ranked(ctx, a)
	default:
		s, err = d.byRank(ctx, a)
	}
	return s, true, err
}

// socketAsk reads what a filter and the address of its websocket ask for.
func (d *Doors) socketAsk(l *market.Listing, keys []string, query string, f nostr.Filter) (a ask, err error) {
	a = ask{listing: l, kinds: f.Kinds, authors: f.Authors, limit: f.Limit}
	switch {
	case f.LimitZero:
		return a, invalid("a feed says nothing after its page: ask for a limit of 1 or more")
	case f.Limit < 0 || f.Limit > mostAsked:
		return a, invalid("a limit of 1 to %d, please", mostAsked)
	}
	if f.Since != nil {
		a.since = int64(*f.Since)
	}
	if f.Until != nil {
		a.until = max(int64(*f.Until), 1) // 0 would mean none
	}
	if len(keys) > 0 {
		a.viewer, a.signed = keys[0], true
	}
	given, err := readQueryString(query)
	if err != nil {
		return a, err
	}
	if pov, _ := take(given, "pov"); pov != "" {
		if err := d.lookAs(&a, keys, pov); err != nil {
			return a, err
		}
	}
	a.knobs, err = readKnobs(l, given, true)
	return a, err
}

// lookAs makes a question one as seen by somebody.
func (d *Doors) lookAs(a *ask, keys []string, pov string) (err error) {
	if a.viewer, err = parseKey(pov); err != nil {
		return err
	}
	if a.signed = slices.Contains(keys, a.viewer); !a.signed {
		a.viewer, err = d.known(pov)
	}
	return err
}

// readKnobs reads the numbers of a listing's knobs. Other names are a mistake
// when strict, and somebody else's business otherwise.
func readKnobs(l *market.Listing, given map[string]string, strict bool) (map[string]float64, error) {
	knobs := map[string]float64{}
	for _, k := range l.Knobs {
		text, ok := given[k.Name]
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(text, 64)
		if err != nil || !(v >= k.Min && v <= k.Max) { // NaN fails both
			return nil, invalid("%s is %q: want a number from %v to %v", k.Name, clip(text), k.Min, k.Max)
		}
		knobs[k.Name] = v
		delete(given, k.Name)
	}
	if strict && len(given) > 0 {
		names := slices.Sorted(maps.Keys(given))
		return nil, invalid("%q is no knob of %s; it has %s", clip(names[0]), l.Slug, knobNames(l))
	}
	return knobs, nil
}

func knobNames(l *market.Listing) string {
	if len(l.Knobs) == 0 {
		return "none"
	}
	var names []string
	for _, k := range l.Knobs {
		names = append(names, k.Name)
	}
	return strings.Join(names, ", ")
}

// byRank is the page in its own order. It never says that there is more: a
// client would page by until, and skip whatever is younger than the last note.
func (d *Doors) byRank(ctx context.Context, a ask) (s Selection, err error) {
	if a.limit == 0 {
		a.limit = feeds.DefaultLimit
	}
	page, err := d.deep(ctx, a)
	if err != nil {
		return s, err
	}
	if page.Cursor == "" {
		s.Hint = Finish
	}
	s.Events = events(page)
	return s, nil
}

func events(page feeds.Page) []*nostr.Event {
	list := make([]*nostr.Event, 0, len(page.Items))
	for _, it := range page.Items {
		list = append(list, it.Event)
	}
	return list
}

const (
	band     = 6 * 3600 // seconds of created_at; bands begin at multiples of it
	bandBest = 50       // notes of one band
)

// byTime is the best of each band of time, the youngest first. Which notes
// are chosen depends on neither limit nor until, so that paging skips none.
func (d *Doors) byTime(ctx context.Context, a ask) (s Selection, err error) {
	limit, since, until := a.limit, a.since, a.until
	a.limit, a.since, a.until = deepest, 0, 0
	page, err := d.deep(ctx, a)
	if err != nil {
		return s, err
	}
	taken := map[int64]int{}
	for _, it := range page.Items { // best first
		at := int64(it.Event.CreatedAt)
		if taken[at/band]++; taken[at/band] <= bandBest && at >= since && (until == 0 || at <= until) {
			s.Events = append(s.Events, it.Event)
		}
	}
	youngestFirst(s.Events)
	s.Events, s.Hint = cut(s.Events, limit)
	return s, nil
}

func youngestFirst(list []*nostr.Event) {
	slices.SortFunc(list, func(a, b *nostr.Event) int {
		if a.CreatedAt != b.CreatedAt {
			return int(b.CreatedAt - a.CreatedAt)
		}
		return strings.Compare(a.ID, b.ID)
	})
}

// cut keeps limit events, and the others of the last one's second: a client
// that pages goes on before it.
func cut(list []*nostr.Event, limit int) ([]*nostr.Event, Hint) {
	if limit == 0 || limit >= len(list) {
		return list, Finish
	}
	for limit < len(list) && list[limit].CreatedAt == list[limit-1].CreatedAt {
		limit++
	}
	if limit == len(list) {
		return list, Finish
	}
	return list[:limit], More
}

// content are the kinds of what people write to be read: notes, threads,
// pictures, videos, voices, polls, articles, comments and the like.
var content = []int{
	1, 6, 11, 16, 20, 21, 22, 42, 1063, 1068, 1111, 1222, 1244, 1808, 2003, 6969, 9802, 30023, 30311, 30402, 30818, 31337, 31922, 31923, 34235, 34236,
}

// apart are the kinds that a client asks for when it does not want a feed:
// profiles, reactions, what is private, lists and machinery. Numbers in pairs,
// first and last.
var apart = [][2]int{
	{0, 0}, {3, 5}, {7, 8}, {13, 15}, {17, 17}, {62, 62}, {1018, 1018}, {1059, 1060}, {1984, 1986}, {5000, 7000}, {9000, 9030}, {9734, 9735},
	{10000, 29999}, {30000, 30010}, {30078, 30078}, {30382, 30385}, {31989, 31990}, {31890, 31890}, {32190, 32191},
}

// wantsPage reports whether a filter asks for content in general, and not for
// certain events, answers to something, or profiles. Clients name long lists of
// kinds, so one that we do not know does no harm beside one that is content.
func wantsPage(f nostr.Filter) bool {
	if f.IDs != nil || len(f.Tags) > 0 || f.Authors != nil && len(f.Authors) == 0 {
		return false
	}
	other := slices.ContainsFunc(f.Kinds, func(k int) bool {
		return !slices.Contains(content, k) && slices.ContainsFunc(apart, func(r [2]int) bool { return k >= r[0] && k <= r[1] })
	})
	return f.Kinds == nil || !other && slices.ContainsFunc(f.Kinds, func(k int) bool { return slices.Contains(content, k) })
}

func asksReposts(f nostr.Filter) bool {
	return f.Kinds == nil || slices.Contains(f.Kinds, nostr.KindRepost) || slices.Contains(f.Kinds, nostr.KindGenericRepost)
}
