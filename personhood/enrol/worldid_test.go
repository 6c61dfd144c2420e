package enrol

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"agora/personhood"
	"agora/personhood/semaphore"

	"github.com/consensys/gnark-crypto/ecc/bn254"
	"github.com/consensys/gnark-crypto/ecc/bn254/fr"
)

func load(t *testing.T, name string, into any) {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatal(err)
	}
}

func hexElement(t *testing.T, text string) semaphore.Element {
	t.Helper()
	e, err := element(text, text)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// everyTamper alters each public input in turn and wants a no.
func everyTamper(t *testing.T, key *semaphore.Key, public []semaphore.Element, proof semaphore.Proof) {
	t.Helper()
	if err := key.Verify(public, proof); err != nil {
		t.Fatalf("the vector: %v", err)
	}
	for i := range public {
		bad := append([]semaphore.Element(nil), public...)
		var one semaphore.Element
		bad[i].Add(&bad[i], one.SetOne())
		if key.Verify(bad, proof) == nil {
			t.Errorf("input %d may be another", i)
		}
	}
	if key.Verify(public[1:], proof) == nil || key.Verify(append(public, semaphore.Element{}), proof) == nil {
		t.Error("another number of inputs is taken")
	}
}

func TestWorldID3VectorsVerify(t *testing.T) {
	production, err := semaphore.ParseKey(worldKey3)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile("testdata/worldid-contracts-semaphore_16.json")
	if err != nil {
		t.Fatal(err)
	}
	key16, err := semaphore.ParseKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]*semaphore.Key{"worldid-v3-depth30-semaphore-rs.json": production, "worldid-v3-depth16-semaphore-rs.json": key16} {
		var v struct {
			Root, NullifierHash, SignalHash, ExternalNullifierHash string
			Points                                                 []string
		}
		load(t, name, &v)
		var public []semaphore.Element
		for _, text := range []string{v.Root, v.NullifierHash, v.SignalHash, v.ExternalNullifierHash} {
			e, err := semaphore.ParseDecimal(text)
			if err != nil {
				t.Fatal(err)
			}
			public = append(public, e)
		}
		proof, err := semaphore.ParsePoints(v.Points)
		if err != nil {
			t.Fatal(err)
		}
		everyTamper(t, key, public, proof)
		// the same eight numbers in the one word that IDKit gives
		word := "0x"
		for _, p := range v.Points {
			n, _ := new(big.Int).SetString(p, 10)
			word += fmt.Sprintf("%064x", n)
		}
		if again, err := parseWords(word); err != nil || again != proof {
			t.Errorf("%s: the proof as one word: %v", name, err)
		}
	}
}

func TestTheContractsInclusionProofVerifies(t *testing.T) {
	raw, err := os.ReadFile("testdata/worldid-contracts-semaphore_16.json")
	if err != nil {
		t.Fatal(err)
	}
	key, err := semaphore.ParseKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	var v struct {
		Root      string             `json:"root"`
		Signal    string             `json:"signal_hash"`
		External  string             `json:"external_nullifier_hash"`
		Nullifier string             `json:"nullifier_hash"`
		Proof     [3]json.RawMessage `json:"proof"`
	}
	load(t, "worldid-contracts-InclusionProof.json", &v)
	var a, c [2]string
	var b [2][2]string
	for i, into := range []any{&a, &b, &c} {
		if err := json.Unmarshal(v.Proof[i], into); err != nil {
			t.Fatal(err)
		}
	}
	word := "0x"
	for _, p := range []string{a[0], a[1], b[0][0], b[0][1], b[1][0], b[1][1], c[0], c[1]} {
		word += strings.Repeat("0", 66-len(p)) + p[2:]
	}
	proof, err := parseWords(word)
	if err != nil {
		t.Fatal(err)
	}
	everyTamper(t, key, []semaphore.Element{hexElement(t, v.Root), hexElement(t, v.Nullifier), hexElement(t, v.Signal), hexElement(t, v.External)}, proof)
}

// vector4 is the v4 vector as evidence, and the source that fits it.
func vector4(t *testing.T) (*World4, world4, semaphore.Element) {
	t.Helper()
	var v struct {
		Proof  []string `json:"compressedProof"`
		Public []string `json:"publicInputs"`
	}
	load(t, "worldid-v4-nullifier.json", &v)
	var in []semaphore.Element
	for _, text := range v.Public {
		in = append(in, hexElement(t, text))
	}
	s, err := NewWorld4(World4{
		RP: in[8].Uint64(), Action: "of the vector", IssuerSchema: in[1].Uint64(),
		Issuer: [2]semaphore.Element{in[2], in[3]}, OPRF: [2]semaphore.Element{in[10], in[11]}, IssuedSince: in[5].Uint64(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, world4{
		Protocol: "4.0", Nonce: v.Public[13], Environment: "production",
		Responses: []response{{Schema: in[1].Uint64(), Proof: append(v.Proof, v.Public[6]), Nullifier: v.Public[0], Expires: in[4].Uint64()}},
	}, in[12]
}

func TestWorldID4VectorVerifies(t *testing.T) {
	s, in, signal := vector4(t)
	public, proof, err := s.inputs(&in, &in.Responses[0], signal)
	if err != nil {
		t.Fatal(err)
	}
	var v struct{ PublicInputs []string }
	load(t, "worldid-v4-nullifier.json", &v)
	for i, text := range v.PublicInputs {
		if i != 9 && public[i] != hexElement(t, text) { // the action's words are not in the vector, only its hash
			t.Errorf("input %d is %s, want %s", i, semaphore.Hex(public[i]), text)
		}
	}
	public[9] = hexElement(t, v.PublicInputs[9])
	everyTamper(t, s.key, public, proof)
}

func TestCompressedProofsThatAreNone(t *testing.T) {
	s, in, signal := vector4(t)
	good := in.Responses[0].Proof
	for name, change := range map[string]func([]string){
		"a swapped with c":      func(w []string) { w[0], w[3] = w[3], w[0] },
		"the other square root": func(w []string) { w[2] = flip(t, w[2], 2) },
		"a negative":            func(w []string) { w[0] = flip(t, w[0], 1) },
		"b negative":            func(w []string) { w[2] = flip(t, w[2], 1) },
		"zero":                  func(w []string) { w[0] = "0x0" },
		"beyond the field":      func(w []string) { w[3] = "0x" + strings.Repeat("f", 64) },
		"another x":             func(w []string) { w[1] = flip(t, w[1], 1) },
		"no number":             func(w []string) { w[1] = "0xg" },
		"too long":              func(w []string) { w[1] = "0x" + strings.Repeat("0", 65) },
	} {
		r := in.Responses[0]
		r.Proof = append([]string(nil), good...)
		change(r.Proof)
		public, proof, err := s.inputs(&in, &r, signal)
		if err == nil {
			public[9] = hexElement(t, "0x15d4b66e5417cb9875f6a2b5be9814dca80651d7c74b3b21685fdd494566e79f")
			err = s.key.Verify(public, proof)
		}
		if err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

func flip(t *testing.T, word string, bits byte) string {
	t.Helper()
	b, ok := new(big.Int).SetString(word[2:], 16)
	if !ok {
		t.Fatal(word)
	}
	return fmt.Sprintf("0x%064x", b.Xor(b, big.NewInt(int64(bits))))
}

// forge is a key whose secrets we know, and with it a proof of anything: the
// rest of a source can be tested with it, its cryptography cannot.
type forge struct {
	alpha, beta, gamma, delta fr.Element
	ic                        []fr.Element
}

func newForge(inputs int) *forge {
	f := &forge{ic: make([]fr.Element, inputs+1)}
	for i, e := range []*fr.Element{&f.alpha, &f.beta, &f.gamma, &f.delta} {
		e.SetUint64(uint64(1000 + 7*i))
	}
	for i := range f.ic {
		f.ic[i].SetUint64(uint64(31 + 5*i))
	}
	return f
}

func g1(e fr.Element) (p bn254.G1Affine) {
	_, _, g, _ := bn254.Generators()
	p.ScalarMultiplication(&g, e.BigInt(new(big.Int)))
	return p
}

func g2(e fr.Element) (p bn254.G2Affine) {
	_, _, _, g := bn254.Generators()
	p.ScalarMultiplication(&g, e.BigInt(new(big.Int)))
	return p
}

func (f *forge) key(t *testing.T) *semaphore.Key {
	t.Helper()
	text1 := func(e fr.Element) []string { p := g1(e); return []string{p.X.String(), p.Y.String(), "1"} }
	text2 := func(e fr.Element) [][]string {
		p := g2(e)
		return [][]string{{p.X.A0.String(), p.X.A1.String()}, {p.Y.A0.String(), p.Y.A1.String()}, {"1", "0"}}
	}
	var ic [][]string
	for _, e := range f.ic {
		ic = append(ic, text1(e))
	}
	raw, err := json.Marshal(map[string]any{
		"protocol": "groth16", "curve": "bn128", "nPublic": len(ic) - 1, "IC": ic,
		"vk_alpha_1": text1(f.alpha), "vk_beta_2": text2(f.beta), "vk_gamma_2": text2(f.gamma), "vk_delta_2": text2(f.delta),
	})
	if err != nil {
		t.Fatal(err)
	}
	key, err := semaphore.ParseKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// prove gives the eight words of a proof for these inputs:
// c = (a·b - alpha·beta - x·gamma) / delta.
func (f *forge) prove(public []semaphore.Element) (words [8]string) {
	var a, b, c, x, t fr.Element
	a.SetUint64(77)
	b.SetUint64(99)
	x.Set(&f.ic[0])
	for i := range public {
		t.Mul(&f.ic[i+1], &public[i])
		x.Add(&x, &t)
	}
	c.Mul(&a, &b)
	t.Mul(&f.alpha, &f.beta)
	c.Sub(&c, &t)
	t.Mul(&x, &f.gamma)
	c.Sub(&c, &t)
	t.Inverse(&f.delta)
	c.Mul(&c, &t)
	pa, pb, pc := g1(a), g2(b), g1(c)
	for i, e := range []interface{ Text(int) string }{&pa.X, &pa.Y, &pb.X.A1, &pb.X.A0, &pb.Y.A1, &pb.Y.A0, &pc.X, &pc.Y} {
		n, _ := new(big.Int).SetString(e.Text(16), 16)
		words[i] = fmt.Sprintf("%064x", n)
	}
	return words
}

func TestAWorldID3LetsItsCommitmentInAndNoOther(t *testing.T) {
	s, err := NewWorld3("app_staging_1234", "enrol-orb-1", nil)
	if err != nil {
		t.Fatal(err)
	}
	f := newForge(4)
	s.key = f.key(t)
	anna, bert := semaphore.NewIdentity().Commitment(), semaphore.NewIdentity().Commitment()
	var root, nullifier semaphore.Element
	root.SetUint64(4711)
	nullifier.SetUint64(99)
	s.Roots = RootList{root}
	words := f.prove([]semaphore.Element{root, nullifier, signalHash(anna), externalNullifier3("app_staging_1234", "enrol-orb-1")})
	evidence := func(change func(map[string]string)) Evidence {
		m := map[string]string{"merkle_root": "0x" + semaphore.Hex(root), "nullifier_hash": "0x63", "proof": "0x" + strings.Join(words[:], ""), "verification_level": "orb"}
		if change != nil {
			change(m)
		}
		b, _ := json.Marshal(m)
		return Evidence{Group: personhood.Address{Key: strings.Repeat("a", 64), D: "orb"}, Commitment: anna, Text: string(b)}
	}
	got, err := s.Verify(t.Context(), evidence(nil))
	if err != nil || got.Commitment != anna || got.Class != "orb" || got.Unique == [32]byte{} {
		t.Fatal(got, err)
	}
	padded, err := s.Verify(t.Context(), evidence(func(m map[string]string) { m["nullifier_hash"] = "0x0063" }))
	if err != nil || padded.Unique != got.Unique {
		t.Errorf("another spelling of one nullifier is another person: %v", err)
	}
	other := evidence(nil)
	other.Commitment = bert
	if _, err := s.Verify(t.Context(), other); !isRefused(err, "does not verify") {
		t.Errorf("another commitment: %v", err)
	}
	order := "0x30644e72e131a029b85045b68181585d2833e84879b9709143e1f593f0000064" // 99 + r
	for name, change := range map[string]func(map[string]string){
		"nullifier plus the order": func(m map[string]string) { m["nullifier_hash"] = order },
		"another nullifier":        func(m map[string]string) { m["nullifier_hash"] = "0x64" },
		"no hex":                   func(m map[string]string) { m["nullifier_hash"] = "99" },
		"a negative":               func(m map[string]string) { m["nullifier_hash"] = "-0x63" },
		"another root":             func(m map[string]string) { m["merkle_root"] = "0x1" },
		"device level":             func(m map[string]string) { m["verification_level"] = "device" },
		"a short proof":            func(m map[string]string) { m["proof"] = m["proof"][:500] },
		"a zero proof":             func(m map[string]string) { m["proof"] = "0x" + strings.Repeat("0", 512) },
		"points swapped": func(m map[string]string) {
			p := m["proof"]
			m["proof"] = "0x" + p[2+384:] + p[2+128:2+384] + p[2:2+128]
		},
		"a key too many": func(m map[string]string) { m["app_id"] = "app_x" },
	} {
		if _, err := s.Verify(t.Context(), evidence(change)); !isRefused(err, "") {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.Roots = RootList{}
	if _, err := s.Verify(t.Context(), evidence(nil)); !isRefused(err, "none of World's") {
		t.Errorf("a root of one's own: %v", err)
	}
	s.Roots, s.Action = RootList{root}, "enrol-orb-2"
	if _, err := s.Verify(t.Context(), evidence(nil)); !isRefused(err, "does not verify") {
		t.Errorf("another epoch: %v", err)
	}
}

func isRefused(err error, words string) bool {
	no, ok := errors.AsType[*Refused](err)
	return ok && strings.Contains(no.Reason, words)
}

// small writes a proof in World ID 4's four words.
func small(t *testing.T, words [8]string) (out []string) {
	t.Helper()
	n := func(i int) *big.Int { v, _ := new(big.Int).SetString(words[i], 16); return v }
	var proof semaphore.Proof
	want, err := parseWords("0x" + strings.Join(words[:], ""))
	if err != nil {
		t.Fatal(err)
	}
	for flags := range 16 { // the sign of each point, and which root of B: one of them is the proof
		a := new(big.Int).Or(new(big.Int).Lsh(n(0), 1), big.NewInt(int64(flags&1)))
		c := new(big.Int).Or(new(big.Int).Lsh(n(6), 1), big.NewInt(int64(flags>>1&1)))
		b := new(big.Int).Or(new(big.Int).Lsh(n(3), 2), big.NewInt(int64(flags>>2)))
		var raw [4][32]byte
		for i, v := range []*big.Int{a, n(2), b, c} {
			v.FillBytes(raw[i][:])
		}
		if proof, err = semaphore.ParseCompressed(raw); err == nil && proof == want {
			for _, w := range raw {
				out = append(out, "0x"+hex.EncodeToString(w[:]))
			}
			return out
		}
	}
	t.Fatal("no way to compress this proof")
	return nil
}

type rootsFunc func(Question) bool

func (f rootsFunc) Valid(_ context.Context, q Question) (bool, error) { return f(q), nil }

func TestAWorldID4IsHeldToAllThatIsPinned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newForge(15)
		var root, nullifier, nonce, x semaphore.Element
		root.SetUint64(4711)
		nullifier.SetUint64(99)
		nonce.SetUint64(5)
		x.SetUint64(12345)
		s, err := NewWorld4(World4{
			RP: 7, Action: "enrol-orb-1", IssuerSchema: 1, Issuer: [2]semaphore.Element{x, x}, OPRF: [2]semaphore.Element{x, x}, Roots: RootList{root},
		})
		if err != nil {
			t.Fatal(err)
		}
		s.key = f.key(t)
		anna := semaphore.NewIdentity().Commitment()
		expires := uint64(time.Now().Add(time.Hour).Unix())
		base := world4{Protocol: "4.0", Nonce: "0x5", Environment: "production", Responses: []response{{
			Identifier: "orb", Schema: 1, Nullifier: "0x63", Expires: expires, Proof: []string{"", "", "", "", "0x1267"},
		}}}
		// what the proof is of
		n := func(v uint64) (e semaphore.Element) { e.SetUint64(v); return e }
		public := []semaphore.Element{nullifier, n(1), x, x, n(expires), {}, root, n(30), n(7), semaphore.HashToField([]byte("enrol-orb-1")), x, x, signalHash(anna), nonce, {}}
		copy(base.Responses[0].Proof, small(t, f.prove(public)))
		evidence := func(change func(*world4, *response)) Evidence {
			in := base
			in.Responses = []response{base.Responses[0]}
			in.Responses[0].Proof = append([]string(nil), base.Responses[0].Proof...)
			if change != nil {
				change(&in, &in.Responses[0])
			}
			b, _ := json.Marshal(in)
			return Evidence{Commitment: anna, Text: string(b)}
		}
		got, err := s.Verify(t.Context(), evidence(nil))
		if err != nil || got.Unique == [32]byte{} {
			t.Fatal(err)
		}
		var asked string
		s.Roots = rootsFunc(func(q Question) bool { asked = string(q.Forward); return true })
		twice := evidence(nil)
		twice.Text = `{"responses":[{"proof":["0x1","0x1","0x1","0x1","0x1"]}],` + strings.Replace(twice.Text[1:], `"responses"`, `"Responses"`, 1)
		if _, err := s.Verify(t.Context(), twice); err != nil || strings.Count(strings.ToLower(asked), `"responses"`) != 1 || !strings.Contains(asked, "0x1267") {
			t.Errorf("the vendor is asked of another proof than the one checked here: %v %s", err, asked)
		}
		s.Roots = RootList{root}
		for name, change := range map[string]func(*world4, *response){
			"protocol 3.0":      func(w *world4, _ *response) { w.Protocol = "3.0" },
			"no protocol":       func(w *world4, _ *response) { w.Protocol = "" },
			"staging":           func(w *world4, _ *response) { w.Environment = "staging" },
			"another schema":    func(_ *world4, r *response) { r.Schema = 2 },
			"no response":       func(w *world4, _ *response) { w.Responses = nil },
			"two responses":     func(w *world4, r *response) { w.Responses = append(w.Responses, *r) },
			"another nonce":     func(w *world4, _ *response) { w.Nonce = "0x6" },
			"another nullifier": func(_ *world4, r *response) { r.Nullifier = "0x64" },
			"a later expiry":    func(_ *world4, r *response) { r.Expires++ },
			"a root too few":    func(_ *world4, r *response) { r.Proof = r.Proof[:4] },
			"another root":      func(_ *world4, r *response) { r.Proof[4] = "0x1" },
		} {
			if _, err := s.Verify(t.Context(), evidence(change)); !isRefused(err, "") {
				t.Errorf("%s: %v", name, err)
			}
		}
		other := evidence(nil)
		other.Commitment = semaphore.NewIdentity().Commitment()
		if _, err := s.Verify(t.Context(), other); !isRefused(err, "does not verify") {
			t.Errorf("another commitment: %v", err)
		}
		time.Sleep(2 * time.Hour)
		if _, err := s.Verify(t.Context(), evidence(nil)); !isRefused(err, "expired") {
			t.Errorf("after its time: %v", err)
		}
		s.Grace = 3 * time.Hour
		if _, err := s.Verify(t.Context(), evidence(nil)); err != nil {
			t.Errorf("within the grace: %v", err)
		}
	})
}

func TestRootsAreAskedOfAChainAndOfTheVendor(t *testing.T) {
	var root semaphore.Element
	root.SetUint64(4711)
	reply, status := "", 200
	var asked string
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := make([]byte, 4096)
		n, _ := r.Body.Read(b)
		asked = string(b[:n])
		w.WriteHeader(status)
		fmt.Fprint(w, reply)
	}))
	defer node.Close()
	result := func(words ...string) string {
		return `{"jsonrpc":"2.0","id":1,"result":"0x` + strings.Join(words, "") + `"}`
	}
	zero, one, own := strings.Repeat("0", 64), strings.Repeat("0", 63)+"1", semaphore.Hex(root)
	v3 := RPC{Client: node.Client(), URL: node.URL, Contract: "0x" + strings.Repeat("1", 40), Version: 3}
	v4 := v3
	v4.Version = 4
	api := API{Client: node.Client(), URL: node.URL}
	for _, c := range []struct {
		roots  Roots
		status int
		reply  string
		want   string
	}{
		{v3, 200, result(own, zero, one), "yes"},
		{v3, 200, result(own, one, zero), "no"},
		{v3, 200, result(zero, zero, zero), "no"},
		{v3, 200, result(one, zero, one), "no"}, // about another root
		{v3, 200, result(), "error"},            // no contract there
		{v3, 200, `{"error":{"message":"busy"}}`, "error"},
		{v3, 502, "bad gateway", "error"},
		{v4, 200, result(one), "yes"},
		{v4, 200, result(zero), "no"},
		{v4, 200, result(own), "error"},
		{v4, 200, result(), "error"},
		{api, 200, `{"success":true}`, "yes"},
		{api, 400, `{"success":false,"code":"invalid_proof"}`, "no"},
		{api, 200, `{"success":false}`, "error"},
		{api, 429, `{}`, "error"},
		{api, 200, `<html>`, "error"},
	} {
		status, reply = c.status, c.reply
		ok, err := c.roots.Valid(context.Background(), Question{Root: root, Forward: []byte(`{"x":1}`)})
		got := map[bool]string{true: "yes", false: "no"}[ok]
		if err != nil {
			got = "error"
		}
		if got != c.want {
			t.Errorf("%d %s: %s %v, want %s", c.status, c.reply, got, err, c.want)
		}
	}
	if asked != `{"x":1}` {
		t.Errorf("the vendor is told %s", asked)
	}
	if got := hex.EncodeToString(selector("isValidRoot(uint256)")); len(got) != 8 {
		t.Error(got)
	}
}
