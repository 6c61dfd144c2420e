package admit

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

var secret = strings.Repeat("07", 32)

// token signs an event for a request and returns the header; change may spoil
// the event before it is signed, spoil after.
func token(t *testing.T, method, u string, body []byte, change, spoil func(*nostr.Event)) string {
	t.Helper()
	ev := nostr.Event{Kind: 27235, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"u", u}, {"method", method}}}
	if body != nil {
		sum := sha256.Sum256(body)
		ev.Tags = append(ev.Tags, nostr.Tag{"payload", hex.EncodeToString(sum[:])})
	}
	if change != nil {
		change(&ev)
	}
	if err := ev.Sign(secret); err != nil {
		t.Fatal(err)
	}
	if spoil != nil {
		spoil(&ev)
	}
	return "Nostr " + base64.StdEncoding.EncodeToString([]byte(ev.String()))
}

func request(method, target string, body []byte, header string) *http.Request {
	r := httptest.NewRequest(method, target, bytes.NewReader(body))
	if header != "" {
		r.Header.Set("Authorization", header)
	}
	return r
}

func newAuth(t *testing.T, urls ...string) *HTTPAuth {
	t.Helper()
	a, err := NewHTTPAuth(urls)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestASignedRequestNamesItsKey(t *testing.T) {
	a := newAuth(t, "wss://relay.example")
	key, err := nostr.GetPublicKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	for _, body := range [][]byte{[]byte(`{"method":"x"}`), {}} {
		header := token(t, "POST", "https://relay.example/v1/x?a=1&b=2", body, nil, nil)
		got, err := a.Check(request("POST", "/v1/x?a=1&b=2", body, header), body)
		if err != nil || got != key {
			t.Errorf("%q, %v", got, err)
		}
	}
}

func TestEitherBase64AndAnySpellingOfTheSchemeWill(t *testing.T) {
	a := newAuth(t, "https://relay.example")
	for i, spell := range []func(string) string{
		func(s string) string { return s },
		func(s string) string { return strings.TrimRight(s, "=") },
		func(s string) string { return strings.NewReplacer("+", "-", "/", "_").Replace(s) },
		func(s string) string { return "nostr" + strings.TrimPrefix(s, "Nostr") },
		func(s string) string { return strings.Replace(s, " ", "   ", 1) },
	} {
		nonce := func(ev *nostr.Event) {
			ev.Tags = append(ev.Tags, nostr.Tag{"nonce", fmt.Sprint(i)}, nostr.Tag{"x", "???>>>ÿÿÿ"})
		}
		header := spell(token(t, "GET", "https://relay.example/", nil, nonce, nil))
		if _, err := a.Check(request("GET", "/", nil, header), nil); err != nil {
			t.Errorf("%d: %v", i, err)
		}
	}
}

func TestTheURLIsComparedWithThePublicOnes(t *testing.T) {
	for _, c := range []struct {
		public, u, target string
		ok                bool
	}{
		{"wss://relay.example", "wss://relay.example", "/", true},
		{"wss://relay.example", "wss://relay.example/", "/", true},
		{"wss://relay.example", "https://relay.example", "/", true},
		{"https://relay.example/", "wss://relay.example", "/", true},
		{"wss://relay.example", "https://RELAY.example:443/", "/", true},
		{"wss://relay.example:443", "https://relay.example/a", "/a", true},
		{"ws://127.0.0.1:7447", "http://127.0.0.1:7447/a?b=%20c", "/a?b=%20c", true},
		{"ws://[::1]:7447", "http://[::1]:7447/", "/", true},
		{"wss://relay.example", "http://relay.example", "/", false},
		{"wss://relay.example", "ws://relay.example", "/", false},
		{"wss://relay.example", "http://relay.example:443/", "/", false},
		{"wss://relay.example", "https://relay.example:8443/", "/", false},
		{"wss://relay.example", "https://other.example/", "/", false},
		{"wss://relay.example", "https://relay.example.evil.example/", "/", false},
		{"wss://relay.example", "https://relay.example@evil.example/", "/", false},
		{"wss://relay.example", "https://user@relay.example/", "/", false},
		{"wss://relay.example", "https://relay.example/b", "/a", false},
		{"wss://relay.example", "https://relay.example/a", "/", false},
		{"wss://relay.example", "https://relay.example/", "/a", false},
		{"wss://relay.example", "https://relay.example/a?b=1", "/a", false},
		{"wss://relay.example", "https://relay.example/a", "/a?b=1", false},
		{"wss://relay.example", "https://relay.example/a?c=2&b=1", "/a?b=1&c=2", false},
		{"wss://relay.example", "https://relay.example/a#b", "/a", false},
		{"wss://relay.example", "wss://relay.example/a", "/a", false},
		{"wss://relay.example", "/a", "/a", false},
		{"wss://relay.example", "", "/", false},
		{"wss://relay.example", "https://relay.example/%2e%2e/a", "/a", false},
		{"wss://relay.example/nostr", "wss://relay.example/nostr", "/", true},
		{"wss://relay.example/nostr", "wss://relay.example/nostr/", "/nostr", true},
		{"wss://relay.example/nostr", "https://relay.example/nostr/a", "/a", true},
		{"wss://relay.example/nostr", "https://relay.example/nostr/a", "/nostr/a", true},
		{"wss://relay.example/nostr", "wss://relay.example/nostr", "/a", false},
		{"wss://relay.example/nostr", "https://relay.example/else/a", "/a", false},
	} {
		a := newAuth(t, "wss://unrelated.example", c.public)
		_, err := a.Check(request("GET", c.target, nil, token(t, "GET", c.u, nil, nil, nil)), nil)
		if (err == nil) != c.ok {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestAMethodMayBeWrittenSmall(t *testing.T) {
	a := newAuth(t, "wss://relay.example")
	if _, err := a.Check(request("GET", "/a", nil, token(t, "get", "https://relay.example/a", nil, nil, nil)), nil); err != nil {
		t.Errorf("a token as nostr-tools' example makes it: %v", err)
	}
}

func TestTheHostHeaderIsNotBelieved(t *testing.T) {
	a := newAuth(t, "wss://relay.example")
	r := request("GET", "/", nil, token(t, "GET", "https://evil.example/", nil, nil, nil))
	r.Host = "evil.example"
	r.Header.Set("X-Forwarded-Host", "evil.example")
	if _, err := a.Check(r, nil); err == nil {
		t.Error("a signature for another site passes")
	}
}

func TestWhatDoesNotCountIsUnauthorizedAndSaysWhy(t *testing.T) {
	const u = "https://relay.example/"
	body := []byte("body")
	set := func(i int, v string) func(*nostr.Event) {
		return func(ev *nostr.Event) { ev.Tags[i][1] = v }
	}
	add := func(tag ...string) func(*nostr.Event) {
		return func(ev *nostr.Event) { ev.Tags = append(ev.Tags, tag) }
	}
	drop := func(i int) func(*nostr.Event) {
		return func(ev *nostr.Event) { ev.Tags = append(ev.Tags[:i:i], ev.Tags[i+1:]...) }
	}
	sum := sha256.Sum256(body)
	for _, c := range []struct {
		name          string
		change, spoil func(*nostr.Event)
		want          string
	}{
		{"another kind", func(ev *nostr.Event) { ev.Kind = 22242 }, nil, "kind 27235, not 22242"},
		{"too old", func(ev *nostr.Event) { ev.CreatedAt -= 62 }, nil, "away from our clock"},
		{"from the future", func(ev *nostr.Event) { ev.CreatedAt += 62 }, nil, "away from our clock"},
		{"in milliseconds", func(ev *nostr.Event) { ev.CreatedAt *= 1000 }, nil, "away from our clock"},
		{"the end of time", func(ev *nostr.Event) { ev.CreatedAt = 1<<63 - 1 }, nil, "away from our clock"},
		{"the beginning of time", func(ev *nostr.Event) { ev.CreatedAt = -1 << 63 }, nil, "away from our clock"},
		{"no u", drop(0), nil, "the u tag must be"},
		{"wrong u", set(0, "https://other.example/"), nil, "the u tag must be"},
		{"two u", add("u", u), nil, "more than one u tag"},
		{"no method", drop(1), nil, "the method tag must be POST"},
		{"wrong method", set(1, "GET"), nil, "the method tag must be POST"},
		{"a method with a blank", set(1, "POST "), nil, "the method tag must be POST"},
		{"no payload", drop(2), nil, "the payload tag must be"},
		{"wrong payload", set(2, strings.Repeat("0", 64)), nil, "the payload tag must be"},
		{"payload in upper case", set(2, strings.ToUpper(hex.EncodeToString(sum[:]))), nil, "the payload tag must be"},
		{"two payloads", add("payload", "x"), nil, "more than one payload tag"},
		{"forged id", nil, func(ev *nostr.Event) { ev.ID = strings.Repeat("0", 64) }, "the id is not the hash"},
		{"changed after signing", nil, func(ev *nostr.Event) { ev.Content = "x" }, "the id is not the hash"},
		{"another key", nil, func(ev *nostr.Event) {
			ev.PubKey = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"
			ev.ID = ev.GetID()
		}, "the signature does not match"},
		{"a key off the curve", nil, func(ev *nostr.Event) { ev.PubKey = strings.Repeat("f", 64); ev.ID = ev.GetID() }, "the signature does not match"},
		{"forged signature", nil, func(ev *nostr.Event) { ev.Sig = strings.Repeat("0", 128) }, "the signature does not match"},
		{"id in upper case", nil, func(ev *nostr.Event) { ev.ID = strings.ToUpper(ev.ID) }, "lower-case hex"},
		{"pubkey in upper case", nil, func(ev *nostr.Event) { ev.PubKey = strings.ToUpper(ev.PubKey) }, "lower-case hex"},
		{"sig in upper case", nil, func(ev *nostr.Event) { ev.Sig = strings.ToUpper(ev.Sig) }, "lower-case hex"},
		{"no sig", nil, func(ev *nostr.Event) { ev.Sig = "" }, "lower-case hex"},
	} {
		t.Run(c.name, func(t *testing.T) {
			header := token(t, "POST", u, body, c.change, c.spoil)
			refused(t, newAuth(t, "wss://relay.example"), request("POST", "/", body, header), body, c.want)
		})
	}
}

// refused wants an *Unauthorized whose reason holds want.
func refused(t *testing.T, a *HTTPAuth, r *http.Request, body []byte, want string) {
	t.Helper()
	key, err := a.Check(r, body)
	e, ok := errors.AsType[*Unauthorized](err)
	if key != "" || !ok || !strings.Contains(e.Reason, want) {
		t.Errorf("%q, %v; want %s", key, err, want)
	}
}

func TestBrokenHeadersAreUnauthorized(t *testing.T) {
	a := newAuth(t, "wss://relay.example")
	for header, want := range map[string]string{
		"":                                   "want one Authorization header",
		"Nostr":                              "does not hold an event",
		"Nostr ":                             "does not hold an event",
		"Bearer abc":                         "must begin with Nostr",
		"Nostr !!!":                          "is not base64",
		"Nostr bm9uZQ==":                     "does not hold an event",
		"Nostr bnVsbA==":                     "lower-case hex",
		"Nostr e30=":                         "lower-case hex",
		"Nostr W10=":                         "does not hold an event",
		"Nostr eyJpZCI6Mw":                   "does not hold an event",
		"Nostr " + strings.Repeat("A", 9000): "longer than 8192 bytes",
	} {
		refused(t, a, request("GET", "/", nil, header), nil, want)
	}
	r := request("GET", "/", nil, token(t, "GET", "https://relay.example/", nil, nil, nil))
	r.Header.Add("Authorization", r.Header.Get("Authorization"))
	refused(t, a, r, nil, "want one Authorization header")
}

func TestABodyMustBeSignedWhateverTheMethod(t *testing.T) {
	a := newAuth(t, "wss://relay.example")
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "GET"} {
		header := token(t, method, "https://relay.example/", nil, nil, nil)
		refused(t, a, request(method, "/", []byte("x"), header), []byte("x"), "the payload tag")
	}
	for _, method := range []string{"POST", "PUT", "PATCH"} {
		header := token(t, method, "https://relay.example/", nil, nil, nil)
		refused(t, a, request(method, "/", nil, header), nil, "the payload tag")
	}
	for _, method := range []string{"GET", "HEAD", "DELETE"} {
		header := token(t, method, "https://relay.example/", nil, nil, nil)
		if _, err := a.Check(request(method, "/", nil, header), nil); err != nil {
			t.Errorf("%s: %v", method, err)
		}
	}
}

func TestASignatureCountsOnceForAsLongAsItIsValid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuth(t, "wss://relay.example")
		future := func(ev *nostr.Event) { // valid for two minutes from now
			ev.CreatedAt += 60
			ev.Content = "the one"
		}
		first := token(t, "GET", "https://relay.example/", nil, nil, nil)
		if _, err := a.Check(request("GET", "/", nil, first), nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(119 * time.Second) // shortly before the cache turns
		header := token(t, "GET", "https://relay.example/", nil, future, nil)
		if _, err := a.Check(request("GET", "/", nil, header), nil); err != nil {
			t.Fatal(err)
		}
		time.Sleep(httpAuthAgain)
		for range 23 {
			refused(t, a, request("GET", "/", nil, header), nil, "used before")
			time.Sleep(5 * time.Second)
			other := token(t, "GET", "https://relay.example/", nil, nil, nil)
			if _, err := a.Check(request("GET", "/", nil, other), nil); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Second)
		refused(t, a, request("GET", "/", nil, header), nil, "away from our clock")
	})
}

func TestTheSameReadTwiceInASecondIsAnsweredTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuth(t, "wss://relay.example")
		for _, method := range []string{"GET", "HEAD"} {
			header := token(t, method, "https://relay.example/", nil, nil, nil)
			for range 2 {
				if _, err := a.Check(request(method, "/", nil, header), nil); err != nil {
					t.Errorf("%s: %v", method, err)
				}
			}
			time.Sleep(httpAuthAgain)
			refused(t, a, request(method, "/", nil, header), nil, "used before")
		}
		for _, method := range []string{"POST", "DELETE"} {
			body := []byte("x")
			header := token(t, method, "https://relay.example/", body, nil, nil)
			if _, err := a.Check(request(method, "/", body, header), body); err != nil {
				t.Errorf("%s: %v", method, err)
			}
			refused(t, a, request(method, "/", body, header), body, "used before")
		}
	})
}

func TestARefusedRequestDoesNotSpendItsSignature(t *testing.T) {
	a := newAuth(t, "wss://relay.example")
	header := token(t, "GET", "https://relay.example/", nil, nil, nil)
	refused(t, a, request("GET", "/else", nil, header), nil, "the u tag")
	if _, err := a.Check(request("GET", "/", nil, header), nil); err != nil {
		t.Error(err)
	}
}

func TestAFullReplayCacheRefusesAndForgetsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuth(t, "wss://relay.example")
		a.mostIDs = 2
		try := func(n int) error {
			nonce := func(ev *nostr.Event) { ev.Tags = append(ev.Tags, nostr.Tag{"nonce", fmt.Sprint(n)}) }
			_, err := a.Check(request("GET", "/", nil, token(t, "GET", "https://relay.example/", nil, nonce, nil)), nil)
			return err
		}
		for n := range 2 {
			if err := try(n); err != nil {
				t.Fatal(err)
			}
		}
		if err := try(2); err == nil || !strings.Contains(err.Error(), "too many signed requests") {
			t.Error(err)
		}
		time.Sleep(121 * time.Second)
		if err := try(3); err != nil {
			t.Error(err)
		}
		time.Sleep(121 * time.Second)
		if err := try(4); err != nil || len(a.stale) != 1 || len(a.fresh) != 1 {
			t.Errorf("%v, %d stale, %d fresh", err, len(a.stale), len(a.fresh))
		}
	})
}

func TestPublicURLsAreChecked(t *testing.T) {
	for _, urls := range [][]string{nil, {""}, {"relay.example"}, {"ftp://relay.example"}, {"wss://"}, {"wss://relay.example?x=1"}, {"wss://a b"}, {"wss://u:p@relay.example"}} {
		if _, err := NewHTTPAuth(urls); err == nil {
			t.Errorf("%q: accepted", urls)
		}
	}
}
