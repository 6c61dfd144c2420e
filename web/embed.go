// Package web is the web client: what Vite has built out of this directory,
// and the handler that serves it. It decides nothing; all it shows comes from
// the relay's own addresses.
package web

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"
)

// The folder is there without npm, for the sake of go build; then app is not
// in it.
//
//go:embed all:dist
var dist embed.FS

// ErrNotBuilt means that the program was built without npm run build.
var ErrNotBuilt = errors.New("the web client was not built in: make build does")

// Policy is the Content-Security-Policy of the page: nothing from any other
// origin, no inline script or style, and no string that becomes HTML.
const Policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// Site serves the client at / and its files below /assets/.
type Site struct {
	files map[string]*file // by path
}

type file struct {
	plain, zipped []byte // zipped is empty where it would not be smaller
	kind, etag    string
}

// New reads what is embedded. ErrNotBuilt when that is nothing.
func New() (*Site, error) {
	return fromFS(dist)
}

func fromFS(tree fs.FS) (*Site, error) {
	app, err := fs.Sub(tree, "dist/app")
	if err != nil {
		return nil, err
	}
	if _, err := fs.Stat(app, "index.html"); errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotBuilt
	}
	s := &Site{files: map[string]*file{}}
	err = fs.WalkDir(app, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := fs.ReadFile(app, name)
		if err != nil {
			return err
		}
		at := "/" + name
		if name == "index.html" {
			at = "/"
		}
		s.files[at], err = newFile(name, body)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the embedded web client: %w", err)
	}
	return s, nil
}

// kinds are the media types of what Vite writes; the machine's own table may
// know others.
var kinds = map[string]string{
	".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml", ".png": "image/png",
}

func newFile(name string, body []byte) (*file, error) {
	sum := sha256.Sum256(body)
	if kinds[path.Ext(name)] == "" {
		return nil, fmt.Errorf("%s: no media type is known for it", name)
	}
	f := &file{plain: body, kind: kinds[path.Ext(name)], etag: `"` + hex.EncodeToString(sum[:12]) + `"`}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(body); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	if b.Len() < len(body) {
		f.zipped = b.Bytes()
	}
	return f, nil
}

func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "this is a Nostr relay: open a websocket, or GET", http.StatusMethodNotAllowed)
		return
	}
	f := s.files[r.URL.Path]
	if f == nil {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", f.kind)
	h.Set("Content-Security-Policy", Policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
	h.Set("Vary", "Accept, Accept-Encoding")
	h.Set("Cache-Control", "no-cache")
	if r.URL.Path != "/" && !strings.HasPrefix(path.Base(r.URL.Path), "icon.") { // the name of every other file has its hash
		h.Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	body := f.plain
	h.Set("ETag", f.etag)
	if f.zipped != nil && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		body = f.zipped
		h.Set("Content-Encoding", "gzip")
		h.Set("ETag", strings.TrimSuffix(f.etag, `"`)+`-gzip"`)
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}
