package main

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// What lies in the data directory. A backup holds store and secret.key; all
// the rest is made again.
const (
	storeDir   = "store"      // the log, an LMDB environment
	searchDir  = "search"     // the word index
	graphDir   = "graph"      // snapshot of the social graph
	feedsDir   = "feeds"      // snapshot of the tallies
	secretFile = "secret.key" // 32 bytes in hex from which all keys of the relay are derived
	lockFile   = "agora.lock" // held by the one process that writes
	doorFile   = "agora.sock" // the running relay's door for import and sync
)

// dataDir is a data directory held for writing.
type dataDir struct {
	path string
	lock *os.File
}

// holder is what the lock file says about the process that holds it.
type holder struct {
	PID     int    `json:"pid"`
	Command string `json:"command"` // serve, import, …
	URL     string `json:"url,omitempty"`
}

// busyError says that another process holds the data directory.
type busyError struct {
	path string
	by   holder
}

func (e *busyError) Error() string {
	by := fmt.Sprintf("agora %s, process %d", e.by.Command, e.by.PID)
	if e.by.PID == 0 {
		by = "another process"
	}
	if e.by.URL != "" {
		by += ", serving " + e.by.URL
	}
	return fmt.Sprintf("the data directory %s is in use by %s: stop it first, or name another directory with --data", e.path, by)
}

// holdData makes the directory when it is missing and takes its lock. The
// kernel lets go of the lock when the process ends, however it ends.
func holdData(path string, by holder) (*dataDir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	file, err := os.OpenFile(filepath.Join(path, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		defer file.Close()
		return nil, &busyError{path, readHolder(file)}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", file.Name(), err), file.Close())
	}
	d := &dataDir{path: path, lock: file}
	if err := d.sign(by); err != nil {
		return nil, errors.Join(err, d.release())
	}
	return d, nil
}

// sign writes into the lock file who holds it.
func (d *dataDir) sign(by holder) error {
	by.PID = os.Getpid()
	text, err := json.Marshal(by)
	if err != nil {
		return err
	}
	if err := d.lock.Truncate(0); err != nil {
		return fmt.Errorf("lock file: %w", err)
	}
	if _, err := d.lock.WriteAt(append(text, '\n'), 0); err != nil {
		return fmt.Errorf("lock file: %w", err)
	}
	return nil
}

func readHolder(file *os.File) holder {
	var by holder
	text, err := io.ReadAll(io.LimitReader(file, 4096))
	if err != nil || json.Unmarshal(text, &by) != nil {
		return holder{} // it is being written right now: the message does without
	}
	return by
}

// servedFrom is the address of the relay that serves a data directory now;
// empty: none does.
func servedFrom(path string) string {
	file, err := os.Open(filepath.Join(path, lockFile))
	if err != nil {
		return ""
	}
	defer file.Close()
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_SH|syscall.LOCK_NB); !errors.Is(err, syscall.EWOULDBLOCK) {
		return "" // nobody holds it; closing lets go of what this took
	}
	return readHolder(file).URL
}

func (d *dataDir) release() error { return d.lock.Close() }

// keepWritersOut makes sure that nobody writes a directory which we may read
// and not write, so that it can be read without LMDB's lock file. It takes a
// share of the lock that a writer needs, until this program ends. Where there
// is no lock file nobody has written since it was copied; whoever may make one
// must not begin to serve while we read.
func keepWritersOut(path string) error {
	fd, err := syscall.Open(filepath.Join(path, lockFile), syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = syscall.Flock(fd, syscall.LOCK_SH|syscall.LOCK_NB)
	}
	if err != nil {
		return fmt.Errorf("%s cannot be written by this user, and may be in use by another: run this as the user who serves it, or on a backup (%w)", path, err)
	}
	return nil
}

// existingData refuses a directory that holds no store, so that a mistyped
// --data is an error and not an empty answer.
func existingData(path string) error {
	_, err := os.Stat(filepath.Join(path, storeDir))
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s holds no agora data: name the directory with --data (serve and import make a new one)", path)
	}
	return err
}

// secret is the relay's one secret. Its keys are derived from it.
type secret [32]byte

// loadSecret reads the secret of the data directory, or makes it.
func loadSecret(dir string) (secret, error) {
	path := filepath.Join(dir, secretFile)
	s, err := readSecret(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	if _, err := rand.Read(s[:]); err != nil {
		return s, err
	}
	return s, writeSecret(path, s)
}

func readSecret(path string) (s secret, err error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return s, err
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || copy(s[:], key) != len(s) || len(key) != len(s) {
		return s, fmt.Errorf("%s is damaged: it must hold 64 hex digits; put it back from a backup", path)
	}
	if err := os.Chmod(path, 0o600); err != nil { // a copy may have lost its mode
		return s, fmt.Errorf("secret: %w", err)
	}
	return s, nil
}

// writeSecret writes the file whole or not at all: half a secret would be lost
// keys.
func writeSecret(path string, s secret) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("secret: %w", err)
	}
	if err := writeWhole(path, []byte(hex.EncodeToString(s[:])+"\n")); err != nil {
		return fmt.Errorf("secret: %w", err)
	}
	return nil
}

// writeWhole puts a file under its name only when it is whole and on disk.
func writeWhole(path string, content []byte) error {
	file, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(content)
	err = errors.Join(err, file.Sync(), file.Close())
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the names in a directory durable.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// derive is HKDF-SHA256 of the secret under a name: 32 bytes that say nothing
// about the secret or about one another.
func (s secret) derive(name string) (key [32]byte, err error) {
	out, err := hkdf.Key(sha256.New, s[:], nil, "agora/v1/"+name, len(key))
	copy(key[:], out)
	return key, err
}

// self is the secret key, in hex, with which the relay signs in its own name
// (NIP-11 `self`).
func (s secret) self() (string, error) {
	key, err := s.derive("self")
	return hex.EncodeToString(key[:]), err
}
