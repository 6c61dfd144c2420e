package spam

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Action is what happens to a note.
type Action uint8

// The actions, from nothing to most.
const (
	Pass       Action = iota
	Measure           // counted, nothing else
	Mark              // labelled by the relay (NIP-32)
	Quarantine        // stored, in no feed and no search but with include:spam
	Refuse            // turned away
)

var actionNames = []string{"pass", "measure", "label", "quarantine", "refuse"}

func (a Action) String() string { return actionNames[a] }

// ParseAction reads the word of an action.
func ParseAction(s string) (Action, error) {
	if at := slices.Index(actionNames, s); at >= 0 {
		return Action(at), nil
	}
	return 0, fmt.Errorf("%q is no action: want one of %s", s, strings.Join(actionNames, ", "))
}

// Sign is what a verdict must show for a rule to apply.
type Sign uint8

// The signs.
const (
	Suspect Sign = iota // 1 % of ham shows it
	Sure                // 0.1 %
	Scam                // the text of a scam or phishing, with a suspect note
)

var signNames = []string{"suspect", "sure", "scam"}

// Rule says what happens to some notes. The first rule that fits decides.
type Rule struct {
	Kinds  []int   // empty: all that are judged
	Below  float32 // only authors with less trust; 0: all
	Script string  // only texts of this script; empty: all
	When   Sign
	Action Action
}

// ParseRule reads "kinds=1,42 trust<0.3 script=Han when=sure action=refuse";
// every part but action may be left out, when is then suspect.
func ParseRule(s string) (r Rule, err error) {
	acts := false
	for _, word := range strings.Fields(s) {
		name, value, _ := strings.Cut(word, "=")
		if below, ok := strings.CutPrefix(word, "trust<"); ok {
			name, value = "trust", below
		}
		switch name {
		case "kinds":
			r.Kinds, err = parseKinds(value)
		case "trust":
			r.Below, err = parseTrust(value)
		case "script":
			r.Script, err = value, knownScript(value)
		case "when":
			r.When, err = parseSign(value)
		case "action":
			acts = true
			r.Action, err = ParseAction(value)
		default:
			err = fmt.Errorf("%q is no part of a rule: want kinds=, trust<, script=, when=, action=", word)
		}
		if err != nil {
			return r, fmt.Errorf("spam rule %q: %w", s, err)
		}
	}
	if !acts {
		return r, fmt.Errorf("spam rule %q has no action=", s)
	}
	return r, nil
}

func parseKinds(s string) (kinds []int, err error) {
	for word := range strings.SplitSeq(s, ",") {
		k, err := strconv.ParseUint(word, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("%q is no kind", word)
		}
		kinds = append(kinds, int(k))
	}
	return kinds, nil
}

func parseTrust(s string) (float32, error) {
	v, err := strconv.ParseFloat(s, 32)
	if err != nil || !(v > 0 && v <= 1) {
		return 0, fmt.Errorf("trust<%s: want a number above 0, at most 1", s)
	}
	return float32(v), nil
}

func parseSign(s string) (Sign, error) {
	if at := slices.Index(signNames, s); at >= 0 {
		return Sign(at), nil
	}
	return 0, fmt.Errorf("when=%s: want one of %s", s, strings.Join(signNames, ", "))
}

func knownScript(s string) error {
	if slices.Contains(scriptNames[:], s) {
		return nil
	}
	return fmt.Errorf("script=%s: want one of %s", s, strings.Join(scriptNames[:], ", "))
}

// Rules is the plain policy of one mode: what is sure meets it, what is only
// suspect is at most labelled.
func Rules(mode Action) []Rule {
	switch mode {
	case Pass:
		return nil
	case Measure:
		return []Rule{{When: Suspect, Action: Measure}}
	}
	return []Rule{{When: Sure, Action: mode}, {When: Suspect, Action: Mark}}
}

func (r *Rule) fits(kind int, who Standing, v *Verdict) bool {
	if len(r.Kinds) > 0 && !slices.Contains(r.Kinds, kind) || r.Script != "" && r.Script != v.Script {
		return false
	}
	if r.Below > 0 && who.Trust >= r.Below {
		return false
	}
	switch r.When {
	case Sure:
		return v.Sure
	case Scam:
		return v.IsScam && v.Suspect
	}
	return v.Suspect
}

// near says that an author is within the operator's web of trust: no score
// turns them away or hides them.
func near(who Standing) bool { return who.Hops >= 0 && who.Hops <= 2 }

// Decide finds the action for a verdict.
func Decide(rules []Rule, kind int, who Standing, v *Verdict) Action {
	for i := range rules {
		if !rules[i].fits(kind, who, v) {
			continue
		}
		if who.Spared {
			return min(rules[i].Action, Measure)
		}
		if near(who) {
			return min(rules[i].Action, Mark)
		}
		return rules[i].Action
	}
	return Pass
}
