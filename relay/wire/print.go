package wire

import (
	"encoding/hex"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/nbd-wtf/go-nostr"
)

// appendString appends s as a JSON string. What is not UTF-8 is replaced: a
// text frame that is not UTF-8 makes a client hang up.
func appendString(dst []byte, s string) []byte {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\ufffd")
	}
	return appendQuoted(dst, s, false)
}

// open appends ["LABEL","sub" and leaves the array open.
func open(dst []byte, label, sub string) []byte {
	dst = append(dst, '[', '"')
	dst = append(dst, label...)
	dst = append(dst, '"', ',')
	return appendString(dst, sub)
}

// two appends ["LABEL","first","second"].
func two(dst []byte, label, first, second string) []byte {
	dst = append(open(dst, label, first), ',')
	return append(appendString(dst, second), ']')
}

// AppendOK appends ["OK",id,ok,reason]. When ok is false, reason is
// "prefix: text"; it may be empty when ok is true.
func AppendOK(dst []byte, id string, ok bool, reason string) []byte {
	dst = append(open(dst, "OK", id), ',')
	dst = append(strconv.AppendBool(dst, ok), ',')
	return append(appendString(dst, reason), ']')
}

// AppendEOSE appends ["EOSE",sub] with the hint of NIP-67.
func AppendEOSE(dst []byte, sub string, h Hint) []byte {
	dst = open(dst, "EOSE", sub)
	switch h {
	case Finish:
		dst = append(dst, `,["finish"]`...)
	case More:
		dst = append(dst, `,["more"]`...)
	case NoHint:
	}
	return append(dst, ']')
}

// AppendEventFrame appends ["EVENT",sub,record]: what a relay sends.
func AppendEventFrame(dst []byte, sub string, record []byte) []byte {
	dst = append(open(dst, "EVENT", sub), ',')
	dst = append(dst, record...)
	return append(dst, ']')
}

// AppendClosed appends ["CLOSED",sub,reason]; reason is "prefix: text".
func AppendClosed(dst []byte, sub, reason string) []byte { return two(dst, "CLOSED", sub, reason) }

// AppendNotice appends ["NOTICE",text].
func AppendNotice(dst []byte, text string) []byte { return append(open(dst, "NOTICE", text), ']') }

// AppendAuth appends ["AUTH",challenge].
func AppendAuth(dst []byte, challenge string) []byte {
	return append(open(dst, "AUTH", challenge), ']')
}

// AppendCount appends ["COUNT",sub,{"count":n}], with the 256 registers of
// NIP-45's HyperLogLog when hll is not empty.
func AppendCount(dst []byte, sub string, n int64, approximate bool, hll []byte) []byte {
	dst = append(open(dst, "COUNT", sub), `,{"count":`...)
	dst = strconv.AppendInt(dst, n, 10)
	if approximate {
		dst = append(dst, `,"approximate":true`...)
	}
	if len(hll) > 0 {
		dst = append(dst, `,"hll":"`...)
		dst = append(hex.AppendEncode(dst, hll), '"')
	}
	return append(dst, '}', ']')
}

// AppendNegMsg appends ["NEG-MSG",sub,frame], which both sides send.
func AppendNegMsg(dst []byte, sub string, frame []byte) []byte {
	dst = append(open(dst, "NEG-MSG", sub), ',', '"')
	return append(hex.AppendEncode(dst, frame), '"', ']')
}

// AppendNegErr appends ["NEG-ERR",sub,reason]. When most is above 0 it is the
// number of records a query may match, as a fourth element.
func AppendNegErr(dst []byte, sub, reason string, most int64) []byte {
	dst = append(open(dst, "NEG-ERR", sub), ',')
	dst = appendString(dst, reason)
	if most > 0 {
		dst = strconv.AppendInt(append(dst, ','), most, 10)
	}
	return append(dst, ']')
}

// AppendEventMessage appends ["EVENT",record]: what a client sends.
func AppendEventMessage(dst, record []byte) []byte {
	return append(append(append(dst, `["EVENT",`...), record...), ']')
}

// AppendAuthEvent appends ["AUTH",record], a client's answer to a challenge.
func AppendAuthEvent(dst, record []byte) []byte {
	return append(append(append(dst, `["AUTH",`...), record...), ']')
}

// AppendReq appends ["REQ",sub,filter…].
func AppendReq(dst []byte, sub string, filters ...nostr.Filter) []byte {
	return asked(dst, "REQ", sub, filters)
}

// AppendCountReq appends ["COUNT",sub,filter…].
func AppendCountReq(dst []byte, sub string, filters ...nostr.Filter) []byte {
	return asked(dst, "COUNT", sub, filters)
}

func asked(dst []byte, label, sub string, filters []nostr.Filter) []byte {
	dst = open(dst, label, sub)
	for _, f := range filters {
		dst = AppendFilter(append(dst, ','), f)
	}
	return append(dst, ']')
}

// AppendClose appends ["CLOSE",sub].
func AppendClose(dst []byte, sub string) []byte { return append(open(dst, "CLOSE", sub), ']') }

// AppendNegOpen appends ["NEG-OPEN",sub,filter,frame].
func AppendNegOpen(dst []byte, sub string, f nostr.Filter, frame []byte) []byte {
	dst = append(open(dst, "NEG-OPEN", sub), ',')
	dst = append(AppendFilter(dst, f), ',', '"')
	return append(hex.AppendEncode(dst, frame), '"', ']')
}

// AppendNegClose appends ["NEG-CLOSE",sub].
func AppendNegClose(dst []byte, sub string) []byte { return append(open(dst, "NEG-CLOSE", sub), ']') }
