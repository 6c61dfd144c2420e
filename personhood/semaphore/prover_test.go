package semaphore

import (
	"errors"
	"testing"
)

// group is the vectors' group of all members, built here.
func group(t testing.TB) *Tree {
	t.Helper()
	tree, err := NewTree(elements(t, readVectors(t).Members))
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

func newProver(t testing.TB) *Prover {
	t.Helper()
	p, err := NewProver(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close(t.Context()) })
	return p
}

func TestOurProofsVerifyInTreesOfEverySize(t *testing.T) {
	p, v, all := newProver(t), NewVerifier(), elements(t, readVectors(t).Members)
	message, scope := [32]byte{31: 7}, [32]byte{0: 0xff, 31: 1} // above the field's order too
	for _, c := range []struct{ size, who int }{{1, 0}, {2, 1}, {3, 2}, {9, 8}, {1000, 999}, {1000, 512}} {
		tree, err := NewTree(all[:c.size])
		if err != nil {
			t.Fatal(err)
		}
		way, err := tree.Prove(c.who)
		if err != nil {
			t.Fatal(err)
		}
		s, proof, err := p.Prove(t.Context(), member(c.who), way, message, scope)
		if err != nil {
			t.Fatalf("member %d of %d: %v", c.who, c.size, err)
		}
		if s.Root != tree.Root() || s.Nullifier != member(c.who).Nullifier(scope) || s.Message != message || s.Scope != scope {
			t.Fatalf("member %d of %d: the statement is another", c.who, c.size)
		}
		if err := v.Verify(s, proof); err != nil {
			t.Fatalf("member %d of %d: %v", c.who, c.size, err)
		}
	}
}

func TestTwoProofsOfOnePersonShareTheNullifierAndNothingElse(t *testing.T) {
	p, tree := newProver(t), group(t)
	way, _ := tree.Prove(5)
	s1, p1, err1 := p.Prove(t.Context(), member(5), way, [32]byte{1}, [32]byte{2})
	s2, p2, err2 := p.Prove(t.Context(), member(5), way, [32]byte{1}, [32]byte{2})
	s3, _, err3 := p.Prove(t.Context(), member(5), way, [32]byte{1}, [32]byte{3})
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	if s1.Nullifier != s2.Nullifier || p1.a == p2.a || p1.b == p2.b || p1.c == p2.c {
		t.Error("same scope: want the same nullifier and other points")
	}
	if s1.Nullifier == s3.Nullifier {
		t.Error("another scope, the same nullifier")
	}
}

func TestNobodyProvesForAnother(t *testing.T) {
	p, tree := newProver(t), group(t)
	way, _ := tree.Prove(5)
	if _, _, err := p.Prove(t.Context(), member(6), way, [32]byte{}, [32]byte{}); !errors.Is(err, ErrNotMember) {
		t.Errorf("another's leaf: %v", err)
	}
	way.Siblings = make([]Element, ProverDepth+1)
	if _, _, err := p.Prove(t.Context(), member(5), way, [32]byte{}, [32]byte{}); !errors.Is(err, ErrNotMember) {
		t.Errorf("too deep: %v", err)
	}
}

func TestDamagedZkeyIsRefused(t *testing.T) {
	for _, cut := range []int{0, 3, 11, 12, 30, 200, 5000, len(circuitZkey) - 1} {
		if _, err := parseZkey(circuitZkey[:cut]); err == nil {
			t.Errorf("the first %d bytes were taken for a zkey", cut)
		}
	}
}
