package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"agora/personhood"
	"agora/personhood/poll"
	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
)

const (
	closeLook  = 30 * time.Second // how often polls are looked at
	closeTwice = time.Minute      // how long a poll must have been due, by a clock that never jumps
	closeAgain = 10 * time.Minute // between readings of all polls
	mostDue    = 100_000          // polls with an end that are remembered; beyond, those that end last wait
)

// closer signs the close events of polls whose host this relay is. A poll is
// found due twice, a minute apart, before it is closed: a clock that jumps and
// comes back closes nothing, and what was on its way in has arrived.
type closer struct {
	polls *polls
	read  store.Pos // how far the log was read for polls
	known bool      // the polls from before read are in due
	due   map[string]*duePoll
	again time.Time       // before it, polls that were left out are not read again
	left  nostr.Timestamp // the earliest end of a poll for which there was no room; zero: none
}

type duePoll struct {
	poll  *poll.Poll
	since time.Time // when it was first found due; zero: not yet
}

// look closes what has been due for long enough.
func (c *closer) look(ctx context.Context, now time.Time) error {
	if err := c.follow(ctx, now); err != nil {
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
func (c *closer) follow(ctx context.Context, now time.Time) error {
	// Polls that were left out are read again when there is room, or their time.
	if c.left != 0 && (len(c.due) < mostDue/2 || !now.Before(c.left.Time())) && now.After(c.again) {
		c.known, c.again = false, now.Add(closeAgain)
	}
	if !c.known {
		c.left = 0
		head := c.polls.core.store.Head()
		if c.due == nil {
			c.due = map[string]*duePoll{}
		}
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
	if err != nil || !closes(&p, c.polls.self) {
		return nil //nolint:nilerr // not a poll that we close
	}
	if c.due[p.ID] == nil {
		c.due[p.ID] = &duePoll{poll: &p}
	}
	if len(c.due) > mostDue {
		c.thin(mostDue - mostDue/8) // not at every poll
	}
	return nil
}

// thin forgets all but so many polls, those that end first. The log has the
// others.
func (c *closer) thin(keep int) {
	all := slices.SortedFunc(maps.Values(c.due), func(a, b *duePoll) int {
		return cmp.Or(cmp.Compare(a.poll.Ends, b.poll.Ends), cmp.Compare(a.poll.ID, b.poll.ID))
	})
	for _, d := range all[keep:] {
		if !d.since.IsZero() {
			c.polls.core.people.gate.Closing(d.poll.ID, false)
		}
		delete(c.due, d.poll.ID)
	}
	if first := all[keep].poll.Ends; c.left == 0 || first < c.left {
		c.left = first
	}
}

// closes reports whether this relay closes a poll once it has ended.
func closes(p *poll.Poll, self string) bool {
	return p.Group != "" && p.Ends != 0 && (p.Host == "" || p.Host == self)
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
