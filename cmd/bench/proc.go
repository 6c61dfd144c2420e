package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// tick is the unit of utime and stime in /proc/PID/stat: USER_HZ is 100 on
// every Linux that Go runs on. The kernel rounds exact run time to ticks.
const tick = 10 * time.Millisecond

// cpuOf is the processor time a process has used. The scheduler's own count,
// in nanoseconds, is the finer one, but forgets threads that have ended; where
// it falls behind utime + stime, those are taken.
func cpuOf(pid int) (time.Duration, error) {
	coarse, err := ticksOf(pid)
	if err != nil {
		return 0, err
	}
	return max(coarse-tick, schedOf(pid)), nil
}

// schedOf adds up the first field of each thread's schedstat; 0 where the
// kernel keeps none.
func schedOf(pid int) (total time.Duration) {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid)) // the pattern is sound
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			continue // the thread has just ended
		}
		first, _, _ := bytes.Cut(data, []byte(" "))
		ns, err := strconv.ParseInt(string(first), 10, 64)
		if err != nil {
			continue
		}
		total += time.Duration(ns)
	}
	return total
}

// ticksOf is utime + stime.
func ticksOf(pid int) (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := bytes.Cut(data, []byte(") ")) // the command's name may hold spaces
	fields := bytes.Fields(rest)
	if !ok || len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat is %q", pid, data)
	}
	var ticks int64
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(string(f), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}

// rssAnonOf is the anonymous memory of a process in bytes: what it holds
// itself, without the pages of files it has mapped.
func rssAnonOf(pid int) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(data) {
		if f := bytes.Fields(line); len(f) >= 2 && string(f[0]) == "RssAnon:" {
			kib, err := strconv.ParseInt(string(f[1]), 10, 64)
			return kib << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/%d/status has no RssAnon", pid)
}

// settle waits until a process rests: under two ticks in half a second. What a
// relay does after it has answered is part of what an event costs.
func settle(ctx context.Context, pid int, most time.Duration) (time.Duration, error) {
	end := time.Now().Add(most)
	last, err := cpuOf(pid)
	if err != nil {
		return 0, err
	}
	for time.Now().Before(end) {
		if err := pause(ctx, 500*time.Millisecond); err != nil {
			return 0, err
		}
		now, err := cpuOf(pid)
		if err != nil {
			return 0, err
		}
		if now-last < 2*tick {
			return now, nil
		}
		last = now
	}
	return 0, fmt.Errorf("process %d does not come to rest within %s", pid, most)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// diskOf is what the files of a directory occupy, in bytes of disk blocks.
func diskOf(dir string) (int64, error) {
	var total int64
	err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		total += blocksOf(info)
		return nil
	})
	return total, err
}

// blocksOf is the disk a file really occupies: sparse files and LMDB's lock
// file are smaller than their length says.
func blocksOf(info os.FileInfo) int64 {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return st.Blocks * 512
	}
	return info.Size()
}
