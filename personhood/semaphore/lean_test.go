package semaphore

import (
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"strconv"
	"testing"
)

func elements(t testing.TB, decimals []string) (out []Element) {
	t.Helper()
	for _, s := range decimals {
		e, err := ParseDecimal(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func TestIdentityIsJavaScripts(t *testing.T) {
	v := readVectors(t)
	raw, err := hex.DecodeString(v.Identity0.Key)
	if err != nil {
		t.Fatal(err)
	}
	id := IdentityOf([KeySize]byte(raw))
	if got := Decimal(id.scalar); got != v.Identity0.Scalar {
		t.Errorf("secret scalar %s, want %s", got, v.Identity0.Scalar)
	}
	if got := Decimal(id.Commitment()); got != v.Identity0.Commitment {
		t.Errorf("commitment %s, want %s", got, v.Identity0.Commitment)
	}
	for i, want := range v.Members {
		if got := Decimal(member(i).Commitment()); got != want {
			t.Fatalf("member %d: commitment %s, want %s", i, got, want)
		}
	}
	again, err := ParseIdentity(id.Export())
	if err != nil || *again != *id {
		t.Errorf("an exported identity does not come back: %v", err)
	}
	for _, bad := range []string{"", "AAAA", id.Export() + "\n", id.Export()[1:]} {
		if _, err := ParseIdentity(bad); err == nil {
			t.Errorf("ParseIdentity(%q) was taken", bad)
		}
	}
}

func TestNullifierIsThatOfTheProofs(t *testing.T) {
	for i, raw := range readVectors(t).Batch {
		s := parsed(t, raw).Statement
		if member(i).Nullifier(s.Scope) != s.Nullifier {
			t.Fatalf("member %d", i)
		}
	}
}

func TestRootsAreJavaScriptsAtEverySize(t *testing.T) {
	v := readVectors(t)
	all := elements(t, v.Members)
	for size, want := range v.Roots {
		n, err := strconv.Atoi(size)
		if err != nil {
			t.Fatal(err)
		}
		one := new(Tree)
		for _, leaf := range all[:n] {
			if err := one.Insert(leaf); err != nil {
				t.Fatal(err)
			}
		}
		bulk, err := NewTree(all[:n])
		if err != nil {
			t.Fatal(err)
		}
		if r := one.Root(); Decimal(r) != want {
			t.Errorf("%d leaves one by one: root %s, want %s", n, Decimal(r), want)
		}
		if bulk.Root() != one.Root() || bulk.Depth() != one.Depth() {
			t.Errorf("%d leaves at once give another tree", n)
		}
	}
	nine, _ := NewTree(all[:9])
	if err := nine.Remove(3); err != nil {
		t.Fatal(err)
	}
	if got := Decimal(nine.Root()); got != v.Removed {
		t.Errorf("after removing the fourth of nine: %s, want %s", got, v.Removed)
	}
}

// modelRoot is the definition of a LeanIMT.
func modelRoot(leaves []Element) Element {
	for len(leaves) > 1 {
		var up []Element
		for i := 0; i < len(leaves); i += 2 {
			if i+1 < len(leaves) {
				up = append(up, Hash(leaves[i], leaves[i+1]))
			} else {
				up = append(up, leaves[i])
			}
		}
		leaves = up
	}
	return leaves[0]
}

func TestTreeEqualsItsDefinitionUnderInsertsUpdatesAndRemovals(t *testing.T) {
	for seed := range uint64(20) {
		r, tree := rand.New(rand.NewPCG(seed, 1)), new(Tree)
		var model []Element
		for range 40 {
			switch op := r.IntN(4); {
			case op == 0 || len(model) == 0:
				var some []Element
				for range 1 + r.IntN(9) {
					some = append(some, random(r))
				}
				if err := tree.InsertMany(some); err != nil {
					t.Fatal(err)
				}
				model = append(model, some...)
			case op == 1:
				leaf := random(r)
				if err := tree.Insert(leaf); err != nil {
					t.Fatal(err)
				}
				model = append(model, leaf)
			case op == 2:
				i, leaf := r.IntN(len(model)), random(r)
				if err := tree.Update(i, leaf); err != nil {
					t.Fatal(err)
				}
				model[i] = leaf
			default:
				i := r.IntN(len(model))
				if err := tree.Remove(i); err != nil {
					t.Fatal(err)
				}
				model[i] = Element{}
			}
			if tree.Root() != modelRoot(model) {
				t.Fatalf("seed %d: with %d leaves the root differs", seed, len(model))
			}
		}
		for i := range model {
			p, err := tree.Prove(i)
			if model[i].IsZero() {
				if !errors.Is(err, ErrNoLeaf) {
					t.Fatalf("a removed leaf can be proven: %v", err)
				}
				continue
			}
			if err != nil || p.Leaf != model[i] || p.Root() != tree.Root() {
				t.Fatalf("seed %d: leaf %d of %d does not lead to the root: %v", seed, i, len(model), err)
			}
		}
	}
}

func TestTreeMadeAtOnceEqualsItsDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	leaves := make([]Element, 4*mostLanes+5)
	for i := range leaves {
		leaves[i] = random(r)
	}
	for _, n := range []int{2*leastLanes - 1, 2*leastLanes + 1, 2*mostLanes + 1, 2*bulkChunk + 3, len(leaves) - 1, len(leaves)} {
		tree, err := NewTree(leaves[:n])
		if err != nil {
			t.Fatal(err)
		}
		if tree.Root() != modelRoot(leaves[:n]) {
			t.Errorf("the root of %d leaves differs", n)
		}
	}
}

func TestTreeRefusesWhatIsNoLeaf(t *testing.T) {
	tree, one := new(Tree), member(0).Commitment()
	if err := tree.Insert(Element{}); !errors.Is(err, ErrZeroLeaf) {
		t.Errorf("insert of zero: %v", err)
	}
	if root := tree.Root(); !root.IsZero() || tree.Depth() != 0 {
		t.Error("an empty tree has a root")
	}
	if err := tree.Insert(one); err != nil || tree.Root() != one {
		t.Errorf("the root of one leaf is not that leaf: %v", err)
	}
	for _, err := range []error{tree.Update(1, one), tree.Update(-1, one), tree.Remove(1)} {
		if !errors.Is(err, ErrNoLeaf) {
			t.Errorf("outside: %v", err)
		}
	}
	if err := tree.Update(0, Element{}); !errors.Is(err, ErrZeroLeaf) {
		t.Errorf("update to zero: %v", err)
	}
	if tree.IndexOf(one) != 0 || tree.IndexOf(Element{}) != -1 {
		t.Error("IndexOf")
	}
}
