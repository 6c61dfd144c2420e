package crowd

import (
	"cmp"
	"math"
	"slices"
)

// scanned is how many notes a reader looks over in one session.
const scanned = 100

// visit is one session to come.
type visit struct {
	at     int64
	reader int
}

// scene is what is known while the sessions pass.
type scene struct {
	recent  []int32           // notes of the last 36 hours, oldest first
	by      map[int32][]int32 // author: notes, oldest first
	acted   map[int32][]deedOf
	support []int32                  // by note: acts so far
	owed    map[[2]int32]int         // who acted on whom, how often
	done    map[[2]int32]bool        // reader, note
	friends map[int32]map[int32]bool // reader: whom they follow
	buzz    map[int32][]int32        // note: readers that acted, once for each act
}

type deedOf struct {
	at   int64
	note int32
}

// live lets everybody come, in the order of time.
func (w *world) live() {
	visits := w.visits()
	written := slices.Clone(w.log.Acts)
	s := &scene{
		by: make(map[int32][]int32), acted: make(map[int32][]deedOf), support: make([]int32, len(w.log.Notes)),
		owed: make(map[[2]int32]int), done: make(map[[2]int32]bool), friends: w.friends(), buzz: make(map[int32][]int32),
	}
	at := 0
	for _, v := range visits {
		for at < len(written) && written[at].At <= v.at {
			w.pass(s, written[at])
			at++
		}
		w.session(s, v)
	}
}

func (w *world) visits() []visit {
	var out []visit
	for i, r := range w.readers {
		for at := float64(w.log.Start); ; {
			at += w.rand.ExpFloat64() / r.visits * day
			if at >= float64(w.log.End)-2*hour {
				break
			}
			out = append(out, visit{min(w.near(int64(at), r.at), w.log.End-2*hour), i})
		}
	}
	slices.SortStableFunc(out, func(a, b visit) int { return cmp.Compare(a.at, b.at) })
	return out
}

// pass is something that happens beside the sessions.
func (w *world) pass(s *scene, a Act) {
	if a.Deed == Write {
		s.recent = append(s.recent, a.Note)
		s.by[a.Who] = append(s.by[a.Who], a.Note)
		return
	}
	s.support[a.Note]++
}

// session is one look at the notes.
func (w *world) session(s *scene, v visit) {
	r := &w.readers[v.reader]
	for len(s.recent) > 0 && w.log.Notes[s.recent[0]].At < v.at-36*hour {
		s.recent = s.recent[1:]
	}
	tired, topics := 0.0, [Topics]int{}
	for i, note := range w.look(s, v) {
		if w.cfg.Family == Habit && w.rand.Float64() < tired {
			return
		}
		z := w.appeal(s, v, note, i, topics[w.facets[note].topic])
		topics[w.facets[note].topic]++
		if w.react(s, v.at+int64(i)*15, r, note, z) {
			tired += 0.04
		}
	}
}

// look is the notes a reader sees: of those they follow and acted upon by those,
// popular ones and, for the rest, any; all of them rather new than old.
func (w *world) look(s *scene, v visit) []int32 {
	r := &w.readers[v.reader]
	seen := make(map[int32]bool)
	var out []int32
	take := func(note int32) {
		n := &w.log.Notes[note]
		if !seen[note] && n.At <= v.at && n.At > v.at-36*hour && n.Author != r.key && !s.done[[2]int32{r.key, note}] {
			seen[note] = true
			out = append(out, note)
		}
	}
	if r.listed {
		w.lookNear(s, v, take)
	}
	var popular []int32
	for range 12 * 20 {
		if len(s.recent) > 0 {
			popular = append(popular, s.recent[w.rand.IntN(len(s.recent))])
		}
	}
	slices.SortStableFunc(popular, func(a, b int32) int { return cmp.Compare(s.support[b], s.support[a]) })
	for _, note := range popular[:len(popular)/8] {
		take(note)
	}
	if !r.listed { // they look for their own by hand
		for _, whom := range sortedKeys(r.favourites) {
			for _, note := range tail(s.by[whom], 2) {
				if w.rand.Float64() < 0.6 {
					take(note)
				}
			}
		}
	}
	for tries := 0; len(out) < scanned && tries < 300 && len(s.recent) > 0; tries++ {
		back := w.rand.Float64()
		take(s.recent[len(s.recent)-1-int(back*back*float64(len(s.recent)))])
	}
	w.rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out[:min(len(out), scanned)]
}

func (w *world) lookNear(s *scene, v visit, take func(int32)) {
	follows := w.real.Follows[w.readers[v.reader].key]
	var near, passed []int32
	for _, whom := range follows {
		near = append(near, tail(s.by[whom], 6)...)
		for _, d := range tail(s.acted[whom], 5) {
			if d.at > v.at-24*hour {
				passed = append(passed, d.note)
			}
		}
	}
	w.newish(near, v.at)
	w.newish(passed, v.at)
	for _, note := range near[:min(len(near), 90)] {
		take(note)
	}
	for _, note := range passed[:min(len(passed), 25)] {
		take(note)
	}
}

// newish puts notes into an order in which new ones tend to come first: by age
// times chance.
func (w *world) newish(notes []int32, now int64) {
	luck := make(map[int32]float64, len(notes))
	for _, n := range notes {
		if _, drawn := luck[n]; !drawn {
			luck[n] = float64(now-w.log.Notes[n].At+hour) * w.rand.ExpFloat64()
		}
	}
	slices.SortStableFunc(notes, func(a, b int32) int { return cmp.Compare(luck[a], luck[b]) })
}

func tail[T any](s []T, n int) []T { return s[max(0, len(s)-n):] }

func sortedKeys(m map[int32]float64) []int32 {
	keys := make([]int32, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// appeal is how much a reader is drawn to a note, on the scale of log odds.
func (w *world) appeal(s *scene, v visit, note int32, place, alike int) float64 {
	r, f, n := &w.readers[v.reader], &w.facets[note], &w.log.Notes[note]
	likes := max(-2, min(2, math.Log(w.taste[r.key][f.topic]*Topics+0.02)))
	against := max(0, -f.side*w.lean[r.key]*2)
	favour := r.favourites[n.Author]
	age := float64(v.at-n.At) / hour
	friends := math.Log1p(float64(s.known(r.key, note)))
	crowd := math.Log1p(float64(min(s.support[note], 50)))
	if f.spam {
		return -4
	}
	if w.cfg.Family == Habit {
		owed := math.Log1p(float64(s.owed[[2]int32{n.Author, r.key}]))
		return r.warm + 0.5*likes + 0.4*f.quality + 1.2*favour + 0.8*owed + 0.5*crowd + 0.6*math.Exp(-age/3) - 0.8*against - 0.12*float64(alike) - 0.01*float64(place) - 0.6
	}
	return r.warm + 0.9*likes + 0.7*f.quality + 1.0*favour + 0.35*friends - 1.3*against - 0.015*age
}

func odds(z float64) float64 { return 1 / (1 + math.Exp(-z)) }

// react draws what the reader does, and tells whether it is anything.
func (w *world) react(s *scene, at int64, r *reader, note int32, z float64) bool {
	shift := map[Family][5]float64{
		Interest: {-4.4, -5.9, -6.1, -7.2, -7.2},
		Habit:    {-4.6, -5.2, -6.2, -7.4, -7.0},
	}[w.cfg.Family]
	try := func(deed Deed, z float64) bool {
		if w.rand.Float64() >= odds(z) {
			return false
		}
		w.act(s, at, r, note, deed)
		return true
	}
	liked := try(Like, z+shift[0])
	talked := try(Reply, z+shift[1]+r.talks)
	passed := try(Repost, z+shift[2]+r.passes)
	paid := try(Zap, z+shift[3]+r.pays)
	if liked || talked || passed || paid {
		return true
	}
	if w.facets[note].spam && w.rand.Float64() < 0.02 {
		w.act(s, at, r, note, Report)
		return true
	}
	return try(Dislike, -z+shift[4]+r.grumbles)
}

func (w *world) act(s *scene, at int64, r *reader, note int32, deed Deed) {
	a := Act{At: at, Who: r.key, Note: note, Deed: deed}
	if deed == Zap {
		a.Msat = int64(21000 * math.Exp(w.rand.NormFloat64()))
	}
	w.log.Acts = append(w.log.Acts, a)
	s.done[[2]int32{r.key, note}] = true
	if deed == Dislike || deed == Report {
		return
	}
	s.support[note]++
	s.owed[[2]int32{r.key, w.log.Notes[note].Author}]++
	s.acted[r.key] = append(s.acted[r.key], deedOf{at, note})
	s.buzz[note] = append(s.buzz[note], r.key)
}

// friends is whom each reader follows.
func (w *world) friends() map[int32]map[int32]bool {
	out := make(map[int32]map[int32]bool)
	for _, r := range w.readers {
		set := make(map[int32]bool)
		for _, whom := range w.real.Follows[r.key] {
			set[whom] = true
		}
		out[r.key] = set
	}
	return out
}

// known counts what those the reader follows did with a note.
func (s *scene) known(reader, note int32) (n int) {
	for _, who := range s.buzz[note] {
		if s.friends[reader][who] {
			n++
		}
	}
	return n
}
