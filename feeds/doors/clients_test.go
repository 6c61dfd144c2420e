package doors

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// filter reads a filter as a client sends it.
func filter(t *testing.T, text string) (f nostr.Filter) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// byTime is what most clients do with what they get: newest first, ties by id.
func byTime(list []*nostr.Event) []*nostr.Event {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b *nostr.Event) int {
		return cmp.Or(cmp.Compare(b.CreatedAt, a.CreatedAt), strings.Compare(a.ID, b.ID))
	})
	return list
}

// onScreen is what a person sees: reposts show the note inside, if that is
// genuine, and a note is shown once.
func onScreen(t *testing.T, list []*nostr.Event) (seen []string) {
	t.Helper()
	for _, ev := range list {
		id := ev.ID
		if ev.Kind == nostr.KindRepost || ev.Kind == nostr.KindGenericRepost {
			var inner nostr.Event
			if err := json.Unmarshal([]byte(ev.Content), &inner); err != nil {
				t.Fatal(err)
			}
			if ok, err := inner.CheckSignature(); !ok || err != nil || !inner.CheckID() {
				t.Fatal("the note inside a repost is not genuine")
			}
			id = inner.ID
		}
		if !slices.Contains(seen, id) {
			seen = append(seen, id)
		}
	}
	return seen
}

// tau is Kendall's: 1 when the notes of got stand as in want, -1 when they
// stand the other way round. Notes of got that want does not know are an error.
func tau(t *testing.T, got, want []string) float64 {
	t.Helper()
	rank := map[string]int{}
	for i, id := range want {
		rank[id] = i
	}
	up, down := 0, 0
	for i, a := range got {
		if _, ok := rank[a]; !ok {
			t.Fatalf("note %d on the screen is not on the page", i)
		}
		for _, b := range got[i+1:] {
			if rank[a] < rank[b] {
				up++
			} else {
				down++
			}
		}
	}
	return float64(up-down) / float64(up+down)
}

// TestWhatAPersonSeesInEachClient replays the questions of clients as their
// sources have them, sorts as they do, and looks at the screen.
func TestWhatAPersonSeesInEachClient(t *testing.T) {
	w := newWorld(t)
	w.crowd(300)
	d := w.open(nil)
	now := time.Now().Unix()
	const home = `1,6,16,20,21,22,1068,1111,1222,1244,9802,30023,31987,39089`
	for _, c := range []struct {
		client, path, req string
		keepsOrder        bool // as it comes; otherwise by time
		ranked            bool // a person sees the ranking
		pages             bool // asks on by until
	}{
		{"Jumble, software recognised", "/f/hot", `{"kinds":[` + home + `],"limit":500}`, true, true, false},
		{"Jumble, otherwise", "/f/hot", `{"kinds":[` + home + `],"limit":200}`, false, false, false},
		{"Jumble, ranked", "/f/hot/ranked", `{"kinds":[` + home + `],"limit":200}`, false, true, true},
		{"Jumble, time", "/f/hot/time", `{"kinds":[` + home + `],"limit":200}`, false, false, true},
		{"noStrudel", "/f/hot", `{"kinds":[1,6,16,9802,1068],"limit":100}`, false, false, false},
		{"noStrudel, ranked", "/f/hot/ranked", `{"kinds":[1,6,16,9802,1068],"limit":100}`, false, true, true},
		{"noStrudel, time", "/f/hot/time", `{"kinds":[1,6,16,9802,1068],"limit":100}`, false, false, true},
		{"Amethyst, relay on the home screen", "/f/hot/ranked", `{"kinds":[1,6,16,11,1111,1068,9802,30023,20,21,22,30402,31337,1222],"limit":500}`, false, true, false},
		{"Amethyst, relay screen, time", "/f/hot/time", `{"kinds":[1,42,30023,1068,6969,9802,1111,30818,1222,20,21,22],"limit":400}`, false, false, false},
		{"Amethyst, relay screen, ranked", "/f/hot/ranked", `{"kinds":[1,42,30023,1068,6969,9802,1111,30818,1222,20,21,22],"limit":400}`, false, false, false},
		{"Coracle, our 31890", "/f/hot/ranked", fmt.Sprintf(`{"kinds":[6,16],"limit":1000,"since":0,"until":%d}`, now), false, true, false},
		{"Coracle, relay feed, time", "/f/hot/time", fmt.Sprintf(`{"kinds":[1,6,16,30023],"limit":1000,"since":0,"until":%d}`, now), false, false, false},
		{"Snort, ranked", "/f/hot/ranked", fmt.Sprintf(`{"kinds":[1,6,1068],"limit":50,"until":%d}`, now), false, true, true},
		{"Snort, time", "/f/hot/time", fmt.Sprintf(`{"kinds":[1,6,1068],"limit":50,"until":%d}`, now), false, false, true},
		{"YakiHonne, ranked", "/f/hot/ranked", fmt.Sprintf(`{"kinds":[1,6],"limit":100,"since":%d,"until":%d}`, now-2*86400, now), false, true, true},
		{"YakiHonne, time", "/f/hot/time", fmt.Sprintf(`{"kinds":[1,6],"limit":100,"since":%d,"until":%d}`, now-2*86400, now), false, false, true},
		{"Nostria", "/f/hot", `{"kinds":[1],"limit":100}`, false, false, false},
		{"Nostria, time", "/f/hot/time", `{"kinds":[1],"limit":100}`, false, false, false},
		{"Nostria, ranked", "/f/hot/ranked", `{"kinds":[1],"limit":100}`, false, false, false},
		{"Ditto", "/", `{"search":"sort:hot protocol:nostr","limit":20}`, true, true, false},
	} {
		t.Run(c.client, func(t *testing.T) {
			f := filter(t, c.req)
			var events []*nostr.Event
			for range 50 {
				s, mine, err := d.Select(t.Context(), c.path, nil, f)
				if err != nil || !mine || s.Prefix != "" {
					t.Fatalf("mine %v, %s %s, %v", mine, s.Prefix, s.Text, err)
				}
				events = append(events, s.Events...)
				if !c.pages || len(s.Events) == 0 || s.Hint == Finish {
					break
				}
				until := byTime(s.Events)[len(s.Events)-1].CreatedAt - 1
				f.Until = &until
			}
			if !c.keepsOrder {
				events = byTime(events)
			}
			for _, ev := range events {
				if g := filter(t, c.req); g.Search == "" && !g.Matches(ev) {
					t.Fatalf("kind %d of %d does not match: the client throws it away", ev.Kind, ev.CreatedAt)
				}
			}
			seen := onScreen(t, events)
			order := tau(t, seen, w.wanted("hot"))
			if len(seen) < 20 || c.ranked && order != 1 || !c.ranked && order > 0.9 {
				t.Errorf("%d notes on the screen, tau %v", len(seen), order)
			}
		})
	}
}

// TestDittoPagesBelowTheOldest is Ditto's way of asking on, which narrows the
// page: whatever comes is still in rank order.
func TestDittoPagesBelowTheOldest(t *testing.T) {
	w := newWorld(t)
	w.crowd(100)
	d := w.open(nil)
	f := filter(t, `{"search":"sort:hot protocol:nostr","limit":20}`)
	first := w.ask(d, "/", f)
	until := first.Events[len(first.Events)-1].CreatedAt - 1
	f.Until = &until
	next := w.ask(d, "/", f)
	if len(next.Events) == 0 || tau(t, ids(next.Events), w.wanted("hot")) != 1 {
		t.Errorf("%d notes in another order", len(next.Events))
	}
}

// TestJobsOfEachClient replays the jobs of clients and looks at their screens.
func TestJobsOfEachClient(t *testing.T) {
	w := newWorld(t)
	w.crowd(300)
	d := w.open(nil)
	hot, _ := d.cfg.Market.Listing("hot")
	me := public(t, 1)
	relays := []string{"relays", testURL, "wss://nos.lol"}
	for _, c := range []struct {
		client     string
		tags       nostr.Tags
		keepsOrder bool
		most       int
	}{
		{"noStrudel", nostr.Tags{{"p", hot.Key}, relays, {"expiration", "4102444800"}, {"param", "gravity", "2"}}, true, jobUsual},
		{"Amethyst", nostr.Tags{{"p", hot.Key}, {"alt", "NIP90 Content Discovery request"}, {"relays", testURL}, {"param", "max_results", "200"}, {"param", "user", me}}, true, 200},
		{"Coracle", nostr.Tags{{"expiration", "4102444800"}, {"p", hot.Key}, {"param", "user", me}, {"param", "max_results", "200"}}, false, 200},
		{"Primal", nostr.Tags{{"p", hot.Key}, {"alt", "Content discovery"}, {"param", "user", me}, {"param", "max_results", "100"}}, false, 100},
		{"Snort", nostr.Tags{{"p", hot.Key}}, false, jobUsual},
		{"YakiHonne", nostr.Tags{{"p", hot.Key}, {"relays", testURL}}, false, jobUsual},
	} {
		t.Run(c.client, func(t *testing.T) {
			result, job := w.job(d, c.tags)
			var tags nostr.Tags
			if err := json.Unmarshal([]byte(result.Content), &tags); err != nil || result.Kind != 6300 || result.PubKey != hot.Key {
				t.Fatalf("%v: %v", result, err)
			}
			if e, p := result.Tags.Find("e"), result.Tags.Find("p"); e[1] != job.ID || p[1] != job.PubKey {
				t.Errorf("it answers %s of %s", e[1], p[1])
			}
			for _, name := range []string{"request", "expiration", "alt"} {
				if result.Tags.Find(name) == nil {
					t.Errorf("no tag %s", name)
				}
			}
			var list []*nostr.Event
			for _, tag := range tags {
				if tag[0] != "e" || tag[2] != testURL {
					t.Fatalf("%v: clients read e tags", tag)
				}
				list = append(list, w.find(tag[1]))
			}
			want := w.wanted("hot")[:c.most]
			if c.keepsOrder {
				if !slices.Equal(ids(list), want) {
					t.Errorf("another order than the page's")
				}
				return
			}
			if got := ids(byTime(list)); !slices.Equal(sorted(got), sorted(want)) {
				t.Errorf("another selection than the page's")
			}
		})
	}
}

// job sends a job of kind 5300 and wants its answer.
func (w *world) job(d *Doors, tags nostr.Tags) (answer, job *nostr.Event) {
	w.t.Helper()
	return w.jobOf(d, 5300, tags, "")
}

func (w *world) jobOf(d *Doors, kind int, tags nostr.Tags, content string) (answer, job *nostr.Event) {
	w.t.Helper()
	job = signed(w.t, 1, nostr.Event{Kind: kind, CreatedAt: nostr.Now(), Tags: tags, Content: content})
	j := d.NewJobs(nil)
	list := j.asked(job)
	if len(list) != 1 {
		w.t.Fatalf("the job is for %d of our feeds", len(list))
	}
	answer = j.Answer(w.t.Context(), list[0], job)
	if ok, err := answer.CheckSignature(); !ok || err != nil {
		w.t.Fatal("the answer is not signed")
	}
	return answer, job
}
