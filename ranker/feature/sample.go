package feature

import "math/rand/v2"

// Sample is n made-up candidates before a made-up reader, always the same for
// one seed: numbers of the sizes that real ones have, for checking that a
// model computes alike everywhere. Every feature moves in it.
func Sample(seed uint64, n int) *Facts {
	r := rand.New(rand.NewPCG(seed, 0x61676f7261))
	f := &Facts{Now: 1_800_000_000 + r.Int64N(1e6), Tier: Personal, Knobs: make(map[string]float32)}
	f.Viewer = samplePerson(r, f.Now)
	for range n {
		f.Candidates = append(f.Candidates, sampleCandidate(r, f.Now))
	}
	return f
}

// few is a count that is mostly small and sometimes large.
func few(r *rand.Rand) uint32 { return uint32(r.ExpFloat64() * r.ExpFloat64() * 8) }

func flip(r *rand.Rand) bool { return r.IntN(2) == 1 }

func before(r *rand.Rand, now int64, days float64) int64 { return now - int64(r.ExpFloat64()*days*day) }

func vector(r *rand.Rand) []float32 {
	v := make([]float32, VectorSize)
	for i := range v {
		v[i] = float32(r.NormFloat64() / 8)
	}
	return v
}

func samplePerson(r *rand.Rand, now int64) Person {
	p := Person{
		Known: true, Key: r.Int64(), Follows: few(r), Followers: few(r), FirstSeen: before(r, now, 300), LastSeen: before(r, now, 1),
		LikesPerDay: r.Float32() * 20, RepliesPerDay: r.Float32() * 5, BridgeFactor: float32(r.NormFloat64()),
	}
	p.Scripts[Latin], p.Scripts[Han] = .7, .3
	for range 20 + r.IntN(40) {
		p.History = append(p.History, Past{Note: r.Int64(), Author: r.Int64(), At: before(r, now, 5), Action: Action(r.IntN(int(Actions))), Vector: vector(r)})
	}
	return p
}

func sampleCandidate(r *rand.Rand, now int64) Candidate {
	return Candidate{
		Note: sampleNote(r, now), Author: sampleAuthor(r, now), Counts: sampleCounts(r), Pair: samplePair(r, now),
		Thread:  &Thread{Depth: uint16(few(r)), RootAt: before(r, now, 2), Siblings: few(r), ParentTrust: r.Float32(), ParentViewer: r.Float32(), ToViewer: flip(r), RootFollowed: flip(r)},
		Proof:   &Proof{Actors: [Actions]uint16{Like: uint16(few(r)), Reply: uint16(few(r)), Zap: uint16(few(r))}, Trust: r.Float32() * 4, Seen: flip(r), Acted: flip(r)},
		Signals: &Signals{Spam: r.Float32(), AI: r.Float32(), Nsfw: r.Float32(), Person: float32(r.IntN(2)), Actors: r.Float32()},
		Stages: &Stages{CoLike: r.Float32() * 3, BridgeIntercept: float32(r.NormFloat64()) / 4, BridgeFactor: float32(r.NormFloat64()),
			BridgeLower: float32(r.NormFloat64()) / 4, Novelty: r.Float32()},
		Sources: Source(r.IntN(64)),
	}
}

func sampleNote(r *rand.Rand, now int64) *Note {
	n := &Note{
		CreatedAt: before(r, now, 1), ID: r.Int64(), Author: r.Int64(), Kind: []uint16{1, 1, 1, 6, 20, 1068, 1111, 30023}[r.IntN(8)],
		Characters: few(r) * 20, Words: uint16(few(r) * 4), Lines: uint16(few(r)), Emoji: uint16(r.IntN(4)), Links: uint16(r.IntN(3)),
		Hosts: uint16(r.IntN(2)), Images: uint16(r.IntN(3)), Videos: uint16(r.IntN(2)), Audio: uint16(r.IntN(2)), Hashtags: uint16(r.IntN(5)),
		Mentions: uint16(r.IntN(5)), Quotes: uint16(r.IntN(2)), Invoices: uint16(r.IntN(2)), Script: Script(r.IntN(int(Scripts))),
		Reply: flip(r), Warning: r.IntN(20) == 0, Question: flip(r), Protected: r.IntN(20) == 0, Capitals: r.Float32(), Distinct: r.Float32(),
		Vector: vector(r),
	}
	for range WordingSize {
		n.Wording = append(n.Wording, r.Float32())
	}
	for range r.IntN(DefaultTokens) {
		n.Tokens = append(n.Tokens, int32(1+r.IntN(Vocabulary-1)))
	}
	return n
}

func sampleAuthor(r *rand.Rand, now int64) *Author {
	return &Author{
		FirstSeen: before(r, now, 200), Trust: r.Float32(), Followers: few(r) * few(r), FollowersTrust: r.Float32() * 50, Follows: few(r) * 10,
		NotesPerDay: r.Float32() * 10, Notes24h: few(r), ReplyShare: r.Float32(), MuteShare: r.Float32() / 10, ReportShare: r.Float32() / 20,
		LikesPerNote: r.Float32() * 8, RepliesPerNote: r.Float32() * 2, ZapMsat30d: uint64(few(r)) * 21_000,
		Nip05: flip(r), Lightning: flip(r), Picture: flip(r), Bot: r.IntN(20) == 0,
	}
}

func sampleCounts(r *rand.Rand) *Counts {
	c := &Counts{
		ZapMsat: uint64(few(r)) * 21_000, ZapMsatTrust: r.Float64() * 50_000, NewerByAuthor: uint16(r.IntN(4)),
		Duplicates: uint16(r.IntN(3)), DuplicateKeys: uint16(r.IntN(3)), Earlier: uint16(r.IntN(3)),
	}
	for a := range c.Actors {
		c.Actors[a] = few(r)
		c.Trust[a] = float32(c.Actors[a]) * r.Float32()
		c.Viewer[a] = float32(min(c.Actors[a], 64)) * r.Float32()
	}
	for w := range c.Rate {
		c.Rate[w] = r.Float32() * 20
		c.TrustRate[w] = c.Rate[w] * r.Float32()
	}
	c.People = People{Likes: c.Actors[Like] / 2, Dislikes: c.Actors[Dislike] / 3, Emoji: c.Actors[Emoji] / 2, Reports: c.Actors[Report] / 3}
	return c
}

func samplePair(r *rand.Rand, now int64) *Pair {
	p := &Pair{
		Trust: r.Float32(), Hops: uint8(r.IntN(4)), Follows: flip(r), FollowedBy: flip(r), CommonFollows: few(r), CommonShare: r.Float32(),
		LikesOf: few(r), LastAt: before(r, now, 10), Interest: r.Float32(),
	}
	for s := range p.Likes {
		p.Likes[s], p.Replies[s], p.Reposts[s] = r.Float32()*9, r.Float32()*4, r.Float32()*3
		p.Zaps[s], p.Inbound[s] = r.Float32()*2, r.Float32()*6
	}
	return p
}
