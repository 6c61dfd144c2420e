package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"agora/personhood"
	"agora/personhood/poll"
	"agora/relay/peer"
	"agora/relay/wire"

	"github.com/gorilla/websocket"
	"github.com/nbd-wtf/go-nostr"
)

const (
	mostFetched  = 4 << 30          // bytes that a relay may send for one recount
	askPage      = 500              // events asked for at once
	askPatience  = 30 * time.Second // for the next message of a relay
	mostPollsDoc = 4 << 20          // bytes of an answer over HTTP that is no list of ballots
)

// anyAddress is what a person may dial whose own command names the address.
func anyAddress() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}
}

// inquiry is a connection to the relay that a command names. It never
// authenticates.
type inquiry struct {
	url string
	ws  *websocket.Conn
}

func inquire(ctx context.Context, relay string) (*inquiry, error) {
	ws, err := peer.NewDialer(peer.DialConfig{Allow: anyAddress()}).Websocket(ctx, relay, mostFetched)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = ws.Close() }) // ends a read that waits
	return &inquiry{relay, ws}, nil
}

func (q *inquiry) close() { _ = q.ws.Close() }

func (q *inquiry) next() (wire.ServerMessage, error) {
	if err := q.ws.SetReadDeadline(time.Now().Add(askPatience)); err != nil {
		return wire.ServerMessage{}, err
	}
	_, raw, err := q.ws.ReadMessage()
	if err != nil {
		return wire.ServerMessage{}, fmt.Errorf("%s does not answer: %w", q.url, err)
	}
	return wire.ParseServer(raw)
}

// ask returns what matches, in one answer.
func (q *inquiry) ask(f nostr.Filter) (events []*nostr.Event, err error) {
	if err := q.ws.WriteJSON([]any{"REQ", "poll", f}); err != nil {
		return nil, err
	}
	for {
		m, err := q.next()
		if err != nil {
			return nil, err
		}
		switch m.Label {
		case "EVENT":
			events = append(events, m.Event)
		case "EOSE":
			return events, q.ws.WriteJSON([]any{"CLOSE", "poll"})
		case "CLOSED":
			return nil, fmt.Errorf("%s refuses: %s", q.url, m.Text)
		}
	}
}

// all pages through everything that matches.
func (q *inquiry) all(f nostr.Filter) (events []*nostr.Event, err error) {
	seen := map[string]bool{}
	f.Limit = askPage
	for {
		page, err := q.ask(f)
		if err != nil {
			return nil, err
		}
		fresh, oldest := 0, nostr.Now()
		if f.Until != nil {
			oldest = *f.Until
		}
		for _, ev := range page {
			oldest = min(oldest, ev.CreatedAt)
			if !seen[ev.ID] {
				seen[ev.ID], events, fresh = true, append(events, ev), fresh+1
			}
		}
		if len(page) == 0 {
			return events, nil
		}
		if fresh == 0 { // a second with more events than a page
			oldest--
		}
		f.Until = &oldest
	}
}

// publish sends one event and returns the relay's "no", "" for yes.
func (q *inquiry) publish(ev *nostr.Event) (string, error) {
	if err := q.ws.WriteJSON([]any{"EVENT", ev}); err != nil {
		return "", err
	}
	for {
		m, err := q.next()
		if err != nil {
			return "", err
		}
		if m.Label == "OK" && m.ID == ev.ID {
			if m.OK {
				return "", nil
			}
			return m.Text, nil
		}
	}
}

// pollEvents is all that a relay holds for a recount.
func (q *inquiry) pollEvents(id string) (events []*nostr.Event, err error) {
	of, err := q.poll(id)
	if err != nil {
		return nil, err
	}
	events = append(events, of.event)
	filters := []nostr.Filter{}
	if of.Group != "" {
		group, err := personhood.ParseAddress(of.Group)
		if err != nil {
			return nil, err
		}
		filters = append(filters, groupFilter(group), nostr.Filter{
			Kinds: []int{personhood.KindRootLog}, Authors: []string{group.Key}, Tags: nostr.TagMap{"a": {of.Group}},
		})
	}
	for _, kind := range []int{poll.KindClose, poll.KindCertificate, poll.KindBallot} {
		filters = append(filters, nostr.Filter{Kinds: []int{kind}, Tags: nostr.TagMap{"e": {id}}})
	}
	for _, f := range filters {
		more, err := q.all(f)
		if err != nil {
			return nil, err
		}
		events = append(events, more...)
	}
	return events, nil
}

// heldPoll is a poll with its event.
type heldPoll struct {
	poll.Poll
	event *nostr.Event
}

// poll asks for one poll and holds it to its id.
func (q *inquiry) poll(id string) (heldPoll, error) {
	events, err := q.ask(nostr.Filter{IDs: []string{id}, Limit: 1})
	if err != nil {
		return heldPoll{}, err
	}
	if len(events) == 0 {
		return heldPoll{}, fmt.Errorf("%s holds no poll %s", q.url, id)
	}
	ev := events[0]
	if ok, err := ev.CheckSignature(); ev.ID != id || !ev.CheckID() || err != nil || !ok {
		return heldPoll{}, fmt.Errorf("%s gives a forged poll", q.url)
	}
	p, err := poll.Parse(ev)
	return heldPoll{p, ev}, err
}

// readEvents reads JSON lines, packed or not; lines that are no events are
// counted.
func readEvents(name string) (events []*nostr.Event, broken int, err error) {
	in, err := openLines(name, new(atomic.Int64))
	if err != nil {
		return nil, 0, err
	}
	err = readLines(name, in, func(l line) bool {
		raw, err := eventIn(l.text)
		ev := new(nostr.Event)
		if err != nil || ev.UnmarshalJSON(raw) != nil {
			if len(l.text) > 0 || l.text == nil {
				broken++
			}
			return true
		}
		events = append(events, ev)
		return true
	})
	return events, broken, errors.Join(err, in.Close())
}

// membersFrom finds the members file: the one named, or where the group's own
// events say that it is. relay is the address that the command named, "" when
// it named none: only on its host may a private address be asked.
func membersFrom(name, relay string) func(context.Context, personhood.Snapshot) ([]byte, error) {
	return func(ctx context.Context, s personhood.Snapshot) ([]byte, error) {
		if name != "" && !isURL(name) {
			return os.ReadFile(name)
		}
		urls := s.URLs
		if name != "" {
			urls = []string{name}
		}
		var all error
		for _, u := range urls {
			u = personhood.MembersURL(u, s.Members)
			file, err := download(ctx, u, name != "" || sameHost(u, relay), 32*personhood.MaxMembers)
			if err == nil {
				_, err = s.Matches(file)
			}
			if err == nil {
				return file, nil
			}
			all = errors.Join(all, fmt.Errorf("%s: %w", u, err))
		}
		if all == nil {
			all = errors.New("the group's event does not say where it is")
		}
		return nil, fmt.Errorf("%w (--members FILE or URL names it)", all)
	}
}

func isURL(s string) bool { return strings.HasPrefix(s, "http://") || strings.HasPrefix(s, "https://") }

func sameHost(a, b string) bool {
	x, errX := url.Parse(a)
	y, errY := url.Parse(b)
	return errX == nil && errY == nil && x.Hostname() != "" && x.Hostname() == y.Hostname()
}

// download fetches by HTTP, from private addresses only when trusted.
func download(ctx context.Context, at string, trusted bool, most int64) ([]byte, error) {
	cfg := peer.DialConfig{MaxBody: most, Request: 5 * time.Minute}
	if trusted {
		cfg.Allow = anyAddress()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	resp, err := peer.NewDialer(cfg).HTTP().Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		var said struct {
			Error string `json:"error"`
		}
		_ = json.Unmarshal(body, &said) // a body that says nothing is no worse
		if said.Error == "" {
			said.Error = "and nothing that says why"
		}
		err = fmt.Errorf("%s answered %s: %s", at, resp.Status, said.Error)
	}
	return body, err
}

// selfOf is the key with which a relay signs, by its NIP-11; "" when it does
// not say.
func selfOf(ctx context.Context, relay string) string {
	cfg := peer.DialConfig{MaxBody: mostPollsDoc, Allow: anyAddress()}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, httpURL(relay), nil)
	if err != nil {
		return ""
	}
	req.Header.Set("Accept", "application/nostr+json")
	resp, err := peer.NewDialer(cfg).HTTP().Do(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	var info struct {
		Self string `json:"self"`
	}
	if json.NewDecoder(resp.Body).Decode(&info) != nil || !nostr.IsValidPublicKey(info.Self) {
		return ""
	}
	return info.Self
}

// latestGroup is the newest snapshot of a group that a relay holds.
func (q *inquiry) latestGroup(address personhood.Address) (s personhood.Snapshot, err error) {
	events, err := q.ask(groupFilter(address))
	if err != nil {
		return s, err
	}
	events = slices.DeleteFunc(events, func(ev *nostr.Event) bool {
		ok, err := ev.CheckSignature()
		return err != nil || !ok || !ev.CheckID() || ev.PubKey != address.Key
	})
	if len(events) == 0 {
		return s, fmt.Errorf("%s does not hold the group %s", q.url, address)
	}
	return personhood.ParseSnapshot(events[0])
}
