package wire

import (
	"fmt"
	"math"
	"slices"
	"strconv"

	"agora/relay/lowhex"

	"github.com/nbd-wtf/go-nostr"
)

// ParseFilter reads one filter. A list that is given but empty stays a
// non-nil empty list and means that nothing matches. Keys we do not serve are
// refused as unsupported. The error is a *BadMessage.
func ParseFilter(json []byte, lim Limits) (nostr.Filter, error) {
	src, err := text(json)
	if err != nil {
		return nostr.Filter{}, err
	}
	s := scanner{src: src}
	f, err := s.filter(lim)
	if err == nil {
		err = s.end()
	}
	if err != nil {
		return nostr.Filter{}, err
	}
	return f, nil
}

// filterState is a filter half read.
type filterState struct {
	f     nostr.Filter
	items int // values in all lists so far
	most  int // bound on items, 0 for none
	seen  []string
}

func (s *scanner) filter(lim Limits) (nostr.Filter, error) {
	st := filterState{most: lim.FilterItems}
	err := s.object("filter", func(key string) error {
		if slices.Contains(st.seen, key) {
			return s.bad("duplicate key %q in a filter", clip(key))
		}
		st.seen = append(st.seen, key) // at most the 60 keys we know
		return s.filterField(&st, key)
	})
	return st.f, err
}

func (s *scanner) filterField(st *filterState, key string) (err error) {
	switch key {
	case "ids":
		st.f.IDs, err = s.strings(st, key, true)
	case "authors":
		st.f.Authors, err = s.strings(st, key, true)
	case "kinds":
		st.f.Kinds, err = s.kinds(st)
	case "since":
		st.f.Since, err = s.timestamp(key)
	case "until":
		st.f.Until, err = s.timestamp(key)
	case "limit":
		var n int64
		n, err = s.integer(key, 0, math.MaxInt)
		st.f.Limit, st.f.LimitZero = int(n), n == 0
	case "search":
		st.f.Search, err = s.str(key)
	default:
		return s.tagField(st, key)
	}
	return err
}

// tagField reads #a to #z and #A to #Z.
func (s *scanner) tagField(st *filterState, key string) error {
	if len(key) == 0 || key[0] != '#' {
		return unsupported("unknown filter element %q", clip(key))
	}
	if len(key) != 2 || key[1]|0x20 < 'a' || key[1]|0x20 > 'z' {
		return unsupported("filter element %q: only tags of one letter are indexed", clip(key))
	}
	values, err := s.strings(st, key, key == "#e" || key == "#p")
	if err != nil {
		return err
	}
	if st.f.Tags == nil {
		st.f.Tags = make(nostr.TagMap)
	}
	st.f.Tags[key[1:]] = values
	return nil
}

func unsupported(format string, args ...any) error {
	return &BadMessage{Prefix: "unsupported", Text: fmt.Sprintf(format, args...)}
}

// count takes one more list item into account.
func (s *scanner) count(st *filterState) error {
	if st.items++; st.most > 0 && st.items > st.most {
		return s.bad("a filter may list at most %d values in all", st.most)
	}
	return nil
}

func (s *scanner) strings(st *filterState, name string, hexOnly bool) ([]string, error) {
	values := []string{}
	err := s.list(name, func() error {
		if err := s.count(st); err != nil {
			return err
		}
		v, err := s.str(name)
		if err != nil {
			return err
		}
		if hexOnly && !lowhex.Is(v, 64) {
			return s.bad("each of %s must be 64 lower-case hex digits", name)
		}
		values = append(values, v)
		return nil
	})
	return values, err
}

func (s *scanner) kinds(st *filterState) ([]int, error) {
	values := []int{}
	err := s.list("kinds", func() error {
		if err := s.count(st); err != nil {
			return err
		}
		n, err := s.integer("each of kinds", 0, 65535)
		values = append(values, int(n))
		return err
	})
	return values, err
}

func (s *scanner) timestamp(name string) (*nostr.Timestamp, error) {
	n, err := s.integer(name, 0, math.MaxInt64)
	return new(nostr.Timestamp(n)), err
}

// AppendFilter appends f as compact JSON, with its keys always in one order.
func AppendFilter(dst []byte, f nostr.Filter) []byte {
	dst = append(dst, '{')
	first := true
	key := func(name string) {
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(appendString(dst, name), ':')
	}
	if f.IDs != nil {
		key("ids")
		dst = appendStrings(dst, f.IDs)
	}
	if f.Authors != nil {
		key("authors")
		dst = appendStrings(dst, f.Authors)
	}
	if f.Kinds != nil {
		key("kinds")
		dst = appendInts(dst, f.Kinds)
	}
	names := make([]string, 0, len(f.Tags))
	for name := range f.Tags {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		key("#" + name)
		dst = appendStrings(dst, f.Tags[name])
	}
	if f.Since != nil {
		key("since")
		dst = strconv.AppendInt(dst, int64(*f.Since), 10)
	}
	if f.Until != nil {
		key("until")
		dst = strconv.AppendInt(dst, int64(*f.Until), 10)
	}
	if f.Limit > 0 || f.LimitZero {
		key("limit")
		dst = strconv.AppendInt(dst, int64(f.Limit), 10)
	}
	if f.Search != "" {
		key("search")
		dst = appendString(dst, f.Search)
	}
	return append(dst, '}')
}

func appendStrings(dst []byte, list []string) []byte {
	dst = append(dst, '[')
	for i, v := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, v)
	}
	return append(dst, ']')
}

func appendInts(dst []byte, list []int) []byte {
	dst = append(dst, '[')
	for i, v := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(dst, int64(v), 10)
	}
	return append(dst, ']')
}
