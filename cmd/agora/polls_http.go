package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"agora/httpapi"
	"agora/personhood"
	"agora/personhood/poll"
	"agora/relay/admit"

	"github.com/nbd-wtf/go-nostr"
)

// ballotsArePublic is told wherever a tally is withheld, or could be.
const ballotsArePublic = "Ballots are public events: whoever reads them can count them at any time. A hidden tally is only not shown here."

const (
	streamEvery = time.Second      // how often a running tally is looked at
	streamQuiet = 15 * time.Second // after which an unchanged one says that it still lives
)

// handler serves /v1/polls…; feeds/doors/openapi.json describes it.
func (p *polls) handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, serve := range p.routes() {
		mux.HandleFunc(pattern, p.told(serve))
	}
	return httpapi.Open("GET, HEAD, POST", httpapi.Routed(mux))
}

type serveFunc func(w http.ResponseWriter, r *http.Request) error

func (p *polls) routes() map[string]serveFunc {
	return map[string]serveFunc{
		"POST /v1/polls":                   p.servePost,
		"GET /v1/polls/{id}":               p.servePoll,
		"GET /v1/polls/{id}/tally":         p.serveTally,
		"GET /v1/polls/{id}/ballots.jsonl": p.serveBallots,
		"GET /v1/polls/{id}/stream":        p.serveStream,
	}
}

// httpProblem is a "no" with its status.
type httpProblem struct {
	status int
	text   string
}

func (e *httpProblem) Error() string { return e.text }

func problem(status int, format string, args ...any) error {
	return &httpProblem{status, fmt.Sprintf(format, args...)}
}

// told turns what goes wrong into an answer.
func (p *polls) told(serve serveFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := serve(w, r)
		if err == nil {
			return
		}
		if no, ok := errors.AsType[*httpProblem](err); ok {
			httpapi.Fail(w, no.status, no.text)
			return
		}
		if no, ok := errors.AsType[*poll.Invalid](err); ok {
			httpapi.Fail(w, http.StatusUnprocessableEntity, "this poll cannot be counted: "+no.Error())
			return
		}
		if no, ok := errors.AsType[*admit.Unauthorized](err); ok {
			w.Header().Set("WWW-Authenticate", "Nostr")
			httpapi.Fail(w, http.StatusUnauthorized, no.Reason)
			return
		}
		if r.Context().Err() == nil {
			p.core.log.Error("polls", "path", r.URL.Path, "error", err)
		}
		httpapi.Fail(w, http.StatusInternalServerError, "could not do this now; try again")
	}
}

// asked is the poll that a request names.
func (p *polls) asked(r *http.Request) (*poll.Poll, *nostr.Event, error) {
	id := r.PathValue("id")
	if _, err := poll.ParseID(id); err != nil {
		return nil, nil, problem(http.StatusBadRequest, "a poll is named by its id of 64 lower-case hex digits")
	}
	of, ev, err := p.find(r.Context(), id)
	if err == nil && of == nil {
		err = problem(http.StatusNotFound, "no poll with this id is held here")
	}
	return of, ev, err
}

// pollAnswer is what GET /v1/polls/{id} says.
type pollAnswer struct {
	ID        string          `json:"id"`
	Author    string          `json:"author"`
	Question  string          `json:"question"`
	Options   []poll.Option   `json:"options"`
	Method    poll.Method     `json:"method"`
	CreatedAt nostr.Timestamp `json:"created_at"`
	EndsAt    nostr.Timestamp `json:"ends_at,omitempty"`
	State     string          `json:"state"`
	Counts    string          `json:"counts"` // people or keys
	Hidden    bool            `json:"hidden"` // no tally before it is closed
	Host      string          `json:"host,omitempty"`
	Group     *groupAnswer    `json:"group,omitempty"`
	Turnout   turnoutAnswer   `json:"turnout"`
	Notice    string          `json:"notice"`
}

type groupAnswer struct {
	Address  string   `json:"address"`
	Root     string   `json:"root"`
	Eligible int      `json:"eligible"` // people who may vote
	Exact    bool     `json:"exact"`    // false: eligible counts members removed since, for their file is not here
	Crowd    int      `json:"crowd"`    // among how many each voter hides
	Small    bool     `json:"small"`    // so few that a voter may be guessed
	Members  string   `json:"members"`  // SHA-256 of the members file
	URLs     []string `json:"urls"`     // where that file is
}

type turnoutAnswer struct {
	People int     `json:"people"`
	Share  float64 `json:"share"` // of those eligible
	Keys   int     `json:"keys"`  // ballots that count no person
}

func (p *polls) servePoll(w http.ResponseWriter, r *http.Request) error {
	of, _, err := p.asked(r)
	if err != nil {
		return err
	}
	answer, err := p.describe(r.Context(), of)
	if err != nil {
		return err
	}
	httpapi.Reply(w, http.StatusOK, answer)
	return nil
}

func (p *polls) describe(ctx context.Context, of *poll.Poll) (pollAnswer, error) {
	c, err := p.count(ctx, of)
	if err != nil {
		return pollAnswer{}, err
	}
	a := pollAnswer{
		ID: of.ID, Author: of.By, Question: of.Question, Options: of.Options, Method: of.Method,
		CreatedAt: of.At, EndsAt: of.Ends, State: c.state, Counts: "keys", Hidden: of.Hidden && !revealed(of, c.state),
		Host: of.Host, Notice: ballotsArePublic,
		Turnout: turnoutAnswer{People: c.tally.People.Ballots, Keys: c.tally.Keys.Ballots},
	}
	if of.Group == "" {
		return a, nil
	}
	a.Counts = "people"
	s, people, exact, err := p.crowd(ctx, of)
	if err != nil {
		return a, err
	}
	a.Group = &groupAnswer{
		Address: of.Group, Root: rootHex(of.Root), Eligible: people, Exact: exact, Crowd: people,
		Small: people < personhood.SmallCrowd, Members: hexSum(s.Members), URLs: p.memberURLs(ctx, s),
	}
	if people > 0 {
		a.Turnout.Share = float64(c.tally.People.Ballots) / float64(people)
	}
	return a, nil
}

// memberURLs are where the group says that its members files are.
func (p *polls) memberURLs(ctx context.Context, s personhood.Snapshot) []string {
	urls := []string{}
	for ev, err := range p.events.Query(ctx, groupFilter(s.Group)) {
		if err != nil {
			break
		}
		if now, err := personhood.ParseSnapshot(ev); err == nil && now.Group == s.Group {
			for _, u := range now.URLs {
				urls = append(urls, personhood.MembersURL(u, s.Members))
			}
		}
	}
	return urls
}

func groupFilter(group personhood.Address) nostr.Filter {
	return nostr.Filter{Kinds: []int{personhood.KindGroup}, Authors: []string{group.Key}, Tags: nostr.TagMap{"d": {group.D}}, Limit: 1}
}

// revealed reports whether the tally of a poll that hides it may be shown: it
// is closed, or nobody has closed it in time.
func revealed(of *poll.Poll, state string) bool {
	late := of.Ends + 2*poll.CloseAfter
	return !of.Hidden || state == poll.Closed || state == poll.Ended && (of.Group == "" || nostr.Now() > late)
}

// tallyAnswer is what GET /v1/polls/{id}/tally says.
type tallyAnswer struct {
	Poll        string      `json:"poll"`
	State       string      `json:"state"`
	Method      poll.Method `json:"method"`
	Counts      string      `json:"counts"`
	People      poll.Result `json:"people"`
	Keys        poll.Result `json:"keys"`
	Count       int         `json:"count"`       // ballots behind the hash
	X           string      `json:"x"`           // SHA-256 over their sorted ids
	Certified   bool        `json:"certified"`   // the host has signed which ballots count
	Certificate nostr.Event `json:"certificate"` // kind 2192, signed by this relay
}

func (p *polls) tallyOf(ctx context.Context, of *poll.Poll) (tallyAnswer, error) {
	c, err := p.count(ctx, of)
	if err != nil {
		return tallyAnswer{}, err
	}
	if !revealed(of, c.state) {
		return tallyAnswer{}, problem(http.StatusForbidden, "this poll asks not to show its tally before it is closed. %s", ballotsArePublic)
	}
	a := tallyAnswer{
		Poll: of.ID, State: c.state, Method: of.Method, Counts: "people", People: c.tally.People, Keys: c.tally.Keys,
		Count: c.count, X: hexSum(c.sum), Certified: c.close != nil, Certificate: c.signed,
	}
	if of.Group == "" {
		a.Counts = "keys"
	}
	return a, nil
}

func (p *polls) serveTally(w http.ResponseWriter, r *http.Request) error {
	of, _, err := p.asked(r)
	if err != nil {
		return err
	}
	answer, err := p.tallyOf(r.Context(), of)
	if err != nil {
		return err
	}
	httpapi.Reply(w, http.StatusOK, answer)
	return nil
}

// serveBallots sends all that a recount needs but the members file, one event
// a line; Link says where that file is.
func (p *polls) serveBallots(w http.ResponseWriter, r *http.Request) error {
	of, ev, err := p.asked(r)
	if err != nil {
		return err
	}
	leave, ok := p.dumps.take(p.server.relay.ClientIP(r))
	if !ok {
		w.Header().Set("Retry-After", "10") // seconds
		return problem(http.StatusServiceUnavailable, "too many are fetching ballots at the moment, or you are already; ask again in ten seconds")
	}
	defer leave()
	ctx := r.Context()
	var filters []nostr.Filter
	lines := []*nostr.Event{ev}
	if of.Group != "" {
		entry, err := p.rootEntry(ctx, of)
		if err != nil {
			return err
		}
		if entry != nil {
			s, err := personhood.ParseSnapshot(entry)
			if err != nil {
				return err
			}
			lines = append(lines, entry)
			filters = append(filters, groupFilter(s.Group))
			for _, u := range p.memberURLs(ctx, s) {
				w.Header().Add("Link", fmt.Sprintf("<%s>; rel=\"members\"; sha256=%q", strings.NewReplacer("<", "", ">", "").Replace(u), hexSum(s.Members)))
			}
		}
	}
	for _, kind := range []int{poll.KindClose, poll.KindCertificate, poll.KindBallot} {
		filters = append(filters, nostr.Filter{Kinds: []int{kind}, Tags: nostr.TagMap{"e": {of.ID}}})
	}
	w.Header().Set("Content-Type", "application/jsonl")
	w.Header().Set("Cache-Control", "no-cache")
	out := bufio.NewWriterSize(w, 64<<10)
	for _, line := range lines {
		_, _ = out.WriteString(line.String() + "\n") // a reader that has gone is seen below
	}
	for _, f := range filters {
		for rec, err := range p.core.store.Query(ctx, f) {
			if err != nil {
				panic(http.ErrAbortHandler) // the answer has begun: cut off, it cannot pass for whole
			}
			if !p.server.visible(rec, "") {
				continue
			}
			if _, err := out.Write(append(rec.JSON, '\n')); err != nil {
				return nil //nolint:nilerr // the reader has gone
			}
		}
	}
	_ = out.Flush() // the reader may be gone
	return nil
}

// serveStream sends the tally as a server-sent event "tally", and again
// whenever it has changed, until the poll is closed.
func (p *polls) serveStream(w http.ResponseWriter, r *http.Request) error {
	of, _, err := p.asked(r)
	if err != nil {
		return err
	}
	leave, ok := p.streams.take(p.server.relay.ClientIP(r))
	if !ok {
		w.Header().Set("Retry-After", "30") // seconds
		return problem(http.StatusServiceUnavailable, "too many streams at the moment, or too many of yours; ask again in half a minute")
	}
	defer leave()
	answer, err := p.tallyOf(r.Context(), of)
	if err != nil {
		return err
	}
	httpapi.BeginEvents(w)
	p.stream(w, r, of, answer)
	return nil
}

// stream sends until the poll is closed or somebody leaves. The answer has
// begun, so what goes wrong can only end it.
func (p *polls) stream(w http.ResponseWriter, r *http.Request, of *poll.Poll, answer tallyAnswer) {
	flush := http.NewResponseController(w)
	tick := time.NewTicker(streamEvery)
	defer tick.Stop()
	sent, spoken := "", time.Now()
	for {
		text := ""
		if now := answer.X + answer.State + fmt.Sprint(answer.Keys.Ballots); now != sent {
			body, err := json.Marshal(answer)
			if err != nil {
				return
			}
			text, sent = "event: tally\ndata: "+string(body)+"\n\n", now
		}
		if text == "" && time.Since(spoken) > streamQuiet {
			text = ": still here\n\n"
		}
		if text != "" {
			if _, err := w.Write([]byte(text)); err != nil || flush.Flush() != nil {
				return
			}
			spoken = time.Now()
		}
		if answer.State == poll.Closed {
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-p.over:
			return
		case <-tick.C:
		}
		next, err := p.tallyOf(r.Context(), of)
		if no, ok := errors.AsType[*httpProblem](err); ok && no.status == http.StatusServiceUnavailable {
			continue // busy: what was sent stands
		}
		if err != nil {
			return
		}
		answer = next
	}
}
