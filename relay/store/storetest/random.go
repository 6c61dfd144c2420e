package storetest

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"

	"github.com/nbd-wtf/go-nostr"
)

// World makes events and filters that keep meeting each other: few authors,
// few tag values, times that tie, ids that share their first bytes.
type World struct {
	R       *rand.Rand
	Authors []string
	made    []*nostr.Event
}

// NewWorld is a world that the seed alone decides.
func NewWorld(seed uint64) *World {
	w := &World{R: rand.New(rand.NewPCG(seed, 7))}
	for range 6 {
		w.Authors = append(w.Authors, w.hex())
	}
	return w
}

func (w *World) hex() string {
	var b [32]byte
	for i := range b {
		b[i] = byte(w.R.UintN(256))
	}
	return hex.EncodeToString(b[:])
}

func pick[T any](r *rand.Rand, list []T) T { return list[r.IntN(len(list))] }

var kinds = []int{0, 1, 1, 1, 3, 6, 7, 7, 42, 1059, 10002, 30000, 30023, 9735}

// id sometimes shares its first half with an earlier one.
func (w *World) id() string {
	h := w.hex()
	if len(w.made) > 0 && w.R.IntN(10) == 0 {
		h = pick(w.R, w.made).ID[:32] + h[32:]
	}
	return h
}

// Event makes the next event; its signature is made up.
func (w *World) Event() *nostr.Event {
	ev := &nostr.Event{
		ID: w.id(), PubKey: pick(w.R, w.Authors), Kind: pick(w.R, kinds),
		CreatedAt: nostr.Timestamp(1000 + w.R.IntN(60)), Tags: nostr.Tags{}, Sig: w.hex() + w.hex(),
		Content: fmt.Sprintf("note \"%d\" \\ \n é 漢字", w.R.IntN(1000)),
	}
	for range w.R.IntN(4) {
		ev.Tags = append(ev.Tags, w.tag())
	}
	if ev.Kind >= 30000 {
		ev.Tags = append(ev.Tags, nostr.Tag{"d", pick(w.R, []string{"", "a", "b:c"})})
	}
	switch w.R.IntN(25) {
	case 0, 1:
		w.deletion(ev)
	case 2:
		if w.R.IntN(4) == 0 {
			ev.Kind, ev.Tags = 62, nostr.Tags{{"relay", "ALL_RELAYS"}}
			ev.CreatedAt = nostr.Timestamp(1000 + w.R.IntN(20))
		}
	}
	w.made = append(w.made, ev)
	return ev
}

func (w *World) tag() nostr.Tag {
	switch w.R.IntN(7) {
	case 0:
		return nostr.Tag{"t", pick(w.R, []string{"go", "nostr", "a \"quoted\" tag\n", ""})}
	case 1:
		return nostr.Tag{"t"}
	case 2:
		return nostr.Tag{"e", w.anyID(), "wss://relay.example", "reply"}
	case 3:
		return nostr.Tag{"r", fmt.Sprintf("https://example.com/%0300d", w.R.IntN(3))}
	case 4:
		return nostr.Tag{"expires-not", "1"}
	default:
		return nostr.Tag{"p", pick(w.R, w.Authors)}
	}
}

func (w *World) anyID() string {
	if len(w.made) == 0 {
		return w.hex()
	}
	return pick(w.R, w.made).ID
}

func (w *World) deletion(ev *nostr.Event) {
	ev.Kind, ev.Tags = 5, nostr.Tags{}
	for range 1 + w.R.IntN(3) {
		if w.R.IntN(3) > 0 || len(w.made) == 0 {
			ev.Tags = append(ev.Tags, nostr.Tag{"e", w.anyID()})
			continue
		}
		if a := address(pick(w.R, w.made)); a != "" {
			ev.Tags = append(ev.Tags, nostr.Tag{"a", a})
		}
	}
}

// Filter makes a filter that often matches something.
func (w *World) Filter() nostr.Filter {
	var f nostr.Filter
	if w.R.IntN(3) == 0 {
		for range w.R.IntN(4) {
			f.Authors = append(f.Authors, pick(w.R, w.Authors))
		}
	}
	if w.R.IntN(2) == 0 {
		for range 1 + w.R.IntN(3) {
			f.Kinds = append(f.Kinds, pick(w.R, kinds))
		}
	}
	if w.R.IntN(8) == 0 {
		for range w.R.IntN(5) {
			f.IDs = append(f.IDs, w.anyID())
		}
	}
	if w.R.IntN(3) == 0 {
		f.Tags = nostr.TagMap{}
		for range 1 + w.R.IntN(2) {
			if t := w.tag(); len(t) > 1 && len(t[0]) == 1 {
				f.Tags[t[0]] = append(f.Tags[t[0]], t[1])
			}
		}
	}
	w.window(&f)
	return f
}

func (w *World) window(f *nostr.Filter) {
	if w.R.IntN(3) == 0 {
		t := nostr.Timestamp(1000 + w.R.IntN(60))
		f.Since = &t
	}
	if w.R.IntN(3) == 0 {
		t := nostr.Timestamp(1000 + w.R.IntN(60))
		f.Until = &t
	}
	switch w.R.IntN(6) {
	case 0, 1, 2:
		f.Limit = 1 + w.R.IntN(30)
	case 3:
		f.LimitZero = w.R.IntN(4) == 0
	}
}
