package main

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/fiatjaf/eventstore"
	badgerstore "github.com/fiatjaf/eventstore/badger"
	lmdbstore "github.com/fiatjaf/eventstore/lmdb"
	"github.com/fiatjaf/eventstore/sqlite3"
	"github.com/nbd-wtf/go-nostr"
)

// foreignEvents has more events in one second than a small page.
func foreignEvents(t *testing.T) []*nostr.Event {
	t.Helper()
	key := nostr.GeneratePrivateKey()
	var list []*nostr.Event
	for i := range 60 {
		at := 1700000000 + i/7
		if i >= 40 {
			at = 1700001000 // 20 in one second
		}
		ev := &nostr.Event{Kind: 1, CreatedAt: nostr.Timestamp(at), Content: string(rune('a' + i)), Tags: nostr.Tags{{"t", "x"}}}
		if err := ev.Sign(key); err != nil {
			t.Fatal(err)
		}
		list = append(list, ev)
	}
	return list
}

func TestEveryEventOfAForeignStoreIsReadOnce(t *testing.T) {
	events := foreignEvents(t)
	for kind, open := range map[string]func(path string) eventstore.Store{
		"lmdb":    func(path string) eventstore.Store { return &lmdbstore.LMDBBackend{Path: path} },
		"badger":  func(path string) eventstore.Store { return &badgerstore.BadgerBackend{Path: path} },
		"sqlite3": func(path string) eventstore.Store { return &sqlite3.SQLite3Backend{DatabaseURL: path} },
	} {
		t.Run(kind, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "db")
			db := open(path)
			if err := db.Init(); err != nil {
				t.Fatal(err)
			}
			for _, ev := range events {
				if err := db.SaveEvent(t.Context(), ev); err != nil {
					t.Fatal(err)
				}
			}
			db.Close()
			seen := readForeignIDs(t, "eventstore:"+kind+":"+path)
			if len(seen) != len(events) {
				t.Errorf("read %d of %d events", len(seen), len(events))
			}
			for id, n := range seen {
				if n != 1 {
					t.Errorf("%s came %d times", id, n)
				}
			}
		})
	}
}

// readForeignIDs pages in steps of 8, so that pages end within a second and
// one second is larger than a page.
func readForeignIDs(t *testing.T, name string) map[string]int {
	t.Helper()
	db, _, err := foreignStore("--from", name)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Init(); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	seen := map[string]int{}
	pages := foreignPages{store: db, size: 8}
	for {
		events, err := pages.next(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if len(events) == 0 {
			return seen
		}
		for _, ev := range events {
			seen[ev.ID]++
		}
	}
}

func TestForeignStoreThatIsNotThereIsNotMade(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"", "lmdb:" + dir, "eventstore:lmdb:", "eventstore:lmdb:" + dir, "eventstore:badger:" + dir, "eventstore:sqlite3:" + dir + "/none", "eventstore:bolt:" + dir} {
		if _, err := foreignSource(name); err == nil {
			t.Errorf("%q was opened", name)
		}
	}
}
