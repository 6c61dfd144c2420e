package onnx

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files again")

// TestProbeIsWhatTheBuilderMakes keeps the embedded model and its source
// together, and the models that tests of other rooms use.
func TestProbeIsWhatTheBuilderMakes(t *testing.T) {
	for name, want := range map[string][]byte{
		"../probe.onnx": identityModel(),
		"linear.onnx":   linearModel([]string{"note.age_hours", "author.trust", "count.likes_trust", "pair.follows"}),
		"crowd.onnx":    crowdModel(),
		"nan.onnx":      simple("Log"),
		"unknown.onnx":  linearModel([]string{"author.turst"}),

		"fold-memory.onnx": foldMemoryModel(),
		"fold-time.onnx":   foldTimeModel(),
		"run-memory.onnx":  runMemoryModel(),
		"endless.onnx":     endlessModel(),
	} {
		path := filepath.Join("testdata", name)
		if *update {
			if err := os.WriteFile(path, want, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the builder makes: go test ./ranker/onnx -update", path)
		}
	}
}
