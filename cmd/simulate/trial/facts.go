package trial

import (
	"math"
	"slices"

	"agora/ranker/feature"
)

// pool is the notes that every ranker is shown: what the reader's follows wrote
// and acted on, what is popular by trust, what is new. At most limit of them,
// not older than 48 hours, none that the reader wrote or acted on; outside
// leaves out what the reader's follows wrote.
func (r *replay) pool(reader int32, limit int, outside bool) []int32 {
	follows := r.web.sets[reader]
	var recent []int32
	for i := len(r.recent) - 1; i >= 0; i-- {
		n := r.recent[i]
		if r.log.Notes[n].At < r.now-48*hour {
			break
		}
		if !outside || !follows[r.log.Notes[n].Author] {
			recent = append(recent, n)
		}
	}
	shares := [4][]int32{1: recent}
	support := make(map[int32]float32)
	for _, n := range recent {
		if follows[r.log.Notes[n].Author] {
			shares[0] = append(shares[0], n)
		}
		near := false
		for _, d := range r.notes[n].acts {
			support[n] += r.web.global[d.who]
			near = near || follows[d.who]
		}
		if near {
			shares[2] = append(shares[2], n)
		}
	}
	shares[3] = slices.Clone(recent)
	slices.SortStableFunc(shares[3], func(a, b int32) int { return compare(support[b], support[a]) })
	done := make(map[int32]bool)
	for _, d := range r.past[reader] {
		done[d.note] = true
	}
	return r.mix(reader, shares, done, limit)
}

func compare(a, b float32) int {
	if a < b {
		return -1
	}
	if a > b {
		return 1
	}
	return 0
}

// mix takes from the shares in turn.
func (r *replay) mix(reader int32, shares [4][]int32, done map[int32]bool, limit int) []int32 {
	var out []int32
	for left := true; left && len(out) < limit; {
		left = false
		for i := range shares {
			for len(shares[i]) > 0 {
				n := shares[i][0]
				shares[i] = shares[i][1:]
				if done[n] || r.log.Notes[n].Author == reader {
					continue
				}
				done[n] = true
				out = append(out, n)
				left = true
				break
			}
		}
	}
	return out[:min(len(out), limit)]
}

// scene is a reader before a pool of notes.
func (r *replay) scene(reader int32, pool []int32) *feature.Facts {
	f := &feature.Facts{Now: r.now, Tier: feature.Viewer, Viewer: r.person(reader), Knobs: make(map[string]float32)}
	mine := r.web.of(reader)
	near := r.surroundings(reader, mine)
	authors := make(map[int32]*feature.Author)
	pairs := make(map[int32]*feature.Pair)
	for _, n := range pool {
		who := r.log.Notes[n].Author
		if authors[who] == nil {
			authors[who] = r.author(who)
			pairs[who] = r.between(reader, who, mine, near)
		}
		c := feature.Candidate{
			Note: r.note(n), Author: authors[who], Pair: pairs[who], Thread: &feature.Thread{},
			Counts: r.counts(n, mine), Proof: r.proof(reader, n, mine), Stages: &feature.Stages{CoLike: near.likes[n]},
		}
		if pairs[who].Follows {
			c.Sources |= feature.FromFollows
		}
		for _, d := range c.Proof.Actors {
			if d > 0 {
				c.Sources |= feature.FromTrusted
			}
		}
		f.Candidates = append(f.Candidates, c)
	}
	r.novelty(f)
	return f
}

func (r *replay) person(reader int32) feature.Person {
	s := &r.authors[reader]
	p := feature.Person{
		Known: true, Key: feature.Hash(r.log.Keys[reader]), Follows: uint32(len(r.web.sets[reader])), Followers: uint32(r.web.fans[reader]),
		FirstSeen: s.first, LikesPerDay: float32(s.acts.read(r.now)),
	}
	past := r.past[reader]
	for i := len(past) - 1; i >= 0 && len(p.History) < feature.DefaultHistory; i-- {
		n := r.note(past[i].note)
		p.History = append(p.History, feature.Past{Note: n.ID, Author: n.Author, At: past[i].at, Action: past[i].what, Vector: n.Vector})
		p.Scripts[n.Script]++
	}
	for i := range p.Scripts {
		p.Scripts[i] /= float32(max(1, len(p.History)))
	}
	return p
}

func (r *replay) author(who int32) *feature.Author {
	s, w := &r.authors[who], r.web
	a := &feature.Author{
		FirstSeen: s.first, Trust: w.global[who], Followers: uint32(w.fans[who]), FollowersTrust: w.fanWt[who],
		Follows: uint32(len(w.sets[who])), NotesPerDay: float32(s.rate.read(r.now)), ZapMsat30d: uint64(s.msat),
		LikesPerNote: float32(s.likes / float64(max(1, len(s.notes)))), RepliesPerNote: float32(s.talks / float64(max(1, len(s.notes)))),
	}
	for i := len(s.notes) - 1; i >= 0 && r.log.Notes[s.notes[i]].At > r.now-day; i-- {
		a.Notes24h++
	}
	if both := w.muteWt[who] + w.fanWt[who]; both > 0 {
		a.MuteShare = w.muteWt[who] / both
	}
	if both := s.report + w.fanWt[who]; both > 0 {
		a.ReportShare = s.report / both
	}
	return a
}

func (r *replay) between(reader, who int32, mine []float32, near *near) *feature.Pair {
	k := [2]int32{reader, who}
	p, ok := r.common[k]
	if !ok {
		p = feature.Pair{Trust: mine[who], Hops: r.web.hops(reader, who, mine), Follows: r.web.sets[reader][who], FollowedBy: r.web.sets[who][reader]}
		both, share := r.web.common(reader, who)
		p.CommonFollows, p.CommonShare = uint32(both), share
		r.common[k] = p
	}
	if s := r.pairs[k]; s != nil {
		for i, into := range []*[feature.Spans]float32{&p.Likes, &p.Replies, &p.Reposts, &p.Zaps, &p.Inbound} {
			for span, v := range s.read(i, r.now) {
				into[span] = float32(v)
			}
		}
		p.LastAt, p.LikesOf = s.last, s.all
	}
	if x := near.interest[who]; x > 0 {
		p.Interest = x / (1 + x)
	}
	return &p
}

// counts is what others did with a note.
func (r *replay) counts(n int32, mine []float32) *feature.Counts {
	c := &feature.Counts{}
	first, near := make(map[int32]bool), heaviest(r.notes[n].acts, mine)
	for _, d := range r.notes[n].acts {
		weight := r.web.global[d.who]
		c.Actors[d.what]++
		c.Trust[d.what] += weight
		if near == nil || near[d.who] {
			c.Viewer[d.what] += mine[d.who]
		}
		c.ZapMsat += uint64(d.msat)
		c.ZapMsatTrust += float64(d.msat) * float64(weight)
		if d.what == feature.Dislike || d.what == feature.Report || first[d.who] {
			continue
		}
		first[d.who] = true
		for w, span := range [feature.Windows]float64{hour / 4, hour, 6 * hour, 24 * hour} {
			v := math.Exp(-float64(r.now-d.at)/span) * hour / span
			c.Rate[w] += float32(v)
			c.TrustRate[w] += float32(v) * weight
		}
	}
	for _, other := range r.authors[r.log.Notes[n].Author].notes {
		if r.log.Notes[other].At > r.log.Notes[n].At {
			c.NewerByAuthor++
		}
	}
	return c
}

// heaviest are the 64 keys of a crowd whom the reader trusts most, as
// feeds/tally looks at them; nil: the crowd is not larger.
func heaviest(acts []deed, weight []float32) map[int32]bool {
	if len(acts) <= 64 {
		return nil
	}
	var who []int32
	for _, d := range acts {
		who = append(who, d.who)
	}
	slices.Sort(who)
	who = slices.Compact(who)
	slices.SortStableFunc(who, func(a, b int32) int { return compare(weight[b], weight[a]) })
	out := make(map[int32]bool)
	for _, k := range who[:min(64, len(who))] {
		out[k] = true
	}
	return out
}

func (r *replay) proof(reader, n int32, mine []float32) *feature.Proof {
	p := &feature.Proof{}
	seen := make(map[int32]bool)
	for _, d := range r.notes[n].acts {
		if !r.web.sets[reader][d.who] {
			continue
		}
		p.Actors[d.what]++
		if !seen[d.who] {
			seen[d.who] = true
			p.Trust += mine[d.who]
		}
	}
	return p
}

// novelty compares with the ten notes that the reader liked last.
func (r *replay) novelty(f *feature.Facts) {
	for i := range f.Candidates {
		near := float32(0)
		for _, p := range f.Viewer.History[:min(10, len(f.Viewer.History))] {
			near = max(near, dot(p.Vector, f.Candidates[i].Note.Vector))
		}
		f.Candidates[i].Stages.Novelty = 1 - min(1, near)
	}
}

func dot(a, b []float32) (sum float32) {
	for i := range min(len(a), len(b)) {
		sum += a[i] * b[i]
	}
	return sum
}
