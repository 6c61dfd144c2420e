package personhood

import (
	"context"
	"crypto/sha256"
	"fmt"

	"agora/personhood/semaphore"

	"github.com/nbd-wtf/go-nostr"
)

// SmallCrowd is the number of people under which hiding among them means
// little; who acts is warned.
const SmallCrowd = 20

// Privacy is what one should know before acting, in one sentence.
const Privacy = "Your proof says that some member acted, not which: send it with a fresh key, over a connection on which you " +
	"have not authenticated, after a random delay; whoever gets your identity can recognise all you ever did with it; " +
	"nothing stops you from proving to a buyer how you voted."

// Prover makes one proof; *semaphore.Prover does.
type Prover interface {
	Prove(ctx context.Context, id *semaphore.Identity, way semaphore.MerkleProof, message, scope [32]byte) (semaphore.Statement, semaphore.Proof, error)
}

// Act signs an event with the secret key (hex) so that it counts a person of a
// group. The key should be a fresh one: it is what the action is seen under.
// The error is an *Invalid when the event can carry no proof, and
// semaphore.ErrNotMember when the person is not in the group.
func Act(ctx context.Context, prover Prover, id *semaphore.Identity, group Address, members *Members, ev nostr.Event, secret string) (*nostr.Event, error) {
	i, ok := members.Find(id.Commitment())
	if !ok {
		return nil, semaphore.ErrNotMember
	}
	way, err := members.Tree().Prove(i)
	if err != nil {
		return nil, err
	}
	return ActAlong(ctx, prover, id, group, way, ev, secret)
}

// ActAlong is Act for who knows the way to the root, from FindWay for one.
func ActAlong(ctx context.Context, prover Prover, id *semaphore.Identity, group Address, way semaphore.MerkleProof, ev nostr.Event, secret string) (*nostr.Event, error) {
	deed, err := DeedOf(&ev)
	if err != nil {
		return nil, err
	}
	if ev.PubKey, err = nostr.GetPublicKey(secret); err != nil {
		return nil, fmt.Errorf("the key to sign with: %w", err)
	}
	tags := make(nostr.Tags, 0, len(ev.Tags)+2)
	for _, tag := range ev.Tags {
		if len(tag) == 0 || (tag[0] != TagPop && tag[0] != TagNullifier) {
			tags = append(tags, tag)
		}
	}
	scope := deed.Scope()
	ev.Tags = append(tags, nostr.Tag{TagNullifier, semaphore.Hex(id.Nullifier(scope))})
	s, proof, err := prover.Prove(ctx, id, way, Message(&ev), scope)
	if err != nil {
		return nil, err
	}
	pop := Pop{Group: group, Root: s.Root, Nullifier: s.Nullifier, Proof: proof}
	ev.Tags = append(ev.Tags, pop.Tag())
	if err := ev.Sign(secret); err != nil {
		return nil, fmt.Errorf("sign: %w", err)
	}
	return &ev, nil
}

// Joining is the wish to become a member: a commitment, a proof that its maker
// can act in a tree of it, and a signature of the identity that the commitment
// is of. The signature is what keeps a whole tree from becoming a leaf: the
// proof does not show how deep below its root the maker stands.
type Joining struct {
	Group      Address
	Commitment semaphore.Element
	Nullifier  semaphore.Element
	Proof      semaphore.Proof
	Possession semaphore.Possession
}

// joinScope and joinMessage bind a Joining to its group and to the evidence
// that comes with it, so that nobody else's evidence can be put beside it.
func joinScope(group Address) [32]byte {
	return Scope("join", sha256.Sum256([]byte(group.String())))
}

func joinMessage(evidence []byte) [32]byte {
	return sha256.Sum256(append([]byte("agora/join/1\x00"), evidence...))
}

// Join makes a Joining; evidence is whatever the group's source asks for, an
// invitation for instance.
func Join(ctx context.Context, prover Prover, id *semaphore.Identity, group Address, evidence []byte) (Joining, error) {
	way := semaphore.MerkleProof{Leaf: id.Commitment()}
	s, proof, err := prover.Prove(ctx, id, way, joinMessage(evidence), joinScope(group))
	if err != nil {
		return Joining{}, err
	}
	return Joining{
		Group: group, Commitment: s.Root, Nullifier: s.Nullifier, Proof: proof, Possession: id.Possess(joinPledge(group, evidence)),
	}, nil
}

// joinPledge is what the identity signs.
func joinPledge(group Address, evidence []byte) [32]byte {
	scope, message := joinScope(group), joinMessage(evidence)
	return sha256.Sum256(append(append([]byte("agora/pledge/1\x00"), scope[:]...), message[:]...))
}

// Held reports whether the commitment is one identity's, whose holder wants to
// join the group with this evidence.
func (j Joining) Held(evidence []byte) bool {
	return j.Possession.Holds(j.Commitment, joinPledge(j.Group, evidence))
}

// Statement is what the proof of a Joining proves, with this evidence.
func (j Joining) Statement(evidence []byte) semaphore.Statement {
	return semaphore.Statement{
		Depth: semaphore.ProverDepth, Root: j.Commitment, Nullifier: j.Nullifier,
		Message: joinMessage(evidence), Scope: joinScope(j.Group),
	}
}
