package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/nbd-wtf/go-nostr"
)

// checkEvent holds ParseEvent to the model for one input.
func checkEvent(t *testing.T, in []byte) {
	t.Helper()
	ev, record, err := ParseEvent(in)
	want, ok := plainEvent(in)
	if (err == nil) != ok {
		t.Fatalf("%q: the model says %v, we say %v", in, ok, err)
	}
	if err != nil {
		checkRefusal(t, err)
		return
	}
	if !reflect.DeepEqual(ev, want) {
		t.Fatalf("%q:\ngot  %#v\nwant %#v", in, ev, want)
	}
	again, record2, err := ParseEvent(record)
	if err != nil || !bytes.Equal(record, record2) || !reflect.DeepEqual(ev, again) {
		t.Fatalf("%q: the record %q is no fixpoint: %v", in, record, err)
	}
	var theirs nostr.Event
	if err := theirs.UnmarshalJSON(record); err != nil || theirs.GetID() != ev.GetID() || theirs.String() != ev.String() {
		t.Fatalf("%q: go-nostr reads %s, %v", record, theirs, err)
	}
	id := eventID(ev, false)
	if hex.EncodeToString(id[:]) != ev.GetID() {
		t.Fatalf("%q: go-nostr's id is %s, ours %x", in, ev.GetID(), id)
	}
	if letter := EventID(ev); (letter != id) != hasBareControl(ev) {
		t.Fatalf("%q: both forms of the id: %x %x", in, letter, id)
	}
}

// checkRefusal: every refusal is a *BadMessage that can be sent as it is.
func checkRefusal(t *testing.T, err error) {
	t.Helper()
	e, ok := errors.AsType[*BadMessage](err)
	if !ok || e.Prefix != "invalid" && e.Prefix != "unsupported" || e.Text == "" {
		t.Fatalf("not fit to answer with: %#v", err)
	}
	for _, s := range []string{e.Label, e.Sub, e.ID, e.Text} {
		if !utf8.ValidString(s) {
			t.Fatalf("not UTF-8: %+v", e)
		}
	}
}

func checkFilter(t *testing.T, in []byte) {
	t.Helper()
	f, err := ParseFilter(in, Limits{})
	want, ok := plainFilter(in)
	if (err == nil) != ok {
		t.Fatalf("%q: the model says %v, we say %v", in, ok, err)
	}
	if err != nil {
		checkRefusal(t, err)
		return
	}
	if !reflect.DeepEqual(f, want) {
		t.Fatalf("%q:\ngot  %#v\nwant %#v", in, f, want)
	}
	printed := AppendFilter(nil, f)
	again, err := ParseFilter(printed, Limits{})
	if err != nil || !bytes.Equal(AppendFilter(nil, again), printed) || !reflect.DeepEqual(f, again) {
		t.Fatalf("%q: printed %q is no fixpoint: %v", in, printed, err)
	}
	var theirs nostr.Filter
	if err := theirs.UnmarshalJSON(printed); err != nil || !nostr.FilterEqual(f, theirs) {
		t.Fatalf("%q: go-nostr reads %s, %v", printed, theirs, err)
	}
}

func checkParse(t *testing.T, in []byte) {
	t.Helper()
	m, err := Parse(in, Limits{})
	if err != nil {
		checkRefusal(t, err)
		return
	}
	printed := printMessage(m)
	again, err := Parse(printed, Limits{})
	if err != nil || !reflect.DeepEqual(m, again) {
		t.Fatalf("%q: printed %q, read back as %+v, %v", in, printed, again, err)
	}
	theirs := nostr.NewMessageParser()
	if _, err := theirs.ParseMessage(string(printed)); err != nil && m.Label[:3] != "NEG" {
		t.Fatalf("go-nostr cannot read %q: %v", printed, err)
	}
}

// printMessage is the inverse of Parse.
func printMessage(m Message) []byte {
	switch m.Label {
	case "EVENT":
		return AppendEventMessage(nil, m.JSON)
	case "AUTH":
		return AppendAuthEvent(nil, m.JSON)
	case "REQ":
		return AppendReq(nil, m.Sub, m.Filters...)
	case "COUNT":
		return AppendCountReq(nil, m.Sub, m.Filters...)
	case "CLOSE":
		return AppendClose(nil, m.Sub)
	case "NEG-OPEN":
		return AppendNegOpen(nil, m.Sub, m.Filters[0], m.Neg)
	case "NEG-MSG":
		return AppendNegMsg(nil, m.Sub, m.Neg)
	default:
		return AppendNegClose(nil, m.Sub)
	}
}

func checkServer(t *testing.T, in []byte) {
	t.Helper()
	m, err := ParseServer(in)
	if err != nil {
		checkRefusal(t, err)
		return
	}
	printed := printServerMessage(m)
	again, err := ParseServer(printed)
	if err != nil || !reflect.DeepEqual(m, again) {
		t.Fatalf("%q: printed %q, read back as %+v, %v", in, printed, again, err)
	}
}

// printServerMessage is the inverse of ParseServer.
func printServerMessage(m ServerMessage) []byte {
	switch m.Label {
	case "EVENT":
		return AppendEventFrame(nil, m.Sub, m.JSON)
	case "OK":
		return AppendOK(nil, m.ID, m.OK, m.Text)
	case "EOSE":
		return AppendEOSE(nil, m.Sub, m.Hint)
	case "CLOSED":
		return AppendClosed(nil, m.Sub, m.Text)
	case "NOTICE":
		return AppendNotice(nil, m.Text)
	case "AUTH":
		return AppendAuth(nil, m.Text)
	case "COUNT":
		return AppendCount(nil, m.Sub, m.Count, m.Approximate, m.HLL)
	case "NEG-MSG":
		return AppendNegMsg(nil, m.Sub, m.Neg)
	default:
		return AppendNegErr(nil, m.Sub, m.Text, m.Most)
	}
}

var eventSeeds = []string{
	eventWith("", ""), eventWith("content", `"\ud83d\ude00\u0001\b\/"`), eventWith("tags", `[["d"],["e","x",""]]`),
	eventWith("content", `"\ud83d"`), eventWith("kind", "1e3"), eventWith("kind", "-0"), `{"x":[[{"y":1.5e-7}]],"x":null}`,
	eventWith("tags", `[[]]`), eventWith("created_at", "00"), "{\"id\":\"\xff\"}", `{"a":1,"a":2}`,
}

var filterSeeds = []string{
	`{}`, `{"ids":[],"limit":0}`, `{"kinds":[1,65535],"since":0,"until":9223372036854775807,"limit":1000000000000}`,
	`{"#t":["a","\u00e9"],"#P":["x"],"search":"a b"}`, `{"authors":["` + key64 + `"],"#e":["` + id64 + `"]}`,
	`{"limit":-1}`, `{"#ab":[]}`, `{"since":1.0}`, `{"kinds":[null]}`,
}

func FuzzParseEvent(f *testing.F) {
	for _, s := range eventSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(checkEvent)
}

func FuzzParseFilter(f *testing.F) {
	for _, s := range filterSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(checkFilter)
}

func FuzzParse(f *testing.F) {
	for _, s := range eventSeeds {
		f.Add([]byte(`["EVENT",` + s + `]`))
	}
	for _, s := range filterSeeds {
		f.Add([]byte(`["REQ","a",` + s + `]`))
		f.Add([]byte(`["NEG-OPEN","a",` + s + `,"61"]`))
	}
	f.Add([]byte(`["CLOSE","a"]`))
	f.Add([]byte(`["NEG-MSG","a","6100"]`))
	f.Fuzz(checkParse)
}

func FuzzParseServer(f *testing.F) {
	for _, line := range bytes.Split(bytes.TrimSpace(frames()), []byte("\n")) {
		f.Add(line)
	}
	f.Add([]byte(`["EOSE","a",["later","more"],7]`))
	f.Add([]byte(`["COUNT","a",{"x":[],"count":1}]`))
	f.Fuzz(checkServer)
}

// TestMutatedInputsAgreeWithTheModel is a short run of the fuzzers' properties
// on inputs that are nearly right, where parsers differ.
func TestMutatedInputsAgreeWithTheModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	lines := realEvents(t)
	pieces := []string{`"`, `\`, `\ud83d`, `\ude00`, `\u0000`, `\n`, `,`, `:`, `[`, `]`, `{`, `}`, `null`, `-`, `0`, `1.5`, `e3`, ` `, "\x00", "\xff", "é", `"id":1,`, `"x":{},`}
	for range 5000 {
		var in []byte
		if rng.IntN(3) > 0 {
			in = slices.Clone(lines[rng.IntN(len(lines))])
		} else {
			in = []byte(eventSeeds[rng.IntN(len(eventSeeds))])
		}
		if len(in) > 2000 {
			continue
		}
		in = mutate(rng, in, pieces)
		checkEvent(t, in)
		checkParse(t, []byte(`["EVENT",`+string(in)+`]`))
		filter := mutate(rng, []byte(filterSeeds[rng.IntN(len(filterSeeds))]), pieces)
		checkFilter(t, filter)
		checkParse(t, []byte(`["REQ","a",`+string(filter)+`]`))
	}
}

// mutate makes up to three small edits.
func mutate(rng *rand.Rand, in []byte, pieces []string) []byte {
	for range rng.IntN(4) {
		at := rng.IntN(len(in) + 1)
		switch rng.IntN(3) {
		case 0:
			in = slices.Insert(in, at, []byte(pieces[rng.IntN(len(pieces))])...)
		case 1:
			in = slices.Delete(in, at, min(len(in), at+1+rng.IntN(3)))
		case 2:
			if at < len(in) {
				in[at] = byte(rng.IntN(256))
			}
		}
	}
	return in
}
