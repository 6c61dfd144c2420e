package wire

import (
	"encoding/hex"
	"strings"
	"sync"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// TestSignaturesOfBIP340 runs the vectors of the standard whose message is of
// 32 bytes, with and without a memory of keys.
func TestSignaturesOfBIP340(t *testing.T) {
	var keys Keys
	for i, v := range []struct {
		key, id, sig string
		good         bool
	}{
		{"F9308A019258C31049344F85F89D5229B531C845836F99B08601F113BCE036F9", "0000000000000000000000000000000000000000000000000000000000000000", "E907831F80848D1069A5371B402410364BDF1C5F8307B0084C55F1CE2DCA821525F66A4A85EA8B71E482A74F382D2CE5EBEEE8FDB2172F477DF4900D310536C0", true},
		{"DFF1D77F2A671C5F36183726DB2341BE58FEAE1DA2DECED843240F7B502BA659", "243F6A8885A308D313198A2E03707344A4093822299F31D0082EFA98EC4E6C89", "6896BD60EEAE296DB48A229FF71DFE071BDE413E6D43F917DC8DCF8C78DE33418906D11AC976ABCCB20B091292BFF4EA897EFCB639EA871CFA95F6DE339E4B0A", true},
		{"DD308AFEC5777E13121FA72B9CC1B7CC0139715309B086C960E18FD969774EB8", "7E2D58D8B3BCDF1ABADEC7829054F90DDA9805AAB56C77333024B9D0A508B75C", "5831AAEED7B44BB74E5EAB94BA9D4294C49BCF2A60728D8B4C200F50DD313C1BAB745879A5AD954A72C45A91C3A51D3C7ADEA98D82F8481E0E1E03674A6F3FB7", true},
		{"EEFDEA4CDB677750A420FEE807EACF21EB9898AE79B9768766E4FAA04A2D4A34", "243F6A8885A308D313198A2E03707344A4093822299F31D0082EFA98EC4E6C89", "6CFF5C3BA86C69EA4B7376F31A9BCB4F74C1976089B2D9963DA2E5543E17776969E89B4C5564D00349106B8497785DD7D1D713A8AE82B32FA79D5F7FC407D39B", false}, // no point of the curve
		{"DFF1D77F2A671C5F36183726DB2341BE58FEAE1DA2DECED843240F7B502BA659", "243F6A8885A308D313198A2E03707344A4093822299F31D0082EFA98EC4E6C89", "FFF97BD5755EEEA420453A14355235D382F6472F8568A18B2F057A14602975563CC27944640AC607CD107AE10923D9EF7A73C643E166BE5EBEAFA34B1AC553E2", false}, // has_even_y(R) is false
		{"DFF1D77F2A671C5F36183726DB2341BE58FEAE1DA2DECED843240F7B502BA659", "243F6A8885A308D313198A2E03707344A4093822299F31D0082EFA98EC4E6C89", "1FA62E331EDBC21C394792D2AB1100A7B432B013DF3F6FF4F99FCB33E0E1515F28890B3EDB6E7189B630448B515CE4F8622A954CFE545735AAEA5134FCCDB2BD", false}, // negated message
		{"FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEFFFFFC30", "243F6A8885A308D313198A2E03707344A4093822299F31D0082EFA98EC4E6C89", "6CFF5C3BA86C69EA4B7376F31A9BCB4F74C1976089B2D9963DA2E5543E17776969E89B4C5564D00349106B8497785DD7D1D713A8AE82B32FA79D5F7FC407D39B", false}, // beyond the field
	} {
		ev := &nostr.Event{PubKey: strings.ToLower(v.key), ID: strings.ToLower(v.id), Sig: strings.ToLower(v.sig)}
		for range 2 { // unknown, then met
			if got := keys.CheckSignature(ev); got != v.good {
				t.Errorf("vector %d: %v, want %v", i, got, v.good)
			}
		}
		if got := CheckSignature(ev); got != v.good {
			t.Errorf("vector %d without a memory: %v, want %v", i, got, v.good)
		}
	}
}

// TestKeysOfOneSlotAreToldApart signs in turn with keys that push each other
// out, from several goroutines.
func TestKeysOfOneSlotAreToldApart(t *testing.T) {
	var keys Keys
	alone := &Keys{}
	var events []*nostr.Event
	slots := map[string]*nostr.Event{}
	for len(events) < 4 { // two pairs whose keys share a slot
		ev := &nostr.Event{Kind: 1, CreatedAt: 1}
		if err := ev.Sign(nostr.GeneratePrivateKey()); err != nil {
			t.Fatal(err)
		}
		raw, _ := hex.DecodeString(ev.PubKey[:4])
		slot := string([]byte{raw[0] % (keySlots >> 8), raw[1]})
		if other := slots[slot]; other != nil {
			events = append(events, other, ev)
			delete(slots, slot)
			continue
		}
		slots[slot] = ev
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 200 {
				ev := events[i%len(events)]
				forged := *ev
				forged.PubKey = events[(i+1)%len(events)].PubKey
				if !keys.CheckSignature(ev) || keys.CheckSignature(&forged) {
					t.Errorf("%s: the wrong key was taken", ev.ID)
					return
				}
			}
		})
	}
	wg.Wait()
	if !alone.CheckSignature(events[0]) {
		t.Error("a fresh memory refuses a good signature")
	}
}
