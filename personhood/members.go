package personhood

import (
	"errors"

	"agora/personhood/semaphore"
)

// Clone is a copy that may be changed.
func (m *Members) Clone() *Members { return &Members{m.tree.Clone()} }

// AddAll lets many in at once, each a new member. It hashes each node once.
func (m *Members) AddAll(commitments []semaphore.Element) error {
	if m.tree.Size()+len(commitments) > MaxMembers {
		return invalid("group is full")
	}
	return m.tree.InsertMany(commitments)
}

// RemoveAt sets a leaf to zero.
func (m *Members) RemoveAt(leaf int) error { return m.tree.Remove(leaf) }

// Nodes are the nodes of one level of the tree, in order: above blocks of
// BlockSize leaves. Who has them and the members need hash one block and what
// is above the nodes to find one's own way; that it leads to the group's root
// shows that they were right.
func (m *Members) Nodes() []byte {
	var file []byte
	for _, node := range m.tree.Level(blockLevel) {
		b := node.Bytes()
		file = append(file, b[:]...)
	}
	return file
}

const blockLevel = 8

// BlockSize is how many leaves are below one of Nodes.
const BlockSize = 1 << blockLevel

// ErrNodes says that nodes are not those of a members file.
var ErrNodes = errors.New("these are not the nodes of this members file")

// FindWay is the way of a commitment to the root, and how many people are
// members, out of a whole members file and its Nodes: some 650 hashes where
// the whole tree of 100,000 members takes as many as members. The error is an
// *Invalid, semaphore.ErrNotMember or ErrNodes.
func FindWay(file, nodes []byte, commitment semaphore.Element) (way semaphore.MerkleProof, people int, err error) {
	leaves, err := parseElements(file)
	if err != nil {
		return way, 0, err
	}
	level, err := parseElements(nodes)
	if err != nil || len(level) != max(1, (len(leaves)+BlockSize-1)/BlockSize) {
		return way, 0, ErrNodes
	}
	at := -1
	for i, leaf := range leaves {
		if leaf.IsZero() {
			continue
		}
		people++
		if leaf == commitment && at < 0 {
			at = i
		}
	}
	if at < 0 {
		return way, people, semaphore.ErrNotMember
	}
	from := at / BlockSize * BlockSize
	block, err := semaphore.NewTree(leaves[from:min(from+BlockSize, len(leaves))])
	if err != nil {
		return way, people, err
	}
	top, err := semaphore.NewTree(level)
	if err != nil {
		return way, people, err
	}
	if node, err := top.Leaf(at / BlockSize); err != nil || node != block.Root() {
		return way, people, ErrNodes
	}
	if way, err = block.Prove(at - from); err != nil {
		return way, people, err
	}
	above, err := top.Prove(at / BlockSize)
	if err != nil {
		return way, people, err
	}
	way.Index |= above.Index << len(way.Siblings)
	way.Siblings = append(way.Siblings, above.Siblings...)
	return way, people, nil
}

// parseElements reads 32 bytes an element.
func parseElements(file []byte) ([]semaphore.Element, error) {
	if len(file)%32 != 0 || len(file)/32 > MaxMembers {
		return nil, invalid("members file of %d bytes is not 32 for each of at most %d", len(file), MaxMembers)
	}
	leaves := make([]semaphore.Element, len(file)/32)
	for i := range leaves {
		var err error
		if leaves[i], err = semaphore.ParseBytes([32]byte(file[32*i:])); err != nil {
			return nil, invalid("members file: leaf %d is not below the field's order", i)
		}
	}
	return leaves, nil
}
