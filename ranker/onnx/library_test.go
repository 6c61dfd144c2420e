package onnx

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"agora/ranker"
)

func TestMissingLibraryNamesTheFix(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text.so")
	if err := os.WriteFile(text, []byte("no library"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, library := range map[string]string{
		"none": filepath.Join(dir, "none.so"), "a directory": dir, "no library": text, "next to the program": "",
	} {
		_, err := New(Config{Library: library, Admit: func(ranker.Digest) bool { return true }})
		missing, ok := errors.AsType[*MissingError](err)
		if !ok || !errors.Is(err, ranker.ErrNoRuntime) || ranker.Reason(err) != "runtime" {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !strings.Contains(missing.Error(), "make onnxruntime") || !strings.Contains(missing.Error(), "AGORA_ONNXRUNTIME") {
			t.Errorf("%s: no fix in %v", name, missing)
		}
	}
}

func TestVersionsAreComparedByNumber(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"1.30.0", "1.30.0", false}, {"1.24.3", "1.30.0", true}, {"1.9.0", "1.30.0", true}, {"2.0", "1.30.0", false},
		{"1.30", "1.30.0", false}, {"1.30.1", "1.30.0", false}, {"", "1.30.0", true}, {"1.31.0-dev", "1.30.0", false},
	} {
		if older(c.a, c.b) != c.want {
			t.Errorf("older(%q, %q) is not %v", c.a, c.b, c.want)
		}
	}
}
