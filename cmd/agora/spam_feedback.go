package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"

	"agora/relay/store"
	"agora/spam"

	"github.com/nbd-wtf/go-nostr"
	"github.com/urfave/cli/v3"
)

// feedbackRow is one report or label as a row to train on.
type feedbackRow struct {
	Text   string `json:"text"`
	Label  string `json:"label"`  // spam or ham
	Source string `json:"source"` // nip56 or nip32
	By     string `json:"by"`
	ID     string `json:"id"` // of the note; rows of one note belong together
}

func withLog(cmd *cli.Command, work func(*store.Store) error) error {
	cfg, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	held, err := openReading(cfg)
	if err != nil {
		return err
	}
	defer func() { _ = held.Close() }() // it was only read
	return work(held)
}

func runSpamFeedback(ctx context.Context, cmd *cli.Command) error {
	return withLog(cmd, func(held *store.Store) error { return writeFeedback(ctx, held, cmd.Root().Writer) })
}

func writeFeedback(ctx context.Context, held *store.Store, w io.Writer) error {
	out := bufio.NewWriter(w)
	encode := json.NewEncoder(out)
	for rec, err := range held.Query(ctx, nostr.Filter{Kinds: []int{nostr.KindReporting, kindLabel}}) {
		if err != nil {
			return err
		}
		ev, err := rec.Event()
		if err != nil {
			return err
		}
		id, label := judgement(ev)
		if label == "" {
			continue
		}
		note, err := lookup(ctx, held, id)
		if err != nil {
			return err
		}
		if note == nil || note.PubKey == ev.PubKey { // nobody testifies for themselves
			continue
		}
		source := "nip56"
		if ev.Kind == kindLabel {
			source = "nip32"
		}
		if err := encode.Encode(feedbackRow{note.Content, label, source, ev.PubKey, note.ID}); err != nil {
			return err
		}
	}
	return out.Flush()
}

// judgement reads what a report or a label says of which note; no label means
// that it says nothing about spam.
func judgement(ev *nostr.Event) (id, label string) {
	for _, tag := range ev.Tags {
		if len(tag) < 2 {
			continue
		}
		switch {
		case tag[0] == "L" && tag[1] == spam.Namespace: // a classifier's own: it would learn from itself
			return "", ""
		case tag[0] == "e":
			id = tag[1]
			if ev.Kind == nostr.KindReporting && len(tag) > 2 && tag[2] == "spam" {
				label = "spam"
			}
		case ev.Kind == kindLabel && tag[0] == "l" && tag[1] == "spam":
			label = "spam"
		case ev.Kind == kindLabel && tag[0] == "l" && (tag[1] == "not-spam" || tag[1] == "ham"):
			label = "ham"
		}
	}
	if id == "" {
		return "", ""
	}
	return id, label
}

// lookup finds one event; nil when it is not held.
func lookup(ctx context.Context, held *store.Store, hex string) (ev *nostr.Event, err error) {
	id, err := store.ParseID(hex)
	if err != nil {
		return nil, nil //nolint:nilerr // a tag may hold anything: what is no id names no event
	}
	lookupErr := held.Lookup(ctx, []store.ID{id}, func(rec store.Record) bool {
		ev, err = rec.Event()
		return false
	})
	if lookupErr != nil {
		return nil, lookupErr
	}
	return ev, err
}

func runSpamAppeals(ctx context.Context, cmd *cli.Command) error {
	return withLog(cmd, func(held *store.Store) error { return writeAppeals(ctx, held, cmd.Root().Writer) })
}

// writeAppeals lists what authors say of their own notes, newest first.
func writeAppeals(ctx context.Context, held *store.Store, w io.Writer) error {
	out := bufio.NewWriter(w)
	encode := json.NewEncoder(out)
	for rec, err := range held.Query(ctx, nostr.Filter{Kinds: []int{kindLabel}, Tags: nostr.TagMap{"L": []string{spam.Appeals}}}) {
		if err != nil {
			return err
		}
		ev, err := rec.Event()
		if err != nil {
			return err
		}
		id, label := judgement(ev)
		if label != "ham" {
			continue
		}
		note, err := lookup(ctx, held, id)
		if err != nil {
			return err
		}
		if note != nil && note.PubKey != ev.PubKey {
			continue
		}
		row := map[string]any{"note": id, "by": ev.PubKey, "at": ev.CreatedAt, "says": ev.Content, "held": note != nil}
		if note != nil {
			row["text"] = note.Content
		}
		if err := encode.Encode(row); err != nil {
			return err
		}
	}
	return out.Flush()
}
