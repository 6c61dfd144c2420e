package trial

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"agora/cmd/simulate/crowd"
	"agora/ranker/feature"
)

// Ahead is how long after a moment an act of the reader's still counts as the
// answer to what they were shown.
const Ahead = 2 * hour

// moment is a reader about to look.
type moment struct {
	at     int64
	reader int32
}

// moments are when readers began to act after half an hour of doing nothing,
// between two times; at most most of each reader, drawn by seed.
func moments(log *crowd.Log, from, to int64, most int, seed uint64) []moment {
	last := make(map[int32]int64)
	by := make(map[int32][]moment)
	readers := make(map[int32]bool)
	for _, who := range log.Readers {
		readers[who] = true
	}
	for _, a := range log.Acts {
		if a.Deed == crowd.Write || !readers[a.Who] {
			continue
		}
		if a.At-last[a.Who] > hour/2 && a.At >= from && a.At < to-Ahead {
			by[a.Who] = append(by[a.Who], moment{a.At, a.Who})
		}
		last[a.Who] = a.At
	}
	r := rand.New(rand.NewPCG(seed, 1))
	var out []moment
	for _, who := range log.Readers {
		all := by[who]
		r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		out = append(out, all[:min(most, len(all))]...)
	}
	slices.SortStableFunc(out, func(a, b moment) int { return cmp.Compare(a.at, b.at) })
	return out
}

// answers is what a reader does within Ahead, by note.
func (r *replay) answers(m moment) map[int32]map[feature.Action]bool {
	out := make(map[int32]map[feature.Action]bool)
	for i := r.at; i < len(r.log.Acts) && r.log.Acts[i].At < m.at+Ahead; i++ {
		a := r.log.Acts[i]
		if a.Who != m.reader || a.Deed == crowd.Write {
			continue
		}
		if out[a.Note] == nil {
			out[a.Note] = make(map[feature.Action]bool)
		}
		out[a.Note][action(a.Deed)] = true
	}
	return out
}

// gain is what an answer is worth: 2 for words, a repost or money, 1 for a
// like; nothing where the reader disliked or reported it.
func gain(answer map[feature.Action]bool) float64 {
	switch {
	case answer[feature.Dislike] || answer[feature.Report]:
		return 0
	case answer[feature.Reply] || answer[feature.Repost] || answer[feature.Quote] || answer[feature.Zap]:
		return 2
	case answer[feature.Like] || answer[feature.Emoji]:
		return 1
	}
	return 0
}

// targets are the five things whose chance is predicted.
var targets = [...]string{"like", "reply", "repost", "zap", "negative"}

func hits(answer map[feature.Action]bool) (out [len(targets)]bool) {
	return [len(targets)]bool{
		answer[feature.Like] || answer[feature.Emoji], answer[feature.Reply],
		answer[feature.Repost] || answer[feature.Quote], answer[feature.Zap],
		answer[feature.Dislike] || answer[feature.Report],
	}
}

// Settings of a trial. A zero field means the default beside it.
type Settings struct {
	From    float64 // share of the log's time before the part that is judged; 0.7
	Pool    int     // notes per moment; 400
	Moments int     // of each reader; 2
	Seed    uint64
	Outside bool                // only notes of keys that the reader does not follow
	Mine    map[int32][]float32 // personal trust of logs with the same lists, kept between them; nil: none
}

func (s *Settings) defaults() {
	if s.From == 0 {
		s.From = 0.7
	}
	if s.Pool == 0 {
		s.Pool = 400
	}
	if s.Moments == 0 {
		s.Moments = 2
	}
	if s.Mine == nil {
		s.Mine = make(map[int32][]float32)
	}
}

// each walks through the moments of a part of the log, given as shares of its
// time, and stops at the first error.
func each(log *crowd.Log, s Settings, from, to float64, see func(r *replay, m moment, pool []int32) error) error {
	span := float64(log.End - log.Start)
	begin, end := log.Start+int64(from*span), log.Start+int64(to*span)
	r := newReplay(log, newWeb(log.Follows, log.Mutes, s.Mine))
	for _, m := range moments(log, begin, end, s.Moments, s.Seed) {
		r.advance(m.at)
		pool := r.pool(m.reader, s.Pool, s.Outside)
		if len(pool) < 20 {
			continue
		}
		if err := see(r, m, pool); err != nil {
			return err
		}
	}
	return nil
}
