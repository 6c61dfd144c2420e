package personhood

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"agora/personhood/semaphore"
)

// sixtyFour are proofs made in JavaScript, of 64 people.
func sixtyFour(t testing.TB) (items []semaphore.Item) {
	t.Helper()
	raw, err := os.ReadFile("semaphore/testdata/semaphore-v4-js.json")
	if err != nil {
		t.Fatal(err)
	}
	var v struct{ Batch []json.RawMessage }
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	for _, one := range v.Batch {
		s, p, err := semaphore.ParseJSON(one)
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, semaphore.Item{Statement: s, Proof: p})
	}
	return items
}

func runBatcher(t testing.TB) *Batcher {
	t.Helper()
	b := NewBatcher()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended with %v", err)
		}
	})
	return b
}

// all asks for every item at once and returns the verdicts.
func all(t testing.TB, b *Batcher, who func(int) string, items []semaphore.Item) []error {
	verdicts := make([]error, len(items))
	var wg sync.WaitGroup
	for i := range items {
		wg.Go(func() { verdicts[i] = b.Verify(t.Context(), who(i), items[i]) })
	}
	wg.Wait()
	return verdicts
}

func TestProofsThatComeTogetherAreCheckedTogether(t *testing.T) {
	b, items := runBatcher(t), sixtyFour(t)
	for i, err := range all(t, b, func(i int) string { return fmt.Sprint(i) }, items) {
		if err != nil {
			t.Errorf("proof %d: %v", i, err)
		}
	}
	if s := b.Stats(); s.Proofs != 64 || s.Batches > 16 || s.False+s.Alone != 0 {
		t.Errorf("%+v", s)
	}
}

func TestOneFalseProofIsNamedAndTheOthersPass(t *testing.T) {
	b, items := runBatcher(t), sixtyFour(t)
	items[40].Statement.Message[0] ^= 1
	for i, err := range all(t, b, func(i int) string { return fmt.Sprint(i) }, items) {
		if errors.Is(err, semaphore.ErrProof) != (i == 40) || (i != 40 && err != nil) {
			t.Errorf("proof %d: %v", i, err)
		}
	}
	if b.spoiler("40") == nil || b.spoiler("39") != nil {
		t.Error("the wrong one is remembered")
	}
}

func TestFloodOfFalseProofsIsHalvedOnceThenAloneAndSlow(t *testing.T) {
	b, items := runBatcher(t), sixtyFour(t)
	bad := append([]semaphore.Item(nil), items...)
	for i := range bad {
		bad[i].Statement.Scope[7] ^= 1
	}
	for i, err := range all(t, b, func(int) string { return "flood" }, bad[:16]) {
		if !errors.Is(err, semaphore.ErrProof) {
			t.Fatalf("proof %d: %v", i, err)
		}
	}
	before := b.Stats()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	began := time.Now()
	var wg sync.WaitGroup
	for i := range bad {
		wg.Go(func() { _ = b.Verify(ctx, "flood", bad[i]) })
	}
	for i, err := range all(t, b, func(i int) string { return fmt.Sprint("honest", i) }, items[:32]) {
		if err != nil {
			t.Errorf("honest %d: %v", i, err)
		}
	}
	for b.Stats().Alone-before.Alone < 2 {
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	wg.Wait()
	after := b.Stats()
	most := uint64(2) // after 100, 300, 700 ms …
	for wait, sum := firstDelay, firstDelay; sum < time.Since(began); most++ {
		wait = min(2*wait, mostDelay)
		sum += wait
	}
	if n := after.Alone - before.Alone; n > most {
		t.Errorf("%d of the flood's 64 proofs were checked in %s", n, time.Since(began))
	}
	if after.Proofs-before.Proofs != 32 {
		t.Errorf("%d proofs went into batches, want the 32 honest ones", after.Proofs-before.Proofs)
	}
}

func TestSpoilerIsForgivenAfterGoodProofs(t *testing.T) {
	b, items := runBatcher(t), sixtyFour(t)
	bad := items[0]
	bad.Statement.Scope[7] ^= 1
	if err := b.Verify(t.Context(), "x", bad); !errors.Is(err, semaphore.ErrProof) {
		t.Fatal(err)
	}
	for i := range redeemed {
		if b.spoiler("x") == nil {
			t.Fatalf("forgiven after %d", i)
		}
		if err := b.Verify(t.Context(), "x", items[i]); err != nil {
			t.Fatal(err)
		}
	}
	if b.spoiler("x") != nil {
		t.Error("never forgiven")
	}
}

func TestSpoilersAreBounded(t *testing.T) {
	b := NewBatcher()
	for i := range 2 * mostSpoiler {
		b.suspect(fmt.Sprint(i))
	}
	if len(b.spoilers) != mostSpoiler {
		t.Errorf("%d are remembered", len(b.spoilers))
	}
}

func TestStoppedBatcherAnswersAndLeavesNobodyWaiting(t *testing.T) {
	b, items := NewBatcher(), sixtyFour(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	asked := make(chan error, 1)
	go func() { asked <- b.Verify(t.Context(), "", items[0]) }()
	for len(b.asked) == 0 {
		time.Sleep(time.Millisecond)
	}
	_ = b.Run(ctx)
	select {
	case <-asked: // checked or told that nobody checks
	case <-time.After(time.Minute):
		t.Fatal("left waiting")
	}
	late, stop := context.WithTimeout(t.Context(), time.Second)
	defer stop()
	if err := b.Verify(late, "", items[0]); err == nil || errors.Is(err, semaphore.ErrProof) {
		t.Errorf("after the end: %v", err)
	}
}

func BenchmarkBatcher(b *testing.B) {
	batcher, items := runBatcher(b), sixtyFour(b)
	work := make(chan int)
	var wg sync.WaitGroup
	for range 256 {
		wg.Go(func() {
			for i := range work {
				if err := batcher.Verify(b.Context(), "", items[i%64]); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for i := 0; b.Loop(); i++ {
		work <- i
	}
	close(work)
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "proofs/s")
}
