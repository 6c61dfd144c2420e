package relay

import (
	"encoding/hex"
	"maps"
	"slices"

	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
)

// index finds the subscriptions that want an event without asking them all:
// each filter is entered once under the values of its most telling list.
type index struct {
	subs    map[*sub][]*entry // what was entered for whom
	ids     map[[32]byte][]*entry
	authors map[[32]byte][]*entry
	tags    map[tagValue][]*entry
	kinds   map[int][]*entry
	all     []*entry
}

// tagValue is a single-letter tag with its first value.
type tagValue struct {
	letter byte
	value  string
}

// entry is one filter of one subscription.
type entry struct {
	sub   *sub
	f     nostr.Filter
	check nostr.Filter // f without the list that a hit has proven
	rest  bool         // check asks for something
	once  bool         // no event can hit this subscription twice
}

func newIndex() index {
	return index{
		subs:    make(map[*sub][]*entry),
		ids:     make(map[[32]byte][]*entry),
		authors: make(map[[32]byte][]*entry),
		tags:    make(map[tagValue][]*entry),
		kinds:   make(map[int][]*entry),
	}
}

// add enters a subscription's filters.
func (x *index) add(sb *sub, filters []nostr.Filter) {
	for _, f := range filters {
		e := newEntry(sb, f, len(filters) == 1)
		x.subs[sb] = append(x.subs[sb], e)
		x.each(e, func(list []*entry) []*entry { return append(list, e) })
	}
}

// newEntry finds out what is left to check once an event has hit f's most
// telling list.
func newEntry(sb *sub, f nostr.Filter, alone bool) *entry {
	e := &entry{sub: sb, f: f, check: f, once: alone}
	switch {
	case f.IDs != nil:
		e.check.IDs = nil
	case f.Authors != nil:
		e.check.Authors = nil
	case len(f.Tags) > 0:
		e.once = false
		e.check.Tags = maps.Clone(f.Tags)
		delete(e.check.Tags, fewest(f.Tags))
	case f.Kinds != nil:
		e.check.Kinds = nil
	}
	c := &e.check
	e.rest = c.IDs != nil || c.Authors != nil || c.Kinds != nil || len(c.Tags) > 0 || c.Since != nil || c.Until != nil
	return e
}

// remove takes a subscription's filters out.
func (x *index) remove(sb *sub) {
	for _, e := range x.subs[sb] {
		x.each(e, func(list []*entry) []*entry {
			return slices.DeleteFunc(list, func(other *entry) bool { return other == e })
		})
	}
	delete(x.subs, sb)
}

// each changes every list that e is or is to be entered in. A filter with an
// empty list is in none, or fails its check: it matches nothing.
func (x *index) each(e *entry, change func([]*entry) []*entry) {
	f := &e.f
	switch {
	case f.IDs != nil:
		changeKeys(x.ids, f.IDs, change)
	case f.Authors != nil:
		changeKeys(x.authors, f.Authors, change)
	case len(f.Tags) > 0:
		name := fewest(f.Tags)
		if len(name) != 1 {
			return // no such tag is indexed, and wire lets none through
		}
		for _, v := range distinct(f.Tags[name]) {
			changeAt(x.tags, tagValue{name[0], v}, change)
		}
	case f.Kinds != nil:
		for _, k := range distinct(f.Kinds) {
			changeAt(x.kinds, k, change)
		}
	default:
		x.all = change(x.all)
	}
}

// fewest names the tag list with the fewest values.
func fewest(tags nostr.TagMap) string {
	name := ""
	for n, values := range tags {
		if name == "" || len(values) < len(tags[name]) || len(values) == len(tags[name]) && n < name {
			name = n
		}
	}
	return name
}

func changeKeys(m map[[32]byte][]*entry, keys []string, change func([]*entry) []*entry) {
	for _, k := range distinct(keys) {
		var key [32]byte
		if n, err := hex.Decode(key[:], []byte(k)); err == nil && n == 32 {
			changeAt(m, key, change)
		}
	}
}

func changeAt[K comparable](m map[K][]*entry, k K, change func([]*entry) []*entry) {
	if list := change(m[k]); len(list) > 0 {
		m[k] = list
	} else {
		delete(m, k)
	}
}

// distinct returns each value once.
func distinct[T int | string](values []T) []T {
	if len(values) < 2 {
		return values
	}
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	return slices.Compact(sorted)
}

// finding is the reusable memory of find.
type finding struct {
	wants []*sub
	seen  map[*sub]struct{} // those that could be hit again
}

// find lists the subscriptions that want rec, each once. The list is valid
// until the next call with the same memory.
func (x *index) find(mem *finding, rec *store.Record) []*sub {
	mem.wants = mem.wants[:0]
	if len(x.subs) == 0 {
		return nil
	}
	clear(mem.seen)
	mem.meet(x.all, rec)
	mem.meet(x.kinds[rec.Kind()], rec)
	if len(x.authors) > 0 {
		mem.meet(x.authors[rec.PubKey()], rec)
	}
	if len(x.ids) > 0 {
		mem.meet(x.ids[rec.ID()], rec)
	}
	if len(x.tags) > 0 {
		rec.Tags(func(name, value []byte) bool {
			if len(name) == 1 {
				mem.meet(x.tags[tagValue{name[0], string(value)}], rec)
			}
			return true
		})
	}
	return mem.wants
}

func (mem *finding) meet(list []*entry, rec *store.Record) {
	for _, e := range list {
		if e.rest && !rec.Match(e.check) {
			continue
		}
		if !e.once {
			if _, again := mem.seen[e.sub]; again {
				continue
			}
			if mem.seen == nil {
				mem.seen = make(map[*sub]struct{})
			}
			mem.seen[e.sub] = struct{}{}
		}
		mem.wants = append(mem.wants, e.sub)
	}
}
