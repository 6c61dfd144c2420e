package feeds

import (
	"math"
	"time"

	"agora/feeds/tally"
)

const (
	countEvery = time.Minute // between two counts of the likes that each key gave
	mostHot    = 1400        // notes most acted upon for their age
	mostTop    = 600         // notes most acted upon of the last week
)

// LookOver finds the notes most acted upon, by trust. Run does it again and
// again.
func (f *Feeds) LookOver(now time.Time) {
	f.lookMu.Lock()
	defer f.lookMu.Unlock()
	public := f.cfg.Graph.From("")
	f.topMu.RLock()
	given := f.given
	f.topMu.RUnlock()
	if again := now.Sub(f.counted) > countEvery || now.Before(f.counted); given == nil || again {
		f.counted = now
		f.cfg.Tally.Read(now.Unix(), func(r *tally.Reader) { given = countLikes(r, now.Unix()) })
	}
	hot, week := newTop[tally.Spot](mostHot), newTop[tally.Spot](mostTop+mostHot)
	f.cfg.Tally.Each(now.Unix(), func(r *tally.Reader, n tally.Note) bool {
		w := r.Support(n)
		if w <= 0 {
			return true
		}
		age := now.Unix() - n.Created
		hot.add(float32(math.Log10(1+10*w)-float64(age)/45000), n.ID, r.Spot(n))
		if age < 7*86400 {
			week.add(float32(w), n.ID, r.Spot(n))
		}
		return true
	})
	list := hot.first(mostHot)
	seen := make(map[tally.Spot]bool, len(list))
	for _, id := range list {
		seen[id] = true
	}
	rest := week.first(mostTop + mostHot)
	merged := make([]tally.Spot, 0, mostHot+mostTop)
	for i, id := range list { // two of the hot, then one of the top
		merged = append(merged, id)
		for i%2 == 1 && len(rest) > 0 && len(merged) < cap(merged) {
			next := rest[0]
			rest = rest[1:]
			if !seen[next] {
				seen[next] = true
				merged = append(merged, next)
				break
			}
		}
	}
	f.topMu.Lock()
	defer f.topMu.Unlock()
	f.top, f.public, f.given = merged, public, given
}
