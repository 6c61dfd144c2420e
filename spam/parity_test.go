package spam

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// lines reads a .jsonl.zst out of testdata.
func lines[T any](t testing.TB, name string) []T {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	r, err := zstd.NewReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var all []T
	in := bufio.NewScanner(r)
	in.Buffer(nil, 1<<22)
	for in.Scan() {
		var one T
		if err := json.Unmarshal(in.Bytes(), &one); err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	return all
}

func model(t testing.TB) *Model {
	t.Helper()
	m, err := Shipped()
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestGoSeesBitForBitWhatTheTrainerSaw(t *testing.T) {
	type fixture struct {
		Raw       string
		Rows      int
		CRC       uint32
		Structure []float64
		Script    string
		Logits    []float64
		Vector    []float64
	}
	m, tx := model(t), newText()
	v, err := readVectors(shippedVectors)
	if err != nil {
		t.Fatal(err)
	}
	all := lines[fixture](t, "parity.jsonl.zst")
	if len(all) < 300 {
		t.Fatalf("only %d fixtures", len(all))
	}
	for _, f := range all {
		raw, err := base64.StdEncoding.DecodeString(f.Raw)
		if err != nil {
			t.Fatal(err)
		}
		tx.read(string(raw))
		tx.gather()
		rows := slices.Sorted(slices.Values(tx.rows))
		var le []byte
		for _, r := range rows {
			le = binary.LittleEndian.AppendUint32(le, r)
		}
		if len(rows) != f.Rows || crc32.ChecksumIEEE(le) != f.CRC || tx.script().String() != f.Script {
			t.Errorf("%.60q: %d rows (%s), the trainer saw %d (%s)", raw, len(rows), tx.script(), f.Rows, f.Script)
			continue
		}
		var s [structures]float32
		tx.structure(&s)
		for i, v := range s {
			if float64(v) != f.Structure[i] {
				t.Errorf("%.60q: structure %d is %v, the trainer saw %v", raw, i, v, f.Structure[i])
			}
		}
		var vector [vectorSize]float32
		v.vector(tx.rows, &vector)
		for i, x := range vector {
			if float64(x) != f.Vector[i] {
				t.Errorf("%.60q: number %d of the vector is %v, the trainer saw %v", raw, i, x, f.Vector[i])
			}
		}
		out := m.judge(tx, &s)
		for i, v := range out {
			if v != f.Logits[i] {
				t.Errorf("%.60q: head %d says %v, the trainer's %v", raw, i, v, f.Logits[i])
			}
		}
	}
}

func TestModelThatIsDamagedIsRefusedWithTheReason(t *testing.T) {
	if size := len(shipped) + len(shippedVectors) + len(secondONNX) + len(tier0ONNX) + len(shippedHead); size > 8_000_000 {
		t.Fatalf("the models have %d bytes, more than 8 MB", size)
	}
	for name, raw := range map[string][]byte{"empty": nil, "cut": shippedVectors[:1<<20], "changed": append(bytes.Clone(shippedVectors), 0), "other": shipped} {
		if _, err := readVectors(raw); !errors.Is(err, ErrModel) {
			t.Errorf("tier 1, %s: %v", name, err)
		}
	}
	flipped := bytes.Clone(shipped)
	flipped[len(flipped)/2] ^= 1
	for name, raw := range map[string][]byte{
		"empty": nil, "short": shipped[:20], "cut": shipped[:len(shipped)-100], "flipped": flipped, "other": []byte(strings.Repeat("x", 500)),
	} {
		if _, err := ReadModel(raw); err == nil {
			t.Errorf("%s: was taken", name)
		} else if !strings.Contains(err.Error(), "cannot be used: ") {
			t.Errorf("%s: %v gives no reason", name, err)
		}
	}
}
