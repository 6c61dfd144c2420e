//go:build !js

package semaphore

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// circuit is circom's witness calculator under wazero: pure Go, compiled to
// machine code on amd64 and arm64, interpreted elsewhere.
type circuit struct {
	runtime wazero.Runtime

	mu     sync.Mutex // guards what follows: the calculator has one memory
	module api.Module
	shared uint32 // where the calculator exchanges one element of 32 bytes
}

func newCircuit(ctx context.Context, wasm []byte) (_ *circuit, err error) {
	c := &circuit{runtime: wazero.NewRuntime(ctx)}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close(ctx))
		}
	}()
	host := c.runtime.NewHostModuleBuilder("runtime")
	host.NewFunctionBuilder().WithFunc(func(context.Context, uint32) {}).Export("exceptionHandler")
	for _, name := range []string{"printErrorMessage", "writeBufferMessage", "showSharedRWMemory"} {
		host.NewFunctionBuilder().WithFunc(func() {}).Export(name)
	}
	if _, err := host.Instantiate(ctx); err != nil {
		return nil, err
	}
	if c.module, err = c.runtime.Instantiate(ctx, wasm); err != nil {
		return nil, err
	}
	start, err := c.call(ctx, "getSharedRWMemoryStart")
	if err != nil {
		return nil, err
	}
	c.shared = uint32(start)
	return c, nil
}

func (c *circuit) close(ctx context.Context) error { return c.runtime.Close(ctx) }

func (c *circuit) call(ctx context.Context, name string, args ...uint64) (uint64, error) {
	f := c.module.ExportedFunction(name)
	if f == nil {
		return 0, fmt.Errorf("the circuit has no %s", name)
	}
	out, err := f.Call(ctx, args...)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	if len(out) == 0 {
		return 0, nil
	}
	return out[0], nil
}

// witness computes all signals of the circuit, vars of them.
func (c *circuit) witness(ctx context.Context, vars int, in []signal) ([]Element, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := c.call(ctx, "init", 1); err != nil {
		return nil, err
	}
	memory := c.module.Memory()
	for _, s := range in {
		hi, lo := signalHash(s.name)
		for i, v := range s.values {
			word := littleEndian(v)
			if !memory.Write(c.shared, word[:]) {
				return nil, errors.New("the circuit's memory is too small")
			}
			if _, err := c.call(ctx, "setInputSignal", uint64(hi), uint64(lo), uint64(i)); err != nil {
				return nil, fmt.Errorf("signal %s: %w", s.name, err)
			}
		}
	}
	out := make([]Element, vars)
	for i := range out {
		if _, err := c.call(ctx, "getWitness", uint64(i)); err != nil {
			return nil, err
		}
		raw, ok := memory.Read(c.shared, 32)
		if !ok {
			return nil, errors.New("the circuit's memory is too small")
		}
		var err error
		if out[i], err = fromLittleEndian(raw); err != nil {
			return nil, fmt.Errorf("witness %d: %w", i, err)
		}
	}
	return out, nil
}
