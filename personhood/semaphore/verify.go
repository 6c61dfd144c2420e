package semaphore

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math/big"
	"sync"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark-crypto/ecc/bn254"
)

// The ways in which a well-formed proof fails.
var (
	ErrProof = errors.New("the proof does not verify")
	ErrDepth = fmt.Errorf("the depth of a circuit is 1 to %d", MaxDepth)
)

// Verifier checks Semaphore proofs of every depth. Each depth's key is made
// ready when it is first needed (some milliseconds, once). It is safe for
// concurrent use.
type Verifier struct {
	keys [MaxDepth + 1]func() *Key
}

// NewVerifier reads nothing yet.
func NewVerifier() *Verifier {
	v := new(Verifier)
	for depth := 1; depth <= MaxDepth; depth++ {
		v.keys[depth] = sync.OnceValue(func() *Key { return embeddedKey(depth) })
	}
	return v
}

func (v *Verifier) key(depth int) (*Key, error) {
	if depth < 1 || depth > MaxDepth {
		return nil, ErrDepth
	}
	return v.keys[depth](), nil
}

// Verify checks one proof: nil, ErrProof or ErrDepth. It says nothing about
// whether the root is one to trust, or the nullifier already seen.
func (v *Verifier) Verify(s Statement, p Proof) error {
	key, err := v.key(s.Depth)
	if err != nil {
		return err
	}
	in := s.Inputs()
	return key.Verify(in[:], p)
}

// Item is one proof of a batch with what it proves.
type Item struct {
	Statement Statement
	Proof     Proof
}

// VerifyBatch checks many proofs for little more than the cost of their Miller
// loops, and answers for each: nil, ErrProof or ErrDepth. When a batch does
// not verify it is halved until the bad ones stand alone; one bad proof among
// 64 costs about as much as a second batch.
func (v *Verifier) VerifyBatch(items []Item) []error {
	verdicts := make([]error, len(items))
	byDepth := make(map[int][]int)
	for i := range items {
		if _, err := v.key(items[i].Statement.Depth); err != nil {
			verdicts[i] = err
			continue
		}
		byDepth[items[i].Statement.Depth] = append(byDepth[items[i].Statement.Depth], i)
	}
	for depth, places := range byDepth {
		key, _ := v.key(depth) // the depth was checked above
		proofs, publics := make([]Proof, len(places)), make([][]Element, len(places))
		for at, i := range places {
			in := items[i].Statement.Inputs()
			proofs[at], publics[at] = items[i].Proof, in[:]
		}
		for at, err := range key.VerifyBatch(publics, proofs) {
			verdicts[places[at]] = err
		}
	}
	return verdicts
}

// Inputs is the number of public inputs of the key's circuit.
func (k *Key) Inputs() int { return len(k.ic) - 1 }

// Verify checks one proof against public inputs of any circuit:
// e(A, B) = e(alpha, beta) · e(x, gamma) · e(C, delta).
func (k *Key) Verify(public []Element, p Proof) error {
	if err := k.check(public, p); err != nil {
		return err
	}
	var acc bn254.G1Jac
	acc.FromAffine(&k.ic[0])
	for i := range public {
		var term bn254.G1Jac
		term.FromAffine(&k.ic[i+1])
		acc.AddAssign(term.ScalarMultiplication(&term, public[i].BigInt(new(big.Int))))
	}
	var x, c bn254.G1Affine
	x.FromJacobian(&acc)
	x.Neg(&x)
	c.Neg(&p.c)
	ab, err := bn254.MillerLoop([]bn254.G1Affine{p.a}, []bn254.G2Affine{p.b})
	if err != nil {
		return ErrProof
	}
	rest, err := bn254.MillerLoopFixedQ([]bn254.G1Affine{x, c}, []lines{k.gamma, k.delta})
	if err != nil {
		return ErrProof
	}
	if left := bn254.FinalExponentiation(&ab, &rest); !left.Equal(&k.alphaBeta) {
		return ErrProof
	}
	return nil
}

// check refuses what was never parsed, and a wrong number of inputs.
func (k *Key) check(public []Element, p Proof) error {
	if len(public) != k.Inputs() || p.a.IsInfinity() || p.b.IsInfinity() || p.c.IsInfinity() {
		return ErrProof
	}
	return nil
}

// VerifyBatch checks many proofs of one key and answers for each.
func (k *Key) VerifyBatch(publics [][]Element, proofs []Proof) []error {
	verdicts := make([]error, len(proofs))
	var places []int
	for i := range proofs {
		if verdicts[i] = k.check(publics[i], proofs[i]); verdicts[i] == nil {
			places = append(places, i)
		}
	}
	b := batch{key: k, publics: publics, proofs: proofs, verdicts: verdicts}
	b.settle(places, false)
	return verdicts
}

// batch is one call of VerifyBatch.
type batch struct {
	key      *Key
	publics  [][]Element
	proofs   []Proof
	verdicts []error // by place; what is written here is final
}

// settle finds the bad proofs among places; tainted says that there is
// certainly one. It reports whether all are good.
func (b *batch) settle(places []int, tainted bool) bool {
	if len(places) == 0 {
		return true
	}
	if len(places) == 1 {
		i := places[0]
		b.verdicts[i] = ErrProof
		if !tainted {
			b.verdicts[i] = b.key.Verify(b.publics[i], b.proofs[i])
		}
		return b.verdicts[i] == nil
	}
	if !tainted && b.together(places) {
		return true
	}
	half := len(places) / 2
	good := b.settle(places[:half], false)
	b.settle(places[half:], good) // a clean first half leaves the fault to the second
	return false
}

// weights draws n numbers of 128 bits, none of them zero. Without them, two
// wrong proofs could be made to cancel out.
func weights(n int) []Element {
	raw := make([]byte, 16*n)
	_, _ = rand.Read(raw) // crypto/rand never fails: it ends the program first
	out := make([]Element, n)
	for i := range out {
		raw[16*i+15] |= 1
		out[i].SetBytes(raw[16*i : 16*i+16])
	}
	return out
}

// together checks the random combination of several proofs with one final
// exponentiation. A wrong set passes with a probability of about 2^-127.
func (b *batch) together(places []int) bool {
	k := b.key
	r := weights(len(places))
	sums := make([]Element, len(k.ic)) // of the weights, and of the weighted inputs
	cs := make([]bn254.G1Affine, len(places))
	ps := make([]bn254.G1Affine, 0, len(places)+1)
	qs := make([]bn254.G2Affine, 0, len(places)+1)
	for at, i := range places {
		sums[0].Add(&sums[0], &r[at])
		for j := range b.publics[i] {
			var t Element
			t.Mul(&r[at], &b.publics[i][j])
			sums[j+1].Add(&sums[j+1], &t)
		}
		var a bn254.G1Affine
		a.ScalarMultiplication(&b.proofs[i].a, r[at].BigInt(new(big.Int)))
		ps, qs = append(ps, a), append(qs, b.proofs[i].b)
		cs[at] = b.proofs[i].c
	}
	var x, c, alpha bn254.G1Affine
	if _, err := x.MultiExp(k.ic, sums, ecc.MultiExpConfig{NbTasks: 1}); err != nil {
		return false
	}
	if _, err := c.MultiExp(cs, r, ecc.MultiExpConfig{NbTasks: 1}); err != nil {
		return false
	}
	alpha.ScalarMultiplication(&k.alpha, sums[0].BigInt(new(big.Int)))
	ps, qs = append(ps, *alpha.Neg(&alpha)), append(qs, k.beta)
	left, err := bn254.MillerLoop(ps, qs)
	if err != nil {
		return false
	}
	right, err := bn254.MillerLoopFixedQ([]bn254.G1Affine{*x.Neg(&x), *c.Neg(&c)}, []lines{k.gamma, k.delta})
	if err != nil {
		return false
	}
	whole := bn254.FinalExponentiation(&left, &right)
	return whole.IsOne()
}
