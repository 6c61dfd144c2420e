package crowd

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"
)

// write is every author's notes.
func (w *world) write() {
	for i := range w.authors {
		a := &w.authors[i]
		shares := w.taste[a.key]
		for k := range shares {
			shares[k] = math.Pow(shares[k], 1.5)
		}
		even(&shares)
		prefers := w.rand.Float64() * 24
		for at := float64(w.log.Start); ; {
			at += w.rand.ExpFloat64() / a.rate * day
			if at >= float64(w.log.End) {
				break
			}
			when := w.near(int64(at), prefers)
			topic := w.pick(&shares)
			f := facet{topic: topic, quality: a.talent + w.rand.NormFloat64()*0.7}
			if w.rand.Float64() < 0.2 {
				f.side = max(-1, min(1, w.lean[a.key]+w.rand.NormFloat64()*0.3))
			}
			w.put(a.key, when, w.text(topic), f)
		}
	}
}

// near moves a moment to within about four hours of an hour of its day.
func (w *world) near(at int64, prefers float64) int64 {
	today := at - at%day
	h := math.Mod(prefers+w.rand.NormFloat64()*4+48, 24)
	return min(today+int64(h*hour), w.log.End-1)
}

// text is the beginning of one real note and another of the same topic.
func (w *world) text(topic int) string {
	of := w.real.Topics[topic]
	return cut(of[w.rand.IntN(len(of))], 280) + "\n" + cut(of[w.rand.IntN(len(of))], 280)
}

func cut(text string, most int) string {
	n := 0
	for at := range text {
		if n++; n > most {
			return text[:at]
		}
	}
	return text
}

func (w *world) put(who int32, at int64, text string, f facet) {
	n := int32(len(w.log.Notes))
	sum := sha256.Sum256(fmt.Appendf(nil, "%d %d %d", w.cfg.Seed, w.cfg.Family, n))
	w.log.Notes = append(w.log.Notes, Note{ID: hex.EncodeToString(sum[:]), At: at, Author: who, Text: text})
	w.facets = append(w.facets, f)
	w.log.Acts = append(w.log.Acts, Act{At: at, Who: who, Note: n, Deed: Write})
}

// spam is fresh keys that write the same things over and over, and a ring of
// fresh keys that likes those within the hour. The ring follows itself.
func (w *world) spam() {
	w.log.Spam = make(map[int32]bool)
	ring := make([]int32, w.cfg.Ring)
	for i := range ring {
		ring[i] = w.fresh("ring", i)
		w.log.Spam[ring[i]] = true
	}
	for i := range ring {
		for range 20 {
			if other := ring[w.rand.IntN(len(ring))]; other != ring[i] {
				w.log.Follows[ring[i]] = append(w.log.Follows[ring[i]], other)
			}
		}
	}
	for i := range w.cfg.Spam {
		key := w.fresh("spam", i)
		w.log.Spam[key] = true
		topic := w.rand.IntN(Topics)
		says := "Earn now, limited offer " + cut(w.text(topic), 120)
		from := w.log.Start + w.rand.Int64N(w.log.End-w.log.Start)
		for n := range 5 + w.rand.IntN(30) {
			at := from + int64(n)*int64(900+w.rand.IntN(3600))
			if at >= w.log.End {
				break
			}
			w.put(key, at, fmt.Sprintf("%s https://offer.example/%d", says, w.rand.IntN(1e6)), facet{topic: topic, quality: -2.5, spam: true})
			w.vote(ring, int32(len(w.log.Notes)-1), at)
		}
	}
}

func (w *world) vote(ring []int32, note int32, at int64) {
	if len(ring) == 0 || w.rand.Float64() < 0.5 {
		return
	}
	for range 20 + w.rand.IntN(60) {
		when := at + 60 + w.rand.Int64N(hour)
		if when < w.log.End {
			w.log.Acts = append(w.log.Acts, Act{At: when, Who: ring[w.rand.IntN(len(ring))], Note: note, Deed: Like})
		}
	}
}
