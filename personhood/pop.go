package personhood

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"

	"agora/personhood/poll"
	"agora/personhood/semaphore"
	"agora/relay/lowhex"

	"github.com/nbd-wtf/go-nostr"
)

// The tags and words of this protocol.
const (
	TagPop       = "pop"        // the proof of personhood
	TagNullifier = "n"          // the nullifier, where filters find it
	TagSlot      = "slot"       // which of a person's posts of the day it is
	method       = "semaphore4" // the one kind of proof there is
	depthWord    = "20"         // semaphore.ProverDepth, as the tag spells it
)

// The kinds that can carry weight.
const (
	KindReaction = 7
	KindBallot   = poll.KindBallot
	KindPoll     = poll.KindPoll
	KindReport   = 1984
	KindReview   = 1985
)

// ReviewNamespace is the NIP-32 namespace of a ranker's review.
const ReviewNamespace = "agora.review"

// Action is what a nullifier is spent on.
type Action string

// The actions, as they stand in a scope.
const (
	Vote   Action = "poll"
	Boost  Action = "boost"
	Report Action = "report"
	Review Action = "review"
	Post   Action = "post"
)

// Invalid says why a tag or an event is not well formed, in words for the
// person who reads it.
type Invalid struct{ Reason string }

func (e *Invalid) Error() string { return "pop " + e.Reason }

func invalid(format string, args ...any) error { return &Invalid{fmt.Sprintf(format, args...)} }

// Pop is a pop tag, parsed.
type Pop struct {
	Group     Address
	Root      semaphore.Element
	Nullifier semaphore.Element
	Proof     semaphore.Proof
}

// Has reports whether an event carries a pop tag, well formed or not.
func Has(ev *nostr.Event) bool {
	for _, tag := range ev.Tags {
		if len(tag) > 0 && tag[0] == TagPop {
			return true
		}
	}
	return false
}

// header is a pop tag without its proof, whose points are dear to parse.
type header struct {
	pop   Pop
	proof string
}

// ParsePop reads the pop tag of an event and holds it against its n tag. The
// error is an *Invalid.
func ParsePop(ev *nostr.Event) (Pop, error) {
	h, err := parseHeader(ev)
	if err != nil {
		return Pop{}, err
	}
	return h.open()
}

func parseHeader(ev *nostr.Event) (h header, err error) {
	tag, err := single(ev, TagPop)
	if err != nil {
		return h, err
	}
	if len(tag) != 7 {
		return h, invalid("tag has %d elements, want 7", len(tag))
	}
	if tag[1] != method {
		return h, invalid("method %.20q is unknown, want %s", tag[1], method)
	}
	if h.pop.Group, err = ParseAddress(tag[2]); err != nil {
		return h, err
	}
	if tag[4] != depthWord {
		return h, invalid("depth must be %s", depthWord)
	}
	if h.pop.Root, err = semaphore.ParseHex(tag[3]); err != nil {
		return h, invalid("root is not 64 lower-case hex digits below the field's order")
	}
	if h.pop.Nullifier, err = semaphore.ParseHex(tag[5]); err != nil {
		return h, invalid("nullifier is not 64 lower-case hex digits below the field's order")
	}
	n, err := single(ev, TagNullifier)
	if err != nil {
		return h, err
	}
	if len(n) != 2 || n[1] != tag[5] {
		return h, invalid("and n tag name different nullifiers")
	}
	h.proof = tag[6]
	return h, nil
}

// open parses the proof, with or without base64's padding.
func (h header) open() (Pop, error) {
	raw, err := base64.RawStdEncoding.Strict().DecodeString(strings.TrimSuffix(h.proof, "="))
	if err != nil || strings.ContainsAny(h.proof, "\r\n") {
		return Pop{}, invalid("proof is not base64")
	}
	if h.pop.Proof, err = semaphore.ParseCompact(raw); err != nil {
		return Pop{}, invalid("proof is malformed: %v", err)
	}
	return h.pop, nil
}

// single returns the one tag of that name.
func single(ev *nostr.Event, name string) (found nostr.Tag, err error) {
	for _, tag := range ev.Tags {
		if len(tag) == 0 || tag[0] != name {
			continue
		}
		if found != nil {
			return nil, invalid("wants one %s tag, here are more", name)
		}
		found = tag
	}
	if found == nil {
		return nil, invalid("wants one %s tag", name)
	}
	return found, nil
}

// Tag is the pop tag, as it goes into an event.
func (p Pop) Tag() nostr.Tag {
	proof := p.Proof.Compact()
	return nostr.Tag{
		TagPop, method, p.Group.String(), semaphore.Hex(p.Root), depthWord,
		semaphore.Hex(p.Nullifier), base64.StdEncoding.EncodeToString(proof[:]),
	}
}

// Scope is what a nullifier of this action on this target belongs to.
func Scope(action Action, target [32]byte) [32]byte {
	b := append([]byte("agora/scope/1\x00"), action...)
	return sha256.Sum256(append(append(b, 0), target[:]...))
}

// Message is what a proof in this event signs.
func Message(ev *nostr.Event) [32]byte {
	bare := *ev
	bare.Tags = make(nostr.Tags, 0, len(ev.Tags))
	for _, tag := range ev.Tags {
		if len(tag) == 0 || tag[0] != TagPop {
			bare.Tags = append(bare.Tags, tag)
		}
	}
	return sha256.Sum256(append([]byte("agora/msg/1\x00"), bare.Serialize()...))
}

// Deed is what an event does, as a scope sees it.
type Deed struct {
	Action Action
	Target [32]byte
}

// Scope is the scope of the deed.
func (d Deed) Scope() [32]byte { return Scope(d.Action, d.Target) }

// DeedOf derives action and target from an event of a kind that can carry
// weight. The error is an *Invalid.
func DeedOf(ev *nostr.Event) (d Deed, err error) {
	switch ev.Kind {
	case KindBallot:
		d.Action = Vote
		tag, err := single(ev, "e")
		if err != nil {
			return d, err
		}
		d.Target, err = target(tag)
		return d, err
	case KindReaction:
		d.Action = Boost
		d.Target, err = target(last(ev, "e"))
	case KindReport:
		d.Action = Report
		tag := first(ev, "e")
		if tag == nil {
			tag = first(ev, "p")
		}
		d.Target, err = target(tag)
	case KindReview:
		d.Action = Review
		d.Target, err = reviewed(ev)
	default:
		d.Action = Post
		d.Target, err = slotOf(ev)
	}
	return d, err
}

// slotOf is the target of a post: one of a person's slots of a day. Slots of
// one day cannot be linked with one another, and there are so many and no more.
func slotOf(ev *nostr.Event) (t [32]byte, err error) {
	if first(ev, TagSlot) == nil {
		return t, invalid("is not for events of kind %d without a slot tag", ev.Kind)
	}
	tag, err := single(ev, TagSlot)
	if err != nil {
		return t, err
	}
	if len(tag) < 2 {
		return t, invalid("slot tag is empty")
	}
	slot, err := count(tag[1], SlotsPerDay-1)
	if err != nil {
		return t, invalid("slot is not a number up to %d", SlotsPerDay-1)
	}
	day := int64(ev.CreatedAt) / secondsPerDay
	return sha256.Sum256(fmt.Appendf(nil, "agora/post/1\x00%d\x00%d", day, slot)), nil
}

// SlotsPerDay is how many events a person may post in a UTC day, of all kinds
// that need a person together.
const SlotsPerDay = 100

const secondsPerDay = 24 * 60 * 60

func reviewed(ev *nostr.Event) (t [32]byte, err error) {
	space, err := single(ev, "L")
	if err != nil {
		return t, err
	}
	if len(space) < 2 || space[1] != ReviewNamespace {
		return t, invalid("label is not in the namespace %s", ReviewNamespace)
	}
	tag, err := single(ev, "a")
	if err != nil {
		return t, err
	}
	if len(tag) < 2 || tag[1] == "" {
		return t, invalid("a tag is empty")
	}
	return sha256.Sum256([]byte(tag[1])), nil
}

func first(ev *nostr.Event, name string) nostr.Tag {
	for _, tag := range ev.Tags {
		if len(tag) > 0 && tag[0] == name {
			return tag
		}
	}
	return nil
}

func last(ev *nostr.Event, name string) (found nostr.Tag) {
	for _, tag := range ev.Tags {
		if len(tag) > 0 && tag[0] == name {
			found = tag
		}
	}
	return found
}

// target reads the id or key in a tag.
func target(tag nostr.Tag) (t [32]byte, err error) {
	if len(tag) < 2 || !lowhex.Is(tag[1], 64) {
		return t, invalid("target is not an id of 64 lower-case hex digits")
	}
	_, _ = hex.Decode(t[:], []byte(tag[1])) // 64 digits, as we have just seen
	return t, nil
}

// ClaimKey is the key under which the store keeps a spent nullifier.
func ClaimKey(scope [32]byte, nullifier semaphore.Element) []byte {
	n := nullifier.Bytes()
	return append(append([]byte("agora/spent/1\x00"), scope[:]...), n[:]...)
}

// reasonOf gives the words of an *Invalid, ours or that of a poll.
func reasonOf(err error) (string, bool) {
	if bad, ok := errors.AsType[*poll.Invalid](err); ok {
		return "pop " + bad.Error(), true
	}
	bad, ok := errors.AsType[*Invalid](err)
	if !ok {
		return "", false
	}
	return bad.Error(), true
}
