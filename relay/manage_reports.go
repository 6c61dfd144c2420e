package relay

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
)

// Bounds of listeventsneedingmoderation.
const (
	reportsRead = 20_000 // newest reports looked at
	reportedMax = 500    // events listed
)

// reported is one event that somebody reported.
type reported struct {
	by      map[[32]byte]bool // who; distinct keys, since one key may report often
	members int               // of them members, whose word counts first
	types   map[string]int    // NIP-56 types, each with how many reports
	text    string            // the newest report's own words
}

// listEventsNeedingModeration lists the events held here that reports
// (NIP-56) name and nobody has ruled on yet: those that members reported
// first, then by how many distinct keys did. A report is a hint, never a
// ruling; nothing is hidden for being on this list.
func (m *Management) listEventsNeedingModeration(ctx context.Context, _ call) (any, error) {
	found, err := m.reports(ctx)
	if err != nil {
		return nil, err
	}
	ids := slices.Collect(maps.Keys(found))
	slices.SortFunc(ids, func(a, b store.ID) int {
		x, y := found[a], found[b]
		return cmp.Or(cmp.Compare(y.members, x.members), cmp.Compare(len(y.by), len(x.by)), slices.Compare(a[:], b[:]))
	})
	rows := make([]listedEvent, 0, min(len(ids), reportedMax))
	for chunk := range slices.Chunk(ids, 100) {
		held, err := m.held(ctx, chunk)
		if err != nil {
			return nil, err
		}
		for _, id := range chunk {
			if held[id] && len(rows) < reportedMax {
				rows = append(rows, listedEvent{id.String(), found[id].reason()})
			}
		}
		if len(rows) == reportedMax {
			break
		}
	}
	return rows, nil
}

// reports gathers the newest reports by the event they name.
func (m *Management) reports(ctx context.Context) (map[store.ID]*reported, error) {
	found := map[store.ID]*reported{}
	for rec, err := range m.shelf.Query(ctx, nostr.Filter{Kinds: []int{nostr.KindReporting}, Limit: reportsRead}) {
		if err != nil {
			return nil, fmt.Errorf("read the reports: %w", err)
		}
		if m.Hidden(rec.PubKey()) {
			continue
		}
		ev, err := rec.Event()
		if err != nil {
			return nil, fmt.Errorf("read a report: %w", err)
		}
		m.note(found, ev, rec.PubKey())
	}
	return found, nil
}

func (m *Management) note(found map[store.ID]*reported, ev *nostr.Event, by [32]byte) {
	for _, tag := range ev.Tags {
		if len(tag) < 2 || tag[0] != "e" {
			continue
		}
		id, ok := parseHex32(tag[1])
		if !ok || m.ruled(id) {
			continue
		}
		r := found[id]
		if r == nil {
			r = &reported{by: map[[32]byte]bool{}, types: map[string]int{}, text: ev.Content}
			found[id] = r
		}
		if r.by[by] {
			continue
		}
		r.by[by] = true
		r.types[reportType(tag)]++
		if m.Member(by) {
			r.members++
		}
	}
}

// reportType is the third element of the tag, when it is one of NIP-56's.
func reportType(tag nostr.Tag) string {
	if len(tag) < 3 {
		return "other"
	}
	switch tag[2] {
	case "nudity", "malware", "profanity", "illegal", "spam", "impersonation":
		return tag[2]
	}
	return "other"
}

// ruled reports whether an administrator has decided about this event.
func (m *Management) ruled(id store.ID) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	_, banned := m.state.bannedEvents[id]
	_, approved := m.state.approved[id]
	return banned || approved
}

// held tells which of these events are held and still served.
func (m *Management) held(ctx context.Context, ids []store.ID) (map[store.ID]bool, error) {
	f := nostr.Filter{Limit: len(ids)}
	for _, id := range ids {
		f.IDs = append(f.IDs, id.String())
	}
	held := make(map[store.ID]bool, len(ids))
	for rec, err := range m.shelf.Query(ctx, f) {
		if err != nil {
			return nil, fmt.Errorf("look for reported events: %w", err)
		}
		if !m.Hidden(rec.PubKey()) {
			held[rec.ID()] = true
		}
	}
	return held, nil
}

// reason says it in a line: "spam 3, other 1 (4 keys, 2 of them members): words".
func (r *reported) reason() string {
	types := slices.Sorted(maps.Keys(r.types))
	slices.SortStableFunc(types, func(a, b string) int { return cmp.Compare(r.types[b], r.types[a]) })
	var b strings.Builder
	for i, t := range types {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s %d", t, r.types[t])
	}
	fmt.Fprintf(&b, " (%d keys, %d of them members)", len(r.by), r.members)
	if text := firstRunes(r.text, 200); text != "" {
		b.WriteString(": " + text)
	}
	return b.String()
}

func firstRunes(s string, n int) string {
	for i := range s {
		if n == 0 {
			return s[:i] + "…"
		}
		n--
	}
	return s
}
