package semaphore

import (
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"math/big"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
)

// Possession shows that its maker knows the secret behind a commitment: the
// public key that the commitment is the hash of, and a Schnorr signature with
// it. A Semaphore proof cannot show that: how deep its tree is stays hidden, so
// a proof whose root is a "commitment" may come from anybody below it, and such
// a leaf would be a whole tree of people. The public key opens nothing:
// nullifiers are made with the secret.
type Possession struct {
	x, y Element  // of the public key
	c, s *big.Int // challenge and answer, below babyOrder
}

// PossessionSize is the length of a Possession's bytes.
const PossessionSize = 4 * 32

var errPossession = errors.New("possession is not 128 bytes: a point of Baby Jubjub and two numbers below its order")

// Possess signs a message.
func (id *Identity) Possess(message [32]byte) Possession {
	order, secret := babyOrder(), id.scalar.BigInt(new(big.Int))
	wide := sha512.Sum512(append(append([]byte("agora/possession/nonce/1\x00"), id.key[:]...), message[:]...))
	nonce := new(big.Int).SetBytes(wide[:])
	nonce.Mod(nonce, order)
	var p Possession
	p.x, p.y = babyBase(secret)
	rx, ry := babyBase(nonce)
	p.c = challenge(p.x, p.y, rx, ry, message)
	p.s = new(big.Int).Mul(p.c, secret)
	p.s.Add(p.s, nonce).Mod(p.s, order)
	return p
}

// Holds reports whether the maker of p holds the identity of this commitment,
// and has signed this message with it.
func (p Possession) Holds(commitment Element, message [32]byte) bool {
	if p.c == nil || p.s == nil || !onBaby(p.x, p.y) || Hash(p.x, p.y) != commitment {
		return false
	}
	minus := new(big.Int).Sub(babyOrder(), p.c)
	nonce := babyPoint{x: p.x, y: p.y, z: fr.One()}.times(minus).plus(babyEight().times(p.s))
	rx, ry := nonce.affine()
	return challenge(p.x, p.y, rx, ry, message).Cmp(p.c) == 0
}

func challenge(x, y, rx, ry Element, message [32]byte) *big.Int {
	h := sha256.New()
	h.Write([]byte("agora/possession/1\x00"))
	for _, e := range []Element{x, y, rx, ry} {
		b := e.Bytes()
		h.Write(b[:])
	}
	h.Write(message[:])
	c := new(big.Int).SetBytes(h.Sum(nil))
	return c.Mod(c, babyOrder())
}

// Compact is the form that ParsePossession reads.
func (p Possession) Compact() (out [PossessionSize]byte) {
	x, y := p.x.Bytes(), p.y.Bytes()
	copy(out[:], x[:])
	copy(out[32:], y[:])
	if p.c != nil && p.s != nil {
		p.c.FillBytes(out[64:96])
		p.s.FillBytes(out[96:])
	}
	return out
}

// ParsePossession reads 128 bytes; there is one way to write each.
func ParsePossession(b []byte) (p Possession, err error) {
	if len(b) != PossessionSize {
		return p, errPossession
	}
	if p.x, err = ParseBytes([32]byte(b)); err != nil {
		return p, errPossession
	}
	if p.y, err = ParseBytes([32]byte(b[32:])); err != nil || !onBaby(p.x, p.y) {
		return p, errPossession
	}
	p.c, p.s = new(big.Int).SetBytes(b[64:96]), new(big.Int).SetBytes(b[96:])
	if order := babyOrder(); p.c.Cmp(order) >= 0 || p.s.Cmp(order) >= 0 {
		return p, errPossession
	}
	return p, nil
}

// onBaby reports whether a point is on the curve.
func onBaby(x, y Element) bool {
	var xx, yy, left, right Element
	xx.Square(&x)
	yy.Square(&y)
	a, d, one := fr.NewElement(168700), fr.NewElement(168696), fr.One()
	left.Mul(&a, &xx).Add(&left, &yy)
	right.Mul(&xx, &yy).Mul(&right, &d).Add(&right, &one)
	return left == right
}
