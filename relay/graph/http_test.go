package graph

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"agora/httpapi"
	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"
)

// serve puts the graph's handler on a port of its own.
func (h *house) serve() string {
	h.t.Helper()
	handler, err := h.graph.Handler()
	if err != nil {
		h.t.Fatal(err)
	}
	s := httptest.NewServer(handler)
	h.t.Cleanup(s.Close)
	return s.URL + "/v1/graph/"
}

// get reads one answer into body.
func get(t *testing.T, url string, status int, body any) *http.Response {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != status {
		t.Fatalf("GET %s: %s %s, want %d", url, res.Status, data, status)
	}
	if err := json.Unmarshal(data, body); err != nil {
		t.Fatalf("GET %s: %v in %s", url, err, data)
	}
	return res
}

func TestOneAnswerTellsAllAboutAKey(t *testing.T) {
	h, p := newHouse(t, Config{}), people(6)
	url := h.serve()
	h.put(
		p[0].sign(t, kindFollows, 100, "", naming(p[1], p[2])...),
		p[1].sign(t, kindFollows, 100, "", naming(p[2], p[0])...),
		p[2].sign(t, kindFollows, 100, "", naming(p[3])...),
		p[0].sign(t, kindMutes, 100, "", naming(p[4])...),
		p[0].sign(t, kindSet, 101, "", append(naming(p[3]), nostr.Tag{"d", "friends"}, nostr.Tag{"title", "My friends"})...),
		p[0].sign(t, kindPack, 102, "", append(naming(p[1], p[2]), nostr.Tag{"d", "pack"})...),
		p[0].sign(t, kindRelays, 100, "", nostr.Tag{"r", "wss://a.example"}, nostr.Tag{"r", "wss://b.example", "write"}, nostr.Tag{"r", "http://no.example"}),
	)
	npub, _ := nip19.EncodePublicKey(p[0].pubkey)
	var a About
	res := get(t, url+npub+"?viewer="+p[1].pubkey, 200, &a)
	if res.Header.Get("Access-Control-Allow-Origin") != "*" || res.Header.Get("Content-Type") != "application/json" {
		t.Errorf("headers %v", res.Header)
	}
	if a.PubKey != p[0].pubkey || a.Npub != npub || !a.Known {
		t.Errorf("who: %+v", a)
	}
	if !slices.Equal(a.Follows.Keys, []string{p[1].pubkey, p[2].pubkey}) || a.Follows.Count != 2 || a.Follows.Updated != 100 {
		t.Errorf("follows %+v", a.Follows)
	}
	if !slices.Equal(a.Followers.Keys, []string{p[1].pubkey}) || a.Followers.Count != 1 {
		t.Errorf("followers %+v", a.Followers)
	}
	if !slices.Equal(a.Mutes.Keys, []string{p[4].pubkey}) {
		t.Errorf("mutes %+v", a.Mutes)
	}
	if len(a.Lists) != 2 || a.Lists[0].D != "friends" || a.Lists[0].Title != "My friends" || a.Lists[1].Count != 2 {
		t.Errorf("lists %+v", a.Lists)
	}
	if want := []RelayUse{{"wss://a.example", true, true}, {"wss://b.example", false, true}}; !slices.Equal(a.Relays, want) {
		t.Errorf("relays %+v", a.Relays)
	}
	if s := a.Trust; s.Basis != Personal || s.Hops == nil || *s.Hops != 1 || !s.Follows || s.Trust <= 0 || s.PageRank <= 0 || s.From != p[1].pubkey {
		t.Errorf("trust %+v", a.Trust)
	}
}

func TestTrustOfAViewerIsThePersonalPageRank(t *testing.T) {
	h, p := newHouse(t, Config{}), people(5)
	url := h.serve()
	h.put( // 0 -> 1 -> 2, 3 -> 4
		p[0].sign(t, kindFollows, 100, "", naming(p[1])...),
		p[1].sign(t, kindFollows, 100, "", naming(p[2])...),
		p[3].sign(t, kindFollows, 100, "", naming(p[4])...),
	)
	total := 1 + .85 + .85*.85
	for i, want := range []float64{1 / total, .85 / total, .85 * .85 / total, 0, 0} {
		var s Standing
		get(t, url+p[i].pubkey+"/trust?from="+p[0].pubkey, 200, &s)
		if s.Basis != Personal || math.Abs(s.PageRank-want) > 1e-6 {
			t.Errorf("key %d: %+v, want PageRank %g", i, s, want)
		}
		if i < 2 && s.Rank != 100 { // oneself, and the first among the others
			t.Errorf("key %d: %+v, want rank 100", i, s)
		}
	}
	h.put(p[0].sign(t, kindMutes, 100, "", naming(p[2])...))
	var s Standing
	if get(t, url+p[2].pubkey+"/trust?from="+p[0].pubkey, 200, &s); !s.Muted || s.Trust != 0 || s.PageRank == 0 {
		t.Errorf("a muted key: %+v", s)
	}
	s = Standing{}
	if get(t, url+p[2].pubkey+"/trust?from="+p[4].pubkey, 200, &s); s.Basis != Global || s.Reason == "" || s.Hops != nil {
		t.Errorf("as seen by who follows nobody: %+v", s)
	}
}

func TestWhoHasJustPublishedFindsItInTheAnswer(t *testing.T) {
	h, p := newHouse(t, Config{}), people(42)
	url := h.serve() + p[0].pubkey + "/follows"
	for i := range 40 {
		h.putUnseen(p[0].sign(t, kindFollows, int64(i), "", naming(p[1:i+2]...)...))
		var k Keys
		if get(t, url, 200, &k); k.Count != i+1 {
			t.Fatalf("after publishing %d follows the answer has %d", i+1, k.Count)
		}
	}
}

func TestAnUnknownKeyIsAnsweredWithZeros(t *testing.T) {
	h := newHouse(t, Config{})
	url := h.serve() + newPerson(7).pubkey
	var a map[string]any
	get(t, url, 200, &a)
	if a["known"] != false || a["follows"].(map[string]any)["count"] != 0.0 || a["lists"] == nil || a["relays"] == nil {
		t.Errorf("answered %v", a)
	}
	for _, part := range []string{"/follows", "/followers", "/mutes"} {
		var k Keys
		if get(t, url+part, 200, &k); k.Count != 0 || k.Keys == nil {
			t.Errorf("%s: %+v", part, k)
		}
	}
}

func TestAMistakeIsAnsweredWithWhatToDo(t *testing.T) {
	h := newHouse(t, Config{})
	url, k := h.serve(), newPerson(7).pubkey
	nsec, _ := nip19.EncodePrivateKey(newPerson(7).secret)
	note, _ := nip19.EncodeNote(k)
	for address, want := range map[string]struct {
		status int
		says   string
	}{
		"npub1xyz":                      {400, "npub"},
		"abc":                           {400, "64 hex"},
		k + "00":                        {400, "64 hex"},
		note:                            {400, "npub"},
		nsec:                            {400, "SECRET"},
		k + "?viewer=x":                 {400, "viewer"},
		k + "?cursor=3":                 {400, "/followers"},
		k + "?limit=0":                  {400, "limit"},
		k + "/follows?limit=-1":         {400, "limit"},
		k + "/follows?limit=1001":       {400, "1000"},
		k + "/follows?limit=x":          {400, "limit"},
		k + "/followers?cursor=-1":      {400, "cursor"},
		k + "/followers?cursor=1e400":   {400, "cursor"},
		k + "/mutes?cursor=99999999999": {400, "cursor"},
		k + "/lists?kind=3&d=":          {400, "30000"},
		k + "/trust?from=npub1":         {400, "from"},
		k + "/nothing":                  {404, "trust"},
		"":                              {404, "npub"},
		"abc/export":                    {400, "64 hex"},
	} {
		var p httpapi.Problem
		get(t, url+address, want.status, &p)
		if !strings.Contains(p.Error, want.says) || strings.Contains(p.Error, nsec) {
			t.Errorf("%s: %q, want it to say %q", address, p.Error, want.says)
		}
	}
	for _, method := range []string{"POST", "DELETE"} {
		req, _ := http.NewRequest(method, url+k, nil)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 405 || res.Header.Get("Allow") == "" {
			t.Errorf("%s: %s", method, res.Status)
		}
	}
	req, _ := http.NewRequest("OPTIONS", url+k+"/export", nil)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 204 || !strings.Contains(res.Header.Get("Access-Control-Allow-Headers"), "Authorization") {
		t.Errorf("preflight: %s %v", res.Status, res.Header)
	}
}

func TestPagesShowEveryKeyOnce(t *testing.T) {
	h := newHouse(t, Config{})
	url := h.serve()
	star, fans := newPerson(0), people(60)[1:]
	var events []*nostr.Event
	for _, f := range fans {
		events = append(events, f.sign(t, kindFollows, 100, "", naming(star)...))
	}
	h.put(append(events,
		star.sign(t, kindFollows, 100, "", naming(fans...)...),
		star.sign(t, kindMutes, 100, "", naming(fans...)...),
		star.sign(t, kindSet, 100, "", append(naming(fans...), nostr.Tag{"d", "all of them"})...))...)
	for _, part := range []string{"/followers?", "/follows?", "/mutes?", "/lists?kind=30000&d=all+of+them&"} {
		seen := map[string]int{}
		for cursor, pages := "", 0; ; pages++ {
			var k Keys
			get(t, url+star.pubkey+part+"limit=7&cursor="+cursor, 200, &k)
			if k.Count != 59 || len(k.Keys) > 7 || pages > 9 {
				t.Fatalf("%s: page %d: %+v", part, pages, k)
			}
			for _, pk := range k.Keys {
				seen[pk]++
			}
			if cursor = k.Cursor; cursor == "" {
				break
			}
		}
		for _, f := range fans {
			if seen[f.pubkey] != 1 {
				t.Fatalf("%s: a key was shown %d times", part, seen[f.pubkey])
			}
		}
	}
}

func TestExportStreamsWhatMayBeSeen(t *testing.T) {
	p := people(3)
	cfg := Config{
		Visible: func(r store.Record, viewer string) bool { return r.Kind() != 4 || viewer == p[0].pubkey },
		Auth: func(r *http.Request, _ []byte) (string, error) {
			if who, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Nostr "); ok && len(who) == 64 {
				return who, nil
			}
			return "", errors.New("the event is too old")
		},
	}
	h := newHouse(t, cfg)
	url := h.serve()
	public, want := 0, map[string]bool{}
	for i := range 200 { // some 300 KB: several chunks
		kind := 1
		if i%10 == 0 {
			kind = 4
		} else {
			public++
		}
		ev := p[0].sign(t, kind, int64(100+i/3), strings.Repeat("é\n", 400)+fmt.Sprint(i))
		h.putUnseen(ev)
		want[ev.ID] = true
	}
	h.putUnseen(p[1].sign(t, 1, 500, "another's", naming(p[0])...))
	npub, _ := nip19.EncodePublicKey(p[0].pubkey)
	for who, count := range map[string]int{"": public, "Nostr " + p[1].pubkey: public, "Nostr " + p[0].pubkey: 200} {
		req, _ := http.NewRequest("GET", url+npub+"/export", nil)
		if who != "" {
			req.Header.Set("Authorization", who)
		}
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if got := res.Header.Get("Content-Disposition"); !strings.Contains(got, npub+".jsonl") {
			t.Errorf("Content-Disposition %q", got)
		}
		lines, seen := bufio.NewScanner(res.Body), 0
		for lines.Scan() {
			var ev nostr.Event
			if err := json.Unmarshal(lines.Bytes(), &ev); err != nil {
				t.Fatal(err)
			}
			if ok, err := ev.CheckSignature(); !ok || err != nil || !want[ev.ID] || ev.GetID() != ev.ID {
				t.Fatalf("line %d is not an event of the key: %v", seen, err)
			}
			seen++
		}
		res.Body.Close()
		if err := lines.Err(); err != nil || seen != count {
			t.Errorf("as %q: %d events, want %d (%v)", who, seen, count, err)
		}
	}
	req, _ := http.NewRequest("GET", url+npub+"/export", nil)
	req.Header.Set("Authorization", "Nostr bad")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 401 {
		t.Errorf("a bad header: %s", res.Status)
	}
}

func TestAnExportThatBreaksIsNotTakenForAWholeOne(t *testing.T) {
	seen, reading, broken := 0, context.Background(), context.CancelFunc(nil)
	reading, broken = context.WithCancel(reading)
	h, p := newHouse(t, Config{Visible: func(store.Record, string) bool {
		if seen++; seen == 10 {
			broken() // the store answers the next batch with an error
		}
		return true
	}}), newPerson(0)
	for i := range 40 { // 16 MB: far more than one batch
		h.putUnseen(p.sign(t, 1, int64(i), strings.Repeat("x", 400_000)))
	}
	handler, err := h.graph.Handler()
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, r.WithContext(reading))
	}))
	defer s.Close()
	res, err := http.Get(s.URL + "/v1/graph/" + p.pubkey + "/export")
	if err == nil {
		_, err = io.ReadAll(res.Body)
		res.Body.Close()
	}
	if err == nil {
		t.Error("the reader was not told")
	}
	if seen >= 40 {
		t.Error("nothing broke: the test tests nothing")
	}
}

func TestExportsAreBoundedAndASlowReaderDelaysNobody(t *testing.T) {
	h, p := newHouse(t, Config{Exports: 1}), newPerson(0)
	for i := range 40 { // 16 MB, more than sockets buffer
		h.putUnseen(p.sign(t, 1, int64(i), strings.Repeat("x", 400_000)))
	}
	url := h.serve()
	slow, err := net.Dial("tcp", strings.Split(url, "/")[2])
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	fmt.Fprintf(slow, "GET /v1/graph/%s/export HTTP/1.1\r\nHost: x\r\n\r\n", p.pubkey)
	if _, err := io.ReadFull(slow, make([]byte, 100_000)); err != nil {
		t.Fatal(err)
	}
	var bad httpapi.Problem
	if res := get(t, url+p.pubkey+"/export", 503, &bad); res.Header.Get("Retry-After") == "" {
		t.Error("no word when to come back")
	}
	h.put(p.sign(t, kindFollows, 100, "", naming(newPerson(1))...)) // the store goes on
	var k Keys
	if get(t, url+p.pubkey+"/follows", 200, &k); k.Count != 1 {
		t.Errorf("follows %+v", k)
	}
	rest, err := io.ReadAll(io.LimitReader(slow, 15_000_000))
	if err != nil || len(rest) != 15_000_000 {
		t.Errorf("the slow reader got %d bytes more: %v", len(rest), err)
	}
}

func FuzzParseKey(f *testing.F) {
	k := newPerson(0).pubkey
	npub, _ := nip19.EncodePublicKey(k)
	nprofile, _ := nip19.EncodeProfile(k, []string{"wss://r.example"})
	f.Add(k)
	f.Add(npub)
	f.Add(strings.ToUpper(npub))
	f.Add("nostr:" + nprofile)
	f.Add("naddr1qqqsyqqzg9rp6")
	f.Fuzz(func(t *testing.T, s string) {
		k, err := parseKey(s)
		if err != nil {
			return
		}
		pubkey, npub := names(k)
		if a, err := parseKey(npub); err != nil || a != k {
			t.Fatalf("%q: %v", npub, err)
		}
		if a, err := parseKey(pubkey); err != nil || a != k {
			t.Fatalf("%q: %v", pubkey, err)
		}
	})
}
