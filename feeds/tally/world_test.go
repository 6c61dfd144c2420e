package tally

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"agora/relay/store"
	"agora/relay/wire"

	"github.com/nbd-wtf/go-nostr"
)

// world is a store with a tally beside it, and a hand that writes events whose
// signatures are made up.
type world struct {
	t       *testing.T
	r       *rand.Rand
	store   *store.Store
	tally   *Tally
	authors []string
	made    []*nostr.Event
	notes   []*nostr.Event
	now     int64
}

func newWorld(t *testing.T, seed uint64, authors int) *world {
	t.Helper()
	st, err := store.Open(t.TempDir(), store.Config{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, r: rand.New(rand.NewPCG(seed, 3)), store: st, now: time.Now().Unix()}
	for range authors {
		w.authors = append(w.authors, w.hex())
	}
	t.Cleanup(func() { st.Close() })
	run(t, st.Run)
	return w
}

// run starts something and ends it with the test.
func run(t *testing.T, what func(ctx ctx) error) (stop func()) {
	t.Helper()
	c, cancel := newCtx(t)
	done := make(chan error, 1) // one result
	go func() { done <- what(c) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil && c.Err() == nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func (w *world) hex() string {
	var b [32]byte
	for i := range b {
		b[i] = byte(w.r.UintN(256))
	}
	return hex.EncodeToString(b[:])
}

// trust is a key's: uneven, many have none.
func trust(k Key) float32 {
	if k[0]%3 == 0 {
		return 0
	}
	return float32(k[1]) / 255
}

func (w *world) append(ev *nostr.Event) store.Outcome {
	w.t.Helper()
	res, err := w.store.Append(w.t.Context(), store.Entry{Event: ev, JSON: wire.AppendEvent(nil, ev), Vanish: ev.Kind == 62})
	if err != nil {
		w.t.Fatal(err)
	}
	return res.Outcome
}

func (w *world) event(kind int, author, content string, tags ...nostr.Tag) *nostr.Event {
	if tags == nil {
		tags = nostr.Tags{}
	}
	return &nostr.Event{
		ID: w.hex(), PubKey: author, Kind: kind, Tags: tags, Content: content, Sig: w.hex() + w.hex(),
		CreatedAt: nostr.Timestamp(w.now - int64(w.r.IntN(3*86400))),
	}
}

func (w *world) who() string { return w.authors[w.r.IntN(len(w.authors))] }

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

// target is a note most of the time, one of few so that crowds gather.
func (w *world) target() *nostr.Event {
	if len(w.notes) == 0 || w.r.IntN(20) == 0 {
		return &nostr.Event{ID: w.hex(), PubKey: w.who(), Kind: 1}
	}
	if w.r.IntN(2) == 0 {
		return w.notes[w.r.IntN(min(3, len(w.notes)))]
	}
	return pick(w.r, w.notes)
}

func (w *world) toward(ev *nostr.Event, marks ...string) nostr.Tags {
	tags := nostr.Tags{append(nostr.Tag{"e", ev.ID}, marks...), {"p", ev.PubKey}}
	if ev.Kind >= 30000 {
		tags = append(tags, nostr.Tag{"a", strconv.Itoa(ev.Kind) + ":" + ev.PubKey + ":" + ev.Tags.GetD()})
	}
	return tags
}

// random writes the next event, and keeps notes in mind.
func (w *world) random() *nostr.Event {
	of := w.target()
	var ev *nostr.Event
	switch w.r.IntN(16) {
	case 0, 1:
		ev = w.event(1, w.who(), fmt.Sprintf("a note about subject %d with some words in it", w.r.IntN(5)))
	case 2:
		ev = w.event(1, w.who(), "an answer", w.toward(of, "", "reply")...)
	case 3:
		ev = w.event(1, w.who(), "an answer without marks", w.toward(of)...)
	case 4:
		ev = w.event(1111, w.who(), "a comment", w.toward(of)...)
	case 5:
		ev = w.event(30023, w.who(), "an article", nostr.Tag{"d", strconv.Itoa(w.r.IntN(2))})
	case 6:
		ev = w.event(pick(w.r, []int{6, 16}), w.who(), "", w.toward(of)...)
	case 7:
		ev = w.event(1, w.who(), "a quote", nostr.Tag{"q", of.ID})
	case 8:
		ev = w.event(1984, w.who(), "", w.toward(of)...)
	case 9:
		ev = w.event(10000, w.who(), "", nostr.Tag{"p", w.who()}, nostr.Tag{"p", w.who()})
	case 10:
		if len(w.made) == 0 {
			return w.random()
		}
		gone := pick(w.r, w.made)
		ev = w.event(5, gone.PubKey, "", nostr.Tag{"e", gone.ID})
	default:
		ev = w.event(7, w.who(), pick(w.r, []string{"+", "", "-", "🤙", "+"}), w.toward(of)...)
	}
	if w.r.IntN(30) == 0 {
		ev.CreatedAt = nostr.Timestamp(w.now + 1000 + int64(w.r.IntN(5000)))
	}
	w.made = append(w.made, ev)
	if isNote(ev.Kind) {
		w.notes = append(w.notes, ev)
	}
	return ev
}
