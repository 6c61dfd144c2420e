// Package wire parses what clients send and prints what the relay answers:
// EVENT REQ COUNT CLOSE AUTH NEG-* in, EVENT OK EOSE CLOSED NOTICE AUTH COUNT
// NEG-* out. It is pure: no state, no I/O, nothing of ours imported.
package wire

import (
	"github.com/nbd-wtf/go-nostr"
)

// Limits bound what Parse accepts; a zero field means no bound.
type Limits struct {
	EventTags   int // tags per event
	Content     int // unicode characters in content
	Filters     int // filters per REQ or COUNT
	FilterItems int // values in all lists of one filter together
	SubID       int // characters of a subscription id; 0 means NIP-01's 64
}

// Message is one parsed client message. Which fields are set follows from
// Label, as noted beside each.
type Message struct {
	Label   string         // EVENT REQ COUNT CLOSE AUTH NEG-OPEN NEG-MSG NEG-CLOSE
	Event   *nostr.Event   // EVENT, AUTH: shape checked, id and signature not
	JSON    []byte         // EVENT, AUTH: the canonical record of Event
	Sub     string         // REQ COUNT CLOSE NEG-*
	Filters []nostr.Filter // REQ, COUNT: at least one; NEG-OPEN: exactly one
	Neg     []byte         // NEG-OPEN, NEG-MSG: the frame, decoded from hex
}

// Hint is the third element of EOSE (NIP-67).
type Hint uint8

// The hints.
const (
	NoHint Hint = iota // proves nothing
	Finish             // every stored match was sent
	More               // matches are held that were not sent
)
