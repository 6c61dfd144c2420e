package spam

import (
	"bytes"
	"context"
	_ "embed" // the models
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

// Second is tier 1: a slower, better judge of texts, asked only where tier 0 is
// unsure. It gets the text's structure and vector, and answers log-odds; cmd
// makes one of SecondONNX.
type Second interface {
	Logit(ctx context.Context, structure, vector []float32) (float64, error)
}

const (
	vectorSize  = 16 // numbers of a text's vector
	vectorMagic = "AGSPAMV1"
)

var (
	//go:embed second.model
	shippedVectors []byte
	//go:embed second.onnx
	secondONNX []byte
	//go:embed tier0.onnx
	tier0ONNX []byte
)

// SecondONNX is the model of tier 1: spam.structure and spam.vector in, the
// log-odds of spam out.
func SecondONNX() []byte { return secondONNX }

// Tier0ONNX is the head of tier 0 as a model: spam.words and spam.structure in,
// the probability of spam out.
func Tier0ONNX() []byte { return tier0ONNX }

// vectors turn a text's n-grams into a short dense row, and say where tier 1 is
// asked.
type vectors struct {
	Size    int          `json:"size"`
	Scales  []float64    `json:"scales"`
	Low     float64      `json:"low"` // log-odds of tier 0 between which tier 1 is asked
	High    float64      `json:"high"`
	Suspect float64      `json:"suspect"` // the threshold of 1 % of ham, where tier 1 is asked
	Report  secondReport `json:"report"`
	table   []byte       // rows of vectorSize int8
}

// secondReport is what tier 1 changed when it was measured, out of fold.
type secondReport struct {
	Share        float64    `json:"share"` // of the notes
	Notes        int        `json:"notes"`
	Spam         int        `json:"spam"`
	AUCTier0     float64    `json:"auc_tier0"` // within the grey zone
	AUC          float64    `json:"auc"`
	TPRTier0     float64    `json:"tpr_tier0"` // of all notes, at 1 % FPR
	TPR          float64    `json:"tpr"`
	CrossedTier0 [2]float64 `json:"crossed_tier0"` // TPR and FPR by the other folds' threshold
	Crossed      [2]float64 `json:"crossed"`
}

// readVectors reads what train/second.py has written.
func readVectors(raw []byte) (*vectors, error) {
	v, err := parseVectors(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: tier 1: %w", ErrModel, err)
	}
	return v, nil
}

func parseVectors(raw []byte) (*vectors, error) {
	if len(raw) < len(vectorMagic)+8 || !bytes.HasPrefix(raw, []byte(vectorMagic)) {
		return nil, errors.New("it does not begin as one")
	}
	body, sum := raw[:len(raw)-4], binary.LittleEndian.Uint32(raw[len(raw)-4:])
	if crc32.ChecksumIEEE(body) != sum {
		return nil, errors.New("its checksum does not match")
	}
	body = body[len(vectorMagic):]
	size := uint64(binary.LittleEndian.Uint32(body))
	if size+4+vectorSize<<tableBits != uint64(len(body)) {
		return nil, fmt.Errorf("it has %d bytes, not %d", len(body), size+4+vectorSize<<tableBits)
	}
	v := &vectors{table: body[4+size:]}
	if err := json.Unmarshal(body[4:4+size], v); err != nil {
		return nil, fmt.Errorf("its header: %w", err)
	}
	if v.Size != vectorSize || len(v.Scales) != vectorSize || !(v.Low < v.High) || math.IsNaN(v.Suspect) {
		return nil, errors.New("its header is not complete")
	}
	return v, nil
}

// vector fills a text's row, step by step as train/second.py does.
func (v *vectors) vector(rows []uint32, to *[vectorSize]float32) {
	var sums [vectorSize]int64
	for _, row := range rows {
		r := v.table[row*vectorSize : row*vectorSize+vectorSize]
		for k := range sums {
			sums[k] += int64(int8(r[k]))
		}
	}
	length := norm(len(rows))
	for k, sum := range sums {
		to[k] = float32(float64(v.Scales[k]*float64(sum)) / length)
	}
}

// grey is around the threshold, where one note in twenty lies.
func (v *vectors) grey(text float64) bool { return text >= v.Low && text <= v.High }

// asked is the text's log-odds after tier 1 was asked, if it is to be asked and
// answers. Who cannot answer leaves it to tier 0.
func (c *Classifier) asked(ctx context.Context, w *work, text float64, by Second) float64 {
	if by == nil || !c.vectors.grey(text) {
		return text
	}
	c.vectors.vector(w.text.rows, &w.vector)
	second, err := by.Logit(ctx, w.s[:], w.vector[:])
	if err != nil {
		return text
	}
	return second
}
