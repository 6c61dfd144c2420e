package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"
	"github.com/urfave/cli/v3"
)

func keyCommand() *cli.Command {
	return &cli.Command{
		Name: "key", Usage: "show the relay's key, make a new one, or rewrite one",
		OnUsageError: wrongUsage, HideHelpCommand: true,
		Description: `Without a subcommand it shows the public key with which this relay signs in its
own name (NIP-11 "self"). It is derived from secret.key in the data directory,
which is made when it is missing.

Examples:
  agora key
  agora key --secret
  agora key new
  agora key convert npub1…`,
		Flags: append([]cli.Flag{
			&cli.BoolFlag{Name: "secret", Usage: "show the secret key too; whoever knows it is this relay"},
		}, configFlags("data")...),
		Action: runKey,
		Commands: []*cli.Command{
			{
				Name: "new", Usage: "make a key pair for a person; nothing is kept",
				OnUsageError: wrongUsage, HideHelpCommand: true,
				Description: "Examples:\n  agora key new",
				Action: func(_ context.Context, cmd *cli.Command) error {
					return tellKey(cmd.Root().Writer, nostr.GeneratePrivateKey(), true)
				},
			},
			{
				Name: "convert", Usage: "rewrite a key between npub, nsec and hex", ArgsUsage: "KEY",
				OnUsageError: wrongUsage, HideHelpCommand: true,
				Description: "A hex key is read as a public key.\n\nExamples:\n  agora key convert npub1…\n  agora key convert 3bf0c63f…",
				Action:      runConvert,
			},
		},
	}
}

func runKey(_ context.Context, cmd *cli.Command) (err error) {
	if word := cmd.Args().First(); word != "" {
		return usagef("there is no agora key %s (see: agora key --help)", word)
	}
	cfg, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	s, err := loadSecret(cfg.Data)
	if err != nil {
		return err
	}
	self, err := s.self()
	if err != nil {
		return err
	}
	return tellKey(cmd.Root().Writer, self, cmd.Bool("secret"))
}

// tellKey prints a pair in both spellings, the secret half only when asked.
func tellKey(w io.Writer, secretHex string, withSecret bool) error {
	public, err := nostr.GetPublicKey(secretHex)
	if err != nil {
		return err
	}
	npub, err := nip19.EncodePublicKey(public)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, "npub  %s\nhex   %s\n", npub, public); err != nil || !withSecret {
		return err
	}
	nsec, err := nip19.EncodePrivateKey(secretHex)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "nsec  %s\nsecret hex %s\n", nsec, secretHex)
	return err
}

func runConvert(_ context.Context, cmd *cli.Command) error {
	if cmd.Args().Len() != 1 {
		return usagef("convert what? Name one key: npub1…, nsec1… or 64 hex digits")
	}
	text := strings.TrimSpace(cmd.Args().First())
	if prefix, value, err := nip19.Decode(text); err == nil && prefix == "nsec" {
		return tellKey(cmd.Root().Writer, value.(string), true)
	}
	key, err := parsePubKey(text)
	if err != nil {
		return usage(err)
	}
	return tellPublic(cmd.Root().Writer, key)
}

// parsePubKey reads a public key as npub, nprofile or 64 hex digits.
func parsePubKey(text string) (string, error) {
	if nostr.IsValidPublicKey(text) {
		return text, nil
	}
	_, value, err := nip19.Decode(text)
	if err != nil {
		return "", fmt.Errorf("%q is no public key: want npub1… or 64 lower-case hex digits", text)
	}
	switch v := value.(type) {
	case string:
		if strings.HasPrefix(text, "npub1") {
			return v, nil
		}
	case nostr.ProfilePointer:
		return v.PublicKey, nil
	}
	return "", fmt.Errorf("%q is no public key: want npub1… or 64 lower-case hex digits", text)
}

func tellPublic(w io.Writer, public string) error {
	npub, err := nip19.EncodePublicKey(public)
	if err != nil {
		return usagef("%q is no key: %w", public, err)
	}
	_, err = fmt.Fprintf(w, "npub  %s\nhex   %s\n", npub, public)
	return err
}
