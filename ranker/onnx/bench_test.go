package onnx

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"agora/ranker/feature"
)

func catalogueFloats(n int) []string {
	var names []string
	for _, f := range feature.Catalogue() {
		if f.Shape == "N" && f.Type == feature.Float32 && len(names) < n {
			names = append(names, f.Name)
		}
	}
	return names
}

// coreTime is what the process has used of its cores so far; unlike the clock
// it does not count others on the machine.
func coreTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

type named struct {
	name  string
	model []byte
}

// shipped is every model that comes with the program.
func shipped(t testing.TB) (all []named) {
	t.Helper()
	paths, err := filepath.Glob("../builtin/*.onnx")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		model, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, named{"builtin/" + strings.TrimSuffix(filepath.Base(path), ".onnx"), model})
	}
	return all
}

// resident is the memory of this process that is in RAM, in MB.
func resident(t testing.TB) float64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(string(bytes.Fields(text)[1]))
	if err != nil {
		t.Fatal(err)
	}
	return float64(pages*os.Getpagesize()) / 1e6
}

// BenchmarkResident is the memory of the library, and of every shipped model
// after pages of 2,000 candidates. Run it by itself.
func BenchmarkResident(b *testing.B) {
	began := resident(b)
	testRuntime(b)
	library := resident(b)
	var all []*Session
	for _, m := range shipped(b) {
		all = append(all, load(b, m.model))
	}
	for b.Loop() {
		for _, s := range all {
			if _, err := s.trial(b.Context(), 2000); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(began, "MB-before")
	b.ReportMetric(library-began, "MB-library")
	b.ReportMetric(resident(b)-library, "MB-models")
}

// BenchmarkPage fills and scores 2,000 candidates, as a page does.
func BenchmarkPage(b *testing.B) {
	all := catalogueFloats(200)
	for _, c := range append(shipped(b), []named{
		{"linear/12", linearModel(all[:12])},
		{"linear/60", linearModel(all[:60])},
		{"dense/60x32x16", denseModel(all[:60], 32, 16)},
		{"trees/60x200x5", treeModel(all[:60], 200, 5, 5)},
		{"trees/60x300x5", treeModel(all[:60], 300, 5, 5)},
		{"trees/60x500x6", treeModel(all[:60], 500, 6, 5)},
	}...) {
		for _, n := range []int{200, 2000} {
			b.Run(fmt.Sprintf("%s/n=%d", c.name, n), func(b *testing.B) {
				s := load(b, c.model)
				facts, batch := feature.Sample(1, n), feature.Batch{}
				for _, knob := range s.plan.Knobs() {
					facts.Knobs[knob] = 1
				}
				began := coreTime()
				for b.Loop() {
					if err := s.plan.Fill(facts, &batch); err != nil {
						b.Fatal(err)
					}
					if _, err := s.Score(b.Context(), batch); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportMetric(float64(b.N)*float64(n)/(coreTime()-began).Seconds(), "candidates/s/core")
			})
		}
	}
}

// BenchmarkOne is the cost of one small request, alone and among many.
func BenchmarkOne(b *testing.B) {
	for _, clients := range []int{1, 16, 128} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			s := load(b, denseModel(catalogueFloats(16), 32))
			batch, err := s.sample(feature.Sample(1, 1))
			if err != nil {
				b.Fatal(err)
			}
			b.SetParallelism(max(1, clients/2))
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := s.Score(b.Context(), batch); err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
