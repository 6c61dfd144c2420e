package semaphore

import (
	"encoding/json"
	"errors"
	"math/big"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fp"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
)

// honest is a proof of depth 20 from JavaScript.
func honest(t testing.TB) (Item, map[string]any) {
	t.Helper()
	raw := readVectors(t).Proofs[4]
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	it := parsed(t, raw)
	if it.Statement.Depth != ProverDepth {
		t.Fatalf("depth %d", it.Statement.Depth)
	}
	return it, m
}

func plusOne(e Element) Element {
	one := fr.One()
	e.Add(&e, &one)
	return e
}

func TestEveryTamperedStatementIsRefused(t *testing.T) {
	v, other := NewVerifier(), batch64(t)[7]
	it, _ := honest(t)
	if err := v.Verify(it.Statement, it.Proof); err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*Item){
		"root":                   func(i *Item) { i.Statement.Root = plusOne(i.Statement.Root) },
		"root zero":              func(i *Item) { i.Statement.Root = Element{} },
		"nullifier":              func(i *Item) { i.Statement.Nullifier = plusOne(i.Statement.Nullifier) },
		"negated nullifier":      func(i *Item) { i.Statement.Nullifier.Neg(&i.Statement.Nullifier) },
		"message":                func(i *Item) { i.Statement.Message[31] ^= 1 },
		"message, high bit":      func(i *Item) { i.Statement.Message[0] ^= 0x80 },
		"scope":                  func(i *Item) { i.Statement.Scope[31] ^= 1 },
		"message for scope":      func(i *Item) { i.Statement.Message, i.Statement.Scope = i.Statement.Scope, i.Statement.Message },
		"depth 19":               func(i *Item) { i.Statement.Depth = 19 },
		"depth 21":               func(i *Item) { i.Statement.Depth = 21 },
		"depth 0":                func(i *Item) { i.Statement.Depth = 0 },
		"depth 33":               func(i *Item) { i.Statement.Depth = 33 },
		"depth -1":               func(i *Item) { i.Statement.Depth = -1 },
		"A and C swapped":        func(i *Item) { i.Proof.a, i.Proof.c = i.Proof.c, i.Proof.a },
		"A negated":              func(i *Item) { i.Proof.a.Neg(&i.Proof.a) },
		"C negated":              func(i *Item) { i.Proof.c.Neg(&i.Proof.c) },
		"A of another":           func(i *Item) { i.Proof.a = other.Proof.a },
		"B of another":           func(i *Item) { i.Proof.b = other.Proof.b },
		"C of another":           func(i *Item) { i.Proof.c = other.Proof.c },
		"another's proof":        func(i *Item) { i.Proof = other.Proof },
		"never parsed":           func(i *Item) { i.Proof = Proof{} },
		"A at infinity":          func(i *Item) { i.Proof.a = bn254.G1Affine{} },
		"B at infinity":          func(i *Item) { i.Proof.b = bn254.G2Affine{} },
		"C at infinity":          func(i *Item) { i.Proof.c = bn254.G1Affine{} },
		"another's whole answer": func(i *Item) { i.Statement.Nullifier, i.Proof = other.Statement.Nullifier, other.Proof },
	} {
		bad := it
		spoil(&bad)
		if err := v.Verify(bad.Statement, bad.Proof); !errors.Is(err, ErrProof) && !errors.Is(err, ErrDepth) {
			t.Errorf("%s: alone: %v", name, err)
		}
		for i, err := range v.VerifyBatch([]Item{it, bad, it}) {
			if (err != nil) != (i == 1) {
				t.Errorf("%s: in a batch, verdict %d: %v", name, i, err)
			}
		}
	}
}

// spellings are ways to write a number that is taken for n elsewhere.
func spellings(n string) map[string]string {
	b, _ := new(big.Int).SetString(n, 10)
	add := func(k int64) string {
		return new(big.Int).Add(b, new(big.Int).Mul(big.NewInt(k), fr.Modulus())).String()
	}
	return map[string]string{
		"plus the order": add(1), "minus the order": add(-1), "plus twice the order": add(2),
		"negative": "-" + n, "plus sign": "+" + n, "leading zero": "0" + n, "zeros": "000" + n,
		"space before": " " + n, "space after": n + " ", "newline": n + "\n", "empty": "",
		"hexadecimal": "0x" + b.Text(16), "underscore": n[:1] + "_" + n[1:], "exponent": n + "e0",
		"fraction": n + ".0", "arabic digits": strings.Replace(n, n[:1], "\u0661", 1),
		"very long": strings.Repeat("1", 5000), "the order": fr.Modulus().String(),
	}
}

func TestNumbersHaveOneSpelling(t *testing.T) {
	_, m := honest(t)
	refused := func(name string) {
		raw, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := ParseJSON(raw); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, key := range []string{"merkleTreeRoot", "nullifier", "message", "scope"} {
		good := m[key].(string)
		for name, s := range spellings(good) {
			if (key == "message" || key == "scope") && (strings.Contains(name, "order")) {
				continue // these are any 256 bits: another number, which the proof then refuses
			}
			m[key] = s
			refused(key + " " + name)
		}
		m[key] = new(big.Int).Lsh(big.NewInt(1), 256).String()
		refused(key + " of 257 bits")
		m[key] = 5
		refused(key + " as a number")
		m[key] = good
	}
	points := m["points"].([]any)
	for i := range points {
		good := points[i].(string)
		b, _ := new(big.Int).SetString(good, 10)
		points[i] = b.Add(b, fp.Modulus()).String()
		refused("coordinate plus the modulus")
		points[i] = "0" + good
		refused("coordinate with a leading zero")
		points[i] = "-" + good
		refused("negative coordinate")
		points[i] = "1"
		refused("coordinate off the curve")
		points[i] = good
	}
	points[2], points[3] = points[3], points[2]
	refused("real and imaginary part swapped")
	points[2], points[3] = points[3], points[2]
	zero := []any{"0", "0", "0", "0", "0", "0", "0", "0"}
	for _, infinite := range [][2]int{{0, 2}, {2, 6}, {6, 8}} {
		at := append([]any(nil), points...)
		copy(at[infinite[0]:infinite[1]], zero)
		m["points"] = at
		refused("a point at infinity")
	}
	for _, n := range []int{0, 7, 9} {
		m["points"] = append(append([]any(nil), points...), "1")[:n]
		refused("a wrong number of coordinates")
	}
	m["points"] = points
	for _, depth := range []any{0, -1, 33, 20.5, "20", nil} {
		m["merkleTreeDepth"] = depth
		refused("depth")
	}
}

func TestHexHasOneSpelling(t *testing.T) {
	it, _ := honest(t)
	good := Hex(it.Statement.Nullifier)
	if e, err := ParseHex(good); err != nil || e != it.Statement.Nullifier {
		t.Fatal(err)
	}
	over := it.Statement.Nullifier.BigInt(new(big.Int))
	over.Add(over, fr.Modulus())
	for _, s := range []string{
		"", strings.ToUpper(good), "0x" + good, good[1:], "0" + good, good + "00", " " + good[1:], "-" + good[1:],
		over.Text(16), fr.Modulus().Text(16), strings.Repeat("f", 64), "g" + good[1:],
	} {
		if s == good {
			t.Fatal("no change")
		}
		if _, err := ParseHex(s); !errors.Is(err, ErrNotCanonical) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func TestProofJSONHasItsKeysOnce(t *testing.T) {
	it, _ := honest(t)
	good, err := JSON(it.Statement, it.Proof)
	if err != nil {
		t.Fatal(err)
	}
	s, p, err := ParseJSON(good)
	if err != nil || s != it.Statement || p != it.Proof {
		t.Fatalf("a proof in JSON does not come back: %v", err)
	}
	text := string(good)
	for _, bad := range []string{
		"", "null", "[]", "{}", text + text, text + "x", text[:len(text)-1],
		strings.Replace(text, `{`, `{"nullifier":"1",`, 1), strings.Replace(text, `{`, `{"Nullifier":"1",`, 1),
		strings.Replace(text, `{`, `{"more":1,`, 1), strings.Replace(text, `"scope"`, `"Scope"`, 1),
		text + strings.Repeat(" ", mostJSON),
	} {
		if _, _, err := ParseJSON([]byte(bad)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%.80s: %v", bad, err)
		}
	}
}

// strayG2 is on the twist and outside its subgroup.
func strayG2(t testing.TB) bn254.G2Affine {
	t.Helper()
	_, _, _, g := bn254.Generators()
	var coeff, cube, y2 bn254.E2
	cube.Square(&g.X).Mul(&cube, &g.X)
	coeff.Square(&g.Y)
	coeff.Sub(&coeff, &cube)
	for n := range uint64(100) {
		var p bn254.G2Affine
		p.X.A0.SetUint64(n)
		p.X.A1.SetOne()
		y2.Square(&p.X).Mul(&y2, &p.X).Add(&y2, &coeff)
		if y2.Legendre() != 1 {
			continue
		}
		if p.Y.Sqrt(&y2); p.IsOnCurve() && !p.IsInSubGroup() {
			return p
		}
	}
	t.Fatal("no such point found")
	return bn254.G2Affine{}
}

func TestCompactProofIsReadStrictly(t *testing.T) {
	it, _ := honest(t)
	good := it.Proof.Compact()
	refused := func(name string, data []byte) {
		t.Helper()
		if _, err := ParseCompact(data); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	refused("nothing", nil)
	refused("one byte less", good[:127])
	refused("one byte more", append(good[:], 0))
	for name, at := range map[string]int{"A": 0, "B": 32, "C": 96} {
		bad := good
		clear(bad[at : at+32])
		bad[at] = 0x40
		refused(name+" at infinity", bad[:])
		bad[at] = 0
		refused(name+" uncompressed", bad[:])
		bad = good
		copy(bad[at:], fp.Modulus().FillBytes(make([]byte, 32)))
		bad[at] |= 0x80
		refused(name+" not below the modulus", bad[:])
	}
	point := strayG2(t)
	stray := point.Bytes()
	bad := good
	copy(bad[32:], stray[:])
	refused("B outside the subgroup", bad[:])
	bad = good
	off := 0
	for i := range byte(8) {
		bad[31] = good[31] ^ (i + 1)
		if _, err := ParseCompact(bad[:]); err != nil {
			off++
		}
	}
	if off == 0 {
		t.Error("eight changed points, all on the curve")
	}
	bad = good
	bad[0] ^= 0x40 // the other y
	p, err := ParseCompact(bad[:])
	if err != nil {
		t.Fatal(err)
	}
	if err := NewVerifier().Verify(it.Statement, p); !errors.Is(err, ErrProof) {
		t.Errorf("A with its other y: %v", err)
	}
}

func TestPointOutsideTheSubgroupIsRefusedInJSON(t *testing.T) {
	it, _ := honest(t)
	it.Proof.b = strayG2(t)
	points := it.Proof.Points()
	if _, err := ParsePoints(points[:]); !errors.Is(err, ErrMalformed) {
		t.Fatal(err)
	}
}

func TestBatchNamesExactlyTheBadOnes(t *testing.T) {
	v, items := NewVerifier(), batch64(t)
	for place := range items {
		spoilt := append([]Item(nil), items...)
		spoilt[place].Statement.Nullifier = plusOne(items[place].Statement.Nullifier)
		for i, err := range v.VerifyBatch(spoilt) {
			if errors.Is(err, ErrProof) != (i == place) {
				t.Fatalf("spoilt %d: verdict %d is %v", place, i, err)
			}
		}
		if testing.Short() && place == 3 {
			break
		}
	}
	r := rand.New(rand.NewPCG(3, 3))
	for range 6 {
		spoilt, bad := append([]Item(nil), items...), map[int]bool{}
		for range 1 + r.IntN(20) {
			i := r.IntN(len(spoilt))
			if !bad[i] {
				bad[i] = true
				spoilt[i].Statement.Message[5] ^= 1
			}
		}
		for i, err := range v.VerifyBatch(spoilt) {
			if errors.Is(err, ErrProof) != bad[i] {
				t.Fatalf("verdict %d is %v", i, err)
			}
		}
	}
	if got := v.VerifyBatch(nil); len(got) != 0 {
		t.Error("verdicts on nothing")
	}
}

// Two wrong proofs whose errors cancel would pass a batch without weights.
func TestFaultsThatCancelDoNotPassABatch(t *testing.T) {
	v, items := NewVerifier(), batch64(t)[:2]
	_, _, g, _ := bn254.Generators()
	items[0].Proof.c.Add(&items[0].Proof.c, &g)
	items[1].Proof.c.Sub(&items[1].Proof.c, &g)
	for i, err := range v.VerifyBatch(items) {
		if !errors.Is(err, ErrProof) {
			t.Errorf("verdict %d is %v", i, err)
		}
	}
}

// Why a proof's bytes are no identity: anybody can blind it again.
func TestABlindedCopyVerifiesAndKeepsItsNullifier(t *testing.T) {
	it, _ := honest(t)
	k, inv := fr.NewElement(12345), Element{}
	inv.Inverse(&k)
	copied := it
	copied.Proof.a.ScalarMultiplication(&it.Proof.a, k.BigInt(new(big.Int)))
	copied.Proof.b.ScalarMultiplication(&it.Proof.b, inv.BigInt(new(big.Int)))
	if copied.Proof.Compact() == it.Proof.Compact() {
		t.Fatal("the same bytes")
	}
	if err := NewVerifier().Verify(copied.Statement, copied.Proof); err != nil {
		t.Fatal(err)
	}
}

func TestWorldIDsProductionKeyVerifiesItsProof(t *testing.T) {
	raw, err := os.ReadFile("testdata/worldid-contracts-semaphore_30.json")
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParseKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	var j struct {
		Root     string   `json:"root"`
		Null     string   `json:"nullifierHash"`
		Signal   string   `json:"signalHash"`
		External string   `json:"externalNullifierHash"`
		Points   []string `json:"points"`
	}
	readJSON(t, "testdata/worldid-v3-depth30-semaphore-rs.json", &j)
	proof, err := ParsePoints(j.Points)
	if err != nil {
		t.Fatal(err)
	}
	in := elements(t, []string{j.Root, j.Null, j.Signal, j.External})
	if err := key.Verify(in, proof); err != nil {
		t.Fatal(err)
	}
	for i := range in {
		bad := append([]Element(nil), in...)
		bad[i] = plusOne(bad[i])
		if err := key.Verify(bad, proof); !errors.Is(err, ErrProof) {
			t.Errorf("input %d changed: %v", i, err)
		}
	}
	if err := key.Verify(in[:3], proof); !errors.Is(err, ErrProof) {
		t.Errorf("an input less: %v", err)
	}
}

func FuzzParseJSON(f *testing.F) {
	it, _ := honest(f)
	good, _ := JSON(it.Statement, it.Proof)
	f.Add(good)
	f.Add([]byte(`{"merkleTreeDepth":20}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, p, err := ParseJSON(data)
		if err != nil {
			return
		}
		again, err := JSON(s, p)
		if err != nil {
			t.Fatal(err)
		}
		if s2, p2, err := ParseJSON(again); err != nil || s2 != s || p2 != p {
			t.Fatalf("does not come back: %v", err)
		}
	})
}

func FuzzParseCompact(f *testing.F) {
	it, _ := honest(f)
	good := it.Proof.Compact()
	f.Add(good[:])
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParseCompact(data)
		if err != nil {
			return
		}
		if again := p.Compact(); string(again[:]) != string(data) {
			t.Fatal("two encodings of one proof")
		}
		points := p.Points()
		if q, err := ParsePoints(points[:]); err != nil || q != p {
			t.Fatalf("the points are refused: %v", err)
		}
	})
}

func FuzzParseKey(f *testing.F) {
	raw, err := os.ReadFile("testdata/worldid-contracts-semaphore_30.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = ParseKey(data) })
}
