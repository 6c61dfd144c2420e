package trial

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"agora/cmd/simulate/crowd"
	"agora/ranker/feature"
)

// negatives is how many notes without an answer are kept of each pool; each
// stands for as many as it was drawn from.
const negatives = 60

// pastNotes is how much history goes into the rows of the tower.
const pastNotes = 48

// columns are the features that rows carry: all columns of the catalogue that
// a trial fills and that need no authentication.
func columns() (out []feature.Input) {
	left := []string{
		"note.is_", "note.people.", "note.protected", "note.jitter", "note.since", "spam.", "person.", "duplicate.", "proof.seen", "stage.bridge",
		"thread.", "author.has_", "author.is_bot", "author.reply_share", "source.new", "source.colikers", "source.global", "source.recent",
	}
	for _, f := range feature.Catalogue() {
		dropped := slices.ContainsFunc(left, func(prefix string) bool { return len(f.Name) >= len(prefix) && f.Name[:len(prefix)] == prefix })
		if f.Shape == "N" && f.Type == feature.Float32 && !dropped {
			out = append(out, feature.Input{Name: f.Name, Shape: []int64{-1}})
		}
	}
	return out
}

// Rows writes training rows of the earlier part of each log into a folder:
//
//	columns.json  names of the columns
//	x.f32         rows by columns
//	y.u8          rows by 5: like, reply, repost, zap, negative
//	weight.f32    rows: how many notes each stands for
//	scene.i32     rows: number of the moment
//	vector.f32    rows by 64: text vectors
//	author.i64    rows: note.author_id
//	past.f32      moments by 48 by 64: text vectors of the reader's history
//	author.past.i64, action.past.i64, hours.past.f32  moments by 48
//
// All numbers are little-endian. Only notes before the judged part are used.
func Rows(logs []*crowd.Log, s Settings, dir string) error {
	s.defaults()
	w, err := newRowWriter(dir)
	if err != nil {
		return err
	}
	for _, log := range logs {
		draw := rand.New(rand.NewPCG(s.Seed, uint64(len(log.Acts))))
		if err = each(log, s, 0.35, s.From, func(r *replay, m moment, pool []int32) error { return w.moment(r, m, pool, draw) }); err != nil {
			break
		}
	}
	return errors.Join(err, w.close())
}

type rowWriter struct {
	files  []*os.File
	out    map[string]*bufio.Writer
	plan   *feature.Plan
	past   *feature.Plan
	scenes int32
}

func newRowWriter(dir string) (*rowWriter, error) {
	w := &rowWriter{out: make(map[string]*bufio.Writer)}
	names := []string{}
	inputs := columns()
	for _, in := range inputs {
		names = append(names, in.Name)
	}
	var err error
	if w.plan, err = feature.Compile(inputs); err != nil {
		return nil, err
	}
	if w.past, err = feature.Compile([]feature.Input{
		{Name: "note.vector", Shape: []int64{-1, feature.VectorSize}},
		{Name: "note.author_id", Type: feature.Int64, Shape: []int64{-1}},
		{Name: "viewer.history_vectors", Shape: []int64{pastNotes, feature.VectorSize}},
		{Name: "viewer.history_authors", Type: feature.Int64, Shape: []int64{pastNotes}},
		{Name: "viewer.history_actions", Type: feature.Int64, Shape: []int64{pastNotes}},
		{Name: "viewer.history_hours", Shape: []int64{pastNotes}},
	}); err != nil {
		return nil, err
	}
	list, err := json.Marshal(names)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(dir, "columns.json"), list, 0o644); err != nil {
		return nil, err
	}
	for _, name := range []string{"x.f32", "y.u8", "weight.f32", "scene.i32", "vector.f32", "author.i64", "past.f32", "author.past.i64", "action.past.i64", "hours.past.f32"} {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			return nil, errors.Join(err, w.close())
		}
		w.files = append(w.files, f)
		w.out[name] = bufio.NewWriterSize(f, 1<<20)
	}
	return w, nil
}

func (w *rowWriter) close() error {
	var all []error
	for _, b := range w.out {
		all = append(all, b.Flush())
	}
	for _, f := range w.files {
		all = append(all, f.Close())
	}
	return errors.Join(all...)
}

// moment writes the notes that were answered and a draw of the others.
func (w *rowWriter) moment(r *replay, m moment, pool []int32, draw *rand.Rand) error {
	answers := r.answers(m)
	var yes, no []int32
	for _, n := range pool {
		if answers[n] != nil {
			yes = append(yes, n)
		} else {
			no = append(no, n)
		}
	}
	if len(yes) == 0 {
		return nil
	}
	draw.Shuffle(len(no), func(i, j int) { no[i], no[j] = no[j], no[i] })
	kept := no[:min(negatives, len(no))]
	stand := float32(len(no)) / float32(max(1, len(kept)))
	notes := slices.Concat(yes, kept)
	facts := r.scene(m.reader, notes)
	var rows, past feature.Batch
	if err := errors.Join(w.plan.Fill(facts, &rows), w.past.Fill(facts, &past)); err != nil {
		return err
	}
	for i, n := range notes {
		for c := range rows.Inputs {
			w.put("x.f32", rows.Inputs[c].Float[i])
		}
		for _, hit := range hits(answers[n]) {
			w.put("y.u8", hit)
		}
		weight := float32(1)
		if i >= len(yes) {
			weight = stand
		}
		w.put("weight.f32", weight)
		w.put("scene.i32", w.scenes)
	}
	for i, name := range []string{"vector.f32", "author.i64", "past.f32", "author.past.i64", "action.past.i64", "hours.past.f32"} {
		w.put(name, past.Inputs[i].Float)
		w.put(name, past.Inputs[i].Int)
	}
	w.scenes++
	return nil
}

// put writes; an error stays in the writer and is found by close.
func (w *rowWriter) put(name string, value any) {
	_ = binary.Write(w.out[name], binary.LittleEndian, value)
}

// Tokens writes the tokens of every text, one JSON list a line: what the
// encoder is learned from.
func Tokens(real *crowd.Real, to io.Writer) error {
	var texts []string
	for _, of := range real.Topics {
		texts = append(texts, of...)
	}
	slices.Sort(texts)
	enc := json.NewEncoder(to)
	for _, text := range texts {
		if err := enc.Encode(feature.Tokens(text, feature.MaxTokens)); err != nil {
			return err
		}
	}
	return nil
}
