package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
)

// maxLine is the longest line that is read, in bytes. A longer one is counted
// as malformed; the next is read as if nothing had been.
const maxLine = 8 << 20

// line is one line of an import, with where it came from.
type line struct {
	file   string
	number int    // from 1
	text   []byte // without the line end; nil when it was too long
}

// openLines opens a file, or stdin for "-". What is compressed with gzip or
// zstd is known by its first bytes, whatever it is called.
func openLines(name string, read *atomic.Int64) (io.ReadCloser, error) {
	file := os.Stdin
	if name != "-" {
		var err error
		if file, err = os.Open(name); err != nil {
			return nil, err
		}
	}
	r, err := unpack(counter{file, read})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", name, err), file.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{r, file}, nil
}

// counter counts the bytes that were read, for the progress bar.
type counter struct {
	r io.Reader
	n *atomic.Int64
}

func (c counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

func unpack(r io.Reader) (io.Reader, error) {
	in := bufio.NewReaderSize(r, 256<<10)
	magic, err := in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}): // RFC 1952
		return gzip.NewReader(in)
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}): // RFC 8878
		return zstd.NewReader(in, zstd.WithDecoderMaxWindow(2<<30)) // as zstd --long=31 writes
	}
	return in, nil
}

// readLines hands each line of r to yield until yield says no. Lines are
// copies, theirs to keep.
func readLines(file string, r io.Reader, yield func(line) bool) error {
	in := bufio.NewReaderSize(r, 256<<10)
	for number := 1; ; number++ {
		text, err := readLine(in)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%s ends too early, after line %d: it is compressed and was not written or copied to its end", file, number-1)
		}
		if err != nil {
			return fmt.Errorf("%s after line %d: %w", file, number-1, err)
		}
		if number == 1 {
			text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf")) // a byte order mark
		}
		if !yield(line{file, number, text}) {
			return nil
		}
	}
}

// readLine returns a copy of the next line, trimmed; nil when it is longer
// than maxLine. io.EOF comes only after the last line.
func readLine(in *bufio.Reader) ([]byte, error) {
	text := []byte{}
	for size := 0; ; {
		part, err := in.ReadSlice('\n')
		size += len(part)
		if text != nil {
			text = append(text, part...)
		}
		if size > maxLine {
			text = nil
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if errors.Is(err, io.EOF) && size > 0 {
			err = nil // the last line needs no line end
		}
		if text == nil {
			return nil, err
		}
		if len(bytes.TrimSpace(text)) == 0 {
			return text[:0], err // TrimSpace would make nil of it
		}
		return bytes.TrimSpace(text), err
	}
}

// errNoEvent says that a line is JSON and yet holds no event.
var errNoEvent = errors.New(`neither an event {…} nor ["EVENT", {…}]`)

// errNoJSON says that a line is something else altogether.
var errNoJSON = errors.New("not JSON: want an event {…} on each line")

// eventIn finds the event in a line: the line itself, or the last element of
// ["EVENT", {…}] and ["EVENT", "sub", {…}].
func eventIn(text []byte) ([]byte, error) {
	if text == nil {
		return nil, fmt.Errorf("longer than %s", Size(maxLine).human())
	}
	if len(text) == 0 || text[0] == '{' {
		return text, nil
	}
	if !json.Valid(text) {
		return nil, errNoJSON
	}
	if text[0] != '[' {
		return nil, errNoEvent
	}
	var parts []json.RawMessage
	if err := json.Unmarshal(text, &parts); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	if len(parts) < 2 || len(parts) > 3 || string(parts[0]) != `"EVENT"` {
		return nil, errNoEvent
	}
	return parts[len(parts)-1], nil
}
