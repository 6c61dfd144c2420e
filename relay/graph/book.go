package graph

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
)

const (
	kindProfile  = 0
	kindDeletion = 5
	kindCard     = 30382
	// cardAddresses is how many cards one deletion request names.
	cardAddresses = 100
	// cardSlack keeps a rank that wavers around the middle between two whole
	// numbers from being published again and again.
	cardSlack = 0.75
)

// card is what an assertion says about one key.
type card struct {
	rank      int // 0 to 100
	followers int
	created   int64 // Unix seconds; 0: not published
}

// book is all cards signed by one service key.
type book struct {
	service
	viewer  string // hex; empty: the global ranking
	top     int    // subjects with a card
	loaded  bool
	profile string        // content of the published kind 0
	held    map[key]card  // published
	upTo    uint64        // version of the web that held is true of; 0: not known
	floor   int64         // created_at of the last deletion; a card must be newer
	every   time.Duration // least time between two cards about one subject
}

// load reads what is published already, so that a restart repeats nothing.
func (b *book) load(ctx context.Context, log *store.Store) error {
	b.held = map[key]card{}
	f := nostr.Filter{Kinds: []int{kindProfile, kindDeletion, kindCard}, Authors: []string{b.pubkey}}
	for r, err := range log.Query(ctx, f) {
		if err != nil {
			return fmt.Errorf("read published assertions: %w", err)
		}
		ev, err := r.Event()
		if err != nil {
			return err
		}
		switch ev.Kind {
		case kindProfile:
			b.profile = ev.Content
		case kindDeletion:
			b.floor = max(b.floor, int64(ev.CreatedAt))
		case kindCard:
			b.remember(ev)
		}
	}
	b.loaded = true
	return nil
}

func (b *book) remember(ev *nostr.Event) {
	k, ok := readKey([]byte(ev.Tags.GetD()))
	if !ok {
		return
	}
	c := card{created: int64(ev.CreatedAt), rank: -1, followers: -1}
	for _, tag := range ev.Tags {
		if len(tag) < 2 {
			continue
		}
		n, err := strconv.Atoi(tag[1])
		switch {
		case err != nil:
		case tag[0] == "rank":
			c.rank = n
		case tag[0] == "followers":
			c.followers = n
		}
	}
	b.held[k] = c
}

// subject is a key that could have a card, with its present values.
type subject struct {
	key       key
	rank      float32
	trust     float64 // 0 to 1
	followers int
}

// subjects are the keys that rank highest in r, at most n, highest first. Keys
// that nobody follows have no card, nor have those who asked to vanish.
func (w *web) subjects(r *ranking, viewer string, n int) []subject {
	least := float32(0)
	if len(r.sorted) > n {
		least = r.sorted[len(r.sorted)-n]
	}
	var out []subject
	for i := range min(len(w.nodes), len(r.of)) {
		if r.of[i] >= least {
			if s, ok := w.subject(r, uint32(i)); ok && hexKey(s.key) != viewer {
				out = append(out, s)
			}
		}
	}
	slices.SortFunc(out, func(a, b subject) int {
		return cmp.Or(cmp.Compare(b.rank, a.rank), bytes.Compare(a.key[:], b.key[:]))
	})
	return out[:min(n, len(out))]
}

func (w *web) subject(r *ranking, n uint32) (s subject, ok bool) {
	if int(n) >= len(r.of) {
		return s, false
	}
	nd := &w.nodes[n]
	if len(nd.followers) == 0 || r.of[n] <= 0 || nd.born > r.version || w.gone(n) {
		return s, false
	}
	return subject{key: nd.key, rank: r.of[n], trust: r.trust(r.of[n]), followers: len(nd.followers)}, true
}

// plan is what must be published for a book to be true.
type plan struct {
	cards []subject
	gone  []key // cards to be taken back
	early bool  // some card is due, but its last is too fresh
}

// plan compares the book with its subjects, given highest first. The first
// b.top get a card; who has one keeps it down to twice that place, so that the
// places around the edge do not come and go.
func (b *book) plan(subjects []subject, asked []subject, now time.Time) (p plan) {
	wanted := map[key]bool{}
	consider := func(s subject) {
		if wanted[s.key] {
			return
		}
		wanted[s.key] = true
		held, ok := b.held[s.key]
		switch {
		case ok && held.rank == held.next(s).rank && held.followers == s.followers:
		case ok && now.Sub(time.Unix(held.created, 0)) < b.every:
			p.early = true
		default:
			p.cards = append(p.cards, s)
		}
	}
	for i, s := range subjects {
		if _, held := b.held[s.key]; i < b.top || held {
			consider(s)
		}
	}
	for _, s := range asked {
		consider(s)
	}
	for k := range b.held {
		if !wanted[k] {
			p.gone = append(p.gone, k)
		}
	}
	slices.SortFunc(p.gone, func(a, b key) int { return bytes.Compare(a[:], b[:]) })
	return p
}

// next is the card that follows c for a subject.
func (c card) next(s subject) card {
	rank := 100 * s.trust
	if c.created == 0 || math.Abs(rank-float64(c.rank)) >= cardSlack {
		c.rank = int(math.Round(rank))
	}
	c.followers = s.followers
	return c
}

// cardEvent is the assertion about s, not yet signed, and the card it makes.
func (b *book) cardEvent(s subject, now time.Time) (*nostr.Event, card) {
	held := b.held[s.key]
	c := held.next(s)
	c.created = max(now.Unix(), held.created+1, b.floor+1)
	subject := hexKey(s.key)
	return &nostr.Event{
		Kind: kindCard, CreatedAt: nostr.Timestamp(c.created),
		Tags: nostr.Tags{
			{"d", subject},
			{"rank", strconv.Itoa(c.rank)}, {"followers", strconv.Itoa(c.followers)},
		},
	}, c
}

// takeBack is a deletion request for cards; all also takes the profile.
func (b *book) takeBack(gone []key, all bool, now time.Time) *nostr.Event {
	ev := &nostr.Event{Kind: kindDeletion, Content: "no longer published"}
	at := max(now.Unix(), b.floor)
	for _, k := range gone {
		at = max(at, b.held[k].created)
		ev.Tags = append(ev.Tags, nostr.Tag{"a", fmt.Sprintf("%d:%s:%s", kindCard, b.pubkey, hexKey(k))})
	}
	ev.Tags = append(ev.Tags, nostr.Tag{"k", strconv.Itoa(kindCard)})
	if all && b.profile != "" {
		ev.Tags = append(ev.Tags,
			nostr.Tag{"a", fmt.Sprintf("%d:%s:", kindProfile, b.pubkey)}, nostr.Tag{"k", strconv.Itoa(kindProfile)})
	}
	ev.CreatedAt = nostr.Timestamp(at)
	return ev
}

// wantedProfile is the kind 0 of a service key.
func (b *book) wantedProfile() string {
	p := struct {
		Name  string `json:"name"`
		About string `json:"about"`
		Bot   bool   `json:"bot"`
	}{"agora trust", "Rank (0 to 100) and followers of keys, by PageRank over all follow lists a relay holds. NIP-85, algorithm " + algorithm + ".", true}
	if b.viewer != "" {
		k, _ := readKey([]byte(b.viewer))
		_, npub := names(k)
		p.Name = "agora trust, as seen by " + npub[:12]
		p.About = "Rank (0 to 100) and followers of keys, by PageRank over the follow lists as seen by nostr:" + npub + ". NIP-85, algorithm " + algorithm + "."
	}
	out, _ := json.Marshal(p) // strings and a bool always marshal
	return string(out)
}
