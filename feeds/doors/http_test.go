package doors

import (
	"bufio"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"agora/feeds"
	"agora/httpapi"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"
)

func get(t *testing.T, d *Doors, target string, header ...string) (int, http.Header, []byte) {
	t.Helper()
	return send(t, d, "GET", target, "", header...)
}

func send(t *testing.T, d *Doors, method, target, body string, header ...string) (int, http.Header, []byte) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	d.Handler().ServeHTTP(w, r)
	return w.Code, w.Header(), w.Body.Bytes()
}

func read[T any](t *testing.T, body []byte) (v T) {
	t.Helper()
	if err := json.Unmarshal(body, &v); err != nil {
		t.Fatalf("%v in %.200s", err, body)
	}
	return v
}

func TestAPageOverHTTPIsThePageAndItsCursorGoesOn(t *testing.T) {
	w := newWorld(t)
	w.crowd(60)
	d := w.open(nil)
	var got []string
	for cursor := ""; ; {
		status, _, body := get(t, d, "/v1/feeds/hot?limit=25&gravity=2&cursor="+cursor)
		page := read[PageJSON](t, body)
		if status != 200 || w.last.Knobs["gravity"] != 2 {
			t.Fatalf("%d %s", status, body)
		}
		for _, it := range page.Items {
			got = append(got, it.Event.ID)
			if it.Rank != len(got) || it.Score != nil || it.Reasons != nil {
				t.Errorf("%+v", it)
			}
		}
		if cursor = page.Cursor; cursor == "" {
			break
		}
	}
	if !slices.Equal(got, w.wanted("hot")) {
		t.Errorf("%d notes", len(got))
	}
	_, _, body := get(t, d, "/v1/feeds/hot?scores=true&reasons=1&limit=1")
	if it := read[PageJSON](t, body).Items[0]; it.Score == nil || len(it.Reasons) != 1 {
		t.Errorf("%s", body)
	}
}

func TestMistakesOverHTTPAreToldWithTheirStatus(t *testing.T) {
	w := newWorld(t)
	w.crowd(10)
	d := w.open(func(c *Config) {
		c.Known = func(key string) bool { return key == public(t, 1) }
		c.Auth = func(*http.Request, []byte) (string, error) { return "", errors.New("the signature does not match") }
	})
	for target, want := range map[string]int{
		"/v1/feeds/gone": 404, "/v1/feeds/hot/pdf": 404, "/v1/else": 404, "/v1/feeds/hot?cursor=rubbish": 400,
		"/v1/feeds/hot?limit=0": 400, "/v1/feeds/hot?limit=1000000000": 400, "/v1/feeds/hot?limit=-1": 400, "/v1/feeds/hot?limit=x": 400, "/v1/feeds/hot?limit=501": 400,
		"/v1/feeds/hot?viewer=me": 400, "/v1/feeds/hot?viewer=" + public(t, 2): 404, "/v1/feeds/hot?viewer=" + strings.Repeat("f", 64): 400,
		"/v1/feeds/hot?gravity=3.1": 400, "/v1/feeds/hot?gravity=-1": 400, "/v1/feeds/hot?gravity=": 400, "/v1/feeds/hot?gravity=1e999": 400, "/v1/feeds/latest?gravity=1": 400,
		"/v1/feeds/hot?unheard=of": 400, "/v1/feeds/hot?limit=1&limit=2": 400, "/v1/feeds/hot?limit=%zz": 400, "/v1/feeds/hot?since=-1": 400, "/v1/feeds/hot?kinds=x": 400,
		"/v1/feeds/hot?authors=x": 400, "/v1/feeds/hot?distinct=note": 400, "/v1/feeds/hot?scores=maybe": 400, "/v1/feeds/hot?reasons=maybe": 400,
		"/v1/why/x": 400, "/v1/why/" + strings.Repeat("0", 64): 404, "/v1/feeds/hot/stream?cursor=3": 400,
		"/v1/feeds/hot?viewer=" + public(t, 1): 200, "/v1/feeds/hot?since=5&until=6&kinds=1,20&authors=" + public(t, 1) + "&distinct=author": 200,
	} {
		status, header, body := get(t, d, target)
		if status != want || header.Get("Content-Type") != "application/json" || want != 200 && read[httpapi.Problem](t, body).Error == "" {
			t.Errorf("%s: %d %s", target, status, body)
		}
	}
	if status, header, _ := get(t, d, "/v1/feeds/hot", "Authorization", "Nostr rubbish"); status != 401 || header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("a bad signature: %d", status)
	}
	w.fail = errors.New("the disk is on fire")
	if status, _, body := get(t, d, "/v1/feeds/hot"); status != 500 || strings.Contains(string(body), "fire") {
		t.Errorf("%d %s: what is our fault is not told", status, body)
	}
}

func TestAnotherMethodIsToldWhichIsServed(t *testing.T) {
	d := newWorld(t).open(nil)
	for target, allow := range map[string]string{
		"POST /v1/feeds/hot": "GET, HEAD, OPTIONS", "DELETE /v1/feeds": "GET, HEAD, OPTIONS", "POST /xrpc/app.bsky.feed.getFeedSkeleton": "GET, HEAD, OPTIONS",
		"GET /xrpc/app.bsky.feed.sendInteractions": "POST, OPTIONS",
	} {
		method, path, _ := strings.Cut(target, " ")
		if status, header, body := send(t, d, method, path, ""); status != 405 || header.Get("Allow") != allow || !strings.Contains(string(body), allow) {
			t.Errorf("%s: %d %q %s", target, status, header.Get("Allow"), body)
		}
	}
	if status, _, _ := send(t, d, "HEAD", "/v1/feeds", ""); status != 200 {
		t.Errorf("HEAD: %d", status)
	}
}

func TestASignedRequestMayUseWhatIsPersonal(t *testing.T) {
	w := newWorld(t)
	w.crowd(3)
	d := w.open(func(c *Config) { c.Auth = func(*http.Request, []byte) (string, error) { return public(t, 1), nil } })
	for target, want := range map[string]feeds.Request{
		"/v1/feeds/near":                           {Viewer: public(t, 1), Signed: true},
		"/v1/feeds/near?viewer=" + public(t, 1):    {Viewer: public(t, 1), Signed: true},
		"/v1/feeds/near?viewer=" + public(t, 2):    {Viewer: public(t, 2)},
		"/v1/feeds/near?viewer=" + npub(t, 2) + "": {Viewer: public(t, 2)},
	} {
		get(t, d, target, "Authorization", "Nostr x")
		if w.last.Viewer != want.Viewer || w.last.Signed != want.Signed {
			t.Errorf("%s: %+v", target, w.last)
		}
	}
	get(t, d, "/v1/feeds/near?viewer="+public(t, 1))
	if w.last.Signed {
		t.Error("a viewer parameter alone counts as a signature")
	}
}

func npub(t *testing.T, n int) string {
	t.Helper()
	text, err := nip19.EncodePublicKey(public(t, n))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestReadersOfRSSAtomAndJSONFeedGetThePageAsPlainText(t *testing.T) {
	w := newWorld(t)
	hostile := `<script>alert(1)</script> & "]]>` + "\x00\x0b\uFFFE end"
	w.add(1, 1, 60, 9, hostile)
	w.add(2, 30023, 90, 8, "long\ntext", nostr.Tag{"title", "A <b>title</b>"})
	w.add(3, 1, 99, 7, "")
	d := w.open(nil)
	_, header, body := get(t, d, "/v1/feeds/hot/rss")
	var channel rss
	if err := xml.Unmarshal(body, &channel); err != nil || len(channel.Channel.Items) != 3 || !strings.HasPrefix(header.Get("Content-Type"), "application/rss+xml") {
		t.Fatalf("%v: %s", err, body)
	}
	if text := channel.Channel.Items[0].Description; strings.Contains(text, "<script") || !strings.Contains(text, "&lt;script&gt;") {
		t.Errorf("a reader would run %s", text)
	}
	if it := channel.Channel.Items[0]; !strings.HasPrefix(it.Link, "https://relay.example/?note=") || !strings.HasPrefix(it.GUID.Text, "nostr:nevent1") {
		t.Errorf("a browser cannot open %+v", it)
	}
	_, header, body = get(t, d, "/v1/feeds/hot/atom?limit=2")
	var atom atomFeed
	if err := xml.Unmarshal(body, &atom); err != nil || len(atom.Entries) != 2 || !strings.HasPrefix(header.Get("Content-Type"), "application/atom+xml") {
		t.Fatalf("%v: %s", err, body)
	}
	if e := atom.Entries[0]; e.Content.Type != "text" || !strings.Contains(e.Content.Text, "<script>") || !strings.HasPrefix(e.ID, "nostr:nevent1") {
		t.Errorf("%+v", e)
	}
	if atom.Entries[1].Title != "A <b>title</b>" {
		t.Errorf("title %q", atom.Entries[1].Title)
	}
	_, header, body = get(t, d, "/v1/feeds/hot/json?limit=2")
	doc := read[JSONFeed](t, body)
	if header.Get("Content-Type") != "application/feed+json" || len(doc.Items) != 2 || doc.Version != "https://jsonfeed.org/version/1.1" || !strings.Contains(doc.Next, "cursor=2") {
		t.Errorf("%s", body)
	}
}

func TestWhyNamesTheFeedsThatCarryANote(t *testing.T) {
	w := newWorld(t)
	w.crowd(5)
	d := w.open(nil)
	id := w.wanted("hot")[1]
	note, err := nip19.EncodeEvent(id, nil, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{id, note, "nostr:" + note} {
		_, _, body := get(t, d, "/v1/why/"+name)
		all := read[struct{ Feeds []Carried }](t, body).Feeds
		if len(all) != 4 || all[1].Feed != "hot" || all[1].Rank != 2 || len(all[1].Reasons) == 0 {
			t.Errorf("%s", body)
		}
	}
	d.OptOuts().Take(&nostr.Event{ID: "x", PubKey: w.find(id).PubKey, Kind: KindOptOut, Tags: nostr.Tags{{"d", optOutName}}})
	_, _, body := get(t, d, "/v1/why/"+id)
	if said := read[struct {
		Out   bool `json:"opted_out"`
		Feeds []Carried
	}](t, body); !said.Out || len(said.Feeds) != 0 {
		t.Errorf("%s", body)
	}
}

func TestAStreamSendsThePageAndIsBounded(t *testing.T) {
	w := newWorld(t)
	w.crowd(5)
	d := w.open(nil)
	server := httptest.NewServer(d.Handler())
	defer server.Close()
	req, err := http.NewRequestWithContext(t.Context(), "GET", server.URL+"/v1/feeds/hot/stream?limit=3", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in := bufio.NewScanner(resp.Body)
	in.Buffer(nil, 1<<20)
	var lines []string
	for len(lines) < 3 && in.Scan() {
		lines = append(lines, in.Text())
	}
	page := read[PageJSON](t, []byte(strings.TrimPrefix(lines[2], "data: ")))
	if lines[0] != "event: page" || len(page.Items) != 3 || resp.Header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("%q", lines)
	}
	for range mostStreams - 1 {
		d.streams <- struct{}{}
	}
	if status, _, _ := get(t, d, "/v1/feeds/hot/stream"); status != http.StatusServiceUnavailable {
		t.Errorf("one stream too many: %d", status)
	}
}

func TestBlueskysMethodsAnswerAsTheirLexiconsSay(t *testing.T) {
	w := newWorld(t)
	w.crowd(30)
	top := w.add(1, 1, 5, 99, "bridged", nostr.Tag{"proxy", "at://did:plc:abc/app.bsky.feed.post/3k", "atproto"})
	w.add(1, 1, 5, 98, "lies", nostr.Tag{"proxy", "javascript:alert(1)", "atproto"})
	d := w.open(nil)
	_, _, body := get(t, d, "/xrpc/app.bsky.feed.describeFeedGenerator")
	about := read[struct {
		DID   string
		Feeds []struct{ URI string }
	}](t, body)
	if about.DID != "did:web:relay.example" || len(about.Feeds) != 4 || about.Feeds[1].URI != "at://did:web:relay.example/app.bsky.feed.generator/hot" {
		t.Errorf("%s", body)
	}
	feed := "/xrpc/app.bsky.feed.getFeedSkeleton?feed=" + about.Feeds[1].URI
	var got []string
	for cursor := ""; ; {
		_, _, body := get(t, d, feed+"&limit=10&cursor="+cursor)
		page := read[skeleton](t, body)
		for _, it := range page.Feed {
			got = append(got, it.Post)
			if !atForm.MatchString(it.Post) || len(it.Context) > 2000 {
				t.Errorf("%+v", it)
			}
		}
		if cursor = page.Cursor; cursor == "" {
			break
		}
	}
	if len(got) != 32 || got[0] != "at://did:plc:abc/app.bsky.feed.post/3k" || top.ID != w.wanted("hot")[0] {
		t.Errorf("%d posts, first %s", len(got), got[0])
	}
	for target, name := range map[string]string{
		"/xrpc/app.bsky.feed.getFeedSkeleton":                                                  "InvalidRequest",
		"/xrpc/app.bsky.feed.getFeedSkeleton?feed=at://did:web:x/app.bsky.feed.generator/gone": "UnknownFeed",
		"/xrpc/app.bsky.feed.getFeedSkeleton?feed=at://did:web:x/app.bsky.feed.post/hot":       "UnknownFeed",
		feed + "&limit=0": "InvalidRequest", feed + "&limit=101": "InvalidRequest", feed + "&cursor=rubbish": "InvalidRequest", feed + "&limit=x": "InvalidRequest",
	} {
		if status, _, body := get(t, d, target); status != 400 || read[xrpcError](t, body).Error != name {
			t.Errorf("%s: %d %s", target, status, body)
		}
	}
	if status, _, body := get(t, d, "/xrpc/app.bsky.feed.getTimeline"); status != 501 || read[xrpcError](t, body).Error != "MethodNotImplemented" {
		t.Errorf("%d %s", status, body)
	}
	for body, want := range map[string]int{
		`{"interactions":[{"item":"at://a/b/c","event":"app.bsky.feed.defs#requestLess","feedContext":"x"}]}`: 200,
		`{"interactions":[]}`: 200, `{"interactions":[{"event":"app.bsky.feed.defs#explode"}]}`: 400, `{}`: 400, `rubbish`: 400,
		`{"interactions":[{"reqId":"` + strings.Repeat("x", 101) + `"}]}`: 400,
	} {
		if status, _, said := send(t, d, "POST", "/xrpc/app.bsky.feed.sendInteractions", body); status != want {
			t.Errorf("%s: %d %s", body, status, said)
		}
	}
}

// TestOpenAPIDescribesWhatIsServed compares the document with the addresses of
// feeds, and each answer with its schema. cmd/agora compares it with all others.
func TestOpenAPIDescribesWhatIsServed(t *testing.T) {
	w := newWorld(t)
	w.crowd(20)
	d := w.open(nil)
	_, _, body := get(t, d, "/openapi.json")
	doc := read[map[string]any](t, body)
	if doc["openapi"] != "3.1.0" {
		t.Errorf("version %v", doc["openapi"])
	}
	for pattern := range d.routes() {
		if method, path, _ := strings.Cut(pattern, " "); dig(doc, "paths", path, strings.ToLower(method)) == nil {
			t.Errorf("%s is not described", pattern)
		}
	}
	id := w.wanted("hot")[0]
	for path, target := range map[string]string{
		"/v1/feeds": "/v1/feeds", "/v1/feeds/{name}": "/v1/feeds/hot?scores=1&reasons=1&limit=5&viewer=" + public(t, 1), "/v1/feeds/{name}/json": "/v1/feeds/hot/json?limit=5",
		"/v1/why/{event}": "/v1/why/" + id, "/openapi.json": "/openapi.json", "/.well-known/did.json": "/.well-known/did.json",
		"/xrpc/app.bsky.feed.describeFeedGenerator": "/xrpc/app.bsky.feed.describeFeedGenerator", "/xrpc/app.bsky.feed.getFeedSkeleton": "/xrpc/app.bsky.feed.getFeedSkeleton?feed=hot&limit=3",
		"/v1/feeds/{name} 404": "/v1/feeds/gone", "/v1/feeds/{name} 400": "/v1/feeds/hot?limit=0", "/xrpc/app.bsky.feed.getFeedSkeleton 400": "/xrpc/app.bsky.feed.getFeedSkeleton?feed=gone",
		"/v1/rankers": "/v1/rankers", "/v1/rankers/{name}": "/v1/rankers/hot",
	} {
		r := httptest.NewRequestWithContext(t.Context(), "GET", target, nil)
		rec := httptest.NewRecorder()
		if strings.HasPrefix(path, "/v1/rankers") {
			d.cfg.Market.Handler().ServeHTTP(rec, r)
		} else {
			d.Handler().ServeHTTP(rec, r)
		}
		path, status, ok := strings.Cut(path, " ")
		if !ok {
			status = "200"
		}
		kind, _, _ := strings.Cut(rec.Header().Get("Content-Type"), ";")
		schema := dig(doc, "paths", path, "get", "responses", status, "content", kind, "schema")
		if schema == nil || fmt.Sprint(rec.Code) != status {
			t.Errorf("%s: %d of type %s is not described", target, rec.Code, kind)
			continue
		}
		for _, fault := range faults(doc, schema, read[any](t, rec.Body.Bytes()), target) {
			t.Error(fault)
		}
	}
}

func dig(v any, path ...string) any {
	for _, key := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[key]
	}
	return v
}

// faults holds a value to a schema, as far as our document uses JSON Schema.
func faults(doc map[string]any, schema, v any, at string) (out []string) {
	s := schema.(map[string]any)
	if ref, ok := s["$ref"].(string); ok {
		return faults(doc, dig(doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...), v, at)
	}
	if list, ok := s["enum"].([]any); ok && !slices.Contains(list, v) {
		out = append(out, fmt.Sprintf("%s is %v, none of %v", at, v, list))
	}
	switch s["type"] {
	case "object":
		m, ok := v.(map[string]any)
		if !ok {
			return append(out, fmt.Sprintf("%s is %T", at, v))
		}
		return append(out, objectFaults(doc, s, m, at)...)
	case "array":
		list, ok := v.([]any)
		if !ok {
			return append(out, fmt.Sprintf("%s is %T", at, v))
		}
		for i, each := range list {
			out = append(out, faults(doc, s["items"], each, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case "string":
		text, ok := v.(string)
		if form, has := s["pattern"].(string); !ok || has && !regexp.MustCompile(form).MatchString(text) {
			out = append(out, fmt.Sprintf("%s is %v", at, v))
		}
	case "integer", "number":
		n, ok := v.(float64)
		if !ok || s["type"] == "integer" && n != math.Trunc(n) {
			out = append(out, fmt.Sprintf("%s is %v", at, v))
		}
	case "boolean":
		if _, ok := v.(bool); !ok {
			out = append(out, fmt.Sprintf("%s is %v", at, v))
		}
	}
	return out
}

func objectFaults(doc, s, m map[string]any, at string) (out []string) {
	known, _ := s["properties"].(map[string]any)
	required, _ := s["required"].([]any)
	for _, name := range required {
		if _, ok := m[name.(string)]; !ok {
			out = append(out, fmt.Sprintf("%s has no %v", at, name))
		}
	}
	for name, each := range m {
		schema, ok := known[name]
		if more, is := s["additionalProperties"].(map[string]any); !ok && is {
			schema, ok = more, true
		}
		if ok {
			out = append(out, faults(doc, schema, each, at+"."+name)...)
		} else if s["additionalProperties"] == false {
			out = append(out, fmt.Sprintf("%s.%s is not described", at, name))
		}
	}
	return out
}

func TestAPageThatWaitsTooLongIsABusyRelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.crowd(3)
		d := w.open(nil)
		for range cap(d.slots) {
			d.slots <- struct{}{}
		}
		if status, _, body := get(t, d, "/v1/feeds/hot"); status != http.StatusServiceUnavailable || w.calls != 0 {
			t.Errorf("%d %s", status, body)
		}
		<-d.slots
		if status, _, _ := get(t, d, "/v1/feeds/hot"); status != 200 || len(d.slots) != cap(d.slots)-1 {
			t.Errorf("%d, %d pages are still being made", status, len(d.slots))
		}
	})
}

func TestPreflightsAreAnswered(t *testing.T) {
	d := newWorld(t).open(nil)
	status, header, body := send(t, d, "OPTIONS", "/v1/feeds/hot", "")
	if status != 204 || header.Get("Access-Control-Allow-Headers") == "" || len(body) != 0 {
		t.Errorf("%d %v", status, header)
	}
}
