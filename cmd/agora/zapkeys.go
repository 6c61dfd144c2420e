package main

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"agora/feeds/tally"

	"github.com/nbd-wtf/go-nostr"
)

const (
	zapKeyGood   = 24 * time.Hour   // how long an answer is taken
	zapKeyNone   = 30 * time.Minute // after no answer, until the next try
	zapKeyTime   = 10 * time.Second // for one question
	zapKeyAnswer = 64 << 10         // bytes
	mostZapKeys  = 100_000          // recipients remembered; when there are more, any of them goes
)

// zapKeys finds out which key signs zap receipts for a recipient: the address
// in the recipient's profile (lud16) is asked, as NIP-57 says. It asks only for
// recipients of receipts that agree with themselves, one after another.
type zapKeys struct {
	client   *http.Client // guarded: it dials public addresses only
	profiles func(ctx context.Context, f ...nostr.Filter) iter.Seq2[*nostr.Event, error]
	ask      chan tally.Key // recipients; 1,024; when full: asked for when the receipt is tried again

	mu    sync.Mutex // guards known
	known map[tally.Key]zapKey
}

// zapKey is an answer, or that there was none.
type zapKey struct {
	key tally.Key // zero: none is known
	at  time.Time // when it was looked for
}

func newZapKeys(client *http.Client, profiles func(ctx context.Context, f ...nostr.Filter) iter.Seq2[*nostr.Event, error]) *zapKeys {
	return &zapKeys{
		client: client, profiles: profiles, known: map[tally.Key]zapKey{},
		ask: make(chan tally.Key, 1024), // recipients; when full: the receipt waits a minute longer
	}
}

// Key is the zap key of a recipient, once it is known. An old answer is good
// until there is another.
func (z *zapKeys) Key(recipient tally.Key) (tally.Key, bool) {
	z.mu.Lock()
	k := z.known[recipient]
	z.mu.Unlock()
	found := k.key != tally.Key{}
	if found && time.Since(k.at) < zapKeyGood || !found && time.Since(k.at) < zapKeyNone {
		return k.key, found
	}
	select {
	case z.ask <- recipient:
	default:
	}
	return k.key, found
}

// Run asks until ctx ends.
func (z *zapKeys) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case recipient := <-z.ask:
			z.mu.Lock()
			old := z.known[recipient]
			z.mu.Unlock()
			if time.Since(old.at) < zapKeyNone {
				continue // asked twice while one question was under way
			}
			key, err := z.find(ctx, recipient)
			if err != nil {
				key = old.key // no answer is no news
			}
			z.remember(recipient, zapKey{key, time.Now()})
		}
	}
}

func (z *zapKeys) remember(recipient tally.Key, k zapKey) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for other := range z.known {
		if len(z.known) < mostZapKeys {
			break
		}
		delete(z.known, other)
	}
	z.known[recipient] = k
}

var errNoZapKey = errors.New("the recipient declares no zap key")

// find reads the profile and asks its address.
func (z *zapKeys) find(ctx context.Context, recipient tally.Key) (key tally.Key, err error) {
	ctx, cancel := context.WithTimeout(ctx, zapKeyTime)
	defer cancel()
	address := ""
	for ev, err := range z.profiles(ctx, nostr.Filter{Kinds: []int{0}, Authors: []string{hex.EncodeToString(recipient[:])}, Limit: 1}) {
		if err != nil {
			return key, err
		}
		var profile struct {
			Lud16 string `json:"lud16"`
		}
		if json.Unmarshal([]byte(ev.Content), &profile) == nil {
			address = profile.Lud16
		}
	}
	where, err := zapURL(address)
	if err != nil {
		return key, err
	}
	return z.fetch(ctx, where)
}

// zapURL is where a lightning address is asked about (LUD-16).
func zapURL(address string) (string, error) {
	name, host, ok := strings.Cut(strings.TrimSpace(address), "@")
	if !ok || name == "" || strings.ContainsAny(host, "/?#@ ") {
		return "", errNoZapKey
	}
	u := url.URL{Scheme: "https", Host: host, Path: "/.well-known/lnurlp/" + name}
	if u.Hostname() == "" || strings.Contains(name, "/") {
		return "", errNoZapKey
	}
	return u.String(), nil
}

func (z *zapKeys) fetch(ctx context.Context, where string) (key tally.Key, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, where, nil)
	if err != nil {
		return key, err
	}
	res, err := z.client.Do(req)
	if err != nil {
		return key, fmt.Errorf("ask for a zap key: %w", err)
	}
	defer res.Body.Close()
	var answer struct {
		Allows bool   `json:"allowsNostr"`
		Key    string `json:"nostrPubkey"`
	}
	if res.StatusCode != http.StatusOK {
		return key, fmt.Errorf("ask for a zap key: %s", res.Status)
	}
	if err := json.NewDecoder(http.MaxBytesReader(nil, res.Body, zapKeyAnswer)).Decode(&answer); err != nil {
		return key, fmt.Errorf("ask for a zap key: %w", err)
	}
	if !answer.Allows || !nostr.IsValidPublicKey(answer.Key) {
		return key, errNoZapKey
	}
	_, err = hex.Decode(key[:], []byte(answer.Key))
	return key, err
}
