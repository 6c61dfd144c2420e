package main

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // the page and its style
	"encoding/base64"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
)

//go:embed landing.html
var landingHTML string

//go:embed landing.css
var landingCSS string

// facts is what the landing page says.
type facts struct {
	Name, Description, Contact, Terms, PubKey string
	URLs                                      []string
	Events, Disk                              string
	Features                                  []feature
	NIPs, Version, ExportHint                 string
	Style                                     template.CSS
}

// feature is one line of what is enabled.
type feature struct{ Name, Text, Link string }

// landing is the page for people who open the relay in a browser.
type landing struct {
	page   *template.Template
	policy string // Content-Security-Policy: nothing but our own style
	facts  func(*http.Request) (facts, error)
	log    *slog.Logger
}

func newLanding(log *slog.Logger, tell func(*http.Request) (facts, error)) (*landing, error) {
	page, err := template.New("landing").Parse(landingHTML)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256([]byte(landingCSS))
	policy := "default-src 'none'; style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) +
		"'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	return &landing{page, policy, tell, log}, nil
}

func (l *landing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "this is a Nostr relay: open a websocket, or GET", http.StatusMethodNotAllowed)
		return
	}
	said, err := l.facts(r)
	if err != nil {
		l.log.Error("landing page", "error", err)
		http.Error(w, "the relay cannot read its store right now", http.StatusInternalServerError)
		return
	}
	said.Style = template.CSS(landingCSS)
	var page bytes.Buffer
	if err := l.page.Execute(&page, said); err != nil {
		l.log.Error("landing page", "error", err)
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(page.Len()))
	h.Set("Content-Security-Policy", l.policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-cache")
	h.Set("Vary", "Accept")
	if _, err := w.Write(page.Bytes()); err != nil {
		l.log.Debug("landing page: the reader went away", "error", err)
	}
}

// grouped writes 1234567 as 1,234,567.
func grouped(n int64) string {
	digits := strconv.FormatInt(n, 10)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 && digits[i-1] != '-' {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// howMany writes 1 event, 1,234 events.
func howMany(n int64, what string) string {
	if n != 1 {
		what += "s"
	}
	return grouped(n) + " " + what
}

// persons writes 1 person, 1,234 people.
func persons(n int) string {
	if n == 1 {
		return "1 person"
	}
	return grouped(int64(n)) + " people"
}

// joinInts writes 1, 9, 11.
func joinInts(list []int) string {
	words := make([]string, len(list))
	for i, n := range list {
		words[i] = strconv.Itoa(n)
	}
	return strings.Join(words, ", ")
}

// exportHint is a command that fetches what a key signed.
func exportHint(base string) string {
	return fmt.Sprintf("curl -o mine.jsonl '%s/v1/graph/npub1…/export'", base)
}
