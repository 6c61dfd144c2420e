package relay

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"agora/relay/admit"
	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"
)

// Keeper keeps small values for good; *store.Store does. A value that was
// never set is empty.
type Keeper interface {
	Meta(key string) ([]byte, error)
	SetMeta(ctx context.Context, key string, value []byte) error
}

// Shelf is where reported and banned events stand; *store.Store does.
type Shelf interface {
	Query(ctx context.Context, filters ...nostr.Filter) iter.Seq2[store.Record, error]
	Remove(ctx context.Context, ids []store.ID, ban bool) (int, error)
	Unban(ctx context.Context, ids []store.ID) error
}

// HTTPSigner tells which key signed an HTTP request; *admit.HTTPAuth does.
type HTTPSigner interface {
	Check(r *http.Request, body []byte) (pubkey string, err error)
}

// ManagementPolicy is what the configuration says about who may do what. It
// can be exchanged while the relay runs.
type ManagementPolicy struct {
	Admins           []string // public keys that may call every method, hex or npub
	RestrictedWrites bool     // only keys on the allow list (the members) and admins may publish
	RestrictedKinds  bool     // only kinds on the allow list are taken, and kind 5
	InviteCodes      []string // standing codes that admit whoever brings one (NIP-43); any number of times
	MembersInvite    bool     // a member may ask for an invitation, not only an admin
}

// ManagementConfig is what Management needs; zero fields mean the default.
type ManagementConfig struct {
	Policy     ManagementPolicy
	Secret     string        // hex secret key of the relay (NIP-11 self); empty: no roles, no members list, no invitations
	BanGrace   time.Duration // how long a banned key's events are only hidden before they are removed; default 24 h, negative: none
	InviteLife time.Duration // how long an invitation is good; default 7 days
	Keeper     Keeper
	Shelf      Shelf
	Signer     HTTPSigner
	Logger     *slog.Logger // default slog.Default()
}

// Defaults of ManagementConfig.
const (
	defaultBanGrace   = 24 * time.Hour
	defaultInviteLife = 7 * 24 * time.Hour
)

// policy is ManagementPolicy, parsed.
type policy struct {
	admins           map[[32]byte]bool
	restrictedWrites bool
	restrictedKinds  bool
	inviteCodes      []string
	membersInvite    bool
}

// Management is the operator's hand on the relay: the methods of NIP-86, the
// rulings they leave behind, and the roles and members of NIP-43. What it has
// decided outlives a restart: every act is written before it counts.
type Management struct {
	self, secret         string // hex; empty without a key of our own
	banGrace, inviteLife time.Duration
	shelf                Shelf
	signer               HTTPSigner
	logger               *slog.Logger
	methods              map[string]method
	policy               atomic.Pointer[policy]
	rules                atomic.Int64 // banned keys; 0 spares every reader the lock
	blocks               atomic.Int64 // blocks of addresses; the same
	poke                 chan struct{}

	writing sync.Mutex // held from the check of an act until it counts
	acts    actLog     // owned by writing

	mu    sync.RWMutex // guards what follows
	state managed
	purge []purgeJob // keys whose events are to be removed, soonest first

	roles membership // NIP-43's events; has its own lock
}

// purgeJob is a banned key whose events are to be removed.
type purgeJob struct {
	key [32]byte
	at  int64 // of the ban, unix seconds: a key unbanned and banned again has a new one
}

// NewManagement reads back what was decided so far. It starts nothing; the
// relay's Run calls run.
func NewManagement(cfg ManagementConfig) (*Management, error) {
	if cfg.Keeper == nil || cfg.Shelf == nil || cfg.Signer == nil {
		return nil, errors.New("management needs a Keeper, a Shelf and a Signer")
	}
	m := &Management{
		secret:     cfg.Secret,
		banGrace:   cmp.Or(cfg.BanGrace, defaultBanGrace),
		inviteLife: cmp.Or(cfg.InviteLife, defaultInviteLife),
		shelf:      cfg.Shelf,
		signer:     cfg.Signer,
		logger:     cmp.Or(cfg.Logger, slog.Default()),
		poke:       make(chan struct{}, 1), // pokes; when full: one is already waiting
		acts:       actLog{keep: cfg.Keeper},
		state:      newManaged(),
	}
	m.methods = m.table()
	if err := m.takeSecret(); err != nil {
		return nil, err
	}
	if err := m.Reload(cfg.Policy); err != nil {
		return nil, err
	}
	if err := m.acts.load(m.state.apply); err != nil {
		return nil, err
	}
	m.queuePurges()
	m.countRules()
	return m, nil
}

func (m *Management) takeSecret() error {
	if m.secret == "" {
		return nil
	}
	self, err := nostr.GetPublicKey(m.secret)
	if err != nil {
		return fmt.Errorf("the relay's own secret key: %w", err)
	}
	m.self = self
	return nil
}

// Reload exchanges the policy. On an error the old one stays.
func (m *Management) Reload(p ManagementPolicy) error {
	admins := make(map[[32]byte]bool, len(p.Admins))
	for i, s := range p.Admins {
		key, err := ParsePubKey(s)
		if err != nil {
			return fmt.Errorf("admins[%d]: %w", i, err)
		}
		admins[key] = true
	}
	for i, code := range p.InviteCodes {
		if len(code) < 8 || len(code) > maxClaim {
			return fmt.Errorf("invite_codes[%d]: a code has 8 to %d characters, this one %d", i, maxClaim, len(code))
		}
	}
	m.policy.Store(&policy{
		admins:           admins,
		restrictedWrites: p.RestrictedWrites,
		restrictedKinds:  p.RestrictedKinds,
		inviteCodes:      slices.Clone(p.InviteCodes),
		membersInvite:    p.MembersInvite,
	})
	return nil
}

// ParsePubKey reads a public key as people write it: 64 lower-case hex digits
// or npub1….
func ParsePubKey(s string) ([32]byte, error) {
	switch {
	case strings.HasPrefix(s, "nsec1"):
		return [32]byte{}, errors.New("this is a secret key (nsec): give the public one (npub), and consider the secret spent")
	case strings.HasPrefix(s, "npub1"):
		_, value, err := nip19.Decode(s)
		if err != nil {
			return [32]byte{}, fmt.Errorf("%q is no public key: %w", s, err)
		}
		s, _ = value.(string)
	}
	key, ok := parseHex32(s)
	if !ok || !nostr.IsValidPublicKey(s) {
		return [32]byte{}, fmt.Errorf("%q is no public key: want 64 lower-case hex digits or npub1…", s)
	}
	return key, nil
}

// parseHex32 reads exactly 64 lower-case hex digits.
func parseHex32(s string) (b [32]byte, ok bool) {
	if len(s) != 64 || strings.ToLower(s) != s {
		return b, false
	}
	_, err := hex.Decode(b[:], []byte(s))
	return b, err == nil
}

// Rule is the operator's gate (admit.Gate). It never refuses a request to
// vanish (NIP-62), nor what the relay itself signed.
func (m *Management) Rule(_ context.Context, ev *nostr.Event, from admit.Peer) (admit.Ruling, error) {
	if ev.Kind == 62 || from.Origin == admit.Own {
		return admit.Ruling{}, nil
	}
	key, ok := parseHex32(ev.PubKey)
	if !ok {
		return admit.Refuse(admit.Invalid, "pubkey is not 64 lower-case hex digits"), nil
	}
	p := m.policy.Load()
	m.mu.RLock()
	defer m.mu.RUnlock()
	if ban, banned := m.state.bannedKeys[key]; banned {
		return admit.Refuse(admit.Blocked, withReason("this key is banned from this relay", ban.Reason)), nil
	}
	if from.Origin == admit.Import || m.Answers(ev.Kind) { // the operator's own file, a request to join: only bans apply
		return admit.Ruling{}, nil
	}
	if _, no := m.state.disallowedKinds[ev.Kind]; no {
		return admit.Refuse(admit.Blocked, fmt.Sprintf("this relay does not take kind %d", ev.Kind)), nil
	}
	if _, yes := m.state.allowedKinds[ev.Kind]; p.restrictedKinds && !yes && ev.Kind != nostr.KindDeletion {
		return admit.Refuse(admit.Blocked, fmt.Sprintf("this relay does not take kind %d", ev.Kind)), nil
	}
	if _, member := m.state.members[key]; p.restrictedWrites && !member && !p.admins[key] && ev.PubKey != m.self {
		return admit.Refuse(admit.Restricted, "only members of this relay may publish here"), nil
	}
	return admit.Ruling{}, nil
}

func withReason(text, reason string) string {
	if reason == "" {
		return text
	}
	return text + ": " + reason
}

// Hidden reports whether events of this author are no longer served: the
// author is banned. For visible.
func (m *Management) Hidden(pubkey [32]byte) bool {
	if m.rules.Load() == 0 {
		return false
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	_, banned := m.state.bannedKeys[pubkey]
	return banned
}

// Member reports whether a key is on the allow list, which is the list of
// members.
func (m *Management) Member(pubkey [32]byte) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	_, ok := m.state.members[pubkey]
	return ok
}

// Admin reports whether a hex key may manage this relay.
func (m *Management) Admin(pubkey string) bool {
	key, ok := parseHex32(pubkey)
	return ok && m.policy.Load().admins[key]
}

// Blocked reports whether an address may not connect. The text is for the
// one who is turned away.
func (m *Management) Blocked(ip netip.Addr) (text string, blocked bool) {
	if m.blocks.Load() == 0 {
		return "", false
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	mark, ok := m.state.blocked.find(ip)
	if !ok {
		return "", false
	}
	return withReason("this address is blocked", mark.Reason), true
}

// RelayInfo is what administrators have changed of the NIP-11 document; an
// empty field means as configured.
type RelayInfo struct{ Name, Description, Icon string }

// Info is the NIP-11 document's changed part.
func (m *Management) Info() RelayInfo {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.state.info
}

// RestrictedWrites is NIP-11's limitation.restricted_writes.
func (m *Management) RestrictedWrites() bool { return m.policy.Load().restrictedWrites }

// Membership reports whether NIP-43 is spoken here: the relay has a key of
// its own to sign the list of members with.
func (m *Management) Membership() bool { return m.self != "" }

// Audit lists the last acts, oldest first, at most 1,024.
func (m *Management) Audit() []Act {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return slices.Clone(m.state.recent[max(0, len(m.state.recent)-auditTrail):])
}

// do makes one act count: checked, written for good, applied, logged.
func (m *Management) do(ctx context.Context, a Act, check func(*managed) error) error {
	m.writing.Lock()
	defer m.writing.Unlock()
	if check != nil {
		if err := check(&m.state); err != nil { // only do writes state, and it holds writing
			return err
		}
	}
	if err := m.acts.append(ctx, a); err != nil {
		return fmt.Errorf("write down %s: %w", a.Method, err)
	}
	m.mu.Lock()
	m.state.apply(a)
	if a.Method == "banpubkey" {
		key, _ := parseHex32(a.Subject)
		m.purge = append(m.purge, purgeJob{key, a.At})
	}
	m.mu.Unlock()
	m.countRules()
	m.logger.Info("managed", "method", a.Method, "by", a.By, "subject", a.Subject, "reason", a.Reason)
	return nil
}

func (m *Management) countRules() {
	m.mu.RLock()
	defer m.mu.RUnlock()
	m.rules.Store(int64(len(m.state.bannedKeys)))
	m.blocks.Store(int64(m.state.blocked.len()))
}

// wake pokes run, which looks for work.
func (m *Management) wake() {
	select {
	case m.poke <- struct{}{}:
	default:
	}
}
