package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"
	"strings"
	"time"

	"agora/personhood"
	"agora/personhood/poll"
	"agora/personhood/semaphore"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"
	"github.com/urfave/cli/v3"
)

func pollCommand() *cli.Command {
	return &cli.Command{
		Name: "poll", Usage: "ask a group, vote as a person of it, count, count again",
		OnUsageError: wrongUsage, HideHelpCommand: true,
		Description: personhood.Privacy + `

Examples:
  agora poll create --relay ws://127.0.0.1:7447 --group 32191:KEY:NAME --question 'Tea?' --option y=Yes --option n=No --ends 24h
  agora poll vote POLL --relay ws://127.0.0.1:7447 --members members.bin --choice y
  agora poll tally POLL --relay ws://127.0.0.1:7447
  agora poll recount ws://127.0.0.1:7447 --poll POLL
  agora poll recount ballots.jsonl --members members.bin`,
		Action: noSubcommand,
		Commands: []*cli.Command{
			pollCreateCommand(), pollVoteCommand(), pollTallyCommand(), pollRecountCommand(),
		},
	}
}

func relayFlag(required bool) cli.Flag {
	return &cli.StringFlag{Name: "relay", Usage: "`URL` of the relay, ws:// or wss://", Required: required}
}

func pollCreateCommand() *cli.Command {
	return &cli.Command{
		Name: "create", Usage: "sign a poll and publish it",
		OnUsageError: wrongUsage, HideHelpCommand: true,
		Description: "The poll is signed by a fresh key, or by --secret. It names the relay as its host: the key\n" +
			"that signs which ballots count, 15 minutes after the end. Without --group it counts keys.\n\n" +
			"Methods: single, multiple, ranked (instant run-off), quadratic (100 credits a ballot).\n\n" +
			"Examples:\n  agora poll create --relay ws://127.0.0.1:7447 --group 32191:KEY:NAME --question 'Tea?' --option y=Yes --option n=No --ends 24h\n" +
			"  agora poll create --print --question 'Lunch?' --option soup --option salad --method ranked",
		Flags: []cli.Flag{
			relayFlag(false),
			&cli.StringFlag{Name: "question", Usage: "`TEXT` of the question", Required: true},
			&cli.StringSliceFlag{Name: "option", Usage: "`ID=TEXT`, or a word that is both; once for each", Required: true},
			&cli.StringFlag{Name: "method", Usage: "single, multiple, ranked or quadratic", Value: "single"},
			&cli.StringFlag{Name: "group", Usage: "`NAME` of a group that the relay keeps, or an address 32191:key:name"},
			&cli.StringFlag{Name: "root", Usage: "`HEX` root of the group; default the current one at the relay"},
			&cli.StringFlag{Name: "ends", Usage: "`TIME` from now until the end, 24h or 2d for instance; default never"},
			&cli.BoolFlag{Name: "hidden", Usage: "ask the relay not to show a tally before the poll is closed; ballots stay public"},
			&cli.StringFlag{Name: "secret", Usage: "sign with this `NSEC` instead of a fresh key"},
			&cli.BoolFlag{Name: "print", Usage: "print the signed event and publish nothing"},
		},
		Action: runPollCreate,
	}
}

func pollVoteCommand() *cli.Command {
	return &cli.Command{
		Name: "vote", Usage: "cast one ballot as a person", ArgsUsage: "POLL",
		OnUsageError: wrongUsage, HideHelpCommand: true,
		Description: personhood.Privacy + "\n\nIt shows how many people you hide among, proves that you are one of them, waits for a random\n" +
			"time and publishes the ballot under a fresh key, on a connection of its own. A newer ballot\n" +
			"replaces an older one, five times.\n\n" +
			"Examples:\n  agora poll vote POLL --relay ws://127.0.0.1:7447 --members members.bin --choice y\n" +
			"  agora poll vote POLL --relay ws://127.0.0.1:7447 --choice first --choice second   # ranked: best first\n" +
			"  agora poll vote POLL --relay ws://127.0.0.1:7447 --choice parks=64 --choice roads=36   # quadratic",
		Flags: identityFlags(
			relayFlag(true),
			&cli.StringSliceFlag{Name: "choice", Usage: "`OPTION`, or OPTION=CREDITS; once for each", Required: true},
			&cli.StringFlag{Name: "members", Usage: "`FILE` or URL of all members; default where the group says it is"},
			&cli.StringFlag{Name: "delay", Usage: "wait a random `TIME` up to this before publishing", Value: "30s"},
			&cli.BoolFlag{Name: "print", Usage: "print the ballot and publish nothing"},
		),
		Action: runPollVote,
	}
}

func pollTallyCommand() *cli.Command {
	return &cli.Command{
		Name: "tally", Usage: "show what a relay has counted", ArgsUsage: "POLL",
		OnUsageError: wrongUsage, HideHelpCommand: true,
		Description: "This is the relay's word; agora poll recount checks it.\n\nExamples:\n  agora poll tally POLL --relay ws://127.0.0.1:7447",
		Flags:       []cli.Flag{relayFlag(true), &cli.BoolFlag{Name: "json", Usage: "print the relay's answer as it is"}},
		Action:      runPollTally,
	}
}

// signingKey is the secret key of an nsec, or a fresh one.
func signingKey(word string) (string, error) {
	if word == "" {
		return nostr.GeneratePrivateKey(), nil
	}
	prefix, value, err := nip19.Decode(word)
	s, ok := value.(string)
	if err != nil || prefix != "nsec" || !ok {
		return "", usagef("--secret is not an nsec")
	}
	return s, nil
}

func runPollCreate(ctx context.Context, cmd *cli.Command) error {
	relay := cmd.String("relay")
	if relay == "" && !cmd.Bool("print") {
		return usagef("create needs --relay, or --print")
	}
	if len(cmd.StringSlice("option")) < 2 {
		return usagef("a poll needs a choice: give --option at least twice")
	}
	if strings.TrimSpace(cmd.String("question")) == "" {
		return usagef("a poll needs a question: give --question some words")
	}
	ends, err := lengthFlag(cmd, "ends")
	if err != nil {
		return err
	}
	if cmd.IsSet("ends") && ends == 0 {
		return usagef("--ends: a poll that ends at once takes no ballots: give a time such as 24h, or leave it out for a poll without end")
	}
	ev := draftPoll(cmd, ends)
	root := cmd.String("root")
	if relay != "" {
		ev.Tags = append(ev.Tags, nostr.Tag{"relay", relay})
		if self := selfOf(ctx, relay); self != "" {
			ev.Tags = append(ev.Tags, nostr.Tag{"host", self})
		}
	}
	if err := pinGroup(ctx, &ev, cmd.String("group"), root, relay); err != nil {
		return err
	}
	secret, err := signingKey(cmd.String("secret"))
	if err != nil {
		return err
	}
	if err := ev.Sign(secret); err != nil {
		return err
	}
	if _, err := poll.Parse(&ev); err != nil {
		return usage(err)
	}
	if cmd.Bool("print") {
		_, err = fmt.Fprintln(cmd.Root().Writer, ev.String())
		return err
	}
	if err := sendEvent(ctx, relay, &ev); err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.Root().Writer, "poll   %s\npage   %s/v1/polls/%s\n", ev.ID, httpURL(relay), ev.ID)
	return err
}

// lengthFlag is the length of time that a flag gives, written as in the
// settings; 0 when it is not given.
func lengthFlag(cmd *cli.Command, name string) (time.Duration, error) {
	var d Duration
	word := cmd.String(name)
	if word == "" {
		return 0, nil
	}
	if err := d.UnmarshalText([]byte(word)); err != nil {
		return 0, usagef("--%s: %w", name, err)
	}
	return d.Duration, nil
}

// draftPoll is the poll as the flags describe it, without host and group. It
// ends after that long; 0: never.
func draftPoll(cmd *cli.Command, ends time.Duration) nostr.Event {
	ev := nostr.Event{Kind: poll.KindPoll, CreatedAt: nostr.Now(), Content: cmd.String("question")}
	for _, o := range cmd.StringSlice("option") {
		id, label, named := strings.Cut(o, "=")
		if !named {
			label = id
		}
		ev.Tags = append(ev.Tags, nostr.Tag{"option", id, label})
	}
	method, polltype := cmd.String("method"), "multiplechoice"
	if method == string(poll.Single) {
		polltype = "singlechoice"
	}
	ev.Tags = append(ev.Tags, nostr.Tag{"polltype", polltype}, nostr.Tag{"method", method})
	if ends != 0 {
		ev.Tags = append(ev.Tags, nostr.Tag{"endsAt", strconv.FormatInt(time.Now().Add(ends).Unix(), 10)})
	}
	if cmd.Bool("hidden") {
		ev.Tags = append(ev.Tags, nostr.Tag{"tally", "hidden"})
	}
	return ev
}

// pinGroup adds the tag that names the people who may vote.
func pinGroup(ctx context.Context, ev *nostr.Event, group, root, relay string) error {
	if group == "" {
		return nil
	}
	if relay != "" && groupName(group) {
		at, err := newGroupHost(relay)
		if err != nil {
			return err
		}
		state, err := at.state(ctx, group)
		if err != nil {
			return err
		}
		group = state.Group
	}
	address, err := personhood.ParseAddress(group)
	if err != nil {
		return usage(err)
	}
	if root == "" {
		if relay == "" {
			return usagef("--group needs --relay, to ask for the current root, or --root")
		}
		q, err := inquire(ctx, relay)
		if err != nil {
			return err
		}
		defer q.close()
		s, err := q.latestGroup(address)
		if err != nil {
			return err
		}
		root = semaphore.Hex(s.Root)
	}
	ev.Tags = append(ev.Tags, nostr.Tag{"pop", "semaphore4", group, root, strconv.Itoa(semaphore.ProverDepth)})
	return nil
}

// sendEvent publishes on a connection that does nothing else.
func sendEvent(ctx context.Context, relay string, ev *nostr.Event) error {
	q, err := inquire(ctx, relay)
	if err != nil {
		return err
	}
	defer q.close()
	no, err := q.publish(ev)
	if err == nil && no != "" {
		err = fmt.Errorf("%s refuses: %s", relay, no)
	}
	return err
}

func onePoll(cmd *cli.Command) (string, error) {
	id := cmd.Args().First()
	if _, err := poll.ParseID(id); err != nil || cmd.Args().Len() != 1 {
		return "", usagef("name one poll by its id of 64 hex digits (see: %s --help)", cmd.FullName())
	}
	return id, nil
}

func runPollVote(ctx context.Context, cmd *cli.Command) error {
	id, err := onePoll(cmd)
	if err != nil {
		return err
	}
	most, err := lengthFlag(cmd, "delay")
	if err != nil {
		return err
	}
	me, err := openIdentity(cmd)
	if err != nil {
		return err
	}
	of, snapshot, members, err := electorate(ctx, cmd, id)
	if err != nil {
		return err
	}
	ev, err := draftBallot(of, cmd.StringSlice("choice"))
	if err != nil {
		return usage(err)
	}
	if _, in := members.Find(me.Commitment()); !in {
		return fmt.Errorf("this identity is not among the %s of this poll, which counts who was in %s when it was made: "+
			"join that group first (agora person join), and vote in polls that are made after the group's next root", persons(members.People()), of.Group)
	}
	tellCrowd(cmd.Root().ErrWriter, members.People())
	prover, err := newProver(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = prover.Close(ctx) }()
	wait, err := randomDelay(most)
	if err != nil {
		return err
	}
	if !cmd.Bool("print") {
		ev.CreatedAt += nostr.Timestamp(wait / time.Second) // when it will be sent, not when it was decided
	}
	ballot, err := personhood.Act(ctx, prover, me, snapshot.Group, members, ev, nostr.GeneratePrivateKey())
	if err != nil {
		return err
	}
	if cmd.Bool("print") {
		_, err = fmt.Fprintln(cmd.Root().Writer, ballot.String())
		return err
	}
	return castLater(ctx, cmd, ballot, wait)
}

// draftBallot is a ballot with these choices, unsigned.
func draftBallot(of heldPoll, choices []string) (nostr.Event, error) {
	ev := nostr.Event{Kind: poll.KindBallot, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"e", of.ID}}}
	if of.Method == poll.Single && len(choices) > 1 {
		return ev, fmt.Errorf("this poll takes a single choice, and %d were given: give --choice once", len(choices))
	}
	for _, c := range choices {
		tag := nostr.Tag{"response", c}
		if option, credits, ok := strings.Cut(c, "="); ok && of.Method == poll.Quadratic {
			tag = nostr.Tag{"response", option, credits}
		}
		ev.Tags = append(ev.Tags, tag)
	}
	_, err := of.Ballot(&ev)
	return ev, err
}

// electorate is a poll of people with the members of its root.
func electorate(ctx context.Context, cmd *cli.Command, id string) (of heldPoll, s personhood.Snapshot, members *personhood.Members, err error) {
	relay := cmd.String("relay")
	q, err := inquire(ctx, relay)
	if err != nil {
		return of, s, nil, err
	}
	defer q.close()
	if of, err = q.poll(id); err != nil {
		return of, s, nil, err
	}
	if of.Group == "" {
		return of, s, nil, usagef("this poll counts keys, not people: vote in any Nostr client")
	}
	group, err := personhood.ParseAddress(of.Group)
	if err != nil {
		return of, s, nil, err
	}
	entries, err := q.all(nostr.Filter{Kinds: []int{personhood.KindRootLog}, Authors: []string{group.Key}, Tags: nostr.TagMap{"a": {of.Group}}})
	if err != nil {
		return of, s, nil, err
	}
	s, ok := personhood.AtRoot(entries, of.Group, of.Root)
	if !ok {
		return of, s, nil, personhood.ErrNoRoot
	}
	if now, err := q.latestGroup(group); err == nil {
		s.URLs = now.URLs
	}
	file, err := membersFrom(cmd.String("members"), relay)(ctx, s)
	if err != nil {
		return of, s, nil, fmt.Errorf("the members file: %w", err)
	}
	members, err = s.Matches(file)
	return of, s, members, err
}

// randomDelay is up to most.
func randomDelay(most time.Duration) (time.Duration, error) {
	if most <= 0 {
		return 0, nil
	}
	n, err := rand.Int(rand.Reader, big.NewInt(int64(most)))
	if err != nil {
		return 0, err
	}
	return time.Duration(n.Int64()), nil
}

func castLater(ctx context.Context, cmd *cli.Command, ballot *nostr.Event, wait time.Duration) error {
	if wait > 0 {
		fmt.Fprintf(cmd.Root().ErrWriter, "the ballot goes out in %s\n", wait.Round(time.Second))
	}
	select {
	case <-time.After(wait):
	case <-ctx.Done():
		return &exit{exitInterrupted, fmt.Errorf("interrupted before the ballot was sent")}
	}
	if err := sendEvent(ctx, cmd.String("relay"), ballot); err != nil {
		return err
	}
	fmt.Fprintln(cmd.Root().ErrWriter, "if you have voted in this poll before, this ballot replaces the earlier one")
	_, err := fmt.Fprintf(cmd.Root().Writer, "ballot %s\n", ballot.ID)
	return err
}

func runPollTally(ctx context.Context, cmd *cli.Command) error {
	id, err := onePoll(cmd)
	if err != nil {
		return err
	}
	body, err := download(ctx, httpURL(cmd.String("relay"))+"/v1/polls/"+id+"/tally", true, mostPollsDoc)
	if err != nil {
		return err
	}
	out := cmd.Root().Writer
	if cmd.Bool("json") {
		_, err = out.Write(body)
		return err
	}
	var a tallyAnswer
	if err := json.Unmarshal(body, &a); err != nil {
		return fmt.Errorf("the relay's tally cannot be read: %w", err)
	}
	if ok, err := a.Certificate.CheckSignature(); err != nil || !ok || !a.Certificate.CheckID() {
		return fmt.Errorf("the relay's certificate is not signed")
	}
	fmt.Fprintln(out, printable(fmt.Sprintf("poll         %s (%s, %s)", a.Poll, a.Method, a.State)))
	tellResult(out, "people", a.People)
	tellResult(out, "keys", a.Keys)
	_, err = fmt.Fprintf(out, "certificate  %s over %s, signed by %s\n", printable(a.X), howMany(int64(a.Count), "ballot"), a.Certificate.PubKey)
	return err
}
