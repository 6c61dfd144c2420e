package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// contender is a relay that can be measured: how to start it on an address
// with a directory of its own.
type contender struct {
	Name    string
	Command func(listen, dir string) ([]string, error)
}

// server is a running relay.
type server struct {
	URL     string
	PID     int
	Dir     string        // its data; "" when we have not started it
	Started time.Duration // from exec to the first answered REQ
	cmd     *exec.Cmd
	out     *bytes.Buffer // what it printed, shown when it dies
	done    chan struct{} // closed when it has ended
}

// freeAddress is a port nobody listens on at the moment.
func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// start runs a contender on dir and waits until it answers a REQ.
func start(ctx context.Context, c contender, dir string) (*server, error) {
	listen, err := freeAddress()
	if err != nil {
		return nil, err
	}
	args, err := c.Command(listen, dir)
	if err != nil {
		return nil, err
	}
	s := &server{URL: "ws://" + listen, Dir: dir, out: &bytes.Buffer{}, done: make(chan struct{})}
	s.cmd = exec.Command(args[0], args[1:]...)
	s.cmd.Stdout, s.cmd.Stderr = s.out, s.out
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // no relay outlives a bench that is killed
	began := time.Now()
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	s.PID = s.cmd.Process.Pid
	go func() { // ends with the process
		_ = s.cmd.Wait() // how it ended shows in out
		close(s.done)
	}()
	if err := s.awaken(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%s does not answer: %w", c.Name, err), s.stop())
	}
	s.Started = time.Since(began)
	return s, nil
}

// awaken asks until the relay answers a REQ, for two minutes at most.
func (s *server) awaken(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		err := s.answers(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-s.done:
			return fmt.Errorf("it ended: %s", s.out)
		case <-ctx.Done():
			return errors.Join(err, ctx.Err())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (s *server) answers(ctx context.Context) error {
	c, err := dial(ctx, s.URL, 4096)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	_, err = c.ask("up", `{"kinds":[1],"limit":1}`, nil)
	return err
}

// stop ends the relay politely, and after 15 s not politely.
func (s *server) stop() error {
	if s.cmd == nil {
		return nil
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-s.done:
		return nil
	case <-time.After(15 * time.Second):
	}
	if err := s.cmd.Process.Kill(); err != nil {
		return err
	}
	<-s.done
	return nil
}

// during starts a contender on a fresh directory under dir, calls use and
// removes everything again.
func during(ctx context.Context, c contender, dir string, use func(*server) error) (err error) {
	data, err := os.MkdirTemp(dir, "data-*")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(data) }()
	s, err := start(ctx, c, data)
	if err != nil {
		return err
	}
	err = use(s)
	if err != nil {
		err = fmt.Errorf("%s: %w", c.Name, err)
	}
	return errors.Join(err, s.stop())
}

// khatru is the rival: the peers module's command.
func khatru(binary, name string) contender {
	return contender{Name: name, Command: func(listen, dir string) ([]string, error) {
		return []string{binary, "-listen", listen, "-data", filepath.Join(dir, "db")}, nil
	}}
}
