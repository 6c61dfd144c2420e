package semaphore

import (
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
	"github.com/consensys/gnark-crypto/utils/cpu"
)

// Pairs are hashed side by side where the processor multiplies eight elements
// in one go (AVX-512): that takes two thirds of the time. Elsewhere it would
// only cost memory.
const (
	mostLanes  = 512 // pairs; the six vectors of so many, 96 KiB, stay in a core's own cache
	leastLanes = 32  // pairs; fewer are as quick one by one
)

// hashPairs puts the Hash of each two children into the parent.
func hashPairs(parents, children []Element) {
	if cpu.SupportAVX512 && len(parents) >= leastLanes {
		hashLanes(parents, children)
		return
	}
	for i := range parents {
		parents[i] = Hash(children[2*i], children[2*i+1])
	}
}

// lanes are the states of many Hashes, element by element, with room for three
// more vectors. Its rounds are those of Hash.
type lanes struct{ s0, s1, s2, t, u, w fr.Vector }

func hashLanes(parents, children []Element) {
	n := min(mostLanes, len(parents))
	room := make(fr.Vector, 6*n)
	for len(parents) > 0 {
		n = min(n, len(parents))
		l := lanes{room[:n], room[n : 2*n], room[2*n : 3*n], room[3*n : 4*n], room[4*n : 5*n], room[5*n : 6*n]}
		l.hash(parents[:n], children[:2*n])
		parents, children = parents[n:], children[2*n:]
	}
}

func (l *lanes) hash(parents fr.Vector, children []Element) {
	l.open(children, &poseidonFull[0])
	for r := 1; r < fullRounds/2; r++ {
		l.full(&poseidonFull[r])
	}
	add(l.s0, &poseidonBetween[0])
	add(l.s1, &poseidonBetween[1])
	add(l.s2, &poseidonBetween[2])
	for r := range poseidonSparse {
		l.sparse(&poseidonSparse[r])
	}
	for r := fullRounds / 2; r < fullRounds-1; r++ {
		l.full(&poseidonFull[r])
	}
	l.last(parents, &poseidonFull[fullRounds-1])
}

func add(v fr.Vector, c *Element) {
	for i := range v {
		v[i].Add(&v[i], c)
	}
}

// power5 takes t for itself.
func (l *lanes) power5(v fr.Vector) {
	l.t.Mul(v, v)
	l.t.Mul(l.t, l.t)
	v.Mul(v, l.t)
}

func (l *lanes) open(children []Element, c *[9]Element) {
	for i := range l.s1 {
		l.s1[i].Add(&children[2*i], &c[1])
		l.s2[i].Add(&children[2*i+1], &c[2])
	}
	l.power5(l.s1)
	l.power5(l.s2)
	l.s0.ScalarMul(l.s2, &c[6])
	l.s0.Add(l.s0, l.s1)
	l.t.ScalarMul(l.s2, &c[7])
	l.s2.ScalarMul(l.s2, &c[8])
	l.s2.Add(l.s2, l.s1)
	l.s1.Add(l.s1, l.t)
}

// powers is a full round's first half.
func (l *lanes) powers(c *[9]Element) {
	add(l.s0, &c[0])
	add(l.s1, &c[1])
	add(l.s2, &c[2])
	l.power5(l.s0)
	l.power5(l.s1)
	l.power5(l.s2)
}

func (l *lanes) full(c *[9]Element) {
	l.powers(c)
	l.sides(l.t, c, 0)
	l.sides(l.w, c, 1)
	l.sides(l.s2, c, 2) // the last use of s2, and of s0
	l.s2.Add(l.s2, l.s1)
	l.s0.Add(l.t, l.s1)
	l.s1.Add(l.s1, l.w)
}

// sides is what a row takes from the first and the third element.
func (l *lanes) sides(to fr.Vector, c *[9]Element, row int) {
	l.u.ScalarMul(l.s0, &c[3+row])
	to.ScalarMul(l.s2, &c[6+row])
	to.Add(to, l.u)
}

func (l *lanes) sparse(c *[5]Element) {
	l.power5(l.s0)
	add(l.s0, &c[0])
	l.t.ScalarMul(l.s1, &c[1])
	l.u.ScalarMul(l.s2, &c[2])
	l.t.Add(l.t, l.u)
	l.u.ScalarMul(l.s0, &c[3])
	l.s1.Add(l.s1, l.u)
	l.u.ScalarMul(l.s0, &c[4])
	l.s2.Add(l.s2, l.u)
	l.s0.Add(l.s0, l.t)
}

func (l *lanes) last(parents fr.Vector, c *[9]Element) {
	l.powers(c)
	l.sides(l.t, c, 0)
	l.t.Add(l.t, l.s1)
	parents.ScalarMul(l.t, &poseidonOut)
}
