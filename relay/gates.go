package relay

import (
	"context"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"agora/relay/admit"

	"github.com/nbd-wtf/go-nostr"
)

// gate is one question at the door. A request to vanish passes all that do
// not say otherwise.
type gate struct {
	name   string
	vanish bool // rules on kind 62 too
	rule   func(context.Context, *nostr.Event, admit.Peer) (admit.Ruling, error)
}

// Origins, as the table below groups them.
var (
	everyWay  = []admit.Origin{admit.Socket, admit.Import, admit.Sync, admit.Bring, admit.Own}
	fromAfar  = []admit.Origin{admit.Socket, admit.Sync, admit.Bring}
	notOwn    = []admit.Origin{admit.Socket, admit.Import, admit.Sync, admit.Bring}
	byGossip  = []admit.Origin{admit.Socket, admit.Sync}
	socketsOf = []admit.Origin{admit.Socket}
)

// layGates writes down which gate watches which way in: the table of
// ARCHITECTURE.md. Cheap ones come first; the first refusal wins. Id,
// signature, tombstones and claims are no gates and hold for all.
func (r *Relay) layGates(further []Gate) {
	table := []struct {
		gate
		origins []admit.Origin
	}{
		{gate{"vanish", true, r.ruleVanish}, everyWay},
		{gate{"kind", false, ruleKind}, everyWay},
		{gate{"size", false, r.ruleSize}, fromAfar},
		{gate{"expired", false, ruleExpired}, everyWay},
		{gate{"future", false, r.ruleTime}, socketsOf},
		{gate{"pow", false, r.rulePow}, socketsOf},
		{gate{"auth", false, r.ruleAuth}, socketsOf},
		{gate{"protected", false, r.ruleProtected}, byGossip},
		{gate{"embedded", false, ruleEmbedded}, byGossip},
	}
	for _, row := range table {
		for _, o := range row.origins {
			r.gates[o] = append(r.gates[o], row.gate)
		}
	}
	if r.manage != nil {
		for _, o := range notOwn {
			r.gates[o] = append(r.gates[o], gate{"management", false, r.manage.Rule})
		}
	}
	for _, g := range further {
		origins := g.Origins
		if origins == nil {
			origins = socketsOf
		}
		for _, o := range origins {
			r.gates[o] = append(r.gates[o], gate{g.Name, false, timely(g)})
			if g.Waits != nil {
				r.waits[o] = append(r.waits[o], g.Waits)
			}
		}
	}
}

// gateTime is how long one of the further gates may think about one event:
// while it does, a verifier waits.
const gateTime = 5 * time.Second

// timely is a gate that is told to end in time, but where it has said that it
// does not wait.
func timely(g Gate) func(context.Context, *nostr.Event, admit.Peer) (admit.Ruling, error) {
	return func(ctx context.Context, ev *nostr.Event, from admit.Peer) (admit.Ruling, error) {
		if g.Waits != nil && !g.Waits(ev) {
			return g.Gate.Rule(ctx, ev, from)
		}
		ctx, cancel := context.WithTimeout(ctx, gateTime)
		defer cancel()
		return g.Gate.Rule(ctx, ev, from)
	}
}

// gatesWait reports whether some gate will wait on this event.
func (r *Relay) gatesWait(s *submission) bool {
	return slices.ContainsFunc(r.waits[s.from.Origin], func(on func(*nostr.Event) bool) bool { return on(s.ev) })
}

// rule asks the gates of the submission's way in.
func (r *Relay) rule(s *submission) (all admit.Ruling, err error) {
	for _, g := range r.gates[s.from.Origin] {
		if s.ev.Kind == kindVanish && !g.vanish {
			continue
		}
		ruling, err := g.rule(s.ctx, s.ev, s.from)
		if err != nil {
			return admit.Ruling{}, fmt.Errorf("gate %s on %s: %w", g.name, s.ev.ID, err)
		}
		if ruling.Refusal != nil {
			r.metrics.refused(g.name)
			return ruling, nil
		}
		all.Claims = append(all.Claims, ruling.Claims...)
		all.Labels = append(all.Labels, ruling.Labels...)
	}
	return all, nil
}

// ruleVanish takes requests to vanish that name us; others are not ours to
// keep.
func (r *Relay) ruleVanish(_ context.Context, ev *nostr.Event, _ admit.Peer) (admit.Ruling, error) {
	if ev.Kind != kindVanish {
		return admit.Ruling{}, nil
	}
	if !slices.ContainsFunc(ev.Tags, func(t nostr.Tag) bool { return len(t) >= 2 && t[0] == "relay" }) {
		return admit.Refuse(admit.Invalid, "a request to vanish names the relays it is for"), nil
	}
	if !r.meansUs(ev) {
		return admit.Refuse(admit.Blocked, "this request to vanish is for other relays"), nil
	}
	return admit.Ruling{}, nil
}

// meansUs reports whether a request to vanish is for this relay.
func (r *Relay) meansUs(ev *nostr.Event) bool {
	return slices.ContainsFunc(ev.Tags, func(t nostr.Tag) bool {
		return len(t) >= 2 && t[0] == "relay" && (t[1] == "ALL_RELAYS" || r.isOurs(t[1]))
	})
}

// ruleKind turns away what is never stored nor passed on.
func ruleKind(_ context.Context, ev *nostr.Event, _ admit.Peer) (admit.Ruling, error) {
	if ev.Kind == kindAuth {
		return admit.Refuse(admit.Invalid, "an authentication event goes into an AUTH message"), nil
	}
	return admit.Ruling{}, nil
}

func (r *Relay) ruleSize(_ context.Context, ev *nostr.Event, _ admit.Peer) (admit.Ruling, error) {
	lim := r.limits()
	if len(ev.Tags) > lim.MaxTags {
		return admit.Refuse(admit.Invalid, fmt.Sprintf("at most %d tags", lim.MaxTags)), nil
	}
	if len(ev.Content) > lim.MaxContent && len([]rune(ev.Content)) > lim.MaxContent {
		return admit.Refuse(admit.Invalid, fmt.Sprintf("content of at most %d characters", lim.MaxContent)), nil
	}
	return admit.Ruling{}, nil
}

func ruleExpired(_ context.Context, ev *nostr.Event, _ admit.Peer) (admit.Ruling, error) {
	if nostr.IsEphemeralKind(ev.Kind) {
		return admit.Ruling{}, nil
	}
	for _, t := range ev.Tags {
		if len(t) < 2 || t[0] != "expiration" {
			continue
		}
		if at, err := strconv.ParseInt(t[1], 10, 64); err == nil && at <= time.Now().Unix() {
			return admit.Refuse(admit.Invalid, "this event has expired"), nil
		}
		break // the first counts
	}
	return admit.Ruling{}, nil
}

func (r *Relay) ruleTime(_ context.Context, ev *nostr.Event, _ admit.Peer) (admit.Ruling, error) {
	lim := r.limits()
	now := time.Now() // compared in seconds: a created_at near 2^63 overflows a time.Time
	if int64(ev.CreatedAt) > now.Add(lim.MaxFuture).Unix() {
		return admit.Refuse(admit.Invalid, fmt.Sprintf("created_at is more than %d seconds ahead of now", int(lim.MaxFuture.Seconds()))), nil
	}
	if lim.MaxPast > 0 && int64(ev.CreatedAt) < now.Add(-lim.MaxPast).Unix() {
		return admit.Refuse(admit.Invalid, fmt.Sprintf("created_at is more than %d seconds ago", int(lim.MaxPast.Seconds()))), nil
	}
	return admit.Ruling{}, nil
}

// rulePow asks for work (NIP-13). Work counts up to the target it was
// committed to, so that luck does not.
func (r *Relay) rulePow(_ context.Context, ev *nostr.Event, _ admit.Peer) (admit.Ruling, error) {
	want := r.limits().MinPow
	if want == 0 {
		return admit.Ruling{}, nil
	}
	if have := zeroBits(ev.ID); have < want {
		return admit.Refuse(admit.PoW, fmt.Sprintf("%d bits of work asked, %d done", want, have)), nil
	}
	if target := target(ev.Tags); target < want {
		return admit.Refuse(admit.PoW, fmt.Sprintf("%d bits of work asked, the nonce tag commits to %d", want, target)), nil
	}
	return admit.Ruling{}, nil
}

func zeroBits(id string) (n int) {
	for i := range len(id) {
		nibble, err := strconv.ParseUint(id[i:i+1], 16, 4)
		if err != nil {
			return n
		}
		if nibble != 0 {
			return n + bits.LeadingZeros8(uint8(nibble)) - 4
		}
		n += 4
	}
	return n
}

func target(tags nostr.Tags) int {
	for _, t := range tags {
		if len(t) >= 3 && t[0] == "nonce" {
			n, err := strconv.Atoi(t[2])
			if err != nil {
				return 0
			}
			return n
		}
	}
	return 0
}

func (r *Relay) ruleAuth(_ context.Context, _ *nostr.Event, from admit.Peer) (admit.Ruling, error) {
	if r.limits().AuthToWrite && len(from.Authed) == 0 {
		return admit.Refuse(admit.AuthRequired, "authenticate to publish here"), nil
	}
	return admit.Ruling{}, nil
}

// ruleProtected lets a protected event (NIP-70) in only from its author. By
// gossip only our own come back.
func (r *Relay) ruleProtected(_ context.Context, ev *nostr.Event, from admit.Peer) (admit.Ruling, error) {
	if !protected(ev.Tags) || from.IsAuthed(ev.PubKey) || slices.Contains(r.cfg.OwnKeys, ev.PubKey) {
		return admit.Ruling{}, nil
	}
	if from.Origin == admit.Socket && len(from.Authed) == 0 {
		return admit.Refuse(admit.AuthRequired, "this event is protected: its author must authenticate to publish it"), nil
	}
	return admit.Refuse(admit.Restricted, "this event is protected: only its author may publish it"), nil
}

func protected(tags nostr.Tags) bool {
	return slices.ContainsFunc(tags, func(t nostr.Tag) bool { return len(t) > 0 && t[0] == "-" })
}

// ruleEmbedded turns away reposts that carry a protected event (NIP-70).
func ruleEmbedded(_ context.Context, ev *nostr.Event, _ admit.Peer) (admit.Ruling, error) {
	if ev.Kind != kindRepost && ev.Kind != kindGeneric || !strings.Contains(ev.Content, `"-"`) && !strings.Contains(ev.Content, `\u002`) {
		return admit.Ruling{}, nil
	}
	var inner nostr.Event
	if err := inner.UnmarshalJSON([]byte(ev.Content)); err == nil && protected(inner.Tags) {
		return admit.Refuse(admit.Blocked, "this repost carries a protected event"), nil
	}
	return admit.Ruling{}, nil
}
