package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// When memory goes back to the system: after a quiet interval that follows a
// busy one.
const (
	restEvery = 10 * time.Second
	restQuiet = 4 << 20  // bytes allocated in the interval; fewer is quiet
	restWorth = 16 << 20 // bytes allocated since the last time; fewer is not worth a collection
)

// rest gives back, whenever the relay comes to rest, what building an index or
// an import needed for a moment. The runtime alone would hold on to twice what
// lives: at a million events, 95 MB instead of 55.
func rest(ctx context.Context) error {
	tick := time.NewTicker(restEvery)
	defer tick.Stop()
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	var last, given uint64
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		metrics.Read(sample)
		now := sample[0].Value.Uint64()
		if now-last < restQuiet && now-given > restWorth {
			debug.FreeOSMemory()
			given = now
		}
		last = now
	}
}
