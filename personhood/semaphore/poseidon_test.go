package semaphore

import (
	"bytes"
	"flag"
	"fmt"
	"go/format"
	"math/big"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
)

var update = flag.Bool("update", false, "write the generated files again")

// grain is the generator of Poseidon's constants: the 80-bit LFSR of
// eprint 2019/458, appendix F, self-shrinking.
type grain struct{ bits [80]byte }

func newGrain() *grain {
	g, at := new(grain), 0
	put := func(value, width int) {
		for i := width - 1; i >= 0; i-- {
			g.bits[at] = byte(value >> i & 1)
			at++
		}
	}
	put(1, 2)              // a prime field
	put(0, 4)              // x^alpha
	put(254, 12)           // bits of the order
	put(3, 12)             // width of the state
	put(fullRounds, 10)    // R_F
	put(partialRounds, 10) // R_P
	put(1<<30-1, 30)
	for range 160 {
		g.step()
	}
	return g
}

func (g *grain) step() byte {
	b := g.bits[62] ^ g.bits[51] ^ g.bits[38] ^ g.bits[23] ^ g.bits[13] ^ g.bits[0]
	copy(g.bits[:], g.bits[1:])
	g.bits[79] = b
	return b
}

func (g *grain) number() *big.Int {
	n := new(big.Int)
	for range 254 {
		for g.step() == 0 {
			g.step()
		}
		n.Lsh(n, 1).Or(n, big.NewInt(int64(g.step())))
	}
	return n
}

// plainPoseidon is the definition, and the model the fast form is held to.
type plainPoseidon struct {
	c [fullRounds + partialRounds][3]Element
	m [3][3]Element
}

func newPlainPoseidon() *plainPoseidon {
	p, g := new(plainPoseidon), newGrain()
	for r := range p.c {
		for i := range p.c[r] {
			n := g.number()
			for n.Cmp(fr.Modulus()) >= 0 {
				n = g.number()
			}
			p.c[r][i].SetBigInt(n)
		}
	}
	var xy [6]Element
	for i := range xy {
		xy[i].SetBigInt(g.number())
	}
	for i := range 3 {
		for j := range 3 {
			p.m[i][j].Add(&xy[i], &xy[3+j])
			p.m[i][j].Inverse(&p.m[i][j])
		}
	}
	return p
}

func (p *plainPoseidon) hash(a, b Element) Element {
	s := [3]Element{{}, a, b}
	for r := range p.c {
		for i := range s {
			s[i].Add(&s[i], &p.c[r][i])
		}
		for i := range s {
			if i == 0 || r < fullRounds/2 || r >= fullRounds/2+partialRounds {
				s[i].Exp(s[i], big.NewInt(5))
			}
		}
		s = times(p.m, s)
	}
	return s[0]
}

func times(m [3][3]Element, v [3]Element) (out [3]Element) {
	for i := range m {
		for j := range m[i] {
			var t Element
			t.Mul(&m[i][j], &v[j])
			out[i].Add(&out[i], &t)
		}
	}
	return out
}

func product(a, b [3][3]Element) (out [3][3]Element) {
	for j := range 3 {
		col := times(a, [3]Element{b[0][j], b[1][j], b[2][j]})
		for i := range 3 {
			out[i][j] = col[i]
		}
	}
	return out
}

// inverse by the adjugate.
func inverse(m [3][3]Element) (out [3][3]Element) {
	minor := func(i, j int) (d Element) {
		r, c := [2]int{(i + 1) % 3, (i + 2) % 3}, [2]int{(j + 1) % 3, (j + 2) % 3}
		var t Element
		d.Mul(&m[r[0]][c[0]], &m[r[1]][c[1]])
		t.Mul(&m[r[0]][c[1]], &m[r[1]][c[0]])
		d.Sub(&d, &t)
		return d
	}
	var det Element
	for j := range 3 {
		t := minor(0, j)
		t.Mul(&t, &m[0][j])
		det.Add(&det, &t)
	}
	det.Inverse(&det)
	for i := range 3 {
		for j := range 3 {
			t := minor(j, i)
			out[i][j].Mul(&t, &det)
		}
	}
	return out
}

// sparseForm is the definition with partial rounds of one row and one column. Going from the last
// partial round to the first, constants that no power touches are carried
// through the inverse of the matrix, and the block of the matrix that commutes
// with a partial round is handed to the round before.
func (p *plainPoseidon) sparseForm() (between [3]Element, enter [3][3]Element, rounds [partialRounds][6]Element) {
	inv := inverse(p.m)
	first := fullRounds / 2
	acc := p.c[first+partialRounds-1]
	for r := partialRounds - 2; r >= 0; r-- {
		back := times(inv, acc)
		rounds[r][0] = back[0]
		back[0].SetZero()
		for i := range acc {
			acc[i].Add(&p.c[first+r][i], &back[i])
		}
	}
	m := p.m
	for r := partialRounds - 1; r >= 0; r-- {
		block := m // [[1,0,0],[0,..],[0,..]]
		block[0] = [3]Element{fr.One()}
		block[1][0].SetZero()
		block[2][0].SetZero()
		s := product(m, inverse(block))
		rounds[r][1], rounds[r][2], rounds[r][3] = s[0][0], s[0][1], s[0][2]
		rounds[r][4], rounds[r][5] = s[1][0], s[2][0]
		m = product(block, p.m)
		if r == 0 {
			acc = times(block, acc)
		}
	}
	return acc, m, rounds
}

// tables are what Hash multiplies by: the sparse form with the state held at a
// scale, element by element, at which one number of every row is one. A power
// of a scaled element is the power scaled by the scale's power, so scales are
// taken along to the end and undone there.
type tables struct {
	full    [fullRounds][9]Element
	between [3]Element
	sparse  [partialRounds][5]Element
	out     Element
}

func (p *plainPoseidon) tables() (t tables) {
	between, enter, rounds := p.sparseForm()
	scale, carried := [3]Element{fr.One(), fr.One(), fr.One()}, [3]Element{}
	full := func(r int, c [3]Element, m [3][3]Element) {
		t.full[r], scale, t.out = scaledRound(c, m, scale)
		for i := range carried {
			t.full[r][i].Add(&t.full[r][i], &carried[i])
		}
		carried = [3]Element{}
	}
	for r := range fullRounds / 2 {
		m := p.m
		if r == fullRounds/2-1 {
			m = enter
		}
		full(r, p.c[r], m)
		if r == 0 { // the first element is zero: what it gives is known
			first := &t.full[0]
			power5(&first[0])
			for i := range carried {
				carried[i].Mul(&first[0], &first[3+i])
				first[3+i].SetZero()
			}
			first[0].SetZero()
		}
	}
	for i := range between {
		t.between[i].Mul(&between[i], &scale[i])
	}
	for r := range rounds {
		t.sparse[r], scale[0] = scaledSparse(rounds[r], scale)
	}
	for r := fullRounds / 2; r < fullRounds; r++ {
		full(r, p.c[partialRounds+r], p.m)
	}
	return t
}

// scaledRound gives constants, and of every row what stands beside the one in
// the middle; the scale after it, and what undoes that of the first element.
func scaledRound(c [3]Element, m [3][3]Element, scale [3]Element) (row [9]Element, next [3]Element, undo Element) {
	for j := range 3 {
		row[j].Mul(&c[j], &scale[j])
		power5(&scale[j])
		scale[j].Inverse(&scale[j])
	}
	for i := range 3 {
		for j := range 3 {
			m[i][j].Mul(&m[i][j], &scale[j])
		}
		next[i].Inverse(&m[i][1])
		row[3+i].Mul(&m[i][0], &next[i])
		row[6+i].Mul(&m[i][2], &next[i])
	}
	return row, next, m[0][1]
}

// scaledSparse gives constant, two of the row, two of the column; and the scale
// of the first element after it. The others keep theirs.
func scaledSparse(c [6]Element, scale [3]Element) (row [5]Element, next Element) {
	power5(&scale[0])
	row[0].Mul(&c[0], &scale[0])
	next.Div(&scale[0], &c[1])
	for i := range 2 {
		row[1+i].Mul(&c[2+i], &next)
		row[1+i].Div(&row[1+i], &scale[1+i])
		row[3+i].Mul(&c[4+i], &scale[1+i])
		row[3+i].Div(&row[3+i], &scale[0])
	}
	return row, next
}

func (t tables) source() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString("// Code generated by go generate from Poseidon's own generator; DO NOT EDIT.\n\npackage semaphore\n\n")
	line := func(es ...Element) {
		b.WriteString("{")
		for i := range es {
			fmt.Fprintf(&b, "{%#x, %#x, %#x, %#x},", es[i][0], es[i][1], es[i][2], es[i][3])
		}
		b.WriteString("}")
	}
	b.WriteString("// Elements in Montgomery form, least significant word first.\nvar (\n")
	b.WriteString("// the full rounds, four before the partial ones and four after: constants, left and right of each row\nposeidonFull = [fullRounds][9]Element{\n")
	for r := range t.full {
		line(t.full[r][:]...)
		b.WriteString(",\n")
	}
	b.WriteString("}\n// constants before the first partial round\nposeidonBetween = [3]Element")
	line(t.between[:]...)
	b.WriteString("\n// the partial rounds: constant, two of the row, two of the column\nposeidonSparse = [partialRounds][5]Element{\n")
	for r := range t.sparse {
		line(t.sparse[r][:]...)
		b.WriteString(",\n")
	}
	fmt.Fprintf(&b, "}\n// undoes the scale of the last round\nposeidonOut = Element{%#x, %#x, %#x, %#x}\n)\n", t.out[0], t.out[1], t.out[2], t.out[3])
	return format.Source(b.Bytes())
}

func TestPoseidonConstantsAreThoseOfTheirGenerator(t *testing.T) {
	const file = "poseidon_constants.go"
	want, err := newPlainPoseidon().tables().source()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(have, want) {
		t.Fatalf("%s is not what the generator gives (%v)", file, err)
	}
}

func TestHashIsCircomlibsPoseidon(t *testing.T) {
	one, two := fr.NewElement(1), fr.NewElement(2)
	h := Hash(one, two) // circomlib's own test vector
	if got := h.String(); got != "7853200120776062878684798364095072458815029376092732009249414926327459813530" {
		t.Fatalf("Hash(1, 2) = %s", got)
	}
	p, r := newPlainPoseidon(), rand.New(rand.NewPCG(1, 2))
	for range 200 {
		a, b := random(r), random(r)
		if Hash(a, b) != p.hash(a, b) {
			t.Fatalf("Hash(%s, %s) differs from the definition", a.String(), b.String())
		}
	}
	minus := Element{}
	minus.Sub(&minus, &one)
	for _, edge := range []Element{{}, one, minus} {
		if Hash(edge, minus) != p.hash(edge, minus) {
			t.Fatalf("Hash(%s, -1) differs from the definition", edge.String())
		}
	}
}

func TestPairsHashedSideBySideAreThoseHashedOneByOne(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	minus := Element{}
	minus.Sub(&minus, &Element{1}) // in Montgomery form: every word is used
	edges := []Element{{}, fr.One(), minus, fr.NewElement(1 << 63)}
	for _, n := range []int{1, 2, 15, 16, 17, 31, 32, 33, mostLanes - 1, mostLanes, mostLanes + 1, 2*mostLanes + 17} {
		children := make([]Element, 2*n)
		for i := range children {
			children[i] = random(r)
			if i < len(edges)*len(edges)*2 {
				children[i] = edges[[2]int{i / 2 % len(edges), i / 2 / len(edges)}[i%2]]
			}
		}
		quick, vectors := make([]Element, n), make([]Element, n)
		hashPairs(quick, children)
		hashLanes(vectors, children)
		for i := range n {
			want := Hash(children[2*i], children[2*i+1])
			if quick[i] != want || vectors[i] != want {
				t.Fatalf("of %d pairs, number %d differs", n, i)
			}
		}
	}
}

func TestHashAllocatesNothing(t *testing.T) {
	a, b := fr.NewElement(1), fr.NewElement(2)
	if n := testing.AllocsPerRun(50, func() { a = Hash(a, b) }); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// random is any element; the same for the same source.
func random(r *rand.Rand) (e Element) {
	var b [40]byte
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	e.SetBytes(b[:])
	return e
}
