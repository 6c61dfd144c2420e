package market

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"agora/ranker"
	"agora/ranker/feature"

	"github.com/btcsuite/btcd/btcutil/bech32"
	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"
)

type noEvents struct{ list []*nostr.Event }

func (n noEvents) Query(_ context.Context, f ...nostr.Filter) iter.Seq2[*nostr.Event, error] {
	return func(yield func(*nostr.Event, error) bool) {
		for i, ev := range n.list {
			if len(f) == 1 && f[0].Limit > 0 && i == f[0].Limit || !yield(ev, nil) {
				return
			}
		}
	}
}

func secret(n int) string { return fmt.Sprintf("%064x", 0x2000+n) }

func public(t testing.TB, n int) string {
	t.Helper()
	key, err := nostr.GetPublicKey(secret(n))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func signed(t testing.TB, n int, ev *nostr.Event) *nostr.Event {
	t.Helper()
	if err := ev.Sign(secret(n)); err != nil {
		t.Fatal(err)
	}
	return ev
}

var model = []byte("a model")

func open(t testing.TB, events ...*nostr.Event) *Market {
	t.Helper()
	m, err := New(Config{
		Events: noEvents{events}, Models: map[ranker.Digest][]byte{ranker.Sum(model): model}, Authors: []string{public(t, 1)},
		Derive: func(address string) ([32]byte, error) { return sha256.Sum256([]byte(address)), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return m
}

func full() Manifest {
	return Manifest{
		Slug: "hot-24h", Name: "Hot", About: "What is hot.\nNow.", Picture: "https://a.example/p.png", Model: ranker.Sum(model), Size: int64(len(model)),
		Inputs: []string{"note.age_hours", "author.trust"}, Stages: []string{"from-recent", "dpp theta=0.65 first=150"}, Fallback: "latest",
		Knobs: []Knob{{"gravity", 0, 3.5, 1.25, "1", "how fast"}, {"hours", 1, 168, 24, "h", ""}}, Personalized: true, Privacy: feature.Viewer,
		License: "MIT", Prev: ranker.Sum([]byte("before")),
	}
}

func TestAManifestIsReadAsItWasWritten(t *testing.T) {
	for _, want := range []Manifest{full(), {Slug: "x", Name: "X"}} {
		got, err := ParseManifest(signed(t, 1, want.Event(5)))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%v\ngot  %+v\nwant %+v", err, got, want)
		}
	}
}

func TestAManifestWithAMistakeIsRefused(t *testing.T) {
	for name, spoil := range map[string]func(*nostr.Event){
		"another kind":       func(ev *nostr.Event) { ev.Kind = 31990 },
		"no slug":            func(ev *nostr.Event) { ev.Tags[0][1] = "" },
		"a slug with a path": func(ev *nostr.Event) { ev.Tags[0][1] = "a/b" },
		"two digests":        func(ev *nostr.Event) { ev.Tags = append(ev.Tags, nostr.Tag{"x", ranker.Digest{1}.String()}) },
		"a short digest":     set("x", "abc"),
		"a digest of none":   set("x", ranker.Digest{}.String()),
		"another type":       set("m", "text/html"),
		"a size of nothing":  set("size", "0"),
		"a size of all":      set("size", "99999999999"),
		"no name":            set("name", ""),
		"a long name":        set("name", strings.Repeat("ä", 101)),
		"a name of escapes":  set("name", "\x1b[31mHot"),
		"a name turned":      set("name", "\u202etoH"),
		"a name not seen":    set("name", "Hot\u200b"),
		"itself as fallback": set("fallback", "hot-24h"),
		"no fallback name":   set("fallback", "../x"),
		"an odd privacy":     set("privacy", "none"),
		"an odd answer":      set("personalized", "yes"),
		"a script picture":   set("picture", "javascript:alert(1)"),
		"a knob twice":       func(ev *nostr.Event) { ev.Tags = append(ev.Tags, nostr.Tag{"knob", "gravity", "0", "1", "0"}) },
		"a knob of doors":    func(ev *nostr.Event) { ev.Tags = append(ev.Tags, nostr.Tag{"knob", "cursor", "0", "1", "0"}) },
		"a knob of NaN":      func(ev *nostr.Event) { ev.Tags = append(ev.Tags, nostr.Tag{"knob", "n", "NaN", "1", "0"}) },
		"a knob upside down": func(ev *nostr.Event) { ev.Tags = append(ev.Tags, nostr.Tag{"knob", "n", "2", "1", "1"}) },
		"a default outside":  func(ev *nostr.Event) { ev.Tags = append(ev.Tags, nostr.Tag{"knob", "n", "0", "1", "2"}) },
		"half a knob":        func(ev *nostr.Event) { ev.Tags = append(ev.Tags, nostr.Tag{"knob", "n", "0"}) },
	} {
		m := full()
		ev := m.Event(5)
		spoil(ev)
		if _, err := ParseManifest(ev); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestANameMayBeOfAnyScript(t *testing.T) {
	for _, name := range []string{"Größe", "熱門", "می\u200cخواهم", "👩\u200d🚀 news", "🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f"} {
		m := full()
		ev := m.Event(5)
		set("name", name)(ev)
		if _, err := ParseManifest(ev); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func set(name, value string) func(*nostr.Event) {
	return func(ev *nostr.Event) { ev.Tags.Find(name)[1] = value }
}

func FuzzParseManifest(f *testing.F) {
	m := full()
	f.Add(m.Event(5).String())
	f.Add(`{"kind":32190,"tags":[["d","x"],["knob","a","1e400","","x"],["x"],[]]}`)
	f.Fuzz(func(t *testing.T, text string) {
		var ev nostr.Event
		if json.Unmarshal([]byte(text), &ev) != nil {
			return
		}
		m, err := ParseManifest(&ev)
		if err != nil {
			return
		}
		again, err := ParseManifest(m.Event(ev.CreatedAt))
		if err != nil || !reflect.DeepEqual(m, again) {
			t.Errorf("%v\n%+v\n%+v", err, m, again)
		}
	})
}

// TestTheListingsAreTheNewestManifests compares the market with a plain model
// under manifests that come in any order and go again.
func TestTheListingsAreTheNewestManifests(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7)) //nolint:gosec // a test's dice
	m := open(t)
	held := map[string]*nostr.Event{} // id -> what the log holds
	for range 600 {
		if len(held) > 0 && r.IntN(3) == 0 {
			id := slices.Sorted(maps.Keys(held))[r.IntN(len(held))]
			delete(held, id)
			m.Drop(id)
		} else {
			one := Manifest{Slug: fmt.Sprintf("s%d", r.IntN(3)), Name: fmt.Sprint(r.IntN(1000))}
			ev := one.Event(nostr.Timestamp(r.IntN(50)))
			if r.IntN(8) == 0 {
				ev.Tags = append(ev.Tags, nostr.Tag{"privacy", "none of your business"}) // cannot be read
			}
			signed(t, 1+r.IntN(3), ev)
			for id, old := range held { // the log keeps one per address
				if old.PubKey == ev.PubKey && old.Tags.GetD() == one.Slug {
					if !newer(ev, old) {
						ev = nil
						break
					}
					delete(held, id)
				}
			}
			if ev == nil {
				continue
			}
			held[ev.ID] = ev
			m.Take(ev)
		}
		var want, got []string
		for _, ev := range held {
			if _, err := ParseManifest(ev); err == nil {
				want = append(want, ev.ID)
			}
		}
		for _, l := range m.Listings() {
			got = append(got, l.Event.ID)
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("%d listings, want %d", len(got), len(want))
		}
	}
}

func TestAListingIsFoundByEachOfItsNames(t *testing.T) {
	ours, theirs, only := full(), full(), full()
	only.Slug = "only"
	m := open(t, signed(t, 1, ours.Event(5)), signed(t, 2, theirs.Event(5)), signed(t, 2, only.Event(5)))
	naddr, err := nip19.EncodeEntity(public(t, 2), KindManifest, "hot-24h", []string{"wss://a.example"})
	if err != nil {
		t.Fatal(err)
	}
	for name, author := range map[string]int{
		"hot-24h": 1, naddr: 2, "nostr:" + naddr: 2, ours.Address(public(t, 1)): 1, only.Address(public(t, 2)): 2,
	} {
		l, ok := m.Listing(name)
		if !ok || l.Author != public(t, author) {
			t.Errorf("%s: %v", name, ok)
			continue
		}
		if again, ok := m.Listing(m.Ref(l)); !ok || again != l {
			t.Errorf("%s is not found by its own name %s", name, m.Ref(l))
		}
		if back, ok := m.ByKey(l.Key); !ok || back != l {
			t.Errorf("%s is not found by its key", name)
		}
	}
	for _, name := range []string{"", "only", "gone", "naddr1xyz", "32190::hot-24h", strings.Repeat("x", 9999)} {
		if _, ok := m.Listing(name); ok {
			t.Errorf("%q names something", name)
		}
	}
}

func TestAnNaddrOfAnyBytesIsReadOrNot(t *testing.T) {
	h := full()
	m := open(t, signed(t, 1, h.Event(5)))
	r := rand.New(rand.NewPCG(3, 3)) //nolint:gosec // a test's dice
	for i := range 3000 {
		data := []byte{0, 1, 'x', 3, byte(r.IntN(5)), 1, 2, 3, 4, 5}[:1+r.IntN(10)]
		if i > 0 {
			data = append(data, byte(r.IntN(4)), byte(r.IntN(40)))
		} else {
			data = []byte{3, 1, 9} // a kind of one byte
		}
		five, err := bech32.ConvertBits(data, 8, 5, true)
		if err != nil {
			t.Fatal(err)
		}
		text, err := bech32.Encode("naddr", five)
		if err != nil {
			t.Fatal(err)
		}
		if l, ok := m.Listing(text); ok {
			t.Errorf("%s is %s", text, l.Slug)
		}
	}
}

func TestOnlyKnownDigestsAreHandedOut(t *testing.T) {
	good, bad, bare := full(), full(), Manifest{Slug: "bare", Name: "Bare"}
	bad.Slug, bad.Model = "bad", ranker.Sum([]byte("evil"))
	m := open(t, signed(t, 2, good.Event(5)), signed(t, 1, bad.Event(5)), signed(t, 1, bare.Event(5)))
	for name, want := range map[string]bool{good.Address(public(t, 2)): true, "bad": false, "bare": true} {
		if l, ok := m.Listing(name); !ok || l.Admitted != want || (m.Show(l).Status == "admitted") != want {
			t.Errorf("%s: listed %v", name, ok)
		}
	}
	if got, err := m.Model(t.Context(), good.Model); err != nil || string(got) != string(model) {
		t.Error(err)
	}
	if _, err := m.Model(t.Context(), bad.Model); ranker.Reason(err) != "admission" {
		t.Errorf("a model that is not admitted: %v", err)
	}
	if _, err := New(Config{Events: noEvents{}, Derive: m.cfg.Derive, Models: map[ranker.Digest][]byte{bad.Model: model}}); err == nil {
		t.Error("a model under another's digest is kept")
	}
}

func TestModelsAreServedByTheirDigest(t *testing.T) {
	h := full()
	m := open(t, signed(t, 1, h.Event(5)))
	get := func(path string, header ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(t.Context(), "GET", path, nil)
		if len(header) > 0 {
			r.Header.Set(header[0], header[1])
		}
		w := httptest.NewRecorder()
		m.Handler().ServeHTTP(w, r)
		return w
	}
	for _, path := range []string{"/v1/models/" + h.Model.String(), "/v1/models/" + h.Model.String() + ".onnx"} {
		if w := get(path); w.Code != 200 || w.Body.String() != string(model) || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if w := get("/v1/models/"+h.Model.String(), "Range", "bytes=2-4"); w.Code != 206 || w.Body.String() != string(model[2:5]) {
		t.Errorf("a range: %d %q", w.Code, w.Body)
	}
	for path, want := range map[string]int{
		"/v1/models/x": 400, "/v1/models/" + strings.Repeat("0", 64): 404, "/v1/rankers/gone": 404, "/v1/rankers/hot-24h": 200, "/v1/rankers": 200, "/v1/other": 404,
	} {
		if w := get(path); w.Code != want || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestStrangersCannotFillTheMarket(t *testing.T) {
	m := open(t)
	m.most = 20
	for i := range m.most + 5 {
		bad := Manifest{Slug: fmt.Sprintf("s%d", i), Name: "x", Model: ranker.Digest{1}, Size: 1}
		ev := bad.Event(5)
		ev.PubKey, ev.ID = public(t, 2), fmt.Sprintf("%064x", i)
		m.Take(ev)
	}
	good := full()
	m.Take(signed(t, 3, good.Event(5)))
	m.Take(signed(t, 1, good.Event(5)))
	if n := len(m.Listings()); n != m.most+1 {
		t.Errorf("%d listings", n)
	}
}
