package doors

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"agora/feeds/market"
	"agora/httpapi"

	"github.com/nbd-wtf/go-nostr"
)

// xrpcError is an error as XRPC tells it.
type xrpcError struct {
	Error   string `json:"error"`
	Message string `json:"message"`
}

// named is an error with its lexicon's name.
type named struct{ name, text string }

func (n *named) Error() string { return n.text }

// xrpc turns what goes wrong into XRPC's form.
func (d *Doors) xrpc(serve func(r *http.Request) (any, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, err := serve(r)
		if err == nil {
			httpapi.Reply(w, http.StatusOK, body)
			return
		}
		if n, ok := err.(*named); ok { //nolint:errorlint // made here, never wrapped
			httpapi.Reply(w, http.StatusBadRequest, xrpcError{n.name, n.text})
			return
		}
		status, text := d.failure(r, err)
		name := "InternalServerError"
		if status < 500 {
			status, name = http.StatusBadRequest, "InvalidRequest"
		}
		httpapi.Reply(w, status, xrpcError{name, text})
	}
}

// did is the relay's name among feed generators (did:web).
func (d *Doors) did() string {
	u, err := url.Parse(d.cfg.URL)
	if err != nil { // New has looked
		return "did:web:invalid"
	}
	return "did:web:" + strings.ReplaceAll(u.Host, ":", "%3A")
}

const generator = "app.bsky.feed.generator"

// atName is a feed's at:// name; its record key is its name at our doors.
func (d *Doors) atName(l *market.Listing) string {
	return "at://" + d.did() + "/" + generator + "/" + d.cfg.Market.Ref(l)
}

func (d *Doors) serveDID(w http.ResponseWriter, _ *http.Request) error {
	httpapi.Reply(w, http.StatusOK, map[string]any{
		"@context": []string{"https://www.w3.org/ns/did/v1"},
		"id":       d.did(),
		"service":  []map[string]string{{"id": "#bsky_fg", "type": "BskyFeedGenerator", "serviceEndpoint": d.web()}},
	})
	return nil
}

func (d *Doors) describeFeedGenerator(*http.Request) (any, error) {
	list := []map[string]string{}
	for _, l := range d.listingsWithPages() {
		list = append(list, map[string]string{"uri": d.atName(l)})
	}
	return map[string]any{"did": d.did(), "feeds": list}, nil
}

// skeletonItem is one post of a skeleton.
type skeletonItem struct {
	Post    string `json:"post"`
	Context string `json:"feedContext,omitempty"`
}

// getFeedSkeleton answers with at:// names: that of the original for a note
// bridged from there (NIP-48), otherwise one under did:nostr, which a server
// that knows no such names leaves out. feedContext names the note itself.
func (d *Doors) getFeedSkeleton(r *http.Request) (any, error) {
	q := r.URL.Query()
	l, err := d.generatorOf(q.Get("feed"))
	if err != nil {
		return nil, err
	}
	a := ask{door: "skeleton", listing: l, limit: 50, cursor: q.Get("cursor")}
	if text := q.Get("limit"); q.Has("limit") {
		if a.limit, err = strconv.Atoi(text); err != nil || a.limit < 1 || a.limit > 100 {
			return nil, &named{"InvalidRequest", fmt.Sprintf("limit is %q: want 1 to 100", clip(text))}
		}
	}
	given := map[string]string{}
	for name := range q {
		given[name] = q.Get(name)
	}
	if a.knobs, err = readKnobs(l, given, false); err != nil {
		return nil, err
	}
	page, err := d.page(r.Context(), a)
	if err != nil {
		return nil, err
	}
	items := []skeletonItem{}
	for i := range page.Items {
		ev := page.Items[i].Event
		items = append(items, skeletonItem{atURI(ev), d.entryOf(ev).id})
	}
	return skeleton{page.Cursor, items}, nil
}

type skeleton struct {
	Cursor string         `json:"cursor,omitempty"`
	Feed   []skeletonItem `json:"feed"`
}

// generatorOf finds the feed behind an at:// name of ours, or a bare name.
func (d *Doors) generatorOf(text string) (*market.Listing, error) {
	if text == "" {
		return nil, &named{"InvalidRequest", "the parameter feed is missing"}
	}
	name := strings.TrimPrefix(text, "at://")
	if name != text {
		parts := strings.Split(name, "/")
		if len(parts) != 3 || parts[1] != generator {
			return nil, &named{"UnknownFeed", clip(text) + " is no feed of ours"}
		}
		name = parts[2] // whoever publishes the record chooses its authority; the key is ours
	}
	l, ok := d.cfg.Market.Listing(name)
	if !ok {
		return nil, &named{"UnknownFeed", clip(text) + " is no feed of ours"}
	}
	return l, nil
}

var atForm = regexp.MustCompile(`^at://did:[a-z]+:[A-Za-z0-9._:%-]{1,200}/[A-Za-z0-9.-]{3,200}/[A-Za-z0-9._~:-]{1,512}$`)

// atURI names a note for Bluesky.
func atURI(ev *nostr.Event) string {
	for _, tag := range ev.Tags {
		if len(tag) >= 3 && tag[0] == "proxy" && tag[2] == "atproto" && atForm.MatchString(tag[1]) {
			return tag[1]
		}
	}
	return "at://did:nostr:" + ev.PubKey + "/app.bsky.feed.post/" + ev.ID
}

// interactions are the events of sendInteractions, by their lexicon's names.
var interactions = map[string]bool{
	"requestLess": true, "requestMore": true, "clickthroughItem": true, "clickthroughAuthor": true, "clickthroughReposter": true,
	"clickthroughEmbed": true, "interactionSeen": true, "interactionLike": true, "interactionRepost": true, "interactionReply": true,
	"interactionQuote": true, "interactionShare": true,
}

// sendInteractions counts what readers did. Nothing that names a reader is
// kept.
func (d *Doors) sendInteractions(r *http.Request) (any, error) {
	var body struct {
		Feed         string `json:"feed"`
		Interactions []struct {
			Item    string `json:"item"`
			Event   string `json:"event"`
			Context string `json:"feedContext"`
			ReqID   string `json:"reqId"`
		} `json:"interactions"`
	}
	raw, err := io.ReadAll(io.LimitReader(r.Body, mostBody+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > mostBody || json.Unmarshal(raw, &body) != nil || body.Interactions == nil {
		return nil, &named{"InvalidRequest", "want a JSON body with a list of interactions"}
	}
	names := make([]string, 0, len(body.Interactions))
	for _, one := range body.Interactions {
		name := strings.TrimPrefix(one.Event, "app.bsky.feed.defs#")
		if one.Event != "" && !interactions[name] || len(one.Context) > 2000 || len(one.ReqID) > 100 {
			return nil, &named{"InvalidRequest", fmt.Sprintf("%q is no interaction of app.bsky.feed.defs", clip(one.Event))}
		}
		names = append(names, name)
	}
	for _, name := range names {
		if name != "" {
			d.requests.WithLabelValues("interaction", name).Inc()
		}
	}
	return struct{}{}, nil
}
