package spam

import (
	"bytes"
	_ "embed" // the model
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
)

const (
	tableBits  = 18 // the table has 1 << tableBits rows of 4 bytes: spam, scam, ai, 0
	structures = 30 // numbers of structure
	heads      = 3
)

const (
	headSpam = iota
	headScam
	headAI
)

const modelVersion = 3 // of what is seen in a text

const modelMagic = "AGSPAM1\n"

//go:embed text.model
var shipped []byte

// ErrModel says that a model's bytes cannot be used; the chain says why.
var ErrModel = errors.New("the spam model cannot be used")

// Model is the text part of tier 0: for each head int8 weights of hashed
// n-grams, float weights of structure, and the scale of its probability.
// train/write.py describes the bytes.
type Model struct {
	about About
	cuts  cuts
	heads [heads]head
	table []byte
}

// About says which model speaks and how well it did when it was measured, on
// campaigns it had not seen.
type About struct {
	Version int             `json:"version"`
	Digest  string          `json:"digest"` // CRC-32 of the file, in hex
	Report  json.RawMessage `json:"report"` // what train.py measured
}

// cuts are log-odds above which a text is held for spam, one per script.
type cuts struct {
	Suspect []float64 `json:"suspect"` // 1 % of ham lies above
	Sure    []float64 `json:"sure"`    // 0.1 %
	Scam    []float64 `json:"scam"`    // one; 2 %
	AI      []float64 `json:"ai"`      // one; 1 %
}

// stricter is by how much more the threshold of a script asks than that of
// Latin: where few notes were known, more.
func (c *cuts) stricter(k script) float64 { return c.Suspect[k] - c.Suspect[latin] }

type head struct {
	Name    string    `json:"name"`
	Scale   float64   `json:"scale"`
	Weights []float64 `json:"weights"`
	Bias    float64   `json:"bias"`
	Slope   float64   `json:"slope"`
	Shift   float64   `json:"shift"`
}

// Shipped is the model embedded in this program.
func Shipped() (*Model, error) { return ReadModel(shipped) }

// ReadModel reads what train.py has written. Every "no" is an ErrModel.
func ReadModel(raw []byte) (*Model, error) {
	m, err := readModel(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrModel, err)
	}
	return m, nil
}

func readModel(raw []byte) (*Model, error) {
	const table = 4 << tableBits
	if len(raw) < len(modelMagic)+8 || !bytes.HasPrefix(raw, []byte(modelMagic)) {
		return nil, errors.New("it does not begin as one")
	}
	body, sum := raw[:len(raw)-4], binary.LittleEndian.Uint32(raw[len(raw)-4:])
	if crc32.ChecksumIEEE(body) != sum {
		return nil, errors.New("its checksum does not match")
	}
	body = body[len(modelMagic):]
	size := uint64(binary.LittleEndian.Uint32(body))
	if size+4+table != uint64(len(body)) {
		return nil, fmt.Errorf("it has %d bytes, not %d", len(body), size+4+table)
	}
	var file struct {
		About
		Bits      int      `json:"bits"`
		Structure []string `json:"structure"`
		Cuts      cuts     `json:"cuts"`
		Heads     []head   `json:"heads"`
	}
	if err := json.Unmarshal(body[4:4+size], &file); err != nil {
		return nil, fmt.Errorf("its header: %w", err)
	}
	if file.Version != modelVersion || file.Bits != tableBits || len(file.Structure) != structures || len(file.Heads) != heads {
		return nil, fmt.Errorf("it is of version %d with %d bits, %d structures and %d heads", file.Version, file.Bits, len(file.Structure), len(file.Heads))
	}
	m := &Model{about: file.About, cuts: file.Cuts, table: body[4+size:]}
	m.about.Digest = fmt.Sprintf("%08x", sum)
	for i, h := range file.Heads {
		if err := h.check(); err != nil {
			return nil, err
		}
		m.heads[i] = h
	}
	if len(m.cuts.Suspect) != int(scripts) || len(m.cuts.Sure) != int(scripts) || len(m.cuts.Scam) != 1 || len(m.cuts.AI) != 1 {
		return nil, errors.New("its thresholds are not complete")
	}
	return m, nil
}

func (h head) check() error {
	if len(h.Weights) != structures {
		return fmt.Errorf("the head %s has %d weights of structure", h.Name, len(h.Weights))
	}
	for _, v := range append([]float64{h.Scale, h.Bias, h.Slope, h.Shift}, h.Weights...) {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return fmt.Errorf("the head %s holds a number that is none", h.Name)
		}
	}
	return nil
}

// About says which model this is.
func (m *Model) About() About { return m.about }

// scores are the log-odds of the three heads.
type scores [heads]float64

// sums adds up the weights of the rows a text points at.
func (m *Model) sums(rows []uint32) (spam, scam, ai int64) {
	for _, row := range rows {
		w := m.table[row*4 : row*4+4]
		spam += int64(int8(w[headSpam]))
		scam += int64(int8(w[headScam]))
		ai += int64(int8(w[headAI]))
	}
	return spam, scam, ai
}

// words are the sums by scale and length, what tier 0's head has of the words.
func (m *Model) words(rows []uint32) (out [heads]float32) {
	var sums [heads]int64
	sums[headSpam], sums[headScam], sums[headAI] = m.sums(rows)
	for k := range out {
		out[k] = float32(m.heads[k].Scale * float64(sums[k]) / norm(len(rows)))
	}
	return out
}

// judge computes the log-odds. Each step is one float64 operation, in the
// order of train/write.py; the conversions keep a compiler from fusing two.
func (m *Model) judge(t *text, s *[structures]float32) (out scores) {
	var sums [heads]int64
	sums[headSpam], sums[headScam], sums[headAI] = m.sums(t.rows)
	length := norm(len(t.rows))
	for k := range m.heads {
		h := &m.heads[k]
		v := float64(h.Scale*float64(sums[k])) / length
		for j, w := range h.Weights {
			v += float64(w * float64(s[j]))
		}
		v += h.Bias
		out[k] = float64(h.Slope*v) + h.Shift
	}
	return out
}

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }
