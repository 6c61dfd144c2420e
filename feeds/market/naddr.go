package market

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"

	"github.com/btcsuite/btcd/btcutil/bech32"
)

// mostNaddr is the longest naddr that is read, in characters.
const mostNaddr = 2000

// readNaddr is the address that an naddr (NIP-19) names, if it is a manifest's.
// The library's own reading panics on a kind of fewer than four bytes.
func readNaddr(text string) (address string, ok bool) {
	if len(text) > mostNaddr || !strings.HasPrefix(text, "naddr1") {
		return "", false
	}
	_, five, err := bech32.DecodeNoLimit(text)
	if err != nil {
		return "", false
	}
	data, err := bech32.ConvertBits(five, 5, 8, false)
	if err != nil {
		return "", false
	}
	var slug, author string
	kind := uint32(0)
	for len(data) >= 2 {
		what, length := data[0], int(data[1])
		if len(data) < 2+length {
			return "", false
		}
		value := data[2 : 2+length]
		data = data[2+length:]
		switch {
		case what == 0:
			slug = string(value)
		case what == 2 && length == 32:
			author = hex.EncodeToString(value)
		case what == 3 && length == 4:
			kind = binary.BigEndian.Uint32(value)
		}
	}
	return fmt.Sprintf("%d:%s:%s", kind, author, slug), kind == KindManifest && author != "" && slug != ""
}
