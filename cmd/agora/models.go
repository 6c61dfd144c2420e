package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"agora/ranker"
	"agora/ranker/onnx"

	"github.com/prometheus/client_golang/prometheus"
)

// models are the ONNX files that may run on this relay, by digest: those that
// come with it, and those that the settings name. Nothing else reaches the
// runtime.
type models map[ranker.Digest][]byte

// Model is a ranker.Source.
func (m models) Model(_ context.Context, d ranker.Digest) ([]byte, error) {
	if file, ok := m[d]; ok {
		return file, nil
	}
	return nil, fmt.Errorf("%w: %s", ranker.ErrNotAdmitted, d)
}

func (m models) admits(d ranker.Digest) bool {
	_, ok := m[d]
	return ok
}

// addNamed reads the files of the setting models.
func (m models) addNamed(paths []string) error {
	for _, path := range paths {
		file, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("models: %w", err)
		}
		if _, err := onnx.Inputs(file); err != nil {
			return fmt.Errorf("models: %s: %w (agora ranker check says more)", path, err)
		}
		m[ranker.Sum(file)] = file
	}
	return nil
}

// openShelf makes the shelf that feeds score with. Without a usable runtime it
// says so once and every model answers that; the relay itself goes on.
func openShelf(cfg Config, m models, metrics prometheus.Registerer, log *slog.Logger) (*ranker.Shelf, error) {
	with := ranker.Config{Models: m, Budget: cfg.ModelTime.Duration, Metrics: metrics}
	runtime, err := openRuntime(cfg, m.admits)
	switch {
	case err == nil:
		with.Runtime = runtime
		log.Info("models run", "device", runtime.Device(), "onnxruntime", runtime.Version())
	case errors.Is(err, ranker.ErrNoRuntime):
		with.Missing = err
		log.Warn("models do not run; feeds show their fallbacks", "error", err)
	default:
		return nil, err
	}
	return ranker.NewShelf(with)
}
