package onnx

// Models that keep the contract's form and are made to exhaust whoever loads
// or runs them. Tests of `agora ranker check` use the files.

// last multiplies a number by nothing and adds it to the input, so that all
// that went before is needed.
func (b *builder) last(number string) []byte {
	b.floats("zero", []float32{0}, 1).node("Mul", []string{number, "zero"}, []string{"nothing"})
	return b.node("Add", []string{"author.trust", "nothing"}, []string{"scores"}).output("scores", elemFloat, -1).model()
}

// foldMemoryModel is a constant of 12 GB that the library makes at load.
func foldMemoryModel() []byte {
	b := (&builder{}).input("author.trust", elemFloat, -1)
	b.floats("c", []float32{1}, 1, 1).ints("shape", []int64{50_000, 60_000}, 2)
	b.node("Expand", []string{"c", "shape"}, []string{"m"})
	return b.node("ReduceMax", []string{"m"}, []string{"all"}, attrInt("keepdims", 0)).last("all")
}

// foldTimeModel is a product of constants that takes hours.
func foldTimeModel() []byte {
	b := (&builder{}).input("author.trust", elemFloat, -1)
	b.floats("c", []float32{.001}, 1, 1).ints("shape", []int64{4000, 4000}, 2)
	b.node("Expand", []string{"c", "shape"}, []string{"ma"})
	from := "ma"
	for i := range 2000 {
		to := "m" + string(rune('b'+i%25)) + string(rune('A'+i/25%26)) + string(rune('A'+i/650))
		b.node("MatMul", []string{from, from}, []string{to})
		from = to
	}
	return b.node("ReduceMax", []string{from}, []string{"all"}, attrInt("keepdims", 0)).last("all")
}

// runMemoryModel wants 800 kB for each candidate.
func runMemoryModel() []byte {
	b := (&builder{}).input("author.trust", elemFloat, -1)
	b.ints("shape", []int64{200_000, 1}, 2)
	b.node("Expand", []string{"author.trust", "shape"}, []string{"m"})
	b.node("Exp", []string{"m"}, []string{"e"})
	return b.node("ReduceMax", []string{"e"}, []string{"all"}, attrInt("keepdims", 0)).last("all")
}

// endlessModel goes round in circles at each run.
func endlessModel() []byte {
	body := value("round", elemInt64)
	var g []byte
	for _, in := range [][]byte{body, value("on", 9), value("sum", elemFloat, 1)} {
		g = message(g, 11, in)
	}
	inner := &builder{graph: g}
	inner.node("Identity", []string{"on"}, []string{"still"})
	inner.node("Add", []string{"sum", "sum"}, []string{"twice"})
	inner.raw(12, value("still", 9)).raw(12, value("twice", elemFloat, 1))
	attribute := varint(message(text(nil, 1, "body"), 6, text(inner.graph, 2, "round and round")), 20, 5)
	b := (&builder{}).input("author.trust", elemFloat, -1)
	b.ints("rounds", []int64{1 << 62}).initial("yes", 9, []byte{1}, nil)
	b.node("ReduceMax", []string{"author.trust"}, []string{"top"}, attrInt("keepdims", 1))
	return b.node("Loop", []string{"rounds", "yes", "top"}, []string{"end"}, attribute).last("end")
}
