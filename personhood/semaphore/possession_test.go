package semaphore

import (
	"math/big"
	"testing"
)

func TestPossessionIsOfOneIdentityAndMessage(t *testing.T) {
	anna, bob := NewIdentity(), NewIdentity()
	message := [32]byte{1}
	p := anna.Possess(message)
	raw := p.Compact()
	again, err := ParsePossession(raw[:])
	if err != nil || !again.Holds(anna.Commitment(), message) {
		t.Fatalf("its own possession: %v", err)
	}
	if p.Holds(bob.Commitment(), message) || p.Holds(anna.Commitment(), [32]byte{2}) || (Possession{}).Holds(Element{}, message) {
		t.Error("it holds for another commitment or message")
	}
	mixed := bob.Possess(message)
	mixed.x, mixed.y = p.x, p.y
	if mixed.Holds(anna.Commitment(), message) {
		t.Error("another's signature beside her key holds")
	}
	for i := range raw {
		bad := raw
		bad[i] ^= 1
		if q, err := ParsePossession(bad[:]); err == nil && q.Holds(anna.Commitment(), message) {
			t.Errorf("byte %d does not matter", i)
		}
	}
}

func TestPossessionIsWrittenInOneWay(t *testing.T) {
	p := NewIdentity().Possess([32]byte{})
	for name, change := range map[string]func(*Possession){
		"challenge beyond the order": func(p *Possession) { p.c = new(big.Int).Add(p.c, babyOrder()) },
		"answer beyond the order":    func(p *Possession) { p.s = new(big.Int).Add(p.s, babyOrder()) },
		"a point off the curve":      func(p *Possession) { p.y.Double(&p.y) },
	} {
		bad := p
		change(&bad)
		raw := bad.Compact()
		if _, err := ParsePossession(raw[:]); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
	if _, err := ParsePossession(make([]byte, 127)); err == nil {
		t.Error("127 bytes are taken")
	}
}

// A tree's root is Hash(left, right): whoever could pass two commitments off as
// a public key could enter a tree as a leaf.
func TestTwoCommitmentsAreNoPublicKey(t *testing.T) {
	anna, bob := NewIdentity(), NewIdentity()
	p := anna.Possess([32]byte{})
	p.x, p.y = anna.Commitment(), bob.Commitment()
	if p.Holds(Hash(p.x, p.y), [32]byte{}) {
		t.Error("a pair of commitments holds")
	}
}
