package spam

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"agora/relay/admit"

	"github.com/nbd-wtf/go-nostr"
)

func damage(t *testing.T, path string) {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 1
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestMain is also the plugin: strfry's protocol, with answers out of order.
func TestMain(m *testing.M) {
	switch os.Getenv("SPAM_TEST_PLUGIN") {
	case "":
		os.Exit(m.Run())
	case "deaf":
		time.Sleep(time.Minute)
	case "flood": // one line without an end, and deaf
		for line := make([]byte, 1<<20); ; {
			if _, err := os.Stdout.Write(line); err != nil {
				return
			}
		}
	case "babble": // answers nobody asked for, and lines that are none
		for {
			if _, err := fmt.Println("{]\n{\"id\":\"\",\"action\":\"accept\"}\nnull"); err != nil {
				return
			}
		}
	case "policy":
		pretend()
	}
}

func pretend() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<20)
	var mu sync.Mutex
	for n := 0; lines.Scan(); n++ {
		var q struct {
			Type  string
			Event nostr.Event
		}
		if err := json.Unmarshal(lines.Bytes(), &q); err != nil || q.Type != "new" {
			continue
		}
		if strings.Contains(q.Event.Content, "die") {
			os.Exit(1)
		}
		if strings.Contains(q.Event.Content, "silence") {
			continue
		}
		go func() {
			time.Sleep(time.Duration(n%7) * 10 * time.Millisecond) // out of order
			action := "accept"
			if strings.Contains(q.Event.Content, "bad") {
				action = "reject"
			}
			mu.Lock()
			defer mu.Unlock()
			fmt.Printf("{\"id\":%q,\"action\":%q,\"msg\":\"no %s\"}\n", q.Event.ID, action, q.Event.ID[56:])
		}()
	}
}

func startPlugin(t *testing.T, kind string, deadline time.Duration) *Plugin {
	t.Helper()
	t.Setenv("SPAM_TEST_PLUGIN", kind)
	p, err := NewPlugin([]string{os.Args[0]}, deadline, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1) // Run's last word
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-ended
	})
	running(t, p)
	return p
}

func running(t *testing.T, p *Plugin) {
	t.Helper()
	for range 500 {
		p.mu.Lock()
		up := p.in != nil
		p.mu.Unlock()
		if up {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the plugin does not start")
}

func TestPluginAnswersManyAtOnceEachItsOwn(t *testing.T) {
	p := startPlugin(t, "policy", 20*time.Second)
	var wg sync.WaitGroup
	begin := time.Now()
	for i := range 300 {
		wg.Go(func() {
			text := []string{"good", "bad"}[i%2]
			ev := note(i, text)
			r, err := p.Rule(context.Background(), ev, admit.Peer{})
			if err != nil || (r.Refusal != nil) != (i%2 == 1) {
				t.Errorf("%s: %+v %v", text, r, err)
			} else if r.Refusal != nil && r.Refusal.String() != "blocked: no "+ev.ID[56:] {
				t.Errorf("somebody else's answer: %s", r.Refusal)
			}
		})
	}
	wg.Wait()
	if took := time.Since(begin); took > 8*time.Second { // one after the other they would sleep for nine
		t.Errorf("took %s: they were not asked at once", took)
	}
}

func TestPluginThatIsLateStoresNothing(t *testing.T) {
	p := startPlugin(t, "policy", 300*time.Millisecond)
	if _, err := p.Rule(t.Context(), note(1, "silence"), admit.Peer{}); err == nil {
		t.Error("no answer let it through")
	}
	if p.flight != 0 || len(p.waiting) != 0 {
		t.Errorf("%d in flight, %d waiting", p.flight, len(p.waiting))
	}
}

func TestPluginThatDoesNotReadIsStopped(t *testing.T) {
	p := startPlugin(t, "deaf", 200*time.Millisecond)
	failed := 0
	for i := range 20 {
		if _, err := p.Rule(t.Context(), note(i, strings.Repeat("x", 60_000)), admit.Peer{}); err != nil {
			failed++
		}
	}
	if failed != 20 {
		t.Errorf("%d of 20 failed", failed)
	}
}

// A line without an end must not be kept, and the program that writes it must
// be ended though it listens to nothing.
func TestPluginThatWritesWithoutEndIsEndedAndStartedAgain(t *testing.T) {
	p := startPlugin(t, "flood", time.Second)
	p.mu.Lock()
	first := p.in
	p.mu.Unlock()
	for range 3000 {
		p.mu.Lock()
		again := p.in != nil && p.in != first
		p.mu.Unlock()
		if again {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("it was never ended")
}

func TestPluginThatBabblesIsNotWrittenToTheLogLineByLine(t *testing.T) {
	t.Setenv("SPAM_TEST_PLUGIN", "babble")
	var log countingWriter
	p, err := NewPlugin([]string{os.Args[0]}, 300*time.Millisecond, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1) // Run's last word
	go func() { ended <- p.Run(ctx) }()
	running(t, p)
	begin := time.Now()
	for range 3000 {
		if log.lines.Load() > 0 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	for i := range 3 {
		if _, err := p.Rule(t.Context(), note(i, "good"), admit.Peer{}); err == nil {
			t.Error("babble let it through")
		}
	}
	stop()
	<-ended
	if most := 5 + int64(time.Since(begin)/time.Second); log.lines.Load() > most {
		t.Errorf("%d lines were logged", log.lines.Load())
	}
}

// countingWriter counts writes: slog makes one for each line.
type countingWriter struct{ lines atomic.Int64 }

func (c *countingWriter) Write(p []byte) (int, error) {
	c.lines.Add(1)
	return len(p), nil
}

func TestPluginThatDiesIsStartedAgain(t *testing.T) {
	p := startPlugin(t, "policy", 2*time.Second)
	if _, err := p.Rule(t.Context(), note(1, "die"), admit.Peer{}); err == nil {
		t.Fatal("death let it through")
	}
	for range 100 {
		if _, err := p.Rule(t.Context(), note(2, "good"), admit.Peer{}); err == nil {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error("it does not come back")
}

func TestPluginThatIsNotThereIsToldAtStart(t *testing.T) {
	if _, err := NewPlugin([]string{"no-such-program-anywhere"}, 0, nil); err == nil {
		t.Error("was taken")
	}
}
