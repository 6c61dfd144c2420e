package feeds

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"agora/feeds/tally"
	"agora/ranker/feature"

	"github.com/nbd-wtf/go-nostr"
)

// candidates is the notes that one page is made of, with all that is known of
// them. It is used again by other pages; nothing of it may be kept.
type candidates struct {
	facts   feature.Facts
	ids     []tally.Key
	authors []tally.Key
	writers []uint32 // places of the authors' keys, to tell them apart by
	missing []int    // candidates whose notes are not kept
	notes   []*note
	who     []*author
	counts  []feature.Counts
	proofs  []feature.Proof
	threads []feature.Thread
	stages  []feature.Stages
	signals []feature.Signals
	batch   feature.Batch
	spots   []tally.Spot
	pairs   []*pair
	at      map[uint32]int // candidates by their places in the tally; valid within Tally.Read only
	found   []tally.Note   // valid within Tally.Read only
	sources []feature.Source
}

// The most that one source brings, of MaxCandidates.
const (
	mostFollowed = 800
	mostTrusted  = 500
	mostLikes    = 500
	mostGlobal   = 800
	mostFresh    = 300
	newAuthor    = 24 * time.Hour // how long an author is new
	followedAge  = 14 * 24 * time.Hour
	lateness     = 120 // seconds by which a note may come late and still be found before the viewer is met anew
)

// wanted says which notes a request asks for.
type wanted struct {
	kinds   []int
	authors []tally.Key
	since   int64
	until   int64
	viewer  *viewer
	stages  *stages
	now     int64
}

func (w *wanted) fits(r *tally.Reader, n *tally.Note) bool {
	switch {
	case len(w.kinds) > 0 && !slices.Contains(w.kinds, n.Kind):
	case w.since > 0 && n.Created < w.since, w.until > 0 && n.Created > w.until:
	case w.stages.maxAge > 0 && float64(w.now-n.Created) > w.stages.maxAge*3600:
	case w.stages.noReplies && n.Reply:
	case len(w.authors) > 0 && !slices.Contains(w.authors, r.Key(n.Author)):
	case w.stages.outside && w.viewer.hex != "" && (w.viewer.follows[r.Key(n.Author)] || r.Key(n.Author) == w.viewer.key):
	default:
		return true
	}
	return false
}

// gather finds the candidates and what the tally knows of them.
func (f *Feeds) gather(ctx context.Context, w *wanted, c *candidates) error {
	c.reset(w)
	f.cfg.Tally.Read(w.now, func(r *tally.Reader) {
		f.collect(r, w, c)
		c.fit()
		f.count(r, w, c)
	})
	c.found = c.found[:0]
	if err := f.readNotes(ctx, c); err != nil {
		return err
	}
	if err := f.readAuthors(ctx, c, w.now); err != nil {
		return err
	}
	if err := f.judge(ctx, c); err != nil {
		return err
	}
	f.finish(w, c)
	return nil
}

func (c *candidates) reset(w *wanted) {
	if c.at == nil {
		c.at = make(map[uint32]int, MaxCandidates)
	}
	clear(c.at)
	c.found, c.sources = c.found[:0], c.sources[:0]
	c.facts.Now = w.now
	c.facts.Viewer = w.viewer.person
}

// add takes one note in, or one more source for it.
func (c *candidates) add(r *tally.Reader, w *wanted, n *tally.Note, from feature.Source) bool {
	if at, ok := c.at[n.Place()]; ok {
		c.sources[at] |= from
		return true
	}
	if !w.fits(r, n) {
		return true
	}
	if len(c.found) == MaxCandidates {
		return false
	}
	c.at[n.Place()] = len(c.found)
	c.found = append(c.found, *n)
	c.sources = append(c.sources, from)
	return true
}

// collect asks the sources in turn, those nearest to the viewer first. What
// they leave room for is filled from the newest.
func (f *Feeds) collect(r *tally.Reader, w *wanted, c *candidates) {
	on := w.stages.sources
	if len(w.authors) > 0 {
		f.fromAuthors(r, w, c, w.authors, 0, MaxCandidates)
		return
	}
	if on == 0 {
		on = feature.FromRecent | feature.FromGlobal
		if len(w.viewer.follows) > 0 {
			on |= feature.FromFollows | feature.FromTrusted
		}
	}
	if on&feature.FromFollows != 0 {
		f.fromFollows(r, w, c)
	}
	if on&feature.FromTrusted != 0 {
		c.addAll(r, w, w.viewer.near.trusted, feature.FromTrusted, mostTrusted)
	}
	if on&feature.FromCoLikers != 0 {
		c.addAll(r, w, w.viewer.near.liked, feature.FromCoLikers, mostLikes)
	}
	if on&feature.FromGlobal != 0 {
		f.topMu.RLock()
		top := f.top
		f.topMu.RUnlock()
		c.addAll(r, w, top, feature.FromGlobal, mostGlobal)
	}
	if on&(feature.FromRecent|feature.FromNewAuthor) != 0 {
		f.fromRecent(r, w, c, on)
	}
}

// addAll takes notes in, at most most new ones.
func (c *candidates) addAll(r *tally.Reader, w *wanted, spots []tally.Spot, from feature.Source, most int) {
	limit := len(c.found) + most
	for _, spot := range spots {
		if len(c.found) >= limit {
			return
		}
		if n, ok := r.At(spot); ok && !c.add(r, w, &n, from) {
			return
		}
	}
}

// fromAuthors takes the newest notes of some keys.
func (f *Feeds) fromAuthors(r *tally.Reader, w *wanted, c *candidates, keys []tally.Key, from feature.Source, most int) {
	places := make([]uint32, 0, len(keys))
	for _, k := range keys {
		if at := r.Place(k); at != tally.NoPlace {
			places = append(places, at)
		}
	}
	since := w.since
	if from != 0 {
		since = max(since, w.now-int64(followedAge.Seconds()))
	}
	limit := len(c.found) + most
	r.Newest(places, since, func(n tally.Note) bool {
		return c.add(r, w, &n, from) && len(c.found) < limit
	})
}

// fromFollows takes the newest notes of whom the viewer follows: those that
// came since the viewer was met, then those found at that time.
func (f *Feeds) fromFollows(r *tally.Reader, w *wanted, c *candidates) {
	near := &w.viewer.near
	if len(w.kinds) > 0 || w.since > 0 || w.until > 0 || w.stages.noReplies || near.looked == 0 {
		keys := make([]tally.Key, 0, len(w.viewer.follows))
		for k := range w.viewer.follows {
			keys = append(keys, k)
		}
		f.fromAuthors(r, w, c, keys, feature.FromFollows, mostFollowed)
		return
	}
	lens, limit := w.viewer.lens(r), len(c.found)+mostFollowed
	r.Recent(func(n tally.Note) bool {
		if lens.Follows(n.Author) && !c.add(r, w, &n, feature.FromFollows) {
			return false
		}
		return n.Created >= near.looked-lateness && len(c.found) < limit
	})
	c.addAll(r, w, near.followed, feature.FromFollows, limit-len(c.found))
}

// fromRecent takes the newest notes, and among them those of new authors.
func (f *Feeds) fromRecent(r *tally.Reader, w *wanted, c *candidates, on feature.Source) {
	fresh := 0
	r.Recent(func(n tally.Note) bool {
		from := on & feature.FromRecent
		if on&feature.FromNewAuthor != 0 && fresh < mostFresh && w.now-r.FirstSeen(n.Author) < int64(newAuthor.Seconds()) {
			from |= feature.FromNewAuthor
			fresh++
		}
		if w.since > 0 && n.Created < w.since {
			return false
		}
		return from == 0 && (fresh < mostFresh) || c.add(r, w, &n, from)
	})
}

// fit makes room for as many candidates as were found.
func (c *candidates) fit() {
	n := len(c.found)
	c.ids, c.authors = sized(c.ids, n), sized(c.authors, n)
	c.writers = sized(c.writers, n)
	c.spots, c.pairs = sized(c.spots, n), sized(c.pairs, n)
	c.notes, c.who = sized(c.notes, n), sized(c.who, n)
	c.counts, c.proofs, c.threads = sized(c.counts, n), sized(c.proofs, n), sized(c.threads, n)
	c.stages, c.signals = sized(c.stages, n), sized(c.signals, n)
	c.facts.Candidates = sized(c.facts.Candidates, n)
}

func sized[T any](s []T, n int) []T {
	s = slices.Grow(s[:0], n)[:n]
	clear(s)
	return s
}

// count asks the tally about each candidate.
func (f *Feeds) count(r *tally.Reader, w *wanted, c *candidates) {
	var lens *tally.Lens
	var seen *looks
	if w.viewer.hex != "" {
		table := w.viewer.table(r)
		lens, seen = w.viewer.through(r, table), f.sights.take(w.viewer.hex, table.number)
		defer f.sights.give(seen)
	}
	now := time.Unix(w.now, 0)
	f.topMu.RLock()
	public := f.public
	f.topMu.RUnlock()
	for i := range c.found {
		n := &c.found[i]
		c.ids[i], c.authors[i], c.writers[i], c.spots[i] = n.ID, r.Key(n.Author), n.Author, r.Spot(*n)
	}
	c.missing = f.notes.find(c.ids, c.notes)
	f.authors.find(c.authors, c.who)
	for i := range c.found {
		n := &c.found[i]
		if !c.who[i].good(now) {
			c.who[i] = f.author(r, n.Author, public, now)
		}
		a := c.who[i]
		s := c.notes[i].standingOf(r, *n, w.now)
		counts := s.counts
		if lens != nil {
			seen.see(r, n, lens, s.version, &counts)
		}
		c.fill(i, &counts)
		c.counts[i].Duplicates, c.counts[i].DuplicateKeys, c.counts[i].Earlier = clip16(s.twins.Notes), clip16(s.twins.Keys), clip16(s.twins.Earlier)
		later, _ := slices.BinarySearch(a.written, n.Created+1)
		c.counts[i].NewerByAuthor = clip16(len(a.written) - later)
		if n.Reply {
			c.thread(r, i, &s.thread, lens)
		}
	}
}

func clip16(n int) uint16 { return uint16(min(max(n, 0), math.MaxUint16)) }

// fill copies the tally's counts to where the catalogue looks for them. Both
// number actions and windows alike.
func (c *candidates) fill(i int, from *tally.Counts) {
	to := &c.counts[i]
	to.Actors, to.Trust, to.Viewer = from.Actors, from.Trust, from.Viewer
	to.People = peopleOf(from.People)
	to.Rate, to.TrustRate = from.Rate, from.TrustRate
	to.ZapMsat, to.ZapMsatTrust = from.Msat, from.MsatTrust
	c.proofs[i] = feature.Proof{Actors: from.Proof, Trust: from.ProofTrust, Acted: from.Acted}
}

func (c *candidates) thread(r *tally.Reader, i int, t *tally.Thread, lens *tally.Lens) {
	to := &c.threads[i]
	to.Depth, to.RootAt, to.Siblings = clip16(t.Depth), t.RootAt, uint32(t.Siblings)
	if t.ParentAuthor != tally.NoPlace {
		to.ParentTrust = r.Weight(t.ParentAuthor)
		if lens != nil {
			to.ParentViewer = lens.Trust(t.ParentAuthor)
			to.ToViewer = t.ParentAuthor == lens.Self
		}
	}
	if t.RootAuthor != tally.NoPlace && lens != nil {
		to.RootFollowed = lens.Follows(t.RootAuthor)
	}
}

// author is one that is not known, or no longer well enough.
func (f *Feeds) author(r *tally.Reader, place uint32, public View, now time.Time) *author {
	k, old := []tally.Key{r.Key(place)}, []*author{nil}
	f.authors.find(k, old) // another note of this page may have come before
	if old[0].good(now) {
		return old[0]
	}
	a := tallied(r, place, public, old[0], now)
	f.authors.put(k[0], a)
	return a
}

// tallied is an author as the tally sees it now; its profile stays as known.
func tallied(r *tally.Reader, place uint32, public View, old *author, now time.Time) *author {
	t := r.Author(place)
	a := &author{written: t.Written, at: now}
	a.FirstSeen, a.NotesPerDay, a.Notes24h, a.ZapMsat30d = t.FirstSeen, t.PerDay, uint32(t.Notes24h), t.Msat
	if t.Notes > 0 {
		a.ReplyShare = float32(t.Replies) / float32(t.Notes)
		a.LikesPerNote, a.RepliesPerNote = t.LikesTrust/float32(t.Notes), t.ReplyTrust/float32(t.Notes)
	}
	k := public.About(hexKey(r.Key(place)))
	a.Trust, a.Followers, a.FollowersTrust, a.Follows = r.Weight(place), uint32(k.Followers), k.FollowersTrust, uint32(k.Follows)
	a.MuteShare = share(t.MuteTrust, k.FollowersTrust)
	a.ReportShare = share(t.ReportTrust, k.FollowersTrust)
	if old != nil {
		a.profileAt, a.Nip05, a.Lightning, a.Picture, a.Bot = old.profileAt, old.Nip05, old.Lightning, old.Picture, old.Bot
	}
	return a
}

func share(part, rest float32) float32 {
	if part <= 0 {
		return 0
	}
	return part / (part + rest)
}

// readNotes finds what the notes say of themselves. What nobody may read is
// left with nothing, and finish leaves it out.
func (f *Feeds) readNotes(ctx context.Context, c *candidates) error {
	for chunk := range slices.Chunk(c.missing, 500) {
		ids, places := make([]string, len(chunk)), make(map[tally.Key]int, len(chunk))
		for i, at := range chunk {
			ids[i], places[c.ids[at]] = hexKey(c.ids[at]), at
		}
		for ev, err := range f.cfg.Events.Query(ctx, nostr.Filter{IDs: ids}) {
			if err != nil {
				return fmt.Errorf("read candidates: %w", err)
			}
			if k, ok := key(ev.ID); ok {
				if at, asked := places[k]; asked {
					c.notes[at] = f.notes.put(ev)
				}
			}
		}
	}
	return nil
}

// readAuthors finds the profiles that have not been looked for in a while.
func (f *Feeds) readAuthors(ctx context.Context, c *candidates, now int64) error {
	clock := time.Unix(now, 0)
	want := map[tally.Key]*author{}
	for i, a := range c.who {
		if clock.Sub(a.profileAt) > profileFresh || clock.Before(a.profileAt) {
			want[c.authors[i]] = a
		}
	}
	if len(want) == 0 {
		return nil
	}
	names := make([]string, 0, len(want))
	fresh := make(map[tally.Key]*author, len(want))
	for k, a := range want {
		copied := *a
		copied.profileAt = clock
		copied.Nip05, copied.Lightning, copied.Picture, copied.Bot = false, false, false, false
		fresh[k] = &copied
		names = append(names, hexKey(k))
	}
	until := nostr.Timestamp(now)
	for chunk := range slices.Chunk(names, 500) {
		for ev, err := range f.cfg.Events.Query(ctx, nostr.Filter{Kinds: []int{0}, Authors: chunk, Until: &until}) {
			if err != nil {
				return fmt.Errorf("read profiles: %w", err)
			}
			if k, ok := key(ev.PubKey); ok && fresh[k] != nil {
				fresh[k].readProfile(ev.Content)
			}
		}
	}
	for k, a := range fresh {
		f.authors.put(k, a)
	}
	for i, k := range c.authors {
		if a := fresh[k]; a != nil {
			c.who[i] = a
		}
	}
	return nil
}

// finish lays the facts out as the catalogue reads them, and leaves out what
// may not be shown.
func (f *Feeds) finish(w *wanted, c *candidates) {
	f.topMu.RLock()
	bridge := f.bridge
	f.topMu.RUnlock()
	if w.viewer.hex != "" {
		w.viewer.toward(c.authors, c.pairs)
	}
	kept := 0
	for i := range c.ids {
		if c.notes[i] == nil {
			continue
		}
		if n := c.counts[i].Actors[feature.Like]; n > 0 {
			c.signals[i].Actors = min(float32(c.counts[i].People.Likes)/float32(n), 1)
		}
		to := &c.facts.Candidates[kept]
		*to = feature.Candidate{
			Note: &c.notes[i].Note, Author: &c.who[i].Author, Counts: &c.counts[i], Proof: &c.proofs[i],
			Thread: &c.threads[i], Stages: &c.stages[i], Signals: &c.signals[i], Sources: c.sources[i],
		}
		if p := c.pairs[i]; p != nil {
			if p.muted {
				continue
			}
			to.Pair = &p.Pair
		}
		if w.stages.colike {
			c.stages[i].CoLike = w.viewer.near.colike(c.spots[i], w.stages.halfLife, w.stages.popularity)
		}
		if w.stages.bridge && bridge != nil {
			bridge.put(c.ids[i], &c.stages[i])
		}
		c.ids[kept], c.authors[kept], c.writers[kept] = c.ids[i], c.authors[i], c.writers[i]
		kept++
	}
	c.ids, c.authors, c.writers, c.facts.Candidates = c.ids[:kept], c.authors[:kept], c.writers[:kept], c.facts.Candidates[:kept]
	if w.stages.bridge && bridge != nil {
		c.facts.Viewer.BridgeFactor = bridge.raters[w.viewer.key]
	}
	if w.stages.novelty {
		f.novelty(w.viewer, c)
	}
}

// novelty is how far each candidate's words are from what the viewer liked last.
func (f *Feeds) novelty(v *viewer, c *candidates) {
	var ids []tally.Key
	for _, d := range v.history {
		if d.action == feature.Like && len(ids) < 50 {
			ids = append(ids, d.note)
		}
	}
	notes := make([]*note, len(ids))
	f.notes.find(ids, notes)
	var liked []bag
	for _, n := range notes {
		if n != nil && len(n.Tokens) > 0 {
			liked = append(liked, textOf(&n.Note))
		}
	}
	for i := range c.facts.Candidates {
		to := &c.facts.Candidates[i]
		text := textOf(to.Note)
		most := float32(0)
		for j := range liked {
			most = max(most, text.dot(&liked[j]))
		}
		to.Stages.Novelty = min(max(1-most, 0), 1)
	}
}
