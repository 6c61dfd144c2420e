package personhood

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"agora/personhood/poll"
	"agora/relay/admit"
	"agora/relay/lowhex"

	"github.com/nbd-wtf/go-nostr"
)

const (
	mostClosed = 64  // closed polls whose ids are held; beyond, all are forgotten and read again
	closeParts = 512 // close events of one poll that are looked at
)

// closed knows which polls take no more ballots, whatever the clock says: the
// host has signed which count, or is about to.
type closed struct {
	mu      sync.Mutex // guards what follows
	closing map[string]bool
	known   map[string]map[poll.ID]bool // by poll: the ids that count; complete, so never read again
}

// Closing makes the gate refuse all further ballots of a poll, by every way
// in, or take them again: the host counts what it holds in between.
func (g *Gate) Closing(pollID string, on bool) {
	g.closed.mu.Lock()
	defer g.closed.mu.Unlock()
	if g.closed.closing == nil {
		g.closed.closing = map[string]bool{}
	}
	if on {
		g.closed.closing[pollID] = true
		return
	}
	delete(g.closed.closing, pollID)
}

func (g *Gate) closing(pollID string) bool {
	g.closed.mu.Lock()
	defer g.closed.mu.Unlock()
	return g.closed.closing[pollID]
}

// open refuses a ballot of a poll that is closed, unless it is one of those
// that count: a mirror may get them after the close event.
func (g *Gate) open(ctx context.Context, p *poll.Poll, id string) error {
	if p.Ends == 0 {
		return nil
	}
	if g.closing(p.ID) {
		return invalid("poll is being closed")
	}
	ids, err := g.counted(ctx, p)
	if err != nil || ids == nil {
		return err
	}
	if of, err := poll.ParseID(id); err != nil || !ids[of] {
		return invalid("poll is closed, and this ballot is not among those that count")
	}
	return nil
}

// counted are the ids that a poll's host has closed it with; nil while it has
// not.
func (g *Gate) counted(ctx context.Context, p *poll.Poll) (map[poll.ID]bool, error) {
	g.closed.mu.Lock()
	ids := g.closed.known[p.ID]
	g.closed.mu.Unlock()
	if ids != nil {
		return ids, nil
	}
	c, err := CloseOf(ctx, g.cfg.Events, p, g.cfg.Host)
	if err != nil || c == nil {
		return nil, err
	}
	ids = make(map[poll.ID]bool, len(c.IDs))
	for _, id := range c.IDs {
		ids[id] = true
	}
	g.closed.mu.Lock()
	defer g.closed.mu.Unlock()
	if len(g.closed.known) >= mostClosed || g.closed.known == nil {
		g.closed.known = map[string]map[poll.ID]bool{}
	}
	g.closed.known[p.ID] = ids
	return ids, nil
}

// CloseOf is the close event of a poll by its host, or by this key where the
// poll names none; nil when there is no whole one. A host that has signed two
// is held to the first.
func CloseOf(ctx context.Context, events Events, p *poll.Poll, host string) (*poll.Close, error) {
	if p.Host != "" {
		host = p.Host
	}
	if host == "" || p.Ends == 0 {
		return nil, nil
	}
	var parts []*nostr.Event
	filter := nostr.Filter{Kinds: []int{poll.KindClose}, Authors: []string{host}, Tags: nostr.TagMap{"e": {p.ID}}, Limit: closeParts}
	for ev, err := range events.Query(ctx, filter) {
		if err != nil {
			return nil, fmt.Errorf("look for the close event of %s: %w", p.ID, err)
		}
		parts = append(parts, ev)
	}
	return FirstClose(parts, p), nil
}

// FirstClose is the earliest whole close of a poll among events of one host;
// nil when there is none.
func FirstClose(parts []*nostr.Event, p *poll.Poll) *poll.Close {
	slices.SortStableFunc(parts, func(a, b *nostr.Event) int { return int(a.CreatedAt - b.CreatedAt) })
	for len(parts) > 0 {
		at := parts[0].CreatedAt
		n := slices.IndexFunc(parts, func(ev *nostr.Event) bool { return ev.CreatedAt != at })
		if n < 0 {
			n = len(parts)
		}
		c, err := poll.ParseClose(parts[:n])
		if err == nil && c.Poll.String() == p.ID && c.Group == p.Group && c.Root == p.Root && c.At >= p.Ends+poll.CloseAfter {
			return &c
		}
		parts = parts[n:]
	}
	return nil
}

// deletion refuses to take a ballot out of a poll that is closed: it has been
// counted, under a key that is nobody's.
func (g *Gate) deletion(ctx context.Context, ev *nostr.Event) (admit.Ruling, error) {
	var ids []string
	for _, tag := range ev.Tags {
		if len(tag) > 1 && tag[0] == "e" && lowhex.Is(tag[1], 64) {
			ids = append(ids, tag[1])
		}
	}
	if len(ids) == 0 {
		return admit.Ruling{}, nil
	}
	filter := nostr.Filter{IDs: ids, Kinds: []int{KindBallot}, Authors: []string{ev.PubKey}}
	var ballots []*nostr.Event // at most the tags of one event
	for ev, err := range g.cfg.Events.Query(ctx, filter) {
		if err != nil {
			return admit.Ruling{}, fmt.Errorf("look for ballots to delete: %w", err)
		}
		ballots = append(ballots, ev)
	}
	for _, ballot := range ballots {
		counts, err := g.counts(ctx, ballot)
		if err != nil {
			return admit.Ruling{}, err
		}
		if counts {
			return admit.Refuse(admit.Blocked, "the ballot "+ballot.ID+" stays: its poll has been closed with it, or is being closed"), nil
		}
	}
	return admit.Ruling{}, nil
}

// counts reports whether a ballot is among those that a poll was closed with.
func (g *Gate) counts(ctx context.Context, ballot *nostr.Event) (bool, error) {
	tag := first(ballot, "e")
	if !Has(ballot) || len(tag) < 2 {
		return false, nil
	}
	held, err := g.held(ctx, tag[1])
	if err != nil || held == nil {
		return false, err
	}
	p, err := poll.Parse(held)
	if err != nil || p.Group == "" {
		return false, nil //nolint:nilerr // what is no poll closes nothing
	}
	if g.closing(p.ID) {
		return true, nil // the host is counting what it holds
	}
	ids, err := g.counted(ctx, &p)
	if err != nil {
		return false, err
	}
	id, err := poll.ParseID(ballot.ID)
	return err == nil && ids[id], nil //nolint:nilerr // an id that is none is not counted
}
