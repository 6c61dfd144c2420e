package enrol

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"agora/personhood"
	"agora/personhood/semaphore"

	"github.com/nbd-wtf/go-nostr"
)

// tree is a plain model of who may invite.
type tree map[[32]byte]int

func (m tree) Quota(key [32]byte) (int, bool) { n, ok := m[key]; return n, ok }

func secretOf(b byte) (key [32]byte) { key[31] = b; return key }

func groupOf(secret [32]byte) personhood.Address {
	return personhood.Address{Key: fmt.Sprintf("%x", keyOf(secret)), D: "town"}
}

func TestAnInvitationLetsOneCommitmentInAndNoOther(t *testing.T) {
	own, member := secretOf(1), secretOf(2)
	group := groupOf(own)
	anna, bert := semaphore.NewIdentity(), semaphore.NewIdentity()
	s := Invites{Inviters: tree{keyOf(member): 2}, Quota: 3}
	invite := func(by [32]byte, slot uint32, quota uint16, until time.Duration) *Invitation {
		inv, err := NewInvitation(by, "http://relay", group, slot, quota, time.Now().Add(until))
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseInvitation(inv.String())
		if err != nil || *again != *inv {
			t.Fatalf("an invitation does not come back: %v", err)
		}
		return again
	}
	verify := func(inv *Invitation, id *semaphore.Identity, change func(*invited), as Evidence) (Admission, error) {
		text, err := inv.Accept(id.Commitment(), InviterKey(id, group))
		if err != nil {
			t.Fatal(err)
		}
		var in invited
		if err := json.Unmarshal([]byte(text), &in); err != nil {
			t.Fatal(err)
		}
		if change != nil {
			change(&in)
		}
		b, _ := json.Marshal(in)
		as.Text = string(b)
		return s.Verify(t.Context(), as)
	}
	at := Evidence{Group: group, Commitment: anna.Commitment()}
	first, err := verify(invite(own, 7, 5, time.Hour), anna, nil, at)
	if err != nil || first.Inviter.Quota != 5 || first.Inviter.Key != InviterKey(anna, group) {
		t.Fatal(first, err)
	}
	if second, err := verify(invite(own, 7, 0, time.Hour), anna, nil, at); err != nil || second.Unique == first.Unique || second.Inviter.Quota != 3 {
		t.Errorf("two invitations of the group's own key are one: %v", err)
	}
	byMember, err := verify(invite(member, 1, 0, time.Hour), anna, nil, at)
	if err != nil || byMember.Inviter.By != keyOf(member) {
		t.Fatal(err)
	}
	if twice, err := verify(invite(member, 1, 0, time.Hour), anna, nil, at); err != nil || twice.Unique != byMember.Unique {
		t.Errorf("a member makes two invitations of one number: %v", err)
	}
	other := Evidence{Group: personhood.Address{Key: group.Key, D: "city"}, Commitment: anna.Commitment()}
	for name, try := range map[string]func() error{
		"another's commitment":  func() error { _, err := verify(invite(own, 1, 0, time.Hour), bert, nil, at); return err },
		"beyond the quota":      func() error { _, err := verify(invite(member, 2, 0, time.Hour), anna, nil, at); return err },
		"a member sets a quota": func() error { _, err := verify(invite(member, 0, 9, time.Hour), anna, nil, at); return err },
		"a stranger invites":    func() error { _, err := verify(invite(secretOf(9), 0, 0, time.Hour), anna, nil, at); return err },
		"expired":               func() error { _, err := verify(invite(own, 1, 0, -time.Hour), anna, nil, at); return err },
		"for another group":     func() error { _, err := verify(invite(own, 1, 0, time.Hour), anna, nil, other); return err },
		"another number": func() error {
			_, err := verify(invite(own, 1, 0, time.Hour), anna, func(i *invited) { i.Slot++ }, at)
			return err
		},
		"more quota": func() error {
			_, err := verify(invite(own, 1, 1, time.Hour), anna, func(i *invited) { i.Quota = 99 }, at)
			return err
		},
		"a longer time": func() error {
			_, err := verify(invite(own, 1, 0, time.Hour), anna, func(i *invited) { i.Expires += 9 }, at)
			return err
		},
		"another key to invite by": func() error {
			_, err := verify(invite(own, 1, 0, time.Hour), anna, func(i *invited) { i.Inviter = strings.Repeat("1", 64) }, at)
			return err
		},
		"the group's own key to invite by": func() error {
			inv := invite(member, 1, 0, time.Hour)
			text, err := inv.Accept(anna.Commitment(), keyOf(own))
			if err != nil {
				return err
			}
			_, err = s.Verify(t.Context(), Evidence{Group: group, Commitment: anna.Commitment(), Text: text})
			return err
		},
		"capital digits": func() error {
			_, err := verify(invite(own, 1, 0, time.Hour), anna, func(i *invited) { i.By = strings.ToUpper(i.By) }, at)
			return err
		},
	} {
		if err := try(); !isRefused(err, "") {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, bad := range []string{"", "agorainvite1", strings.Repeat("x", 5000), "nsec1qqqq", invite(own, 1, 0, time.Hour).String() + "q"} {
		if _, err := ParseInvitation(bad); err == nil {
			t.Errorf("%.20q is an invitation", bad)
		}
	}
}

func FuzzParseInvitation(f *testing.F) {
	inv, err := NewInvitation(secretOf(1), "http://relay", groupOf(secretOf(1)), 1, 2, time.Unix(1e9, 0))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(inv.String())
	f.Fuzz(func(t *testing.T, word string) {
		if got, err := ParseInvitation(word); err == nil {
			if again, err := ParseInvitation(got.String()); err != nil || *again != *got {
				t.Errorf("%q does not come back: %v", word, err)
			}
		}
	})
}

// held is a plain model of the events a relay holds.
type held []*nostr.Event

func (h held) Query(_ context.Context, filters ...nostr.Filter) iter.Seq2[*nostr.Event, error] {
	return func(yield func(*nostr.Event, error) bool) {
		for _, ev := range h {
			for _, f := range filters {
				if f.Matches(ev) && !yield(ev, nil) {
					return
				}
			}
		}
	}
}

func TestALabelLetsItsKeysCommitmentIn(t *testing.T) {
	labeler, subject := nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey()
	who := func(secret string) string {
		key, err := nostr.GetPublicKey(secret)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	group := groupOf(secretOf(1))
	anna := semaphore.NewIdentity().Commitment()
	label := func(by string, change func(*nostr.Event)) *nostr.Event {
		ev := &nostr.Event{Kind: 1985, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"L", "agora.human"}, {"l", "human", "agora.human"}, {"p", who(subject)}}}
		if change != nil {
			change(ev)
		}
		if err := ev.Sign(by); err != nil {
			t.Fatal(err)
		}
		return ev
	}
	s := Labels{Labelers: []string{who(labeler)}, Events: held{}}
	verify := func(l *nostr.Event, secret string) (Admission, error) {
		text, err := Labelled(l, secret, group, anna)
		if err != nil {
			t.Fatal(err)
		}
		return s.Verify(t.Context(), Evidence{Group: group, Commitment: anna, Text: text})
	}
	good := label(labeler, nil)
	got, err := verify(good, subject)
	if err != nil || got.Class != "labelled" || !got.Expires.IsZero() {
		t.Fatal(got, err)
	}
	end := nostr.Now() + 3600
	lasting, err := verify(label(labeler, func(ev *nostr.Event) { ev.Tags = append(ev.Tags, nostr.Tag{"expiration", fmt.Sprint(end)}) }), subject)
	if err != nil || lasting.Expires.Unix() != int64(end) || lasting.Unique != got.Unique {
		t.Errorf("another label of one key is another person, or lasts for ever: %v", err)
	}
	for name, change := range map[string]func(*nostr.Event){
		"another namespace": func(ev *nostr.Event) { ev.Tags[0][1], ev.Tags[1][2] = "ugc", "ugc" },
		"another value":     func(ev *nostr.Event) { ev.Tags[1][1] = "bot" },
		"another key":       func(ev *nostr.Event) { ev.Tags[2][1] = who(labeler) },
		"expired":           func(ev *nostr.Event) { ev.Tags = append(ev.Tags, nostr.Tag{"expiration", "1000"}) },
		"the future":        func(ev *nostr.Event) { ev.CreatedAt += 7200 },
		"another kind":      func(ev *nostr.Event) { ev.Kind = 1 },
	} {
		if _, err := verify(label(labeler, change), subject); !isRefused(err, "") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := verify(label(subject, nil), subject); !isRefused(err, "nobody whom") {
		t.Errorf("one's own label: %v", err)
	}
	if _, err := verify(good, labeler); !isRefused(err, "another key") {
		t.Errorf("another's label: %v", err)
	}
	text, _ := Labelled(good, subject, group, anna)
	if _, err := s.Verify(t.Context(), Evidence{Group: group, Commitment: semaphore.NewIdentity().Commitment(), Text: text}); !isRefused(err, "this group and commitment") {
		t.Errorf("another commitment: %v", err)
	}
	if _, err := s.Verify(t.Context(), Evidence{Group: group, Commitment: anna, Text: strings.Replace(text, `"content":""`, `"content":"x"`, 1)}); !isRefused(err, "not signed") {
		t.Errorf("a changed event: %v", err)
	}
	gone := &nostr.Event{Kind: 5, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"e", good.ID}}}
	if err := gone.Sign(labeler); err != nil {
		t.Fatal(err)
	}
	s.Events = held{gone}
	if _, err := verify(good, subject); !isRefused(err, "taken the label back") {
		t.Errorf("a label taken back: %v", err)
	}
}

// published is a plain model of a root log.
type published map[semaphore.Element]bool

func (p published) Published(_ context.Context, _ personhood.Address, root semaphore.Element) error {
	if !p[root] {
		return &personhood.Invalid{Reason: "root was never published by this group"}
	}
	return nil
}

// checker checks at once.
type checker struct{ v *semaphore.Verifier }

func (c checker) Verify(_ context.Context, _ string, item semaphore.Item) error {
	return c.v.Verify(item.Statement, item.Proof)
}

func TestAMemberOfAnotherGroupIsLetInOnceAnEpoch(t *testing.T) {
	prover, err := semaphore.NewProver(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = prover.Close(context.Background()) }()
	there, here := semaphore.NewIdentity(), semaphore.NewIdentity()
	leaves := []semaphore.Element{semaphore.NewIdentity().Commitment(), there.Commitment(), semaphore.NewIdentity().Commitment()}
	members, err := semaphore.NewTree(leaves)
	if err != nil {
		t.Fatal(err)
	}
	way, err := members.Prove(1)
	if err != nil {
		t.Fatal(err)
	}
	from, group := groupOf(secretOf(1)), groupOf(secretOf(2))
	s := Member{From: from, Epoch: "1", Roots: published{members.Root(): true}, Checker: checker{semaphore.NewVerifier()}}
	evidence := func(epoch string, c semaphore.Element) Evidence {
		text, err := Membership(t.Context(), prover, there, way, from, group, epoch, c)
		if err != nil {
			t.Fatal(err)
		}
		return Evidence{Group: group, Commitment: c, Text: text}
	}
	e := evidence("1", here.Commitment())
	got, err := s.Verify(t.Context(), e)
	if err != nil || got.Class != "member" {
		t.Fatal(got, err)
	}
	if again, err := s.Verify(t.Context(), evidence("1", semaphore.NewIdentity().Commitment())); err != nil || again.Unique != got.Unique {
		t.Errorf("one member is two here: %v", err)
	}
	stolen := e
	stolen.Commitment = semaphore.NewIdentity().Commitment()
	if _, err := s.Verify(t.Context(), stolen); !isRefused(err, "does not verify") {
		t.Errorf("for another commitment: %v", err)
	}
	if _, err := s.Verify(t.Context(), evidence("2", here.Commitment())); !isRefused(err, "does not verify") {
		t.Errorf("of another epoch: %v", err)
	}
	s.Roots = published{}
	if _, err := s.Verify(t.Context(), e); !isRefused(err, "never published") {
		t.Errorf("a root of one's own: %v", err)
	}
}

func TestAWeightIsNoClassOfPeople(t *testing.T) {
	for class, want := range map[string]bool{"invited": true, "labelled": true, "member": true, "orb": true, "world4": true, "weight": false, "weight/wot": false, "": false} {
		if IsPeople(class) != want {
			t.Errorf("%q", class)
		}
	}
}
