package tally

import (
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strconv"

	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
)

// Kinds that say something here.
const (
	kindText     = 1
	kindRepost   = 6
	kindReaction = 7
	kindGeneric  = 16
	kindPicture  = 20
	kindVideo    = 21
	kindShort    = 22
	kindPoll     = 1068
	kindComment  = 1111
	kindVoice    = 1222
	kindReport   = 1984
	kindZap      = 9735
	kindLight    = 9802
	kindMutes    = 10000
	kindArticle  = 30023
	kindVideoA   = 34235
	kindShortA   = 34236
)

// NoteKinds are the kinds of the notes that are tallied.
func NoteKinds() []int {
	return []int{kindText, kindPicture, kindVideo, kindShort, kindPoll, kindComment, kindVoice, kindLight, kindArticle, kindVideoA, kindShortA}
}

func isNote(kind int) bool {
	switch kind {
	case kindText, kindPicture, kindVideo, kindShort, kindPoll, kindComment, kindVoice, kindLight, kindArticle, kindVideoA, kindShortA:
		return true
	}
	return false
}

// acts says which kinds may act on something.
func acts(kind int) bool {
	switch kind {
	case kindRepost, kindReaction, kindGeneric, kindReport, kindZap, kindMutes:
		return true
	}
	return isNote(kind)
}

// The bounds of what one event may name: beyond them it is not looked at.
const (
	mostDeeds = 50     // notes that one event acts on
	mostMuted = 10_000 // keys of a mute list
	mostTags  = 10_000
)

// statement is what an event says, parsed.
type statement struct {
	event   Key
	author  Key
	actor   Key // who acts: the author, or who paid a zap
	created uint32
	note    *noted
	deeds   []deed
	mutes   []Key // nil: not a mute list
	msat    uint64

	class uint8 // of the person who proved to act; 0: a key acts
	meant Key   // what the proof is for: the id of a note, or a key
}

// classOf is the class of a deed: a proof is for one target, and whatever else
// its event names is done by a key.
func (s *statement) classOf(d deed) uint8 {
	if s.class > Classes || d.on.address || s.meant == (Key{}) || s.meant != d.on.id && s.meant != d.against {
		return 0
	}
	return s.class
}

// noted is what makes an event a note.
type noted struct {
	kind         uint16
	expires      uint32
	sketch       uint64
	address      Key // of an addressable event
	parent, root target
}

// target names a note by id, or by the sha256 of its address.
type target struct {
	id      Key
	address bool
}

// deed is one act: on a note, or against a key.
type deed struct {
	action  Action
	on      target
	against Key
}

// read makes a statement of a record; nil when its kind says nothing here. A
// zap is left to its receipt.
func read(r *store.Record) (*statement, *nostr.Event, error) {
	if !acts(r.Kind()) {
		return nil, nil, nil
	}
	ev, err := r.Event()
	if err != nil {
		return nil, nil, fmt.Errorf("tally: %w", err)
	}
	s := &statement{event: r.ID(), author: r.PubKey(), created: seconds(r.CreatedAt())}
	s.actor = s.author
	if len(ev.Tags) > mostTags {
		ev.Tags = ev.Tags[:mostTags]
	}
	switch kind := r.Kind(); {
	case kind == kindMutes:
		s.mutes = muted(ev)
	case kind == kindReaction:
		s.react(ev)
	case kind == kindRepost || kind == kindGeneric:
		s.deed(Repost, last(ev, "e", "a"))
	case kind == kindReport:
		s.report(ev)
	case isNote(kind):
		s.write(r, ev)
	}
	return s, ev, nil
}

// seconds keeps a time within what is stored; one in milliseconds lies in the
// far future and so never comes.
func seconds(t int64) uint32 { return uint32(min(max(t, 1), math.MaxUint32-1)) }

func (s *statement) deed(action Action, on target) {
	if on.id == (Key{}) || len(s.deeds) == mostDeeds {
		return
	}
	d := deed{action: action, on: on}
	if !slices.Contains(s.deeds, d) {
		s.deeds = append(s.deeds, d)
	}
}

// react is NIP-25.
func (s *statement) react(ev *nostr.Event) {
	action := Emoji
	switch ev.Content {
	case "+", "":
		action = Like
	case "-":
		action = Dislike
	}
	s.deed(action, last(ev, "e", "a"))
}

// last is the last a tag that names an address of an addressable kind,
// otherwise the last e tag.
func last(ev *nostr.Event, id, address string) (t target) {
	for _, tag := range ev.Tags {
		if len(tag) < 2 {
			continue
		}
		if tag[0] == address {
			if of, ok := addressed(tag[1]); ok {
				t = of
			}
		}
		if tag[0] == id && !t.address {
			if k, ok := readKey(tag[1]); ok {
				t = target{id: k}
			}
		}
	}
	return t
}

func (s *statement) report(ev *nostr.Event) {
	for _, tag := range ev.Tags {
		if len(tag) < 2 {
			continue
		}
		k, ok := readKey(tag[1])
		switch {
		case !ok:
		case tag[0] == "e":
			s.deed(Report, target{id: k})
		case tag[0] == "p" && k != s.author:
			if d := (deed{action: Report, against: k}); len(s.deeds) < mostDeeds && !slices.Contains(s.deeds, d) {
				s.deeds = append(s.deeds, d)
			}
		}
	}
}

// write is a note, with what it answers and quotes.
func (s *statement) write(r *store.Record, ev *nostr.Event) {
	n := &noted{kind: uint16(ev.Kind), sketch: sketch(ev.Content)}
	if r.Expires() != 0 {
		n.expires = seconds(r.Expires())
	}
	if ev.Kind >= 30000 {
		n.address = sha(strconv.Itoa(ev.Kind) + ":" + ev.PubKey + ":" + ev.Tags.GetD())
	}
	switch ev.Kind {
	case kindText:
		n.parent, n.root = thread(ev)
	case kindComment:
		n.parent, n.root = last(ev, "e", "a"), last(ev, "E", "A")
	}
	s.note = n
	if n.parent != (target{}) {
		s.deed(Reply, n.parent)
	}
	for _, tag := range ev.Tags {
		if len(tag) < 2 || tag[0] != "q" {
			continue
		}
		if k, ok := readKey(tag[1]); ok {
			s.deed(Quote, target{id: k})
		} else if t, ok := addressed(tag[1]); ok {
			s.deed(Quote, t)
		}
	}
}

// thread is NIP-10: marks where there are any, otherwise the first e tag is the
// root and the last is what is answered. An answer to an addressable note names
// it by an a tag.
func thread(ev *nostr.Event) (parent, root target) {
	if t := last(ev, "", "a"); t.address {
		return t, t
	}
	var first, last, reply target
	marked := false
	for _, tag := range ev.Tags {
		if len(tag) < 2 || tag[0] != "e" {
			continue
		}
		k, ok := readKey(tag[1])
		if !ok {
			continue
		}
		mark := ""
		if len(tag) > 3 {
			mark = tag[3]
		}
		switch mark {
		case "root":
			root, marked = target{id: k}, true
		case "reply":
			reply, marked = target{id: k}, true
		case "mention":
			marked = true
		default:
			if first == (target{}) {
				first = target{id: k}
			}
			last = target{id: k}
		}
	}
	if !marked {
		return last, first
	}
	if reply == (target{}) {
		reply = root
	}
	if root == (target{}) {
		root = reply
	}
	return reply, root
}

func muted(ev *nostr.Event) []Key {
	keys := make([]Key, 0, len(ev.Tags))
	seen := make(map[Key]bool, len(ev.Tags))
	for _, tag := range ev.Tags {
		if len(tag) < 2 || tag[0] != "p" || len(keys) == mostMuted {
			continue
		}
		if k, ok := readKey(tag[1]); ok && !seen[k] && tag[1] != ev.PubKey {
			seen[k] = true
			keys = append(keys, k)
		}
	}
	return keys
}

// addressed reads an address "kind:pubkey:d" of an addressable note.
func addressed(value string) (target, bool) {
	if len(value) < 71 || value[5] != ':' || value[70] != ':' {
		return target{}, false
	}
	kind, err := strconv.Atoi(value[:5])
	if err != nil || kind < 30000 || !isNote(kind) {
		return target{}, false
	}
	if _, ok := readKey(value[6:70]); !ok {
		return target{}, false
	}
	return target{id: sha(value), address: true}, true
}

// readKey takes 64 lower-case hex digits and nothing else.
func readKey(value string) (k Key, ok bool) {
	if len(value) != 64 {
		return k, false
	}
	for i := range len(value) {
		if c := value[i]; c >= 'A' && c <= 'F' {
			return k, false
		}
	}
	_, err := hex.Decode(k[:], []byte(value))
	return k, err == nil && k != Key{}
}
