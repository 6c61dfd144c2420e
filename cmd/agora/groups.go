package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"agora/personhood"
	"agora/personhood/enrol"
	"agora/personhood/host"
	"agora/relay/admit"

	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/sync/errgroup"
)

// groupRule is one line of the setting groups.
type groupRule struct {
	name   string
	source string
	words  map[string]string
}

// parseGroupRules reads the setting groups.
func parseGroupRules(texts []string) ([]groupRule, error) {
	var rules []groupRule
	for _, text := range texts {
		r, err := parseGroupRule(text)
		if err != nil {
			return nil, fmt.Errorf("groups: %q: %w", text, err)
		}
		if slices.ContainsFunc(rules, func(o groupRule) bool { return o.name == r.name }) {
			return nil, fmt.Errorf("groups: %q: there is a group %s already", text, r.name)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// groupName is what a group may be called: it is part of URLs and addresses.
func groupName(s string) bool {
	return regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`).MatchString(s)
}

func parseGroupRule(text string) (r groupRule, err error) {
	fields := strings.Fields(text)
	if len(fields) == 0 || !groupName(fields[0]) {
		return r, errors.New("it begins with the group's name: lower-case letters, digits, . _ and -")
	}
	r = groupRule{name: fields[0], words: map[string]string{}}
	for _, f := range fields[1:] {
		key, value, ok := strings.Cut(f, "=")
		if !ok || value == "" || r.words[key] != "" {
			return r, fmt.Errorf("%q is not one key=value", f)
		}
		r.words[key] = value
	}
	r.source = r.words["source"]
	delete(r.words, "source")
	known, ok := sourceWords()[r.source]
	if !ok {
		return r, errors.New("source= is one of invite, labels, semaphore, worldid3, worldid4")
	}
	for key := range r.words {
		if !slices.Contains(known, key) {
			return r, fmt.Errorf("a group by %s has no %s=; it has %s", r.source, key, strings.Join(known, ", "))
		}
	}
	if _, err := r.open(sourceParts{}); err != nil {
		return r, err
	}
	return r, nil
}

// groupKeyName is what a group's key is derived under.
const groupKeyName = "person/group/"

// groupKey is the secret key of a group kept here, in hex.
func (s secret) groupKey(name string) (string, error) {
	key, err := s.derive(groupKeyName + name)
	return hex.EncodeToString(key[:]), err
}

// groupAddress is the address of a group kept here.
func (s secret) groupAddress(name string) (personhood.Address, error) {
	key, err := s.groupKey(name)
	if err != nil {
		return personhood.Address{}, err
	}
	public, err := nostr.GetPublicKey(key)
	return personhood.Address{Key: public, D: name}, err
}

// countedGroups are the groups whose members count as people here: those named
// in the settings, then those kept here.
func (cfg Config) countedGroups(s secret) ([]string, error) {
	all := slices.Clone(cfg.PersonGroups)
	rules, err := parseGroupRules(cfg.Groups)
	if err != nil {
		return nil, usage(err)
	}
	for _, r := range rules {
		a, err := s.groupAddress(r.name)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(all, a.String()) {
			all = append(all, a.String())
		}
	}
	return all, nil
}

// groupsPart is the groups that this relay keeps.
type groupsPart struct {
	core   *core
	groups []*host.Group
	mirror *host.Mirror // nil: no group is mirrored
	doors  *host.Doors
}

// openGroups reads what is kept of each group; nil when there is none.
func (s *server) openGroups(c *core) (*groupsPart, error) {
	rules, err := parseGroupRules(c.cfg.Groups)
	if err != nil {
		return nil, usage(err)
	}
	p := &groupsPart{core: c}
	for _, r := range rules {
		g, err := p.open(r)
		if err != nil {
			return nil, err
		}
		p.groups = append(p.groups, g)
	}
	p.doors = &host.Doors{Groups: p.groups, Admin: p.admin, Who: p.who(s), Seat: seatFor(s), Logger: c.log}
	if p.mirror, err = p.openMirror(); err != nil {
		return nil, err
	}
	if p.mirror != nil {
		p.doors.Files = p.mirror
		p.doors.Mirror = p.mirror.States
	}
	return p, nil
}

func (p *groupsPart) open(r groupRule) (*host.Group, error) {
	key, err := p.core.secret.groupKey(r.name)
	if err != nil {
		return nil, err
	}
	late := &lateInviters{}
	with := sourceParts{inviters: late, events: wholeLog{p.core.store}, roots: p.core.people.gate, checker: p.core.people.batcher}
	if with.client, err = rootsClient(p.core.cfg); err != nil {
		return nil, err
	}
	source, err := r.open(with)
	if err != nil {
		return nil, usage(err)
	}
	g, err := host.Open(context.Background(), host.Config{
		D: r.name, Secret: key, Source: source, About: r.about(), Batch: p.core.cfg.GroupBatch.Duration, Files: httpURL(p.core.urls[0]) + "/v1/members/",
		Shelf: p.core.store, Events: wholeLog{p.core.store}, Checker: p.core.people.batcher, Publish: p.publish, Logger: p.core.log,
	})
	late.Inviters = g
	return g, err
}

// lateInviters is a group to its own source, which is made before it.
type lateInviters struct{ enrol.Inviters }

// publish hands in an event of a group's key. The gate forgets what it knew of
// the group's roots, so that the new one counts at once.
func (p *groupsPart) publish(ctx context.Context, ev *nostr.Event) error {
	reply, err := p.core.relay.Publish(ctx, ev, nil, admit.Peer{Origin: admit.Own})
	if err == nil && !reply.OK {
		err = errors.New(reply.Reason)
	}
	if s, parsed := personhood.ParseSnapshot(ev); err == nil && parsed == nil {
		p.core.people.gate.Forget(s.Group)
	}
	return err
}

// admin lets the relay's admins remove members (NIP-98).
func (p *groupsPart) admin(r *http.Request, body []byte) error {
	key, err := p.core.auth.Check(r, body)
	if err != nil {
		return err
	}
	for _, text := range p.core.cfg.Admins {
		if admin, err := parsePubKey(text); err == nil && admin == key {
			return nil
		}
	}
	return errors.New("only the relay's admins may do this")
}

// seatFor lets 64 members files be sent at a time, four of them to one
// address: who reads slowly holds a file of up to 32 MB.
func seatFor(s *server) func(*http.Request) (func(), bool) {
	places := newSeats(64, 4) // files being sent; when full: 503
	return func(r *http.Request) (func(), bool) { return places.take(s.relay.ClientIP(r)) }
}

// who names the address a request came from.
func (p *groupsPart) who(s *server) func(*http.Request) string {
	return func(r *http.Request) string {
		ip := s.relay.ClientIP(r)
		if ip == (netip.Addr{}) {
			return ""
		}
		return ip.String()
	}
}

// Run publishes roots.
func (p *groupsPart) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, each := range p.groups {
		g.Go(func() error { return each.Run(ctx) })
	}
	if p.mirror != nil {
		g.Go(func() error { return p.mirror.Run(ctx) })
	}
	return g.Wait()
}

// httpURL is the http:// form of a ws:// address.
func httpURL(ws string) string {
	return strings.TrimSuffix("http"+strings.TrimPrefix(strings.TrimPrefix(ws, "http"), "ws"), "/")
}
