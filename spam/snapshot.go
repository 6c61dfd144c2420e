package spam

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"unsafe"
)

const snapshotMagic = "AGSPAMW2"

// ErrSnapshot says that a snapshot cannot be used: the window begins empty.
var ErrSnapshot = errors.New("the spam window's snapshot cannot be used")

// Bytes is the size of a window, whatever it holds.
func (w *Window) Bytes() int { return int(unsafe.Sizeof(*w.mem)) }

// Save writes the window to a file, by a temporary one beside it.
func (w *Window) Save(path string) (err error) {
	w.mu.Lock()
	held := new(memory)
	*held = *w.mem
	w.mu.Unlock()
	file, err := os.CreateTemp(filepath.Dir(path), ".spam-window-*")
	if err != nil {
		return fmt.Errorf("save the spam window: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("save the spam window: %w", errors.Join(err, file.Close(), os.Remove(file.Name())))
		}
	}()
	sum := crc32.NewIEEE()
	out := bufio.NewWriterSize(io.MultiWriter(file, sum), 1<<20)
	if _, err = out.WriteString(snapshotMagic); err != nil {
		return err
	}
	if err = binary.Write(out, binary.LittleEndian, held); err != nil {
		return err
	}
	if err = out.Flush(); err != nil {
		return err
	}
	if err = binary.Write(file, binary.LittleEndian, sum.Sum32()); err != nil {
		return err
	}
	if err = errors.Join(file.Sync(), file.Close()); err != nil {
		return err
	}
	return os.Rename(file.Name(), path)
}

// Load replaces the window by what was saved. An error wraps ErrSnapshot when
// the file is not one of ours or damaged, and os.ErrNotExist when there is none;
// the window is then as it was.
func (w *Window) Load(path string) error {
	raw, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("load the spam window: %w", err)
	}
	n := len(raw) - 4
	if n < len(snapshotMagic) || string(raw[:len(snapshotMagic)]) != snapshotMagic {
		return fmt.Errorf("%w: %s does not begin as one", ErrSnapshot, path)
	}
	if crc32.ChecksumIEEE(raw[:n]) != binary.LittleEndian.Uint32(raw[n:]) {
		return fmt.Errorf("%w: the checksum of %s does not match", ErrSnapshot, path)
	}
	held := new(memory)
	if size := binary.Size(held); size != n-len(snapshotMagic) {
		return fmt.Errorf("%w: %s has %d bytes, not %d", ErrSnapshot, path, n-len(snapshotMagic), size)
	}
	if _, err := binary.Decode(raw[len(snapshotMagic):n], binary.LittleEndian, held); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrSnapshot, path, err)
	}
	w.mu.Lock()
	w.mem = held
	w.mu.Unlock()
	return nil
}
