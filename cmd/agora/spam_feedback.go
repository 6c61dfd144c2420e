package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"

	"agora/relay/store"
	"agora/spam"

	"github.com/nbd-wtf/go-nostr"
	"github.com/urfave/cli/v3"
)

// feedbackRow is one report or label as a row to train on.
type feedbackRow struct {
	Text   string  `json:"text"`
	Label  string  `json:"label"`  // spam or ham
	Source string  `json:"source"` // nip56 or nip32
	By     string  `json:"by"`
	Weight float64 `json:"weight"` // what the word of By counts: 1 a seed's, a half and a quarter one and two hops out, 0 a stranger's
	ID     string  `json:"id"`     // of the note; rows of one note belong together
}

// weightOf is what the word of each key counts. Anybody can make keys and have
// them complain, so only those count whom the operator's seeds lead to.
type weightOf map[string]float64

// wordsOf reads two hops of follow lists out of the log.
func wordsOf(ctx context.Context, held *store.Store, cfg Config) (weightOf, error) {
	out, edge := weightOf{}, []string{}
	for _, text := range spamSeeds(cfg) {
		if key, err := parsePubKey(text); err == nil { // validate has read them before
			out[key], edge = 1, append(edge, key)
		}
	}
	for _, weight := range []float64{0.5, 0.25} {
		var next []string
		for _, key := range edge {
			for rec, err := range held.Query(ctx, nostr.Filter{Authors: []string{key}, Kinds: []int{nostr.KindFollowList}, Limit: 1}) {
				if err != nil {
					return nil, err
				}
				for name, value := range rec.Tags {
					if _, known := out[string(value)]; string(name) == "p" && len(value) == 64 && !known {
						out[string(value)] = weight
						next = append(next, string(value))
					}
				}
			}
		}
		edge = next
	}
	return out, nil
}

func withLog(cmd *cli.Command, work func(*store.Store, Config) error) error {
	cfg, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	held, err := openReading(cfg)
	if err != nil {
		return err
	}
	defer func() { _ = held.Close() }() // it was only read
	return work(held, cfg)
}

func runSpamFeedback(ctx context.Context, cmd *cli.Command) error {
	return withLog(cmd, func(held *store.Store, cfg Config) error {
		who, err := wordsOf(ctx, held, cfg)
		if err != nil {
			return err
		}
		left, err := writeFeedback(ctx, held, who, cmd.Bool("all"), cmd.Root().Writer)
		if left > 0 {
			fmt.Fprintf(cmd.Root().ErrWriter, "%d rows by keys whose word does not count were left out (--all writes them; spam_seeds says who counts)\n", left)
		}
		return err
	})
}

// writeFeedback writes a row for each complaint; of one key about one note the
// newest. left is how many were left out because their word counts nothing.
func writeFeedback(ctx context.Context, held *store.Store, who weightOf, all bool, w io.Writer) (left int, err error) {
	out := bufio.NewWriter(w)
	encode := json.NewEncoder(out)
	said := map[string]bool{} // how, who and of what
	for rec, err := range held.Query(ctx, nostr.Filter{Kinds: []int{nostr.KindReporting, kindLabel}}) {
		if err != nil {
			return left, err
		}
		ev, err := rec.Event()
		if err != nil {
			return left, err
		}
		id, label := judgement(ev)
		if label == "" {
			continue
		}
		note, err := lookup(ctx, held, id)
		if err != nil {
			return left, err
		}
		source := "nip56"
		if ev.Kind == kindLabel {
			source = "nip32"
		}
		if note == nil || note.PubKey == ev.PubKey || said[source+ev.PubKey+id] { // nobody testifies for themselves, or twice
			continue
		}
		said[source+ev.PubKey+id] = true
		if who[ev.PubKey] == 0 && !all {
			left++
			continue
		}
		if err := encode.Encode(feedbackRow{note.Content, label, source, ev.PubKey, who[ev.PubKey], note.ID}); err != nil {
			return left, err
		}
	}
	return left, out.Flush()
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
