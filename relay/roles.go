package relay

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// Kinds of NIP-43.
const (
	kindRole       = 33534
	kindMembers    = 13534
	kindMemberCame = 8000
	kindMemberLeft = 8001
	kindJoin       = 28934
	kindInvite     = 28935
	kindLeave      = 28936
)

// Bounds of roles and members.
const (
	maxRoles       = 256  // roles
	maxMemberRoles = 16   // roles of one member
	membersListed  = 2000 // members in one kind 13534; NIP-43 does not promise that it is whole
	maxAhead       = 60   // seconds an event of ours may be dated ahead, to be newer than the one it replaces
)

// membership is what the relay has published of its roles and members. The
// truth is managed; this follows it.
type membership struct {
	host host // nil until attach

	mu        sync.Mutex           // held while publishing
	published map[string]ownRecord // by address kind:d, what stands published; nil until it has been read
	floor     int64                // unix seconds of our newest deletion; what comes after it is dated later
	next      time.Time            // when to try again what was put off; zero: nothing was

	turnMu sync.Mutex // guards turns
	turns  []turn     // joins and leaves that run publishes, at most maxTurns; when full: the oldest goes unannounced, the list says it all
}

// turn is somebody who came or left by their own request.
type turn struct {
	kind   int // kindMemberCame or kindMemberLeft
	pubkey string
}

const maxTurns = 1024 // turns

// queue leaves an announcement to run. Answer may not publish by itself: it
// runs where published events are examined, and would wait for itself.
func (s *membership) queue(kind int, pubkey string) {
	s.turnMu.Lock()
	defer s.turnMu.Unlock()
	if len(s.turns) == maxTurns {
		s.turns = s.turns[1:]
	}
	s.turns = append(s.turns, turn{kind, pubkey})
}

func (s *membership) takeTurns() (turns []turn) {
	s.turnMu.Lock()
	defer s.turnMu.Unlock()
	turns, s.turns = s.turns, nil
	return turns
}

// ownRecord is an event of ours that stands published.
type ownRecord struct {
	at   int64 // created_at
	tags nostr.Tags
	gone bool // deleted by a kind 5
}

// later tells in how long there is something to publish that was put off.
func (s *membership) later() (in time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Until(s.next), !s.next.IsZero()
}

// errNoKey is the answer to role methods on a relay that cannot sign.
const errNoKey = refused("this relay has no key of its own to publish roles with (NIP-11 self)")

// createRole and editRole take [id, label, description, color, order]; all but
// the id may be left out, and then editRole keeps what was there.
func (m *Management) createRole(ctx context.Context, c call) (any, error) {
	return m.putRole(ctx, c, func(s *managed, id string) (Role, error) {
		if _, held := s.roles[id]; held {
			return Role{}, refusef("there is a role %q already; use editrole", id)
		}
		if len(s.roles) >= maxRoles {
			return Role{}, refusef("this relay has %d roles, which is the most it keeps", maxRoles)
		}
		return Role{ID: id, Label: id, Color: -1, Order: len(s.roles)}, nil
	})
}

func (m *Management) editRole(ctx context.Context, c call) (any, error) {
	return m.putRole(ctx, c, func(s *managed, id string) (Role, error) {
		role, held := s.roles[id]
		if !held {
			return Role{}, refusef("there is no role %q", id)
		}
		return role, nil
	})
}

// putRole writes down a role: what base says, with the parameters over it.
func (m *Management) putRole(ctx context.Context, c call, base func(*managed, string) (Role, error)) (any, error) {
	if m.self == "" {
		return nil, errNoKey
	}
	id, err := c.params.roleID(0)
	if err != nil {
		return nil, err
	}
	a := c.act(id, "")
	a.Role = new(Role)
	err = m.do(ctx, a, func(s *managed) error {
		if *a.Role, err = base(s, id); err != nil {
			return err
		}
		return c.params.role(a.Role)
	})
	if err != nil {
		return nil, err
	}
	m.announce(ctx)
	return true, nil
}

func (p params) roleID(i int) (string, error) {
	id, err := p.text(i, "role id", maxRoleID)
	if err == nil && id == "" {
		err = refusef("parameter %d (role id) is empty", i+1)
	}
	return id, err
}

// role reads label, description, color and order over what r has.
func (p params) role(r *Role) (err error) {
	if !p.absent(1) {
		if r.Label, err = p.text(1, "label", maxLabel); err != nil {
			return err
		}
	}
	if !p.absent(2) {
		if r.Description, err = p.text(2, "description", maxReason); err != nil {
			return err
		}
	}
	if !p.absent(3) {
		if r.Color, err = p.number(3, "color, a hue", 0, 360); err != nil {
			return err
		}
	}
	if !p.absent(4) {
		if r.Order, err = p.number(4, "order", -1_000_000, 1_000_000); err != nil {
			return err
		}
	}
	return nil
}

// deleteRole takes the role from everybody who has it.
func (m *Management) deleteRole(ctx context.Context, c call) (any, error) {
	if m.self == "" {
		return nil, errNoKey
	}
	id, err := c.params.roleID(0)
	if err != nil {
		return nil, err
	}
	err = m.do(ctx, c.act(id, ""), func(s *managed) error { return s.hasRole(id) })
	if err != nil {
		return nil, err
	}
	m.announce(ctx)
	return true, nil
}

func (s *managed) hasRole(id string) error {
	if _, held := s.roles[id]; !held {
		return refusef("there is no role %q", id)
	}
	return nil
}

// assignRole makes a member of who was none.
func (m *Management) assignRole(ctx context.Context, c call) (any, error) {
	a, key, err := m.roleAct(c)
	if err != nil {
		return nil, err
	}
	joined := false
	err = m.do(ctx, a, func(s *managed) error {
		if _, banned := s.bannedKeys[key]; banned {
			return refusef("this key is banned; unbanpubkey first")
		}
		who, held := s.members[key]
		joined = !held
		if len(who.Roles) >= maxMemberRoles && !slices.Contains(who.Roles, a.RoleID) {
			return refusef("this member has %d roles, which is the most one may have", maxMemberRoles)
		}
		return cmp.Or(s.hasRole(a.RoleID), room(len(s.members)))
	})
	if err != nil {
		return nil, err
	}
	if joined {
		m.announceJoin(ctx, a.Subject)
		return true, nil
	}
	m.announce(ctx)
	return true, nil
}

// unassignRole takes a role and leaves the membership.
func (m *Management) unassignRole(ctx context.Context, c call) (any, error) {
	a, _, err := m.roleAct(c)
	if err != nil {
		return nil, err
	}
	if err := m.do(ctx, a, func(s *managed) error { return s.hasRole(a.RoleID) }); err != nil {
		return nil, err
	}
	m.announce(ctx)
	return true, nil
}

func (m *Management) roleAct(c call) (a Act, key [32]byte, err error) {
	if m.self == "" {
		return a, key, errNoKey
	}
	key, text, err := c.params.pubkey(0)
	if err != nil {
		return a, key, err
	}
	a = c.act(text, "")
	a.RoleID, err = c.params.roleID(1)
	return a, key, err
}

// announce publishes what has changed. That it could not be published now is
// no failure of the act, which is written: run tries again.
func (m *Management) announce(ctx context.Context) {
	if err := m.publishRoles(ctx); err != nil {
		m.logger.Error("publish roles and members", "err", err)
	}
	m.wake()
}

func (m *Management) announceJoin(ctx context.Context, pubkey string) {
	m.announceMember(ctx, kindMemberCame, pubkey)
}

func (m *Management) announceLeave(ctx context.Context, pubkey string) {
	m.announceMember(ctx, kindMemberLeft, pubkey)
}

// announceMember publishes a kind 8000 or 8001, which NIP-43 leaves to us,
// and the new list.
func (m *Management) announceMember(ctx context.Context, kind int, pubkey string) {
	if m.self == "" || m.roles.host == nil {
		return
	}
	m.publishTurn(ctx, turn{kind, pubkey})
	m.announce(ctx)
}

func (m *Management) publishTurn(ctx context.Context, t turn) {
	ev := &nostr.Event{Kind: t.kind, Tags: nostr.Tags{{"-"}, {"p", t.pubkey}}}
	if err := m.publish(ctx, ev, time.Now().Unix()); err != nil {
		m.logger.Error("publish a change of members", "kind", t.kind, "pubkey", t.pubkey, "err", err)
	}
}

func (m *Management) publish(ctx context.Context, ev *nostr.Event, at int64) error {
	ev.CreatedAt = nostr.Timestamp(at)
	if err := ev.Sign(m.secret); err != nil {
		return fmt.Errorf("sign a kind %d: %w", ev.Kind, err)
	}
	return m.roles.host.publishOwn(ctx, ev)
}

// wanted lists the events that should stand published, by address.
func (m *Management) wanted() map[string]nostr.Tags {
	m.mu.RLock()
	defer m.mu.RUnlock()
	want := make(map[string]nostr.Tags, len(m.state.roles)+1)
	for id, role := range m.state.roles {
		want[address(kindRole, id)] = roleTags(role)
	}
	want[address(kindMembers, "")] = memberTags(m.state.members)
	return want
}

func address(kind int, d string) string { return strconv.Itoa(kind) + ":" + d }

func roleTags(r Role) nostr.Tags {
	tags := nostr.Tags{{"-"}, {"d", r.ID}, {"label", r.Label}}
	if r.Description != "" {
		tags = append(tags, nostr.Tag{"description", r.Description})
	}
	if r.Color >= 0 {
		tags = append(tags, nostr.Tag{"color", strconv.Itoa(r.Color)})
	}
	return append(tags, nostr.Tag{"order", strconv.Itoa(r.Order)})
}

// memberTags lists members with roles first, then by key.
func memberTags(members map[[32]byte]member) nostr.Tags {
	rows := make([]nostr.Tag, 0, len(members))
	for key, who := range members {
		rows = append(rows, append(nostr.Tag{"member", hex.EncodeToString(key[:])}, who.Roles...))
	}
	slices.SortFunc(rows, func(a, b nostr.Tag) int {
		return cmp.Or(cmp.Compare(min(len(b), 3), min(len(a), 3)), cmp.Compare(a[1], b[1]))
	})
	return append(nostr.Tags{{"-"}}, rows[:min(len(rows), membersListed)]...)
}

// errLater says that an event of ours would be dated too far ahead now.
var errLater = errors.New("too many changes in a row: published a little later")

// publishRoles publishes what differs between what stands and what should.
func (m *Management) publishRoles(ctx context.Context) error {
	if m.self == "" || m.roles.host == nil {
		return nil
	}
	m.roles.mu.Lock()
	defer m.roles.mu.Unlock()
	m.roles.next = time.Time{}
	if err := m.readPublished(ctx); err != nil {
		return err
	}
	want := m.wanted()
	for addr := range m.roles.published {
		if _, ok := want[addr]; !ok {
			want[addr] = nil
		}
	}
	var failed error
	for _, addr := range slices.Backward(slices.Sorted(maps.Keys(want))) { // roles before the list that names them
		err := m.publishOne(ctx, addr, want[addr])
		if errors.Is(err, errLater) {
			m.roles.next = time.Now().Add(time.Second)
			continue
		}
		failed = cmp.Or(failed, err)
	}
	return failed
}

// publishOne brings one address up to date; no tags: it is deleted. Called
// with roles.mu held.
func (m *Management) publishOne(ctx context.Context, addr string, tags nostr.Tags) error {
	old, held := m.roles.published[addr]
	if held && old.gone == (tags == nil) && sameTags(old.tags, tags) {
		return nil
	}
	if !held && len(tags) <= 1 { // a list of nobody is not published before there was somebody
		return nil
	}
	now := time.Now().Unix()
	at := max(now, old.at+1, m.roles.floor+1)
	if at > now+maxAhead {
		return errLater
	}
	kindText, d, _ := strings.Cut(addr, ":")
	kind, _ := strconv.Atoi(kindText)
	ev := &nostr.Event{Kind: kind, Tags: tags}
	if tags == nil {
		ev = &nostr.Event{Kind: nostr.KindDeletion, Tags: nostr.Tags{{"-"}, {"a", kindText + ":" + m.self + ":" + d}, {"k", kindText}}}
	}
	if err := m.publish(ctx, ev, at); err != nil {
		return err
	}
	m.roles.published[addr] = ownRecord{at: at, tags: tags, gone: tags == nil}
	return nil
}

func sameTags(a, b nostr.Tags) bool {
	return slices.EqualFunc(a, b, func(x, y nostr.Tag) bool { return slices.Equal(x, y) })
}

// readPublished finds what stands from before the start. Called with
// roles.mu held.
func (m *Management) readPublished(ctx context.Context) error {
	if m.roles.published != nil {
		return nil
	}
	found := map[string]ownRecord{}
	own := []string{m.self}
	for rec, err := range m.shelf.Query(ctx,
		nostr.Filter{Authors: own, Kinds: []int{kindRole, kindMembers}},
		nostr.Filter{Authors: own, Kinds: []int{nostr.KindDeletion}, Limit: 1}) {
		if err != nil {
			return fmt.Errorf("read the published roles: %w", err)
		}
		ev, err := rec.Event()
		if err != nil {
			return fmt.Errorf("read the published roles: %w", err)
		}
		if ev.Kind == nostr.KindDeletion {
			m.roles.floor = int64(ev.CreatedAt)
			continue
		}
		found[address(ev.Kind, ev.Tags.GetD())] = ownRecord{at: int64(ev.CreatedAt), tags: ev.Tags}
	}
	m.roles.published = found
	return nil
}
