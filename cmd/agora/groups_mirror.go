package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"

	"agora/personhood"
	"agora/personhood/host"
	"agora/relay/admit"
	"agora/relay/peer"

	"github.com/nbd-wtf/go-nostr"
)

// mirrorDir, in the data directory, holds members files of other hosts' groups.
const mirrorDir = "groups"

// mirrorRule is one line of the setting mirror_groups.
type mirrorRule struct {
	group personhood.Address
	relay *url.URL
}

func parseMirrorRules(texts []string) (rules []mirrorRule, err error) {
	for _, text := range texts {
		fields := strings.Fields(text)
		if len(fields) != 2 {
			return nil, fmt.Errorf("mirror_groups: %q: want 32191:key:name and the wss:// address of its host", text)
		}
		var r mirrorRule
		if r.group, err = personhood.ParseAddress(fields[0]); err != nil {
			return nil, fmt.Errorf("mirror_groups: %q: %w", text, err)
		}
		if r.relay, err = url.Parse(fields[1]); err != nil || (r.relay.Scheme != "ws" && r.relay.Scheme != "wss") || r.relay.Host == "" {
			return nil, fmt.Errorf("mirror_groups: %q: %q is no websocket address", text, fields[1])
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// openMirror makes the mirror; nil when no group is to be mirrored.
func (p *groupsPart) openMirror() (*host.Mirror, error) {
	rules, err := parseMirrorRules(p.core.cfg.MirrorGroups)
	if err != nil || len(rules) == 0 {
		return nil, usage(err)
	}
	allowed, err := parseNetworks("dial_private", p.core.cfg.AllowPrivate)
	if err != nil {
		return nil, err
	}
	relays := map[personhood.Address]*url.URL{}
	var groups []personhood.Address
	for _, r := range rules {
		relays[r.group] = r.relay
		groups = append(groups, r.group)
		allowed = append(allowed, typedAddress(r.relay.Hostname())...)
	}
	dialer := peer.NewDialer(peer.DialConfig{Allow: allowed, MaxBody: mostMembersFile})
	return host.NewMirror(host.MirrorConfig{
		Groups: groups, Dir: filepath.Join(p.core.cfg.Data, mirrorDir), Events: wholeLog{p.core.store}, Logger: p.core.log,
		Pull: func(ctx context.Context, g personhood.Address) error {
			return p.pull(ctx, dialer, relays[g].String(), g)
		},
		Fetch: func(ctx context.Context, at string, most int64) ([]byte, error) {
			return fetchFile(ctx, dialer, at, most)
		},
	})
}

// pull brings a group's events from its host.
func (p *groupsPart) pull(ctx context.Context, d *peer.Dialer, relay string, g personhood.Address) error {
	for _, f := range []nostr.Filter{
		{Kinds: []int{personhood.KindRootLog}, Authors: []string{g.Key}, Tags: nostr.TagMap{"a": {g.String()}}},
		{Kinds: []int{personhood.KindGroup}, Authors: []string{g.Key}, Tags: nostr.TagMap{"d": {g.D}}},
	} {
		_, err := peer.Sync(ctx, d, peer.Job{
			URL: relay, Filter: f, Direction: peer.Down, Local: p.core.store,
			Publish: func(ctx context.Context, ev *nostr.Event, record []byte) (string, error) {
				return publishOne(ctx, p.core, ev, record, admit.Sync)
			},
		})
		if err != nil {
			return err
		}
	}
	p.core.people.gate.Forget(g)
	return nil
}

func fetchFile(ctx context.Context, d *peer.Dialer, at string, most int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, err
	}
	res, err := d.HTTP().Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, errors.New(res.Status)
	}
	file, err := io.ReadAll(io.LimitReader(res.Body, most+1))
	if err == nil && int64(len(file)) > most {
		err = fmt.Errorf("longer than %d bytes", most)
	}
	return file, err
}
