package main_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/gorilla/websocket"
	"github.com/nbd-wtf/go-nostr"
)

const storeFile = "/store/data.mdb"

// TestEveryOKComesAfterTheSyncOfItsPages traces the relay while it is published
// to. For each sync it rebuilds the file that would be found had the power gone
// before the next one: it must open, pass `check`, and hold every event whose
// OK had been put on a socket by then. What was written and not synced is left
// out, and once more kept at random, since a kernel writes back what it likes.
func TestEveryOKComesAfterTheSyncOfItsPages(t *testing.T) {
	tracer := needs(t, "strace")
	bin, tmp := buildProgram(t), t.TempDir()
	dir, file := filepath.Join(tmp, "data"), filepath.Join(tmp, "trace")
	relay := serve(t, bin, dir, []string{tracer, "-f", "-y", "-xx", "-s", "16777216", "-e", "trace=" + traced, "-o", file})
	sent := publishUnderTrace(t, relay)
	relay.terminate(t, childOf(t, relay.cmd.Process.Pid))

	moments := readTraceFile(t, file)
	proof := proveDurable(t, moments, sent, func(image []byte) map[string]bool { return recovered(t, bin, image) })
	if proof.syncs < 10 || proof.acked != len(sent) {
		t.Fatalf("the trace shows %d syncs and %d OKs for %d events: too little to prove anything", proof.syncs, proof.acked, len(sent))
	}
	for _, lost := range proof.lost {
		t.Error(lost)
	}
	t.Logf("%d OKs, %d images after a sync, %d of them once more with writes that were under way", proof.acked, proof.syncs, proof.torn)

	// The proof must be able to fail: the same trace, had the relay never
	// synced its pages.
	unsynced := slices.DeleteFunc(slices.Clone(moments), func(m moment) bool {
		return m.call.name == "fdatasync" && strings.HasSuffix(m.call.path, storeFile)
	})
	broken := proveDurable(t, unsynced, sent, func(image []byte) map[string]bool { return opened(t, bin, image) })
	if len(broken.lost) == 0 {
		t.Error("with every fdatasync taken out of the trace nothing is lost: the proof proves nothing")
	}
}

// proof is what a trace shows.
type proof struct {
	syncs, torn, acked int
	lost               []string // what was acknowledged and would not be found
}

// proveDurable walks the trace. held opens an image and says which events are
// in it; nil when the image is no store.
func proveDurable(t *testing.T, moments []moment, sent map[string]*nostr.Event, held func([]byte) map[string]bool) proof {
	t.Helper()
	d, a := newDisk(storeFile), &acks{tails: map[int][]byte{}}
	rng := rand.New(rand.NewPCG(3, 4))
	var p proof
	var acked []string
	compare := func(image []byte, kind string) {
		there := held(image)
		for _, id := range acked {
			if ev := sent[id]; ev != nil && !there[id] && !replacedIn(there, ev, sent) {
				p.lost = append(p.lost, fmt.Sprintf("sync %d, %s: %s was acknowledged and is not there", p.syncs, kind, id))
			}
		}
	}
	judge := func() { // what the last sync left, against the OKs until now
		if p.syncs == 0 && len(acked) == 0 {
			return
		}
		compare(d.image, "synced pages alone")
		if len(d.waiting) > 0 {
			p.torn++
			compare(d.torn(func() bool { return rng.IntN(2) == 0 }), "with some pages under way")
		}
	}
	for _, m := range moments {
		if m.ended && isSync(m.call, d) {
			judge()
		}
		synced, err := d.see(m)
		if err != nil {
			t.Fatal(err)
		}
		if synced {
			p.syncs++
		}
		acked = append(acked, a.see(m)...)
	}
	judge()
	p.acked = len(acked)
	return p
}

// isSync says whether the end of this call makes something durable.
func isSync(c *call, d *disk) bool {
	if !strings.HasSuffix(c.path, d.file) {
		return false
	}
	if c.name == "fdatasync" || c.name == "fsync" {
		return true
	}
	h := d.handles[c.fd]
	return h != nil && h.dsync && strings.Contains(c.name, "write")
}

// replacedIn says whether a newer version of a replaceable event is there.
func replacedIn(there map[string]bool, ev *nostr.Event, sent map[string]*nostr.Event) bool {
	if ev.Kind != 0 {
		return false
	}
	for id, other := range sent {
		if there[id] && other.Kind == 0 && other.PubKey == ev.PubKey && other.CreatedAt > ev.CreatedAt {
			return true
		}
	}
	return false
}

// recovered opens an image as the relay would after the power came back, lets
// `agora check` go over it, and lists what it holds.
func recovered(t *testing.T, bin string, image []byte) map[string]bool {
	t.Helper()
	dir := place(t, image)
	defer os.RemoveAll(dir)
	say(t, bin, "import", "--data", dir, os.DevNull) // opens it for writing, as serve does
	say(t, bin, "check", "--signatures", "--data", dir)
	held := exported(bin, dir)
	if held == nil {
		t.Fatal("an image after a sync passes check and cannot be exported")
	}
	return held
}

// opened lists what an image holds, nothing when it is damaged.
func opened(t *testing.T, bin string, image []byte) map[string]bool {
	t.Helper()
	dir := place(t, image)
	defer os.RemoveAll(dir)
	return exported(bin, dir)
}

// exported lists ids by a process of its own: reading a damaged image may end
// the process that does it.
func exported(bin, dir string) map[string]bool {
	out, err := exec.Command(bin, "export", "--data", dir).Output()
	if err != nil {
		return nil
	}
	held := map[string]bool{}
	for line := range bytes.Lines(out) {
		var ev nostr.Event
		if err := json.Unmarshal(line, &ev); err != nil {
			return nil
		}
		held[ev.ID] = true
	}
	return held
}

func place(t *testing.T, image []byte) string {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "image-*")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "store"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "store", "data.mdb"), image, 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// publishUnderTrace publishes from two connections at once and waits for every
// OK. It returns all events by id.
func publishUnderTrace(t *testing.T, relay *program) map[string]*nostr.Event {
	t.Helper()
	sent := map[string]*nostr.Event{}
	var wg sync.WaitGroup
	for range 2 {
		var events []*nostr.Event
		a := newAuthor(t)
		for i := range 40 {
			ev := nostr.Event{Kind: 1, CreatedAt: nostr.Timestamp(1_700_000_000 + i), Content: strings.Repeat("page ", 200)}
			if i%4 == 3 {
				ev.Kind = 0
			}
			events = append(events, a.sign(t, ev))
			sent[events[i].ID] = events[i]
		}
		c := relay.wire(t)
		wg.Go(func() {
			for i := 0; i < len(events); i += 4 { // few at a time: many commits
				for _, ev := range events[i : i+4] {
					if err := c.WriteJSON([]any{"EVENT", ev}); err != nil {
						t.Error(err)
						return
					}
				}
				if err := readOKs(c, 4); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	return sent
}

// readOKs reads n OKs, all true; other messages are passed over.
func readOKs(c *websocket.Conn, n int) error {
	for n > 0 {
		_, m, err := c.ReadMessage()
		if err != nil {
			return err
		}
		if bytes.HasPrefix(m, []byte(`["OK"`)) {
			n--
			if !saysOK.Match(m) {
				return fmt.Errorf("refused: %s", m)
			}
		}
	}
	return nil
}
