package doors

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"agora/feeds/market"

	"github.com/nbd-wtf/go-nostr"
)

const (
	epochLength = 900 // seconds; an epoch begins at a multiple of it
	epochRanks  = 900 // at most as many as it has seconds, so that epochs never overlap
	epochsKept  = 4   // the current one and those before it; then its reposts expire
	viewerRanks = 200 // of a page for one viewer
	mostBooks   = 64  // feeds times viewers; beyond it the longest unused goes
)

// books are the repost projections in use.
type books struct {
	mu sync.Mutex // guards what follows
	by map[string]*book
}

// book is the reposts of one feed as one viewer sees it.
type book struct {
	used time.Time // guarded by books.mu

	mu     sync.Mutex // guards what follows; held while an epoch is ranked and signed
	epochs []epoch    // youngest first, at most epochsKept
}

// epoch is what was ranked and signed once and then stays as it is.
type epoch struct {
	began   int64 // Unix seconds
	reposts []repost
}

type repost struct {
	event *nostr.Event
	note  string // id
	rank  int
}

// find gives the book of a question, made when there is none.
func (b *books) find(key string) *book {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.by == nil {
		b.by = map[string]*book{}
	}
	one := b.by[key]
	if one == nil {
		if len(b.by) >= mostBooks {
			b.evict()
		}
		one = &book{}
		b.by[key] = one
	}
	one.used = time.Now()
	return one
}

// evict is called with mu held.
func (b *books) evict() {
	oldest := ""
	for key, one := range b.by {
		if oldest == "" || one.used.Before(b.by[oldest].used) {
			oldest = key
		}
	}
	delete(b.by, oldest)
}

// bookKey names what a book depends on.
func (a *ask) bookKey() string {
	var s strings.Builder
	fmt.Fprintf(&s, "%s %s %s %t", a.listing.Address, a.listing.Event.ID, a.viewer, a.signed)
	for _, name := range slices.Sorted(maps.Keys(a.knobs)) {
		fmt.Fprintf(&s, " %s=%v", name, a.knobs[name])
	}
	return s.String()
}

// ranked answers with reposts, the youngest first, which is in rank order.
// Those whose notes must not be shown any more are left out.
func (d *Doors) ranked(ctx context.Context, a ask) (s Selection, err error) {
	left, err := d.reposts(ctx, a)
	if err != nil {
		return s, err
	}
	left = slices.DeleteFunc(left, func(r repost) bool {
		at := int64(r.event.CreatedAt)
		return at < a.since || a.until > 0 && at > a.until || a.kinds != nil && !slices.Contains(a.kinds, r.event.Kind)
	})
	if a.limit == 0 || a.limit > deepest {
		a.limit = deepest
	}
	for len(left) > 0 && len(s.Events) < a.limit {
		n := min(a.limit-len(s.Events), len(left))
		part, err := d.stillShown(ctx, a, left[:n:n])
		if err != nil {
			return s, err
		}
		for _, r := range part {
			s.Events = append(s.Events, r.event)
		}
		left = left[n:]
	}
	if s.Hint = Finish; len(left) > 0 {
		s.Hint = More
	}
	return s, nil
}

// reposts are those of the current epoch, made when nobody has asked in it
// yet, and of those before.
func (d *Doors) reposts(ctx context.Context, a ask) (all []repost, err error) {
	if !a.listing.Personalized {
		a.viewer, a.signed = "", false // one book for all
	}
	b := d.books.find(a.bookKey())
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now().Unix()
	began := now - now%epochLength
	for len(b.epochs) > 0 && b.epochs[len(b.epochs)-1].began <= began-epochsKept*epochLength {
		b.epochs = b.epochs[:len(b.epochs)-1]
	}
	if len(b.epochs) == 0 || b.epochs[0].began < began {
		one, err := d.rankEpoch(ctx, a, b.epochs, began)
		if err != nil {
			return nil, err
		}
		b.epochs = append([]epoch{one}, b.epochs...)
	}
	for _, e := range b.epochs {
		all = append(all, e.reposts...)
	}
	return all, nil
}

// rankEpoch ranks and signs one epoch. A note that an earlier epoch still
// shows comes again only where its rank has risen.
func (d *Doors) rankEpoch(ctx context.Context, a ask, before []epoch, began int64) (epoch, error) {
	a.kinds, a.authors, a.since, a.until, a.limit = nil, nil, 0, 0, epochRanks
	if a.viewer != "" {
		a.limit = viewerRanks
	}
	page, err := d.deep(ctx, a)
	if err != nil {
		return epoch{}, err
	}
	last := map[string]int{} // note -> rank where it was shown last
	for _, e := range slices.Backward(before) {
		for _, r := range e.reposts {
			last[r.note] = r.rank
		}
	}
	one := epoch{began: began}
	for rank, it := range page.Items {
		if was, shown := last[it.Event.ID]; shown && rank >= was || rank >= epochRanks {
			continue
		}
		ev := d.repostOf(it.Event, began, rank)
		if err := a.listing.Sign(ev); err != nil {
			return epoch{}, fmt.Errorf("sign a repost: %w", err)
		}
		one.reposts = append(one.reposts, repost{ev, it.Event.ID, rank})
	}
	return one, nil
}

// repostOf is the repost of a note at a rank. A protected note (NIP-70) is
// named and not carried.
func (d *Doors) repostOf(note *nostr.Event, began int64, rank int) *nostr.Event {
	ev := &nostr.Event{
		Kind: nostr.KindRepost, CreatedAt: nostr.Timestamp(began - 1 - int64(rank)),
		Tags: nostr.Tags{{"e", note.ID, d.cfg.URL, "", note.PubKey}, {"p", note.PubKey}},
	}
	if note.Kind != nostr.KindTextNote {
		ev.Kind = nostr.KindGenericRepost
		ev.Tags = append(ev.Tags, nostr.Tag{"k", strconv.Itoa(note.Kind)})
	}
	if nostr.IsAddressableKind(note.Kind) {
		ev.Tags = append(ev.Tags, nostr.Tag{"a", fmt.Sprintf("%d:%s:%s", note.Kind, note.PubKey, note.Tags.GetD()), d.cfg.URL})
	}
	ev.Tags = append(ev.Tags, nostr.Tag{"-"}, nostr.Tag{"expiration", strconv.FormatInt(began+epochsKept*epochLength, 10)})
	if !slices.ContainsFunc(note.Tags, func(t nostr.Tag) bool { return len(t) == 1 && t[0] == "-" }) {
		ev.Content = note.String()
	}
	return ev
}

// stillShown leaves out what was deleted, has expired, or whose author has
// opted out or was muted since the epoch was ranked.
func (d *Doors) stillShown(ctx context.Context, a ask, all []repost) ([]repost, error) {
	ids := make([]string, 0, len(all))
	for _, r := range all {
		ids = append(ids, r.note)
	}
	shown, err := d.shown(ctx, ids)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(r repost) bool {
		return shown[r.note] == nil || d.hidden(ctx, a.viewer, shown[r.note])
	}), nil
}

// hidden reports whether an event that is held is to be on no page.
func (d *Doors) hidden(ctx context.Context, viewer string, ev *nostr.Event) bool {
	return d.out.Has(ev.PubKey) || d.cfg.Hidden != nil && d.cfg.Hidden(ctx, viewer, ev)
}

// lookupBatch is how many ids one question to the log names.
const lookupBatch = 500

// shown looks events up; those that may not be read now are missing.
func (d *Doors) shown(ctx context.Context, ids []string) (map[string]*nostr.Event, error) {
	found := make(map[string]*nostr.Event, len(ids))
	for part := range slices.Chunk(ids, lookupBatch) {
		for ev, err := range d.cfg.Events.Query(ctx, nostr.Filter{IDs: part}) {
			if err != nil {
				return nil, fmt.Errorf("look events up: %w", err)
			}
			found[ev.ID] = ev
		}
	}
	return found, nil
}

// listingsWithPages are the listings that can answer.
func (d *Doors) listingsWithPages() []*market.Listing {
	return slices.DeleteFunc(slices.Clone(d.cfg.Market.Listings()), func(l *market.Listing) bool { return !l.Admitted })
}
