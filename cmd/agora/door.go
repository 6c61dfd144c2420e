package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"agora/relay/admit"
	"agora/relay/wire"

	"github.com/nbd-wtf/go-nostr"
)

// The door is a unix socket in the data directory, mode 0600 in a directory of
// mode 0700, by which import and sync of the same user reach the one process
// that writes. The caller sends one line that names the origin, then events,
// one a line; the door answers each, in order, with a verdict as one JSON line.

// doorHello is the caller's first line.
type doorHello struct {
	Agora  int          `json:"agora"` // version of this conversation, 1
	Origin admit.Origin `json:"origin"`
}

// doorFlights is how many events of one caller may be under way at once.
const doorFlights = 1024

// errNoDoor says that no relay answers at the door.
var errNoDoor = errors.New("no relay is listening at the door")

// doorPath is an address for the socket in dir. An address of a unix socket
// may have 108 bytes (unix(7)), so a longer one goes by way of the open
// directory, which must stay open while the path is used.
func doorPath(dir string) (path string, done io.Closer, err error) {
	path = filepath.Join(dir, doorFile)
	if len(path) < 100 {
		return path, io.NopCloser(nil), nil
	}
	open, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	return "/proc/self/fd/" + strconv.Itoa(int(open.Fd())) + "/" + doorFile, open, nil
}

// listenDoor opens the door. The caller holds the lock of the directory, so
// whatever socket lies there belongs to nobody.
func listenDoor(ctx context.Context, dir string) (net.Listener, error) {
	path, done, err := doorPath(dir)
	if err != nil {
		return nil, fmt.Errorf("door: %w", err)
	}
	defer done.Close()
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("door: %w", err)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("door: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("door: %w", err), l.Close())
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // the path may be a way through a closed directory
	return l, nil
}

// door serves callers until ctx ends.
type door struct {
	listener net.Listener
	in       publisher
	log      *slog.Logger
}

// Run answers callers. It returns when ctx has ended and the last one is done.
func (d *door) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { d.listener.Close() })
	defer stop()
	var callers sync.WaitGroup
	defer callers.Wait()
	for {
		conn, err := d.listener.Accept()
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("door: %w", err)
		}
		callers.Go(func() {
			if err := d.answer(ctx, conn); err != nil && ctx.Err() == nil {
				d.log.Warn("a caller at the door was lost", "error", err)
			}
		})
	}
}

// answer serves one caller: this goroutine reads and publishes, another writes
// the verdicts in the order of the lines.
func (d *door) answer(ctx context.Context, conn net.Conn) error {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	in := bufio.NewReaderSize(conn, 64<<10)
	var hello doorHello
	text, err := readLine(in)
	if errors.Is(err, io.EOF) {
		return nil // it only looked whether anybody is here
	}
	if err != nil || json.Unmarshal(text, &hello) != nil || hello.Agora != 1 || (hello.Origin != admit.Import && hello.Origin != admit.Sync) {
		return errors.Join(errors.New("it did not speak our language"), err)
	}
	flights := make(chan chan verdict, doorFlights) // events; when full: the caller is not read
	written := make(chan error, 1)
	go func() { written <- writeVerdicts(conn, flights) }()
	err = d.publishLines(ctx, in, hello.Origin, flights)
	close(flights)
	return errors.Join(err, <-written)
}

func (d *door) publishLines(ctx context.Context, in *bufio.Reader, origin admit.Origin, flights chan<- chan verdict) error {
	for {
		text, err := readLine(in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		answer := make(chan verdict, 1) // one verdict, never full
		flights <- answer
		ev, record, err := wire.ParseEvent(text)
		if err != nil {
			answer <- verdict{malformed, err.Error()}
			continue
		}
		if err := d.in.publish(ctx, ev, record, origin, func(v verdict) { answer <- v }); err != nil {
			answer <- verdict{failed, err.Error()}
		}
	}
}

// writeVerdicts writes until flights is closed. After a failed write it goes
// on taking, so that the reader never waits for it.
func writeVerdicts(w io.Writer, flights <-chan chan verdict) error {
	out := bufio.NewWriter(w)
	enc := json.NewEncoder(out)
	var failed error
	for answer := range flights {
		v := <-answer
		if failed == nil {
			failed = enc.Encode(v)
		}
		if failed == nil && len(flights) == 0 {
			failed = out.Flush()
		}
	}
	if failed != nil {
		return failed
	}
	return out.Flush()
}

// doorCaller is the other side: a publisher that goes through the door.
type doorCaller struct {
	conn net.Conn

	mu      sync.Mutex // guards out, and keeps flights in the order of the lines
	out     *bufio.Writer
	origin  admit.Origin
	said    bool
	flights chan func(verdict) // events under way; when full: publish waits
	unsent  chan struct{}      // pokes the flusher
	ended   sync.WaitGroup     // both goroutines
}

// callDoor reaches the running relay of the data directory, or says errNoDoor.
func callDoor(ctx context.Context, dir string) (*doorCaller, error) {
	path, done, err := doorPath(dir)
	if err != nil {
		return nil, err
	}
	defer done.Close()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoDoor, err)
	}
	return newDoorCaller(conn), nil
}

func newDoorCaller(conn net.Conn) *doorCaller {
	c := &doorCaller{
		conn: conn, out: bufio.NewWriterSize(conn, 64<<10),
		flights: make(chan func(verdict), doorFlights), // events; when full: publish waits
		unsent:  make(chan struct{}, 1),                // pokes; when full: one is already waiting
	}
	c.ended.Go(c.readVerdicts)
	c.ended.Go(c.flush)
	return c
}

func (c *doorCaller) publish(_ context.Context, _ *nostr.Event, record []byte, origin admit.Origin, done func(verdict)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.said {
		c.said, c.origin = true, origin
		if err := json.NewEncoder(c.out).Encode(doorHello{1, origin}); err != nil {
			return err
		}
	}
	if origin != c.origin {
		return fmt.Errorf("one call at the door has one origin, not %s and %s", c.origin, origin)
	}
	select {
	case c.flights <- done:
	default: // the relay must answer before there is room, so it must have heard all
		if err := c.out.Flush(); err != nil {
			return err
		}
		c.flights <- done
	}
	_, _ = c.out.Write(record) // errors stick: flush closes, and readVerdicts sees the end of the connection
	_ = c.out.WriteByte('\n')
	select {
	case c.unsent <- struct{}{}:
	default:
	}
	return nil
}

// flush sends what has been written, as often as the socket takes it: many
// lines at a time when there are many, one at once when there is one.
func (c *doorCaller) flush() {
	for range c.unsent {
		c.mu.Lock()
		err := c.out.Flush()
		c.mu.Unlock()
		if err != nil {
			c.conn.Close()
		}
	}
}

// readVerdicts gives each event its verdict. When the relay goes away, those
// under way have failed, and so do all that follow.
func (c *doorCaller) readVerdicts() {
	in := json.NewDecoder(c.conn)
	var lost error
	for done := range c.flights {
		var v verdict
		if lost == nil {
			lost = in.Decode(&v)
		}
		if lost != nil {
			v = verdict{failed, "the relay went away: " + lost.Error()}
		}
		done(v)
	}
}

// close says that nothing more comes, and waits for the last verdict.
func (c *doorCaller) close() error {
	c.mu.Lock()
	err := c.out.Flush()
	c.mu.Unlock()
	err = errors.Join(err, c.conn.(*net.UnixConn).CloseWrite())
	close(c.flights)
	close(c.unsent)
	c.ended.Wait()
	return errors.Join(err, c.conn.Close())
}
