package relay

import (
	"cmp"
	"context"
	"encoding/hex"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"agora/relay/store"
)

// maxListed bounds each list an administrator or a joining member can grow;
// beyond it the act is refused.
const maxListed = 1 << 20 // entries

// table lists the methods of NIP-86.
func (m *Management) table() map[string]method {
	return map[string]method{
		"supportedmethods":            m.supportedMethods,
		"banpubkey":                   m.banPubKey,
		"unbanpubkey":                 m.keyMethod,
		"listbannedpubkeys":           m.listBannedPubKeys,
		"allowpubkey":                 m.allowPubKey,
		"unallowpubkey":               m.unallowPubKey,
		"listallowedpubkeys":          m.listAllowedPubKeys,
		"createrole":                  m.createRole,
		"editrole":                    m.editRole,
		"deleterole":                  m.deleteRole,
		"assignrole":                  m.assignRole,
		"unassignrole":                m.unassignRole,
		"listeventsneedingmoderation": m.listEventsNeedingModeration,
		"allowevent":                  m.allowEvent,
		"banevent":                    m.banEvent,
		"listbannedevents":            m.listBannedEvents,
		"changerelayname":             m.changeRelayText,
		"changerelaydescription":      m.changeRelayText,
		"changerelayicon":             m.changeRelayIcon,
		"allowkind":                   m.kindMethod,
		"disallowkind":                m.kindMethod,
		"listallowedkinds":            m.listAllowedKinds,
		"blockip":                     m.blockIP,
		"unblockip":                   m.unblockIP,
		"listblockedips":              m.listBlockedIPs,
	}
}

func (m *Management) supportedMethods(context.Context, call) (any, error) {
	return slices.Sorted(maps.Keys(m.methods)), nil
}

// act is the start of the Act of a call.
func (c call) act(subject, reason string) Act {
	return Act{At: time.Now().Unix(), By: c.by, Method: c.method, Subject: subject, Reason: reason}
}

// room refuses one more entry in a full list.
func room(n int) error {
	if n >= maxListed {
		return refusef("this list is full: it has %d entries", n)
	}
	return nil
}

// banPubKey hides the author's events at once, and has run remove them when
// the grace is over. Unbanned before that, they are all back.
func (m *Management) banPubKey(ctx context.Context, c call) (any, error) {
	key, text, reason, err := c.params.keyAndReason()
	if err != nil {
		return nil, err
	}
	if text == m.self || m.Admin(text) {
		return nil, refusef("this key is an administrator of this relay or the relay itself; take it out of the configuration first")
	}
	left := false
	err = m.do(ctx, c.act(text, reason), func(s *managed) error {
		_, left = s.members[key]
		return room(len(s.bannedKeys))
	})
	if err != nil {
		return nil, err
	}
	m.wake()
	if left {
		m.announceLeave(ctx, text)
	}
	return true, nil
}

// keyMethod is a method that takes a key and a reason, and has no more to do.
func (m *Management) keyMethod(ctx context.Context, c call) (any, error) {
	_, text, reason, err := c.params.keyAndReason()
	if err != nil {
		return nil, err
	}
	return true, m.do(ctx, c.act(text, reason), nil)
}

func (m *Management) allowPubKey(ctx context.Context, c call) (any, error) {
	key, text, reason, err := c.params.keyAndReason()
	if err != nil {
		return nil, err
	}
	joined := false
	err = m.do(ctx, c.act(text, reason), func(s *managed) error {
		_, held := s.members[key]
		joined = !held
		return room(len(s.members))
	})
	if err == nil && joined {
		m.announceJoin(ctx, text)
	}
	return true, err
}

func (m *Management) unallowPubKey(ctx context.Context, c call) (any, error) {
	key, text, reason, err := c.params.keyAndReason()
	if err != nil {
		return nil, err
	}
	left := false
	err = m.do(ctx, c.act(text, reason), func(s *managed) error {
		_, left = s.members[key]
		return nil
	})
	if err == nil && left {
		m.announceLeave(ctx, text)
	}
	return true, err
}

// listedKey, listedEvent and listedIP are the rows of NIP-86's lists.
type (
	listedKey struct {
		PubKey string `json:"pubkey"`
		Reason string `json:"reason,omitempty"`
	}
	listedEvent struct {
		ID     string `json:"id"`
		Reason string `json:"reason,omitempty"`
	}
	listedIP struct {
		IP     string `json:"ip"`
		Reason string `json:"reason,omitempty"`
	}
)

func (m *Management) listBannedPubKeys(context.Context, call) (any, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	rows := make([]listedKey, 0, len(m.state.bannedKeys))
	for key, b := range m.state.bannedKeys {
		rows = append(rows, listedKey{hex.EncodeToString(key[:]), b.Reason})
	}
	return byName(rows, func(r listedKey) string { return r.PubKey }), nil
}

func (m *Management) listAllowedPubKeys(context.Context, call) (any, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	rows := make([]listedKey, 0, len(m.state.members))
	for key, who := range m.state.members {
		rows = append(rows, listedKey{hex.EncodeToString(key[:]), who.Reason})
	}
	return byName(rows, func(r listedKey) string { return r.PubKey }), nil
}

func byName[T any](rows []T, name func(T) string) []T {
	slices.SortFunc(rows, func(a, b T) int { return cmp.Compare(name(a), name(b)) })
	return rows
}

// banEvent removes an event, or keeps it out if it has not come yet.
func (m *Management) banEvent(ctx context.Context, c call) (any, error) {
	id, text, reason, err := c.params.eventAndReason()
	if err != nil {
		return nil, err
	}
	if _, err := m.shelf.Remove(ctx, []store.ID{id}, true); err != nil {
		return nil, err
	}
	return true, m.do(ctx, c.act(text, reason), func(s *managed) error { return room(len(s.bannedEvents)) })
}

// allowEvent lifts a ban, and takes a reported event off the list of those
// that need moderation. A banned event is gone; it may be sent again.
func (m *Management) allowEvent(ctx context.Context, c call) (any, error) {
	id, text, reason, err := c.params.eventAndReason()
	if err != nil {
		return nil, err
	}
	if err := m.shelf.Unban(ctx, []store.ID{id}); err != nil {
		return nil, err
	}
	return true, m.do(ctx, c.act(text, reason), func(s *managed) error { return room(len(s.approved)) })
}

func (m *Management) listBannedEvents(context.Context, call) (any, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	rows := make([]listedEvent, 0, len(m.state.bannedEvents))
	for id, mk := range m.state.bannedEvents {
		rows = append(rows, listedEvent{hex.EncodeToString(id[:]), mk.Reason})
	}
	return byName(rows, func(r listedEvent) string { return r.ID }), nil
}

// changeRelayText changes what NIP-11 says; "" goes back to the configuration.
func (m *Management) changeRelayText(ctx context.Context, c call) (any, error) {
	what, most := "name", maxName
	if c.method == "changerelaydescription" {
		what, most = "description", maxDescription
	}
	text, err := c.params.text(0, what, most)
	if err != nil {
		return nil, err
	}
	return true, m.do(ctx, c.act(text, ""), nil)
}

func (m *Management) changeRelayIcon(ctx context.Context, c call) (any, error) {
	text, err := c.params.iconURL(0)
	if err != nil {
		return nil, err
	}
	return true, m.do(ctx, c.act(text, ""), nil)
}

func (m *Management) kindMethod(ctx context.Context, c call) (any, error) {
	kind, err := c.params.number(0, "kind", 0, 65535)
	if err != nil {
		return nil, err
	}
	if kind == 62 && c.method == "disallowkind" {
		return nil, refusef("a request to vanish (kind 62) must be obeyed (NIP-62)")
	}
	reason, err := c.params.reason(1)
	if err != nil {
		return nil, err
	}
	return true, m.do(ctx, c.act(strconv.Itoa(kind), reason), nil)
}

func (m *Management) listAllowedKinds(context.Context, call) (any, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	kinds := slices.AppendSeq(make([]int, 0), maps.Keys(m.state.allowedKinds))
	slices.Sort(kinds)
	return kinds, nil
}

// The widest blocks blockip takes: a wider one is a mistake, or a firewall's
// business.
const (
	widestBlock4 = 8
	widestBlock6 = 16
)

// blockIP turns an address away at the handshake and closes what it has open.
func (m *Management) blockIP(ctx context.Context, c call) (any, error) {
	block, err := c.params.network(0)
	if err != nil {
		return nil, err
	}
	reason, err := c.params.reason(1)
	if err != nil {
		return nil, err
	}
	if bits := block.Bits(); bits < widestBlock4 || (block.Addr().Is6() && bits < widestBlock6) {
		return nil, refusef("%s is too wide: at most a /%d of IPv4 or a /%d of IPv6", block, widestBlock4, widestBlock6)
	}
	if block.Contains(c.ip) {
		return nil, refusef("%s contains your own address %s", block, c.ip)
	}
	if err := m.do(ctx, c.act(block.String(), reason), func(s *managed) error { return room(s.blocked.len()) }); err != nil {
		return nil, err
	}
	m.dropBlocked()
	return true, nil
}

func (m *Management) unblockIP(ctx context.Context, c call) (any, error) {
	block, err := c.params.network(0)
	if err != nil {
		return nil, err
	}
	reason, err := c.params.reason(1)
	if err != nil {
		return nil, err
	}
	return true, m.do(ctx, c.act(block.String(), reason), nil)
}

func (m *Management) listBlockedIPs(context.Context, call) (any, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	rows := make([]listedIP, 0, m.state.blocked.len())
	for block, mk := range m.state.blocked.rules {
		rows = append(rows, listedIP{blockName(block), mk.Reason})
	}
	return byName(rows, func(r listedIP) string { return r.IP }), nil
}

// blockName writes a block of one address as the address.
func blockName(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}
