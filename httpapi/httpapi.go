// Package httpapi is how the addresses below /v1 answer: in JSON, a refusal as
// {"error": text}, and readable by any web page, for relays are used from pages
// of other origins (NIP-11 asks the same of its document). It knows nothing of
// what is answered.
package httpapi

import (
	"encoding/json"
	"net/http"
)

// Problem is the body of every answer that is no success.
type Problem struct {
	Error string `json:"error"` // what went wrong, and what to do
}

// Reply writes body as JSON, and has caches ask again each time. Content-Type
// and Cache-Control that the caller has set before stay.
func Reply(w http.ResponseWriter, status int, body any) {
	h := w.Header()
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json")
	}
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-cache")
	}
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that has left needs no answer
}

// Fail writes text as a Problem.
func Fail(w http.ResponseWriter, status int, text string) {
	Reply(w, status, Problem{text})
}

// NoAddress refuses an address that is not there.
func NoAddress(w http.ResponseWriter) {
	Fail(w, http.StatusNotFound, "no such address; GET /openapi.json names them all")
}

// Routed is mux, but that it refuses wrong addresses and methods as everything
// else is refused here, and not in plain text.
func Routed(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h, pattern := mux.Handler(r)
		if pattern != "" {
			mux.ServeHTTP(w, r)
			return
		}
		said := unsaid{header: http.Header{}}
		h.ServeHTTP(&said, r)
		if allow := said.header.Get("Allow"); said.status == http.StatusMethodNotAllowed {
			w.Header().Set("Allow", allow)
			Fail(w, said.status, "this address takes "+allow)
			return
		}
		NoAddress(w)
	})
}

// unsaid keeps what a mux would answer.
type unsaid struct {
	header http.Header
	status int
}

func (u *unsaid) Header() http.Header         { return u.header }
func (u *unsaid) WriteHeader(status int)      { u.status = status }
func (u *unsaid) Write(b []byte) (int, error) { return len(b), nil }

// Open lets any web page read what next answers, and answers preflights: pages
// may use methods, a list such as "GET, HEAD", and may sign (NIP-98).
func Open(methods string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("Access-Control-Expose-Headers", "Content-Disposition, Retry-After, WWW-Authenticate")
		if r.Method != http.MethodOptions {
			next.ServeHTTP(w, r)
			return
		}
		h.Set("Access-Control-Allow-Methods", methods+", OPTIONS")
		h.Set("Access-Control-Allow-Headers", "Authorization, *") // a star does not cover Authorization
		h.Set("Access-Control-Max-Age", "86400")                  // seconds
		w.WriteHeader(http.StatusNoContent)
	})
}

// BeginEvents begins an answer of server-sent events
// (https://html.spec.whatwg.org/multipage/server-sent-events.html).
func BeginEvents(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Accel-Buffering", "no") // a proxy must not collect
	w.WriteHeader(http.StatusOK)
}
