package relay

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"agora/relay/admit"
	"agora/relay/wire"

	"github.com/nbd-wtf/go-nostr"
)

// authWindow is how far from now an authentication may be dated (NIP-42:
// "~10 minutes").
const authWindow = 10 * time.Minute

// mostKeys is how many keys one connection may authenticate.
const mostKeys = 64

// newChallenge is 16 random bytes in hex, good for one connection.
func newChallenge() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// auth takes an AUTH. It is checked at once, so that what the client sends
// next is already known to be from that key; the OK waits for its turn.
func (s *session) auth(m wire.Message) {
	if p, text := s.checkAuth(m.Event); p != "" {
		s.later(wire.AppendOK(nil, m.Event.ID, false, refusal(p, text)))
		return
	}
	keys := s.viewer()
	if !slices.Contains(keys, m.Event.PubKey) {
		keys = append(slices.Clone(keys), m.Event.PubKey)
		authed := []string(keys)
		s.authed.Store(&authed)
		if len(keys) == 1 {
			s.place.authenticated()
		}
	}
	s.later(wire.AppendOK(nil, m.Event.ID, true, ""))
}

func (s *session) checkAuth(ev *nostr.Event) (admit.Prefix, string) {
	if s.spend(eventRate, 1) > 0 {
		return admit.RateLimited, "slow down"
	}
	if ev.Kind != kindAuth {
		return admit.Invalid, "an AUTH carries an event of kind 22242"
	}
	if len(s.viewer()) >= mostKeys {
		return admit.RateLimited, fmt.Sprintf("at most %d keys per connection", mostKeys)
	}
	if first(ev.Tags, "challenge") != s.challenge {
		return admit.Invalid, "this is not the challenge of this connection"
	}
	if off := time.Since(ev.CreatedAt.Time()).Abs(); off > authWindow {
		return admit.Invalid, "created_at is more than 10 minutes from now"
	}
	if !s.isUs(first(ev.Tags, "relay")) {
		return admit.Invalid, "the relay tag names another relay"
	}
	if !wire.CheckID(ev) {
		return admit.Invalid, "the id is not the hash of the event"
	}
	if !s.r.keys.CheckSignature(ev) {
		return admit.Invalid, "the signature is wrong"
	}
	return "", ""
}

func first(tags nostr.Tags, name string) string {
	for _, t := range tags {
		if len(t) >= 2 && t[0] == name {
			return t[1]
		}
	}
	return ""
}

// isUs reports whether a URL names this relay: by its public URLs, or, when
// none is set, by the name the client itself has used.
func (s *session) isUs(u string) bool {
	if len(s.r.hosts) > 0 {
		return s.r.isOurs(u)
	}
	host, err := hostOf(u)
	if err != nil {
		return false
	}
	plain, _ := hostOf("ws://" + s.host) // an odd name equals nothing
	secure, _ := hostOf("wss://" + s.host)
	return host == plain || host == secure
}

// isOurs reports whether a URL has the host and port of one of our public
// URLs.
func (r *Relay) isOurs(u string) bool {
	host, err := hostOf(u)
	return err == nil && slices.Contains(r.hosts, host)
}

func publicHosts(urls []string) (hosts []string, err error) {
	for _, u := range urls {
		host, err := hostOf(u)
		if err != nil {
			return nil, fmt.Errorf("public_urls: %w", err)
		}
		hosts = append(hosts, host)
	}
	return hosts, nil
}

// hostOf is a URL's host and port, lower case, with the scheme's port where
// none is written.
func hostOf(raw string) (string, error) {
	u, err := url.Parse(strings.TrimSpace(raw))
	if err != nil {
		return "", fmt.Errorf("%q is no URL: %w", raw, err)
	}
	port := u.Port()
	switch strings.ToLower(u.Scheme) {
	case "ws", "http":
		or(&port, "80")
	case "wss", "https":
		or(&port, "443")
	default:
		return "", fmt.Errorf("%q is no ws:// or wss:// URL", raw)
	}
	name := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	if name == "" {
		return "", fmt.Errorf("%q has no host", raw)
	}
	return net.JoinHostPort(name, port), nil
}
