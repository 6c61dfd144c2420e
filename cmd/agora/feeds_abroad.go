package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	feedsdoors "agora/feeds/doors"
	"agora/relay/peer"
	"agora/relay/wire"

	"github.com/gorilla/websocket"
	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/sync/errgroup"
)

// abroad is the relays of the setting dvm_relays, where listings are announced
// and jobs for them are heard and answered too.
type abroad struct {
	dialer *peer.Dialer
	jobs   *feedsdoors.Jobs
	keys   func() []string       // under which we answer
	said   func() []*nostr.Event // what each relay is told when it is reached
	log    *slog.Logger
	posts  []post
}

// post is what one relay is still to be told.
type post struct {
	url string
	out chan *nostr.Event // at most abroadQueue answers; when full: the answer goes elsewhere only
}

const (
	abroadQueue = 256             // events
	abroadWait  = 5 * time.Second // before the first new attempt; doubled up to abroadMost
	abroadMost  = 10 * time.Minute
	abroadTurn  = time.Hour // a connection is made anew, so that new listings are heard for
	abroadWrite = 10 * time.Second
)

func newAbroad(urls []string) (a abroad) {
	for _, url := range urls {
		a.posts = append(a.posts, post{url, make(chan *nostr.Event, abroadQueue)}) // events; when full: see post
	}
	return a
}

// tell queues an answer for every relay.
func (a *abroad) tell(ev *nostr.Event) {
	for _, p := range a.posts {
		select {
		case p.out <- ev:
		default:
			a.log.Warn("an answer was not sent abroad: too many wait", "relay", p.url, "id", ev.ID)
		}
	}
}

// Run keeps a connection to each relay until ctx ends.
func (a *abroad) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, p := range a.posts {
		g.Go(func() error { a.keep(ctx, p); return nil })
	}
	return g.Wait()
}

func (a *abroad) keep(ctx context.Context, p post) {
	for wait := abroadWait; ctx.Err() == nil; wait = min(2*wait, abroadMost) {
		begun := time.Now()
		err := a.visit(ctx, p)
		if ctx.Err() != nil {
			return
		}
		if time.Since(begun) > time.Minute {
			wait = abroadWait
		}
		a.log.Info("a relay for jobs is gone; it is tried again", "relay", p.url, "in", wait, "error", err)
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

// visit announces, listens and answers over one connection.
func (a *abroad) visit(ctx context.Context, p post) error {
	ctx, stop := context.WithTimeout(ctx, abroadTurn)
	defer stop()
	conn, err := a.dialer.Websocket(ctx, p.url, 0)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // it is gone already, or of no more use
	since := nostr.Now()
	ask := nostr.Filter{Kinds: []int{feedsdoors.KindJobNotes, feedsdoors.KindJobPeople, feedsdoors.KindJobSearch}, Tags: nostr.TagMap{"p": a.keys()}, Since: &since}
	if err := write(conn, wire.AppendReq(nil, "jobs", ask)); err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.write(ctx, conn, p) })
	g.Go(func() error { return a.read(conn) })
	g.Go(func() error { <-ctx.Done(); return conn.Close() })
	return g.Wait()
}

func write(conn *websocket.Conn, message []byte) error {
	if err := conn.SetWriteDeadline(time.Now().Add(abroadWrite)); err != nil {
		return err
	}
	return conn.WriteMessage(websocket.TextMessage, message)
}

func (a *abroad) write(ctx context.Context, conn *websocket.Conn, p post) error {
	for _, ev := range a.said() {
		if err := write(conn, wire.AppendEventMessage(nil, wire.AppendEvent(nil, ev))); err != nil {
			return err
		}
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case ev := <-p.out:
			if err := write(conn, wire.AppendEventMessage(nil, wire.AppendEvent(nil, ev))); err != nil {
				return fmt.Errorf("answer %s: %w", ev.ID, err)
			}
		}
	}
}

// read hears jobs. Nothing a stranger's relay says is believed unsigned.
func (a *abroad) read(conn *websocket.Conn) error {
	for {
		_, text, err := conn.ReadMessage()
		if err != nil {
			return err
		}
		m, err := wire.ParseServer(text)
		switch {
		case err != nil:
		case m.Label == "CLOSED":
			return errors.New("the relay will not tell of jobs: " + m.Text)
		case m.Label == "EVENT" && wire.CheckID(m.Event) && wire.CheckSignature(m.Event):
			a.jobs.Take(m.Event)
		}
	}
}
