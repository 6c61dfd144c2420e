package enrol

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"

	"agora/personhood"
	"agora/personhood/semaphore"
)

// Published knows a group's roots; *personhood.Gate does. An
// *personhood.Invalid is a no.
type Published interface {
	Published(ctx context.Context, group personhood.Address, root semaphore.Element) error
}

// Member admits members of another Semaphore group, which may be another
// community's. The identity here need not be the one there, and nobody can
// tell which member it was.
type Member struct {
	From    personhood.Address
	Epoch   string // a new one lets everybody in once more
	Roots   Published
	Checker personhood.Checker
}

// ID implements Source.
func (Member) ID() string { return "semaphore" }

// Class implements Source.
func (Member) Class() string { return "member" }

// membership is the evidence.
type membership struct {
	Root      string `json:"root"`
	Nullifier string `json:"nullifier"`
	Proof     string `json:"proof"` // base64 of 128 bytes
}

// memberScope is the same for all that join a group from another in an epoch,
// so that each member there has one nullifier.
func memberScope(group, from personhood.Address, epoch string) [32]byte {
	return personhood.Scope("enrol", digest("member", []byte(group.String()), []byte(from.String()), []byte(epoch)))
}

func memberMessage(commitment semaphore.Element) [32]byte {
	c := commitment.Bytes()
	return digest("binding", c[:])
}

// Membership is the evidence that the holder of an identity is a member along
// this way, and wants this commitment let in.
func Membership(ctx context.Context, prover personhood.Prover, id *semaphore.Identity, way semaphore.MerkleProof, from, group personhood.Address, epoch string, commitment semaphore.Element) (string, error) {
	s, p, err := prover.Prove(ctx, id, way, memberMessage(commitment), memberScope(group, from, epoch))
	if err != nil {
		return "", err
	}
	proof := p.Compact()
	text, err := json.Marshal(membership{semaphore.Hex(s.Root), semaphore.Hex(s.Nullifier), base64.StdEncoding.EncodeToString(proof[:])})
	return string(text), err
}

// Verify implements Source.
func (s Member) Verify(ctx context.Context, e Evidence) (Admission, error) {
	var in membership
	if err := read(e.Text, &in); err != nil {
		return Admission{}, err
	}
	st := semaphore.Statement{Depth: semaphore.ProverDepth, Message: memberMessage(e.Commitment), Scope: memberScope(e.Group, s.From, s.Epoch)}
	var err error
	if st.Root, err = semaphore.ParseHex(in.Root); err != nil {
		return Admission{}, refused("root is not 64 lower-case hex digits below the field's order")
	}
	if st.Nullifier, err = semaphore.ParseHex(in.Nullifier); err != nil {
		return Admission{}, refused("nullifier is not 64 lower-case hex digits below the field's order")
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(in.Proof)
	if err != nil {
		return Admission{}, refused("proof is not base64")
	}
	proof, err := semaphore.ParseCompact(raw)
	if err != nil {
		return Admission{}, refused("%v", err)
	}
	err = s.Roots.Published(ctx, s.From, st.Root)
	if no, ok := errors.AsType[*personhood.Invalid](err); ok {
		return Admission{}, refused("of the group %s: %s", s.From, no.Reason)
	}
	if err != nil {
		return Admission{}, err
	}
	err = s.Checker.Verify(ctx, "", semaphore.Item{Statement: st, Proof: proof})
	if errors.Is(err, semaphore.ErrProof) {
		return Admission{}, refused("the proof does not verify: not this group, epoch or commitment")
	}
	if err != nil {
		return Admission{}, fmt.Errorf("check the membership: %w", err)
	}
	n := st.Nullifier.Bytes()
	return Admission{Source: s.ID(), Class: s.Class(), Commitment: e.Commitment, Unique: digest("membership", n[:])}, nil
}
