package semaphore

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fp"
)

// CompactSize is the length of a compact proof, in bytes.
const CompactSize = 128

// mostJSON bounds a proof in JSON; JavaScript's take about 1,100 bytes.
const mostJSON = 8 << 10

// ErrMalformed says that bytes are no proof, whatever it would prove: a
// coordinate out of range, a point off the curve, in the wrong subgroup or at
// infinity.
var ErrMalformed = errors.New("malformed proof")

// Proof is a Groth16 proof on BN254: three points, each on its curve, in its
// subgroup and not at infinity, which the parsers here see to.
type Proof struct {
	a, c bn254.G1Affine
	b    bn254.G2Affine
}

// ParseCompact reads 128 bytes: A (32), B (64), C (32), each x with flags in
// its top two bits (gnark's form: 10 the smaller y, 11 the larger), the
// imaginary part of B first. It takes two square roots and a subgroup check,
// a good third of the time of a verification.
func ParseCompact(data []byte) (p Proof, err error) {
	if len(data) != CompactSize {
		return p, fmt.Errorf("%w: %d bytes, want %d", ErrMalformed, len(data), CompactSize)
	}
	for _, at := range [3]int{0, 32, 96} {
		if data[at]>>6 < 2 { // 01 is infinity, 00 an uncompressed point
			return p, fmt.Errorf("%w: a point at infinity or not compressed", ErrMalformed)
		}
	}
	if _, err := p.a.SetBytes(data[:32]); err != nil {
		return Proof{}, fmt.Errorf("%w: A: %w", ErrMalformed, err)
	}
	if _, err := p.b.SetBytes(data[32:96]); err != nil {
		return Proof{}, fmt.Errorf("%w: B: %w", ErrMalformed, err)
	}
	if _, err := p.c.SetBytes(data[96:]); err != nil {
		return Proof{}, fmt.Errorf("%w: C: %w", ErrMalformed, err)
	}
	if p.a.IsInfinity() || p.b.IsInfinity() || p.c.IsInfinity() {
		return Proof{}, fmt.Errorf("%w: a point at infinity", ErrMalformed)
	}
	return p, nil
}

// Compact is the form ParseCompact reads.
func (p Proof) Compact() (data [CompactSize]byte) {
	a, b, c := p.a.Bytes(), p.b.Bytes(), p.c.Bytes()
	copy(data[:], a[:])
	copy(data[32:], b[:])
	copy(data[96:], c[:])
	return data
}

// ParsePoints reads the eight decimal coordinates in Solidity's order, which
// is that of Semaphore's and World ID's proofs: A.x, A.y, B.x imaginary, B.x
// real, B.y imaginary, B.y real, C.x, C.y.
func ParsePoints(points []string) (p Proof, err error) {
	if len(points) != 8 {
		return p, fmt.Errorf("%w: %d coordinates, want 8", ErrMalformed, len(points))
	}
	if p.a, err = pointG1(points[0], points[1]); err != nil {
		return Proof{}, fmt.Errorf("%w: A: %w", ErrMalformed, err)
	}
	if p.b, err = pointG2(points[3], points[2], points[5], points[4]); err != nil {
		return Proof{}, fmt.Errorf("%w: B: %w", ErrMalformed, err)
	}
	if p.c, err = pointG1(points[6], points[7]); err != nil {
		return Proof{}, fmt.Errorf("%w: C: %w", ErrMalformed, err)
	}
	return p, nil
}

// Points is the form ParsePoints reads.
func (p Proof) Points() (points [8]string) {
	for i, c := range [8]*fp.Element{
		&p.a.X, &p.a.Y, &p.b.X.A1, &p.b.X.A0, &p.b.Y.A1, &p.b.Y.A0, &p.c.X, &p.c.Y,
	} {
		b := c.Bytes()
		points[i] = decimal(b[:])
	}
	return points
}

func pointG1(x, y string) (p bn254.G1Affine, err error) {
	if p.X, err = coordinate(x); err != nil {
		return p, err
	}
	if p.Y, err = coordinate(y); err != nil {
		return p, err
	}
	if p.IsInfinity() || !p.IsOnCurve() { // G1 has no other subgroup
		return p, errors.New("not a point of G1")
	}
	return p, nil
}

func pointG2(x0, x1, y0, y1 string) (p bn254.G2Affine, err error) {
	if p.X.A0, err = coordinate(x0); err != nil {
		return p, err
	}
	if p.X.A1, err = coordinate(x1); err != nil {
		return p, err
	}
	if p.Y.A0, err = coordinate(y0); err != nil {
		return p, err
	}
	if p.Y.A1, err = coordinate(y1); err != nil {
		return p, err
	}
	if p.IsInfinity() || !p.IsOnCurve() || !p.IsInSubGroup() {
		return p, errors.New("not a point of G2")
	}
	return p, nil
}

// Statement is what a proof proves: somebody who is a leaf under Root signed
// Message under Scope, and has Nullifier there. Message and Scope are the raw
// 256 bits; the circuit sees their HashToField.
type Statement struct {
	Depth           int // of the circuit, 1 to MaxDepth; not of the tree
	Root, Nullifier Element
	Message, Scope  [32]byte
}

// Inputs are the circuit's public inputs, in its order.
func (s *Statement) Inputs() [4]Element {
	return [4]Element{s.Root, s.Nullifier, HashToField(s.Message[:]), HashToField(s.Scope[:])}
}

// proofJSON is the SemaphoreProof of @semaphore-protocol/proof 4.
type proofJSON struct {
	Depth     int      `json:"merkleTreeDepth"`
	Root      string   `json:"merkleTreeRoot"`
	Nullifier string   `json:"nullifier"`
	Message   string   `json:"message"`
	Scope     string   `json:"scope"`
	Points    []string `json:"points"`
}

// ParseJSON reads one SemaphoreProof as JavaScript writes it: at most 8 KiB,
// its six keys once each and no other, numbers canonical, nothing after it.
func ParseJSON(data []byte) (s Statement, p Proof, err error) {
	j, err := decodeProof(data)
	if err != nil {
		return s, p, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	if s, err = j.statement(); err != nil {
		return Statement{}, p, err
	}
	if p, err = ParsePoints(j.Points); err != nil {
		return Statement{}, Proof{}, err
	}
	return s, p, nil
}

// decodeProof is stricter than encoding/json, which takes a key twice and in
// any case of letters: two readers of one proof must see the same.
func decodeProof(data []byte) (j proofJSON, err error) {
	if len(data) > mostJSON {
		return j, fmt.Errorf("longer than %d bytes", mostJSON)
	}
	fields := map[string]any{
		"merkleTreeDepth": &j.Depth, "merkleTreeRoot": &j.Root, "nullifier": &j.Nullifier,
		"message": &j.Message, "scope": &j.Scope, "points": &j.Points,
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return j, errors.New("not an object")
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return j, err
		}
		name, _ := t.(string)
		into := fields[name]
		if into == nil {
			return j, fmt.Errorf("the key %.40q, unknown or given twice", name)
		}
		delete(fields, name)
		if err := d.Decode(into); err != nil {
			return j, err
		}
	}
	if _, err := d.Token(); err != nil || len(fields) != 0 {
		return j, fmt.Errorf("%d keys are missing", len(fields))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return j, errors.New("something after the proof")
	}
	return j, nil
}

func (j *proofJSON) statement() (s Statement, err error) {
	if s.Depth = j.Depth; s.Depth < 1 || s.Depth > MaxDepth {
		return s, fmt.Errorf("%w: depth %d", ErrMalformed, j.Depth)
	}
	if s.Root, err = ParseDecimal(j.Root); err != nil {
		return s, fmt.Errorf("%w: root: %w", ErrMalformed, err)
	}
	if s.Nullifier, err = ParseDecimal(j.Nullifier); err != nil {
		return s, fmt.Errorf("%w: nullifier: %w", ErrMalformed, err)
	}
	if s.Message, err = parseUint256(j.Message); err != nil {
		return s, fmt.Errorf("%w: message: %w", ErrMalformed, err)
	}
	if s.Scope, err = parseUint256(j.Scope); err != nil {
		return s, fmt.Errorf("%w: scope: %w", ErrMalformed, err)
	}
	return s, nil
}

// JSON writes a SemaphoreProof that JavaScript's verifyProof takes.
func JSON(s Statement, p Proof) ([]byte, error) {
	points := p.Points()
	return json.Marshal(proofJSON{
		Depth: s.Depth, Root: Decimal(s.Root), Nullifier: Decimal(s.Nullifier),
		Message: decimal(s.Message[:]), Scope: decimal(s.Scope[:]), Points: points[:],
	})
}
