package trial

import (
	"math"

	"agora/cmd/simulate/crowd"
	"agora/ranker/builtin"
	"agora/ranker/feature"

	"github.com/nbd-wtf/go-nostr"
)

const (
	hour = 3600
	day  = 86400
)

// replay is all that is known up to one moment.
type replay struct {
	log     *crowd.Log
	web     *web
	at      int // acts read so far
	now     int64
	notes   []noteState
	facts   []feature.Note // by note; made when first asked for
	made    []bool
	authors []authorState
	pairs   map[[2]int32]*pairState // reader, author
	past    map[int32][]deed        // reader: what they did, oldest first
	recent  []int32                 // notes, oldest first
	given   []uint32                // by key: notes of the last 14 days that it liked
	young   int                     // of recent, the first that is not older than those
	stamp   []uint64                // by key: the turn in which it was seen
	turn    uint64
	fades   []float32
	encoder *builtin.Encoder
	common  map[[2]int32]feature.Pair // what never changes of a pair
}

type deed struct {
	at   int64
	who  int32
	note int32
	what feature.Action
	msat int64
}

// noteState is what was done with a note, each key once for each action.
type noteState struct{ acts []deed }

type authorState struct {
	first  int64
	notes  []int32
	rate   decaying // notes a day over 7 days
	likes  float64  // trust of likes
	talks  float64  // trust of replies
	msat   int64
	report float32
	acts   decaying // as a reader
}

// decaying is a count that fades with a time constant of 7 days.
type decaying struct {
	value float64
	at    int64
}

func (d *decaying) add(now int64, v float64) {
	d.value = d.read(now) + v
	d.at = now
}

func (d *decaying) read(now int64) float64 {
	return d.value * math.Exp(-float64(now-d.at)/(7*day))
}

// pairState is what a reader did with an author, at three half-lives.
type pairState struct {
	sums [5][3]float64 // likes, replies, reposts, zaps, inbound
	at   [5]int64
	last int64
	all  uint32 // likes
}

const inbound = 4

func (p *pairState) add(what int, now int64) {
	p.sums[what] = p.read(what, now)
	for i := range p.sums[what] {
		p.sums[what][i]++
	}
	p.at[what] = now
}

func (p *pairState) read(what int, now int64) (out [3]float64) {
	for i, days := range [3]float64{7, 30, 90} {
		out[i] = p.sums[what][i] * math.Exp2(-float64(now-p.at[what])/(days*day))
	}
	return out
}

func newReplay(log *crowd.Log, w *web) *replay {
	return &replay{
		log: log, web: w, notes: make([]noteState, len(log.Notes)), facts: make([]feature.Note, len(log.Notes)),
		made: make([]bool, len(log.Notes)), authors: make([]authorState, len(log.Keys)),
		pairs: make(map[[2]int32]*pairState), given: make([]uint32, len(log.Keys)), stamp: make([]uint64, len(log.Keys)), fades: newFades(), past: make(map[int32][]deed), encoder: builtin.NewEncoder(),
		common: make(map[[2]int32]feature.Pair),
	}
}

// advance reads what happened before a moment.
func (r *replay) advance(to int64) {
	for r.at < len(r.log.Acts) && r.log.Acts[r.at].At < to {
		r.read(r.log.Acts[r.at])
		r.at++
	}
	r.now = to
	r.age()
}

func action(d crowd.Deed) feature.Action {
	return [...]feature.Action{
		crowd.Like: feature.Like, crowd.Dislike: feature.Dislike, crowd.Emoji: feature.Emoji, crowd.Reply: feature.Reply,
		crowd.Repost: feature.Repost, crowd.Quote: feature.Quote, crowd.Zap: feature.Zap, crowd.Report: feature.Report,
	}[d]
}

func (r *replay) read(a crowd.Act) {
	author := r.log.Notes[a.Note].Author
	if a.Deed == crowd.Write {
		s := &r.authors[author]
		if s.first == 0 {
			s.first = a.At
		}
		s.notes = append(s.notes, a.Note)
		s.rate.add(a.At, 1.0/7)
		r.recent = append(r.recent, a.Note)
		return
	}
	what := action(a.Deed)
	n := &r.notes[a.Note]
	for _, d := range n.acts {
		if d.who == a.Who && d.what == what {
			return // a key counts once
		}
	}
	d := deed{at: a.At, who: a.Who, note: a.Note, what: what, msat: a.Msat}
	if liking(what) && !n.liked(a.Who) && r.log.Notes[a.Note].At >= a.At-nearNotes {
		r.given[a.Who]++
	}
	n.acts = append(n.acts, d)
	r.remember(d, author)
}

// remember is what an act says of its author and of the two of them.
func (r *replay) remember(d deed, author int32) {
	weight := r.web.global[d.who]
	to, from := &r.authors[author], &r.authors[d.who]
	if d.what == feature.Report {
		to.report += weight
		return
	}
	r.past[d.who] = append(r.past[d.who], d)
	if d.what == feature.Dislike {
		return
	}
	which := 0
	switch d.what {
	case feature.Like, feature.Emoji:
		if d.what == feature.Like {
			to.likes += float64(weight)
		}
		from.acts.add(d.at, 1.0/7)
	case feature.Reply:
		which = 1
		to.talks += float64(weight)
	case feature.Repost, feature.Quote:
		which = 2
	default:
		which = 3
		to.msat += d.msat
	}
	p := r.pair(d.who, author)
	p.add(which, d.at)
	p.last = d.at
	if which == 0 {
		p.all++
	}
	r.pair(author, d.who).add(inbound, d.at)
}

func (r *replay) pair(reader, author int32) *pairState {
	k := [2]int32{reader, author}
	p := r.pairs[k]
	if p == nil {
		p = &pairState{}
		r.pairs[k] = p
	}
	return p
}

// note is what a note says of itself.
func (r *replay) note(n int32) *feature.Note {
	if !r.made[n] {
		at := &r.log.Notes[n]
		r.facts[n] = feature.Read(&nostr.Event{ID: at.ID, PubKey: r.log.Keys[at.Author], Kind: 1, CreatedAt: nostr.Timestamp(at.At), Content: at.Text})
		r.facts[n].Vector = r.encoder.Vector(feature.Tokens(at.Text, feature.DefaultTokens))
		r.made[n] = true
	}
	return &r.facts[n]
}
