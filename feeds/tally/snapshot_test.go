package tally

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestRestoredSnapshotAnswersAsTheLogDoesAndFollowsOn(t *testing.T) {
	w := newWorld(t, 5, 60)
	path := filepath.Join(t.TempDir(), "snapshot")
	stop := w.start(Config{Snapshot: path})
	for range 1500 {
		w.append(w.random())
	}
	w.agree(w.now)
	stop()
	before := w.tally.Stats()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for range 50 { // while nobody counts
		w.append(w.random())
	}
	token, err := w.store.Meta("tally.snapshot")
	if err != nil {
		t.Fatal(err)
	}
	body, pos, err := framed(w.store, path).Open(file, token)
	if err != nil {
		t.Fatal(err)
	}
	state, err := decode(body)
	if err != nil || pos+50 > w.store.Head() {
		t.Fatalf("the snapshot at %d of %d: %v", pos, w.store.Head(), err)
	}
	if got := state.book; got.live != before.Notes || got.acts != before.Acts || got.empty != before.Places {
		t.Fatalf("restored %d notes, %d acts, %d places, want %+v", got.live, got.acts, got.empty, before)
	}
	w.start(Config{Snapshot: path})
	w.agree(w.now)
}

func TestSnapshotGoesWhenWhatItHoldsIsTakenBack(t *testing.T) {
	w := newWorld(t, 6, 5)
	path := filepath.Join(t.TempDir(), "snapshot")
	stop := w.start(Config{Snapshot: path})
	note := w.event(1, w.authors[0], "a note")
	w.append(note)
	w.agree(w.now)
	stop()
	w.start(Config{Snapshot: path})
	w.agree(w.now)
	if _, err := os.Stat(path); err != nil {
		t.Fatal(err)
	}
	w.append(w.event(5, w.authors[0], "", []string{"e", note.ID}))
	w.agree(w.now)
	if _, err := os.Stat(path); err == nil {
		t.Fatal("the snapshot with the deleted note is still there")
	}
}

func TestDamagedSnapshotCostsTimeNotTruth(t *testing.T) {
	w := newWorld(t, 7, 20)
	path := filepath.Join(t.TempDir(), "snapshot")
	stop := w.start(Config{Snapshot: path})
	for range 200 {
		w.append(w.random())
	}
	w.agree(w.now)
	stop()
	file, _ := os.ReadFile(path)
	for _, bad := range [][]byte{{}, file[:len(file)/2], append(bytes.Clone(file[:len(file)-1]), file[len(file)-1]^1)} {
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		stop := w.start(Config{Snapshot: path})
		w.agree(w.now)
		stop()
	}
}

// FuzzDecode: whatever a file holds, reading it ends, and what it gives can be
// read and changed.
func FuzzDecode(f *testing.F) {
	b := newBook()
	f.Add(encode(b, nil))
	b.put(&statement{event: Key{1}, author: Key{2}, actor: Key{2}, created: 5, note: &noted{kind: 1, sketch: 77}})
	b.put(&statement{event: Key{3}, author: Key{4}, actor: Key{4}, created: 6, deeds: []deed{{action: Like, on: target{id: Key{1}}}}})
	b.put(&statement{event: Key{5}, author: Key{4}, actor: Key{4}, created: 6, mutes: []Key{{2}}})
	f.Add(encode(b, nil))
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := decode(body)
		if err != nil {
			return
		}
		r := &Reader{s.book, 1 << 31}
		for n := range r.All {
			r.Counts(n, nil)
			r.Twins(n)
			r.Thread(n)
			r.Author(n.Author)
		}
		s.book.tidy(1<<31, 0, 0, 0)
	})
}
