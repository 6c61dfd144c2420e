package host

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"agora/personhood"
	"agora/personhood/semaphore"

	"github.com/nbd-wtf/go-nostr"
)

// MirrorConfig says which groups of other hosts are kept beside our own. All
// fields are needed but those with a default.
type MirrorConfig struct {
	Groups []personhood.Address
	Dir    string // for members files, named by their SHA-256
	Events personhood.Events
	Pull   func(ctx context.Context, group personhood.Address) error                  // brings the group's events here
	Fetch  func(ctx context.Context, url string, most int64) (file []byte, err error) // dials guardedly
	Every  time.Duration                                                              // default 10 min
	Logger *slog.Logger
}

// Mirror keeps the events and members files of other hosts' groups, so that a
// vote can be counted again when its host is gone.
type Mirror struct{ cfg MirrorConfig }

// mostMirrored is how many of a group's last roots have their files kept.
const mostMirrored = 64

// NewMirror makes the directory; it starts nothing.
func NewMirror(cfg MirrorConfig) (*Mirror, error) {
	if cfg.Every == 0 {
		cfg.Every = 10 * time.Minute
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("mirror: %w", err)
	}
	return &Mirror{cfg}, nil
}

// Run mirrors until ctx ends.
func (m *Mirror) Run(ctx context.Context) error {
	for {
		for _, group := range m.cfg.Groups {
			if err := m.Once(ctx, group); err != nil && ctx.Err() == nil {
				m.cfg.Logger.Warn("a group is not mirrored as it stands; it is tried again", "group", group.String(), "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(m.cfg.Every):
		}
	}
}

// Once brings one group's events, and the members files that are missing.
// Nothing that another host says is believed: the gate has seen to the events'
// signatures, and a file must have the hash, the size and the root.
func (m *Mirror) Once(ctx context.Context, group personhood.Address) error {
	if err := m.cfg.Pull(ctx, group); err != nil {
		return fmt.Errorf("bring its events: %w", err)
	}
	head, log, err := m.held(ctx, group)
	if err != nil || head == nil {
		return errors.Join(err, missing(head))
	}
	name := hex.EncodeToString(head.Members[:])
	var failed error
	for _, s := range append([]personhood.Snapshot{*head}, log...) {
		path := filepath.Join(m.cfg.Dir, hex.EncodeToString(s.Members[:]))
		if _, err := os.Stat(path); err == nil {
			continue
		}
		for _, url := range head.URLs {
			base, ok := strings.CutSuffix(url, name)
			if !ok && s.Members != head.Members {
				continue // only the current file is at this address
			}
			if ok {
				url = base + filepath.Base(path)
			}
			if err := m.fetch(ctx, url, s, path); err != nil {
				failed = errors.Join(failed, fmt.Errorf("%s: %w", url, err))
				continue
			}
			break
		}
	}
	return failed
}

func missing(head *personhood.Snapshot) error {
	if head == nil {
		return errors.New("its host has published no event of it")
	}
	return nil
}

// held is what we hold of a group: its event, and its last roots.
func (m *Mirror) held(ctx context.Context, group personhood.Address) (head *personhood.Snapshot, log []personhood.Snapshot, err error) {
	filters := []nostr.Filter{
		{Kinds: []int{personhood.KindGroup}, Authors: []string{group.Key}, Tags: nostr.TagMap{"d": {group.D}}, Limit: 1},
		{Kinds: []int{personhood.KindRootLog}, Authors: []string{group.Key}, Tags: nostr.TagMap{"a": {group.String()}}},
	}
	for ev, err := range m.cfg.Events.Query(ctx, filters...) {
		if err != nil {
			return nil, nil, err
		}
		s, err := personhood.ParseSnapshot(ev)
		if err != nil || s.Group != group {
			continue
		}
		if ev.Kind == personhood.KindGroup {
			head = &s
		} else {
			log = append(log, s)
		}
	}
	slices.SortFunc(log, func(a, b personhood.Snapshot) int { return cmp.Compare(b.Seq, a.Seq) })
	return head, log[:min(len(log), mostMirrored)], nil
}

func (m *Mirror) fetch(ctx context.Context, url string, s personhood.Snapshot, path string) error {
	file, err := m.cfg.Fetch(ctx, url, 32*int64(s.Size))
	if err != nil {
		return err
	}
	if _, err := s.Matches(file); err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", file, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// File implements Files.
func (m *Mirror) File(name [32]byte) ([]byte, bool) {
	path := filepath.Join(m.cfg.Dir, hex.EncodeToString(name[:]))
	file, err := os.ReadFile(path)
	if err != nil {
		return nil, false
	}
	if sha256.Sum256(file) != name {
		m.cfg.Logger.Error("a mirrored members file is damaged; remove it and it is fetched again", "file", path)
		return nil, false
	}
	return file, true
}

// States are the mirrored groups as their hosts published them last.
func (m *Mirror) States(ctx context.Context) (all []State) {
	for _, group := range m.cfg.Groups {
		head, _, err := m.held(ctx, group)
		if err != nil || head == nil {
			continue // not here yet
		}
		s := State{
			Group: group.String(), D: group.D, Class: head.Class, Depth: semaphore.ProverDepth,
			Root: semaphore.Hex(head.Root), Seq: head.Seq, Size: head.Size, Members: hex.EncodeToString(head.Members[:]),
		}
		if file, ok := m.File(head.Members); ok {
			for i := 0; i+32 <= len(file); i += 32 {
				if [32]byte(file[i:]) != ([32]byte{}) {
					s.People++
				}
			}
		}
		all = append(all, s)
	}
	return all
}
