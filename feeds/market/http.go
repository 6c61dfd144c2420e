package market

import (
	"bytes"
	"net/http"
	"strings"
	"time"

	"agora/httpapi"
	"agora/ranker"

	"github.com/nbd-wtf/go-nostr/nip19"
)

// Shown is a listing as GET /v1/rankers tells it.
type Shown struct {
	Ref          string   `json:"ref"` // its name at every door
	Slug         string   `json:"slug"`
	Name         string   `json:"name"`
	About        string   `json:"about"`
	Picture      string   `json:"picture,omitempty"`
	Address      string   `json:"address"`
	Naddr        string   `json:"naddr"`
	Author       string   `json:"author"`     // hex
	Key          string   `json:"key"`        // hex, under which this relay answers for it
	Version      string   `json:"version"`    // id of the manifest
	Created      int64    `json:"created_at"` // of the manifest, Unix seconds
	Status       string   `json:"status"`     // "admitted" or "not admitted"
	Model        *File    `json:"model,omitempty"`
	Inputs       []string `json:"inputs"`
	Knobs        []Knob   `json:"knobs"`
	Stages       []string `json:"stages"`
	Fallback     string   `json:"fallback,omitempty"`
	Personalized bool     `json:"personalized"`
	Privacy      string   `json:"privacy"`
	License      string   `json:"license,omitempty"`
	Prev         string   `json:"prev,omitempty"`
}

// File is a model's file.
type File struct {
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`          // bytes
	URL    string `json:"url,omitempty"` // where this relay serves it
}

// Show is l as everybody may see it.
func (m *Market) Show(l *Listing) Shown {
	s := Shown{
		Ref: m.Ref(l), Slug: l.Slug, Name: l.Name, About: l.About, Picture: l.Picture, Address: l.Address, Author: l.Author,
		Key: l.Key, Version: l.Event.ID, Created: int64(l.Event.CreatedAt), Status: "admitted",
		Inputs: orEmpty(l.Inputs), Knobs: orEmpty(l.Knobs), Stages: orEmpty(l.Stages), Fallback: l.Fallback,
		Personalized: l.Personalized, Privacy: l.Privacy.String(), License: l.License,
	}
	if naddr, err := nip19.EncodeEntity(l.Author, KindManifest, l.Slug, nil); err == nil {
		s.Naddr = naddr
	}
	if !l.Admitted {
		s.Status = "not admitted"
	}
	if l.Model != (ranker.Digest{}) {
		s.Model = &File{SHA256: l.Model.String(), Size: l.Size}
		if model := m.cfg.Models[l.Model]; model != nil {
			s.Model.Size, s.Model.URL = int64(len(model)), "/v1/models/"+l.Model.String()
		}
	}
	if l.Prev != (ranker.Digest{}) {
		s.Prev = l.Prev.String()
	}
	return s
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{} // [] in JSON, not null
	}
	return list
}

// Handler serves /v1/rankers, /v1/rankers/{name} and /v1/models/{sha256}.
func (m *Market) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/rankers", m.serveAll)
	mux.HandleFunc("GET /v1/rankers/{name}", m.serveOne)
	mux.HandleFunc("GET /v1/models/{sha256}", m.serveModel)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			httpapi.Fail(w, http.StatusMethodNotAllowed, "this address is only read: use GET")
			return
		}
		httpapi.Fail(w, http.StatusNotFound, "no such address; ask for /v1/rankers, /v1/rankers/{name} or /v1/models/{sha256}")
	})
	return httpapi.Open("GET, HEAD", mux)
}

func (m *Market) serveAll(w http.ResponseWriter, _ *http.Request) {
	all := []Shown{}
	for _, l := range m.Listings() {
		all = append(all, m.Show(l))
	}
	httpapi.Reply(w, http.StatusOK, map[string]any{"rankers": all})
}

func (m *Market) serveOne(w http.ResponseWriter, r *http.Request) {
	l, ok := m.Listing(r.PathValue("name"))
	if !ok {
		httpapi.Fail(w, http.StatusNotFound, "no ranker of this name is listed here; GET /v1/rankers names them all")
		return
	}
	reviews, err := m.Reviews(r.Context(), l.Address)
	if err != nil {
		m.cfg.Logger.Error("count reviews", "listing", l.Address, "err", err)
		httpapi.Fail(w, http.StatusServiceUnavailable, "its reviews could not be read now")
		return
	}
	httpapi.Reply(w, http.StatusOK, map[string]any{"ranker": m.Show(l), "manifest": l.Event, "reviews": reviews})
}

// serveModel serves a file by its digest, which never changes what it names.
func (m *Market) serveModel(w http.ResponseWriter, r *http.Request) {
	d, err := ranker.ParseDigest(strings.TrimSuffix(r.PathValue("sha256"), ".onnx"))
	if err != nil {
		httpapi.Fail(w, http.StatusBadRequest, err.Error())
		return
	}
	model := m.cfg.Models[d]
	if model == nil {
		httpapi.Fail(w, http.StatusNotFound, "this relay holds no model of that digest")
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Content-Disposition", `attachment; filename="`+d.String()+`.onnx"`)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("ETag", `"`+d.String()+`"`)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(model))
}
