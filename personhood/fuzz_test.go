package personhood

import (
	"encoding/json"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

func FuzzParseMembers(f *testing.F) {
	f.Add(make([]byte, 64))
	f.Fuzz(func(t *testing.T, file []byte) {
		if len(file) > 1<<12 {
			return
		}
		m, err := ParseMembers(file)
		if err == nil && string(m.File()) != string(file) {
			t.Fatal("a members file does not come back")
		}
	})
}

// FuzzEvent feeds any tags to all that reads events here: a no is an *Invalid
// and nothing panics.
func FuzzEvent(f *testing.F) {
	f.Add(7, `[["e","`+note+`"],["pop","semaphore4","32191:`+note+`:x","`+note+`","20","`+note+`","AA=="],["n","`+note+`"]]`)
	f.Add(2191, `[["a","32191:`+note+`:x"],["root","00"],["seq","1"],["prev",""],["size","1"],["x","`+note+`"]]`)
	f.Add(32191, `[["d","x"],["depth","20"],["root",""],[],["seq"],[""]]`)
	f.Add(1068, `[["pop","semaphore4","32191:`+note+`:x","`+note+`","20"],["endsAt","x"]]`)
	f.Add(1985, `[["L","agora.review"],["a","x"]]`)
	f.Fuzz(func(t *testing.T, kind int, tags string) {
		ev := nostr.Event{PubKey: note, Kind: kind}
		if json.Unmarshal([]byte(tags), &ev.Tags) != nil {
			return
		}
		_, popErr := ParsePop(&ev)
		s, groupErr := ParseSnapshot(&ev)
		_, _, pollErr := Pinned(&ev)
		_, deedErr := DeedOf(&ev)
		_ = Message(&ev)
		for _, err := range []error{popErr, groupErr, pollErr, deedErr} {
			if _, no := reasonOf(err); err != nil && !no {
				t.Fatalf("%T %v", err, err)
			}
		}
		if groupErr != nil {
			return
		}
		group, log := s.Events()
		again := &log
		if kind == KindGroup {
			again = &group
		}
		if s2, err := ParseSnapshot(again); err != nil || s2.Root != s.Root || s2.Seq != s.Seq || s2.Size != s.Size {
			t.Fatalf("a snapshot does not come back: %v", err)
		}
	})
}
