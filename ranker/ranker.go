// Package ranker runs models that rank notes, within a budget. A model is an
// ONNX file and is named by its SHA-256; what it computes it with is a Runtime
// (onnx.Runtime is the one we have), and the numbers that go in come from
// ranker/feature. A model that is missing, late or wrong is an answer too: the
// error says which, and its caller shows another page.
package ranker

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"

	"agora/ranker/feature"
)

// Digest is the SHA-256 of a model's file, and its name.
type Digest [sha256.Size]byte

// Sum is the digest of a model.
func Sum(model []byte) Digest { return sha256.Sum256(model) }

// ParseDigest reads 64 lower-case hex digits.
func ParseDigest(text string) (Digest, error) {
	var d Digest
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != len(d) || hex.EncodeToString(raw) != text {
		return d, fmt.Errorf("%q is no model digest: want 64 lower-case hex digits, as sha256sum prints", text)
	}
	return Digest(raw), nil
}

func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// MarshalText writes 64 hex digits.
func (d Digest) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (d *Digest) UnmarshalText(text []byte) (err error) {
	*d, err = ParseDigest(string(text))
	return err
}

// Runtime makes models runnable; *onnx.Runtime does. It refuses a model that
// may not run here (ErrNotAdmitted) and one whose inputs or output are not the
// contract (*feature.InputError, ErrContract).
type Runtime interface {
	Load(ctx context.Context, model []byte) (Session, error)
}

// Session is a loaded model. It may be used by many goroutines.
type Session interface {
	// Inputs is what the model declares, in its order.
	Inputs() []feature.Input
	// Score gives one finite number per candidate. It is done with the batch
	// when it returns. When ctx ends first, the error is ErrLate.
	Score(ctx context.Context, b feature.Batch) ([]float32, error)
	// Close waits for what is running.
	Close() error
}

// What goes wrong, for callers that branch.
var (
	ErrNoRuntime   = errors.New("no usable ONNX runtime")
	ErrNotAdmitted = errors.New("this model is not admitted here")
	ErrContract    = errors.New("the model breaks the contract")
	ErrUnloadable  = errors.New("the model cannot be loaded")
	ErrLate        = errors.New("the model was too late")
	ErrFailed      = errors.New("the model failed")
	ErrLength      = errors.New("the model gave the wrong number of scores")
	ErrNotFinite   = errors.New("the model gave a score that is no number")
	ErrClosed      = errors.New("the model was put away")
)

// Reason is one word for what went wrong, for metrics and for readers; "" for
// a nil error.
func Reason(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, ErrNoRuntime):
		return "runtime"
	case errors.Is(err, ErrNotAdmitted):
		return "admission"
	case errors.Is(err, ErrLate), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return "late"
	case errors.Is(err, ErrLength):
		return "length"
	case errors.Is(err, ErrNotFinite):
		return "nan"
	case errors.Is(err, ErrUnloadable), errors.Is(err, ErrContract):
		return "unloadable"
	}
	if _, ok := errors.AsType[*feature.InputError](err); ok {
		return "unloadable"
	}
	return "failed"
}

// CheckScores is what every Session holds its model to: n scores, all finite.
func CheckScores(scores []float32, n int) error {
	if len(scores) != n {
		return fmt.Errorf("%w: %d for %d candidates", ErrLength, len(scores), n)
	}
	for i, s := range scores {
		if f := float64(s); math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("%w: %v for candidate %d of %d", ErrNotFinite, s, i, n)
		}
	}
	return nil
}
