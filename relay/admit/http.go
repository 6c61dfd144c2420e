package admit

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"agora/relay/lowhex"

	"github.com/nbd-wtf/go-nostr"
)

const (
	httpAuthKind   = 27235            // NIP-98
	httpAuthWindow = 60 * time.Second // how far created_at may be from now, either way
	httpAuthHeader = 8 << 10          // bytes of an Authorization header; an event without content takes 700
)

// mostHTTPIDs bounds each of the two generations of the replay cache, in ids
// of about 60 bytes. When it is full nothing new is let in: a replay would
// harm more than a wait.
const mostHTTPIDs = 1 << 17

// Unauthorized says why the signature of a request does not count; callers
// answer it with status 401.
type Unauthorized struct{ Reason string }

func (e *Unauthorized) Error() string { return e.Reason }

func unauthorized(format string, args ...any) error {
	return &Unauthorized{Reason: fmt.Sprintf(format, args...)}
}

// httpAuthAgain is how long the signature of a GET counts again. NIP-98 has
// whole seconds and no nonce, so a client that asks the same twice within one
// sends the same event twice; a read that was heard of later is still refused.
const httpAuthAgain = 3 * time.Second

// HTTPAuth tells which key signed an HTTP request (NIP-98). Each signature
// counts once, that of a GET or HEAD for some seconds.
type HTTPAuth struct {
	bases []base

	mu      sync.Mutex             // guards what follows
	turned  time.Time              // when fresh was begun
	fresh   map[[16]byte]time.Time // when an id was first used
	stale   map[[16]byte]time.Time // what was fresh before; kept for one more turn
	mostIDs int                    // mostHTTPIDs, less in a test
}

// base is a public URL, taken apart.
type base struct {
	tls  bool
	host string // lower case, with its port
	path string // without a trailing slash, as escaped in the URL
}

// NewHTTPAuth checks requests against the addresses under which clients reach
// us: http, https, ws or wss. The Host header is never believed, for whoever
// holds a signature made for another site could send that along too.
func NewHTTPAuth(publicURLs []string) (*HTTPAuth, error) {
	a := &HTTPAuth{fresh: map[[16]byte]time.Time{}, mostIDs: mostHTTPIDs}
	for _, raw := range publicURLs {
		u, err := url.Parse(raw)
		if err != nil {
			return nil, fmt.Errorf("public URL %q: %w", raw, err)
		}
		b, _, ok := takeApart(u)
		if !ok || u.RawQuery != "" {
			return nil, fmt.Errorf("public URL %q: want ws://, wss://, http:// or https://, a host, and no query", raw)
		}
		a.bases = append(a.bases, b)
	}
	if len(a.bases) == 0 {
		return nil, fmt.Errorf("HTTP signatures name the URL they are for: at least one public URL is needed")
	}
	return a, nil
}

// takeApart normalises scheme, host and port; socket is true for ws and wss.
func takeApart(u *url.URL) (b base, socket, ok bool) {
	port := "80"
	switch u.Scheme {
	case "http", "ws":
	case "https", "wss":
		b.tls, port = true, "443"
	default:
		return b, false, false
	}
	if u.Port() != "" {
		port = u.Port()
	}
	b.host = strings.ToLower(u.Hostname()) + ":" + port
	b.path = strings.TrimSuffix(u.EscapedPath(), "/")
	return b, strings.HasPrefix(u.Scheme, "ws"), u.Hostname() != "" && u.User == nil && u.Fragment == ""
}

// Check returns the hex public key that signed r with this very body. Every
// "no" is an *Unauthorized.
func (a *HTTPAuth) Check(r *http.Request, body []byte) (pubkey string, err error) {
	ev, err := signedBy(r)
	if err != nil {
		return "", err
	}
	if ev.Kind != httpAuthKind {
		return "", unauthorized("the event in the Authorization header must have kind %d, not %d", httpAuthKind, ev.Kind)
	}
	if off := time.Since(ev.CreatedAt.Time()); off > httpAuthWindow || off < -httpAuthWindow {
		return "", unauthorized("created_at is %s away from our clock, more than %s", off.Abs().Round(time.Second), httpAuthWindow)
	}
	if err := a.checkTags(ev, r, body); err != nil {
		return "", err
	}
	if !ev.CheckID() {
		return "", unauthorized("the id is not the hash of the event")
	}
	if ok, err := ev.CheckSignature(); err != nil || !ok {
		return "", unauthorized("the signature does not match")
	}
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	if err := a.spend(ev.ID, reads); err != nil {
		return "", err
	}
	return ev.PubKey, nil
}

// signedBy reads the event out of the Authorization header.
func signedBy(r *http.Request) (*nostr.Event, error) {
	headers := r.Header.Values("Authorization")
	if len(headers) != 1 {
		return nil, unauthorized("want one Authorization header: Nostr <base64 of a signed event of kind %d>", httpAuthKind)
	}
	if len(headers[0]) > httpAuthHeader {
		return nil, unauthorized("the Authorization header is longer than %d bytes", httpAuthHeader)
	}
	scheme, token, _ := strings.Cut(headers[0], " ")
	if !strings.EqualFold(scheme, "Nostr") {
		return nil, unauthorized("the Authorization header must begin with Nostr")
	}
	token = strings.TrimRight(strings.TrimSpace(token), "=")
	token = strings.NewReplacer("-", "+", "_", "/").Replace(token) // either alphabet is in use
	raw, err := base64.RawStdEncoding.DecodeString(token)
	if err != nil {
		return nil, unauthorized("the Authorization header is not base64")
	}
	ev := new(nostr.Event)
	if err := ev.UnmarshalJSON(raw); err != nil {
		return nil, unauthorized("the Authorization header does not hold an event")
	}
	if !lowhex.Is(ev.ID, 64) || !lowhex.Is(ev.PubKey, 64) || !lowhex.Is(ev.Sig, 128) {
		return nil, unauthorized("id, pubkey and sig must be 64, 64 and 128 lower-case hex digits")
	}
	return ev, nil
}

// checkTags compares u, method and payload with the request.
func (a *HTTPAuth) checkTags(ev *nostr.Event, r *http.Request, body []byte) error {
	u, _, err := only(ev, "u")
	if err != nil {
		return err
	}
	if !a.names(u, r) {
		return unauthorized("the u tag must be the absolute URL of this request, by a public URL of this relay")
	}
	method, _, err := only(ev, "method")
	if err != nil {
		return err
	}
	if !strings.EqualFold(method, r.Method) { // nostr-tools writes what its caller gave, "post" in its own example
		return unauthorized("the method tag must be %s", r.Method)
	}
	payload, given, err := only(ev, "payload")
	if err != nil {
		return err
	}
	if !given && len(body) == 0 && r.Method != http.MethodPost && r.Method != http.MethodPut && r.Method != http.MethodPatch {
		return nil
	}
	sum := sha256.Sum256(body)
	if payload != hex.EncodeToString(sum[:]) {
		return unauthorized("the payload tag must be the SHA-256 of the body, in lower-case hex")
	}
	return nil
}

// only returns the value of a tag that may stand at most once.
func only(ev *nostr.Event, name string) (value string, given bool, err error) {
	for _, tag := range ev.Tags {
		if len(tag) < 2 || tag[0] != name {
			continue
		}
		if given {
			return "", true, unauthorized("more than one %s tag", name)
		}
		value, given = tag[1], true
	}
	return value, given, nil
}

// names reports whether raw is the URL of r under one of our public URLs. A
// proxy may serve us below a path, and may or may not strip it. For the relay
// URI itself the ws and wss forms are as good as http and https.
func (a *HTTPAuth) names(raw string, r *http.Request) bool {
	u, err := url.Parse(raw)
	if err != nil || u.RawQuery != r.URL.RawQuery {
		return false
	}
	b, socket, ok := takeApart(u)
	if !ok {
		return false
	}
	path := strings.TrimSuffix(r.URL.EscapedPath(), "/")
	for _, own := range a.bases {
		if b.tls != own.tls || b.host != own.host {
			continue
		}
		if socket && (b.path != own.path || path != "" && path != own.path) {
			continue
		}
		if b.path == path || b.path == own.path+path {
			return true
		}
	}
	return false
}

// spend lets an id through once, or, when it only reads, for httpAuthAgain. An
// id counts for at most two windows from now; it stays in fresh, then in stale,
// for at least that long.
func (a *HTTPAuth) spend(id string, reads bool) error {
	var key [16]byte
	if _, err := hex.Decode(key[:], []byte(id[:32])); err != nil {
		return unauthorized("the id is not hex")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if now.Sub(a.turned) > 2*httpAuthWindow {
		a.stale, a.fresh, a.turned = a.fresh, map[[16]byte]time.Time{}, now
	}
	first, known := a.fresh[key]
	if !known {
		first, known = a.stale[key]
	}
	switch {
	case known && reads && now.Sub(first) < httpAuthAgain:
		return nil
	case known:
		return unauthorized("this signature was used before: sign each request anew, with a nonce tag when two fall into one second")
	case len(a.fresh) >= a.mostIDs:
		return unauthorized("too many signed requests at the moment: try again in two minutes")
	}
	a.fresh[key] = now
	return nil
}
