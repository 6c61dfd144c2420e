package relay

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"agora/relay/admit"

	"github.com/nbd-wtf/go-nostr"
)

// published lists the tags of our events of a kind, newest first, and checks
// that each is signed by the relay and protected.
func (o *office) published(kind int) (found []nostr.Tags) {
	o.t.Helper()
	for _, ev := range o.events(nostr.Filter{Authors: []string{o.self}, Kinds: []int{kind}}) {
		if ok, err := ev.CheckSignature(); !ok || err != nil || ev.PubKey != o.self || !slices.Equal(ev.Tags[0], nostr.Tag{"-"}) {
			o.t.Errorf("kind %d is not ours or not protected: %v", kind, ev)
		}
		found = append(found, ev.Tags[1:])
	}
	return found
}

func (o *office) wantPublished(kind int, want ...nostr.Tags) {
	o.t.Helper()
	if got := o.published(kind); !reflect.DeepEqual(got, want) {
		o.t.Errorf("kind %d: published\n%v\nwant\n%v", kind, got, want)
	}
}

func TestRoleIsPublishedEditedAndDeleted(t *testing.T) {
	o := openOffice(t, nil)
	o.must("createrole", "mod", "Moderator", "keeps the peace", 210, 1)
	o.wantPublished(kindRole, nostr.Tags{{"d", "mod"}, {"label", "Moderator"}, {"description", "keeps the peace"}, {"color", "210"}, {"order", "1"}})
	o.wantPublished(kindMembers) // nobody yet
	if _, err := o.call("createrole", "mod"); err == nil || err.Error() != `invalid: createrole: there is a role "mod" already; use editrole` {
		t.Errorf("a role made twice: %v", err)
	}
	o.must("editrole", "mod", "Mod", nil, "120")
	o.wantPublished(kindRole, nostr.Tags{{"d", "mod"}, {"label", "Mod"}, {"description", "keeps the peace"}, {"color", "120"}, {"order", "1"}})
	o.must("deleterole", "mod")
	o.wantPublished(kindRole)
	o.must("createrole", "mod", "Again") // within the same second as its deletion
	o.wantPublished(kindRole, nostr.Tags{{"d", "mod"}, {"label", "Again"}, {"order", "0"}})
	o.restart()
	o.must("editrole", "mod", "After")
	o.wantPublished(kindRole, nostr.Tags{{"d", "mod"}, {"label", "After"}, {"order", "0"}})
}

func TestAssignedRoleMakesAMemberAndUnassignedKeepsThem(t *testing.T) {
	o := openOffice(t, nil)
	pub := pubOf(t, nostr.GeneratePrivateKey())
	o.must("createrole", "mod")
	o.must("createrole", "guest")
	o.must("assignrole", pub, "mod")
	o.must("assignrole", pub, "guest")
	o.must("assignrole", pub, "guest") // once is enough
	o.wantPublished(kindMembers, nostr.Tags{{"member", pub, "guest", "mod"}})
	o.wantPublished(kindMemberCame, nostr.Tags{{"p", pub}})
	o.wantList("listallowedpubkeys", fmt.Sprintf(`[{"pubkey":%q}]`, pub))
	o.must("unassignrole", pub, "guest")
	o.wantPublished(kindMembers, nostr.Tags{{"member", pub, "mod"}})
	o.must("deleterole", "mod")
	o.wantPublished(kindMembers, nostr.Tags{{"member", pub}})
	o.restart()
	o.wantPublished(kindMembers, nostr.Tags{{"member", pub}})
	o.must("unallowpubkey", pub)
	o.wantPublished(kindMembers, nostr.Tags{})
	o.wantPublished(kindMemberLeft, nostr.Tags{{"p", pub}})
}

func TestBannedMemberLeavesTheListAndTakesNoRole(t *testing.T) {
	o := openOffice(t, nil)
	pub, other := pubOf(t, nostr.GeneratePrivateKey()), pubOf(t, nostr.GeneratePrivateKey())
	o.must("createrole", "mod")
	o.must("assignrole", pub, "mod")
	o.must("allowpubkey", other)
	o.must("banpubkey", pub)
	o.wantPublished(kindMembers, nostr.Tags{{"member", other}})
	o.wantPublished(kindMemberLeft, nostr.Tags{{"p", pub}})
	if _, err := o.call("assignrole", pub, "mod"); err == nil || err.Error() != "invalid: assignrole: this key is banned; unbanpubkey first" {
		t.Errorf("a role for a banned key: %v", err)
	}
}

// TestManyChangesAreNotDatedFarAhead makes more changes in a second than dates
// to give them, and expects the last to stand in the end.
func TestManyChangesAreNotDatedFarAhead(t *testing.T) {
	o := openOffice(t, nil)
	o.must("createrole", "mod", "0")
	n := maxAhead + 20
	for i := range n {
		if _, err := o.m.editRole(t.Context(), call{method: "editrole", params: params{[]byte(`"mod"`), fmt.Appendf(nil, `"%d"`, i)}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, ev := range o.events(nostr.Filter{Kinds: []int{kindRole}}) {
		if ahead := int64(ev.CreatedAt) - time.Now().Unix(); ahead > maxAhead {
			t.Errorf("dated %d s ahead", ahead)
		}
	}
	want := []nostr.Tags{{{"d", "mod"}, {"label", fmt.Sprint(n - 1)}, {"order", "0"}}}
	eventually(t, "the last change stands", func() bool { return reflect.DeepEqual(o.published(kindRole), want) })
}

func TestRolesArePublishedLaterWhenTheStoreCouldNotTakeThem(t *testing.T) {
	o := openOffice(t, nil)
	o.offline = errors.New("the disk is full")
	o.must("createrole", "mod", "Moderator") // the act is written; only its announcement waits
	o.wantPublished(kindRole)
	o.mu.Lock()
	o.offline = nil
	o.mu.Unlock()
	o.restart()
	eventually(t, "the role is published", func() bool { return len(o.published(kindRole)) == 1 })
}

func TestWithoutAKeyOfItsOwnARelayHasNoRoles(t *testing.T) {
	o := openOffice(t, func(c *ManagementConfig) { c.Secret = "" })
	pub := pubOf(t, nostr.GeneratePrivateKey())
	if _, err := o.call("createrole", "mod"); err == nil || !strings.Contains(err.Error(), "no key of its own") {
		t.Errorf("createrole: %v", err)
	}
	o.must("allowpubkey", pub) // still an allow list
	if o.m.Membership() || o.m.Answers(kindJoin) {
		t.Error("a relay without a key speaks NIP-43")
	}
}

// ask sends a request to join or to leave.
func (o *office) ask(secret string, kind int, at time.Time, tags ...nostr.Tag) (bool, string) {
	o.t.Helper()
	ev := &nostr.Event{Kind: kind, CreatedAt: nostr.Timestamp(at.Unix()), Tags: tags}
	if err := ev.Sign(secret); err != nil {
		o.t.Fatal(err)
	}
	ok, text, err := o.m.Answer(o.t.Context(), ev)
	if err != nil {
		o.t.Fatal(err)
	}
	return ok, text
}

func (o *office) wantAnswer(secret string, kind int, at time.Time, wantOK bool, want string, tags ...nostr.Tag) {
	o.t.Helper()
	if ok, text := o.ask(secret, kind, at, tags...); ok != wantOK || text != want {
		o.t.Errorf("kind %d %v: %v %q\nwant %v %q", kind, tags, ok, text, wantOK, want)
	}
}

const welcome = "info: welcome, you are a member of this relay now"

func TestInvitationAdmitsOnceAndLeaveEndsIt(t *testing.T) {
	o := openOffice(t, func(c *ManagementConfig) {
		c.Policy.RestrictedWrites = true
		c.Policy.InviteCodes = []string{"open sesame"}
	})
	alice, bob, carol := nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey()
	now := time.Now()
	unknown := "restricted: this relay does not know that invitation, or it has lapsed"
	o.wantAnswer(alice, kindJoin, now, false, unknown)
	o.wantAnswer(alice, kindJoin, now, false, unknown, nostr.Tag{"claim", "open says me"})
	o.wantAnswer(alice, kindJoin, now, true, welcome, nostr.Tag{"-"}, nostr.Tag{"claim", "open sesame"})
	o.wantAnswer(alice, kindJoin, now, true, "duplicate: you are a member already", nostr.Tag{"claim", "whatever"})
	if got := o.rule(pubOf(t, alice), 1, admit.Socket); got != "" {
		t.Errorf("a member hears %q", got)
	}
	if got := o.rule(pubOf(t, bob), kindJoin, admit.Socket); got != "" {
		t.Errorf("who wants to join hears %q", got)
	}
	eventually(t, "the list is published", func() bool {
		return reflect.DeepEqual(o.published(kindMembers), []nostr.Tags{{{"member", pubOf(t, alice)}}}) &&
			reflect.DeepEqual(o.published(kindMemberCame), []nostr.Tags{{{"p", pubOf(t, alice)}}})
	})

	ev, refused := o.m.Invite([]string{pubOf(t, o.admin)})
	if refused != nil || ev.Kind != kindInvite || ev.PubKey != o.self {
		t.Fatalf("invite: %v %v", ev, refused)
	}
	code := firstTagValue(ev.Tags, "claim")
	second, _ := o.m.Invite([]string{pubOf(t, o.admin)})
	if firstTagValue(second.Tags, "claim") == code {
		t.Error("two invitations are the same")
	}
	o.restart()
	o.wantAnswer(bob, kindJoin, now, true, welcome, nostr.Tag{"claim", code})
	o.wantAnswer(carol, kindJoin, now, false, "restricted: this invitation has been used", nostr.Tag{"claim", code})
	o.restart()
	o.wantAnswer(carol, kindJoin, now, false, "restricted: this invitation has been used", nostr.Tag{"claim", code})
	forged := []byte(code)
	forged[3] = 'a' + (forged[3]-'a'+1)%26
	o.wantAnswer(carol, kindJoin, now, false, unknown, nostr.Tag{"claim", string(forged)})

	o.wantAnswer(bob, kindLeave, now, false, `invalid: a request to leave carries the tag ["-"]`)
	o.wantAnswer(bob, kindLeave, now, true, "info: you are no member of this relay any more", nostr.Tag{"-"})
	o.wantAnswer(bob, kindLeave, now, true, "info: you are no member of this relay", nostr.Tag{"-"})
	eventually(t, "the list is published again", func() bool {
		return reflect.DeepEqual(o.published(kindMembers), []nostr.Tags{{{"member", pubOf(t, alice)}}}) &&
			reflect.DeepEqual(o.published(kindMemberLeft), []nostr.Tags{{{"p", pubOf(t, bob)}}})
	})
}

func TestRequestsToJoinAreDatedNow(t *testing.T) {
	o := openOffice(t, func(c *ManagementConfig) { c.Policy.InviteCodes = []string{"open sesame"} })
	for _, off := range []time.Duration{-time.Hour, time.Hour} {
		if ok, text := o.ask(nostr.GeneratePrivateKey(), kindJoin, time.Now().Add(off), nostr.Tag{"claim", "open sesame"}); ok || !strings.HasPrefix(text, "invalid: ") {
			t.Errorf("%v off: %v %q", off, ok, text)
		}
	}
	ok, text := o.ask(nostr.GeneratePrivateKey(), kindJoin, time.Now().Add(-4*time.Minute), nostr.Tag{"claim", "open sesame"})
	if !ok || text != welcome {
		t.Errorf("4 minutes off: %v %q", ok, text)
	}
}

func TestLeaveFromBeforeTheJoinDoesNotCount(t *testing.T) {
	o := openOffice(t, nil)
	alice := nostr.GeneratePrivateKey()
	o.must("allowpubkey", pubOf(t, alice))
	o.wantAnswer(alice, kindLeave, time.Now().Add(-2*time.Minute), false, "invalid: you have joined again since this request", nostr.Tag{"-"})
}

func TestBannedKeyCannotJoin(t *testing.T) {
	o := openOffice(t, func(c *ManagementConfig) { c.Policy.InviteCodes = []string{"open sesame"} })
	troll := nostr.GeneratePrivateKey()
	o.must("banpubkey", pubOf(t, troll))
	o.wantAnswer(troll, kindJoin, time.Now(), false, "restricted: this key is banned from this relay", nostr.Tag{"claim", "open sesame"})
}

func TestOnlyThoseWhoMayInvite(t *testing.T) {
	o := openOffice(t, func(c *ManagementConfig) { c.InviteLife = -2 * time.Minute })
	member := pubOf(t, nostr.GeneratePrivateKey())
	o.must("allowpubkey", member)
	for want, viewers := range map[string][]string{
		"auth-required: who invites must be known": nil,
		"restricted: this key may not invite":      {member},
	} {
		if _, refused := o.m.Invite(viewers); refused == nil || refused.String() != want {
			t.Errorf("%v: %v, want %s", viewers, refused, want)
		}
	}
	p := o.cfg.Policy
	p.MembersInvite = true
	if err := o.m.Reload(p); err != nil {
		t.Fatal(err)
	}
	ev, refused := o.m.Invite([]string{member})
	if refused != nil {
		t.Fatalf("a member may invite here: %v", refused)
	}
	o.wantAnswer(nostr.GeneratePrivateKey(), kindJoin, time.Now(), false,
		"restricted: this relay does not know that invitation, or it has lapsed", nostr.Tag{"claim", firstTagValue(ev.Tags, "claim")})
}

func TestMembersListIsBoundedRolesFirst(t *testing.T) {
	members := map[[32]byte]member{}
	for i := range membersListed + 10 {
		members[[32]byte{byte(i >> 8), byte(i)}] = member{}
	}
	members[[32]byte{255}] = member{Roles: []string{"mod"}}
	tags := memberTags(members)
	if len(tags) != membersListed+1 || len(tags[1]) != 3 || tags[1][2] != "mod" {
		t.Errorf("%d tags, the first member is %v", len(tags), tags[1])
	}
}
