package doors

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"agora/feeds"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"
)

// ask sends one filter as the relay would, and wants a page.
func (w *world) ask(d *Doors, path string, f nostr.Filter, keys ...string) Selection {
	w.t.Helper()
	s, mine, err := d.Select(w.t.Context(), path, keys, f)
	if err != nil || !mine || s.Prefix != "" {
		w.t.Fatalf("%s %v: mine %v, %s %s, %v", path, f, mine, s.Prefix, s.Text, err)
	}
	return s
}

func (w *world) refused(d *Doors, path string, f nostr.Filter, prefix string, keys ...string) {
	w.t.Helper()
	s, mine, err := d.Select(w.t.Context(), path, keys, f)
	if err != nil || !mine || s.Prefix != prefix || s.Text == "" || s.Events != nil {
		w.t.Errorf("%s %v: mine %v, %q %q, %d events, %v; want %s", path, f, mine, s.Prefix, s.Text, len(s.Events), err, prefix)
	}
}

func TestAFeedAsARelayKeepsItsOrderAndSaysWhenItIsExhausted(t *testing.T) {
	w := newWorld(t)
	w.crowd(120)
	d := w.open(nil)
	s := w.ask(d, "/f/hot", nostr.Filter{Limit: 500})
	if !slices.Equal(ids(s.Events), w.wanted("hot")) || s.Hint != Finish {
		t.Errorf("%d of 120, hint %d", len(s.Events), s.Hint)
	}
	s = w.ask(d, "/f/hot", nostr.Filter{Kinds: []int{1}, Limit: 10})
	if !slices.Equal(ids(s.Events), w.wanted("hot", 1)[:10]) || s.Hint != NoHint {
		t.Errorf("%d of 10, hint %d: more would make a client page by until, and skip", len(s.Events), s.Hint)
	}
}

func TestLimitKindsAuthorsSinceAndUntilAreHonoured(t *testing.T) {
	w := newWorld(t)
	w.crowd(120)
	d := w.open(nil)
	since, until := nostr.Timestamp(time.Now().Unix()-2*86400), nostr.Timestamp(time.Now().Unix()-3600)
	f := nostr.Filter{Kinds: []int{1, 20}, Authors: []string{public(t, 2), public(t, 3)}, Since: &since, Until: &until, Limit: 7}
	for _, path := range []string{"/f/hot", "/f/hot/time"} {
		s := w.ask(d, path, f)
		if len(s.Events) != 7 {
			t.Errorf("%s: %d events", path, len(s.Events))
		}
		for _, ev := range s.Events {
			if !f.Matches(ev) {
				t.Errorf("%s: %v does not match", path, ev)
			}
		}
	}
}

func TestOnlyQuestionsForContentGetThePage(t *testing.T) {
	w := newWorld(t)
	w.crowd(10)
	d := w.open(nil)
	for _, f := range []nostr.Filter{
		{IDs: []string{w.notes[0].ID}}, {Kinds: []int{1}, Tags: nostr.TagMap{"e": {w.notes[0].ID}}}, {Kinds: []int{0}, Authors: []string{public(t, 1)}},
		{Kinds: []int{0, 1}}, {Kinds: []int{7}}, {Kinds: []int{3}}, {Kinds: []int{10002}}, {Kinds: []int{1}, Search: "words"}, {Kinds: []int{}},
	} {
		for _, path := range []string{"/f/hot", "/f/hot/time", "/f/hot/ranked"} {
			if s, mine, err := d.Select(t.Context(), path, nil, f); mine || err != nil {
				t.Errorf("%s %v: %v %v", path, f, s, err)
			}
		}
	}
	if _, mine, _ := d.Select(t.Context(), "/", nil, nostr.Filter{Kinds: []int{1}}); mine {
		t.Error("the root gives a page")
	}
}

func TestMistakesOnAWebsocketAreRefusedWithWords(t *testing.T) {
	w := newWorld(t)
	w.crowd(10)
	d := w.open(func(c *Config) { c.Known = func(key string) bool { return key == public(t, 1) } })
	stranger, err := nip19.EncodePublicKey(public(t, 2))
	if err != nil {
		t.Fatal(err)
	}
	for path, f := range map[string]nostr.Filter{
		"/f/gone": {}, "/f/hot": {Limit: 1_000_000_000}, "/f/hot/time": {LimitZero: true}, "/f/hot?gravity=9": {}, "/f/hot?gravity=NaN": {}, "/f/hot?weight=1": {},
		"/f/hot?pov=me": {}, "/f/near?pov=" + stranger: {}, "/f/near?pov=" + public(t, 3): {},
	} {
		w.refused(d, path, f, "invalid")
	}
	for _, search := range []string{"feed:gone", "sort:gone", "feed:naddr1qqq", "sort:hot gravity:-1", "sort:hot gravity:x", "sort:near pov:" + stranger, "sort:near pov:npub1"} {
		w.refused(d, "/", nostr.Filter{Search: search}, "invalid")
	}
	w.ask(d, "/f/near?pov="+public(t, 1), nostr.Filter{})
	w.ask(d, "/f/near?pov="+stranger, nostr.Filter{}, public(t, 2)) // a reader who has proven the key is known
	w.refused(d, "/f/near/ranked", nostr.Filter{Kinds: []int{6}}, "auth-required")
}

func TestTheQueryOfADoorIsReadAsStrictlyAsOverHTTP(t *testing.T) {
	w := newWorld(t)
	w.crowd(5)
	d := w.open(nil)
	for _, query := range []string{"%zz", "gravity=1&gravity=2", "pov=" + public(t, 1) + "&pov=" + public(t, 2), "gravity=1;x"} {
		w.refused(d, "/f/hot?"+query, nostr.Filter{}, "invalid")
		w.refused(d, "/f/hot/time?"+query, nostr.Filter{}, "invalid")
	}
}

func TestNothingIsPersonalButForTheReaderWhoHasProvenTheKey(t *testing.T) {
	w := newWorld(t)
	w.crowd(3)
	d := w.open(nil)
	for _, c := range []struct {
		path   string
		keys   []string
		viewer string
		signed bool
	}{
		{"/f/near", nil, "", false},
		{"/f/near", []string{public(t, 1)}, public(t, 1), true},
		{"/f/near?pov=" + public(t, 2), nil, public(t, 2), false},
		{"/f/near?pov=" + public(t, 2), []string{public(t, 1)}, public(t, 2), false},
		{"/f/near?pov=" + public(t, 2), []string{public(t, 1), public(t, 2)}, public(t, 2), true},
	} {
		w.ask(d, c.path, nostr.Filter{}, c.keys...)
		if w.last.Viewer != c.viewer || w.last.Signed != c.signed {
			t.Errorf("%+v: read as %q, signed %v", c, w.last.Viewer, w.last.Signed)
		}
	}
}

func TestTheBestOfEachBandOfTimeWhateverTheLimit(t *testing.T) {
	w := newWorld(t)
	w.crowd(900) // 75 to a band
	d := w.open(nil)
	whole := w.ask(d, "/f/hot/time", nostr.Filter{Limit: 1000})
	best := map[int64][]string{}
	for _, id := range w.wanted("hot") {
		at := int64(w.find(id).CreatedAt) / band
		best[at] = append(best[at], id)
	}
	var want []string
	for _, list := range best {
		want = append(want, list[:min(len(list), bandBest)]...)
	}
	if got := ids(whole.Events); !slices.IsSortedFunc(whole.Events, func(a, b *nostr.Event) int { return int(b.CreatedAt - a.CreatedAt) }) ||
		!slices.Equal(sorted(got), sorted(want)) || whole.Hint != Finish {
		t.Fatalf("%d notes, want %d; hint %d", len(got), len(want), whole.Hint)
	}
	if got := w.pageThrough(d, "/f/hot/time", nostr.Filter{Limit: 60}); !slices.Equal(got, ids(whole.Events)) {
		t.Errorf("paging by until gives %d of %d notes", len(got), len(want))
	}
}

// pageThrough pages by until as clients do, as long as there is more.
func (w *world) pageThrough(d *Doors, path string, f nostr.Filter, keys ...string) (got []string) {
	w.t.Helper()
	for range 100 {
		s := w.ask(d, path, f, keys...)
		got = append(got, ids(s.Events)...)
		if s.Hint != More {
			return got
		}
		until := s.Events[len(s.Events)-1].CreatedAt - 1
		f.Until = &until
	}
	w.t.Fatal("there is no end")
	return nil
}

func (w *world) find(id string) *nostr.Event {
	for _, ev := range w.notes {
		if ev.ID == id {
			return ev
		}
	}
	return nil
}

func sorted(list []string) []string { return slices.Sorted(slices.Values(list)) }

// reposted are the notes behind reposts, in the order of those.
func reposted(list []*nostr.Event) (notes []string) {
	for _, ev := range list {
		notes = append(notes, ev.Tags.Find("e")[1])
	}
	return notes
}

func TestARepostsTimeIsItsRank(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.crowd(950)
		d := w.open(nil)
		s := w.ask(d, "/f/hot/ranked", nostr.Filter{Kinds: []int{1, 6, 16}})
		hot, _ := d.cfg.Market.Listing("hot")
		began := time.Now().Unix() - time.Now().Unix()%900
		if len(s.Events) != 900 || s.Hint != Finish || !slices.Equal(reposted(s.Events), w.wanted("hot")[:900]) {
			t.Fatalf("%d reposts, hint %d", len(s.Events), s.Hint)
		}
		for i, ev := range s.Events {
			note := w.find(ev.Tags.Find("e")[1])
			if int64(ev.CreatedAt) != began-1-int64(i) || ev.PubKey != hot.Key || (ev.Kind == 6) != (note.Kind == 1) || ev.Content != note.String() ||
				!slices.ContainsFunc(ev.Tags, func(t nostr.Tag) bool { return len(t) == 1 && t[0] == "-" }) || ev.Tags.Find("expiration") == nil {
				t.Fatalf("rank %d: %v", i, ev)
			}
			if ok, err := ev.CheckSignature(); !ok || err != nil {
				t.Fatal("a bad signature")
			}
		}
		if got := w.pageThrough(d, "/f/hot/ranked", nostr.Filter{Kinds: []int{6, 16}, Limit: 70}); !slices.Equal(got, ids(s.Events)) {
			t.Errorf("paging by until gives %d reposts", len(got))
		}
		calls := w.calls
		w.ask(d, "/f/hot/ranked", nostr.Filter{Kinds: []int{6}}, public(t, 1))
		if w.calls != calls {
			t.Error("an epoch was ranked twice")
		}
	})
}

func TestANoteComesAgainOnlyWhereItHasRisen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.crowd(60)
		d := w.open(nil)
		r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test's dice
		type place struct{ epoch, rank int64 }
		last := map[string]place{}
		seen := map[string]bool{}
		for range 12 {
			for _, ev := range w.notes {
				w.score[ev.ID] += float32(r.IntN(20))
			}
			s := w.ask(d, "/f/hot/ranked", nostr.Filter{Kinds: []int{6, 16}, Limit: 5000})
			now := time.Now().Unix()
			began := now - now%900
			rank := map[string]int64{}
			for i, id := range w.wanted("hot") {
				rank[id] = int64(i)
			}
			here := map[string]bool{}
			for _, ev := range s.Events {
				if seen[ev.ID] {
					continue
				}
				seen[ev.ID] = true
				id := ev.Tags.Find("e")[1]
				here[id] = true
				if int64(ev.CreatedAt) != began-1-rank[id] {
					t.Fatalf("a repost of %d is not of this epoch and rank", ev.CreatedAt)
				}
				if was, ok := last[id]; ok && was.epoch > began-4*900 && rank[id] >= was.rank {
					t.Errorf("rank %d comes again though it was %d", rank[id], was.rank)
				}
			}
			for id, at := range rank {
				if was, ok := last[id]; !here[id] && (!ok || was.epoch <= began-4*900 || at < was.rank) {
					t.Errorf("a note of rank %d is missing", at)
				}
				if here[id] {
					last[id] = place{began, at}
				}
			}
			time.Sleep(900 * time.Second)
		}
	})
}

func TestARepostGoesWithItsNote(t *testing.T) {
	w := newWorld(t)
	w.crowd(20)
	d := w.open(func(c *Config) { c.Hidden = nil })
	w.ask(d, "/f/hot/ranked", nostr.Filter{Kinds: []int{6, 16}})
	top := w.wanted("hot")
	w.gone[top[0]] = true
	author := w.find(top[1]).PubKey
	d.OptOuts().Take(&nostr.Event{ID: "x", PubKey: author, Kind: KindOptOut, Tags: nostr.Tags{{"d", "agora-feeds-optout"}}})
	for _, path := range []string{"/f/hot/ranked", "/f/hot", "/f/hot/time"} {
		s := w.ask(d, path, nostr.Filter{})
		for _, ev := range s.Events {
			id := ev.ID
			if path == "/f/hot/ranked" {
				id = ev.Tags.Find("e")[1]
			}
			if note := w.find(id); id == top[0] || note.PubKey == author {
				t.Errorf("%s still shows a note that is gone or opted out", path)
			}
		}
	}
	d.OptOuts().Drop("x")
	if s := w.ask(d, "/f/hot", nostr.Filter{}); s.Events[0].PubKey != author {
		t.Error("an opt-out cannot be taken back")
	}
}

func TestWhatTheReaderHidesIsOnNoneOfTheirPages(t *testing.T) {
	w := newWorld(t)
	w.crowd(30)
	muted := public(t, 3)
	d := w.open(func(c *Config) {
		c.Hidden = func(_ context.Context, viewer string, ev *nostr.Event) bool {
			return viewer == public(t, 1) && ev.PubKey == muted
		}
	})
	for _, feed := range []string{"hot", "near"} {
		for viewer, want := range map[int]bool{1: false, 2: true} {
			s := w.ask(d, "/f/"+feed+"/ranked", nostr.Filter{Kinds: []int{6, 16}, Limit: 20}, public(t, viewer))
			got := slices.ContainsFunc(reposted(s.Events), func(id string) bool { return w.find(id).PubKey == muted })
			if got != want || len(s.Events) != 20 || s.Hint != More {
				t.Errorf("%s for reader %d: %v, %d reposts", feed, viewer, got, len(s.Events))
			}
		}
	}
}

func TestAProtectedNoteIsNamedAndNotCarried(t *testing.T) {
	w := newWorld(t)
	w.add(1, 1, 5, 9, "mine alone", nostr.Tag{"-"})
	s := w.ask(w.open(nil), "/f/hot/ranked", nostr.Filter{Kinds: []int{6}})
	if len(s.Events) != 1 || s.Events[0].Content != "" {
		t.Errorf("%v", s.Events)
	}
}

func TestAPageForOneReaderIsSeenByThatReaderOnly(t *testing.T) {
	w := newWorld(t)
	w.crowd(10)
	d := w.open(nil)
	for _, n := range []int{1, 2} {
		w.ask(d, "/f/near/ranked", nostr.Filter{Kinds: []int{6}}, public(t, n))
		if w.last.Viewer != public(t, n) || !w.last.Signed {
			t.Errorf("reader %d got the page of %q", n, w.last.Viewer)
		}
	}
}

func TestBooksAreBounded(t *testing.T) {
	w := newWorld(t)
	w.crowd(3)
	d := w.open(nil)
	for n := range mostBooks + 10 {
		w.ask(d, "/f/near/ranked", nostr.Filter{Kinds: []int{6}}, public(t, n))
	}
	if len(d.books.by) != mostBooks {
		t.Errorf("%d books", len(d.books.by))
	}
}

func TestSearchKeysRankAndTuneAndNarrow(t *testing.T) {
	w := newWorld(t)
	w.crowd(60)
	d := w.open(nil)
	hot, _ := d.cfg.Market.Listing("hot")
	naddr, err := nip19.EncodeEntity(hot.Author, 32190, "hot", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, search := range []string{"sort:hot", "feed:hot", "feed:" + naddr, "sort:hot protocol:nostr", "feed:hot sort:latest", "sort:hot language:en unknown:key"} {
		if s := w.ask(d, "/", nostr.Filter{Search: search, Limit: 20}); !slices.Equal(ids(s.Events), w.wanted("hot")[:20]) {
			t.Errorf("%s: another order", search)
		}
	}
	w.ask(d, "/", nostr.Filter{Search: "sort:hot gravity:2.5 distinct:author pov:" + public(t, 4)})
	if w.last.Knobs["gravity"] != 2.5 || !w.last.PerHead || w.last.Viewer != public(t, 4) || w.last.Signed {
		t.Errorf("%+v", w.last)
	}
	s := w.ask(d, "/", nostr.Filter{Search: "topic1 sort:hot", Limit: 50})
	for i, ev := range s.Events {
		if !strings.Contains(ev.Content, "topic1") || i > 0 && w.score[s.Events[i-1].ID] < w.score[ev.ID] {
			t.Errorf("%d: %s", i, ev.Content)
		}
	}
	if len(s.Events) != 20 || s.Hint != Finish {
		t.Errorf("%d hits, hint %d", len(s.Events), s.Hint)
	}
	if _, mine, _ := d.Select(t.Context(), "/", nil, nostr.Filter{Search: "plain words include:spam"}); mine {
		t.Error("a search without a feed is the relay's")
	}
	for alias, slug := range map[string]string{"new": "latest"} {
		w.ask(d, "/", nostr.Filter{Search: "sort:" + alias})
		if w.last.Feed != slug {
			t.Errorf("sort:%s is %s", alias, w.last.Feed)
		}
	}
}

func TestADoorPresentsItselfAndDisclosesWhatItPretends(t *testing.T) {
	w := newWorld(t)
	d := w.open(nil)
	hot, _ := d.cfg.Market.Listing("hot")
	p, ok := d.Presence("/f/hot")
	if !ok || p.Name != "Hot" || p.Description != "What is hot." || p.Self != hot.Key || p.Software != "" || p.Usual != feeds.DefaultLimit || p.Most != deepest {
		t.Errorf("%+v %v", p, ok)
	}
	for _, path := range []string{"/f/hot/time", "/f/hot/ranked", "/f/hot/", "/f/hot?gravity=1"} {
		if _, ok := d.Presence(path); !ok {
			t.Errorf("%s is not there", path)
		}
	}
	for _, path := range []string{"/", "/f", "/f/", "/f/gone", "/f/hot/else", "/f/hot/time/x", "/x/hot"} {
		if _, ok := d.Presence(path); ok {
			t.Errorf("%s is there", path)
		}
	}
	p, _ = w.open(func(c *Config) { c.Compat = true }).Presence("/f/hot")
	if p.Software != CompatSoftware || !strings.Contains(p.Description, "this relay runs Agora") {
		t.Errorf("%+v", p)
	}
}
