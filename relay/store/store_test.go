package store_test

import (
	"context"
	"testing"
	"time"

	"agora/relay/store"
	"agora/relay/store/storetest"
)

// running opens a store in a fresh folder and runs it for the test's life.
func running(t *testing.T, cfg store.Config) *store.Store {
	t.Helper()
	return runningIn(t, t.TempDir(), cfg)
}

func runningIn(t *testing.T, dir string, cfg store.Config) *store.Store {
	t.Helper()
	if cfg.MapSize == 0 {
		cfg.MapSize = 1 << 30
	}
	s, err := store.Open(dir, cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1) // one error, sent when Run returns
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// settle waits until no bulk removal is under way.
func settle(t *testing.T, s storetest.Store) {
	t.Helper()
	for end := time.Now().Add(time.Minute); s.(*store.Store).Sweeping(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the bulk removal does not end")
		}
	}
}

func TestStoreConforms(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Store { return running(t, store.Config{NoSync: true}) }, settle)
}
