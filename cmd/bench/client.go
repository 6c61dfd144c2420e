package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"
)

// The client shares the cores with the relay it measures, so it is frugal:
// frames are built beforehand, rows are counted by their first bytes and never
// decoded, and nothing is compressed.

// conn is a client's websocket.
type conn struct {
	net.Conn
	in   *bufio.Reader
	part []byte // a fragmented message so far
}

// hostOf gives the address to dial for ws://host:port/path.
func hostOf(rawURL string) (string, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return "", err
	}
	if u.Scheme != "ws" || u.Host == "" {
		return "", fmt.Errorf("%q is not a ws://host:port address", rawURL)
	}
	if u.Port() == "" {
		return u.Host + ":80", nil
	}
	return u.Host, nil
}

// dial opens a websocket; buffer is the size in bytes of its read buffer.
func dial(ctx context.Context, rawURL string, buffer int) (*conn, error) {
	host, err := hostOf(rawURL)
	if err != nil {
		return nil, err
	}
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", host)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: raw, in: bufio.NewReaderSize(raw, buffer)}
	if err := c.shake(host); err != nil {
		raw.Close()
		return nil, fmt.Errorf("websocket handshake with %s: %w", rawURL, err)
	}
	return c, nil
}

func (c *conn) shake(host string) error {
	if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	_, err := fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n", host)
	if err != nil {
		return err
	}
	status, err := c.in.ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(status, "HTTP/1.1 101 ") {
		return fmt.Errorf("the answer is %q", strings.TrimSpace(status))
	}
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return err
		}
		if line == "\r\n" {
			return c.SetDeadline(time.Time{})
		}
	}
}

// appendFrame puts payload on dst as one masked text frame. The key is zero,
// which is legal and leaves the payload as it is; the relay unmasks as ever.
func appendFrame(dst, payload []byte) []byte {
	dst = append(dst, 0x81)
	switch n := len(payload); {
	case n < 126:
		dst = append(dst, 0x80|byte(n))
	case n < 1<<16:
		dst = append(dst, 0x80|126)
		dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	default:
		dst = append(dst, 0x80|127)
		dst = binary.BigEndian.AppendUint64(dst, uint64(n))
	}
	dst = append(dst, 0, 0, 0, 0)
	return append(dst, payload...)
}

// say sends one text message.
func (c *conn) say(message string) error {
	_, err := c.Write(appendFrame(nil, []byte(message)))
	return err
}

var errClosed = errors.New("the relay closed the websocket") // sentinel

// next returns the next text message; it is valid until the call after.
func (c *conn) next() ([]byte, error) {
	for {
		op, fin, payload, err := c.frame()
		if err != nil {
			return nil, err
		}
		switch op {
		case 8:
			return nil, fmt.Errorf("%w: %q", errClosed, payload)
		case 9:
			pong := appendFrame(nil, payload)
			pong[0] = 0x8a
			if _, err := c.Write(pong); err != nil {
				return nil, err
			}
			continue
		case 10:
			continue
		}
		if fin && len(c.part) == 0 {
			return payload, nil
		}
		c.part = append(c.part, payload...)
		if fin {
			whole := c.part
			c.part = nil
			return whole, nil
		}
	}
}

// frame reads one frame; the payload lies in the read buffer when it fits.
func (c *conn) frame() (op byte, fin bool, payload []byte, err error) {
	head, err := c.in.Peek(2)
	if err != nil {
		return 0, false, nil, err
	}
	op, fin = head[0]&0x0f, head[0]&0x80 != 0
	size, skip := int(head[1]&0x7f), 2
	switch size {
	case 126:
		skip = 4
	case 127:
		skip = 10
	}
	masked := head[1]&0x80 != 0
	if head, err = c.in.Peek(skip); err != nil {
		return 0, false, nil, err
	}
	switch skip {
	case 4:
		size = int(binary.BigEndian.Uint16(head[2:]))
	case 10:
		size = int(binary.BigEndian.Uint64(head[2:]))
	}
	if masked { // by our own client, whose key is zero
		skip += 4
	}
	if _, err = c.in.Discard(skip); err != nil {
		return 0, false, nil, err
	}
	payload, err = c.take(size)
	return op, fin, payload, err
}

func (c *conn) take(size int) ([]byte, error) {
	if size <= c.in.Size() {
		payload, err := c.in.Peek(size)
		if err == nil {
			_, err = c.in.Discard(size)
		}
		return payload, err
	}
	payload := make([]byte, size)
	for n := 0; n < size; {
		m, err := c.in.Read(payload[n:])
		if err != nil {
			return nil, err
		}
		n += m
	}
	return payload, nil
}

// ask sends a REQ and reads to its EOSE; each is called with every row.
func (c *conn) ask(sub, filter string, each func(row []byte)) (rows int, err error) {
	if err := c.say(`["REQ","` + sub + `",` + filter + `]`); err != nil {
		return 0, err
	}
	for {
		m, err := c.next()
		if err != nil {
			return rows, err
		}
		switch {
		case bytes.HasPrefix(m, []byte(`["EVENT"`)):
			rows++
			if each != nil {
				each(m)
			}
		case bytes.HasPrefix(m, []byte(`["EOSE"`)):
			return rows, nil
		case bytes.HasPrefix(m, []byte(`["CLOSED"`)), bytes.HasPrefix(m, []byte(`["NOTICE"`)):
			return rows, fmt.Errorf("the relay answers REQ %s with %s", filter, m)
		}
	}
}
