package relay

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
)

// host is what management asks of the relay it belongs to; *Relay does it.
type host interface {
	// publishOwn hands in an event which the relay has signed.
	publishOwn(ctx context.Context, ev *nostr.Event) error
	// dropBlocked closes every connection whose address Blocked names.
	dropBlocked()
}

// attach names the relay. relay.New calls it, before anything runs.
func (m *Management) attach(h host) { m.roles.host = h }

func (m *Management) dropBlocked() {
	if m.roles.host != nil {
		m.roles.host.dropBlocked()
	}
}

// purgeBatch is how many events one removal takes.
const purgeBatch = 500 // events

// retryAfter is the wait after the store could not do what was asked.
const retryAfter = 10 * time.Second

// run removes what banned keys have left, publishes what could not be
// published at once, and rewrites the log when most of it is overtaken.
func (m *Management) run(ctx context.Context) error {
	if err := m.tidy(ctx); err != nil && ctx.Err() == nil {
		m.logger.Error("rewrite the management log", "err", err)
	}
	for {
		wait := m.work(ctx)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-m.poke:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// work does what is due and returns how long there is nothing to do.
func (m *Management) work(ctx context.Context) time.Duration {
	wait := time.Hour
	for _, t := range m.roles.takeTurns() {
		m.publishTurn(ctx, t)
	}
	if err := m.publishRoles(ctx); err != nil && ctx.Err() == nil {
		m.logger.Error("publish roles and members", "err", err)
		wait = retryAfter
	}
	if due, ok := m.roles.later(); ok {
		wait = min(wait, max(due, 0))
	}
	for {
		job, in, ok := m.nextPurge()
		if !ok {
			return wait
		}
		if in > 0 {
			return min(wait, in)
		}
		if err := m.purgeKey(ctx, job); err != nil {
			if ctx.Err() == nil {
				m.logger.Error("remove the events of a banned key", "pubkey", hex.EncodeToString(job.key[:]), "err", err)
			}
			return min(wait, retryAfter)
		}
	}
}

// tidy rewrites the log of acts when that halves it.
func (m *Management) tidy(ctx context.Context) error {
	m.writing.Lock()
	defer m.writing.Unlock()
	if !m.acts.worthRewriting(m.state.live()) {
		return nil
	}
	return m.acts.rewrite(ctx, m.state.snapshot(time.Now().Unix()))
}

// queuePurges finds the banned keys whose events were not removed before the
// last stop.
func (m *Management) queuePurges() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, b := range m.state.bannedKeys {
		if !b.Purged {
			m.purge = append(m.purge, purgeJob{key, b.At})
		}
	}
	slices.SortFunc(m.purge, func(a, b purgeJob) int { return int(a.at - b.at) })
}

// nextPurge returns the first job that still stands, and in how long it is due.
func (m *Management) nextPurge() (job purgeJob, in time.Duration, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for len(m.purge) > 0 {
		job = m.purge[0]
		if b, banned := m.state.bannedKeys[job.key]; banned && b.At == job.at && !b.Purged {
			return job, time.Until(time.Unix(job.at, 0).Add(max(m.banGrace, 0))), true
		}
		m.purge = m.purge[1:]
	}
	return purgeJob{}, 0, false
}

// purgeKey removes a banned key's events in batches, and notes when none is
// left. An unban stops it at the next batch.
func (m *Management) purgeKey(ctx context.Context, job purgeJob) error {
	author := hex.EncodeToString(job.key[:])
	for m.stillBanned(job) {
		ids, err := m.idsOf(ctx, author)
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			return m.notePurged(ctx, job, author)
		}
		if n, err := m.shelf.Remove(ctx, ids, false); err != nil {
			return fmt.Errorf("remove %d events: %w", len(ids), err)
		} else if n == 0 {
			return fmt.Errorf("%d events could be found and not removed", len(ids))
		}
	}
	return nil
}

// notePurged writes down that nothing is left, unless the ban was lifted at
// the last moment.
func (m *Management) notePurged(ctx context.Context, job purgeJob, author string) error {
	lifted := refused("the ban was lifted")
	err := m.do(ctx, Act{At: time.Now().Unix(), Method: "purged", Subject: author}, func(s *managed) error {
		if s.bannedKeys[job.key].At != job.at {
			return lifted
		}
		return nil
	})
	if errors.Is(err, lifted) {
		return nil
	}
	return err
}

func (m *Management) stillBanned(job purgeJob) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	b, ok := m.state.bannedKeys[job.key]
	return ok && b.At == job.at
}

func (m *Management) idsOf(ctx context.Context, author string) (ids []store.ID, err error) {
	for rec, err := range m.shelf.Query(ctx, nostr.Filter{Authors: []string{author}, Limit: purgeBatch}) {
		if err != nil {
			return nil, fmt.Errorf("read a banned key's events: %w", err)
		}
		ids = append(ids, rec.ID())
	}
	return ids, nil
}
