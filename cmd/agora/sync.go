package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"unicode"

	"agora/relay/admit"
	"agora/relay/peer"
	"agora/relay/store"

	"github.com/nbd-wtf/go-nostr"
	"github.com/urfave/cli/v3"
)

func syncCommand() *cli.Command {
	return &cli.Command{
		Name: "sync", Usage: "make this relay and another hold the same events",
		ArgsUsage: "URL", OnUsageError: wrongUsage, HideHelpCommand: true,
		Description: `Reconciles with another relay by negentropy (NIP-77), which sends only what
differs; where the other relay does not speak it, pages through what it has. Works
while the relay is serving. Every event that comes is checked like any other.
Wrapped events are neither compared nor sent. Protected ones (NIP-70) are only
their author's to publish: they stay where they are, and every sync says so. An
interrupted sync is simply run again.

Examples:
  agora sync wss://relay.example
  agora sync wss://relay.example --filter '{"kinds":[0,3,10002]}' --dir down
  agora sync ws://127.0.0.1:7777 --dir up`,
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "filter", Value: "{}", Usage: "only what matches this `JSON` filter"},
			&cli.StringFlag{Name: "dir", Value: "both", Usage: "`DIRECTION`: down (from there), up (to there) or both"},
			&cli.BoolFlag{Name: "auth", Usage: "authenticate there with this relay's own key (NIP-42)"},
		}, configFlags("data", "dial_private", "log_level", "log_json")...),
		Action: runSync,
	}
}

func runSync(ctx context.Context, cmd *cli.Command) error {
	cfg, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	job, dialer, err := syncJob(cmd, cfg)
	if err != nil {
		return usage(err)
	}
	var sum peer.Summary
	err = withPublisher(ctx, cfg, "sync", func(p publisher, held *store.Store) error {
		job.Local = held
		job.Publish = func(ctx context.Context, ev *nostr.Event, record []byte) (string, error) {
			return publishOne(ctx, p, ev, record, admit.Sync)
		}
		if isTerminal(os.Stderr) {
			job.Progress = drawSync
		}
		sum, err = peer.Sync(ctx, dialer, job)
		if job.Progress != nil {
			fmt.Fprint(os.Stderr, "\r\x1b[K")
		}
		return err
	})
	if err == nil || sum.Need+sum.Have > 0 {
		tellSync(cmd.Root().Writer, sum)
	}
	if ctx.Err() != nil {
		return &exit{exitInterrupted, errors.New("interrupted: run the same command again to go on")}
	}
	return err
}

// syncJob is what the flags ask for.
func syncJob(cmd *cli.Command, cfg Config) (job peer.Job, d *peer.Dialer, err error) {
	if cmd.Args().Len() != 1 {
		return job, nil, errors.New("sync with whom? Name one relay: agora sync wss://relay.example")
	}
	job.URL = cmd.Args().First()
	there, err := url.Parse(job.URL)
	if err != nil || (there.Scheme != "ws" && there.Scheme != "wss") || there.Host == "" {
		return job, nil, fmt.Errorf("%q is no relay: want ws://… or wss://…", job.URL)
	}
	if job.Filter, err = parseFilter(cmd.String("filter")); err != nil {
		return job, nil, fmt.Errorf("--filter: %w", err)
	}
	if job.Direction, err = peer.ParseDirection(cmd.String("dir")); err != nil {
		return job, nil, fmt.Errorf("--dir: %w", err)
	}
	if cmd.Bool("auth") {
		if job.Sign, err = ownSigner(cfg.Data); err != nil {
			return job, nil, err
		}
	}
	allowed, err := parseNetworks("dial_private", cfg.AllowPrivate)
	return job, peer.NewDialer(peer.DialConfig{Allow: append(allowed, typedAddress(there.Hostname())...)}), err
}

// typedAddress is an address the operator has typed as such: whoever writes
// 127.0.0.1 means it. A name that leads to a private network needs dial_private.
func typedAddress(host string) []netip.Prefix {
	if host == "localhost" {
		return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return nil
	}
	return []netip.Prefix{netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen())}
}

// ownSigner signs as this relay.
func ownSigner(dir string) (func(context.Context, *nostr.Event) error, error) {
	s, err := loadSecret(dir)
	if err != nil {
		return nil, err
	}
	self, err := s.self()
	if err != nil {
		return nil, err
	}
	return func(_ context.Context, ev *nostr.Event) error { return ev.Sign(self) }, nil
}

// publishOne hands in one event and waits. The answer is "" when it is now
// stored, otherwise "prefix: text".
func publishOne(ctx context.Context, p publisher, ev *nostr.Event, record []byte, origin admit.Origin) (string, error) {
	came := make(chan verdict, 1) // the one verdict
	if err := p.publish(ctx, ev, record, origin, func(v verdict) { came <- v }); err != nil {
		return "", err
	}
	select {
	case v := <-came:
		return v.reason()
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// reason is the verdict in the words of an OK.
func (v verdict) reason() (string, error) {
	switch v.Word {
	case "stored":
		return "", nil
	case "duplicate", "older":
		return "duplicate: " + meanings[v.Word], nil
	case refused, malformed:
		return v.Reason, nil
	case failed:
		return "", errors.New(v.Reason)
	}
	return "blocked: " + meanings[v.Word], nil
}

func drawSync(s peer.Summary) {
	fmt.Fprintf(os.Stderr, "\r\x1b[K%d of %d down, %d of %d up", s.Downloaded, s.Need, s.Uploaded, s.Have)
}

// tellSync accounts for every event of either side: the indented lines add up
// to the line above them.
func tellSync(w io.Writer, s peer.Summary) {
	if s.URL == "" {
		return
	}
	fmt.Fprintf(w, "%10s by %s\n", s.URL, s.Method)
	there := "only there"
	if s.Method == "req" { // which does not say what differs
		there = "shown by them"
	}
	tellSide(w, s.Need, there, s.Refused, s.RefusedFor, map[string]int{
		"came and are stored now":                     s.Stored,
		"asked for, but not sent by them":             s.Missing,
		"not fetched: run the same command once more": s.Unfetched(),
	})
	rest := map[string]int{
		"went": s.Uploaded,
		"replaced, deleted or expired here meanwhile": s.Gone,
		"not sent: run the same command once more":    s.Unsent(),
	}
	for why, n := range s.Withheld {
		rest["kept back: "+why] = n
	}
	tellSide(w, s.Have, "only here", s.Rejected, s.RejectedFor, rest)
	if n := s.Unasked + s.Unreadable; n > 0 {
		fmt.Fprintf(w, "%10d messages of theirs were not asked for or not readable, and not taken\n", n)
	}
}

// tellSide tells what became of the n events of one side.
func tellSide(w io.Writer, n int, where string, refused map[string]int, example map[string]peer.Example, rest map[string]int) {
	fmt.Fprintf(w, "%10d %s\n", n, where)
	for _, what := range slices.Sorted(maps.Keys(rest)) {
		if rest[what] != 0 {
			fmt.Fprintf(w, "%14d %s\n", rest[what], what)
		}
	}
	for _, word := range slices.Sorted(maps.Keys(refused)) {
		first := example[word]
		fmt.Fprintf(w, "%14d refused: %s, such as %s: %s\n", refused[word], word, first.ID, printable(first.Why))
	}
}

// printable is what a stranger wrote, without what a terminal would obey but
// the characters named.
func printable(text string, but ...rune) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) || slices.Contains(but, r) {
			return r
		}
		return -1
	}, text)
}
