package host

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"

	"agora/httpapi"
	"agora/personhood"
	"agora/personhood/enrol"
	"agora/personhood/semaphore"
)

// Wish is the body of a request to join.
type Wish struct {
	Commitment string `json:"commitment"` // 64 lower-case hex digits, as all elements
	Nullifier  string `json:"nullifier"`
	Proof      string `json:"proof"`      // base64 of 128 bytes
	Possession string `json:"possession"` // likewise: the identity's own signature
	Evidence   string `json:"evidence"`   // what the group's source asks for
}

// NewWish is the body for a Joining.
func NewWish(j personhood.Joining, evidence string) Wish {
	proof, possession := j.Proof.Compact(), j.Possession.Compact()
	return Wish{
		Commitment: semaphore.Hex(j.Commitment), Nullifier: semaphore.Hex(j.Nullifier), Evidence: evidence,
		Proof: base64.StdEncoding.EncodeToString(proof[:]), Possession: base64.StdEncoding.EncodeToString(possession[:]),
	}
}

// joining reads the wish.
func (w *Wish) joining() (j personhood.Joining, err error) {
	if j.Commitment, err = semaphore.ParseHex(w.Commitment); err != nil || j.Commitment.IsZero() {
		return j, &enrol.Refused{Reason: "commitment is not 64 lower-case hex digits below the field's order"}
	}
	if j.Nullifier, err = semaphore.ParseHex(w.Nullifier); err != nil {
		return j, &enrol.Refused{Reason: "nullifier is not 64 lower-case hex digits below the field's order"}
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(w.Proof)
	if err != nil {
		return j, &enrol.Refused{Reason: "proof is not base64"}
	}
	if j.Proof, err = semaphore.ParseCompact(raw); err != nil {
		return j, &enrol.Refused{Reason: err.Error()}
	}
	if raw, err = base64.StdEncoding.Strict().DecodeString(w.Possession); err != nil {
		return j, &enrol.Refused{Reason: "possession is not base64"}
	}
	if j.Possession, err = semaphore.ParsePossession(raw); err != nil {
		return j, &enrol.Refused{Reason: err.Error()}
	}
	return j, nil
}

// Files are members files by their SHA-256; a mirror is one.
type Files interface {
	File(name [32]byte) ([]byte, bool)
}

// Doors serve groups over HTTP.
type Doors struct {
	Groups []*Group
	Files  Files                                    // of other hosts' groups; may be nil
	Mirror func(ctx context.Context) []State        // other hosts' groups; may be nil
	Admin  func(r *http.Request, body []byte) error // nil: whoever signed it may remove members
	Who    func(r *http.Request) string             // who answers for a false proof
	Seat   func(r *http.Request) (func(), bool)     // a place to be sent a file, and how to leave it; nil: there always is one
	Logger *slog.Logger
	places chan struct{}
}

// mostJoining is how many wishes are looked at together; beyond, 503.
const mostJoining = 16

const (
	mostWish  = 32 << 10 // bytes
	filePiece = 64 << 10 // bytes of a file in one write
)

// Handler serves /v1/groups…, and members files at /v1/members/.
func (d *Doors) Handler() http.Handler {
	d.places = make(chan struct{}, mostJoining) // wishes; when full: 503
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/groups", d.list)
	mux.HandleFunc("GET /v1/groups/{d}", d.state)
	mux.HandleFunc("GET /v1/groups/{d}/log", d.group(serveLog))
	mux.HandleFunc("POST /v1/groups/{d}/join", d.group(d.join))
	mux.HandleFunc("POST /v1/groups/{d}/remove", d.group(d.remove))
	mux.HandleFunc("POST /v1/groups/{d}/publish", d.group(d.publish))
	mux.HandleFunc("GET /v1/members/{sha256}", d.members)
	mux.HandleFunc("GET /v1/members/{sha256}/nodes", d.nodes)
	return httpapi.Open("GET, HEAD, POST", httpapi.Routed(mux))
}

func (d *Doors) list(w http.ResponseWriter, r *http.Request) {
	all := []State{}
	for _, g := range d.Groups {
		all = append(all, g.State())
	}
	mirrored := []State{}
	if d.Mirror != nil {
		mirrored = append(mirrored, d.Mirror(r.Context())...)
	}
	httpapi.Reply(w, http.StatusOK, map[string]any{"groups": all, "mirrored": mirrored})
}

// state tells of a group that is kept here or, by its address, mirrored: one
// acts as its member here, too.
func (d *Doors) state(w http.ResponseWriter, r *http.Request) {
	if d.Mirror != nil {
		for _, s := range d.Mirror(r.Context()) {
			if s.Group == r.PathValue("d") {
				httpapi.Reply(w, http.StatusOK, s)
				return
			}
		}
	}
	d.group(func(w http.ResponseWriter, _ *http.Request, g *Group) { httpapi.Reply(w, http.StatusOK, g.State()) })(w, r)
}

// group finds the group kept here that a path names.
func (d *Doors) group(serve func(http.ResponseWriter, *http.Request, *Group)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, g := range d.Groups {
			if name := r.PathValue("d"); name == g.address.D || name == g.address.String() {
				serve(w, r, g)
				return
			}
		}
		httpapi.Fail(w, http.StatusNotFound, "no group of this name is kept here; GET /v1/groups names them all")
	}
}

func serveLog(w http.ResponseWriter, r *http.Request, g *Group) {
	after := 0
	if text := r.URL.Query().Get("after"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 {
			httpapi.Fail(w, http.StatusBadRequest, "after is a number of lines")
			return
		}
		after = n
	}
	w.Header().Set("Content-Type", "application/jsonl")
	w.Header().Set("Cache-Control", "no-cache")
	out := bufio.NewWriterSize(w, 64<<10)
	for _, line := range g.Log(after) {
		if _, err := out.WriteString(line + "\n"); err != nil {
			return // a client that has left needs no answer
		}
	}
	_ = out.Flush() // likewise
}

func (d *Doors) join(w http.ResponseWriter, r *http.Request, g *Group) {
	var wish Wish
	if _, ok := body(w, r, &wish); !ok {
		return
	}
	select {
	case d.places <- struct{}{}:
		defer func() { <-d.places }()
	default:
		w.Header().Set("Retry-After", "1")
		httpapi.Fail(w, http.StatusServiceUnavailable, "many are joining just now; ask again in a second")
		return
	}
	j, err := wish.joining()
	if err == nil {
		var out Joined
		if out, err = g.Join(r.Context(), d.Who(r), j, wish.Evidence); err == nil {
			httpapi.Reply(w, http.StatusOK, out)
			return
		}
	}
	d.fail(w, err)
}

// fail tells a no from what we could not tell.
func (d *Doors) fail(w http.ResponseWriter, err error) {
	if no, ok := errors.AsType[*enrol.Refused](err); ok {
		httpapi.Fail(w, http.StatusForbidden, "invalid: "+no.Reason)
		return
	}
	if no, ok := errors.AsType[*Taken](err); ok {
		httpapi.Fail(w, http.StatusConflict, "duplicate: "+no.Reason)
		return
	}
	d.Logger.Error("enrolment", "err", err)
	httpapi.Fail(w, http.StatusServiceUnavailable, "error: this could not be checked now; ask again later")
}

// removal is the body of a request to remove.
type removal struct {
	Commitment string `json:"commitment"`
	Subtree    bool   `json:"subtree"` // with all whom the member brought in, and they in turn
}

func (d *Doors) remove(w http.ResponseWriter, r *http.Request, g *Group) {
	var what removal
	raw, ok := body(w, r, &what)
	if !ok || !d.allowed(w, r, raw) {
		return
	}
	commitment, err := semaphore.ParseHex(what.Commitment)
	if err != nil {
		httpapi.Fail(w, http.StatusBadRequest, "commitment is not 64 lower-case hex digits below the field's order")
		return
	}
	n, err := g.Remove(r.Context(), commitment, what.Subtree, "revoked")
	if err != nil {
		d.fail(w, err)
		return
	}
	httpapi.Reply(w, http.StatusOK, map[string]int{"removed": n})
}

func (d *Doors) publish(w http.ResponseWriter, r *http.Request, g *Group) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, mostWish))
	if err != nil || !d.allowed(w, r, raw) {
		return
	}
	g.PublishNow()
	httpapi.Reply(w, http.StatusAccepted, map[string]string{"group": g.address.String()})
}

func (d *Doors) allowed(w http.ResponseWriter, r *http.Request, raw []byte) bool {
	if err := d.Admin(r, raw); err != nil {
		w.Header().Set("WWW-Authenticate", "Nostr")
		httpapi.Fail(w, http.StatusUnauthorized, err.Error())
		return false
	}
	return true
}

// body reads a request's JSON strictly.
func body(w http.ResponseWriter, r *http.Request, into any) ([]byte, bool) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, mostWish))
	if err != nil {
		httpapi.Fail(w, http.StatusRequestEntityTooLarge, "the body is too large, or did not arrive")
		return nil, false
	}
	if err := json.Unmarshal(raw, into); err != nil {
		httpapi.Fail(w, http.StatusBadRequest, "the body is not the JSON that /openapi.json describes: "+err.Error())
		return nil, false
	}
	return raw, true
}

// members serves a whole file, for ever the same. A part of it would tell
// which part was wanted, so ranges are not offered.
func (d *Doors) members(w http.ResponseWriter, r *http.Request) {
	d.file(w, r, d.Find)
}

// nodes serves the nodes above each block of leaves: with them, who has the
// whole file finds their way without hashing all of it.
func (d *Doors) nodes(w http.ResponseWriter, r *http.Request) {
	d.file(w, r, func(name [32]byte) ([]byte, bool) {
		for _, g := range d.Groups {
			if nodes, ok := g.Nodes(name); ok {
				return nodes, true
			}
		}
		return nil, false
	})
}

// Find is a members file that is kept here, by its SHA-256.
func (d *Doors) Find(name [32]byte) ([]byte, bool) {
	for _, g := range d.Groups {
		if file, ok := g.File(name); ok {
			return file, true
		}
	}
	if d.Files == nil {
		return nil, false
	}
	return d.Files.File(name)
}

func (d *Doors) file(w http.ResponseWriter, r *http.Request, find func([32]byte) ([]byte, bool)) {
	var name [32]byte
	text := r.PathValue("sha256")
	if n, err := hex.Decode(name[:], []byte(text)); err != nil || n != 32 || hex.EncodeToString(name[:]) != text {
		httpapi.Fail(w, http.StatusBadRequest, "a members file is named by 64 lower-case hex digits")
		return
	}
	if d.Seat != nil {
		leave, ok := d.Seat(r)
		if !ok {
			w.Header().Set("Retry-After", "5")
			httpapi.Fail(w, http.StatusServiceUnavailable, "too many members files are being sent at the moment, here or to your address; ask again in five seconds")
			return
		}
		defer leave()
	}
	file, ok := find(name)
	if !ok {
		httpapi.Fail(w, http.StatusNotFound, "no such members file is kept here")
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	w.Header().Set("ETag", `"`+text+`"`)
	w.Header().Set("Accept-Ranges", "none")
	w.Header().Set("Content-Length", strconv.Itoa(len(file)))
	if r.Header.Get("If-None-Match") == `"`+text+`"` {
		w.Header().Del("Content-Length")
		w.WriteHeader(http.StatusNotModified)
		return
	}
	for piece := range slices.Chunk(file, filePiece) { // each write has its deadline: a slow reader gets all of it
		if _, err := w.Write(piece); err != nil {
			return // a client that has left needs no answer
		}
	}
}
