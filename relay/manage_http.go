package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
)

// maxManagementBody bounds a request to the management API.
const maxManagementBody = 64 << 10 // bytes

// method is one method of NIP-86.
type method func(ctx context.Context, c call) (result any, err error)

// call is a request whose sender has proven to be an administrator.
type call struct {
	by     string     // hex public key
	ip     netip.Addr // zero when not known
	method string
	params params
}

// refused is a "no" to an administrator, in words for them.
type refused string

func (r refused) Error() string { return string(r) }

func refusef(format string, args ...any) error { return refused(fmt.Sprintf(format, args...)) }

// answer is what NIP-86 puts on the wire.
type answer struct {
	Result any    `json:"result"`
	Error  string `json:"error,omitempty"`
}

// ServeHTTP answers the management API (NIP-86): 401 without a valid NIP-98
// signature over method, URL and body, 403 to a key that is no administrator.
func (m *Management) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxManagementBody))
	if tooBig := (*http.MaxBytesError)(nil); errors.As(err, &tooBig) {
		reply(w, http.StatusRequestEntityTooLarge, answer{Error: fmt.Sprintf("invalid: a request has at most %d bytes", maxManagementBody)})
		return
	}
	if err != nil {
		reply(w, http.StatusBadRequest, answer{Error: "invalid: the body did not arrive in full"})
		return
	}
	by, err := m.signer.Check(r, body)
	if err != nil {
		w.Header().Set("WWW-Authenticate", "Nostr")
		reply(w, http.StatusUnauthorized, answer{Error: "auth-required: " + err.Error()})
		return
	}
	if !m.Admin(by) {
		m.logger.Warn("management refused", "by", by, "from", r.RemoteAddr)
		reply(w, http.StatusForbidden, answer{Error: "restricted: this key is no administrator of this relay"})
		return
	}
	c, err := parseCall(body)
	if err != nil {
		reply(w, http.StatusBadRequest, answer{Error: "invalid: " + err.Error()})
		return
	}
	c.by, c.ip = by, requestIP(r)
	reply(w, http.StatusOK, m.call(r.Context(), c))
}

// requestIP is the address the request came from; the relay's ServeHTTP has
// already put the forwarded one in place where a trusted proxy gave it.
func requestIP(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap()
}

func parseCall(body []byte) (call, error) {
	var req struct {
		Method string
		Params params
	}
	if err := json.Unmarshal(body, &req); err != nil {
		return call{}, errors.New(`want {"method": "name", "params": […]}`)
	}
	if req.Method == "" {
		return call{}, errors.New(`"method" is missing`)
	}
	return call{method: req.Method, params: req.Params}, nil
}

// call runs one method. What went wrong on our side is logged, and the
// administrator is told so.
func (m *Management) call(ctx context.Context, c call) answer {
	do, ok := m.methods[c.method]
	if !ok {
		return answer{Error: fmt.Sprintf("unsupported: there is no method %.64q; see supportedmethods", c.method)}
	}
	result, err := do(ctx, c)
	var no refused
	switch {
	case errors.As(err, &no):
		return answer{Error: "invalid: " + c.method + ": " + string(no)}
	case err != nil:
		m.logger.Error("management", "method", c.method, "by", c.by, "err", err)
		return answer{Error: "error: " + c.method + " failed on our side; the relay's log says why"}
	}
	return answer{Result: result}
}

func reply(w http.ResponseWriter, status int, a answer) {
	h := w.Header()
	h.Set("Content-Type", "application/nostr+json+rpc")
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(a) // the client has gone; there is nobody to tell
}
