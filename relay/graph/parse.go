package graph

import (
	"encoding/hex"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"
	"unique"

	"agora/relay/store"
)

const (
	mostRelays = 100 // relays kept of one 10002; NIP-65 advises 2 to 4
	mostURL    = 512 // bytes of a relay's URL; a longer one is left out
	mostTitle  = 200 // bytes of a set's title; a longer one is cut
)

// Relay is one line of a relay list (NIP-65). Many lists name the same relays,
// so their URLs are kept once.
type Relay struct {
	url         unique.Handle[string]
	Read, Write bool
}

// URL is the relay's address as its user wrote it.
func (r Relay) URL() string { return r.url.Value() }

// read makes a statement of a record; false when its kind is not ours.
func read(r *store.Record) (s statement, ours bool, err error) {
	s = statement{kind: r.Kind()}
	name := "p"
	switch s.kind {
	case kindFollows, kindMutes, kindSet, kindPack:
	case kindVanish, kindRelays:
		name = ""
	case kindProviders:
		name = providerTag
	default:
		return s, false, nil
	}
	s.stamp, s.author = stamp{id: r.ID(), created: r.CreatedAt()}, r.PubKey()
	if s.kind == kindRelays {
		s.relays, err = readRelays(r)
		return s, true, err
	}
	named := false
	r.Tags(func(tag, value []byte) bool {
		switch {
		case string(tag) == name:
			if k, ok := readKey(value); ok {
				s.members = append(s.members, k)
			}
		case s.kind < kindSet:
		case string(tag) == "d" && !named:
			s.d, named = string(value), true
		case string(tag) == "title" && s.title == "":
			s.title = cut(string(value))
		}
		return true
	})
	return s, true, nil
}

// readKey takes 64 lower-case hex digits and nothing else.
func readKey(value []byte) (k key, ok bool) {
	if len(value) != 64 {
		return k, false
	}
	for _, c := range value {
		if c >= 'A' && c <= 'F' {
			return k, false
		}
	}
	_, err := hex.Decode(k[:], value)
	return k, err == nil
}

func readRelays(r *store.Record) ([]Relay, error) {
	ev, err := r.Event()
	if err != nil {
		return nil, fmt.Errorf("read relay list: %w", err)
	}
	var relays []Relay
	for _, tag := range ev.Tags {
		if len(relays) == mostRelays {
			break
		}
		if len(tag) < 2 || tag[0] != "r" || !relayURL(tag[1]) {
			continue
		}
		mark := ""
		if len(tag) > 2 {
			mark = tag[2]
		}
		relays = append(relays, Relay{url: unique.Make(tag[1]), Read: mark != "write", Write: mark != "read"})
	}
	return relays, nil
}

func relayURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && len(s) <= mostURL && u.Host != "" && (u.Scheme == "wss" || u.Scheme == "ws")
}

// cut shortens a title at a rune's edge and gives it memory of its own.
func cut(s string) string {
	if len(s) > mostTitle {
		s = s[:mostTitle]
		for !utf8.ValidString(s) {
			s = s[:len(s)-1]
		}
	}
	return strings.Clone(s)
}
