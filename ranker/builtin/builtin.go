// Package builtin has the rankers that come with the relay: ONNX files, made by
// ranker/kit, and what stands in their listings. Nothing here is privileged:
// they are listed, loaded and run as anybody's are.
package builtin

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"

	"agora/ranker"
)

//go:embed rankers.json *.onnx
var files embed.FS

// Ranker is one listing, but for who signs it.
type Ranker struct {
	Slug         string        `json:"slug"`
	Name         string        `json:"name"`
	About        string        `json:"about"`
	Digest       ranker.Digest `json:"sha256"`
	File         string        `json:"file"`   // name within this package
	Stages       []string      `json:"stages"` // as package feeds says; empty: its default sources
	Knobs        []Knob        `json:"knobs"`
	Fallback     string        `json:"fallback"` // slug; empty: newest first
	Personalised bool          `json:"personalised"`
	Licence      string        `json:"licence"` // SPDX
}

// Knob is a number that a reader may turn.
type Knob struct {
	Name    string  `json:"name"`
	Min     float64 `json:"min"`
	Max     float64 `json:"max"`
	Default float64 `json:"default"`
	Unit    string  `json:"unit"`
	About   string  `json:"about"`
}

// Rankers is every listing, in the order in which they are shown. It panics
// when the embedded files do not fit one another: then the build is broken.
func Rankers() []Ranker {
	raw, err := files.ReadFile("rankers.json")
	if err != nil {
		panic(err)
	}
	var all []Ranker
	if err := json.Unmarshal(raw, &all); err != nil {
		panic(fmt.Errorf("ranker/builtin/rankers.json: %w", err))
	}
	return all
}

// Digests are the models that may run because they are part of the program.
func Digests() []ranker.Digest {
	var out []ranker.Digest
	for _, r := range Rankers() {
		out = append(out, r.Digest)
	}
	return out
}

// Source serves the files by digest; it is a ranker.Source.
type Source struct{ byDigest map[ranker.Digest]string }

// NewSource reads the list.
func NewSource() *Source {
	s := &Source{byDigest: make(map[ranker.Digest]string)}
	for _, r := range Rankers() {
		s.byDigest[r.Digest] = r.File
	}
	return s
}

// Model is the file with this digest, or ranker.ErrNotAdmitted.
func (s *Source) Model(_ context.Context, d ranker.Digest) ([]byte, error) {
	name, ok := s.byDigest[d]
	if !ok {
		return nil, fmt.Errorf("%w: %s is none of the built-in ones", ranker.ErrNotAdmitted, d)
	}
	return files.ReadFile(name)
}
