package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"agora/personhood/poll"
	"agora/relay/admit"

	"github.com/nbd-wtf/go-nostr"
)

func (v *village) post(body, key string, status int) postedAnswer {
	v.t.Helper()
	got, said := do(v.t, signed(v.t, http.MethodPost, v.s.at.page+"/v1/polls", []byte(body), key))
	if got != status {
		v.t.Fatalf("POST %.80s: %d %s, want %d", body, got, said, status)
	}
	var a postedAnswer
	if err := json.Unmarshal([]byte(said), &a); err != nil {
		v.t.Fatal(err)
	}
	return a
}

func TestAPollIsTakenOverHTTP(t *testing.T) {
	v := newVillage(t, 2)
	key := nostr.GeneratePrivateKey()
	creator, _ := nostr.GetPublicKey(key)
	described := fmt.Sprintf(`{"question":"Where?","options":[{"id":"a","label":"A"},{"id":"b","label":"B"}],"method":"ranked","group":%q,"ends_at":%d}`,
		v.snapshot.Group, nostr.Now()+3600)
	v.post(described, "", 401)
	a := v.post(described, key, 201)
	p, err := poll.Parse(&a.Event)
	if err != nil || p.Host != v.s.parts.polls.self || p.Root != v.snapshot.Root || p.Method != poll.Ranked || !strings.Contains(a.Event.String(), `["p","`+creator+`"]`) {
		t.Errorf("%+v %v", a.Event, err)
	}
	if again := v.post(described, key, 201); again.Event.PubKey != a.Event.PubKey {
		t.Error("one creator has two keys")
	}
	ev := nostr.Event{Kind: poll.KindPoll, CreatedAt: nostr.Now(), Content: "signed", Tags: nostr.Tags{{"option", "y", "yes"}}}
	if err := ev.Sign(key); err != nil {
		t.Fatal(err)
	}
	v.post(ev.String(), "", 201)
	v.post(`{"event":`+ev.String()+`}`, "", 201)
	v.post(`{"event":`+ev.String()+`,"webhook":"http://example.org/"}`, "", 401)
	v.post(`{"event":`+ev.String()+`,"webhook":"http://example.org/"}`, key, 400) // it has no end
	forged := ev
	forged.Content = "forged"
	v.post(forged.String(), "", 422)
	for _, bad := range []string{``, `{`, `[]`, `{"question":"x"}`, `{"colour":1}`, `{"options":[{"id":"a"}],"method":"lottery"}`, `{"options":[{"id":"a"}],"hidden":true}`,
		`{"options":[{"id":"a"}],"ends_at":5}`, `{"options":[{"id":"a"}],"group":"town"}`} {
		v.post(bad, key, 400)
	}
	v.post(`{"options":[{"id":"a"}],"group":"32191:`+strings.Repeat("1", 64)+`:x"}`, key, 422)
	v.post(`{"options":[{"id":"a"}],"group":"`+v.snapshot.Group.String()+`","root":"`+strings.Repeat("0", 64)+`"}`, key, 422) // never published
	for range postsEach {
		do(t, signed(t, http.MethodPost, v.s.at.page+"/v1/polls", []byte("{"), ""))
	}
	v.post(described, key, 429)
}

// What no socket takes must not come in by this door, nor be signed by the
// relay: other relays would refuse to hold the poll.
func TestAPollOverHTTPIsReadByTheRulesOfSockets(t *testing.T) {
	v := newVillage(t, 1)
	key := nostr.GeneratePrivateKey()
	ev := nostr.Event{Kind: poll.KindPoll, CreatedAt: nostr.Now(), Content: "a\x00b", Tags: nostr.Tags{{"option", "y", "yes"}}}
	if err := ev.Sign(key); err != nil {
		t.Fatal(err)
	}
	good := ev
	good.Content = "fine"
	if err := good.Sign(key); err != nil {
		t.Fatal(err)
	}
	for name, body := range map[string]string{
		"NUL in a description": `{"question":"a\u0000b","options":[{"id":"a"}]}`,
		"NUL in a label":       `{"options":[{"id":"a","label":"\u0000"}]}`,
		"NUL in an event":      ev.String(),
		"NUL in a wrapped one": `{"event":` + ev.String() + `}`,
		"a key twice":          strings.Replace(good.String(), "{", `{"content":"fine",`, 1),
		"something after it":   `{"options":[{"id":"a"}]} {}`,
		"a root of no group":   `{"options":[{"id":"a"}],"root":"` + strings.Repeat("0", 64) + `"}`,
	} {
		t.Run(name, func(*testing.T) { v.post(body, key, 400) })
	}
	v.post(good.String(), "", 201)
}

func TestAHiddenTallyIsShownOnceThePollIsClosed(t *testing.T) {
	v := newVillage(t, 1)
	now := nostr.Now()
	of := v.ask(now-100, now-2000, nostr.Tag{"tally", "hidden"})
	v.send(v.vote(0, of, now-1500, "t"), admit.Import, "")
	for _, path := range []string{"/tally", "/stream"} {
		resp, body := fetch(t, v.s.at.page+"/v1/polls/"+of.ID+path)
		if resp.StatusCode != 403 || !strings.Contains(body, "Ballots are public events") {
			t.Errorf("%s: %s %s", path, resp.Status, body)
		}
	}
	var page pollAnswer
	v.read("/v1/polls/"+of.ID, 200, &page)
	if !page.Hidden || !strings.Contains(page.Notice, "public events") || page.Turnout.People != 1 || page.Group.Eligible != 1 || !page.Group.Small {
		t.Errorf("%+v", page)
	}
	closeNow(t, v, of)
	v.read("/v1/polls/"+of.ID+"/tally", 200, nil)
}

func TestTheRunningTallyIsToldAsItChanges(t *testing.T) {
	v := newVillage(t, 2)
	now := nostr.Now()
	of := v.ask(0, now-100)
	resp, err := http.DefaultClient.Do(signed(t, http.MethodGet, v.s.at.page+"/v1/polls/"+of.ID+"/stream", nil, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	in := bufio.NewScanner(resp.Body)
	in.Buffer(nil, 1<<20)
	next := func() (a tallyAnswer) {
		for in.Scan() {
			if data, ok := strings.CutPrefix(in.Text(), "data: "); ok {
				if err := json.Unmarshal([]byte(data), &a); err != nil {
					t.Fatal(err)
				}
				return a
			}
		}
		t.Fatalf("the stream ends: %v", in.Err())
		return a
	}
	if a := next(); a.Count != 0 || a.State != poll.Open {
		t.Errorf("%+v", a)
	}
	v.send(v.vote(0, of, now-50, "t"), admit.Socket, "")
	if a := next(); a.Count != 1 || a.People.Options[0].Ballots != 1 {
		t.Errorf("%+v", a)
	}
	v.send(plain(t, of, now-50, "c"), admit.Socket, "")
	if a := next(); a.Count != 1 || a.Keys.Ballots != 1 {
		t.Errorf("%+v", a)
	}
}

func TestAWebhookIsToldAndAskedAgainUntilItAnswers(t *testing.T) {
	v := newVillage(t, 1)
	p := v.s.parts.polls
	answers := []int{500, 204}
	var bodies []hookBody
	hookServer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		auth, err := admit.NewHTTPAuth([]string{"http://" + r.Host})
		if err != nil {
			t.Error(err)
			return
		}
		if by, err := auth.Check(r, body); err != nil || by != p.self {
			t.Errorf("signed by %s: %v", by, err)
		}
		var b hookBody
		if err := json.Unmarshal(body, &b); err != nil {
			t.Error(err)
		}
		bodies = append(bodies, b)
		w.WriteHeader(answers[len(bodies)-1])
	}))
	defer hookServer.Close()
	now := nostr.Now()
	of := v.ask(now-100, now-2000)
	v.send(v.vote(0, of, now-1500, "t"), admit.Import, "")
	one := hook{Poll: of.ID, URL: hookServer.URL + "/told?x=1", By: p.self}
	if err := p.hooks.add(t.Context(), one); err != nil {
		t.Fatal(err)
	}
	p.hooks.deliver(t.Context(), p) // not closed yet
	closeNow(t, v, of)
	p.hooks.deliver(t.Context(), p) // loopback is nobody's webhook
	if left := p.hooks.wait[of.ID]; len(bodies) != 0 || left.Tries == 0 || !left.Next.After(time.Now()) {
		t.Fatalf("a private address was told %d times, %+v", len(bodies), left)
	}
	allowed, err := openHooks(withPrivate(v.s.core), p.self) // what a restart reads
	if err != nil {
		t.Fatal(err)
	}
	for want := 2; want > 0; want-- {
		one = allowed.wait[of.ID]
		if one.Poll == "" {
			t.Fatalf("forgotten with %d tries to go", want)
		}
		allowed.later(one, time.Now().Add(-time.Second))
		allowed.deliver(t.Context(), p)
	}
	if len(bodies) != 2 || bodies[1].Type != "poll.closed" || bodies[1].Tally.People.Options[0].Ballots != 1 || !bodies[1].Certificate.CheckID() {
		t.Errorf("%+v", bodies)
	}
	if keys, err := v.s.store.MetaKeys(hookPrefix); err != nil || len(keys) != 0 {
		t.Errorf("%v is kept, %v", keys, err)
	}
}

// withPrivate is a core that may dial this machine.
func withPrivate(c *core) *core {
	out := *c
	out.cfg.AllowPrivate = []string{"127.0.0.0/8"}
	return &out
}

func TestWebhooksAreBounded(t *testing.T) {
	v := newVillage(t, 1)
	h := v.s.parts.polls.hooks
	for _, bad := range []string{"", "ftp://x/", "http://", "http://u:p@x/", "https://x/" + strings.Repeat("a", 600), "javascript:alert(1)"} {
		if h.fits(bad, "k") == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	for i := range mostHooksEach {
		if err := h.add(t.Context(), hook{Poll: fmt.Sprint(i), URL: "http://x/", By: "k"}); err != nil {
			t.Fatal(err)
		}
	}
	if h.fits("http://x/", "k") == nil {
		t.Error("one key may have any number")
	}
	if err := h.fits("http://x/", "other"); err != nil {
		t.Error(err)
	}
}

func TestPollAddressesAreDescribedAndAnswerAsDescribed(t *testing.T) {
	v := newVillage(t, 1)
	now := nostr.Now()
	of := v.ask(now+3600, now-100, nostr.Tag{"polltype", "multiplechoice"}, nostr.Tag{"method", "ranked"})
	v.send(v.vote(0, of, now-50, "t", "c"), admit.Socket, "")
	keys := nostr.Event{Kind: poll.KindPoll, CreatedAt: now, Tags: nostr.Tags{{"option", "y"}}}
	if err := keys.Sign(nostr.GeneratePrivateKey()); err != nil {
		t.Fatal(err)
	}
	v.send(&keys, admit.Socket, "")
	broken := put(t, v.s, nostr.Event{Kind: poll.KindPoll})
	var doc map[string]any
	v.read("/openapi.json", 200, &doc)
	for pattern := range v.s.parts.polls.routes() {
		method, path, _ := strings.Cut(pattern, " ")
		if at(doc, "paths", path, strings.ToLower(method)) == nil {
			t.Errorf("%s is not described", pattern)
		}
	}
	for path, status := range map[string]string{
		"/v1/polls/" + of.ID: "200", "/v1/polls/" + of.ID + "/tally": "200", "/v1/polls/" + keys.ID + "/tally": "200", "/v1/polls/" + keys.ID: "200",
		"/v1/polls/xyz": "400", "/v1/polls/" + strings.Repeat("0", 64) + "/tally": "404", "/v1/polls/" + broken.ID: "422",
	} {
		resp, body := fetch(t, v.s.at.page+path)
		var answer any
		if err := json.Unmarshal([]byte(body), &answer); err != nil || fmt.Sprint(resp.StatusCode) != status {
			t.Errorf("%s: %s %s", path, resp.Status, body)
			continue
		}
		described := "/v1/polls/{id}"
		if strings.HasSuffix(path, "/tally") {
			described += "/tally"
		}
		schema := at(doc, "paths", described, "get", "responses", status, "content", "application/json", "schema")
		for _, fault := range misfits(doc, schema, answer, path) {
			t.Error(fault)
		}
	}
	resp, body := fetch(t, v.s.at.page+"/v1/polls/"+of.ID+"/ballots.jsonl")
	if resp.Header.Get("Content-Type") != "application/jsonl" || strings.Count(body, "\n") != 4 {
		t.Errorf("ballots.jsonl: %s\n%s", resp.Header, body)
	}
}

func TestAddressesAreDescribedWhereNoFeedsAre(t *testing.T) {
	s, _ := startServer(t, func(c *Config) { c.Feeds = false })
	var doc map[string]any
	resp, body := fetch(t, s.at.page+"/openapi.json")
	if err := json.Unmarshal([]byte(body), &doc); resp.StatusCode != 200 || err != nil || at(doc, "paths", "/v1/polls/{id}/tally") == nil {
		t.Errorf("%s %v", resp.Status, err)
	}
}

func at(doc any, path ...string) any {
	for _, name := range path {
		m, _ := doc.(map[string]any)
		doc = m[name]
	}
	return doc
}

// misfits holds a value to the part of JSON Schema that our document uses.
func misfits(doc map[string]any, schema, v any, where string) (faults []string) {
	s, _ := schema.(map[string]any)
	if s == nil {
		return []string{where + " is not described"}
	}
	if name, ok := s["$ref"].(string); ok {
		return misfits(doc, at(doc, strings.Split(strings.TrimPrefix(name, "#/"), "/")...), v, where)
	}
	if enum, ok := s["enum"].([]any); ok && !slices.Contains(enum, v) {
		return []string{fmt.Sprintf("%s is %v, none of %v", where, v, enum)}
	}
	if p, ok := s["pattern"].(string); ok && !regexp.MustCompile(p).MatchString(fmt.Sprint(v)) {
		return []string{fmt.Sprintf("%s is %v, want %s", where, v, p)}
	}
	types := map[string]bool{}
	switch x := v.(type) {
	case map[string]any:
		types["object"] = true
		props, _ := s["properties"].(map[string]any)
		for name, inner := range x {
			faults = append(faults, misfits(doc, props[name], inner, where+"."+name)...)
		}
		required, _ := s["required"].([]any)
		for _, name := range required {
			if _, ok := x[name.(string)]; !ok {
				faults = append(faults, fmt.Sprintf("%s lacks %s", where, name))
			}
		}
	case []any:
		types["array"] = true
		for _, inner := range x {
			faults = append(faults, misfits(doc, s["items"], inner, where+"[]")...)
		}
	case string:
		types["string"] = true
	case bool:
		types["boolean"] = true
	case float64:
		types["number"], types["integer"] = true, x == float64(int64(x))
	}
	if want, ok := s["type"].(string); ok && !types[want] {
		faults = append(faults, fmt.Sprintf("%s is %T, want %s", where, v, want))
	}
	return faults
}
