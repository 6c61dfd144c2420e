package poll

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"agora/relay/lowhex"

	"github.com/nbd-wtf/go-nostr"
)

// ID is an event id.
type ID [32]byte

// ParseID reads 64 lower-case hex digits. The error is an *Invalid.
func ParseID(s string) (id ID, err error) {
	if !lowhex.Is(s, 64) {
		return id, invalid("%.70q is not an id of 64 lower-case hex digits", s)
	}
	_, _ = hex.Decode(id[:], []byte(s)) // 64 digits, as we have just seen
	return id, nil
}

func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Cast is a ballot whose signature and proof hold.
type Cast struct {
	ID      ID
	At      nostr.Timestamp
	Voter   string // a nullifier or a key: whoever has the same is the same
	Choices []Choice
}

// Passed is a ballot that does not count, and why.
type Passed struct {
	ID  ID     `json:"id"`
	Why string `json:"why"`
}

// MarshalText lets ids stand in JSON as hex.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// older orders the ballots of one voter: of two with one time the one with the
// lower id is the newer.
func older(a, b Cast) int {
	if a.At != b.At {
		return cmp.Compare(a.At, b.At)
	}
	return strings.Compare(string(b.ID[:]), string(a.ID[:]))
}

// Settle picks the ballot of each voter that counts, sorted by id. most is how
// often a voter may change it, less than 0 for without bound.
func Settle(casts []Cast, most int) (counted []Cast, passed []Passed) {
	voters := map[string][]Cast{}
	for _, c := range casts {
		voters[c.Voter] = append(voters[c.Voter], c)
	}
	for _, all := range voters {
		slices.SortFunc(all, older)
		all = slices.CompactFunc(all, func(a, b Cast) bool { return a.ID == b.ID })
		last := len(all) - 1
		if most >= 0 {
			last = min(last, most)
		}
		counted = append(counted, all[last])
		for i, c := range all {
			switch {
			case i < last:
				passed = append(passed, Passed{c.ID, "replaced by a newer ballot of the same voter"})
			case i > last:
				passed = append(passed, Passed{c.ID, "this voter has changed the ballot too often"})
			}
		}
	}
	slices.SortFunc(counted, func(a, b Cast) int { return compareIDs(a.ID, b.ID) })
	slices.SortFunc(passed, func(a, b Passed) int { return compareIDs(a.ID, b.ID) })
	return counted, passed
}

func compareIDs(a, b ID) int { return strings.Compare(string(a[:]), string(b[:])) }

// Sum is the hash by which two counts are compared: SHA-256 over the sorted
// ids, 32 bytes each.
func Sum(ids []ID) [32]byte {
	h := sha256.New()
	for _, id := range slices.SortedFunc(slices.Values(ids), compareIDs) {
		h.Write(id[:])
	}
	return [32]byte(h.Sum(nil))
}

// Chosen are the choices of casts.
func Chosen(casts []Cast) [][]Choice {
	out := make([][]Choice, len(casts))
	for i := range casts {
		out[i] = casts[i].Choices
	}
	return out
}

// IDs are the ids of casts.
func IDs(casts []Cast) []ID {
	out := make([]ID, len(casts))
	for i := range casts {
		out[i] = casts[i].ID
	}
	return out
}

// Among are the casts whose ids are listed.
func Among(casts []Cast, listed []ID) (out []Cast) {
	in := set(listed)
	for _, c := range casts {
		if in[c.ID] {
			out = append(out, c)
		}
	}
	return out
}

// Without are the ids that are not listed, sorted, once each.
func Without(ids, listed []ID) (out []ID) {
	in := set(listed)
	for _, id := range ids {
		if !in[id] {
			out = append(out, id)
		}
	}
	slices.SortFunc(out, compareIDs)
	return slices.Compact(out)
}

func set(ids []ID) map[ID]bool {
	in := make(map[ID]bool, len(ids))
	for _, id := range ids {
		in[id] = true
	}
	return in
}
