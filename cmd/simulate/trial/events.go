package trial

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"

	"agora/cmd/simulate/crowd"

	"github.com/nbd-wtf/go-nostr"
)

// longest is how many bytes a line of events may have.
const longest = 16 << 20

// Read makes a log of events, one JSON object a line, as agora export writes
// them; signatures were checked by who took them in. The newest list of a key
// holds for the whole time, roots only are notes to be ranked, and zaps count
// as the receipts say. Readers are the keys that acted on at least five notes.
func Read(from io.Reader) (*crowd.Log, error) {
	b := &builder{log: &crowd.Log{}, keys: make(map[string]int32), notes: make(map[string]int32), lists: make(map[string]nostr.Timestamp)}
	lines := bufio.NewScanner(from)
	lines.Buffer(make([]byte, 0, 1<<16), longest)
	n := 0
	var acts []*nostr.Event
	for lines.Scan() {
		n++
		var ev nostr.Event
		if len(lines.Bytes()) == 0 {
			continue
		}
		if err := json.Unmarshal(lines.Bytes(), &ev); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if ev.CreatedAt <= 0 || ev.CreatedAt > math.MaxUint32 {
			continue // in milliseconds, or made up
		}
		if b.first(&ev) {
			acts = append(acts, &ev)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", n+1, err)
	}
	for _, ev := range acts {
		b.second(ev)
	}
	return b.finish()
}

type builder struct {
	log   *crowd.Log
	keys  map[string]int32
	notes map[string]int32
	lists map[string]nostr.Timestamp // by kind and key
}

func (b *builder) key(hex string) int32 {
	n, ok := b.keys[hex]
	if !ok {
		n = int32(len(b.log.Keys))
		b.keys[hex] = n
		b.log.Keys = append(b.log.Keys, hex)
		b.log.Follows, b.log.Mutes = append(b.log.Follows, nil), append(b.log.Mutes, nil)
	}
	return n
}

// first takes lists and notes, and tells whether the event may act on a note.
func (b *builder) first(ev *nostr.Event) bool {
	switch ev.Kind {
	case 3, 10000:
		b.list(ev)
	case 1:
		if parent(ev) != "" {
			return true
		}
		if _, twice := b.notes[ev.ID]; twice {
			return false
		}
		n := int32(len(b.log.Notes))
		b.notes[ev.ID] = n
		who := b.key(ev.PubKey)
		b.log.Notes = append(b.log.Notes, crowd.Note{ID: ev.ID, At: int64(ev.CreatedAt), Author: who, Text: ev.Content})
		b.log.Acts = append(b.log.Acts, crowd.Act{At: int64(ev.CreatedAt), Who: who, Note: n, Deed: crowd.Write})
		return ev.Tags.Find("q") != nil
	case 6, 7, 16, 1111, 1984, 9735:
		return true
	}
	return false
}

func (b *builder) list(ev *nostr.Event) {
	slot := strconv.Itoa(ev.Kind) + ev.PubKey
	if at, ok := b.lists[slot]; ok && at >= ev.CreatedAt {
		return
	}
	b.lists[slot] = ev.CreatedAt
	who := b.key(ev.PubKey)
	var whom []int32
	seen := make(map[string]bool)
	for _, tag := range ev.Tags {
		if len(tag) > 1 && tag[0] == "p" && nostr.IsValidPublicKey(tag[1]) && tag[1] != ev.PubKey && !seen[tag[1]] {
			seen[tag[1]] = true
			whom = append(whom, b.key(tag[1]))
		}
	}
	if ev.Kind == 3 {
		b.log.Follows[who] = whom
		return
	}
	b.log.Mutes[who] = whom
}

// parent is the note that a note answers (NIP-10); "" for a root.
func parent(ev *nostr.Event) string {
	last, marked := "", ""
	for _, tag := range ev.Tags {
		if len(tag) < 2 || tag[0] != "e" {
			continue
		}
		switch {
		case len(tag) > 3 && tag[3] == "mention":
		case len(tag) > 3 && (tag[3] == "reply" || tag[3] == "root" && marked == ""):
			marked = tag[1]
		default:
			last = tag[1]
		}
	}
	return cmp.Or(marked, last)
}

// second takes what is done with the notes.
func (b *builder) second(ev *nostr.Event) {
	a := crowd.Act{At: int64(ev.CreatedAt), Who: b.key(ev.PubKey)}
	on := ""
	if tag := ev.Tags.FindLast("e"); len(tag) > 1 {
		on = tag[1]
	}
	switch ev.Kind {
	case 1:
		a.Deed, on = crowd.Reply, parent(ev)
		if on == "" {
			a.Deed, on = crowd.Quote, ev.Tags.Find("q")[1]
		}
	case 1111:
		a.Deed = crowd.Reply
	case 6, 16:
		a.Deed = crowd.Repost
	case 7:
		a.Deed = map[string]crowd.Deed{"": crowd.Like, "+": crowd.Like, "-": crowd.Dislike}[ev.Content]
		if a.Deed == crowd.Write {
			a.Deed = crowd.Emoji
		}
	case 1984:
		a.Deed = crowd.Report
	case 9735:
		var request nostr.Event
		if tag := ev.Tags.Find("description"); len(tag) < 2 || json.Unmarshal([]byte(tag[1]), &request) != nil {
			return
		}
		a.Deed, a.Who = crowd.Zap, b.key(request.PubKey)
		if tag := request.Tags.Find("amount"); len(tag) > 1 {
			a.Msat, _ = strconv.ParseInt(tag[1], 10, 64) // none told: 0
		}
	}
	n, ok := b.notes[on]
	if !ok || a.Who == b.log.Notes[n].Author || a.At < b.log.Notes[n].At {
		return
	}
	a.Note = n
	b.log.Acts = append(b.log.Acts, a)
}

func (b *builder) finish() (*crowd.Log, error) {
	l := b.log
	slices.SortStableFunc(l.Acts, func(x, y crowd.Act) int { return cmp.Compare(x.At, y.At) })
	did := make(map[int32]int)
	for _, a := range l.Acts {
		if a.Deed != crowd.Write {
			did[a.Who]++
		}
	}
	for who := range l.Keys {
		if did[int32(who)] >= 5 {
			l.Readers = append(l.Readers, int32(who))
		}
	}
	if len(l.Acts) == 0 || len(l.Readers) == 0 {
		return nil, errors.New("too little happened to judge by: nobody acted on five notes that are here")
	}
	l.Start, l.End = l.Acts[0].At, l.Acts[len(l.Acts)-1].At+1
	return l, nil
}
