package feature

// deeds names the actions as the catalogue does.
func deeds() [Actions]struct{ name, what string } {
	return [Actions]struct{ name, what string }{
		Like: {"likes", "liked it"}, Dislike: {"dislikes", "disliked it"}, Emoji: {"emoji", "put an emoji on it"},
		Reply: {"replies", "answered it"}, Repost: {"reposts", "reposted it"}, Quote: {"quotes", "quoted it"},
		Zap: {"zaps", "zapped it, verified"}, Report: {"reports", "reported it"},
	}
}

func counts() []Feature {
	pick := func(c *Candidate) *Counts { return c.Counts }
	t, v := columns(fromTally, Public, pick), columns(fromTally+", "+fromGraph, Viewer, pick)
	var out []Feature
	for action, deed := range deeds() {
		out = append(out,
			t("count."+deed.name, "keys", "distinct keys that "+deed.what, func(_ *Facts, c *Counts) float32 { return float32(c.Actors[action]) }),
			t("count."+deed.name+"_trust", "sum of trust", "global trust of the keys that "+deed.what, func(_ *Facts, c *Counts) float32 { return c.Trust[action] }),
			v("count."+deed.name+"_viewer", "sum of trust", "the viewer's trust in the keys that "+deed.what+", at most 64 of them", func(_ *Facts, c *Counts) float32 { return c.Viewer[action] }))
	}
	return out
}

// people are counted apart from keys, for the actions that a proof can be for.
func people() []Feature {
	t := columns(fromTally+", personhood", Public, func(c *Candidate) *Counts { return c.Counts })
	const each = ", each proven to be one of the same group"
	return []Feature{
		t("note.people.likes", "people", "people who liked it"+each, func(_ *Facts, c *Counts) float32 { return float32(c.People.Likes) }),
		t("note.people.dislikes", "people", "people who disliked it"+each, func(_ *Facts, c *Counts) float32 { return float32(c.People.Dislikes) }),
		t("note.people.emoji", "people", "people who put an emoji on it"+each, func(_ *Facts, c *Counts) float32 { return float32(c.People.Emoji) }),
		t("note.people.reports", "people", "people who reported it"+each, func(_ *Facts, c *Counts) float32 { return float32(c.People.Reports) }),
	}
}

func rates() []Feature {
	t := columns(fromTally, Public, func(c *Candidate) *Counts { return c.Counts })
	var out []Feature
	for window, span := range [Windows]string{"15m", "1h", "6h", "24h"} {
		out = append(out,
			t("rate.keys_"+span, "keys/hour", "new distinct keys that like, answer, repost, quote, zap or put an emoji on it, decayed with a time constant of "+span,
				func(_ *Facts, c *Counts) float32 { return c.Rate[window] }),
			t("rate.trust_"+span, "sum of trust/hour", "the same, each key counted as its global trust",
				func(_ *Facts, c *Counts) float32 { return c.TrustRate[window] }))
	}
	return out
}

func zaps() []Feature {
	t := columns(fromTally, Public, func(c *Candidate) *Counts { return c.Counts })
	return []Feature{
		t("zap.msat", "millisats", "verified zaps of the note", func(_ *Facts, c *Counts) float32 { return float32(c.ZapMsat) }),
		t("zap.msat_trust", "millisats times trust", "each zap times its sender's global trust", func(_ *Facts, c *Counts) float32 { return float32(c.ZapMsatTrust) }),
	}
}

func duplicates() []Feature {
	t := columns(fromTally, Public, func(c *Candidate) *Counts { return c.Counts })
	return []Feature{
		t("duplicate.notes", "notes", "near-duplicates of its text among the live notes", func(_ *Facts, c *Counts) float32 { return float32(c.Duplicates) }),
		t("duplicate.keys", "keys", "distinct keys that wrote those", func(_ *Facts, c *Counts) float32 { return float32(c.DuplicateKeys) }),
		t("duplicate.earlier", "notes", "those that are older than this note", func(_ *Facts, c *Counts) float32 { return float32(c.Earlier) }),
		t("author.newer_notes", "notes", "live notes that the author has written since this one", func(_ *Facts, c *Counts) float32 { return float32(c.NewerByAuthor) }),
	}
}

// proofs are what the viewer's follows, and the viewer, did.
func proofs() []Feature {
	pick := func(c *Candidate) *Proof { return c.Proof }
	v, p := columns(fromTally+", "+fromGraph, Viewer, pick), columns(fromFeeds, Personal, pick)
	var out []Feature
	for action, deed := range deeds() {
		out = append(out, v("proof."+deed.name, "keys", "keys the viewer follows that "+deed.what, func(_ *Facts, p *Proof) float32 { return float32(p.Actors[action]) }))
	}
	return append(out,
		v("proof.trust", "sum of trust", "the viewer's trust in all of those, each key once", func(_ *Facts, p *Proof) float32 { return p.Trust }),
		v("proof.acted", "0 or 1", "the viewer has liked, answered, reposted or zapped it", func(_ *Facts, p *Proof) float32 { return one(p.Acted) }),
		p("proof.seen", "0 or 1", "the viewer was served it before", func(_ *Facts, p *Proof) float32 { return one(p.Seen) }))
}

func signals() []Feature {
	pick := func(c *Candidate) *Signals { return c.Signals }
	s, p := columns("spam", Public, pick), columns("personhood", Public, pick)
	return []Feature{
		s("spam.probability", "0 … 1", "that the note is spam", func(_ *Facts, s *Signals) float32 { return s.Spam }),
		s("spam.ai_probability", "0 … 1", "that a machine wrote the text", func(_ *Facts, s *Signals) float32 { return s.AI }),
		s("spam.nsfw_probability", "0 … 1", "that the note is not for work", func(_ *Facts, s *Signals) float32 { return s.Nsfw }),
		wording("spam.words", "3", "log-odds", "weights of the text's n-grams for spam, scam and machine-written text added up, as tier 0 of the spam classifier has them", 0, 3),
		wording("spam.structure", "30", "0 … 1", "what tier 0 of the spam classifier counts in a text: links, codes, capitals, repetition and so on, in its order", 3, 33),
		wording("spam.vector", "16", "text vector", "the text's n-grams as a dense row, for tier 1 of the spam classifier; zeros in feeds", 33, WordingSize),
		p("person.author", "0 or 1", "the author proved to be one person", func(_ *Facts, s *Signals) float32 { return s.Person }),
		p("person.likers_share", "0 … 1", "share of the likers that proved to be one person each", func(_ *Facts, s *Signals) float32 { return s.Actors }),
	}
}

// wording is the part from a to b of a note's wording.
func wording(name, width, unit, definition string, a, b int) Feature {
	return Feature{
		Name: name, Type: Float32, Shape: "N," + width, Unit: unit, Definition: definition, Source: "spam", Tier: Public,
		fill: func(f *Facts, t *Tensor) {
			for i := range f.Candidates {
				if n := f.Candidates[i].Note; n != nil && len(n.Wording) >= a {
					copy(t.Float[i*(b-a):(i+1)*(b-a)], n.Wording[a:min(b, len(n.Wording))])
				}
			}
		},
	}
}

func sources() []Feature {
	from := func(name, definition string, bit Source, tier Tier) Feature {
		return Feature{
			Name: "source." + name, Type: Float32, Shape: "N", Unit: "0 or 1", Definition: definition, Source: fromFeeds, Tier: tier,
			fill: func(f *Facts, t *Tensor) {
				for i := range f.Candidates {
					t.Float[i] = one(f.Candidates[i].Sources&bit != 0)
				}
			},
		}
	}
	return []Feature{
		from("follows", "written by a key that the viewer follows", FromFollows, Viewer),
		from("trusted", "acted upon by keys that the viewer follows", FromTrusted, Viewer),
		from("colikers", "liked by keys that like what the viewer likes", FromCoLikers, Viewer),
		from("global", "among the notes most acted upon", FromGlobal, Public),
		from("recent", "among the newest notes", FromRecent, Public),
		from("new_author", "written by a key seen for less than 24 hours or with few followers", FromNewAuthor, Public),
	}
}

func stages() []Feature {
	pick := func(c *Candidate) *Stages { return c.Stages }
	p, v := columns("a stage of the listing", Public, pick), columns("a stage of the listing", Viewer, pick)
	return []Feature{
		v("stage.colike", "score", "stage colike: co-likers' score, with half-life and popularity penalty", func(_ *Facts, s *Stages) float32 { return s.CoLike }),
		p("stage.bridge_intercept", "score", "stage bridge: the note's intercept in the factorisation of likes and dislikes", func(_ *Facts, s *Stages) float32 { return s.BridgeIntercept }),
		p("stage.bridge_lower", "score", "stage bridge: lower 95 % bound of that intercept", func(_ *Facts, s *Stages) float32 { return s.BridgeLower }),
		p("stage.bridge_factor", "score", "stage bridge: the note's factor", func(_ *Facts, s *Stages) float32 { return s.BridgeFactor }),
		v("stage.novelty", "0 … 1", "stage novelty: 1 - its largest similarity to what the viewer liked last", func(_ *Facts, s *Stages) float32 { return s.Novelty }),
	}
}

// id is a column of hashes.
func id(name, definition string, value func(*Note) int64) Feature {
	return Feature{
		Name: name, Type: Int64, Shape: "N", Unit: "hash", Definition: definition, Source: fromEvent, Tier: Public,
		fill: func(f *Facts, t *Tensor) {
			for i := range f.Candidates {
				if n := f.Candidates[i].Note; n != nil {
					t.Int[i] = value(n)
				}
			}
		},
	}
}

func ids() []Feature {
	return []Feature{
		id("note.id", "the event id's first 63 bits", func(n *Note) int64 { return n.ID }),
		id("note.author_id", "the author key's first 63 bits", func(n *Note) int64 { return n.Author }),
		id("note.kind", "the event's kind, unhashed", func(n *Note) int64 { return int64(n.Kind) }),
		{
			Name: "note.tokens", Type: Int64, Shape: "N,T", Unit: "token ids, 0 pads", Source: fromEvent, Tier: Public,
			Definition: "hashed words of the text from its beginning, 1 … 65535",
			fill: func(f *Facts, t *Tensor) {
				width := int(t.Shape[1])
				for i := range f.Candidates {
					if n := f.Candidates[i].Note; n != nil {
						for j, token := range n.Tokens[:min(width, len(n.Tokens))] {
							t.Int[i*width+j] = int64(token)
						}
					}
				}
			},
		},
		{
			Name: "note.vector", Type: Float32, Shape: "N,64", Unit: "text vector", Source: fromFeeds, Tier: Public,
			Definition: "the text encoded once at ingest by the encoder that the relay names; zeros where it names none",
			fill: func(f *Facts, t *Tensor) {
				for i := range f.Candidates {
					if n := f.Candidates[i].Note; n != nil {
						copy(t.Float[i*VectorSize:(i+1)*VectorSize], n.Vector)
					}
				}
			},
		},
		{
			Name: "viewer.script_share", Type: Float32, Shape: "N", Unit: "0 … 1", Source: fromTally, Tier: Viewer,
			Definition: "share of the note's script in what the viewer liked last",
			fill: func(f *Facts, t *Tensor) {
				for i := range f.Candidates {
					if n := f.Candidates[i].Note; n != nil && n.Script < Scripts {
						t.Float[i] = f.Viewer.Scripts[n.Script]
					}
				}
			},
		},
	}
}

func viewers() []Feature {
	return []Feature{
		single("viewer.known", "0 or 1", "the request names a viewer", fromFeeds, Viewer, func(f *Facts) float32 { return one(f.Viewer.Known) }),
		single("viewer.follows", "keys", "keys that the viewer follows", fromGraph, Viewer, func(f *Facts) float32 { return float32(f.Viewer.Follows) }),
		single("viewer.followers", "keys", "keys that follow the viewer", fromGraph, Viewer, func(f *Facts) float32 { return float32(f.Viewer.Followers) }),
		single("viewer.age_days", "days", "time since the viewer's first event held here", fromTally, Viewer,
			func(f *Facts) float32 { return known(f.Viewer.FirstSeen, hours(f.Now, f.Viewer.FirstSeen)/24) }),
		single("viewer.likes_per_day", "likes/day", "decayed with a time constant of 7 days", fromTally, Viewer, func(f *Facts) float32 { return f.Viewer.LikesPerDay }),
		single("viewer.replies_per_day", "notes/day", "decayed with a time constant of 7 days", fromTally, Viewer, func(f *Facts) float32 { return f.Viewer.RepliesPerDay }),
		single("viewer.bridge_factor", "score", "stage bridge: the viewer's factor", "a stage of the listing", Viewer, func(f *Facts) float32 { return f.Viewer.BridgeFactor }),
		single("viewer.away_hours", "hours", "time since the viewer's last page; 0: none known", fromFeeds, Personal,
			func(f *Facts) float32 { return known(f.Viewer.LastSeen, hours(f.Now, f.Viewer.LastSeen)) }),
		{
			Name: "note.since_last_seen", Type: Float32, Shape: "N", Unit: "0 or 1", Source: fromFeeds, Tier: Personal,
			Definition: "written after the viewer's last page",
			fill: func(f *Facts, t *Tensor) {
				for i := range f.Candidates {
					if n := f.Candidates[i].Note; n != nil {
						t.Float[i] = one(f.Viewer.LastSeen != 0 && n.CreatedAt > f.Viewer.LastSeen)
					}
				}
			},
		},
	}
}

// past is a column over the viewer's history, newest first, padded with zeros.
func past(name string, kind Type, unit, definition string, put func(*Facts, *Past, *Tensor, int)) Feature {
	return Feature{
		Name: "viewer.history" + name, Type: kind, Shape: "H", Unit: unit, Definition: definition, Source: fromTally, Tier: Viewer,
		fill: func(f *Facts, t *Tensor) {
			for i := range f.Viewer.History[:min(int(t.Shape[0]), len(f.Viewer.History))] {
				put(f, &f.Viewer.History[i], t, i)
			}
		},
	}
}

func histories() []Feature {
	vectors := past("_vectors", Float32, "text vectors", "text vectors of those notes, as note.vector",
		func(_ *Facts, p *Past, t *Tensor, i int) { copy(t.Float[i*VectorSize:(i+1)*VectorSize], p.Vector) })
	vectors.Shape = "H,64"
	return []Feature{
		past("", Int64, "hash, 0 pads", "the notes that the viewer liked, answered, reposted or zapped last, newest first, as note.id",
			func(_ *Facts, p *Past, t *Tensor, i int) { t.Int[i] = p.Note }),
		past("_authors", Int64, "hash, 0 pads", "their authors, as note.author_id", func(_ *Facts, p *Past, t *Tensor, i int) { t.Int[i] = p.Author }),
		past("_actions", Int64, "number, 0 pads", "what the viewer did: 1 like, 2 dislike, 3 emoji, 4 reply, 5 repost, 6 quote, 7 zap, 8 report",
			func(_ *Facts, p *Past, t *Tensor, i int) { t.Int[i] = int64(p.Action) + 1 }),
		past("_hours", Float32, "hours", "time since each of those", func(f *Facts, p *Past, t *Tensor, i int) { t.Float[i] = hours(f.Now, p.At) }),
		vectors,
	}
}
