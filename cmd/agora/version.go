package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v3"
)

// release is the version that is told in NIP-11, in --version and on the page.
const release = "0.1.0"

// version is the release and, when git was there at the build, the commit.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return release
	}
	commit, changed := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			commit = " (" + s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = ", changed since"
		}
	}
	if commit == "" {
		return release
	}
	return release + commit + changed + ")"
}

func versionCommand() *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "say which agora this is",
		OnUsageError: wrongUsage, HideHelpCommand: true,
		Description: "Examples:\n  agora version",
		Action: func(_ context.Context, cmd *cli.Command) error {
			_, err := fmt.Fprintf(cmd.Root().Writer, "agora %s\nbuilt with %s for %s/%s\nsignatures checked by %s\n",
				version(), runtime.Version(), runtime.GOOS, runtime.GOARCH, verifier)
			return err
		},
	}
}
