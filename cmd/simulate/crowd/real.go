package crowd

import (
	"bufio"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"
)

// Topics is how many there are.
const Topics = 16

// Real is what a crowd stands on.
type Real struct {
	Keys    []string  // hex
	Follows [][]int32 // by key; nil: no list
	Mutes   [][]int32
	Fans    [][]int32           // who follows a key
	Topics  [Topics][]string    // texts of each topic
	Fill    map[string]struct{} // all texts
}

// Load reads testdata/nostr.
func Load(dir string) (*Real, error) {
	r := &Real{Fill: make(map[string]struct{})}
	steps := []struct {
		name string
		line func(string) error
	}{
		{"graph-users.tsv.zst", r.user},
		{"graph-follows.tsv.zst", func(l string) error { return list(l, r.Follows) }},
		{"graph-mutes.tsv.zst", func(l string) error { return list(l, r.Mutes) }},
		{"events.jsonl.zst", r.event},
	}
	for _, s := range steps {
		if err := lines(filepath.Join(dir, s.name), s.line); err != nil {
			return nil, err
		}
	}
	r.Fans = make([][]int32, len(r.Keys))
	for who, follows := range r.Follows {
		for _, whom := range follows {
			r.Fans[whom] = append(r.Fans[whom], int32(who))
		}
	}
	texts := make([]string, 0, len(r.Fill))
	for text := range r.Fill {
		texts = append(texts, text)
	}
	slices.Sort(texts)
	if len(texts) < 10*Topics {
		return nil, fmt.Errorf("%s: %d texts are too few", dir, len(texts))
	}
	r.Topics = topics(texts)
	return r, nil
}

func lines(name string, take func(string) error) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // it was only read
	z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1))
	if err != nil {
		return err
	}
	defer z.Close()
	in := bufio.NewReaderSize(z, 1<<20)
	for {
		line, err := in.ReadString('\n')
		if line = strings.TrimSuffix(line, "\n"); line != "" {
			if err := take(line); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
}

func (r *Real) user(line string) error {
	_, key, ok := strings.Cut(line, "\t")
	if !ok || len(key) != 64 {
		return fmt.Errorf("no key in %q", line)
	}
	r.Keys = append(r.Keys, key)
	r.Follows, r.Mutes = append(r.Follows, nil), append(r.Mutes, nil)
	return nil
}

func list(line string, into [][]int32) error {
	cells := strings.Split(line, "\t")
	if len(cells) != 3 {
		return fmt.Errorf("%d cells", len(cells))
	}
	who, err := strconv.Atoi(cells[0])
	if err != nil || who < 0 || who >= len(into) {
		return fmt.Errorf("no key number %q", cells[0])
	}
	for _, cell := range strings.Split(cells[2], ",") {
		if cell == "" {
			continue
		}
		whom, err := strconv.Atoi(cell)
		if err != nil || whom < 0 || whom >= len(into) {
			return fmt.Errorf("no key number %q", cell)
		}
		if whom != who {
			into[who] = append(into[who], int32(whom))
		}
	}
	return nil
}

func (r *Real) event(line string) error {
	var ev struct {
		Kind    int
		Content string
	}
	if err := json.Unmarshal([]byte(line), &ev); err != nil {
		return err
	}
	text := strings.TrimSpace(ev.Content)
	if n := utf8.RuneCountInString(text); ev.Kind == 1 && n >= 20 && n <= 800 {
		r.Fill[text] = struct{}{}
	}
	return nil
}

// topics parts the texts by the words they share: spherical k-means of tf-idf,
// ten rounds, no topic larger than half as much again as the mean.
func topics(texts []string) (out [Topics][]string) {
	const width = 1 << 13
	docs, known := make([]map[int]float64, len(texts)), make([]float64, width)
	for i, text := range texts {
		docs[i] = words(text, width)
		for w := range docs[i] {
			known[w]++
		}
	}
	for _, doc := range docs {
		for _, w := range sorted(doc) {
			doc[w] *= math.Log(float64(len(texts)) / known[w])
		}
		normalise(doc)
	}
	var centres [Topics][]float64
	for k := range centres {
		centres[k] = make([]float64, width)
		add(centres[k], docs[k*len(docs)/Topics])
	}
	of := make([]int, len(docs))
	for range 10 {
		assign(docs, &centres, of)
		for k := range centres {
			clear(centres[k])
		}
		for i, k := range of {
			add(centres[k], docs[i])
		}
		for k := range centres {
			shorten(centres[k])
		}
	}
	for i, k := range of {
		out[k] = append(out[k], texts[i])
	}
	return out
}

// assign puts each text into the nearest topic that has room, the surest first.
func assign(docs []map[int]float64, centres *[Topics][]float64, of []int) {
	type fit struct {
		doc  int
		near [Topics]float64
		best float64
	}
	fits := make([]fit, len(docs))
	for i, doc := range docs {
		f := fit{doc: i}
		at := sorted(doc)
		for k := range centres {
			for _, w := range at {
				f.near[k] += doc[w] * centres[k][w]
			}
			f.best = max(f.best, f.near[k])
		}
		fits[i] = f
	}
	slices.SortStableFunc(fits, func(a, b fit) int {
		if a.best != b.best && a.best > b.best {
			return -1
		}
		if a.best == b.best {
			return a.doc - b.doc
		}
		return 1
	})
	var size [Topics]int
	room := len(docs)*3/(2*Topics) + 1
	for _, f := range fits {
		best := -1
		for k := range f.near {
			if size[k] < room && (best < 0 || f.near[k] > f.near[best]) {
				best = k
			}
		}
		of[f.doc] = best
		size[best]++
	}
}

func words(text string, width int) map[int]float64 {
	doc := make(map[int]float64)
	for _, word := range strings.FieldsFunc(strings.ToLower(text), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		h := fnv.New32a()
		_, _ = h.Write([]byte(word)) // a hash never fails
		doc[int(h.Sum32()%uint32(width))]++
	}
	return doc
}

// sorted is a document's words in one order, so that sums are the same always.
func sorted(doc map[int]float64) []int {
	at := make([]int, 0, len(doc))
	for w := range doc {
		at = append(at, w)
	}
	slices.Sort(at)
	return at
}

func normalise(doc map[int]float64) {
	sum := 0.0
	for _, w := range sorted(doc) {
		sum += doc[w] * doc[w]
	}
	for w := range doc {
		doc[w] /= math.Sqrt(max(sum, 1e-12))
	}
}

func add(centre []float64, doc map[int]float64) {
	for w, v := range doc {
		centre[w] += v
	}
}

func shorten(centre []float64) {
	sum := 0.0
	for _, v := range centre {
		sum += v * v
	}
	for w := range centre {
		centre[w] /= math.Sqrt(max(sum, 1e-12))
	}
}
