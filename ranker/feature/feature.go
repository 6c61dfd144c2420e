// Package feature says which number goes into which input of a model. It is
// the versioned catalogue of everything a ranker may know about a note, its
// author, its reader and the hour, and it fills a model's tensors from plain
// facts. It is pure: it reads no clock, no disk and no log.
//
// # The contract
//
// The names of an ONNX graph's inputs are the contract. A model that has an
// input "author.trust" float32[N] gets that column, one that has
// "note.tokens" int64[N,T] gets tokens, and nothing is computed that no input
// names. A name that is not in the catalogue is refused, never filled with
// zeros. In the shapes N is the number of candidates, T tokens of a note's text
// and H notes of the viewer's history; a model may leave T and H open or fix
// them.
//
// # Zero
//
// Zero means none, unknown or not yet, in every feature. A fact that its owner
// cannot give (spam, while nobody judges it) is zero, so a model must not read
// a zero as good news.
//
// # Point in time
//
// Every feature is a function of what had happened at Facts.Now. The owner of
// the facts keeps later events out; a note's text, tags and author never change.
package feature

import "fmt"

// Version names this catalogue. A name never changes its meaning: a new
// meaning is a new name, and every change of the list counts the version up.
const Version = 3

// The bounds of what is filled.
const (
	Vocabulary     = 1 << 16 // token ids are 1 … Vocabulary-1; 0 pads
	DefaultTokens  = 64      // T when the model leaves it open
	MaxTokens      = 256     // largest T a model may fix
	DefaultHistory = 128     // H when the model leaves it open
	MaxHistory     = 512     // largest H a model may fix
	VectorSize     = 64      // numbers in a text vector
	WordingSize    = 49      // numbers in a wording: sums, structure, vector
)

// Type is the element type of an input.
type Type uint8

// The types a model may declare.
const (
	Float32 Type = iota
	Int64
)

func (t Type) String() string {
	if t == Int64 {
		return "int64"
	}
	return "float32"
}

// Tier says what a feature gives away about the reader.
type Tier uint8

// The tiers, from the least private to the most.
const (
	Public   Tier = iota // the same for every reader
	Viewer               // follows from what the named reader has made public
	Personal             // needs the reader's own authentication
)

func (t Tier) String() string { return [...]string{"public", "viewer", "personal"}[t] }

// Input is one input as a model declares it.
type Input struct {
	Name  string
	Type  Type
	Shape []int64 // a free dimension is -1
}

func (in Input) String() string { return fmt.Sprintf("%s %s%v", in.Name, in.Type, in.Shape) }

// Tensor is one input with its values, row by row in Float or Int as Type says.
type Tensor struct {
	Name  string
	Type  Type
	Shape []int64
	Float []float32
	Int   []int64
}

// Batch is what one run of a model gets: N candidates and the inputs the model
// declared, in its order.
type Batch struct {
	N      int
	Inputs []Tensor
}

// Feature is an entry of the catalogue.
type Feature struct {
	Name       string
	Type       Type
	Shape      string // in N, T, H and numbers: "N", "N,T", "1"
	Unit       string
	Definition string
	Source     string // the part that knows it
	Tier       Tier

	fill func(*Facts, *Tensor) // into a zeroed tensor of the right shape
}
