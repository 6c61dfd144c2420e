package feeds

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"agora/ranker/feature"
)

// stages is what a listing has switched on, with its settings as numbers.
type stages struct {
	sources   feature.Source
	maxAge    float64 // hours; 0: none
	noReplies bool
	outside   bool // only keys that the viewer does not follow

	colike     bool
	halfLife   float64 // hours
	popularity float64
	bridge     bool
	novelty    bool

	decay, floor float64 // of an author's further notes; decay 0: none
	cap          int     // notes of an author; 0: any number
	slot         int     // place for a new author; 0: none
	dpp          bool
	theta        float64
	first        int
}

// setting is a number that a stage takes: its name, default and bounds.
type setting struct {
	name               string
	value, least, most float64
	put                func(*stages, float64)
}

// stage is one name that a listing may switch on.
type stage struct {
	on       func(*stages)
	settings []setting
}

func source(bit feature.Source) stage {
	return stage{on: func(s *stages) { s.sources |= bit }}
}

func known() map[string]stage {
	return map[string]stage{
		"from-follows":     source(feature.FromFollows),
		"from-trusted":     source(feature.FromTrusted),
		"from-colikers":    source(feature.FromCoLikers),
		"from-global":      source(feature.FromGlobal),
		"from-recent":      source(feature.FromRecent),
		"from-new-authors": source(feature.FromNewAuthor),
		"no-replies":       {on: func(s *stages) { s.noReplies = true }},
		"out-of-network":   {on: func(s *stages) { s.outside = true }},
		"bridge":           {on: func(s *stages) { s.bridge = true }},
		"novelty":          {on: func(s *stages) { s.novelty = true }},
		"max-age": {settings: []setting{
			{"hours", 48, 0.1, 24 * 365, func(s *stages, v float64) { s.maxAge = v }}}},
		"colike": {on: func(s *stages) { s.colike = true }, settings: []setting{
			{"half_life", 72, 1, 24 * 365, func(s *stages, v float64) { s.halfLife = v }},
			{"popularity", 0.5, 0, 2, func(s *stages, v float64) { s.popularity = v }}}},
		"author-decay": {settings: []setting{
			{"decay", 0.5, 0, 1, func(s *stages, v float64) { s.decay = v }},
			{"floor", 0.25, 0, 1, func(s *stages, v float64) { s.floor = v }}}},
		"author-cap": {settings: []setting{
			{"most", 1, 1, 1000, func(s *stages, v float64) { s.cap = int(v) }}}},
		"new-author-slot": {settings: []setting{
			{"at", 15, 1, MaxLimit, func(s *stages, v float64) { s.slot = int(v) }}}},
		"dpp": {on: func(s *stages) { s.dpp = true }, settings: []setting{
			{"theta", 0.65, 0, 1, func(s *stages, v float64) { s.theta = v }},
			{"first", 150, 2, 500, func(s *stages, v float64) { s.first = int(v) }}}},
	}
}

// CheckStages says what is wrong with a listing's stages; knobs are the names
// that a setting may stand for.
func CheckStages(list []string, knobs map[string]float64) error {
	_, err := readStages(list, knobs)
	return err
}

// readStages turns a listing's stages into numbers, its knobs put in.
func readStages(list []string, knobs map[string]float64) (s stages, err error) {
	all := known()
	for _, text := range list {
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		st, ok := all[words[0]]
		if !ok {
			return s, fmt.Errorf("there is no stage %q", words[0])
		}
		if st.on != nil {
			st.on(&s)
		}
		if err := st.read(&s, words, knobs); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (st stage) read(s *stages, words []string, knobs map[string]float64) error {
	for _, set := range st.settings {
		set.put(s, set.value)
	}
	for _, word := range words[1:] {
		name, text, _ := strings.Cut(word, "=")
		at := -1
		for i, set := range st.settings {
			if set.name == name {
				at = i
			}
		}
		if at < 0 {
			return fmt.Errorf("stage %s has no setting %q", words[0], name)
		}
		value, err := number(text, knobs)
		if set := st.settings[at]; err != nil || value < set.least || value > set.most {
			return fmt.Errorf("stage %s: %s must be a number from %v to %v, or the name of a knob after a $", words[0], name, set.least, set.most)
		}
		st.settings[at].put(s, value)
	}
	return nil
}

func number(text string, knobs map[string]float64) (float64, error) {
	if knob, ok := strings.CutPrefix(text, "$"); ok {
		value, ok := knobs[knob]
		if !ok {
			return 0, fmt.Errorf("no knob %q", knob)
		}
		return value, nil
	}
	value, err := strconv.ParseFloat(text, 64)
	if err == nil && (math.IsNaN(value) || math.IsInf(value, 0)) {
		err = strconv.ErrRange
	}
	return value, err
}

// turn checks what a reader asks of a listing's knobs and puts the defaults in.
func (l *Listing) turn(asked map[string]float64) (map[string]float64, error) {
	out := make(map[string]float64, len(l.Knobs))
	for _, k := range l.Knobs {
		out[k.Name] = k.Default
	}
	for name, value := range asked {
		at := -1
		for i, k := range l.Knobs {
			if k.Name == name {
				at = i
			}
		}
		if at < 0 {
			return nil, &Problem{Text: fmt.Sprintf("the feed %s has no knob %q", l.Slug, clip(name))}
		}
		if k := l.Knobs[at]; !(value >= k.Min && value <= k.Max) {
			return nil, &Problem{Text: fmt.Sprintf("knob %s must be from %v to %v", k.Name, k.Min, k.Max)}
		}
		out[name] = value
	}
	return out, nil
}

// clip keeps what a stranger wrote short enough to be repeated.
func clip(text string) string {
	if len(text) > 64 {
		return strings.ToValidUTF8(text[:64], "") + "…"
	}
	return strings.ToValidUTF8(text, "")
}
