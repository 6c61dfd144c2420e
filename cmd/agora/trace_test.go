package main_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// This file reads what strace saw, and knows what would be on the disk if the
// power had gone at any moment.

// traced are the calls that open, place, write or sync a file, and those that
// put bytes on a socket.
const traced = "openat,close,dup,dup3,lseek,write,pwrite64,writev,pwritev,pwritev2,ftruncate,fallocate,fsync,fdatasync,msync,sync_file_range,sendto,sendmsg,sendmmsg"

// call is one system call of a traced process.
type call struct {
	name   string
	fd     int
	path   string // of the file behind fd; "socket:[…]" and the like for others
	flags  string // openat; of an lseek from elsewhere than the start: relative
	data   []byte // what it wrote
	offset int64  // pwrite64, pwritev, lseek
	result int64
}

// moment is the beginning or the end of a call, in the order of the trace.
type moment struct {
	call  *call
	ended bool
}

// readTrace parses `strace -f -y -xx`; each line begins with a thread id.
func readTrace(r io.Reader) ([]moment, error) {
	in := bufio.NewReaderSize(r, 1<<20)
	open := map[string]*call{} // by thread
	var out []moment
	for n := 1; ; n++ {
		line, err := in.ReadString('\n')
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		thread, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		rest = strings.TrimSpace(rest)
		switch {
		case strings.HasPrefix(rest, "+++"), strings.HasPrefix(rest, "---"):
		case strings.HasPrefix(rest, "<... "):
			c := open[thread]
			if c == nil {
				continue // begun before it was traced
			}
			delete(open, thread)
			c.result = resultOf(rest)
			out = append(out, moment{c, true})
		default:
			c, err := parseCall(rest)
			if err != nil {
				return nil, fmt.Errorf("line %d of the trace: %w", n, err)
			}
			out = append(out, moment{c, false})
			if strings.HasSuffix(rest, "<unfinished ...>") {
				open[thread] = c
				continue
			}
			c.result = resultOf(rest)
			out = append(out, moment{c, true})
		}
	}
}

var (
	beginsCall = regexp.MustCompile(`^(\w+)\((?:(\d+)<((?:[^<>]|<[^<>]*>|->)*)>)?`)
	hexBytes   = regexp.MustCompile(`"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?`)
	lastNumber = regexp.MustCompile(`, (-?\d+)(?:\)\s+= | <unfinished)`)
	seeksTo    = regexp.MustCompile(`, (-?\d+), SEEK_SET`)
	returns    = regexp.MustCompile(`\)\s+= (-?\d+)`)
	opensPath  = regexp.MustCompile(`^openat\([^"]*"((?:\\x[0-9a-f]{2})*)", ([A-Z_|0-9]+)`)
)

func parseCall(text string) (*call, error) {
	m := beginsCall.FindStringSubmatch(text)
	if m == nil {
		return nil, fmt.Errorf("not a call: %.80q", text)
	}
	c := &call{name: m[1], path: string(unescape(m[3])), fd: -1}
	if m[2] != "" {
		fd, err := strconv.Atoi(m[2])
		if err != nil {
			return nil, err
		}
		c.fd = fd
	}
	if c.name == "openat" {
		if o := opensPath.FindStringSubmatch(text); o != nil {
			c.path, c.flags = string(unescape(o[1])), o[2]
		}
		return c, nil
	}
	for _, s := range hexBytes.FindAllStringSubmatch(text, -1) {
		if s[2] != "" {
			return nil, fmt.Errorf("strace has cut a string of %s: raise -s", c.name)
		}
		c.data = append(c.data, unescape(s[1])...)
	}
	switch c.name {
	case "pwrite64", "pwritev", "pwritev2", "lseek":
		at := lastNumber.FindStringSubmatch(text)
		if c.name == "lseek" {
			at = seeksTo.FindStringSubmatch(text)
			if at == nil {
				c.flags = "relative"
				return c, nil
			}
		}
		if at == nil {
			return nil, fmt.Errorf("no offset in %.40q…%.80q", text, text[max(0, len(text)-80):])
		}
		var err error
		if c.offset, err = strconv.ParseInt(at[1], 10, 64); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// unescape turns \x2f into /; what is not escaped stays.
func unescape(s string) []byte {
	if !strings.Contains(s, `\x`) {
		return []byte(s)
	}
	out := make([]byte, 0, len(s)/4)
	for i := 0; i < len(s); {
		if strings.HasPrefix(s[i:], `\x`) && i+4 <= len(s) {
			n, err := strconv.ParseUint(s[i+2:i+4], 16, 8)
			if err == nil {
				out = append(out, byte(n))
				i += 4
				continue
			}
		}
		out = append(out, s[i])
		i++
	}
	return out
}

func resultOf(text string) int64 {
	all := returns.FindAllStringSubmatch(text, -1)
	if len(all) == 0 {
		return -1
	}
	n, err := strconv.ParseInt(all[len(all)-1][1], 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// pending is a write that no sync has made durable yet.
type pending struct {
	call   *call
	offset int64
}

// disk is one file as it would be found after the power went: what was synced,
// and nothing else.
type disk struct {
	file    string // the end of its path
	image   []byte // durable
	waiting []pending
	handles map[int]*handle
	syncing map[*call]int // sync under way -> writes it covers
}

// handle is an open file description of the file.
type handle struct {
	dsync bool // every write is durable when it returns
	at    int64
}

func newDisk(file string) *disk {
	return &disk{file: file, handles: map[int]*handle{}, syncing: map[*call]int{}}
}

// see takes one moment; synced says that the durable image may have changed.
func (d *disk) see(m moment) (synced bool, err error) {
	c := m.call
	if !strings.HasSuffix(c.path, d.file) {
		return false, nil
	}
	switch c.name {
	case "openat":
		if m.ended && c.result >= 0 {
			d.handles[int(c.result)] = &handle{dsync: strings.Contains(c.flags, "O_DSYNC") || strings.Contains(c.flags, "O_SYNC")}
		}
	case "close":
		if m.ended {
			delete(d.handles, c.fd)
		}
	case "lseek":
		if c.flags == "relative" {
			return false, fmt.Errorf("lseek on %s from elsewhere than the start", c.path)
		}
		if h := d.handles[c.fd]; m.ended && h != nil {
			h.at = c.offset
		}
	case "write", "pwrite64", "writev", "pwritev":
		return d.write(m)
	case "fsync", "fdatasync":
		return d.sync(m), nil
	case "dup", "dup3", "msync", "ftruncate", "fallocate", "pwritev2":
		return false, fmt.Errorf("%s on %s: this test knows only files that are written by write calls", c.name, c.path)
	}
	return false, nil
}

func (d *disk) write(m moment) (synced bool, err error) {
	c, h := m.call, d.handles[m.call.fd]
	if h == nil {
		return false, fmt.Errorf("%s on descriptor %d of %s, which was never opened", c.name, c.fd, c.path)
	}
	if !m.ended {
		return false, nil
	}
	if c.result != int64(len(c.data)) {
		return false, fmt.Errorf("%s of %d bytes to %s returned %d", c.name, len(c.data), c.path, c.result)
	}
	at := c.offset
	if c.name == "write" || c.name == "writev" {
		at = h.at
		h.at += c.result
	}
	if h.dsync {
		d.apply(at, c.data)
		return true, nil
	}
	d.waiting = append(d.waiting, pending{call: c, offset: at})
	return false, nil
}

// sync covers the writes that had returned when it began, and no others.
func (d *disk) sync(m moment) bool {
	if !m.ended {
		d.syncing[m.call] = len(d.waiting)
		return false
	}
	covered := d.syncing[m.call]
	delete(d.syncing, m.call)
	if m.call.result != 0 {
		return false
	}
	for _, p := range d.waiting[:covered] {
		d.apply(p.offset, p.call.data)
	}
	d.waiting = d.waiting[covered:]
	for c := range d.syncing { // another sync under way covers fewer of what is left
		d.syncing[c] = max(0, d.syncing[c]-covered)
	}
	return true
}

func (d *disk) apply(at int64, data []byte) { d.image = overlay(d.image, at, data) }

func overlay(image []byte, at int64, data []byte) []byte {
	if end := at + int64(len(data)); int64(len(image)) < end {
		image = append(image, make([]byte, end-int64(len(image)))...)
	}
	copy(image[at:], data)
	return image
}

// torn is the image with some of the writes that were under way: the kernel may
// write pages back whenever it likes, in any order.
func (d *disk) torn(keep func() bool) []byte {
	image := bytes.Clone(d.image)
	for _, p := range d.waiting {
		if keep() {
			image = overlay(image, p.offset, p.call.data)
		}
	}
	return image
}

// acks finds OK true in what is written to sockets.
type acks struct{ tails map[int][]byte } // by descriptor: bytes that may be the start of an OK

var saysOK = regexp.MustCompile(`\["OK","([0-9a-f]{64})",true`)

// see returns the ids that this call, which is about to happen, acknowledges.
func (a *acks) see(m moment) (ids []string) {
	c := m.call
	if c.name == "close" {
		delete(a.tails, c.fd)
		return nil
	}
	if m.ended || c.fd < 0 || len(c.data) == 0 || !strings.HasPrefix(c.path, "socket:") && !strings.HasPrefix(c.path, "TCP") {
		return nil
	}
	text := append(a.tails[c.fd], c.data...)
	end := 0
	for _, at := range saysOK.FindAllSubmatchIndex(text, -1) {
		ids = append(ids, string(text[at[2]:at[3]]))
		end = at[1]
	}
	tail := text[max(end, len(text)-80):]
	a.tails[c.fd] = bytes.Clone(tail)
	return ids
}

func TestTracedDiskForgetsWhatWasNotSynced(t *testing.T) {
	trace := strings.Join([]string{
		`7 openat(AT_FDCWD, "\x2f\x64", O_RDWR|O_CREAT, 0600) = 3</d>`,
		`7 openat(AT_FDCWD, "\x2f\x64", O_WRONLY|O_DSYNC) = 4</d>`,
		`7 pwrite64(3<\x2f\x64>, "\x61\x61", 2, 0) = 2`,
		`7 fdatasync(3<\x2f\x64> <unfinished ...>`,
		`8 pwrite64(3<\x2f\x64>, "\x62\x62", 2, 0) = 2`,
		`7 <... fdatasync resumed>) = 0`,
		`7 lseek(3<\x2f\x64>, 4, SEEK_SET) = 4`,
		`7 writev(3<\x2f\x64>, [{iov_base="\x63", iov_len=1}, {iov_base="\x64", iov_len=1}], 2) = 2`,
		`7 pwrite64(4<\x2f\x64>, "\x65", 1, 2) = 1`,
		`7 write(9<socket:[5]>, "` + escape(`["OK","`+strings.Repeat("ab", 32)+`",true,""]`) + `", 80) = 80`, ""}, "\n")
	moments, err := readTrace(strings.NewReader(trace))
	if err != nil {
		t.Fatal(err)
	}
	d, a := newDisk("/d"), &acks{tails: map[int][]byte{}}
	var images []string
	var ids []string
	for _, m := range moments {
		synced, err := d.see(m)
		if err != nil {
			t.Fatal(err)
		}
		if synced {
			images = append(images, string(d.image))
		}
		ids = append(ids, a.see(m)...)
	}
	if got, want := fmt.Sprintf("%q", images), `["aa" "aae"]`; got != want {
		t.Errorf("images after each sync: %s, want %s", got, want)
	}
	if got, want := string(d.torn(func() bool { return true })), "bbe\x00cd"; got != want {
		t.Errorf("with all that was under way: %q, want %q", got, want)
	}
	if len(ids) != 1 || ids[0] != strings.Repeat("ab", 32) {
		t.Errorf("acknowledged: %v", ids)
	}
}

func escape(s string) string {
	var b strings.Builder
	for i := range len(s) {
		fmt.Fprintf(&b, `\x%02x`, s[i])
	}
	return b.String()
}

func itoa(n int) string { return strconv.Itoa(n) }

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// readTraceFile parses a trace on disk.
func readTraceFile(t *testing.T, name string) []moment {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	moments, err := readTrace(f)
	if err != nil {
		t.Fatal(err)
	}
	return moments
}
