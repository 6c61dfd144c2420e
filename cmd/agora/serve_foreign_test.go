package main_test

import (
	"context"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fiatjaf/eventstore"
	badgerstore "github.com/fiatjaf/eventstore/badger"
	lmdbstore "github.com/fiatjaf/eventstore/lmdb"
	"github.com/fiatjaf/eventstore/sqlite3"
	"github.com/nbd-wtf/go-nostr"
)

// TestServesTheStoresOfOtherRelays takes over what another relay has left, in
// each kind of store, and keeps its promises over a restart.
func TestServesTheStoresOfOtherRelays(t *testing.T) {
	if ranWithoutRace(t) {
		return
	}
	bin := buildProgram(t)
	for kind, open := range map[string]func(path string) eventstore.Store{
		"lmdb":    func(path string) eventstore.Store { return &lmdbstore.LMDBBackend{Path: path} },
		"badger":  func(path string) eventstore.Store { return &badgerstore.BadgerBackend{Path: path} },
		"sqlite3": func(path string) eventstore.Store { return &sqlite3.SQLite3Backend{DatabaseURL: path} },
	} {
		t.Run(kind, func(t *testing.T) {
			a := newAuthor(t)
			path, dir := filepath.Join(t.TempDir(), "db"), filepath.Join(t.TempDir(), "beside")
			old := []*nostr.Event{
				a.sign(t, nostr.Event{Kind: 1, CreatedAt: ago(500), Content: "kept"}),
				a.sign(t, nostr.Event{Kind: 1, CreatedAt: ago(400), Content: "to be deleted"}),
			}
			db := open(path)
			if err := db.Init(); err != nil {
				t.Fatal(err)
			}
			for _, ev := range old {
				if err := db.SaveEvent(t.Context(), ev); err != nil {
					t.Fatal(err)
				}
			}
			db.Close()
			flag := "--store=eventstore:" + kind + ":" + path
			p := serve(t, bin, dir, nil, flag)
			live := takeOver(t, p, a, old)
			for _, its := range promises() {
				if !strings.HasPrefix(its.promise, "NIP50") && !strings.HasPrefix(its.promise, "NIP11") { // it has no word index, and its document says so
					t.Run(its.promise, func(t *testing.T) { its.test(t, p) })
				}
			}
			notASecond(t, bin, dir+"2", flag)
			p.terminate(t, p.cmd.Process.Pid)
			if code := p.cmd.ProcessState.ExitCode(); code != 0 {
				t.Errorf("exit code %d\n%s", code, p.out)
			}
			p = serve(t, bin, dir, nil, flag)
			r := connect(t, p)
			expect(t, r, []*nostr.Event{live, old[0]}, nostr.Filter{Authors: []string{a.pubkey}, Kinds: []int{1}})
			refused(t, r, old[1], "blocked")
		})
	}
}

// takeOver reads what was there, publishes, deletes, and tries what the store
// has no room for. It returns the event it has published.
func takeOver(t *testing.T, p *program, a author, old []*nostr.Event) *nostr.Event {
	t.Helper()
	r := connect(t, p)
	expect(t, r, []*nostr.Event{old[1], old[0]}, nostr.Filter{Kinds: []int{1}})
	live := a.sign(t, nostr.Event{Kind: 1, Content: "new"})
	put(t, r, live, a.sign(t, nostr.Event{Kind: 5, Tags: nostr.Tags{{"e", old[1].ID}}}))
	expect(t, r, []*nostr.Event{live, old[0]}, nostr.Filter{Kinds: []int{1}})
	refused(t, r, old[1], "blocked")
	refused(t, r, a.sign(t, nostr.Event{Kind: 1, Content: strings.Repeat("界", 30_000)}), "invalid")
	refused(t, r, a.sign(t, nostr.Event{Kind: 1, Tags: nostr.Tags{make(nostr.Tag, 300)}}), "invalid")
	refused(t, r, a.sign(t, nostr.Event{Kind: 1, Tags: nostr.Tags{{"t", strings.Repeat("x", 70_000)}}}), "invalid")
	if !strings.Contains(p.out.String(), "without  search") {
		t.Errorf("it does not say what it goes without:\n%s", p.out)
	}
	exportIsOpen(t, p)
	return live
}

// exportIsOpen asks for the export as a page of another origin would.
func exportIsOpen(t *testing.T, p *program) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http"+strings.TrimPrefix(p.URL, "ws")+"/v1/export", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("export: %s %v", resp.Status, resp.Header)
	}
}

// notASecond wants a second relay on the same store to end with advice.
func notASecond(t *testing.T, bin, dir, flag string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, bin, "serve", "--listen", "127.0.0.1:0", "--data", dir, flag).CombinedOutput()
	if err == nil || ctx.Err() != nil || !strings.Contains(string(out), "stop that relay first") && !strings.Contains(string(out), "stop the relay that uses it first") {
		t.Errorf("a second relay on the same store: %v\n%s", err, out)
	}
}
