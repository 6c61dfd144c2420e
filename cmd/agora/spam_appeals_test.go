package main

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"agora/relay/admit"
	"agora/spam"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"
)

func TestGrantedAppealLiftsTheQuarantineAndSparesItsAuthor(t *testing.T) {
	s, _ := startServer(t, func(c *Config) { c.SpamMode = "quarantine" })
	key := nostr.GeneratePrivateKey()
	ev, ok, reason := hand(t, s, key, adText+" zanzibar", 1)
	if !ok {
		t.Fatal(reason)
	}
	second, _, _ := hand(t, s, nostr.GeneratePrivateKey(), adText+" madagascar", 1) // likely in the same label
	shown := func() bool {
		for id, err := range (spamSearch{s.parts.search, s.store, s.parts.spam.desk}).Search(t.Context(), "zanzibar", nostr.Filter{Kinds: []int{1}, Limit: 5}) {
			if err != nil {
				t.Fatal(err)
			}
			if id.String() == ev.ID {
				return true
			}
		}
		return false
	}
	refused := func() bool {
		signals, err := spamSignals{s.store, s.parts.spam.desk}.Signals(t.Context(), []string{ev.ID})
		if err != nil || len(signals) != 1 {
			t.Fatal(signals, err)
		}
		return signals[0].Refuse
	}
	marks := func(ev nostr.Event) (n int) {
		for rec, err := range s.store.Query(t.Context(), nostr.Filter{Kinds: []int{1985}, Tags: nostr.TagMap{"e": []string{ev.ID}}}) {
			if err != nil {
				t.Fatal(err)
			}
			n += map[bool]int{true: 1}[rec.HasTag('L', spam.Namespace)]
		}
		return n
	}
	within(t, func() bool { return marks(ev) == 1 && marks(second) == 1 }, "no label was published")
	if _, ok, reason := hand(t, s, key, "I grow these", 1985, nostr.Tag{"L", spam.Appeals}, nostr.Tag{"l", "not-spam", spam.Appeals}, nostr.Tag{"e", ev.ID}); !ok {
		t.Fatal(reason)
	}
	// somebody else's word, in the operator's form, is nothing
	hand(t, s, nostr.GeneratePrivateKey(), "", 1985, answerEvent(ev.ID, ev.PubKey, spam.LabelGranted).Tags...)
	if !refused() || shown() {
		t.Fatal("the note is not hidden before the answer")
	}

	answer := answerEvent(ev.ID, ev.PubKey, spam.LabelGranted)
	if err := answer.Sign(s.core.self); err != nil {
		t.Fatal(err)
	}
	if no, err := publishOne(t.Context(), s.core, answer, nil, admit.Import); no != "" || err != nil {
		t.Fatal(no, err)
	}
	within(t, func() bool { return !refused() && shown() && marks(ev) == 0 && marks(second) == 1 }, "the note stays hidden, or marked")
	var list strings.Builder
	if n, err := writeAppeals(t.Context(), s.store, s.parts.spam.operator, &list); n != 0 || err != nil {
		t.Errorf("an answered appeal is listed: %s %v", list.String(), err)
	}
	further, ok, reason := hand(t, s, key, adText+" Only today.", 1)
	labels, err := labelsOf(s.store, further.ID)
	if !ok || err != nil || len(labels) != 0 {
		t.Errorf("the author's next note: %t %s %v %v", ok, reason, labels, err)
	}
	other, _, _ := hand(t, s, nostr.GeneratePrivateKey(), adText+" Come.", 1)
	if labels, err := labelsOf(s.store, other.ID); err != nil || !spam.Quarantined(labels) {
		t.Errorf("another's note: %v %v", labels, err)
	}
	if code, a := asked(t, s, key, "/v1/spam/"+ev.ID); code != 200 || !a.Granted {
		t.Errorf("the author reads %d %+v", code, a)
	}
	if desk, err := deskOf(t.Context(), s.store, s.core.cfg); err != nil || !slices.Contains(desk.Grants(), ev.ID) || !desk.Spared(ev.PubKey) {
		t.Errorf("after a restart: %v %v", desk, err)
	}

	hand(t, s, s.core.self, "", 5, nostr.Tag{"e", answer.ID}, nostr.Tag{"k", "1985"})
	within(t, func() bool { return refused() && !shown() }, "the answer holds after it was deleted")
}

func TestAppealsAtTheDoorAreBounded(t *testing.T) {
	s, _ := startServer(t, func(c *Config) { c.SpamMode = "refuse" })
	key, taken := nostr.GeneratePrivateKey(), 0
	appeal := func(key, note string) (bool, string) {
		_, ok, reason := hand(t, s, key, "please", 1985, nostr.Tag{"L", spam.Appeals}, nostr.Tag{"l", "not-spam", spam.Appeals}, nostr.Tag{"e", note})
		return ok, reason
	}
	for i := range 8 {
		ev, ok, _ := hand(t, s, key, adText+strings.Repeat("!", i), 1)
		if ok {
			t.Fatal("the note was taken: this test shows nothing")
		}
		if ok, reason := appeal(nostr.GeneratePrivateKey(), ev.ID); ok || !strings.HasPrefix(reason, "blocked: only the author") {
			t.Errorf("a stranger appeals: %s", reason)
		}
		ok, reason := appeal(key, ev.ID)
		if !ok && !strings.HasPrefix(reason, "rate-limited: ") {
			t.Errorf("refused: %s", reason)
		}
		taken += map[bool]int{true: 1}[ok]
	}
	if taken != 5 {
		t.Errorf("%d of 8 appeals were taken", taken)
	}
	plain, ok, reason := hand(t, s, nostr.GeneratePrivateKey(), hamText, 1)
	if !ok {
		t.Fatal(reason)
	}
	if ok, _ := appeal(key, plain.ID); ok {
		t.Error("an appeal about another's plain note was taken")
	}
}

func TestNoteIsNamedAsPeopleHaveIt(t *testing.T) {
	hex := strings.Repeat("0123456789abcdef", 4)
	note, err := nip19.EncodeNote(hex)
	if err != nil {
		t.Fatal(err)
	}
	nevent, err := nip19.EncodeEvent(hex, []string{"wss://relay.example"}, "")
	if err != nil {
		t.Fatal(err)
	}
	npub, err := nip19.EncodePublicKey(hex)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{
		hex: true, note: true, nevent: true, "nostr:" + note: true, "nostr:" + nevent: true, strings.ToUpper(note): true, " " + note + "\n": true,
		"": false, npub: false, note[:20]: false, hex[:63]: false, "note1": false, "nevent1qqqq": false, strings.Repeat("nevent1", 1<<16): false, note + "x": false,
	} {
		id, err := noteID(text)
		if (err == nil) != want || want && id.String() != hex {
			t.Errorf("%.80q: %s %v", text, id, err)
		}
	}
	s, _ := startServer(t, func(c *Config) { c.SpamMode = "refuse" })
	key := nostr.GeneratePrivateKey()
	ev, _, _ := hand(t, s, key, adText, 1)
	for _, encode := range []func() (string, error){
		func() (string, error) { return nip19.EncodeNote(ev.ID) }, func() (string, error) { return nip19.EncodeEvent(ev.ID, nil, ev.PubKey) },
	} {
		name, err := encode()
		if err != nil {
			t.Fatal(err)
		}
		if code, a := asked(t, s, key, "/v1/spam/"+name); code != 200 || a.ID != ev.ID {
			t.Errorf("%s: %d %+v", name, code, a)
		}
	}
	if code, _ := asked(t, s, key, "/v1/spam/"+npub); code != 400 {
		t.Errorf("a key for a note: %d", code)
	}
}

// A replay knows whom the stored graph knows.
func TestReplaySparesWhomTheStoredGraphKnows(t *testing.T) {
	s, _ := startServer(t, func(c *Config) { c.SpamMode = "pass" })
	seed, friend, stranger := nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey()
	public := func(key string) string {
		k, err := nostr.GetPublicKey(key)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	var notes []*nostr.Event
	say := func(key, text string) {
		ev, ok, reason := hand(t, s, key, text, 1)
		if !ok {
			t.Fatal(reason)
		}
		notes = slices.Insert(notes, 0, &ev)
	}
	say(friend, adText+" friend")
	say(stranger, adText+" stranger")
	run := func(cfg Config) string {
		gate, err := replayGate(t.Context(), s.store, cfg, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		if err := replay(t.Context(), gate, notes, &out); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	cfg := s.core.cfg
	cfg.SpamMode, cfg.SpamSeeds = "quarantine", []string{public(seed)}
	if out := run(cfg); strings.Count(out, `"action":"quarantine"`) != 2 || !strings.Contains(out, `"notes":2`) {
		t.Errorf("without a graph: %s", out)
	}
	hand(t, s, seed, "", 3, nostr.Tag{"p", public(friend)})
	out := run(cfg)
	if strings.Count(out, `"action":"quarantine"`) != 1 || !strings.Contains(out, `"actions":{"pass":1,"quarantine":1}`) {
		t.Errorf("with the seed's list: %s", out)
	}
	if again := run(cfg); again != out {
		t.Errorf("another replay says %s", again)
	}
}

// An event's strings are cut from its message: who keeps one keeps all of it.
func TestNobodyKeepsTheMessagesOfThoseWhoWrote(t *testing.T) {
	s, _ := startServer(t, func(c *Config) { c.SpamMode, c.Feeds = "quarantine", false })
	p := *s.parts.spam
	p.labels = make(chan string, 1024) // which nobody empties
	crowd := newSpamCrowd(s.parts.graph, s.core.cfg)
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	for i := range 400 {
		message := strings.Repeat("x", 256<<10) + fmt.Sprintf("%064x", i)
		id := message[256<<10:]
		crowd.Standing(id)
		p.outcome(spam.Outcome{Event: &nostr.Event{ID: id, PubKey: id}, Action: spam.Mark, Done: true})
	}
	if grew := heap() - before; grew > 32<<20 {
		t.Errorf("400 messages of 256 KiB leave %d MiB", grew>>20)
	}
	if len(p.labels) != 400 {
		t.Errorf("%d labels wait", len(p.labels))
	}
	runtime.KeepAlive(crowd)
}
