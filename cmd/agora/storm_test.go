package main_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"agora/cmd/simulate/ballots"
	"agora/relay/store"

	"github.com/gorilla/websocket"
	"github.com/nbd-wtf/go-nostr"
)

const (
	stormRounds = 50
	stormConns  = 4
	stormInHand = 8 // ballots of one connection without their OK
)

// storm is a poll under fire: real ballots of people of whom some vote five
// times, in any order, over and over.
type storm struct {
	pool []*nostr.Event // sent again and again
	text map[string][]byte
	poll string

	mu    sync.Mutex                 // guards what follows
	acked map[string]nostr.Timestamp // by nullifier: the newest created_at with an OK
	sent  map[string]bool
	flown int // without an answer when the relay was killed
}

func nullifierOf(ev *nostr.Event) string { return ev.Tags.Find("n")[1] }

// TestKillNineUnderVotesCountsNobodyTwiceAndLosesNoVote kills the relay fifty
// times under votes, revotes and replays. After each kill every person has at
// most one ballot, and it is no older than their newest acknowledged one; in
// the end the tally is that of a plain model.
func TestKillNineUnderVotesCountsNobodyTwiceAndLosesNoVote(t *testing.T) {
	bin, dir := buildProgram(t), filepath.Join(t.TempDir(), "data")
	head, cast, err := ballots.Read("../../testdata/ballots")
	if err != nil {
		t.Fatal(err)
	}
	s := &storm{acked: map[string]nostr.Timestamp{}, sent: map[string]bool{}, text: map[string][]byte{}}
	for _, line := range cast[:min(len(cast), 1000)] {
		ev := new(nostr.Event)
		if err := ev.UnmarshalJSON(line); err != nil {
			t.Fatal(err)
		}
		s.pool, s.text[ev.ID] = append(s.pool, ev), line
	}
	s.poll = s.pool[0].Tags.Find("e")[1]
	rng := rand.New(rand.NewPCG(7, 7))
	for round := range stormRounds {
		relay := stormRelay(t, bin, dir)
		if round == 0 {
			for _, line := range head {
				s.one(t, relay.wire(t), line)
			}
		}
		s.blow(t, relay, rng, int64(5+rng.IntN(40)))
		s.survived(t, dir, round)
	}
	if s.flown == 0 {
		t.Fatal("no ballot was on its way at any kill: this was no test")
	}
	s.settled(t, stormRelay(t, bin, dir))
	t.Logf("%d rounds, %d ballots were on their way when the relay was killed, %d people have voted", stormRounds, s.flown, len(s.acked))
}

func stormRelay(t *testing.T, bin, dir string) *program {
	t.Helper()
	return serve(t, bin, dir, nil, "--person-ballot-window=1000000h", "--search=false", "--graph=false", "--feeds=false")
}

// one publishes a line and wants an OK.
func (s *storm) one(t *testing.T, c *websocket.Conn, line []byte) {
	t.Helper()
	if err := c.WriteMessage(websocket.TextMessage, []byte(`["EVENT",`+string(line)+`]`)); err != nil {
		t.Fatal(err)
	}
	if m := nextOK(t, c); m[2] != true {
		t.Fatalf("refused: %v", m)
	}
}

func nextOK(t *testing.T, c *websocket.Conn) []any {
	t.Helper()
	for {
		var m []any
		if err := c.ReadJSON(&m); err != nil {
			t.Fatal(err)
		}
		if len(m) == 4 && m[0] == "OK" {
			return m
		}
	}
}

// blow votes on all connections and kills the relay after so many OKs.
func (s *storm) blow(t *testing.T, relay *program, rng *rand.Rand, after int64) {
	t.Helper()
	var oks atomic.Int64
	enough, over := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	for range stormConns {
		c, own := relay.wire(t), rand.New(rand.NewPCG(rng.Uint64(), 1))
		wg.Go(func() {
			s.vote(t, c, own, func() {
				if oks.Add(1) == after {
					close(enough)
				}
			})
		})
	}
	go func() { // ends with the voters, which the kill ends
		wg.Wait()
		close(over)
	}()
	select {
	case <-enough:
	case <-over:
		t.Errorf("all connections broke after %d of %d OKs:\n%s", oks.Load(), after, relay.out)
	case <-time.After(2 * time.Minute):
		t.Errorf("only %d of %d OKs within two minutes:\n%s", oks.Load(), after, relay.out)
	}
	relay.kill()
	<-over
	if t.Failed() {
		t.FailNow()
	}
}

// vote sends ballots until the connection breaks: any of the pool, sent before
// or not.
func (s *storm) vote(t *testing.T, c *websocket.Conn, rng *rand.Rand, ok func()) {
	waits := map[string]*nostr.Event{}
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.flown += len(waits)
	}()
	for {
		for len(waits) < stormInHand {
			ev := s.pool[rng.IntN(len(s.pool))]
			if waits[ev.ID] != nil {
				continue
			}
			if c.WriteMessage(websocket.TextMessage, []byte(`["EVENT",`+string(s.text[ev.ID])+`]`)) != nil {
				return
			}
			waits[ev.ID] = ev
			s.mu.Lock()
			s.sent[ev.ID] = true
			s.mu.Unlock()
		}
		var m []any
		if c.ReadJSON(&m) != nil {
			return
		}
		if len(m) < 4 || m[0] != "OK" {
			continue // an offer to authenticate
		}
		ev := waits[fmt.Sprint(m[1])]
		if ev == nil || m[2] != true {
			t.Errorf("a good ballot is refused: %v", m)
			return
		}
		delete(waits, ev.ID)
		s.mu.Lock()
		s.acked[nullifierOf(ev)] = max(s.acked[nullifierOf(ev)], ev.CreatedAt)
		s.mu.Unlock()
		ok()
	}
}

// survived opens what the killed relay has left.
func (s *storm) survived(t *testing.T, dir string, round int) {
	t.Helper()
	st, err := store.Open(filepath.Join(dir, "store"), store.Config{})
	if err != nil {
		t.Fatalf("round %d: the store does not open after the kill: %v", round, err)
	}
	defer st.Close()
	held := map[string]nostr.Timestamp{}
	for rec, err := range st.Query(context.Background(), nostr.Filter{Kinds: []int{1018}}) {
		if err != nil {
			t.Fatal(err)
		}
		ev, err := rec.Event()
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := held[nullifierOf(ev)]; twice {
			t.Errorf("round %d: two ballots of one person are held", round)
		}
		held[nullifierOf(ev)] = ev.CreatedAt
		if !s.sent[ev.ID] {
			t.Errorf("round %d: a ballot that nobody sent is held", round)
		}
	}
	for who, at := range s.acked {
		if held[who] < at {
			t.Errorf("round %d: an acknowledged ballot of %d is lost, held is one of %d", round, at, held[who])
		}
	}
}

// settled votes everything once more, and holds the tally to a plain model.
func (s *storm) settled(t *testing.T, relay *program) {
	t.Helper()
	c := relay.wire(t)
	newest := map[string]*nostr.Event{}
	for _, ev := range s.pool {
		s.one(t, c, s.text[ev.ID])
		if was := newest[nullifierOf(ev)]; was == nil || was.CreatedAt < ev.CreatedAt {
			newest[nullifierOf(ev)] = ev
		}
	}
	want := map[string]int{}
	for _, ev := range newest {
		want[ev.Tags.Find("response")[1]]++
	}
	resp, err := http.Get("http" + strings.TrimPrefix(relay.URL, "ws") + "/v1/polls/" + s.poll + "/tally")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var tally struct {
		Count  int
		People struct {
			Options []struct {
				ID      string
				Ballots int
			}
		}
	}
	if err := json.Unmarshal(body, &tally); err != nil || tally.Count != len(newest) {
		t.Fatalf("the tally counts %d people, the model %d: %v %.300s", tally.Count, len(newest), err, body)
	}
	for _, o := range tally.People.Options {
		if o.Ballots != want[o.ID] {
			t.Errorf("%s has %d first places, the model says %d", o.ID, o.Ballots, want[o.ID])
		}
	}
}
