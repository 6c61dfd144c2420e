package lowhex_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"agora/relay/lowhex"
)

// Every byte in either place of a pair, against encoding/hex.
func TestEveryPairOfBytes(t *testing.T) {
	for hi := range 256 {
		for lo := range 256 {
			s := string([]byte{byte(hi), byte(lo)})
			want, err := hex.DecodeString(s)
			ok := err == nil && s == strings.ToLower(s)
			var got [1]byte
			if lowhex.Decode(got[:], s) != ok || lowhex.Is(s, 2) != ok || ok && got[0] != want[0] {
				t.Fatalf("%q: %x, %v", s, got, ok)
			}
		}
	}
}

func TestLengthIsExact(t *testing.T) {
	for _, s := range []string{"", "a", "aaa", "aaaa"} {
		if lowhex.Decode(make([]byte, 1), s) || lowhex.Is(s, 2) {
			t.Errorf("%q is taken for one byte", s)
		}
	}
	if !lowhex.Decode(nil, "") || !lowhex.Is("", 0) {
		t.Error("nothing is not nothing")
	}
}
