package doors

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"agora/feeds/market"

	"github.com/nbd-wtf/go-nostr"
)

// The kinds by which a listing is found from other clients.
const (
	KindHandler   = 31990 // NIP-89: whom a job may be sent to
	KindFeed      = 31890 // a feed as Coracle reads it
	kindRelayList = 10002
)

// AnnounceAgain is how old an announcement may become. Some clients do not
// show what is older than a year.
const AnnounceAgain = 30 * 24 * time.Hour

// param describes one parameter of a job, in the words of the clients that
// make a form of it.
type param struct {
	Required    bool     `json:"required"`
	Values      []string `json:"values"`
	Description string   `json:"description"`
}

// Announcements are the events by which other clients find a listing, signed
// by its key: profile, relay list, job handler and feed. at is when.
func (d *Doors) Announcements(l *market.Listing, at nostr.Timestamp) ([]*nostr.Event, error) {
	about := l.About
	if about == "" {
		about = "A feed algorithm."
	}
	picture := cmp.Or(l.Picture, d.cfg.Icon) // some clients show no feed without
	params := map[string]param{"max_results": {Values: []string{}, Description: fmt.Sprintf("notes wanted, 1 to %d; default %d", jobMost, jobUsual)}}
	if l.Personalized {
		params["user"] = param{Values: []string{}, Description: "hex key as whom to read"}
	}
	for _, k := range l.Knobs {
		params[k.Name] = param{Values: []string{}, Description: fmt.Sprintf("%s (%v to %v %s, default %v)", k.About, k.Min, k.Max, k.Unit, k.Default)}
	}
	handler, err := json.Marshal(map[string]any{
		"name": l.Name, "about": about, "picture": picture, "image": picture, "lud16": "", "personalized": l.Personalized,
		"amount": "free", "supportsEncryption": true, "encryptionSupported": true, "acceptsNutZaps": false, "subscription": false, "nip90Params": params,
	})
	if err != nil {
		return nil, err
	}
	profile, err := json.Marshal(map[string]any{"name": l.Name, "display_name": l.Name, "about": about, "picture": picture, "bot": true})
	if err != nil {
		return nil, err
	}
	list := []*nostr.Event{
		{Kind: nostr.KindProfileMetadata, Content: string(profile), Tags: nostr.Tags{{"a", l.Address, d.cfg.URL}}},
		{Kind: kindRelayList, Tags: d.relayTags()},
		{Kind: KindHandler, Content: string(handler), Tags: nostr.Tags{
			{"d", l.Slug}, {"k", strconv.Itoa(KindJobNotes)}, {"k", strconv.Itoa(KindJobPeople)}, {"k", strconv.Itoa(KindJobSearch)},
			{"a", l.Address, d.cfg.URL}, {"alt", "A feed algorithm: " + l.Name},
		}},
		{Kind: KindFeed, Tags: nostr.Tags{
			{"d", l.Slug}, {"alt", "A feed: " + l.Name}, {"title", l.Name}, {"description", about}, {"feed", d.coracleFeed(l)},
			{"a", l.Address, d.cfg.URL},
		}},
	}
	for _, ev := range list {
		ev.CreatedAt = at
		if err := l.Sign(ev); err != nil {
			return nil, fmt.Errorf("sign an announcement of %s: %w", l.Slug, err)
		}
	}
	return list, nil
}

// relayTags say where the listing's key reads and writes.
func (d *Doors) relayTags() nostr.Tags {
	tags := nostr.Tags{{"r", d.cfg.URL}}
	for _, url := range d.cfg.Relays {
		tags = append(tags, nostr.Tag{"r", url})
	}
	return tags
}

// coracleFeed is the door whose order survives a sort by time.
func (d *Doors) coracleFeed(l *market.Listing) string {
	text, err := json.Marshal([]any{
		"intersection", []any{"relay", d.cfg.URL + "/f/" + d.cfg.Market.Ref(l) + "/ranked"}, []any{"kind", nostr.KindRepost, nostr.KindGenericRepost},
	})
	if err != nil { // it is made of strings and numbers
		return "[]"
	}
	return string(text)
}

// SameAnnouncement reports whether held says what fresh says and need not be
// published again yet.
func SameAnnouncement(held, fresh *nostr.Event) bool {
	return held.Content == fresh.Content && slices.EqualFunc(held.Tags, fresh.Tags, slices.Equal[nostr.Tag]) &&
		fresh.CreatedAt.Time().Sub(held.CreatedAt.Time()) < AnnounceAgain
}

// Withdrawal takes a listing's announcements back (NIP-09).
func (d *Doors) Withdrawal(l *market.Listing, at nostr.Timestamp) (*nostr.Event, error) {
	ev := &nostr.Event{Kind: nostr.KindDeletion, CreatedAt: at, Content: "no longer listed", Tags: nostr.Tags{
		{"a", fmt.Sprintf("%d:%s:%s", KindHandler, l.Key, l.Slug)}, {"k", strconv.Itoa(KindHandler)},
		{"a", fmt.Sprintf("%d:%s:%s", KindFeed, l.Key, l.Slug)}, {"k", strconv.Itoa(KindFeed)},
	}}
	return ev, l.Sign(ev)
}
