package onnx

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"

	"agora/ranker"
	"agora/ranker/feature"

	ort "github.com/yalue/onnxruntime_go"
)

// buffers is one set of tensors, used by one run at a time. Its memory is
// Go's, pinned while the library may look at it.
type buffers struct {
	n      int
	inputs []input
	out    []float32
	result *ort.Tensor[float32]
	values []ort.Value // the inputs, in the model's order
	stop   *ort.RunOptions
	pin    runtime.Pinner
}

type input struct {
	shape  ort.Shape
	floats []float32
	ints   []int64
}

// shape makes the set fit a batch of n candidates; it does nothing when the
// last batch had as many.
func (s *buffers) shape(b *feature.Batch, n int) (err error) {
	if s.stop == nil {
		if s.stop, err = ort.NewRunOptions(); err != nil {
			return err
		}
	}
	if s.n == n {
		return nil
	}
	s.free()
	s.inputs = slices.Grow(s.inputs, len(b.Inputs))[:len(b.Inputs)]
	for i := range b.Inputs {
		v, err := s.inputs[i].resize(&b.Inputs[i], b.N, n, &s.pin)
		if err != nil {
			return err
		}
		s.values = append(s.values, v)
	}
	s.out = slices.Grow(s.out[:0], n)[:n]
	s.pin.Pin(&s.out[0])
	s.result, err = ort.NewTensor(ort.Shape{int64(n)}, s.out)
	if err == nil {
		s.n = n
	}
	return err
}

// resize makes a tensor like t for n candidates instead of t's.
func (in *input) resize(t *feature.Tensor, had, n int, pin *runtime.Pinner) (ort.Value, error) {
	in.shape = append(in.shape[:0], t.Shape...)
	if had != n { // only batches of one row per candidate are joined
		in.shape[0] = int64(n)
	}
	length := int(in.shape.FlattenedSize())
	if t.Type == feature.Int64 {
		in.ints = slices.Grow(in.ints[:0], length)[:length]
		pin.Pin(&in.ints[0])
		return ort.NewTensor(in.shape, in.ints)
	}
	in.floats = slices.Grow(in.floats[:0], length)[:length]
	pin.Pin(&in.floats[0])
	return ort.NewTensor(in.shape, in.floats)
}

// copyRows puts a batch into the set, its first candidate at row.
func (s *buffers) copyRows(b *feature.Batch, row int) {
	for i := range b.Inputs {
		t := &b.Inputs[i]
		copy(s.inputs[i].floats[row*(len(t.Float)/b.N):], t.Float)
		copy(s.inputs[i].ints[row*(len(t.Int)/b.N):], t.Int)
	}
}

// score runs the model over the set. The scores are the caller's.
func (s *buffers) score(ctx context.Context, run *ort.DynamicAdvancedSession) ([]float32, error) {
	fired := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(fired)
		_ = s.stop.Terminate() // it only fails on a set that was destroyed
	})
	err := run.RunWithOptions(s.values, []ort.Value{s.result}, s.stop)
	if !stop() {
		<-fired
		_ = s.stop.UnsetTerminate() // as above
	}
	switch {
	case err == nil:
		return slices.Clone(s.out), nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%w: %w", ranker.ErrLate, ctx.Err())
	}
	return nil, errors.Join(s.length(run), fmt.Errorf("%w: %s", ranker.ErrFailed, oneLine(err)))
}

// length runs a model that failed once more, without saying how many scores
// there must be: the library fails alike for that and for all else.
func (s *buffers) length(run *ort.DynamicAdvancedSession) error {
	out := []ort.Value{nil}
	if err := run.RunWithOptions(s.values, out, s.stop); err != nil {
		return nil // it is not the length
	}
	defer func() { _ = out[0].Destroy() }() // it never fails
	if got := out[0].GetShape().FlattenedSize(); got != int64(s.n) {
		return fmt.Errorf("%w: %d for %d candidates", ranker.ErrLength, got, s.n)
	}
	return nil
}

// free gives the tensors back and keeps their memory.
func (s *buffers) free() {
	for _, v := range s.values {
		_ = v.Destroy() // it never fails
	}
	if s.result != nil {
		_ = s.result.Destroy() // as above
	}
	s.values, s.result, s.n = s.values[:0], nil, 0
	s.pin.Unpin()
}

func (s *buffers) destroy() {
	s.free()
	if s.stop != nil {
		_ = s.stop.Destroy() // it only fails when there is none
	}
}
