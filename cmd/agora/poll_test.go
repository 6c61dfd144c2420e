package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"agora/personhood"
	"agora/personhood/semaphore"

	"github.com/nbd-wtf/go-nostr"
)

// TestAVoteThatCannotCountIsRefusedBeforeAnythingElse: who is no member, or
// gives two choices where one counts, reads that, and nothing about a crowd.
func TestAVoteThatCannotCountIsRefusedBeforeAnythingElse(t *testing.T) {
	v := newVillage(t, 2)
	now := nostr.Now()
	of := v.ask(now+3600, now-100)
	vote := func(who *semaphore.Identity, choices ...string) string {
		t.Helper()
		word, err := personhood.Seal(who, "open sesame")
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "person.key")
		if err := os.WriteFile(file, []byte(word), 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{"poll", "vote", of.ID, "--relay", v.s.urls[0], "--members", v.membersFile(), "--identity", file, "--delay", "0"}
		for _, c := range choices {
			args = append(args, "--choice", c)
		}
		cmd := exec.Command("agora", args...) // TestMain's, this very program
		cmd.Env = append(os.Environ(), "AGORA_PASSPHRASE=open sesame")
		out, _ := cmd.CombinedOutput() // what it says is what counts
		return string(out)
	}
	for want, said := range map[string]string{
		"not among the 2 people of this poll":     vote(semaphore.NewIdentity(), "t"),
		"takes a single choice, and 2 were given": vote(v.people[0], "t", "c"),
	} {
		if !strings.Contains(said, want) || strings.Contains(said, "you hide among") {
			t.Errorf("want %q: %s", want, said)
		}
	}
	first, again := vote(v.people[0], "t"), vote(v.people[0], "c")
	for _, said := range []string{first, again} {
		if !strings.Contains(said, "you hide among 2 people") || !strings.Contains(said, "replaces the earlier one") {
			t.Errorf("a vote says %s", said)
		}
	}
	out, err := exec.Command("agora", "poll", "recount", v.s.urls[0], "--poll", of.ID, "--members", v.membersFile()).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "people       1 ballot, leading: c") || !strings.Contains(string(out), "replaced     0 found beside the newer one") ||
		!strings.Contains(string(out), "over 1 ballot\n") {
		t.Errorf("%v: %s", err, out)
	}
}
