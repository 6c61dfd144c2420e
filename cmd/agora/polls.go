package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"agora/personhood"
	"agora/personhood/poll"
	"agora/personhood/semaphore"
	"agora/relay/admit"
	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
)

// polls counts polls, closes those this relay is the host of, and tells who
// asked to be told.
type polls struct {
	server *server
	core   *core
	self   string // hex public key of the relay: the host
	events wholeLog
	hooks  *hooks
	posts  *postRate

	// members finds the members file of a group by its SHA-256; nil when this
	// relay keeps none.
	members func(sum [32]byte) ([]byte, bool)

	over    chan struct{} // closed when Run has ended
	streams *seats        // running tallies being sent; when full: 503
	dumps   *seats        // ballots being sent; when full: 503
	turns   *turns

	mu     sync.Mutex // guards what follows
	cached map[string]*counted
	crowds map[[32]byte]int // people in members files, by their SHA-256
}

const (
	mostCached = 256         // tallies held; beyond, all are forgotten
	mostCrowds = 1024        // sizes of members files held; beyond, all are forgotten
	tallyFresh = time.Second // how long a tally is believed, at least
	tallyShare = 10          // counting takes at most a tenth of one core for each poll
)

func (s *server) openPolls(c *core) (*polls, error) {
	self, err := nostr.GetPublicKey(c.self)
	if err != nil {
		return nil, err
	}
	p := &polls{
		server: s, core: c, self: self, events: wholeLog{c.store}, posts: newPostRate(),
		over:    make(chan struct{}),
		streams: newSeats(64, 16),
		dumps:   newSeats(4, 2),
		turns:   newTurns(), cached: map[string]*counted{}, crowds: map[[32]byte]int{},
	}
	if s.parts.groups != nil {
		p.members = s.parts.groups.doors.Find
	}
	p.hooks, err = openHooks(c, self)
	return p, err
}

// find reads a poll that anybody may see; nil when there is none.
func (p *polls) find(ctx context.Context, id string) (*poll.Poll, *nostr.Event, error) {
	of, err := store.ParseID(id)
	if err != nil {
		return nil, nil, &poll.Invalid{Reason: "a poll's id has 64 lower-case hex digits"}
	}
	var ev *nostr.Event
	lookup := p.core.store.Lookup(ctx, []store.ID{of}, func(rec store.Record) bool {
		if p.server.visible(rec, "") {
			ev, err = rec.Event()
		}
		return false
	})
	if err := errors.Join(lookup, err); err != nil || ev == nil {
		return nil, nil, err
	}
	read, err := poll.Parse(ev)
	if err != nil {
		return nil, nil, err
	}
	return &read, ev, nil
}

// votes are the ballots of a poll that are held: of people, which the gate has
// proven, and of keys.
func (p *polls) votes(ctx context.Context, of *poll.Poll) (people, keys []poll.Cast, err error) {
	filter := nostr.Filter{Kinds: []int{poll.KindBallot}, Tags: nostr.TagMap{"e": {of.ID}}}
	for rec, err := range p.core.store.Query(ctx, filter) {
		if err != nil {
			return nil, nil, err
		}
		if !p.server.visible(rec, "") {
			continue
		}
		ev, err := rec.Event()
		if err != nil {
			return nil, nil, err
		}
		cast, person, err := personhood.ReadBallot(of, ev)
		switch {
		case err != nil: // not one that counts
		case person:
			people = append(people, cast)
		default:
			keys = append(keys, cast)
		}
	}
	return people, keys, nil
}

// counted is a poll's tally at one moment.
type counted struct {
	state  string
	tally  poll.Tally
	count  int
	sum    [32]byte
	close  *poll.Close
	signed nostr.Event // the certificate
	at     time.Time
	took   time.Duration
}

// count is the tally of a poll, at most a second old unless counting it is
// dear. Who waited for another's count takes that one.
func (p *polls) count(ctx context.Context, of *poll.Poll) (*counted, error) {
	if c := p.fresh(of); c != nil {
		return c, nil
	}
	leave, err := p.turns.take(ctx, of.ID, countWait)
	if err != nil {
		return nil, err
	}
	defer leave()
	if c := p.fresh(of); c != nil {
		return c, nil
	}
	return p.recount(ctx, of)
}

// fresh is a tally that is still believed; nil when there is none.
func (p *polls) fresh(of *poll.Poll) *counted {
	p.mu.Lock()
	c := p.cached[of.ID]
	p.mu.Unlock()
	if c != nil && time.Since(c.at) < max(tallyFresh, tallyShare*c.took) && (c.state != poll.Open || stateOf(of, nil) == poll.Open) {
		return c
	}
	return nil
}

// recount counts now.
func (p *polls) recount(ctx context.Context, of *poll.Poll) (*counted, error) {
	began := time.Now()
	c, err := p.tally(ctx, of)
	if err != nil {
		return nil, fmt.Errorf("count the poll %s: %w", of.ID, err)
	}
	c.at, c.took = time.Now(), time.Since(began)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.cached) >= mostCached {
		p.cached = map[string]*counted{}
	}
	p.cached[of.ID] = c
	return c, nil
}

func (p *polls) tally(ctx context.Context, of *poll.Poll) (*counted, error) {
	closed, err := personhood.CloseOf(ctx, p.events, of, p.self)
	if err != nil {
		return nil, err
	}
	c := &counted{state: stateOf(of, closed), close: closed}
	if closed != nil {
		if signed, cert := p.certificate(ctx, closed); signed != nil {
			c.signed, c.tally, c.count, c.sum = *signed, cert.Tally, cert.Count, cert.Sum
			return c, nil
		}
	}
	people, keys, err := p.votes(ctx, of)
	if err != nil {
		return nil, err
	}
	p.settle(of, c, people, keys)
	return c, p.certify(of, c)
}

// settle counts votes, of a closed poll only those that it was closed with.
func (p *polls) settle(of *poll.Poll, c *counted, people, keys []poll.Cast) {
	if c.close != nil {
		people = poll.Among(people, c.close.IDs)
	}
	people, _ = poll.Settle(people, poll.MostRevotes)
	keys, _ = poll.Settle(keys, -1)
	c.tally = poll.Tally{People: of.Count(poll.Chosen(people)), Keys: of.Count(poll.Chosen(keys))}
	if of.Group == "" {
		people = keys
	}
	c.count, c.sum = len(people), poll.Sum(poll.IDs(people))
}

// certify signs what was counted, as of now.
func (p *polls) certify(of *poll.Poll, c *counted) error {
	id, err := poll.ParseID(of.ID)
	if err != nil {
		return err
	}
	c.signed, err = poll.Certificate{
		Poll: id, Group: of.Group, Root: of.Root, By: p.self, At: nostr.Now(),
		State: c.state, Count: c.count, Sum: c.sum, Tally: c.tally,
	}.Event()
	if err != nil {
		return err
	}
	return c.signed.Sign(p.core.self)
}

// certificate is our stored certificate of a poll that we have closed; nil when
// there is none yet. Another host's is not repeated here: we count what it has
// closed the poll with.
func (p *polls) certificate(ctx context.Context, closed *poll.Close) (*nostr.Event, poll.Certificate) {
	filter := nostr.Filter{Kinds: []int{poll.KindCertificate}, Authors: []string{closed.By}, Tags: nostr.TagMap{"e": {closed.Poll.String()}}, Limit: 16}
	for ev, err := range p.events.Query(ctx, filter) {
		if err != nil {
			return nil, poll.Certificate{}
		}
		c, err := poll.ParseCertificate(ev)
		if err == nil && c.State == poll.Closed && ev.PubKey == p.self {
			return ev, c
		}
	}
	return nil, poll.Certificate{}
}

func stateOf(of *poll.Poll, closed *poll.Close) string {
	switch {
	case closed != nil:
		return poll.Closed
	case of.Ends != 0 && time.Now().After(of.Ends.Time()):
		return poll.Ended
	}
	return poll.Open
}

// crowd is the snapshot that a poll pins, and how many people it has: false
// when the members file is not here, and then it is the number of leaves.
func (p *polls) crowd(ctx context.Context, of *poll.Poll) (s personhood.Snapshot, people int, known bool, err error) {
	entry, err := p.rootEntry(ctx, of)
	if err != nil || entry == nil {
		return s, 0, false, err
	}
	if s, err = personhood.ParseSnapshot(entry); err != nil {
		return s, 0, false, err
	}
	p.mu.Lock()
	people, known = p.crowds[s.Members]
	p.mu.Unlock()
	if known {
		return s, people, true, nil
	}
	if p.members == nil {
		return s, s.Size, false, nil
	}
	file, ok := p.members(s.Members)
	if !ok {
		return s, s.Size, false, nil
	}
	// The root log has signed this file's hash: no need to build its tree.
	if sha256.Sum256(file) != s.Members || len(file) != 32*s.Size {
		return s, s.Size, false, nil // a file that is not the group's is none
	}
	people = 0
	for leaf := range slices.Chunk(file, 32) {
		if [32]byte(leaf) != ([32]byte{}) {
			people++
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.crowds) >= mostCrowds {
		p.crowds = map[[32]byte]int{}
	}
	p.crowds[s.Members] = people
	return s, people, true, nil
}

// rootEntry is the entry of the group's root log with the poll's root.
func (p *polls) rootEntry(ctx context.Context, of *poll.Poll) (found *nostr.Event, err error) {
	group, err := personhood.ParseAddress(of.Group)
	if err != nil {
		return nil, err
	}
	filter := nostr.Filter{Kinds: []int{personhood.KindRootLog}, Authors: []string{group.Key}, Tags: nostr.TagMap{"a": {of.Group}}}
	for ev, err := range p.events.Query(ctx, filter) { // newest first; the last found is the earliest
		if err != nil {
			return nil, err
		}
		if s, err := personhood.ParseSnapshot(ev); err == nil && s.Root == of.Root && s.Group == group {
			found = ev
		}
	}
	return found, nil
}

// publish is the relay's own event, into its own log.
func (p *polls) publish(ctx context.Context, ev *nostr.Event) error {
	if err := ev.Sign(p.core.self); err != nil {
		return err
	}
	reply, err := p.core.relay.Publish(ctx, ev, nil, admit.Peer{Origin: admit.Own})
	if err == nil && !reply.OK {
		err = errors.New(reply.Reason)
	}
	return err
}

// Run closes polls and delivers what was asked for. It is called once.
func (p *polls) Run(ctx context.Context) error {
	defer close(p.over)
	closing := &closer{polls: p}
	tick := time.NewTicker(closeLook)
	defer tick.Stop()
	for {
		if err := closing.look(ctx, time.Now()); err != nil && ctx.Err() == nil {
			p.core.log.Error("polls: closing is tried again", "error", err)
		}
		p.hooks.deliver(ctx, p)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func hexSum(sum [32]byte) string { return hex.EncodeToString(sum[:]) }

func rootHex(root semaphore.Element) string { return semaphore.Hex(root) }
