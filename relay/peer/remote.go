package peer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"agora/relay/wire"

	"github.com/gorilla/websocket"
	"github.com/nbd-wtf/go-nostr"
)

// errSilent: the other relay does not answer.
var errSilent = errors.New("the relay does not answer")

// writeTime is how long the other side may take to accept one message.
const writeTime = 30 * time.Second

// remote is one connection to another relay. All its methods belong to one
// goroutine; another one reads the socket.
type remote struct {
	url  string
	ws   *websocket.Conn
	in   chan incoming // messages, 64; when full the socket is not read
	gone chan struct{} // closed when the reader has returned
	sign func(context.Context, *nostr.Event) error

	challenge string // of the last AUTH, unanswered when not empty
	authID    string // our answer to it, until its OK comes
	authed    bool
}

type incoming struct {
	m   wire.ServerMessage
	bad error // the message could not be read
	end error // the connection is over
}

// dial connects; most bounds the bytes the connection may yield, 0 does not.
func dial(ctx context.Context, d *Dialer, url string, most int64, sign func(context.Context, *nostr.Event) error) (*remote, error) {
	ws, err := d.Websocket(ctx, url, most)
	if err != nil {
		return nil, err
	}
	r := &remote{
		url: url, ws: ws, sign: sign,
		in:   make(chan incoming, 64),
		gone: make(chan struct{}),
	}
	go r.read(ctx)
	return r, nil
}

// read hands on what comes until the connection ends or ctx does.
func (r *remote) read(ctx context.Context) {
	defer close(r.gone)
	stop := context.AfterFunc(ctx, func() { _ = r.ws.Close() }) // ends the read
	defer stop()
	for {
		kind, msg, err := r.ws.ReadMessage()
		if err != nil && ctx.Err() != nil { // it was we who hung up
			err = ctx.Err()
		}
		one := incoming{end: err}
		if err == nil && kind != websocket.TextMessage {
			continue
		}
		if err == nil {
			one.m, one.bad = wire.ParseServer(msg)
		}
		select {
		case r.in <- one:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// close hangs up and waits for the reader.
func (r *remote) close() {
	_ = r.ws.WriteControl(websocket.CloseMessage, nil, time.Now().Add(time.Second)) // a courtesy
	_ = r.ws.Close()
	for {
		select {
		case <-r.in:
		case <-r.gone:
			return
		}
	}
}

func (r *remote) send(msg []byte) error {
	if err := r.ws.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return fmt.Errorf("write to %s: %w", r.url, err)
	}
	if err := r.ws.WriteMessage(websocket.TextMessage, msg); err != nil {
		return fmt.Errorf("write to %s: %w", r.url, err)
	}
	return nil
}

// next waits for a message, at most wait. Authentication is dealt with here;
// its messages are not handed on.
func (r *remote) next(ctx context.Context, wait time.Duration) (incoming, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		var one incoming
		select {
		case one = <-r.in:
		case <-timer.C:
			return one, fmt.Errorf("%s: %w", r.url, errSilent)
		case <-ctx.Done():
			return one, ctx.Err()
		}
		switch {
		case one.end != nil && ctx.Err() != nil:
			return one, ctx.Err()
		case one.end != nil:
			return one, fmt.Errorf("read from %s: %w", r.url, one.end)
		case one.bad != nil:
			return one, nil
		case one.m.Label == "AUTH":
			r.challenge = one.m.Text
			if err := r.auth(ctx); err != nil {
				return one, err
			}
		case one.m.Label == "OK" && one.m.ID == r.authID && r.authID != "":
			r.authID, r.authed = "", one.m.OK
		default:
			return one, nil
		}
	}
}

// auth answers the challenge (NIP-42), when we have a key to do it with.
func (r *remote) auth(ctx context.Context) error {
	if r.sign == nil || r.challenge == "" {
		return nil
	}
	ev := &nostr.Event{
		Kind: nostr.KindClientAuthentication, CreatedAt: nostr.Now(),
		Tags: nostr.Tags{{"relay", r.url}, {"challenge", r.challenge}},
	}
	if err := r.sign(ctx, ev); err != nil {
		return fmt.Errorf("sign in to %s: %w", r.url, err)
	}
	r.challenge, r.authID = "", ev.ID
	return r.send(wire.AppendAuthEvent(nil, wire.AppendEvent(nil, ev)))
}

// awaitAuth waits until our answer to the challenge was taken; false when
// there is nothing to wait for or it was not.
func (r *remote) awaitAuth(ctx context.Context, wait time.Duration) bool {
	if r.sign == nil {
		return false
	}
	for end := time.Now().Add(wait); !r.authed && time.Now().Before(end); {
		if _, err := r.next(ctx, 100*time.Millisecond); err != nil && !errors.Is(err, errSilent) {
			return false
		}
	}
	return r.authed
}

// prefix is the machine-readable word before the colon; "error" when there is
// none.
func prefix(text string) string {
	word, _, found := strings.Cut(text, ":")
	if !found || word == "" || strings.ContainsAny(word, " \t") || len(word) > 20 {
		return "error"
	}
	return word
}
