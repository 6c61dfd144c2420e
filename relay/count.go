package relay

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"agora/relay/admit"
	"agora/relay/wire"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip45/hyperloglog"
)

// answerCount answers a COUNT (NIP-45).
func (s *session) answerCount(m wire.Message) error {
	lim := s.r.limits()
	if p, text := s.r.mayAsk(m.Filters, s.viewer(), lim); p != "" {
		return s.closed(m.Sub, p, text)
	}
	ctx, clock := startWatch(s.ctx, lim.QueryTime)
	defer clock.stop()
	n, hll, err := s.count(ctx, m.Filters)
	if err != nil && clock.expired() && s.ctx.Err() == nil {
		err = errTooSlow
	}
	if err != nil {
		return s.closedFor(m.Sub, err)
	}
	return s.tell(wire.AppendCount(nil, m.Sub, n, false, hll))
}

// mostRegistered is how many events are read for the registers of a COUNT.
const mostRegistered = 200_000

// count counts what the viewer may see of the filters' matches, each event
// once. The registers are nil where they would mean nothing.
func (s *session) count(ctx context.Context, filters []nostr.Filter) (n int64, registers []byte, err error) {
	filters = slices.Clone(filters)
	for i := range filters {
		filters[i].Limit, filters[i].LimitZero = 0, false // a count is of all
		if filters[i].Search != "" {
			return 0, nil, &notAnswered{admit.Unsupported, "a search cannot be counted"}
		}
	}
	if s.r.manage != nil && s.r.manage.rules.Load() > 0 { // whose events are hidden, no index knows
		n, err = s.countVisible(ctx, filters, nil)
	} else {
		n, err = s.countFast(ctx, filters)
	}
	offset := -1
	if len(filters) == 1 {
		offset = hllOffset(filters[0])
	}
	if err != nil || offset < 0 || n > mostRegistered {
		return n, nil, err
	}
	hll := hyperloglog.New(offset)
	n, err = s.countVisible(ctx, filters, hll)
	return n, hll.GetRegisters(), err
}

// countFast lets the log count, and corrects it for the private kinds: all of
// them out, those that the viewer may see in again.
func (s *session) countFast(ctx context.Context, filters []nostr.Filter) (int64, error) {
	n, err := s.r.log.Count(ctx, filters...)
	if err != nil {
		return 0, err
	}
	var private, mine []nostr.Filter
	for _, f := range filters {
		if f.Kinds = s.r.privateOf(f.Kinds); len(f.Kinds) > 0 {
			private = append(private, f)
			mine = append(mine, narrowed(f, s.viewer())...)
		}
	}
	if len(private) == 0 {
		return n, nil
	}
	hidden, err := s.r.log.Count(ctx, private...)
	if err != nil || len(mine) == 0 {
		return n - hidden, err
	}
	shown, err := s.countVisible(ctx, mine, nil)
	return n - hidden + shown, err
}

// privateOf lists the private kinds among kinds; nil means all kinds.
func (r *Relay) privateOf(kinds []int) []int {
	all := append([]int{kindWrap, kindPassWrap}, r.restricted...)
	if kinds == nil {
		return all
	}
	return slices.DeleteFunc(all, func(k int) bool { return !slices.Contains(kinds, k) })
}

// narrowed is f for private kinds, cut down to what a viewer can be party to.
func narrowed(f nostr.Filter, v viewer) (mine []nostr.Filter) {
	if len(v) == 0 {
		return nil
	}
	if f.Tags["p"] != nil || f.Authors != nil {
		return []nostr.Filter{f}
	}
	to, from := f, f
	to.Tags = maps.Clone(f.Tags)
	if to.Tags == nil {
		to.Tags = nostr.TagMap{}
	}
	to.Tags["p"] = v
	from.Authors = v
	return []nostr.Filter{to, from}
}

// countVisible counts by looking at every match.
func (s *session) countVisible(ctx context.Context, filters []nostr.Filter, hll *hyperloglog.HyperLogLog) (n int64, err error) {
	now, v := time.Now().Unix(), s.viewer()
	for rec, err := range s.r.log.QueryAt(ctx, s.r.log.Head(), filters...) {
		if err != nil {
			return 0, err
		}
		if !s.r.visible(&rec, v, now) {
			continue
		}
		n++
		if hll != nil {
			pk := rec.PubKey()
			hll.AddBytes(pk[:])
		}
	}
	return n, nil
}

// hllOffset is where in a pubkey NIP-45's HyperLogLog begins to look; -1 when
// the filter does not have exactly one tag attribute with one item.
func hllOffset(f nostr.Filter) int {
	if len(f.Tags) != 1 {
		return -1
	}
	for _, items := range f.Tags {
		if len(items) != 1 {
			return -1
		}
		nibble, err := strconv.ParseUint(hllKey(items[0])[32:33], 16, 8)
		if err != nil {
			return -1
		}
		return int(nibble) + 8
	}
	return -1
}

// hllKey is the 64 hex digits an item stands for: an id or a key as it is, an
// address by its key, all else by its SHA-256.
func hllKey(item string) string {
	if nostr.IsValid32ByteHex(item) {
		return item
	}
	if parts := strings.SplitN(item, ":", 3); len(parts) == 3 && nostr.IsValid32ByteHex(parts[1]) {
		return parts[1]
	}
	sum := sha256.Sum256([]byte(item))
	return hex.EncodeToString(sum[:])
}
