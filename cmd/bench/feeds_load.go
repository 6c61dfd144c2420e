package main

import (
	"context"
	"errors"
	"os"
	"runtime/pprof"
	"strconv"
	"sync"
	"time"

	"agora/feeds"
	"agora/relay/store"
	"agora/relay/wire"

	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/sync/errgroup"
)

// load asks for first pages at a steady rate, whatever the answers take, after
// each viewer has asked once. A page's time counts from when it was due.
func (b *feedBench) load(ctx context.Context, feed string) (*feedResult, error) {
	res := &feedResult{Feed: feed, Rate: b.cmd.Float("rate")}
	var cold []time.Duration
	for _, viewer := range b.viewers {
		page, took, err := b.page(ctx, feed, viewer, time.Now())
		if err != nil {
			return nil, err
		}
		cold = append(cold, took)
		res.Candidates = max(res.Candidates, page.Why.Candidates)
	}
	parts, err := b.parts()
	if err != nil {
		return nil, err
	}
	stop, err := b.profile(feed)
	if err != nil {
		return nil, err
	}
	defer stop()
	before, err := cpuOf(os.Getpid())
	if err != nil {
		return nil, err
	}
	warm, err := b.ask(ctx, feed, b.cmd.Duration("time"), nil, res)
	if err != nil {
		return nil, err
	}
	after, err := cpuOf(os.Getpid())
	if err != nil {
		return nil, err
	}
	res.Pages = len(warm)
	res.CPU = (after - before).Seconds() / float64(max(len(warm), 1)) * 1000
	if res.Parts, err = b.parts(); err != nil {
		return nil, err
	}
	for part, was := range parts {
		res.Parts[part] -= was
	}
	for part := range res.Parts {
		res.Parts[part] *= 1000 / float64(max(len(warm), 1))
	}
	res.ColdP50, res.ColdP95 = millis(median(cold)), millis(quantile(cold, 0.95))
	res.P50, res.P95, res.P99 = millis(median(warm)), millis(quantile(warm, 0.95)), millis(quantile(warm, 0.99))
	return res, ctx.Err()
}

// profile writes a processor profile until it is stopped, if one is wanted.
func (b *feedBench) profile(feed string) (stop func(), err error) {
	name := b.cmd.String("profile")
	if name == "" {
		return func() {}, nil
	}
	f, err := os.Create(name + "." + feed)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close() // what is missing from the file is seen when it is read
	}, nil
}

// ask asks for pages until the time is over or stop is closed.
func (b *feedBench) ask(ctx context.Context, feed string, long time.Duration, stop <-chan struct{}, res *feedResult) ([]time.Duration, error) {
	var mu sync.Mutex // guards warm, res and failed
	var warm []time.Duration
	var failed error
	var asking sync.WaitGroup
	began, pause := time.Now(), time.Duration(float64(time.Second)/res.Rate)
	for i := 0; time.Duration(i)*pause < long; i++ {
		due := began.Add(time.Duration(i) * pause)
		select {
		case <-ctx.Done():
			long = 0
		case <-stop:
			long = 0
		case <-time.After(time.Until(due)):
			viewer := b.viewers[i%len(b.viewers)]
			asking.Go(func() {
				page, took, err := b.page(ctx, feed, viewer, due)
				mu.Lock()
				defer mu.Unlock()
				warm = append(warm, took)
				failed = errors.Join(failed, err)
				if page.Why.Fallback != "" {
					res.Fallbacks++
				}
			})
		}
	}
	asking.Wait()
	return warm, failed
}

func (b *feedBench) page(ctx context.Context, feed, viewer string, due time.Time) (feeds.Page, time.Duration, error) {
	page, err := b.feeds.Page(ctx, feeds.Request{Feed: feed, Viewer: viewer, Signed: true, Limit: 50})
	return page, time.Since(due), err
}

// parts is how many seconds pages have taken so far, by part.
func (b *feedBench) parts() (map[string]float64, error) {
	all, err := b.metrics.Gather()
	if err != nil {
		return nil, err
	}
	out := map[string]float64{}
	for _, family := range all {
		if family.GetName() == "agora_feeds_ranking_seconds" {
			for _, m := range family.GetMetric() {
				out[m.GetLabel()[0].GetValue()] = m.GetHistogram().GetSampleSum()
			}
		}
	}
	return out, nil
}

// publishing checks and stores signed events, 64 at a time, alone and while
// pages are read.
func (b *feedBench) publishing(ctx context.Context, feed string, res *feedResult) (err error) {
	n := b.cmd.Int("publish")
	if n == 0 {
		return nil
	}
	if res.Alone, err = b.publish(ctx, feed+".alone", n); err != nil {
		return err
	}
	stop, done := make(chan struct{}), make(chan error, 1) // closed; one result
	aside := &feedResult{Rate: res.Rate}
	go func() {
		_, err := b.ask(ctx, feed, time.Hour, stop, aside)
		done <- err
	}()
	res.Beside, err = b.publish(ctx, feed+".beside", n)
	close(stop)
	return errors.Join(err, <-done)
}

func (b *feedBench) publish(ctx context.Context, name string, n int) (perSecond float64, err error) {
	events := make([]*nostr.Event, n)
	secret := nostr.GeneratePrivateKey()
	for i := range events {
		events[i] = &nostr.Event{Kind: 1, CreatedAt: nostr.Timestamp(b.now - int64(i)), Content: "published " + strconv.Itoa(i), Tags: nostr.Tags{}}
		if err := events[i].Sign(secret); err != nil {
			return 0, err
		}
	}
	stop, err := b.profile(name)
	if err != nil {
		return 0, err
	}
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	began := time.Now()
	for lane := range 64 {
		group.Go(func() error {
			for i := lane; i < n; i += 64 {
				if ok, err := events[i].CheckSignature(); !ok || err != nil {
					return errors.Join(errors.New("a signature does not hold"), err)
				}
				if _, err := b.store.Append(ctx, store.Entry{Event: events[i], JSON: wire.AppendEvent(nil, events[i])}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = group.Wait()
	return float64(n) / time.Since(began).Seconds(), err
}
