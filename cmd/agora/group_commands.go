package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"agora/personhood"
	"agora/personhood/enrol"
	"agora/personhood/host"
	"agora/personhood/semaphore"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"
	"github.com/urfave/cli/v3"
)

func groupCommand() *cli.Command {
	return &cli.Command{
		Name: "group", Usage: "keep a group of people: invite, remove, audit",
		OnUsageError: wrongUsage, HideHelpCommand: true,
		Description: `A relay keeps the groups that its setting groups names. invite is for who has the
relay's data directory, remove and publish for its admins, audit for everybody.

Examples:
  agora serve --groups 'town source=invite quota=3'
  agora group invite --group town --count 10
  agora group audit --relay wss://relay.example --group town
  agora group remove --relay wss://relay.example --group town --secret nsec1… --subtree COMMITMENT`,
		Action:   noSubcommand,
		Commands: []*cli.Command{groupInviteCommand(), groupRemoveCommand(), groupPublishCommand(), groupAuditCommand()},
	}
}

func groupInviteCommand() *cli.Command {
	return &cli.Command{
		Name: "invite", Usage: "print invitations signed by the group's own key",
		OnUsageError: wrongUsage, HideHelpCommand: true,
		Description: "Each word lets one person in; send it by a private way. It works beside a running relay:\n" +
			"only the data directory's secret is read. The relay's address in it is the first of\n" +
			"public_urls, else where it serves, unless --relay says another.\n\n" +
			"Examples:\n  agora group invite --group town\n  agora group invite --group town --count 10 --quota 5 --days 30 --relay wss://relay.example",
		Flags: append([]cli.Flag{
			&cli.StringFlag{Name: "group", Usage: "`NAME` of the group", Required: true},
			&cli.StringFlag{Name: "relay", Usage: "`URL` under which people reach the relay"},
			&cli.IntFlag{Name: "count", Value: 1, Usage: "how `MANY`"},
			&cli.IntFlag{Name: "quota", Usage: "how `MANY` the new member may invite; default what the group says"},
			&cli.IntFlag{Name: "days", Value: 7, Usage: "`DAYS` for which they are good"},
		}, configFlags("data", "listen", "public_urls")...),
		Action: runGroupInvite,
	}
}

func runGroupInvite(ctx context.Context, cmd *cli.Command) error {
	cfg, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	name := cmd.String("group")
	if !groupName(name) || cmd.Int("quota") < 0 || cmd.Int("quota") > enrol.MostQuota || cmd.Int("count") > 1<<20 {
		return usagef("--group is a group's name, --quota at most %d, --count at most %d", enrol.MostQuota, 1<<20)
	}
	if err := existingData(cfg.Data); err != nil {
		return err
	}
	at, err := invitedTo(ctx, cmd, cfg, name)
	if err != nil {
		return err
	}
	secret, err := loadSecret(cfg.Data)
	if err != nil {
		return err
	}
	key, err := secret.derive(groupKeyName + name)
	if err != nil {
		return err
	}
	address, err := secret.groupAddress(name)
	if err != nil {
		return err
	}
	for range cmd.Int("count") {
		inv, err := enrol.NewInvitation(key, at.base, address, enrol.RandomSlot(), uint16(cmd.Int("quota")), time.Now().AddDate(0, 0, cmd.Int("days")))
		if err != nil {
			return err
		}
		if _, err := fmt.Fprintln(cmd.Root().Writer, inv); err != nil {
			return err
		}
	}
	return nil
}

// invitedTo is the relay that the invitations name. One that serves this data
// directory knows its address, and whether it keeps the group.
func invitedTo(ctx context.Context, cmd *cli.Command, cfg Config, name string) (*groupHost, error) {
	serving := servedFrom(cfg.Data)
	if serving == "" {
		fmt.Fprintf(cmd.Root().ErrWriter, "no relay serves %s at the moment: whether it will keep a group %s is not known\n", cfg.Data, name)
	} else if here, err := newGroupHost(serving); err != nil {
		return nil, err
	} else if _, err := here.state(ctx, name); err != nil {
		return nil, err
	}
	if relay := cmd.String("relay"); relay != "" {
		return newGroupHost(relay)
	}
	return newGroupHost(cmp.Or(append(cfg.PublicURLs, serving, "ws://"+cfg.Listen)...))
}

// adminFlags say which group at which relay, and who asks.
func adminFlags(more ...cli.Flag) []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "relay", Usage: "`URL` of the relay that keeps the group", Required: true},
		&cli.StringFlag{Name: "group", Usage: "`NAME` or address of the group", Required: true},
		&cli.StringFlag{Name: "secret", Usage: "`NSEC` of an admin of the relay", Required: true},
	}, more...)
}

func groupRemoveCommand() *cli.Command {
	return &cli.Command{
		Name: "remove", Usage: "take a member out of a group", ArgsUsage: "COMMITMENT",
		OnUsageError: wrongUsage, HideHelpCommand: true,
		Description: "The leaf becomes zero with the next root. What the member has already done stays counted.\n\n" +
			"Examples:\n  agora group remove --relay wss://relay.example --group town --secret nsec1… 2d7e06e2…\n" +
			"  agora group remove --relay wss://relay.example --group town --secret nsec1… --subtree 2d7e06e2…",
		Flags: adminFlags(&cli.BoolFlag{Name: "subtree", Usage: "with all whom the member invited, and they in turn"}),
		Action: func(ctx context.Context, cmd *cli.Command) error {
			body, err := json.Marshal(map[string]any{"commitment": cmd.Args().First(), "subtree": cmd.Bool("subtree")})
			if err != nil {
				return err
			}
			return adminAsk(ctx, cmd, "remove", body)
		},
	}
}

func groupPublishCommand() *cli.Command {
	return &cli.Command{
		Name: "publish", Usage: "publish a group's root now, not with the next batch",
		OnUsageError: wrongUsage, HideHelpCommand: true,
		Description: "It shows everybody who joined since the last root: they hide only among one another until\n" +
			"more do.\n\nExamples:\n  agora group publish --relay wss://relay.example --group town --secret nsec1…",
		Flags:  adminFlags(),
		Action: func(ctx context.Context, cmd *cli.Command) error { return adminAsk(ctx, cmd, "publish", []byte("{}")) },
	}
}

// adminAsk sends a request signed by an admin (NIP-98) and prints the answer.
func adminAsk(ctx context.Context, cmd *cli.Command, what string, body []byte) error {
	at, err := newGroupHost(cmd.String("relay"))
	if err != nil {
		return err
	}
	prefix, value, err := nip19.Decode(cmd.String("secret"))
	key, ok := value.(string)
	if err != nil || prefix != "nsec" || !ok {
		return usagef("--secret is not an nsec")
	}
	path := "/v1/groups/" + url.PathEscape(cmd.String("group")) + "/" + what
	sum := sha256.Sum256(body)
	ev := nostr.Event{Kind: nostr.KindHTTPAuth, CreatedAt: nostr.Now(), Tags: nostr.Tags{
		{"u", at.base + path}, {"method", http.MethodPost}, {"payload", hex.EncodeToString(sum[:])},
	}}
	if err := ev.Sign(key); err != nil {
		return err
	}
	header := http.Header{"Authorization": {"Nostr " + base64.StdEncoding.EncodeToString([]byte(ev.String()))}, "Content-Type": {"application/json"}}
	text, err := at.ask(ctx, http.MethodPost, path, body, header, mostAnswer)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(cmd.Root().Writer, strings.TrimSpace(string(text)))
	return err
}

func groupAuditCommand() *cli.Command {
	return &cli.Command{
		Name: "audit", Usage: "check a group's log, members file and root against one another",
		OnUsageError: wrongUsage, HideHelpCommand: true,
		Description: "It fetches all of the log and the members file, follows the hashes from line to line, makes\n" +
			"the members out of the log, and the root out of them. Who keeps a group can let in whom it\n" +
			"likes: the log shows how many by what evidence, and cannot be changed unseen afterwards.\n" +
			"Compare the root with the one that other relays hold (kind 2191): one of your own would\n" +
			"mark you.\n\nExamples:\n  agora group audit --relay wss://relay.example --group town",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "relay", Usage: "`URL` of the relay that keeps the group", Required: true},
			&cli.StringFlag{Name: "group", Usage: "`NAME` or address of the group", Required: true},
		},
		Action: runGroupAudit,
	}
}

// mostLog bounds a log that is fetched, in bytes.
const mostLog = 1 << 30

func runGroupAudit(ctx context.Context, cmd *cli.Command) error {
	at, err := newGroupHost(cmd.String("relay"))
	if err != nil {
		return err
	}
	state, err := at.state(ctx, cmd.String("group"))
	if err != nil {
		return err
	}
	if state.Lines == 0 {
		_, err := fmt.Fprintf(cmd.Root().Writer, "group    %s\nnothing is published yet\n", state.Group)
		return err
	}
	text, err := at.get(ctx, "/v1/groups/"+url.PathEscape(state.Group)+"/log", mostLog)
	if err != nil {
		return err
	}
	file, err := at.get(ctx, "/v1/members/"+state.Members, mostMembersFile)
	if err != nil {
		return err
	}
	found, err := host.Audit(string(text), state)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(file)
	members, err := personhood.ParseMembers(file)
	if err != nil {
		return err
	}
	if hex.EncodeToString(sum[:]) != state.Members || string(file) != string(found.Members) || semaphore.Hex(members.Tree().Root()) != state.Root {
		return errors.New("the log gives other members, or another root, than the group has published")
	}
	_, err = fmt.Fprintf(cmd.Root().Writer, "group    %s\nroot     %s, seq %d\npeople   %d of %d leaves\nlog      %d lines, last %s\n",
		state.Group, state.Root, state.Seq, members.People(), state.Size, state.Lines, state.Last)
	for _, s := range found.Sources {
		if err == nil {
			_, err = fmt.Fprintf(cmd.Root().Writer, "%-8d by %s, class %s\n", s.People, s.Source, s.Class)
		}
	}
	return err
}
