package main

import (
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"agora/personhood"
	"agora/personhood/poll"
	"agora/personhood/semaphore"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/gorilla/websocket"
	"github.com/nbd-wtf/go-nostr"
)

// A ballot that is not exactly what it should be is refused at a socket with
// one reason, and leaves the person's vote unspent.
func TestHostileBallotsAtASocketAreRefusedAndSpendNothing(t *testing.T) {
	v := newVillage(t, 3)
	now := nostr.Now()
	of := v.ask(now+3600, now-100)
	ws, resp, err := websocket.DefaultDialer.DialContext(t.Context(), v.s.at.relay, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	resp.Body.Close()
	say := func(ev *nostr.Event) string {
		if err := ws.WriteMessage(websocket.TextMessage, []byte(`["EVENT",`+ev.String()+`]`)); err != nil {
			t.Fatal(err)
		}
		_ = ws.SetReadDeadline(time.Now().Add(60 * time.Second))
		for {
			var answer []any
			if err := ws.ReadJSON(&answer); err != nil {
				t.Fatal(err)
			}
			if len(answer) != 4 || answer[0] != "OK" || answer[1] != ev.ID {
				continue // a challenge to authenticate, or the like
			}
			if answer[2] == true {
				return ""
			}
			return answer[3].(string)
		}
	}

	good, other := v.vote(0, of, now, "t"), v.vote(1, of, now, "t")
	pop, n := slices.IndexFunc(good.Tags, named(personhood.TagPop)), slices.IndexFunc(good.Tags, named(personhood.TagNullifier))
	nullifier := good.Tags[n][1]
	number, _ := new(big.Int).SetString(nullifier, 16)
	over := new(big.Int).Add(number, fr.Modulus()).Text(16)
	minus := new(big.Int).Sub(fr.Modulus(), number).Text(16)
	both := func(text string) func(nostr.Tags) nostr.Tags {
		return func(tags nostr.Tags) nostr.Tags { tags[pop][5], tags[n][1] = text, text; return tags }
	}
	set := func(i int, text string) func(nostr.Tags) nostr.Tags {
		return func(tags nostr.Tags) nostr.Tags { tags[pop][i] = text; return tags }
	}
	twin := strings.Replace(v.snapshot.Group.String(), ":village", ":twin", 1)
	for name, c := range map[string]struct {
		change func(nostr.Tags) nostr.Tags
		words  string
	}{
		"nullifier plus the order":    {both(over), "nullifier"},
		"nullifier minus":             {both(strings.Repeat("0", 64-len(minus)) + minus), "does not verify"},
		"nullifier signed":            {both("-" + nullifier[1:]), "nullifier"},
		"nullifier in capitals":       {both(strings.ToUpper(nullifier)), "nullifier"},
		"nullifier with zeros":        {both("00" + nullifier), "nullifier"},
		"nullifier of another":        {both(other.Tags[n][1]), "does not verify"},
		"proof of another":            {set(6, other.Tags[pop][6]), "does not verify"},
		"proof in other base64":       {set(6, strings.TrimRight(good.Tags[pop][6], "=")), "proof"},
		"proof and a line break":      {set(6, good.Tags[pop][6]+"\n"), "proof"},
		"n that differs":              {func(tags nostr.Tags) nostr.Tags { tags[n][1] = other.Tags[n][1]; return tags }, "n tag"},
		"no n":                        {func(tags nostr.Tags) nostr.Tags { return slices.Delete(tags, n, n+1) }, "wants one n"},
		"two n":                       {func(tags nostr.Tags) nostr.Tags { return append(tags, tags[n]) }, "wants one n"},
		"two pop":                     {func(tags nostr.Tags) nostr.Tags { return append(tags, tags[pop]) }, "wants one pop"},
		"eight words":                 {func(tags nostr.Tags) nostr.Tags { tags[pop] = append(tags[pop], ""); return tags }, "want 7"},
		"six words":                   {func(tags nostr.Tags) nostr.Tags { tags[pop] = tags[pop][:6]; return tags }, "want 7"},
		"bare pop":                    {func(tags nostr.Tags) nostr.Tags { tags[pop] = tags[pop][:1]; return tags }, "want"},
		"another method":              {set(1, "semaphore5"), "method"},
		"a twin group, the same root": {set(2, twin), "group is not"},
		"another root":                {set(3, nullifier), "root"},
		"depth 020":                   {set(4, "020"), "depth"},
		"another option":              {func(tags nostr.Tags) nostr.Tags { tags[1][1] = "c"; return tags }, "does not verify"},
	} {
		bad := *good
		bad.Tags = nil
		for _, tag := range good.Tags {
			bad.Tags = append(bad.Tags, slices.Clone(tag))
		}
		bad.Tags = c.change(bad.Tags)
		if err := bad.Sign(nostr.GeneratePrivateKey()); err != nil {
			t.Fatal(err)
		}
		if text := say(&bad); !strings.Contains(text, "invalid: ") || !strings.Contains(text, c.words) {
			t.Errorf("%s: %q, want %q", name, text, c.words)
		}
	}
	if text := say(good); text != "" {
		t.Errorf("the ballot itself: %s", text)
	}
	if held := v.held(nostr.Filter{Kinds: []int{poll.KindBallot}}); held != 1 {
		t.Errorf("%d ballots are held", held)
	}

	lost := nostr.Event{Kind: poll.KindPoll, CreatedAt: now, Tags: nostr.Tags{
		{"option", "t", "tea"}, {"pop", "semaphore4", v.snapshot.Group.String(), semaphore.Hex(v.people[0].Commitment()), "20"},
	}}
	if err := lost.Sign(nostr.GeneratePrivateKey()); err != nil {
		t.Fatal(err)
	}
	if text := say(&lost); !strings.Contains(text, "never published") {
		t.Errorf("a poll pinned to a root that was never published: %q", text)
	}
}

func named(name string) func(nostr.Tag) bool {
	return func(tag nostr.Tag) bool { return len(tag) > 0 && tag[0] == name }
}
