package main

import (
	"math"
	"strings"
	"testing"
)

func TestNumbersThatNothingCanBeReckonedWithAreRefused(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*Config){
		"events_per_second": func(c *Config) { c.EventsPerSecond = math.NaN() },
		"ip_factor":         func(c *Config) { c.IPFactor = math.Inf(1) },
		"private_kinds":     func(c *Config) { c.PrivateKinds = []int{4, 70000} },
		"person_kinds":      func(c *Config) { c.PersonKinds = []int{-1} },
	} {
		cfg := defaults()
		spoil(&cfg)
		if err := cfg.validate(); err == nil || !strings.HasPrefix(err.Error(), name+": ") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
