package personhood

import (
	"errors"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr/nip49"
)

func TestSealedIdentityOpensWithItsPassphraseOnly(t *testing.T) {
	id := person(1)
	word, err := Seal(id, "correct horse")
	if err != nil || !strings.HasPrefix(word, "personsec1") {
		t.Fatal(word, err)
	}
	again, err := Open(word, "correct horse")
	if err != nil || again.Commitment() != id.Commitment() {
		t.Fatalf("does not open: %v", err)
	}
	if _, err := Open(word, "wrong"); !errors.Is(err, ErrPassphrase) {
		t.Errorf("wrong passphrase: %v", err)
	}
	nostr, _ := nip49.Encrypt(strings.Repeat("1", 64), "x", 1, 0)
	flipped := []byte(word)
	flipped[40] ^= 1
	for _, bad := range []string{"", "personsec1", nostr, word[:len(word)-1], string(flipped), strings.Replace(word, "personsec", "ncryptsec", 1)} {
		if _, err := Open(bad, "x"); err == nil {
			t.Errorf("%.20q was opened", bad)
		}
	}
}
