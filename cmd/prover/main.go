//go:build js && wasm

// Prover is personhood for a browser: built for js/wasm and started in a
// worker, it makes proofs without any other library.
//
//	GOOS=js GOARCH=wasm go build -o prover.wasm ./cmd/prover
//
// It sets globalThis.agoraPerson with three functions. Each takes one object
// and returns a Promise; an identity is a private key in base64, members the
// bytes of a whole members file.
//
//	create()                                        -> {identity, commitment}
//	act({identity, group, members, event, secret})  -> the signed event
//	join({identity, group, evidence})               -> {commitment, nullifier, proof}
//
// secret (hex) is the key to sign with; without it a fresh one is made.
package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"syscall/js"

	"agora/personhood"
	"agora/personhood/semaphore"

	"github.com/nbd-wtf/go-nostr"
)

func main() {
	h := &hall{prover: sync.OnceValues(func() (*semaphore.Prover, error) { return semaphore.NewProver(context.Background()) })}
	functions := js.Global().Get("Object").New()
	functions.Set("create", promised(create))
	functions.Set("act", promised(h.act))
	functions.Set("join", promised(h.join))
	js.Global().Set("agoraPerson", functions)
	select {} // the functions live as long as the worker
}

// hall keeps the one prover, which is made when it is first needed.
type hall struct {
	prover func() (*semaphore.Prover, error)
}

// promised makes a function of one argument that answers with a Promise of
// JSON, parsed.
func promised(f func(js.Value) (any, error)) js.Func {
	return js.FuncOf(func(_ js.Value, args []js.Value) any {
		in := js.Undefined()
		if len(args) > 0 {
			in = args[0]
		}
		var start js.Func
		start = js.FuncOf(func(_ js.Value, settle []js.Value) any {
			go func() {
				defer start.Release()
				out, err := f(in)
				if err != nil {
					settle[1].Invoke(js.Global().Get("Error").New(err.Error()))
					return
				}
				settle[0].Invoke(out)
			}()
			return nil
		})
		return js.Global().Get("Promise").New(start)
	})
}

// text is a string field of the argument, "" when it is missing.
func text(in js.Value, name string) string {
	if in.Type() != js.TypeObject {
		return ""
	}
	if v := in.Get(name); v.Type() == js.TypeString {
		return v.String()
	}
	return ""
}

func create(js.Value) (any, error) {
	id := semaphore.NewIdentity()
	return map[string]any{"identity": id.Export(), "commitment": semaphore.Hex(id.Commitment())}, nil
}

// who reads the identity and group of the argument.
func who(in js.Value) (*semaphore.Identity, personhood.Address, error) {
	id, err := semaphore.ParseIdentity(text(in, "identity"))
	if err != nil {
		return nil, personhood.Address{}, err
	}
	group, err := personhood.ParseAddress(text(in, "group"))
	return id, group, err
}

func (h *hall) act(in js.Value) (any, error) {
	id, group, err := who(in)
	if err != nil {
		return nil, err
	}
	list := in.Get("members")
	if !list.InstanceOf(js.Global().Get("Uint8Array")) {
		return nil, errors.New("members is not a Uint8Array")
	}
	file := make([]byte, list.Length())
	js.CopyBytesToGo(file, list)
	members, err := personhood.ParseMembers(file)
	if err != nil {
		return nil, err
	}
	var ev nostr.Event
	if err := json.Unmarshal([]byte(js.Global().Get("JSON").Call("stringify", in.Get("event")).String()), &ev); err != nil {
		return nil, fmt.Errorf("the event: %w", err)
	}
	if ev.CreatedAt == 0 {
		ev.CreatedAt = nostr.Now()
	}
	secret := text(in, "secret")
	if secret == "" {
		secret = nostr.GeneratePrivateKey()
	}
	prover, err := h.prover()
	if err != nil {
		return nil, err
	}
	out, err := personhood.Act(context.Background(), prover, id, group, members, ev, secret)
	if err != nil {
		return nil, err
	}
	return js.Global().Get("JSON").Call("parse", out.String()), nil
}

func (h *hall) join(in js.Value) (any, error) {
	id, group, err := who(in)
	if err != nil {
		return nil, err
	}
	prover, err := h.prover()
	if err != nil {
		return nil, err
	}
	j, err := personhood.Join(context.Background(), prover, id, group, []byte(text(in, "evidence")))
	if err != nil {
		return nil, err
	}
	proof := j.Proof.Compact()
	return map[string]any{
		"commitment": semaphore.Hex(j.Commitment), "nullifier": semaphore.Hex(j.Nullifier),
		"proof": base64.StdEncoding.EncodeToString(proof[:]),
	}, nil
}
