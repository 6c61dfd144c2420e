package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"agora/personhood"
	"agora/personhood/enrol"
	"agora/personhood/semaphore"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"
	"github.com/urfave/cli/v3"
)

// evidenceFlags are for evidence that is made here.
func evidenceFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "evidence", Usage: "`TEXT` that lets you in, or @FILE"},
		&cli.StringFlag{Name: "label", Usage: "`FILE` of a kind 1985 by which a trusted labeler calls your key human; with --label-secret"},
		&cli.StringFlag{Name: "label-secret", Usage: "`NSEC` of the labelled key; who keeps the group learns which key it is"},
		&cli.StringFlag{Name: "member-file", Usage: "members `FILE` of the group that lets you in, where you are a member with --member-identity"},
		&cli.StringFlag{Name: "member-identity", Usage: "`FILE` of the identity in that group; default the same"},
	}
}

// makeEvidence is the evidence for a group, as the flags say.
func makeEvidence(ctx context.Context, cmd *cli.Command, group personhood.Address, about map[string]string, id *semaphore.Identity) (string, error) {
	switch {
	case cmd.String("label") != "":
		return labelEvidence(cmd, group, id)
	case cmd.String("member-file") != "":
		return memberEvidence(ctx, cmd, group, about, id)
	}
	return textOrFile(cmd.String("evidence"))
}

// wayIn is how somebody without evidence gets into a group.
func wayIn(source string) string {
	switch source {
	case "":
		return "ask the relay that keeps it, this one only mirrors it"
	case "invite":
		return "ask a member for an invitation (agora person invite), and give that word"
	case "labels":
		return "give --label and --label-secret"
	case "semaphore":
		return "give --member-file"
	}
	return "give --evidence, the proof that " + source + " hands out"
}

func labelEvidence(cmd *cli.Command, group personhood.Address, id *semaphore.Identity) (string, error) {
	prefix, value, err := nip19.Decode(cmd.String("label-secret"))
	secret, ok := value.(string)
	if err != nil || prefix != "nsec" || !ok {
		return "", usagef("--label-secret is not an nsec")
	}
	b, err := os.ReadFile(cmd.String("label"))
	if err != nil {
		return "", err
	}
	var label nostr.Event
	if err := json.Unmarshal(b, &label); err != nil {
		return "", fmt.Errorf("%s: %w", cmd.String("label"), err)
	}
	return enrol.Labelled(&label, secret, group, id.Commitment())
}

func memberEvidence(ctx context.Context, cmd *cli.Command, group personhood.Address, about map[string]string, id *semaphore.Identity) (string, error) {
	from, err := personhood.ParseAddress(about["from"])
	if err != nil {
		return "", errors.New("this group takes no members of another group")
	}
	member := id
	if name := cmd.String("member-identity"); name != "" {
		words, err := passphrase(cmd)
		if err != nil {
			return "", err
		}
		sealed, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		if member, err = personhood.Open(strings.TrimSpace(string(sealed)), words); err != nil {
			return "", fmt.Errorf("%s: %w", name, err)
		}
	}
	name := cmd.String("member-file")
	file, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	way, people, err := findWay(name, file, member.Commitment(), nil)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	tellCrowd(cmd.Root().ErrWriter, people)
	prover, err := newProver(ctx)
	if err != nil {
		return "", err
	}
	defer func() { _ = prover.Close(ctx) }()
	return enrol.Membership(ctx, prover, member, way, from, group, about["epoch"], id.Commitment())
}
