package web

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
)

func built(t *testing.T) *Site {
	t.Helper()
	s, err := fromFS(fstest.MapFS{
		"dist/.gitkeep":               {},
		"dist/app/index.html":         {Data: []byte("<!doctype html><title>x</title>" + strings.Repeat(" ", 500))},
		"dist/app/assets/index-ab.js": {Data: []byte(strings.Repeat("f();", 200))},
		"dist/app/assets/icon.svg":    {Data: []byte("<svg/>")},
		"dist/app/assets/icon.png":    {Data: []byte("\x89PNG")},
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ask(s *Site, method, path, encoding string) *http.Response {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(method, path, nil)
	r.Header.Set("Accept-Encoding", encoding)
	s.ServeHTTP(w, r)
	return w.Result()
}

func TestProgramBuiltWithoutNpmSaysSo(t *testing.T) {
	if _, err := fromFS(fstest.MapFS{"dist/.gitkeep": {}}); !errors.Is(err, ErrNotBuilt) {
		t.Errorf("got %v", err)
	}
}

func TestEveryFileIsServedUnderThePolicy(t *testing.T) {
	s := built(t)
	for path, kind := range map[string]string{"/": "text/html", "/assets/index-ab.js": "text/javascript", "/assets/icon.svg": "image/svg+xml", "/assets/icon.png": "image/png"} {
		resp := ask(s, http.MethodGet, path, "")
		h := resp.Header
		if resp.StatusCode != 200 || !strings.HasPrefix(h.Get("Content-Type"), kind) {
			t.Errorf("%s: %s %s", path, resp.Status, h.Get("Content-Type"))
		}
		if h.Get("Content-Security-Policy") != Policy || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s lacks a header: %v", path, h)
		}
	}
	for _, never := range []string{"unsafe", "http:", "https:", "data:", "blob:", "*"} {
		if strings.Contains(Policy, never) {
			t.Errorf("the policy allows %s", never)
		}
	}
}

func TestOnlyNamedFilesAreServedAndOnlyToReaders(t *testing.T) {
	s := built(t)
	for _, path := range []string{"/index.html", "/assets/", "/assets", "/assets/../index.html", "/.gitkeep", "/x"} {
		if resp := ask(s, http.MethodGet, path, ""); resp.StatusCode != 404 {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	if resp := ask(s, http.MethodPost, "/", ""); resp.StatusCode != 405 || resp.Header.Get("Allow") == "" {
		t.Errorf("POST: %s", resp.Status)
	}
}

func TestHashedFilesAreKeptAndThePageIsAskedForAgain(t *testing.T) {
	s := built(t)
	if got := ask(s, http.MethodGet, "/assets/index-ab.js", "").Header.Get("Cache-Control"); !strings.Contains(got, "immutable") {
		t.Errorf("a file with its hash in its name: %q", got)
	}
	for _, path := range []string{"/", "/assets/icon.svg", "/assets/icon.png"} {
		if got := ask(s, http.MethodGet, path, "").Header.Get("Cache-Control"); got != "no-cache" {
			t.Errorf("%s: %q", path, got)
		}
	}
}

func TestZippedAndPlainHaveDifferentTags(t *testing.T) {
	s := built(t)
	plain, zipped := ask(s, http.MethodGet, "/", ""), ask(s, http.MethodGet, "/", "gzip, br")
	if zipped.Header.Get("Content-Encoding") != "gzip" || plain.Header.Get("Content-Encoding") != "" {
		t.Error("who takes gzip gets it, who does not does not")
	}
	if plain.Header.Get("ETag") == zipped.Header.Get("ETag") {
		t.Error("a cache would mix them up")
	}
	a, err := io.ReadAll(plain.Body)
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(zipped.Body)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) >= len(a) {
		t.Errorf("%d bytes zipped, %d plain", len(b), len(a))
	}
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("If-None-Match", plain.Header.Get("ETag"))
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != http.StatusNotModified {
		t.Errorf("what the reader has is sent again: %d", w.Code)
	}
}
