package semaphore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fp"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
)

// errZkey says that a proving key cannot be read.
var errZkey = errors.New("semaphore: malformed zkey")

// zkey is a Groth16 proving key as snarkjs writes it: sections of
// little-endian numbers, coordinates in Montgomery form.
type zkey struct {
	vars, public, domain int // signals; public inputs; a power of two
	alpha1, beta1        bn254.G1Affine
	delta1               bn254.G1Affine
	beta2, delta2        bn254.G2Affine
	a, b1, c, h          basesG1
	b2                   basesG2
	coefficients         []coefficient
}

// basesG1 are the points of one multiplication. Points at infinity, which are
// many, are left out; at says which scalar belongs to a point.
type basesG1 struct {
	points []bn254.G1Affine
	at     []int32
}

type basesG2 struct {
	points []bn254.G2Affine
	at     []int32
}

// coefficient is one entry of the constraint matrices.
type coefficient struct {
	second     bool // of matrix B, otherwise of A
	constraint uint32
	signal     uint32
	value      Element
}

// The sections we need, by their numbers in the file.
const (
	sectionHeader = 2
	sectionCoefs  = 4
	sectionA      = 5
	sectionB1     = 6
	sectionB2     = 7
	sectionC      = 8
	sectionH      = 9
	coefSize      = 12 + fr.Bytes
	headerFixed   = 4 + 32 + 4 + 32 // sizes and values of both moduli
	headerSize    = headerFixed + 12 + 3*g1Size + 3*g2Size
)

func parseZkey(data []byte) (*zkey, error) {
	sections, err := zkeySections(data)
	if err != nil {
		return nil, err
	}
	z := new(zkey)
	if err := z.header(sections[sectionHeader]); err != nil {
		return nil, err
	}
	if err := z.coefs(sections[sectionCoefs]); err != nil {
		return nil, err
	}
	for _, s := range []struct {
		number, count, offset int
		into                  *basesG1
	}{
		{sectionA, z.vars, 0, &z.a}, {sectionB1, z.vars, 0, &z.b1},
		{sectionC, z.vars - z.public - 1, z.public + 1, &z.c}, {sectionH, z.domain, 0, &z.h},
	} {
		raw := sections[uint32(s.number)]
		if len(raw) != s.count*g1Size {
			return nil, fmt.Errorf("%w: section %d has %d bytes", errZkey, s.number, len(raw))
		}
		for i := range s.count {
			if p := rawG1(raw[i*g1Size:]); !p.IsInfinity() {
				s.into.points = append(s.into.points, p)
				s.into.at = append(s.into.at, int32(i+s.offset))
			}
		}
	}
	raw := sections[sectionB2]
	if len(raw) != z.vars*g2Size {
		return nil, fmt.Errorf("%w: section %d has %d bytes", errZkey, sectionB2, len(raw))
	}
	for i := range z.vars {
		if p := rawG2(raw[i*g2Size:]); !p.IsInfinity() {
			z.b2.points = append(z.b2.points, p)
			z.b2.at = append(z.b2.at, int32(i))
		}
	}
	return z, nil
}

func zkeySections(data []byte) (map[uint32][]byte, error) {
	if len(data) < 12 || string(data[:4]) != "zkey" || binary.LittleEndian.Uint32(data[4:]) != 1 {
		return nil, errZkey
	}
	sections := make(map[uint32][]byte)
	rest := data[12:]
	for range binary.LittleEndian.Uint32(data[8:]) {
		if len(rest) < 12 {
			return nil, errZkey
		}
		size := binary.LittleEndian.Uint64(rest[4:])
		if size > uint64(len(rest)-12) {
			return nil, errZkey
		}
		sections[binary.LittleEndian.Uint32(rest)] = rest[12 : 12+size]
		rest = rest[12+size:]
	}
	return sections, nil
}

func (z *zkey) header(h []byte) error {
	if len(h) != headerSize {
		return fmt.Errorf("%w: a header of %d bytes", errZkey, len(h))
	}
	h = h[headerFixed:]
	z.vars = int(binary.LittleEndian.Uint32(h))
	z.public = int(binary.LittleEndian.Uint32(h[4:]))
	z.domain = int(binary.LittleEndian.Uint32(h[8:]))
	if z.public >= z.vars || z.domain < 2 || z.domain > 1<<24 || z.domain&(z.domain-1) != 0 {
		return fmt.Errorf("%w: %d signals, %d public, domain %d", errZkey, z.vars, z.public, z.domain)
	}
	h = h[12:]
	z.alpha1, z.beta1, z.beta2 = rawG1(h), rawG1(h[g1Size:]), rawG2(h[2*g1Size:])
	h = h[2*g1Size+2*g2Size:] // gamma is for verifiers
	z.delta1, z.delta2 = rawG1(h), rawG2(h[g1Size:])
	return nil
}

func (z *zkey) coefs(raw []byte) error {
	if len(raw) < 4 || uint64(len(raw)-4) != uint64(binary.LittleEndian.Uint32(raw))*coefSize {
		return fmt.Errorf("%w: coefficients", errZkey)
	}
	z.coefficients = make([]coefficient, 0, len(raw)/coefSize)
	unit := Element{1} // times this, one Montgomery factor goes: values are stored with two
	for raw = raw[4:]; len(raw) > 0; raw = raw[coefSize:] {
		c := coefficient{
			second:     binary.LittleEndian.Uint32(raw) == 1,
			constraint: binary.LittleEndian.Uint32(raw[4:]),
			signal:     binary.LittleEndian.Uint32(raw[8:]),
		}
		if int(c.constraint) >= z.domain || int(c.signal) >= z.vars {
			return fmt.Errorf("%w: a coefficient outside the matrices", errZkey)
		}
		for i := range c.value {
			c.value[i] = binary.LittleEndian.Uint64(raw[12+8*i:])
		}
		c.value.Mul(&c.value, &unit)
		z.coefficients = append(z.coefficients, c)
	}
	return nil
}

func rawFp(b []byte) (e fp.Element) {
	for i := range e {
		e[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return e
}

func rawG1(b []byte) bn254.G1Affine { return bn254.G1Affine{X: rawFp(b), Y: rawFp(b[32:])} }

func rawG2(b []byte) (p bn254.G2Affine) {
	p.X.A0, p.X.A1, p.Y.A0, p.Y.A1 = rawFp(b), rawFp(b[32:]), rawFp(b[64:]), rawFp(b[96:])
	return p
}
