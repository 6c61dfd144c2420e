package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"agora/personhood"
	"agora/personhood/enrol"
	"agora/personhood/host"
	"agora/personhood/semaphore"
)

const joinRounds = 4

// TestKillNineWhileMembersJoinLosesNoneAndSpendsNothingTwice kills the relay
// while people join. Whoever was told so is a member afterwards, and no
// invitation lets in a second one.
func TestKillNineWhileMembersJoinLosesNoneAndSpendsNothingTwice(t *testing.T) {
	bin, dir := buildProgram(t), filepath.Join(t.TempDir(), "data")
	prover, err := semaphore.NewProver(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = prover.Close(context.Background()) }()
	args := []string{"--groups", "town source=invite quota=1", "--group-batch", "1s"}
	var known []host.Wish // acknowledged
	for range joinRounds {
		relay := serve(t, bin, dir, nil, args...)
		base := "http" + strings.TrimPrefix(relay.URL, "ws")
		for _, w := range known {
			if code, text := joinOver(base, w); code != 200 || !strings.Contains(text, `"already":true`) {
				t.Fatalf("a member was lost: %d %s", code, text)
			}
		}
		wishes := make([]host.Wish, 6)
		for i := range wishes {
			wishes[i] = wishOf(t, prover, say(t, bin, "group", "invite", "--group", "town", "--data", dir))
		}
		acked := make([]bool, len(wishes))
		var wg sync.WaitGroup
		one := sync.OnceFunc(relay.kill)
		for i, w := range wishes {
			wg.Go(func() {
				if code, _ := joinOver(base, w); code == 200 {
					acked[i] = true
					one() // the others are on their way
				}
			})
		}
		wg.Wait()
		one()
		for i, w := range wishes {
			if acked[i] {
				known = append(known, w)
			}
		}
	}
	if len(known) < joinRounds {
		t.Fatalf("only %d were let in", len(known))
	}
	relay := serve(t, bin, dir, nil, args...)
	base := "http" + strings.TrimPrefix(relay.URL, "ws")
	for _, w := range known { // the same invitation for another
		other := wishOf(t, prover, say(t, bin, "group", "invite", "--group", "town", "--data", dir))
		other.Evidence = w.Evidence
		if code, text := joinOver(base, other); code == 200 {
			t.Errorf("an invitation let in two: %s", text)
		}
	}
	relay.kill()
}

func wishOf(t *testing.T, prover *semaphore.Prover, word string) host.Wish {
	t.Helper()
	inv, err := enrol.ParseInvitation(strings.TrimSpace(word))
	if err != nil {
		t.Fatal(err)
	}
	id := semaphore.NewIdentity()
	evidence, err := inv.Accept(id.Commitment(), enrol.InviterKey(id, inv.Group))
	if err != nil {
		t.Fatal(err)
	}
	j, err := personhood.Join(t.Context(), prover, id, inv.Group, []byte(evidence))
	if err != nil {
		t.Fatal(err)
	}
	return host.NewWish(j, evidence)
}

func joinOver(base string, w host.Wish) (int, string) {
	raw, err := json.Marshal(w)
	if err != nil {
		return 0, err.Error()
	}
	resp, err := http.Post(base+"/v1/groups/town/join", "application/json", bytes.NewReader(raw))
	if err != nil {
		return 0, err.Error() // killed
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(text)
}
