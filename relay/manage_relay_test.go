package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"agora/relay/admit"
	"agora/relay/store"

	"github.com/gorilla/websocket"
	"github.com/nbd-wtf/go-nostr"
)

// openManagedRelay serves a whole relay, management included, over a real
// store; the office calls its methods at the relay's own address.
func openManagedRelay(t *testing.T, change func(*ManagementConfig)) (*office, *Relay) {
	t.Helper()
	o := &office{t: t, admin: nostr.GeneratePrivateKey(), self: pubOf(t, relaySecret)}
	var r *Relay
	o.srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { r.ServeHTTP(w, req) }))
	st, err := store.Open(t.TempDir(), store.Config{MapSize: 1 << 30, NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	signer, err := admit.NewHTTPAuth([]string{o.srv.URL})
	if err != nil {
		t.Fatal(err)
	}
	cfg := ManagementConfig{
		Policy: ManagementPolicy{Admins: []string{pubOf(t, o.admin)}, InviteCodes: []string{"open sesame"}},
		Secret: relaySecret, Keeper: st, Shelf: st, Signer: signer,
	}
	if change != nil {
		change(&cfg)
	}
	if o.m, err = NewManagement(cfg); err != nil {
		t.Fatal(err)
	}
	r, err = New(Config{
		About: About{Name: "before", Self: o.self}, PublicURLs: []string{"ws" + o.srv.URL[len("http"):]},
	}, Parts{Log: st, Manage: o.m})
	if err != nil {
		t.Fatal(err)
	}
	o.st = st
	runBoth(t, o, st, r)
	return o, r
}

// runBoth runs store and relay until the test ends: the relay first out.
func runBoth(t *testing.T, o *office, st *store.Store, r *Relay) {
	storeCtx, stopStore := context.WithCancel(context.Background())
	relayCtx, stopRelay := context.WithCancel(context.Background())
	var storeGroup, relayGroup sync.WaitGroup
	storeGroup.Go(func() { _ = st.Run(storeCtx) })
	relayGroup.Go(func() {
		if err := r.Run(relayCtx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		stopRelay()
		relayGroup.Wait()
		o.srv.Close()
		stopStore()
		storeGroup.Wait()
		_ = st.Close()
	})
	eventually(t, "the relay takes connections", func() bool {
		r.sessions.mu.Lock()
		defer r.sessions.mu.Unlock()
		return r.sessions.open
	})
}

func (o *office) url() string { return "ws" + o.srv.URL[len("http"):] }

// talker is a client that asks one thing at a time. go-nostr's own races with
// itself when it closes (Relay.close reads Connection while its writer clears
// it), which -race holds against us.
type talker struct {
	o      *office
	ws     *websocket.Conn
	others []json.RawMessage // EVENT frames that came between
}

// connect is a client; a secret authenticates it.
func (o *office) connect(secret string) *talker {
	o.t.Helper()
	ws, _, err := websocket.DefaultDialer.DialContext(o.t.Context(), o.url(), nil)
	if err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { _ = ws.Close() })
	c := &talker{o: o, ws: ws}
	var challenge string
	decode(o.t, c.await("AUTH")[1], &challenge)
	if secret != "" {
		ev := nostr.Event{Kind: 22242, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"relay", o.url()}, {"challenge", challenge}}}
		_ = ev.Sign(secret)
		c.say("AUTH", ev)
		if ok, text := c.ok(); !ok {
			o.t.Fatalf("not authenticated: %s", text)
		}
	}
	return c
}

func (c *talker) say(parts ...any) {
	if err := c.ws.WriteJSON(parts); err != nil {
		c.o.t.Error(err)
	}
}

// await reads until one of these messages comes; events are kept aside.
func (c *talker) await(labels ...string) (frame []json.RawMessage) {
	c.o.t.Helper()
	_ = c.ws.SetReadDeadline(time.Now().Add(20 * time.Second))
	for {
		frame = nil // a RawMessage is overwritten in place
		if err := c.ws.ReadJSON(&frame); err != nil {
			c.o.t.Fatalf("waiting for %v: %v", labels, err)
		}
		var label string
		decode(c.o.t, frame[0], &label)
		if slices.Contains(labels, label) {
			return frame
		}
		if label == "EVENT" {
			c.others = append(c.others, frame[2])
		}
	}
}

func (c *talker) ok() (ok bool, text string) {
	c.o.t.Helper()
	frame := c.await("OK")
	decode(c.o.t, frame[2], &ok)
	decode(c.o.t, frame[3], &text)
	return ok, text
}

// ask is what a REQ gets until EOSE, or why it was closed. It stays open.
func (c *talker) ask(sub string, f nostr.Filter) (events []nostr.Event, closed string) {
	c.o.t.Helper()
	c.others = nil
	c.say("REQ", sub, f)
	frame := c.await("EOSE", "CLOSED")
	if len(frame) == 3 {
		_ = json.Unmarshal(frame[2], &closed) // of EOSE it is a list of hints
	}
	decode(c.o.t, c.others, &events)
	return events, closed
}

// read is ask and CLOSE.
func (o *office) read(c *talker, f nostr.Filter) (events []nostr.Event, closed string) {
	o.t.Helper()
	events, closed = c.ask("read", f)
	c.say("CLOSE", "read")
	return events, closed
}

func (o *office) count(c *talker, f nostr.Filter) int {
	o.t.Helper()
	c.say("COUNT", "count", f)
	var got struct{ Count int }
	decode(o.t, c.await("COUNT")[2], &got)
	return got.Count
}

// send publishes an event; a refusal is an error with OK's text.
func (o *office) send(c *talker, secret string, kind int, tags ...nostr.Tag) (nostr.Event, error) {
	o.t.Helper()
	ev := nostr.Event{Kind: kind, CreatedAt: nostr.Now(), Tags: tags, Content: nostr.GeneratePrivateKey()[:8]}
	if err := ev.Sign(secret); err != nil {
		o.t.Fatal(err)
	}
	return ev, c.publish(ev)
}

func (c *talker) publish(ev nostr.Event) error {
	c.o.t.Helper()
	c.say("EVENT", ev)
	if ok, text := c.ok(); !ok {
		return errors.New(text)
	}
	return nil
}

func TestRoleRoundTripIsSeenByAREQ(t *testing.T) {
	o, _ := openManagedRelay(t, nil)
	c := o.connect("")
	pub := pubOf(t, nostr.GeneratePrivateKey())
	live := o.connect("")
	live.ask("live", nostr.Filter{Kinds: []int{kindRole, kindMembers, kindMemberCame}})
	o.must("createrole", "mod", "Moderator", "keeps the peace", 210, 1)
	o.must("assignrole", pub, "mod")
	var kinds []int
	for range 3 {
		var ev nostr.Event
		decode(t, live.await("EVENT")[2], &ev)
		kinds = append(kinds, ev.Kind)
	}
	slices.Sort(kinds)
	if !slices.Equal(kinds, []int{kindMemberCame, kindMembers, kindRole}) {
		t.Errorf("live subscribers saw kinds %v", kinds)
	}
	roles, _ := o.read(c, nostr.Filter{Kinds: []int{kindRole}, Authors: []string{o.self}, Tags: nostr.TagMap{"d": {"mod"}}})
	list, _ := o.read(c, nostr.Filter{Kinds: []int{kindMembers}, Authors: []string{o.self}})
	if len(roles) != 1 || roles[0].Tags.Find("label")[1] != "Moderator" || len(list) != 1 || !slices.Equal(list[0].Tags[1], nostr.Tag{"member", pub, "mod"}) {
		t.Fatalf("roles %v, list %v", roles, list)
	}
	o.must("unassignrole", pub, "mod")
	o.must("deleterole", "mod")
	roles, _ = o.read(c, nostr.Filter{Kinds: []int{kindRole}})
	list, _ = o.read(c, nostr.Filter{Kinds: []int{kindMembers}})
	if len(roles) != 0 || len(list) != 1 || !slices.Equal(list[0].Tags[1], nostr.Tag{"member", pub}) {
		t.Errorf("after deleterole: roles %v, list %v", roles, list)
	}
}

func TestBansHoldForPublishAndRead(t *testing.T) {
	o, _ := openManagedRelay(t, nil)
	c := o.connect("")
	troll := nostr.GeneratePrivateKey()
	pub := pubOf(t, troll)
	ev, err := o.send(c, troll, 1)
	if err != nil {
		t.Fatal(err)
	}
	o.must("banpubkey", pub, "spam")
	if _, err := o.send(c, troll, 1); err == nil || err.Error() != "blocked: this key is banned from this relay: spam" {
		t.Errorf("a banned key publishes: %v", err)
	}
	for _, f := range []nostr.Filter{{IDs: []string{ev.ID}}, {Authors: []string{pub}}, {Kinds: []int{1}}} {
		if got, _ := o.read(c, f); len(got) != 0 {
			t.Errorf("%v shows a banned key's event", f)
		}
		if n := o.count(c, f); n != 0 {
			t.Errorf("%v counts a banned key's event: %d", f, n)
		}
	}
	o.must("unbanpubkey", pub)
	if got, _ := o.read(c, nostr.Filter{Authors: []string{pub}}); len(got) != 1 {
		t.Errorf("unbanned, %d events show, want 1", len(got))
	}
	o.must("banevent", ev.ID)
	if got, _ := o.read(c, nostr.Filter{IDs: []string{ev.ID}}); len(got) != 0 {
		t.Error("a banned event shows")
	}
	if err := c.publish(ev); err == nil {
		t.Error("a banned event was taken again")
	}
	o.must("disallowkind", 7)
	if _, err := o.send(c, troll, 7); err == nil {
		t.Error("a disallowed kind was taken")
	}
	o.must("banpubkey", pub)
	if _, err := o.send(c, troll, 62, nostr.Tag{"relay", "ALL_RELAYS"}); err != nil {
		t.Errorf("a banned key may not vanish: %v", err)
	}
}

func TestRelayDocumentShowsTheNewNameAtOnce(t *testing.T) {
	o, _ := openManagedRelay(t, func(c *ManagementConfig) { c.Policy.RestrictedWrites = true })
	o.must("changerelayname", "after")
	o.must("changerelaydescription", "words")
	o.must("changerelayicon", "https://relay.example/i.png")
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, o.srv.URL, nil)
	req.Header.Set("Accept", "application/nostr+json")
	resp, err := o.srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var doc Document
	if err := json.NewDecoder(resp.Body).Decode(&doc); err != nil {
		t.Fatal(err)
	}
	if doc.Name != "after" || doc.Description != "words" || doc.Icon != "https://relay.example/i.png" || doc.Self != o.self ||
		!doc.Limitation.RestrictedWrites || !slices.Contains(doc.SupportedNIPs, 86) || !slices.Contains(doc.SupportedNIPs, 43) {
		t.Errorf("the document: %+v", doc)
	}
}

func TestBlockedAddressLosesItsConnectionsAndGetsNoNewOne(t *testing.T) {
	o, _ := openManagedRelay(t, nil)
	from := func(ip string) *websocket.Dialer {
		return &websocket.Dialer{NetDialContext: (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}).DialContext}
	}
	dial := func(d *websocket.Dialer) (*websocket.Conn, int, error) {
		ws, resp, err := d.DialContext(t.Context(), o.url(), nil)
		status := 0
		if resp != nil {
			status = resp.StatusCode
		}
		return ws, status, err
	}
	ws, _, err := dial(from("127.0.0.2"))
	if err != nil {
		t.Fatal(err)
	}
	defer ws.Close()
	bystander := o.connect("")
	o.must("blockip", "127.0.0.2", "noise")
	_ = ws.SetReadDeadline(time.Now().Add(20 * time.Second))
	for err == nil {
		_, _, err = ws.ReadMessage()
	}
	if timeout := net.Error(nil); errors.As(err, &timeout) && timeout.Timeout() {
		t.Error("a blocked address keeps its connection")
	}
	if _, status, err := dial(from("127.0.0.2")); err == nil || status != http.StatusForbidden {
		t.Errorf("a blocked address connects: %d %v", status, err)
	}
	if _, closed := o.read(bystander, nostr.Filter{Kinds: []int{1}}); closed != "" {
		t.Errorf("somebody else was closed: %s", closed)
	}
	o.must("unblockip", "127.0.0.2")
	again, status, err := dial(from("127.0.0.2"))
	if err != nil {
		t.Fatalf("unblocked: %d %v", status, err)
	}
	_ = again.Close()
}

// TestJoinByInvitationOverTheSocket lets more people join at once than there
// are verifiers: announcements must not wait for those who examine joins.
func TestJoinByInvitationOverTheSocket(t *testing.T) {
	o, _ := openManagedRelay(t, func(c *ManagementConfig) { c.Policy.RestrictedWrites = true })
	if _, closed := o.read(o.connect(""), nostr.Filter{Kinds: []int{kindInvite}}); closed != "auth-required: who invites must be known" {
		t.Errorf("an unknown client asks for an invitation and hears %q", closed)
	}
	got, closed := o.read(o.connect(o.admin), nostr.Filter{Kinds: []int{kindInvite}})
	if len(got) != 1 {
		t.Fatalf("the admin got %v (%s) for an invitation", got, closed)
	}
	var group sync.WaitGroup
	for i := range 8 {
		claim := "open sesame"
		if i == 0 {
			claim = firstTagValue(got[0].Tags, "claim")
		}
		group.Go(func() {
			secret := nostr.GeneratePrivateKey()
			c := o.connect(secret)
			if _, err := o.send(c, secret, 1); err == nil {
				t.Error("a stranger writes on a relay for members")
			}
			if _, err := o.send(c, secret, kindJoin, nostr.Tag{"-"}, nostr.Tag{"claim", claim}); err != nil {
				t.Errorf("join: %v", err)
			}
			if _, err := o.send(c, secret, 1); err != nil {
				t.Errorf("a new member writes: %v", err)
			}
			if i%2 == 0 {
				return
			}
			if _, err := o.send(c, secret, kindLeave, nostr.Tag{"-"}); err != nil {
				t.Errorf("leave: %v", err)
			}
		})
	}
	group.Wait()
	c := o.connect("")
	eventually(t, "the list has the four who stayed", func() bool {
		list, _ := o.read(c, nostr.Filter{Kinds: []int{kindMembers}})
		return len(list) == 1 && len(list[0].Tags) == 1+4
	})
	if joins, _ := o.read(c, nostr.Filter{Kinds: []int{kindJoin, kindLeave}}); len(joins) != 0 {
		t.Errorf("requests were stored: %v", joins)
	}
}

func TestManagementIsReachableFromABrowser(t *testing.T) {
	o, _ := openManagedRelay(t, nil)
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodOptions, o.srv.URL, nil)
	req.Header.Set("Access-Control-Request-Headers", "authorization,content-type")
	resp, err := o.srv.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.Header.Get("Access-Control-Allow-Origin") != "*" || resp.Header.Get("Access-Control-Allow-Headers") != "*, Authorization" {
		t.Errorf("preflight: %v", resp.Header)
	}
	body := []byte(`{"method":"supportedmethods","params":[]}`)
	post, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, o.srv.URL, nil)
	post.Header.Set("Content-Type", "application/nostr+json+rpc")
	post.Header.Set("Accept", "application/nostr+json+rpc")
	post.Header.Set("Authorization", o.header(o.admin, "POST", o.srv.URL, body, time.Now()))
	answer, err := o.srv.Client().Do(post)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusUnauthorized || answer.Header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("a call with another body: %s", fmt.Sprint(answer.StatusCode, answer.Header))
	}
}

func TestSessionInItsHandshakeIsLeftAlone(t *testing.T) {
	var all sessions
	all.init()
	all.admit(true)
	s := new(session) // without a link, as during the handshake: whoever touches it crashes
	if all.enter(s, 1) != "" || len(all.list()) != 0 {
		t.Error("a session is listed before its handshake is over")
	}
	if !all.ready(s) || len(all.list()) != 1 {
		t.Error("a session is not listed after its handshake")
	}
	all.admit(false)
	if all.ready(s) {
		t.Error("a session that came as the relay closed is not told")
	}
}
