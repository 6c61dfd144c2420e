package wire

import (
	"crypto/sha256"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

func sha(s string) [32]byte { return sha256.Sum256([]byte(s)) }

func TestFiltersAreReadAndPrintedBack(t *testing.T) {
	for _, c := range []struct{ json, printed string }{
		{`{}`, `{}`},
		{`{"ids":["` + id64 + `"]}`, ``},
		{`{"authors":["` + key64 + `","` + id64 + `"],"kinds":[0,65535]}`, ``},
		{` { "kinds" : [ 1 , 2 ] , "limit" : 5 } `, `{"kinds":[1,2],"limit":5}`},
		{`{"#e":["` + id64 + `"],"#p":["` + key64 + `"]}`, ``},
		{`{"#t":["b","a","\u0041"],"#D":[""]}`, `{"#D":[""],"#t":["b","a","A"]}`},
		{`{"since":0,"until":9223372036854775807}`, ``},
		{`{"limit":0}`, ``},
		{`{"limit":1000000000000}`, ``},
		{`{"search":"cats \"and\" dogs"}`, ``},
		{`{"search":""}`, `{}`},
		{`{"ids":[],"authors":[],"kinds":[],"#t":[]}`, ``},
	} {
		f, err := ParseFilter([]byte(c.json), Limits{})
		if err != nil {
			t.Errorf("%s: %v", c.json, err)
			continue
		}
		want := c.printed
		if want == "" {
			want = c.json
		}
		if got := string(AppendFilter(nil, f)); got != want {
			t.Errorf("%s: got %s", want, got)
		}
	}
}

func TestAnEmptyListStaysAnEmptyListAndAMissingOneNil(t *testing.T) {
	f, err := ParseFilter([]byte(`{"ids":[],"kinds":[],"#t":[]}`), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	if f.IDs == nil || f.Kinds == nil || f.Tags["t"] == nil || f.Authors != nil {
		t.Errorf("%#v", f)
	}
}

func TestLimitZeroIsNotNoLimit(t *testing.T) {
	for json, want := range map[string]nostr.Filter{
		`{"limit":0}`: {LimitZero: true},
		`{"limit":1}`: {Limit: 1},
		`{}`:          {},
	} {
		f, err := ParseFilter([]byte(json), Limits{})
		if err != nil || !reflect.DeepEqual(f, want) {
			t.Errorf("%s: %#v, %v", json, f, err)
		}
	}
}

func TestBadFiltersAreRefusedWithAReason(t *testing.T) {
	for _, c := range []struct{ json, want string }{
		{`[]`, "invalid: filter must be an object, not an array"},
		{`null`, "invalid: filter must be an object, not null"},
		{`{"ids":null}`, "invalid: ids must be an array, not null"},
		{`{"ids":"` + id64 + `"}`, "invalid: ids must be an array, not a string"},
		{`{"ids":["a1"]}`, "invalid: each of ids must be 64 lower-case hex digits"},
		{`{"ids":["` + strings.ToUpper(id64) + `"]}`, "invalid: each of ids must be 64 lower-case hex digits"},
		{`{"ids":[7]}`, "invalid: ids must be a string, not a number"},
		{`{"authors":["` + key64 + `0"]}`, "invalid: each of authors must be 64 lower-case hex digits"},
		{`{"#e":["a1"]}`, "invalid: each of #e must be 64 lower-case hex digits"},
		{`{"#p":["npub1"]}`, "invalid: each of #p must be 64 lower-case hex digits"},
		{`{"#t":[1]}`, "invalid: #t must be a string, not a number"},
		{`{"#t":["\u0000"]}`, `invalid: #t holds NUL (\u0000), which we do not keep`},
		{`{"kinds":["1"]}`, "invalid: each of kinds must be an integer, not a string"},
		{`{"kinds":[-1]}`, "invalid: each of kinds must be an integer from 0 to 65535, not -1"},
		{`{"kinds":[65536]}`, "invalid: each of kinds must be an integer from 0 to 65535, not 65536"},
		{`{"kinds":[1.0]}`, "invalid: each of kinds must be an integer from 0 to 65535, not 1.0"},
		{`{"kinds":1}`, "invalid: kinds must be an array, not a number"},
		{`{"since":"1"}`, "invalid: since must be an integer, not a string"},
		{`{"since":null}`, "invalid: since must be an integer, not null"},
		{`{"since":1.5}`, "invalid: since must be an integer from 0 to 9223372036854775807, not 1.5"},
		{`{"until":-1}`, "invalid: until must be an integer from 0 to 9223372036854775807, not -1"},
		{`{"until":1e3}`, "invalid: until must be an integer from 0 to 9223372036854775807, not 1e3"},
		{`{"limit":-1}`, "invalid: limit must be an integer from 0 to 9223372036854775807, not -1"},
		{`{"limit":99999999999999999999}`, "invalid: limit must be an integer from 0 to 9223372036854775807, not 99999999999999999999"},
		{`{"search":1}`, "invalid: search must be a string, not a number"},
		{`{"limit":1,"limit":2}`, `invalid: duplicate key "limit" in a filter`},
		{`{"#t":["a"],"#t":["b"]}`, `invalid: duplicate key "#t" in a filter`},
		{`{"tags":[]}`, `unsupported: unknown filter element "tags"`},
		{`{"#":["a"]}`, `unsupported: filter element "#": only tags of one letter are indexed`},
		{`{"#1":["a"]}`, `unsupported: filter element "#1": only tags of one letter are indexed`},
		{`{"#é":["a"]}`, `unsupported: filter element "#é": only tags of one letter are indexed`},
		{`{"#emoji":["a"]}`, `unsupported: filter element "#emoji": only tags of one letter are indexed`},
		{`{"&t":["a"]}`, `unsupported: unknown filter element "&t"`},
		{`{"":1}`, `unsupported: unknown filter element ""`},
		{`{"kinds":[1]`, "invalid: malformed JSON: expected '}' at byte 12"},
		{`{"kinds":[1,]}`, "invalid: each of kinds must be an integer, not malformed JSON at byte 12"},
		{`{"kinds":[1]}]`, "invalid: malformed JSON: something follows the end at byte 13"},
	} {
		_, err := ParseFilter([]byte(c.json), Limits{})
		if err == nil || err.Error() != c.want {
			t.Errorf("%s:\ngot  %v\nwant %s", c.json, err, c.want)
		}
	}
}

func TestEachTagLetterIsServedAndNothingElse(t *testing.T) {
	for c := range rune(128) {
		if c < 0x20 || c == '"' || c == '\\' {
			continue
		}
		value := `["` + id64 + `"]`
		f, err := ParseFilter([]byte(fmt.Sprintf(`{"#%c":%s}`, c, value)), Limits{})
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if (err == nil) != letter || letter && f.Tags[string(c)][0] != id64 {
			t.Errorf("#%c: %v", c, err)
		}
	}
}

func TestFilterItemsAreBoundedOverAllLists(t *testing.T) {
	lim := Limits{FilterItems: 4}
	if _, err := ParseFilter([]byte(`{"kinds":[1,2],"#t":["a","b"]}`), lim); err != nil {
		t.Error(err)
	}
	_, err := ParseFilter([]byte(`{"kinds":[1,2],"#t":["a","b","c"]}`), lim)
	if err == nil || err.Error() != "invalid: a filter may list at most 4 values in all" {
		t.Error(err)
	}
}

func BenchmarkParseReq(b *testing.B) {
	authors := make([]string, 200)
	for i := range authors {
		authors[i] = fmt.Sprintf("%064x", i*7919)
	}
	msg := AppendReq(nil, "feed", nostr.Filter{Authors: authors, Kinds: []int{1}, Limit: 100})
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(msg, Limits{FilterItems: 5000}); err != nil {
			b.Fatal(err)
		}
	}
}
