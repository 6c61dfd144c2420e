package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"agora/personhood"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"
)

// TestExamplesRunAsTheyStand runs cmd/example in curl and in Go; test-node runs
// the one in TypeScript.
func TestExamplesRunAsTheyStand(t *testing.T) {
	v := newVillage(t, 2)
	dir := t.TempDir()
	word, err := personhood.Seal(v.people[0], "open sesame")
	if err != nil {
		t.Fatal(err)
	}
	person := filepath.Join(dir, "person.key")
	if err := os.WriteFile(person, []byte(word), 0o600); err != nil {
		t.Fatal(err)
	}
	script, err := filepath.Abs("../example/poll.sh")
	if err != nil {
		t.Fatal(err)
	}
	sh := exec.Command("sh", script)
	sh.Dir = dir
	path, err := exec.LookPath("agora") // TestMain's, this very program
	if err != nil {
		t.Fatal(err)
	}
	sh.Env = append(os.Environ(), "AGORA="+path, "RELAY="+v.s.urls[0], "GROUP="+v.snapshot.Group.String(), "MEMBERS="+v.membersFile(),
		"PERSON="+person, "AGORA_PASSPHRASE=open sesame")
	out, err := sh.CombinedOutput()
	if err != nil {
		t.Fatalf("poll.sh: %v\n%s", err, out)
	}
	for _, want := range []string{`"eligible":2`, "you hide among 2 people", `"people":{"ballots":1`, "event: tally", "       1 park (Park)"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("poll.sh does not say %s:\n%s", want, out)
		}
	}
	if sums := regexp.MustCompile(`"x":"([0-9a-f]{64})"`).FindStringSubmatch(string(out)); len(sums) < 2 || !strings.Contains(string(out), "certificate  "+sums[1]) {
		t.Errorf("the tally and the recount differ:\n%s", out)
	}
	nsec, err := nip19.EncodePrivateKey(nostr.GeneratePrivateKey())
	if err != nil {
		t.Fatal(err)
	}
	out, err = exec.Command("go", "run", "-tags", "libsecp256k1", "../example", v.s.at.page, nsec, v.snapshot.Group.String()).CombinedOutput()
	if err != nil || !regexp.MustCompile(`is open: 0 ballots, certificate [0-9a-f]{64}`).Match(out) {
		t.Errorf("the Go example: %v\n%s", err, out)
	}
}
