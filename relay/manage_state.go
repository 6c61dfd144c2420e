package relay

import (
	"encoding/hex"
	"net/netip"
	"slices"
	"strconv"

	"agora/relay/store"
)

// Act is one decision: an administrator's, or that of somebody who joins or
// leaves. What management holds is the sum of the acts.
type Act struct {
	At      int64  `json:"at"`           // unix seconds
	By      string `json:"by,omitempty"` // hex public key; empty: the relay itself
	Method  string `json:"m"`            // of NIP-86; or join, leave, purged, spent
	Subject string `json:"s,omitempty"`  // key, event id, kind, address or role; for changerelay*: the new text
	Reason  string `json:"r,omitempty"`
	Role    *Role  `json:"role,omitempty"` // createrole, editrole: the role as it now is
	RoleID  string `json:"id,omitempty"`   // assignrole, unassignrole
	Spent   string `json:"spent,omitempty"`
	Until   int64  `json:"until,omitempty"` // join: until when the spent invitation must be remembered, unix seconds
	Base    bool   `json:"base,omitempty"`  // written by a snapshot: has its effect, and is no news for the audit trail
	Past    bool   `json:"past,omitempty"`  // written by a snapshot for the audit trail: its effect is in a Base act
}

// Role is a role of NIP-43.
type Role struct {
	ID          string `json:"id"`
	Label       string `json:"label"`
	Description string `json:"description"`
	Color       int    `json:"color"` // hue, 0 to 360; -1: none
	Order       int    `json:"order"`
}

// mark is who decided what stands in a list, when, and why.
type mark struct {
	At     int64 // unix seconds
	By     string
	Reason string
}

// ban is a banned key.
type ban struct {
	mark
	Purged bool // its stored events are gone
}

// member is a key on the allow list.
type member struct {
	mark
	Roles []string // ids, sorted
}

// auditTrail is how many acts are remembered beside their effects; older ones
// fall out.
const auditTrail = 1024 // acts

// managed is what management holds. Its owner locks.
type managed struct {
	bannedKeys      map[[32]byte]ban
	members         map[[32]byte]member
	bannedEvents    map[store.ID]mark
	approved        map[store.ID]mark
	allowedKinds    map[int]mark
	disallowedKinds map[int]mark
	blocked         blocklist
	info            RelayInfo
	infoMarks       map[string]mark // by method
	roles           map[string]Role
	roleMarks       map[string]mark
	spent           map[string]int64 // single-use invitations already used, and when they lapse anyway (unix seconds)
	recent          []Act            // acts, the last auditTrail of them
	lastAct         int64            // newest At
}

func newManaged() managed {
	return managed{
		bannedKeys:      map[[32]byte]ban{},
		members:         map[[32]byte]member{},
		bannedEvents:    map[store.ID]mark{},
		approved:        map[store.ID]mark{},
		allowedKinds:    map[int]mark{},
		disallowedKinds: map[int]mark{},
		blocked:         blocklist{rules: map[netip.Prefix]mark{}},
		infoMarks:       map[string]mark{},
		roles:           map[string]Role{},
		roleMarks:       map[string]mark{},
		spent:           map[string]int64{},
	}
}

// apply makes one act count. Acts were checked before they were written, so
// apply has no way to fail.
func (s *managed) apply(a Act) {
	s.lastAct = max(s.lastAct, a.At)
	if !a.Base {
		s.remember(a)
	}
	if a.Past {
		return
	}
	if a.Spent != "" {
		s.spent[a.Spent] = a.Until
	}
	mk := mark{At: a.At, By: a.By, Reason: a.Reason}
	switch a.Method {
	case "banpubkey", "unbanpubkey", "allowpubkey", "unallowpubkey", "join", "leave", "purged":
		s.applyKey(a, mk)
	case "banevent", "allowevent":
		s.applyEvent(a, mk)
	case "allowkind", "disallowkind":
		s.applyKind(a, mk)
	case "blockip", "unblockip":
		s.applyBlock(a, mk)
	case "changerelayname", "changerelaydescription", "changerelayicon":
		s.applyInfo(a, mk)
	case "createrole", "editrole", "deleterole", "assignrole", "unassignrole":
		s.applyRole(a, mk)
	}
}

// remember keeps the act for the audit trail.
func (s *managed) remember(a Act) {
	a.Past = true
	s.recent = append(s.recent, a)
	if len(s.recent) >= 2*auditTrail {
		s.recent = slices.Clone(s.recent[len(s.recent)-auditTrail:])
	}
}

func (s *managed) applyKey(a Act, mk mark) {
	key, _ := parseHex32(a.Subject)
	switch a.Method {
	case "banpubkey":
		s.bannedKeys[key] = ban{mark: mk}
		delete(s.members, key)
	case "unbanpubkey":
		delete(s.bannedKeys, key)
	case "purged":
		if b, ok := s.bannedKeys[key]; ok {
			b.Purged = true
			s.bannedKeys[key] = b
		}
	case "allowpubkey", "join":
		delete(s.bannedKeys, key)
		s.members[key] = member{mark: mk, Roles: s.members[key].Roles}
	case "unallowpubkey", "leave":
		delete(s.members, key)
	}
}

func (s *managed) applyEvent(a Act, mk mark) {
	id, _ := parseHex32(a.Subject)
	if a.Method == "banevent" {
		s.bannedEvents[id] = mk
		delete(s.approved, id)
		return
	}
	s.approved[id] = mk
	delete(s.bannedEvents, id)
}

func (s *managed) applyKind(a Act, mk mark) {
	kind, _ := strconv.Atoi(a.Subject)
	if a.Method == "allowkind" {
		s.allowedKinds[kind] = mk
		delete(s.disallowedKinds, kind)
		return
	}
	s.disallowedKinds[kind] = mk
	delete(s.allowedKinds, kind)
}

func (s *managed) applyBlock(a Act, mk mark) {
	p, err := netip.ParsePrefix(a.Subject)
	if err != nil {
		return
	}
	if a.Method == "blockip" {
		s.blocked.add(p, mk)
		return
	}
	s.blocked.remove(p)
}

func (s *managed) applyInfo(a Act, mk mark) {
	s.infoMarks[a.Method] = mk
	switch a.Method {
	case "changerelayname":
		s.info.Name = a.Subject
	case "changerelaydescription":
		s.info.Description = a.Subject
	case "changerelayicon":
		s.info.Icon = a.Subject
	}
}

func (s *managed) applyRole(a Act, mk mark) {
	switch a.Method {
	case "createrole", "editrole":
		if a.Role != nil {
			s.roles[a.Subject], s.roleMarks[a.Subject] = *a.Role, mk
		}
	case "deleterole":
		delete(s.roles, a.Subject)
		delete(s.roleMarks, a.Subject)
		for key := range s.members {
			s.unassign(key, a.Subject)
		}
	case "assignrole":
		key, _ := parseHex32(a.Subject)
		s.assign(key, a.RoleID, mk)
	case "unassignrole":
		key, _ := parseHex32(a.Subject)
		s.unassign(key, a.RoleID)
	}
}

// assign gives a role; who was no member becomes one. Nobody is both banned
// and a member.
func (s *managed) assign(key [32]byte, role string, mk mark) {
	if _, banned := s.bannedKeys[key]; banned {
		return
	}
	who, ok := s.members[key]
	if !ok {
		who.mark = mk
	}
	if at, held := slices.BinarySearch(who.Roles, role); !held {
		who.Roles = slices.Insert(slices.Clone(who.Roles), at, role)
	}
	s.members[key] = who
}

func (s *managed) unassign(key [32]byte, role string) {
	who, ok := s.members[key]
	if at, held := slices.BinarySearch(who.Roles, role); ok && held {
		if who.Roles = slices.Delete(slices.Clone(who.Roles), at, at+1); len(who.Roles) == 0 {
			who.Roles = nil
		}
		s.members[key] = who
	}
}

// live counts the acts that snapshot would write.
func (s *managed) live() int {
	n := 2*len(s.bannedKeys) + len(s.members) + len(s.bannedEvents) + len(s.approved) + len(s.allowedKinds) +
		len(s.disallowedKinds) + s.blocked.len() + len(s.infoMarks) + len(s.roles) + len(s.spent) + len(s.recent)
	for _, who := range s.members {
		n += len(who.Roles)
	}
	return n
}

// snapshot lists acts that, applied in order, give this state again: first
// what stands, then the audit trail.
func (s *managed) snapshot(now int64) []Act {
	acts := make([]Act, 0, s.live())
	add := func(method, subject string, mk mark) *Act {
		acts = append(acts, Act{At: mk.At, By: mk.By, Method: method, Subject: subject, Reason: mk.Reason})
		return &acts[len(acts)-1]
	}
	for id, role := range s.roles {
		add("createrole", id, s.roleMarks[id]).Role = &role
	}
	s.snapshotKeys(add)
	for id, mk := range s.bannedEvents {
		add("banevent", hex.EncodeToString(id[:]), mk)
	}
	for id, mk := range s.approved {
		add("allowevent", hex.EncodeToString(id[:]), mk)
	}
	for kind, mk := range s.allowedKinds {
		add("allowkind", strconv.Itoa(kind), mk)
	}
	for kind, mk := range s.disallowedKinds {
		add("disallowkind", strconv.Itoa(kind), mk)
	}
	for p, mk := range s.blocked.rules {
		add("blockip", p.String(), mk)
	}
	texts := map[string]string{"changerelayname": s.info.Name, "changerelaydescription": s.info.Description, "changerelayicon": s.info.Icon}
	for method, mk := range s.infoMarks {
		add(method, texts[method], mk)
	}
	for code, until := range s.spent {
		if until > now {
			acts = append(acts, Act{At: s.lastAct, Method: "spent", Spent: code, Until: until})
		}
	}
	for i := range acts {
		acts[i].Base = true
	}
	return append(acts, s.recent[max(0, len(s.recent)-auditTrail):]...)
}

func (s *managed) snapshotKeys(add func(method, subject string, mk mark) *Act) {
	for key, b := range s.bannedKeys {
		add("banpubkey", hex.EncodeToString(key[:]), b.mark)
		if b.Purged {
			add("purged", hex.EncodeToString(key[:]), mark{At: b.At})
		}
	}
	for key, who := range s.members {
		subject := hex.EncodeToString(key[:])
		add("allowpubkey", subject, who.mark)
		for _, role := range who.Roles {
			add("assignrole", subject, who.mark).RoleID = role
		}
	}
}

// blocklist answers which rule covers an address: one look-up per prefix
// length in use.
type blocklist struct {
	rules map[netip.Prefix]mark
	bits  [2][129]int // how many rules of each length: IPv4, IPv6
}

func (b *blocklist) len() int { return len(b.rules) }

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

func (b *blocklist) add(p netip.Prefix, mk mark) {
	if _, held := b.rules[p]; !held {
		b.bits[family(p.Addr())][p.Bits()]++
	}
	b.rules[p] = mk
}

func (b *blocklist) remove(p netip.Prefix) {
	if _, held := b.rules[p]; held {
		b.bits[family(p.Addr())][p.Bits()]--
		delete(b.rules, p)
	}
}

func (b *blocklist) find(ip netip.Addr) (mark, bool) {
	ip = ip.Unmap().WithZone("")
	if !ip.IsValid() {
		return mark{}, false
	}
	for bits, n := range b.bits[family(ip)][:ip.BitLen()+1] {
		if n == 0 {
			continue
		}
		p, _ := ip.Prefix(bits)
		if mk, ok := b.rules[p]; ok {
			return mk, true
		}
	}
	return mark{}, false
}
