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
//	create()                                              -> {identity, commitment}
//	act({identity, group, members, nodes, event, secret}) -> the signed event
//	join({identity, group, evidence})                     -> {commitment, nullifier, proof, possession, evidence, group}
//	join({identity, invitation})                          -> the same, and {relay}
//
// secret (hex) is the key to sign with; without it a fresh one is made. nodes,
// from /v1/members/<sha256>/nodes, may be left out: then all members are hashed.
// What join gives is the body for POST /v1/groups/<name>/join.
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
	"agora/personhood/enrol"
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

// wayOf finds the identity among the members.
func wayOf(in js.Value, id *semaphore.Identity) (way semaphore.MerkleProof, err error) {
	file, ok := bytesOf(in, "members")
	if !ok {
		return way, errors.New("members is not a Uint8Array")
	}
	if nodes, ok := bytesOf(in, "nodes"); ok {
		way, _, err = personhood.FindWay(file, nodes, id.Commitment())
		return way, err
	}
	members, err := personhood.ParseMembers(file)
	if err != nil {
		return way, err
	}
	i, ok := members.Find(id.Commitment())
	if !ok {
		return way, semaphore.ErrNotMember
	}
	return members.Tree().Prove(i)
}

// bytesOf copies a Uint8Array of the argument.
func bytesOf(in js.Value, name string) ([]byte, bool) {
	list := in.Get(name)
	if !list.InstanceOf(js.Global().Get("Uint8Array")) {
		return nil, false
	}
	b := make([]byte, list.Length())
	js.CopyBytesToGo(b, list)
	return b, true
}

func (h *hall) act(in js.Value) (any, error) {
	id, group, err := who(in)
	if err != nil {
		return nil, err
	}
	way, err := wayOf(in, id)
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
	out, err := personhood.ActAlong(context.Background(), prover, id, group, way, ev, secret)
	if err != nil {
		return nil, err
	}
	return js.Global().Get("JSON").Call("parse", out.String()), nil
}

func (h *hall) join(in js.Value) (any, error) {
	evidence, relay := text(in, "evidence"), ""
	var id *semaphore.Identity
	var group personhood.Address
	var err error
	if word := text(in, "invitation"); word != "" {
		id, group, evidence, relay, err = accept(text(in, "identity"), word)
	} else {
		id, group, err = who(in)
	}
	if err != nil {
		return nil, err
	}
	prover, err := h.prover()
	if err != nil {
		return nil, err
	}
	j, err := personhood.Join(context.Background(), prover, id, group, []byte(evidence))
	if err != nil {
		return nil, err
	}
	proof, possession := j.Proof.Compact(), j.Possession.Compact()
	return map[string]any{
		"commitment": semaphore.Hex(j.Commitment), "nullifier": semaphore.Hex(j.Nullifier), "evidence": evidence,
		"proof": base64.StdEncoding.EncodeToString(proof[:]), "possession": base64.StdEncoding.EncodeToString(possession[:]),
		"group": group.String(), "relay": relay,
	}, nil
}

// accept makes evidence of an invitation.
func accept(identity, word string) (id *semaphore.Identity, group personhood.Address, evidence, relay string, err error) {
	if id, err = semaphore.ParseIdentity(identity); err != nil {
		return nil, group, "", "", err
	}
	inv, err := enrol.ParseInvitation(word)
	if err != nil {
		return nil, group, "", "", err
	}
	evidence, err = inv.Accept(id.Commitment(), enrol.InviterKey(id, inv.Group))
	return id, inv.Group, evidence, inv.Relay, err
}
