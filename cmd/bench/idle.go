package main

import (
	"context"
	"fmt"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

// idled is what idle connections cost.
type idled struct {
	Conns    int
	PerConn  int64 // bytes of anonymous memory of the relay per connection
	Before   int64
	After    int64
	Accepted int // connections that got their EOSE
}

// idle opens connections with one subscription each and leaves them alone.
func idle(ctx context.Context, s *server, conns int, authors []string) (idled, error) {
	if _, err := settle(ctx, s.PID, time.Minute); err != nil {
		return idled{}, err
	}
	before, err := rssAnonOf(s.PID)
	if err != nil {
		return idled{}, err
	}
	r := idled{Conns: conns, Before: before}
	for i := range conns {
		c, err := dial(ctx, s.URL, 1024)
		if err != nil {
			return r, fmt.Errorf("connection %d: %w", i+1, err)
		}
		defer c.Close()
		if _, err := c.ask("home", homeFilters(authors, i), nil); err != nil {
			return r, fmt.Errorf("connection %d: %w", i+1, err)
		}
		r.Accepted++
	}
	if _, err := settle(ctx, s.PID, time.Minute); err != nil {
		return r, err
	}
	if err := pause(ctx, 5*time.Second); err != nil {
		return r, err
	}
	if r.After, err = rssAnonOf(s.PID); err != nil {
		return r, err
	}
	r.PerConn = (r.After - r.Before) / int64(conns)
	return r, nil
}

// homeFilters is what a small client asks for and leaves open: the notes of 20
// followed authors, and what mentions the reader.
func homeFilters(authors []string, reader int) string {
	follows := make([]string, 20)
	for i := range follows {
		follows[i] = authors[(reader+i*37)%len(authors)]
	}
	home := nostr.Filter{Kinds: []int{1, 6, 7}, Authors: follows, Limit: 1}
	mentions := nostr.Filter{Tags: nostr.TagMap{"p": {authors[reader%len(authors)]}}, Limit: 1}
	return home.String() + "," + mentions.String()
}
