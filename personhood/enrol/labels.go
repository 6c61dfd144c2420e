package enrol

import (
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	"agora/personhood"
	"agora/personhood/semaphore"

	"github.com/nbd-wtf/go-nostr"
)

// Labels admits keys that a trusted labeler has called human (NIP-32). Who
// hosts the group learns which key has which commitment, and nobody else does.
type Labels struct {
	Labelers  []string // hex keys
	Namespace string   // default DefaultNamespace
	Value     string   // default DefaultValue
	Events    personhood.Events
}

// What a label says unless the group's rule says otherwise.
const (
	DefaultNamespace = "agora.human"
	DefaultValue     = "human"
)

const (
	kindLabel    = 1985
	kindDeletion = 5
	// KindBinding is the event with which a labelled key says which commitment
	// is its own. It is never published: it is ephemeral by its kind.
	KindBinding = 27191
	// bindingAge is how old a binding may be, and how far ahead.
	bindingAge = 24 * time.Hour
)

// ID implements Source.
func (Labels) ID() string { return "labels" }

// Class implements Source.
func (Labels) Class() string { return "labelled" }

// labelled is the evidence.
type labelled struct {
	Label *nostr.Event `json:"label"`
	Proof *nostr.Event `json:"proof"`
}

// Labelled is the evidence of a key that was labelled: the label, and the
// commitment signed with the key (hex).
func Labelled(label *nostr.Event, secret string, group personhood.Address, commitment semaphore.Element) (string, error) {
	proof := nostr.Event{Kind: KindBinding, CreatedAt: nostr.Now(), Tags: nostr.Tags{
		{"a", group.String()}, {"commitment", semaphore.Hex(commitment)},
	}}
	if err := proof.Sign(secret); err != nil {
		return "", fmt.Errorf("sign the binding: %w", err)
	}
	text, err := json.Marshal(labelled{label, &proof})
	return string(text), err
}

// Verify implements Source.
func (s Labels) Verify(ctx context.Context, e Evidence) (Admission, error) {
	var in labelled
	if err := read(e.Text, &in); err != nil {
		return Admission{}, err
	}
	if in.Label == nil || in.Proof == nil {
		return Admission{}, refused("evidence wants a label and a proof")
	}
	for name, ev := range map[string]*nostr.Event{"label": in.Label, "proof": in.Proof} {
		if ok, err := ev.CheckSignature(); !ok || err != nil || !ev.CheckID() {
			return Admission{}, refused("the %s is not signed by its key", name)
		}
	}
	if err := s.binds(in.Proof, e); err != nil {
		return Admission{}, err
	}
	expires, err := s.labels(ctx, in.Label, in.Proof.PubKey)
	if err != nil {
		return Admission{}, err
	}
	key, err := hex.DecodeString(in.Proof.PubKey)
	if err != nil {
		return Admission{}, refused("the key is not hex")
	}
	return Admission{
		Source: s.ID(), Class: s.Class(), Commitment: e.Commitment, Expires: expires, Unique: digest("labelled", key),
	}, nil
}

// binds holds the proof to this group and commitment.
func (s Labels) binds(proof *nostr.Event, e Evidence) error {
	tags := nostr.Tags{{"a", e.Group.String()}, {"commitment", semaphore.Hex(e.Commitment)}}
	if proof.Kind != KindBinding || !slices.EqualFunc(proof.Tags, tags, func(a, b nostr.Tag) bool { return slices.Equal(a, b) }) {
		return refused("the proof is not of kind %d with the tags a and commitment of this group and commitment", KindBinding)
	}
	if off := time.Since(proof.CreatedAt.Time()); off.Abs() > bindingAge {
		return refused("the proof is dated %s away from now", off.Abs().Round(time.Minute))
	}
	return nil
}

// labels holds the label to what the operator trusts; it says when it ends.
func (s Labels) labels(ctx context.Context, label *nostr.Event, key string) (ends time.Time, err error) {
	space, value := cmp.Or(s.Namespace, DefaultNamespace), cmp.Or(s.Value, DefaultValue)
	has := func(want ...string) bool {
		return slices.ContainsFunc(label.Tags, func(tag nostr.Tag) bool { return len(tag) >= len(want) && slices.Equal(tag[:len(want)], want) })
	}
	now := time.Now()
	switch {
	case !slices.Contains(s.Labelers, label.PubKey):
		return ends, refused("the label is by nobody whom this group trusts")
	case label.Kind != kindLabel || !has("L", space) || !has("l", value, space):
		return ends, refused("the label does not say %q in the namespace %q", value, space)
	case !has("p", key):
		return ends, refused("the label is about another key than the proof's")
	case label.CreatedAt.Time().After(now.Add(15 * time.Minute)):
		return ends, refused("the label is dated in the future")
	}
	if tag := label.Tags.Find("expiration"); len(tag) > 1 {
		n, err := strconv.ParseInt(tag[1], 10, 64)
		if err != nil || n <= now.Unix() {
			return ends, refused("the label has expired")
		}
		ends = time.Unix(n, 0)
	}
	gone := nostr.Filter{Kinds: []int{kindDeletion}, Authors: []string{label.PubKey}, Tags: nostr.TagMap{"e": {label.ID}}, Limit: 1}
	for _, err := range s.Events.Query(ctx, gone) {
		if err != nil {
			return ends, fmt.Errorf("look whether the label was taken back: %w", err)
		}
		return ends, refused("its labeler has taken the label back")
	}
	return ends, nil
}
