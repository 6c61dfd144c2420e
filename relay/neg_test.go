package relay

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"agora/relay/store"
	"agora/relay/wire"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip77/negentropy"
	"github.com/nbd-wtf/go-nostr/nip77/negentropy/storage/vector"
)

// stock puts events into the store behind the relay's back.
func (r *testRelay) stock(t testing.TB, list []*nostr.Event) {
	t.Helper()
	var g sync.WaitGroup
	g.Add(len(list))
	for _, ev := range list {
		err := r.store.Submit(t.Context(), store.Entry{Event: ev, JSON: wire.AppendEvent(nil, ev)}, func(_ store.Result, err error) {
			if err != nil {
				t.Error(err)
			}
			g.Done()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	g.Wait()
}

// unsigned makes n events of one kind whose signatures are made up.
func unsigned(rng *rand.Rand, n, kind int, tags ...nostr.Tag) (list []*nostr.Event) {
	for range n {
		ev := &nostr.Event{
			PubKey: fmt.Sprintf("%064x", 1+rng.IntN(50)), CreatedAt: nostr.Timestamp(1_700_000_000 + rng.IntN(100_000)), Kind: kind,
			Tags: append(nostr.Tags{}, tags...), Content: fmt.Sprint(rng.Uint64()), Sig: strings.Repeat("ab", 64),
		}
		ev.ID = ev.GetID()
		list = append(list, ev)
	}
	return list
}

// ready waits until the whole set is kept ready.
func (r *testRelay) ready(t testing.TB) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if set, err := r.store.ReadySet(nostr.Filter{}); set != nil || err != nil {
			return
		}
	}
	t.Fatal("the whole set does not get ready")
}

// negotiate reconciles a set of ours with the relay's and returns the ids only
// the relay and only we hold.
func (c *client) negotiate(sub, filter string, ours wire.NegVector) (need, have []string) {
	c.t.Helper()
	rec := wire.Reconciler{
		Set: ours, Frame: 20_000,
		Need: func(id [32]byte) { need = append(need, hex.EncodeToString(id[:])) },
		Have: func(k wire.NegKey) { have = append(have, hex.EncodeToString(k[8:])) },
	}
	frame, err := rec.Open(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	c.send(fmt.Sprintf(`["NEG-OPEN",%q,%s,"%x"]`, sub, filter, frame))
	for {
		m := c.want("NEG-MSG", sub, "")
		if frame, err = rec.Follow(c.t.Context(), m.Neg); err != nil {
			c.t.Fatal(err)
		}
		if frame == nil {
			break
		}
		c.send(fmt.Sprintf(`["NEG-MSG",%q,"%x"]`, sub, frame))
	}
	c.send(fmt.Sprintf(`["NEG-CLOSE",%q]`, sub))
	slices.Sort(need)
	slices.Sort(have)
	return slices.Compact(need), slices.Compact(have)
}

func negVector(list []*nostr.Event) wire.NegVector {
	var keys []wire.NegKey
	for _, ev := range list {
		id, _ := store.ParseID(ev.ID)
		keys = append(keys, wire.NegKeyOf(int64(ev.CreatedAt), id))
	}
	return wire.NewNegVector(keys)
}

func sortedIDs(lists ...[]*nostr.Event) (ids []string) {
	for _, list := range lists {
		ids = append(ids, idsOf(list)...)
	}
	slices.Sort(ids)
	return ids
}

// goNostr reconciles by go-nostr's engine over a real socket.
func (c *client) goNostr(filter string, list []*nostr.Event) (need, have []string) {
	c.t.Helper()
	set := vector.New()
	for _, ev := range list {
		set.Insert(ev.CreatedAt, ev.ID)
	}
	set.Seal()
	engine := negentropy.New(set, 60_000)
	collect := func(ids chan string, into *[]string, g *sync.WaitGroup) {
		g.Go(func() {
			for id := range ids {
				*into = append(*into, id)
			}
		})
	}
	var g sync.WaitGroup
	collect(engine.HaveNots, &need, &g)
	collect(engine.Haves, &have, &g)
	c.send(fmt.Sprintf(`["NEG-OPEN","go",%s,"%s"]`, filter, engine.Start()))
	for {
		next, err := engine.Reconcile(hex.EncodeToString(c.want("NEG-MSG", "go", "").Neg))
		if err != nil {
			c.t.Fatal(err)
		}
		if next == "" {
			break
		}
		c.send(fmt.Sprintf(`["NEG-MSG","go","%s"]`, next))
	}
	g.Wait()
	c.send(`["NEG-CLOSE","go"]`)
	slices.Sort(need)
	slices.Sort(have)
	return slices.Compact(need), slices.Compact(have)
}

func TestGoNostrSynchronisesBothWays(t *testing.T) {
	r := start(t, Config{}, nil)
	r.ready(t)
	a, c := newAuthor(), r.dial(t)
	var here, there []*nostr.Event
	for i := range 600 {
		ev := a.event(t, []int{1, 7}[i%2], -i/3)
		if i%3 != 0 {
			here = append(here, ev)
		}
		if i%3 != 1 {
			there = append(there, ev)
		}
	}
	r.stock(t, here)
	// One filter is gathered, the other is kept ready.
	for _, filter := range []string{`{"kinds":[1]}`, `{}`} {
		f, err := wire.ParseFilter([]byte(filter), wire.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		matching := func(list []*nostr.Event) []*nostr.Event {
			return slices.DeleteFunc(slices.Clone(list), func(ev *nostr.Event) bool { return !f.Matches(ev) })
		}
		need, have := c.goNostr(filter, matching(there))
		got, _ := c.query("down", `{"ids":`+jsonOf(need)+`}`)
		if there = append(there, got...); len(got) != len(need) {
			t.Errorf("%s: of %d events %d came", filter, len(need), len(got))
		}
		c.send(`["CLOSE","down"]`)
		for _, ev := range there {
			if slices.Contains(have, ev.ID) {
				c.mustPublish(ev)
			}
		}
		if need, have = c.goNostr(filter, matching(there)); len(need)+len(have) != 0 {
			t.Errorf("%s: after all was moved, %d and %d differ", filter, len(need), len(have))
		}
	}
	if n, err := r.store.Count(t.Context(), nostr.Filter{}); n != 600 || len(there) != 600 || err != nil {
		t.Errorf("we hold %d and they %d of 600: %v", n, len(there), err)
	}
}

func TestNegentropyFindsTheDifferenceForAnyFilter(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 77))
	r := start(t, Config{}, nil)
	r.ready(t)
	list := append(unsigned(rng, 6000, 1), unsigned(rng, 2000, 7)...)
	r.stock(t, list[:7000])
	c := r.dial(t)
	for _, text := range []string{
		`{}`, `{"kinds":[7]}`, `{"since":1700020000,"until":1700030000}`, `{"authors":["` + fmt.Sprintf("%064x", 7) + `"],"since":1700050000}`,
		`{"until":1700010000}`, `{"kinds":[5]}`, `{"kinds":[]}`, `{"since":5,"until":4}`,
	} {
		f, err := wire.ParseFilter([]byte(text), wire.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		matching := func(list []*nostr.Event) (out []*nostr.Event) {
			for _, ev := range list {
				if f.Matches(ev) && (f.Kinds == nil || len(f.Kinds) > 0) {
					out = append(out, ev)
				}
			}
			return out
		}
		need, have := c.negotiate("n", text, negVector(matching(list[1000:])))
		if want := sortedIDs(matching(list[:1000])); !slices.Equal(need, want) {
			t.Errorf("%s: need %d, want %d", text, len(need), len(want))
		}
		if want := sortedIDs(matching(list[7000:])); !slices.Equal(have, want) {
			t.Errorf("%s: have %d, want %d", text, len(have), len(want))
		}
	}
}

const (
	emptyFrame = "6100000200" // one range up to the end, with no ids in it
	anyNeg     = `["NEG-OPEN",%q,%s,"` + emptyFrame + `"]`
)

func TestNegentropyIDsLiveApartFromSubscriptions(t *testing.T) {
	r := start(t, Config{}, nil)
	a, c := newAuthor(), r.dial(t)
	c.query("x", `{"kinds":[1]}`)
	c.send(fmt.Sprintf(anyNeg, "x", `{"kinds":[1]}`))
	c.want("NEG-MSG", "x", "")
	c.send(`["NEG-CLOSE","x"]`)
	ev := a.note(t, 0)
	r.stock(t, []*nostr.Event{ev})
	if m := c.want("EVENT", "x", ""); m.Event.ID != ev.ID { // still subscribed
		t.Error("another event")
	}
	c.send(fmt.Sprintf(anyNeg, "x", `{"kinds":[1]}`), `["CLOSE","x"]`, `["NEG-MSG","x","`+emptyFrame+`"]`)
	c.want("NEG-MSG", "x", "")
	c.want("NEG-MSG", "x", "")
}

func TestNegentropyOutOfOrderIsClosed(t *testing.T) {
	r := start(t, Config{}, nil)
	c := r.dial(t)
	c.send(`["NEG-MSG","x","` + emptyFrame + `"]`)
	c.want("NEG-ERR", "x", "closed: ")
	c.send(fmt.Sprintf(anyNeg, "x", `{}`), `["NEG-CLOSE","x"]`, `["NEG-MSG","x","`+emptyFrame+`"]`)
	c.want("NEG-MSG", "x", "")
	c.want("NEG-ERR", "x", "closed: ")
	for _, bad := range []string{"", "61ff", "6100000105", "610900000100", "61" + strings.Repeat("ff", 9) + "7f"} {
		c.send(fmt.Sprintf(anyNeg, "x", `{}`), `["NEG-MSG","x","`+bad+`"]`, `["NEG-MSG","x","`+emptyFrame+`"]`)
		c.want("NEG-MSG", "x", "")
		c.want("NEG-ERR", "x", "invalid: ")
		if bad != "" { // which wire refuses, so that the negotiation stays
			c.want("NEG-ERR", "x", "closed: ")
		} else if m := c.next(); m.Label != "NEG-MSG" && m.Label != "NEG-ERR" {
			t.Errorf("%+v", m)
		}
	}
	c.send(`["NEG-OPEN","v",{},"62000002"]`)
	if m := c.want("NEG-MSG", "v", ""); hex.EncodeToString(m.Neg) != "61" {
		t.Errorf("version 0x62 was answered %x", m.Neg)
	}
}

func TestNegentropyThatIsOffIsNotSpokenEvenOfReadySets(t *testing.T) {
	r := start(t, Config{Limits: Limits{MaxNegentropy: -1}}, nil)
	c := r.dial(t)
	c.send(fmt.Sprintf(anyNeg, "x", `{}`))
	c.want("NEG-ERR", "x", "unsupported: this relay does not reconcile")
	if slices.Contains(r.Info().SupportedNIPs, 77) {
		t.Error("NIP-77 is claimed")
	}
}

func TestNegentropyIsBoundedPerConnectionAndRelay(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 77))
	r := start(t, Config{Limits: Limits{MaxNegentropy: 50}}, nil)
	r.ready(t)
	r.stock(t, append(unsigned(rng, 60, 1), unsigned(rng, 40, 7)...))
	c := r.dial(t)
	c.send(fmt.Sprintf(anyNeg, "many", `{"kinds":[1]}`))
	if m := c.want("NEG-ERR", "many", "blocked: "); m.Most != 50 {
		t.Errorf("the bound is said to be %d", m.Most)
	}
	c.send(fmt.Sprintf(anyNeg, "ready", `{}`))
	c.want("NEG-MSG", "ready", "")
	for i := range negPerSession - 1 {
		c.send(fmt.Sprintf(anyNeg, fmt.Sprint(i), `{"kinds":[7]}`))
		c.want("NEG-MSG", fmt.Sprint(i), "")
	}
	c.send(fmt.Sprintf(anyNeg, "more", `{"kinds":[7]}`))
	c.want("NEG-ERR", "more", "blocked: ")
	c.send(fmt.Sprintf(anyNeg, "3", `{"kinds":[7]}`)) // in the place of the old one
	c.want("NEG-MSG", "3", "")
	if n := r.negs.keys.Load(); n != 40*(negPerSession-1) {
		t.Errorf("%d keys are held", n)
	}
	r.negs.keys.Add(negTotalKeys - 40*negPerSession)
	c.send(`["NEG-CLOSE","2"]`, fmt.Sprintf(anyNeg, "2", `{"kinds":[7]}`), fmt.Sprintf(anyNeg, "3", `{"kinds":[7],"since":1}`))
	c.want("NEG-MSG", "2", "")
	c.want("NEG-MSG", "3", "")
	d := r.dial(t)
	d.send(fmt.Sprintf(anyNeg, "a", `{"kinds":[7]}`), fmt.Sprintf(anyNeg, "b", `{"kinds":[7]}`))
	d.want("NEG-MSG", "a", "")
	d.want("NEG-ERR", "b", "blocked: ")
	r.negs.keys.Add(40*negPerSession - negTotalKeys)
	_ = c.ws.Close()
	_ = d.ws.Close()
	for end := time.Now().Add(patience); r.negs.keys.Load() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d keys are still held for clients that are gone", r.negs.keys.Load())
		}
	}
}

func TestAnIdleNegotiationIsClosed(t *testing.T) {
	r := start(t, Config{Limits: Limits{NegentropyIdle: 50 * time.Millisecond}}, nil)
	c := r.dial(t)
	c.send(fmt.Sprintf(anyNeg, "x", `{"kinds":[1]}`))
	c.want("NEG-MSG", "x", "")
	c.want("NEG-ERR", "x", "closed: ")
	c.send(`["NEG-MSG","x","` + emptyFrame + `"]`)
	c.want("NEG-ERR", "x", "closed: ")
}

func TestNegentropyNamesOnlyWhatTheViewerMaySee(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 77))
	// Kind 4 is restricted here, but part of the set that the store keeps ready.
	r := start(t, Config{Restricted: []int{4}}, nil)
	r.ready(t)
	me := newAuthor()
	open := unsigned(rng, 3000, 1)
	wraps, dms := unsigned(rng, 30, 1059, nostr.Tag{"p", me.pk}), unsigned(rng, 3000, 4, nostr.Tag{"p", me.pk})
	r.stock(t, slices.Concat(open, wraps, dms))
	c := r.dial(t)
	if need, _ := c.negotiate("a", `{}`, nil); !slices.Equal(need, sortedIDs(open)) {
		t.Errorf("a stranger is told of %d events, not of %d", len(need), len(open))
	}
	c.send(fmt.Sprintf(anyNeg, "b", `{"kinds":[1059]}`))
	if m := c.next(); m.Label == "AUTH" {
		c.challenge = m.Text
	} else {
		t.Errorf("%+v", m)
	}
	c.want("NEG-ERR", "b", "auth-required: ")
	if m := c.authenticate(r.url, me.sk); !m.OK {
		t.Fatal(m.Text)
	}
	if need, _ := c.negotiate("c", `{"#p":["`+me.pk+`"]}`, nil); !slices.Equal(need, sortedIDs(wraps, dms)) {
		t.Errorf("the recipient is told of %d events, not of %d", len(need), len(wraps)+len(dms))
	}
}
