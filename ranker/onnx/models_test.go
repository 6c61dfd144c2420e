package onnx

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

// builder writes ONNX models by hand: tests must not need another language.
type builder struct {
	graph   []byte
	concats []string
}

func message(to []byte, number protowire.Number, body []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(to, number, protowire.BytesType), body)
}

func varint(to []byte, number protowire.Number, v int64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(to, number, protowire.VarintType), uint64(v))
}

func text(to []byte, number protowire.Number, s string) []byte { return message(to, number, []byte(s)) }

// value declares an input or output; a dimension of -1 is open.
func value(name string, elem int64, shape ...int64) []byte {
	var dims []byte
	for i, size := range shape {
		symbol := "N"
		if i > 0 || strings.HasPrefix(name, "viewer.history") {
			symbol = name + "/open"
		}
		dim := text(nil, 2, symbol)
		if size >= 0 {
			dim = varint(nil, 1, size)
		}
		dims = message(dims, 1, dim)
	}
	kind := message(nil, 1, message(varint(nil, 1, elem), 2, dims))
	return message(text(nil, 1, name), 2, kind)
}

func (b *builder) input(name string, elem int64, shape ...int64) *builder {
	b.graph = message(b.graph, 11, value(name, elem, shape...))
	return b
}

func (b *builder) output(name string, elem int64, shape ...int64) *builder {
	b.graph = message(b.graph, 12, value(name, elem, shape...))
	return b
}

func (b *builder) raw(number protowire.Number, body []byte) *builder {
	b.graph = message(b.graph, number, body)
	return b
}

func (b *builder) floats(name string, values []float32, shape ...int64) *builder {
	var raw []byte
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	return b.initial(name, elemFloat, raw, shape)
}

func (b *builder) ints(name string, values []int64, shape ...int64) *builder {
	var raw []byte
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint64(raw, uint64(v))
	}
	return b.initial(name, elemInt64, raw, shape)
}

func (b *builder) initial(name string, elem int64, raw []byte, shape []int64) *builder {
	var t []byte
	for _, size := range shape {
		t = varint(t, 1, size)
	}
	b.graph = message(b.graph, 5, message(text(varint(t, 2, elem), 8, name), 9, raw))
	return b
}

// node adds an operation; an op "domain:name" is of that domain.
func (b *builder) node(op string, in, out []string, attributes ...[]byte) *builder {
	var n []byte
	for _, name := range in {
		n = text(n, 1, name)
	}
	for _, name := range out {
		n = text(n, 2, name)
	}
	domain := ""
	for i, c := range op {
		if c == ':' {
			domain, op = op[:i], op[i+1:]
			break
		}
	}
	n = text(n, 4, op)
	for _, a := range attributes {
		n = message(n, 5, a)
	}
	if domain != "" {
		n = text(n, 7, domain)
	}
	b.graph = message(b.graph, 1, n)
	return b
}

func attrInt(name string, v int64) []byte { return varint(varint(text(nil, 1, name), 3, v), 20, 2) }

func attrText(name, v string) []byte { return varint(text(text(nil, 1, name), 4, v), 20, 3) }

func attrInts(name string, vs []int64) []byte {
	a := text(nil, 1, name)
	for _, v := range vs {
		a = varint(a, 8, v)
	}
	return varint(a, 20, 7)
}

func attrFloats(name string, vs []float32) []byte {
	a := text(nil, 1, name)
	for _, v := range vs {
		a = protowire.AppendFixed32(protowire.AppendTag(a, 7, protowire.Fixed32Type), math.Float32bits(v))
	}
	return varint(a, 20, 6)
}

func attrTexts(name string, vs []string) []byte {
	a := text(nil, 1, name)
	for _, v := range vs {
		a = text(a, 9, v)
	}
	return varint(a, 20, 8)
}

func (b *builder) model() []byte {
	m := varint(nil, 1, 9) // ir_version
	m = text(m, 2, "agora tests")
	m = message(m, 7, text(b.graph, 2, "g"))
	m = message(m, 8, varint(text(nil, 1, ""), 2, 17))
	return message(m, 8, varint(text(nil, 1, "ai.onnx.ml"), 2, 3))
}

// columns declares float32[N] inputs and joins them into x, float32[N,len].
func (b *builder) columns(names []string) *builder {
	b.ints("one", []int64{1}, 1)
	for _, name := range names {
		b.input(name, elemFloat, -1)
		b.node("Unsqueeze", []string{name, "one"}, []string{name + "/column"})
		b.concats = append(b.concats, name+"/column")
	}
	return b.node("Concat", b.concats, []string{"x"}, attrInt("axis", 1))
}

// scores makes the output of float32[N,1].
func (b *builder) scores(from string) *builder {
	return b.node("Squeeze", []string{from, "one"}, []string{"scores"}).output("scores", elemFloat, -1)
}

func random(r *rand.Rand, n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(r.NormFloat64()) / float32(math.Sqrt(float64(n)))
	}
	return out
}

func identityModel() []byte {
	b := (&builder{}).input("author.trust", elemFloat, -1)
	return b.node("Identity", []string{"author.trust"}, []string{"scores"}).output("scores", elemFloat, -1).model()
}

func simple(op string) []byte {
	b := (&builder{}).input("author.trust", elemFloat, -1)
	return b.node(op, []string{"author.trust"}, []string{"scores"}).output("scores", elemFloat, -1).model()
}

func linearModel(names []string) []byte {
	b := (&builder{}).columns(names)
	b.floats("w", random(rand.New(rand.NewPCG(1, 1)), len(names)), int64(len(names)), 1)
	return b.node("MatMul", []string{"x", "w"}, []string{"y"}).scores("y").model()
}

func denseModel(names []string, hidden ...int) []byte {
	r := rand.New(rand.NewPCG(2, 2))
	b, x, width := (&builder{}).columns(names), "x", len(names)
	for i, h := range append(hidden, 1) {
		l := string(rune('a' + i))
		b.floats("w"+l, random(r, width*h), int64(width), int64(h)).floats("b"+l, random(r, h), int64(h))
		b.node("Gemm", []string{x, "w" + l, "b" + l}, []string{"g" + l})
		x, width = "g"+l, h
		if i < len(hidden) {
			b.node("Relu", []string{x}, []string{"r" + l})
			x = "r" + l
		}
	}
	return b.scores(x).model()
}

// treeModel is full trees as trainers write them: an ensemble for each of the
// targets, whose probabilities are added up with weights into one score.
func treeModel(names []string, trees, depth, targets int) []byte {
	r := rand.New(rand.NewPCG(3, 3))
	b := (&builder{}).columns(names)
	var all []string
	for target := range targets {
		out := string(rune('A' + target))
		b.node("ai.onnx.ml:TreeEnsembleRegressor", []string{"x"}, []string{out}, ensemble(r, len(names), trees/targets, depth)...)
		all = append(all, out)
	}
	b.node("Concat", all, []string{"t"}, attrInt("axis", 1))
	b.floats("w", random(r, targets), int64(targets), 1)
	return b.node("MatMul", []string{"t", "w"}, []string{"y"}).scores("y").model()
}

// ensemble is the attributes of full random trees.
func ensemble(r *rand.Rand, features, trees, depth int) [][]byte {
	var treeIDs, nodeIDs, reads, yes, no, leafTrees, leafNodes, leafIDs []int64
	var at, weights []float32
	var modes []string
	for tree := range int64(trees) {
		inner := int64(1)<<depth - 1
		for node := range 2*inner + 1 {
			treeIDs, nodeIDs = append(treeIDs, tree), append(nodeIDs, node)
			if node < inner {
				modes, reads = append(modes, "BRANCH_LEQ"), append(reads, r.Int64N(int64(features)))
				at = append(at, r.Float32())
				yes, no = append(yes, 2*node+1), append(no, 2*node+2)
				continue
			}
			modes, reads, at = append(modes, "LEAF"), append(reads, 0), append(at, 0)
			yes, no = append(yes, 0), append(no, 0)
			leafTrees, leafNodes = append(leafTrees, tree), append(leafNodes, node)
			leafIDs, weights = append(leafIDs, 0), append(weights, float32(r.NormFloat64()))
		}
	}
	return [][]byte{
		attrInt("n_targets", 1), attrInts("nodes_treeids", treeIDs), attrInts("nodes_nodeids", nodeIDs),
		attrInts("nodes_featureids", reads), attrFloats("nodes_values", at), attrTexts("nodes_modes", modes),
		attrInts("nodes_truenodeids", yes), attrInts("nodes_falsenodeids", no), attrInts("target_treeids", leafTrees),
		attrInts("target_nodeids", leafNodes), attrInts("target_ids", leafIDs), attrFloats("target_weights", weights),
		attrText("post_transform", "LOGISTIC"),
	}
}

// slowModel multiplies large matrices, one after the other, for each run.
func slowModel(times int) []byte {
	const side = 700
	b := (&builder{}).input("author.trust", elemFloat, -1)
	b.floats("m", random(rand.New(rand.NewPCG(4, 4)), side*side), side, side)
	b.ints("axes", []int64{0}, 1).floats("zero", []float32{0}, 1)
	b.node("ReduceMax", []string{"author.trust"}, []string{"top"}, attrInt("keepdims", 1))
	b.node("Mul", []string{"m", "top"}, []string{"p0"})
	last := "p0"
	for i := range times {
		next := "p" + string(rune('A'+i%26)) + string(rune('a'+i/26))
		b.node("MatMul", []string{last, "m"}, []string{next})
		last = next
	}
	b.node("ReduceMax", []string{last}, []string{"all"}, attrInt("keepdims", 0))
	b.node("Mul", []string{"all", "zero"}, []string{"nothing"})
	return b.node("Add", []string{"author.trust", "nothing"}, []string{"scores"}).output("scores", elemFloat, -1).model()
}

// crowdModel subtracts the mean of the batch: a score depends on its company.
func crowdModel() []byte {
	b := (&builder{}).input("author.trust", elemFloat, -1)
	b.node("ReduceMean", []string{"author.trust"}, []string{"mean"}, attrInt("keepdims", 1))
	return b.node("Sub", []string{"author.trust", "mean"}, []string{"scores"}).output("scores", elemFloat, -1).model()
}

// doubleModel gives two scores for each candidate.
func doubleModel() []byte {
	b := (&builder{}).input("author.trust", elemFloat, -1)
	return b.node("Concat", []string{"author.trust", "author.trust"}, []string{"scores"}, attrInt("axis", 0)).output("scores", elemFloat, -1).model()
}

// historyModel reads tokens and the viewer's history.
func historyModel() []byte {
	b := (&builder{}).input("note.tokens", elemInt64, -1, 8).input("viewer.history", elemInt64, -1)
	b.node("ReduceMax", []string{"note.tokens"}, []string{"t"}, attrInts("axes", []int64{1}), attrInt("keepdims", 0))
	b.ints("modulus", []int64{97}, 1).node("Mod", []string{"viewer.history", "modulus"}, []string{"h"})
	b.node("ReduceMax", []string{"h"}, []string{"hm"}, attrInt("keepdims", 1))
	b.node("Add", []string{"t", "hm"}, []string{"s"})
	return b.node("Cast", []string{"s"}, []string{"scores"}, attrInt("to", elemFloat)).output("scores", elemFloat, -1).model()
}
