package wire

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/btcsuite/btcd/btcec/v2"
	"github.com/btcsuite/btcd/btcec/v2/schnorr"
	"github.com/klauspost/compress/zstd"
	"github.com/nbd-wtf/go-nostr"
)

// realEvents returns the lines of testdata/nostr/events.jsonl.zst.
func realEvents(t testing.TB) [][]byte {
	t.Helper()
	f, err := os.Open("../../testdata/nostr/events.jsonl.zst")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var lines [][]byte
	sc := bufio.NewScanner(z)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		lines = append(lines, bytes.Clone(sc.Bytes()))
	}
	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
	if len(lines) != 5861 {
		t.Fatalf("%d events, want 5861", len(lines))
	}
	return lines
}

// Two of the real events hold what NIP-01 does not allow in a tag.
var badRealEvents = map[string]string{
	"bf2b783de44b814778d02ca9e4e87aacd0bc7a629bad29b5db62a1c151580ed1": "invalid: tags[0][2] must be a string, not null",
	"9fa84aa80a6d69000e887809001343884e2d7e8612b9d83010e9a709b93b5ead": "invalid: tags[4][1] must be a string, not a number",
}

func TestRealEventsParseAndTheirIDsMatch(t *testing.T) {
	refused := 0
	for _, line := range realEvents(t) {
		ev, record, err := ParseEvent(line)
		if err != nil {
			refused++
			if e, ok := errors.AsType[*BadMessage](err); !ok || badRealEvents[e.ID] != err.Error() {
				t.Errorf("%.120s: %v", line, err)
			}
			continue
		}
		var theirs nostr.Event
		if err := theirs.UnmarshalJSON(line); err != nil {
			t.Fatal(err)
		}
		if !CheckID(ev) || EventID(ev) != [32]byte(mustHex(ev.ID)) || ev.GetID() != ev.ID {
			t.Errorf("the id of %s does not match", ev.ID)
		}
		if ev.String() != theirs.String() {
			t.Errorf("got %s\nwant %s", ev, theirs)
		}
		again, record2, err := ParseEvent(record)
		if err != nil || !bytes.Equal(record, record2) || again.String() != ev.String() {
			t.Errorf("the record of %s is no fixpoint: %v", ev.ID, err)
		}
	}
	if refused != len(badRealEvents) {
		t.Errorf("%d refused, want %d", refused, len(badRealEvents))
	}
}

func TestRealEventsAreSigned(t *testing.T) {
	lines := realEvents(t)
	for i := 0; i < len(lines); i += 20 { // a verification costs 60 to 300 µs
		ev, _, err := ParseEvent(lines[i])
		if err != nil {
			t.Fatal(err)
		}
		if !CheckSignature(ev) {
			t.Errorf("the signature of %s does not match", ev.ID)
		}
		ev.Sig = flip(ev.Sig)
		if CheckSignature(ev) {
			t.Errorf("a changed signature of %s matches", ev.ID)
		}
	}
}

// flip changes the last hex digit.
func flip(s string) string {
	last := byte('0')
	if s[len(s)-1] == '0' {
		last = '1'
	}
	return s[:len(s)-1] + string(last)
}

func mustHex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

var (
	id64  = strings.Repeat("a1", 32)
	key64 = strings.Repeat("b2", 32)
	sig64 = strings.Repeat("c3", 64)
)

// eventWith is a well-formed event with one field replaced, as JSON; an empty
// value leaves the field out.
func eventWith(field, value string) string {
	fields := []string{
		`"id":"` + id64 + `"`, `"pubkey":"` + key64 + `"`, `"created_at":1700000000`, `"kind":1`,
		`"tags":[["t","x"]]`, `"content":"hi"`, `"sig":"` + sig64 + `"`,
	}
	for i, f := range fields {
		if !strings.HasPrefix(f, `"`+field+`":`) {
			continue
		}
		if value == "" {
			fields = slices.Delete(fields, i, i+1)
			break
		}
		fields[i] = `"` + field + `":` + value
	}
	return "{" + strings.Join(fields, ",") + "}"
}

func TestBadEventsAreRefusedWithAReason(t *testing.T) {
	for _, c := range []struct{ name, json, want string }{
		{"not JSON", `hello`, "invalid: event must be an object, not malformed JSON at byte 0"},
		{"nothing", ``, "invalid: event must be an object, not the end of the message"},
		{"cut off", `{"id":"`, "invalid: malformed JSON: id has no closing quote"},
		{"trailing comma", strings.Replace(eventWith("", ""), `"hi",`, `"hi",,`, 1), "invalid: a key must be a string, not malformed JSON at byte 216"},
		{"trailing garbage", eventWith("", "") + "x", "invalid: malformed JSON: something follows the end at byte 353"},
		{"two values", eventWith("", "") + "{}", "invalid: malformed JSON: something follows the end at byte 353"},
		{"an array", `[]`, "invalid: event must be an object, not an array"},
		{"invalid UTF-8", eventWith("content", "\"a\xffb\""), "invalid: not valid UTF-8 at byte 213"},
		{"overlong UTF-8", eventWith("content", "\"\xc0\x80\""), "invalid: not valid UTF-8 at byte 212"},
		{"surrogate as UTF-8", eventWith("content", "\"\xed\xa0\x80\""), "invalid: not valid UTF-8 at byte 212"},
		{"NUL", eventWith("content", `"a\u0000b"`), `invalid: content holds NUL (\u0000), which we do not keep`},
		{"NUL in a tag", eventWith("tags", `[["t","\u0000"]]`), `invalid: tag holds NUL (\u0000), which we do not keep`},
		{"raw NUL", eventWith("content", "\"a\x00b\""), "invalid: malformed JSON: content holds a raw control character (0x00) at byte 213"},
		{"raw newline", eventWith("content", "\"a\nb\""), "invalid: malformed JSON: content holds a raw control character (0x0a) at byte 213"},
		{"lone high surrogate", eventWith("content", `"\ud83d"`), `invalid: content holds a lone surrogate (\ud83d)`},
		{"lone low surrogate", eventWith("content", `"\ude00"`), `invalid: content holds a lone surrogate (\ude00)`},
		{"two high surrogates", eventWith("content", `"\ud83d\ud83d"`), `invalid: content holds a lone surrogate (\ud83d)`},
		{"high surrogate and a letter", eventWith("content", `"\ud83d\u0041"`), `invalid: content holds a lone surrogate (\ud83d)`},
		{"unknown escape", eventWith("content", `"\x41"`), "invalid: malformed JSON: content holds an unknown escape at byte 212"},
		{"broken escape", eventWith("content", `"\u00g0"`), `invalid: malformed JSON: content holds a broken \u escape at byte 212`},
		{"duplicate key", `{"kind":1,"kind":2}`, `invalid: duplicate key "kind"`},
		{"duplicate key in disguise", `{"kind":1,"\u006bind":2}`, `invalid: duplicate key "kind"`},
		{"duplicate unknown key", `{"x":1,"x":2}`, `invalid: duplicate key "x"`},
		{"deep nesting", `{"x":` + strings.Repeat("[", 50) + strings.Repeat("]", 50) + `}`, "invalid: nested more than 32 deep"},
		{"very deep nesting", `{"x":` + strings.Repeat(`{"a":`, 100000), "invalid: nested more than 32 deep"},
		{"broken number in an unknown key", `{"x":01}`, "invalid: malformed JSON: broken number at byte 5"},
		{"no id", eventWith("id", ""), "invalid: the event has no id"},
		{"no tags", eventWith("tags", ""), "invalid: the event has no tags"},
		{"no sig", eventWith("sig", ""), "invalid: the event has no sig"},
		{"short id", eventWith("id", `"a1"`), "invalid: id must be 64 lower-case hex digits"},
		{"long id", eventWith("id", `"`+id64+`a1"`), "invalid: id must be 64 lower-case hex digits"},
		{"upper-case id", eventWith("id", `"`+strings.ToUpper(id64)+`"`), "invalid: id must be 64 lower-case hex digits"},
		{"id of other letters", eventWith("id", `"`+strings.Repeat("g1", 32)+`"`), "invalid: id must be 64 lower-case hex digits"},
		{"id a number", eventWith("id", `7`), "invalid: id must be a string, not a number"},
		{"short pubkey", eventWith("pubkey", `"b2"`), "invalid: pubkey must be 64 lower-case hex digits"},
		{"upper-case pubkey", eventWith("pubkey", `"`+strings.ToUpper(key64)+`"`), "invalid: pubkey must be 64 lower-case hex digits"},
		{"short sig", eventWith("sig", `"`+sig64[2:]+`"`), "invalid: sig must be 128 lower-case hex digits"},
		{"upper-case sig", eventWith("sig", `"`+strings.ToUpper(sig64)+`"`), "invalid: sig must be 128 lower-case hex digits"},
		{"sig null", eventWith("sig", `null`), "invalid: sig must be a string, not null"},
		{"kind -1", eventWith("kind", `-1`), "invalid: kind must be an integer from 0 to 65535, not -1"},
		{"kind 65536", eventWith("kind", `65536`), "invalid: kind must be an integer from 0 to 65535, not 65536"},
		{"kind 1.5", eventWith("kind", `1.5`), "invalid: kind must be an integer from 0 to 65535, not 1.5"},
		{"kind 1e0", eventWith("kind", `1e0`), "invalid: kind must be an integer from 0 to 65535, not 1e0"},
		{"kind 01", eventWith("kind", `01`), "invalid: malformed JSON: broken number at byte 180"},
		{"kind as a string", eventWith("kind", `"1"`), "invalid: kind must be an integer, not a string"},
		{"kind true", eventWith("kind", `true`), "invalid: kind must be an integer, not a boolean"},
		{"created_at negative", eventWith("created_at", `-5`), "invalid: created_at must be an integer from 0 to 281474976710655, not -5"},
		{"created_at beyond 64 bits", eventWith("created_at", `9223372036854775808`), "invalid: created_at must be an integer from 0 to 281474976710655, not 9223372036854775808"},
		{"created_at 1.7e9", eventWith("created_at", `1.7e9`), "invalid: created_at must be an integer from 0 to 281474976710655, not 1.7e9"},
		{"created_at with 10,000 digits", eventWith("created_at", strings.Repeat("9", 10000)), "invalid: created_at must be an integer from 0 to 281474976710655, not " + strings.Repeat("9", 40) + "…"},
		{"created_at as a string", eventWith("created_at", `"1700000000"`), "invalid: created_at must be an integer, not a string"},
		{"tags null", eventWith("tags", `null`), "invalid: tags must be an array, not null"},
		{"tags an object", eventWith("tags", `{}`), "invalid: tags must be an array, not an object"},
		{"a null tag", eventWith("tags", `[["a"],null]`), "invalid: tags[1] must be an array of strings, not null"},
		{"a tag that is a string", eventWith("tags", `["d"]`), "invalid: tags[0] must be an array of strings, not a string"},
		{"a null value", eventWith("tags", `[["e",null]]`), "invalid: tags[0][1] must be a string, not null"},
		{"a number in a tag", eventWith("tags", `[["t","x"],["nonce",1,"2"]]`), "invalid: tags[1][1] must be a string, not a number"},
		{"a nested tag", eventWith("tags", `[[["a"]]]`), "invalid: tags[0][0] must be a string, not an array"},
		{"an empty tag", eventWith("tags", `[["t"],[]]`), "invalid: tags[1] is empty"},
		{"content null", eventWith("content", `null`), "invalid: content must be a string, not null"},
		{"content an object", eventWith("content", `{}`), "invalid: content must be a string, not an object"},
	} {
		t.Run(c.name, func(t *testing.T) {
			ev, record, err := ParseEvent([]byte(c.json))
			if ev != nil || record != nil || err == nil {
				t.Fatalf("accepted as %s", record)
			}
			if err.Error() != c.want {
				t.Errorf("got  %s\nwant %s", err, c.want)
			}
		})
	}
}

func TestUncommonButLegalEventsAreKept(t *testing.T) {
	for _, c := range []struct{ name, json, record string }{
		{"a tag without a value", eventWith("tags", `[["d"]]`), eventWith("tags", `[["d"]]`)},
		{"a tag of an empty string", eventWith("tags", `[[""]]`), eventWith("tags", `[[""]]`)},
		{"no tags", eventWith("tags", `[]`), eventWith("tags", `[]`)},
		{"white space", strings.ReplaceAll(eventWith("", ""), ",", " ,\n\t\r"), eventWith("", "")},
		{"created_at 0", eventWith("created_at", "0"), eventWith("created_at", "0")},
		{"created_at in milliseconds", eventWith("created_at", "1700000000000"), eventWith("created_at", "1700000000000")},
		{"the highest kind", eventWith("kind", "65535"), eventWith("kind", "65535")},
		{"a surrogate pair", eventWith("content", `"\ud83d\uDE00"`), eventWith("content", `"😀"`)},
		{"needless escapes", eventWith("content", `"\u0041\/\u00e9\u000A"`), eventWith("content", `"A/é\n"`)},
		{"each short escape", eventWith("content", `"\n\"\\\r\t\b\f"`), eventWith("content", `"\n\"\\\r\t\b\f"`)},
		{"other control characters", eventWith("content", `"\u0001\u001F\u007f"`), eventWith("content", "\"\\u0001\\u001f\x7f\"")},
		{"unknown keys", strings.Replace(eventWith("", ""), "{", `{"seen":[{"a":null,"b":[true,false,-1.5e+3]}],"ID":1,`, 1), eventWith("", "")},
		{"another order", `{"sig":"` + sig64 + `","content":"hi","tags":[["t","x"]],"kind":1,"created_at":1700000000,"pubkey":"` + key64 + `","id":"` + id64 + `"}`, eventWith("", "")},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, record, err := ParseEvent([]byte(c.json))
			if err != nil {
				t.Fatal(err)
			}
			if string(record) != c.record {
				t.Errorf("got  %s\nwant %s", record, c.record)
			}
		})
	}
}

func TestHundredThousandTagsAreReadInTimeAndRefusedAtTheBound(t *testing.T) {
	many := eventWith("tags", "["+strings.Repeat(`["t","x"],`, 99_999)+`["t","x"]]`)
	start := time.Now()
	ev, _, err := ParseEvent([]byte(many))
	if err != nil || len(ev.Tags) != 100_000 {
		t.Fatal(err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %s", took)
	}
	_, err = Parse([]byte(`["EVENT",`+many+`]`), Limits{EventTags: 2000})
	if err == nil || err.Error() != "invalid: more than 2000 tags" {
		t.Error(err)
	}
}

func TestContentIsBoundedInCharactersNotBytes(t *testing.T) {
	lim := Limits{Content: 10}
	if _, err := Parse([]byte(`["EVENT",`+eventWith("content", `"éééééééééé"`)+`]`), lim); err != nil {
		t.Error(err)
	}
	_, err := Parse([]byte(`["EVENT",`+eventWith("content", `"ééééééééééé"`)+`]`), lim)
	if err == nil || err.Error() != "invalid: content is longer than 10 characters" {
		t.Error(err)
	}
}

func TestParsedEventSharesNothingWithItsBuffer(t *testing.T) {
	msg := []byte(`["EVENT",` + eventWith("content", `"a\nb"`) + `]`)
	m, err := Parse(msg, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	before, record := m.Event.String(), string(m.JSON)
	for i := range msg {
		msg[i] = 'x'
	}
	if m.Event.String() != before || string(m.JSON) != record {
		t.Error("the event changed with the buffer")
	}
}

func TestAppendingToOneTagLeavesTheNextAlone(t *testing.T) {
	ev, _, err := ParseEvent([]byte(eventWith("tags", `[["a","b"],["c","d"]]`)))
	if err != nil {
		t.Fatal(err)
	}
	ev.Tags[0] = append(ev.Tags[0], "new")
	if ev.Tags[1][0] != "c" {
		t.Error("the second tag was overwritten")
	}
}

// TestBothFormsOfTheIDAreRight: NIP-01 leaves control characters such as
// U+0001 bare in what is hashed; go-nostr, nostr-tools and all that use
// JSON.stringify write \u0001.
func TestBothFormsOfTheIDAreRight(t *testing.T) {
	secret, _ := btcec.PrivKeyFromBytes(bytes.Repeat([]byte{7}, 32))
	ev := nostr.Event{Kind: 1, CreatedAt: 1700000000, Tags: nostr.Tags{{"t", "\x1f"}}, Content: "a\x01\n\x7f"}
	if err := ev.Sign(hex.EncodeToString(secret.Serialize())); err != nil {
		t.Fatal(err)
	}
	if !CheckID(&ev) || !CheckSignature(&ev) {
		t.Error("the JSON form is refused")
	}
	bare := "[0,\"" + ev.PubKey + "\",1700000000,1,[[\"t\",\"\x1f\"]],\"a\x01\\n\x7f\"]"
	letter := EventID(&ev)
	if want := sha(bare); letter != want {
		t.Errorf("EventID is %x, want %x", letter, want)
	}
	if hex.EncodeToString(letter[:]) == ev.GetID() {
		t.Error("the two forms should differ here")
	}
	sig, err := schnorr.Sign(secret, letter[:])
	if err != nil {
		t.Fatal(err)
	}
	ev.ID, ev.Sig = hex.EncodeToString(letter[:]), hex.EncodeToString(sig.Serialize())
	if !CheckID(&ev) || !CheckSignature(&ev) {
		t.Error("the form by the letter of NIP-01 is refused")
	}
	forged := ev
	forged.Sig = flip(ev.Sig)
	if CheckSignature(&forged) {
		t.Error("a forged signature over that form passes")
	}
	ev.Content += "."
	if CheckID(&ev) {
		t.Error("a changed event keeps its id")
	}
}

func TestCheckIDRefusesWhatIsNoID(t *testing.T) {
	for _, id := range []string{"", "a1", id64, strings.Repeat("zz", 32), id64 + "a1"} {
		if CheckID(&nostr.Event{ID: id}) {
			t.Errorf("%q passes", id)
		}
	}
}

func TestCheckSignatureRefusesAKeyThatIsNoPoint(t *testing.T) {
	for _, content := range []string{"a", "\x01"} {
		ev := nostr.Event{ID: id64, PubKey: strings.Repeat("ff", 32), Sig: sig64, Content: content}
		if CheckSignature(&ev) {
			t.Errorf("content %q passes", content)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	for _, size := range []int{400, 591, 3700} {
		lines := realEvents(b)
		slices.SortFunc(lines, func(x, y []byte) int { return abs(len(x)-size) - abs(len(y)-size) })
		msg := AppendEventMessage(nil, lines[0])
		b.Run(fmt.Sprintf("event of %d bytes", size), func(b *testing.B) {
			b.SetBytes(int64(len(msg)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Parse(msg, Limits{EventTags: 2000, Content: 1 << 19}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func abs(n int) int { return max(n, -n) }

func BenchmarkCheckID(b *testing.B) {
	ev, _, err := ParseEvent(realEvents(b)[100])
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !CheckID(ev) {
			b.Fatal("no match")
		}
	}
}
