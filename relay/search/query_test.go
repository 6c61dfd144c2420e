package search

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

func describeQuery(q Query) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%v", q.Words)
	for _, p := range q.Phrases {
		fmt.Fprintf(&b, " %q", strings.Join(p, " "))
	}
	for _, p := range q.Not {
		fmt.Fprintf(&b, " -%q", strings.Join(p, " "))
	}
	for _, k := range slices.Sorted(maps.Keys(q.Ext)) {
		fmt.Fprintf(&b, " %s=%v", k, q.Ext[k])
	}
	if q.typing != "" {
		fmt.Fprintf(&b, " %s*", q.typing)
	}
	if q.Blank {
		b.WriteString(" blank")
	}
	return b.String()
}

func TestParseTakesAQueryApart(t *testing.T) {
	for _, c := range []struct{ query, want string }{
		{"", "[] blank"},
		{"   ", "[] blank"},
		{"include:spam language:en language:de", "[] include=[spam] language=[en de] blank"},
		{"best nostr apps", "[best nostr apps] apps*"},
		{"Best  NOSTR\tbest", "[best nostr] best*"},
		{`"Freedom Tech" now`, `[now] "freedom tech" now*`},
		{`"one"`, "[one]"},
		{`"never closed text`, `[] "never closed text"`},
		{`""`, "[] blank"},
		{`cats -dogs -"big mice" -"rat"`, `[cats] -"dogs" -"big mice" -"rat"`},
		{"-only", `[] -"only"`},
		{"a - b -- c", "[a b c]"},
		{"well-known --flag", "[well known flag] flag*"},
		{"domain:example.com hello nsfw:false sort:hot", "[hello] domain=[example.com] nsfw=[false] sort=[hot]"},
		{`sort:"a b" x`, "[x] sort=[a b]"},
		{"https://Primal.net/x nostr:" + "npub1" + strings.Repeat("q", 58), "[primal net npub1" + strings.Repeat("q", 58) + "] npub1" + strings.Repeat("q", 58) + "*"},
		{"12:30 Re:mind key: :value a:b", "[12 30 re mind key value] a=[b]"},
		{"!!! ???", "[]"},
		{"東京都", `[] "東京 京都"`},
		{"東京", "[東京] 東京*"},
		{"猫 寿司屋 x", `[猫 x] "寿司 司屋"`},
		{"-東京都 ok", `[ok] -"東京 京都" ok*`},
		{"#bitcoin @jack", "[bitcoin jack] jack*"},
		{"x\u3000y", "[x y]"},
		{"word\xffbroken", "[word broken] broken*"},
		{"k\x10\"", "[k]"},
		{`a"b c"d`, `[a d] "b c"`},
	} {
		if got := describeQuery(Parse(c.query)); got != c.want {
			t.Errorf("%q\n got %s\nwant %s", c.query, got, c.want)
		}
	}
}

func TestParseIsBounded(t *testing.T) {
	var b strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&b, "w%d k%d:v \"p%d q%d\" -n%d ", i, i, i, i, i)
	}
	q := Parse(b.String())
	if len(q.terms) > maxTerms || len(q.Not) > maxTerms || len(q.Ext) > maxExt {
		t.Fatalf("%d terms, %d exclusions, %d extensions", len(q.terms), len(q.Not), len(q.Ext))
	}
	if len(q.Words) == 0 || q.Words[0] != "w0" {
		t.Fatalf("the first words are not kept: %v", q.Words)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{`a "b c" -d e:f`, "東京都 -猫", `-"`, `k:"`, "\xff:\"", "nostr:x ://"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		q := Parse(s)
		if len(q.terms) > maxTerms {
			t.Fatalf("%d terms", len(q.terms))
		}
		for _, w := range q.terms {
			if w == "" || len(w) > maxWord || !utf8.ValidString(w) {
				t.Fatalf("term %q of %q", w, s)
			}
		}
		for _, p := range append(slices.Clone(q.Phrases), q.Words) {
			for _, w := range p {
				if !slices.Contains(q.terms, w) {
					t.Fatalf("%q is asked for and not looked up", w)
				}
			}
		}
		if q.typing != "" && !slices.Contains(q.Words, q.typing) {
			t.Fatalf("typing %q is no word", q.typing)
		}
	})
}
