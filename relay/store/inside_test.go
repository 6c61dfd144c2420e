package store

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"agora/relay/admit"

	"github.com/PowerDNS/lmdb-go/lmdb"
	"github.com/nbd-wtf/go-nostr"
)

func insideStore(t *testing.T, dir string) (*Store, func()) {
	t.Helper()
	s, err := Open(dir, Config{NoSync: true, MapSize: 1 << 28})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	return s, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func numbered(i int) Entry {
	ev := &nostr.Event{ID: fmt.Sprintf("%064x", i), PubKey: fmt.Sprintf("%064x", i%7), CreatedAt: nostr.Timestamp(i),
		Kind: 1, Tags: nostr.Tags{{"e", fmt.Sprintf("%064x", i+1)}, {"t", "x"}}, Sig: strings.Repeat("0", 128)}
	json := fmt.Sprintf(`{"id":"%s","pubkey":"%s","created_at":%d,"kind":1,"tags":[["e","%s"],["t","x"]],"content":"","sig":"%s"}`,
		ev.ID, ev.PubKey, i, ev.Tags[0][1], ev.Sig)
	return Entry{Event: ev, JSON: []byte(json)}
}

func addNumbered(t *testing.T, s *Store, n int) {
	t.Helper()
	for i := range n {
		if err := s.Submit(t.Context(), numbered(i), func(_ Result, err error) {
			if err != nil {
				t.Error(err)
			}
		}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.SetMeta(t.Context(), "barrier", []byte("x")); err != nil {
		t.Fatal(err)
	}
}

// Each kind of damage is done by hand, and check must name it.
func TestCheckNamesEachKindOfDamage(t *testing.T) {
	id := ID{31: 3}
	damage := map[string]func(*writer) error{
		"index id":      func(w *writer) error { return w.txn.Del(w.s.t.id, id[:], nil) },
		"index created": func(w *writer) error { return w.txn.Del(w.s.t.created, createdKey(3, id), nil) },
		"index tag": func(w *writer) error {
			e := makeEntry(3, id, 4)
			return w.txn.Del(w.s.t.tag, tagKey('t', "x"), e[:])
		},
		"index author": func(w *writer) error {
			e := makeEntry(3, ID{1}, 999)
			return w.txn.Put(w.s.t.author, make([]byte, 32), e[:], 0)
		},
		"log row 4":         func(w *writer) error { return w.txn.Put(w.s.t.log, posKey(4), []byte("\x00nonsense"), 0) },
		"where no event is": func(w *writer) error { return w.txn.Del(w.s.t.log, posKey(4), nil) },
		"index expiry":      func(w *writer) error { return w.txn.Put(w.s.t.expiry, make([]byte, 16), []byte(present), 0) },
	}
	for want, do := range damage {
		t.Run(want, func(t *testing.T) {
			s, stop := insideStore(t, t.TempDir())
			addNumbered(t, s, 10)
			if rep, err := s.Check(t.Context(), CheckOptions{}); err != nil || rep.Bad != 0 || rep.Events != 10 {
				t.Fatalf("a sound store: %+v %v", rep, err)
			}
			stop()
			s, err := Open(s.dir, Config{MapSize: 1 << 28})
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			if err := s.env.Update(func(txn *lmdb.Txn) error { return do(&writer{s: s, txn: txn}) }); err != nil {
				t.Fatal(err)
			}
			rep, err := s.Check(t.Context(), CheckOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if rep.Bad == 0 || !strings.Contains(strings.Join(rep.Problems, "\n"), want) {
				t.Errorf("damage to %s is reported as %q", want, rep.Problems)
			}
		})
	}
}

// A migration that stops between two slices goes on where it was.
func TestMigrationResumesHalfWay(t *testing.T) {
	s, stop := insideStore(t, t.TempDir())
	addNumbered(t, s, 1500)
	dir := s.dir
	stop()
	s, err := Open(dir, Config{MapSize: 1 << 28})
	if err != nil {
		t.Fatal(err)
	}
	// back to schema 1, which had no tagkind rows
	if err := s.env.Update(func(txn *lmdb.Txn) error {
		if err := txn.Drop(s.t.tagkind, false); err != nil {
			return err
		}
		return s.putSchema(txn, 1)
	}); err != nil {
		t.Fatal(err)
	}
	if done, err := s.migrateSlice(1, (*writer).addTagKind); done || err != nil {
		t.Fatal(done, err)
	}
	rows := func(s *Store) (n uint64) {
		if err := s.view(func(txn *lmdb.Txn) error {
			st, err := txn.Stat(s.t.tagkind)
			if err == nil {
				n = st.Entries
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := rows(s); n == 0 || n >= 1500 {
		t.Fatalf("%d rows after one slice: not half way", n)
	}
	if _, err := Open(dir, Config{ReadOnly: true}); err == nil {
		t.Error("a half-migrated store opens for reading")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, stop = insideStore(t, dir)
	defer stop()
	if n := rows(s); n != 1500 {
		t.Errorf("%d rows after the migration, want 1500", n)
	}
	rep, err := s.Check(t.Context(), CheckOptions{})
	if err != nil || rep.Bad != 0 {
		t.Errorf("%+v %v", rep, err)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	s, stop := insideStore(t, t.TempDir())
	if err := s.env.Update(func(txn *lmdb.Txn) error { return s.putSchema(txn, schema+1) }); err != nil {
		t.Fatal(err)
	}
	stop()
	if _, err := Open(s.dir, Config{}); err == nil || !strings.Contains(err.Error(), "newer") {
		t.Errorf("opened: %v", err)
	}
}

func TestTrimmedLogTellsProjectionsToRebuild(t *testing.T) {
	s, stop := insideStore(t, t.TempDir())
	defer stop()
	addNumbered(t, s, 1200)
	var ids []ID
	for i := range 1100 {
		ids = append(ids, ID{30: byte(i >> 8), 31: byte(i)})
	}
	if _, err := s.Remove(t.Context(), ids, false); err != nil {
		t.Fatal(err)
	}
	head := s.Head()
	for {
		more, err := s.trimTo(t.Context(), head)
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			break
		}
	}
	for _, err := range s.Changes(t.Context(), 10) {
		if err != ErrTrimmed { //nolint:errorlint // the sentinel itself
			t.Fatalf("after 10: %v", err)
		}
	}
	n := 0
	for c, err := range s.Changes(t.Context(), 0) {
		if err != nil || c.Removed != nil && c.Pos < 2000 {
			t.Fatal(c, err)
		}
		n++
	}
	if n < 100 {
		t.Errorf("%d changes from the start, want the 100 events still held", n)
	}
	if s.Head() != head {
		t.Errorf("trimming moved head from %d to %d", head, s.Head())
	}
}

func TestRecordAccessorsReadEscapedTags(t *testing.T) {
	json := []byte(`{"id":"` + strings.Repeat("ab", 32) + `","pubkey":"` + strings.Repeat("cd", 32) +
		`","created_at":17,"kind":30023,"tags":[["d","a\"b\\c\n\u0001"],["t"],["x","","]"],["p","é","["]],"content":"[\"t\"]","sig":"` + strings.Repeat("0", 128) + `"}`)
	r, err := ParseRecord(json)
	if err != nil {
		t.Fatal(err)
	}
	if !r.HasTag('d', "a\"b\\c\n\x01") || r.HasTag('t', "") || !r.HasTag('x', "") || !r.HasTag('p', "é") || r.HasTag('p', "[") {
		t.Error("tags are misread")
	}
	if r.Kind() != 30023 || r.CreatedAt() != 17 || r.ID().String() != strings.Repeat("ab", 32) {
		t.Error("fields are misread")
	}
}

func FuzzParseRecord(f *testing.F) {
	f.Add(numbered(3).JSON)
	f.Fuzz(func(_ *testing.T, json []byte) {
		r, err := ParseRecord(json)
		if err != nil {
			return
		}
		r.Tags(func(_, _ []byte) bool { return true })
		r.Match(nostr.Filter{Tags: nostr.TagMap{"e": {"x"}}})
	})
}

// An empty value's address may lie behind the end of the file, where even the
// binding's nil check faults.
func TestNoRowHasAnEmptyValue(t *testing.T) {
	s, stop := insideStore(t, t.TempDir())
	defer stop()
	e := numbered(1)
	e.Event.Tags = append(e.Event.Tags, nostr.Tag{"expiration", "99999999999"})
	e.JSON = []byte(strings.Replace(string(e.JSON), `["t","x"]`, `["t","x"],["expiration","99999999999"]`, 1))
	e.Claims = []admit.Claim{{Key: []byte("k"), Rule: admit.First}}
	if res, err := s.Append(t.Context(), e); err != nil || res.Outcome != Stored {
		t.Fatal(res, err)
	}
	addNumbered(t, s, 50)
	seen := map[string]bool{}
	if err := s.view(func(txn *lmdb.Txn) error {
		for _, tab := range s.t.all() {
			cur, err := txn.OpenCursor(*tab.dbi)
			if err != nil {
				return err
			}
			k, v, err := cur.Get(nil, nil, lmdb.First)
			for ; err == nil; k, v, err = cur.Get(nil, nil, lmdb.Next) {
				seen[tab.name] = true
				if len(v) == 0 {
					t.Errorf("table %s: the value of %x is empty", tab.name, k)
				}
			}
			cur.Close()
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"expiry", "claim", "log", "tagkind", "set"} {
		if !seen[name] {
			t.Errorf("table %s was not looked at", name)
		}
	}
}
