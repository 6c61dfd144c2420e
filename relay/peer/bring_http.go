package peer

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"

	"agora/httpapi"
)

// maxRequest bounds the body of a request to bring, in bytes; none is needed.
const maxRequest = 4096

// Handler serves POST /v1/graph/{npub}/bring. check says who signed a request
// (NIP-98); only the key itself may have its events fetched. The answer is
// JSON lines: {"relay": Summary} now and then, and {"done": Brought} or
// {"error": text} at the end.
func (b *Bringer) Handler(check func(r *http.Request, body []byte) (pubkey string, err error)) http.Handler {
	return httpapi.Open("POST", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", "POST, OPTIONS")
			httpapi.Fail(w, http.StatusMethodNotAllowed, "bring is asked for by POST")
			return
		}
		key, ok := parseKey(r.PathValue("npub"))
		if !ok {
			httpapi.Fail(w, http.StatusBadRequest, "the address must name a key, as npub1… or in hex")
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
		if err != nil {
			httpapi.Fail(w, http.StatusRequestEntityTooLarge, "the request needs no body")
			return
		}
		who, err := check(r, body)
		if err != nil {
			w.Header().Set("WWW-Authenticate", "Nostr")
			httpapi.Fail(w, http.StatusUnauthorized, err.Error())
			return
		}
		if who != key {
			httpapi.Fail(w, http.StatusForbidden, "only a key itself may have its events fetched")
			return
		}
		b.stream(w, r, key)
	}))
}

func (b *Bringer) stream(w http.ResponseWriter, r *http.Request, key string) {
	out := &lines{w: w, flush: http.NewResponseController(w)}
	brought, err := b.Bring(r.Context(), key, func(s Summary) { out.write(map[string]any{"relay": s}) })
	switch {
	case err == nil:
		out.write(map[string]any{"done": brought})
	case errors.Is(err, ErrBusy), errors.Is(err, ErrUnderWay):
		w.Header().Set("Retry-After", "60")
		httpapi.Fail(w, http.StatusTooManyRequests, err.Error())
	case errors.Is(err, ErrNoRelays):
		httpapi.Fail(w, http.StatusNotFound, err.Error())
	case r.Context().Err() != nil: // nobody is listening
	default:
		b.cfg.Logger.Error("bring", "pubkey", key, "err", err)
		out.write(map[string]any{"error": "the events could not be fetched now, try again later"})
	}
}

// lines writes JSON lines as they come.
type lines struct {
	flush *http.ResponseController

	mu sync.Mutex // guards what follows
	w  http.ResponseWriter
}

func (l *lines) write(v any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.w.Header().Set("Content-Type", "application/x-ndjson")
	_ = l.flush.SetWriteDeadline(time.Now().Add(writeTime)) // not every writer has deadlines
	if json.NewEncoder(l.w).Encode(v) == nil {              // a client that is gone ends the request's context
		_ = l.flush.Flush()
	}
}

// parseKey reads npub1…, nprofile1… or 64 hex digits.
func parseKey(s string) (string, bool) {
	if nostr.IsValidPublicKey(s) {
		return s, true
	}
	_, v, err := nip19.Decode(s)
	if err != nil {
		return "", false
	}
	switch key := v.(type) {
	case string:
		return key, strings.HasPrefix(s, "npub1") && nostr.IsValidPublicKey(key)
	case nostr.ProfilePointer:
		return key.PublicKey, nostr.IsValidPublicKey(key.PublicKey)
	}
	return "", false
}
