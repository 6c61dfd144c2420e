package httpapi_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"agora/httpapi"
)

func ask(h http.Handler, method string) *http.Response {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, "/v1/x", nil))
	return w.Result()
}

func TestPagesOfOtherOriginsReadAndSign(t *testing.T) {
	h := httpapi.Open("GET, POST", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		httpapi.Fail(w, http.StatusNotFound, "not here")
	}))
	got := ask(h, http.MethodGet)
	if got.StatusCode != http.StatusNotFound || got.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("GET: %d %v", got.StatusCode, got.Header)
	}
	before := ask(h, http.MethodOptions)
	if before.StatusCode != http.StatusNoContent || before.Header.Get("Access-Control-Allow-Methods") != "GET, POST, OPTIONS" ||
		!strings.HasPrefix(before.Header.Get("Access-Control-Allow-Headers"), "Authorization") {
		t.Errorf("preflight: %d %v", before.StatusCode, before.Header)
	}
}

func TestWrongAddressesAndMethodsAreRefusedInJSON(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/x", func(w http.ResponseWriter, r *http.Request) { httpapi.Reply(w, http.StatusOK, r.Pattern) })
	mux.HandleFunc("GET /v1/x/{id}", func(w http.ResponseWriter, r *http.Request) { httpapi.Reply(w, http.StatusOK, r.PathValue("id")) })
	for _, c := range []struct {
		method, path string
		status       int
		says         string
	}{
		{"GET", "/v1/x", 200, `"GET /v1/x"`}, {"GET", "/v1/x/7", 200, `"7"`}, {"HEAD", "/v1/x", 200, ""},
		{"DELETE", "/v1/x", 405, `{"error":"this address takes GET, HEAD"}`},
		{"GET", "/v1/x/7/8", 404, `{"error":"no such address; GET /openapi.json names them all"}`},
	} {
		w := httptest.NewRecorder()
		httpapi.Routed(mux).ServeHTTP(w, httptest.NewRequest(c.method, c.path, nil))
		got := strings.TrimSpace(w.Body.String())
		if w.Code != c.status || c.says != "" && got != c.says || w.Header().Get("Content-Type") != "application/json" ||
			(w.Header().Get("Allow") == "GET, HEAD") != (c.status == 405) {
			t.Errorf("%s %s: %d %v %s", c.method, c.path, w.Code, w.Header(), got)
		}
	}
}

func TestRefusalIsJSONAndKeepsTheCallersCacheControl(t *testing.T) {
	w := httptest.NewRecorder()
	w.Header().Set("Cache-Control", "no-store")
	httpapi.Fail(w, http.StatusBadRequest, `say "please"`)
	if w.Code != http.StatusBadRequest || w.Body.String() != `{"error":"say \"please\""}`+"\n" ||
		w.Header().Get("Content-Type") != "application/json" || w.Header().Get("Cache-Control") != "no-store" {
		t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
	}
}
