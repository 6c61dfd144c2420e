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
// of the whole matrix, constants gathered on the first element. Every element
// of the state is held at a scale at which one factor of each row is one: 510
// multiplications, where the definition has 828.
func Hash(a, b Element) Element {
	s := [3]Element{{}, a, b}
	openRound(&s, &poseidonFull[0])
	for r := 1; r < fullRounds/2; r++ {
		fullRound(&s, &poseidonFull[r])
	}
	addRound(&s, poseidonBetween[:])
	for r := range poseidonSparse {
		sparseRound(&s, &poseidonSparse[r])
	}
	for r := fullRounds / 2; r < fullRounds-1; r++ {
		fullRound(&s, &poseidonFull[r])
	}
	return lastRound(&s, &poseidonFull[fullRounds-1])
}

func power5(x *Element) {
	var t Element
	t.Square(x)
	t.Square(&t)
	x.Mul(x, &t)
}

func addRound(s *[3]Element, c []Element) {
	s[0].Add(&s[0], &c[0])
	s[1].Add(&s[1], &c[1])
	s[2].Add(&s[2], &c[2])
}

// openRound is the first one. The first element is zero then, and what comes of
// it stands in the constants of the second round.
func openRound(s *[3]Element, c *[9]Element) {
	s[1].Add(&s[1], &c[1])
	s[2].Add(&s[2], &c[2])
	power5(&s[1])
	power5(&s[2])
	middle, right := s[1], s[2]
	for i := range s {
		s[i].Mul(&c[6+i], &right)
		s[i].Add(&s[i], &middle)
	}
}

// fullRound is a round of three powers. c is: constants, then what the first
// and what the third element are multiplied by in each row.
func fullRound(s *[3]Element, c *[9]Element) {
	addRound(s, c[:3])
	power5(&s[0])
	power5(&s[1])
	power5(&s[2])
	left, middle, right := s[0], s[1], s[2]
	var t Element
	for i := range s {
		t.Mul(&c[3+i], &left)
		s[i].Mul(&c[6+i], &right)
		s[i].Add(&s[i], &t)
		s[i].Add(&s[i], &middle)
	}
}

// sparseRound is a partial round. c is: constant, two of the row, two of the
// column.
func sparseRound(s *[3]Element, c *[5]Element) {
	power5(&s[0])
	s[0].Add(&s[0], &c[0])
	x := s[0]
	var t Element
	t.Mul(&c[1], &s[1])
	s[0].Add(&s[0], &t)
	t.Mul(&c[2], &s[2])
	s[0].Add(&s[0], &t)
	t.Mul(&c[3], &x)
	s[1].Add(&s[1], &t)
	t.Mul(&c[4], &x)
	s[2].Add(&s[2], &t)
}

// lastRound gives the first element, without its scale.
func lastRound(s *[3]Element, c *[9]Element) (out Element) {
	addRound(s, c[:3])
	power5(&s[0])
	power5(&s[1])
	power5(&s[2])
	var t Element
	t.Mul(&c[3], &s[0])
	out.Mul(&c[6], &s[2])
	out.Add(&out, &t)
	out.Add(&out, &s[1])
	return *out.Mul(&out, &poseidonOut)
}
