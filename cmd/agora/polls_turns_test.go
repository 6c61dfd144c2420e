package main

import (
	"errors"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"agora/personhood/poll"

	"github.com/nbd-wtf/go-nostr"
)

func TestAPollIsCountedByOneAndFewAreCountedAtOnce(t *testing.T) {
	turns, ctx := newTurns(), t.Context()
	busy := func(id string) {
		t.Helper()
		_, err := turns.take(ctx, id, time.Millisecond)
		if no, ok := errors.AsType[*httpProblem](err); !ok || no.status != http.StatusServiceUnavailable {
			t.Fatalf("a turn at %s: %v", id, err)
		}
	}
	one, err := turns.take(ctx, "one", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	busy("one")
	two, err := turns.take(ctx, "two", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	busy("three")
	two()
	three, err := turns.take(ctx, "three", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	one()
	three()
	if len(turns.each) != 0 || len(turns.all) != 0 {
		t.Errorf("left behind: %d polls, %d counts", len(turns.each), len(turns.all))
	}
}

func TestPollsThatEndLastMakeRoom(t *testing.T) {
	c := &closer{due: map[string]*duePoll{}}
	for id, ends := range map[string]nostr.Timestamp{"late": 3000, "soon": 1000, "then": 2000, "last": 4000} {
		c.due[id] = &duePoll{poll: &poll.Poll{ID: id, Ends: ends}}
	}
	c.thin(2)
	if len(c.due) != 2 || c.due["soon"] == nil || c.due["then"] == nil || c.left != 3000 {
		t.Errorf("kept %v, the earliest left out ends at %d", c.due, c.left)
	}
}

func TestAWebhookIsForAPollThatIsClosedHereSoon(t *testing.T) {
	h := &hooks{self: "us", wait: map[string]hook{"p": {Poll: "p", By: "a", URL: "http://x/"}}}
	soon, far := nostr.Now()+3600, nostr.Now()+400*24*3600
	for _, bad := range []poll.Poll{{Ends: soon}, {Group: "g"}, {Group: "g", Ends: far}, {Group: "g", Ends: soon, Host: "them"}} {
		if h.awaits(&bad) == nil {
			t.Errorf("waits for %+v", bad)
		}
	}
	if err := h.awaits(&poll.Poll{Group: "g", Ends: soon, Host: "us"}); err != nil {
		t.Error(err)
	}
	if err := h.add(t.Context(), hook{Poll: "p", By: "a", URL: "http://x/"}); err != nil {
		t.Error(err)
	}
	err := h.add(t.Context(), hook{Poll: "p", By: "b", URL: "http://y/"})
	if no, ok := errors.AsType[*httpProblem](err); !ok || no.status != http.StatusConflict {
		t.Errorf("a second caller is told %v", err)
	}
}

func TestOneAddressCannotTakeAllSeats(t *testing.T) {
	s, addr := newSeats(3, 2), netip.MustParseAddr
	var leave []func()
	for _, step := range []struct {
		addr string
		want bool
	}{{"2001:db8::1", true}, {"2001:db8::2", true}, {"2001:db8::3", false}, {"192.0.2.1", true}, {"192.0.2.2", false}} {
		done, ok := s.take(addr(step.addr))
		if ok != step.want {
			t.Errorf("%s: %t", step.addr, ok)
		}
		if ok {
			leave = append(leave, done)
		}
	}
	for _, done := range leave {
		done()
	}
	if s.taken != 0 || len(s.by) != 0 {
		t.Errorf("left behind: %d of %v", s.taken, s.by)
	}
}
