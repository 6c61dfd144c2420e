package doors

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"agora/feeds"
	"agora/feeds/market"
	"agora/httpapi"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"
)

// mostBody is how many bytes of a request's body are read.
const mostBody = 64 << 10

// Handler serves /v1/feeds…, /v1/why/…, /xrpc/…, /.well-known/did.json and
// /openapi.json. openapi.json describes it, and a test compares the two.
func (d *Doors) Handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, handler := range d.routes() {
		mux.HandleFunc(pattern, handler)
		method, path, _ := strings.Cut(pattern, " ")
		mux.HandleFunc(path, wrongMethod(method))
	}
	mux.HandleFunc("/", d.noRoute)
	return httpapi.Open("GET, HEAD, POST", mux)
}

// routes are all addresses with their methods.
func (d *Doors) routes() map[string]http.HandlerFunc {
	return map[string]http.HandlerFunc{
		"GET /v1/feeds":                                 d.told(d.serveFeeds),
		"GET /v1/feeds/{name}":                          d.told(d.serveFeed),
		"GET /v1/feeds/{name}/rss":                      d.told(d.serveRSS),
		"GET /v1/feeds/{name}/atom":                     d.told(d.serveAtom),
		"GET /v1/feeds/{name}/json":                     d.told(d.serveJSONFeed),
		"GET /v1/feeds/{name}/stream":                   d.told(d.serveStream),
		"GET /v1/why/{event}":                           d.told(d.serveWhy),
		"GET /openapi.json":                             OpenAPI,
		"GET /.well-known/did.json":                     d.told(d.serveDID),
		"GET /xrpc/app.bsky.feed.describeFeedGenerator": d.xrpc(d.describeFeedGenerator),
		"GET /xrpc/app.bsky.feed.getFeedSkeleton":       d.xrpc(d.getFeedSkeleton),
		"POST /xrpc/app.bsky.feed.sendInteractions":     d.xrpc(d.sendInteractions),
	}
}

// wrongMethod answers any method but the one that is served.
func wrongMethod(method string) http.HandlerFunc {
	allow := method + ", OPTIONS"
	if method == http.MethodGet {
		allow = "GET, HEAD, OPTIONS"
	}
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", allow)
		text := "this address takes " + allow
		if strings.HasPrefix(r.URL.Path, "/xrpc/") {
			httpapi.Reply(w, http.StatusMethodNotAllowed, xrpcError{"InvalidRequest", text})
			return
		}
		httpapi.Fail(w, http.StatusMethodNotAllowed, text)
	}
}

func (d *Doors) noRoute(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/xrpc/") {
		httpapi.Reply(w, http.StatusNotImplemented, xrpcError{"MethodNotImplemented", "this method is not served here"})
		return
	}
	httpapi.NoAddress(w)
}

// unsigned is a signature that does not count.
type unsigned struct{ why error }

func (u *unsigned) Error() string { return u.why.Error() }

// told turns what goes wrong into an answer.
func (d *Doors) told(serve func(w http.ResponseWriter, r *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := serve(w, r)
		if err == nil {
			return
		}
		status, text := d.failure(r, err)
		httpapi.Fail(w, status, text)
	}
}

// failure is the status and the words for an error. What is our fault is
// logged and not told.
func (d *Doors) failure(r *http.Request, err error) (int, string) {
	if problem, ok := errors.AsType[*feeds.Problem](err); ok {
		if problem.Unknown {
			return http.StatusNotFound, problem.Text
		}
		return http.StatusBadRequest, problem.Text
	}
	if u, ok := errors.AsType[*unsigned](err); ok {
		return http.StatusUnauthorized, u.Error()
	}
	if errors.Is(err, errBusy) {
		return http.StatusServiceUnavailable, errBusy.Error() + "; ask again in some seconds"
	}
	if r.Context().Err() == nil {
		d.cfg.Logger.Error("a page over HTTP", "path", r.URL.Path, "error", err)
	}
	return http.StatusInternalServerError, "the relay could not answer; its operator finds the reason in the log"
}

// httpAsk reads who asks for which page.
func (d *Doors) httpAsk(r *http.Request) (a ask, err error) {
	given, err := readQueryString(r.URL.RawQuery)
	if err != nil {
		return a, err
	}
	if a.listing, err = d.listing(r.PathValue("name")); err != nil {
		return a, err
	}
	if err := a.readPage(given); err != nil {
		return a, err
	}
	signer, err := d.signer(r)
	if err != nil {
		return a, err
	}
	if err := d.readViewer(&a, given, signer); err != nil {
		return a, err
	}
	delete(given, "scores")
	a.knobs, err = readKnobs(a.listing, given, true)
	return a, err
}

// readQueryString reads what stands behind the question mark of an address.
func readQueryString(text string) (map[string]string, error) {
	q, err := url.ParseQuery(text)
	if err != nil {
		return nil, invalid("the query of the address is malformed: %v", err)
	}
	given := map[string]string{}
	for name, values := range q {
		if len(values) != 1 {
			return nil, invalid("%q is given more than once", clip(name))
		}
		given[name] = values[0]
	}
	return given, nil
}

// readPage takes the parameters that are no knobs, but for scores and viewer.
func (a *ask) readPage(given map[string]string) (err error) {
	a.limit = feeds.DefaultLimit
	if text, ok := take(given, "limit"); ok {
		if a.limit, err = strconv.Atoi(text); err != nil || a.limit < 1 || a.limit > feeds.MaxLimit {
			return invalid("limit is %q: want 1 to %d", clip(text), feeds.MaxLimit)
		}
	}
	a.cursor, _ = take(given, "cursor")
	for name, into := range map[string]*int64{"since": &a.since, "until": &a.until} {
		if text, ok := take(given, name); ok {
			if *into, err = strconv.ParseInt(text, 10, 64); err != nil || *into < 0 {
				return invalid("%s is %q: want Unix seconds", name, clip(text))
			}
		}
	}
	if text, ok := take(given, "kinds"); ok {
		for part := range strings.SplitSeq(text, ",") {
			kind, err := strconv.ParseUint(part, 10, 16)
			if err != nil {
				return invalid("kinds is %q: want numbers with commas between", clip(text))
			}
			a.kinds = append(a.kinds, int(kind))
		}
	}
	if text, ok := take(given, "authors"); ok {
		for part := range strings.SplitSeq(text, ",") {
			key, err := parseKey(part)
			if err != nil {
				return err
			}
			a.authors = append(a.authors, key)
		}
	}
	if text, ok := take(given, "distinct"); ok {
		if a.perHead = text == "author"; !a.perHead {
			return invalid("distinct is %q: only distinct=author is known", clip(text))
		}
	}
	a.reasons, err = truth(given, "reasons", true)
	return err
}

func take(given map[string]string, name string) (string, bool) {
	text, ok := given[name]
	delete(given, name)
	return text, ok
}

// truth reads a parameter that is true or false; drop takes it away.
func truth(given map[string]string, name string, drop bool) (bool, error) {
	text, ok := given[name]
	if drop {
		delete(given, name)
	}
	switch {
	case !ok, text == "false", text == "0":
		return false, nil
	case text == "true", text == "1", text == "":
		return true, nil
	}
	return false, invalid("%s is %q: want true or false", name, clip(text))
}

// signer is who signed the request (NIP-98); empty: nobody.
func (d *Doors) signer(r *http.Request) (string, error) {
	header := r.Header.Get("Authorization")
	if !strings.HasPrefix(strings.ToLower(header), "nostr ") || d.cfg.Auth == nil {
		return "", nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, mostBody))
	if err != nil {
		return "", err
	}
	key, err := d.cfg.Auth(r, body)
	if err != nil {
		return "", &unsigned{err}
	}
	return key, nil
}

// readViewer decides as whom the page is read.
func (d *Doors) readViewer(a *ask, given map[string]string, signer string) (err error) {
	text, ok := take(given, "viewer")
	if !ok {
		a.viewer, a.signed = signer, signer != ""
		return nil
	}
	if a.viewer, err = parseKey(text); err != nil {
		return err
	}
	if a.signed = a.viewer == signer && signer != ""; !a.signed {
		a.viewer, err = d.known(text)
	}
	return err
}

// FeedInfo is one feed in the list of feeds.
type FeedInfo struct {
	market.Shown
	Doors FeedDoors `json:"doors"`
}

// FeedDoors says where a feed is read.
type FeedDoors struct {
	Relay    string `json:"relay"`
	Time     string `json:"time"`
	Ranked   string `json:"ranked"`
	JSON     string `json:"json"`
	RSS      string `json:"rss"`
	Atom     string `json:"atom"`
	JSONFeed string `json:"json_feed"`
	Stream   string `json:"stream"`
	Bluesky  string `json:"bluesky"` // at:// name of the generator
}

func (d *Doors) info(l *market.Listing) FeedInfo {
	ref := d.cfg.Market.Ref(l)
	at, web := d.cfg.URL+"/f/"+ref, d.web()+"/v1/feeds/"+ref
	return FeedInfo{d.cfg.Market.Show(l), FeedDoors{
		Relay: at, Time: at + "/time", Ranked: at + "/ranked", JSON: web, RSS: web + "/rss", Atom: web + "/atom",
		JSONFeed: web + "/json", Stream: web + "/stream", Bluesky: d.atName(l),
	}}
}

// web is the relay's address for browsers.
func (d *Doors) web() string { return "http" + strings.TrimPrefix(d.cfg.URL, "ws") }

func (d *Doors) serveFeeds(w http.ResponseWriter, _ *http.Request) error {
	all := []FeedInfo{}
	for _, l := range d.cfg.Market.Listings() {
		all = append(all, d.info(l))
	}
	httpapi.Reply(w, http.StatusOK, map[string]any{"feeds": all})
	return nil
}

// PageJSON is a page as /v1/feeds/{name} tells it.
type PageJSON struct {
	Feed   FeedInfo   `json:"feed"`
	Viewer string     `json:"viewer,omitempty"` // hex; absent: nobody in particular
	Items  []ItemJSON `json:"items"`
	Cursor string     `json:"cursor,omitempty"` // asks for the next page; absent on the last
	Why    WhyJSON    `json:"why"`
}

// ItemJSON is one note of a page.
type ItemJSON struct {
	Rank    int          `json:"rank"`
	Score   *float32     `json:"score,omitempty"`
	Event   *nostr.Event `json:"event"`
	Reasons []ReasonJSON `json:"reasons,omitempty"`
	People  *PeopleJSON  `json:"people,omitempty"` // absent: no person did anything
}

// PeopleJSON counts those who proved to be one person each of the same group.
type PeopleJSON struct {
	Likes    uint32 `json:"likes"`
	Dislikes uint32 `json:"dislikes"`
	Emoji    uint32 `json:"emoji"`
	Reports  uint32 `json:"reports"`
}

// ReasonJSON is one feature that weighed in a score.
type ReasonJSON struct {
	Feature string  `json:"feature"`
	Value   float32 `json:"value"`
	Weight  float32 `json:"weight"`
	Words   string  `json:"words"`
}

// WhyJSON says how a page came about.
type WhyJSON struct {
	Feed       string             `json:"feed"`  // that ranked it
	Asked      string             `json:"asked"` // that was asked for
	Address    string             `json:"address"`
	Version    string             `json:"version"`
	Model      string             `json:"model"` // SHA-256
	Catalogue  int                `json:"catalogue"`
	Fallback   string             `json:"fallback,omitempty"` // why another feed answered
	Privacy    string             `json:"privacy"`
	Stages     []string           `json:"stages"`
	Knobs      map[string]float64 `json:"knobs"`
	Candidates int                `json:"candidates"`
	At         int64              `json:"at"` // Unix seconds
	Total      int                `json:"total"`
}

func whyJSON(w feeds.Why) WhyJSON {
	j := WhyJSON{
		Feed: w.Feed, Asked: w.Asked, Address: w.Address, Version: w.Version, Model: w.Model.String(), Catalogue: w.Catalogue,
		Fallback: w.Fallback, Privacy: w.Tier.String(), Stages: w.Stages, Knobs: w.Knobs, Candidates: w.Candidates, At: w.At, Total: w.Total,
	}
	if j.Stages == nil {
		j.Stages = []string{}
	}
	if j.Knobs == nil {
		j.Knobs = map[string]float64{}
	}
	return j
}

func itemsJSON(items []feeds.Item, scores bool) []ItemJSON {
	list := make([]ItemJSON, 0, len(items))
	for i := range items {
		it := ItemJSON{Rank: items[i].Rank, Event: items[i].Event}
		if scores {
			it.Score = &items[i].Score
		}
		if p := PeopleJSON(items[i].People); p != (PeopleJSON{}) {
			it.People = &p
		}
		for _, r := range items[i].Reasons {
			it.Reasons = append(it.Reasons, ReasonJSON(r))
		}
		list = append(list, it)
	}
	return list
}

func (d *Doors) serveFeed(w http.ResponseWriter, r *http.Request) error {
	body, err := d.pageJSON(r)
	if err != nil {
		return err
	}
	httpapi.Reply(w, http.StatusOK, body)
	return nil
}

func (d *Doors) pageJSON(r *http.Request) (PageJSON, error) {
	a, err := d.httpAsk(r)
	if err != nil {
		return PageJSON{}, err
	}
	scores, err := truth(map[string]string{"scores": r.URL.Query().Get("scores")}, "scores", false)
	if err != nil {
		return PageJSON{}, err
	}
	scores = scores && r.URL.Query().Has("scores")
	a.door = "http"
	page, err := d.page(r.Context(), a)
	return PageJSON{Feed: d.info(a.listing), Viewer: a.viewer, Items: itemsJSON(page.Items, scores), Cursor: page.Cursor, Why: whyJSON(page.Why)}, err
}

// Carried says where a feed carries one note.
type Carried struct {
	Feed    string       `json:"feed"`
	Name    string       `json:"name"`
	Rank    int          `json:"rank"`
	Score   float32      `json:"score"`
	Reasons []ReasonJSON `json:"reasons"`
	Why     WhyJSON      `json:"why"`
}

// serveWhy says which feeds carry a note, and why. A feed that depends on who
// reads is asked as the viewer, or as nobody.
func (d *Doors) serveWhy(w http.ResponseWriter, r *http.Request) error {
	id, err := parseEventID(r.PathValue("event"))
	if err != nil {
		return err
	}
	given := map[string]string{}
	if r.URL.Query().Has("viewer") {
		given["viewer"] = r.URL.Query().Get("viewer")
	}
	signer, err := d.signer(r)
	if err != nil {
		return err
	}
	a := ask{door: "why", limit: feeds.MaxLimit, reasons: true}
	if err := d.readViewer(&a, given, signer); err != nil {
		return err
	}
	found, err := d.shown(r.Context(), []string{id})
	if err != nil {
		return err
	}
	ev := found[id]
	if ev == nil {
		return unknown("there is no such note here")
	}
	carried := []Carried{}
	for _, l := range d.listingsWithPages() {
		a.listing, a.authors = l, nil
		one, ok, err := d.carries(r, a, id)
		if err != nil {
			return err
		}
		if ok {
			carried = append(carried, one)
		}
	}
	httpapi.Reply(w, http.StatusOK, map[string]any{"event": id, "opted_out": d.out.Has(ev.PubKey), "feeds": carried})
	return nil
}

func (d *Doors) carries(r *http.Request, a ask, id string) (Carried, bool, error) {
	page, err := d.page(r.Context(), a)
	if err != nil {
		return Carried{}, false, err
	}
	for _, it := range itemsJSON(page.Items, true) {
		if it.Event.ID == id {
			reasons := it.Reasons
			if reasons == nil {
				reasons = []ReasonJSON{}
			}
			return Carried{d.cfg.Market.Ref(a.listing), a.listing.Name, it.Rank, *it.Score, reasons, whyJSON(page.Why)}, true, nil
		}
	}
	return Carried{}, false, nil
}

// parseEventID reads an event id as hex, note or nevent.
func parseEventID(text string) (string, error) {
	text = strings.TrimPrefix(text, "nostr:")
	if nostr.IsValid32ByteHex(text) {
		return text, nil
	}
	if len(text) < 2000 && (strings.HasPrefix(text, "note1") || strings.HasPrefix(text, "nevent1")) {
		_, value, err := nip19.Decode(text)
		id, _ := value.(string)
		if pointer, ok := value.(nostr.EventPointer); ok {
			id = pointer.ID
		}
		if err == nil && nostr.IsValid32ByteHex(id) {
			return id, nil
		}
	}
	return "", invalid("%q is no event: want 64 lower-case hex digits, note1… or nevent1…", clip(text))
}
