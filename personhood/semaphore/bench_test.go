//go:build !js

package semaphore

import (
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
)

// cpuMeter reports CPU time beside wall time, which other programs disturb.
type cpuMeter struct {
	b     *testing.B
	began time.Duration
}

func startCPU(b *testing.B) cpuMeter { return cpuMeter{b, cpuTime(b)} }

func cpuTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// report says how much CPU each of the things of one round took.
func (c cpuMeter) report(things int) {
	spent := (cpuTime(c.b) - c.began).Seconds() * 1000
	c.b.ReportMetric(spent/float64(c.b.N*things), "cpu-ms/each")
}

func BenchmarkHash(b *testing.B) {
	x, y := fr.NewElement(1), fr.NewElement(2)
	b.ReportAllocs()
	cpu := startCPU(b)
	for b.Loop() {
		x = Hash(x, y)
	}
	cpu.report(1)
}

func BenchmarkTreeOf100000AtOnce(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	leaves := make([]Element, 100_000)
	for i := range leaves {
		leaves[i] = random(r)
	}
	cpu := startCPU(b)
	for b.Loop() {
		if _, err := NewTree(leaves); err != nil {
			b.Fatal(err)
		}
	}
	cpu.report(1)
}

func BenchmarkVerifyOne(b *testing.B) {
	v, it := NewVerifier(), parsed(b, readVectors(b).Proofs[4])
	compact := it.Proof.Compact()
	b.ReportAllocs()
	cpu := startCPU(b)
	for b.Loop() {
		p, err := ParseCompact(compact[:])
		if err != nil || v.Verify(it.Statement, p) != nil {
			b.Fatal("a good proof was refused")
		}
	}
	cpu.report(1)
}

func BenchmarkVerifyBatchOf64(b *testing.B) {
	v, items := NewVerifier(), batch64(b)
	var compact [64][CompactSize]byte
	for i := range items {
		compact[i] = items[i].Proof.Compact()
	}
	b.ReportAllocs()
	cpu := startCPU(b)
	for b.Loop() {
		for i := range items {
			var err error
			if items[i].Proof, err = ParseCompact(compact[i][:]); err != nil {
				b.Fatal(err)
			}
		}
		for _, err := range v.VerifyBatch(items) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	cpu.report(64)
}

func BenchmarkNewProver(b *testing.B) {
	cpu := startCPU(b)
	for b.Loop() {
		p, err := NewProver(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		_ = p.Close(b.Context())
	}
	cpu.report(1)
}

func BenchmarkProve(b *testing.B) {
	p, tree := newProver(b), group(b)
	way, _ := tree.Prove(5)
	cpu := startCPU(b)
	for b.Loop() {
		if _, _, err := p.Prove(b.Context(), member(5), way, [32]byte{1}, [32]byte{2}); err != nil {
			b.Fatal(err)
		}
	}
	cpu.report(1)
}
