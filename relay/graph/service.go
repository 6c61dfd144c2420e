package graph

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/nbd-wtf/go-nostr"
)

// service is a key that signs assertions: one per algorithm and, where the
// algorithm takes a viewer, one per viewer (NIP-85).
type service struct {
	secret string // hex
	pubkey string // hex
}

// algorithm names what the cards are computed by. Another formula gets another
// name, and so another key.
const algorithm = "pagerank-1"

// services derives keys from one secret.
type services struct {
	secret []byte // 32 bytes
	self   string // hex key that must never sign assertions: the relay's own
}

// groupOrder is secp256k1's; a secret key is below it and not 0 (SEC 2, 2.4.1).
const groupOrder = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"

// key is the service key for a viewer, or for the global ranking when viewer is
// empty: HKDF-SHA256 of the secret, the purpose as info.
func (s services) key(viewer string) (service, error) {
	purpose := "agora/nip85/" + algorithm + "/global"
	if viewer != "" {
		purpose = "agora/nip85/" + algorithm + "/personal/" + viewer
	}
	secret, err := deriveSecret(s.secret, purpose)
	if err != nil {
		return service{}, fmt.Errorf("derive a key for assertions: %w", err)
	}
	out := service{secret: hex.EncodeToString(secret)}
	out.pubkey, err = nostr.GetPublicKey(out.secret)
	if err != nil {
		return service{}, fmt.Errorf("derive a key for assertions: %w", err)
	}
	if out.pubkey == s.self {
		return service{}, errors.New("derive a key for assertions: it is the relay's own key, which must not sign them (NIP-85)")
	}
	return out, nil
}

func deriveSecret(secret []byte, purpose string) ([]byte, error) {
	order, err := hex.DecodeString(groupOrder)
	if err != nil {
		return nil, err
	}
	for try := 0; ; try++ { // a second try is needed once in 2^128
		out, err := hkdf.Key(sha256.New, secret, nil, fmt.Sprintf("%s/%d", purpose, try), 32)
		if err != nil {
			return nil, err
		}
		if bytes.Compare(out, order) < 0 && !bytes.Equal(out, make([]byte, 32)) {
			return out, nil
		}
	}
}
