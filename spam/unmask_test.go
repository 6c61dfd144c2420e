package spam

import (
	"context"
	"strings"
	"testing"
)

func TestDisguisedWordsAreReadAsWhatTheyMean(t *testing.T) {
	tx := newText()
	for in, want := range map[string]string{
		"f r e e  b t c": " free btc ", "F.R.E.E b-o-n-u-s c|l|a|i|m": " free bonus claim ", "f🔥r🔥e🔥e": " free ",
		"赠 送 给 您": " 赠送给您 ", "f\u200b r e\u0301 e": " free ", "fr33 b0nus wa11et 4irdrop": " free bonus wallet airdrop ",
		"f r 3 3 c 0 i n s": " freecoins ", "fr𝟑𝟑": " free ", "ｆ ｒ ｅ ｅ": " free ",
		// what is no disguise
		"a b c": " a b c ", "i.e. U.S. 1 2 3 4": " i.e. u.s. 0 0 0 0 ", "21m 19k 2fa mp3 covid19 v1.2.3 10:30": " 00m 00k 0fa mp0 covid00 v0.0.0 00:00 ",
		"나 는 이 것": " 나 는 이 것 ", "f r e ebook": " f r e ebook ", "a  b\n\nc": " a b c ", "12345678 x": " 0000 x ",
	} {
		tx.read(in)
		if got := string(tx.out); got != want {
			t.Errorf("%q is read as %q, want %q", in, got, want)
		}
	}
	tx.read("see https://a.b.c.d1.example/x12 and https://fr33.example")
	if got := symbols(tx.out); got != " see <link>a.b.c.d0.example<path> and <link>fr00.example " {
		t.Errorf("sites are read as %q", got)
	}
}

func TestDisguiseHidesNoScam(t *testing.T) {
	c := judge(t)
	words := "Claim your free USDT airdrop now and register your wallet to start earning daily profit, limited bonus for first users"
	logit := func(text string) float64 {
		w := c.pool.Get().(*work)
		defer c.pool.Put(w)
		return c.wording(w, text, new(Verdict))[headSpam]
	}
	plain, salad := logit(words), logit(plainText)
	spaced := strings.Join(strings.Split(strings.ReplaceAll(words, " ", ""), ""), " ")
	var apart, dotted []string
	for word := range strings.FieldsSeq(words) {
		apart, dotted = append(apart, strings.Join(strings.Split(word, ""), " ")), append(dotted, strings.Join(strings.Split(word, ""), "."))
	}
	for name, text := range map[string]string{
		"letters apart": strings.Join(apart, "  "), "dots": strings.Join(dotted, " "), "all apart": spaced,
		"digits": strings.NewReplacer("ee", "33", "o", "0", "i", "1").Replace(words),
	} {
		if got := logit(text); got < plain-(plain-salad)/2 || !c.Text(context.Background(), text, nil).Suspect {
			t.Errorf("%s: %.1f, as it is meant %.1f, salad %.1f", name, got, plain, salad)
		}
	}
}
