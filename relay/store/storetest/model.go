// Package storetest checks any store against a plain model: a slice of events,
// read by going through it. The same suite runs on every store.
package storetest

import (
	"cmp"
	"slices"
	"strings"

	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
)

// Model is what a store ought to hold, kept the slow and obvious way.
type Model struct {
	events []*nostr.Event
	tombs  map[[2]string]bool // id, deleter
	addrs  map[string]int64   // address -> newest deletion
	vanish map[string]int64   // pubkey -> newest request
	wraps  map[string]bool    // ids of wrapped messages a vanish took
}

// NewModel holds nothing.
func NewModel() *Model {
	return &Model{tombs: map[[2]string]bool{}, addrs: map[string]int64{}, vanish: map[string]int64{}, wraps: map[string]bool{}}
}

func address(ev *nostr.Event) string {
	k := ev.Kind
	switch {
	case k == 0 || k == 3 || k >= 10000 && k < 20000:
		return nostr.EntityPointer{Kind: k, PublicKey: ev.PubKey}.AsTagReference()
	case k >= 30000 && k < 40000:
		return nostr.EntityPointer{Kind: k, PublicKey: ev.PubKey, Identifier: ev.Tags.GetD()}.AsTagReference()
	}
	return ""
}

// Append does what store.Append must do.
func (m *Model) Append(ev *nostr.Event, vanish bool) store.Outcome {
	if out := m.refused(ev); out != 0 {
		return out
	}
	if a := address(ev); a != "" {
		for i, held := range m.events {
			if address(held) != a {
				continue
			}
			if ev.CreatedAt < held.CreatedAt || ev.CreatedAt == held.CreatedAt && ev.ID > held.ID {
				return store.Older
			}
			m.events = slices.Delete(m.events, i, i+1)
			break
		}
	}
	m.events = append(m.events, ev)
	if ev.Kind == 5 {
		m.delete(ev)
	}
	if ev.Kind == 62 && vanish {
		m.vanishAll(ev)
	}
	return store.Stored
}

func (m *Model) refused(ev *nostr.Event) store.Outcome {
	if slices.ContainsFunc(m.events, func(h *nostr.Event) bool { return h.ID == ev.ID }) {
		return store.Duplicate
	}
	if t, ok := m.vanish[ev.PubKey]; ok && int64(ev.CreatedAt) <= t {
		return store.Vanished
	}
	if ev.Kind == 5 || ev.Kind == 62 {
		return 0
	}
	gone := m.tombs[[2]string{ev.ID, ev.PubKey}] || m.wraps[ev.ID]
	if ev.Kind == 1059 {
		for _, t := range ev.Tags {
			gone = gone || len(t) > 1 && t[0] == "p" && m.tombs[[2]string{ev.ID, t[1]}]
		}
	}
	t, ok := m.addrs[address(ev)]
	if gone || ok && address(ev) != "" && int64(ev.CreatedAt) <= t {
		return store.Deleted
	}
	return 0
}

func (m *Model) delete(by *nostr.Event) {
	for _, t := range by.Tags {
		if len(t) < 2 {
			continue
		}
		switch t[0] {
		case "e":
			m.deleteID(t[1], by)
		case "a":
			if p := strings.Split(t[1], ":"); len(p) > 2 && p[1] == by.PubKey {
				m.addrs[t[1]] = max(m.addrs[t[1]], int64(by.CreatedAt))
			}
			m.events = slices.DeleteFunc(m.events, func(h *nostr.Event) bool {
				return address(h) == t[1] && h.PubKey == by.PubKey && h.CreatedAt <= by.CreatedAt
			})
		}
	}
}

func (m *Model) deleteID(id string, by *nostr.Event) {
	for i, h := range m.events {
		if h.ID != id {
			continue
		}
		own := h.PubKey == by.PubKey || h.Kind == 1059 && h.Tags.ContainsAny("p", []string{by.PubKey})
		if h.Kind == 5 || h.Kind == 62 || !own {
			return
		}
		m.events = slices.Delete(m.events, i, i+1)
		break
	}
	m.tombs[[2]string{id, by.PubKey}] = true
}

func (m *Model) vanishAll(by *nostr.Event) {
	m.vanish[by.PubKey] = max(m.vanish[by.PubKey], int64(by.CreatedAt))
	m.events = slices.DeleteFunc(m.events, func(h *nostr.Event) bool {
		toThem := h.Kind == 1059 && h.Tags.ContainsAny("p", []string{by.PubKey})
		if toThem {
			m.wraps[h.ID] = true
		}
		return toThem || h.PubKey == by.PubKey && h.CreatedAt <= by.CreatedAt && h.ID != by.ID
	})
}

// Query answers as store.Query must.
func (m *Model) Query(filters ...nostr.Filter) []*nostr.Event {
	seen := map[string]bool{}
	var out []*nostr.Event
	for _, f := range filters {
		n := 0
		for _, ev := range m.sorted() {
			if f.LimitZero || f.Limit > 0 && n >= f.Limit {
				break
			}
			if !Matches(f, ev) {
				continue
			}
			n++
			if !seen[ev.ID] {
				seen[ev.ID] = true
				out = append(out, ev)
			}
		}
	}
	slices.SortFunc(out, newestFirst)
	return out
}

func (m *Model) sorted() []*nostr.Event {
	list := slices.Clone(m.events)
	slices.SortFunc(list, newestFirst)
	return list
}

func newestFirst(a, b *nostr.Event) int {
	return cmp.Or(cmp.Compare(b.CreatedAt, a.CreatedAt), cmp.Compare(a.ID, b.ID))
}

// Matches is filter.Matches, but a list that is empty and not nil matches
// nothing.
func Matches(f nostr.Filter, ev *nostr.Event) bool {
	if f.IDs != nil && len(f.IDs) == 0 || f.Authors != nil && len(f.Authors) == 0 || f.Kinds != nil && len(f.Kinds) == 0 {
		return false
	}
	for name, values := range f.Tags {
		if !slices.ContainsFunc(ev.Tags, func(t nostr.Tag) bool {
			// a tag without a value counts as one with the empty value
			return len(t) > 1 && t[0] == name && slices.Contains(values, t[1])
		}) {
			return false
		}
	}
	f.Tags = nil
	return f.Matches(ev)
}
