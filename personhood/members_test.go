package personhood

import (
	"errors"
	"testing"

	"agora/personhood/semaphore"
)

func TestTheWayOutOfNodesIsTheTrees(t *testing.T) {
	for _, size := range []int{1, 2, 3, 255, 256, 257, 511, 513, 1025} {
		leaves := make([]semaphore.Element, size)
		for i := range leaves {
			leaves[i].SetUint64(uint64(7*i + 1))
		}
		if size > 3 {
			leaves[1] = semaphore.Element{} // removed
		}
		m, err := NewMembers(leaves)
		if err != nil {
			t.Fatal(err)
		}
		file, nodes := m.File(), m.Nodes()
		for _, i := range []int{0, size / 2, size - 1} {
			if leaves[i].IsZero() {
				continue
			}
			way, people, err := FindWay(file, nodes, leaves[i])
			want, werr := m.Tree().Prove(i)
			if err != nil || werr != nil {
				t.Fatalf("%d of %d: %v %v", i, size, err, werr)
			}
			if way.Index != want.Index || len(way.Siblings) != len(want.Siblings) || way.Root() != m.Tree().Root() || people != m.People() {
				t.Errorf("%d of %d: another way than the tree's", i, size)
			}
		}
		wrong := append([]byte(nil), nodes...)
		wrong[31] ^= 1
		if _, _, err := FindWay(file, wrong, leaves[0]); !errors.Is(err, ErrNodes) {
			t.Errorf("size %d: wrong nodes: %v", size, err)
		}
		var nobody semaphore.Element
		nobody.SetUint64(5)
		if _, _, err := FindWay(file, nodes, nobody); !errors.Is(err, semaphore.ErrNotMember) {
			t.Errorf("size %d: a stranger: %v", size, err)
		}
	}
}
