package main

import (
	"strings"
	"testing"

	"agora/personhood/poll"
)

// A poll's options are words of whoever asks, and a terminal obeys some words.
func TestOptionsOfAPollCannotSteerTheTerminal(t *testing.T) {
	t.Parallel()
	evil := "\x1b[2Ja\n     99 b\u202e"
	var out strings.Builder
	tellResult(&out, "people", poll.Result{
		Ballots: 1, Leading: []string{evil}, Options: []poll.OptionResult{{Option: poll.Option{ID: evil, Label: evil + "x"}, Ballots: 1}},
		Rounds: []poll.Round{{Votes: []int{1}, Out: []string{evil}}},
	})
	if got := out.String(); strings.ContainsAny(got, "\x1b\u202e") || strings.Count(got, "\n") != 3 || !strings.Contains(got, "[2Ja     99 b") {
		t.Fatalf("%q", got)
	}
	if got := printable("relay says\n\t\x1b[31mno\x07", '\n', '\t'); got != "relay says\n\t[31mno" {
		t.Fatalf("%q", got)
	}
}
