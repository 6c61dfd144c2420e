package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"time"

	"agora/personhood"
	"agora/personhood/poll"

	"github.com/nbd-wtf/go-nostr"
	"github.com/urfave/cli/v3"
)

// recountMemory is the soft limit on memory of a recount.
const recountMemory = 160 << 20

func pollRecountCommand() *cli.Command {
	return &cli.Command{
		Name: "recount", Usage: "count a poll again from its events alone", ArgsUsage: "FILE|URL",
		OnUsageError: wrongUsage, HideHelpCommand: true,
		Description: "It reads events from a file (JSON lines, plain, .gz or .zst: GET /v1/polls/POLL/ballots.jsonl,\n" +
			"or any export that holds the poll), or asks any relay. It builds the root anew from the members\n" +
			"file, checks every id, signature and proof, and prints the hash of the ids that it counted: the\n" +
			"relay's certificate has the same. With the host's close event it counts exactly the ballots that\n" +
			"the host has signed; without, it says so. It ends with 3 when something contradicts the host, and\n" +
			"lists the ids. A relay holds one ballot of each person, the newest: older ones are found only in\n" +
			"what was gathered elsewhere.\n\n" +
			"Examples:\n  agora poll recount ballots.jsonl --members members.bin\n" +
			"  agora poll recount ws://127.0.0.1:7447 --poll POLL\n" +
			"  agora poll recount ballots.jsonl --against ws://127.0.0.1:7447",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "poll", Usage: "`ID` of the poll; needed with a URL, or when the file has several"},
			&cli.StringFlag{Name: "members", Usage: "`FILE` or URL of all members at the poll's root; default where the group says it is"},
			&cli.StringFlag{Name: "host", Usage: "`KEY` whose close event counts, when the poll names none and several have closed it"},
			&cli.StringFlag{Name: "against", Usage: "`FILE|URL` to compare with: lists the ids that only one of the two counts"},
			&cli.BoolFlag{Name: "json", Usage: "print the outcome as JSON"},
		},
		Action: runPollRecount,
	}
}

// recountAnswer is the outcome as JSON.
type recountAnswer struct {
	Poll      string        `json:"poll"`
	Method    poll.Method   `json:"method"`
	Group     string        `json:"group,omitempty"`
	Root      string        `json:"root,omitempty"`
	Crowd     int           `json:"crowd"`
	Tally     poll.Tally    `json:"tally"`
	Count     int           `json:"count"`
	X         string        `json:"x"`
	Certified bool          `json:"certified"`
	Host      string        `json:"host,omitempty"`
	Agrees    bool          `json:"agrees"`
	Extra     []poll.ID     `json:"extra"`
	Missing   []poll.ID     `json:"missing"`
	Invalid   []poll.Passed `json:"invalid"`
	Passed    []poll.Passed `json:"passed"`
}

func runPollRecount(ctx context.Context, cmd *cli.Command) error {
	if cmd.Args().Len() != 1 {
		return usagef("recount what? Name one file or relay (see: agora poll recount --help)")
	}
	debug.SetMemoryLimit(recountMemory)
	r, err := recountFrom(ctx, cmd, cmd.Args().First(), cmd.String("poll"))
	if err != nil {
		return err
	}
	out := cmd.Root().Writer
	if cmd.Bool("json") {
		err = tellRecountJSON(out, r)
	} else {
		err = tellRecount(out, r)
	}
	if err != nil {
		return err
	}
	if other := cmd.String("against"); other != "" {
		return compareWith(ctx, cmd, r, other)
	}
	if !r.Agrees() {
		return &exit{exitDamaged, errors.New("the recount does not agree with what the host has signed")}
	}
	return nil
}

// recountFrom recounts a file or what a relay holds.
func recountFrom(ctx context.Context, cmd *cli.Command, from, id string) (*personhood.Recount, error) {
	src := personhood.Source{Poll: id, Host: cmd.String("host")}
	if src.Host != "" {
		key, err := parsePubKey(src.Host)
		if err != nil {
			return nil, usage(err)
		}
		src.Host = key
	}
	relay, err := "", error(nil)
	switch {
	case strings.HasPrefix(from, "ws://") || strings.HasPrefix(from, "wss://"):
		if relay = from; src.Poll == "" {
			return nil, usagef("a relay holds many polls: say which with --poll ID")
		}
		src.Events, err = eventsOf(ctx, relay, src.Poll)
	default:
		var broken int
		src.Events, broken, err = readEvents(from)
		if err == nil && broken > 0 {
			fmt.Fprintf(cmd.Root().ErrWriter, "%s of %s could not be read as an event\n", howMany(int64(broken), "line"), from)
		}
	}
	if err != nil {
		return nil, err
	}
	src.Members = membersFrom(cmd.String("members"), relay)
	r, err := personhood.CountAgain(ctx, src)
	if _, bad := errors.AsType[*poll.Invalid](err); bad {
		return nil, fmt.Errorf("this poll cannot be counted: %w", err)
	}
	if errors.Is(err, personhood.ErrManyPolls) {
		return nil, usagef("%w with --poll ID", err)
	}
	return r, err
}

func eventsOf(ctx context.Context, relay, id string) ([]*nostr.Event, error) {
	q, err := inquire(ctx, relay)
	if err != nil {
		return nil, err
	}
	defer q.close()
	return q.pollEvents(id)
}

func tellRecountJSON(w io.Writer, r *personhood.Recount) error {
	a := recountAnswer{
		Poll: r.Poll.ID, Method: r.Poll.Method, Group: r.Poll.Group, Crowd: r.People, Tally: r.Tally, Count: r.Count, X: hexSum(r.Sum),
		Certified: r.Close != nil, Agrees: r.Agrees(), Extra: append([]poll.ID{}, r.Extra...), Missing: append([]poll.ID{}, r.Missing...),
		Invalid: append([]poll.Passed{}, r.Invalid...), Passed: append([]poll.Passed{}, r.Passed...),
	}
	if r.Poll.Group != "" {
		a.Root = rootHex(r.Poll.Root)
	}
	if r.Close != nil {
		a.Host = r.Close.By
	}
	return json.NewEncoder(w).Encode(a)
}

func tellRecount(w io.Writer, r *personhood.Recount) error {
	fmt.Fprintf(w, "poll         %s (%s)\n", r.Poll.ID, r.Poll.Method)
	if r.Poll.Group != "" {
		fmt.Fprintf(w, "group        %s, %s; its root grows out of the members file\n", r.Poll.Group, persons(r.People))
		tellResult(w, "people", r.Tally.People)
	}
	tellResult(w, "keys", r.Tally.Keys)
	fmt.Fprintf(w, "replaced     %d found beside the newer one; a relay drops them when that comes\n", len(r.Passed))
	fmt.Fprintf(w, "not valid    %d\n", len(r.Invalid))
	for _, p := range r.Invalid {
		fmt.Fprintf(w, "  not valid  %s %s\n", p.ID, printable(p.Why))
	}
	tellHost(w, r)
	_, err := fmt.Fprintf(w, "certificate  %s over %s\n", hexSum(r.Sum), howMany(int64(r.Count), "ballot"))
	return err
}

// tellHost says what the host has signed, and the ids that differ.
func tellHost(w io.Writer, r *personhood.Recount) {
	switch {
	case r.Close == nil && len(r.Closers) > 1:
		fmt.Fprintf(w, "certified    no: several have closed this poll, choose with --host: %s\n", strings.Join(r.Closers, " "))
	case r.Close == nil:
		fmt.Fprintln(w, "certified    no: no host has closed this poll; other relays may hold other ballots")
	case r.Agrees():
		fmt.Fprintf(w, "certified    yes: closed by %s at %s\n", r.Close.By, r.Close.At.Time().UTC().Format(time.RFC3339))
	default:
		fmt.Fprintf(w, "certified    MISMATCH: %s has signed %s, hash %s\n", r.Close.By, howMany(int64(len(r.Close.IDs)), "ballot"), hexSum(poll.Sum(r.Close.IDs)))
	}
	for _, id := range r.Extra {
		fmt.Fprintf(w, "  extra      %s is not in the close event\n", id)
	}
	for _, id := range r.Missing {
		fmt.Fprintf(w, "  missing    %s is in the close event\n", id)
	}
	if r.Differs != nil {
		fmt.Fprintf(w, "  the host's certificate says %s over %s\n", hexSum(r.Differs.Sum), howMany(int64(r.Differs.Count), "ballot"))
	}
}

// tellResult prints what each option got. Options are strangers' words.
func tellResult(w io.Writer, who string, r poll.Result) {
	if r.Ballots == 0 {
		fmt.Fprintf(w, "%-12s no ballots\n", who)
		return
	}
	fmt.Fprintf(w, "%-12s %s, leading: %s\n", who, howMany(int64(r.Ballots), "ballot"), printable(strings.Join(r.Leading, " ")))
	for _, o := range r.Options {
		fmt.Fprintf(w, "  %6d %s", o.Ballots, printable(o.ID))
		if o.Label != o.ID {
			fmt.Fprintf(w, " (%s)", printable(o.Label))
		}
		if o.Votes != "" {
			fmt.Fprintf(w, ", %d credits, %s votes", o.Credits, o.Votes)
		}
		fmt.Fprintln(w)
	}
	for i, round := range r.Rounds {
		fmt.Fprintf(w, "  round %d: %v", i+1, round.Votes)
		if len(round.Out) > 0 {
			fmt.Fprintf(w, ", out: %s", printable(strings.Join(round.Out, " ")))
		}
		if round.Tie {
			fmt.Fprint(w, " (by the rule for ties)")
		}
		fmt.Fprintln(w)
	}
}

// compareWith recounts the other side and lists what only one of them counts.
func compareWith(ctx context.Context, cmd *cli.Command, r *personhood.Recount, other string) error {
	o, err := recountFrom(ctx, cmd, other, r.Poll.ID)
	if err != nil {
		return fmt.Errorf("%s: %w", other, err)
	}
	out := cmd.Root().Writer
	fmt.Fprintf(out, "against      %s over %s\n", hexSum(o.Sum), howMany(int64(o.Count), "ballot"))
	if o.Sum == r.Sum && o.Poll.ID == r.Poll.ID {
		return nil
	}
	for _, id := range poll.Without(r.Counted, o.Counted) {
		fmt.Fprintf(out, "  only in %s: %s\n", cmd.Args().First(), id)
	}
	for _, id := range poll.Without(o.Counted, r.Counted) {
		fmt.Fprintf(out, "  only in %s: %s\n", other, id)
	}
	return &exit{exitDamaged, errors.New("the two count different ballots")}
}
