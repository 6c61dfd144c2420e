package relay

import (
	"encoding/json"
	"io"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/nbd-wtf/go-nostr/nip11"
)

func (r *testRelay) get(t *testing.T, method, path, accept string) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, r.http.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, body
}

func TestTheInformationDocumentSaysWhatIsEnabled(t *testing.T) {
	r := start(t, Config{About: About{Name: "here", Description: "a relay", Contact: "mailto:a@example.com", Version: "1"}}, nil)
	resp, body := r.get(t, http.MethodGet, "/", "application/nostr+json")
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "application/nostr+json" {
		t.Fatalf("%s %s", resp.Status, resp.Header.Get("Content-Type"))
	}
	for _, h := range []string{"Access-Control-Allow-Origin", "Access-Control-Allow-Headers", "Access-Control-Allow-Methods"} {
		if resp.Header.Get(h) == "" {
			t.Errorf("no %s", h)
		}
	}
	var doc Document
	if err := json.Unmarshal(body, &doc); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(doc, r.Info()) {
		t.Errorf("served %+v, want %+v", doc, r.Info())
	}
	var known nip11.RelayInformationDocument
	if err := json.Unmarshal(body, &known); err != nil || known.Name != "here" || known.Limitation.MaxLimit != 1000 {
		t.Errorf("as go-nostr reads it: %+v, %v", known, err)
	}
	for _, absent := range []int{2, 32, 43, 50, 51, 56, 57, 65, 86, 98} {
		if slices.Contains(doc.SupportedNIPs, absent) {
			t.Errorf("NIP-%d is claimed", absent)
		}
	}
	for _, there := range []int{1, 9, 11, 13, 17, 40, 42, 45, 59, 62, 67, 70} {
		if !slices.Contains(doc.SupportedNIPs, there) {
			t.Errorf("NIP-%d is missing", there)
		}
	}
	with := start(t, Config{}, func(p *Parts) { p.Search = new(fixedSearch) })
	if !slices.Contains(with.Info().SupportedNIPs, 50) {
		t.Error("search is enabled and not announced")
	}
	r.Reload(Limits{MaxLimit: 77})
	if _, body := r.get(t, http.MethodGet, "/", "text/html, application/nostr+json"); !strings.Contains(string(body), `"max_limit":77`) {
		t.Errorf("after a reload: %s", body)
	}
}

func TestOnlyTheRootPathIsARelay(t *testing.T) {
	landing := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "welcome") })
	r := start(t, Config{}, func(p *Parts) { p.Landing = landing })
	if _, body := r.get(t, http.MethodGet, "/", "text/html"); string(body) != "welcome" {
		t.Errorf("the landing page says %q", body)
	}
	for _, path := range []string{"/x", "/f/feed", "//", "/index.html"} {
		if resp, _ := r.get(t, http.MethodGet, path, "application/nostr+json"); resp.StatusCode != 404 {
			t.Errorf("%s: %s", path, resp.Status)
		}
		_, resp, err := websocket.DefaultDialer.DialContext(t.Context(), r.url+path, nil)
		if err == nil || resp == nil || resp.StatusCode != 404 {
			t.Errorf("%s: upgraded, or %v", path, resp)
		}
	}
	if resp, _ := r.get(t, http.MethodOptions, "/", ""); resp.StatusCode != 204 || resp.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("preflight: %s", resp.Status)
	}
	if resp, body := r.get(t, http.MethodHead, "/", "application/nostr+json"); resp.StatusCode != 200 || len(body) != 0 {
		t.Errorf("HEAD: %s", resp.Status)
	}
}

func TestForwardedAddressesCountFromTrustedProxiesOnly(t *testing.T) {
	trusted := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}
	r := &Relay{cfg: Config{TrustedProxies: trusted}}
	for _, c := range []struct {
		remote string
		header http.Header
		want   string
	}{
		{"203.0.113.1:5", nil, "203.0.113.1"},
		{"203.0.113.1:5", http.Header{"X-Forwarded-For": {"198.51.100.9"}}, "203.0.113.1"},
		{"10.0.0.1:5", http.Header{"X-Forwarded-For": {"198.51.100.9"}}, "198.51.100.9"},
		{"10.0.0.1:5", http.Header{"X-Forwarded-For": {"1.1.1.1, 198.51.100.9, 10.0.0.2"}}, "198.51.100.9"},
		{"10.0.0.1:5", http.Header{"X-Forwarded-For": {"1.1.1.1", "198.51.100.9"}}, "198.51.100.9"},
		{"10.0.0.1:5", http.Header{"X-Forwarded-For": {"what"}}, "10.0.0.1"},
		{"10.0.0.1:5", nil, "10.0.0.1"},
		{"[fd00::1]:5", http.Header{"X-Forwarded-For": {"[2001:db8::7]:443"}}, "2001:db8::7"},
		{"[::ffff:10.0.0.1]:5", http.Header{"X-Forwarded-For": {"::ffff:198.51.100.9"}}, "198.51.100.9"},
		{"10.0.0.1:5", http.Header{"Forwarded": {`for=198.51.100.9;proto=https;by=10.0.0.1`}}, "198.51.100.9"},
		{"10.0.0.1:5", http.Header{"Forwarded": {`for=1.1.1.1, For="[2001:db8::7]:99"`}}, "2001:db8::7"},
		{"10.0.0.1:5", http.Header{"Forwarded": {`for=_hidden`}}, "10.0.0.1"},
	} {
		if got := r.ClientIP(&http.Request{RemoteAddr: c.remote, Header: c.header}); got.String() != c.want {
			t.Errorf("%s %v: %s, want %s", c.remote, c.header, got, c.want)
		}
	}
}
