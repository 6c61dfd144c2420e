//go:build !libsecp256k1

package wire

import (
	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
)

// point is a public key as the library wants it.
type point struct{ key *btcec.PublicKey }

// pointOf reads a key; false if it names no point of the curve.
func pointOf(key *[32]byte) (p point, ok bool) {
	parsed, err := schnorr.ParsePubKey(key[:])
	return point{parsed}, err == nil
}

// signed reports whether sig is the key's BIP-340 signature of id.
func (p *point) signed(id *[32]byte, sig *[64]byte) bool {
	signature, err := schnorr.ParseSignature(sig[:])
	return err == nil && signature.Verify(id[:], p.key)
}
