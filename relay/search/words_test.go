package search

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// wordsOf lists the words of a text; the tail of a dense run in brackets.
func wordsOf(text string) (out []string) {
	split([]byte(text), func(w []byte, f form) bool {
		if f == tail {
			out = append(out, "["+string(w)+"]")
		} else {
			out = append(out, string(w))
		}
		return true
	})
	return out
}

func TestSplitReadsManyScripts(t *testing.T) {
	npub := "npub1" + strings.Repeat("q", 58)
	for _, c := range []struct{ text, want string }{
		{"", ""},
		{"  \n\t!?… — ", ""},
		{"Hello, World!", "hello world"},
		{"GM☀️ frens", "gm ☀ frens"},
		{"café CAFÉ cafe\u0301", "cafe cafe cafe"},
		{"Straße STRASSE", "strasse strasse"},
		{"Łódź Ærø þing İstanbul ılık ǽ ẞ", "lodz aero thing istanbul ilik ae ss"},
		{"ｆｕｌｌ ｗｉｄｔｈ ﬁne №5", "full width fine no5"},
		{"don't it’s bitcoin's l'eau qu'il rock'n'roll 'quoted'", "dont it bitcoin l eau qu il rocknroll quoted"},
		{"web3 e2e v0.17.5 21,000,000 $100 ₿ 5€", "web3 e2e v0 17 5 21 000 000 100 ₿ 5 €"},
		{"snake_case kebab-case C++", "snake case kebab case c"},
		{"#Nostr #日本 @jack", "nostr 日本 [本] jack"},
		{"see https://www.Primal.net/e/note1abc?x=y#z now", "see primal net now"},
		{"(wss://user:pass@relay.damus.io:443/path) ok", "relay damus io ok"},
		{"https://例え.jp/パス後ろ", "例え [え] jp パス ス後 後ろ [ろ]"},
		{"ratio 3:1 note:this 12:30", "ratio 3 1 note this 12 30"},
		{"hi nostr:" + npub + "!", "hi " + npub},
		{"nostr:nevent1" + strings.Repeat("q", 80) + " nostr: x", "nostr x"},
		{"lnbc" + strings.Repeat("1p", 90) + " pay", "pay"},
		{"Привет, МИР! ёлка Йод", "привет мир елка йод"},
		{"Καλημέρα ΚΌΣΜΟΣ κόσμος", "καλημερα κοσμοσ κοσμοσ"},
		{"Tiếng Việt", "tieng viet"},
		{"العَرَبِيَّة أحمد مــرحبا ١٢٣", "العربيه احمد مرحبا 123"},
		{"فارسی کتاب", "فارسي كتاب"},
		{"שָׁלוֹם עולם", "שלום עולם"},
		{"हिन्दी में नमस्ते", "हिन्दी में नमस्ते"},
		{"தமிழ் বাংলা", "தமிழ் বাংলা"},
		{"東京都に住む", "東京 京都 都に に住 住む [む]"},
		{"猫", "猫"},
		{"カタカナ ｶﾞｷﾞ", "カタ タカ カナ [ナ] ガギ [ギ]"},
		{"データ", "デー ータ [タ]"},
		{"한국어 검색", "한국 국어 [어] 검색 [색]"},
		{"bitcoin日本v2", "bitcoin 日本 [本] v2"},
		{"สวัสดี", "สวั วัส สดี [ดี]"},
		{"ភាសា\u200bខ្មែរ", "ភាសា [សា] ខ្មែ មែរ [រ]"},
		{"👨‍👩‍👧 👍🏽🇨🇷🇩🇪 ❤️‍🔥", "👨 👩 👧 👍 🇨🇷 🇩🇪 ❤ 🔥"},
		{"1️⃣ zero\u200dwidth soft\u00adhyphen", "1 zerowidth softhyphen"},
		{"mixed\u0301\u0302\u0303\u0304", "mixed"},
		{"\u0301\u0302", ""},
		{strings.Repeat("a", 100) + " b", strings.Repeat("a", 64) + " b"},
		{strings.Repeat("ж", 40), strings.Repeat("ж", 32)},
		{"bad\xff\xfeutf8\xc3", "bad utf8"},
		{"nul\x00byte", "nul byte"},
	} {
		if got := strings.Join(wordsOf(c.text), " "); got != c.want {
			t.Errorf("%q\n got %s\nwant %s", c.text, got, c.want)
		}
	}
}

func TestSplitIsBoundedOnHostileText(t *testing.T) {
	const size = 512 << 10 // the longest content by default
	for name, unit := range map[string]string{
		"one letter": "a", "marks": "\u0301", "letter and marks": "e\u0301\u0302\u0303", "ligature of 18": "ﷺ",
		"Thai marks": "ก็", "only Thai marks": "็", "virama": "क्", "Han": "東", "emoji": "🤣", "joined": "👨\u200d", "flags": "🇨", "variation": "\ufe0f",
		"apostrophes": "a'", "colons": "a:", "addresses": "a://", "schemes": "http://x.y ", "entities": "nostr:npub1", "invalid": "\xff",
		"jamo": "\u1100\u1161\u11a8", "halfwidth": "ｶﾞ", "at": "a://@@", "ats": "://@",
	} {
		text := bytes.Repeat([]byte(unit), size/len(unit))
		began, words := time.Now(), 0
		split(text, func(w []byte, _ form) bool {
			if len(w) == 0 || len(w) > maxWord {
				t.Errorf("%s: a word of %d bytes", name, len(w))
				return false
			}
			words++
			return words < maxLength
		})
		t.Logf("%s: %v for %d words", name, time.Since(began), words)
		if d := time.Since(began); d > 10*time.Second { // 0.5 s at most, but for the race detector and a busy machine
			t.Errorf("%s: %v for %d words", name, d, words)
		}
	}
}

func FuzzSplit(f *testing.F) {
	for _, s := range []string{"Hello world", "東京 l'eau https://a.b/c", "สวัสดี 🇨🇷", "a\u0301\xff", "nostr:npub1", "ｶﾞ"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n := 0
		split([]byte(s), func(w []byte, form form) bool {
			n++
			if len(w) == 0 || len(w) > maxWord || !utf8.Valid(w) || bytes.ContainsAny(w, " \n\x00\x01") {
				t.Fatalf("%q gave the word %q", s, w)
			}
			if form == plain && len(w) < 40 && !bytes.ContainsRune(w, ':') {
				again := wordsOf(string(w))
				if !slices.Equal(again, []string{string(w)}) && stable(w) {
					t.Fatalf("%q gave %q, which reads as %q", s, w, again)
				}
			}
			return true
		})
		if n > 2+len(s)*18 {
			t.Fatalf("%d words of %d bytes", n, len(s))
		}
	})
}

// stable leaves out what may read differently alone: a mark may compose with
// the folded letter before it, which had none left to compose with.
func stable(w []byte) bool {
	for _, r := range string(w) {
		if r >= utf8.RuneSelf && classify(r) != inside && classify(r) != sign {
			return false
		}
	}
	return true
}
