// Package onnx runs models with the ONNX runtime, a C library that is opened
// when the program starts and that the program lives without. It is the only
// package that knows that library.
//
// # What may run
//
// Config.Admit is asked about the digest of every model, and nothing else is
// ever given to the library. A model must also keep the contract: inputs that
// are in the catalogue of ranker/feature, one output scores float32[N], all its
// data in its file.
//
// # How it runs
//
// A run uses one thread, does not spin while it waits, and there are never more
// runs at once than cores; who comes next waits or is joined to the next run.
// Many candidates are two runs, which are made side by side where cores rest.
// Tensors are used again. When the time of a request is up, it has its answer
// at once and the run is told to end; a run that cannot end in the middle of an
// operation keeps its core until that is over.
//
// # Where it runs
//
// CUDA when its provider library is next to the runtime and works, else WebGPU
// on an adapter that is no CPU, else the CPU. A model whose scores on a GPU
// differ from those on the CPU by more than Tolerance runs on the CPU, and
// Session.Note says so.
package onnx

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"time"

	"agora/ranker"
	"agora/ranker/feature"

	ort "github.com/yalue/onnxruntime_go"
)

// Tolerance is how far scores of a GPU may lie from those of the CPU: absolute
// for scores up to 1, relative above.
const Tolerance = 1e-4

// probe.onnx gives back its input author.trust as scores.
//
//go:embed probe.onnx
var probe []byte

// trialTime is how long the trial runs of one model may take together.
const trialTime = 5 * time.Second

// Config of a Runtime.
type Config struct {
	Library string                   // path of libonnxruntime.so.1; "": next to the program
	Device  Device                   // "": Auto
	Admit   func(ranker.Digest) bool // which models may be loaded; required
	Logger  *slog.Logger             // nil: slog.Default
}

// Runtime is the library, opened. One process opens one library, once; it
// stays until the process ends.
type Runtime struct {
	cfg     Config
	library string
	version string
	device  Device
	refused error // why it is not the one that the setting names
	found   []Found
	slots   chan struct{} // runs under way, one per core; when full: requests wait, and small ones join the next run
}

// New opens the library and chooses the device. The error is a *MissingError
// when models cannot run here. A device that is named and cannot be used is
// none: models run on the CPU, and Refused says why.
func New(cfg Config) (*Runtime, error) {
	if cfg.Admit == nil {
		return nil, errors.New("onnx: somebody must say which models are admitted")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Device == "" {
		cfg.Device = Auto
	}
	library, err := find(cfg.Library)
	if err != nil {
		return nil, err
	}
	version, err := libraryVersion(library)
	if err != nil {
		return nil, err
	}
	if !ort.IsInitialized() {
		ort.SetSharedLibraryPath(library)
		// the library's own log says what its errors say
		if err := ort.InitializeEnvironment(ort.WithLogLevelFatal()); err != nil {
			return nil, &MissingError{[]string{library}, library, oneLine(err)}
		}
	}
	r := &Runtime{cfg: cfg, library: library, version: version, device: CPU, slots: make(chan struct{}, runtime.GOMAXPROCS(0))}
	if cfg.Device == CPU {
		return r, nil
	}
	r.found = machine(r.try).look(library)
	r.device, r.refused = choose(cfg.Device, r.found)
	if r.refused != nil {
		cfg.Logger.Warn("models run on the CPU", "error", r.refused)
	}
	return r, nil
}

// Version is the library's.
func (r *Runtime) Version() string { return r.version }

// Library is the path of the library.
func (r *Runtime) Library() string { return r.library }

// Device is where models run.
func (r *Runtime) Device() Device { return r.device }

// Refused says why models do not run on the device that the setting names; nil
// when they do.
func (r *Runtime) Refused() error { return r.refused }

// Devices tells about every device, in the order of preference.
func (r *Runtime) Devices() []Found {
	if r.found == nil {
		r.found = machine(r.try).look(r.library)
	}
	return r.found
}

// try runs a model of one operation on a device.
func (r *Runtime) try(d Device) error {
	graph, err := inspect(probe)
	if err != nil {
		return err
	}
	s, err := r.open(probe, graph, d)
	if err != nil {
		return err
	}
	_, err = s.trial(context.Background(), 3)
	return errors.Join(err, s.Close())
}

// Load makes a session of an admitted model. Making one cannot be interrupted.
func (r *Runtime) Load(ctx context.Context, model []byte) (ranker.Session, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	digest := ranker.Sum(model)
	if !r.cfg.Admit(digest) {
		return nil, fmt.Errorf("%w: %s", ranker.ErrNotAdmitted, digest)
	}
	graph, err := inspect(model)
	if err != nil {
		return nil, err
	}
	if err := graph.contract(); err != nil {
		return nil, err
	}
	s, err := r.open(model, graph, CPU)
	if err != nil {
		return nil, err
	}
	if err := s.settle(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: its trial run: %w", ranker.ErrUnloadable, err), s.Close())
	}
	if r.device == CPU {
		return s, nil
	}
	return r.move(ctx, s, model, graph, digest), nil
}

// move is the session on the chosen GPU, if that computes the same, and
// otherwise the one on the CPU that it was given.
func (r *Runtime) move(ctx context.Context, onCPU *Session, model []byte, graph *Graph, digest ranker.Digest) *Session {
	gpu, err := r.open(model, graph, r.device)
	if err == nil {
		err = agree(ctx, onCPU, gpu)
	}
	return r.keep(onCPU, gpu, err, digest)
}

// keep is the session on the GPU when nothing speaks against it, and closes
// the other.
func (r *Runtime) keep(onCPU, gpu *Session, err error, digest ranker.Digest) *Session {
	if err == nil {
		gpu.isolated = onCPU.isolated
		onCPU.discard(r.cfg.Logger)
		return gpu
	}
	if gpu != nil {
		gpu.discard(r.cfg.Logger)
	}
	onCPU.note = fmt.Sprintf("pinned to the CPU: on %s %s", r.device, oneLine(err))
	r.cfg.Logger.Warn("model stays on the CPU", "model", digest, "device", r.device, "error", oneLine(err))
	return onCPU
}

func (s *Session) discard(log *slog.Logger) {
	if err := s.Close(); err != nil {
		log.Error("close a session", "error", err)
	}
}

// open makes a session on a device.
func (r *Runtime) open(model []byte, graph *Graph, d Device) (*Session, error) {
	plan, err := feature.Compile(graph.Inputs)
	if err != nil {
		return nil, err
	}
	if err := graph.dimensions(plan); err != nil {
		return nil, err
	}
	options, err := sessionOptions(d)
	if err != nil {
		return nil, err
	}
	defer func() { _ = options.Destroy() }() // it only fails when there is none
	names := make([]string, len(graph.Inputs))
	for i, in := range graph.Inputs {
		names[i] = in.Name
	}
	run, err := ort.NewDynamicAdvancedSessionWithONNXData(model, names, []string{"scores"}, options)
	if err != nil {
		return nil, fmt.Errorf("%w: %s", ranker.ErrUnloadable, oneLine(err))
	}
	return &Session{
		inputs: graph.Inputs, plan: plan, device: d, run: run, slots: r.slots,
		free: make(chan *buffers, cap(r.slots)), // sets of tensors; when full: the set is freed
	}, nil
}

func sessionOptions(d Device) (*ort.SessionOptions, error) {
	o, err := ort.NewSessionOptions()
	if err != nil {
		return nil, err
	}
	err = errors.Join(
		o.SetIntraOpNumThreads(1), o.SetInterOpNumThreads(1),
		o.SetExecutionMode(ort.ExecutionModeSequential),
		o.AddSessionConfigEntry("session.intra_op.allow_spinning", "0"),
		o.AddSessionConfigEntry("session.inter_op.allow_spinning", "0"),
		appendDevice(o, d),
	)
	if err != nil {
		return nil, errors.Join(err, o.Destroy())
	}
	return o, nil
}

func appendDevice(o *ort.SessionOptions, d Device) error {
	switch d {
	case WebGPU:
		return o.AppendExecutionProvider("WebGPU", map[string]string{})
	case CUDA:
		cuda, err := ort.NewCUDAProviderOptions()
		if err != nil {
			return err
		}
		// TF32 keeps ten bits of a product: further from the CPU than Tolerance
		err = cuda.Update(map[string]string{"use_tf32": "0"})
		if err == nil {
			err = o.AppendExecutionProviderCUDA(cuda)
		}
		return errors.Join(err, cuda.Destroy())
	}
	return nil
}
