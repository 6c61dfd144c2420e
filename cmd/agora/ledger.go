package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// verdict is what became of one line or event.
type verdict struct {
	Word   string `json:"word"`             // stored, duplicate, older, deleted, vanished, expired, claimed, refused, malformed, blank, failed
	Reason string `json:"reason,omitempty"` // refused: "prefix: text"; malformed, failed: what is wrong
}

// The verdicts that are not a store.Outcome.
const (
	refused   = "refused"   // the relay turned it away
	malformed = "malformed" // no event, or not a valid one
	blank     = "blank"     // an empty line
	failed    = "failed"    // it could not be told: an error of ours, such as a full disk
)

// isReject reports whether the line belongs into the file of rejects: it is not
// in the store, and no newer state of the store stands for it.
func (v verdict) isReject() bool {
	return v.Word == refused || v.Word == malformed || v.Word == failed
}

// ledger accounts for every line.
type ledger struct {
	mu      sync.Mutex // guards what follows
	lines   int
	counts  map[string]int
	reasons map[string]int // of refused and malformed lines, at most 50 different ones; more: "other reasons"
	rejects *json.Encoder  // nil: not kept
	err     error          // of writing the rejects, or of the first failed line
}

func newLedger(rejects io.Writer) *ledger {
	l := &ledger{counts: map[string]int{}, reasons: map[string]int{}}
	if rejects != nil {
		l.rejects = json.NewEncoder(rejects)
		l.rejects.SetEscapeHTML(false)
	}
	return l
}

// reject is one line of the file of rejects.
type reject struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	Reason string `json:"reason"`
	Text   string `json:"text"` // the line itself; empty when it was too long to keep
}

// enter writes down what became of one line. It is called once for every line.
func (l *ledger) enter(at line, v verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines++
	l.counts[v.Word]++
	if !v.isReject() {
		return
	}
	l.count(v)
	if v.Word == failed && l.err == nil {
		l.err = fmt.Errorf("%s line %d: %s", at.file, at.number, v.Reason)
	}
	if l.rejects == nil {
		return
	}
	if err := l.rejects.Encode(reject{at.file, at.number, v.Reason, string(at.text)}); err != nil && l.err == nil {
		l.err = fmt.Errorf("write rejects: %w", err)
	}
}

// count groups by reason, wherever in the line it arose. Reasons that name the
// event would each be their own group, so there is a bound.
func (l *ledger) count(v verdict) {
	reason, _, _ := strings.Cut(v.Reason, " at byte ")
	key := v.Word + "\x00" + reason
	if _, known := l.reasons[key]; !known && len(l.reasons) >= 50 {
		key = v.Word + "\x00other reasons"
	}
	l.reasons[key]++
}

func (l *ledger) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// seen is how many lines have their verdict, and how many of them are stored.
func (l *ledger) seen() (lines, stored int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines, l.counts["stored"]
}

// order of the words in a summary.
var words = []string{"stored", "duplicate", "older", "deleted", "vanished", "expired", "claimed", refused, malformed, failed, blank}

// meanings say the words in full, for people who see them for the first time.
var meanings = map[string]string{
	"duplicate": "already held",
	"older":     "a newer version is held",
	"deleted":   "its author has deleted it",
	"vanished":  "its author has vanished",
	"expired":   "its time was over",
	"claimed":   "another event holds its claim",
	blank:       "empty lines",
}

// summary accounts for every line: the counts add up to the lines.
func (l *ledger) summary(w io.Writer, took time.Duration) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	rate := float64(l.lines) / max(took.Seconds(), 1e-3)
	fmt.Fprintf(&b, "%10d lines read in %s (%.0f a second)\n", l.lines, took.Round(time.Millisecond), rate)
	for _, word := range words {
		if n := l.counts[word]; n > 0 || word == "stored" {
			fmt.Fprintf(&b, "%10d %s%s\n", n, word, note(meanings[word]))
		}
		l.printReasons(&b, word)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (l *ledger) printReasons(b *strings.Builder, word string) {
	keys := slices.SortedFunc(maps.Keys(l.reasons), func(a, b string) int {
		return cmp.Or(l.reasons[b]-l.reasons[a], strings.Compare(a, b))
	})
	for _, key := range keys {
		if of, reason, _ := strings.Cut(key, "\x00"); of == word {
			fmt.Fprintf(b, "%16d %s\n", l.reasons[key], reason)
		}
	}
}

func note(text string) string {
	if text == "" {
		return ""
	}
	return " (" + text + ")"
}
