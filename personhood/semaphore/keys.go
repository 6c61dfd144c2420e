package semaphore

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/consensys/gnark-crypto/ecc/bn254"
)

//go:generate go test -run TestEmbeddedKeysAreTheCeremonys -update

// keyFile holds the verification keys of depths 1 to 32, points uncompressed
// and big-endian: alpha (64 bytes), beta and gamma (128 each), which all
// depths share, then for each depth delta (128) and IC (5 of 64).
//
//go:embed keys.bin
var keyFile []byte

const (
	g1Size  = bn254.SizeOfG1AffineUncompressed
	g2Size  = bn254.SizeOfG2AffineUncompressed
	inputs  = 4
	perKey  = g2Size + (inputs+1)*g1Size
	allKeys = g1Size + 2*g2Size + MaxDepth*perKey
)

// lines are the steps of a Miller loop over a point that never changes.
type lines = [2][len(bn254.LoopCounter)]bn254.LineEvaluationAff

// Key is a Groth16 verification key on BN254, ready for use. It never changes.
type Key struct {
	alpha            bn254.G1Affine
	beta             bn254.G2Affine
	ic               []bn254.G1Affine // one more than public inputs
	alphaBeta        bn254.GT
	gamma, delta     lines
	gammaPt, deltaPt bn254.G2Affine
}

// keyJSON is snarkjs's export of a verification key.
type keyJSON struct {
	Protocol string     `json:"protocol"`
	Curve    string     `json:"curve"`
	Public   int        `json:"nPublic"`
	Alpha    []string   `json:"vk_alpha_1"`
	Beta     [][]string `json:"vk_beta_2"`
	Gamma    [][]string `json:"vk_gamma_2"`
	Delta    [][]string `json:"vk_delta_2"`
	IC       [][]string `json:"IC"`
}

// ParseKey reads a verification key as snarkjs exports it, for circuits other
// than Semaphore's (World ID's, for one).
func ParseKey(data []byte) (*Key, error) {
	var j keyJSON
	if err := json.Unmarshal(data, &j); err != nil {
		return nil, fmt.Errorf("verification key: %w", err)
	}
	if j.Protocol != "groth16" || (j.Curve != "bn128" && j.Curve != "bn254") {
		return nil, fmt.Errorf("verification key: %q on %q, want groth16 on bn128", j.Protocol, j.Curve)
	}
	if len(j.IC) == 0 || len(j.IC) != j.Public+1 {
		return nil, fmt.Errorf("verification key: %d points for %d public inputs", len(j.IC), j.Public)
	}
	k := &Key{ic: make([]bn254.G1Affine, len(j.IC))}
	var errs [4]error
	k.alpha, errs[0] = keyG1(j.Alpha)
	k.beta, errs[1] = keyG2(j.Beta)
	k.gammaPt, errs[2] = keyG2(j.Gamma)
	k.deltaPt, errs[3] = keyG2(j.Delta)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, fmt.Errorf("verification key: %w", err)
	}
	for i, point := range j.IC {
		var err error
		if k.ic[i], err = keyG1(point); err != nil {
			return nil, fmt.Errorf("verification key: IC %d: %w", i, err)
		}
	}
	return k, k.prepare()
}

// keyG1 reads [x, y, "1"], as snarkjs writes a point.
func keyG1(p []string) (bn254.G1Affine, error) {
	if len(p) != 3 || p[2] != "1" {
		return bn254.G1Affine{}, errors.New("not an affine point")
	}
	return pointG1(p[0], p[1])
}

// keyG2 reads [[x0, x1], [y0, y1], ["1", "0"]].
func keyG2(p [][]string) (bn254.G2Affine, error) {
	if len(p) != 3 || len(p[0]) != 2 || len(p[1]) != 2 || len(p[2]) != 2 || p[2][0] != "1" || p[2][1] != "0" {
		return bn254.G2Affine{}, errors.New("not an affine point")
	}
	return pointG2(p[0][0], p[0][1], p[1][0], p[1][1])
}

// prepare computes what every verification would compute again.
func (k *Key) prepare() (err error) {
	if k.alphaBeta, err = bn254.Pair([]bn254.G1Affine{k.alpha}, []bn254.G2Affine{k.beta}); err != nil {
		return fmt.Errorf("verification key: %w", err)
	}
	k.gamma = bn254.PrecomputeLines(k.gammaPt)
	k.delta = bn254.PrecomputeLines(k.deltaPt)
	return nil
}

// embeddedKey reads the key of one depth out of keyFile. A damaged file is
// our own corruption.
func embeddedKey(depth int) *Key {
	if len(keyFile) != allKeys {
		panic(fmt.Sprintf("semaphore: keys.bin has %d bytes, want %d", len(keyFile), allKeys))
	}
	k := &Key{ic: make([]bn254.G1Affine, inputs+1)}
	read := func(p interface{ SetBytes([]byte) (int, error) }, at int) {
		if _, err := p.SetBytes(keyFile[at:]); err != nil {
			panic(fmt.Sprintf("semaphore: keys.bin at byte %d: %v", at, err))
		}
	}
	read(&k.alpha, 0)
	read(&k.beta, g1Size)
	read(&k.gammaPt, g1Size+g2Size)
	at := g1Size + 2*g2Size + (depth-1)*perKey
	read(&k.deltaPt, at)
	for i := range k.ic {
		read(&k.ic[i], at+g2Size+i*g1Size)
	}
	if err := k.prepare(); err != nil {
		panic(err)
	}
	return k
}

// bytes is the key's part of keyFile, and what it shares with the others.
func (k *Key) bytes() (shared, own []byte) {
	a, b, g, d := k.alpha.RawBytes(), k.beta.RawBytes(), k.gammaPt.RawBytes(), k.deltaPt.RawBytes()
	shared = append(append(append(shared, a[:]...), b[:]...), g[:]...)
	own = append(own, d[:]...)
	for i := range k.ic {
		p := k.ic[i].RawBytes()
		own = append(own, p[:]...)
	}
	return shared, own
}
