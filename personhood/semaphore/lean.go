package semaphore

import (
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"slices"
	"sync"
)

// MaxDepth is the deepest tree for which there are verification keys.
const MaxDepth = 32

// bulkChunk is how many pairs of a level one goroutine takes; fewer are not
// worth a goroutine.
const bulkChunk = 512

// The ways in which a tree says no.
var (
	ErrZeroLeaf = errors.New("a leaf cannot be zero: zero marks a removed member")
	ErrNoLeaf   = errors.New("no such leaf")
	ErrFull     = errors.New("the tree is full")
)

// Tree is a LeanIMT (zk-kit's lean incremental Merkle tree): a parent is the
// Hash of its children, a node without a right sibling is carried up as it
// is, the depth is the least that holds the leaves. Removed leaves are zero
// and keep their place. The zero Tree is empty and ready. It is not for
// concurrent use while it changes.
type Tree struct {
	levels [][]Element // levels[0] are the leaves; the last level is the root alone
}

// NewTree makes a tree of these leaves at once, on all cores. Zero leaves are
// removed members and allowed here.
func NewTree(leaves []Element) (*Tree, error) {
	t := new(Tree)
	return t, t.append(leaves)
}

// Clone is a tree of its own with the same nodes.
func (t *Tree) Clone() *Tree {
	c := &Tree{levels: make([][]Element, len(t.levels))}
	for i, level := range t.levels {
		c.levels[i] = slices.Clone(level)
	}
	return c
}

// Size is the number of leaves, removed ones included.
func (t *Tree) Size() int {
	if len(t.levels) == 0 {
		return 0
	}
	return len(t.levels[0])
}

// Depth is the number of levels above the leaves.
func (t *Tree) Depth() int { return max(len(t.levels)-1, 0) }

// Root is zero for an empty tree, and the leaf itself for a tree of one.
func (t *Tree) Root() Element {
	if len(t.levels) == 0 {
		return Element{}
	}
	return t.levels[len(t.levels)-1][0]
}

// Leaf is the leaf at i.
func (t *Tree) Leaf(i int) (Element, error) {
	if i < 0 || i >= t.Size() {
		return Element{}, ErrNoLeaf
	}
	return t.levels[0][i], nil
}

// Leaves are all leaves, a copy.
func (t *Tree) Leaves() []Element {
	if len(t.levels) == 0 {
		return nil
	}
	return slices.Clone(t.levels[0])
}

// IndexOf is the first place of a leaf, -1 when it is not there. It looks at
// all of them.
func (t *Tree) IndexOf(leaf Element) int {
	if len(t.levels) == 0 || leaf.IsZero() {
		return -1
	}
	return slices.Index(t.levels[0], leaf)
}

// Level are the nodes so many levels above the leaves, a copy; where the tree
// is not that high, the root alone.
func (t *Tree) Level(up int) []Element {
	if len(t.levels) == 0 {
		return nil
	}
	return slices.Clone(t.levels[min(up, t.Depth())])
}

// Insert adds one leaf.
func (t *Tree) Insert(leaf Element) error { return t.InsertMany([]Element{leaf}) }

// InsertMany adds leaves at the end and hashes each node above them once.
func (t *Tree) InsertMany(leaves []Element) error {
	for i := range leaves {
		if leaves[i].IsZero() {
			return ErrZeroLeaf
		}
	}
	return t.append(leaves)
}

func (t *Tree) append(leaves []Element) error {
	if len(leaves) == 0 {
		return nil
	}
	from := t.Size()
	size := from + len(leaves)
	depth := bits.Len(uint(size - 1))
	if depth > MaxDepth {
		return ErrFull
	}
	for len(t.levels) < depth+1 {
		t.levels = append(t.levels, nil)
	}
	t.levels[0] = append(t.levels[0], leaves...)
	for l := range depth {
		from /= 2
		size = (size + 1) / 2
		t.levels[l+1] = slices.Grow(t.levels[l+1], max(size-len(t.levels[l+1]), 0))[:size]
		hashLevel(t.levels[l+1], t.levels[l], from)
	}
	return nil
}

// hashLevel computes the parents from place `from` on.
func hashLevel(parents, children []Element, from int) {
	work := func(lo, hi int) {
		if hi == len(parents) && 2*hi > len(children) {
			hi--
			parents[hi] = children[2*hi]
		}
		hashPairs(parents[lo:hi], children[2*lo:2*hi])
	}
	if len(parents)-from <= bulkChunk || runtime.GOMAXPROCS(0) == 1 {
		work(from, len(parents))
		return
	}
	var wg sync.WaitGroup
	each := max(bulkChunk, (len(parents)-from)/runtime.GOMAXPROCS(0)+1)
	for lo := from; lo < len(parents); lo += each {
		wg.Go(func() { work(lo, min(lo+each, len(parents))) })
	}
	wg.Wait()
}

// Remove sets the leaf at i to zero. Its place is not used again.
func (t *Tree) Remove(i int) error { return t.set(i, Element{}) }

// Update replaces the leaf at i.
func (t *Tree) Update(i int, leaf Element) error {
	if leaf.IsZero() {
		return ErrZeroLeaf
	}
	return t.set(i, leaf)
}

func (t *Tree) set(i int, leaf Element) error {
	if i < 0 || i >= t.Size() {
		return ErrNoLeaf
	}
	t.levels[0][i] = leaf
	for l := range t.Depth() {
		i /= 2
		hashLevel(t.levels[l+1][:i+1], t.levels[l][:min(2*i+2, len(t.levels[l]))], i)
	}
	return nil
}

// MerkleProof leads from a leaf to the root. Levels at which the node is
// carried up have no sibling and no bit of the index.
type MerkleProof struct {
	Leaf     Element
	Index    uint64 // bit i: the node is the right one at the i-th sibling
	Siblings []Element
}

// Prove gives the way from leaf i to the root.
func (t *Tree) Prove(i int) (MerkleProof, error) {
	leaf, err := t.Leaf(i)
	if err != nil {
		return MerkleProof{}, err
	}
	if leaf.IsZero() {
		return MerkleProof{}, fmt.Errorf("leaf %d was removed: %w", i, ErrNoLeaf)
	}
	p := MerkleProof{Leaf: leaf}
	for l := range t.Depth() {
		if s := i ^ 1; s < len(t.levels[l]) {
			p.Index |= uint64(i&1) << len(p.Siblings)
			p.Siblings = append(p.Siblings, t.levels[l][s])
		}
		i /= 2
	}
	return p, nil
}

// Root is the root that the proof leads to.
func (p MerkleProof) Root() Element {
	node := p.Leaf
	for i := range p.Siblings {
		if p.Index>>i&1 == 1 {
			node = Hash(p.Siblings[i], node)
		} else {
			node = Hash(node, p.Siblings[i])
		}
	}
	return node
}
