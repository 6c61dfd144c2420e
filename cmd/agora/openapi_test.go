package main

import (
	"encoding/json"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// addressed are the sources that mount HTTP addresses with their methods.
var addressed = []string{
	"mux.go", "polls_http.go", "../../feeds/doors/http.go", "../../feeds/market/http.go", "../../relay/graph/http.go", "../../personhood/host/http.go",
}

// TestEveryAddressIsDescribed compares /openapi.json with what the sources
// mount, both ways, and some answers with their schemas.
func TestEveryAddressIsDescribed(t *testing.T) {
	s, _ := startServer(t, nil)
	resp, body := fetch(t, s.at.page+"/openapi.json")
	var doc map[string]any
	if err := json.Unmarshal([]byte(body), &doc); err != nil || resp.StatusCode != 200 {
		t.Fatal(resp.Status, err)
	}
	var described []string
	paths, _ := doc["paths"].(map[string]any)
	for path, methods := range paths {
		ops, _ := methods.(map[string]any)
		for method := range ops {
			described = append(described, strings.ToUpper(method)+" "+path)
		}
	}
	served := []string{"POST /v1/graph/{npub}/bring", "GET /v1/export", "GET /v1/spam/{id}"} // mounted without their method
	form := regexp.MustCompile(`"((?:GET|POST|PUT|DELETE) /[^"]*)"`)
	for _, name := range addressed {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range form.FindAllStringSubmatch(string(text), -1) {
			if found[1] != "GET /metrics" && !slices.Contains(served, found[1]) { // that is for this machine only
				served = append(served, found[1])
			}
		}
	}
	slices.Sort(described)
	slices.Sort(served)
	if !slices.Equal(described, served) {
		t.Errorf("described %q\nserved    %q", described, served)
	}
	key := "/v1/graph/" + strings.Repeat("79be667e", 8)
	for path, target := range map[string]string{
		"/healthz": "/healthz", "/v1/graph/{key}/trust": key + "/trust", "/v1/graph/{key}/follows": key + "/follows", "/v1/graph/{key}/assertions": key + "/assertions",
	} {
		resp, body := fetch(t, s.at.page+target)
		var answer any
		if err := json.Unmarshal([]byte(body), &answer); err != nil || resp.StatusCode != 200 {
			t.Errorf("%s: %s %s", target, resp.Status, body)
			continue
		}
		for _, fault := range misfits(doc, at(doc, "paths", path, "get", "responses", "200", "content", "application/json", "schema"), answer, target) {
			t.Error(fault)
		}
	}
}

// A browser asks first whether a page may sign its request (NIP-98): every
// address below /v1 must say yes, and that the page may read the answer.
func TestPagesMaySignRequestsToEveryAddress(t *testing.T) {
	s, _ := startServer(t, nil)
	_, body := fetch(t, s.at.page+"/openapi.json")
	var doc struct {
		Paths map[string]map[string]any
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile(`\{[^}]*\}`)
	for path, methods := range doc.Paths {
		if !strings.HasPrefix(path, "/v1/") {
			continue
		}
		for method := range methods {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodOptions, s.at.page+named.ReplaceAllString(path, "x"), nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Access-Control-Request-Method", strings.ToUpper(method))
			req.Header.Set("Access-Control-Request-Headers", "authorization")
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			h := resp.Header
			if resp.StatusCode != http.StatusNoContent || h.Get("Access-Control-Allow-Origin") != "*" ||
				!strings.Contains(h.Get("Access-Control-Allow-Headers"), "Authorization") ||
				!strings.Contains(h.Get("Access-Control-Allow-Methods"), strings.ToUpper(method)) {
				t.Errorf("%s %s: %s %v", method, path, resp.Status, h)
			}
		}
	}
}
