package wire

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

var update = flag.Bool("update", false, "write testdata/frames.golden anew")

// frames prints one of each, a line each.
func frames() []byte {
	hll := make([]byte, 256)
	hll[0], hll[255] = 7, 57
	at := nostr.Timestamp(1700000000)
	f := nostr.Filter{
		IDs: []string{id64}, Authors: []string{key64}, Kinds: []int{1, 30023}, Since: &at, Until: &at, Limit: 10,
		Tags: nostr.TagMap{"t": {"b", "a"}, "E": {id64}}, Search: `"quoted" text`,
	}
	record := []byte(eventWith("", ""))
	var out []byte
	for _, p := range []func([]byte) []byte{
		func(b []byte) []byte { return AppendOK(b, id64, true, "") },
		func(b []byte) []byte { return AppendOK(b, id64, false, "invalid: \"x\"\\\n\x01\x7f é 😀 </script>") },
		func(b []byte) []byte { return AppendEOSE(b, "a", NoHint) },
		func(b []byte) []byte { return AppendEOSE(b, "a", Finish) },
		func(b []byte) []byte { return AppendEOSE(b, `"`, More) },
		func(b []byte) []byte { return AppendEventFrame(b, "a\"b", record) },
		func(b []byte) []byte { return AppendClosed(b, "a", "auth-required: who are you?") },
		func(b []byte) []byte { return AppendNotice(b, "error: \xff\xfe is not UTF-8") },
		func(b []byte) []byte { return AppendAuth(b, "challenge") },
		func(b []byte) []byte { return AppendCount(b, "a", 0, false, nil) },
		func(b []byte) []byte { return AppendCount(b, "a", 1<<40, true, hll) },
		func(b []byte) []byte { return AppendNegMsg(b, "a", []byte{0x61, 0, 0xff}) },
		func(b []byte) []byte { return AppendNegErr(b, "a", "closed: idle", 0) },
		func(b []byte) []byte { return AppendNegErr(b, "a", "blocked: too many records", 500000) },
		func(b []byte) []byte { return AppendEventMessage(b, record) },
		func(b []byte) []byte { return AppendAuthEvent(b, record) },
		func(b []byte) []byte { return AppendReq(b, "a", nostr.Filter{}, f) },
		func(b []byte) []byte { return AppendCountReq(b, "a", nostr.Filter{LimitZero: true}) },
		func(b []byte) []byte { return AppendClose(b, "a") },
		func(b []byte) []byte { return AppendNegOpen(b, "a", nostr.Filter{Kinds: []int{}}, []byte{0x61}) },
		func(b []byte) []byte { return AppendNegClose(b, "a") },
	} {
		out = append(p(out), '\n')
	}
	return out
}

func TestFramesLookAsTheyAlwaysDid(t *testing.T) {
	got := frames()
	const golden = "testdata/frames.golden"
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	for line := range bytes.Lines(got) {
		if !json.Valid(line) {
			t.Errorf("not JSON: %s", line)
		}
	}
}

func TestEachServerMessageIsRead(t *testing.T) {
	ev, record, err := ParseEvent([]byte(eventWith("", "")))
	if err != nil {
		t.Fatal(err)
	}
	hll := bytes.Repeat([]byte{3}, 256)
	for _, m := range []ServerMessage{
		{Label: "EVENT", Sub: "a", Event: ev, JSON: record},
		{Label: "OK", ID: id64, OK: true, Text: ""},
		{Label: "OK", ID: id64, OK: false, Text: "invalid: no"},
		{Label: "EOSE", Sub: "a"},
		{Label: "EOSE", Sub: "a", Hint: Finish},
		{Label: "EOSE", Sub: "a", Hint: More},
		{Label: "CLOSED", Sub: "a", Text: "error: x"},
		{Label: "NOTICE", Text: "hi"},
		{Label: "AUTH", Text: "challenge"},
		{Label: "COUNT", Sub: "a", Count: 5},
		{Label: "COUNT", Sub: "a", Count: 5, Approximate: true, HLL: hll},
		{Label: "NEG-MSG", Sub: "a", Neg: []byte{0x61}},
		{Label: "NEG-ERR", Sub: "a", Text: "closed: x"},
		{Label: "NEG-ERR", Sub: "a", Text: "blocked: x", Most: 10},
	} {
		msg := printServerMessage(m)
		got, err := ParseServer(msg)
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%s: %+v, %v", msg, got, err)
		}
	}
}

func TestOlderAndNewerRelaysAreUnderstood(t *testing.T) {
	for msg, want := range map[string]ServerMessage{
		`["OK","x",true]`:                          {Label: "OK", ID: "x", OK: true},
		`["CLOSED","a"]`:                           {Label: "CLOSED", Sub: "a"},
		`["NEG-ERR","a"]`:                          {Label: "NEG-ERR", Sub: "a"},
		`["NEG-ERR","a","blocked: x",{"most":1}]`:  {Label: "NEG-ERR", Sub: "a", Text: "blocked: x"},
		`["EOSE","a",[]]`:                          {Label: "EOSE", Sub: "a"},
		`["EOSE","a",["later",{},"more"],"extra"]`: {Label: "EOSE", Sub: "a", Hint: More},
		`["EOSE","a",null]`:                        {Label: "EOSE", Sub: "a"},
		`["NOTICE","x",{"y":[1]}]`:                 {Label: "NOTICE", Text: "x"},
		`["COUNT","a",{"x":[1],"count":2}]`:        {Label: "COUNT", Sub: "a", Count: 2},
	} {
		got, err := ParseServer([]byte(msg))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", msg, got, err)
		}
	}
}

func TestBadServerMessagesAreRefused(t *testing.T) {
	for _, msg := range []string{
		``, `{}`, `[]`, `["HELLO"]`, `["OK"]`, `["OK","x"]`, `["OK","x","true"]`, `["OK","x",null]`, `["OK",1,true,""]`,
		`["EVENT","a"]`, `["EVENT",{}]`, `["EVENT","a",{}]`, `["COUNT","a",{}]`, `["COUNT","a",{"count":-1}]`,
		`["COUNT","a",{"count":1,"hll":"00"}]`, `["NEG-MSG","a",""]`, `["EOSE"]`, `["EOSE","a"`, `["EOSE","a"]x`, "[\"NOTICE\",\"\xff\"]",
		`["NEG-ERR","a","x",01]`,
	} {
		if m, err := ParseServer([]byte(msg)); err == nil {
			t.Errorf("%s: accepted as %+v", msg, m)
		}
	}
}
