// Package lowhex reads hex as Nostr writes it: lower case only (NIP-01). What
// encoding/hex also takes, upper case, would make two names of one id.
package lowhex

const digits = "0123456789abcdef"

// value is what a lower-case hex digit stands for; bad is not 0 when c is
// none. It has no branch: digits are as good as random, and every event holds
// hundreds of them.
func value(c byte) (v, bad byte) {
	v = (c&15 + 9*(c>>6)) & 15
	return v, digits[v] ^ c
}

// Decode fills dst and reports whether s was lower-case hex of just that
// length, two digits a byte. When it was not, dst holds nothing of use.
func Decode(dst []byte, s string) bool {
	if len(s) != 2*len(dst) {
		return false
	}
	var bad byte
	for i := range dst {
		hi, no := value(s[2*i])
		lo, nor := value(s[2*i+1])
		bad |= no | nor
		dst[i] = hi<<4 | lo
	}
	return bad == 0
}

// Is reports whether s is exactly n lower-case hex digits.
func Is(s string, n int) bool {
	if len(s) != n {
		return false
	}
	var bad byte
	for i := range len(s) {
		_, no := value(s[i])
		bad |= no
	}
	return bad == 0
}
