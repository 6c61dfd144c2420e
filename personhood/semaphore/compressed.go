package semaphore

import (
	"fmt"
	"math/big"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fp"
)

// ParseCompressed reads the four words in which World ID 4 writes a Groth16
// proof (2π.com/23's form): A, the imaginary and the real part of B's x, C; the
// sign of y, and for B which of two square roots, in the low bits.
func ParseCompressed(words [4][32]byte) (p Proof, err error) {
	if p.a, err = smallG1(words[0]); err != nil {
		return Proof{}, fmt.Errorf("%w: A: %w", ErrMalformed, err)
	}
	if p.b, err = smallG2(words[2], words[1]); err != nil {
		return Proof{}, fmt.Errorf("%w: B: %w", ErrMalformed, err)
	}
	if p.c, err = smallG1(words[3]); err != nil {
		return Proof{}, fmt.Errorf("%w: C: %w", ErrMalformed, err)
	}
	return p, nil
}

var errNoPoint = fmt.Errorf("no point has this x")

// halved takes the low bits off a word and reads the rest as a coordinate.
func halved(word [32]byte, flags uint) (low uint64, x fp.Element, err error) {
	n := new(big.Int).SetBytes(word[:])
	low = new(big.Int).And(n, big.NewInt(1<<flags-1)).Uint64()
	n.Rsh(n, flags)
	if n.Cmp(fp.Modulus()) >= 0 {
		return 0, x, ErrNotCanonical
	}
	x.SetBigInt(n)
	return low, x, nil
}

// root is x to the (p+1)/4: its square root where there is one.
func root(x fp.Element) (r fp.Element) {
	e := new(big.Int).Add(fp.Modulus(), big.NewInt(1))
	r.Exp(x, e.Rsh(e, 2))
	return r
}

func smallG1(word [32]byte) (p bn254.G1Affine, err error) {
	sign, x, err := halved(word, 1)
	if err != nil {
		return p, err
	}
	var y, three, square fp.Element
	three.SetUint64(3)
	y.Square(&x).Mul(&y, &x).Add(&y, &three)
	p.X, p.Y = x, root(y)
	if square.Square(&p.Y); square != y {
		return p, errNoPoint
	}
	if sign == 1 {
		p.Y.Neg(&p.Y)
	}
	if p.IsInfinity() || !p.IsOnCurve() {
		return p, errNoPoint
	}
	return p, nil
}

func smallG2(re, im [32]byte) (p bn254.G2Affine, err error) {
	flags, x0, err := halved(re, 2)
	if err != nil {
		return p, err
	}
	_, x1, err := halved(im, 0)
	if err != nil {
		return p, err
	}
	p.X.A0, p.X.A1 = x0, x1
	// y² = x³ + 3/(9+i)
	y2, twist := p.X, p.X
	twist.A0.SetUint64(9)
	twist.A1.SetOne()
	twist.Inverse(&twist)
	var three fp.Element
	three.SetUint64(3)
	twist.MulByElement(&twist, &three)
	y2.Square(&p.X).Mul(&y2, &p.X).Add(&y2, &twist)
	// y = y0 + y1·i with y0² = (a0 ± |a|) / 2, the flag says which
	var d, t fp.Element
	d.Square(&y2.A0)
	t.Square(&y2.A1)
	d = root(*d.Add(&d, &t))
	if flags&2 != 0 {
		d.Neg(&d)
	}
	d.Add(&d, &y2.A0).Halve()
	p.Y.A0 = root(d)
	t.Double(&p.Y.A0).Inverse(&t)
	p.Y.A1.Mul(&y2.A1, &t)
	check := p.Y
	if check.Square(&p.Y); check != y2 {
		return p, errNoPoint
	}
	if flags&1 != 0 {
		p.Y.Neg(&p.Y)
	}
	if p.IsInfinity() || !p.IsOnCurve() || !p.IsInSubGroup() {
		return p, errNoPoint
	}
	return p, nil
}
