package feeds

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"agora/feeds/tally"
	"agora/ranker"
	"agora/ranker/feature"

	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
)

func TestAModelsOrderIsThePagesOrder(t *testing.T) {
	w := newWorld(t, 1)
	a, b, c := w.note(w.person(9), time.Hour), w.note(w.person(9), 2*time.Hour), w.note(w.person(9), 3*time.Hour)
	for range 3 {
		w.like(w.person(9), b)
	}
	w.like(w.person(9), c)
	w.settle()
	p := w.page(Request{Feed: "likes"})
	if want := []string{b.ID, c.ID, a.ID}; !slices.Equal(ids(p), want) {
		t.Errorf("got %v, want %v", ids(p), want)
	}
	if p.Items[0].Score != 3 || p.Items[0].Rank != 1 || p.Why.Fallback != "" || p.Why.Candidates != 3 || p.Cursor != "" {
		t.Errorf("first item and why: %+v %+v", p.Items[0], p.Why)
	}
	if p := w.page(Request{Feed: "latest"}); !slices.Equal(ids(p), []string{a.ID, b.ID, c.ID}) {
		t.Error("latest is not by time")
	}
}

func TestTenPagesRepeatNoneAndSkipNoneWhileNotesPourIn(t *testing.T) {
	w := newWorld(t, 2)
	want := map[string]bool{}
	for i := range 100 {
		want[w.note(w.person(byte(i)), time.Duration(i)*time.Minute).ID] = true
	}
	w.settle()
	p := w.page(Request{Feed: "likes", Limit: 10})
	seen := map[string]bool{}
	for pages := 0; ; pages++ {
		for _, id := range ids(p) {
			if seen[id] || !want[id] {
				t.Fatalf("page %d repeats or invents %s", pages, id)
			}
			seen[id] = true
		}
		if p.Cursor == "" {
			break
		}
		for range 5 {
			late := w.note(w.person(200), 0)
			w.like(w.person(200), late)
		}
		w.settle()
		p = w.page(Request{Feed: "likes", Limit: 10, Cursor: p.Cursor})
	}
	if len(seen) != 100 {
		t.Errorf("%d of 100 notes seen", len(seen))
	}
}

func TestWhatMayNotBeSeenIsOnNoPage(t *testing.T) {
	w := newWorld(t, 3)
	me, rude := w.person(250), w.person(200)
	var all []*nostr.Event
	for range 8 {
		all = append(all, w.note(w.person(100), time.Hour))
	}
	muted := w.note(rude, time.Hour)
	over := w.put(1, w.person(100), time.Hour, "its time is over", nostr.Tag{"expiration", strconv.FormatInt(w.now-10, 10)})
	vanished := w.note(w.person(101), time.Hour)
	w.put(62, vanished.PubKey, 0, "", nostr.Tag{"relay", "ALL_RELAYS"})
	w.signals.refuse[all[0].ID] = true
	w.put(5, all[1].PubKey, 0, "", nostr.Tag{"e", all[1].ID})
	w.graph.mutes[me] = []string{rude}
	w.settle()
	p := w.page(Request{Feed: "likes", Viewer: me, Limit: 3})
	w.signals.refuse[all[2].ID] = true // after the ranking was made
	w.put(5, all[3].PubKey, 0, "", nostr.Tag{"e", all[3].ID})
	w.graph.mutes[me] = append(w.graph.mutes[me], all[4].PubKey)
	shown := ids(p)
	for p.Cursor != "" {
		p = w.page(Request{Feed: "likes", Viewer: me, Limit: 3, Cursor: p.Cursor})
		for _, id := range ids(p) {
			if id == all[2].ID || id == all[3].ID || id == all[4].ID {
				t.Errorf("%s is shown on a later page", id)
			}
		}
		shown = append(shown, ids(p)...)
	}
	for _, gone := range []*nostr.Event{all[0], all[1], muted, over, vanished} {
		if slices.Contains(shown, gone.ID) {
			t.Errorf("%s is shown", gone.ID)
		}
	}
	if !slices.Contains(ids(w.page(Request{Feed: "likes"})), muted.ID) {
		t.Error("a note that one reader mutes is missing for others")
	}
	w.signals.err = errors.New("nobody can tell")
	w.feeds.rankings = newRankings(1<<20, time.Minute)
	if _, err := w.feeds.Page(t.Context(), Request{Feed: "likes"}); err == nil {
		t.Error("a page though nobody could tell what is refused")
	}
}

func TestAFailingModelCostsNoPage(t *testing.T) {
	for name, err := range map[string]error{
		"runtime": ranker.ErrNoRuntime, "late": ranker.ErrLate, "failed": ranker.ErrFailed, "unloadable": ranker.ErrUnloadable, "admission": ranker.ErrNotAdmitted,
	} {
		w := newWorld(t, 4)
		w.note(w.person(9), time.Hour)
		w.settle()
		w.scorer.err = err
		if p := w.page(Request{Feed: "likes"}); len(p.Items) != 1 || p.Why.Fallback != name || p.Why.Feed != "latest" || p.Why.Asked != "likes" {
			t.Errorf("%s: %d items, why %+v", name, len(p.Items), p.Why)
		}
	}
	for name, after := range map[string]func(context.Context, []float32) ([]float32, error){
		"nan":    func(_ context.Context, s []float32) ([]float32, error) { s[0] = float32(math.NaN()); return s, nil },
		"length": func(_ context.Context, s []float32) ([]float32, error) { return s[1:], nil },
	} {
		w := newWorld(t, 4)
		w.note(w.person(9), time.Hour)
		w.settle()
		w.scorer.after = after
		if p := w.page(Request{Feed: "likes"}); len(p.Items) != 1 || p.Why.Fallback != name {
			t.Errorf("%s: %d items, why %+v", name, len(p.Items), p.Why)
		}
	}
}

func TestAFallbackIsCounted(t *testing.T) {
	w := newWorld(t, 12)
	counted := prometheus.NewRegistry()
	w.open(Config{Metrics: counted})
	w.note(w.person(9), time.Hour)
	w.settle()
	w.scorer.err = ranker.ErrLate
	w.page(Request{Feed: "likes"})
	families, err := counted.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "agora_feeds_fallbacks_total" {
			if m := f.GetMetric()[0]; m.GetCounter().GetValue() != 1 || m.GetLabel()[0].GetValue() != "late" {
				t.Errorf("counted %v", m)
			}
			return
		}
	}
	t.Error("no fallback is counted")
}

func TestFallbacksThatGoInACircleEndAtLatest(t *testing.T) {
	w := newWorld(t, 5)
	w.listing["a"] = Listing{Slug: "a", Model: model, Fallback: "b", Refused: "not admitted"}
	w.listing["b"] = Listing{Slug: "b", Model: model, Fallback: "a"}
	w.scorer.err = ranker.ErrFailed
	w.note(w.person(9), time.Hour)
	w.settle()
	if p := w.page(Request{Feed: "a"}); len(p.Items) != 1 || p.Why.Fallback != "not admitted" || p.Why.Feed != "latest" {
		t.Errorf("why %+v", p.Why)
	}
}

func TestWrongRequestsAreToldWhatIsWrong(t *testing.T) {
	w := newWorld(t, 6)
	w.listing["likes"] = Listing{Slug: "likes", Model: model, Tier: feature.Viewer, Knobs: []Knob{{Name: "days", Min: 1, Max: 9, Default: 2}}}
	for range 3 {
		w.note(w.person(9), time.Hour)
	}
	w.settle()
	cursor := w.page(Request{Feed: "likes", Limit: 1}).Cursor
	for name, r := range map[string]Request{
		"unknown feed":    {Feed: "nothing"},
		"limit negative":  {Feed: "likes", Limit: -1},
		"limit huge":      {Feed: "likes", Limit: 1e9},
		"viewer":          {Feed: "likes", Viewer: "me"},
		"author":          {Feed: "likes", Authors: []string{"me"}},
		"knob":            {Feed: "likes", Knobs: map[string]float64{"hours": 1}},
		"knob too large":  {Feed: "likes", Knobs: map[string]float64{"days": 10}},
		"knob no number":  {Feed: "likes", Knobs: map[string]float64{"days": math.NaN()}},
		"cursor":          {Feed: "likes", Cursor: "abc"},
		"cursor made up":  {Feed: "likes", Cursor: strings.Repeat("A", 27)},
		"another's":       {Feed: "likes", Cursor: cursor, Viewer: w.person(3)},
		"another setting": {Feed: "likes", Cursor: cursor, Knobs: map[string]float64{"days": 3}},
		"nobody signed":   {Feed: "likes", Signed: true},
	} {
		_, err := w.feeds.Page(t.Context(), r)
		problem, ok := errors.AsType[*Problem](err)
		if !ok || problem.Text == "" || problem.Unknown != (name == "unknown feed") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPersonalFeaturesNeedASignature(t *testing.T) {
	w := newWorld(t, 7)
	me := w.person(9)
	w.scorer.inputs = []feature.Input{column("proof.seen")}
	w.note(w.person(9), time.Hour)
	w.settle()
	for range 2 {
		if p := w.page(Request{Feed: "likes", Viewer: me}); p.Items[0].Score != 0 || p.Why.Tier != feature.Viewer {
			t.Error("a personal feature without a signature")
		}
	}
	w.page(Request{Feed: "likes", Viewer: me, Signed: true})
	if p := w.page(Request{Feed: "likes", Viewer: me, Signed: true}); p.Items[0].Score != 1 || p.Why.Tier != feature.Personal {
		t.Errorf("served before, signed, and yet %+v", p.Items[0])
	}
	l := w.listing["likes"]
	l.Tier = feature.Viewer
	w.listing["likes"] = l
	if p := w.page(Request{Feed: "likes", Viewer: me, Signed: true}); p.Items[0].Score != 0 {
		t.Error("a feature beyond what the listing declares")
	}
}

func TestFiltersAndOnePerHead(t *testing.T) {
	w := newWorld(t, 8)
	a, b := w.person(9), w.person(8)
	first, second := w.note(a, time.Hour), w.note(a, 3*time.Hour)
	article := w.put(30023, b, 2*time.Hour, "long", nostr.Tag{"d", "x"})
	w.settle()
	for name, c := range map[string]struct {
		r    Request
		want []string
	}{
		"kinds":    {Request{Kinds: []int{30023}}, []string{article.ID}},
		"authors":  {Request{Authors: []string{a}}, []string{first.ID, second.ID}},
		"since":    {Request{Since: w.now - 5400}, []string{first.ID}},
		"until":    {Request{Until: w.now - 5400}, []string{article.ID, second.ID}},
		"per head": {Request{PerHead: true}, []string{first.ID, article.ID}},
	} {
		c.r.Feed = "latest"
		if p := w.page(c.r); !slices.Equal(ids(p), c.want) {
			t.Errorf("%s: %v, want %v", name, ids(p), c.want)
		}
	}
}

func TestReasonsNameWhatWeighedMost(t *testing.T) {
	w := newWorld(t, 9)
	w.scorer.inputs = []feature.Input{column("count.likes"), column("note.is_text")}
	liked := w.note(w.person(9), time.Hour)
	w.note(w.person(9), time.Hour)
	for range 4 {
		w.like(w.person(9), liked)
	}
	w.settle()
	p := w.page(Request{Feed: "likes", Reasons: true})
	r := p.Items[0].Reasons
	if len(r) != 1 || r[0].Feature != "count.likes" || r[0].Value != 4 || r[0].Weight != 2 || r[0].Words == "" {
		t.Errorf("reasons: %+v", r)
	}
}

func TestManyReadersOfOneFeedShareOneRanking(t *testing.T) {
	w := newWorld(t, 10)
	for range 20 {
		w.note(w.person(9), time.Hour)
	}
	w.listing["all"] = Listing{Slug: "all", Model: model, Stages: []string{"from-recent", "from-global"}}
	w.settle()
	rude := w.note(w.person(77), time.Minute)
	w.settle()
	angry := w.person(20)
	w.graph.mutes[angry] = []string{rude.PubKey}
	for i := range 30 {
		viewer := w.person(byte(i))
		if i == 20 {
			viewer = angry
		}
		p := w.page(Request{Feed: "all", Viewer: viewer, Signed: i%2 == 0})
		if slices.Contains(ids(p), rude.ID) == (viewer == angry) {
			t.Errorf("reader %d: the muted author's note is %v on the page", i, viewer == angry)
		}
	}
	if w.scorer.runs > 2 {
		t.Errorf("the model ran %d times for 30 readers within two seconds", w.scorer.runs)
	}
}

// TestWhomOneReaderMutesIsThereForOthers asks for a feed that is the same for
// all, first as somebody who mutes: it is ranked for nobody in particular.
func TestWhomOneReaderMutesIsThereForOthers(t *testing.T) {
	w := newWorld(t, 31)
	me, rude := w.person(250), w.person(200)
	w.graph.mutes[me] = []string{rude}
	w.listing["shared"] = Listing{Slug: "shared", Model: model, Stages: []string{"from-recent", "from-global"}}
	fine, muted := w.note(w.person(100), time.Hour), w.note(rude, 2*time.Hour)
	w.settle()
	if p := w.page(Request{Feed: "shared", Viewer: me, Signed: true}); !slices.Equal(ids(p), []string{fine.ID}) {
		t.Errorf("whoever mutes sees %v", ids(p))
	}
	if p := w.page(Request{Feed: "shared"}); !slices.Equal(ids(p), []string{fine.ID, muted.ID}) {
		t.Errorf("others see %v, want %v", ids(p), []string{fine.ID, muted.ID})
	}
	if w.feeds.viewers.by[me] != nil {
		t.Error("the reader was met for a feed that uses nothing about readers")
	}
}

func TestCursorsStayWithinTheirMemory(t *testing.T) {
	w := newWorld(t, 11)
	for range 30 {
		w.note(w.person(9), time.Hour)
	}
	w.settle()
	w.open(Config{RankingBytes: 20_000})
	first := w.page(Request{Feed: "latest", Limit: 5})
	for i := range 40 {
		w.page(Request{Feed: "latest", Limit: 5, Since: int64(i + 1)})
	}
	if w.feeds.rankings.bytes > 20_000 {
		t.Errorf("%d bytes of rankings are kept, allowed 20,000", w.feeds.rankings.bytes)
	}
	_, err := w.feeds.Page(t.Context(), Request{Feed: "latest", Limit: 5, Cursor: first.Cursor})
	if problem, ok := errors.AsType[*Problem](err); !ok || !strings.Contains(problem.Text, "begin again") {
		t.Errorf("a cursor whose ranking is gone: %v", err)
	}
}

func TestANewNoteOfAFollowedKeyIsThereAtOnce(t *testing.T) {
	w := newWorld(t, 21)
	me, friend, other := w.person(250), w.person(100), w.person(101)
	w.graph.follows[me] = []string{friend}
	w.listing["friends"] = Listing{Slug: "friends", Model: model, Tier: feature.Personal, Stages: []string{"from-follows"}}
	before, old := w.note(friend, time.Hour), w.note(friend, 13*24*time.Hour)
	w.note(other, time.Hour)
	w.settle()
	ask := Request{Feed: "friends", Viewer: me, Signed: true}
	if got := ids(w.page(ask)); !slices.Equal(got, []string{before.ID, old.ID}) {
		t.Fatalf("got %v", got)
	}
	late := w.note(friend, 0)
	w.note(other, 0)
	w.put(5, friend, 0, "", nostr.Tag{"e", old.ID})
	w.settle()
	if got := ids(w.page(ask)); !slices.Equal(got, []string{late.ID, before.ID}) {
		t.Errorf("got %v, want %s and %s", got, late.ID, before.ID)
	}
	ask.Until = w.now - 60 // asked of the tally, not of what was found before
	if got := ids(w.page(ask)); !slices.Equal(got, []string{before.ID}) {
		t.Errorf("until a minute ago: %v", got)
	}
}

func TestALikeIsCountedOnTheNextPage(t *testing.T) {
	w := newWorld(t, 22)
	a, b := w.note(w.person(9), time.Hour), w.note(w.person(9), 2*time.Hour)
	w.settle()
	ask := Request{Feed: "likes", Viewer: w.person(3), Signed: true}
	if got := ids(w.page(ask)); !slices.Equal(got, []string{a.ID, b.ID}) {
		t.Fatal("not by time")
	}
	like := w.like(w.person(9), b)
	w.settle()
	if p := w.page(ask); p.Items[0].Event.ID != b.ID || p.Items[0].Score != 1 {
		t.Errorf("a like just given: %v", p.Items[0])
	}
	w.put(5, like.PubKey, 0, "", nostr.Tag{"e", like.ID})
	w.settle()
	if p := w.page(ask); p.Items[0].Event.ID != a.ID {
		t.Error("a like taken back still counts")
	}
}

// TestAViewerMetAgainKeepsWhatWasFoundAround compares with one met anew.
func TestAViewerMetAgainKeepsWhatWasFoundAround(t *testing.T) {
	w := newWorld(t, 23)
	me, friend := w.person(250), w.person(200)
	w.graph.follows[me] = []string{friend}
	n := w.note(w.person(100), time.Hour)
	w.like(friend, n)
	w.settle()
	first, err := w.feeds.meet(t.Context(), me, w.now, nil)
	if err != nil {
		t.Fatal(err)
	}
	more := w.note(w.person(100), time.Hour)
	w.like(friend, more)
	mine := w.like(me, more)
	w.settle()
	again, err := w.feeds.meet(t.Context(), me, w.now, first)
	if err != nil {
		t.Fatal(err)
	}
	if len(again.near.trusted) != 1 || len(again.history) != 1 || hexKey(again.history[0].note) != mine.Tags[0][1] {
		t.Errorf("met again: %d notes near, %d deeds", len(again.near.trusted), len(again.history))
	}
	anew, err := w.feeds.meet(t.Context(), me, w.now+int64(nearFresh.Seconds()), again)
	if err != nil {
		t.Fatal(err)
	}
	if len(anew.near.trusted) != 2 {
		t.Errorf("after a while: %d notes near, want 2", len(anew.near.trusted))
	}
}

func TestTheBestOfManyAreTheBest(t *testing.T) {
	w := newWorld(t, 24)
	for _, n := range []int{0, 5, 10, 20, 21, 1000} {
		best := newTop[int](10)
		all := make([]float32, n)
		for i := range all {
			all[i] = float32(w.r.IntN(50))
			best.add(all[i], tally.Key{byte(i >> 8), byte(i)}, i)
		}
		want := make([]int, n)
		for i := range want {
			want[i] = i
		}
		slices.SortStableFunc(want, func(a, b int) int { return cmp.Compare(all[b], all[a]) })
		var got []int
		for _, p := range best.best() {
			got = append(got, p.of)
		}
		if want = want[:min(10, n)]; !slices.Equal(got, want) {
			t.Errorf("of %d: %v, want %v", n, got, want)
		}
	}
}

// TestRequestsBeyondTheSlotsWaitOrLeave lets every slot be taken.
func TestRequestsBeyondTheSlotsWaitOrLeave(t *testing.T) {
	w := newWorld(t, 25)
	w.note(w.person(9), time.Hour)
	w.settle()
	ask := Request{Feed: "likes", Viewer: w.person(3), Signed: true}
	w.page(ask) // the viewer is met
	for range cap(w.feeds.slots) {
		w.feeds.slots <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	left, waited := make(chan error, 1), make(chan error, 1) // one result each
	go func() {
		_, err := w.feeds.Page(ctx, ask)
		left <- err
	}()
	cancel()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("a request whose asker has gone: %v", err)
	}
	go func() {
		p, err := w.feeds.Page(t.Context(), ask)
		if err == nil && len(p.Items) != 1 {
			err = errors.New("no page")
		}
		waited <- err
	}()
	<-w.feeds.slots
	if err := <-waited; err != nil {
		t.Errorf("a request that waited: %v", err)
	}
}
