//go:build js

package semaphore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"syscall/js"
)

// circuit is circom's witness calculator under the WebAssembly engine that
// runs this program too. Compiling blocks, as only workers and Node allow.
type circuit struct {
	mu      sync.Mutex // guards what follows: the calculator has one memory
	exports js.Value
	memory  js.Value
	shared  int // where the calculator exchanges one element of 32 bytes
	host    []js.Func
}

func newCircuit(_ context.Context, wasm []byte) (c *circuit, err error) {
	defer caught(&err)
	bytes := js.Global().Get("Uint8Array").New(len(wasm))
	js.CopyBytesToJS(bytes, wasm)
	c = new(circuit)
	imports := js.Global().Get("Object").New()
	for _, name := range []string{"exceptionHandler", "printErrorMessage", "writeBufferMessage", "showSharedRWMemory"} {
		f := js.FuncOf(func(js.Value, []js.Value) any { return nil })
		c.host = append(c.host, f)
		imports.Set(name, f)
	}
	all := js.Global().Get("Object").New()
	all.Set("runtime", imports)
	engine := js.Global().Get("WebAssembly")
	module := engine.Get("Module").New(bytes)
	c.exports = engine.Get("Instance").New(module, all).Get("exports")
	c.memory = c.exports.Get("memory")
	c.shared = c.exports.Call("getSharedRWMemoryStart").Int()
	return c, nil
}

// caught turns an exception of the engine into an error.
func caught(err *error) {
	switch e := recover().(type) {
	case nil:
	case js.Error:
		*err = fmt.Errorf("the WebAssembly engine: %w", e)
	default:
		panic(e)
	}
}

func (c *circuit) close(context.Context) error {
	for _, f := range c.host {
		f.Release()
	}
	return nil
}

// view is the exchanged element; the memory may have grown since the last.
func (c *circuit) view() js.Value {
	return js.Global().Get("Uint8Array").New(c.memory.Get("buffer"), c.shared, 32)
}

// witness computes all signals of the circuit, vars of them.
func (c *circuit) witness(_ context.Context, vars int, in []signal) (out []Element, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	defer caught(&err)
	c.exports.Call("init", 1)
	for _, s := range in {
		hi, lo := signalHash(s.name)
		for i, v := range s.values {
			word := littleEndian(v)
			js.CopyBytesToJS(c.view(), word[:])
			c.exports.Call("setInputSignal", int32(hi), int32(lo), i)
		}
	}
	shared, out := c.view(), make([]Element, vars)
	var raw [32]byte
	for i := range out {
		c.exports.Call("getWitness", i)
		if js.CopyBytesToGo(raw[:], shared) != len(raw) {
			return nil, errors.New("the circuit's memory moved")
		}
		if out[i], err = fromLittleEndian(raw[:]); err != nil {
			return nil, fmt.Errorf("witness %d: %w", i, err)
		}
	}
	return out, nil
}
