package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"agora/httpapi"
	"agora/personhood"
	"agora/personhood/poll"
	"agora/relay/admit"
	"agora/relay/wire"

	"github.com/nbd-wtf/go-nostr"
)

// pollRequest is the body of POST /v1/polls: a signed poll, or what one should
// say, which needs NIP-98.
type pollRequest struct {
	Event json.RawMessage `json:"event"`

	Question string        `json:"question"`
	Options  []poll.Option `json:"options"`
	Method   poll.Method   `json:"method"` // default single
	Group    string        `json:"group"`  // default: counts keys
	Root     string        `json:"root"`   // default: the group's current one
	EndsAt   int64         `json:"ends_at"`
	Hidden   bool          `json:"hidden"`

	Webhook string `json:"webhook"` // told when the poll is closed; needs NIP-98
}

// postedAnswer is the answer to a poll that was taken.
type postedAnswer struct {
	ID      string      `json:"id"`
	Event   nostr.Event `json:"event"`
	URL     string      `json:"url"`
	Webhook string      `json:"webhook,omitempty"`
}

const (
	postsEach = 30          // polls that one address may post in a minute
	postsWho  = 1 << 14     // addresses remembered within it; beyond, all must wait
	postsTurn = time.Minute // when they are forgotten
)

// postRate counts posts by address.
type postRate struct {
	mu    sync.Mutex // guards what follows
	began time.Time
	posts map[netip.Prefix]int
}

func newPostRate() *postRate { return &postRate{posts: map[netip.Prefix]int{}} }

// callerOf is whom an address stands for: an IPv6 network of 64 bits is one.
func callerOf(addr netip.Addr) (netip.Prefix, error) {
	addr, bits := addr.Unmap().WithZone(""), 64
	if addr.Is4() {
		bits = 32
	}
	return addr.Prefix(bits)
}

// allow reports whether this address may post now.
func (p *postRate) allow(addr netip.Addr) bool {
	who, err := callerOf(addr)
	if err != nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); now.Sub(p.began) > postsTurn {
		p.began, p.posts = now, map[netip.Prefix]int{}
	}
	if p.posts[who] >= postsEach || len(p.posts) >= postsWho && p.posts[who] == 0 {
		return false
	}
	p.posts[who]++
	return true
}

func (p *polls) servePost(w http.ResponseWriter, r *http.Request) error {
	if !p.posts.allow(p.server.relay.ClientIP(r)) {
		w.Header().Set("Retry-After", "60") // seconds
		return problem(http.StatusTooManyRequests, "more than %d polls in a minute: try again later", postsEach)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return problem(http.StatusBadRequest, "the body did not arrive")
	}
	creator := ""
	if r.Header.Get("Authorization") != "" {
		if creator, err = p.core.auth.Check(r, body); err != nil {
			return err
		}
	}
	req, err := readPollRequest(body)
	if err != nil {
		return err
	}
	if creator == "" && (len(req.Event) == 0 || req.Webhook != "") {
		return &admit.Unauthorized{Reason: "a description of a poll and a webhook need a signed request (NIP-98); a signed poll alone does not"}
	}
	text := []byte(req.Event)
	if len(text) == 0 {
		ev, err := p.compose(r.Context(), req, creator)
		if err != nil {
			return err
		}
		text = []byte(ev.String())
	}
	return p.take(w, r, req, text, creator)
}

// take publishes the poll as if it had come from a socket, where it must be
// readable by the same rules.
func (p *polls) take(w http.ResponseWriter, r *http.Request, req *pollRequest, text []byte, creator string) error {
	ev, record, err := wire.ParseEvent(text)
	if err != nil {
		return problem(http.StatusBadRequest, "the poll is no event that a relay keeps: %v", err)
	}
	of, err := poll.Parse(ev)
	if err != nil {
		return problem(http.StatusBadRequest, "%v", err)
	}
	if req.Webhook != "" {
		if err := p.hooks.fits(req.Webhook, creator); err != nil {
			return err
		}
		if err := p.hooks.awaits(&of); err != nil {
			return err
		}
	}
	from := admit.Peer{Origin: admit.Socket, IP: p.server.relay.ClientIP(r)}
	if creator != "" {
		from.Authed = []string{creator}
	}
	reply, err := p.core.relay.Publish(r.Context(), ev, record, from)
	if err != nil {
		return err
	}
	if !reply.OK {
		return problem(http.StatusUnprocessableEntity, "%s", reply.Reason)
	}
	if req.Webhook != "" {
		if err := p.hooks.add(r.Context(), hook{Poll: ev.ID, URL: req.Webhook, By: creator}); err != nil {
			return err
		}
	}
	httpapi.Reply(w, http.StatusCreated, postedAnswer{
		ID: ev.ID, Event: *ev, URL: httpURL(p.core.urls[0]) + "/v1/polls/" + ev.ID, Webhook: req.Webhook,
	})
	return nil
}

// readPollRequest reads a body: a request, or the signed poll itself.
func readPollRequest(body []byte) (*pollRequest, error) {
	var bare struct {
		Sig string `json:"sig"`
	}
	if json.Unmarshal(body, &bare) == nil && bare.Sig != "" {
		return &pollRequest{Event: body}, nil
	}
	d := json.NewDecoder(strings.NewReader(string(body)))
	d.DisallowUnknownFields()
	req := new(pollRequest)
	err := d.Decode(req)
	if _, after := d.Token(); err == nil && after != io.EOF {
		err = errors.New("something follows it")
	}
	if err != nil {
		return nil, problem(http.StatusBadRequest, "the body is not a signed poll and not a description of one: %v", err)
	}
	if string(req.Event) == "null" {
		req.Event = nil
	}
	switch {
	case len(req.Event) > 0 && (req.Question != "" || len(req.Options) > 0):
		return nil, problem(http.StatusBadRequest, "give a signed event or a description, not both")
	case req.Root != "" && req.Group == "":
		return nil, problem(http.StatusBadRequest, "root is a group's: name the group, too")
	}
	return req, nil
}

// compose signs a poll for somebody who has signed the request, with a key
// that this relay keeps for them.
func (p *polls) compose(ctx context.Context, req *pollRequest, creator string) (*nostr.Event, error) {
	ev := &nostr.Event{Kind: poll.KindPoll, CreatedAt: nostr.Now(), Content: req.Question}
	for _, o := range req.Options {
		ev.Tags = append(ev.Tags, nostr.Tag{"option", o.ID, o.Label})
	}
	method, polltype := req.Method, "multiplechoice"
	if method == "" {
		method = poll.Single
	}
	if method == poll.Single {
		polltype = "singlechoice"
	}
	ev.Tags = append(ev.Tags, nostr.Tag{"polltype", polltype}, nostr.Tag{"method", string(method)},
		nostr.Tag{"relay", p.core.urls[0]}, nostr.Tag{"host", p.self}, nostr.Tag{"p", creator})
	if req.EndsAt != 0 {
		ev.Tags = append(ev.Tags, nostr.Tag{"endsAt", strconv.FormatInt(req.EndsAt, 10)})
	}
	if req.Hidden {
		ev.Tags = append(ev.Tags, nostr.Tag{"tally", "hidden"})
	}
	if req.Group != "" {
		root := req.Root
		if root == "" {
			var err error
			if root, err = p.currentRoot(ctx, req.Group); err != nil {
				return nil, err
			}
		}
		ev.Tags = append(ev.Tags, nostr.Tag{"pop", "semaphore4", req.Group, root, "20"})
	}
	key, err := p.core.secret.derive("polls/author/" + creator)
	if err != nil {
		return nil, err
	}
	return ev, ev.Sign(hexSum(key))
}

func (p *polls) currentRoot(ctx context.Context, address string) (string, error) {
	group, err := personhood.ParseAddress(address)
	if err != nil {
		return "", problem(http.StatusBadRequest, "%v", err)
	}
	for ev, err := range p.events.Query(ctx, groupFilter(group)) {
		if err != nil {
			return "", err
		}
		if s, err := personhood.ParseSnapshot(ev); err == nil {
			return rootHex(s.Root), nil
		}
	}
	return "", problem(http.StatusUnprocessableEntity, "the group %s is not held here", address)
}
