package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"agora/personhood"
	"agora/personhood/enrol"
	"agora/personhood/host"
	"agora/personhood/semaphore"
	"agora/relay/admit"

	"github.com/nbd-wtf/go-nostr"
)

// hosting is a relay that keeps a group, and a prover.
type hosting struct {
	t      *testing.T
	s      *server
	prover *semaphore.Prover
	slot   uint32
}

func newHosting(t *testing.T, change func(*Config)) *hosting {
	t.Helper()
	h := &hosting{t: t}
	h.s, _ = startServer(t, func(c *Config) {
		c.Groups, c.GroupBatch = []string{"town source=invite quota=2"}, Duration{time.Second}
		if change != nil {
			change(c)
		}
	})
	var err error
	if h.prover, err = semaphore.NewProver(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.prover.Close(context.Background()) })
	return h
}

func (h *hosting) group() *host.Group { return h.s.parts.groups.groups[0] }

// invitation is one of the group's own.
func (h *hosting) invitation() *enrol.Invitation {
	h.t.Helper()
	key, err := h.s.secret.groupKey("town")
	if err != nil {
		h.t.Fatal(err)
	}
	var secret [32]byte
	_, _ = hex.Decode(secret[:], []byte(key))
	h.slot++
	inv, err := enrol.NewInvitation(secret, h.s.at.page, h.group().Address(), h.slot, 0, time.Now().Add(time.Hour))
	if err != nil {
		h.t.Fatal(err)
	}
	return inv
}

// join posts the wish of an identity, and gives status and body.
func (h *hosting) join(id *semaphore.Identity, inv *enrol.Invitation) (int, string) {
	h.t.Helper()
	evidence, err := inv.Accept(id.Commitment(), enrol.InviterKey(id, inv.Group))
	if err != nil {
		h.t.Fatal(err)
	}
	j, err := personhood.Join(h.t.Context(), h.prover, id, inv.Group, []byte(evidence))
	if err != nil {
		h.t.Fatal(err)
	}
	return h.post("/v1/groups/town/join", host.NewWish(j, evidence))
}

func (h *hosting) post(path string, body any) (int, string) {
	h.t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		h.t.Fatal(err)
	}
	resp, err := http.Post(h.s.at.page+path, "application/json", bytes.NewReader(raw))
	if err != nil {
		h.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

// published waits for a root over so many people, and gives the members.
func (h *hosting) published(people int) *personhood.Members {
	h.t.Helper()
	var state host.State
	wait(h.t, "a root over all who joined", func() bool { state = h.group().State(); return state.People == people })
	resp, file := fetch(h.t, state.URL)
	if resp.StatusCode != 200 {
		h.t.Fatalf("members file: %s", resp.Status)
	}
	members, err := personhood.ParseMembers([]byte(file))
	if err != nil {
		h.t.Fatal(err)
	}
	return members
}

// wait polls until something holds.
func wait(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// say publishes an event as a client's, and gives the answer, "" for OK.
func (h *hosting) say(ev *nostr.Event) string {
	h.t.Helper()
	reply, err := h.s.core.relay.Publish(h.t.Context(), ev, nil, admit.Peer{Origin: admit.Socket})
	if err != nil {
		h.t.Fatal(err)
	}
	if reply.OK {
		return ""
	}
	return reply.Reason
}

func (h *hosting) act(id *semaphore.Identity, members *personhood.Members, ev nostr.Event) *nostr.Event {
	h.t.Helper()
	if ev.CreatedAt == 0 {
		ev.CreatedAt = nostr.Now()
	}
	out, err := personhood.Act(h.t.Context(), h.prover, id, h.group().Address(), members, ev, nostr.GeneratePrivateKey())
	if err != nil {
		h.t.Fatal(err)
	}
	return out
}

func TestAPersonJoinsByInvitationAndTheirLikeCounts(t *testing.T) {
	h := newHosting(t, nil)
	anna, inv := semaphore.NewIdentity(), h.invitation()
	if code, text := h.join(anna, inv); code != 200 {
		t.Fatal(code, text)
	}
	if code, text := h.join(anna, inv); code != 200 || !strings.Contains(text, `"already":true`) {
		t.Errorf("the same wish again: %d %s", code, text)
	}
	if code, text := h.join(semaphore.NewIdentity(), inv); code != 409 || !strings.Contains(text, "duplicate: ") {
		t.Errorf("the invitation for another: %d %s", code, text)
	}
	members := h.published(1)
	note := put(t, h.s, nostr.Event{Kind: 1, Content: "hello"})
	if text := h.say(h.act(anna, members, nostr.Event{Kind: 7, Content: "+", Tags: nostr.Tags{{"e", note.ID}}})); text != "" {
		t.Fatal(text)
	}
	put(t, h.s, nostr.Event{Kind: 7, Content: "+", Tags: nostr.Tags{{"e", note.ID}}}) // a key
	wait(t, "the person's like", func() bool { likes, _, _ := h.peopleOf(note.ID); return likes == 1 })
	hot, ok := h.s.parts.feeds.market.Listing("hot")
	if !ok {
		t.Fatal("there is no ranker hot")
	}
	review := nostr.Event{Kind: 1985, Tags: nostr.Tags{{"L", "agora.review"}, {"l", "good", "agora.review"}, {"a", hot.Address}, {"rating", "0.75"}}}
	if text := h.say(h.act(anna, members, review)); text != "" {
		t.Fatal(text)
	}
	if _, text := fetch(t, h.s.at.page+"/v1/rankers/hot"); !strings.Contains(text, `"reviews":{"people":1,"people_rating":0.75,"keys":0}`) {
		t.Error(text)
	}
	report := nostr.Event{Kind: 1984, Tags: nostr.Tags{{"e", note.ID, "spam"}, {"p", note.PubKey}}}
	if text := h.say(h.act(anna, members, report)); text != "" {
		t.Fatal(text)
	}
	wait(t, "the person's report", func() bool { _, _, reports := h.peopleOf(note.ID); return reports == 1 })
	if _, text := fetch(t, h.s.at.page+"/v1/groups/town/log"); !strings.Contains(text, `"source":"invite","class":"invited"`) || strings.Count(text, "\n") != 1 {
		t.Errorf("log %q", text)
	}
}

// peopleOf is what a page says people did with a note.
func (h *hosting) peopleOf(note string) (likes, dislikes, reports int) {
	h.t.Helper()
	_, text := fetch(h.t, h.s.at.page+"/v1/feeds/latest")
	var page struct {
		Items []struct {
			Event  nostr.Event
			People struct{ Likes, Dislikes, Reports int }
		}
	}
	if err := json.Unmarshal([]byte(text), &page); err != nil {
		h.t.Fatal(err, text)
	}
	for _, it := range page.Items {
		if it.Event.ID == note {
			return it.People.Likes, it.People.Dislikes, it.People.Reports
		}
	}
	return -1, -1, -1
}

func TestAMirrorKeepsAnotherHostsGroup(t *testing.T) {
	h := newHosting(t, nil)
	anna := semaphore.NewIdentity()
	if code, text := h.join(anna, h.invitation()); code != 200 {
		t.Fatal(code, text)
	}
	first := h.published(1)
	if code, text := h.join(semaphore.NewIdentity(), h.invitation()); code != 200 {
		t.Fatal(code, text)
	}
	h.published(2)
	other, _ := startServer(t, func(c *Config) {
		address := h.group().Address().String()
		c.MirrorGroups, c.PersonGroups = []string{address + " " + h.s.at.relay}, []string{address}
	})
	state := h.group().State()
	var file string
	wait(t, "the mirror's members file", func() bool {
		resp, text := fetch(t, other.at.page+"/v1/members/"+state.Members)
		file = text
		return resp.StatusCode == 200
	})
	if len(file) != 64 {
		t.Errorf("a file of %d bytes", len(file))
	}
	if _, text := fetch(t, other.at.page+"/v1/groups"); !strings.Contains(text, `"mirrored":[{"group":"`+state.Group) || !strings.Contains(text, `"people":2`) {
		t.Error(text)
	}
	if resp, text := fetch(t, other.at.page+"/v1/groups/"+state.Group); resp.StatusCode != 200 || !strings.Contains(text, `"members":"`+state.Members) {
		t.Errorf("asked for by its address: %s %s", resp.Status, text)
	}
	if resp, _ := fetch(t, other.at.page+"/v1/groups/"+state.Group+"/log"); resp.StatusCode != 404 {
		t.Errorf("its log is its host's: %s", resp.Status)
	}
	// a member acts there, and so does a poll of an older root find its members
	if resp, _ := fetch(t, other.at.page+"/v1/members/"+sumHex(first.File())); resp.StatusCode != 200 {
		t.Errorf("the older members file: %s", resp.Status)
	}
	like := h.act(anna, first, nostr.Event{Kind: 7, Content: "+", Tags: nostr.Tags{{"e", strings.Repeat("a", 64)}}})
	if reply, err := other.core.relay.Publish(t.Context(), like, nil, admit.Peer{Origin: admit.Socket}); err != nil || !reply.OK {
		t.Errorf("%+v %v", reply, err)
	}
}

func sumHex(b []byte) string { s := sha256.Sum256(b); return hex.EncodeToString(s[:]) }

func TestMembersFilesAreWholeAndForEver(t *testing.T) {
	h := newHosting(t, nil)
	if code, text := h.join(semaphore.NewIdentity(), h.invitation()); code != 200 {
		t.Fatal(code, text)
	}
	h.published(1)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.group().State().URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Range", "bytes=0-31")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if cache := resp.Header.Get("Cache-Control"); resp.StatusCode != 200 || resp.Header.Get("Accept-Ranges") != "none" || !strings.Contains(cache, "immutable") {
		t.Errorf("%s %v", resp.Status, resp.Header)
	}
	for path, want := range map[string]int{
		"/v1/members/" + strings.Repeat("a", 64): 404, "/v1/members/x": 400, "/v1/members/" + strings.Repeat("A", 64): 400,
		"/v1/groups/nowhere": 404, "/v1/groups/town/log?after=-1": 400, "/v1/groups/town": 200,
	} {
		if resp, text := fetch(t, h.s.at.page+path); resp.StatusCode != want {
			t.Errorf("%s: %s %s", path, resp.Status, text)
		}
	}
}

func TestOneAddressIsSentSomeMembersFilesAtATime(t *testing.T) {
	h := newHosting(t, nil)
	if code, text := h.join(semaphore.NewIdentity(), h.invitation()); code != 200 {
		t.Fatal(code, text)
	}
	h.published(1)
	at := h.group().State().URL
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.RemoteAddr = "127.0.0.1:1"
	for range 4 {
		leave, ok := h.s.parts.groups.doors.Seat(r)
		if !ok {
			t.Fatal("no place for the first four")
		}
		defer leave()
	}
	if resp, text := fetch(t, at); resp.StatusCode != 503 || resp.Header.Get("Retry-After") == "" {
		t.Errorf("a fifth file: %s %s", resp.Status, text)
	}
	if resp, text := fetch(t, at+"/nodes"); resp.StatusCode != 503 {
		t.Errorf("nodes beside four files: %s %s", resp.Status, text)
	}
}

func TestWishesThatLetNobodyIn(t *testing.T) {
	h := newHosting(t, nil)
	anna := semaphore.NewIdentity()
	inv := h.invitation()
	evidence, err := inv.Accept(anna.Commitment(), enrol.InviterKey(anna, inv.Group))
	if err != nil {
		t.Fatal(err)
	}
	j, err := personhood.Join(t.Context(), h.prover, anna, inv.Group, []byte(evidence))
	if err != nil {
		t.Fatal(err)
	}
	wish := host.NewWish(j, evidence)
	for name, change := range map[string]func(*host.Wish){
		"another's commitment": func(w *host.Wish) { w.Commitment = semaphore.Hex(semaphore.NewIdentity().Commitment()) },
		"a zero commitment":    func(w *host.Wish) { w.Commitment = strings.Repeat("0", 64) },
		"another nullifier":    func(w *host.Wish) { w.Nullifier = w.Commitment },
		"no proof":             func(w *host.Wish) { w.Proof = "" },
		"other evidence":       func(w *host.Wish) { w.Evidence = strings.Replace(w.Evidence, `"quota":0`, `"quota":0 `, 1) }, // the same to a parser, not to the proof
		"no possession":        func(w *host.Wish) { w.Possession = "" },
		"another's possession": func(w *host.Wish) {
			p := semaphore.NewIdentity().Possess([32]byte{}).Compact()
			w.Possession = base64.StdEncoding.EncodeToString(p[:])
		},
		"no evidence":   func(w *host.Wish) { w.Evidence = "" },
		"long evidence": func(w *host.Wish) { w.Evidence = strings.Repeat(" ", 20<<10) },
	} {
		bad := wish
		change(&bad)
		if code, text := h.post("/v1/groups/town/join", bad); code != 403 || !strings.Contains(text, "invalid: ") {
			t.Errorf("%s: %d %s", name, code, text)
		}
	}
	for path, want := range map[string]int{"/v1/groups/town/remove": 401, "/v1/groups/town/publish": 401, "/v1/groups/nowhere/join": 404} {
		if code, text := h.post(path, map[string]string{"commitment": wish.Commitment}); code != want {
			t.Errorf("%s: %d %s", path, code, text)
		}
	}
	if code, text := h.post("/v1/groups/town/join", wish); code != 200 {
		t.Errorf("the wish itself: %d %s", code, text)
	}
}

// A proof hides how deep its tree is: a leaf that is the root of a tree of many
// would let all of them vote.
func TestATreeOfPeopleIsNoMember(t *testing.T) {
	h := newHosting(t, nil)
	inv, ids := h.invitation(), []*semaphore.Identity{semaphore.NewIdentity(), semaphore.NewIdentity()}
	tree, err := semaphore.NewTree([]semaphore.Element{ids[0].Commitment(), ids[1].Commitment()})
	if err != nil {
		t.Fatal(err)
	}
	evidence, err := inv.Accept(tree.Root(), enrol.InviterKey(ids[0], inv.Group))
	if err != nil {
		t.Fatal(err)
	}
	j, err := personhood.Join(t.Context(), h.prover, ids[0], inv.Group, []byte(evidence)) // the possession of one of them
	if err != nil {
		t.Fatal(err)
	}
	j.Commitment = tree.Root()
	want := j.Statement([]byte(evidence))
	way, err := tree.Prove(0)
	if err != nil {
		t.Fatal(err)
	}
	if _, j.Proof, err = h.prover.Prove(t.Context(), ids[0], way, want.Message, want.Scope); err != nil {
		t.Fatal(err)
	}
	if code, text := h.post("/v1/groups/town/join", host.NewWish(j, evidence)); code != 403 || !strings.Contains(text, "possession") {
		t.Errorf("two people in one leaf: %d %s", code, text)
	}
}

// Fifteen people say nearly the same at once, each with a fresh key, where
// spam is refused and only people may write.
func TestPeopleWhoSayTheSameAtOnceAreNoSpam(t *testing.T) {
	h := newHosting(t, func(c *Config) { c.SpamMode, c.PersonKinds = "refuse", []int{1} })
	anna := semaphore.NewIdentity()
	if code, text := h.join(anna, h.invitation()); code != 200 {
		t.Fatal(code, text)
	}
	members := h.published(1)
	say := func(slot int, tags ...nostr.Tag) nostr.Event {
		return nostr.Event{Kind: 1, Content: fmt.Sprintf("I vote for the second proposal of the garden council this year, and thank everybody for counting, says %d", slot), Tags: tags}
	}
	for i := range 15 {
		if text := h.say(h.act(anna, members, say(i, nostr.Tag{"slot", fmt.Sprint(i)}))); text != "" {
			t.Errorf("post %d: %s", i, text)
		}
	}
	if text := h.say(h.act(anna, members, say(15, nostr.Tag{"slot", "3"}))); !strings.HasPrefix(text, "duplicate: not counted, this person has already") {
		t.Errorf("a slot twice: %q", text)
	}
	plain := say(16)
	plain.CreatedAt = nostr.Now()
	if err := plain.Sign(nostr.GeneratePrivateKey()); err != nil {
		t.Fatal(err)
	}
	if text := h.say(&plain); !strings.HasPrefix(text, "restricted: ") {
		t.Errorf("a key's note: %q", text)
	}
}
