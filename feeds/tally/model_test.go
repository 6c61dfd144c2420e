package tally

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"testing"

	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
)

type ctx = context.Context

func newCtx(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithCancel(context.WithoutCancel(t.Context()))
}

// model counts by looking at every event for every note.
type model struct {
	events []*nostr.Event
	now    int64
}

func heldBy(t *testing.T, st *store.Store, now int64) *model {
	t.Helper()
	m := &model{now: now}
	for r, err := range st.Query(t.Context(), nostr.Filter{}) {
		if err != nil {
			t.Fatal(err)
		}
		ev, err := r.Event()
		if err != nil {
			t.Fatal(err)
		}
		m.events = append(m.events, ev)
	}
	return m
}

// on says what an event does with a note; written apart from read.go.
func on(ev, note *nostr.Event) (did []Action) {
	names := func(value string) bool {
		return value == note.ID && note.Kind < 30000 || note.Kind >= 30000 && value == strconv.Itoa(note.Kind)+":"+note.PubKey+":"+note.Tags.GetD()
	}
	var e, a []nostr.Tag
	for _, tag := range ev.Tags {
		switch tag[0] {
		case "e":
			e = append(e, tag)
		case "a":
			a = append(a, tag)
		case "q":
			if names(tag[1]) && slices.Contains(NoteKinds(), ev.Kind) {
				did = append(did, Quote)
			}
		}
	}
	final := append(slices.Clone(e), a...)
	hit := len(final) > 0 && names(final[len(final)-1][1])
	switch ev.Kind {
	case 7:
		if hit {
			switch ev.Content {
			case "", "+":
				did = append(did, Like)
			case "-":
				did = append(did, Dislike)
			default:
				did = append(did, Emoji)
			}
		}
	case 6, 16:
		if hit {
			did = append(did, Repost)
		}
	case 1111:
		if hit {
			did = append(did, Reply)
		}
	case 1:
		if hit {
			did = append(did, Reply)
		}
	case 1984:
		if len(e) > 0 && names(e[0][1]) {
			did = append(did, Report)
		}
	}
	return did
}

func (m *model) counts(note *nostr.Event, lens func(string) (follows bool, trust float32)) (c Counts) {
	var first [Actions]map[string]int64
	for i := range first {
		first[i] = map[string]int64{}
	}
	any := map[string]int64{}
	for _, ev := range m.events {
		if ev.PubKey == note.PubKey || int64(ev.CreatedAt) > m.now {
			continue
		}
		for _, action := range on(ev, note) {
			if at, ok := first[action][ev.PubKey]; !ok || int64(ev.CreatedAt) < at {
				first[action][ev.PubKey] = int64(ev.CreatedAt)
			}
			if at, ok := any[ev.PubKey]; action.positive() && (!ok || int64(ev.CreatedAt) < at) {
				any[ev.PubKey] = int64(ev.CreatedAt)
			}
		}
	}
	proof := map[string]float32{}
	for action := range Actions {
		for who := range first[action] {
			c.Actors[action]++
			c.Trust[action] += weightOf(who)
			follows, trust := lens(who)
			c.Viewer[action] += trust
			if follows && trust > 0 {
				c.Proof[action]++
				proof[who] = trust
			}
		}
	}
	for _, t := range proof {
		c.ProofTrust += t
	}
	for who, at := range any {
		for w, span := range windows() {
			part := math.Exp(-float64(m.now-at)/span) * 3600 / span
			c.Rate[w] += float32(part)
			c.TrustRate[w] += float32(part) * weightOf(who)
		}
	}
	return c
}

func weightOf(who string) float32 {
	k, _ := readKey(who)
	return float32(weigh(trust(k))) / Unit
}

func near(a, b float32) bool { return math.Abs(float64(a-b)) <= 1e-3*(1+math.Abs(float64(b))) }

func same(a, b Counts) error {
	for i := range Actions {
		if a.Actors[i] != b.Actors[i] || !near(a.Trust[i], b.Trust[i]) || a.Proof[i] != b.Proof[i] || !near(a.Viewer[i], b.Viewer[i]) {
			return fmt.Errorf("action %d: keys %d trust %v viewer %v proof %d, want %d %v %v %d", i,
				a.Actors[i], a.Trust[i], a.Viewer[i], a.Proof[i], b.Actors[i], b.Trust[i], b.Viewer[i], b.Proof[i])
		}
	}
	for w := range Windows {
		if !near(a.Rate[w], b.Rate[w]) || !near(a.TrustRate[w], b.TrustRate[w]) {
			return fmt.Errorf("window %d: rate %v trust %v, want %v %v", w, a.Rate[w], a.TrustRate[w], b.Rate[w], b.TrustRate[w])
		}
	}
	if !near(a.ProofTrust, b.ProofTrust) {
		return fmt.Errorf("proof trust %v, want %v", a.ProofTrust, b.ProofTrust)
	}
	return nil
}

// eyes of a viewer who follows every fourth key.
func eyes(r *Reader) *Lens {
	return &Lens{
		AskTrust:   func(a uint32) float32 { return float32(r.Key(a)[3]) / 255 },
		AskFollows: func(a uint32) bool { return r.Key(a)[2]%4 == 0 },
		Self:       NoPlace,
	}
}

func lensOf(who string) (bool, float32) {
	k, _ := readKey(who)
	return k[2]%4 == 0, float32(k[3]) / 255
}

// agree compares every note of the store with the model, as of now.
func (w *world) agree(now int64) {
	w.t.Helper()
	if err := w.tally.WaitFor(w.t.Context(), w.store.Head()); err != nil {
		w.t.Fatal(err)
	}
	m := heldBy(w.t, w.store, now)
	live := 0
	for _, note := range m.events {
		if !isNote(note.Kind) {
			continue
		}
		id, _ := readKey(note.ID)
		w.tally.Read(now, func(r *Reader) {
			n, ok := r.Find(id)
			if want := int64(note.CreatedAt) <= now; ok != want {
				w.t.Fatalf("note %s of kind %d: found %v, want %v", note.ID, note.Kind, ok, want)
			}
			if !ok {
				return
			}
			live++
			if err := same(r.Counts(n, eyes(r)), m.counts(note, lensOf)); err != nil {
				w.t.Fatalf("note %s (kind %d): %v", note.ID, note.Kind, err)
			}
		})
	}
	shown := 0
	w.tally.Read(now, func(r *Reader) {
		for range r.All {
			shown++
		}
		last := int64(math.MaxInt64)
		for n := range r.Recent {
			if n.Created > last {
				w.t.Fatal("the latest notes are not in order")
			}
			last = n.Created
		}
	})
	if shown != live {
		w.t.Fatalf("%d notes in the tally, %d in the store", shown, live)
	}
}

func (w *world) start(cfg Config) (stop func()) {
	w.t.Helper()
	cfg.Store, cfg.Trust = w.store, func() func(Key) float32 { return trust }
	var err error
	if w.tally, err = New(cfg); err != nil {
		w.t.Fatal(err)
	}
	return run(w.t, w.tally.Run)
}

func TestCountsAreThoseOfAPlainModelWhateverComesAndGoes(t *testing.T) {
	for seed := range uint64(4) {
		w := newWorld(t, seed, 60)
		w.start(Config{})
		for step := range 1500 {
			w.append(w.random())
			if step%300 == 299 {
				w.agree(w.now)
			}
		}
		w.agree(w.now - 86400) // as of yesterday, in spite of all that came since
		w.agree(w.now + 7200)  // and when what lies ahead has come
		vanish := w.event(62, w.authors[0], "", nostr.Tag{"relay", "ALL_RELAYS"})
		vanish.CreatedAt = nostr.Timestamp(w.now + 10000)
		w.append(vanish)
		for w.store.Sweeping() {
		}
		w.agree(w.now)
	}
}
