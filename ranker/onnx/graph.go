package onnx

import (
	"fmt"
	"slices"

	"agora/ranker"
	"agora/ranker/feature"

	"google.golang.org/protobuf/encoding/protowire"
)

// Graph is what an ONNX file says of itself, as far as the contract needs it.
type Graph struct {
	Inputs  []feature.Input // without those that are initializers
	Outputs []feature.Input
	Ops     map[string]int // nodes per operator, "domain:op" outside of the standard domain

	symbols map[string][]string // of each input and output: the names of its dimensions, "" for none
}

// inspect reads a model's declarations out of its bytes. The error is
// ranker.ErrUnloadable for bytes that are no ONNX model, and
// ranker.ErrContract for a model that keeps data outside of its file.
// Source: onnx.proto3 of ONNX 1.19.
func inspect(model []byte) (*Graph, error) {
	r := &reader{graph: &Graph{Ops: make(map[string]int), symbols: make(map[string][]string)}}
	graphs := 0
	err := fields(model, func(f field) error {
		switch f.number {
		case 7: // ModelProto.graph
			graphs++
			return r.main(f.bytes)
		case 25: // functions
			return fmt.Errorf("%w: it defines functions of its own", ranker.ErrContract)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if graphs != 1 {
		return nil, fmt.Errorf("%w: not an ONNX model (%d graphs in it)", ranker.ErrUnloadable, graphs)
	}
	r.graph.Inputs = slices.DeleteFunc(r.graph.Inputs, func(in feature.Input) bool { return r.initial[in.Name] })
	return r.graph, nil
}

// contract holds a model to one output scores float32[N], and to at least one
// input.
func (g *Graph) contract() error {
	if len(g.Outputs) != 1 || g.Outputs[0].Name != "scores" {
		var names []string
		for _, o := range g.Outputs {
			names = append(names, o.Name)
		}
		return fmt.Errorf("%w: it must have one output, scores, and has %q", ranker.ErrContract, names)
	}
	o := g.Outputs[0]
	if o.Type != feature.Float32 || len(o.Shape) != 1 || o.Shape[0] >= 0 {
		return fmt.Errorf("%w: its output is %s%v and must be float32[N] with N open", ranker.ErrContract, o.Type, o.Shape)
	}
	if len(g.Inputs) == 0 {
		return fmt.Errorf("%w: it has no input", ranker.ErrContract)
	}
	return nil
}

// field is one field of a protobuf message.
type field struct {
	number protowire.Number
	bytes  []byte // of a length-delimited field
	value  uint64 // of a varint
}

// fields walks one message.
func fields(message []byte, take func(field) error) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return malformed(protowire.ParseError(n))
		}
		message = message[n:]
		f := field{number: number}
		switch kind {
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(message)
		case protowire.VarintType:
			f.value, n = protowire.ConsumeVarint(message)
		default:
			n = protowire.ConsumeFieldValue(number, kind, message)
		}
		if n < 0 {
			return malformed(protowire.ParseError(n))
		}
		message = message[n:]
		if err := take(f); err != nil {
			return err
		}
	}
	return nil
}

func malformed(err error) error {
	return fmt.Errorf("%w: not an ONNX model: %w", ranker.ErrUnloadable, err)
}

// deepest is how far graphs may be nested in attributes of nodes.
const deepest = 16

type reader struct {
	graph   *Graph
	initial map[string]bool // names of the outermost graph's initializers
}

func (r *reader) main(graph []byte) error {
	r.initial = make(map[string]bool)
	return fields(graph, func(f field) error {
		switch f.number {
		case 1:
			return r.node(f.bytes, 0)
		case 5:
			name, err := tensor(f.bytes)
			r.initial[name] = true
			return err
		case 11, 12:
			in, symbols, err := valueInfo(f.bytes)
			if err != nil {
				return err
			}
			r.graph.symbols[in.Name] = symbols
			if f.number == 11 {
				r.graph.Inputs = append(r.graph.Inputs, in)
			} else {
				r.graph.Outputs = append(r.graph.Outputs, in)
			}
		case 15:
			return sparse(f.bytes)
		}
		return nil
	})
}

// inner is a graph inside an attribute: only its nodes and tensors matter.
func (r *reader) inner(graph []byte, depth int) error {
	if depth > deepest {
		return fmt.Errorf("%w: graphs nested deeper than %d", ranker.ErrContract, deepest)
	}
	return fields(graph, func(f field) error {
		switch f.number {
		case 1:
			return r.node(f.bytes, depth)
		case 5:
			_, err := tensor(f.bytes)
			return err
		case 15:
			return sparse(f.bytes)
		}
		return nil
	})
}

func (r *reader) node(node []byte, depth int) error {
	op, domain := "", ""
	err := fields(node, func(f field) error {
		switch f.number {
		case 4:
			op = string(f.bytes)
		case 5:
			return r.attribute(f.bytes, depth)
		case 7:
			domain = string(f.bytes)
		}
		return nil
	})
	if domain != "" && domain != "ai.onnx" {
		op = domain + ":" + op
	}
	r.graph.Ops[op]++
	return err
}

func (r *reader) attribute(attribute []byte, depth int) error {
	return fields(attribute, func(f field) error {
		switch f.number {
		case 5, 10:
			_, err := tensor(f.bytes)
			return err
		case 6, 11:
			return r.inner(f.bytes, depth+1)
		case 22, 23:
			return sparse(f.bytes)
		}
		return nil
	})
}

// tensor is the name of a tensor whose data must be in the file.
func tensor(message []byte) (name string, err error) {
	err = fields(message, func(f field) error {
		switch {
		case f.number == 8:
			name = string(f.bytes)
		case f.number == 13, f.number == 14 && f.value != 0:
			return fmt.Errorf("%w: it keeps data outside of its file", ranker.ErrContract)
		}
		return nil
	})
	return name, err
}

func sparse(message []byte) error {
	return fields(message, func(f field) error {
		if f.number == 1 || f.number == 2 {
			_, err := tensor(f.bytes)
			return err
		}
		return nil
	})
}

// valueInfo is a declared input or output. Element types other than float32
// and int64 are refused by name.
func valueInfo(message []byte) (in feature.Input, symbols []string, err error) {
	var kinds []byte
	types := 0
	err = fields(message, func(f field) error {
		switch f.number {
		case 1:
			in.Name = string(f.bytes)
		case 2:
			types++
			kinds = f.bytes
		}
		return nil
	})
	if err != nil {
		return in, nil, err
	}
	if types != 1 {
		return in, nil, fmt.Errorf("%w: %q is declared with %d types", ranker.ErrContract, in.Name, types)
	}
	err = fields(kinds, func(f field) error {
		if f.number != 1 {
			return nil
		}
		symbols, err = tensorType(f.bytes, &in)
		return err
	})
	return in, symbols, err
}

// Element types of onnx.proto3.
const (
	elemFloat = 1
	elemInt64 = 7
)

func tensorType(message []byte, in *feature.Input) (symbols []string, err error) {
	elem := uint64(0)
	err = fields(message, func(f field) error {
		switch f.number {
		case 1:
			elem = f.value
		case 2:
			return fields(f.bytes, func(dim field) error {
				if dim.number != 1 {
					return nil
				}
				size, symbol, err := dimension(dim.bytes)
				in.Shape, symbols = append(in.Shape, size), append(symbols, symbol)
				return err
			})
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case elem == elemFloat:
		in.Type = feature.Float32
	case elem == elemInt64:
		in.Type = feature.Int64
	default:
		return nil, fmt.Errorf("%w: %q has element type %d; float32 (1) and int64 (7) are known", ranker.ErrContract, in.Name, elem)
	}
	return symbols, nil
}

// dimension is a size, or -1 and the name that the model gives an open one.
func dimension(message []byte) (size int64, symbol string, err error) {
	size = -1
	err = fields(message, func(f field) error {
		switch f.number {
		case 1:
			size = int64(f.value)
		case 2:
			symbol = string(f.bytes)
		}
		return nil
	})
	return size, symbol, err
}

// dimensions holds the names of open dimensions to one meaning each: the
// runtime takes equal names for equal sizes and plans its memory by them.
func (g *Graph) dimensions(plan *feature.Plan) error {
	means := make(map[string]string)
	set := func(name, symbol, letter string) error {
		if symbol == "" {
			return nil
		}
		if other, ok := means[symbol]; ok && other != letter {
			return fmt.Errorf("%w: %q calls a dimension %q that is %s, and elsewhere that name is %s", ranker.ErrContract, name, symbol, letter, other)
		}
		means[symbol] = letter
		return nil
	}
	for i, dims := range plan.Dims() {
		name := g.Inputs[i].Name
		for d, symbol := range g.symbols[name] {
			if err := set(name, symbol, dims[d]); err != nil {
				return err
			}
		}
	}
	return set("scores", g.symbols["scores"][0], "N")
}
