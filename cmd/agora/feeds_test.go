package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"agora/feeds/market"
	"agora/ranker"
	"agora/relay/admit"

	"github.com/gorilla/websocket"
	"github.com/nbd-wtf/go-nostr"
)

// town is a running relay with some people who write and react.
type town struct {
	*server
	t     testing.TB
	keys  []string // secret, hex
	notes []*nostr.Event
}

func newTown(t testing.TB, change func(*Config)) *town {
	t.Helper()
	s, _ := startServer(t, func(cfg *Config) {
		if lib := filepath.Join("..", "..", "bin", "libonnxruntime.so.1"); exists(lib) { // make build puts it there; without it, feeds show their fallbacks
			cfg.Runtime = lib
		}
		if change != nil {
			change(cfg)
		}
	})
	w := &town{server: s, t: t}
	for range 6 {
		w.keys = append(w.keys, nostr.GeneratePrivateKey())
	}
	now := nostr.Now()
	for i := range 40 {
		w.notes = append(w.notes, w.put(i%6, nostr.Event{Kind: 1, CreatedAt: now - nostr.Timestamp(7200+i*600), Content: fmt.Sprintf("note %d on topic%d", i, i%4)}))
	}
	for i := range 5 {
		var follows nostr.Tags
		for j := range 6 {
			follows = append(follows, nostr.Tag{"p", w.public(j)})
		}
		w.put(i, nostr.Event{Kind: 3, Tags: follows})
		for j := range 4 * (i + 1) {
			w.put(i, nostr.Event{Kind: 7, Content: "+", Tags: nostr.Tags{{"e", w.notes[39-j].ID}, {"p", w.notes[39-j].PubKey}}})
		}
	}
	w.settle()
	return w
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

func (w *town) public(i int) string {
	w.t.Helper()
	key, err := nostr.GetPublicKey(w.keys[i])
	if err != nil {
		w.t.Fatal(err)
	}
	return key
}

func (w *town) put(who int, ev nostr.Event) *nostr.Event {
	w.t.Helper()
	if ev.CreatedAt == 0 {
		ev.CreatedAt = nostr.Now()
	}
	if err := ev.Sign(w.keys[who]); err != nil {
		w.t.Fatal(err)
	}
	if reason, err := publishOne(w.t.Context(), w.core, &ev, nil, admit.Import); reason != "" || err != nil {
		w.t.Fatal(reason, err)
	}
	return &ev
}

// settle waits until the feeds are listed and the tallies are up with the log.
func (w *town) settle() {
	w.t.Helper()
	w.until("the feeds are listed", func() bool { return len(w.page("latest", "").Items) > 0 })
	if err := w.parts.feeds.tally.WaitFor(w.t.Context(), w.store.Head()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *town) until(what string, ok func() bool) {
	w.t.Helper()
	for begun := time.Now(); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Since(begun) > 20*time.Second {
			w.t.Fatalf("not within 20 s: %s", what)
		}
	}
}

type shownPage struct {
	Items []struct {
		Rank  int
		Event *nostr.Event
	}
	Cursor string
	Why    struct{ Feed, Fallback string }
}

func (w *town) page(feed, query string) (p shownPage) {
	w.t.Helper()
	_, body := fetch(w.t, w.at.page+"/v1/feeds/"+feed+query)
	if err := json.Unmarshal([]byte(body), &p); err != nil {
		w.t.Fatalf("%v: %s", err, body)
	}
	return p
}

func (p shownPage) ids() (ids []string) {
	for _, it := range p.Items {
		ids = append(ids, it.Event.ID)
	}
	return ids
}

// feedLine is a websocket to the relay.
type feedLine struct {
	t  testing.TB
	ws *websocket.Conn
}

func (w *town) dial(path string) *feedLine {
	w.t.Helper()
	ws, resp, err := websocket.DefaultDialer.DialContext(w.t.Context(), w.at.relay+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	resp.Body.Close()
	w.t.Cleanup(func() { ws.Close() })
	return &feedLine{w.t, ws}
}

// ask sends a REQ and returns what comes until EOSE or CLOSED, whose last
// element is the third value.
func (l *feedLine) ask(filter string) (events []*nostr.Event, label, last string) {
	l.t.Helper()
	if err := l.ws.WriteMessage(websocket.TextMessage, []byte(`["REQ","s",`+filter+`]`)); err != nil {
		l.t.Fatal(err)
	}
	for {
		var m []json.RawMessage
		_ = l.ws.SetReadDeadline(time.Now().Add(20 * time.Second))
		if err := l.ws.ReadJSON(&m); err != nil {
			l.t.Fatal(err)
		}
		if err := json.Unmarshal(m[0], &label); err != nil {
			l.t.Fatal(err)
		}
		switch label {
		case "EVENT":
			var ev nostr.Event
			if err := json.Unmarshal(m[2], &ev); err != nil {
				l.t.Fatal(err)
			}
			events = append(events, &ev)
		case "EOSE", "CLOSED":
			return events, label, string(m[len(m)-1])
		}
	}
}

func idsIn(events []*nostr.Event) (ids []string) {
	for _, ev := range events {
		ids = append(ids, ev.ID)
	}
	return ids
}

func TestAFeedIsTheSameThroughEveryDoor(t *testing.T) {
	w := newTown(t, nil)
	if got := w.page("latest", "?limit=100").ids(); !slices.Equal(got, idsIn(w.notes)) {
		t.Fatalf("latest has %d notes in another order", len(got))
	}
	hot := w.page("hot", "?limit=100")
	if len(hot.Items) != 40 {
		t.Fatalf("hot has %d notes", len(hot.Items))
	}
	events, label, hint := w.dial("/f/hot").ask(`{"kinds":[1],"limit":100}`)
	if !slices.Equal(idsIn(events), hot.ids()) || label != "EOSE" || hint != `["finish"]` {
		t.Errorf("/f/hot: %d notes, %s %s", len(events), label, hint)
	}
	events, _, _ = w.dial("/").ask(`{"search":"sort:hot protocol:nostr","limit":20}`)
	if !slices.Equal(idsIn(events), hot.ids()[:20]) {
		t.Errorf("sort:hot: %d notes", len(events))
	}
	events, _, _ = w.dial("/f/hot/ranked").ask(`{"kinds":[1,6,16],"limit":100}`)
	var notes []string
	for _, ev := range events {
		notes = append(notes, ev.Tags.Find("e")[1])
	}
	if !slices.Equal(notes, hot.ids()) || !slices.IsSortedFunc(events, func(a, b *nostr.Event) int { return int(b.CreatedAt - a.CreatedAt) }) {
		t.Errorf("/f/hot/ranked: %d reposts", len(events))
	}
	if events, _, _ = w.dial("/").ask(`{"kinds":[6,16]}`); len(events) != 0 {
		t.Errorf("%d reposts of a page are told on the root", len(events))
	}
	if events, _, _ = w.dial("/f/hot/ranked").ask(`{"kinds":[6],"#e":["` + hot.ids()[0] + `"]}`); len(events) != 0 {
		t.Error("a repost of a page counts as a repost")
	}
	events, _, _ = w.dial("/f/hot/time").ask(`{"kinds":[1],"limit":100}`)
	if got := idsIn(events); len(got) != 40 || !slices.Equal(got, idsIn(w.notes)) {
		t.Errorf("/f/hot/time: %d notes", len(got))
	}
	if events, _, _ = w.dial("/f/hot").ask(`{"kinds":[3]}`); len(events) != 5 {
		t.Errorf("%d follow lists behind a feed, which answers as the root does", len(events))
	}
}

func TestMistakesAreClosedAndNothingLiveFollowsAPage(t *testing.T) {
	w := newTown(t, nil)
	for path, filter := range map[string]string{
		"/f/hot": `{"kinds":[1],"limit":1000000000}`, "/f/hot/time": `{"kinds":[1],"limit":0}`, "/f/hot?hours=0": `{"kinds":[1]}`,
		"/": `{"search":"feed:nothing"}`, "/f/hot?pov=" + strings.Repeat("01", 32): `{"kinds":[1]}`,
	} {
		if _, label, text := w.dial(path).ask(filter); label != "CLOSED" || !strings.HasPrefix(text, `"invalid: `) {
			t.Errorf("%s %s: %s %s", path, filter, label, text)
		}
	}
	if _, label, text := w.dial("/f/wot-hot/ranked").ask(`{"kinds":[6]}`); label != "CLOSED" || !strings.HasPrefix(text, `"auth-required: `) {
		t.Errorf("a personal page for nobody: %s %s", label, text)
	}
	if _, resp, err := websocket.DefaultDialer.Dial(w.at.relay+"/f/nothing", nil); err == nil || resp.StatusCode != 404 {
		t.Error("a feed that is not there takes websockets")
	}
	l := w.dial("/f/latest")
	l.ask(`{"kinds":[1]}`)
	w.put(0, nostr.Event{Kind: 1, Content: "late"})
	if events, _, _ := l.ask(`{"kinds":[7],"limit":1}`); len(events) != 1 {
		t.Error("something live followed a page")
	}
}

func TestAJobIsAnsweredByTheKeyItNames(t *testing.T) {
	w := newTown(t, nil)
	hot, _ := w.parts.feeds.market.Listing("hot")
	events, _, _ := w.dial("/").ask(`{"kinds":[31990],"authors":["` + hot.Key + `"]}`)
	if len(events) != 1 || events[0].Tags.Find("k")[1] != "5300" {
		t.Fatalf("%d announcements", len(events))
	}
	job := w.put(0, nostr.Event{Kind: 5300, Tags: nostr.Tags{{"p", hot.Key}, {"param", "max_results", "7"}}})
	begun := time.Now()
	w.until("the answer comes", func() bool {
		events, _, _ = w.dial("/").ask(`{"kinds":[6300,7000],"#e":["` + job.ID + `"]}`)
		return len(events) > 0
	})
	var tags nostr.Tags
	if err := json.Unmarshal([]byte(events[0].Content), &tags); err != nil || events[0].Kind != 6300 || events[0].PubKey != hot.Key || len(tags) != 7 {
		t.Fatalf("%v %v", err, events[0])
	}
	t.Logf("answered within %v", time.Since(begun))
	for i, id := range w.page("hot", "?limit=7").ids() {
		if tags[i][1] != id {
			t.Errorf("result %d is another", i)
		}
	}
}

func TestAStrangersListingIsShownAndItsModelNotRun(t *testing.T) {
	w := newTown(t, nil)
	mine := market.Manifest{Slug: "mine", Name: "Mine", Model: ranker.Sum([]byte("an unheard-of model")), Size: 19, Fallback: w.builtinAddress("latest")}
	ev := w.put(5, *mine.Event(nostr.Now()))
	same := market.Manifest{Slug: "same", Name: "Same as hot"}
	hot, _ := w.parts.feeds.market.Listing("hot")
	same.Model, same.Size, same.Inputs, same.Stages, same.Knobs = hot.Model, hot.Size, hot.Inputs, hot.Stages, hot.Knobs
	w.put(5, *same.Event(nostr.Now()))
	name := fmt.Sprintf("%d:%s:", market.KindManifest, ev.PubKey)
	w.until("both are listed", func() bool { _, ok := w.parts.feeds.market.Listing(name + "same"); return ok })
	l, _ := w.parts.feeds.market.Listing(name + "mine")
	ref := w.parts.feeds.market.Ref(l)
	if page := w.page(ref, "?limit=100"); page.Why.Fallback != "not admitted" || page.Why.Feed != "latest" || !slices.Equal(page.ids(), idsIn(w.notes)) {
		t.Errorf("%+v, %d notes", page.Why, len(page.Items))
	}
	l, _ = w.parts.feeds.market.Listing(name + "same")
	if page := w.page(w.parts.feeds.market.Ref(l), "?limit=100"); page.Why.Fallback != "" || !slices.Equal(page.ids(), w.page("hot", "?limit=100").ids()) {
		t.Errorf("a stranger's listing of the same model ranks differently: %+v", page.Why)
	}
	if resp, body := fetch(t, w.at.page+"/v1/models/"+hot.Model.String()); resp.StatusCode != 200 || ranker.Sum([]byte(body)) != hot.Model {
		t.Errorf("the model: %d", resp.StatusCode)
	}
	if resp, _ := fetch(t, w.at.page+"/v1/models/"+mine.Model.String()); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a model that is not here: %d", resp.StatusCode)
	}
	if _, body := fetch(t, w.at.page+"/v1/rankers"); !strings.Contains(body, `"status":"not admitted"`) {
		t.Error("the stranger's listing is not shown")
	}
	w.put(5, nostr.Event{Kind: 5, Tags: nostr.Tags{{"a", name + "mine"}}})
	w.until("it is gone", func() bool { _, ok := w.parts.feeds.market.Listing(name + "mine"); return !ok })
}

func TestAnAuthorHearsThatAManifestIsNone(t *testing.T) {
	s, _ := startServer(t, nil)
	bad := market.Manifest{Slug: "Not A Slug", Name: "x"}
	for m, want := range map[*market.Manifest]bool{&bad: false, {Slug: "fine", Name: "Fine"}: true} {
		ev := m.Event(nostr.Now())
		if err := ev.Sign(nostr.GeneratePrivateKey()); err != nil {
			t.Fatal(err)
		}
		reply, err := s.relay.Publish(t.Context(), ev, nil, admit.Peer{Origin: admit.Socket})
		if err != nil || reply.OK != want || !want && !strings.HasPrefix(reply.Reason, `invalid: this is no listing of a ranker: the slug "Not A Slug"`) {
			t.Errorf("%s: %v %q %v", m.Slug, reply.OK, reply.Reason, err)
		}
	}
}

func (w *town) builtinAddress(slug string) string {
	l, _ := w.parts.feeds.market.Listing(slug)
	return l.Address
}

func TestMutedDeletedAndOptedOutNotesAreOnNoPage(t *testing.T) {
	w := newTown(t, nil)
	w.put(0, nostr.Event{Kind: 10000, Tags: nostr.Tags{{"p", w.public(1)}}})
	out := w.put(2, nostr.Event{Kind: 30078, Tags: nostr.Tags{{"d", "agora-feeds-optout"}}})
	w.put(3, nostr.Event{Kind: 5, Tags: nostr.Tags{{"e", w.notes[3].ID}}})
	shows := func(path, author, id string) bool {
		events, _, _ := w.dial(path).ask(`{"limit":100}`)
		return slices.ContainsFunc(events, func(ev *nostr.Event) bool {
			return strings.Contains(ev.Content+ev.ID, id) && (author == "" || strings.Contains(ev.Content+ev.PubKey, author))
		})
	}
	for _, path := range []string{"/f/hot", "/f/latest/time", "/f/hot/ranked"} {
		w.until("opted out on "+path, func() bool { return !shows(path, w.public(2), "") })
		w.until("deleted on "+path, func() bool { return !shows(path, "", w.notes[3].ID) })
		if !shows(path, w.public(1), "") {
			t.Errorf("%s: muted for everybody", path)
		}
	}
	w.until("muted", func() bool { return !shows("/f/hot?pov="+w.public(0), w.public(1), "") })
	w.put(2, nostr.Event{Kind: 5, CreatedAt: out.CreatedAt + 1, Tags: nostr.Tags{{"e", out.ID}}})
	w.until("back", func() bool { return shows("/f/hot", w.public(2), "") })
}

func TestTheDocumentBehindAFeedIsItsOwn(t *testing.T) {
	for _, compat := range []bool{false, true} {
		w := newTown(t, func(cfg *Config) { cfg.FeedsCompat = compat })
		hot, _ := w.parts.feeds.market.Listing("hot")
		req, err := http.NewRequestWithContext(t.Context(), "GET", w.at.page+"/f/hot", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "application/nostr+json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var doc struct {
			Name, Self, Software, Description string
			NIPs                              []int `json:"supported_nips"`
		}
		if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
			t.Fatal(err)
		}
		pretends := doc.Software == "https://github.com/bitvora/algo-relay"
		if doc.Name != "Hot" || doc.Self != hot.Key || pretends != compat || !slices.Contains(doc.NIPs, 67) || compat && !strings.Contains(doc.Description, "Agora") {
			t.Errorf("compat %v: %+v", compat, doc)
		}
	}
}

func TestAFeedIsThereFromTheFirstMoment(t *testing.T) {
	s, _ := startServer(t, nil)
	for _, path := range []string{"/v1/feeds/latest", "/v1/rankers/latest"} {
		if resp, body := fetch(t, s.at.page+path); resp.StatusCode != 200 {
			t.Errorf("%s right after the start: %s %s", path, resp.Status, body)
		}
	}
}

func TestABrowserAtAFeedsAddressIsShownTheFeed(t *testing.T) {
	s, _ := startServer(t, nil)
	door := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for path, want := range map[string]string{
		"/f/latest":                       "/?feed=latest",
		"/f/hot/ranked?hours=48&pov=npub": "/?feed=hot&knob.hours=48&viewer=npub",
		"/f/gone":                         "",
	} {
		resp, err := door.Get(s.at.page + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("Location"); got != want || (want == "") != (resp.StatusCode == 404) {
			t.Errorf("%s: %s to %q", path, resp.Status, got)
		}
	}
}

func TestARestartListsNothingTwiceAndKeepsTheKeys(t *testing.T) {
	dir := t.TempDir()
	var first, again []string
	var before, after uint64
	t.Run("first", func(t *testing.T) { first, before = listingKeys(t, dir) })
	t.Run("again", func(t *testing.T) { again, after = listingKeys(t, dir) })
	if !slices.Equal(first, again) || before != after {
		t.Errorf("%d changes of the log, then %d", before, after)
	}
}

// listingKeys serves until every feed is announced.
func listingKeys(t *testing.T, dir string) (keys []string, head uint64) {
	t.Helper()
	s, _ := startServer(t, func(cfg *Config) { cfg.Data, cfg.PublicURLs = dir, []string{"wss://relay.example"} })
	w := &town{server: s, t: t}
	w.until("the feeds are announced", func() bool {
		list, _, _ := w.dial("/").ask(`{"kinds":[31890]}`)
		return len(list) == len(s.parts.feeds.market.Listings()) && len(list) > 0
	})
	for _, l := range s.parts.feeds.market.Listings() {
		keys = append(keys, l.Key)
	}
	return keys, uint64(s.store.Head())
}

func TestJobsAreAnsweredOnOtherRelaysToo(t *testing.T) {
	far, _ := startServer(t, func(cfg *Config) { cfg.Feeds = false })
	w := newTown(t, func(cfg *Config) { cfg.DVMRelays, cfg.AllowPrivate = []string{far.at.relay}, []string{"127.0.0.0/8"} })
	there := &town{server: far, t: t, keys: w.keys}
	hot, _ := w.parts.feeds.market.Listing("hot")
	there.until("the feeds are announced", func() bool {
		list, _, _ := there.dial("/").ask(`{"kinds":[31990],"authors":["` + hot.Key + `"]}`)
		return len(list) == 1
	})
	job := there.put(0, nostr.Event{Kind: 5300, Tags: nostr.Tags{{"p", hot.Key}}})
	there.until("the answer comes", func() bool {
		list, _, _ := there.dial("/").ask(`{"kinds":[6300],"#e":["` + job.ID + `"],"authors":["` + hot.Key + `"]}`)
		return len(list) == 1
	})
}
