package wire

import (
	"crypto/sha256"
	"slices"
	"strconv"

	"agora/relay/lowhex"

	"github.com/nbd-wtf/go-nostr"
)

// EventID is the id of ev by the letter of NIP-01: SHA-256 of
// [0,pubkey,created_at,kind,tags,content] where only \n \" \\ \r \t \b \f are
// escaped and every other character stands as it is.
func EventID(ev *nostr.Event) [32]byte { return eventID(ev, true) }

// CheckID reports whether the id of ev is the hash of its fields. JSON.stringify
// and its kin, go-nostr among them, write the remaining control characters as
// \u00xx where NIP-01 leaves them bare; both hashes name the same event, and
// both are in use, so either is right.
func CheckID(ev *nostr.Event) bool {
	var id [32]byte
	if !lowhex.Decode(id[:], ev.ID) {
		return false
	}
	return id == eventID(ev, false) || hasBareControl(ev) && id == eventID(ev, true)
}

func eventID(ev *nostr.Event, verbatim bool) [32]byte {
	var room [2048]byte
	dst := append(room[:0], `[0,"`...)
	dst = append(dst, ev.PubKey...)
	dst = append(dst, `",`...)
	dst = strconv.AppendInt(dst, int64(ev.CreatedAt), 10)
	dst = append(dst, ',')
	dst = strconv.AppendInt(dst, int64(ev.Kind), 10)
	dst = append(dst, ',')
	dst = appendTags(dst, ev.Tags, verbatim)
	dst = append(dst, ',')
	dst = appendQuoted(dst, ev.Content, verbatim)
	return sha256.Sum256(append(dst, ']'))
}

// hasBareControl reports whether the two forms of the id differ.
func hasBareControl(ev *nostr.Event) bool {
	if bareControl(ev.Content) {
		return true
	}
	for _, tag := range ev.Tags {
		if slices.ContainsFunc(tag, bareControl) {
			return true
		}
	}
	return false
}

func bareControl(s string) bool {
	for i := plainUntil(s, 0); i < len(s); i = plainUntil(s, i+1) {
		switch s[i] {
		case '"', '\\', '\n', '\r', '\t', '\b', '\f':
		default:
			return true
		}
	}
	return false
}
