package market

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// A review is a kind 1985 in this namespace with one a tag, the listing's
// address, and its rating, 0 to 1, in a tag of its own.
const (
	kindReview      = 1985
	reviewNamespace = "agora.review"
	mostReviews     = 5_000            // of keys, the newest of a listing; older ones are not counted
	mostRead        = 50_000           // the newest of a listing, people's too: so many by keys push no person's out
	reviewsFresh    = 30 * time.Second // how long a count is shown
	mostCounted     = 1_000            // listings whose count is kept; beyond, all are forgotten
	mostClasses     = 256
)

// Reviews are counted apart by people and by keys, and never added up.
type Reviews struct {
	People       int      `json:"people"`                  // each proven to be one of the same group
	PeopleRating *float64 `json:"people_rating,omitempty"` // their mean, 0 to 1
	Keys         int      `json:"keys"`                    // each key's newest
	KeysRating   *float64 `json:"keys_rating,omitempty"`
}

// counted is a count with its age.
type counted struct {
	reviews Reviews
	at      time.Time
}

// sum adds up ratings.
type sum struct {
	n     int
	total float64
}

func (s sum) mean() *float64 {
	if s.n == 0 {
		return nil
	}
	m := s.total / float64(s.n)
	return &m
}

// Reviews counts what was said of a listing.
func (m *Market) Reviews(ctx context.Context, address string) (Reviews, error) {
	m.reviewsMu.Lock()
	known, ok := m.reviews[address]
	m.reviewsMu.Unlock()
	if ok && time.Since(known.at) < reviewsFresh {
		return known.reviews, nil
	}
	m.countingMu.Lock()
	defer m.countingMu.Unlock()
	m.reviewsMu.Lock() // whoever counted before may have counted these
	known, ok = m.reviews[address]
	m.reviewsMu.Unlock()
	if ok && time.Since(known.at) < reviewsFresh {
		return known.reviews, nil
	}
	r, err := m.countReviews(ctx, address)
	if err != nil {
		return r, err
	}
	m.reviewsMu.Lock()
	defer m.reviewsMu.Unlock()
	if m.reviews == nil || len(m.reviews) >= mostCounted {
		m.reviews = map[string]counted{}
	}
	m.reviews[address] = counted{r, time.Now()}
	return r, nil
}

func (m *Market) countReviews(ctx context.Context, address string) (r Reviews, err error) {
	var people [mostClasses]sum
	var keys sum
	seen, plain := map[string]bool{}, 0
	filter := nostr.Filter{Kinds: []int{kindReview}, Tags: nostr.TagMap{"a": {address}, "L": {reviewNamespace}}, Limit: mostRead}
	for ev, err := range m.cfg.Events.Query(ctx, filter) {
		if err != nil {
			return r, fmt.Errorf("read reviews of %s: %w", address, err)
		}
		rating, ok := ratingOf(ev)
		if !ok {
			continue
		}
		class := uint8(0)
		if m.cfg.Person != nil {
			if class, err = m.cfg.Person(ev); err != nil {
				return r, fmt.Errorf("whose review %s is: %w", ev.ID, err)
			}
		}
		if class > 0 { // one of each person: the nullifier sees to it
			people[class].n++
			people[class].total += rating
			continue
		}
		if plain++; plain <= mostReviews && !seen[ev.PubKey] { // newest first
			seen[ev.PubKey] = true
			keys.n++
			keys.total += rating
		}
	}
	most := people[0]
	for _, s := range people {
		if s.n > most.n {
			most = s
		}
	}
	return Reviews{People: most.n, PeopleRating: most.mean(), Keys: keys.n, KeysRating: keys.mean()}, nil
}

// ratingOf reads the rating of a review about one listing alone.
func ratingOf(ev *nostr.Event) (float64, bool) {
	addresses, ratings := 0, 0
	rating := math.NaN()
	for _, tag := range ev.Tags {
		if len(tag) < 2 {
			continue
		}
		switch tag[0] {
		case "a":
			addresses++
		case "rating":
			ratings++
			v, err := strconv.ParseFloat(tag[1], 64)
			if err == nil {
				rating = v
			}
		}
	}
	return rating, addresses == 1 && ratings == 1 && rating >= 0 && rating <= 1
}
