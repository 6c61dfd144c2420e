package search

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// spaced is what the index makes of a text's control characters.
func spaced(s string) string {
	return strings.NewReplacer("\n", " ", "\r", " ", "\t", " ", "\b", " ", "\f", " ").Replace(s)
}

func FuzzContentIsReadAsJSONReadsIt(f *testing.F) {
	for _, s := range []string{"", "plain", "a \"quoted\" \\ line\nnext", `,"content":"fake","sig":"`, "\u2028 \U0001F525 \x00\x1f", "é"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, content, tag string) {
		content, tag = strings.ToValidUTF8(content, "?"), strings.ToValidUTF8(tag, "?")
		rec := record(t, &nostr.Event{Kind: 1, Content: content, Tags: nostr.Tags{{"x", tag, `],"content":"`}}})
		var scratch []byte
		if got := string(contentOf(rec.JSON, &scratch)); got != spaced(content) {
			t.Fatalf("got %q of %q", got, content)
		}
	})
}

func TestContentReadsEscapesOfEveryForm(t *testing.T) {
	for _, raw := range []string{`\ud83d\ude00 \u00e9 \/ \\ \" \n`, `\ud83d alone`, `\ud83d\u0041`, `\udc00`} {
		var want string
		if err := json.Unmarshal([]byte(`"`+raw+`"`), &want); err != nil {
			t.Fatal(err)
		}
		if got := string(unescape(nil, []byte(raw))); got != spaced(want) {
			t.Errorf("%s: got %q, want %q", raw, got, want)
		}
	}
	for _, raw := range []string{`\`, `\u`, `\u12`, `\uzzzz`, `\ud83d\u`, `\ud83d\uzzzz`} {
		unescape(nil, []byte(raw)) // must not read beyond the end
	}
}

func TestTextsAreThoseMeantToBeFound(t *testing.T) {
	profile := `{"name":"Alice","display_name":"Al Ice","nip05":"alice@example.com","about":"likes cats","picture":"https://secret.example/x.png","website":5}`
	for _, c := range []struct {
		ev         nostr.Event
		name, body string
	}{
		{nostr.Event{Kind: 0, Content: profile}, "alice al ice alice example com", "likes cats"},
		{nostr.Event{Kind: 0, Content: `{"name":7,"about":["x"],"display_name":"ok"}`}, "ok", ""},
		{nostr.Event{Kind: 0, Content: `not json`}, "", ""},
		{nostr.Event{Kind: 1, Content: "hello", Tags: nostr.Tags{{"t", "greeting"}, {"p", "abc"}, {"subject", "re"}}}, "", "greeting re hello"},
		{nostr.Event{Kind: 30023, Content: "text", Tags: nostr.Tags{{"title", "A Title"}, {"summary", "in short"}, {"d", "slug"}}}, "a title", "in short text"},
		{nostr.Event{Kind: 39000, Tags: nostr.Tags{{"d", "g"}, {"name", "Group"}, {"about", "for all"}}}, "group", "for all"},
		{nostr.Event{Kind: 30000, Content: "ciphertext?iv=1", Tags: nostr.Tags{{"title", "Friends"}}}, "friends", ""},
		{nostr.Event{Kind: 31990, Content: `{"name":"App","about":"does"}`}, "app", "does"},
	} {
		rec := record(t, &c.ev)
		var scratch []byte
		var got [2][]string
		texts(&rec, &scratch, func(p part, text []byte) { got[p] = append(got[p], wordsOf(string(text))...) })
		if strings.Join(got[name], " ") != c.name || strings.Join(got[body], " ") != c.body {
			t.Errorf("kind %d: name %q, body %q", c.ev.Kind, got[name], got[body])
		}
	}
}

func TestSealedKindsAreNeverIndexed(t *testing.T) {
	if err := checkKinds(Kinds()); err != nil {
		t.Fatal(err)
	}
	for _, k := range sealed() {
		if slices.Contains(Kinds(), k) {
			t.Errorf("kind %d is a default", k)
		}
		if _, err := open(t.TempDir(), newMemory(), Config{Kinds: []int{1, k}}); err == nil {
			t.Errorf("kind %d was accepted", k)
		}
	}
	m := newMemory()
	ix, _ := running(t, t.TempDir(), m, Config{})
	for _, k := range []int{4, 13, 14, 1059, 24133, 7, 3} {
		m.add(t, &nostr.Event{Kind: k, Content: "whisper", Tags: nostr.Tags{{"title", "whisper"}}})
	}
	id := m.add(t, note("whisper", 1))
	caught(t, ix, m)
	if got := find(t, ix, "whisper", nostr.Filter{}); len(got) != 1 || got[0] != id {
		t.Fatalf("found %x", got)
	}
}
