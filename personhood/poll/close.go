package poll

import (
	"cmp"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"

	"agora/personhood/semaphore"

	"github.com/nbd-wtf/go-nostr"
)

// partIDs is how many ids one close event lists; more go into further ones.
// At 43 characters each it stays under the bound on messages.
const partIDs = 4096

// mostParts bounds a close: 1,048,576 ids, as many as a group has members.
const mostParts = 256

// Close is the host's word on which ballots of a poll count. As events it is
// one of kind 2195 for each 4,096 ids: the ids, sorted, 32 bytes each, in
// base64 as the content, and the tags
//
//	["e", poll] ["a", group] ["root", root] ["count", ids] ["x", Sum]
//	["part", number from 1, parts]
type Close struct {
	Poll  ID
	Group string
	Root  semaphore.Element
	By    string
	At    nostr.Timestamp
	IDs   []ID // sorted
}

// Events are the close as events, unsigned.
func (c Close) Events() []nostr.Event {
	ids := slices.SortedFunc(slices.Values(c.IDs), compareIDs)
	parts := max(1, (len(ids)+partIDs-1)/partIDs)
	sum := Sum(ids)
	out := make([]nostr.Event, parts)
	for i := range out {
		lo := min(i*partIDs, len(ids))
		raw := make([]byte, 0, 32*partIDs)
		for _, id := range ids[lo:min(lo+partIDs, len(ids))] {
			raw = append(raw, id[:]...)
		}
		out[i] = nostr.Event{
			PubKey: c.By, Kind: KindClose, CreatedAt: c.At, Content: base64.StdEncoding.EncodeToString(raw),
			Tags: nostr.Tags{
				{"e", c.Poll.String()}, {"a", c.Group}, {"root", semaphore.Hex(c.Root)},
				{"count", strconv.Itoa(len(ids))}, {"x", hex.EncodeToString(sum[:])},
				{"part", strconv.Itoa(i + 1), strconv.Itoa(parts)},
			},
		}
	}
	return out
}

// part is one event of a close, parsed.
type part struct {
	close       Close
	count       int
	sum         [32]byte
	number, all int
}

// ParseClose puts the parts of one close together; parts that stand there
// twice do no harm. It does not check signatures. The error is an *Invalid.
func ParseClose(events []*nostr.Event) (c Close, err error) {
	var parts []part
	for _, ev := range events {
		p, err := parsePart(ev)
		if err != nil {
			return c, err
		}
		parts = append(parts, p)
	}
	slices.SortFunc(parts, func(a, b part) int { return cmp.Compare(a.number, b.number) })
	parts = slices.CompactFunc(parts, func(a, b part) bool { return a.number == b.number })
	if len(parts) == 0 || len(parts) != parts[0].all {
		return c, invalid("close event is not whole: %d parts are here", len(parts))
	}
	first := parts[0]
	c = first.close
	c.IDs = nil
	for _, p := range parts {
		if p.all != first.all || p.sum != first.sum || p.count != first.count || p.close.By != c.By ||
			p.close.Poll != c.Poll || p.close.Group != c.Group || p.close.Root != c.Root {
			return c, invalid("parts of the close event do not belong together")
		}
		c.At = max(c.At, p.close.At)
		c.IDs = append(c.IDs, p.close.IDs...)
	}
	if len(c.IDs) != first.count || Sum(c.IDs) != first.sum || !slices.IsSortedFunc(c.IDs, compareIDs) ||
		len(slices.Compact(slices.Clone(c.IDs))) != len(c.IDs) {
		return c, invalid("close event does not list what it counts")
	}
	return c, nil
}

// CheckPart says whether an event is one of a close, well formed. The error is
// an *Invalid.
func CheckPart(ev *nostr.Event) error {
	_, err := parsePart(ev)
	return err
}

func parsePart(ev *nostr.Event) (p part, err error) {
	if ev.Kind != KindClose {
		return p, invalid("kind %d is no close event", ev.Kind)
	}
	tags, err := onceEach(ev, "e", "a", "root", "count", "x", "part")
	if err != nil {
		return p, err
	}
	p.close.By, p.close.At, p.close.Group = ev.PubKey, ev.CreatedAt, tags["a"][1]
	if p.close.Poll, err = ParseID(tags["e"][1]); err != nil {
		return p, err
	}
	if p.close.Root, err = semaphore.ParseHex(tags["root"][1]); err != nil {
		return p, invalid("root is not 64 lower-case hex digits below the field's order")
	}
	if p.sum, err = ParseID(tags["x"][1]); err != nil {
		return p, err
	}
	if len(tags["part"]) < 3 {
		return p, invalid("close event does not say which part it is")
	}
	if p.count, err = number(tags["count"][1], mostParts*partIDs); err != nil {
		return p, err
	}
	if p.all, err = number(tags["part"][2], mostParts); err != nil {
		return p, err
	}
	if p.number, err = number(tags["part"][1], p.all); err != nil || p.number == 0 {
		return p, invalid("close event is no part of %d", p.all)
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(ev.Content)
	if err != nil || len(raw)%32 != 0 || len(raw)/32 > partIDs {
		return p, invalid("close event's content is not base64 of ids")
	}
	for ; len(raw) > 0; raw = raw[32:] {
		p.close.IDs = append(p.close.IDs, ID(raw[:32]))
	}
	return p, nil
}

// onceEach returns tags that must stand once each and have a value.
func onceEach(ev *nostr.Event, names ...string) (map[string]nostr.Tag, error) {
	found := map[string]nostr.Tag{}
	for _, tag := range ev.Tags {
		if len(tag) < 2 || !slices.Contains(names, tag[0]) {
			continue
		}
		if found[tag[0]] != nil {
			return nil, invalid("event has two %s tags", tag[0])
		}
		found[tag[0]] = tag
	}
	for _, name := range names {
		if found[name] == nil {
			return nil, invalid("event has no %s tag", name)
		}
	}
	return found, nil
}

func number(s string, most int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > most || strconv.Itoa(n) != s {
		return 0, invalid("%.20q is not a number up to %d", s, most)
	}
	return n, nil
}

// The states of a poll.
const (
	Open   = "open"
	Ended  = "ended"  // takes no more ballots from sockets, and is not closed yet
	Closed = "closed" // the host has signed which ballots count
)

// Certificate is a tally that its maker answers for: an event of kind 2192
// with the Tally as content and the tags
//
//	["e", poll] ["a", group] ["root", root] ["state", open, ended or closed]
//	["count", people] ["x", Sum of the counted ids] ["option", id, ballots] …
type Certificate struct {
	Poll  ID
	Group string
	Root  semaphore.Element
	By    string
	At    nostr.Timestamp
	State string
	Count int
	Sum   [32]byte
	Tally Tally
}

// Tally is people and keys, never added up.
type Tally struct {
	People Result `json:"people"` // of a poll that pins a group
	Keys   Result `json:"keys"`   // ballots without a proof, one of each key
}

// Event is the certificate as an event, unsigned.
func (c Certificate) Event() (nostr.Event, error) {
	content, err := json.Marshal(c.Tally)
	if err != nil {
		return nostr.Event{}, err
	}
	ev := nostr.Event{PubKey: c.By, Kind: KindCertificate, CreatedAt: c.At, Content: string(content), Tags: nostr.Tags{
		{"e", c.Poll.String()}, {"a", c.Group}, {"root", semaphore.Hex(c.Root)}, {"state", c.State},
		{"count", strconv.Itoa(c.Count)}, {"x", hex.EncodeToString(c.Sum[:])},
	}}
	for _, o := range c.Tally.People.Options {
		ev.Tags = append(ev.Tags, nostr.Tag{"option", o.ID, strconv.Itoa(o.Ballots)})
	}
	return ev, nil
}

// ParseCertificate reads a certificate. It does not check the signature. The
// error is an *Invalid.
func ParseCertificate(ev *nostr.Event) (c Certificate, err error) {
	if ev.Kind != KindCertificate {
		return c, invalid("kind %d is no certificate", ev.Kind)
	}
	tags, err := onceEach(ev, "e", "a", "root", "state", "count", "x")
	if err != nil {
		return c, err
	}
	c = Certificate{By: ev.PubKey, At: ev.CreatedAt, Group: tags["a"][1], State: tags["state"][1]}
	if c.Poll, err = ParseID(tags["e"][1]); err != nil {
		return c, err
	}
	if c.Root, err = semaphore.ParseHex(tags["root"][1]); err != nil {
		return c, invalid("root is not 64 lower-case hex digits below the field's order")
	}
	if c.Sum, err = ParseID(tags["x"][1]); err != nil {
		return c, err
	}
	if c.Count, err = number(tags["count"][1], mostParts*partIDs); err != nil {
		return c, err
	}
	if err := json.Unmarshal([]byte(ev.Content), &c.Tally); err != nil {
		return c, invalid("certificate's content is not a tally")
	}
	return c, nil
}
