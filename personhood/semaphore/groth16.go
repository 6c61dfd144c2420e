package semaphore

import (
	"fmt"
	"math/big"
	"math/bits"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
)

// prove makes a Groth16 proof from a full witness, blinded afresh each time.
func (z *zkey) prove(w []Element) (p Proof, err error) {
	if len(w) != z.vars {
		return p, fmt.Errorf("semaphore: a witness of %d signals, want %d", len(w), z.vars)
	}
	var r, s, rs Element
	for _, e := range []*Element{&r, &s} {
		if _, err := e.SetRandom(); err != nil {
			return p, fmt.Errorf("draw the blinding: %w", err)
		}
	}
	rs.Mul(&r, &s)
	rs.Neg(&rs)
	a, err := z.a.times(w)
	if err != nil {
		return p, err
	}
	b1, err := z.b1.times(w)
	if err != nil {
		return p, err
	}
	b2, err := z.b2.times(w)
	if err != nil {
		return p, err
	}
	c, err := z.c.times(w)
	if err != nil {
		return p, err
	}
	h, err := z.h.times(z.quotient(w))
	if err != nil {
		return p, err
	}
	p.a = sumG1(a, z.alpha1, scaled(z.delta1, r))
	b := sumG1(b1, z.beta1, scaled(z.delta1, s))
	var blind bn254.G2Affine
	blind.ScalarMultiplication(&z.delta2, s.BigInt(new(big.Int)))
	p.b.Add(&b2, &z.beta2)
	p.b.Add(&p.b, &blind)
	p.c = sumG1(c, h, scaled(p.a, s), scaled(b, r), scaled(z.delta1, rs))
	return p, nil
}

func scaled(p bn254.G1Affine, by Element) (q bn254.G1Affine) {
	q.ScalarMultiplication(&p, by.BigInt(new(big.Int)))
	return q
}

func sumG1(ps ...bn254.G1Affine) (sum bn254.G1Affine) {
	for i := range ps {
		sum.Add(&sum, &ps[i])
	}
	return sum
}

func (b *basesG1) times(all []Element) (p bn254.G1Affine, err error) {
	_, err = p.MultiExp(b.points, picked(all, b.at), ecc.MultiExpConfig{})
	return p, err
}

func (b *basesG2) times(all []Element) (p bn254.G2Affine, err error) {
	_, err = p.MultiExp(b.points, picked(all, b.at), ecc.MultiExpConfig{})
	return p, err
}

func picked(all []Element, at []int32) []Element {
	out := make([]Element, len(at))
	for i, k := range at {
		out[i] = all[k]
	}
	return out
}

// quotient is (A·B - C) on the odd coset, in the form whose bases the zkey's
// section H holds: snarkjs needs no division by the vanishing polynomial.
func (z *zkey) quotient(w []Element) []Element {
	a, b, c := make([]Element, z.domain), make([]Element, z.domain), make([]Element, z.domain)
	for i := range z.coefficients {
		k := &z.coefficients[i]
		row := &a[k.constraint]
		if k.second {
			row = &b[k.constraint]
		}
		var t Element
		t.Mul(&k.value, &w[k.signal])
		row.Add(row, &t)
	}
	for i := range c {
		c[i].Mul(&a[i], &b[i])
	}
	logn := bits.Len(uint(z.domain)) - 1
	forward, shift := rootOfUnity(logn), rootOfUnity(logn+1)
	var back, scale Element
	back.Inverse(&forward)
	scale.SetUint64(uint64(z.domain))
	scale.Inverse(&scale)
	there, here := twiddles(forward, z.domain), twiddles(back, z.domain)
	for _, v := range [][]Element{a, b, c} {
		transform(v, here)
		f := scale
		for i := range v {
			v[i].Mul(&v[i], &f)
			f.Mul(&f, &shift)
		}
		transform(v, there)
	}
	for i := range a {
		a[i].Mul(&a[i], &b[i])
		a[i].Sub(&a[i], &c[i])
	}
	return a
}

// rootOfUnity has order 2^logn: the root that snarkjs uses, 5^((r-1)/2^logn).
func rootOfUnity(logn int) (w Element) {
	e := new(big.Int).Sub(fr.Modulus(), big.NewInt(1))
	w.Exp(fr.NewElement(5), e.Rsh(e, uint(logn)))
	return w
}

// twiddles are the first n/2 powers of w.
func twiddles(w Element, n int) []Element {
	t := make([]Element, n/2)
	t[0].SetOne()
	for i := 1; i < len(t); i++ {
		t[i].Mul(&t[i-1], &w)
	}
	return t
}

// transform is the number-theoretic transform in place, by the powers of a
// root of unity of order len(v).
func transform(v, powers []Element) {
	n := len(v)
	shift := bits.UintSize - (bits.Len(uint(n)) - 1)
	for i := range v {
		if j := int(bits.Reverse(uint(i)) >> shift); j > i {
			v[i], v[j] = v[j], v[i]
		}
	}
	for half := 1; half < n; half *= 2 {
		step := n / (2 * half)
		for from := 0; from < n; from += 2 * half {
			for j := range half {
				lo, hi := &v[from+j], &v[from+j+half]
				var t Element
				t.Mul(&powers[j*step], hi)
				hi.Sub(lo, &t)
				lo.Add(lo, &t)
			}
		}
	}
}
