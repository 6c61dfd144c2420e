package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"github.com/urfave/cli/v3"
)

// sendTime is how long a relay may take to answer.
const sendTime = 30 * time.Second

// sendLater waits for a random while, so that when an act appears does not say
// when its author was at the keyboard, and publishes it over a connection that
// says nothing else and never authenticates.
func sendLater(ctx context.Context, cmd *cli.Command, ev *nostr.Event) error {
	if most := cmd.Duration("delay"); most > 0 {
		wait := rand.N(most)
		fmt.Fprintf(cmd.Root().ErrWriter, "publishing in %s\n", wait.Round(time.Second))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	relay, err := nostr.RelayConnect(ctx, cmd.String("relay"))
	if err != nil {
		return fmt.Errorf("reach %s: %w", cmd.String("relay"), err)
	}
	err = relay.Publish(ctx, *ev)
	return errors.Join(err, relay.Close())
}
