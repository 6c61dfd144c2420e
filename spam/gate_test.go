package spam

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"agora/relay/admit"

	"github.com/nbd-wtf/go-nostr"
)

const (
	scamText  = "Claim your free USDT airdrop now: register your wallet at https://t.me/free-usdt-bonus and start earning daily profit! Limited, first come."
	plainText = "The tomatoes on my balcony have finally turned red, so tonight there is salad."
)

type crowdStub map[string]Standing

func (c crowdStub) Standing(author string) Standing {
	if s, ok := c[author]; ok {
		return s
	}
	return Standing{Hops: -1}
}
func (c crowdStub) Follows(_, _ string) bool { return false }

type provenStub bool

func (p provenStub) Proven(context.Context, *nostr.Event) (bool, error) { return bool(p), nil }

type failing struct{}

func (failing) Proven(context.Context, *nostr.Event) (bool, error) {
	return false, errors.New("cannot tell")
}

func gate(t *testing.T, cfg Config) *Gate {
	t.Helper()
	g, err := NewGate(judge(t), NewWindow(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func note(n int, text string) *nostr.Event {
	key := fmt.Sprintf("%016x%048x", uint64(n)*0x9E3779B97F4A7C15|1, n)
	return &nostr.Event{ID: fmt.Sprintf("%064x", n+0xF0000000), PubKey: key, Kind: 1, Content: text, CreatedAt: nostr.Now()}
}

func rule(t *testing.T, g *Gate, ev *nostr.Event) admit.Ruling {
	t.Helper()
	r, err := g.Rule(t.Context(), ev, admit.Peer{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestPolicyRefusesQuarantinesLabelsOrOnlyMeasures(t *testing.T) {
	for _, c := range []struct {
		mode               Action
		refused, held, any bool
	}{{Pass, false, false, false}, {Measure, false, false, false}, {Mark, false, false, true}, {Quarantine, false, true, true}, {Refuse, true, false, false}} {
		g := gate(t, Config{Rules: Rules(c.mode)})
		r := rule(t, g, note(1, scamText))
		if (r.Refusal != nil) != c.refused || Quarantined(r.Labels) != c.held || (len(r.Labels) > 0) != c.any {
			t.Errorf("%s: %+v", c.mode, r)
		}
		if r := rule(t, g, note(2, plainText)); r.Refusal != nil || len(r.Labels) > 0 {
			t.Errorf("%s: salad is %+v", c.mode, r)
		}
	}
}

func TestRefusalSaysWhyAndHowToAppeal(t *testing.T) {
	g := gate(t, Config{Rules: Rules(Refuse)})
	ev := note(1, scamText)
	r := rule(t, g, ev)
	if r.Refusal == nil {
		t.Fatal("was let through")
	}
	if s := r.Refusal.String(); !strings.HasPrefix(s, "blocked: this looks like spam (") || !strings.Contains(s, Appeals) || !strings.Contains(s, "/v1/spam/"+ev.ID) {
		t.Error(s)
	}
	if author, v, ok := g.Refused(ev.ID); !ok || author != ev.PubKey || !v.Sure {
		t.Errorf("the author cannot see it: %v %v %v", author, v, ok)
	}
}

func TestDryRunTellsAndDoesNothing(t *testing.T) {
	var told []Outcome
	g := gate(t, Config{Rules: Rules(Refuse), DryRun: true, Outcome: func(o Outcome) { told = append(told, o) }})
	if r := rule(t, g, note(1, scamText)); r.Refusal != nil || r.Labels != nil {
		t.Errorf("a dry run did %+v", r)
	}
	if len(told) != 1 || told[0].Action != Refuse || told[0].Done {
		t.Errorf("told %+v", told)
	}
}

func TestPeopleWithinTwoHopsAreNeverRefusedByScore(t *testing.T) {
	ev := note(1, scamText)
	for hops := range 3 {
		g := gate(t, Config{Rules: Rules(Refuse), Crowd: crowdStub{ev.PubKey: {Trust: 0, Hops: hops}}})
		for range 30 {
			if r := rule(t, g, ev); r.Refusal != nil || Quarantined(r.Labels) {
				t.Fatalf("%d hops: %+v", hops, r)
			}
		}
	}
	g := gate(t, Config{Rules: Rules(Refuse), Crowd: crowdStub{ev.PubKey: {Trust: 0, Hops: 3}}})
	for i := range 12 {
		rule(t, g, note(100+i, scamText))
	}
	if r := rule(t, g, ev); r.Refusal == nil {
		t.Error("three hops protect too")
	}
}

// A vote is by a fresh key, like the others, in a burst.
func TestThousandProvenVotesAtOnceLoseNone(t *testing.T) {
	say := paraphraser(rand.New(rand.NewPCG(1, 1)), []string{"{I vote|My vote is|Voting} for the {second|2nd} proposal of the garden {council|assembly} this year, and thank everybody for counting"})
	for proven, want := range map[bool]int{true: 0, false: 900} {
		g := gate(t, Config{Rules: Rules(Refuse), Persons: provenStub(proven)})
		lost := 0
		for i := range 1000 {
			lost += one(rule(t, g, note(i, say())).Refusal != nil)
		}
		if proven && lost != 0 || !proven && lost < want {
			t.Errorf("proven %t: %d of 1,000 lost", proven, lost)
		}
	}
}

func TestGateThatCannotTellSaysSo(t *testing.T) {
	g := gate(t, Config{Rules: Rules(Refuse), Persons: failing{}})
	if _, err := g.Rule(t.Context(), note(1, plainText), admit.Peer{}); err == nil {
		t.Error("let through without knowing")
	}
}

func TestRulesByKindTrustAndScript(t *testing.T) {
	parse := func(s string) Rule {
		r, err := ParseRule(s)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	sure := &Verdict{Sure: true, Suspect: true, Script: "Han"}
	for _, c := range []struct {
		rule string
		kind int
		who  Standing
		want Action
	}{
		{"kinds=42 action=refuse", 42, Standing{Hops: -1}, Refuse},
		{"kinds=42 action=refuse", 1, Standing{Hops: -1}, Pass},
		{"trust<0.3 action=quarantine", 1, Standing{Hops: -1, Trust: .2}, Quarantine},
		{"trust<0.3 action=quarantine", 1, Standing{Hops: -1, Trust: .4}, Pass},
		{"script=Latin action=refuse", 1, Standing{Hops: -1}, Pass},
		{"script=Han when=sure action=label", 1, Standing{Hops: -1}, Mark},
		{"when=scam action=refuse", 1, Standing{Hops: -1}, Pass},
	} {
		if got := Decide([]Rule{parse(c.rule)}, c.kind, c.who, sure); got != c.want {
			t.Errorf("%s: %s, want %s", c.rule, got, c.want)
		}
	}
	for _, bad := range []string{"", "kinds=1", "kinds=x action=refuse", "trust<2 action=label", "script=Klingon action=label", "when=maybe action=label", "action=burn", "x=1 action=label"} {
		if _, err := ParseRule(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestReportsWeighByTheTrustOfWhoComplains(t *testing.T) {
	ev := note(1, plainText)
	friend, stranger := note(2, "").PubKey, note(3, "").PubKey
	g := gate(t, Config{Rules: Rules(Measure), Crowd: crowdStub{friend: {Trust: .8, Hops: 1}}})
	rule(t, g, ev)
	weight := func() float32 { return g.window.place(keyOf(ev.PubKey)).Reports }
	report := func(by string) {
		rule(t, g, &nostr.Event{Kind: 1984, PubKey: by, Tags: nostr.Tags{{"p", ev.PubKey, "spam"}}})
	}
	if report(stranger); weight() != 0 {
		t.Errorf("a stranger's report weighs %v", weight())
	}
	if report(friend); weight() < .5 {
		t.Errorf("a friend's report weighs %v", weight())
	}
	for range 100 {
		report(friend)
	}
	if weight() > .9 {
		t.Errorf("one friend's hundred reports weigh %v", weight())
	}
}

func TestOnlyCommittedWorkCounts(t *testing.T) {
	lucky := &nostr.Event{ID: strings.Repeat("0", 10) + strings.Repeat("f", 54)}
	if n := committedWork(lucky); n != 0 {
		t.Errorf("luck counts %d", n)
	}
	lucky.Tags = nostr.Tags{{"nonce", "1", "20"}}
	if n := committedWork(lucky); n != 20 {
		t.Errorf("20 committed bits count %d", n)
	}
	lucky.Tags = nostr.Tags{{"nonce", "1", "60"}}
	if n := committedWork(lucky); n != 0 {
		t.Errorf("a broken promise counts %d", n)
	}
}

func TestRestartKeepsTheCampaign(t *testing.T) {
	say := paraphraser(rand.New(rand.NewPCG(2, 1)), burstTemplates[4:5])
	g := gate(t, Config{Rules: Rules(Refuse)})
	for i := range 40 {
		rule(t, g, note(i, say()))
	}
	path := filepath.Join(t.TempDir(), "window")
	if err := g.window.Save(path); err != nil {
		t.Fatal(err)
	}
	again := gate(t, Config{Rules: Rules(Refuse)})
	if r := rule(t, again, note(100, say())); r.Refusal != nil {
		t.Fatal("the first note of a campaign is refused: this test shows nothing")
	}
	if err := again.window.Load(path); err != nil {
		t.Fatal(err)
	}
	if r := rule(t, again, note(101, say())); r.Refusal == nil {
		t.Error("the campaign was forgotten")
	}
}

// What an event says of its own time is its author's to choose.
func TestBackdatedProfileMakesNoKeyOld(t *testing.T) {
	say := paraphraser(rand.New(rand.NewPCG(2, 1)), burstTemplates[4:5])
	g := gate(t, Config{Rules: Rules(Refuse), Crowd: crowdStub{}})
	refused := 0
	for i := range 60 {
		ev := note(i, say())
		rule(t, g, &nostr.Event{Kind: 0, PubKey: ev.PubKey, CreatedAt: nostr.Now() - 400*86400, Content: `{"name":"ann"}`})
		refused += one(rule(t, g, ev).Refusal != nil)
	}
	if refused < 40 {
		t.Errorf("only %d of 60 were refused", refused)
	}
}

// Whoever copies a stranger's note under many keys must not thereby have the
// stranger's next one refused.
func TestCopiesDoNotHarmWhoWroteFirst(t *testing.T) {
	g := gate(t, Config{Rules: Rules(Refuse), Crowd: crowdStub{}})
	words := "Every Tuesday the harbour choir rehearses songs about herring and weather in the old school; visitors may listen from the gallery"
	first := note(0, words)
	rule(t, g, first)
	copies := 0
	for i := range 60 {
		copies += one(rule(t, g, note(1+i, words)).Refusal != nil)
	}
	if copies < 40 {
		t.Fatalf("only %d of 60 copies were refused: this test shows nothing", copies)
	}
	again := note(900, words+" again")
	again.PubKey = first.PubKey
	if r := rule(t, g, again); r.Refusal != nil || Quarantined(r.Labels) {
		t.Errorf("who wrote first is turned away: %s", r.Refusal)
	}
}

// A flood of notes that are all different must not make the window forget a
// campaign which goes on.
func TestFloodDoesNotPushACampaignOut(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 1))
	say := paraphraser(rng, burstTemplates[4:5])
	g := gate(t, Config{Rules: Rules(Refuse), Crowd: crowdStub{}})
	for i := range 40 {
		rule(t, g, note(i, say()))
	}
	words := func() string {
		var b strings.Builder
		for range 12 {
			for range 8 {
				b.WriteByte(byte('a' + rng.IntN(26)))
			}
			b.WriteByte(' ')
		}
		return b.String()
	}
	for i := range 3 * mostNotes {
		rule(t, g, note(1000+i, words()))
	}
	refused := 0
	for i := range 20 {
		refused += one(rule(t, g, note(100_000_000+i, say())).Refusal != nil)
	}
	if refused < 18 {
		t.Errorf("%d of 20 were refused after the flood", refused)
	}
}

func TestSnapshotThatIsDamagedIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "window")
	w := NewWindow()
	if err := w.Load(path); err == nil {
		t.Error("a missing file was taken")
	}
	if err := w.Save(path); err != nil {
		t.Fatal(err)
	}
	damage(t, path)
	if err := w.Load(path); !errors.Is(err, ErrSnapshot) {
		t.Errorf("damage: %v", err)
	}
}

func TestGateUnderManyGoroutines(t *testing.T) {
	g := gate(t, Config{Rules: Rules(Refuse)})
	done := make(chan error, 8)
	for k := range 8 {
		go func() {
			for i := range 50 {
				if _, err := g.Rule(context.Background(), note(k*100+i, scamText), admit.Peer{}); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range 8 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}
