package semaphore

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"testing"
)

// vectors is testdata/semaphore-v4-js.json, made with
// @semaphore-protocol/core 4.14.2.
type vectors struct {
	Members   []string          `json:"members"`
	Root      string            `json:"root"`
	Roots     map[string]string `json:"roots"`
	Removed   string            `json:"rootRemoved3of9"`
	Identity0 struct {
		Scalar     string   `json:"secretScalar"`
		Key        string   `json:"privateKeyHex"`
		Point      []string `json:"pk"`
		Commitment string   `json:"commitment"`
	} `json:"identity0"`
	Proofs []json.RawMessage `json:"proofs"`
	Batch  []json.RawMessage `json:"batch"`
}

func readVectors(t testing.TB) (v vectors) {
	t.Helper()
	readJSON(t, "testdata/semaphore-v4-js.json", &v)
	return v
}

func readJSON(t testing.TB, file string, into any) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatal(err)
	}
}

// parsed is a proof of the vectors, without the note of where it is from.
func parsed(t testing.TB, raw []byte) Item {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	delete(m, "source")
	delete(m, "expected_valid")
	raw, _ = json.Marshal(m)
	s, p, err := ParseJSON(raw)
	if err != nil {
		t.Fatal(err)
	}
	return Item{s, p}
}

func batch64(t testing.TB) []Item {
	var items []Item
	for _, raw := range readVectors(t).Batch {
		items = append(items, parsed(t, raw))
	}
	if len(items) != 64 {
		t.Fatalf("%d proofs", len(items))
	}
	return items
}

func TestEmbeddedKeysAreTheCeremonys(t *testing.T) {
	var all map[string]json.RawMessage
	readJSON(t, "testdata/semaphore-v4-verification-keys.json", &all)
	var deltas, ics []json.RawMessage
	if json.Unmarshal(all["vk_delta_2"], &deltas) != nil || json.Unmarshal(all["IC"], &ics) != nil || len(deltas) != MaxDepth || len(ics) != MaxDepth {
		t.Fatal("the file does not hold a key for each depth")
	}
	var want []byte
	for depth := 1; depth <= MaxDepth; depth++ {
		all["vk_delta_2"], all["IC"] = deltas[depth-1], ics[depth-1]
		one, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		key, err := ParseKey(one)
		if err != nil {
			t.Fatalf("depth %d: %v", depth, err)
		}
		shared, own := key.bytes()
		if depth == 1 {
			want = append(want, shared...)
		}
		want = append(want, own...)
	}
	if *update {
		if err := os.WriteFile("keys.bin", want, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !bytes.Equal(keyFile, want) {
		t.Fatal("keys.bin differs from the published keys")
	}
	for depth := 1; depth <= MaxDepth; depth++ {
		if embeddedKey(depth).Inputs() != 4 {
			t.Fatalf("depth %d does not load", depth)
		}
	}
}

func TestProofsMadeInJavaScriptVerify(t *testing.T) {
	v, vec := NewVerifier(), readVectors(t)
	raws := append(vec.Proofs, vec.Batch...)
	for _, file := range []string{"testdata/semaphore-v4-js-proof.json", "testdata/go-made-proof.json"} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		raws = append(raws, b)
	}
	depths := map[int]bool{}
	for i, raw := range raws {
		it := parsed(t, raw)
		depths[it.Statement.Depth] = true
		if err := v.Verify(it.Statement, it.Proof); err != nil {
			t.Errorf("proof %d of depth %d: %v", i, it.Statement.Depth, err)
		}
		compact := it.Proof.Compact()
		again, err := ParseCompact(compact[:])
		if err != nil || again != it.Proof {
			t.Errorf("proof %d: compact form does not come back: %v", i, err)
		}
	}
	if len(depths) < 4 {
		t.Fatalf("only depths %v", depths)
	}
}

// member is member i of the vectors.
func member(i int) *Identity {
	return IdentityOf(sha256.Sum256(fmt.Appendf(nil, "bizarre-member-%d", i)))
}
