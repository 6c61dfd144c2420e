package graph

import (
	"context"
	"errors"
	"fmt"
	"time"

	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
)

const (
	saveEvery = 5 * time.Minute // between snapshots of a graph that changes
	saveLast  = 5 * time.Second // for the snapshot at shutdown; one that is late is not used
	// rerankShare is how much longer the global ranking rests than it took: 50
	// means at most 2 % of one core, however large the graph and however fast it
	// changes.
	rerankShare = 50
	rerankLeast = time.Second
	rerankMost  = 5 * time.Minute
)

// follow brings the graph up to the log and keeps it there.
func (g *Graph) follow(ctx context.Context) error {
	snap := &snapshot{file: framed(g.cfg.Store, g.cfg.Snapshot), log: g.cfg.Logger}
	pos, err := g.start(ctx, snap)
	if err != nil {
		return err
	}
	for first := true; ; first = false {
		if pos, err = g.catchUp(ctx, pos); err != nil {
			return err
		}
		g.purgeSnapshot(snap)
		g.arrived(pos)
		if first {
			close(g.built)
		}
		g.keepSnapshot(ctx, snap, pos, saveEvery)
		if err := g.cfg.Store.Wait(ctx, pos); err != nil {
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveLast)
			defer cancel()
			g.keepSnapshot(last, snap, pos, 0)
			return err
		}
	}
}

// start gives the position from which the log has to be read on.
func (g *Graph) start(ctx context.Context, snap *snapshot) (store.Pos, error) {
	web, pos, err := snap.load()
	if err != nil {
		return 0, err
	}
	if web == nil {
		return g.rebuild(ctx)
	}
	g.adopt(web)
	snap.saved(web.version)
	return pos, nil
}

// rebuild reads every list the store holds. What happens meanwhile comes
// through the log, from the position the log had at the beginning; seeing a
// list twice changes nothing.
func (g *Graph) rebuild(ctx context.Context) (store.Pos, error) {
	begin := time.Now()
	pos := g.cfg.Store.Head()
	web := newWeb()
	for r, err := range g.cfg.Store.Query(ctx, nostr.Filter{Kinds: kinds()}) {
		if err != nil {
			return 0, fmt.Errorf("read the lists: %w", err)
		}
		s, ours, err := read(&r)
		if err != nil {
			return 0, err
		}
		if ours {
			web.put(s)
		}
	}
	g.adopt(web)
	g.cfg.Logger.Info("graph built from the store", "keys", web.size(), "lists", web.lists, "follows", web.edges, "took", time.Since(begin))
	return pos, nil
}

// adopt puts another web in the place of the present one. Its versions go on
// after all that were ever given, so that no older ranking fits its nodes.
func (g *Graph) adopt(web *web) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for n := range web.nodes {
		web.nodes[n].born = g.web.version + 1
	}
	web.version = g.web.version + 1
	web.purged = web.version
	g.web = web
}

// catchUp applies the log from pos to its present end.
func (g *Graph) catchUp(ctx context.Context, pos store.Pos) (store.Pos, error) {
	end := g.cfg.Store.Head()
	for c, err := range g.cfg.Store.Changes(ctx, pos) {
		if errors.Is(err, store.ErrTrimmed) {
			g.cfg.Logger.Warn("the log no longer reaches back to the graph's position: building it anew", "position", pos)
			return g.rebuild(ctx)
		}
		if err != nil {
			return pos, fmt.Errorf("follow the log from %d: %w", pos, err)
		}
		if err := g.apply(c); err != nil {
			return pos, err
		}
		if pos = c.Pos; pos >= end {
			break // what came meanwhile is for the next time, or nobody would ever be told
		}
	}
	return max(pos, end), nil
}

func (g *Graph) apply(c store.Change) error {
	if gone := c.Removed; gone != nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.web.drop(gone.ID, gone.PubKey)
		return nil
	}
	s, ours, err := read(&c.Record)
	if err != nil || !ours {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.web.put(s)
	return nil
}

// arrived tells who waits that the graph now reflects the log up to pos.
func (g *Graph) arrived(pos store.Pos) {
	g.posMu.Lock()
	defer g.posMu.Unlock()
	g.pos = pos
	close(g.moved)
	g.moved = make(chan struct{})
}

// position is how far the graph reflects the log, and a channel that is closed
// when that has changed.
func (g *Graph) position() (store.Pos, <-chan struct{}) {
	g.posMu.Lock()
	defer g.posMu.Unlock()
	return g.pos, g.moved
}

// WaitFor returns once the graph reflects the log up to pos, or with ctx.
func (g *Graph) WaitFor(ctx context.Context, pos store.Pos) error {
	for {
		at, moved := g.position()
		if at >= pos {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// rerank keeps the global ranking near the graph, at a bounded cost.
func (g *Graph) rerank(ctx context.Context) error {
	select {
	case <-g.built:
	case <-ctx.Done():
		return nil
	}
	for first := true; ; first = false {
		begin := time.Now()
		l := g.currentLinks()
		g.global.Store(newRanking(l, l.global(), -1))
		if first {
			close(g.ranked)
		}
		rest := min(max(rerankShare*time.Since(begin), rerankLeast), rerankMost)
		select {
		case <-time.After(rest):
		case <-ctx.Done():
			return nil
		}
		if err := g.changed(ctx, l.version); err != nil { // only ctx's own
			return nil //nolint:nilerr // the end of ctx is no failure
		}
	}
}

// changed returns once the web is no longer at version.
func (g *Graph) changed(ctx context.Context, version uint64) error {
	for {
		_, moved := g.position()
		g.mu.RLock()
		now := g.web.version
		g.mu.RUnlock()
		if now != version {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// purgeSnapshot removes the snapshot when a list has been taken back since it
// was written: it still holds that list.
func (g *Graph) purgeSnapshot(snap *snapshot) {
	g.mu.RLock()
	purged := g.web.purged
	g.mu.RUnlock()
	if purged <= snap.version {
		return
	}
	if err := snap.forget(); err != nil {
		snap.log.Error("a snapshot of the graph with a list that was taken back is still on disk", "reason", err)
	}
}

// keepSnapshot writes the snapshot when it is due. A disk that refuses is told
// to the operator, and does not stop the graph.
func (g *Graph) keepSnapshot(ctx context.Context, snap *snapshot, pos store.Pos, every time.Duration) {
	g.mu.RLock()
	version := g.web.version
	g.mu.RUnlock()
	if snap.file.Path == "" || version == snap.version || time.Since(snap.at) < every {
		return
	}
	g.mu.RLock()
	body := g.web.encode()
	g.mu.RUnlock()
	if err := snap.save(ctx, body, version, pos); err != nil {
		snap.at = time.Now()
		snap.log.Warn("the graph goes on without a snapshot", "reason", err)
	}
}
