package semaphore

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"

	"github.com/consensys/gnark-crypto/ecc/bn254/fp"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"golang.org/x/crypto/sha3"
)

// Element is a number modulo the order of BN254's groups: a commitment, a
// root, a nullifier. Its Bytes are 32, big-endian.
type Element = fr.Element

// ErrNotCanonical says that a number is not written in the one way that
// counts. Two spellings of one nullifier would be two votes of one person.
var ErrNotCanonical = errors.New("not a canonical field element")

// mostDecimals is the length of the largest number of 256 bits.
const mostDecimals = 78

// parseDecimal reads an unsigned decimal without sign, spaces or leading
// zeros, below limit.
func parseDecimal(s string, limit *big.Int) (*big.Int, error) {
	if s == "" || len(s) > mostDecimals || (len(s) > 1 && s[0] == '0') {
		return nil, ErrNotCanonical
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return nil, ErrNotCanonical
		}
	}
	n, ok := new(big.Int).SetString(s, 10)
	if !ok || n.Cmp(limit) >= 0 {
		return nil, ErrNotCanonical
	}
	return n, nil
}

// ParseDecimal reads an element as JavaScript prints it: decimal, canonical,
// below the order.
func ParseDecimal(s string) (e Element, err error) {
	n, err := parseDecimal(s, fr.Modulus())
	if err != nil {
		return e, err
	}
	e.SetBigInt(n)
	return e, nil
}

// ParseHex reads an element from 64 lower-case hex digits, big-endian, below
// the order.
func ParseHex(s string) (e Element, err error) {
	var b [32]byte
	if len(s) != 64 {
		return e, ErrNotCanonical
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return e, ErrNotCanonical
		}
	}
	if _, err := hex.Decode(b[:], []byte(s)); err != nil {
		return e, ErrNotCanonical
	}
	return ParseBytes(b)
}

// ParseBytes reads an element from 32 big-endian bytes, below the order.
func ParseBytes(b [32]byte) (e Element, err error) {
	if err := e.SetBytesCanonical(b[:]); err != nil {
		return Element{}, ErrNotCanonical
	}
	return e, nil
}

// Hex is the form ParseHex reads.
func Hex(e Element) string {
	b := e.Bytes()
	return hex.EncodeToString(b[:])
}

// parseUint256 reads a message or a scope: any number of 256 bits.
func parseUint256(s string) (b [32]byte, err error) {
	n, err := parseDecimal(s, new(big.Int).Lsh(big.NewInt(1), 256))
	if err != nil {
		return b, err
	}
	n.FillBytes(b[:])
	return b, nil
}

// HashToField is the first 31 bytes of Keccak-256 of data (Keccak as Ethereum
// has it, not SHA-3): how Semaphore brings a message or a scope of 32 bytes,
// and World ID a signal, into the field.
func HashToField(data []byte) (e Element) {
	h := sha3.NewLegacyKeccak256()
	h.Write(data)
	var b [32]byte
	copy(b[1:], h.Sum(nil)[:31])
	e.SetBytes(b[:])
	return e
}

// coordinate reads a decimal coordinate of a point, below the base field's
// modulus.
func coordinate(s string) (e fp.Element, err error) {
	n, err := parseDecimal(s, fp.Modulus())
	if err != nil {
		return e, fmt.Errorf("coordinate: %w", err)
	}
	e.SetBigInt(n)
	return e, nil
}

// Decimal is the form ParseDecimal reads. (An element's own String prints the
// numbers just below the order as negative ones.)
func Decimal(e Element) string {
	b := e.Bytes()
	return decimal(b[:])
}

func decimal(b []byte) string { return new(big.Int).SetBytes(b).String() }
