package relay

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"agora/relay/admit"

	"github.com/nbd-wtf/go-nostr"
)

// maxClaim bounds an invitation code.
const maxClaim = 128 // bytes

// requestWindow is how far from now a request to join or leave may be dated:
// NIP-43's "plus or minus a few minutes".
const requestWindow = 5 * time.Minute

// An invitation is 26 bytes in base32: nobody has to remember it, since the
// relay knows its own hand. Only a spent one is written down, until it lapses.
const (
	inviteNonce   = 8 // random
	inviteUntil   = 4 // unix minutes, big endian
	inviteFrom    = 4 // first bytes of the inviter's key, for the audit trail
	inviteMAC     = 10
	inviteContent = inviteNonce + inviteUntil + inviteFrom
)

// Answers reports whether events of this kind are requests to the relay
// (NIP-43) that Answer takes, instead of events to be stored or passed on.
func (m *Management) Answers(kind int) bool {
	return m.self != "" && (kind == kindJoin || kind == kindLeave)
}

// Answer grants or refuses a request to join or to leave, whose signature has
// been checked. It gives OK's two last elements.
func (m *Management) Answer(ctx context.Context, ev *nostr.Event) (ok bool, text string, err error) {
	key, valid := parseHex32(ev.PubKey)
	if !valid {
		return denied(admit.Invalid, "pubkey is not 64 lower-case hex digits")
	}
	if off := time.Since(ev.CreatedAt.Time()).Abs(); off > requestWindow {
		return denied(admit.Invalid, fmt.Sprintf("a request to join or leave is dated now, this one is %v off", off.Round(time.Second)))
	}
	if ev.Kind == kindLeave {
		return m.leave(ctx, ev, key)
	}
	return m.join(ctx, ev, key)
}

func denied(p admit.Prefix, text string) (bool, string, error) {
	return false, (&admit.Refusal{Prefix: p, Text: text}).String(), nil
}

func granted(p admit.Prefix, text string) (bool, string, error) {
	return true, (&admit.Refusal{Prefix: p, Text: text}).String(), nil
}

// errMember and errBanned are what a join can meet between its check and its
// turn.
const (
	errMember = refused("you are a member already")
	errBanned = refused("this key is banned from this relay")
	errSpent  = refused("this invitation has been used")
)

func (m *Management) join(ctx context.Context, ev *nostr.Event, key [32]byte) (bool, string, error) {
	claim := firstTagValue(ev.Tags, "claim")
	a := Act{At: time.Now().Unix(), By: ev.PubKey, Method: "join", Subject: ev.PubKey}
	good := m.accepts(claim, &a)
	err := m.do(ctx, a, func(s *managed) error {
		if _, banned := s.bannedKeys[key]; banned {
			return errBanned
		}
		if _, member := s.members[key]; member {
			return errMember
		}
		if !good {
			return refused("this relay does not know that invitation, or it has lapsed")
		}
		if _, spent := s.spent[a.Spent]; spent && a.Spent != "" {
			return errSpent
		}
		return room(len(s.members))
	})
	var why refused
	switch {
	case errors.Is(err, errMember):
		return granted(admit.Duplicate, string(errMember))
	case errors.As(err, &why):
		return denied(admit.Restricted, string(why))
	case err != nil:
		return false, "", err
	}
	m.roles.queue(kindMemberCame, ev.PubKey)
	m.wake()
	return granted(admit.Info, "welcome, you are a member of this relay now")
}

func (m *Management) leave(ctx context.Context, ev *nostr.Event, key [32]byte) (bool, string, error) {
	if !hasTag(ev.Tags, "-") {
		return denied(admit.Invalid, `a request to leave carries the tag ["-"]`)
	}
	since, member := m.memberSince(key)
	if !member {
		return granted(admit.Info, "you are no member of this relay")
	}
	if int64(ev.CreatedAt) < since {
		return denied(admit.Invalid, "you have joined again since this request")
	}
	if err := m.do(ctx, Act{At: time.Now().Unix(), By: ev.PubKey, Method: "leave", Subject: ev.PubKey}, nil); err != nil {
		return false, "", err
	}
	m.roles.queue(kindMemberLeft, ev.PubKey)
	m.wake()
	return granted(admit.Info, "you are no member of this relay any more")
}

func (m *Management) memberSince(key [32]byte) (at int64, ok bool) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	who, ok := m.state.members[key]
	return who.At, ok
}

func firstTagValue(tags nostr.Tags, name string) string {
	for _, tag := range tags {
		if len(tag) > 1 && tag[0] == name {
			return tag[1]
		}
	}
	return ""
}

func hasTag(tags nostr.Tags, name string) bool {
	for _, tag := range tags {
		if len(tag) > 0 && tag[0] == name {
			return true
		}
	}
	return false
}

// accepts tells whether a code admits, and notes in the act what it spends.
func (m *Management) accepts(claim string, a *Act) bool {
	if claim == "" || len(claim) > maxClaim {
		return false
	}
	for _, code := range m.policy.Load().inviteCodes {
		if subtle.ConstantTimeCompare([]byte(code), []byte(claim)) == 1 {
			a.Reason = "standing invitation"
			return true
		}
	}
	from, until, ok := m.readInvite(claim)
	if !ok || time.Now().After(until) {
		return false
	}
	a.Reason = fmt.Sprintf("invited by %x…", from)
	a.Spent, a.Until = claim, until.Unix()
	return true
}

// base32Code writes codes in lower case without padding.
func base32Code() *base32.Encoding {
	return base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)
}

func (m *Management) newInvite(inviter [32]byte) string {
	code := make([]byte, inviteNonce, inviteContent+inviteMAC)
	_, _ = rand.Read(code) // never fails (crypto/rand)
	code = binary.BigEndian.AppendUint32(code, uint32(time.Now().Add(m.inviteLife).Unix()/60))
	code = append(code, inviter[:inviteFrom]...)
	return base32Code().EncodeToString(append(code, m.inviteSum(code)...))
}

func (m *Management) readInvite(claim string) (from []byte, until time.Time, ok bool) {
	code, err := base32Code().DecodeString(claim)
	if err != nil || len(code) != inviteContent+inviteMAC {
		return nil, until, false
	}
	content, sum := code[:inviteContent], code[inviteContent:]
	if !hmac.Equal(sum, m.inviteSum(content)) {
		return nil, until, false
	}
	minutes := binary.BigEndian.Uint32(content[inviteNonce:])
	return content[inviteNonce+inviteUntil:], time.Unix(int64(minutes)*60, 0), true
}

// inviteSum signs an invitation under a key derived from the relay's own.
func (m *Management) inviteSum(content []byte) []byte {
	secret, _ := hex.DecodeString(m.secret) // takeSecret has read it
	derive := hmac.New(sha256.New, secret)
	derive.Write([]byte("agora invitation v1"))
	sign := hmac.New(sha256.New, derive.Sum(nil))
	sign.Write(content)
	return sign.Sum(nil)[:inviteMAC]
}

// Invite answers a REQ for kind 28935 (NIP-43) with a fresh invitation that
// admits one key, once. viewers are the keys that have authenticated.
func (m *Management) Invite(viewers []string) (*nostr.Event, *admit.Refusal) {
	if m.self == "" {
		return nil, &admit.Refusal{Prefix: admit.Unsupported, Text: "this relay has no members"}
	}
	if len(viewers) == 0 {
		return nil, &admit.Refusal{Prefix: admit.AuthRequired, Text: "who invites must be known"}
	}
	p := m.policy.Load()
	for _, viewer := range viewers {
		key, ok := parseHex32(viewer)
		if !ok || !p.admins[key] && !(p.membersInvite && m.Member(key)) {
			continue
		}
		ev := &nostr.Event{
			Kind:      kindInvite,
			CreatedAt: nostr.Now(),
			Tags:      nostr.Tags{{"-"}, {"claim", m.newInvite(key)}},
		}
		if err := ev.Sign(m.secret); err != nil {
			return nil, &admit.Refusal{Prefix: admit.Error, Text: "the invitation could not be signed"}
		}
		return ev, nil
	}
	return nil, &admit.Refusal{Prefix: admit.Restricted, Text: "this key may not invite"}
}

// selectInvite is a Source for the kind of invitations alone.
func (m *Management) selectInvite(v viewer, f nostr.Filter) (page Page, mine bool, err error) {
	if !slices.Equal(f.Kinds, []int{kindInvite}) || f.Limit == 0 {
		return Page{}, false, nil
	}
	ev, refused := m.Invite(v)
	if refused != nil {
		return Page{}, true, &notAnswered{refused.Prefix, refused.Text}
	}
	if f.Matches(ev) {
		page.Events = []*nostr.Event{ev}
	}
	return page, true, nil // no hint: the next question is answered by another invitation
}
