package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"agora/ranker"
	catalogue "agora/ranker/feature"
	"agora/ranker/onnx"

	"github.com/urfave/cli/v3"
)

func rankerCommand() *cli.Command {
	return &cli.Command{
		Name: "ranker", Usage: "look at what models are given, check one, list it",
		OnUsageError: wrongUsage, HideHelpCommand: true,
		Description: "Examples:\n  agora ranker features\n  agora ranker devices\n  agora ranker check my-ranker.onnx\n  agora ranker publish --help",
		Action:      noSubcommand,
		Commands: []*cli.Command{
			{
				Name: "features", Usage: "print the catalogue of inputs that a model may declare", ArgsUsage: "[GROUP…]",
				OnUsageError: wrongUsage, HideHelpCommand: true,
				Description: "Examples:\n  agora ranker features\n  agora ranker features author pair\n  agora ranker features --json",
				Flags: []cli.Flag{
					&cli.BoolFlag{Name: "json", Usage: "one JSON object per line"},
					&cli.BoolFlag{Name: "markdown", Usage: "the page docs/features.md"},
				},
				Action: runFeatures,
			},
			{
				Name: "devices", Usage: "say on which device models run here, and why not on another",
				OnUsageError: wrongUsage, HideHelpCommand: true,
				Description: "Examples:\n  agora ranker devices\n  agora ranker devices --device webgpu",
				Flags:       configFlags("onnxruntime", "device"),
				Action:      runDevices,
			},
			rankerCheckCommand(),
			rankerEvalCommand(),
			rankerPublishCommand(),
		},
	}
}

func runFeatures(_ context.Context, cmd *cli.Command) error {
	out := cmd.Root().Writer
	if cmd.Bool("markdown") {
		_, err := io.WriteString(out, catalogue.Markdown())
		return err
	}
	var groups []string
	shown := slices.DeleteFunc(catalogue.Catalogue(), func(f catalogue.Feature) bool {
		group, _, _ := strings.Cut(f.Name, ".")
		groups = append(groups, group)
		return cmd.Args().Present() && !slices.Contains(cmd.Args().Slice(), group)
	})
	for _, asked := range cmd.Args().Slice() {
		if !slices.Contains(groups, asked) {
			return usagef("there is no group %q of features%s", asked, nearest(asked, groups))
		}
	}
	if cmd.Bool("json") {
		return featuresAsJSON(out, shown)
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "catalogue %d, %d features, and knob.NAME float32[1]\n\nINPUT\tTYPE\tTIER\tUNIT\tWHAT IT IS\n", catalogue.Version, len(catalogue.Catalogue()))
	for _, f := range shown {
		fmt.Fprintf(table, "%s\t%s[%s]\t%s\t%s\t%s\n", f.Name, f.Type, f.Shape, f.Tier, f.Unit, f.Definition)
	}
	return table.Flush()
}

func featuresAsJSON(out io.Writer, features []catalogue.Feature) error {
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	for _, f := range features {
		err := encoder.Encode(map[string]any{
			"name": f.Name, "type": f.Type.String(), "shape": strings.Split(f.Shape, ","), "unit": f.Unit,
			"definition": f.Definition, "source": f.Source, "tier": f.Tier.String(), "catalogue": catalogue.Version,
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// openRuntime opens the library as the settings say.
func openRuntime(cfg Config, admit func(ranker.Digest) bool) (*onnx.Runtime, error) {
	log, _, err := newLogger(cfg)
	if err != nil {
		return nil, err
	}
	device, err := onnx.ParseDevice(cfg.Device)
	if err != nil {
		return nil, err
	}
	return onnx.New(onnx.Config{Library: cfg.Runtime, Device: device, Admit: admit, Logger: log})
}

func runDevices(_ context.Context, cmd *cli.Command) error {
	cfg, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	runtime, err := openRuntime(cfg, func(ranker.Digest) bool { return false })
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(cmd.Root().Writer, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "ONNX runtime %s, %s\n\n", runtime.Version(), runtime.Library())
	for _, f := range runtime.Devices() {
		mark, state := " ", "usable"
		switch {
		case f.Device == runtime.Device():
			mark, state = "*", "models run here"
		case f.Why != "":
			state = "no: " + f.Why
		case f.Named:
			state = "only when --device names it: it computes on the processor"
		}
		fmt.Fprintf(table, "%s %s\t%s\t%s\n", mark, f.Device, f.Detail, state)
	}
	if err := table.Flush(); err != nil || runtime.Refused() == nil {
		return err
	}
	return fmt.Errorf("%w; models run on the CPU", runtime.Refused())
}

func checkSession(ctx context.Context, out io.Writer, session ranker.Session, knobs map[string]float32) error {
	if err := tellInputs(out, session); err != nil {
		return err
	}
	findings, err := ranker.Check(ctx, session, knobs)
	if err != nil {
		return err
	}
	return tellFindings(out, findings)
}

func parseKnobs(words []string) (map[string]float32, error) {
	knobs := make(map[string]float32)
	for _, word := range words {
		name, text, _ := strings.Cut(word, "=")
		value, err := strconv.ParseFloat(text, 32)
		if err != nil || name == "" {
			return nil, usagef("--knob %q is not NAME=VALUE with a number", word)
		}
		knobs[name] = float32(value)
	}
	return knobs, nil
}

// tellInputs prints what the model declares, beside the catalogue.
func tellInputs(out io.Writer, session ranker.Session) error {
	known := make(map[string]catalogue.Feature)
	for _, f := range catalogue.Catalogue() {
		known[f.Name] = f
	}
	top := catalogue.Public
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, in := range session.Inputs() {
		f, ok := known[in.Name]
		if !ok {
			f.Shape, f.Definition = "1", "a knob, which the listing must declare"
		}
		top = max(top, f.Tier)
		fmt.Fprintf(table, "  %s\t%s[%s]\t%s\t%s\n", in.Name, in.Type, f.Shape, f.Tier, f.Definition)
	}
	fmt.Fprintf(out, "inputs %d, privacy tier %s\n", len(session.Inputs()), top)
	if err := table.Flush(); err != nil {
		return err
	}
	if s, ok := session.(*onnx.Session); ok {
		fmt.Fprintln(out, strings.TrimSpace(fmt.Sprintf("runs on %s %s", s.Device(), s.Note())))
	}
	return nil
}

func tellFindings(out io.Writer, findings []ranker.Finding) error {
	failed := 0
	for _, f := range findings {
		mark := "ok  "
		if !f.OK {
			mark = "FAIL"
			failed++
		}
		fmt.Fprintf(out, "%s  %s: %s\n", mark, f.Name, f.Detail)
	}
	if failed > 0 {
		return fmt.Errorf("the model fails %d of %d checks", failed, len(findings))
	}
	_, err := fmt.Fprintln(out, "It keeps the contract.")
	return err
}
