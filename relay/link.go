package relay

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// link writes frames to one socket. Whoever has something short to say puts
// it into the outbox and tries one write that does not block; what the socket
// would not take is left to the session's answerer, which alone may block.
type link struct {
	nc       net.Conn
	mem      *memory
	raw      syscall.RawConn // nil when nc is no plain socket (TLS): then only the answerer writes
	writeRaw func(fd uintptr) bool
	deflated bool   // the client has agreed to permessage-deflate
	poke     func() // wakes the answerer

	lastRead atomic.Int64 // unix seconds, of the last frame that came

	mu      sync.Mutex // guards what follows
	out     *[]byte    // frames, at most outboxFrames and outboxBytes; when full: subscriptions fall behind and re-read the log
	sent    int        // bytes of out that the socket has taken
	frames  int        // in out, the partly sent one included
	queued  bool       // somebody will flush
	writing bool       // the answerer is writing what it took from out
	closed  bool
	now     []byte // argument and results of writeRaw
	n       int
	err     error
}

const (
	outboxFrames = 256
	outboxBytes  = 1 << 20
	writeChunk   = 64 << 10 // bytes per blocking write, each with a deadline of its own
)

var errLinkClosed = errors.New("the connection is closed")

func newLink(nc net.Conn, mem *memory, deflated bool, poke func()) *link {
	l := &link{nc: nc, mem: mem, deflated: deflated, poke: poke}
	l.lastRead.Store(time.Now().Unix())
	if tcp, ok := nc.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			l.raw = raw
		}
	}
	l.writeRaw = func(fd uintptr) bool {
		l.n, l.err = sendNow(fd, l.now)
		return true // never wait here
	}
	return l
}

// attempt writes once without blocking and returns how much went. It is
// called with mu held and no blocking write under way.
func (l *link) attempt(b []byte) int {
	if l.raw == nil || len(b) == 0 {
		return 0
	}
	l.now, l.n, l.err = b, 0, nil
	err := l.raw.Write(l.writeRaw)
	l.now = nil
	if err != nil || l.n < 0 {
		return 0 // the answerer will meet the error
	}
	return l.n
}

// room reports whether the outbox takes another n bytes.
func (l *link) room(n int) bool {
	if l.out == nil {
		return true
	}
	return l.frames < outboxFrames && len(*l.out)-l.sent+n <= outboxBytes
}

// box is the outbox to append to; called with mu held.
func (l *link) box() *[]byte {
	if l.out == nil {
		l.out = l.mem.slips.take()
	}
	return l.out
}

// say puts one small message into the outbox whatever stands there, and
// flushes. For what is said a few times in a connection's life.
func (l *link) say(op byte, payload []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	b := l.box()
	if op == opText {
		*b = l.mem.appendText(*b, payload, l.deflated)
	} else {
		*b = append(appendHeader(*b, op, len(payload)), payload...)
	}
	l.frames++
	l.flushLocked()
}

// sayNow sends frames if nothing waits before them, and reports whether it
// did.
func (l *link) sayNow(frames []byte) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.clear() {
		return false
	}
	l.sendLocked(frames)
	return true
}

// clear reports whether nothing waits before what is sent now; called with mu
// held.
func (l *link) clear() bool { return !l.closed && !l.writing && l.out == nil && l.raw != nil }

// sendLocked sends frames on a clear link. What the socket does not take is
// left to the answerer.
func (l *link) sendLocked(frames []byte) {
	if n := l.attempt(frames); n < len(frames) {
		b := l.box()
		*b = append(*b, frames[n:]...)
		l.frames++
		l.poke()
	}
}

// pong answers a ping, unless the client has left so much unread that it does
// not matter any more.
func (l *link) pong(data string) {
	l.mu.Lock()
	room := l.room(len(data))
	l.mu.Unlock()
	if room {
		l.say(opPong, []byte(data))
	}
}

// flush sends what the outbox holds, as far as the socket takes it now.
func (l *link) flush() {
	l.mu.Lock()
	l.queued = false
	l.flushLocked()
	l.mu.Unlock()
}

func (l *link) flushLocked() {
	if l.closed || l.writing || l.out == nil {
		return
	}
	l.sent += l.attempt((*l.out)[l.sent:])
	if l.sent < len(*l.out) {
		l.poke()
		return
	}
	l.emptied()
}

// emptied gives the outbox's memory back; called with mu held.
func (l *link) emptied() {
	l.mem.slips.give(l.out)
	l.out, l.sent, l.frames = nil, 0, 0
}

// drain writes out what the outbox holds, waiting for the socket.
func (l *link) drain(stall time.Duration) error { return l.write(nil, stall) }

// write sends frames after all that the outbox holds, waiting for the socket.
// Only the session's answerer calls it.
func (l *link) write(frames []byte, stall time.Duration) error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return errLinkClosed
	}
	if l.out == nil {
		frames = frames[l.attempt(frames):]
	}
	for l.out != nil || len(frames) > 0 {
		box, from := l.out, l.sent
		l.out, l.sent, l.frames = nil, 0, 0
		l.writing = true
		l.mu.Unlock()
		err := l.writeSlow(box, from, frames, stall)
		frames = nil
		l.mu.Lock()
		l.writing = false
		if err != nil {
			l.mu.Unlock()
			return err
		}
	}
	l.mu.Unlock()
	return nil
}

func (l *link) writeSlow(box *[]byte, from int, frames []byte, stall time.Duration) error {
	if box != nil {
		err := l.writeChunks((*box)[from:], stall)
		l.mem.slips.give(box)
		if err != nil {
			return err
		}
	}
	if err := l.writeChunks(frames, stall); err != nil {
		return err
	}
	return l.nc.SetWriteDeadline(time.Time{})
}

// writeChunks waits for the socket as long as it takes something now and then.
func (l *link) writeChunks(b []byte, stall time.Duration) error {
	for len(b) > 0 {
		if err := l.nc.SetWriteDeadline(time.Now().Add(stall)); err != nil {
			return err
		}
		n, err := l.nc.Write(b[:min(len(b), writeChunk)])
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// close drops the connection. Blocked reads and writes return.
func (l *link) close() {
	l.mu.Lock()
	closed := l.closed
	l.closed = true
	if !closed && l.out != nil && !l.writing {
		l.emptied()
	}
	l.mu.Unlock()
	if !closed {
		_ = l.nc.Close() // it is going either way
	}
}
