package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"agora/relay/wire"

	"github.com/nbd-wtf/go-nostr"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"agora": main})
}

// TestCommands runs the scripts of testdata/script: the program as an operator
// types it.
func TestCommands(t *testing.T) {
	real, err := filepath.Abs("../../testdata/nostr/events.jsonl.zst")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("REAL", real)
			e.Setenv("PLACES", strconv.Itoa(runtime.GOMAXPROCS(0)+2)) // what serve lets run at once; the scripts do not see GOMAXPROCS
			for name, path := range map[string]string{
				"DOCS": "../../docs", "MODELS": "../../ranker/onnx/testdata", "ORT": "../../bin/libonnxruntime.so.1",
			} {
				abs, err := filepath.Abs(path)
				if err != nil {
					return err
				}
				e.Setenv(name, abs)
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "await": await, "await-held": awaitHeld, "signal": sendSignal, "get": get, "get-until": getUntil, "adds-up": addsUp,
			"same-lines": sameLines, "same-events": sameEvents, "flip": flip, "event": makeEvent, "mode": fileMode,
		},
	})
}

// exits CODE command…: the command ends with this exit code.
func exits(ts *testscript.TestScript, _ bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	code := 0
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) {
		code = failed.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}

// await DIR: a relay serves this data directory. Sets $URL and $HTTP.
func await(ts *testscript.TestScript, _ bool, args []string) {
	var by holder
	for late := time.Now().Add(time.Minute); time.Now().Before(late); time.Sleep(10 * time.Millisecond) {
		text, err := os.ReadFile(filepath.Join(ts.MkAbs(args[0]), lockFile))
		if err != nil || json.Unmarshal(text, &by) != nil || by.URL == "" {
			continue
		}
		page := pageOf(by.URL)
		if resp, err := http.Get(page + "/healthz"); err == nil {
			resp.Body.Close()
			ts.Setenv("URL", by.URL)
			ts.Setenv("ADDRESS", strings.TrimPrefix(by.URL, "ws://"))
			ts.Setenv("HTTP", page)
			return
		}
	}
	ts.Fatalf("nothing serves %s", args[0])
}

// await-held DIR N: so many events are held there, by whatever process.
func awaitHeld(ts *testscript.TestScript, _ bool, args []string) {
	for late := time.Now().Add(time.Minute); time.Now().Before(late); time.Sleep(10 * time.Millisecond) {
		held, err := openReading(Config{Data: ts.MkAbs(args[0]), MapSize: defaults().MapSize})
		if err != nil {
			continue // not made yet
		}
		st, err := held.Stats()
		held.Close()
		if err == nil && fmt.Sprint(st.Events) == args[1] {
			return
		}
	}
	ts.Fatalf("%s never held %s events", args[0], args[1])
}

// signal TERM|INT|HUP DIR: to the process that holds the data directory.
func sendSignal(ts *testscript.TestScript, _ bool, args []string) {
	var by holder
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(filepath.Join(args[1], lockFile))), &by))
	signals := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP}
	if by.PID < 2 {
		ts.Fatalf("no process in the lock file of %s", args[1])
	}
	ts.Check(syscall.Kill(by.PID, signals[args[0]]))
}

// get STATUS URL [ACCEPT]: the body is what stdout then matches.
func get(ts *testscript.TestScript, _ bool, args []string) {
	req, err := http.NewRequest(http.MethodGet, args[1], nil)
	ts.Check(err)
	if len(args) > 2 {
		req.Header.Set("Accept", args[2])
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Timeout: time.Minute}
	resp, err := client.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs("body"), body, 0o600))
	if fmt.Sprint(resp.StatusCode) != args[0] {
		ts.Fatalf("%s answers %s, want %s\n%s", args[1], resp.Status, args[0], body)
	}
}

// get-until URL TEXT: the NIP-11 document says TEXT within half a minute.
func getUntil(ts *testscript.TestScript, _ bool, args []string) {
	for late := time.Now().Add(30 * time.Second); time.Now().Before(late); time.Sleep(10 * time.Millisecond) {
		get(ts, false, []string{"200", args[0], "application/nostr+json"})
		if strings.Contains(ts.ReadFile("body"), args[1]) {
			return
		}
	}
	ts.Fatalf("%s does not say %s", args[0], args[1])
}

// adds-up FILE LINES: the summary accounts for so many lines, to the last.
func addsUp(ts *testscript.TestScript, _ bool, args []string) {
	sum, said := 0, -1
	for text := range strings.Lines(ts.ReadFile(args[0])) {
		if strings.HasPrefix(text, strings.Repeat(" ", 12)) {
			continue // a reason, part of the count above it
		}
		fields := strings.Fields(text)
		n, err := strconv.Atoi(fields[0])
		ts.Check(err)
		if fields[1] == "lines" {
			said = n
		} else {
			sum += n
		}
	}
	if sum != said || fmt.Sprint(said) != args[1] {
		ts.Fatalf("the summary says %d lines and accounts for %d of %s", said, sum, args[1])
	}
}

// same-lines A B: the same lines in whatever order.
func sameLines(ts *testscript.TestScript, _ bool, args []string) {
	lines := func(name string) []string { return slices.Sorted(strings.Lines(ts.ReadFile(name))) }
	if a, b := lines(args[0]), lines(args[1]); !slices.Equal(a, b) {
		ts.Fatalf("%s has %d lines, %s has %d, and they differ", args[0], len(a), args[1], len(b))
	}
}

// same-events EXPORT ORIGINALS: every exported event means what the original
// with its id means, and comes once.
func sameEvents(ts *testscript.TestScript, _ bool, args []string) {
	events := func(name string) map[string]nostr.Event {
		all := map[string]nostr.Event{}
		err := eachFile([]string{ts.MkAbs(name)}, &source{}, func(l line) bool {
			var ev nostr.Event
			if json.Unmarshal(l.text, &ev) != nil {
				return true // two of the originals have tags that are no strings
			}
			if _, twice := all[ev.ID]; twice {
				ts.Fatalf("%s has event %s twice", name, ev.ID)
			}
			all[ev.ID] = ev
			return true
		})
		ts.Check(err)
		return all
	}
	exported, originals := events(args[0]), events(args[1])
	for id, ev := range exported {
		if original, ok := originals[id]; !ok || !reflect.DeepEqual(original, ev) {
			ts.Fatalf("event %s is not what it was:\n%v\n%v", id, ev, original)
		}
	}
	if len(exported) == 0 {
		ts.Fatalf("%s is empty", args[0])
	}
}

// flip FILE TEXT: changes one letter wherever TEXT stands in FILE.
func flip(ts *testscript.TestScript, _ bool, args []string) {
	data := []byte(ts.ReadFile(args[0]))
	changed := bytes.ToUpper([]byte(args[1][:1]))
	if !bytes.Contains(data, []byte(args[1])) {
		ts.Fatalf("%q does not stand in %s", args[1], args[0])
	}
	data = bytes.ReplaceAll(data, []byte(args[1]), append(changed, args[1][1:]...))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o600))
}

// event FILE KIND CONTENT: appends a signed event.
func makeEvent(ts *testscript.TestScript, _ bool, args []string) {
	kind, err := strconv.Atoi(args[1])
	ts.Check(err)
	ev := nostr.Event{Kind: kind, CreatedAt: nostr.Now(), Content: args[2], Tags: nostr.Tags{}}
	ts.Check(ev.Sign(nostr.GeneratePrivateKey()))
	file, err := os.OpenFile(ts.MkAbs(args[0]), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	ts.Check(err)
	_, err = file.Write(append(wire.AppendEvent(nil, &ev), '\n'))
	ts.Check(errors.Join(err, file.Close()))
}

// mode OCTAL FILE: the permissions of a file.
func fileMode(ts *testscript.TestScript, _ bool, args []string) {
	info, err := os.Stat(ts.MkAbs(args[1]))
	ts.Check(err)
	if got := fmt.Sprintf("%04o", info.Mode().Perm()); got != args[0] {
		ts.Fatalf("%s has mode %s, want %s", args[1], got, args[0])
	}
}
