package main

import (
	"fmt"
	"math"
	"net"
	"net/url"
	"strings"

	"agora/ranker/onnx"
)

// validate finds what is wrong with the settings before anything is touched.
func (cfg Config) validate() error {
	for _, s := range settings(&cfg) {
		if err := s.validate(); err != nil {
			return err
		}
	}
	for _, key := range cfg.Admins {
		if _, err := parsePubKey(key); err != nil {
			return fmt.Errorf("admins: %w", err)
		}
	}
	for setting, networks := range map[string][]string{
		"trusted_proxies": cfg.TrustedProxies, "budget_exempt": cfg.BudgetExempt, "dial_private": cfg.AllowPrivate,
	} {
		if _, err := parseNetworks(setting, networks); err != nil {
			return err
		}
	}
	for setting, urls := range map[string][]string{"public_urls": cfg.PublicURLs, "index_relays": cfg.IndexRelays, "dvm_relays": cfg.DVMRelays} {
		for _, text := range urls {
			if u, err := url.Parse(text); err != nil || (u.Scheme != "ws" && u.Scheme != "wss") || u.Host == "" {
				return fmt.Errorf("%s: %q is no websocket address: want wss://relay.example", setting, text)
			}
		}
	}
	for setting, address := range map[string]string{"listen": cfg.Listen, "metrics_listen": cfg.MetricsListen} {
		_, port, err := net.SplitHostPort(address)
		if err != nil && (address != "" || setting == "listen") {
			return fmt.Errorf("%s: %q is no address: want host:port, such as 127.0.0.1:7447", setting, address)
		}
		if _, err := net.LookupPort("tcp", port); err != nil {
			return fmt.Errorf("%s: %q is no port of %q: want 0 to 65535, 0 for a free one", setting, port, address)
		}
	}
	if err := cfg.validateSizes(); err != nil {
		return err
	}
	if _, err := parseSets(cfg.ReadySets); err != nil {
		return err
	}
	if _, _, err := newLogger(cfg); err != nil {
		return err
	}
	if _, err := onnx.ParseDevice(cfg.Device); err != nil {
		return fmt.Errorf("device: %w", err)
	}
	if _, err := cfg.spamRules(); err != nil {
		return err
	}
	for _, key := range cfg.SpamSeeds {
		if _, err := parsePubKey(key); err != nil {
			return fmt.Errorf("spam_seeds: %w", err)
		}
	}
	if _, err := parseMirrorRules(cfg.MirrorGroups); err != nil {
		return err
	}
	if _, err := parseGroupRules(cfg.Groups); err != nil {
		return err
	}
	_, err := parseRetention(cfg.Retention)
	return err
}

// validateSizes refuses bounds under which nothing could be written.
func (cfg Config) validateSizes() error {
	switch {
	case cfg.MinPoW > 256:
		return fmt.Errorf("min_pow: %d bits of work; an id has 256", cfg.MinPoW)
	case cfg.MaxMessage < 4<<10:
		return fmt.Errorf("max_message: %s holds no event: want at least 4KiB", cfg.MaxMessage)
	case int64(cfg.MaxContent) > int64(cfg.MaxMessage):
		return fmt.Errorf("max_content: %v is more than a message may hold (max_message: %s)", cfg.MaxContent, cfg.MaxMessage)
	case cfg.MapSize < 1<<20:
		return fmt.Errorf("map_size: %s holds no store: want at least 1MiB", cfg.MapSize)
	}
	return nil
}

// validate refuses numbers below their least value: 0 where the setting says
// what 0 means, and otherwise more, since it would stop everything.
func (s setting) validate() error {
	zero := strings.Contains(s.help, "; 0")
	var n float64
	switch v := s.value.Interface().(type) {
	case []int: // kinds, all of them
		for _, k := range v {
			if k < 0 || k > 65535 {
				return fmt.Errorf("%s: %d is no kind: want 0 to 65535", s.name, k)
			}
		}
		return nil
	case int:
		n = float64(v)
	case float64:
		n = v
	case Size:
		n = float64(v)
	case Duration:
		n = v.Seconds()
	default:
		return nil
	}
	if math.IsNaN(n) || math.IsInf(n, 0) {
		return fmt.Errorf("%s: %v is no number to reckon with", s.name, n)
	}
	if n < 0 || (n == 0 && !zero) {
		return fmt.Errorf("%s: %s is too small: want more than %s", s.name, s.toml(), map[bool]string{true: "or exactly 0", false: "0"}[zero])
	}
	return nil
}
