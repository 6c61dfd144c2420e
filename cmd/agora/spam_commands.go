package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"agora/relay/store"
	"agora/spam"

	"github.com/klauspost/compress/zstd"
	"github.com/nbd-wtf/go-nostr"
	"github.com/urfave/cli/v3"
)

// subcommand makes one of the commands below a command.
type subcommand func(name, usage, args, text string, action cli.ActionFunc, flags ...cli.Flag) *cli.Command

func spamCommand() *cli.Command {
	model := &cli.StringFlag{Name: "model", Usage: "judge by this `FILE` instead of the model in the program"}
	sub := subcommand(func(name, usage, args, text string, action cli.ActionFunc, flags ...cli.Flag) *cli.Command {
		return &cli.Command{
			Name: name, Usage: usage, ArgsUsage: args, Description: text, Flags: flags, Action: action,
			OnUsageError: wrongUsage, HideHelpCommand: true,
		}
	})
	data := configFlags("data", "admins")
	samples := &cli.StringFlag{Name: "samples", Value: "spam/testdata/stream.jsonl.zst", Usage: "`FILE` made by spam/train/train.py"}
	return &cli.Command{
		Name: "spam", Usage: "judge texts, explain verdicts, train and measure the classifier",
		OnUsageError: wrongUsage, HideHelpCommand: true, Action: noSpamCommand,
		Description: "Examples:\n  echo '{\"text\":\"gm\"}' | agora spam score\n  agora spam explain <id>\n  agora spam eval\n  agora spam replay",
		Commands: append([]*cli.Command{
			sub("score", "judge JSON lines", "[FILE]", "A line is {\"text\":…} or a whole event; a line of answer is\n"+
				"{\"spam\":p,\"scam\":p,\"ai\":p,\"reasons\":[…]}. Events of one input are judged with their behaviour\n"+
				"by their created_at, texts alone. A line that is neither is answered {\"line\":n,\"error\":…}.\n\nExample:\n  echo '{\"text\":\"gm\"}' | agora spam score", runSpamScore, append([]cli.Flag{model}, configFlags("onnxruntime")...)...),
			sub("explain", "say why a stored note is, or is not, held for spam", "ID", "The id is 64 hex digits, note1… or nevent1…\n\nExample:\n  agora spam explain 4376…",
				runSpamExplain, append([]cli.Flag{model}, data...)...),
			sub("replay", "judge the stored log again, oldest first, and say what the policy would do", "",
				"Nothing is changed. The graph is made of the follow lists as they are stored now; appeals that were granted count.\n\nExample:\n  agora spam replay --spam-mode quarantine",
				runSpamReplay, append([]cli.Flag{model, &cli.IntFlag{Name: "most", Value: 100_000, Usage: "newest `NOTES` that are judged"}},
					configFlags("data", "onnxruntime", "spam_mode", "spam_rules", "spam_seeds", "admins")...)...),
			sub("train", "fit the behaviour head on the simulated stream", "", "Writes spam/behaviour.json; spam/train/train.sh runs it after the text part.",
				runSpamTrain, samples, &cli.StringFlag{Name: "out", Value: "spam/behaviour.json", Usage: "`FILE` to write"},
				&cli.BoolFlag{Name: "check", Usage: "write nothing; fail when fitting again does not give the head in the program"}),
			sub("eval", "measure the classifier; the table of spam/MODEL.md", "", "Example:\n  agora spam eval --markdown spam/MODEL.md",
				runSpamEval, samples, &cli.StringFlag{Name: "markdown", Usage: "write the model card to `FILE`"}),
			sub("feedback", "write reports (NIP-56) and labels (NIP-32) as rows to train on", "", "One JSON line each: text, label, source, by, weight, id. The word of spam_seeds (or admins) weighs 1, of those they follow\n"+
				"a half, of those these follow a quarter; others are left out: anybody can make keys and have them complain.\n\n"+
				"Example:\n  agora spam feedback > spam/testdata/feedback.jsonl", runSpamFeedback,
				append([]cli.Flag{&cli.BoolFlag{Name: "all", Usage: "with the rows of those whose word does not count"}}, configFlags("data", "spam_seeds", "admins")...)...),
		}, appealsCommands(sub)...),
	}
}

func noSpamCommand(_ context.Context, cmd *cli.Command) error {
	if name := cmd.Args().First(); name != "" {
		return usagef("there is no command spam %q (see: agora spam --help)", name)
	}
	return cli.ShowSubcommandHelp(cmd)
}

// longestLine is the longest line of input, in bytes.
const longestLine = 4 << 20

func runSpamScore(ctx context.Context, cmd *cli.Command) error {
	judge, err := spamModel(cmd.String("model"))
	if err != nil {
		return err
	}
	in := cmd.Root().Reader
	if in == nil {
		in = os.Stdin
	}
	if name := cmd.Args().First(); name != "" {
		file, err := os.Open(name)
		if err != nil {
			return usage(err)
		}
		defer file.Close()
		in = file
	}
	second, done, err := anySecond(ctx, cmd)
	if err != nil {
		return err
	}
	good, bad, err := scoreLines(ctx, judge, second, in, cmd.Root().Writer)
	switch {
	case err == nil && bad > 0 && good == 0:
		err = errors.New("no line could be judged: want one event {…} on each line, as agora export writes them")
	case bad > 0:
		fmt.Fprintf(cmd.Root().ErrWriter, "%s could not be judged: each has its error in its place\n", howMany(int64(bad), "line"))
	}
	return errors.Join(err, done())
}

// anySecond is tier 1 where models can run; where not, it says so. done gives
// it back.
func anySecond(ctx context.Context, cmd *cli.Command) (by spam.Second, done func() error, err error) {
	cfg, err := loadConfig(cmd)
	if err != nil {
		return nil, nil, err
	}
	second, err := openSecond(ctx, cfg, spam.SecondONNX())
	if err != nil {
		fmt.Fprintf(cmd.Root().ErrWriter, "without tier 1: %v\n", err)
		return nil, func() error { return nil }, nil
	}
	return second, second.Close, nil
}

// scoreLines answers each line in its order, one line for one: a line that
// cannot be judged gets {"error":…} and holds up no other.
func scoreLines(ctx context.Context, judge *spam.Classifier, second spam.Second, in io.Reader, to io.Writer) (good, bad int, err error) {
	lines := bufio.NewReaderSize(in, 64<<10)
	out := bufio.NewWriter(to)
	encode := json.NewEncoder(out)
	encode.SetEscapeHTML(false)
	window := spam.NewWindow()
	for n := 1; ; n++ {
		line, err := boundedLine(lines)
		if errors.Is(err, io.EOF) {
			return good, bad, out.Flush()
		}
		if err != nil && !errors.Is(err, errLongLine) {
			return good, bad, errors.Join(out.Flush(), err)
		}
		var answer any
		if err == nil {
			answer, err = scoreLine(ctx, judge, second, window, line)
		}
		if err == nil {
			good++
		} else {
			bad++
			answer = map[string]any{"line": n, "error": err.Error()}
		}
		if err := encode.Encode(answer); err != nil {
			return good, bad, err
		}
		if lines.Buffered() == 0 { // who asks line by line waits for this one
			if err := out.Flush(); err != nil {
				return good, bad, err
			}
		}
	}
}

var errLongLine = fmt.Errorf("the line is longer than %d MiB", longestLine>>20)

// boundedLine reads one line. Of one that is too long only the end is sought.
func boundedLine(r *bufio.Reader) (line []byte, err error) {
	for long := false; ; {
		part, err := r.ReadSlice('\n')
		if long = long || len(line)+len(part) > longestLine; long {
			line = line[:0]
		} else {
			line = append(line, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case long && (err == nil || errors.Is(err, io.EOF)):
			return nil, errLongLine
		case errors.Is(err, io.EOF) && len(line) > 0:
			return line, nil
		}
		return line, err
	}
}

func scoreLine(ctx context.Context, judge *spam.Classifier, second spam.Second, window *spam.Window, line []byte) (spamAnswer, error) {
	var text struct {
		Text *string `json:"text"`
	}
	if err := json.Unmarshal(line, &text); err != nil {
		return spamAnswer{}, fmt.Errorf(`want {"text":…} or an event: %w`, err)
	}
	if text.Text != nil {
		v := judge.Text(ctx, *text.Text, second)
		return answerOf("", &v), nil
	}
	var ev nostr.Event
	if err := ev.UnmarshalJSON(line); err != nil || ev.PubKey == "" {
		return spamAnswer{}, errors.New(`want {"text":…} or an event`)
	}
	v := judge.Event(ctx, &ev, spam.Scene{Window: window, Second: second, Who: spam.Standing{Hops: -1, Blind: true}, Now: int64(ev.CreatedAt)})
	return answerOf(ev.ID, &v), nil
}

func runSpamExplain(ctx context.Context, cmd *cli.Command) error {
	cfg, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	id, err := noteID(cmd.Args().First())
	if err != nil {
		return usagef("explain: %w", err)
	}
	judge, err := spamModel(cmd.String("model"))
	if err != nil {
		return err
	}
	held, err := openReading(cfg)
	if err != nil {
		return err
	}
	defer func() { _ = held.Close() }() // it was only read
	var ev *nostr.Event
	if err := held.Lookup(ctx, []store.ID{id}, func(rec store.Record) bool {
		ev, err = rec.Event()
		return false
	}); err != nil {
		return err
	}
	if ev == nil {
		return fmt.Errorf("no event %s is held here", id)
	}
	answer, err := verdictOn(judge, held, id, ev)
	if err != nil {
		return err
	}
	desk, err := deskOf(ctx, held, cfg)
	if err != nil {
		return err
	}
	answer.Granted = desk.Granted(answer.ID)
	return printExplained(cmd.Root().Writer, judge, answer, ev)
}

func printExplained(w io.Writer, judge *spam.Classifier, a spamAnswer, ev *nostr.Event) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "note     %s by %s\nspam     %.3f   scam %.3f   ai %.3f   script %s\n", a.ID, ev.PubKey, a.Spam, a.Scam, a.AI, a.Script)
	basis := "as judged when it came"
	if a.TextOnly {
		basis = "its text alone, judged now: nothing was stored beside it"
	}
	fmt.Fprintf(out, "basis    %s\nlabels   %v\nmodel    %s\n", basis, a.Labels, a.Model)
	if a.Granted {
		fmt.Fprintln(out, "appeal   granted")
	}
	for _, r := range a.Reasons {
		fmt.Fprintf(out, "reason   %+.2f  %s\n", r.Weight, r.What)
	}
	for _, r := range judge.Explain(ev.Content, 8) {
		fmt.Fprintf(out, "wording  %+.2f  %q\n", r.Weight, r.What)
	}
	return out.Flush()
}

func readSamples(name string) ([]spam.Sample, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, usage(err)
	}
	defer file.Close()
	r, err := zstd.NewReader(file)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var all []spam.Sample
	for decode := json.NewDecoder(r); ; {
		var s spam.Sample
		err := decode.Decode(&s)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, s)
	}
}

func runSpamTrain(_ context.Context, cmd *cli.Command) error {
	samples, err := readSamples(cmd.String("samples"))
	if err != nil {
		return err
	}
	model, err := spam.Shipped()
	if err != nil {
		return err
	}
	judge, err := spam.NewClassifier(model, &spam.Head{})
	if err != nil {
		return err
	}
	if cmd.Bool("check") {
		return checkSpamHead(judge, samples, cmd.Root().Writer)
	}
	head := judge.Fit(samples)
	raw, err := json.MarshalIndent(head, "", " ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(cmd.String("out"), append(raw, '\n'), 0o644); err != nil { //nolint:gosec // a source file
		return err
	}
	_, err = fmt.Fprintf(cmd.Root().Writer, "wrote %s\nknown: %s\nblind: %s\n", cmd.String("out"), head.Report.Known.String(), head.Report.Blind.String())
	return err
}

// checkSpamHead fits again and compares.
func checkSpamHead(judge *spam.Classifier, samples []spam.Sample, w io.Writer) error {
	shipped, err := spam.ShippedHead()
	if err != nil {
		return err
	}
	known, blind := judge.Lines(samples)
	for side, why := range map[string]string{"known": known.Differs(shipped.Known), "blind": blind.Differs(shipped.Blind)} {
		if why != "" {
			return fmt.Errorf("the head in the program is not what fitting gives; %s: %s; run spam/train/train.sh", side, why)
		}
	}
	_, err = fmt.Fprintln(w, "fitting again gives the head in the program")
	return err
}

func runSpamEval(_ context.Context, cmd *cli.Command) error {
	samples, err := readSamples(cmd.String("samples"))
	if err != nil {
		return err
	}
	judge, err := spamModel("")
	if err != nil {
		return err
	}
	card, err := judge.Card(samples)
	if err != nil {
		return err
	}
	if name := cmd.String("markdown"); name != "" {
		if err := os.WriteFile(name, card, 0o644); err != nil { //nolint:gosec // a source file
			return err
		}
	}
	_, err = cmd.Root().Writer.Write(card)
	return err
}
