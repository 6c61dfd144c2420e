package peer

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
)

// TestEveryEventOfEitherSideIsAccountedForOnce has refusals of every sort on
// both sides, events that what comes replaces before they are sent, and
// passes after the first that try some of them again.
func TestEveryEventOfEitherSideIsAccountedForOnce(t *testing.T) {
	for _, noNeg := range []string{"", "unknown cmd"} {
		rng := rand.New(rand.NewPCG(8, 5))
		tries := map[string]int{}
		o := serveOther(t, &other{noNeg: noNeg, reject: func(ev *nostr.Event) string {
			tries[ev.ID]++
			switch {
			case ev.Kind == 7:
				return "blocked: no reactions"
			case ev.Kind == 42 && tries[ev.ID] == 1:
				return "error: once more, please"
			case ev.Kind == 8:
				return "\x1b[2J: " + ev.ID // no word of ours
			}
			return ""
		}})
		s := openStore(t)
		var ours, theirs []*nostr.Event
		for i := range 30 {
			older, newer := note(rng, 0, 1000), note(rng, 0, 2000)
			older.PubKey = nostr.GeneratePrivateKey()
			newer.PubKey = older.PubKey
			older.ID, newer.ID = older.GetID(), newer.GetID()
			secret := note(rng, 1, 3000+int64(i))
			secret.Tags = nostr.Tags{{"-"}}
			secret.ID = secret.GetID()
			forged := note(rng, 1, 20)
			forged.Content = "not what was signed"
			ours = append(ours, older, secret, note(rng, 7, 5), note(rng, 42, 6), note(rng, 8, 7), note(rng, 1, 8))
			theirs = append(theirs, newer, forged, note(rng, 1, 9))
		}
		fill(t, s, ours)
		o.put(theirs)
		sum, err := Sync(t.Context(), testDialer(), Job{URL: o.url, Direction: Both, Local: s, Publish: refuseProtected(publishTo(s)), Silence: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if sum.Unfetched() != 0 || sum.Unsent() != 0 || sum.Downloaded != sum.Need {
			t.Errorf("%d down and %d up are unaccounted for: %+v", sum.Unfetched(), sum.Unsent(), sum)
		}
		wantHave, wantGone := 180, 30
		if noNeg != "" { // it pages first: what is replaced by then is not named
			wantHave, wantGone = 150, 0
		}
		if sum.Need != 90 || sum.Stored != 60 || sum.Refused["invalid"] != 30 || sum.Have != wantHave || sum.Gone != wantGone || sum.Withheld["protected"] != 30 ||
			sum.Rejected["blocked"] != 30 || sum.Rejected["2j"] != 30 {
			t.Errorf("%+v", sum)
		}
		if ex := sum.RejectedFor["blocked"]; ex.Why != "blocked: no reactions" || len(ex.ID) != 64 {
			t.Errorf("the example is %+v", ex)
		}
	}
}

func refuseProtected(publish Publish) Publish {
	return func(ctx context.Context, ev *nostr.Event, record []byte) (string, error) {
		if tagProtected(ev.Tags) {
			return "restricted: only its author may publish it", nil
		}
		return publish(ctx, ev, record)
	}
}

func TestTheirProtectedEventsAreFetchedOnceAndNamed(t *testing.T) {
	rng := rand.New(rand.NewPCG(9, 5))
	o, s := serveOther(t, &other{}), openStore(t)
	secret := note(rng, 1, 3000)
	secret.Tags = nostr.Tags{{"-"}}
	secret.ID = secret.GetID()
	o.put([]*nostr.Event{secret, note(rng, 1, 2)}) // the second makes for another pass
	sum, err := Sync(t.Context(), testDialer(), Job{URL: o.url, Direction: Both, Local: s, Publish: refuseProtected(publishTo(s))})
	if err != nil {
		t.Fatal(err)
	}
	o.mu.Lock()
	asked := o.seen["REQ"]
	o.mu.Unlock()
	if sum.Refused["protected"] != 1 || sum.RefusedFor["protected"].ID != secret.ID || asked != 1 {
		t.Errorf("%d REQs, %+v", asked, sum)
	}
}

func TestAnotherRelaysReasonsAreFewAndLetters(t *testing.T) {
	e := &exchange{sum: newSummary(""), reasons: []string{"other"}}
	e.up.of = map[store.ID]fate{}
	for i := range 1000 {
		e.settleUp(store.ID{byte(i), byte(i >> 8)}, refused, string(rune('a'+i%26))+string(rune('a'+i/26%26))+"\x1b]", "x")
	}
	if len(e.sum.Rejected) > maxReasons || len(e.sum.RejectedFor) > maxReasons || e.sum.Rejected["other"] == 0 || sum(e.sum.Rejected) != 1000 {
		t.Errorf("%d reasons", len(e.sum.Rejected))
	}
	if e.sum.Rejected["aa"] == 0 {
		t.Errorf("%v", e.sum.Rejected)
	}
}
