package search

import (
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

func TestSearchFindsWhatHoldsEveryWordBestFirst(t *testing.T) {
	m := newMemory()
	ix, _ := running(t, t.TempDir(), m, Config{})
	long := m.add(t, note("a relay is what a note goes through, and a relay has search only when somebody has written the search for that relay", 10))
	best := m.add(t, note("relay search", 5))
	m.add(t, note("a relay alone", 7))
	reversed := m.add(t, note("search relay", 9))
	caught(t, ix, m)
	got := find(t, ix, "Relay search", nostr.Filter{})
	if len(got) != 3 || got[0] != best || got[1] != reversed || got[2] != long {
		t.Fatalf("got %d hits in another order: %x", len(got), got)
	}
}
