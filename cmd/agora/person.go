package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"agora/personhood"
	"agora/personhood/semaphore"

	"github.com/nbd-wtf/go-nostr"
	"github.com/urfave/cli/v3"
)

// proveMemory is the soft limit on memory while a proof is made: the garbage
// of compiling the circuit is collected before it costs more.
const proveMemory = 96 << 20

func personCommand() *cli.Command {
	return &cli.Command{
		Name: "person", Usage: "be one person of a group: make an identity, join, prove, back it up",
		OnUsageError: wrongUsage, HideHelpCommand: true,
		Description: personhood.Privacy + `

The identity is encrypted under a passphrase, which is read from the file that
--passphrase-file names or from AGORA_PASSPHRASE.

Examples:
  agora person new
  agora person join agorainvite1…
  agora person prove --relay wss://relay.example --group town --send < like.json
  agora person invite --relay wss://relay.example --group town
  agora person export > backup.txt`,
		Action: noSubcommand,
		Commands: []*cli.Command{
			personNewCommand(), personJoinCommand(), personInviteCommand(), personProveCommand(), personExportCommand(),
		},
	}
}

func noSubcommand(_ context.Context, cmd *cli.Command) error {
	if name := cmd.Args().First(); name != "" {
		var names []string
		for _, c := range cmd.Commands {
			names = append(names, c.Name)
		}
		return usagef("there is no %s %s%s (see: %s --help)", cmd.FullName(), name, nearest(name, names), cmd.FullName())
	}
	return cli.ShowSubcommandHelp(cmd)
}

// identityFlags say where the identity is and what opens it.
func identityFlags(more ...cli.Flag) []cli.Flag {
	return append([]cli.Flag{
		&cli.StringFlag{Name: "identity", Usage: "`FILE` of the encrypted identity", Value: "person.key"},
		&cli.StringFlag{Name: "passphrase-file", Usage: "`FILE` whose first line is the passphrase; default AGORA_PASSPHRASE"},
	}, more...)
}

func personNewCommand() *cli.Command {
	return &cli.Command{
		Name: "new", Usage: "make an identity that has nothing to do with any Nostr key",
		OnUsageError: wrongUsage, HideHelpCommand: true,
		Description: "It writes the encrypted identity (mode 0600, never over an older one) and prints its\n" +
			"commitment, the public half. With --import it takes an identity of Semaphore's\n" +
			"JavaScript library, in base64 on standard input.\n\n" +
			"Examples:\n  agora person new\n  AGORA_PASSPHRASE=… agora person new --identity me.key",
		Flags:  identityFlags(&cli.BoolFlag{Name: "import", Usage: "read the private key in base64 from standard input"}),
		Action: runPersonNew,
	}
}

func personExportCommand() *cli.Command {
	return &cli.Command{
		Name: "export", Usage: "print the identity, encrypted",
		OnUsageError: wrongUsage, HideHelpCommand: true,
		Description: "Keep it where the passphrase is not. Whoever opens it can act as you and recognise all\n" +
			"you ever did. --plain prints the bare key, as Semaphore's JavaScript library exports it.\n\n" +
			"Examples:\n  agora person export > backup.txt\n  agora person export --commitment",
		Flags: identityFlags(
			&cli.BoolFlag{Name: "plain", Usage: "the private key in base64, not encrypted"},
			&cli.BoolFlag{Name: "commitment", Usage: "only the public half"},
		),
		Action: runPersonExport,
	}
}

func personProveCommand() *cli.Command {
	return &cli.Command{
		Name: "prove", Usage: "sign an event so that it counts a person", ArgsUsage: "[FILE]",
		OnUsageError: wrongUsage, HideHelpCommand: true,
		Description: "It reads one event without id and signature (kind, content, tags), from FILE or standard\n" +
			"input, and prints it with a proof, signed by a fresh key. A ballot is kind 1018, a like or\n" +
			"dislike kind 7, a report 1984, a review of a ranker 1985. The whole members file is fetched\n" +
			"from --relay, never your own path in it, or read from --members; it and some of the tree are\n" +
			"kept beside the identity. --send publishes after a random delay over a connection of its own,\n" +
			"without authentication. With --scope and --message it prints a bare Semaphore proof instead,\n" +
			"as JavaScript's verifyProof takes it; both are numbers of 256 bits.\n\n" +
			"Examples:\n  echo '{\"kind\":7,\"content\":\"+\",\"tags\":[[\"e\",\"ID\"]]}' | agora person prove --relay wss://relay.example --group town\n" +
			"  agora person prove --group 32191:KEY:NAME --members members.bin like.json\n" +
			"  agora person prove --members members.bin --scope 1 --message 2",
		Flags: identityFlags(
			&cli.StringFlag{Name: "relay", Usage: "`URL` of the relay that keeps the group"},
			&cli.StringFlag{Name: "members", Usage: "`FILE` of all members, 32 bytes each, instead of --relay"},
			&cli.StringFlag{Name: "group", Usage: "`ADDRESS` of the group, 32191:key:name; its name will do with --relay"},
			&cli.BoolFlag{Name: "send", Usage: "publish it at --relay"},
			&cli.DurationFlag{Name: "delay", Value: time.Minute, Usage: "with --send: wait for a random part of this `TIME` first"},
			&cli.StringFlag{Name: "scope", Usage: "decimal `NUMBER`; with --message, a bare proof"},
			&cli.StringFlag{Name: "message", Usage: "decimal `NUMBER`"},
			&cli.StringFlag{Name: "secret", Usage: "sign with this `NSEC` instead of a fresh key; it links you to all else it did"},
		),
		Action: runPersonProve,
	}
}

// passphrase is the first line of the file, or the environment's.
func passphrase(cmd *cli.Command) (string, error) {
	words := os.Getenv("AGORA_PASSPHRASE")
	if name := cmd.String("passphrase-file"); name != "" {
		b, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		words, _, _ = strings.Cut(string(b), "\n")
		words = strings.TrimSuffix(words, "\r")
	}
	if words == "" {
		return "", usagef("a passphrase is needed: --passphrase-file FILE, or AGORA_PASSPHRASE in the environment")
	}
	return words, nil
}

func openIdentity(cmd *cli.Command) (*semaphore.Identity, error) {
	word, err := os.ReadFile(cmd.String("identity"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("there is no identity in %s; make one: agora person new", cmd.String("identity"))
	}
	if err != nil {
		return nil, err
	}
	words, err := passphrase(cmd)
	if err != nil {
		return nil, err
	}
	id, err := personhood.Open(strings.TrimSpace(string(word)), words)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cmd.String("identity"), err)
	}
	return id, nil
}

func runPersonNew(_ context.Context, cmd *cli.Command) error {
	words, err := passphrase(cmd)
	if err != nil {
		return err
	}
	id := semaphore.NewIdentity()
	if cmd.Bool("import") {
		b, err := io.ReadAll(io.LimitReader(cmd.Root().Reader, 1024))
		if err != nil {
			return err
		}
		if id, err = semaphore.ParseIdentity(strings.TrimSpace(string(b))); err != nil {
			return usage(err)
		}
	}
	word, err := personhood.Seal(id, words)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(cmd.String("identity"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s exists already; an identity is never written over", cmd.String("identity"))
	}
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, word)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	_, err = fmt.Fprintf(cmd.Root().Writer, "identity    %s\ncommitment  %s\n", cmd.String("identity"), semaphore.Hex(id.Commitment()))
	return err
}

func runPersonExport(_ context.Context, cmd *cli.Command) error {
	id, err := openIdentity(cmd)
	if err != nil {
		return err
	}
	out := semaphore.Hex(id.Commitment())
	if !cmd.Bool("commitment") {
		words, err := passphrase(cmd)
		if err != nil {
			return err
		}
		if out, err = personhood.Seal(id, words); err != nil {
			return err
		}
	}
	if cmd.Bool("plain") {
		out = id.Export()
	}
	_, err = fmt.Fprintln(cmd.Root().Writer, out)
	return err
}

// addMember adds a leaf to a members file, and replaces the file whole.
func addMember(out io.Writer, name string, commitment semaphore.Element) error {
	file, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	members, err := personhood.ParseMembers(file)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	added, err := members.Add(commitment)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if added {
		if err := os.WriteFile(name+".new", members.File(), 0o644); err != nil {
			return err
		}
		if err := os.Rename(name+".new", name); err != nil {
			return err
		}
		keepNodes(name, sha256.Sum256(members.File()), members.Nodes())
	}
	_, err = fmt.Fprintf(out, "members  %d\nroot     %s\n", members.People(), semaphore.Hex(members.Tree().Root()))
	return err
}

// newProver makes the prover with little garbage.
func newProver(ctx context.Context) (*semaphore.Prover, error) {
	debug.FreeOSMemory() // what opening the identity took
	debug.SetMemoryLimit(proveMemory)
	return semaphore.NewProver(ctx)
}

func runPersonProve(ctx context.Context, cmd *cli.Command) error {
	bare := cmd.String("scope") != "" || cmd.String("message") != ""
	relay := cmd.String("relay")
	switch {
	case bare == (cmd.String("group") != ""):
		return usagef("prove needs --group for an event, or --scope and --message for a bare proof")
	case (relay == "") == (cmd.String("members") == ""):
		return usagef("prove needs --relay, or --members with a members file")
	case bare && relay != "", cmd.Bool("send") && relay == "":
		return usagef("a bare proof needs --members, and --send needs --relay")
	}
	id, err := openIdentity(cmd)
	if err != nil {
		return err
	}
	c, err := findAmong(ctx, cmd, id)
	if err != nil {
		return err
	}
	tellCrowd(cmd.Root().ErrWriter, c.people)
	if bare {
		return proveBare(ctx, cmd, id, c.way)
	}
	return proveEvent(ctx, cmd, id, c)
}

// findAmong finds the identity among the members, in a file or at a relay.
func findAmong(ctx context.Context, cmd *cli.Command, id *semaphore.Identity) (c among, err error) {
	if relay := cmd.String("relay"); relay != "" {
		at, err := newGroupHost(relay)
		if err != nil {
			return c, err
		}
		return at.fetchAmong(ctx, cmd, id)
	}
	name := cmd.String("members")
	file, err := os.ReadFile(name)
	if err != nil {
		return c, err
	}
	c.group = cmd.String("group")
	if c.way, c.people, err = findWay(name, file, id.Commitment(), nil); err != nil {
		if errors.Is(err, semaphore.ErrNotMember) {
			return c, fmt.Errorf("this identity is not among the members in %s: join the group first (agora person join), then prove with the members file that is made after", name)
		}
		return c, fmt.Errorf("%s: %w", name, err)
	}
	return c, nil
}

// tellCrowd says how many one hides among.
func tellCrowd(w io.Writer, people int) {
	fmt.Fprintf(w, "you hide among %s. %s\n", persons(people), personhood.Privacy)
	if people < personhood.SmallCrowd {
		fmt.Fprintf(w, "warning: fewer than %d; who acted may be guessed\n", personhood.SmallCrowd)
	}
}

func proveEvent(ctx context.Context, cmd *cli.Command, id *semaphore.Identity, c among) error {
	group, err := personhood.ParseAddress(c.group)
	if err != nil {
		return usage(err)
	}
	ev, err := readTemplate(cmd)
	if err != nil {
		return usage(err)
	}
	secret, err := signingKey(cmd.String("secret"))
	if err != nil {
		return err
	}
	prover, err := newProver(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = prover.Close(ctx) }()
	out, err := personhood.ActAlong(ctx, prover, id, group, c.way, ev, secret)
	if err != nil {
		return err
	}
	if cmd.Bool("send") {
		if err := sendLater(ctx, cmd, out); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintln(cmd.Root().Writer, out.String())
	return err
}

// readTemplate reads the event to prove; a missing created_at is now.
func readTemplate(cmd *cli.Command) (ev nostr.Event, err error) {
	in := cmd.Root().Reader
	if name := cmd.Args().First(); name != "" && name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return ev, err
		}
		defer f.Close()
		in = f
	}
	b, err := io.ReadAll(io.LimitReader(in, 1<<20))
	if err != nil {
		return ev, err
	}
	if err := json.Unmarshal(b, &ev); err != nil {
		return ev, fmt.Errorf("the event to prove: %w", err)
	}
	if ev.CreatedAt == 0 {
		ev.CreatedAt = nostr.Now()
	}
	return ev, nil
}

func proveBare(ctx context.Context, cmd *cli.Command, id *semaphore.Identity, way semaphore.MerkleProof) error {
	var scope, message [32]byte
	for name, into := range map[string]*[32]byte{"scope": &scope, "message": &message} {
		n, ok := new(big.Int).SetString(cmd.String(name), 10)
		if !ok || n.Sign() < 0 || n.BitLen() > 256 {
			return usagef("--%s is not a decimal number of at most 256 bits", name)
		}
		n.FillBytes(into[:])
	}
	prover, err := newProver(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = prover.Close(ctx) }()
	s, p, err := prover.Prove(ctx, id, way, message, scope)
	if err != nil {
		return err
	}
	out, err := semaphore.JSON(s, p)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(cmd.Root().Writer, string(out))
	return err
}
