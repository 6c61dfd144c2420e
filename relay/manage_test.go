package relay

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"agora/relay/admit"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"
	"github.com/nbd-wtf/go-nostr/nip86"
)

func TestSupportedMethodsAreTheTwentyFiveOfNIP86(t *testing.T) {
	o := openOffice(t, nil)
	got, _ := o.must("supportedmethods").([]any)
	want := []any{
		"allowevent", "allowkind", "allowpubkey", "assignrole", "banevent", "banpubkey", "blockip",
		"changerelaydescription", "changerelayicon", "changerelayname", "createrole", "deleterole", "disallowkind",
		"editrole", "listallowedkinds", "listallowedpubkeys", "listbannedevents", "listbannedpubkeys", "listblockedips",
		"listeventsneedingmoderation", "supportedmethods", "unallowpubkey", "unassignrole", "unbanpubkey", "unblockip",
	}
	if !reflect.DeepEqual(got, want) || len(want) != 25 {
		t.Errorf("supportedmethods: %v", got)
	}
}

func TestManagementAnswers401WithoutAValidSignature(t *testing.T) {
	o := openOffice(t, nil)
	body := []byte(`{"method":"supportedmethods","params":[]}`)
	other := []byte(`{"method":"listblockedips","params":[]}`)
	now := time.Now()
	broken := o.header(o.admin, "POST", o.srv.URL, body, now)
	for name, c := range map[string]struct {
		header string
		want   int
	}{
		"none":          {"", 401},
		"not Nostr":     {"Bearer abc", 401},
		"not base64":    {"Nostr {}", 401},
		"not an event":  {"Nostr " + base64.StdEncoding.EncodeToString([]byte(`{"kind":27235}`)), 401},
		"other body":    {o.header(o.admin, "POST", o.srv.URL, other, now), 401},
		"other method":  {o.header(o.admin, "GET", o.srv.URL, body, now), 401},
		"other relay":   {o.header(o.admin, "POST", "https://relay.example", body, now), 401},
		"too old":       {o.header(o.admin, "POST", o.srv.URL, body, now.Add(-3*time.Minute)), 401},
		"too new":       {o.header(o.admin, "POST", o.srv.URL, body, now.Add(3*time.Minute)), 401},
		"a stranger":    {o.header(nostr.GeneratePrivateKey(), "POST", o.srv.URL, body, now), 403},
		"the admin":     {o.header(o.admin, "POST", o.srv.URL, body, now), 200},
		"the admin, ws": {o.header(o.admin, "POST", "ws"+o.srv.URL[len("http"):], body, now), 200},
	} {
		if got, text := o.post(body, c.header); got != c.want {
			t.Errorf("%s: %d %s, want %d", name, got, text, c.want)
		}
	}
	if got, _ := o.post(body, broken); got != 200 {
		t.Errorf("first use: %d", got)
	}
	if got, text := o.post(body, broken); got != 401 {
		t.Errorf("a replayed header gave %d %s, want 401", got, text)
	}
}

func TestManagementRefusesWhatItCannotRead(t *testing.T) {
	o := openOffice(t, nil)
	post := func(body string) (int, string) {
		status, got := o.post([]byte(body), o.header(o.admin, "POST", o.srv.URL, []byte(body), time.Now()))
		return status, string(got)
	}
	for body, want := range map[string]int{
		`{`:                             400,
		`[]`:                            400,
		`{"params":[]}`:                 400,
		`{"method":7,"params":[]}`:      400,
		`{"method":"x","params":{}}`:    400,
		`{"method":"reboot"}`:           200, // with an error
		`{"method":"supportedmethods"}`: 200,
	} {
		if got, text := post(body); got != want {
			t.Errorf("%s: %d %s, want %d", body, got, text, want)
		}
	}
	if _, err := o.call("reboot"); err == nil || err.Error() != `unsupported: there is no method "reboot"; see supportedmethods` {
		t.Errorf("an unknown method: %v", err)
	}
	if status, _ := post(`{"method":"x","params":["` + string(bytes.Repeat([]byte("a"), maxManagementBody)) + `"]}`); status != 413 {
		t.Errorf("a body over the bound: %d, want 413", status)
	}
}

func TestManagementNamesTheBadParameter(t *testing.T) {
	o := openOffice(t, nil)
	key := pubOf(t, nostr.GeneratePrivateKey())
	for _, c := range []struct {
		method string
		args   []any
		want   string
	}{
		{"banpubkey", nil, "invalid: banpubkey: parameter 1 (public key) is missing"},
		{"banpubkey", []any{7}, "invalid: banpubkey: parameter 1 (public key) must be a string"},
		{"banpubkey", []any{key[:63]}, "invalid: banpubkey: parameter 1 must be a public key of 64 lower-case hex digits"},
		{"banpubkey", []any{"ABCD" + key[4:]}, "invalid: banpubkey: parameter 1 must be a public key of 64 lower-case hex digits"},
		{"allowpubkey", []any{key, 3}, "invalid: allowpubkey: parameter 2 (reason) must be a string"},
		{"banevent", []any{"xyz"}, "invalid: banevent: parameter 1 must be an event id of 64 lower-case hex digits"},
		{"allowkind", []any{"one"}, "invalid: allowkind: parameter 1 (kind) must be a whole number from 0 to 65535"},
		{"allowkind", []any{65536}, "invalid: allowkind: parameter 1 (kind) must be a whole number from 0 to 65535"},
		{"disallowkind", []any{1.5}, "invalid: disallowkind: parameter 1 (kind) must be a whole number from 0 to 65535"},
		{"disallowkind", []any{62}, "invalid: disallowkind: a request to vanish (kind 62) must be obeyed (NIP-62)"},
		{"blockip", []any{"localhost"}, "invalid: blockip: parameter 1 must be an IP address or a block of them, such as 192.0.2.7 or 2001:db8::/32"},
		{"blockip", []any{"0.0.0.0/0"}, "invalid: blockip: 0.0.0.0/0 is too wide: at most a /8 of IPv4 or a /16 of IPv6"},
		{"blockip", []any{"127.0.0.0/24"}, "invalid: blockip: 127.0.0.0/24 contains your own address 127.0.0.1"},
		{"changerelayname", []any{}, "invalid: changerelayname: parameter 1 (name) is missing"},
		{"changerelayname", []any{"a\x00b"}, "invalid: changerelayname: parameter 1 (name) contains the control character U+0000"},
		{"changerelayicon", []any{"javascript:alert(1)"}, "invalid: changerelayicon: parameter 1 must be an http or https URL"},
		{"createrole", []any{""}, "invalid: createrole: parameter 1 (role id) is empty"},
		{"createrole", []any{"a", "A", "", 361, 0}, "invalid: createrole: parameter 4 (color, a hue) must be a whole number from 0 to 360"},
		{"editrole", []any{"nobody"}, `invalid: editrole: there is no role "nobody"`},
		{"deleterole", []any{"nobody"}, `invalid: deleterole: there is no role "nobody"`},
		{"assignrole", []any{key, "nobody"}, `invalid: assignrole: there is no role "nobody"`},
		{"assignrole", []any{key}, "invalid: assignrole: parameter 2 (role id) is missing"},
		{"banpubkey", []any{pubOf(t, o.admin)}, "invalid: banpubkey: this key is an administrator of this relay or the relay itself; take it out of the configuration first"},
	} {
		if _, err := o.call(c.method, c.args...); err == nil || err.Error() != c.want {
			t.Errorf("%s %v: %v\nwant %s", c.method, c.args, err, c.want)
		}
	}
	if n := len(o.m.Audit()); n != 0 {
		t.Errorf("refused calls left %d acts", n)
	}
}

func TestBannedKeyIsHiddenAtOnceAndBackWhenUnbanned(t *testing.T) {
	o := openOffice(t, nil)
	troll := nostr.GeneratePrivateKey()
	pub := pubOf(t, troll)
	o.note(troll, 1, "first")
	o.must("allowpubkey", pub)
	o.must("banpubkey", pub, "spam")
	o.wantList("listbannedpubkeys", fmt.Sprintf(`[{"pubkey":%q,"reason":"spam"}]`, pub))
	o.wantList("listallowedpubkeys", `[]`)
	if got := o.events(nostr.Filter{Authors: []string{pub}}); len(got) != 0 {
		t.Errorf("a banned key's events are served: %v", got)
	}
	for _, origin := range []admit.Origin{admit.Socket, admit.Import, admit.Sync, admit.Bring} {
		if got := o.rule(pub, 1, origin); got != "blocked: this key is banned from this relay: spam" {
			t.Errorf("by %v a banned key hears %q", origin, got)
		}
		if got := o.rule(pub, 62, origin); got != "" {
			t.Errorf("by %v a banned key may not vanish: %q", origin, got)
		}
	}
	o.restart()
	if key, _ := parseHex32(pub); !o.m.Hidden(key) {
		t.Error("the ban did not survive a restart")
	}
	o.must("unbanpubkey", pub)
	o.wantList("listbannedpubkeys", `[]`)
	o.wantList("listallowedpubkeys", `[]`) // unbanned is not allowed
	if got := o.events(nostr.Filter{Authors: []string{pub}}); len(got) != 1 {
		t.Errorf("after the unban %d events are served, want 1", len(got))
	}
	if got := o.rule(pub, 1, admit.Socket); got != "" {
		t.Errorf("an unbanned key hears %q", got)
	}
	o.must("banpubkey", pub)
	o.must("allowpubkey", pub) // takes it off the ban list
	o.wantList("listbannedpubkeys", `[]`)
}

func TestBannedKeysEventsAreRemovedAfterTheGrace(t *testing.T) {
	o := openOffice(t, func(c *ManagementConfig) { c.BanGrace = -1 })
	troll, friend := nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey()
	for i := range purgeBatch + 3 {
		o.note(troll, 1, fmt.Sprint("no ", i))
	}
	o.note(friend, 1, "yes")
	o.must("banpubkey", pubOf(t, troll))
	count := func(secret string) int64 {
		n, err := o.st.Count(t.Context(), nostr.Filter{Authors: []string{pubOf(t, secret)}})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	eventually(t, "the events of the banned key go", func() bool { return count(troll) == 0 })
	eventually(t, "the removal is noted", func() bool {
		audit := o.m.Audit()
		return audit[len(audit)-1].Method == "purged"
	})
	if count(friend) != 1 {
		t.Error("somebody else's event went too")
	}
	o.must("unbanpubkey", pubOf(t, troll))
	o.note(troll, 1, "no 0 again") // a ban of the key is no ban of its events
}

func TestRemovalOfABannedKeysEventsGoesOnAfterARestart(t *testing.T) {
	o := openOffice(t, func(c *ManagementConfig) { c.BanGrace = time.Hour })
	troll := nostr.GeneratePrivateKey()
	o.note(troll, 1, "no")
	o.must("banpubkey", pubOf(t, troll))
	o.cfg.BanGrace = -1
	o.restart()
	eventually(t, "the event goes", func() bool {
		n, err := o.st.Count(t.Context(), nostr.Filter{Authors: []string{pubOf(t, troll)}})
		return err == nil && n == 0
	})
}

func TestBannedEventGoesAndStaysAway(t *testing.T) {
	o := openOffice(t, nil)
	ev := o.note(nostr.GeneratePrivateKey(), 1, "bad")
	o.must("banevent", ev.ID, "illegal")
	o.wantList("listbannedevents", fmt.Sprintf(`[{"id":%q,"reason":"illegal"}]`, ev.ID))
	if got := o.events(nostr.Filter{IDs: []string{ev.ID}}); len(got) != 0 {
		t.Error("a banned event is served")
	}
	if err := o.publishOwn(t.Context(), ev); err == nil {
		t.Error("a banned event was stored again")
	}
	o.restart()
	if err := o.publishOwn(t.Context(), ev); err == nil {
		t.Error("a banned event was stored again after a restart")
	}
	o.must("allowevent", ev.ID)
	o.wantList("listbannedevents", `[]`)
	if err := o.publishOwn(t.Context(), ev); err != nil {
		t.Errorf("an allowed event is still refused: %v", err)
	}
	later := &nostr.Event{Kind: 1, CreatedAt: nostr.Now(), Content: "not come yet"}
	_ = later.Sign(nostr.GeneratePrivateKey())
	o.must("banevent", later.ID)
	if err := o.publishOwn(t.Context(), later); err == nil {
		t.Error("an event banned before it came was stored")
	}
}

func TestReportedEventsNeedModerationUntilRuledOn(t *testing.T) {
	o := openOffice(t, nil)
	author, member := nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey()
	o.must("allowpubkey", pubOf(t, member))
	crowd := o.note(author, 1, "reported by a crowd")
	vouched := o.note(author, 1, "reported by a member")
	o.note(author, 1, "fine")
	report := func(secret, id, kind string) {
		o.note(secret, 1984, "look", nostr.Tag{"e", id, kind}, nostr.Tag{"p", pubOf(t, author)})
	}
	for range 3 {
		report(nostr.GeneratePrivateKey(), crowd.ID, "spam")
	}
	loud := nostr.GeneratePrivateKey()
	report(loud, crowd.ID, "illegal")
	o.note(loud, 1984, "again", nostr.Tag{"e", crowd.ID, "illegal"})
	report(member, vouched.ID, "no such type")
	report(member, fmt.Sprintf("%064d", 1), "spam") // not held here
	o.note(member, 1984, "only a key", nostr.Tag{"p", pubOf(t, author), "spam"})

	rows, _ := o.must("listeventsneedingmoderation").([]any)
	want := []any{
		map[string]any{"id": vouched.ID, "reason": "other 1 (1 keys, 1 of them members): look"},
		map[string]any{"id": crowd.ID, "reason": "spam 3, illegal 1 (4 keys, 0 of them members): look"},
	}
	if len(rows) == 2 { // which report is the newest of one second is open
		rows[1].(map[string]any)["reason"] = string(bytes.Replace([]byte(rows[1].(map[string]any)["reason"].(string)), []byte("again"), []byte("look"), 1))
	}
	if !reflect.DeepEqual(rows, want) {
		t.Fatalf("need moderation:\n%v\nwant\n%v", rows, want)
	}
	o.must("allowevent", crowd.ID)
	o.must("banevent", vouched.ID)
	o.wantList("listeventsneedingmoderation", `[]`)
	report(nostr.GeneratePrivateKey(), crowd.ID, "spam")
	o.wantList("listeventsneedingmoderation", `[]`) // ruled on
	o.restart()
	o.wantList("listeventsneedingmoderation", `[]`)
}

func TestKindsAreDisallowedAndAllowed(t *testing.T) {
	o := openOffice(t, nil)
	pub := pubOf(t, nostr.GeneratePrivateKey())
	o.must("disallowkind", 7)
	if got := o.rule(pub, 7, admit.Socket); got != "blocked: this relay does not take kind 7" {
		t.Errorf("a disallowed kind hears %q", got)
	}
	if o.rule(pub, 7, admit.Import) != "" || o.rule(pub, 7, admit.Own) != "" {
		t.Error("the operator's file and the relay itself are held to the kinds")
	}
	o.must("allowkind", 30023)
	o.must("allowkind", "1")
	o.must("allowkind", 7)
	o.wantList("listallowedkinds", `[1,7,30023]`)
	if o.rule(pub, 7, admit.Socket) != "" || o.rule(pub, 6, admit.Socket) != "" {
		t.Error("a kind is refused though kinds are not restricted and none is disallowed")
	}
	o.cfg.Policy.RestrictedKinds = true
	o.restart()
	o.wantList("listallowedkinds", `[1,7,30023]`)
	for kind, free := range map[int]bool{1: true, 7: true, 30023: true, 5: true, 62: true, 6: false, 0: false} {
		if got := o.rule(pub, kind, admit.Socket); (got == "") != free {
			t.Errorf("restricted kinds, kind %d: %q", kind, got)
		}
	}
	o.must("disallowkind", 5)
	if o.rule(pub, 5, admit.Socket) == "" {
		t.Error("kind 5 is taken though it was disallowed by name")
	}
}

func TestOnlyMembersWriteWhereWritesAreRestricted(t *testing.T) {
	o := openOffice(t, func(c *ManagementConfig) { c.Policy.RestrictedWrites = true })
	pub := pubOf(t, nostr.GeneratePrivateKey())
	if got := o.rule(pub, 1, admit.Socket); got != "restricted: only members of this relay may publish here" {
		t.Errorf("a stranger hears %q", got)
	}
	if o.rule(pubOf(t, o.admin), 1, admit.Socket) != "" {
		t.Error("an administrator may not write")
	}
	o.must("allowpubkey", pub, "a friend")
	o.wantList("listallowedpubkeys", fmt.Sprintf(`[{"pubkey":%q,"reason":"a friend"}]`, pub))
	if got := o.rule(pub, 1, admit.Socket); got != "" {
		t.Errorf("a member hears %q", got)
	}
	o.restart()
	if got := o.rule(pub, 1, admit.Socket); got != "" {
		t.Errorf("after a restart a member hears %q", got)
	}
	o.must("unallowpubkey", pub)
	if got := o.rule(pub, 1, admit.Socket); got == "" {
		t.Error("who was a member may still write")
	}
	o.wantList("listbannedpubkeys", `[]`)
}

func TestInfoChangesAreSeenAtOnceAndKept(t *testing.T) {
	o := openOffice(t, nil)
	o.must("changerelayname", "Agora on Main Street")
	o.must("changerelaydescription", "for\neverybody")
	o.must("changerelayicon", "https://relay.example/icon.png")
	want := RelayInfo{"Agora on Main Street", "for\neverybody", "https://relay.example/icon.png"}
	if got := o.m.Info(); got != want {
		t.Errorf("%+v", got)
	}
	o.restart()
	if got := o.m.Info(); got != want {
		t.Errorf("after a restart: %+v", got)
	}
	o.must("changerelayname", "")
	if got := o.m.Info().Name; got != "" {
		t.Errorf("the name goes back to the configured one, got %q", got)
	}
}

func TestAuditNamesWhoDidWhat(t *testing.T) {
	o := openOffice(t, nil)
	pub := pubOf(t, nostr.GeneratePrivateKey())
	o.must("banpubkey", pub, "spam")
	o.restart()
	got := o.m.Audit()
	if len(got) != 1 || got[0].By != pubOf(t, o.admin) || got[0].Method != "banpubkey" || got[0].Subject != pub ||
		got[0].Reason != "spam" || time.Since(time.Unix(got[0].At, 0)).Abs() > time.Minute {
		t.Errorf("audit: %+v", got)
	}
}

func TestAdminsAreNamedInHexOrNpubAndBadOnesByTheirPlace(t *testing.T) {
	pub := pubOf(t, nostr.GeneratePrivateKey())
	npub, _ := nip19.EncodePublicKey(pub)
	nsec, _ := nip19.EncodePrivateKey(relaySecret)
	o := openOffice(t, func(c *ManagementConfig) { c.Policy.Admins = append(c.Policy.Admins, npub) })
	if !o.m.Admin(pub) || !o.m.Admin(pubOf(t, o.admin)) || o.m.Admin(o.self) {
		t.Error("the administrators are not those of the configuration")
	}
	for bad, want := range map[string]string{
		"alice":     `admins[1]: "alice" is no public key: want 64 lower-case hex digits or npub1…`,
		pub[:62]:    fmt.Sprintf(`admins[1]: %q is no public key: want 64 lower-case hex digits or npub1…`, pub[:62]),
		nsec:        `admins[1]: this is a secret key (nsec): give the public one (npub), and consider the secret spent`,
		npub + "qq": "",
	} {
		err := o.m.Reload(ManagementPolicy{Admins: []string{pub, bad}})
		if err == nil || (want != "" && err.Error() != want) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if !o.m.Admin(pubOf(t, o.admin)) {
		t.Error("a bad reload took the old administrators")
	}
	if err := o.m.Reload(ManagementPolicy{Admins: []string{pub}}); err != nil || o.m.Admin(pubOf(t, o.admin)) {
		t.Errorf("a good reload kept the old administrators (%v)", err)
	}
}

func TestBlockedAddressesAreFoundByBlockAndSurvive(t *testing.T) {
	o := openOffice(t, nil)
	for _, ip := range []string{"192.0.2.7", "198.51.100.9/24", "2001:db8::/32", "::ffff:203.0.113.5"} {
		o.must("blockip", ip, "noise")
	}
	o.wantList("listblockedips", `[{"ip":"192.0.2.7","reason":"noise"},{"ip":"198.51.100.0/24","reason":"noise"},`+
		`{"ip":"2001:db8::/32","reason":"noise"},{"ip":"203.0.113.5","reason":"noise"}]`)
	if o.dropped != 4 {
		t.Errorf("connections were looked through %d times, want 4", o.dropped)
	}
	check := func(want map[string]bool) {
		t.Helper()
		for ip, blocked := range want {
			if text, got := o.m.Blocked(mustAddr(t, ip)); got != blocked || (got && text != "this address is blocked: noise") {
				t.Errorf("%s: %v %q, want %v", ip, got, text, blocked)
			}
		}
	}
	all := map[string]bool{
		"192.0.2.7": true, "::ffff:192.0.2.7": true, "192.0.2.8": false, "198.51.100.200": true, "198.51.101.1": false,
		"2001:db8:1::9": true, "2001:db9::1": false, "203.0.113.5": true, "127.0.0.1": false,
	}
	check(all)
	o.restart()
	check(all)
	o.must("unblockip", "198.51.100.0/24")
	o.must("unblockip", "192.0.2.7")
	check(map[string]bool{"198.51.100.200": false, "192.0.2.7": false, "203.0.113.5": true})
}

func TestGoNostrRequestsAreUnderstood(t *testing.T) {
	o := openOffice(t, nil)
	key := pubOf(t, nostr.GeneratePrivateKey())
	id := fmt.Sprintf("%064x", 7)
	for _, req := range []nip86.Request{
		{Method: nip86.SupportedMethods{}.MethodName()},
		{Method: nip86.AllowPubKey{}.MethodName(), Params: []any{key, "r"}},
		{Method: nip86.ListAllowedPubKeys{}.MethodName()},
		{Method: nip86.BanPubKey{}.MethodName(), Params: []any{key, "r"}},
		{Method: nip86.ListBannedPubKeys{}.MethodName()},
		{Method: nip86.ListEventsNeedingModeration{}.MethodName()},
		{Method: nip86.AllowEvent{}.MethodName(), Params: []any{id, "r"}},
		{Method: nip86.BanEvent{}.MethodName(), Params: []any{id, "r"}},
		{Method: nip86.ListBannedEvents{}.MethodName()},
		{Method: nip86.ChangeRelayName{}.MethodName(), Params: []any{"n"}},
		{Method: nip86.ChangeRelayDescription{}.MethodName(), Params: []any{"d"}},
		{Method: nip86.ChangeRelayIcon{}.MethodName(), Params: []any{"https://x.example/i.png"}},
		{Method: nip86.AllowKind{}.MethodName(), Params: []any{1}},
		{Method: nip86.DisallowKind{}.MethodName(), Params: []any{4}},
		{Method: nip86.ListAllowedKinds{}.MethodName()},
		{Method: nip86.BlockIP{}.MethodName(), Params: []any{"192.0.2.1", "r"}},
		{Method: nip86.UnblockIP{}.MethodName(), Params: []any{"192.0.2.1", "r"}},
		{Method: nip86.ListBlockedIPs{}.MethodName()},
	} {
		if _, err := nip86.DecodeRequest(jsonTrip(t, req)); err != nil {
			t.Fatalf("go-nostr does not know %v: %v", req, err)
		}
		o.must(req.Method, req.Params...)
	}
	var banned []nip86.PubKeyReason
	var events []nip86.IDReason
	decode(t, o.must("listbannedpubkeys"), &banned)
	decode(t, o.must("listbannedevents"), &events)
	if !slices.Equal(banned, []nip86.PubKeyReason{{PubKey: key, Reason: "r"}}) || !slices.Equal(events, []nip86.IDReason{{ID: id, Reason: "r"}}) {
		t.Errorf("go-nostr reads %v and %v", banned, events)
	}
}
