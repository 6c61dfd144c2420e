package wire

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

func TestEachClientMessageIsRead(t *testing.T) {
	ev, record, err := ParseEvent([]byte(eventWith("", "")))
	if err != nil {
		t.Fatal(err)
	}
	one := []nostr.Filter{{Kinds: []int{1}}}
	for msg, want := range map[string]Message{
		`["EVENT",` + eventWith("", "") + `]`:             {Label: "EVENT", Event: ev, JSON: record},
		`["AUTH",` + eventWith("", "") + `]`:              {Label: "AUTH", Event: ev, JSON: record},
		`["REQ","a",{"kinds":[1]}]`:                       {Label: "REQ", Sub: "a", Filters: one},
		`["REQ","a",{},{"kinds":[1]}]`:                    {Label: "REQ", Sub: "a", Filters: []nostr.Filter{{}, one[0]}},
		` [ "COUNT" , "\u0061" , {"kinds":[1]} ] ` + "\n": {Label: "COUNT", Sub: "a", Filters: one},
		`["CLOSE","a"]`:                                   {Label: "CLOSE", Sub: "a"},
		`["NEG-CLOSE","a"]`:                               {Label: "NEG-CLOSE", Sub: "a"},
		`["NEG-OPEN","a",{"kinds":[1]},"61Ff"]`:           {Label: "NEG-OPEN", Sub: "a", Filters: one, Neg: []byte{0x61, 0xff}},
		`["NEG-MSG","a","61"]`:                            {Label: "NEG-MSG", Sub: "a", Neg: []byte{0x61}},
		`["CLOSE","` + strings.Repeat("é", 64) + `"]`:     {Label: "CLOSE", Sub: strings.Repeat("é", 64)},
	} {
		got, err := Parse([]byte(msg), Limits{})
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", msg, got, err)
		}
	}
}

// TestRefusalsSayWhomToAnswer: a client must be able to tell which of its
// messages went wrong.
func TestRefusalsSayWhomToAnswer(t *testing.T) {
	upper := strings.ToUpper(id64)
	for _, c := range []struct {
		msg  string
		want BadMessage
	}{
		{``, BadMessage{Prefix: "invalid", Text: "a message must be an array, not the end of the message"}},
		{`{}`, BadMessage{Prefix: "invalid", Text: "a message must be an array, not an object"}},
		{`[]`, BadMessage{Prefix: "invalid", Text: "the first element of a message is missing: it must be a string"}},
		{` [ ] `, BadMessage{Prefix: "invalid", Text: "the first element of a message is missing: it must be a string"}},
		{`[1]`, BadMessage{Prefix: "invalid", Text: "the first element of a message must be a string, not a number"}},
		{strings.Repeat("[", 1_000_000), BadMessage{Prefix: "invalid", Text: "the first element of a message must be a string, not an array"}},
		{`["HELLO",1]`, BadMessage{Label: "HELLO", Prefix: "unsupported", Text: `unknown message "HELLO"`}},
		{`["event",{}]`, BadMessage{Label: "event", Prefix: "unsupported", Text: `unknown message "event"`}},
		{`["` + strings.Repeat("é", 50) + `"]`, BadMessage{Label: strings.Repeat("é", 20) + "…", Prefix: "unsupported", Text: `unknown message "` + strings.Repeat("é", 20) + `…"`}},
		{`["EVENT"]`, BadMessage{Label: "EVENT", Prefix: "invalid", Text: "the message ends where an event should stand"}},
		{`["EVENT",null]`, BadMessage{Label: "EVENT", Prefix: "invalid", Text: "event must be an object, not null"}},
		{`["EVENT","sub",` + eventWith("", "") + `]`, BadMessage{Label: "EVENT", ID: id64, Prefix: "invalid", Text: "event must be an object, not a string"}},
		{`["EVENT",` + eventWith("kind", "-1") + `]`, BadMessage{Label: "EVENT", ID: id64, Prefix: "invalid", Text: "kind must be an integer from 0 to 65535, not -1"}},
		{`["EVENT",` + eventWith("id", `"`+upper+`"`) + `]`, BadMessage{Label: "EVENT", ID: upper, Prefix: "invalid", Text: "id must be 64 lower-case hex digits"}},
		{`["EVENT",` + eventWith("id", `"a1"`) + `]`, BadMessage{Label: "EVENT", ID: "a1", Prefix: "invalid", Text: "id must be 64 lower-case hex digits"}},
		{`["EVENT",` + eventWith("id", `"`+strings.Repeat("a", 500)+`"`) + `]`, BadMessage{Label: "EVENT", Prefix: "invalid", Text: "id must be 64 lower-case hex digits"}},
		{`["EVENT",` + eventWith("content", "\"\xff\"") + `]`, BadMessage{Label: "EVENT", ID: id64, Prefix: "invalid", Text: "not valid UTF-8 at byte 221"}},
		{`["EVENT",{"x":{"id":"no"},"y":"id","id" : "yes","kind":null}]`, BadMessage{Label: "EVENT", ID: "yes", Prefix: "invalid", Text: "id must be 64 lower-case hex digits"}},
		{`["EVENT",{"kind":1,"kind":1,"content":"\"id\":\"no\"","id":"yes"}]`, BadMessage{Label: "EVENT", ID: "yes", Prefix: "invalid", Text: `duplicate key "kind"`}},
		{`["EVENT",{"content":"\"","id":"yes"}]`, BadMessage{Label: "EVENT", ID: "yes", Prefix: "invalid", Text: "id must be 64 lower-case hex digits"}},
		{`["CLOSE","a"]x`, BadMessage{Label: "CLOSE", Sub: "a", Prefix: "invalid", Text: "malformed JSON: something follows the end at byte 13"}},
		{`["CLOSE","a"]["CLOSE","a"]`, BadMessage{Label: "CLOSE", Sub: "a", Prefix: "invalid", Text: "malformed JSON: something follows the end at byte 13"}},
		{`["EVENT",` + eventWith("", "") + `,1]`, BadMessage{Label: "EVENT", ID: id64, Prefix: "invalid", Text: "EVENT has too many elements"}},
		{`["EVENT",` + eventWith("", ""), BadMessage{Label: "EVENT", ID: id64, Prefix: "invalid", Text: "malformed JSON: expected ']' at byte 362"}},
		{`["AUTH","challenge"]`, BadMessage{Label: "AUTH", Prefix: "invalid", Text: "event must be an object, not a string"}},
		{`["REQ"]`, BadMessage{Label: "REQ", Prefix: "invalid", Text: "the message ends where a subscription id should stand"}},
		{`["REQ",1,{}]`, BadMessage{Label: "REQ", Prefix: "invalid", Text: "a subscription id must be a string, not a number"}},
		{`["REQ","",{}]`, BadMessage{Label: "REQ", Prefix: "invalid", Text: "a subscription id must not be empty"}},
		{`["REQ","a"]`, BadMessage{Label: "REQ", Sub: "a", Prefix: "invalid", Text: "the message ends where a filter should stand"}},
		{`["REQ","a",[]]`, BadMessage{Label: "REQ", Sub: "a", Prefix: "invalid", Text: "filter must be an object, not an array"}},
		{`["REQ","a",{"limit":-1}]`, BadMessage{Label: "REQ", Sub: "a", Prefix: "invalid", Text: "limit must be an integer from 0 to 9223372036854775807, not -1"}},
		{`["REQ","` + strings.Repeat("a", 65) + `",{}]`, BadMessage{Label: "REQ", Sub: strings.Repeat("a", 65), Prefix: "invalid", Text: "a subscription id may have at most 64 characters"}},
		{`["REQ","` + strings.Repeat("a", 500) + `",{}]`, BadMessage{Label: "REQ", Prefix: "invalid", Text: "a subscription id may have at most 64 characters"}},
		{`["REQ","a",{},{},{},{}]`, BadMessage{Label: "REQ", Sub: "a", Prefix: "invalid", Text: "more than 3 filters"}},
		{`["COUNT","a",{"color":1}]`, BadMessage{Label: "COUNT", Sub: "a", Prefix: "unsupported", Text: `unknown filter element "color"`}},
		{`["CLOSE",{}]`, BadMessage{Label: "CLOSE", Prefix: "invalid", Text: "a subscription id must be a string, not an object"}},
		{`["CLOSE","a","b"]`, BadMessage{Label: "CLOSE", Sub: "a", Prefix: "invalid", Text: "CLOSE has too many elements"}},
		{`["NEG-OPEN","a",{}]`, BadMessage{Label: "NEG-OPEN", Sub: "a", Prefix: "invalid", Text: "the message ends where a negentropy frame should stand"}},
		{`["NEG-OPEN","a",{},""]`, BadMessage{Label: "NEG-OPEN", Sub: "a", Prefix: "invalid", Text: "a negentropy frame must be hex, two digits per byte, and not empty"}},
		{`["NEG-OPEN","a","` + id64 + `","61"]`, BadMessage{Label: "NEG-OPEN", Sub: "a", Prefix: "invalid", Text: "filter must be an object, not a string"}},
		{`["NEG-MSG","a","6"]`, BadMessage{Label: "NEG-MSG", Sub: "a", Prefix: "invalid", Text: "a negentropy frame must be hex, two digits per byte, and not empty"}},
		{`["NEG-MSG","a","xyz1"]`, BadMessage{Label: "NEG-MSG", Sub: "a", Prefix: "invalid", Text: "a negentropy frame must be hex, two digits per byte, and not empty"}},
		{"[\"CLOSE\",\"\xff\"]", BadMessage{Label: "CLOSE", Sub: "\ufffd", Prefix: "invalid", Text: "not valid UTF-8 at byte 10"}},
		{"\xff[", BadMessage{Prefix: "invalid", Text: "not valid UTF-8 at byte 0"}},
	} {
		_, err := Parse([]byte(c.msg), Limits{Filters: 3})
		got, ok := errors.AsType[*BadMessage](err)
		if !ok || *got != c.want {
			t.Errorf("%.200q:\ngot  %+v\nwant %+v", c.msg, got, c.want)
		}
	}
}
