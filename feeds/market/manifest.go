package market

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"agora/ranker"
	"agora/ranker/feature"

	"github.com/nbd-wtf/go-nostr"
)

// Manifest is what the author of a ranker declares.
type Manifest struct {
	Slug         string
	Name         string
	About        string
	Picture      string        // URL
	Model        ranker.Digest // zero: no model
	Size         int64         // bytes of the model
	Inputs       []string      // names of the feature catalogue
	Knobs        []Knob
	Stages       []string // name and settings, separated by spaces
	Fallback     string   // slug of the same author, or an address
	Personalized bool
	Privacy      feature.Tier
	License      string        // SPDX
	Prev         ranker.Digest // zero: the first version
}

// Knob is a number that a reader may turn.
type Knob struct {
	Name    string  `json:"name"`
	Min     float64 `json:"min"`
	Max     float64 `json:"max"`
	Default float64 `json:"default"`
	Unit    string  `json:"unit,omitempty"`
	About   string  `json:"about,omitempty"`
}

// MaxModel is how many bytes a ranker's file may have.
const MaxModel = 64 << 20

// The bounds of a manifest.
const (
	mostName   = 100  // characters
	mostAbout  = 2000 // characters
	mostKnobs  = 16
	mostStages = 32
	mostInputs = 256
)

var (
	slugForm    = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?$`)
	knobForm    = regexp.MustCompile(`^[a-z][a-z0-9_]{0,31}$`)
	addressForm = regexp.MustCompile(`^32190:[0-9a-f]{64}:([a-z0-9-]{1,64})$`)
)

// reserved are names that the doors already use beside a knob's.
var reserved = map[string]bool{
	"cursor": true, "limit": true, "viewer": true, "scores": true, "reasons": true, "kinds": true, "authors": true,
	"since": true, "until": true, "distinct": true, "feed": true, "sort": true, "pov": true, "user": true, "max_results": true,
	"include": true, "domain": true, "language": true, "sentiment": true, "nsfw": true, "autocomplete": true, "protocol": true, "search": true,
}

// Address is the listing's address when its author is pubkey.
func (m *Manifest) Address(pubkey string) string {
	return strconv.Itoa(KindManifest) + ":" + pubkey + ":" + m.Slug
}

// Event is the manifest as an unsigned event.
func (m *Manifest) Event(at nostr.Timestamp) *nostr.Event {
	ev := &nostr.Event{Kind: KindManifest, CreatedAt: at, Tags: nostr.Tags{{"d", m.Slug}, {"name", m.Name}}}
	add := func(tag ...string) { ev.Tags = append(ev.Tags, tag) }
	optional := func(name, value string) {
		if value != "" {
			add(name, value)
		}
	}
	optional("about", m.About)
	optional("picture", m.Picture)
	if m.Model != (ranker.Digest{}) {
		add("x", m.Model.String())
		add("m", "application/onnx")
		add("size", strconv.FormatInt(m.Size, 10))
	}
	for _, name := range m.Inputs {
		add("input", name)
	}
	for _, k := range m.Knobs {
		add("knob", k.Name, number(k.Min), number(k.Max), number(k.Default), k.Unit, k.About)
	}
	for _, stage := range m.Stages {
		add(append([]string{"stage"}, strings.Fields(stage)...)...)
	}
	optional("fallback", m.Fallback)
	add("personalized", strconv.FormatBool(m.Personalized))
	add("privacy", m.Privacy.String())
	optional("license", m.License)
	if m.Prev != (ranker.Digest{}) {
		add("prev", m.Prev.String())
	}
	add("alt", "A feed algorithm: "+m.Name)
	return ev
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', -1, 64) }

// ParseManifest reads a manifest. The error says, for its author, what is
// wrong with it.
func ParseManifest(ev *nostr.Event) (Manifest, error) {
	if ev.Kind != KindManifest {
		return Manifest{}, fmt.Errorf("a manifest has kind %d, not %d", KindManifest, ev.Kind)
	}
	m := Manifest{}
	seen := map[string]bool{}
	for _, tag := range ev.Tags {
		if len(tag) < 2 {
			continue
		}
		if single[tag[0]] && seen[tag[0]] {
			return m, fmt.Errorf("it has more than one %s tag", tag[0])
		}
		seen[tag[0]] = true
		if err := m.read(tag); err != nil {
			return m, fmt.Errorf("tag %s: %w", tag[0], err)
		}
	}
	return m, m.check()
}

var single = map[string]bool{
	"d": true, "name": true, "about": true, "picture": true, "x": true, "m": true, "size": true, "fallback": true,
	"personalized": true, "privacy": true, "license": true, "prev": true,
}

func (m *Manifest) read(tag nostr.Tag) (err error) {
	switch v := tag[1]; tag[0] {
	case "d":
		m.Slug = v
	case "name":
		m.Name = v
	case "about":
		m.About = v
	case "picture":
		m.Picture = v
	case "x":
		if m.Model, err = ranker.ParseDigest(v); err == nil && m.Model == (ranker.Digest{}) {
			err = errors.New("this is no file's digest: leave it out where there is no model")
		}
	case "m":
		if v != "application/onnx" {
			err = fmt.Errorf("%q: want application/onnx", v)
		}
	case "size":
		m.Size, err = strconv.ParseInt(v, 10, 64)
	case "input":
		m.Inputs = append(m.Inputs, v)
	case "knob":
		var k Knob
		k, err = readKnob(tag)
		m.Knobs = append(m.Knobs, k)
	case "stage":
		m.Stages = append(m.Stages, strings.Join(strings.Fields(strings.Join(tag[1:], " ")), " "))
	case "fallback":
		m.Fallback = v
	case "personalized":
		m.Personalized, err = readBool(v)
	case "privacy":
		m.Privacy, err = readTier(v)
	case "license":
		m.License = v
	case "prev":
		m.Prev, err = ranker.ParseDigest(v)
	}
	return err
}

func readBool(v string) (bool, error) {
	if v != "true" && v != "false" {
		return false, fmt.Errorf("%q: want true or false", v)
	}
	return v == "true", nil
}

func readTier(v string) (feature.Tier, error) {
	for _, tier := range []feature.Tier{feature.Public, feature.Viewer, feature.Personal} {
		if v == tier.String() {
			return tier, nil
		}
	}
	return 0, fmt.Errorf("%q: want public, viewer or personal", v)
}

func readKnob(tag nostr.Tag) (k Knob, err error) {
	if len(tag) < 5 {
		return k, errors.New("want name, least, most, default, unit, about")
	}
	k.Name = tag[1]
	for i, into := range []*float64{&k.Min, &k.Max, &k.Default} {
		if *into, err = strconv.ParseFloat(tag[2+i], 64); err != nil || math.IsNaN(*into) || math.IsInf(*into, 0) {
			return k, fmt.Errorf("%s: %q is no number", k.Name, tag[2+i])
		}
	}
	if len(tag) > 5 {
		k.Unit = tag[5]
	}
	if len(tag) > 6 {
		k.About = tag[6]
	}
	switch {
	case !knobForm.MatchString(k.Name):
		return k, fmt.Errorf("%q is no name: want a-z, 0-9 and _, at most 32", k.Name)
	case reserved[k.Name]:
		return k, fmt.Errorf("%s means something else in an address already", k.Name)
	case k.Min > k.Max || k.Default < k.Min || k.Default > k.Max:
		return k, fmt.Errorf("%s: want least <= default <= most", k.Name)
	}
	return k, nil
}

// check looks at what holds between the tags.
func (m *Manifest) check() error {
	switch {
	case !slugForm.MatchString(m.Slug):
		return fmt.Errorf("the slug %q is not a-z, 0-9 and dashes, at most 64", m.Slug)
	case m.Name == "" || long(m.Name, mostName):
		return fmt.Errorf("a name of 1 to %d characters is needed", mostName)
	case strings.ContainsFunc(m.Name, unseen):
		return errors.New("the name holds characters that are not seen, or turn text around")
	case long(m.About, mostAbout):
		return fmt.Errorf("about has more than %d characters", mostAbout)
	case len(m.Knobs) > mostKnobs || len(m.Stages) > mostStages || len(m.Inputs) > mostInputs:
		return fmt.Errorf("at most %d knobs, %d stages and %d inputs", mostKnobs, mostStages, mostInputs)
	case m.Model != (ranker.Digest{}) && (m.Size <= 0 || m.Size > MaxModel):
		return fmt.Errorf("size: a model has 1 to %d bytes", MaxModel)
	case m.Fallback != "" && !slugForm.MatchString(m.Fallback) && !addressForm.MatchString(m.Fallback):
		return fmt.Errorf("the fallback %q is neither a slug nor an address", m.Fallback)
	case m.Fallback == m.Slug:
		return errors.New("it falls back on itself")
	}
	if u, err := url.Parse(m.Picture); m.Picture != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http") {
		return errors.New("picture is no http address")
	}
	names := map[string]bool{}
	for _, k := range m.Knobs {
		if names[k.Name] {
			return fmt.Errorf("it has two knobs %s", k.Name)
		}
		names[k.Name] = true
	}
	return nil
}

// unseen is what has no place in a name that stands among other people's. The
// joiners that scripts and emoji need may be there.
func unseen(r rune) bool {
	return unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) && r != '\u200c' && r != '\u200d' && (r < 0xe0020 || r > 0xe007f)
}

func long(s string, most int) bool { return utf8.RuneCountInString(s) > most }
