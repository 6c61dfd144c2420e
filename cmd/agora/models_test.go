package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"agora/ranker"
	catalogue "agora/ranker/feature"
)

func TestWithoutAUsableRuntimeModelsSayTheFixAndTheRestGoesOn(t *testing.T) {
	cfg := defaults()
	cfg.Runtime = filepath.Join(t.TempDir(), "none.so")
	shelf, err := openShelf(cfg, models{}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	_, err = shelf.Score(t.Context(), ranker.Digest{}, catalogue.Batch{N: 1})
	if !errors.Is(err, ranker.ErrNoRuntime) || !strings.Contains(err.Error(), "make onnxruntime") {
		t.Errorf("%v", err)
	}
}

func TestOnlyModelsThatTheSettingsNameAreServed(t *testing.T) {
	path := "../../ranker/onnx/testdata/linear.onnx"
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cfg, m := defaults(), models{}
	cfg.Runtime, cfg.Device = "../../bin/libonnxruntime.so.1", "cpu"
	if err := m.addNamed([]string{path}); err != nil {
		t.Fatal(err)
	}
	shelf, err := openShelf(cfg, m, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer shelf.Close()
	plan, err := shelf.Plan(t.Context(), ranker.Sum(file))
	if err != nil {
		t.Fatal(err)
	}
	var b catalogue.Batch
	if err := plan.Fill(catalogue.Sample(1, 40), &b); err != nil {
		t.Fatal(err)
	}
	if scores, err := shelf.Score(t.Context(), ranker.Sum(file), b); err != nil || len(scores) != 40 {
		t.Errorf("%d scores, %v", len(scores), err)
	}
	other, err := os.ReadFile("../../ranker/onnx/testdata/crowd.onnx")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := shelf.Plan(context.Background(), ranker.Sum(other)); !errors.Is(err, ranker.ErrNotAdmitted) {
		t.Errorf("a model that nobody named: %v", err)
	}
	if err := m.addNamed([]string{"missing.onnx"}); err == nil {
		t.Error("a missing file is taken")
	}
}
