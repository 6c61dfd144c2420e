package doors

import (
	"context"
	"slices"
	"strings"

	"agora/feeds"

	"github.com/nbd-wtf/go-nostr"
)

// query is a NIP-50 search, taken apart. Keys that are not ours stay unread, as
// the document asks.
type query struct {
	feed   string // of feed: or sort:
	pov    string
	single bool // distinct:author
	safe   bool // nsfw:false
	given  map[string]string
	words  string
}

// sorts are words that clients use for sort: beside the names of feeds.
var sorts = map[string]string{"top": "top-24h", "new": "latest", "recent": "latest", "newest": "latest"}

func readQuery(text string) (q query) {
	q.given = map[string]string{}
	var words []string
	for _, word := range strings.Fields(text) {
		key, value, ok := strings.Cut(word, ":")
		if !ok || key == "" || value == "" || strings.HasPrefix(value, "//") {
			words = append(words, word)
			continue
		}
		switch key {
		case "feed":
			q.feed = value
		case "sort":
			if q.feed == "" {
				q.feed = value
			}
			if alias, ok := sorts[value]; ok && q.feed == value {
				q.feed = alias
			}
		case "pov":
			q.pov = value
		case "distinct":
			q.single = value == "author"
		case "nsfw":
			q.safe = value == "false"
		default:
			q.given[key] = value
		}
	}
	q.words = strings.Join(words, " ")
	return q
}

// search answers a search that names a feed; any other is the relay's.
func (d *Doors) search(ctx context.Context, keys []string, f nostr.Filter) (s Selection, mine bool, err error) {
	q := readQuery(f.Search)
	if q.feed == "" || f.LimitZero {
		return s, false, nil
	}
	l, err := d.listing(q.feed)
	if err != nil {
		return s, true, err
	}
	a, err := d.socketAsk(l, keys, "", f)
	if err != nil {
		return s, true, err
	}
	if a.knobs, err = readKnobs(l, q.given, false); err != nil {
		return s, true, err
	}
	if q.pov != "" {
		if err := d.lookAs(&a, keys, q.pov); err != nil {
			return s, true, err
		}
	}
	a.door, a.perHead = "search", q.single
	if q.words != "" || len(f.IDs) > 0 || len(f.Tags) > 0 || q.safe {
		s, err = d.narrowed(ctx, a, q, f)
	} else {
		s, err = d.byRank(ctx, a)
	}
	return s, true, err
}

// narrowed is the page's notes that also have the words, ids and tags asked
// for, in the page's order.
func (d *Doors) narrowed(ctx context.Context, a ask, q query, f nostr.Filter) (s Selection, err error) {
	var hits map[string]bool
	if q.words != "" {
		if hits, err = d.hits(ctx, q.words, f); err != nil {
			return s, err
		}
	}
	limit := a.limit
	if limit == 0 {
		limit = feeds.DefaultLimit
	}
	a.limit = deepest
	page, err := d.deep(ctx, a)
	if err != nil {
		return s, err
	}
	f.Search, f.Limit, f.Since, f.Until = "", 0, nil, nil // the page has seen to those
	list := slices.DeleteFunc(events(page), func(ev *nostr.Event) bool {
		return hits != nil && !hits[ev.ID] || !f.Matches(ev) || q.safe && warned(ev)
	})
	s.Hint = Finish
	if len(list) > limit {
		list, s.Hint = list[:limit], NoHint
	}
	s.Events = list
	return s, nil
}

func (d *Doors) hits(ctx context.Context, words string, f nostr.Filter) (map[string]bool, error) {
	ids, err := d.ids(ctx, words, f)
	hits := make(map[string]bool, len(ids))
	for _, id := range ids {
		hits[id] = true
	}
	return hits, err
}

// ids are the word index's hits, best first.
func (d *Doors) ids(ctx context.Context, words string, f nostr.Filter) ([]string, error) {
	if d.cfg.Words == nil {
		return nil, invalid("this relay has no word index: ask for a feed without words")
	}
	f.Search, f.Limit = words, mostHits
	return d.cfg.Words.Search(ctx, words, f)
}

// mostHits is how many hits of the word index are looked for on a page.
const mostHits = 5000

// warned reports whether an event carries a content warning (NIP-36).
func warned(ev *nostr.Event) bool { return ev.Tags.Find("content-warning") != nil }
