package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"time"

	"agora/relay/graph"
	"agora/relay/store"
	"agora/spam"

	"github.com/nbd-wtf/go-nostr"
	"github.com/urfave/cli/v3"
)

func runSpamReplay(ctx context.Context, cmd *cli.Command) error {
	return withLog(cmd, func(held *store.Store, cfg Config) error {
		second, done, err := anySecond(ctx, cmd)
		if err != nil {
			return err
		}
		gate, err := replayGate(ctx, held, cfg, cmd.String("model"), second)
		if err != nil {
			return errors.Join(err, done())
		}
		var notes []*nostr.Event
		for rec, err := range held.Query(ctx, nostr.Filter{Kinds: []int{1, 42, 1111, 1311, 30023}, Limit: cmd.Int("most")}) {
			if err != nil {
				return errors.Join(err, done())
			}
			ev, err := rec.Event()
			if err != nil {
				return errors.Join(err, done())
			}
			notes = append(notes, ev)
		}
		return errors.Join(replay(ctx, gate, notes, cmd.Root().Writer), done())
	})
}

// replayGate is the gate as the relay would have it, with an empty window.
func replayGate(ctx context.Context, held *store.Store, cfg Config, model string, second spam.Second) (*spam.Gate, error) {
	judge, err := spamModel(model)
	if err != nil {
		return nil, err
	}
	settings := spam.Config{Persons: provenDeeds{}, Second: second}
	if settings.Rules, err = cfg.spamRules(); err != nil {
		return nil, usage(err)
	}
	if settings.Log, err = openSpamLog(held, time.Now().Unix()); err != nil {
		return nil, err
	}
	if settings.Desk, err = deskOf(ctx, held, cfg); err != nil {
		return nil, err
	}
	web, err := storedGraph(ctx, held)
	if err != nil {
		return nil, err
	}
	settings.Crowd = newSpamCrowd(web, cfg)
	return spam.NewGate(judge, spam.NewWindow(), settings)
}

// storedGraph makes the graph of the follow lists that are stored. Without any
// it knows nobody.
func storedGraph(ctx context.Context, held *store.Store) (*graph.Graph, error) {
	g, err := graph.New(graph.Config{Store: held, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1) // how reading it ended
	go func() { ended <- g.Run(running) }()
	select {
	case <-g.Ranked():
		stop()
		return g, <-ended
	case err := <-ended:
		stop()
		return nil, errors.Join(err, ctx.Err())
	}
}

// replay judges notes that come newest first, oldest first.
func replay(ctx context.Context, gate *spam.Gate, notes []*nostr.Event, w io.Writer) error {
	counts := map[string]int{}
	out := bufio.NewWriter(w)
	encode := json.NewEncoder(out)
	for i := len(notes) - 1; i >= 0; i-- {
		v, action, err := gate.Replay(ctx, notes[i])
		if err != nil {
			return err
		}
		counts[action.String()]++
		if action < spam.Measure {
			continue
		}
		if err := encode.Encode(struct {
			spamAnswer
			Action string `json:"action"`
		}{answerOf(notes[i].ID, &v), action.String()}); err != nil {
			return err
		}
	}
	if err := encode.Encode(map[string]any{"notes": len(notes), "actions": counts}); err != nil {
		return err
	}
	return out.Flush()
}
