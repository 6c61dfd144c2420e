package feature

import (
	"math"
	"slices"
)

// Catalogue is every feature, in the order in which it is printed.
func Catalogue() []Feature {
	return slices.Concat(
		clock(), notes(), texts(), media(), threads(),
		authors(), pairs(), interactions(), proofs(),
		counts(), people(), rates(), zaps(), duplicates(), signals(), sources(), stages(),
		ids(), viewers(), histories(),
	)
}

// maker makes columns: one number per candidate out of one of its facts.
type maker[T any] func(name, unit, definition string, value func(*Facts, *T) float32) Feature

func columns[T any](source string, tier Tier, pick func(*Candidate) *T) maker[T] {
	return func(name, unit, definition string, value func(*Facts, *T) float32) Feature {
		return Feature{
			Name: name, Type: Float32, Shape: "N", Unit: unit, Definition: definition, Source: source, Tier: tier,
			fill: func(f *Facts, t *Tensor) {
				for i := range f.Candidates {
					if fact := pick(&f.Candidates[i]); fact != nil {
						t.Float[i] = value(f, fact)
					}
				}
			},
		}
	}
}

// single is one number for the whole batch.
func single(name, unit, definition, source string, tier Tier, value func(*Facts) float32) Feature {
	return Feature{
		Name: name, Type: Float32, Shape: "1", Unit: unit, Definition: definition, Source: source, Tier: tier,
		fill: func(f *Facts, t *Tensor) { t.Float[0] = value(f) },
	}
}

const (
	fromEvent = "the event"
	fromGraph = "graph"
	fromTally = "tally"
	fromLog   = "log"
	fromFeeds = "feeds"
	day       = 86400
	hour      = 3600
)

func one(b bool) float32 {
	if b {
		return 1
	}
	return 0
}

// hours from at to now, never negative: a clock that runs ahead is not younger
// than new.
func hours(now, at int64) float32 { return float32(math.Max(0, float64(now)-float64(at))) / hour }

func clock() []Feature {
	return []Feature{
		single("clock.hour_of_day", "hours, 0 … 24", "time of day in UTC at the moment of scoring", "clock", Public,
			func(f *Facts) float32 { return float32(floorMod(f.Now, day)) / hour }),
		single("clock.day_of_week", "days, 0 … 6", "day in UTC at the moment of scoring, Monday is 0", "clock", Public,
			func(f *Facts) float32 { return float32(floorMod(f.Now/day+3, 7)) }),
	}
}

func floorMod(a, b int64) int64 { return (a%b + b) % b }

func notes() []Feature {
	n := columns(fromEvent, Public, func(c *Candidate) *Note { return c.Note })
	kind := func(name, definition string, kinds ...uint16) Feature {
		return n(name, "0 or 1", definition, func(_ *Facts, n *Note) float32 { return one(slices.Contains(kinds, n.Kind)) })
	}
	return []Feature{
		n("note.age_hours", "hours", "time since created_at, 0 if that lies ahead", func(f *Facts, n *Note) float32 { return hours(f.Now, n.CreatedAt) }),
		kind("note.is_text", "a short text note (kind 1)", 1),
		kind("note.is_article", "a long article (kind 30023)", 30023),
		kind("note.is_picture", "a picture (kind 20)", 20),
		kind("note.is_video", "a video (kinds 21, 22, 34235, 34236)", 21, 22, 34235, 34236),
		kind("note.is_poll", "a poll (kind 1068)", 1068),
		kind("note.is_comment", "a comment (kind 1111)", 1111),
		kind("note.is_repost", "a repost (kinds 6, 16)", 6, 16),
		n("note.protected", "0 or 1", "protected by NIP-70", func(_ *Facts, n *Note) float32 { return one(n.Protected) }),
		n("note.content_warning", "0 or 1", "carries a content warning (NIP-36)", func(_ *Facts, n *Note) float32 { return one(n.Warning) }),
		{
			Name: "note.jitter", Type: Float32, Shape: "N", Unit: "0 … 1", Source: fromFeeds, Tier: Viewer,
			Definition: "an even number made of note, viewer and day: for breaking ties and for trying notes out, the same at every refresh of a day",
			fill: func(f *Facts, t *Tensor) {
				for i := range f.Candidates {
					if n := f.Candidates[i].Note; n != nil {
						t.Float[i] = jitter(n.ID, f.Viewer.Key, f.Now/day)
					}
				}
			},
		},
	}
}

// jitter mixes three numbers as splitmix64 does.
func jitter(note, viewer, today int64) float32 {
	x := uint64(note) ^ uint64(viewer)*0x9e3779b97f4a7c15 ^ uint64(today)*0xbf58476d1ce4e5b9
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return float32((x^x>>31)>>40) / (1 << 24)
}

func texts() []Feature {
	n := columns(fromEvent, Public, func(c *Candidate) *Note { return c.Note })
	return []Feature{
		n("text.characters", "code points", "length of the text, links included", func(_ *Facts, n *Note) float32 { return float32(n.Characters) }),
		n("text.words", "words", "words outside links; each Han, kana, Thai, Lao or Khmer character is one", func(_ *Facts, n *Note) float32 { return float32(n.Words) }),
		n("text.distinct_share", "0 … 1", "share of the first 512 words that are different ones", func(_ *Facts, n *Note) float32 { return n.Distinct }),
		n("text.lines", "lines", "lines that are not empty", func(_ *Facts, n *Note) float32 { return float32(n.Lines) }),
		n("text.emoji", "code points", "pictographs", func(_ *Facts, n *Note) float32 { return float32(n.Emoji) }),
		n("text.capitals_share", "0 … 1", "share of the cased letters that are capitals", func(_ *Facts, n *Note) float32 { return n.Capitals }),
		n("text.question", "0 or 1", "has a question mark, in any script", func(_ *Facts, n *Note) float32 { return one(n.Question) }),
		n("text.script", "number of a script", scriptsInWords(), func(_ *Facts, n *Note) float32 { return float32(n.Script) }),
	}
}

func media() []Feature {
	n := columns(fromEvent, Public, func(c *Candidate) *Note { return c.Note })
	return []Feature{
		n("media.images", "links", "links whose path ends as images do, and imeta tags of images", func(_ *Facts, n *Note) float32 { return float32(n.Images) }),
		n("media.videos", "links", "the same for videos", func(_ *Facts, n *Note) float32 { return float32(n.Videos) }),
		n("media.audio", "links", "the same for sound", func(_ *Facts, n *Note) float32 { return float32(n.Audio) }),
		n("media.links", "links", "http and https links in the text, media included", func(_ *Facts, n *Note) float32 { return float32(n.Links) }),
		n("media.hosts", "hosts", "different hosts of those links", func(_ *Facts, n *Note) float32 { return float32(n.Hosts) }),
		n("media.hashtags", "tags", "different t tags", func(_ *Facts, n *Note) float32 { return float32(n.Hashtags) }),
		n("media.mentions", "keys", "different p tags", func(_ *Facts, n *Note) float32 { return float32(n.Mentions) }),
		n("media.quotes", "notes", "different q tags", func(_ *Facts, n *Note) float32 { return float32(n.Quotes) }),
		n("media.invoices", "invoices", "lightning invoices in the text", func(_ *Facts, n *Note) float32 { return float32(n.Invoices) }),
	}
}

func threads() []Feature {
	n := columns(fromEvent, Public, func(c *Candidate) *Note { return c.Note })
	pick := func(c *Candidate) *Thread { return c.Thread }
	t, v := columns(fromLog, Public, pick), columns(fromGraph, Viewer, pick)
	return []Feature{
		n("thread.is_reply", "0 or 1", "answers another note (NIP-10, NIP-22)", func(_ *Facts, n *Note) float32 { return one(n.Reply) }),
		t("thread.depth", "notes", "notes above it in its conversation, 0 for a root", func(_ *Facts, t *Thread) float32 { return float32(t.Depth) }),
		t("thread.root_age_hours", "hours", "time since the root's created_at", func(f *Facts, t *Thread) float32 { return known(t.RootAt, hours(f.Now, t.RootAt)) }),
		t("thread.siblings", "notes", "other answers to the same note", func(_ *Facts, t *Thread) float32 { return float32(t.Siblings) }),
		t("thread.parent_trust", "0 … 1", "global trust of the author of the note it answers", func(_ *Facts, t *Thread) float32 { return t.ParentTrust }),
		v("thread.parent_viewer_trust", "0 … 1", "the viewer's trust in the author of the note it answers", func(_ *Facts, t *Thread) float32 { return t.ParentViewer }),
		v("thread.to_viewer", "0 or 1", "answers a note of the viewer", func(_ *Facts, t *Thread) float32 { return one(t.ToViewer) }),
		v("thread.root_followed", "0 or 1", "the viewer follows the author of the root", func(_ *Facts, t *Thread) float32 { return one(t.RootFollowed) }),
	}
}

// known is value, or 0 when there is no such moment.
func known(at int64, value float32) float32 {
	if at == 0 {
		return 0
	}
	return value
}

func authors() []Feature {
	pick := func(c *Candidate) *Author { return c.Author }
	g, t, p := columns(fromGraph, Public, pick), columns(fromTally, Public, pick), columns("profile (kind 0)", Public, pick)
	return []Feature{
		g("author.trust", "0 … 1", "global trust", func(_ *Facts, a *Author) float32 { return a.Trust }),
		g("author.followers", "keys", "distinct keys that follow the author", func(_ *Facts, a *Author) float32 { return float32(a.Followers) }),
		g("author.followers_trust", "sum of trust", "their global trust added up", func(_ *Facts, a *Author) float32 { return a.FollowersTrust }),
		g("author.follows", "keys", "distinct keys that the author follows", func(_ *Facts, a *Author) float32 { return float32(a.Follows) }),
		g("author.mute_share", "0 … 1", "trust of the keys that mute the author / trust of those that mute or follow", func(_ *Facts, a *Author) float32 { return a.MuteShare }),
		t("author.report_share", "0 … 1", "trust of the keys that report the author / trust of those that report or follow", func(_ *Facts, a *Author) float32 { return a.ReportShare }),
		t("author.age_days", "days", "time since the author's first event held here", func(f *Facts, a *Author) float32 { return known(a.FirstSeen, hours(f.Now, a.FirstSeen)/24) }),
		t("author.notes_per_day", "notes/day", "decayed with a time constant of 7 days", func(_ *Facts, a *Author) float32 { return a.NotesPerDay }),
		t("author.notes_24h", "notes", "notes of the last 24 hours", func(_ *Facts, a *Author) float32 { return float32(a.Notes24h) }),
		t("author.reply_share", "0 … 1", "share of the author's notes that answer another", func(_ *Facts, a *Author) float32 { return a.ReplyShare }),
		t("author.likes_per_note", "sum of trust/note", "trust-weighted likes of the author's notes of 30 days", func(_ *Facts, a *Author) float32 { return a.LikesPerNote }),
		t("author.replies_per_note", "sum of trust/note", "trust-weighted replies to the author's notes of 30 days", func(_ *Facts, a *Author) float32 { return a.RepliesPerNote }),
		t("author.zap_msat_30d", "millisats", "verified zaps to the author in 30 days", func(_ *Facts, a *Author) float32 { return float32(a.ZapMsat30d) }),
		p("author.has_nip05", "0 or 1", "the profile names an address (NIP-05), unchecked", func(_ *Facts, a *Author) float32 { return one(a.Nip05) }),
		p("author.has_lightning", "0 or 1", "the profile names a lightning address", func(_ *Facts, a *Author) float32 { return one(a.Lightning) }),
		p("author.has_picture", "0 or 1", "the profile has a picture", func(_ *Facts, a *Author) float32 { return one(a.Picture) }),
		p("author.is_bot", "0 or 1", "the profile says that it is a bot (NIP-24)", func(_ *Facts, a *Author) float32 { return one(a.Bot) }),
	}
}

func pairs() []Feature {
	pick := func(c *Candidate) *Pair { return c.Pair }
	g, t := columns(fromGraph, Viewer, pick), columns(fromTally, Viewer, pick)
	return []Feature{
		g("pair.trust", "0 … 1", "the viewer's trust in the author", func(_ *Facts, p *Pair) float32 { return p.Trust }),
		g("pair.hops", "steps", "steps from viewer to author along follows, 1 for a follow; 0: none known", func(_ *Facts, p *Pair) float32 { return float32(p.Hops) }),
		g("pair.follows", "0 or 1", "the viewer follows the author", func(_ *Facts, p *Pair) float32 { return one(p.Follows) }),
		g("pair.followed_by", "0 or 1", "the author follows the viewer", func(_ *Facts, p *Pair) float32 { return one(p.FollowedBy) }),
		g("pair.mutual", "0 or 1", "they follow each other", func(_ *Facts, p *Pair) float32 { return one(p.Follows && p.FollowedBy) }),
		g("pair.common_follows", "keys", "keys that both follow", func(_ *Facts, p *Pair) float32 { return float32(p.CommonFollows) }),
		g("pair.common_share", "0 … 1", "those / the keys that either follows", func(_ *Facts, p *Pair) float32 { return p.CommonShare }),
		t("pair.likes_total", "likes", "likes of the viewer for the author in 90 days, undecayed", func(_ *Facts, p *Pair) float32 { return float32(p.LikesOf) }),
		t("pair.recency", "0 … 1", "1 when the viewer has just acted on the author, halved every 7 days; 0: never", func(f *Facts, p *Pair) float32 {
			return known(p.LastAt, float32(math.Exp2(-float64(hours(f.Now, p.LastAt))/(7*24))))
		}),
		t("pair.interest", "0 … 1", "how much the author is liked by those who like what the viewer likes", func(_ *Facts, p *Pair) float32 { return p.Interest }),
	}
}

// interactions are what passed between viewer and author, at three half-lives.
func interactions() []Feature {
	t := columns(fromTally, Viewer, func(c *Candidate) *Pair { return c.Pair })
	of := []struct {
		name, definition string
		pick             func(*Pair) *[Spans]float32
	}{
		{"likes", "likes of the viewer for the author's notes", func(p *Pair) *[Spans]float32 { return &p.Likes }},
		{"replies", "answers of the viewer to the author", func(p *Pair) *[Spans]float32 { return &p.Replies }},
		{"reposts", "reposts and quotes of the author by the viewer", func(p *Pair) *[Spans]float32 { return &p.Reposts }},
		{"zaps", "zaps of the viewer to the author", func(p *Pair) *[Spans]float32 { return &p.Zaps }},
		{"inbound", "likes, answers, reposts, quotes and zaps of the author to the viewer", func(p *Pair) *[Spans]float32 { return &p.Inbound }},
	}
	var out []Feature
	for _, o := range of {
		for span, days := range []string{"7", "30", "90"} {
			out = append(out, t("pair."+o.name+"_"+days+"d", "actions", o.definition+", each halved every "+days+" days",
				func(_ *Facts, p *Pair) float32 { return o.pick(p)[span] }))
		}
	}
	return out
}
