package feature

import (
	"fmt"
	"strings"
)

// Markdown is the page of the docs that lists the catalogue.
func Markdown() string {
	var b strings.Builder
	features := Catalogue()
	fmt.Fprintf(&b, "# The feature catalogue, version %d\n\n", Version)
	b.WriteString(preface)
	fmt.Fprintf(&b, "%d features, and `knob.NAME` float32[1] for each knob that the listing declares.\n", len(features))
	b.WriteString(details)
	group := ""
	for _, f := range features {
		if g, _, _ := strings.Cut(f.Name, "."); g != group {
			group = g
			fmt.Fprintf(&b, "\n## %s\n\n| input | type and shape | unit | what it is | known by | tier |\n|---|---|---|---|---|---|\n", group)
		}
		fmt.Fprintf(&b, "| `%s` | %s[%s] | %s | %s | %s | %s |\n", f.Name, f.Type, f.Shape, f.Unit, f.Definition, f.Source, f.Tier)
	}
	return b.String()
}

const preface = "<!-- made from ranker/feature by `agora ranker features --markdown`; a test fails when it is old -->\n\n" +
	"A ranker is an ONNX graph. The names of its inputs are the contract: it gets exactly the inputs it\n" +
	"declares, filled from this list, and has one output, `scores` float32[N], where a higher score stands\n" +
	"higher on the page. A name that is not here is refused.\n\n" +
	"In the shapes N is the number of candidates (leave that dimension open), T tokens of a note's text (64\n" +
	"unless the model fixes 1 to 256), H notes of the viewer's history (128 unless the model fixes 1 to 512).\n" +
	"Zero means none, unknown or not yet, in every feature. All counts are of distinct keys, and trust is\n" +
	"0 to 1. Everything is known at the moment of scoring; nothing later ever changes it.\n\n" +
	"The tier says what a feature gives away about the reader: public features are the same for everybody,\n" +
	"viewer features follow from what the named reader has made public, personal ones need the reader's own\n" +
	"authentication and are zero without it.\n\n"

const details = `
## A first ranker

` + "```" + `python
from onnx import TensorProto, helper as h
graph = h.make_graph(
    [h.make_node("Mul", ["author.trust", "knob.weight"], ["weighed"]),
     h.make_node("Sub", ["weighed", "note.age_hours"], ["scores"])],
    "mine",
    [h.make_tensor_value_info("author.trust", TensorProto.FLOAT, ["N"]),
     h.make_tensor_value_info("note.age_hours", TensorProto.FLOAT, ["N"]),
     h.make_tensor_value_info("knob.weight", TensorProto.FLOAT, [1])],
    [h.make_tensor_value_info("scores", TensorProto.FLOAT, ["N"])])
model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9)
open("mine.onnx", "wb").write(model.SerializeToString())
` + "```" + `

Then ` + "`agora ranker check mine.onnx`" + `. Give dimensions of different meaning different names: N for candidates
only, others for T and H. Score each candidate by itself: a score may depend on the reader, not on the other
candidates.

## What the numbers are made of

- **ids**: the first 16 hex digits of the event id or key as a number, shifted right by one bit.
- **tokens**: the text without http and https links, cut into words. A word is a run of letters, marks and digits
  (Unicode categories L, M, Nd); each Han, Hiragana, Katakana, Thai, Lao, Khmer and Myanmar character is a word by
  itself. Lower case is Unicode's simple mapping, character by character. The token is
  1 + FNV-1a(64 bits, UTF-8) mod 65535. ` + "`ranker/feature/testdata/tokens.json`" + ` has examples to test against.
- **decay with a time constant of w**: each act counts exp(-age/w), and a rate is that sum divided by w.
- **halved every n days**: each act counts 2^(-age/n days).
`
