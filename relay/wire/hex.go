package wire

const lowerDigits = "0123456789abcdef"

// hexValue is what a lower-case hex digit stands for; bad is not 0 when c is
// none. It has no branch: digits are as good as random, and every event holds
// hundreds of them.
func hexValue(c byte) (v, bad byte) {
	v = (c&15 + 9*(c>>6)) & 15
	return v, lowerDigits[v] ^ c
}

// decodeHex fills dst and reports whether s was lower-case hex of just that
// length.
func decodeHex(dst []byte, s string) bool {
	if len(s) != 2*len(dst) {
		return false
	}
	var bad byte
	for i := range dst {
		hi, no := hexValue(s[2*i])
		lo, nor := hexValue(s[2*i+1])
		bad |= no | nor
		dst[i] = hi<<4 | lo
	}
	return bad == 0
}

// isHex reports whether s is exactly n lower-case hex digits.
func isHex(s string, n int) bool {
	if len(s) != n {
		return false
	}
	var bad byte
	for i := range len(s) {
		_, no := hexValue(s[i])
		bad |= no
	}
	return bad == 0
}
