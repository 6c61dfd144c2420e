package spam

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"sync"
	"time"

	"agora/relay/admit"

	"github.com/nbd-wtf/go-nostr"
)

const (
	pluginFlight = 1024        // events a plugin may be asked about at once; when full: the event is not stored
	pluginLine   = 1 << 20     // bytes of one answer
	pluginPause  = time.Second // before a plugin that ended is started again
)

// Plugin is an operator's own program that speaks strfry's write-policy
// protocol: one JSON line in for each event, one out. It is an admit.Gate.
// Answers may come in any order; each has its deadline. shadowReject counts as
// reject: we do not tell a client that something was stored which was not.
type Plugin struct {
	command  []string
	deadline time.Duration
	log      *slog.Logger

	mu      sync.Mutex // guards what follows
	in      io.Writer  // of the running program; nil when there is none
	stop    func()     // ends the running program
	waiting map[string][]chan pluginAnswer
	flight  int
}

type pluginAnswer struct {
	ID     string `json:"id"`
	Action string `json:"action"`
	Msg    string `json:"msg"`
}

type pluginQuestion struct {
	Type       string       `json:"type"`
	Event      *nostr.Event `json:"event"`
	ReceivedAt int64        `json:"receivedAt"`
	SourceType string       `json:"sourceType"`
	SourceInfo string       `json:"sourceInfo"`
	Authed     string       `json:"authed,omitempty"`
}

// NewPlugin names the program with its arguments; it starts nothing. A
// deadline of 0 means one second.
func NewPlugin(command []string, deadline time.Duration, log *slog.Logger) (*Plugin, error) {
	if len(command) == 0 {
		return nil, errors.New("a write-policy plugin needs a command")
	}
	if _, err := exec.LookPath(command[0]); err != nil {
		return nil, fmt.Errorf("write-policy plugin: %w", err)
	}
	if deadline <= 0 {
		deadline = time.Second
	}
	if log == nil {
		log = slog.Default()
	}
	return &Plugin{command: command, deadline: deadline, log: log, waiting: map[string][]chan pluginAnswer{}}, nil
}

// Run keeps the program running until ctx ends.
func (p *Plugin) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := p.once(ctx); ctx.Err() == nil {
			p.log.Error("write-policy plugin ended, starting it again", "command", p.command[0], "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(pluginPause):
			}
		}
	}
	return nil
}

func (p *Plugin) once(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	cmd := exec.CommandContext(ctx, p.command[0], p.command[1:]...) //nolint:gosec // the operator's own program
	cmd.Stderr, cmd.WaitDelay = os.Stderr, 2*time.Second
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	p.mu.Lock()
	p.in, p.stop = in, stop
	p.mu.Unlock()
	read := p.read(out)
	p.mu.Lock()
	p.in = nil
	p.mu.Unlock()
	stop() // what we do not read any more may never end by itself
	return errors.Join(read, in.Close(), cmd.Wait())
}

// read hands answers to those who wait. Of lines that are none the log hears
// once a second.
func (p *Plugin) read(out io.Reader) error {
	lines := bufio.NewScanner(out)
	lines.Buffer(make([]byte, 0, 64<<10), pluginLine)
	var told time.Time
	bad := 0 // lines since then
	for lines.Scan() {
		var a pluginAnswer
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			if bad++; time.Since(told) >= pluginPause {
				p.log.Warn("write-policy plugin: this line is no answer", "line", string(lines.Bytes()[:min(200, len(lines.Bytes()))]), "lines", bad)
				told, bad = time.Now(), 0
			}
			continue
		}
		p.mu.Lock()
		for _, c := range p.waiting[a.ID] {
			c <- a // has room for one, and gets one
		}
		delete(p.waiting, a.ID)
		p.mu.Unlock()
	}
	return lines.Err()
}

// Rule asks the program. No answer in time is an error: nothing is stored.
func (p *Plugin) Rule(ctx context.Context, ev *nostr.Event, from admit.Peer) (admit.Ruling, error) {
	line, err := json.Marshal(questionOf(ev, from))
	if err != nil {
		return admit.Ruling{}, fmt.Errorf("write-policy plugin: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, p.deadline)
	defer cancel()
	answer := make(chan pluginAnswer, 1) // answers; one comes at most
	if err := p.ask(ctx, ev.ID, append(line, '\n'), answer); err != nil {
		return admit.Ruling{}, err
	}
	defer p.leave(ev.ID, answer)
	select {
	case a := <-answer:
		switch a.Action {
		case "accept":
			return admit.Ruling{}, nil
		case "reject", "shadowReject":
			return admit.Refuse(admit.Blocked, orText(a.Msg, "not by this relay's policy")), nil
		}
		return admit.Ruling{}, fmt.Errorf("write-policy plugin: %q is no action", a.Action)
	case <-ctx.Done():
		return admit.Ruling{}, fmt.Errorf("write-policy plugin: no answer on %s within %s", ev.ID, p.deadline)
	}
}

func orText(s, or string) string {
	if s == "" {
		return or
	}
	return s
}

func questionOf(ev *nostr.Event, from admit.Peer) pluginQuestion {
	q := pluginQuestion{Type: "new", Event: ev, ReceivedAt: time.Now().Unix(), SourceType: "IP4", SourceInfo: from.IP.String()}
	switch from.Origin {
	case admit.Import:
		q.SourceType, q.SourceInfo = "Import", ""
	case admit.Sync, admit.Bring:
		q.SourceType, q.SourceInfo = "Sync", ""
	case admit.Own:
		q.SourceType, q.SourceInfo = "Stored", ""
	default:
		if from.IP.Is6() && !from.IP.Is4In6() {
			q.SourceType = "IP6"
		}
	}
	if len(from.Authed) > 0 {
		q.Authed = from.Authed[0]
	}
	return q
}

// ask writes the question and books who waits. A program that does not read
// holds up the writer, never past the deadline of the one who asks: the pipe is
// written to in a goroutine of its own.
func (p *Plugin) ask(ctx context.Context, id string, line []byte, answer chan pluginAnswer) error {
	p.mu.Lock()
	if p.in == nil || p.flight >= pluginFlight {
		full := p.in != nil
		p.mu.Unlock()
		if full {
			return errors.New("write-policy plugin: too many events wait for it")
		}
		return errors.New("write-policy plugin: it is not running")
	}
	p.flight++
	p.waiting[id] = append(p.waiting[id], answer)
	in := p.in
	p.mu.Unlock()
	written := make(chan error, 1) // the write's end
	go func() {
		_, err := in.Write(line) // os.File serialises whole writes
		written <- err
	}()
	select {
	case err := <-written:
		if err != nil {
			p.leave(id, answer)
			return fmt.Errorf("write-policy plugin: %w", err)
		}
		return nil
	case <-ctx.Done():
		p.leave(id, answer)
		p.end(in)
		return fmt.Errorf("write-policy plugin: it does not read: %w", ctx.Err())
	}
}

// end stops the program whose input this is: what does not read would
// otherwise gather writers without bound.
func (p *Plugin) end(in io.Writer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.in == in {
		p.in = nil
		p.stop()
	}
}

func (p *Plugin) leave(id string, answer chan pluginAnswer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flight--
	list := p.waiting[id]
	for i, c := range list {
		if c == answer {
			list = append(list[:i:i], list[i+1:]...)
			break
		}
	}
	if len(list) == 0 {
		delete(p.waiting, id)
		return
	}
	p.waiting[id] = list
}
