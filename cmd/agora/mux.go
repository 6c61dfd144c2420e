package main

import (
	"bytes"
	"io"
	"net/http"
	"net/netip"
	"path"
	"time"

	feedsdoors "agora/feeds/doors"
	"agora/httpapi"
)

// doors are the handlers of one relay by path; nil ones are not there.
type doors struct {
	relay   http.Handler    // "/": websocket, NIP-11, NIP-86, the web client
	about   http.Handler    // /about: what the relay is, for people
	web     http.Handler    // /assets/: the web client's files
	graph   http.Handler    // /v1/graph/…
	bring   http.Handler    // POST /v1/graph/{npub}/bring
	export  http.Handler    // /v1/export
	feeds   http.Handler    // /v1/feeds…, /v1/why/, /xrpc/, /.well-known/did.json, /openapi.json
	market  http.Handler    // /v1/rankers…, /v1/models/
	spam    http.Handler    // /v1/spam/{id}
	groups  http.Handler    // /v1/groups…, /v1/members/
	polls   http.Handler    // /v1/polls…
	listed  <-chan struct{} // closed once the feeds are listed
	metrics http.Handler    // /metrics
	health  http.Handler    // /healthz
}

// streamStall is how long one write of an HTTP answer may wait for its reader.
const streamStall = 30 * time.Second

// mux is the main address. Every path that is not named here is 404, for a
// websocket too (NIP-01).
func (d doors) mux(metricsElsewhere bool) http.Handler {
	m := http.NewServeMux()
	m.Handle("/{$}", d.relay)
	handle(m, "/about", d.about)
	handle(m, "/v1/", httpapi.Open("GET, HEAD, POST", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		httpapi.NoAddress(w)
	})))
	handle(m, "/assets/", d.web)
	handle(m, "/v1/graph/", d.graph)
	for _, path := range []string{"/f", "/xrpc", "/assets", "/v1", "/v1/graph", "/v1/why", "/v1/models", "/v1/members"} {
		m.Handle(path, http.NotFoundHandler()) // no redirect
	}
	handle(m, "/v1/graph/{npub}/bring", d.bring)
	handle(m, "/v1/export", d.export)
	handle(m, "/v1/spam/{id}", d.spam)
	handle(m, "/v1/polls", d.polls)
	handle(m, "/v1/polls/", d.polls)
	for _, path := range []string{"/v1/feeds", "/v1/feeds/", "/v1/why/", "/xrpc/", "/.well-known/did.json", "/openapi.json"} {
		handle(m, path, d.whenListed(d.feeds))
	}
	if d.feeds == nil { // polls and groups are described there too
		m.Handle("/openapi.json", httpapi.Open("GET, HEAD", http.HandlerFunc(feedsdoors.OpenAPI)))
	}
	for _, path := range []string{"/v1/groups", "/v1/groups/", "/v1/members/"} {
		handle(m, path, d.groups)
	}
	for _, path := range []string{"/v1/rankers", "/v1/rankers/", "/v1/models/"} {
		handle(m, path, d.whenListed(d.market))
	}
	if d.feeds != nil {
		m.Handle("/f/", d.whenListed(d.relay))
	}
	handle(m, "GET /healthz", d.health)
	if !metricsElsewhere && d.metrics != nil {
		m.Handle("GET /metrics", loopbackOnly(d.metrics))
	}
	return exactPaths(wholeBody(m))
}

// listingTime is how long a question waits for the feeds of a relay that has
// just started.
const listingTime = 10 * time.Second

// whenListed lets questions for feeds wait until the feeds are listed: a
// client that comes back right after a start would take 404 for an answer.
func (d doors) whenListed(next http.Handler) http.Handler {
	if next == nil || d.listed == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		late := time.NewTimer(listingTime)
		defer late.Stop()
		select {
		case <-d.listed:
		case <-late.C:
		case <-r.Context().Done():
		}
		next.ServeHTTP(w, r)
	})
}

// inside is the mux of metrics_listen.
func (d doors) inside() http.Handler {
	m := http.NewServeMux()
	m.Handle("GET /metrics", d.metrics)
	m.Handle("GET /healthz", d.health)
	return m
}

// handle mounts what exists, with a deadline on each write in place of one on
// the whole answer, which may be long.
func handle(m *http.ServeMux, pattern string, h http.Handler) {
	if h == nil {
		return
	}
	m.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(&patient{ResponseWriter: w, control: http.NewResponseController(w)}, r)
	})
}

// patient gives each write its own deadline: a reader that takes nothing is
// let go, one that takes its time is not.
type patient struct {
	http.ResponseWriter
	control *http.ResponseController
}

func (p *patient) Write(b []byte) (int, error) {
	if err := p.control.SetWriteDeadline(time.Now().Add(streamStall)); err != nil {
		return 0, err
	}
	return p.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (p *patient) Unwrap() http.ResponseWriter { return p.ResponseWriter }

const (
	bodyTime = 30 * time.Second // for a request's body to arrive
	bodyMost = 128 << 10        // bytes; no request of ours needs half of it
)

// wholeBody reads the body before the handler runs, so that nobody holds a
// handler by sending a byte now and then.
func wholeBody(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength == 0 {
			next.ServeHTTP(w, r)
			return
		}
		control := http.NewResponseController(w)
		if err := control.SetReadDeadline(time.Now().Add(bodyTime)); err != nil {
			httpapi.Fail(w, http.StatusInternalServerError, "this connection has no deadlines")
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, bodyMost))
		if err != nil {
			w.Header().Set("Connection", "close")
			httpapi.Fail(w, http.StatusRequestEntityTooLarge, "the body is too large, or did not arrive in time")
			return
		}
		if err := control.SetReadDeadline(time.Time{}); err != nil {
			httpapi.Fail(w, http.StatusInternalServerError, "this connection has no deadlines")
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})
}

// exactPaths keeps the mux from redirecting "//" and "/a/../b": a path is
// known as it stands, or it is 404.
func exactPaths(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		clean := path.Clean(r.URL.Path)
		if last := len(r.URL.Path) - 1; last > 0 && r.URL.Path[last] == '/' && clean != "/" {
			clean += "/"
		}
		if r.URL.Path != clean {
			http.NotFound(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// loopbackOnly shows the metrics to programs on this machine. A request that
// came through a proxy has come from elsewhere.
func loopbackOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		forwarded := r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Forwarded") != ""
		if err != nil || !from.Addr().Unmap().IsLoopback() || forwarded {
			http.NotFound(w, r)
			return
		}
		next.ServeHTTP(w, r)
	})
}
