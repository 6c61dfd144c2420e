package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"agora/relay/store"
	"agora/relay/store/storetest"

	"github.com/nbd-wtf/go-nostr"
)

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not in time: " + what)
		}
	}
}

func TestExpiredEventIsHiddenAtOnceAndSweptSoon(t *testing.T) {
	s := running(t, store.Config{NoSync: true})
	in := func(d int64) nostr.Tag {
		return nostr.Tag{"expiration", strconv.FormatInt(time.Now().Unix()+d, 10)}
	}
	expect(t, appendOutcome(t, s, note(1, 1, 100, 1, in(-1))), store.Expired)
	expect(t, appendOutcome(t, s, note(2, 1, 100, 1, in(1))), store.Stored)
	expect(t, appendOutcome(t, s, note(3, 1, 100, 1, in(3600))), store.Stored)
	eventually(t, "hidden", func() bool { return len(held(t, s, nostr.Filter{})) == 1 })
	if n, err := s.Count(t.Context(), nostr.Filter{Kinds: []int{1}}); n != 1 || err != nil {
		t.Errorf("count %d %v", n, err)
	}
	id, _ := store.ParseID(note(2, 0, 0, 0).ID)
	eventually(t, "swept", func() bool { has, err := s.Has(id); return err == nil && !has })
}

func TestVanishOfAProlificAuthorHidesAtOnceAndRemovesAll(t *testing.T) {
	s := running(t, store.Config{NoSync: true})
	const n = 3500
	w := storetest.NewWorld(1)
	for i := range n {
		ev := w.Event()
		ev.PubKey, ev.Kind, ev.Tags = w.Authors[0], 1, nostr.Tags{{"t", "x"}}
		ev.CreatedAt = nostr.Timestamp(1000 + i)
		if err := s.Submit(t.Context(), storetest.Entry(ev), func(store.Result, error) {}); err != nil {
			t.Fatal(err)
		}
	}
	wrap := note(1, 9, 500, 1059, nostr.Tag{"p", w.Authors[0]})
	expect(t, appendOutcome(t, s, wrap), store.Stored)
	gone := note(2, 0, 1000+n-2, 62, nostr.Tag{"relay", "ALL_RELAYS"})
	gone.PubKey = w.Authors[0]
	expect(t, appendOutcome(t, s, gone), store.Stored)
	// the newest note is younger than the request
	if ids := held(t, s, nostr.Filter{}); len(ids) != 2 {
		t.Errorf("%d events are visible, want the request and the note after it", len(ids))
	}
	settle(t, s)
	st, err := s.Stats()
	if err != nil || st.Events != 2 {
		t.Errorf("%d events held, want 2 (%v)", st.Events, err)
	}
	expect(t, appendOutcome(t, s, wrap), store.Deleted)
	late := note(3, 9, 500, 1059, nostr.Tag{"p", w.Authors[0]})
	expect(t, appendOutcome(t, s, late), store.Stored) // new mail is welcome
}

func TestRetentionDropsByKindAgeAndSizeButNeverRequests(t *testing.T) {
	s := running(t, store.Config{NoSync: true, Retention: store.Retention{Rules: []store.AgeRule{
		{Kinds: []int{7}, MaxAge: time.Hour}, {Kinds: []int{42}}, {MaxAge: 24 * time.Hour},
	}}})
	now := time.Now().Unix()
	for i, ev := range []struct {
		kind int
		age  int64
	}{{7, 7200}, {7, 60}, {1, 7200}, {1, 200000}, {42, 200000}, {5, 200000}, {0, 200000}} {
		expect(t, appendOutcome(t, s, note(byte(i+1), byte(i+1), now-ev.age, ev.kind)), store.Stored)
	}
	eventually(t, "old ones dropped", func() bool { st, _ := s.Stats(); return st.Events == 5 })
	for i, keep := range []bool{false, true, true, false, true, true, true} {
		id, _ := store.ParseID(note(byte(i+1), 0, 0, 0).ID)
		if has, err := s.Has(id); has != keep || err != nil {
			t.Errorf("event %d held: %v, want %v (%v)", i+1, has, keep, err)
		}
	}
	s.SetRetention(store.Retention{MaxBytes: 1})
	eventually(t, "all regular ones dropped", func() bool { st, _ := s.Stats(); return st.Events == 2 })
}

func fill(t *testing.T, s *store.Store, n int) {
	t.Helper()
	w := storetest.NewWorld(5)
	for range n {
		if err := s.Submit(t.Context(), storetest.Entry(w.Event()), func(store.Result, error) {}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.SetMeta(t.Context(), "filled", []byte("yes")); err != nil {
		t.Fatal(err)
	}
	settle(t, s)
}

func TestBackupCompactAndReopenHoldTheSame(t *testing.T) {
	dir := t.TempDir()
	s, err := store.Open(dir, store.Config{NoSync: true, MapSize: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	fill(t, s, 2000)
	want := held(t, s, nostr.Filter{})
	backup := filepath.Join(t.TempDir(), "backup")
	if err := s.Backup(backup); err != nil {
		t.Fatal(err)
	}
	if err := s.Backup(backup); err == nil {
		t.Error("a second backup into the same folder is not refused")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	head := s.Head()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Append(t.Context(), storetest.Entry(note(1, 1, 1, 1))); err == nil {
		t.Error("a closed store takes events")
	}
	before, after, err := store.Compact(dir)
	if err != nil || after > before {
		t.Fatalf("%d -> %d: %v", before, after, err)
	}
	for _, d := range []string{dir, backup} {
		r := runningIn(t, d, store.Config{})
		if got := held(t, r, nostr.Filter{}); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %d events, want %d", d, len(got), len(want))
		}
		if r.Head() != head {
			t.Errorf("head %d, want %d", r.Head(), head)
		}
		if v, err := r.Meta("filled"); string(v) != "yes" || err != nil {
			t.Errorf("meta %q %v", v, err)
		}
		rep, err := r.Check(t.Context(), store.CheckOptions{})
		if err != nil || rep.Bad != 0 || rep.Events != uint64(len(want)) {
			t.Errorf("check: %+v %v", rep, err)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) > 2 {
		t.Errorf("compact left files behind: %v", entries)
	}
}

// LMDB may be open once only in one process: the reader is this program again.
func TestReadOnlyStoreSeesWhatAnotherWrites(t *testing.T) {
	const name = "AGORA_TEST_READ_ONLY"
	if dir := os.Getenv(name); dir != "" {
		readOnly(t, dir)
		return
	}
	dir := t.TempDir()
	s := runningIn(t, dir, store.Config{NoSync: true})
	fill(t, s, 50)
	expect(t, appendOutcome(t, s, note(77, 77, 5000, 1)), store.Stored)
	reader := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestReadOnlyStoreSeesWhatAnotherWrites$", "-test.v")
	reader.Env = append(os.Environ(), name+"="+dir)
	out, err := reader.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if want := fmt.Sprint(s.Head(), held(t, s, nostr.Filter{})); !strings.Contains(string(out), want) {
		t.Errorf("the two read different events: the writer holds\n%s\nthe reader said\n%s", want, out)
	}
}

func readOnly(t *testing.T, dir string) {
	r, err := store.Open(dir, store.Config{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	t.Log(fmt.Sprint(r.Head(), held(t, r, nostr.Filter{})))
	if _, err := r.Append(t.Context(), storetest.Entry(note(78, 1, 1, 1))); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("a read-only store takes events: %v", err)
	}
}

// An old record that is re-sent while its author's queue is full must not
// block others: Submit gives up with its context.
func TestSubmitGivesUpWithItsContext(t *testing.T) {
	s, err := store.Open(t.TempDir(), store.Config{MapSize: 1 << 28}) // Run is never called
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	for i := 0; ; i++ {
		if err := s.Submit(ctx, storetest.Entry(note(byte(i), 1, int64(i), 1)), func(store.Result, error) {}); err != nil {
			break
		}
		if i > 100_000 {
			t.Fatal("the queue has no bound")
		}
	}
}

func TestFullMapRefusesWritesReadsGoOnAndALargerMapTakesThemAgain(t *testing.T) {
	dir, n := t.TempDir(), 0
	t.Run("full", func(t *testing.T) {
		var log bytes.Buffer // read when nothing runs any more
		t.Cleanup(func() {
			if told := strings.Count(log.String(), "the disk is full"); told != 1 {
				t.Errorf("one shortage was told %d times", told)
			}
		})
		s := runningIn(t, dir, store.Config{NoSync: true, MapSize: 1 << 20, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		var failed error
		for i := range 10_000 {
			ev := note(1, byte(i%200), int64(i), 1)
			ev.ID, ev.Content = fmt.Sprintf("%064x", i+1), fmt.Sprintf("%01000d", i)
			if _, failed = s.Append(t.Context(), storetest.Entry(ev)); failed != nil {
				break
			}
			n++
		}
		if failed == nil {
			t.Fatal("a map of 1 MiB holds 10 MB")
		}
		for i := range 5 {
			big := note(1, 240, int64(i), 1)
			big.ID, big.Content = fmt.Sprintf("%064x", 1<<21+i), strings.Repeat("x", 100_000)
			if _, err := s.Append(t.Context(), storetest.Entry(big)); err == nil {
				t.Error("100 kB more went in")
			}
		}
		if got := len(held(t, s, nostr.Filter{})); got != n || n < 100 {
			t.Errorf("%d events readable, want %d", got, n)
		}
	})
	s := runningIn(t, dir, store.Config{NoSync: true, MapSize: 4 << 20})
	more := note(1, 250, 99, 1)
	more.ID = fmt.Sprintf("%064x", 1<<20)
	expect(t, appendOutcome(t, s, more), store.Stored)
	rep, err := s.Check(t.Context(), store.CheckOptions{})
	if err != nil || rep.Bad != 0 || rep.Events != uint64(n)+1 {
		t.Errorf("%+v %v", rep, err)
	}
}

func TestClosedStoreAnswersInsteadOfCrashing(t *testing.T) {
	s, err := store.Open(t.TempDir(), store.Config{MapSize: 1 << 28})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Has(store.ID{}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("has: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}
