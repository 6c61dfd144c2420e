package foreign

import (
	"context"
	"errors"
	"io"
	"log"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"agora/relay/admit"
	"agora/relay/store"
	"agora/relay/store/storetest"
	"agora/relay/wire"

	"github.com/dgraph-io/badger/v4"
	"github.com/fiatjaf/eventstore"
	badgerstore "github.com/fiatjaf/eventstore/badger"
	lmdbstore "github.com/fiatjaf/eventstore/lmdb"
	"github.com/fiatjaf/eventstore/slicestore"
	"github.com/fiatjaf/eventstore/sqlite3"
	"github.com/nbd-wtf/go-nostr"
)

var _ storetest.Store = (*Log)(nil)

// TestMain keeps the backends, which print, from burying what fails.
func TestMain(m *testing.M) {
	log.SetOutput(io.Discard)
	os.Exit(m.Run())
}

// backends are the stores Log is tried on, opened in a directory.
func backends() map[string]func(dir string) eventstore.Store {
	return map[string]func(dir string) eventstore.Store{
		"slicestore": func(string) eventstore.Store { return &slicestore.SliceStore{} },
		"sqlite3": func(dir string) eventstore.Store {
			return &sqlite3.SQLite3Backend{DatabaseURL: filepath.Join(dir, "events.db") + "?_sync=OFF", QueryLimit: 500}
		},
		"lmdb": func(dir string) eventstore.Store {
			return &lmdbstore.LMDBBackend{Path: filepath.Join(dir, "lmdb"), MapSize: 1 << 30, MaxLimit: 500}
		},
		"badger": func(dir string) eventstore.Store {
			return &badgerstore.BadgerBackend{Path: filepath.Join(dir, "badger"), MaxLimit: 500,
				BadgerOptionsModifier: func(o badger.Options) badger.Options {
					return o.WithLogger(nil).WithMemTableSize(8 << 20).WithNumMemtables(2).WithValueLogFileSize(16 << 20)
				}}
		},
	}
}

// running opens a Log over a backend in a directory and runs it until stop,
// or the test's end.
func running(t testing.TB, open func(string) eventstore.Store, dir string, page int) (l *Log, stop func()) {
	t.Helper()
	es := open(dir)
	if err := es.Init(); err != nil {
		t.Fatal(err)
	}
	l, err := New(Config{Store: es, Encode: wire.AppendEvent, Graves: filepath.Join(dir, "graves"), Page: page})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1) // one error, sent when Run returns
	go func() { ended <- l.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		es.Close()
	}
	t.Cleanup(stop)
	return l, stop
}

func TestForeignStoresConform(t *testing.T) {
	for _, name := range []string{"slicestore", "sqlite3"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t *testing.T) storetest.Store {
				l, _ := running(t, backends()[name], t.TempDir(), 0)
				return l
			}, nil)
		})
	}
}

// TestShortIDStoresConform is the suite's first half for the backends that
// know an id by eight bytes: those of its events that share them are refused,
// and left out of the model.
func TestShortIDStoresConform(t *testing.T) {
	for _, name := range []string{"lmdb", "badger"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			refused := 0
			for seed := range uint64(2) {
				l, _ := running(t, backends()[name], t.TempDir(), 0)
				refused += equalsModel(t, l, storetest.NewWorld(seed), 400)
			}
			if refused == 0 {
				t.Error("no two ids shared their first bytes: the refusal was not tried")
			}
		})
	}
}

// TestAnswersDoNotDependOnThePage asks in pages so small that every answer
// takes several, and seconds span them.
func TestAnswersDoNotDependOnThePage(t *testing.T) {
	for name, open := range backends() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, _ := running(t, open, t.TempDir(), 40)
			equalsModel(t, l, storetest.NewWorld(5), 300)
		})
	}
}

func equalsModel(t *testing.T, l *Log, w *storetest.World, steps int) (refused int) {
	t.Helper()
	m := storetest.NewModel()
	for step := range steps {
		ev := w.Event()
		got, err := l.Append(t.Context(), storetest.Entry(ev))
		if errors.Is(err, ErrUnsupported) {
			refused++
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if want := m.Append(ev, true); got.Outcome != want {
			t.Fatalf("step %d: kind %d is %v, the model says %v", step, ev.Kind, got.Outcome, want)
		}
		if step%4 != 3 {
			continue
		}
		f := w.Filter()
		if got, want := storetest.IDs(t, l.Query(t.Context(), f)), idsOf(m.Query(f)); !slices.Equal(got, want) {
			t.Fatalf("step %d: %v:\n got %v\nwant %v", step, f, got, want)
		}
	}
	return refused
}

func idsOf(events []*nostr.Event) (ids []string) {
	for _, ev := range events {
		ids = append(ids, ev.ID)
	}
	return ids
}

// signed is a real event.
func signed(t testing.TB, secret string, kind int, at nostr.Timestamp, content string, tags ...nostr.Tag) *nostr.Event {
	t.Helper()
	ev := &nostr.Event{Kind: kind, CreatedAt: at, Content: content, Tags: append(nostr.Tags{}, tags...)}
	if err := ev.Sign(secret); err != nil {
		t.Fatal(err)
	}
	return ev
}

func put(t testing.TB, l *Log, ev *nostr.Event, want store.Outcome) {
	t.Helper()
	res, err := l.Append(t.Context(), storetest.Entry(ev))
	if err != nil || res.Outcome != want {
		t.Fatalf("kind %d is %v (%v), want %v", ev.Kind, res.Outcome, err, want)
	}
}

func TestForeignRecordsComeBackByteForByte(t *testing.T) {
	for name, open := range backends() {
		t.Run(name, func(t *testing.T) {
			l, _ := running(t, open, t.TempDir(), 0)
			ev := signed(t, nostr.GeneratePrivateKey(), 1, 1700000000, "tab\t \"quoted\" \\ é 漢字 <&>",
				nostr.Tag{"t"}, nostr.Tag{"x", "", "third"}, nostr.Tag{"-"}, nostr.Tag{"e", "not hex"}, nostr.Tag{"emoji", "🤙"})
			put(t, l, ev, store.Stored)
			want := wire.AppendEvent(nil, ev)
			for rec, err := range l.Query(t.Context(), nostr.Filter{}) {
				if err != nil || string(rec.JSON) != string(want) {
					t.Errorf("%v\n got %s\nwant %s", err, rec.JSON, want)
				}
			}
		})
	}
}

func TestWhatMayNotComeBackStaysAwayAfterARestart(t *testing.T) {
	for name, open := range backends() {
		if name == "slicestore" { // it forgets
			continue
		}
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			l, stop := running(t, open, dir, 0)
			alice, bob := nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey()
			alicePub, _ := nostr.GetPublicKey(alice)
			deleted := signed(t, alice, 1, 2000, "deleted before it vanished")
			late := signed(t, alice, 1, 9000, "deleted by a request that vanished")
			wrap := signed(t, bob, 1059, 5000, "for alice", nostr.Tag{"p", alicePub})
			banned := signed(t, bob, 1, 3000, "banned")
			put(t, l, deleted, store.Stored)
			put(t, l, wrap, store.Stored)
			put(t, l, banned, store.Stored)
			put(t, l, signed(t, alice, 5, 2500, "", nostr.Tag{"e", deleted.ID}, nostr.Tag{"e", late.ID}), store.Stored)
			put(t, l, deleted, store.Deleted)
			request := signed(t, alice, 62, 4000, "", nostr.Tag{"relay", "ALL_RELAYS"})
			put(t, l, request, store.Stored)
			if n, err := l.Remove(t.Context(), []store.ID{idOf(t, request)}, false); n != 1 || err != nil {
				t.Fatal(n, err) // what it said goes on counting
			}
			if n, err := l.Remove(t.Context(), []store.ID{idOf(t, banned)}, true); n != 1 || err != nil {
				t.Fatal(n, err)
			}
			for range 2 {
				put(t, l, deleted, store.Vanished)
				put(t, l, late, store.Deleted)
				put(t, l, wrap, store.Deleted)
				put(t, l, banned, store.Deleted)
				stop()
				l, stop = running(t, open, dir, 0)
			}
			if err := l.Unban(t.Context(), []store.ID{idOf(t, banned)}); err != nil {
				t.Fatal(err)
			}
			put(t, l, banned, store.Stored)
			put(t, l, signed(t, alice, 1, 4001, "newer events are welcome"), store.Stored)
		})
	}
}

func idOf(t testing.TB, ev *nostr.Event) store.ID {
	t.Helper()
	id, err := store.ParseID(ev.ID)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestForeignLogRefusesWhatItCannotKeep(t *testing.T) {
	l, _ := running(t, backends()["slicestore"], t.TempDir(), 0)
	secret := nostr.GeneratePrivateKey()
	claim := storetest.Entry(signed(t, secret, 1, 1, ""), admit.Claim{Key: []byte("k"), Rule: admit.First})
	label := storetest.Entry(signed(t, secret, 1, 2, ""))
	label.Labels = []admit.Label{{Namespace: "n", Value: "v"}}
	elsewhere := storetest.Entry(signed(t, secret, 62, 3, ""))
	elsewhere.Vanish = false
	for name, e := range map[string]store.Entry{
		"claim": claim, "label": label, "vanish from elsewhere": elsewhere,
		"far future": storetest.Entry(signed(t, secret, 1, 1<<33, "")),
		"content":    storetest.Entry(signed(t, secret, 1, 4, strings.Repeat("x", 70_000))),
	} {
		if _, err := l.Append(t.Context(), e); !errors.Is(err, ErrUnsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
	put(t, l, signed(t, secret, 1, 5, "", nostr.Tag{"expiration", "6"}), store.Expired)
	if n, err := l.Count(t.Context(), nostr.Filter{}); n != 0 || err != nil {
		t.Errorf("%d refused events are held (%v)", n, err)
	}
}

func TestPositionsBeginAnewAndSayWhatTheyForgot(t *testing.T) {
	dir := t.TempDir()
	l, stop := running(t, backends()["sqlite3"], dir, 0)
	secret := nostr.GeneratePrivateKey()
	put(t, l, signed(t, secret, 1, 1, "before"), store.Stored)
	stop()
	l, _ = running(t, backends()["sqlite3"], dir, 0)
	if l.Head() != 1 {
		t.Errorf("head is %d, want 1: all that was there before", l.Head())
	}
	changes := func(after store.Pos) (n int, err error) {
		for _, err := range l.Changes(t.Context(), after) {
			if err != nil {
				return n, err
			}
			n++
		}
		return n, nil
	}
	if _, err := changes(0); !errors.Is(err, store.ErrTrimmed) {
		t.Errorf("changes from before the process: %v", err)
	}
	l.remember = 8
	for i := range 40 {
		put(t, l, signed(t, secret, 1, nostr.Timestamp(10+i), "after"), store.Stored)
	}
	if _, err := changes(1); !errors.Is(err, store.ErrTrimmed) {
		t.Errorf("changes that were forgotten: %v", err)
	}
	if n, err := changes(l.Head() - 8); n != 8 || err != nil {
		t.Errorf("%d of the last 8 changes (%v)", n, err)
	}
	if len(l.at) > 12 || len(l.changes) > 12 {
		t.Errorf("%d positions and %d changes are remembered", len(l.at), len(l.changes))
	}
	old := len(storetest.IDs(t, l.QueryAt(t.Context(), l.Head()-1, nostr.Filter{})))
	if old != 40 {
		t.Errorf("a query at the position before the last gives %d events, want 40", old)
	}
}

func TestSubmitAfterTheEndIsRefused(t *testing.T) {
	l, stop := running(t, backends()["slicestore"], t.TempDir(), 0)
	stop()
	if _, err := l.Append(t.Context(), storetest.Entry(signed(t, nostr.GeneratePrivateKey(), 1, 1, ""))); !errors.Is(err, store.ErrClosed) {
		t.Errorf("after the end: %v", err)
	}
}

func TestDamagedGravesStopTheStart(t *testing.T) {
	name := filepath.Join(t.TempDir(), "graves")
	whole := "ban " + strings.Repeat("a", 64) + "\n"
	for text, want := range map[string]bool{whole: true, whole + "ban aaaa": true, whole + "ban xyz\n": false, "dance\n": false} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		g, err := openGraves(name)
		if (err == nil) != want {
			t.Errorf("%q: %v", text, err)
		}
		if err == nil {
			_ = g.dig("unban " + strings.Repeat("a", 64))
			_ = g.close()
			if again, err := openGraves(name); err != nil || len(again.banned) != 0 {
				t.Errorf("%q: a line after a torn one was lost: %v", text, err)
			}
		}
	}
}

// stuck is a store whose next question waits for a word.
type stuck struct {
	eventstore.Store
	asked, word chan struct{}
	on          atomic.Bool
}

func (s *stuck) QueryEvents(ctx context.Context, f nostr.Filter) (chan *nostr.Event, error) {
	if s.on.CompareAndSwap(true, false) {
		close(s.asked)
		<-s.word
	}
	return s.Store.QueryEvents(ctx, f)
}

// TestARemovalNobodyWaitsForTouchesNoResult is for the race detector: the
// writer goes on after the caller has left.
func TestARemovalNobodyWaitsForTouchesNoResult(t *testing.T) {
	s := &stuck{Store: &slicestore.SliceStore{}, asked: make(chan struct{}), word: make(chan struct{})}
	l, _ := running(t, func(string) eventstore.Store { return s }, t.TempDir(), 100)
	ev := signed(t, nostr.GeneratePrivateKey(), 1, 1700000000, "to go")
	put(t, l, ev, store.Stored)
	s.on.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { // ends when the writer has asked
		<-s.asked
		cancel()
		close(s.word)
	}()
	n, err := l.Remove(ctx, []store.ID{idOf(t, ev)}, false)
	if inTime := n == 1 && err == nil; !inTime && (n != 0 || !errors.Is(err, context.Canceled)) {
		t.Errorf("called off: %d, %v", n, err)
	}
	if n, err := l.Remove(t.Context(), []store.ID{idOf(t, ev)}, false); n != 0 || err != nil {
		t.Errorf("what was called off was done all the same: %d left to remove, %v", n, err)
	}
}
