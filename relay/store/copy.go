package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/PowerDNS/lmdb-go/lmdb"
)

// Backup writes a consistent copy of the store as of now into dir, which must
// be empty or not exist. Writes go on meanwhile.
func (s *Store) Backup(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "data.mdb")); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("backup: %s already holds a store: give an empty folder", dir)
	}
	if err := s.env.CopyFlag(dir, lmdb.CopyCompact); err != nil {
		return fmt.Errorf("backup into %s: %w", dir, err)
	}
	return syncDir(filepath.Join(dir, "data.mdb"), dir)
}

// Compact rewrites the store in dir without its free pages and says how many
// bytes it had and has. No process may have it open. A crash leaves either the
// old file or the new one.
func Compact(dir string) (before, after int64, err error) {
	file := filepath.Join(dir, "data.mdb")
	fi, err := os.Stat(file)
	if err != nil {
		return 0, 0, fmt.Errorf("compact: %w", err)
	}
	before = fi.Size()
	tmp, err := os.MkdirTemp(dir, "compact-")
	if err != nil {
		return before, before, fmt.Errorf("compact: %w", err)
	}
	defer func() { _ = os.RemoveAll(tmp) }() // what is left after the rename
	s, err := Open(dir, Config{ReadOnly: true})
	if err != nil {
		return before, before, fmt.Errorf("compact: %w", err)
	}
	if err := errors.Join(s.Backup(tmp), s.Close()); err != nil {
		return before, before, fmt.Errorf("compact: %w", err)
	}
	if fi, err = os.Stat(filepath.Join(tmp, "data.mdb")); err != nil {
		return before, before, fmt.Errorf("compact: %w", err)
	}
	if err := os.Rename(filepath.Join(tmp, "data.mdb"), file); err != nil {
		return before, before, fmt.Errorf("compact: %w", err)
	}
	return before, fi.Size(), syncDir(dir)
}

// syncDir makes files and folders durable.
func syncDir(names ...string) error {
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return fmt.Errorf("sync %s: %w", name, err)
		}
	}
	return nil
}
