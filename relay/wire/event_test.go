package wire

import (
	"bufio"
	"os"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/nbd-wtf/go-nostr"
)

// realEvents yields the lines of testdata/nostr/events.jsonl.zst.
func realEvents(t testing.TB) [][]byte {
	f, err := os.Open("../../testdata/nostr/events.jsonl.zst")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var lines [][]byte
	sc := bufio.NewScanner(z)
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		lines = append(lines, append([]byte(nil), sc.Bytes()...))
	}
	if err := sc.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

func TestAllRealEventsParseAndTheirIDsMatch(t *testing.T) {
	lines := realEvents(t)
	if len(lines) != 5861 {
		t.Fatalf("%d events, want 5861", len(lines))
	}
	for _, line := range lines {
		ev, record, err := ParseEvent(line)
		if err != nil {
			t.Errorf("%.120s: %v", line, err); continue
		}
		var theirs nostr.Event
		if err := theirs.UnmarshalJSON(line); err != nil {
			t.Fatal(err)
		}
		if !CheckID(ev) {
			t.Errorf("id of %s does not match", ev.ID)
		}
		if ev.String() != theirs.String() {
			t.Errorf("got %s\nwant %s", ev, theirs)
		}
		again, record2, err := ParseEvent(record)
		if err != nil || string(record) != string(record2) || again.String() != ev.String() {
			t.Errorf("the record of %s is no fixpoint: %v", ev.ID, err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	lines := realEvents(b)
	msg := AppendEventMessage(nil, lines[0])
	for _, l := range lines { // the median is 591 bytes
		if len(l) == 591 {
			msg = AppendEventMessage(nil, l)
			break
		}
	}
	b.SetBytes(int64(len(msg)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(msg, Limits{}); err != nil {
			b.Fatal(err)
		}
	}
}
