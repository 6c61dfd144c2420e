package store

import (
	"errors"

	"agora/relay/admit"

	"github.com/nbd-wtf/go-nostr"
)

// ID is an event id.
type ID [32]byte

// Pos is a position in the log. Positions start at 1, grow by one with every
// change and are never used twice; 0 stands before the first.
type Pos uint64

// Entry is an event on its way in. The caller has checked its shape, id and
// signature.
type Entry struct {
	Event  *nostr.Event // not changed; may be kept until the commit
	JSON   []byte       // the canonical record (wire.AppendEvent); kept until the commit
	Claims []admit.Claim
	Labels []admit.Label
	Vanish bool // kind 62 that names this relay: obey it
}

// Outcome says what became of an entry. It is an answer, not an error.
type Outcome uint8

// The outcomes.
const (
	Stored    Outcome = iota + 1
	Duplicate         // already held
	Older             // a newer version of a replaceable event is held
	Deleted           // its author (for 1059: its recipient) has deleted it, or the operator banned it
	Vanished          // covered by its author's request to vanish
	Expired           // its expiration has passed
	Claimed           // another event holds one of its claims
)

// String is the word used in summaries and metrics.
func (o Outcome) String() string {
	names := [...]string{"", "stored", "duplicate", "older", "deleted", "vanished", "expired", "claimed"}
	if o > 0 && int(o) < len(names) {
		return names[o]
	}
	return "unknown"
}

// Result is the answer to an Append.
type Result struct {
	Outcome Outcome
	Pos     Pos // Stored: where in the log
}

// Change is one step of the log: an event that came, or one that went
// (replaced, deleted, vanished, expired, dropped by retention).
type Change struct {
	Pos     Pos
	Record  Record   // the event, when Removed is nil
	Removed *Removal // what went
}

// Removal names an event that is no longer held.
type Removal struct {
	ID     ID
	PubKey [32]byte
	Kind   int
}

// Errors a caller can branch on.
var (
	ErrClosed   = errors.New("the store is closed")
	ErrTrimmed  = errors.New("the log no longer reaches back to this position: rebuild from Query")
	ErrReadOnly = errors.New("the store is open for reading only")
	ErrBroken   = errors.New("the file is damaged or cut short")
)
