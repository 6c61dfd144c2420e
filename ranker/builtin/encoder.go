package builtin

import (
	_ "embed"
	"encoding/binary"
	"math"

	"agora/ranker/feature"
)

//go:embed encoder.bin
var encoderFile []byte

// Encoder makes text vectors: each word stands for a direction, learned by
// latent semantic analysis of real notes, and a text for the sum of its words,
// brought to length 1. It needs no runtime: a text takes some microseconds.
//
// encoder.bin is, little-endian: the number of each token's row (uint16, 0: no
// row) for every token of the vocabulary, then the rows from 1 on, 64 int8 each.
type Encoder struct {
	row  []uint16
	rows []int8
}

// NewEncoder unpacks the embedded table.
func NewEncoder() *Encoder {
	e := &Encoder{row: make([]uint16, feature.Vocabulary)}
	if len(encoderFile) < 2*feature.Vocabulary {
		return e
	}
	for i := range e.row {
		e.row[i] = binary.LittleEndian.Uint16(encoderFile[2*i:])
	}
	raw := encoderFile[2*feature.Vocabulary:]
	e.rows = make([]int8, len(raw))
	for i, b := range raw {
		e.rows[i] = int8(b)
	}
	return e
}

// Vector is the vector of a text given as feature.Tokens: feature.VectorSize
// numbers; nil when no word of it is known.
func (e *Encoder) Vector(tokens []int32) []float32 {
	var sum [feature.VectorSize]int64
	known := false
	for _, token := range tokens {
		row := int(e.row[token])
		if row == 0 {
			continue
		}
		known = true
		for i, v := range e.rows[(row-1)*feature.VectorSize : row*feature.VectorSize] {
			sum[i] += int64(v)
		}
	}
	length := 0.0
	for _, v := range sum {
		length += float64(v) * float64(v)
	}
	if !known || length == 0 {
		return nil
	}
	out := make([]float32, feature.VectorSize)
	for i, v := range sum {
		out[i] = float32(float64(v) / math.Sqrt(length))
	}
	return out
}
