package spam

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"agora/relay/admit"

	"github.com/nbd-wtf/go-nostr"
)

// held are notes by their ids; those whose text is "marked" bear a mark.
type held map[string]*nostr.Event

func (h held) Judged(_ context.Context, id string) (string, bool, error) {
	if ev := h[id]; ev != nil {
		return ev.PubKey, ev.Content == "marked", nil
	}
	return "", false, nil
}

func appealBy(key, note string, n int) *nostr.Event {
	return &nostr.Event{ID: fmt.Sprintf("%064x", n+0xA0000000), PubKey: key, Kind: 1985, CreatedAt: nostr.Now(), Tags: nostr.Tags{
		{"L", Appeals}, {"l", LabelNotSpam, Appeals}, {"e", note},
	}}
}

func answerOn(note, author, label string, n int, at nostr.Timestamp) *nostr.Event {
	return &nostr.Event{ID: fmt.Sprintf("%064x", n+0xB0000000), PubKey: "operator", Kind: 1985, CreatedAt: at, Tags: nostr.Tags{
		{"L", Appeals}, {"l", label, Appeals}, {"e", note}, {"p", author},
	}}
}

func TestAppealsAreBoundedPerKeyAndInAll(t *testing.T) {
	notes := held{}
	for i := range 2000 {
		ev := note(i, "marked")
		notes[ev.ID] = ev
	}
	friend := note(1500, "").PubKey
	g := gate(t, Config{Desk: NewDesk(), Notes: notes, Crowd: crowdStub{friend: {Trust: .5, Hops: 3}}})
	taken := func(ev *nostr.Event) bool { return rule(t, g, ev).Refusal == nil }

	marked, plain := note(9000, "marked"), note(9001, "plain")
	notes[marked.ID], notes[plain.ID] = marked, plain
	if taken(appealBy(plain.PubKey, marked.ID, 1)) {
		t.Error("an appeal about another's note was taken")
	}
	if taken(appealBy(plain.PubKey, plain.ID, 2)) {
		t.Error("an appeal about a note that bears no mark was taken")
	}
	chatty := note(7, "").PubKey
	n := 0
	for i := range 50 { // notes of one key
		ev := note(5000+i, "marked")
		ev.PubKey = chatty
		notes[ev.ID] = ev
		n += one(taken(appealBy(chatty, ev.ID, 100+i)))
		if taken(appealBy(chatty, ev.ID, 200+i)) {
			t.Fatal("a second appeal about the same note was taken")
		}
	}
	if n != bounds[byStranger].perKey {
		t.Errorf("%d of 50 appeals of one key were taken", n)
	}
	n = 0
	for i := range 50 { // about notes that never were
		n += one(taken(appealBy(note(8, "").PubKey, fmt.Sprintf("%064x", i), 300+i)))
	}
	if n != bounds[ofUnheard].perKey {
		t.Errorf("%d of 50 appeals about nothing were taken", n)
	}
	for i := range 300 {
		n += one(taken(appealBy(note(20_000+i, "").PubKey, fmt.Sprintf("%064x", 1000+i), 400+i)))
	}
	if n != bounds[ofUnheard].all {
		t.Errorf("%d appeals about nothing wait", n)
	}
	n = bounds[byStranger].perKey
	for i := range 1499 {
		ev := note(i+1, "")
		if ev.PubKey != chatty {
			n += one(taken(appealBy(ev.PubKey, ev.ID, 1000+i)))
		}
	}
	if n != bounds[byStranger].all {
		t.Errorf("%d appeals of strangers wait", n)
	}
	if !taken(appealBy(friend, note(1500, "").ID, 9999)) {
		t.Error("strangers keep a friend from appealing")
	}
	if ev := appealBy(friend, note(1500, "").ID, 9998); true {
		ev.Content = strings.Repeat("é", mostAppeal+1)
		if r := rule(t, g, ev); r.Refusal == nil || r.Refusal.Prefix != admit.Invalid {
			t.Errorf("a long appeal: %v", r.Refusal)
		}
	}
	if late := g.cfg.Desk.offer(appealBy("x", "y", 9997), "y", byStranger, time.Now().Add(31*24*time.Hour)); late.Refusal != nil {
		t.Errorf("after a month there is no room: %v", late.Refusal)
	}
}

func TestAnsweredAppealMakesRoomAndCannotBeRepeated(t *testing.T) {
	ev := note(1, "marked")
	d := NewDesk()
	g := gate(t, Config{Desk: d, Notes: held{ev.ID: ev}})
	appeal := appealBy(ev.PubKey, ev.ID, 1)
	if r := rule(t, g, appeal); r.Refusal != nil {
		t.Fatal(r.Refusal)
	}
	d.Hear(answerOn(ev.ID, ev.PubKey, LabelDenied, 1, 100), ev.PubKey)
	if len(d.waiting)+len(d.byKey)+d.all[byStranger] != 0 {
		t.Errorf("an answered appeal waits: %+v", d)
	}
	if r := rule(t, g, appealBy(ev.PubKey, ev.ID, 2)); r.Refusal == nil {
		t.Error("an appeal was repeated after the answer")
	}
	if err := g.Await(t.Context(), appeal); err != nil || len(d.waiting) != 0 {
		t.Errorf("an answered appeal is booked again: %v", err)
	}
}

func TestNewestAnswerStandsUntilItIsTakenBack(t *testing.T) {
	ev := note(1, scamText)
	d := NewDesk()
	g := gate(t, Config{Desk: d, Rules: Rules(Quarantine)})
	if r := rule(t, g, ev); !Quarantined(r.Labels) {
		t.Fatal("the note is not hidden: this test shows nothing")
	}
	further := func() bool {
		next := note(2, scamText+" Today only")
		next.PubKey = ev.PubKey
		return len(rule(t, g, next).Labels) == 0
	}
	state := func(want bool, when string) {
		t.Helper()
		if d.Granted(ev.ID) != want || d.Spared(ev.PubKey) != want || further() != want || slices.Contains(d.Grants(), ev.ID) != want {
			t.Errorf("%s: granted %t, spared %t, a further note passes %t", when, d.Granted(ev.ID), d.Spared(ev.PubKey), further())
		}
	}
	state(false, "at first")
	grant, deny := answerOn(ev.ID, ev.PubKey, LabelGranted, 1, 100), answerOn(ev.ID, ev.PubKey, LabelDenied, 2, 200)
	d.Hear(grant, ev.PubKey)
	d.Hear(grant, ev.PubKey)
	state(true, "granted")
	d.Hear(deny, ev.PubKey)
	state(false, "denied later")
	d.Gone(deny.ID)
	state(true, "the denial taken back")
	d.Gone(grant.ID)
	state(false, "all taken back")
	d.Hear(deny, ev.PubKey)
	d.Hear(grant, ev.PubKey)
	state(false, "heard in another order")
	if r := rule(t, g, note(3, scamText+" Hurry")); !Quarantined(r.Labels) {
		t.Error("another's note passes")
	}
}

// An event's strings are cut from its message: who keeps one keeps all of it.
func TestGateKeepsNoMessages(t *testing.T) {
	g := gate(t, Config{Rules: Rules(Refuse), Desk: NewDesk()})
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	rule(t, g, note(0, scamText))
	before, refused := heap(), 0
	for i := range 200 {
		ev := note(i, scamText)
		message := strings.Repeat("x", 256<<10) + ev.ID + ev.PubKey
		ev.ID, ev.PubKey = message[256<<10:256<<10+64], message[256<<10+64:]
		refused += one(rule(t, g, ev).Refusal != nil)
		message = strings.Repeat("x", 256<<10) + ev.ID + ev.PubKey
		appeal := appealBy(message[256<<10+64:], message[256<<10:256<<10+64], i)
		appeal.ID = (message + appeal.ID)[256<<10+128:]
		if r := rule(t, g, appeal); r.Refusal != nil {
			t.Fatal(r.Refusal)
		}
		if i%2 == 0 {
			g.cfg.Desk.Hear(answerOn(message[256<<10:256<<10+64], "", LabelGranted, i, 1), message[256<<10+64:])
		}
	}
	if refused < 190 {
		t.Fatalf("%d of 200 were refused: this test shows nothing", refused)
	}
	if grew := heap() - before; grew > 16<<20 {
		t.Errorf("200 refused notes of 256 KiB leave %d MiB", grew>>20)
	}
	runtime.KeepAlive(g)
}
