package semaphore

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"math/big"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
)

// KeySize is the length of an identity's private key, in bytes.
const KeySize = 32

// babyOrder is the order of Baby Jubjub's large subgroup.
func babyOrder() *big.Int {
	l, _ := new(big.Int).SetString("2736030358979909402780800718157159386076813972158567259200215660948447373041", 10)
	return l
}

// Identity is one person's secret: whoever holds it can act as that person
// and, given a scope, tell which of its actions were theirs, past ones too.
// It equals JavaScript's Identity of @semaphore-protocol/identity 4.
type Identity struct {
	key        [KeySize]byte
	scalar     Element // below babyOrder
	commitment Element
}

// NewIdentity draws a fresh one.
func NewIdentity() *Identity {
	var key [KeySize]byte
	_, _ = rand.Read(key[:]) // crypto/rand never fails: it ends the program first
	return IdentityOf(key)
}

// IdentityOf is the identity of a private key (EdDSA-Poseidon): BLAKE-512,
// pruned as in Ed25519, divided by eight, on Baby Jubjub.
func IdentityOf(key [KeySize]byte) *Identity {
	h := blake512(key[:])
	h[0] &= 0xf8
	h[31] &= 0x7f
	h[31] |= 0x40
	var little [32]byte
	for i := range little {
		little[i] = h[31-i]
	}
	s := new(big.Int).SetBytes(little[:])
	s.Rsh(s, 3).Mod(s, babyOrder())
	id := &Identity{key: key}
	id.scalar.SetBigInt(s)
	x, y := babyBase(s)
	id.commitment = Hash(x, y)
	return id
}

// ParseIdentity reads what Export wrote, or JavaScript's export() of a key of
// 32 bytes: the key in base64.
func ParseIdentity(s string) (*Identity, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != KeySize || len(s) != base64.StdEncoding.EncodedLen(KeySize) {
		return nil, fmt.Errorf("an identity is its private key of %d bytes in base64", KeySize)
	}
	return IdentityOf([KeySize]byte(b)), nil
}

// Export is the private key in base64, as JavaScript's export() gives it.
func (id *Identity) Export() string { return base64.StdEncoding.EncodeToString(id.key[:]) }

// Key is the private key.
func (id *Identity) Key() [KeySize]byte { return id.key }

// Commitment is the public half: the leaf in a group's tree.
func (id *Identity) Commitment() Element { return id.commitment }

// Nullifier is what every proof of this identity under scope carries. It
// depends on nothing else: not on the group, its root, the message.
func (id *Identity) Nullifier(scope [32]byte) Element {
	return Hash(HashToField(scope[:]), id.scalar)
}

// String keeps the secret out of logs.
func (id *Identity) String() string { return "identity of " + Hex(id.commitment) }

// babyPoint is a point of Baby Jubjub, 168700 x² + y² = 1 + 168696 x² y²,
// in projective coordinates.
type babyPoint struct{ x, y, z Element }

// babyBase is s times circomlib's Base8.
func babyBase(s *big.Int) (x, y Element) { return babyEight().times(s).affine() }

// babyEight is circomlib's Base8, of order babyOrder.
func babyEight() babyPoint {
	return babyPoint{
		x: constant("5299619240641551281634865583518297030282874472190772894086521144482721001553"),
		y: constant("16950150798460657717958625567821834550301663161624707787222815936182638968203"),
		z: fr.One(),
	}
}

// times is s times p, for s below 2^254. It takes the same steps whatever the
// bits of s, though the big integers beneath promise no constant time.
func (p babyPoint) times(s *big.Int) babyPoint {
	var r [2]babyPoint
	r[0].y.SetOne()
	r[0].z.SetOne()
	for i := 253; i >= 0; i-- {
		r[0] = r[0].plus(r[0])
		r[1] = r[0].plus(p)
		r[0] = r[s.Bit(i)]
	}
	return r[0]
}

func (p babyPoint) affine() (x, y Element) {
	var inv Element
	inv.Inverse(&p.z)
	x.Mul(&p.x, &inv)
	y.Mul(&p.y, &inv)
	return x, y
}

// plus is the complete addition law (add-2008-bbjlp).
func (p babyPoint) plus(q babyPoint) (r babyPoint) {
	a168700, d168696 := fr.NewElement(168700), fr.NewElement(168696)
	var a, b, c, d, e, f, g, t Element
	a.Mul(&p.z, &q.z)
	b.Square(&a)
	c.Mul(&p.x, &q.x)
	d.Mul(&p.y, &q.y)
	e.Mul(&d168696, &c).Mul(&e, &d)
	f.Sub(&b, &e)
	g.Add(&b, &e)
	r.x.Add(&p.x, &p.y)
	t.Add(&q.x, &q.y)
	r.x.Mul(&r.x, &t).Sub(&r.x, &c).Sub(&r.x, &d).Mul(&r.x, &a).Mul(&r.x, &f)
	t.Mul(&a168700, &c)
	r.y.Sub(&d, &t).Mul(&r.y, &a).Mul(&r.y, &g)
	r.z.Mul(&f, &g)
	return r
}

// constant reads a number of this source, which cannot be wrong.
func constant(s string) Element {
	e, err := ParseDecimal(s)
	if err != nil {
		panic("semaphore: " + s + " is no element")
	}
	return e
}
