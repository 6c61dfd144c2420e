package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"agora/personhood"
	"agora/personhood/enrol"
	"agora/personhood/semaphore"
	"agora/relay/peer"
)

// sourceWords are the keys that a group's rule has, by source.
func sourceWords() map[string][]string {
	return map[string][]string{
		"invite":    {"quota"},
		"labels":    {"labelers", "namespace", "value"},
		"semaphore": {"from", "epoch"},
		"worldid3":  {"app", "epoch", "roots"},
		"worldid4":  {"rp", "schema", "issuer", "oprf", "since", "grace", "epoch", "roots"},
	}
}

// sourceParts are what sources ask; zero when a rule is only being checked.
type sourceParts struct {
	inviters enrol.Inviters
	events   personhood.Events
	roots    enrol.Published
	checker  personhood.Checker
	client   *http.Client // guarded
}

// askTime is how long a node or a vendor may take to say whether a root is
// World's.
const askTime = 10 * time.Second

// rootsClient dials through the guarded dialer: the setting names a URL, but a
// redirect or a name's address may be anybody's.
func rootsClient(cfg Config) (*http.Client, error) {
	allowed, err := parseNetworks("dial_private", cfg.AllowPrivate)
	if err != nil {
		return nil, err
	}
	return peer.NewDialer(peer.DialConfig{Allow: allowed, Request: askTime, MaxBody: 64 << 10}).HTTP(), nil
}

// open makes the source of a rule.
func (r groupRule) open(with sourceParts) (enrol.Source, error) {
	switch r.source {
	case "invite":
		quota := 3
		if text := r.words["quota"]; text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 0 || n > enrol.MostQuota {
				return nil, fmt.Errorf("quota=%s is not a number of invitations up to %d", text, enrol.MostQuota)
			}
			quota = n
		}
		return enrol.Invites{Inviters: with.inviters, Quota: quota}, nil
	case "labels":
		s := enrol.Labels{Namespace: r.words["namespace"], Value: r.words["value"], Events: with.events}
		for text := range strings.SplitSeq(r.words["labelers"], ",") {
			key, err := parsePubKey(text)
			if err != nil {
				return nil, fmt.Errorf("labelers=: %w", err)
			}
			s.Labelers = append(s.Labelers, key)
		}
		return s, nil
	case "semaphore":
		from, err := personhood.ParseAddress(r.words["from"])
		if err != nil {
			return nil, fmt.Errorf("from=: %w", err)
		}
		return enrol.Member{From: from, Epoch: r.words["epoch"], Roots: with.roots, Checker: with.checker}, nil
	case "worldid3":
		roots, err := r.openRoots(with, 3)
		if err != nil {
			return nil, err
		}
		return enrol.NewWorld3(r.words["app"], r.action(), roots)
	}
	return r.openWorld4(with)
}

// action names the group and its epoch to World ID.
func (r groupRule) action() string {
	epoch := r.words["epoch"]
	if epoch == "" {
		epoch = "1"
	}
	return "enrol-" + r.name + "-" + epoch
}

func (r groupRule) openWorld4(with sourceParts) (enrol.Source, error) {
	s := enrol.World4{Action: r.action()}
	var err error
	if s.Roots, err = r.openRoots(with, 4); err != nil {
		return nil, err
	}
	for key, into := range map[string]*uint64{"rp": &s.RP, "schema": &s.IssuerSchema, "since": &s.IssuedSince} {
		if text := r.words[key]; text != "" {
			if *into, err = strconv.ParseUint(text, 0, 64); err != nil {
				return nil, fmt.Errorf("%s=%s is no number", key, text)
			}
		}
	}
	for key, into := range map[string]*[2]semaphore.Element{"issuer": &s.Issuer, "oprf": &s.OPRF} {
		x, y, ok := strings.Cut(r.words[key], ",")
		if into[0], err = hexNumber(x); err == nil {
			into[1], err = hexNumber(y)
		}
		if err != nil || !ok {
			return nil, fmt.Errorf("%s= is the two coordinates of a key, 0x…,0x…", key)
		}
	}
	if text := r.words["grace"]; text != "" {
		if s.Grace, err = time.ParseDuration(text); err != nil || s.Grace < 0 {
			return nil, fmt.Errorf("grace=%s is no time", text)
		}
	}
	return enrol.NewWorld4(s)
}

func hexNumber(text string) (semaphore.Element, error) {
	digits, ok := strings.CutPrefix(strings.ToLower(text), "0x")
	if !ok || len(digits) > 64 {
		return semaphore.Element{}, errors.New("want 0x and hex digits")
	}
	return semaphore.ParseHex(strings.Repeat("0", 64-len(digits)) + digits)
}

// openRoots makes what knows World's roots: list:FILE, rpc:URL#CONTRACT or
// api:URL.
func (r groupRule) openRoots(with sourceParts, version int) (enrol.Roots, error) {
	way, rest, _ := strings.Cut(r.words["roots"], ":")
	switch way {
	case "list":
		return readRoots(rest)
	case "rpc":
		url, contract, _ := strings.Cut(rest, "#")
		if !regexp.MustCompile(`^0x[0-9a-fA-F]{40}$`).MatchString(contract) || !strings.HasPrefix(url, "http") {
			return nil, errors.New("roots=rpc: goes on with a node's URL, # and the contract's address of 40 hex digits")
		}
		return enrol.Remember(enrol.RPC{Client: with.client, URL: url, Contract: contract, Version: version}), nil
	case "api":
		if !strings.HasPrefix(rest, "http") {
			return nil, errors.New("roots=api: goes on with the URL that verifies proofs")
		}
		return enrol.API{Client: with.client, URL: rest}, nil
	}
	return nil, errors.New("roots= is list:FILE, rpc:URL#CONTRACT or api:URL")
}

// readRoots reads a file of roots, 0x and hex digits, one on a line.
func readRoots(name string) (enrol.RootList, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("roots=list: %w", err)
	}
	var list enrol.RootList
	for i, text := range strings.Fields(string(b)) {
		root, err := hexNumber(text)
		if err != nil {
			return nil, fmt.Errorf("roots=list: root %d in %s: %w", i+1, name, err)
		}
		list = append(list, root)
	}
	return list, nil
}

// about is what a group tells of its source, for whoever makes evidence.
func (r groupRule) about() map[string]string {
	switch r.source {
	case "invite":
		return nil
	case "labels":
		return map[string]string{
			"labelers": r.words["labelers"], "namespace": cmp.Or(r.words["namespace"], enrol.DefaultNamespace), "value": cmp.Or(r.words["value"], enrol.DefaultValue),
		}
	case "semaphore":
		return map[string]string{"from": r.words["from"], "epoch": r.words["epoch"]}
	case "worldid3":
		return map[string]string{"app": r.words["app"], "action": r.action(), "signal": "0x and the commitment"}
	}
	return map[string]string{"rp": r.words["rp"], "schema": r.words["schema"], "action": r.action(), "signal": "0x and the commitment"}
}
