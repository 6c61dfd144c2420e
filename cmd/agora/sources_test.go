package main

import (
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"agora/personhood"
	"agora/personhood/enrol"
	"agora/personhood/host"
	"agora/personhood/semaphore"

	"github.com/nbd-wtf/go-nostr"
)

// bring posts evidence that an identity made for one of the relay's groups.
func (h *hosting) bring(name string, id *semaphore.Identity, evidence func(personhood.Address, semaphore.Element) (string, error)) (int, string) {
	h.t.Helper()
	group := h.named(name).Address()
	text, err := evidence(group, id.Commitment())
	if err != nil {
		h.t.Fatal(err)
	}
	j, err := personhood.Join(h.t.Context(), h.prover, id, group, []byte(text))
	if err != nil {
		h.t.Fatal(err)
	}
	return h.post("/v1/groups/"+name+"/join", host.NewWish(j, text))
}

func (h *hosting) named(name string) *host.Group {
	h.t.Helper()
	for _, g := range h.s.parts.groups.groups {
		if g.Address().D == name {
			return g
		}
	}
	h.t.Fatalf("no group %s", name)
	return nil
}

// worldVector3 is a World ID v3 proof of the production key, as evidence, and
// its root.
func worldVector3(t *testing.T) (evidence, root string) {
	t.Helper()
	var v struct {
		Root, NullifierHash string
		Points              []string
	}
	b, err := os.ReadFile("../../personhood/enrol/testdata/worldid-v3-depth30-semaphore-rs.json")
	if err != nil || json.Unmarshal(b, &v) != nil {
		t.Fatal("the vector of World ID v3 cannot be read", err)
	}
	hexOf := func(decimal string) string {
		n, _ := new(big.Int).SetString(decimal, 10)
		return fmt.Sprintf("%064x", n)
	}
	words := "0x"
	for _, p := range v.Points {
		words += hexOf(p)
	}
	text, _ := json.Marshal(map[string]string{
		"merkle_root": "0x" + hexOf(v.Root), "nullifier_hash": "0x" + hexOf(v.NullifierHash), "proof": words, "verification_level": "orb",
	})
	return string(text), "0x" + hexOf(v.Root)
}

// worldVector4 is a World ID v4 proof of the production key, as evidence, its
// root, and the rule of a group that pins all else it says.
func worldVector4(t *testing.T) (evidence, root, rule string) {
	t.Helper()
	var v struct{ CompressedProof, PublicInputs []string }
	b, err := os.ReadFile("../../personhood/enrol/testdata/worldid-v4-nullifier.json")
	if err != nil || json.Unmarshal(b, &v) != nil {
		t.Fatal("the vector of World ID v4 cannot be read", err)
	}
	in := v.PublicInputs
	number := func(i int) uint64 {
		n, ok := new(big.Int).SetString(strings.TrimPrefix(in[i], "0x"), 16)
		if !ok || !n.IsUint64() {
			t.Fatalf("input %d of the vector is %s", i, in[i])
		}
		return n.Uint64()
	}
	text, _ := json.Marshal(map[string]any{
		"protocol_version": "4.0", "nonce": in[13], "environment": "production", "action": "enrol-world4-1",
		"responses": []any{map[string]any{
			"identifier": "orb", "issuer_schema_id": number(1), "proof": append(v.CompressedProof, in[6]), "nullifier": in[0], "expires_at_min": number(4),
		}},
	})
	rule = fmt.Sprintf("rp=%d schema=%d issuer=%s,%s oprf=%s,%s since=%d grace=1000000h", number(8), number(1), in[2], in[3], in[10], in[11], number(5))
	return string(text), in[6], rule
}

// Each source lets people in at a running relay, each into a group and a class
// of its own, and its own nullifier only once.
func TestEverySourceLetsPeopleInAtARelay(t *testing.T) {
	labeler, club := nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey()
	publicOf := func(secret string) string { key, _ := nostr.GetPublicKey(secret); return key }
	from := personhood.Address{Key: publicOf(club), D: "club"}
	world3, root3 := worldVector3(t)
	world4, root4, rule4 := worldVector4(t)
	roots := filepath.Join(t.TempDir(), "roots")
	if err := os.WriteFile(roots, []byte(root3+"\n"+root4+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHosting(t, func(c *Config) {
		c.Groups = append(c.Groups,
			"labelled source=labels labelers="+publicOf(labeler),
			"guests source=semaphore from="+from.String()+" epoch=1",
			"world3 source=worldid3 app=app_staging_1234 roots=list:"+roots,
			"world4 source=worldid4 "+rule4+" roots=list:"+roots)
	})
	one, two := semaphore.NewIdentity(), semaphore.NewIdentity()
	once := func(name, class string, evidence func(personhood.Address, semaphore.Element) (string, error)) {
		t.Helper()
		if code, text := h.bring(name, one, evidence); code != 200 {
			t.Fatalf("%s: %d %s", name, code, text)
		}
		if code, text := h.bring(name, two, evidence); code != 409 || !strings.Contains(text, "already let somebody in") {
			t.Errorf("%s: the same source for a second commitment: %d %s", name, code, text)
		}
		wait(t, "the root of "+name, func() bool { return h.named(name).State().People == 1 })
		if s := h.named(name).State(); s.Class != class {
			t.Errorf("%s: class %s, want %s", name, s.Class, class)
		}
		said := false // in the group's own event, which names it once published
		for rec, err := range h.s.core.store.Query(t.Context(), nostr.Filter{Kinds: []int{personhood.KindGroup}, Tags: nostr.TagMap{"d": {name}}}) {
			if err != nil {
				t.Fatal(err)
			}
			said = strings.Contains(string(rec.JSON), `["class","`+class+`"]`)
		}
		if !said {
			t.Errorf("%s: its event does not say the class %s", name, class)
		}
	}

	subject := nostr.GeneratePrivateKey()
	label := &nostr.Event{Kind: 1985, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"L", enrol.DefaultNamespace}, {"l", enrol.DefaultValue, enrol.DefaultNamespace}, {"p", publicOf(subject)}}}
	if err := label.Sign(labeler); err != nil {
		t.Fatal(err)
	}
	once("labelled", "labelled", func(g personhood.Address, c semaphore.Element) (string, error) {
		return enrol.Labelled(label, subject, g, c)
	})

	member := semaphore.NewIdentity()
	members, err := personhood.NewMembers([]semaphore.Element{semaphore.NewIdentity().Commitment(), member.Commitment()})
	if err != nil {
		t.Fatal(err)
	}
	way, err := members.Tree().Prove(1)
	if err != nil {
		t.Fatal(err)
	}
	guest := func(g personhood.Address, c semaphore.Element) (string, error) {
		return enrol.Membership(t.Context(), h.prover, member, way, from, g, "1", c)
	}
	if code, text := h.bring("guests", one, guest); code != 403 || !strings.Contains(text, "published no root here") {
		t.Errorf("a member of a root that the other group has not published: %d %s", code, text)
	}
	group, log := personhood.Snapshot{Group: from, Root: members.Tree().Root(), Seq: 1, Size: 2, At: nostr.Now()}.Events()
	for _, ev := range []*nostr.Event{&log, &group} {
		if err := ev.Sign(club); err != nil {
			t.Fatal(err)
		}
		if no := h.say(ev); no != "" {
			t.Fatal(no)
		}
	}
	once("guests", "member", guest)

	for name, evidence := range map[string]string{"world3": world3, "world4": world4} { // sound proofs, of somebody else's signal
		code, text := h.bring(name, one, func(personhood.Address, semaphore.Element) (string, error) { return evidence, nil })
		if code != 403 || !strings.Contains(text, "does not verify") {
			t.Errorf("%s: a proof that is bound to another commitment: %d %s", name, code, text)
		}
		if s := h.named(name).State(); s.People != 0 || !enrol.IsPeople(s.Class) {
			t.Errorf("%s: %+v", name, s)
		}
	}
	if code, text := h.join(one, h.invitation()); code != 200 {
		t.Errorf("the same identity in a group of another class: %d %s", code, text)
	}
	if h.published(1).People() != 1 {
		t.Error("town has others")
	}
}
