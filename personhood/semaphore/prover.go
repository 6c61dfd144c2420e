package semaphore

import (
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
)

// ProverDepth is the one depth of circuit proofs are made with. A group pins
// it, so that the depth of a proof tells nothing about its maker.
const ProverDepth = 20

// The circuit of npm's @zk-kit/semaphore-artifacts 4.13.0, which NewProver
// holds to these sums. A program that makes no Prover does not carry it.
var (
	//go:embed circuit/semaphore-20.wasm
	circuitWasm []byte
	//go:embed circuit/semaphore-20.zkey
	circuitZkey []byte
)

const (
	circuitWasmSum = "6f71e55586929e520e76027ebe067daac8b41e2f4b8057313a5fd0304e1e44ee"
	circuitZkeySum = "33f9a067a80c7daf90e085449073613a9559a1904dd40aeb6d603afb7988c2cc"
)

// ErrNotMember says that the identity is not the leaf of the Merkle proof, or
// that this proof is deeper than the circuit.
var ErrNotMember = errors.New("this identity is not that leaf of the group")

// signal is one input of the circuit.
type signal struct {
	name   string
	values []Element
}

// Prover makes proofs of depth 20. Natively the circuit runs under wazero, in
// a browser under the browser's own WebAssembly. It is safe for concurrent
// use; witnesses are computed one at a time. Close gives back its memory.
type Prover struct {
	key     *zkey
	circuit *circuit
	check   *Verifier
}

// NewProver compiles the circuit (about 0.4 s of CPU natively).
func NewProver(ctx context.Context) (*Prover, error) {
	for _, f := range []struct {
		name, want string
		data       []byte
	}{{"semaphore-20.wasm", circuitWasmSum, circuitWasm}, {"semaphore-20.zkey", circuitZkeySum, circuitZkey}} {
		if sum := sha256.Sum256(f.data); hex.EncodeToString(sum[:]) != f.want {
			return nil, fmt.Errorf("the embedded %s is damaged: its SHA-256 is %x", f.name, sum)
		}
	}
	key, err := parseZkey(circuitZkey)
	if err != nil {
		return nil, err
	}
	c, err := newCircuit(ctx, circuitWasm)
	if err != nil {
		return nil, fmt.Errorf("compile the circuit: %w", err)
	}
	return &Prover{key: key, circuit: c, check: NewVerifier()}, nil
}

// Close gives back what the circuit holds.
func (p *Prover) Close(ctx context.Context) error { return p.circuit.close(ctx) }

// Prove shows that id is the leaf at the foot of way and signs message under
// scope. Each call gives another proof, all with the same nullifier. The proof
// has been verified before it is returned.
func (p *Prover) Prove(ctx context.Context, id *Identity, way MerkleProof, message, scope [32]byte) (Statement, Proof, error) {
	if way.Leaf != id.commitment || len(way.Siblings) > ProverDepth {
		return Statement{}, Proof{}, ErrNotMember
	}
	s := Statement{
		Depth: ProverDepth, Root: way.Root(), Nullifier: id.Nullifier(scope),
		Message: message, Scope: scope,
	}
	in := s.Inputs()
	siblings := make([]Element, ProverDepth)
	copy(siblings, way.Siblings)
	var length, index Element
	length.SetUint64(uint64(len(way.Siblings)))
	index.SetUint64(way.Index)
	w, err := p.circuit.witness(ctx, p.key.vars, []signal{
		{"secret", []Element{id.scalar}},
		{"merkleProofLength", []Element{length}},
		{"merkleProofIndex", []Element{index}},
		{"merkleProofSiblings", siblings},
		{"message", in[2:3]},
		{"scope", in[3:4]},
	})
	if err != nil {
		return Statement{}, Proof{}, fmt.Errorf("run the circuit: %w", err)
	}
	for i := range in {
		if w[i+1] != in[i] {
			return Statement{}, Proof{}, fmt.Errorf("the circuit's public signal %d is not ours", i)
		}
	}
	proof, err := p.key.prove(w)
	if err != nil {
		return Statement{}, Proof{}, fmt.Errorf("prove: %w", err)
	}
	if err := p.check.Verify(s, proof); err != nil {
		return Statement{}, Proof{}, fmt.Errorf("our own proof: %w", err)
	}
	return s, proof, nil
}

// signalHash is the 64-bit FNV-1a of a signal's name, by which the witness
// calculator knows it.
func signalHash(name string) (hi, lo uint32) {
	h := uint64(0xcbf29ce484222325)
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 0x100000001b3
	}
	return uint32(h >> 32), uint32(h)
}

// littleEndian turns an element into the calculator's words and back.
func littleEndian(e Element) (out [32]byte) {
	b := e.Bytes()
	for i := range b {
		out[i] = b[31-i]
	}
	return out
}

func fromLittleEndian(b []byte) (e Element, err error) {
	var big [32]byte
	for i := range big {
		big[i] = b[31-i]
	}
	return ParseBytes(big)
}
