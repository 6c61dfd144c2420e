package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"agora/personhood"
	"agora/personhood/poll"
	"agora/personhood/semaphore"
	"agora/relay/admit"

	"github.com/nbd-wtf/go-nostr"
)

// ask publishes a poll of the village.
func (v *village) ask(ends nostr.Timestamp, at nostr.Timestamp, tags ...nostr.Tag) *nostr.Event {
	v.t.Helper()
	ev := nostr.Event{Kind: poll.KindPoll, CreatedAt: at, Content: "tea or coffee?", Tags: append(nostr.Tags{
		{"option", "t", "tea"}, {"option", "c", "coffee"},
		{"pop", "semaphore4", v.snapshot.Group.String(), semaphore.Hex(v.snapshot.Root), "20"},
	}, tags...)}
	if ends != 0 {
		ev.Tags = append(ev.Tags, nostr.Tag{"endsAt", fmt.Sprint(ends)})
	}
	if err := ev.Sign(nostr.GeneratePrivateKey()); err != nil {
		v.t.Fatal(err)
	}
	v.send(&ev, admit.Import, "")
	return &ev
}

// send publishes by one way in and wants this in the answer, "" for yes.
func (v *village) send(ev *nostr.Event, origin admit.Origin, want string) {
	v.t.Helper()
	reply, err := v.s.core.relay.Publish(v.t.Context(), ev, nil, admit.Peer{Origin: origin})
	if err != nil {
		v.t.Fatal(err)
	}
	if reply.OK != (want == "") || !strings.Contains(reply.Reason, want) {
		v.t.Errorf("kind %d by %s: %t %q, want %q", ev.Kind, origin, reply.OK, reply.Reason, want)
	}
}

// vote is person i's ballot.
func (v *village) vote(i int, of *nostr.Event, at nostr.Timestamp, options ...string) *nostr.Event {
	ev := nostr.Event{Kind: poll.KindBallot, CreatedAt: at, Tags: nostr.Tags{{"e", of.ID}}}
	for _, o := range options {
		ev.Tags = append(ev.Tags, nostr.Tag{"response", o})
	}
	return v.act(i, ev)
}

// plain is a ballot that counts a key.
func plain(t *testing.T, of *nostr.Event, at nostr.Timestamp, option string) *nostr.Event {
	t.Helper()
	ev := nostr.Event{Kind: poll.KindBallot, CreatedAt: at, Tags: nostr.Tags{{"e", of.ID}, {"response", option}}}
	if err := ev.Sign(nostr.GeneratePrivateKey()); err != nil {
		t.Fatal(err)
	}
	return &ev
}

// read gets JSON of the relay.
func (v *village) read(path string, status int, into any) {
	v.t.Helper()
	resp, body := fetch(v.t, v.s.at.page+path)
	if resp.StatusCode != status {
		v.t.Fatalf("GET %s: %s %s", path, resp.Status, body)
	}
	if into != nil {
		if err := json.Unmarshal([]byte(body), into); err != nil {
			v.t.Fatalf("GET %s: %v in %s", path, err, body)
		}
	}
}

// membersFile writes the village's members file.
func (v *village) membersFile() string {
	v.t.Helper()
	name := filepath.Join(v.t.TempDir(), "members.bin")
	if err := os.WriteFile(name, v.members.File(), 0o600); err != nil {
		v.t.Fatal(err)
	}
	return name
}

// agora runs a command of this program in this process.
func agora(t *testing.T, args ...string) (out, said string, err error) {
	t.Helper()
	var o, e bytes.Buffer
	c := commands()
	c.Writer, c.ErrWriter = &o, &e
	err = c.Run(t.Context(), append([]string{"agora"}, args...))
	return o.String(), e.String(), err
}

func TestAPollIsCountedClosedAndCountedAgain(t *testing.T) {
	v := newVillage(t, 4)
	now := nostr.Now()
	of := v.ask(now-100, now-2000)
	first := v.vote(0, of, now-1900, "t")
	v.send(first, admit.Import, "")
	v.send(v.vote(0, of, now-1800, "c"), admit.Import, "") // changes their mind
	v.send(v.vote(1, of, now-1800, "t"), admit.Import, "")
	gone := v.vote(2, of, now-1800, "t")
	v.send(gone, admit.Import, "")
	v.send(plain(t, of, now-1500, "c"), admit.Import, "")

	var tally tallyAnswer
	v.read("/v1/polls/"+of.ID+"/tally", 200, &tally)
	if tally.State != poll.Ended || tally.Count != 3 || tally.People.Options[0].Ballots != 2 || tally.Keys.Options[1].Ballots != 1 || tally.Certified {
		t.Errorf("before it is closed: %+v", tally)
	}
	if ok, err := tally.Certificate.CheckSignature(); !ok || err != nil || tally.Certificate.PubKey != v.s.parts.polls.self {
		t.Errorf("certificate %v by %s", err, tally.Certificate.PubKey)
	}
	closeNow(t, v, of)
	var after tallyAnswer
	v.read("/v1/polls/"+of.ID+"/tally", 200, &after)
	if after.State != poll.Closed || !after.Certified || after.X != tally.X || after.People.Options[0].Ballots != 2 {
		t.Errorf("closed: %+v", after)
	}
	// nothing gets in any more, and nothing out
	v.send(v.vote(3, of, now-1800, "c"), admit.Sync, "poll is closed")
	v.send(v.vote(0, of, now-1700, "t"), admit.Sync, "poll is closed")

	_, file := fetch(t, v.s.at.page+"/v1/polls/"+of.ID+"/ballots.jsonl")
	name, members := filepath.Join(t.TempDir(), "ballots.jsonl"), v.membersFile()
	if err := os.WriteFile(name, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, from := range [][]string{{name}, {v.s.urls[0], "--poll", of.ID}} {
		out, _, err := agora(t, append([]string{"poll", "recount", "--members", members}, from...)...)
		if err != nil || !strings.Contains(out, "certificate  "+after.X+" over 3 ballots") || !strings.Contains(out, "certified    yes: closed by "+v.s.parts.polls.self) {
			t.Errorf("recount of %s: %v\n%s", from[0], err, out)
		}
	}
	recountMisses(t, name, file, members, gone, v.vote(3, of, now-1800, "c"))
}

// closeNow lets the relay look at its polls twice, without the minute between,
// and in an hour, for which the relay's own looks do not wait.
func closeNow(t *testing.T, v *village, of *nostr.Event) {
	t.Helper()
	c := &closer{polls: v.s.parts.polls}
	due := time.Now().Add(time.Hour)
	if err := c.look(t.Context(), due); err != nil {
		t.Fatal(err)
	}
	if c.due[of.ID] == nil || c.due[of.ID].since.IsZero() {
		t.Fatal("the poll was not found due")
	}
	if n := v.held(nostr.Filter{Kinds: []int{poll.KindClose}}); n != 0 {
		t.Fatal("closed at the first look")
	}
	c.due[of.ID].since = time.Now().Add(-closeTwice)
	if err := c.look(t.Context(), due); err != nil {
		t.Fatal(err)
	}
}

// recountMisses takes a ballot away and adds one: the recount names both.
func recountMisses(t *testing.T, name, file, members string, gone, extra *nostr.Event) {
	t.Helper()
	var lines []string
	for _, line := range strings.Split(file, "\n") {
		if !strings.Contains(line, `"id":"`+gone.ID) {
			lines = append(lines, line)
		}
	}
	forged := *extra
	forged.Tags = slices.Clone(extra.Tags)
	forged.Tags[1] = nostr.Tag{"response", "t"}
	if err := forged.Sign(nostr.GeneratePrivateKey()); err != nil {
		t.Fatal(err)
	}
	unsigned := *gone
	unsigned.Sig = strings.Repeat("0", 128)
	lines = append(lines, extra.String(), forged.String(), unsigned.String(), "not an event")
	if err := os.WriteFile(name, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	out, said, err := agora(t, "poll", "recount", name, "--members", members)
	if e, ok := errors.AsType[*exit](err); !ok || e.code != exitDamaged {
		t.Errorf("a recount that disagrees ends with %v", err)
	}
	for _, want := range []string{
		"missing    " + gone.ID, "extra      " + extra.ID, "not valid  " + forged.ID + " pop proof does not verify",
		"not valid  " + gone.ID + " the signature is wrong", "MISMATCH",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("the recount does not say %q:\n%s", want, out)
		}
	}
	if !strings.Contains(said, "1 line of") {
		t.Errorf("nothing said of the broken line: %s", said)
	}
}

func TestADeletedBallotLeavesAnOpenPollOnly(t *testing.T) {
	v := newVillage(t, 2)
	now := nostr.Now()
	drop := func(ballot *nostr.Event, key string) *nostr.Event {
		ev := nostr.Event{Kind: 5, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"e", ballot.ID}}}
		if err := ev.Sign(key); err != nil {
			t.Fatal(err)
		}
		return &ev
	}
	key := nostr.GeneratePrivateKey()
	cast := func(i int, of *nostr.Event) *nostr.Event {
		ev, err := personhood.Act(t.Context(), v.prover, v.people[i], v.snapshot.Group, v.members, nostr.Event{
			Kind: 1018, CreatedAt: of.CreatedAt + 5, Tags: nostr.Tags{{"e", of.ID}, {"response", "t"}},
		}, key)
		if err != nil {
			t.Fatal(err)
		}
		v.send(ev, admit.Import, "")
		return ev
	}
	open := v.ask(now+3600, now-100)
	ballot := cast(0, open)
	v.send(drop(ballot, key), admit.Socket, "")
	var tally tallyAnswer
	if v.read("/v1/polls/"+open.ID+"/tally", 200, &tally); tally.Count != 0 {
		t.Errorf("a deleted ballot is counted in an open poll: %+v", tally.People)
	}
	ended := v.ask(now-100, now-2000)
	ballot = cast(1, ended)
	closeNow(t, v, ended)
	v.send(drop(ballot, key), admit.Socket, "its poll has been closed with it")
	if v.read("/v1/polls/"+ended.ID+"/tally", 200, &tally); tally.Count != 1 || tally.State != poll.Closed {
		t.Errorf("%+v", tally)
	}
}

// Anybody can be the host that a poll names, and sign what they like.
func TestAnotherHostsCertificateIsNotOurTally(t *testing.T) {
	v := newVillage(t, 1)
	now, key := nostr.Now(), nostr.GeneratePrivateKey()
	by, _ := nostr.GetPublicKey(key)
	of := v.ask(now-2000, now-4000, nostr.Tag{"host", by})
	ballot := v.vote(0, of, now-3000, "t")
	v.send(ballot, admit.Import, "")
	target, _ := poll.ParseID(of.ID)
	id, _ := poll.ParseID(ballot.ID)
	p, err := poll.Parse(of)
	if err != nil {
		t.Fatal(err)
	}
	said := poll.Close{Poll: target, Group: p.Group, Root: p.Root, At: now, IDs: []poll.ID{id}}.Events()
	lie, err := poll.Certificate{Poll: target, Group: p.Group, Root: p.Root, At: now, State: poll.Closed, Count: 1_000_000, Tally: poll.Tally{People: poll.Result{Ballots: 1_000_000}}}.Event()
	if err != nil {
		t.Fatal(err)
	}
	for _, ev := range append(said, lie) {
		if err := ev.Sign(key); err != nil {
			t.Fatal(err)
		}
		v.send(&ev, admit.Import, "")
	}
	var tally tallyAnswer
	v.read("/v1/polls/"+of.ID+"/tally", 200, &tally)
	if tally.State != poll.Closed || tally.Count != 1 || tally.People.Ballots != 1 || tally.Certificate.PubKey != v.s.parts.polls.self {
		t.Errorf("%+v", tally)
	}
}

func TestAClockThatJumpsAndComesBackClosesNothing(t *testing.T) {
	v := newVillage(t, 1)
	now := nostr.Now()
	of := v.ask(now+600, now-100)
	c := &closer{polls: v.s.parts.polls}
	far := time.Now().Add(24 * time.Hour)
	if err := c.look(t.Context(), far); err != nil {
		t.Fatal(err)
	}
	v.send(v.vote(0, of, now-50, "t"), admit.Socket, "being closed")
	if err := c.look(t.Context(), time.Now()); err != nil {
		t.Fatal(err)
	}
	v.send(v.vote(0, of, now-50, "t"), admit.Socket, "")
	c.due[of.ID].since = time.Time{}
	if n := v.held(nostr.Filter{Kinds: []int{poll.KindClose}}); n != 0 {
		t.Errorf("%d close events", n)
	}
}

func TestAPollIsMadeVotedInAndCountedByCommands(t *testing.T) {
	v := newVillage(t, 1)
	dir := t.TempDir()
	t.Setenv("AGORA_PASSPHRASE", "correct horse")
	identity := filepath.Join(dir, "person.key")
	word, err := personhood.Seal(v.people[0], "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(identity, []byte(word), 0o600); err != nil {
		t.Fatal(err)
	}
	relay, members := v.s.urls[0], v.membersFile()
	out, _, err := agora(t, "poll", "create", "--relay", relay, "--group", v.snapshot.Group.String(), "--question", "Where to?",
		"--option", "p=Parks", "--option", "r=Roads", "--method", "quadratic", "--ends", "1h")
	if err != nil {
		t.Fatal(err)
	}
	id := strings.Fields(out)[1]
	vote := []string{"poll", "vote", id, "--relay", relay, "--identity", identity, "--members", members, "--delay", "0s"}
	if _, _, err := agora(t, append(vote, "--choice", "p=70", "--choice", "r=40")...); err == nil || !strings.Contains(err.Error(), "more than 100 credits") {
		t.Errorf("110 credits: %v", err)
	}
	_, said, err := agora(t, append(vote, "--choice", "p=64", "--choice", "r=36")...)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"you hide among 1 person", "warning: fewer than 20", "fresh key"} {
		if !strings.Contains(said, want) {
			t.Errorf("the vote does not say %q: %s", want, said)
		}
	}
	out, _, err = agora(t, "poll", "tally", id, "--relay", relay)
	if err != nil || !strings.Contains(out, "1 p (Parks), 64 credits, 8.000000 votes") {
		t.Errorf("tally: %v\n%s", err, out)
	}
	again, _, err := agora(t, "poll", "recount", relay, "--poll", id, "--members", members)
	if err != nil || !strings.Contains(again, "certified    no: no host has closed this poll") {
		t.Errorf("recount: %v\n%s", err, again)
	}
	hash := func(s string) string { return strings.Fields(s[strings.Index(s, "certificate "):])[1] }
	if hash(out) != hash(again) {
		t.Errorf("tally and recount differ:\n%s\n%s", out, again)
	}
	if p := v.s.parts.polls; !strings.Contains(fetchBody(t, v.s.at.page+"/v1/polls/"+id), `"host":"`+p.self) {
		t.Error("the poll names no host")
	}
}

func fetchBody(t *testing.T, url string) string {
	t.Helper()
	_, body := fetch(t, url)
	return body
}

// signed is a request signed by NIP-98.
func signed(t *testing.T, method, url string, body []byte, key string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		header, err := httpAuth(url, method, body, key)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", header)
	}
	return req
}

func do(t *testing.T, req *http.Request) (int, string) {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}
