package relay

import (
	"encoding/hex"
	"slices"

	"agora/relay/admit"
	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
)

// Kinds the protocol treats in a way of its own.
const (
	kindMetadata = 0
	kindContacts = 3
	kindDM       = 4
	kindDeletion = 5
	kindRepost   = 6
	kindReaction = 7
	kindGeneric  = 16 // generic repost
	kindVanish   = 62
	kindComment  = 1111
	kindWrap     = 1059
	kindPassWrap = 21059 // ephemeral wrap
	kindAuth     = 22242
)

// viewer is who reads: the hex keys that have proven themselves.
type viewer []string

// Visible reports whether an event may be shown to a reader who has proven
// these keys. It is the one predicate of every exit: REQ, live, COUNT, search,
// negentropy, export and HTTP. now is in unix seconds.
func (r *Relay) Visible(rec *store.Record, keys []string, now int64) bool {
	return r.visible(rec, keys, now)
}

func (r *Relay) visible(rec *store.Record, v viewer, now int64) bool {
	if x := rec.Expires(); x != 0 && x <= now {
		return false
	}
	if r.private(rec.Kind()) && !party(rec, v) {
		return false
	}
	return r.manage == nil || !r.manage.Hidden(rec.PubKey())
}

// private reports whether a kind is shown to its parties only.
func (r *Relay) private(kind int) bool {
	return kind == kindWrap || kind == kindPassWrap || len(r.restricted) > 0 && slices.Contains(r.restricted, kind)
}

// party reports whether one of the keys is named in a p tag or, but for
// wraps, whose author is a throw-away key, has signed the event.
func party(rec *store.Record, v viewer) bool {
	wrap := rec.Kind() == kindWrap || rec.Kind() == kindPassWrap
	for _, key := range v {
		if rec.HasTag('p', key) {
			return true
		}
		if pk := rec.PubKey(); !wrap && hex.EncodeToString(pk[:]) == key {
			return true
		}
	}
	return false
}

// mayAsk refuses a question that asks for nothing the viewer may see, before
// any work is done. An empty prefix lets it through.
func (r *Relay) mayAsk(filters []nostr.Filter, v viewer, lim *limits) (admit.Prefix, string) {
	if lim.AuthToRead && len(v) == 0 {
		return admit.AuthRequired, "authenticate to read here"
	}
	if n := cost(filters); n > lim.QueryCost {
		return admit.Blocked, "this asks for too many combinations of authors, kinds and tags at once: ask in parts"
	}
	for _, f := range filters {
		if f.Search != "" && r.search == nil && len(r.sources) == 0 {
			return admit.Unsupported, "search is not enabled here"
		}
		if len(v) == 0 && len(f.Kinds) > 0 && !slices.ContainsFunc(f.Kinds, r.public) {
			return admit.AuthRequired, "these kinds are shown to their recipients only: authenticate first"
		}
	}
	return "", ""
}

func (r *Relay) public(kind int) bool { return !r.private(kind) }

// cost estimates how many index ranges the filters open.
func cost(filters []nostr.Filter) int {
	sum := 0
	for _, f := range filters {
		n := max(1, len(f.Kinds))
		switch {
		case f.IDs != nil:
			n = len(f.IDs)
		case f.Authors != nil:
			n *= max(1, len(f.Authors))
		case len(f.Tags) > 0:
			n *= max(1, len(f.Tags[fewest(f.Tags)]))
		}
		sum += n
	}
	return sum
}
