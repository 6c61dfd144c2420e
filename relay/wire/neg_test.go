package wire

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip77/negentropy"
	"github.com/nbd-wtf/go-nostr/nip77/negentropy/storage/vector"
)

// randomKeys draws n keys; alike makes some ids share long prefixes and end in
// zeros, which no real ids do.
func randomKeys(rng *rand.Rand, n, seconds int, alike bool) []NegKey {
	keys := make([]NegKey, n)
	for i := range keys {
		var id [32]byte
		for j := range id {
			id[j] = byte(rng.Uint32())
		}
		if alike && rng.IntN(4) == 0 {
			clear(id[:rng.IntN(31)])
			clear(id[rng.IntN(32):])
			binary.BigEndian.PutUint16(id[30:], uint16(i)) // no id twice
		}
		keys[i] = NegKeyOf(1_700_000_000+int64(rng.IntN(seconds)), id)
	}
	return keys
}

// parted deals keys into two overlapping sets.
func parted(rng *rand.Rand, n, differing int, alike bool) (a, b NegVector) {
	all := NewNegVector(randomKeys(rng, n, 1+rng.IntN(2*n+1), alike))
	for _, k := range all {
		switch side := rng.IntN(max(1, 2*n/(differing+1)) + 2); side {
		case 0:
			a = append(a, k)
		case 1:
			b = append(b, k)
		default:
			a, b = append(a, k), append(b, k)
		}
	}
	return a, b
}

func minus(a, b NegVector) []string {
	var out []string
	for _, k := range a {
		if _, held := slices.BinarySearchFunc(b, k, func(x, y NegKey) int { return bytes.Compare(x[:], y[:]) }); !held {
			out = append(out, hex.EncodeToString(k[8:]))
		}
	}
	slices.Sort(out)
	return out
}

func TestReconcileFindsExactlyTheDifference(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 77))
		a, b := parted(rng, rng.IntN(6000), rng.IntN(3000), true)
		var have, need []string
		us := Reconciler{
			Set: a, Frame: 4096 + rng.IntN(60_000),
			Have: func(k NegKey) { have = append(have, hex.EncodeToString(k[8:])) },
			Need: func(id [32]byte) { need = append(need, hex.EncodeToString(id[:])) },
		}
		them := Reconciler{Set: b, Frame: 4096 + rng.IntN(60_000)}
		frame, err := us.Open(t.Context())
		for rounds := 0; frame != nil && err == nil; rounds++ {
			if rounds > 2000 {
				t.Fatal("it does not end")
			}
			if frame, err = them.Answer(t.Context(), frame); err == nil {
				if len(frame) > them.Frame {
					t.Fatalf("frame of %d bytes, at most %d allowed", len(frame), them.Frame)
				}
				frame, err = us.Follow(t.Context(), frame)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		check(t, seed, have, need, a, b)
	}
}

func check(t *testing.T, seed uint64, have, need []string, a, b NegVector) {
	t.Helper()
	slices.Sort(have)
	slices.Sort(need)
	have, need = slices.Compact(have), slices.Compact(need)
	if want := minus(a, b); !slices.Equal(have, want) {
		t.Fatalf("seed %d: have %d ids, want %d", seed, len(have), len(want))
	}
	if want := minus(b, a); !slices.Equal(need, want) {
		t.Fatalf("seed %d: need %d ids, want %d", seed, len(need), len(want))
	}
}

func theirVector(keys NegVector) *vector.Vector {
	v := vector.New()
	for _, k := range keys {
		v.Insert(nostr.Timestamp(negTime(&k)), hex.EncodeToString(k[8:]))
	}
	v.Seal()
	return v
}

// drain collects what go-nostr reports on its channels until it closes them.
func drain(ch chan string) func() []string {
	got := make(chan []string, 1) // one answer
	go func() {
		var ids []string
		for id := range ch {
			ids = append(ids, id)
		}
		got <- ids
	}()
	return func() []string { return <-got }
}

func TestGoNostrInitiatesAgainstOurResponder(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 1))
		a, b := parted(rng, rng.IntN(4000), rng.IntN(1000), false)
		client := negentropy.New(theirVector(a), 4096+rng.IntN(60_000))
		have, need := drain(client.Haves), drain(client.HaveNots)
		server := Reconciler{Set: b, Frame: 4096 + rng.IntN(60_000)}
		for msg := client.Start(); msg != ""; {
			frame, err := hex.DecodeString(msg)
			if err != nil {
				t.Fatal(err)
			}
			if frame, err = server.Answer(t.Context(), frame); err != nil {
				t.Fatal(err)
			}
			if msg, err = client.Reconcile(hex.EncodeToString(frame)); err != nil {
				t.Fatal(err)
			}
		}
		check(t, seed, have(), need(), a, b)
	}
}

func TestOurInitiatorAgainstGoNostrsResponder(t *testing.T) {
	for seed := range uint64(30) {
		rng := rand.New(rand.NewPCG(seed, 2))
		a, b := parted(rng, rng.IntN(4000), rng.IntN(1000), false)
		var have, need []string
		us := Reconciler{
			Set: a, Frame: 4096 + rng.IntN(60_000),
			Have: func(k NegKey) { have = append(have, hex.EncodeToString(k[8:])) },
			Need: func(id [32]byte) { need = append(need, hex.EncodeToString(id[:])) },
		}
		// No small frames here: when go-nostr's responder cuts a frame off, its last
		// fingerprint leaves out the range at which it stopped, and ids get lost.
		server := negentropy.New(theirVector(b), 1<<20)
		frame, err := us.Open(t.Context())
		for frame != nil && err == nil {
			var msg string
			if msg, err = server.Reconcile(hex.EncodeToString(frame)); err != nil {
				t.Fatal(err)
			}
			if frame, err = hex.DecodeString(msg); err == nil {
				frame, err = us.Follow(t.Context(), frame)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		check(t, seed, have, need, a, b)
	}
}

func TestNegentropyAnswersAnUnknownVersionWithItsOwn(t *testing.T) {
	r := Reconciler{Set: NegVector{}, Frame: 4096}
	for _, first := range []byte{0x00, 0x60, 0x62, 0xff} {
		got, err := r.Answer(t.Context(), []byte{first, 0, 0, 2, 0})
		if err != nil || !bytes.Equal(got, []byte{0x61}) {
			t.Errorf("version %#x: %x, %v", first, got, err)
		}
	}
}

func TestNegentropyRefusesHostileFrames(t *testing.T) {
	huge := append(bytes.Repeat([]byte{0xff}, 9), 0x7f) // over 64 bits
	most := binaryMax()
	for name, body := range map[string][]byte{
		"empty":                     nil,
		"number without end":        {0x61, 0xff, 0xff},
		"number over 64 bits":       append([]byte{0x61}, huge...),
		"endless number":            append([]byte{0x61}, bytes.Repeat([]byte{0x80}, 100_000)...),
		"time beyond 64 bits":       slices.Concat([]byte{0x61}, most, []byte{0, 0}, most, []byte{0, 0}),
		"id of 33 bytes":            append([]byte{0x61, 2, 33}, make([]byte, 40)...),
		"mode 3":                    {0x61, 0, 0, 3},
		"fingerprint cut short":     {0x61, 0, 0, 1, 9, 9},
		"2^63 ids claimed":          slices.Concat([]byte{0x61, 0, 0, 2}, most),
		"one id more than there is": append([]byte{0x61, 0, 0, 2, 2}, make([]byte, 32)...),
		"bounds out of order":       {0x61, 9, 1, 0xbb, 0, 1, 1, 0xaa, 0},
		"a bound after the end":     {0x61, 0, 0, 0, 5, 0, 0},
	} {
		r := Reconciler{Set: NegVector(randomKeys(rand.New(rand.NewPCG(1, 1)), 1, 1, true)), Frame: 4096}
		if got, err := r.Answer(t.Context(), body); !errors.Is(err, ErrNegFrame) {
			t.Errorf("%s: answered %x, %v", name, got, err)
		}
	}
}

func binaryMax() []byte { return appendNegVarint(nil, math.MaxUint64-1) }

func TestNegentropyManyRangesCostNoMoreThanAFrame(t *testing.T) {
	set := NewNegVector(randomKeys(rand.New(rand.NewPCG(3, 3)), 20_000, 50_000, false))
	w := newNegWriter()
	for i := range int64(12_000) {
		w.print(NegKeyOf(1_700_000_000+i*4, [32]byte{1}), [16]byte{byte(i)})
	}
	counted := &countingSet{NegSet: set}
	got, err := (&Reconciler{Set: counted, Frame: 60_000}).Answer(t.Context(), w.buf)
	if err != nil || len(got) > 60_000 {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	if counted.calls > 40_000 {
		t.Fatalf("%d look-ups for one frame", counted.calls)
	}
}

type countingSet struct {
	NegSet
	calls int
}

func (c *countingSet) Sum(ctx context.Context, lo, hi NegKey) ([4]uint64, int, error) {
	c.calls++
	return c.NegSet.Sum(ctx, lo, hi)
}

func TestNegVarintRoundTrips(t *testing.T) {
	for _, v := range []uint64{0, 1, 127, 128, 16383, 16384, 1 << 56, math.MaxUint64} {
		r := negReader{rest: appendNegVarint(nil, v)}
		if got, err := r.varint(); err != nil || got != v || r.more() {
			t.Errorf("%d: %d, %v", v, got, err)
		}
		if v < 1<<55 && !bytes.Equal(appendNegVarint(nil, v), negentropy.EncodeVarInt(int(v))) {
			t.Errorf("%d: not as go-nostr writes it", v)
		}
	}
}

// FuzzNegFrame feeds both sides any bytes: no panic, no frame over its bound,
// and what we answer is always readable.
func FuzzNegFrame(f *testing.F) {
	rng := rand.New(rand.NewPCG(5, 5))
	a, b := parted(rng, 500, 300, true)
	open, err := (&Reconciler{Set: a, Frame: 4096}).Open(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	answer, err := (&Reconciler{Set: b, Frame: 4096}).Answer(f.Context(), open)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(open)
	f.Add(answer)
	f.Add([]byte{0x61, 0, 0, 2, 0})
	f.Fuzz(func(t *testing.T, frame []byte) {
		for _, side := range []func(context.Context, []byte) ([]byte, error){
			(&Reconciler{Set: a, Frame: 4096}).Answer,
			(&Reconciler{Set: b, Frame: 4096}).Follow,
		} {
			got, err := side(t.Context(), frame)
			if err != nil || got == nil {
				continue
			}
			if len(got) > 4096 {
				t.Fatalf("frame of %d bytes", len(got))
			}
			in := negReader{rest: got[1:]}
			for in.more() {
				if _, err := in.next(); err != nil {
					t.Fatal(fmt.Errorf("we wrote %x: %w", got, err))
				}
			}
		}
	})
}
