package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"agora/feeds"
	"agora/feeds/market"
	"agora/ranker"
	catalogue "agora/ranker/feature"
	"agora/relay/peer"

	"github.com/nbd-wtf/go-nostr"
	"github.com/urfave/cli/v3"
)

func rankerPublishCommand() *cli.Command {
	return &cli.Command{
		Name: "publish", Usage: "list a ranker: sign its manifest and publish that", ArgsUsage: "FILE",
		OnUsageError: wrongUsage, HideHelpCommand: true,
		Description: "The manifest (kind " + strconv.Itoa(market.KindManifest) + ") names the ONNX file by its SHA-256; the file itself stays with you.\n" +
			"A relay shows the listing at once, and runs the model when its operator admits that file\n" +
			"(agora serve --models FILE). The same slug and key again is a new version of the listing.\n\n" +
			"Examples:\n  agora ranker publish my-ranker.onnx --slug calm --name 'Calm' --about 'Few words, no shouting.' --license MIT --secret nsec1… --relay ws://127.0.0.1:7447\n" +
			"  agora ranker publish my-ranker.onnx --slug calm --name 'Calm' --knob hours=1:168:24:hours:'half life' --stage 'author-cap most=2' --fallback hot --secret nsec1… --print",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "slug", Usage: "`WORD` in addresses: a-z, 0-9 and dashes", Required: true},
			&cli.StringFlag{Name: "name", Usage: "what readers call it", Required: true},
			&cli.StringFlag{Name: "about", Usage: "what it prefers, in a sentence or two"},
			&cli.StringFlag{Name: "picture", Usage: "`URL` of a square picture"},
			&cli.StringSliceFlag{Name: "knob", Usage: "`NAME=LEAST:MOST:DEFAULT[:UNIT[:ABOUT]]` of a number that readers may turn; once for each"},
			&cli.StringSliceFlag{Name: "stage", Usage: "`STAGE` before or after the model, with its settings, such as 'author-cap most=2'; once for each"},
			&cli.StringFlag{Name: "fallback", Usage: "`SLUG` of yours, or address, of the ranker that stands in for it"},
			&cli.StringFlag{Name: "license", Usage: "`SPDX` name of the model's licence"},
			&cli.StringFlag{Name: "secret", Usage: "sign with this `NSEC`; who holds it can change the listing", Required: true},
			relayFlag(false),
			&cli.BoolFlag{Name: "print", Usage: "print the signed event and publish nothing"},
		},
		Action: runRankerPublish,
	}
}

func runRankerPublish(ctx context.Context, cmd *cli.Command) error {
	relay := cmd.String("relay")
	if relay == "" && !cmd.Bool("print") {
		return usagef("publish needs --relay, or --print")
	}
	if cmd.Args().Len() != 1 {
		return usagef("publish which ranker? Name one ONNX file")
	}
	secret, err := signingKey(cmd.String("secret"))
	if err != nil {
		return err
	}
	author, err := nostr.GetPublicKey(secret)
	if err != nil {
		return usage(err)
	}
	m, err := draftManifest(cmd)
	if err != nil {
		return err
	}
	at := nostr.Now()
	if relay != "" {
		held, err := heldListing(ctx, relay, m.Address(author), author, m.Slug)
		if err != nil {
			return err
		}
		if held != nil {
			at = max(at, held.CreatedAt+1)
			m.Prev = before(held, m.Model)
		}
	}
	ev := m.Event(at)
	if err := ev.Sign(secret); err != nil {
		return err
	}
	if _, err := market.ParseManifest(ev); err != nil {
		return usage(err)
	}
	if cmd.Bool("print") {
		_, err = fmt.Fprintln(cmd.Root().Writer, ev.String())
		return err
	}
	if err := sendEvent(ctx, relay, ev); err != nil {
		return err
	}
	page := httpURL(relay) + "/v1/rankers/" + m.Address(author)
	_, err = fmt.Fprintf(cmd.Root().Writer, "listing  %s\nmodel    %s\npage     %s\nstatus   %s\n", m.Address(author), m.Model, page, listed(ctx, page, ev.ID))
	return err
}

// listed asks the relay what it makes of the version id, and says so in words.
// A listing shows a moment after its manifest is stored.
func listed(ctx context.Context, page, id string) string {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	client := peer.NewDialer(peer.DialConfig{MaxBody: mostPollsDoc, Allow: anyAddress()}).HTTP()
	for {
		shown, err := shownAt(ctx, client, page)
		switch {
		case err == nil && shown.Ranker.Version == id && shown.Ranker.Status == "admitted":
			return "admitted: its model runs there"
		case err == nil && shown.Ranker.Version == id:
			return shown.Ranker.Status + ": its pages are its fallback's until the operator runs agora serve --models FILE"
		}
		select {
		case <-ctx.Done():
			return "stored; the relay does not show rankers, or not yet"
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// listingAnswer is what of GET /v1/rankers/… matters here.
type listingAnswer struct {
	Ranker struct{ Version, Status string }
}

func shownAt(ctx context.Context, client *http.Client, page string) (a listingAnswer, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return a, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	return a, json.NewDecoder(resp.Body).Decode(&a)
}

// draftManifest is what the file and the flags say of the ranker.
func draftManifest(cmd *cli.Command) (m market.Manifest, err error) {
	name := cmd.Args().First()
	about, err := os.Stat(name)
	if err != nil {
		return m, usage(err)
	}
	if !about.Mode().IsRegular() || about.Size() > market.MaxModel {
		return m, usagef("%s: a ranker is a file of at most %d bytes", name, market.MaxModel)
	}
	model, err := os.ReadFile(name)
	if err != nil {
		return m, err
	}
	inputs, tier, err := declared(model)
	if err != nil {
		return m, fmt.Errorf("%s: %w (agora ranker check says more)", name, err)
	}
	m = market.Manifest{
		Slug: cmd.String("slug"), Name: cmd.String("name"), About: cmd.String("about"), Picture: cmd.String("picture"),
		Model: ranker.Digest(sha256.Sum256(model)), Size: int64(len(model)), Stages: cmd.StringSlice("stage"),
		Fallback: cmd.String("fallback"), License: cmd.String("license"), Privacy: tier, Personalized: tier > catalogue.Public,
		Inputs: inputs,
	}
	for _, word := range cmd.StringSlice("knob") {
		k, err := parseDeclaredKnob(word)
		if err != nil {
			return m, err
		}
		m.Knobs = append(m.Knobs, k)
	}
	return m, checkDraft(&m)
}

// checkDraft holds the stages and the knobs that the model reads to what is
// declared: a relay would show the listing, and then its fallback.
func checkDraft(m *market.Manifest) error {
	knobs := make(map[string]float64)
	for _, k := range m.Knobs {
		knobs[k.Name] = k.Default
	}
	for _, in := range m.Inputs {
		knob, ok := strings.CutPrefix(in, "knob.")
		if _, declared := knobs[knob]; ok && !declared {
			return usagef("the model reads %s: declare it with --knob %s=LEAST:MOST:DEFAULT", in, knob)
		}
	}
	if err := feeds.CheckStages(m.Stages, knobs); err != nil {
		return usage(err)
	}
	return nil
}

// parseDeclaredKnob reads NAME=LEAST:MOST:DEFAULT[:UNIT[:ABOUT]].
func parseDeclaredKnob(word string) (k market.Knob, err error) {
	name, rest, _ := strings.Cut(word, "=")
	parts := strings.SplitN(rest, ":", 5)
	if name == "" || len(parts) < 3 {
		return k, usagef("--knob %q is not NAME=LEAST:MOST:DEFAULT[:UNIT[:ABOUT]]", word)
	}
	k.Name = name
	for i, into := range []*float64{&k.Min, &k.Max, &k.Default} {
		if *into, err = strconv.ParseFloat(parts[i], 64); err != nil {
			return k, usagef("--knob %s: %q is no number", name, parts[i])
		}
	}
	parts = append(parts, "", "")
	k.Unit, k.About = parts[3], parts[4]
	return k, nil
}

// heldListing is the manifest that the relay holds at this address; nil: none.
func heldListing(ctx context.Context, relay, address, author, slug string) (*nostr.Event, error) {
	q, err := inquire(ctx, relay)
	if err != nil {
		return nil, err
	}
	defer q.close()
	events, err := q.ask(nostr.Filter{Kinds: []int{market.KindManifest}, Authors: []string{author}, Tags: nostr.TagMap{"d": {slug}}, Limit: 1})
	if err != nil {
		return nil, fmt.Errorf("look for %s: %w", address, err)
	}
	if len(events) == 0 {
		return nil, nil
	}
	return events[0], nil
}

// before is the model of the version that this one replaces.
func before(held *nostr.Event, model ranker.Digest) ranker.Digest {
	m, err := market.ParseManifest(held)
	switch {
	case err != nil: // what is held is no manifest: nothing came before
		return ranker.Digest{}
	case m.Model == model:
		return m.Prev
	}
	return m.Model
}
