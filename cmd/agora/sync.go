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
Wrapped and protected events stay where they are. An interrupted sync is simply
run again.

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

// tellSync accounts for what went each way.
func tellSync(w io.Writer, s peer.Summary) {
	if s.URL == "" {
		return
	}
	fmt.Fprintf(w, "%10s by %s\n", s.URL, s.Method)
	fmt.Fprintf(w, "%10d only there: %d came, %d stored%s\n", s.Need, s.Downloaded, s.Stored, tellReasons(s.Refused))
	if s.Missing > 0 {
		fmt.Fprintf(w, "%10d asked for, but not sent by them\n", s.Missing)
	}
	fmt.Fprintf(w, "%10d only here: %d went, %d kept back%s\n", s.Have, s.Uploaded, s.Withheld, tellReasons(s.Rejected))
}

func tellReasons(by map[string]int) string {
	var b strings.Builder
	for _, reason := range slices.Sorted(maps.Keys(by)) {
		fmt.Fprintf(&b, ", %d %s", by[reason], reason)
	}
	return b.String()
}
