package relay

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"

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
	n, approximate, hll, err := s.count(ctx, m.Filters)
	if err != nil && clock.expired() && s.ctx.Err() == nil {
		err = errTooSlow
	}
	if err != nil {
		return s.closedFor(m.Sub, err)
	}
	return s.tell(wire.AppendCount(nil, m.Sub, n, approximate, hll))
}

// count counts what the viewer may see of the filters' matches, each event
// once. A search is counted through its hits.
func (s *session) count(ctx context.Context, filters []nostr.Filter) (n int64, approximate bool, hll []byte, err error) {
	filters = slices.Clone(filters)
	for i := range filters {
		filters[i].Limit, filters[i].LimitZero = 0, false // a count is of all
		if filters[i].Search != "" {
			return 0, false, nil, &notAnswered{"unsupported", "a search cannot be counted"}
		}
	}
	offset := -1
	if len(filters) == 1 {
		offset = hllOffset(filters[0])
	}
	if offset < 0 && s.r.allPublic(filters) {
		n, err = s.r.log.Count(ctx, filters...)
		return n, false, nil, err
	}
	var regs *hyperloglog.HyperLogLog
	if offset >= 0 {
		regs = hyperloglog.New(offset)
	}
	now := time.Now().Unix()
	for rec, err := range s.r.log.QueryAt(ctx, s.r.log.Head(), filters...) {
		if err != nil {
			return 0, false, nil, err
		}
		if !s.r.visible(&rec, s.viewer(), now) {
			continue
		}
		n++
		if regs != nil {
			pk := rec.PubKey()
			regs.AddBytes(pk[:])
		}
	}
	if regs != nil {
		hll = regs.GetRegisters()
	}
	return n, false, hll, nil
}

// allPublic reports whether the filters can match nothing but what everybody
// may see, so that the log's own count is right.
func (r *Relay) allPublic(filters []nostr.Filter) bool {
	if r.manage != nil && r.manage.rules.Load() > 0 {
		return false
	}
	return !slices.ContainsFunc(filters, func(f nostr.Filter) bool {
		return f.Kinds == nil || slices.ContainsFunc(f.Kinds, r.private)
	})
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
