package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"agora/personhood"
	"agora/personhood/enrol"
	"agora/personhood/host"
	"agora/personhood/semaphore"

	"github.com/urfave/cli/v3"
)

func personJoinCommand() *cli.Command {
	return &cli.Command{
		Name: "join", Usage: "become a member of a group", ArgsUsage: "[INVITATION]",
		OnUsageError: wrongUsage, HideHelpCommand: true,
		Description: "With an invitation it asks the relay that the invitation names, and needs nothing else.\n" +
			"With --relay and --group it hands in other evidence: what --evidence says, which the\n" +
			"group's source has to know. The relay learns the commitment, not what you will do.\n" +
			"With --group alone it prints the wish as JSON for whoever keeps the group; with --members\n" +
			"it adds the commitment to that file, which is made when it is missing: for who keeps it.\n\n" +
			"Examples:\n  agora person join agorainvite1…\n" +
			"  agora person join --relay wss://relay.example --group town --evidence @evidence.json\n" +
			"  agora person join --relay wss://relay.example --group friends --label label.json --label-secret nsec1…\n" +
			"  agora person join --members members.bin",
		Flags: append(identityFlags(
			&cli.StringFlag{Name: "relay", Usage: "`URL` of the relay that keeps the group"},
			&cli.StringFlag{Name: "group", Usage: "`NAME` or address of the group"},
			&cli.StringFlag{Name: "members", Usage: "members `FILE` to add the commitment to"},
		), evidenceFlags()...),
		Action: runPersonJoin,
	}
}

func runPersonJoin(ctx context.Context, cmd *cli.Command) error {
	invitation := cmd.Args().First()
	members := cmd.String("members")
	switch {
	case cmd.Args().Len() > 1:
		return usagef("join takes one invitation")
	case members != "" && (invitation != "" || cmd.String("group") != ""):
		return usagef("--members goes alone")
	case invitation == "" && cmd.String("group") == "" && members == "":
		return usagef("join needs an invitation, or --relay and --group, or --members (see: agora person join --help)")
	}
	id, err := openIdentity(cmd)
	if err != nil {
		return err
	}
	if members != "" {
		return addMember(cmd.Root().Writer, members, id.Commitment())
	}
	if invitation != "" {
		return joinInvited(ctx, cmd, id, invitation)
	}
	if cmd.String("relay") != "" {
		return joinAt(ctx, cmd, id)
	}
	return printWish(ctx, cmd, id)
}

// textOrFile is the text itself, or what is in the file behind an @.
func textOrFile(text string) (string, error) {
	name, ok := strings.CutPrefix(text, "@")
	if !ok {
		return text, nil
	}
	b, err := os.ReadFile(name)
	return strings.TrimSpace(string(b)), err
}

func joinInvited(ctx context.Context, cmd *cli.Command, id *semaphore.Identity, word string) error {
	inv, err := enrol.ParseInvitation(word)
	if err != nil {
		return usage(err)
	}
	relay := inv.Relay
	if text := cmd.String("relay"); text != "" {
		relay = text
	}
	at, err := newGroupHost(relay)
	if err != nil {
		return err
	}
	evidence, err := inv.Accept(id.Commitment(), enrol.InviterKey(id, inv.Group))
	if err != nil {
		return err
	}
	return wishAt(ctx, cmd, at, id, inv.Group, evidence)
}

// groupAsked is the group that --group names at the relay that --relay names.
func groupAsked(ctx context.Context, cmd *cli.Command) (at *groupHost, state host.State, group personhood.Address, err error) {
	if at, err = newGroupHost(cmd.String("relay")); err != nil {
		return nil, state, group, err
	}
	if state, err = at.state(ctx, cmd.String("group")); err != nil {
		return nil, state, group, err
	}
	group, err = personhood.ParseAddress(state.Group)
	return at, state, group, err
}

func joinAt(ctx context.Context, cmd *cli.Command, id *semaphore.Identity) error {
	at, state, group, err := groupAsked(ctx, cmd)
	if err != nil {
		return err
	}
	evidence, err := makeEvidence(ctx, cmd, group, state.About, id)
	if err != nil {
		return err
	}
	if evidence == "" {
		return usagef("the group %s takes nobody without evidence: %s", group.D, wayIn(state.Source))
	}
	return wishAt(ctx, cmd, at, id, group, evidence)
}

func wishAt(ctx context.Context, cmd *cli.Command, at *groupHost, id *semaphore.Identity, group personhood.Address, evidence string) error {
	prover, err := newProver(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = prover.Close(ctx) }()
	j, err := personhood.Join(ctx, prover, id, group, []byte(evidence))
	if err != nil {
		return err
	}
	out, err := at.join(ctx, group.String(), host.NewWish(j, evidence))
	if err != nil {
		return err
	}
	if err := keepQuota(invitedFile(cmd, group), out.Quota); err != nil {
		return err
	}
	word := "joined"
	if out.Already {
		word = "a member already"
	}
	text := fmt.Sprintf("%s    %s\nleaf      %d\nnext root %s\n", word, out.Group, out.Leaf, time.Unix(out.Root, 0).Format(time.DateTime))
	if out.Quota > 0 {
		text += fmt.Sprintf("invite    %d others: agora person invite --relay %s --group %s\n", out.Quota, at.base, group.D)
	}
	_, err = fmt.Fprint(cmd.Root().Writer, text)
	return err
}

func printWish(ctx context.Context, cmd *cli.Command, id *semaphore.Identity) error {
	address, err := personhood.ParseAddress(cmd.String("group"))
	if err != nil {
		return usagef("%w; a group by its name needs --relay", err)
	}
	evidence, err := makeEvidence(ctx, cmd, address, nil, id)
	if err != nil {
		return err
	}
	prover, err := newProver(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = prover.Close(ctx) }()
	j, err := personhood.Join(ctx, prover, id, address, []byte(evidence))
	if err != nil {
		return err
	}
	return json.NewEncoder(cmd.Root().Writer).Encode(host.NewWish(j, evidence))
}

func personInviteCommand() *cli.Command {
	return &cli.Command{
		Name: "invite", Usage: "let somebody else into a group by invitations that you are a member of",
		OnUsageError: wrongUsage, HideHelpCommand: true,
		Description: "It prints one word that lets one person in: send it by a private way. How many you may\n" +
			"give, the group says; which is the next is remembered beside the identity. Who keeps the\n" +
			"group knows whom you invited, and can remove you with all of them.\n\n" +
			"Examples:\n  agora person invite --relay wss://relay.example --group town\n  agora person invite --relay wss://relay.example --group town --slot 0 --days 30",
		Flags: identityFlags(
			&cli.StringFlag{Name: "relay", Usage: "`URL` of the relay that keeps the group", Required: true},
			&cli.StringFlag{Name: "group", Usage: "`NAME` or address of the group", Required: true},
			&cli.IntFlag{Name: "slot", Value: -1, Usage: "`NUMBER` of the invitation, from 0; default the next"},
			&cli.IntFlag{Name: "days", Value: 7, Usage: "`DAYS` for which it is good"},
		),
		Action: runPersonInvite,
	}
}

func runPersonInvite(ctx context.Context, cmd *cli.Command) error {
	id, err := openIdentity(cmd)
	if err != nil {
		return err
	}
	at, _, group, err := groupAsked(ctx, cmd)
	if err != nil {
		return err
	}
	slot := cmd.Int("slot")
	if slot < 0 {
		if slot, err = nextSlot(cmd.Root().ErrWriter, invitedFile(cmd, group)); err != nil {
			return err
		}
	}
	inv, err := enrol.NewInvitation(enrol.InviterSecret(id, group), at.base, group, uint32(slot), 0, time.Now().AddDate(0, 0, cmd.Int("days")))
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(cmd.Root().Writer, inv)
	return err
}

// invitedFile remembers, beside the identity, how many invitations into a group
// it has given, and how many it may give.
func invitedFile(cmd *cli.Command, group personhood.Address) string {
	return cmd.String("identity") + ".invited-" + group.Key[:16] + "-" + group.D
}

// readInvited reads "given quota"; quota -1: not known.
func readInvited(name string) (given, quota int, err error) {
	b, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return 0, -1, nil
	}
	if err != nil {
		return 0, 0, err
	}
	words := strings.Fields(string(b))
	quota = -1
	for i, into := range []*int{&given, &quota} {
		if i < len(words) && err == nil {
			*into, err = strconv.Atoi(words[i])
		}
	}
	if err != nil || len(words) == 0 {
		return 0, 0, fmt.Errorf("%s holds no number; name the invitation with --slot", name)
	}
	return given, quota, nil
}

func writeInvited(name string, given, quota int) error {
	return os.WriteFile(name, fmt.Appendln(nil, given, quota), 0o600)
}

// keepQuota remembers what the relay said at the joining.
func keepQuota(name string, quota int) error {
	given, _, err := readInvited(name)
	if err != nil {
		return err
	}
	return writeInvited(name, given, quota)
}

// nextSlot counts the invitations that were given, in a file, and refuses one
// that no relay would accept. A word that was lost is printed again by --slot.
func nextSlot(told io.Writer, name string) (int, error) {
	given, quota, err := readInvited(name)
	if err != nil {
		return 0, err
	}
	if quota == 0 {
		return 0, usagef("the relay has given you no invitations into this group")
	}
	if quota > 0 && given >= quota {
		return 0, usagef("you have given all %d invitations of yours; --slot 0 to %d prints one again, if nobody has used it", quota, quota-1)
	}
	if quota > 0 {
		fmt.Fprintf(told, "invitation %d of %d\n", given+1, quota)
	}
	return given, writeInvited(name, given+1, quota)
}
