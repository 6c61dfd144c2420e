package graph

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"agora/httpapi"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"
)

const (
	defaultLimit = 100  // keys on a page
	mostLimit    = 1000 // keys on a page
	mostCode     = 5000 // characters of an nprofile, NIP-19's advice

	// catchUpWait is how long an answer waits for the graph to reflect what was
	// stored before the question came; then it answers with what it has.
	catchUpWait = time.Second
)

// Handler serves everything under /v1/graph/.
func (g *Graph) Handler() (http.Handler, error) {
	if g.cfg.Visible == nil {
		return nil, errors.New("graph: Config.Visible is missing: without it the export cannot know what may be read")
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/graph/{key}", g.about(g.serveKey))
	mux.HandleFunc("GET /v1/graph/{key}/follows", g.about(g.serveFollows))
	mux.HandleFunc("GET /v1/graph/{key}/followers", g.about(g.serveFollowers))
	mux.HandleFunc("GET /v1/graph/{key}/mutes", g.about(g.serveMutes))
	mux.HandleFunc("GET /v1/graph/{key}/lists", g.about(g.serveLists))
	mux.HandleFunc("GET /v1/graph/{key}/trust", g.about(g.serveTrust))
	mux.HandleFunc("GET /v1/graph/{key}/assertions", g.about(g.serveAssertions))
	mux.HandleFunc("GET /v1/graph/{key}/export", g.serveExport)
	mux.HandleFunc("/", unknownPath)
	return httpapi.Open("GET, HEAD", readOnly(mux)), nil
}

// readOnly refuses what would change something: nothing here does.
func readOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD, OPTIONS")
			httpapi.Fail(w, http.StatusMethodNotAllowed, "this address is only read: use GET")
			return
		}
		w.Header().Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

func unknownPath(w http.ResponseWriter, _ *http.Request) {
	httpapi.Fail(w, http.StatusNotFound, "no such address; ask for /v1/graph/{npub}, or below it for "+
		"follows, followers, mutes, lists, trust, assertions or export")
}

// badRequest is a mistake of the caller, in words that say what to do.
type badRequest string

func (b badRequest) Error() string { return string(b) }

// about reads the key of the address, waits until the graph has caught up, and
// turns the answer or the mistake into JSON.
func (g *Graph) about(answer func(r *http.Request, of key) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		k, err := parseKey(r.PathValue("key"))
		if err != nil {
			httpapi.Fail(w, http.StatusBadRequest, err.Error())
			return
		}
		select {
		case <-g.built:
		default:
			w.Header().Set("Retry-After", "5") // seconds
			httpapi.Fail(w, http.StatusServiceUnavailable, "the graph is still being read from the store; ask again in some seconds")
			return
		}
		g.settle(r.Context())
		body, err := answer(r, k)
		if bad, ok := errors.AsType[badRequest](err); ok {
			httpapi.Fail(w, http.StatusBadRequest, string(bad))
			return
		}
		if err != nil {
			g.cfg.Logger.Error("graph over HTTP", "path", r.URL.Path, "error", err)
			httpapi.Fail(w, http.StatusInternalServerError, "the relay could not answer; its operator finds the reason in the log")
			return
		}
		httpapi.Reply(w, http.StatusOK, body)
	}
}

// settle waits for the graph to reflect all that is stored by now, so that who
// has just published a list finds it in the answer.
func (g *Graph) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, catchUpWait)
	defer cancel()
	_ = g.WaitFor(ctx, g.cfg.Store.Head()) // late is answered with what there is
}

// parseKey reads npub, nprofile or hex.
func parseKey(s string) (k key, err error) {
	s = strings.TrimPrefix(s, "nostr:")
	low := strings.ToLower(s) // QR codes hold them in upper case
	if k, ok := readKey([]byte(low)); ok {
		return k, nil
	}
	if strings.HasPrefix(low, "nsec1") {
		return k, badRequest("this is a SECRET key, and it has now been sent over the network: use the npub, and consider the key lost")
	}
	bad := badRequest(fmt.Sprintf("%.80q is not a public key: give an npub, an nprofile or 64 hex characters", s))
	if len(s) > mostCode || !strings.HasPrefix(low, "npub1") && !strings.HasPrefix(low, "nprofile1") {
		return k, bad // nip19.Decode panics on some codes of other kinds
	}
	_, value, err := nip19.Decode(s)
	if err != nil {
		return k, bad
	}
	text, _ := value.(string)
	if profile, ok := value.(nostr.ProfilePointer); ok {
		text = profile.PublicKey
	}
	if k, ok := readKey([]byte(text)); ok {
		return k, nil
	}
	return k, bad
}

// names gives a key both its written forms.
func names(k key) (pubkey, npub string) {
	pubkey = hex.EncodeToString(k[:])
	npub, _ = nip19.EncodePublicKey(pubkey) // fails only on bad hex
	return pubkey, npub
}

// page is what part of a list is wanted.
type page struct {
	limit  int
	cursor string
}

func readPage(q url.Values) (p page, err error) {
	p = page{limit: defaultLimit, cursor: q.Get("cursor")}
	if s := q.Get("limit"); s != "" {
		p.limit, err = strconv.Atoi(s)
		if err != nil || p.limit < 1 || p.limit > mostLimit {
			return p, badRequest(fmt.Sprintf("limit must be a number from 1 to %d, not %.40q", mostLimit, s))
		}
	}
	return p, nil
}

// offset reads a cursor that counts.
func (p page) offset() (int, error) {
	if p.cursor == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(p.cursor, 10, 32)
	if err != nil {
		return 0, badRequest(fmt.Sprintf("%.40q is not a cursor: send the one of the page before, or none to begin", p.cursor))
	}
	return int(n), nil
}

// optionalKey reads a key from the query; none is given when it is absent.
func optionalKey(q url.Values, name string) (pubkey string, err error) {
	s := q.Get(name)
	if s == "" {
		return "", nil
	}
	k, err := parseKey(s)
	if err != nil {
		return "", badRequest(name + ": " + err.Error())
	}
	return hex.EncodeToString(k[:]), nil
}
