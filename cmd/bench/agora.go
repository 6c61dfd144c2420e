package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// The two shapes in which our own relay is measured.
var (
	bareFlags = []string{"--search=false", "--graph=false", "--feeds=false", "--spam-mode=pass", "--assertions=0", "--bring=false"}
	fullFlags = []string{"--feeds=false", "--spam-mode=pass", "--assertions=0"} // word index and graph as they are by default; nothing is published by the relay itself
)

// openFlags let one address hold every connection of the benchmark: they bound
// strangers, and the client is none.
func openFlags() []string {
	return []string{"--ip-connections=100000", "--ip-unauthenticated=100000", "--ip-subscriptions=1000000", "--max-connections=100000", "--log-level=warn"}
}

// agora is our relay as a contender.
func agora(binary, name string, flags []string) contender {
	return contender{Name: name, Command: func(listen, dir string) ([]string, error) {
		args := []string{binary, "serve", "--listen", listen, "--data", dir}
		return append(append(args, openFlags()...), flags...), nil
	}}
}

// storeOf is where our relay keeps its log inside its data directory.
func storeOf(dir string) string { return filepath.Join(dir, "store") }

// imported is what bringing a file in by the command gave.
type imported struct {
	Events    int
	Wall      time.Duration
	PerSecond float64
	CPUMicros float64 // per event
}

// importFile runs agora import.
func importFile(ctx context.Context, binary, dir, file string, events int) (imported, error) {
	cmd := exec.CommandContext(ctx, binary, "import", "--data", dir, file)
	began := time.Now()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return imported{}, fmt.Errorf("agora import %s: %w: %s", file, err, out)
	}
	im := imported{Events: events, Wall: time.Since(began)}
	im.PerSecond = float64(events) / im.Wall.Seconds()
	cpu := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	im.CPUMicros = float64(cpu.Microseconds()) / float64(events)
	return im, nil
}

// sizeOf is the length of a file in bytes.
func sizeOf(name string) (int64, error) {
	info, err := os.Stat(name)
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}
