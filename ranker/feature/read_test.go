package feature

import (
	"encoding/json"
	"math"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

func TestReadCountsWhatANoteSays(t *testing.T) {
	ev := &nostr.Event{
		ID: strings.Repeat("f", 64), PubKey: strings.Repeat("1", 64), Kind: 1, CreatedAt: 1_700_000_000,
		Content: "GM Ñandú gm?\n\nhttps://a.example/x.JPG https://A.example/v.mp4?q=1 http://b.example 🌞\nlnbc1" + strings.Repeat("q", 120),
		Tags: nostr.Tags{{"e", "x", "", "reply"}, {"p", "a"}, {"p", "a"}, {"p", "b"}, {"t", "x"}, {"q", "y"}, {"content-warning"}, {"-"}, {},
			{"imeta", "url https://a.example/x.jpg", "m image/jpeg"}, {"imeta", "url https://c.example/blob", "m audio/mpeg"}},
	}
	got := Read(ev)
	want := Note{
		CreatedAt: 1_700_000_000, ID: math.MaxInt64, Author: 0x1111111111111111 >> 1, Kind: 1, Characters: got.Characters,
		Words: 4, Lines: 3, Emoji: 1, Links: 3, Hosts: 2, Images: 1, Videos: 1, Audio: 1, Hashtags: 1, Mentions: 2, Quotes: 1, Invoices: 1,
		Script: Latin, Reply: true, Warning: true, Question: true, Protected: true, Capitals: got.Capitals, Distinct: .75,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got.Characters != uint32(len([]rune(ev.Content))) {
		t.Errorf("%d characters", got.Characters)
	}
}

func TestMentionIsNoReply(t *testing.T) {
	if Read(&nostr.Event{Kind: 1, Tags: nostr.Tags{{"e", "x", "", "mention"}}}).Reply {
		t.Error("a mention is taken for a reply")
	}
	if !Read(&nostr.Event{Kind: 1111}).Reply {
		t.Error("a comment is no reply")
	}
}

// TestTokensAreTheSameEverywhere holds the hashing to golden numbers, so that
// a trainer in another language can be held to them too.
func TestTokensAreTheSameEverywhere(t *testing.T) {
	texts := []string{
		"", "hello", "Hello, HELLO world!", "straße ΣΊΣΥΦΟΣ İstanbul", "日本語のテキスト", "ราคา bitcoin", "नमस्ते दुनिया",
		"see https://example.com/a?b=c now", "a1b2 c-d_e", "👍🏽 ok", "مرحبا بالعالم", "\xff\xfe bad bytes", "e\u0301te\u0301",
	}
	got := make(map[string][]int32)
	for _, text := range texts {
		got[text] = Tokens(text, 8)
	}
	const golden = "testdata/tokens.json"
	if *update {
		text, err := json.MarshalIndent(got, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, append(text, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	var want map[string][]int32
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	for _, s := range texts {
		w, ok := want[strings.ToValidUTF8(s, "\ufffd\ufffd")]
		if !ok {
			w = want[s]
		}
		if len(w)+len(got[s]) > 0 && !slices.Equal(got[s], w) {
			t.Errorf("%q: %v, want %v", s, got[s], w)
		}
	}
}

func FuzzReadNeverPanicsAndKeepsItsBounds(f *testing.F) {
	f.Add("hello https://x.example/a.png", "e", "y")
	f.Add("日本\xff http://[::1]:namedport", "imeta", "url http://%zz")
	f.Fuzz(func(t *testing.T, content, name, value string) {
		n := Read(&nostr.Event{Kind: 1, Content: content, Tags: nostr.Tags{{name, value}, {name}}})
		if n.Capitals < 0 || n.Capitals > 1 || n.Distinct < 0 || n.Distinct > 1 || n.Script >= Scripts || n.Hosts > n.Links {
			t.Errorf("%+v", n)
		}
		for _, token := range Tokens(content, 32) {
			if token < 1 || token >= Vocabulary {
				t.Errorf("token %d", token)
			}
		}
	})
}

func BenchmarkReadNote(b *testing.B) {
	ev := &nostr.Event{Kind: 1, Content: strings.Repeat("Some words about nostr and bitcoin, with a link https://x.example/a.png\n", 4), Tags: nostr.Tags{{"p", "a"}, {"t", "b"}}}
	for b.Loop() {
		Read(ev)
	}
}
