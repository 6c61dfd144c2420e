// Package admit is what the door asks of an event and how it answers: gates,
// rulings, refusals, claims and labels, and the HTTP signature of NIP-98. It
// holds vocabulary and checks; its only state is the replay cache of NIP-98.
package admit

import (
	"context"
	"net/netip"
	"slices"

	"github.com/nbd-wtf/go-nostr"
)

// Origin says by which way an event came in. Which gates apply to which origin
// stands in one table, in ARCHITECTURE.md and relay.gatesFor.
type Origin uint8

// The ways in.
const (
	Socket Origin = iota // a client's EVENT
	Import               // the operator's own file
	Sync                 // another relay, by NIP-77
	Bring                // a key's own events, fetched at its own request
	Own                  // signed by this relay
)

// String is the word used in logs and metrics.
func (o Origin) String() string {
	names := [...]string{"socket", "import", "sync", "bring", "own"}
	if int(o) < len(names) {
		return names[o]
	}
	return "unknown"
}

// Peer is who hands in an event: where from, and which keys have proven
// themselves on that connection (NIP-42).
type Peer struct {
	Origin Origin
	IP     netip.Addr // zero when there is none (import, own)
	Authed []string   // hex public keys, all of them count
}

// IsAuthed reports whether pubkey has authenticated on this connection.
func (p Peer) IsAuthed(pubkey string) bool { return slices.Contains(p.Authed, pubkey) }

// Gate rules on one event before it is stored. A refusal is an answer; an
// error means that the gate could not tell, and then nothing is stored.
// Gates are called concurrently and must not keep or change the event.
type Gate interface {
	Rule(ctx context.Context, ev *nostr.Event, from Peer) (Ruling, error)
}

// Ruling is a gate's answer. The zero Ruling lets the event through.
type Ruling struct {
	Refusal *Refusal // nil: not refused
	Claims  []Claim  // keys to be taken in the event's own commit
	Labels  []Label  // kept beside the event
}

// Rule says what happens to a claim that is already taken.
type Rule uint8

// The two rules of a claim.
const (
	First  Rule = iota + 1 // the holder stays, a second is refused
	Newest                 // the event with the newer created_at (ties: lower id) holds the key, the other goes
)

// Claim is a key that at most one stored event holds. It is written in the
// commit of its event, and outlives that event as a bare hash.
type Claim struct {
	Key  []byte // any length; kept as its SHA-256
	Rule Rule
	Most uint16 // Newest only: how often the key may change hands; 0 means without bound
}

// Label is a mark a gate leaves on a stored event, in NIP-32 terms.
type Label struct {
	Namespace string  `json:"n"` // L
	Value     string  `json:"v"` // l
	Score     float32 `json:"s,omitempty"`
}

// Prefix is the machine-readable first word of an OK, CLOSED or NEG-ERR
// (NIP-01, 42, 43, 77).
type Prefix string

// The prefixes clients know.
const (
	Duplicate    Prefix = "duplicate"
	PoW          Prefix = "pow"
	Blocked      Prefix = "blocked"
	RateLimited  Prefix = "rate-limited"
	Invalid      Prefix = "invalid"
	Restricted   Prefix = "restricted"
	Mute         Prefix = "mute"
	Error        Prefix = "error"
	AuthRequired Prefix = "auth-required"
	Unsupported  Prefix = "unsupported"
	Info         Prefix = "info"
)

// Refusal is a "no" with its reason, in words meant for the person who reads it.
type Refusal struct {
	Prefix Prefix
	Text   string
}

// String is the wire form, "prefix: text".
func (r *Refusal) String() string { return string(r.Prefix) + ": " + r.Text }

// Refuse is the ruling that turns an event away.
func Refuse(p Prefix, text string) Ruling { return Ruling{Refusal: &Refusal{Prefix: p, Text: text}} }
