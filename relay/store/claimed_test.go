package store_test

import (
	"testing"

	"agora/relay/admit"
	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
)

func TestClaimedSaysWhatACommitWouldFind(t *testing.T) {
	s := running(t, store.Config{NoSync: true})
	c := admit.Claim{Key: []byte("nullifier"), Rule: admit.First}
	want := func(taken bool) {
		t.Helper()
		if got, err := s.Claimed(c.Key); err != nil || got != taken {
			t.Errorf("Claimed: %v, %v; want %v", got, err, taken)
		}
	}
	want(false)
	expect(t, appendOutcome(t, s, note(1, 1, 100, 7), c), store.Stored)
	want(true)
	expect(t, appendOutcome(t, s, note(9, 1, 150, 5, nostr.Tag{"e", note(1, 1, 0, 0).ID})), store.Stored)
	want(true) // it outlives its event
}
