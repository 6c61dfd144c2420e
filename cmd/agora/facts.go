package main

import (
	"net/http"
	"slices"
	"strings"

	"agora/relay"

	"github.com/nbd-wtf/go-nostr/nip19"
)

// about is how the relay presents itself. self is its own public key.
func (cfg Config) about(self string) (relay.About, error) {
	operator := ""
	if len(cfg.Admins) > 0 {
		key, err := parsePubKey(cfg.Admins[0])
		if err != nil {
			return relay.About{}, usagef("admins: %w", err)
		}
		operator = key
	}
	return relay.About{
		Name: cfg.Name, Description: cfg.Description, Banner: cfg.Banner, Icon: cfg.Icon, Contact: cfg.Contact,
		PubKey: operator, Self: self, Software: cfg.Software, Version: version(), TermsOfService: cfg.Terms,
	}, nil
}

// facts are what the landing page says to whoever asked r. Addresses come from
// the settings, not from the request, where they are given.
func (s *server) facts(r *http.Request) (facts, error) {
	st, err := s.store.Stats()
	if err != nil {
		return facts{}, err
	}
	doc := s.relay.Info()
	f := facts{
		Name: doc.Name, Description: doc.Description, Contact: doc.Contact, Terms: doc.TermsOfService,
		URLs: s.shownURLs(r), Events: grouped(int64(st.Events)), Disk: Size(st.Bytes).human(),
		NIPs: joinInts(doc.SupportedNIPs), Version: version(),
	}
	if doc.PubKey != "" {
		if f.PubKey, err = nip19.EncodePublicKey(doc.PubKey); err != nil {
			return facts{}, err
		}
	}
	base := pageOf(f.URLs[0])
	f.Features = s.features(base, doc.SupportedNIPs)
	if s.parts.graph != nil {
		f.ExportHint = exportHint(base)
	}
	return f, nil
}

// shownURLs are the public URLs; without any, a browser that reached us by
// some name is told that name.
func (s *server) shownURLs(r *http.Request) []string {
	if len(s.cfg.PublicURLs) > 0 || !plainHost(r.Host) {
		return s.urls
	}
	if r.TLS != nil {
		return []string{"wss://" + r.Host}
	}
	return []string{"ws://" + r.Host}
}

// plainHost reports whether a Host header is a host and port and no more.
func plainHost(host string) bool {
	return host != "" && len(host) < 256 && !strings.ContainsFunc(host, func(c rune) bool {
		return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]", c)
	})
}

// pageOf is the http form of a websocket URL.
func pageOf(url string) string {
	if rest, ok := strings.CutPrefix(url, "ws"); ok {
		url = "http" + rest
	}
	return strings.TrimSuffix(url, "/")
}

func (s *server) features(base string, nips []int) []feature {
	has := func(nip int) bool { return slices.Contains(nips, nip) }
	list := []feature{{Name: "Private messages", Text: "reach their recipient only (NIP-17, 42, 59)."}}
	if has(50) {
		list = append(list, feature{Name: "Search", Text: "over notes, articles and profiles (NIP-50)."})
	}
	if s.parts.feeds != nil {
		list = append(list, feature{Name: "Feeds", Text: "each an address of its own, ranked by what the reader chooses:", Link: base + "/v1/feeds"})
	}
	if s.parts.polls != nil {
		list = append(list, feature{Name: "Polls", Text: "(NIP-88) that anybody can count again from their events."})
	}
	if has(77) {
		list = append(list, feature{Name: "Sync", Text: "with other relays sends only what differs (NIP-77)."})
	}
	list = append(list, feature{Name: "Right to vanish", Text: "a key's request removes all it signed, for good (NIP-09, 62)."})
	if s.parts.graph != nil {
		list = append(list, feature{Name: "Social graph", Text: "follows, mutes and trust as JSON, below " + base + "/v1/graph/ and a key in npub or hex."})
	}
	if s.cfg.HTTPExport {
		list = append(list, feature{Name: "Export", Text: "of all that is public, as JSON lines:", Link: base + "/v1/export"})
	}
	if has(43) && s.cfg.MembersOnly {
		list = append(list, feature{Name: "Members", Text: "only members may publish here (NIP-43)."})
	}
	return list
}
