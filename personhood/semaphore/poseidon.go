package semaphore

//go:generate go test -run TestPoseidonConstantsAreThoseOfTheirGenerator -update

// Rounds of circomlib's Poseidon for a state of three elements.
const (
	fullRounds    = 8
	partialRounds = 57
)

// Hash is circomlib's Poseidon of two elements (not Poseidon2): the inner
// nodes of a tree, commitments and nullifiers. It allocates nothing.
//
// The partial rounds run in their sparse form: one row and one column in place
// of the whole matrix, constants gathered on the first element.
func Hash(a, b Element) Element {
	s := [3]Element{{}, a, b}
	for r := range fullRounds / 2 {
		addRound(&s, &poseidonFull[r])
		power5(&s[0])
		power5(&s[1])
		power5(&s[2])
		if r < fullRounds/2-1 {
			mix(&s, &poseidonMix)
		}
	}
	mix(&s, &poseidonEnter)
	addRound(&s, &poseidonBetween)
	for r := range poseidonSparse {
		sparse(&s, &poseidonSparse[r])
	}
	for r := fullRounds / 2; r < fullRounds; r++ {
		addRound(&s, &poseidonFull[r])
		power5(&s[0])
		power5(&s[1])
		power5(&s[2])
		mix(&s, &poseidonMix)
	}
	return s[0]
}

func power5(x *Element) {
	var t Element
	t.Square(x)
	t.Square(&t)
	x.Mul(x, &t)
}

func addRound(s, c *[3]Element) {
	s[0].Add(&s[0], &c[0])
	s[1].Add(&s[1], &c[1])
	s[2].Add(&s[2], &c[2])
}

// mix multiplies the state by a matrix of three rows.
func mix(s *[3]Element, m *[9]Element) {
	var out [3]Element
	var t Element
	for i := range out {
		out[i].Mul(&m[3*i], &s[0])
		t.Mul(&m[3*i+1], &s[1])
		out[i].Add(&out[i], &t)
		t.Mul(&m[3*i+2], &s[2])
		out[i].Add(&out[i], &t)
	}
	*s = out
}

// sparse is one partial round. c is: constant, the three of the row, the two
// of the column.
func sparse(s *[3]Element, c *[6]Element) {
	power5(&s[0])
	s[0].Add(&s[0], &c[0])
	var first, t Element
	first.Mul(&c[1], &s[0])
	t.Mul(&c[2], &s[1])
	first.Add(&first, &t)
	t.Mul(&c[3], &s[2])
	first.Add(&first, &t)
	t.Mul(&c[4], &s[0])
	s[1].Add(&s[1], &t)
	t.Mul(&c[5], &s[0])
	s[2].Add(&s[2], &t)
	s[0] = first
}
