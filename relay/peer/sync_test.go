package peer

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"agora/relay/wire"

	"github.com/nbd-wtf/go-nostr"
)

func testDialer() *Dialer { return NewDialer(DialConfig{Allow: loopback()}) }

// notes makes n events in the given span of seconds.
func notes(rng *rand.Rand, n, seconds int) (list []*nostr.Event) {
	for range n {
		list = append(list, note(rng, []int{1, 7, 42}[rng.IntN(3)], 1_700_000_000+rng.Int64N(int64(seconds))))
	}
	return list
}

func TestSyncBothMakesTwoLogsEqual(t *testing.T) {
	for name, o := range map[string]*other{
		"negentropy":                {},
		"small pages":               {most: 60},
		"few ids per REQ":           {mostIDs: 30},
		"blocked at first":          {tooMany: 150},
		"no negentropy":             {noNeg: "ERROR: bad msg: unknown cmd"},
		"no negentropy, silent":     {noNeg: "-"},
		"no negentropy, finish":     {noNeg: "unknown message NEG-OPEN", finish: true},
		"no negentropy, many pages": {noNeg: "invalid: unknown command", most: 40},
		"no negentropy, deaf":       {noNeg: "unknown cmd", deaf: true},
		"junk":                      {junk: true},
		"authentication":            {wantAuth: true},
		"paged with authentication": {wantAuth: true, noNeg: "unknown cmd"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(uint64(len(name)), 5))
			ours, theirs, common := notes(rng, 300, 1000), notes(rng, 400, 1000), notes(rng, 500, 1000)
			if o.deaf { // what it will not page, nobody can have
				theirs, common = theirs[:100], common[:100]
			}
			serveOther(t, o)
			o.put(theirs)
			o.put(common)
			s := openStore(t)
			fill(t, s, ours)
			fill(t, s, common)
			key := nostr.GeneratePrivateKey()
			sum, err := Sync(t.Context(), testDialer(), Job{
				URL: o.url, Filter: nostr.Filter{Kinds: []int{1, 7}}, Direction: Both, Local: s, Publish: publishTo(s),
				Sign:    func(_ context.Context, ev *nostr.Event) error { return ev.Sign(key) },
				Silence: 2 * time.Second,
			})
			if err != nil {
				t.Fatal(err)
			}
			social := nostr.Filter{Kinds: []int{1, 7}}
			if got, want := held(t, s, social), o.ids(social); !slices.Equal(got, want) {
				t.Errorf("we hold %d events, they %d: %+v", len(got), len(want), sum)
			}
			if n := len(held(t, s, nostr.Filter{Kinds: []int{42}})); n != count42(ours)+count42(common) {
				t.Errorf("%d events outside the filter", n)
			}
			if want := len(theirs) - count42(theirs); sum.Stored != want || sum.Missing != 0 {
				t.Errorf("stored %d of %d: %+v", sum.Stored, want, sum)
			}
			if want := len(ours) - count42(ours); sum.Uploaded != want || sum.Have != want {
				t.Errorf("uploaded %d of %d: %+v", sum.Uploaded, want, sum)
			}
			if method := map[bool]string{true: "negentropy", false: "req"}[o.noNeg == ""]; sum.Method != method {
				t.Errorf("by %s, want %s", sum.Method, method)
			}
			if o.junk && (sum.Unasked == 0 || sum.Unreadable == 0) {
				t.Errorf("junk went unnoticed: %+v", sum)
			}
		})
	}
}

func count42(list []*nostr.Event) (n int) {
	for _, ev := range list {
		if ev.Kind == 42 {
			n++
		}
	}
	return n
}

func TestSyncGoesOnlyTheWayItIsTold(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 5))
	for _, dir := range []Direction{Down, Up} {
		o := serveOther(t, &other{})
		ours, theirs := notes(rng, 50, 1000), notes(rng, 60, 1000)
		o.put(theirs)
		s := openStore(t)
		fill(t, s, ours)
		sum, err := Sync(t.Context(), testDialer(), Job{URL: o.url, Direction: dir, Local: s, Publish: publishTo(s)})
		if err != nil {
			t.Fatal(err)
		}
		wantHere, wantThere := 50, 110
		if dir == Down {
			wantHere, wantThere = 110, 60
		}
		if here, there := len(held(t, s, nostr.Filter{})), len(o.ids(nostr.Filter{})); here != wantHere || there != wantThere {
			t.Errorf("direction %d: %d here, %d there, %+v", dir, here, there, sum)
		}
	}
}

func TestSyncAgainTransfersNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 5))
	o, s := serveOther(t, &other{}), openStore(t)
	o.put(notes(rng, 100, 1000))
	fill(t, s, notes(rng, 100, 1000))
	for round := range 2 {
		sum, err := Sync(t.Context(), testDialer(), Job{URL: o.url, Direction: Both, Local: s, Publish: publishTo(s)})
		if err != nil {
			t.Fatal(err)
		}
		if moved := sum.Stored + sum.Uploaded; moved != 200*(1-round) {
			t.Errorf("round %d moved %d events: %+v", round, moved, sum)
		}
	}
}

func TestWrappedAndProtectedEventsDoNotLeave(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 5))
	for _, noNeg := range []string{"", "unknown cmd"} {
		o, s := serveOther(t, &other{noNeg: noNeg}), openStore(t)
		kept, wrap := note(rng, 1, 1000), note(rng, 1059, 1000)
		kept.Tags = nostr.Tags{{"-"}}
		kept.ID = kept.GetID()
		open := note(rng, 1, 1001)
		fill(t, s, []*nostr.Event{kept, wrap, open})
		sum, err := Sync(t.Context(), testDialer(), Job{URL: o.url, Direction: Both, Local: s, Publish: publishTo(s), Silence: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		if got := o.ids(nostr.Filter{}); !slices.Equal(got, []string{open.ID}) || sum.Withheld["protected"] != 1 {
			t.Errorf("%d events left us: %+v", len(got), sum)
		}
	}
}

func TestRefusalsAreAccountedForByReason(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 5))
	tries := map[string]int{}
	o := serveOther(t, &other{reject: func(ev *nostr.Event) string {
		tries[ev.ID]++
		switch {
		case ev.Kind == 7:
			return "blocked: no reactions"
		case ev.Kind == 42 && tries[ev.ID] == 1:
			return "rate-limited: slow down"
		}
		return ""
	}})
	s := openStore(t)
	fill(t, s, []*nostr.Event{note(rng, 1, 10), note(rng, 7, 11), note(rng, 7, 12), note(rng, 42, 13)})
	forged := note(rng, 1, 20)
	forged.Content = "not what was signed"
	o.put([]*nostr.Event{note(rng, 1, 21), forged})
	sum, err := Sync(t.Context(), testDialer(), Job{URL: o.url, Direction: Both, Local: s, Publish: publishTo(s)})
	if err != nil {
		t.Fatal(err)
	}
	if sum.Uploaded != 2 || sum.Rejected["blocked"] != 2 || sum.Stored != 1 || sum.Refused["invalid"] != 1 {
		t.Errorf("%+v", sum)
	}
}

func TestSyncStopsAtItsBounds(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 5))
	o, s := serveOther(t, &other{}), openStore(t)
	o.put(notes(rng, 3000, 1000))
	sum, err := Sync(t.Context(), testDialer(), Job{URL: o.url, Direction: Down, Local: s, Publish: publishTo(s), MaxEvents: 500})
	if err != nil || !sum.Cut || sum.Stored < 500 || sum.Stored > 500+openReqs*maxBatch {
		t.Errorf("events: %+v, %v", sum, err)
	}
	_, err = Sync(t.Context(), testDialer(), Job{URL: o.url, Direction: Down, Local: s, Publish: publishTo(s), MaxBytes: 100_000})
	if !errors.Is(err, ErrTooMuch) {
		t.Errorf("bytes: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	silent := serveOther(t, &other{noNeg: "-"})
	if _, err = Sync(ctx, testDialer(), Job{URL: silent.url, Direction: Down, Local: s, Publish: publishTo(s)}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("time: %v", err)
	}
}

// Neither a relay that always has something new nor one whose page never ends
// holds a walk for ever.
func TestAWalkEndsWhateverTheOtherShows(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 5))
	for name, o := range map[string]*other{
		"restless": {restless: true, noNeg: "unknown cmd"}, "endless": {endless: true, noNeg: "unknown cmd"}, "grudging": {tooMany: -1},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t)
			serveOther(t, o).put(notes(rng, 1200, 1000))
			sum, err := Sync(t.Context(), testDialer(), Job{URL: o.url, Direction: Down, Local: s, Publish: publishTo(s), MaxEvents: 20_000})
			o.mu.Lock()
			defer o.mu.Unlock()
			if o.endless && (err == nil || !strings.Contains(err.Error(), "does not end a page")) || o.restless && (err != nil || sum.Stored != 1201) ||
				o.tooMany < 0 && (err != nil || sum.Stored != 1200 || o.seen["NEG-OPEN"] > 50) {
				t.Errorf("%+v, %v", sum, err)
			}
			if o.seen["REQ"] > 20 {
				t.Errorf("asked %d times", o.seen["REQ"])
			}
		})
	}
}

func TestAPublishThatFailsEndsTheSync(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 5))
	o, s := serveOther(t, &other{}), openStore(t)
	o.put(notes(rng, 500, 1000))
	full := errors.New("the disk is full")
	_, err := Sync(t.Context(), testDialer(), Job{URL: o.url, Direction: Down, Local: s, Publish: func(context.Context, *nostr.Event, []byte) (string, error) {
		return "", full
	}})
	if !errors.Is(err, full) {
		t.Error(err)
	}
}

func TestSpansCoverEverySecondOnce(t *testing.T) {
	leaves, stack := []span{}, []span{{filter: nostr.Filter{Kinds: []int{1}}}}
	for len(stack) > 0 {
		at := stack[0]
		stack = stack[1:]
		if len(leaves)+len(stack) > 200 {
			leaves = append(leaves, at)
			continue
		}
		if halves := at.halves(); halves != nil {
			stack = append(stack, halves...)
		} else {
			leaves = append(leaves, at)
		}
	}
	rng := rand.New(rand.NewPCG(7, 5))
	for range 2000 {
		ev := note(rng, 1, rng.Int64N(2*int64(nostr.Now())))
		n := 0
		for _, l := range leaves {
			if l.filter.Matches(ev) {
				n++
			}
		}
		if n != 1 {
			t.Fatalf("%d lies in %d spans", ev.CreatedAt, n)
		}
	}
}

// FuzzOtherRelay feeds the reader of what a relay says: whatever it is, a
// reconciliation ends with an error or with what was said.
func FuzzOtherRelay(f *testing.F) {
	f.Add([]byte(`["NEG-MSG","agora-1","61"]`))
	f.Add([]byte(`["NEG-ERR","agora-1","blocked: x",5]`))
	f.Add([]byte(`["EVENT","agora-1",{}]`))
	f.Add([]byte(`["NOTICE","unknown cmd"]`))
	f.Fuzz(func(t *testing.T, msg []byte) {
		m, err := wire.ParseServer(msg)
		r := &remote{in: make(chan incoming, 2)} // the message and the end
		r.in <- incoming{m: m, bad: err}
		r.in <- incoming{end: errors.New("over")}
		e := &exchange{r: r}
		if frame, err := e.negFrame(t.Context(), "agora-1", time.Second); err == nil && m.Label != "NEG-MSG" {
			t.Fatalf("%q was taken for the frame %x", msg, frame)
		}
	})
}
