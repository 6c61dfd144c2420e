package relay

import (
	"encoding/json"
	"net/netip"
	"net/url"
	"strconv"
	"unicode"
	"unicode/utf8"

	"github.com/nbd-wtf/go-nostr"
)

// Bounds of what an administrator may write, in unicode characters.
const (
	maxReason      = 1024
	maxName        = 128 // NIP-11 advises fewer than 30
	maxDescription = 4096
	maxIcon        = 2048
	maxRoleID      = 64
	maxLabel       = 128
)

// params are a call's parameters, each read once by the reader of its type.
// Numbers in what they say count from 1.
type params []json.RawMessage

func (p params) text(i int, what string, most int) (string, error) {
	if i >= len(p) {
		return "", refusef("parameter %d (%s) is missing", i+1, what)
	}
	var s string
	if err := json.Unmarshal(p[i], &s); err != nil || string(p[i]) == "null" {
		return "", refusef("parameter %d (%s) must be a string", i+1, what)
	}
	if n := utf8.RuneCountInString(s); n > most {
		return "", refusef("parameter %d (%s) has %d characters, at most %d are kept", i+1, what, n, most)
	}
	for _, r := range s {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return "", refusef("parameter %d (%s) contains the control character %U", i+1, what, r)
		}
	}
	return s, nil
}

// absent reports whether an optional parameter was left out: missing, null
// or "".
func (p params) absent(i int) bool {
	return i >= len(p) || string(p[i]) == "null" || string(p[i]) == `""`
}

func (p params) reason(i int) (string, error) {
	if p.absent(i) {
		return "", nil
	}
	return p.text(i, "reason", maxReason)
}

func (p params) pubkey(i int) (key [32]byte, text string, err error) {
	text, err = p.text(i, "public key", 64)
	if err != nil {
		return key, "", err
	}
	key, ok := parseHex32(text)
	if !ok || !nostr.IsValidPublicKey(text) {
		return key, "", refusef("parameter %d must be a public key of 64 lower-case hex digits", i+1)
	}
	return key, text, nil
}

func (p params) eventID(i int) (id [32]byte, text string, err error) {
	text, err = p.text(i, "event id", 64)
	if err != nil {
		return id, "", err
	}
	id, ok := parseHex32(text)
	if !ok {
		return id, "", refusef("parameter %d must be an event id of 64 lower-case hex digits", i+1)
	}
	return id, text, nil
}

func (p params) keyAndReason() (key [32]byte, text, reason string, err error) {
	if key, text, err = p.pubkey(0); err != nil {
		return key, "", "", err
	}
	reason, err = p.reason(1)
	return key, text, reason, err
}

func (p params) eventAndReason() (id [32]byte, text, reason string, err error) {
	if id, text, err = p.eventID(0); err != nil {
		return id, "", "", err
	}
	reason, err = p.reason(1)
	return id, text, reason, err
}

// number takes a JSON integer, or one written as a string, which some
// clients send.
func (p params) number(i int, what string, least, most int) (int, error) {
	if i >= len(p) {
		return 0, refusef("parameter %d (%s) is missing", i+1, what)
	}
	digits := string(p[i])
	var s string
	if json.Unmarshal(p[i], &s) == nil {
		digits = s
	}
	n, err := strconv.Atoi(digits)
	if err != nil || n < least || n > most {
		return 0, refusef("parameter %d (%s) must be a whole number from %d to %d", i+1, what, least, most)
	}
	return n, nil
}

// network takes an address or a CIDR block.
func (p params) network(i int) (netip.Prefix, error) {
	s, err := p.text(i, "IP address", 64)
	if err != nil {
		return netip.Prefix{}, err
	}
	if ip, err := netip.ParseAddr(s); err == nil && ip.Zone() == "" {
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	block, err := netip.ParsePrefix(s)
	if err != nil || block.Addr().Is4In6() {
		return netip.Prefix{}, refusef("parameter %d must be an IP address or a block of them, such as 192.0.2.7 or 2001:db8::/32", i+1)
	}
	return block.Masked(), nil
}

func (p params) iconURL(i int) (string, error) {
	s, err := p.text(i, "icon URL", maxIcon)
	if err != nil || s == "" {
		return "", err
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return "", refusef("parameter %d must be an http or https URL", i+1)
	}
	return s, nil
}
