package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"agora/personhood"
	"agora/personhood/poll"
	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
)

const (
	closeLook  = 30 * time.Second // how often polls are looked at
	closeTwice = time.Minute      // how long a poll must have been due, by a clock that never jumps
	mostDue    = 100_000          // polls with an end that are remembered; beyond, the rest waits for a restart
)

// closer signs the close events of polls whose host this relay is. A poll is
// found due twice, a minute apart, before it is closed: a clock that jumps and
// comes back closes nothing, and what was on its way in has arrived.
type closer struct {
	polls *polls
	read  store.Pos // how far the log was read for polls
	known bool      // the polls from before read are in due
	due   map[string]*duePoll
}

type duePoll struct {
	poll  *poll.Poll
	since time.Time // when it was first found due; zero: not yet
}

// look closes what has been due for long enough.
func (c *closer) look(ctx context.Context, now time.Time) error {
	if err := c.follow(ctx); err != nil {
		return err
	}
	var all error
	for id, d := range c.due {
		done, err := c.consider(ctx, d, now)
		if done {
			delete(c.due, id)
		}
		all = errors.Join(all, err)
	}
	return all
}

// follow learns of polls: all that are held at first, then those that come.
func (c *closer) follow(ctx context.Context) error {
	if !c.known {
		head := c.polls.core.store.Head()
		c.due = map[string]*duePoll{}
		for rec, err := range c.polls.core.store.Query(ctx, nostr.Filter{Kinds: []int{poll.KindPoll}}) {
			if err != nil {
				return fmt.Errorf("look for polls: %w", err)
			}
			if err := c.add(&rec); err != nil {
				return err
			}
		}
		c.read, c.known = head, true
	}
	for change, err := range c.polls.core.store.Changes(ctx, c.read) {
		if errors.Is(err, store.ErrTrimmed) {
			c.known = false
			return nil
		}
		if err != nil {
			return fmt.Errorf("follow the log for polls: %w", err)
		}
		if change.Removed == nil && change.Record.Kind() == poll.KindPoll {
			if err := c.add(&change.Record); err != nil {
				return err
			}
		}
		c.read = change.Pos
	}
	return nil
}

func (c *closer) add(rec *store.Record) error {
	ev, err := rec.Event()
	if err != nil {
		return err
	}
	p, err := poll.Parse(ev)
	if err != nil || p.Group == "" || p.Ends == 0 || p.Host != "" && p.Host != c.polls.self || len(c.due) >= mostDue {
		return nil //nolint:nilerr // not a poll that we close
	}
	c.due[p.ID] = &duePoll{poll: &p}
	return nil
}

// consider looks at one poll; done says that there is no more to do.
func (c *closer) consider(ctx context.Context, d *duePoll, now time.Time) (done bool, err error) {
	gate := c.polls.core.people.gate
	if now.Before(d.poll.Ends.Time().Add(poll.CloseAfter * time.Second)) {
		if !d.since.IsZero() { // the clock has jumped, and come back
			d.since = time.Time{}
			gate.Closing(d.poll.ID, false)
		}
		return false, nil
	}
	closed, err := personhood.CloseOf(ctx, c.polls.events, d.poll, c.polls.self)
	if err != nil {
		return false, err
	}
	if closed == nil && d.since.IsZero() {
		d.since = time.Now()
		gate.Closing(d.poll.ID, true)
		return false, nil
	}
	if closed == nil && time.Since(d.since) < closeTwice {
		return false, nil
	}
	if _, held, err := c.polls.find(ctx, d.poll.ID); err != nil || held == nil {
		gate.Closing(d.poll.ID, false)
		return err == nil, err // it was deleted
	}
	err = c.polls.closeNow(ctx, d.poll, closed, now)
	if err == nil {
		gate.Closing(d.poll.ID, false)
	}
	return err == nil, err
}

// closeNow signs which ballots count, unless that is done, and then the
// certificate.
func (p *polls) closeNow(ctx context.Context, of *poll.Poll, closed *poll.Close, now time.Time) error {
	if closed == nil {
		people, _, err := p.votes(ctx, of)
		if err != nil {
			return err
		}
		people, _ = poll.Settle(people, poll.MostRevotes)
		id, err := poll.ParseID(of.ID)
		if err != nil {
			return err
		}
		closed = &poll.Close{Poll: id, Group: of.Group, Root: of.Root, By: p.self, At: nostr.Timestamp(now.Unix()), IDs: poll.IDs(people)}
		for _, part := range closed.Events() {
			if err := p.publish(ctx, &part); err != nil {
				return fmt.Errorf("close the poll %s: %w", of.ID, err)
			}
		}
	}
	c, err := p.recount(ctx, of)
	if err != nil {
		return err
	}
	signed := c.signed
	if err := p.publish(ctx, &signed); err != nil {
		return fmt.Errorf("certify the poll %s: %w", of.ID, err)
	}
	p.core.log.Info("polls: closed", "poll", of.ID, "people", c.count, "ids", hexSum(c.sum))
	return nil
}
