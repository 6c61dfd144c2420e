package tally

import (
	"crypto/sha256"
	"errors"
	"strconv"
	"strings"

	"github.com/nbd-wtf/go-nostr"
)

// receipt is a zap receipt whose contents agree with each other. It counts once
// its signer is known to be the recipient's declared zap key.
type receipt struct {
	statement
	recipient Key
}

const mostRequest = 16 << 10 // bytes of a zap request that is read

var errReceipt = errors.New("not a zap receipt that agrees with itself")

// readReceipt checks all of NIP-57 appendix F that needs no network: the request
// in the description is signed by who pays and names the same recipient and
// note, its amount, where it names one, is the invoice's, and the invoice
// commits to the request. sign checks a signature.
func readReceipt(s *statement, ev *nostr.Event, sign func(*nostr.Event) bool) (*receipt, error) {
	request, invoice := tagValue(ev.Tags, "description"), tagValue(ev.Tags, "bolt11")
	var req nostr.Event
	if len(request) > mostRequest || req.UnmarshalJSON([]byte(request)) != nil || req.Kind != nostr.KindZapRequest {
		return nil, errReceipt
	}
	recipient, ok := readKey(tagValue(ev.Tags, "p"))
	payer, okPayer := readKey(req.PubKey)
	if !ok || !okPayer || tagValue(req.Tags, "p") != tagValue(ev.Tags, "p") {
		return nil, errReceipt
	}
	on := last(ev, "e", "a")
	if on == (target{}) || on != last(&req, "e", "a") {
		return nil, errReceipt
	}
	msat, commits, err := readInvoice(invoice)
	if err != nil || msat == 0 || commits != sha256.Sum256([]byte(request)) {
		return nil, errReceipt
	}
	if amount := tagValue(req.Tags, "amount"); amount != "" && amount != strconv.FormatUint(msat, 10) {
		return nil, errReceipt
	}
	if p := tagValue(ev.Tags, "P"); p != "" && p != req.PubKey {
		return nil, errReceipt
	}
	if !req.CheckID() || !sign(&req) {
		return nil, errReceipt
	}
	z := &receipt{statement: *s, recipient: recipient}
	z.actor, z.msat = payer, msat
	z.deed(Zap, on)
	return z, nil
}

func tagValue(tags nostr.Tags, name string) string {
	for _, tag := range tags {
		if len(tag) > 1 && tag[0] == name {
			return tag[1]
		}
	}
	return ""
}

// maxMsat is the number of millisats there can ever be.
const maxMsat = 21_000_000 * 100_000_000 * 1000

const bech32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"

// readInvoice takes amount and description hash out of a BOLT 11 invoice, whose
// checksum it verifies; its signature is the recipient's business.
func readInvoice(text string) (msat uint64, hash Key, err error) {
	bad := func() (uint64, Key, error) { return 0, Key{}, errReceipt }
	text = strings.ToLower(text)
	at := strings.LastIndexByte(text, '1')
	if len(text) > 8<<10 || at < 4 || !strings.HasPrefix(text, "lnbc") {
		return bad()
	}
	msat, ok := readAmount(text[4:at])
	if !ok {
		return bad()
	}
	words := make([]byte, 0, len(text)-at)
	for _, c := range []byte(text[at+1:]) {
		v := strings.IndexByte(bech32, c)
		if v < 0 {
			return bad()
		}
		words = append(words, byte(v))
	}
	if len(words) < 7+104+6 || checksum(text[:at], words) != 1 {
		return bad()
	}
	for fields := words[7 : len(words)-104-6]; len(fields) >= 3; {
		size := int(fields[1])<<5 | int(fields[2])
		if len(fields) < 3+size {
			return bad()
		}
		if fields[0] == 23 && size == 52 { // description hash
			hash = key52(fields[3 : 3+size])
			return msat, hash, nil
		}
		fields = fields[3+size:]
	}
	return bad()
}

// readAmount is the number with its multiplier after "lnbc", in millisats.
func readAmount(text string) (uint64, bool) {
	if text == "" {
		return 0, false
	}
	digits, per := text, uint64(100_000_000_000) // msat in a bitcoin
	pico := false
	switch c := text[len(text)-1]; c {
	case 'm':
		per /= 1e3
	case 'u':
		per /= 1e6
	case 'n':
		per /= 1e9
	case 'p':
		per, pico = 1, true
	default:
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	if c := text[len(text)-1]; c < '0' || c > '9' {
		digits = text[:len(text)-1]
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || digits[0] == '0' || pico && n%10 != 0 {
		return 0, false
	}
	if pico {
		n /= 10
	}
	if n > maxMsat/per {
		return 0, false
	}
	return n * per, true
}

// checksum is 1 for a string that bech32 (BIP-173) accepts.
func checksum(prefix string, words []byte) uint32 {
	c := uint32(1)
	step := func(v byte) {
		top := c >> 25
		c = c&0x1ffffff<<5 ^ uint32(v)
		for i, g := range [...]uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
			if top>>i&1 == 1 {
				c ^= g
			}
		}
	}
	for _, b := range []byte(prefix) {
		step(b >> 5)
	}
	step(0)
	for _, b := range []byte(prefix) {
		step(b & 31)
	}
	for _, w := range words {
		step(w)
	}
	return c
}

// key52 packs 52 five-bit words into 32 bytes.
func key52(words []byte) (k Key) {
	acc, have, at := uint32(0), 0, 0
	for _, w := range words {
		acc, have = acc<<5|uint32(w), have+5
		if have >= 8 && at < len(k) {
			have -= 8
			k[at] = byte(acc >> have)
			at++
		}
	}
	return k
}
