package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"agora/relay/store"

	"github.com/gorilla/websocket"
	"github.com/nbd-wtf/go-nostr"
)

const (
	killRounds  = 20
	killWriters = 4
	killInHand  = 16 // events of one writer without their OK
)

// TestKillNineUnderLoadLosesNoAcknowledgedEvent kills the relay in the middle
// of publishing, again and again over the same data. After each kill every
// acknowledged event is held, each replaceable and addressable event is there
// in exactly one version, no older than the newest acknowledged, and a deletion
// is there if and only if its target is gone.
func TestKillNineUnderLoadLosesNoAcknowledgedEvent(t *testing.T) {
	bin, dir := buildProgram(t), filepath.Join(t.TempDir(), "data")
	writers := make([]*writer, killWriters)
	for i := range writers {
		writers[i] = &writer{author: newAuthor(t), rng: rand.New(rand.NewPCG(uint64(i), 9)), sent: map[string]*sentEvent{}, clock: 1_700_000_000}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	inHand := 0
	for round := range killRounds {
		relay := serve(t, bin, dir, nil)
		loadUntilKilled(t, relay, writers, int64(20+rng.IntN(400)))
		for _, w := range writers {
			inHand += w.unanswered()
		}
		verifySurvivors(t, dir, writers, round)
		if round%5 == 4 {
			say(t, bin, "check", "--signatures", "--data", dir)
		}
	}
	if inHand == 0 {
		t.Fatal("no event was on its way at any kill: this was no test")
	}
	t.Logf("%d rounds, %d events were on their way when the relay was killed", killRounds, inHand)
}

// loadUntilKilled publishes on all connections and kills the relay when after
// OKs have come.
func loadUntilKilled(t *testing.T, relay *program, writers []*writer, after int64) {
	t.Helper()
	var oks atomic.Int64
	enough := make(chan struct{})
	var wg sync.WaitGroup
	for _, w := range writers {
		c := relay.wire(t)
		wg.Go(func() {
			w.publish(t, c, func() {
				if oks.Add(1) == after {
					close(enough)
				}
			})
		})
	}
	over := make(chan struct{})
	go func() { // ends with the writers, which the kill ends
		wg.Wait()
		close(over)
	}()
	select {
	case <-enough:
	case <-over:
		t.Errorf("all connections broke after %d of %d OKs:\n%s", oks.Load(), after, relay.out)
	case <-time.After(time.Minute):
		t.Errorf("only %d of %d OKs within a minute:\n%s", oks.Load(), after, relay.out)
	}
	relay.kill()
	<-over
	if t.Failed() {
		t.FailNow()
	}
}

// sentEvent is what a writer knows of an event it has sent.
type sentEvent struct {
	ev     *nostr.Event
	acked  bool
	target string // of a deletion
}

// writer publishes all sorts of events of one author and remembers them. Its
// goroutine owns it while the relay lives; the test afterwards.
type writer struct {
	author
	rng   *rand.Rand
	clock nostr.Timestamp // created_at of the next event: every version is newer than the one before
	sent  map[string]*sentEvent
	notes []string // acknowledged notes nobody has asked to delete
	waits int
}

// publish sends until the connection breaks, keeping killInHand events without
// an answer. ok is called for every OK true.
func (w *writer) publish(t *testing.T, c *websocket.Conn, ok func()) {
	for w.waits = 0; ; {
		for ; w.waits < killInHand; w.waits++ {
			if c.WriteJSON([]any{"EVENT", w.next(t)}) != nil {
				return
			}
		}
		_, m, err := c.ReadMessage()
		if err != nil {
			return
		}
		var answer []any
		if json.Unmarshal(m, &answer) == nil && len(answer) == 2 && answer[0] == "AUTH" {
			continue // an offer, at every connection
		}
		if len(answer) < 4 || answer[0] != "OK" {
			t.Errorf("the relay says %s", m)
			return
		}
		w.waits--
		s := w.sent[fmt.Sprint(answer[1])]
		if s == nil || answer[2] != true {
			t.Errorf("an event in good order is refused: %s", m)
			return
		}
		s.acked = true
		if s.ev.Kind == 1 {
			w.notes = append(w.notes, s.ev.ID)
		}
		ok()
	}
}

// next makes a note, a version of something replaceable, or a deletion.
func (w *writer) next(t *testing.T) *nostr.Event {
	w.clock++
	ev := nostr.Event{CreatedAt: w.clock, Content: fmt.Sprint("at ", w.clock)}
	target := ""
	switch roll := w.rng.IntN(10); {
	case roll < 4:
		ev.Kind = 1
	case roll < 6:
		ev.Kind = 0
	case roll < 8:
		ev.Kind, ev.Tags = 30000, nostr.Tags{{"d", fmt.Sprint(w.rng.IntN(3))}}
	case len(w.notes) == 0:
		ev.Kind = 1
	default:
		target, w.notes = w.notes[0], w.notes[1:]
		ev.Kind, ev.Tags = 5, nostr.Tags{{"e", target}, {"k", "1"}}
	}
	signed := w.sign(t, ev)
	w.sent[signed.ID] = &sentEvent{ev: signed, target: target}
	return signed
}

func (w *writer) unanswered() (n int) { return w.waits }

// verifySurvivors opens what the killed relay has left.
func verifySurvivors(t *testing.T, dir string, writers []*writer, round int) {
	t.Helper()
	s, err := store.Open(filepath.Join(dir, "store"), store.Config{})
	if err != nil {
		t.Fatalf("round %d: the store does not open after the kill: %v", round, err)
	}
	defer s.Close()
	for _, w := range writers {
		w.compare(t, heldBy(t, s, w.pubkey), round)
	}
}

// heldBy is what a store holds of one author.
func heldBy(t *testing.T, s *store.Store, pubkey string) map[string]bool {
	t.Helper()
	held := map[string]bool{}
	for rec, err := range s.Query(context.Background(), nostr.Filter{Authors: []string{pubkey}}) {
		if err != nil {
			t.Fatal(err)
		}
		held[rec.ID().String()] = true
	}
	return held
}

func (w *writer) compare(t *testing.T, held map[string]bool, round int) {
	t.Helper()
	deleted := map[string]bool{} // by a request that is held
	perhaps := map[string]bool{} // by a request that was sent
	versions := map[string][]*sentEvent{}
	for id, s := range w.sent {
		if s.target != "" {
			deleted[s.target] = deleted[s.target] || held[id]
			perhaps[s.target] = true
		}
		if s.ev.Kind == 0 || s.ev.Kind == 30000 {
			key := fmt.Sprint(s.ev.Kind, s.ev.Tags.GetD())
			versions[key] = append(versions[key], s)
		}
	}
	for id, s := range w.sent {
		switch {
		case s.ev.Kind == 5 && s.acked && !held[id]:
			t.Errorf("round %d: the acknowledged deletion %s is lost", round, id)
		case s.ev.Kind == 1 && s.acked && !held[id] && !deleted[id]:
			t.Errorf("round %d: the acknowledged note %s is lost (a deletion was sent: %t)", round, id, perhaps[id])
		case s.ev.Kind == 1 && held[id] && deleted[id]:
			t.Errorf("round %d: a deletion is half applied: %s is still there", round, id)
		}
	}
	for key, all := range versions {
		checkVersions(t, key, all, held, round)
	}
}

func checkVersions(t *testing.T, key string, all []*sentEvent, held map[string]bool, round int) {
	t.Helper()
	var newestAcked, there nostr.Timestamp
	count := 0
	for _, s := range all {
		if s.acked {
			newestAcked = max(newestAcked, s.ev.CreatedAt)
		}
		if held[s.ev.ID] {
			count++
			there = s.ev.CreatedAt
		}
	}
	switch {
	case count > 1:
		t.Errorf("round %d: %s is there in %d versions: a replacement is half applied", round, key, count)
	case count == 0 && newestAcked != 0:
		t.Errorf("round %d: %s is gone: a replacement is half applied", round, key)
	case there < newestAcked:
		t.Errorf("round %d: %s is there as of %d, acknowledged was %d", round, key, there, newestAcked)
	}
}
