package market

import (
	"fmt"
	"strings"
	"testing"

	"agora/ranker"

	"github.com/nbd-wtf/go-nostr"
)

func TestReviewsCountPeopleApartFromKeysAndNeverAddClassesUp(t *testing.T) {
	address := "32190:" + public(t, 1) + ":mine"
	var list []*nostr.Event
	review := func(by int, person, rating string, more ...nostr.Tag) {
		list = append(list, signed(t, by, &nostr.Event{Kind: 1985, CreatedAt: nostr.Timestamp(1000 - len(list)), Content: person, Tags: append(nostr.Tags{
			{"L", "agora.review"}, {"l", "good", "agora.review"}, {"a", address}, {"rating", rating},
		}, more...)}))
	}
	review(10, "", "1")
	review(10, "", "0")    // the same key's older one
	review(11, "", "0.5")  // a key
	review(12, "1", "0.8") // three people of one group
	review(13, "1", "0.6")
	review(13, "1", "0.4") // another person, whatever the key
	review(14, "2", "0")   // two of another group: they may be the same people
	review(15, "2", "0")
	for i, bad := range []string{"2", "-1", "NaN", "", "x"} {
		review(20+i, "1", bad)
	}
	review(30, "1", "1", nostr.Tag{"rating", "0"})
	review(31, "1", "1", nostr.Tag{"a", "32190:" + strings.Repeat("b", 64) + ":other"})
	m := reviewed(t, list)
	r, err := m.Reviews(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	if r.People != 3 || r.Keys != 2 || *r.PeopleRating < 0.599 || *r.PeopleRating > 0.601 || *r.KeysRating != 0.75 {
		t.Errorf("%+v, ratings %v and %v", r, *r.PeopleRating, *r.KeysRating)
	}
}

func TestAFloodOfKeysPushesNoPersonsReviewOut(t *testing.T) {
	address := "32190:" + public(t, 1) + ":mine"
	review := func(key, person, rating string) *nostr.Event {
		return &nostr.Event{PubKey: key, Kind: 1985, Content: person, Tags: nostr.Tags{{"L", "agora.review"}, {"a", address}, {"rating", rating}}}
	}
	var list []*nostr.Event
	for i := range mostReviews + 10 {
		list = append(list, review(fmt.Sprintf("%064x", i), "", "0"))
	}
	list = append(list, review(strings.Repeat("f", 64), "1", "1"))
	r, err := reviewed(t, list).Reviews(t.Context(), address)
	if err != nil || r.People != 1 || *r.PeopleRating != 1 || r.Keys != mostReviews {
		t.Errorf("%+v %v", r, err)
	}
}

// reviewed is a market whose events are these, newest first; the content of
// one is the class of its person.
func reviewed(t *testing.T, list []*nostr.Event) *Market {
	t.Helper()
	m, err := New(Config{
		Events: noEvents{list}, Models: map[ranker.Digest][]byte{}, Derive: func(string) ([32]byte, error) { return [32]byte{1}, nil },
		Person: func(ev *nostr.Event) (class uint8, err error) {
			if ev.Content != "" {
				_, err = fmt.Sscan(ev.Content, &class)
			}
			return class, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}
