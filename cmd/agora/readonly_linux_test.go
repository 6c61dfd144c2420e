package main

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"agora/relay/store"
	"agora/relay/wire"

	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/sys/unix"
)

// unprivileged runs f as a user whom the mode of a file binds. Root is not.
func unprivileged(t *testing.T, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { // its thread ends with it
		defer close(done)
		runtime.LockOSThread()
		if os.Geteuid() == 0 {
			if _, err := unix.SetfsuidRetUid(65534); err != nil {
				t.Error(err)
				return
			}
		}
		f()
	}()
	<-done
}

// readOnlyData is a data directory with one event that nobody may write.
func readOnlyData(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	held, err := store.Open(filepath.Join(dir, storeDir), store.Config{MapSize: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1) // the one result of Run
	go func() { ended <- held.Run(ctx) }()
	ev := nostr.Event{Kind: 1, CreatedAt: 1_700_000_000, Tags: nostr.Tags{}}
	if err := ev.Sign(nostr.GeneratePrivateKey()); err != nil {
		t.Fatal(err)
	}
	if _, err := held.Append(t.Context(), store.Entry{Event: &ev, JSON: wire.AppendEvent(nil, &ev)}); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	setModes(t, dir, 0o555, 0o444)
	t.Cleanup(func() { setModes(t, dir, 0o755, 0o644) })
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil { // for the way there
		t.Fatal(err)
	}
	return dir
}

func setModes(t *testing.T, dir string, dirs, files fs.FileMode) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		mode := files
		if d.IsDir() {
			mode = dirs
		}
		return os.Chmod(path, mode)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestADirectoryThatMayNotBeWrittenIsReadAllTheSame(t *testing.T) {
	dir := readOnlyData(t)
	cfg := Config{Data: dir, MapSize: 1 << 30}
	to := t.TempDir()
	setModes(t, to, 0o777, 0)
	unprivileged(t, func() {
		held, err := openReading(cfg)
		if err != nil {
			t.Error(err)
			return
		}
		n := 0
		for _, err := range held.Query(context.Background(), nostr.Filter{}) {
			if n++; err != nil {
				t.Error(err)
			}
		}
		report, err := held.Check(context.Background(), store.CheckOptions{Verify: verifyBoth})
		if err != nil || report.Events != 1 || report.Bad != 0 || n != 1 {
			t.Errorf("%d events, %+v, %v", n, report, err)
		}
		if err := backup(held, dir, to); err != nil {
			t.Error(err)
		}
		if err := held.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestADirectoryThatAnotherUserWritesIsNotReadWithoutALock: the writer would
// not know of the reader.
func TestADirectoryThatAnotherUserWritesIsNotReadWithoutALock(t *testing.T) {
	dir := readOnlyData(t)
	setModes(t, dir, 0o755, 0o644)
	writer, err := holdData(dir, holder{Command: "serve"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = writer.release() }() // the test is over
	setModes(t, dir, 0o555, 0o444)
	try := func(want string) {
		t.Helper()
		unprivileged(t, func() {
			if _, err := openReading(Config{Data: dir, MapSize: 1 << 30}); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %s", err, want)
			}
		})
	}
	try("may be in use by another: run this as the user who serves it")
	setModes(t, dir, 0o555, 0) // nor may it be known
	try("may be in use by another")
}

func TestADirectoryThatMayNotBeReadSaysWhoMay(t *testing.T) {
	dir := readOnlyData(t)
	setModes(t, dir, 0o555, 0)
	unprivileged(t, func() {
		if _, err := openReading(Config{Data: dir, MapSize: 1 << 30}); err == nil || !strings.Contains(err.Error(), "may not be read: run this as the user") {
			t.Errorf("got %v", err)
		}
	})
}
