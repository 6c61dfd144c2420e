package personhood

import (
	"errors"
	"fmt"

	"agora/personhood/semaphore"

	"github.com/btcsuite/btcd/btcutil/bech32"
	"github.com/nbd-wtf/go-nostr/nip49"
)

// The form of an encrypted identity: NIP-49's bytes under a name of our own,
// so that no client takes it for a Nostr key.
const (
	backupName   = "personsec"
	nip49Name    = "ncryptsec"
	backupBytes  = 91
	backupRounds = 16 // log2 of scrypt's N: 64 MiB, some tenths of a second
	mostRounds   = 20 // a gigabyte; more is somebody's joke
)

// ErrPassphrase says that a backup cannot be opened with this passphrase.
var ErrPassphrase = errors.New("wrong passphrase, or a damaged backup")

// Seal encrypts an identity under a passphrase (NIP-49: NFKC, scrypt,
// XChaCha20-Poly1305) into one word that begins with personsec1.
func Seal(id *semaphore.Identity, passphrase string) (string, error) {
	key := id.Key()
	word, err := nip49.EncryptBytes(key[:], passphrase, backupRounds, nip49.ClientDoesNotTrackThisData)
	if err != nil {
		return "", fmt.Errorf("encrypt the identity: %w", err)
	}
	return renamed(word, nip49Name, backupName)
}

// Open reads what Seal wrote.
func Open(word, passphrase string) (*semaphore.Identity, error) {
	inner, err := renamed(word, backupName, nip49Name)
	if err != nil {
		return nil, err
	}
	raw, err := nip49.DecryptToBytes(inner, passphrase)
	if err != nil || len(raw) != semaphore.KeySize {
		return nil, ErrPassphrase
	}
	return semaphore.IdentityOf([semaphore.KeySize]byte(raw)), nil
}

// renamed exchanges the name before a bech32 word, and sees to it that what
// follows is NIP-49's in length, version and rounds.
func renamed(word, from, to string) (string, error) {
	name, data, err := bech32.DecodeNoLimit(word)
	if err != nil || name != from {
		return "", fmt.Errorf("an encrypted identity is one word that begins with %s1", backupName)
	}
	raw, err := bech32.ConvertBits(data, 5, 8, false)
	if err != nil || len(raw) != backupBytes || raw[0] != 2 || raw[1] > mostRounds {
		return "", fmt.Errorf("not an encrypted identity of version 2 with at most 2^%d rounds", mostRounds)
	}
	return bech32.Encode(to, data)
}
