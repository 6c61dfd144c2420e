package store

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// setEvent makes an entry with a random id; the store checks no signature.
func setEvent(rng *rand.Rand, created int64, kind int) Entry {
	id := make([]byte, 32)
	for i := range id {
		id[i] = byte(rng.Uint32())
	}
	if rng.IntN(8) == 0 { // ids alike, and zeros at the end
		clear(id[:rng.IntN(20)])
		clear(id[24+rng.IntN(8):])
	}
	ev := &nostr.Event{
		ID: hex.EncodeToString(id), PubKey: strings.Repeat("ab", 32), CreatedAt: nostr.Timestamp(created),
		Kind: kind, Tags: nostr.Tags{}, Sig: strings.Repeat("cd", 64),
	}
	json := fmt.Sprintf(`{"id":"%s","pubkey":"%s","created_at":%d,"kind":%d,"tags":[],"content":"","sig":"%s"}`,
		ev.ID, ev.PubKey, created, kind, ev.Sig)
	return Entry{Event: ev, JSON: []byte(json)}
}

// runSets opens a store in dir, runs it and returns what stops it.
func runSets(t testing.TB, dir string, cfg Config) (*Store, func()) {
	t.Helper()
	cfg.MapSize, cfg.NoSync = 1<<33, true
	s, err := Open(dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1) // the error of Run
	go func() { ended <- s.Run(ctx) }()
	return s, func() {
		cancel()
		if err := errors.Join(<-ended, s.Close()); err != nil {
			t.Error(err)
		}
	}
}

func appendAll(t testing.TB, s *Store, entries []Entry) {
	t.Helper()
	answers := make(chan error, 64) // one per entry; when full the committer waits for this test
	go func() {
		for _, e := range entries {
			err := s.Submit(context.Background(), e, func(r Result, err error) {
				if err == nil && r.Outcome != Stored {
					err = fmt.Errorf("%s: %s", e.Event.ID, r.Outcome)
				}
				answers <- err
			})
			if err != nil {
				answers <- err
			}
		}
	}()
	for range entries {
		if err := <-answers; err != nil {
			t.Fatal(err)
		}
	}
}

// readySet waits until the set of f is built.
func readySet(t testing.TB, s *Store, f nostr.Filter) *Set {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		set, err := s.ReadySet(f)
		if err != nil {
			t.Fatal(err)
		}
		if set != nil {
			return set
		}
	}
	t.Fatalf("the set of %s is not getting ready", f)
	return nil
}

func keyOf(e Entry) setKey {
	id, _ := ParseID(e.Event.ID)
	return makeSetKey(int64(e.Event.CreatedAt), id)
}

// plainSet is the model: the keys of the entries that belong, sorted.
func plainSet(held []Entry, f nostr.Filter) []setKey {
	var keys []setKey
	for _, e := range held {
		if e.Event.Kind != 1059 && f.Matches(e.Event) {
			keys = append(keys, keyOf(e))
		}
	}
	slices.SortFunc(keys, compareSetKeys)
	return keys
}

// randomBound is a key of the set, beside one, or anything at all.
func randomBound(rng *rand.Rand, keys []setKey) setKey {
	if len(keys) == 0 || rng.IntN(10) == 0 {
		return []setKey{{}, setEnd(), makeSetKey(1_000+rng.Int64N(300), ID{byte(rng.Uint32())})}[rng.IntN(3)]
	}
	k := keys[rng.IntN(len(keys))]
	switch rng.IntN(4) {
	case 0:
		clear(k[8+rng.IntN(33):])
	case 1:
		k = after(k)
	case 2:
		k = before(k)
	}
	return k
}

func checkSet(t *testing.T, rng *rand.Rand, set *Set, keys []setKey) {
	t.Helper()
	for range 60 {
		lo, hi := randomBound(rng, keys), randomBound(rng, keys)
		from, to := rank(keys, lo), rank(keys, hi)
		part := keys[from:max(from, to)]
		var want [4]uint64
		for _, k := range part {
			want = addSum(want, idSum(&k))
		}
		sum, n, err := set.Sum(t.Context(), lo, hi)
		if err != nil || n != len(part) || sum != want {
			t.Fatalf("Sum(%x, %x) = %v of %d, %v; want %v of %d", lo, hi, sum, n, err, want, len(part))
		}
		limit := 1 + rng.IntN(1500)
		got, err := set.Keys(t.Context(), lo, hi, limit)
		if err != nil || !slices.Equal(got, part[:min(limit, len(part))]) {
			t.Fatalf("Keys(%x, %x, %d): %d keys, %v; want %d", lo, hi, limit, len(got), err, len(part))
		}
		k := 1 + rng.IntN(len(keys)+2)
		at, err := set.Cut(t.Context(), lo, k)
		if err != nil {
			t.Fatal(err)
		}
		cut := rank(keys, at) - from
		switch {
		case from+k >= len(keys) && at == setEnd():
		case !setBefore(&lo, &at) || cut < 1 || cut > k || cut <= k/2 && from+k < len(keys) || k < blockMin && cut < k/2:
			t.Fatalf("Cut(%x, %d) = %x, which is %d keys away of %d", lo, k, at, cut, len(keys)-from)
		}
	}
}

func TestSetsEqualAPlainVectorUnderInsertsAndRemovals(t *testing.T) {
	for seed := range uint64(6) {
		rng := rand.New(rand.NewPCG(seed, 9))
		filter := nostr.Filter{Kinds: []int{1, 7}}
		dir := t.TempDir()
		s, stop := runSets(t, dir, Config{Sets: []nostr.Filter{filter}})
		readySet(t, s, filter)
		seconds := []int64{1, 300, 100_000}[seed%3]
		var held []Entry
		kept := [2]*Set{readySet(t, s, nostr.Filter{}), readySet(t, s, filter)} // one handle over many commits
		for round := range 8 {
			var fresh []Entry
			for range rng.IntN(4000) {
				kind := []int{1, 7, 1, 4, 1059}[rng.IntN(5)]
				fresh = append(fresh, setEvent(rng, 1_000+rng.Int64N(seconds), kind))
			}
			appendAll(t, s, fresh)
			held = append(held, fresh...)
			rng.Shuffle(len(held), func(i, j int) { held[i], held[j] = held[j], held[i] })
			gone := rng.IntN(len(held)/(1+rng.IntN(4)) + 1)
			var ids []ID
			for _, e := range held[:gone] {
				id, _ := ParseID(e.Event.ID)
				ids = append(ids, id)
			}
			held = held[gone:]
			if n, err := s.Remove(t.Context(), ids, false); err != nil || n != gone {
				t.Fatalf("removed %d of %d: %v", n, gone, err)
			}
			if round == 4 { // all that is known must survive a restart
				stop()
				s, stop = runSets(t, dir, Config{Sets: []nostr.Filter{filter}})
			}
			for i, f := range []nostr.Filter{{}, filter} {
				if round == 4 {
					set, err := s.ReadySet(f)
					if set == nil || err != nil {
						t.Fatalf("after a restart the set of %s is not ready at once: %v", f, err)
					}
					kept[i] = set
				}
				checkSet(t, rng, kept[i], plainSet(held, f))
				since, until := nostr.Timestamp(1_000+rng.Int64N(seconds)), nostr.Timestamp(1_000+rng.Int64N(seconds))
				f.Since, f.Until = &since, &until
				if since <= until {
					checkSet(t, rng, readySet(t, s, f), plainSet(held, f))
				}
			}
			checkBlocks(t, s)
		}
		stop()
	}
}

// checkBlocks looks at the sizes of the blocks of every set.
func checkBlocks(t *testing.T, s *Store) {
	t.Helper()
	err := s.view(s.sets.check)
	if err != nil {
		t.Fatal(err)
	}
}

func TestSetsAreBuiltFromALogThatIsAlreadyThere(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 4))
	dir := t.TempDir()
	s, stop := runSets(t, dir, Config{})
	var held []Entry
	for range 7000 {
		held = append(held, setEvent(rng, 1_000+rng.Int64N(50), []int{1, 3333, 1059}[rng.IntN(3)]))
	}
	appendAll(t, s, held)
	stop()
	old, fresh := nostr.Filter{Kinds: []int{1059, 1}}, nostr.Filter{Kinds: []int{3333}}
	s, stop = runSets(t, dir, Config{Sets: []nostr.Filter{old}})
	more := func() []Entry {
		var list []Entry
		for range 500 {
			list = append(list, setEvent(rng, 1_000+rng.Int64N(50), []int{1, 3333, 1059}[rng.IntN(3)]))
		}
		return list
	}
	entries := more() // while it is being built
	appendAll(t, s, entries)
	held = append(held, entries...)
	checkSet(t, rng, readySet(t, s, old), plainSet(held, old))
	stop()
	s, stop = runSets(t, dir, Config{Sets: []nostr.Filter{fresh}})
	defer stop()
	entries = more()
	appendAll(t, s, entries)
	held = append(held, entries...)
	checkSet(t, rng, readySet(t, s, fresh), plainSet(held, fresh))
	checkSet(t, rng, readySet(t, s, nostr.Filter{}), plainSet(held, nostr.Filter{}))
	if set, err := s.ReadySet(old); set != nil || err != nil {
		t.Errorf("a set that is no longer configured is still served: %v", err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if rows := countRows(t, s, 2); rows == 0 {
			break
		} else if time.Now().After(end) {
			t.Fatalf("%d rows of the old set are left", rows)
		}
	}
	checkBlocks(t, s)
}

func countRows(t *testing.T, s *Store, n uint16) (rows int) {
	t.Helper()
	prefix := setRow(n, setKey{})[:2]
	txn, err := s.begin()
	if err != nil {
		t.Fatal(err)
	}
	defer s.end(txn)
	count := func(k []byte) bool {
		if bytes.HasPrefix(k, prefix) {
			rows++
		}
		return true
	}
	if err := errors.Join(eachKey(txn, s.t.set, prefix, count), eachKey(txn, s.t.setitem, prefix, count)); err != nil {
		t.Fatal(err)
	}
	return rows
}

func TestWrappedMessagesAreInNoSet(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	all := nostr.Filter{Kinds: []int{1, 1059}}
	s, stop := runSets(t, t.TempDir(), Config{Sets: []nostr.Filter{all}})
	defer stop()
	appendAll(t, s, []Entry{setEvent(rng, 5, 1), setEvent(rng, 6, 1059), setEvent(rng, 7, 1)})
	for _, f := range []nostr.Filter{{}, all} {
		if _, n, err := readySet(t, s, f).Sum(t.Context(), setKey{}, setEnd()); n != 2 || err != nil {
			t.Errorf("%s: %d events, %v", f, n, err)
		}
		keys, err := readySet(t, s, f).Keys(t.Context(), setKey{}, setEnd(), 10)
		if err != nil || len(keys) != 2 || keys[0][7] != 5 || keys[1][7] != 7 {
			t.Errorf("%s: %x, %v", f, keys, err)
		}
	}
}

func TestOnlyReadyFiltersHaveASet(t *testing.T) {
	kinds := nostr.Filter{Kinds: []int{7, 1}, Tags: nostr.TagMap{"t": {"b", "a"}}}
	s, stop := runSets(t, t.TempDir(), Config{Sets: []nostr.Filter{kinds}})
	defer stop()
	readySet(t, s, kinds)
	readySet(t, s, nostr.Filter{Kinds: []int{1, 7, 1}, Tags: nostr.TagMap{"t": {"a", "b"}}})
	for _, f := range []nostr.Filter{
		{Kinds: []int{1}}, {Limit: 5}, {LimitZero: true}, {Search: "x"}, {Kinds: []int{}},
		{Kinds: []int{1, 7}, Tags: nostr.TagMap{"t": {"a"}}}, {Authors: []string{strings.Repeat("a", 64)}},
	} {
		if set, err := s.ReadySet(f); set != nil || err != nil {
			t.Errorf("%s: %v, %v", f, set, err)
		}
	}
	if _, err := Open(t.TempDir(), Config{MapSize: 1 << 30, Sets: []nostr.Filter{{Limit: 1}}}); err == nil {
		t.Error("a set with a limit was accepted")
	}
}

func TestCheckNamesASetThatDisagreesWithTheLog(t *testing.T) {
	rng := rand.New(rand.NewPCG(6, 6))
	s, stop := runSets(t, t.TempDir(), Config{})
	defer stop()
	readySet(t, s, nostr.Filter{})
	appendAll(t, s, []Entry{setEvent(rng, 5, 1), setEvent(rng, 6, 1059)})
	if rep, err := s.Check(t.Context(), CheckOptions{}); err != nil || rep.Bad != 0 {
		t.Fatalf("%+v, %v", rep, err)
	}
	err := s.do(t.Context(), func(w *writer) error { return s.sets.putBlock(w.txn, 1, setKey{}, block{n: 1, hidden: 1}) })
	if err != nil {
		t.Fatal(err)
	}
	rep, err := s.Check(t.Context(), CheckOptions{})
	if err != nil || rep.Bad != 1 || !strings.Contains(rep.Problems[0], "set 1 of {}") {
		t.Errorf("%+v, %v", rep, err)
	}
}

// BenchmarkSetFirstSplit is what the first frame over the whole set costs:
// sums of 16 parts and the bounds between them.
func BenchmarkSetFirstSplit(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 1))
	s, stop := runSets(b, b.TempDir(), Config{})
	defer stop()
	const events = 200_000
	for range events / 10_000 {
		var list []Entry
		for range 10_000 {
			list = append(list, setEvent(rng, 1_600_000_000+rng.Int64N(50_000_000), 1))
		}
		appendAll(b, s, list)
	}
	whole := readySet(b, s, nostr.Filter{})
	for b.Loop() {
		set := *whole
		s.sets.rows = map[uint16]*setRows{} // as after a commit
		lo := setKey{}
		for range 15 {
			at, err := set.Cut(b.Context(), lo, events/16)
			if err != nil {
				b.Fatal(err)
			}
			if _, n, err := set.Sum(b.Context(), lo, at); err != nil || n < events/17 || n > events/15 {
				b.Fatal(n, err)
			}
			lo = at
		}
	}
}
