package wire

import (
	"sync/atomic"

	"agora/relay/lowhex"

	"github.com/nbd-wtf/go-nostr"
)

// CheckSignature reports whether the key of ev has signed its id. It trusts
// the id: call CheckID first.
func CheckSignature(ev *nostr.Event) bool { return (*Keys)(nil).CheckSignature(ev) }

// Keys checks signatures and remembers the keys it has met lately, for to read
// one costs a tenth of a check. The zero Keys is ready; any number of
// goroutines may use it.
type Keys struct {
	slots [keySlots]atomic.Pointer[metKey] // by the first bytes of a key; the latest stays
}

// keySlots is how many keys are remembered at most, some 110 bytes each.
const keySlots = 1 << 13

type metKey struct {
	key   [32]byte
	point point
}

// CheckSignature is the function of that name, with a memory.
func (k *Keys) CheckSignature(ev *nostr.Event) bool {
	var id, key [32]byte
	var sig [64]byte
	if !lowhex.Decode(id[:], ev.ID) || !lowhex.Decode(key[:], ev.PubKey) || !lowhex.Decode(sig[:], ev.Sig) {
		return false
	}
	met := k.meet(&key)
	return met != nil && met.point.signed(&id, &sig)
}

// meet returns a key read; nil if it is none. Only keys that are points of the
// curve are remembered.
func (k *Keys) meet(key *[32]byte) *metKey {
	var slot *atomic.Pointer[metKey]
	if k != nil {
		slot = &k.slots[(int(key[0])<<8|int(key[1]))%keySlots]
		if met := slot.Load(); met != nil && met.key == *key {
			return met
		}
	}
	p, ok := pointOf(key)
	if !ok {
		return nil
	}
	met := &metKey{key: *key, point: p}
	if slot != nil {
		slot.Store(met)
	}
	return met
}
