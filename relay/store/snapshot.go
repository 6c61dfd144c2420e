package store

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Snapshot is the file in which a projection keeps what it has made of the log
// up to a position. It spares a start the reading of the log, and is a
// convenience: one that is missing, damaged or foreign costs time, not truth.
//
//	magic, token (16 bytes), position (8), body, SHA-256 of all before (32)
//
// The token also stands in the store, so that a snapshot is never used with
// another store, nor with an older copy of its own.
type Snapshot struct {
	Store *Store
	Path  string // of the file
	Magic string // what the file begins with: which projection, which version
	Token string // key of the store's meta values
}

// ErrSnapshot is a file that cannot be used; the log can be read instead.
var ErrSnapshot = errors.New("the snapshot cannot be used")

// ErrUntold is a snapshot that was written, but the store does not know its
// token: it will not be used unless it is written again.
var ErrUntold = errors.New("the token of the snapshot could not be stored")

const snapshotTokenSize = 16

// Load reads the file. A nil body without an error means that there is none.
func (s Snapshot) Load() (body []byte, at Pos, err error) {
	file, err := os.ReadFile(s.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read a snapshot: %w", err)
	}
	token, err := s.Store.Meta(s.Token)
	if err != nil {
		return nil, 0, fmt.Errorf("read the token of a snapshot: %w", err)
	}
	body, at, err = s.Open(file, token)
	if head := s.Store.Head(); err == nil && at > head {
		return nil, 0, fmt.Errorf("%w: it is at position %d, the log ends at %d", ErrSnapshot, at, head)
	}
	return body, at, err
}

// Open checks what a file says of itself, and gives its body.
func (s Snapshot) Open(file, token []byte) (body []byte, at Pos, err error) {
	head := len(s.Magic) + snapshotTokenSize + 8
	if len(file) < head+sha256.Size || !bytes.HasPrefix(file, []byte(s.Magic)) {
		return nil, 0, fmt.Errorf("%w: it is not of this version", ErrSnapshot)
	}
	all, sum := file[:len(file)-sha256.Size], file[len(file)-sha256.Size:]
	if want := sha256.Sum256(all); !bytes.Equal(want[:], sum) {
		return nil, 0, fmt.Errorf("%w: its checksum is wrong", ErrSnapshot)
	}
	if !bytes.Equal(token, all[len(s.Magic):len(s.Magic)+snapshotTokenSize]) {
		return nil, 0, fmt.Errorf("%w: it belongs to another store, or to a later state of this one", ErrSnapshot)
	}
	return all[head:], Pos(binary.BigEndian.Uint64(all[head-8:])), nil
}

// Save writes the file anew, whole or not at all.
func (s Snapshot) Save(ctx context.Context, body []byte, at Pos) error {
	token := make([]byte, snapshotTokenSize)
	_, _ = rand.Read(token) // never fails, by its contract
	file := make([]byte, 0, len(s.Magic)+len(token)+8+len(body)+sha256.Size)
	file = append(append(file, s.Magic...), token...)
	file = append(binary.BigEndian.AppendUint64(file, uint64(at)), body...)
	sum := sha256.Sum256(file)
	if err := writeWhole(s.Path, append(file, sum[:]...)); err != nil {
		return fmt.Errorf("write a snapshot: %w", err)
	}
	if err := s.Store.SetMeta(ctx, s.Token, token); err != nil {
		return fmt.Errorf("%w: %w", ErrUntold, err)
	}
	return nil
}

// Remove removes the file, if there is one.
func (s Snapshot) Remove() error {
	if err := os.Remove(s.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove a snapshot: %w", err)
	}
	return nil
}

// writeWhole puts a file in place in one step, and on the disk.
func writeWhole(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name()) // the first error is the one to tell
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
