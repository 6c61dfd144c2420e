package main_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/nbd-wtf/go-nostr"
)

// These tests run the program as a process of its own: what they promise holds
// when it is killed, traced or talked to by strangers' libraries.

// buildProgram builds agora as `make build` does, without the race detector:
// it is the process that is tested here, not its memory.
func buildProgram(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "agora")
	out, err := exec.Command("go", "build", "-tags", "libsecp256k1", "-o", bin, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("build agora: %v\n%s", err, out)
	}
	return bin
}

// program is a running relay.
type program struct {
	URL  string // ws://…
	cmd  *exec.Cmd
	out  *output
	done chan struct{} // closed when it has ended
}

// output collects what the program prints; Run's goroutine and the test share it.
type output struct {
	mu   sync.Mutex // guards what follows
	text bytes.Buffer
	news chan struct{} // one token: something was printed; when full the reader looks anyway
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case o.news <- struct{}{}:
	default:
	}
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// serve starts the relay on a free port and waits until it has said its URL.
// before comes in front of the command, such as a tracer; extra are flags.
func serve(t *testing.T, bin, dir string, before []string, extra ...string) *program {
	t.Helper()
	args := append(append([]string{}, before...), bin, "serve", "--listen", "127.0.0.1:0", "--data", dir,
		"--ip-connections=1000", "--ip-unauthenticated=1000", "--bring=false", "--assertions=0")
	args = append(args, extra...)
	p := &program{out: &output{news: make(chan struct{}, 1)}, done: make(chan struct{})}
	p.cmd = exec.Command(args[0], args[1:]...)
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the process
		_ = p.cmd.Wait() // its exit code is in cmd.ProcessState
		close(p.done)
	}()
	t.Cleanup(p.kill)
	p.awaitURL(t)
	return p
}

var saidURL = regexp.MustCompile(`ws://127\.0\.0\.1:\d+`)

func (p *program) awaitURL(t *testing.T) {
	t.Helper()
	late := time.After(time.Minute)
	for p.URL == "" {
		select {
		case <-p.out.news:
			p.URL = saidURL.FindString(p.out.String())
		case <-p.done:
			t.Fatalf("agora ended before it served:\n%s", p.out)
		case <-late:
			t.Fatalf("agora does not say where it serves:\n%s", p.out)
		}
	}
}

// kill is kill -9, and waits for the end.
func (p *program) kill() {
	_ = p.cmd.Process.Kill() // it may have ended already
	<-p.done
}

// terminate sends SIGTERM to pid, which is the relay's, and waits for the end.
func (p *program) terminate(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.done:
	case <-time.After(30 * time.Second):
		t.Fatalf("agora does not end on SIGTERM:\n%s", p.out)
	}
}

// say runs another command of the program and returns what it printed.
func say(t *testing.T, bin string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, bin, args...)
	var told strings.Builder
	cmd.Stderr = &told
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("agora %s: %v\n%s%s", strings.Join(args, " "), err, out, &told)
	}
	return string(out)
}

// wire is a websocket without manners.
func (p *program) wire(t *testing.T) *websocket.Conn {
	t.Helper()
	c, resp, err := websocket.DefaultDialer.DialContext(t.Context(), p.URL, nil)
	if err != nil {
		t.Fatalf("dial %s: %v, %+v\n%s", p.URL, err, resp, p.out)
	}
	resp.Body.Close()
	t.Cleanup(func() { c.Close() })
	return c
}

// author signs events.
type author struct{ secret, pubkey string }

func newAuthor(t *testing.T) author {
	t.Helper()
	a := author{secret: nostr.GeneratePrivateKey()}
	pk, err := nostr.GetPublicKey(a.secret)
	if err != nil {
		t.Fatal(err)
	}
	a.pubkey = pk
	return a
}

// sign completes ev. A zero created_at becomes now.
func (a author) sign(t *testing.T, ev nostr.Event) *nostr.Event {
	t.Helper()
	if ev.CreatedAt == 0 {
		ev.CreatedAt = nostr.Now()
	}
	if ev.Tags == nil {
		ev.Tags = nostr.Tags{}
	}
	if err := ev.Sign(a.secret); err != nil {
		t.Fatal(err)
	}
	return &ev
}

// needs fails, not skips, when a tool is missing: a promise nobody checked is none.
func needs(t *testing.T, tool string) string {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		t.Fatalf("this test needs %s: apt-get install %s (.ci/run does so by itself)", tool, tool)
	}
	return path
}

// childOf is the one process that pid has started.
func childOf(t *testing.T, pid int) int {
	t.Helper()
	return onlyNumber(t, "/proc/"+itoa(pid)+"/task/"+itoa(pid)+"/children")
}

func onlyNumber(t *testing.T, file string) int {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(data))
	if len(fields) != 1 {
		t.Fatalf("%s is %q: expected one number", file, data)
	}
	return atoi(t, fields[0])
}
