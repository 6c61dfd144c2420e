package enrol

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"agora/personhood"
	"agora/personhood/semaphore"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/btcsuite/btcd/btcutil/bech32"
)

// Inviters knows who may invite; who hosts the group does.
type Inviters interface {
	// Quota is how many invitations the holder of a key may give; false for a
	// key that is nobody's, or whose member was removed.
	Quota(key [32]byte) (int, bool)
}

// Inviter is an invited member's place in the tree of invitations.
type Inviter struct {
	Key   [32]byte // x-only, with which the member may invite; zero: with none
	By    [32]byte // whose invitation it was
	Quota int      // invitations the member may give
}

// Invites admits whoever brings an invitation of a member, or of the group's
// own key, which is the tree's root and has no quota.
type Invites struct {
	Inviters Inviters
	Quota    int // of members whose invitation names none of its own
}

// MostQuota bounds the invitations of one member.
const MostQuota = 10_000

// ID implements Source.
func (Invites) ID() string { return "invite" }

// Class implements Source.
func (Invites) Class() string { return "invited" }

// Invitation is a word that lets one person in. Whoever has it can use it, so
// it goes by a private way; the relay never sees the secret in it.
type Invitation struct {
	Relay   string // http:// or https:// address of who hosts the group
	Group   personhood.Address
	By      [32]byte // the inviter's key
	Slot    uint32   // which of the inviter's invitations it is
	Quota   uint16   // what the new member may give, where the group's own key invites; members: 0
	Expires int64    // Unix seconds
	secret  [32]byte
	cert    [64]byte // by the inviter, over all of it but the secret and the relay
}

const invitationName = "agorainvite"

// NewInvitation makes one, signed with the inviter's secret key.
func NewInvitation(inviter [32]byte, relay string, group personhood.Address, slot uint32, quota uint16, expires time.Time) (*Invitation, error) {
	priv, pub := btcec.PrivKeyFromBytes(inviter[:])
	i := &Invitation{Relay: relay, Group: group, Slot: slot, Quota: quota, Expires: expires.Unix()}
	copy(i.By[:], schnorr.SerializePubKey(pub))
	_, _ = rand.Read(i.secret[:]) // crypto/rand never fails: it ends the program first
	m := i.offer(keyOf(i.secret))
	sig, err := schnorr.Sign(priv, m[:])
	if err != nil {
		return nil, fmt.Errorf("sign an invitation: %w", err)
	}
	copy(i.cert[:], sig.Serialize())
	return i, nil
}

// RandomSlot is one for the group's own key, which has no quota to count.
func RandomSlot() uint32 {
	var b [4]byte
	_, _ = rand.Read(b[:])
	return binary.BigEndian.Uint32(b[:])
}

// offer is what the inviter signs.
func (i *Invitation) offer(key [32]byte) [32]byte {
	return offer(i.Group, i.By, i.Slot, i.Quota, i.Expires, key)
}

func offer(group personhood.Address, by [32]byte, slot uint32, quota uint16, expires int64, key [32]byte) [32]byte {
	numbers := binary.BigEndian.AppendUint32(nil, slot)
	numbers = binary.BigEndian.AppendUint16(numbers, quota)
	numbers = binary.BigEndian.AppendUint64(numbers, uint64(expires))
	return digest("invite", []byte(group.String()), by[:], numbers, key[:])
}

func keyOf(secret [32]byte) (key [32]byte) {
	_, pub := btcec.PrivKeyFromBytes(secret[:])
	copy(key[:], schnorr.SerializePubKey(pub))
	return key
}

// String is the invitation as one word.
func (i *Invitation) String() string {
	raw := []byte{1}
	group, _ := hex.DecodeString(i.Group.Key) // 64 digits, by Address's promise
	raw = append(append(raw, group...), i.By[:]...)
	raw = binary.BigEndian.AppendUint32(raw, i.Slot)
	raw = binary.BigEndian.AppendUint16(raw, i.Quota)
	raw = binary.BigEndian.AppendUint64(raw, uint64(i.Expires))
	raw = append(append(raw, i.secret[:]...), i.cert[:]...)
	raw = append(append(raw, byte(len(i.Group.D))), i.Group.D...)
	raw = append(raw, i.Relay...)
	data, err := bech32.ConvertBits(raw, 8, 5, true)
	if err != nil {
		panic(err) // bytes have eight bits
	}
	word, err := bech32.Encode(invitationName, data)
	if err != nil {
		panic(err)
	}
	return word
}

const invitationFixed = 1 + 32 + 32 + 4 + 2 + 8 + 32 + 64 + 1

// ParseInvitation reads what String wrote.
func ParseInvitation(word string) (*Invitation, error) {
	if len(word) > 2048 {
		return nil, refused("an invitation is shorter than that")
	}
	name, data, err := bech32.DecodeNoLimit(word)
	if err != nil || name != invitationName {
		return nil, refused("an invitation is one word that begins with %s1", invitationName)
	}
	raw, err := bech32.ConvertBits(data, 5, 8, false)
	if err != nil || len(raw) < invitationFixed || raw[0] != 1 || len(raw) < invitationFixed+int(raw[invitationFixed-1]) {
		return nil, refused("not an invitation of version 1")
	}
	i := new(Invitation)
	i.Group.Key = hex.EncodeToString(raw[1:33])
	copy(i.By[:], raw[33:])
	i.Slot = binary.BigEndian.Uint32(raw[65:])
	i.Quota = binary.BigEndian.Uint16(raw[69:])
	i.Expires = int64(binary.BigEndian.Uint64(raw[71:]))
	copy(i.secret[:], raw[79:])
	copy(i.cert[:], raw[111:])
	at := invitationFixed + int(raw[invitationFixed-1])
	i.Group.D, i.Relay = string(raw[invitationFixed:at]), string(raw[at:])
	if _, err := personhood.ParseAddress(i.Group.String()); err != nil {
		return nil, refused("the invitation names no group")
	}
	return i, nil
}

// invited is the evidence of an invitation.
type invited struct {
	By      string `json:"by"`
	Slot    uint32 `json:"slot"`
	Quota   uint16 `json:"quota"`
	Expires int64  `json:"expires"`
	Key     string `json:"key"`
	Cert    string `json:"cert"`
	Sig     string `json:"sig"`
	Inviter string `json:"inviter"` // the new member's key for inviting others
}

// Accept is the evidence with which this commitment joins by the invitation.
// inviter is the key with which the new member will invite others.
func (i *Invitation) Accept(commitment semaphore.Element, inviter [32]byte) (string, error) {
	priv, _ := btcec.PrivKeyFromBytes(i.secret[:])
	m := acceptance(i.Group, commitment, inviter)
	sig, err := schnorr.Sign(priv, m[:])
	if err != nil {
		return "", fmt.Errorf("accept an invitation: %w", err)
	}
	key := keyOf(i.secret)
	text, err := json.Marshal(invited{
		By: hex.EncodeToString(i.By[:]), Slot: i.Slot, Quota: i.Quota, Expires: i.Expires,
		Key: hex.EncodeToString(key[:]), Cert: hex.EncodeToString(i.cert[:]),
		Sig: hex.EncodeToString(sig.Serialize()), Inviter: hex.EncodeToString(inviter[:]),
	})
	return string(text), err
}

func acceptance(group personhood.Address, commitment semaphore.Element, inviter [32]byte) [32]byte {
	c := commitment.Bytes()
	return digest("accept", []byte(group.String()), c[:], inviter[:])
}

// InviterSecret is the key with which the holder of an identity invites others
// into a group. It follows from the identity, so a backup holds it too.
func InviterSecret(id *semaphore.Identity, group personhood.Address) [32]byte {
	key := id.Key()
	return digest("inviter", key[:], []byte(group.String()))
}

// InviterKey is its public half.
func InviterKey(id *semaphore.Identity, group personhood.Address) [32]byte {
	return keyOf(InviterSecret(id, group))
}

// Verify implements Source.
func (s Invites) Verify(_ context.Context, e Evidence) (Admission, error) {
	var in invited
	if err := read(e.Text, &in); err != nil {
		return Admission{}, err
	}
	var by, key, inviter [32]byte
	for _, f := range []struct {
		into *[32]byte
		text string
	}{{&by, in.By}, {&key, in.Key}, {&inviter, in.Inviter}} {
		b, err := unhex(f.text, 32)
		if err != nil {
			return Admission{}, refused("invitation: a key is not 64 lower-case hex digits")
		}
		copy(f.into[:], b)
	}
	if in.Expires < time.Now().Unix() {
		return Admission{}, refused("the invitation has expired")
	}
	root := in.By == e.Group.Key
	if in.Inviter == e.Group.Key { // whoever had it would be the parent of all whom the group's own key invites
		return Admission{}, refused("the group's own key is no member's key for inviting others")
	}
	if err := s.allowed(by, in.Slot, in.Quota, root); err != nil {
		return Admission{}, err
	}
	offered := offer(e.Group, by, in.Slot, in.Quota, in.Expires, key)
	accepted := acceptance(e.Group, e.Commitment, inviter)
	if !signed(by, offered, in.Cert) {
		return Admission{}, refused("the invitation is not signed by its inviter for this group")
	}
	if !signed(key, accepted, in.Sig) {
		return Admission{}, refused("the invitation was accepted for somebody else")
	}
	quota := s.Quota
	if root && in.Quota > 0 {
		quota = int(in.Quota)
	}
	unique := digest("invited", by[:], binary.BigEndian.AppendUint32(nil, in.Slot))
	if root { // no quota: what is spent is the invitation, whatever its number
		unique = digest("invited", by[:], key[:])
	}
	return Admission{
		Source: s.ID(), Class: s.Class(), Commitment: e.Commitment, Unique: unique,
		Inviter: &Inviter{Key: inviter, By: by, Quota: min(quota, MostQuota)},
	}, nil
}

// allowed holds an inviter to their quota.
func (s Invites) allowed(by [32]byte, slot uint32, quota uint16, root bool) error {
	if root {
		return nil
	}
	may, known := s.Inviters.Quota(by)
	switch {
	case !known:
		return refused("the inviter is not a member of this group, or no longer")
	case int64(slot) >= int64(may):
		return refused("the inviter may give %d invitations, and this is number %d", may, slot+1)
	case quota != 0:
		return refused("only the group's own key may say how many invitations a member gives")
	}
	return nil
}

func signed(by, message [32]byte, sig string) bool {
	raw, err := unhex(sig, 64)
	if err != nil {
		return false
	}
	pub, err := schnorr.ParsePubKey(by[:])
	if err != nil {
		return false
	}
	s, err := schnorr.ParseSignature(raw)
	return err == nil && s.Verify(message[:], pub)
}
