package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
)

// The bare server is the measure for fan-out: it takes an event and puts the
// same bytes on every listener's socket with one net.Conn.Write each. It checks
// nothing, stores nothing and matches nothing. It is a process of its own, so
// that its processor time is not the client's.

// bareSelf is the bare server as a contender: this very program.
func bareSelf() contender {
	return contender{Name: "bare net.Conn.Write", Command: func(listen, _ string) ([]string, error) {
		self, err := os.Executable()
		return []string{self, "bare", "--listen", listen}, err
	}}
}

// bareServer owns the listeners.
type bareServer struct {
	mu        sync.Mutex // guards what follows
	listeners map[net.Conn]bool
}

// serveBare runs until ctx ends.
func serveBare(ctx context.Context, listen string) error {
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	b := &bareServer{listeners: map[net.Conn]bool{}}
	var wg sync.WaitGroup
	defer wg.Wait()
	for {
		c, err := ln.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		stop := context.AfterFunc(ctx, func() { c.Close() })
		wg.Go(func() {
			defer stop()
			b.serve(c)
		})
	}
}

// serve speaks just enough of the protocol for the client to be the same one.
func (b *bareServer) serve(raw net.Conn) {
	defer raw.Close()
	defer b.forget(raw)
	c := &conn{Conn: raw, in: bufio.NewReaderSize(raw, 4096)}
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return
		}
		if line == "\r\n" {
			break
		}
	}
	if _, err := fmt.Fprint(raw, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"); err != nil {
		return
	}
	for {
		m, err := c.next()
		if err != nil {
			return
		}
		if err := b.answer(raw, m); err != nil {
			return
		}
	}
}

func (b *bareServer) answer(raw net.Conn, m []byte) error {
	switch {
	case bytes.HasPrefix(m, []byte(`["REQ","`)):
		sub, _, _ := strings.Cut(string(m[8:]), `"`)
		b.mu.Lock()
		b.listeners[raw] = true
		b.mu.Unlock()
		_, err := raw.Write(serverFrame(nil, []byte(`["EOSE","`+sub+`"]`)))
		return err
	case bytes.HasPrefix(m, []byte(`["EVENT",`)):
		b.deliver(serverFrame(nil, append([]byte(`["EVENT","f",`), m[len(`["EVENT",`):]...)))
		id, err := idOf(m)
		if err != nil {
			return err
		}
		_, err = raw.Write(serverFrame(nil, fmt.Appendf(nil, `["OK","%x",true,""]`, id)))
		return err
	}
	return nil
}

// deliver is what is measured.
func (b *bareServer) deliver(frame []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.listeners {
		if _, err := c.Write(frame); err != nil {
			delete(b.listeners, c)
		}
	}
}

func (b *bareServer) forget(c net.Conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.listeners, c)
}

// serverFrame is an unmasked text frame.
func serverFrame(dst, payload []byte) []byte {
	masked := appendFrame(dst, payload)
	head := len(masked) - len(payload)
	masked[1] &^= 0x80
	return append(masked[:head-4], payload...)
}
