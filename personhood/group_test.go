package personhood

import (
	"crypto/sha256"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

func TestMembersFileIsHeldToItsSnapshot(t *testing.T) {
	w := newTown(t, time.Hour)
	file := w.members.File()
	if m, err := w.snapshot.Matches(file); err != nil || m.Tree().Root() != w.snapshot.Root {
		t.Fatal(err)
	}
	group, entry := w.snapshot.Events()
	group.PubKey, entry.PubKey = w.snapshot.Group.Key, w.snapshot.Group.Key
	for _, ev := range []*nostr.Event{&group, &entry} {
		s, err := ParseSnapshot(ev)
		if err != nil || s.Root != w.snapshot.Root || s.Members != w.snapshot.Members || s.Size != 12 || s.Seq != 1 || s.Group != w.snapshot.Group {
			t.Errorf("kind %d does not come back: %+v %v", ev.Kind, s, err)
		}
	}
	wrong := append([]byte(nil), file...)
	wrong[31] ^= 1
	if _, err := w.snapshot.Matches(wrong); err == nil || !strings.Contains(err.Error(), "SHA-256") {
		t.Errorf("another file: %v", err)
	}
	s := w.snapshot
	s.Members = sha256.Sum256(wrong)
	if _, err := s.Matches(wrong); err == nil || !strings.Contains(err.Error(), "another root") {
		t.Errorf("a file of another root: %v", err)
	}
	for _, bad := range [][]byte{file[:31], append(file, 0), []byte(strings.Repeat("\xff", 32))} {
		if _, err := ParseMembers(bad); err == nil {
			t.Errorf("%d bytes were taken", len(bad))
		}
	}
}

func TestSnapshotIsReadStrictly(t *testing.T) {
	w := newTown(t, time.Hour)
	group, _ := w.snapshot.Events()
	for _, c := range []struct{ name, value string }{
		{"root", "1"}, {"root", strings.Repeat("f", 64)}, {"seq", "0"}, {"seq", "01"}, {"seq", "-1"}, {"seq", "+1"}, {"size", "0"},
		{"size", "1048577"}, {"x", "ab"}, {"x", strings.ToUpper(note)}, {"depth", "21"}, {"d", ""}, {"prev", "zz"},
	} {
		bad := group
		bad.Tags = append(nostr.Tags(nil), group.Tags...)
		for i, tag := range bad.Tags {
			if tag[0] == c.name {
				bad.Tags[i] = nostr.Tag{c.name, c.value}
			}
		}
		if _, err := ParseSnapshot(&bad); err == nil {
			t.Errorf("%s = %q was taken", c.name, c.value)
		}
		bad.Tags = append(group.Tags, nostr.Tag{c.name, c.value})
		if _, err := ParseSnapshot(&bad); err == nil {
			t.Errorf("two %s tags were taken", c.name)
		}
	}
}
