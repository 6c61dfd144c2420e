package main

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/sync/errgroup"
)

// crowd is the shape of a fan-out: how many listen, how many events come and
// how fast.
type crowd struct {
	Listeners int
	Events    int
	PerSecond int
}

// fanned is what a fan-out gave.
type fanned struct {
	Delivered int
	Expected  int
	CPUMicros float64 // of the relay per delivery
	P50, P99  time.Duration
}

const (
	fanoutKind   = 20001            // ephemeral: delivering is measured, not storing
	fanoutAuthor = deepAuthor + 1   // a key of its own
	fanoutSilent = 15 * time.Second // a listener that hears nothing for so long has lost events
)

// fanoutParcels makes the events: their content carries their number, and they
// are of now, since some relays refuse old ephemeral events.
func fanoutParcels(n int) ([]parcel, error) {
	key := authorKey(fanoutAuthor)
	lines := make([][]byte, n)
	for i := range lines {
		ev := nostr.Event{Kind: fanoutKind, PubKey: key[1], CreatedAt: nostr.Now(), Tags: nostr.Tags{}}
		ev.Content = fmt.Sprintf("n=%06d %0250d", i, i) // about 600 bytes of JSON, a mean event
		if err := ev.Sign(key[0]); err != nil {
			return nil, err
		}
		lines[i] = []byte(ev.String())
	}
	return parcels(lines)
}

// fanOut lets a crowd listen to a relay while one connection publishes.
func fanOut(ctx context.Context, s *server, w crowd) (fanned, error) {
	events, err := fanoutParcels(w.Events)
	if err != nil {
		return fanned{}, err
	}
	sent := make([]atomic.Int64, w.Events) // when each event left, ns of unix time
	waits := make([][]time.Duration, w.Listeners)
	var listen errgroup.Group
	for i := range w.Listeners {
		c, err := dial(ctx, s.URL, 4096)
		if err != nil {
			return fanned{}, err
		}
		defer c.Close()
		if _, err := c.ask("f", `{"kinds":[`+strconv.Itoa(fanoutKind)+`]}`, nil); err != nil {
			return fanned{}, err
		}
		listen.Go(func() (err error) {
			waits[i], err = hear(c, sent)
			return err
		})
	}
	before, err := settle(ctx, s.PID, time.Minute)
	if err != nil {
		return fanned{}, err
	}
	if err := speak(ctx, s, events, sent, w.PerSecond); err != nil {
		return fanned{}, err
	}
	if err := listen.Wait(); err != nil {
		return fanned{}, err
	}
	after, err := settle(ctx, s.PID, time.Minute)
	if err != nil {
		return fanned{}, err
	}
	f := fanned{Expected: w.Listeners * w.Events}
	var all []time.Duration
	for _, ws := range waits {
		all = append(all, ws...)
	}
	f.Delivered = len(all)
	f.CPUMicros = float64((after - before).Microseconds()) / float64(max(f.Delivered, 1))
	f.P50, f.P99 = quantile(all, 0.5), quantile(all, 0.99)
	return f, nil
}

// hear reads until every event has come, or nothing comes any more.
func hear(c *conn, sent []atomic.Int64) ([]time.Duration, error) {
	waits := make([]time.Duration, 0, len(sent))
	for len(waits) < len(sent) {
		if err := c.SetReadDeadline(time.Now().Add(fanoutSilent)); err != nil {
			return nil, err
		}
		m, err := c.next()
		if err != nil {
			return waits, nil //nolint:nilerr // lost: the report counts what is missing
		}
		at := bytes.Index(m, []byte(`"n=`))
		if at < 0 || len(m) < at+9 {
			continue
		}
		n, err := strconv.Atoi(string(m[at+3 : at+9]))
		if err != nil || n >= len(sent) {
			return nil, fmt.Errorf("an event nobody sent: %s", m)
		}
		waits = append(waits, time.Duration(time.Now().UnixNano()-sent[n].Load()))
	}
	return waits, nil
}

// speak publishes at an even pace and stays until the last OK: what is closed
// earlier may take events along that nobody has read yet.
func speak(ctx context.Context, s *server, events []parcel, sent []atomic.Int64, perSecond int) error {
	c, err := dial(ctx, s.URL, 4096)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(time.Minute + time.Duration(len(events))*time.Second/time.Duration(perSecond))); err != nil {
		return err
	}
	answered := make(chan error, 1) // the end of all OKs
	go func() { answered <- readOKs(c, len(events)) }()
	began := time.Now()
	for i, ev := range events {
		due := began.Add(time.Duration(i) * time.Second / time.Duration(perSecond))
		if err := pause(ctx, time.Until(due)); err != nil {
			return err
		}
		sent[i].Store(time.Now().UnixNano())
		if _, err := c.Write(ev.frame); err != nil {
			return fmt.Errorf("publish event %d of the fan-out: %w", i, err)
		}
	}
	return <-answered
}

// readOKs reads until n OKs have come.
func readOKs(c *conn, n int) error {
	for n > 0 {
		m, err := c.next()
		if err != nil {
			return fmt.Errorf("%d events of the fan-out have no OK: %w", n, err)
		}
		if bytes.HasPrefix(m, []byte(`["OK"`)) {
			n--
		}
	}
	return nil
}
