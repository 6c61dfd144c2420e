package graph

import (
	"encoding/hex"
	"fmt"
	"net/http"
	"time"

	"agora/httpapi"

	"github.com/nbd-wtf/go-nostr"
)

const (
	exportChunk = 64 << 10    // bytes gathered before they are sent
	exportPause = time.Minute // a reader that takes nothing for so long is cut off
)

// serveExport streams every event the key signed, newest first. The rows come
// from the store in batches that hold no read transaction, so how fast the
// reader takes them is nobody else's business.
func (g *Graph) serveExport(w http.ResponseWriter, r *http.Request) {
	of, err := parseKey(r.PathValue("key"))
	if err != nil {
		httpapi.Fail(w, http.StatusBadRequest, err.Error())
		return
	}
	viewer, err := g.exportViewer(r)
	if err != nil {
		httpapi.Fail(w, http.StatusUnauthorized, "the NIP-98 header was not accepted: "+err.Error())
		return
	}
	select {
	case g.exports <- struct{}{}:
		defer func() { <-g.exports }()
	default:
		w.Header().Set("Retry-After", "30") // seconds
		httpapi.Fail(w, http.StatusServiceUnavailable, "too many exports are running; try again in half a minute")
		return
	}
	pubkey, npub := names(of)
	h := w.Header()
	h.Set("Content-Type", "application/x-ndjson")
	h.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", npub+".jsonl"))
	h.Set("Cache-Control", "no-store")
	if r.Method == http.MethodHead {
		return
	}
	if err := g.export(w, r, pubkey, viewer); err != nil {
		g.cfg.Logger.Warn("export broken off", "key", npub, "reason", err)
		panic(http.ErrAbortHandler) // the reader must see a broken transfer, not a short one
	}
}

// exportViewer is who asks: whom the NIP-98 header proves, or nobody.
func (g *Graph) exportViewer(r *http.Request) (string, error) {
	if r.Header.Get("Authorization") == "" || g.cfg.Auth == nil {
		return "", nil
	}
	return g.cfg.Auth(r, nil)
}

func (g *Graph) export(w http.ResponseWriter, r *http.Request, pubkey, viewer string) error {
	control := http.NewResponseController(w)
	buf := make([]byte, 0, 2*exportChunk)
	send := func() error {
		_ = control.SetWriteDeadline(time.Now().Add(exportPause)) // a writer without deadlines has its own bounds
		_, err := w.Write(buf)
		buf = buf[:0]
		return err
	}
	for rec, err := range g.cfg.Store.Query(r.Context(), nostr.Filter{Authors: []string{pubkey}}) {
		if err != nil {
			return fmt.Errorf("read %s's events: %w", pubkey, err)
		}
		if !g.cfg.Visible(rec, viewer) {
			continue
		}
		buf = append(append(buf, rec.JSON...), '\n')
		if len(buf) >= exportChunk {
			if err := send(); err != nil {
				return err
			}
		}
	}
	if err := send(); err != nil {
		return err
	}
	return control.Flush()
}

// hexKey is a key in its common written form.
func hexKey(k key) string { return hex.EncodeToString(k[:]) }
