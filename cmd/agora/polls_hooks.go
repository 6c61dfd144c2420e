package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"agora/personhood/poll"
	"agora/relay/peer"

	"github.com/nbd-wtf/go-nostr"
)

const (
	mostHooks     = 1024                 // that wait for their poll, or for an answer
	mostHooksEach = 8                    // of one key
	hookAhead     = 366 * 24 * time.Hour // how far off a poll's end may be
	hookStale     = 7 * 24 * time.Hour   // after its end, a poll that is not closed will not be
	hookTries     = 12                   // then it is given up: after about two days
	hookFirst     = time.Minute          // before the second try; it doubles up to a day
	hookTime      = 10 * time.Second     // for one delivery
	hookRound     = 32                   // deliveries in one round
	hookPrefix    = "polls/hook/"        // of the store's notes that keep them
)

// hook is somebody who wants to be told when a poll is closed.
type hook struct {
	Poll  string    `json:"poll"`
	URL   string    `json:"url"`
	By    string    `json:"by"` // hex key that asked
	Tries int       `json:"tries,omitempty"`
	Next  time.Time `json:"next,omitzero"`
}

// hooks are kept in the store, so that a restart and a backup lose none.
type hooks struct {
	core   *core
	client *http.Client
	self   string

	mu   sync.Mutex      // guards what follows
	wait map[string]hook // by poll
}

func openHooks(c *core, self string) (*hooks, error) {
	allowed, err := parseNetworks("dial_private", c.cfg.AllowPrivate)
	if err != nil {
		return nil, err
	}
	h := &hooks{
		core: c, self: self, wait: map[string]hook{},
		client: peer.NewDialer(peer.DialConfig{Allow: allowed, Request: hookTime, MaxRedirects: -1}).HTTP(),
	}
	keys, err := c.store.MetaKeys(hookPrefix)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		value, err := c.store.Meta(key)
		if err != nil {
			return nil, err
		}
		var one hook
		if len(value) > 0 && json.Unmarshal(value, &one) == nil {
			h.wait[one.Poll] = one
		}
	}
	return h, nil
}

// fits says whether one more may be asked for.
func (h *hooks) fits(address, by string) error {
	u, err := url.Parse(address)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || len(address) > 512 {
		return problem(http.StatusBadRequest, "webhook is not an http or https URL of at most 512 bytes, without a password")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	mine := 0
	for _, one := range h.wait {
		if one.By == by {
			mine++
		}
	}
	if len(h.wait) >= mostHooks || mine >= mostHooksEach {
		return problem(http.StatusTooManyRequests, "too many webhooks wait for their polls: of one key at most %d", mostHooksEach)
	}
	return nil
}

// awaits says whether this relay will close a poll, soon enough to wait for.
func (h *hooks) awaits(of *poll.Poll) error {
	switch {
	case of.Ends == 0:
		return problem(http.StatusBadRequest, "a webhook is told when a poll is closed, and this one has no end: give ends_at")
	case !closes(of, h.self):
		return problem(http.StatusBadRequest, "a webhook is told when this relay closes a poll, and it will not close this one: only a group's poll, which names no other host")
	case of.Ends.Time().After(time.Now().Add(hookAhead)):
		return problem(http.StatusBadRequest, "a webhook waits a year at most, and this poll ends later")
	}
	return nil
}

// add keeps a hook; a poll has one, the first. The same one may be asked for
// again.
func (h *hooks) add(ctx context.Context, one hook) error {
	h.mu.Lock()
	old, taken := h.wait[one.Poll]
	if !taken {
		h.wait[one.Poll] = one
	}
	h.mu.Unlock()
	switch {
	case !taken:
		return h.keep(ctx, one)
	case old.By == one.By && old.URL == one.URL:
		return nil
	}
	return problem(http.StatusConflict, "the poll is held, but a poll has one webhook, and this one has another already")
}

func (h *hooks) keep(ctx context.Context, one hook) error {
	value, err := json.Marshal(one)
	if err != nil {
		return err
	}
	return h.core.store.SetMeta(ctx, hookPrefix+one.Poll, value)
}

func (h *hooks) forget(ctx context.Context, one hook) error {
	h.mu.Lock()
	delete(h.wait, one.Poll)
	h.mu.Unlock()
	return h.core.store.SetMeta(ctx, hookPrefix+one.Poll, nil)
}

// due are the hooks whose time has come.
func (h *hooks) due(now time.Time) (out []hook) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, one := range h.wait {
		if !one.Next.After(now) && len(out) < hookRound {
			out = append(out, one)
		}
	}
	return out
}

// deliver tells those whose poll is closed.
func (h *hooks) deliver(ctx context.Context, p *polls) {
	var all sync.WaitGroup
	for _, one := range h.due(time.Now()) {
		of, _, err := p.find(ctx, one.Poll)
		if err != nil {
			continue // asked again in the next round
		}
		if of == nil { // the poll was deleted
			h.settle(ctx, one, nil)
			continue
		}
		if of.Ends == 0 || time.Now().Before(of.Ends.Time()) {
			h.later(one, of.Ends.Time())
			continue
		}
		c, err := p.count(ctx, of)
		if err != nil {
			continue
		}
		if c.close == nil {
			h.outlive(ctx, one, of)
			continue
		}
		all.Go(func() { h.settle(ctx, one, h.send(ctx, one, c)) })
	}
	all.Wait()
}

// outlive drops a hook whose poll should have been closed long ago.
func (h *hooks) outlive(ctx context.Context, one hook, of *poll.Poll) {
	if closes(of, h.self) && time.Since(of.Ends.Time()) < hookStale {
		return
	}
	h.core.log.Warn("polls: a webhook is dropped, for its poll is not closed here", "poll", one.Poll)
	if err := h.forget(ctx, one); err != nil {
		h.core.log.Error("polls: a webhook that was dropped is still kept", "poll", one.Poll, "error", err)
	}
}

// later looks at a hook again when its poll has ended.
func (h *hooks) later(one hook, at time.Time) {
	one.Next = at
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wait[one.Poll] = one
}

// settle forgets a hook that was told or is given up, and puts off others.
func (h *hooks) settle(ctx context.Context, one hook, err error) {
	if ctx.Err() != nil {
		return
	}
	one.Tries++
	if err != nil {
		h.core.log.Warn("polls: a webhook was not delivered", "poll", one.Poll, "try", one.Tries, "error", err)
	}
	if err == nil || one.Tries >= hookTries {
		if err := h.forget(ctx, one); err != nil {
			h.core.log.Error("polls: a webhook may be delivered twice", "poll", one.Poll, "error", err)
		}
		return
	}
	one.Next = time.Now().Add(min(hookFirst<<(one.Tries-1), 24*time.Hour))
	h.mu.Lock()
	h.wait[one.Poll] = one
	h.mu.Unlock()
	if err := h.keep(ctx, one); err != nil {
		h.core.log.Error("polls: a webhook's tries are not counted", "poll", one.Poll, "error", err)
	}
}

// hookBody is what is posted.
type hookBody struct {
	Type        string      `json:"type"` // "poll.closed"
	Poll        string      `json:"poll"`
	State       string      `json:"state"`
	Count       int         `json:"count"`
	X           string      `json:"x"`
	Tally       poll.Tally  `json:"tally"`
	Certificate nostr.Event `json:"certificate"`
}

// send posts once. The request is signed by NIP-98 with the relay's key, whose
// payload tag covers the body: nobody shares a secret with anybody.
func (h *hooks) send(ctx context.Context, one hook, c *counted) error {
	body, err := json.Marshal(hookBody{
		Type: "poll.closed", Poll: one.Poll, State: c.state, Count: c.count, X: hexSum(c.sum), Tally: c.tally, Certificate: c.signed,
	})
	if err != nil {
		return err
	}
	auth, err := httpAuth(one.URL, http.MethodPost, body, h.core.self)
	if err != nil {
		return err
	}
	ctx, stop := context.WithTimeout(ctx, hookTime)
	defer stop()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, one.URL, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", auth)
	resp, err := h.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("the webhook answered %s", resp.Status)
	}
	return nil
}

// httpAuth is the Authorization header of a request that a key signs (NIP-98).
func httpAuth(url, method string, body []byte, secret string) (string, error) {
	sum := sha256.Sum256(body)
	ev := nostr.Event{Kind: nostr.KindHTTPAuth, CreatedAt: nostr.Now(), Tags: nostr.Tags{
		{"u", url}, {"method", method}, {"payload", hexSum(sum)}, {"nonce", rand.Text()},
	}}
	if err := ev.Sign(secret); err != nil {
		return "", err
	}
	return "Nostr " + base64.StdEncoding.EncodeToString([]byte(ev.String())), nil
}
