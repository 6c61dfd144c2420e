package spam

import (
	"sync"
)

// The window's rings. When one is full its oldest entry makes room.
const (
	mostNotes     = 1 << 14 // notes that a new one is compared with
	mostCampaigns = 1 << 13 // campaigns
	mostKeys      = 1 << 16 // keys
	mostSiteRows  = 1 << 13 // sites
	mostReports   = 1 << 15 // who complained of whom
	bandRows      = 1 << 13 // rows of each of the bands, two notes a row
	ways          = 4       // places one key or site may stand in
)

// horizon is how long a campaign is remembered after its last note, in
// seconds.
const horizon = 48 * 3600

// youth is the age below which an unknown key counts as a stranger, in seconds.
const youth = 7 * 24 * 3600

type heldNote struct {
	Sketch   sketch
	Campaign uint32 // index into campaigns
	Round    uint32 // of that campaign when the note joined it
}

// campaign is a set of near-duplicates.
type campaign struct {
	Strangers, Known crowd  // distinct keys
	Founder          uint64 // the key that wrote it first: copies by others are not its doing
	First, Last      int64  // seconds
	Notes            uint32
	Newest           uint32  // the note of it that came last: number plus one
	Round            uint32  // grows when the place is used anew
	Rate             float32 // notes in the last ten minutes, decaying
}

// heldKey is what is remembered of one key.
type heldKey struct {
	Key         uint64 // its first eight bytes; 0: empty
	First, Last int64  // seconds; First is the oldest we know of
	Rate        float32
	Gaps        [8]uint8 // how often each order of magnitude of a pause has come
	Strangers   uint8    // strangers written to, at most 255
	Profile     bool
	NIP05       bool
	Asked       bool // the log was asked about it
	Reports     float32
}

type heldSite struct {
	Site      uint32
	Strangers crowd
	Known     crowd
	Last      int64
}

// memory is all of the window in fixed size, so that it can be written to disk
// as it is.
type memory struct {
	Notes     [mostNotes]heldNote
	Campaigns [mostCampaigns]campaign
	Keys      [mostKeys]heldKey
	Sites     [mostSiteRows]heldSite
	Bands     [bands * bandRows * 2]uint32 // number of a note plus one
	Kept      [mostNotes / 64]uint64       // bits: notes that others make room for
	Reports   [mostReports]uint64          // hashes of who complained of whom: each counts once
	NextNote  uint32
	NextGroup uint32
}

// Window remembers how notes came: what is alike, by how many strangers, how
// fast, with which links. It is safe for concurrent use.
type Window struct {
	mu  sync.Mutex // guards what follows
	mem *memory
}

// NewWindow is an empty window. Its size never changes.
func NewWindow() *Window { return &Window{mem: new(memory)} }

// passage is one note as the window sees it.
type passage struct {
	key    uint64
	at     int64 // seconds
	sketch *sketch
	can    bool // be compared: the sketch holds enough
	sites  []uint32
	known  bool // the author is trusted to some degree
	young  bool // its author's key; pass finds out
	meets  int  // strangers it writes to
}

// company is what the window has to say about a passage, itself included.
type company struct {
	strangers, known int     // distinct keys of its campaign
	notes            int     // of its campaign
	rate             float32 // notes of its campaign in ten minutes
	siteStrangers    int     // distinct strangers who link its site, the most of its sites
	siteKnown        int
	key              heldKey
}

// pass takes a note in and tells its company.
func (w *Window) pass(p *passage) (c company) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := w.write(p)
	p.young = p.at-k.First < youth
	if p.can {
		g := w.join(p)
		c.strangers, c.known, c.notes, c.rate = g.Strangers.count(), g.Known.count(), int(g.Notes), g.Rate
		if g.Founder == p.key {
			c.strangers, c.known, c.rate = min(c.strangers, 1), 0, min(c.rate, k.Rate)
		}
	}
	for _, site := range p.sites {
		if s := w.visit(site, p); c.siteStrangers <= s.Strangers.count() {
			c.siteStrangers, c.siteKnown = s.Strangers.count(), s.Known.count()
		}
	}
	c.key = *k
	return c
}

// join finds the campaign of a note, or begins one.
func (w *Window) join(p *passage) *campaign {
	m := w.mem
	best, most := uint32(0), alike-1
	tried := [2]uint32{} // notes compared last: alike ones share most of their bands
	for k := range bands {
		row := (uint32(k)*bandRows + p.sketch.band(k)%bandRows) * 2
		for _, number := range m.Bands[row : row+2] {
			if number == 0 || number == best || number == tried[0] || number == tried[1] {
				continue
			}
			tried[0], tried[1] = tried[1], number
			n := &m.Notes[number-1]
			g := &m.Campaigns[n.Campaign]
			if g.Round != n.Round || p.at-g.Last > horizon {
				continue
			}
			if common := n.Sketch.common(p.sketch); common > most {
				best, most = number, common
			}
		}
	}
	at := w.begin(best, p)
	g := &m.Campaigns[at]
	before := g.Newest
	w.hold(at, p)
	g.Rate = decayed(g.Rate, p.at-g.Last) + 1
	g.Last = max(g.Last, p.at)
	g.Notes++
	p.count(&g.Strangers, &g.Known)
	if g.Strangers.count() >= large {
		if before != 0 {
			m.keep(before-1, false)
		}
		m.keep(g.Newest-1, true)
	}
	return g
}

// spared is how many places in a row are passed over for what is worth keeping.
// Whoever would push a campaign out must make others as large.
const spared = 8

// large campaigns are kept before others while they last.
const large = 4 // strangers

// begin returns the campaign of the note best, or a new one when there is
// none.
func (w *Window) begin(best uint32, p *passage) uint32 {
	m := w.mem
	if best != 0 {
		return m.Notes[best-1].Campaign
	}
	at := m.NextGroup
	for k := range uint32(spared) {
		if g := &m.Campaigns[(m.NextGroup+k)%mostCampaigns]; p.at-g.Last > horizon || g.Strangers.count() < large {
			at = (m.NextGroup + k) % mostCampaigns
			break
		}
	}
	m.NextGroup = (at + 1) % mostCampaigns
	m.Campaigns[at] = campaign{Founder: p.key, First: p.at, Last: p.at, Round: m.Campaigns[at].Round + 1}
	return at
}

// hold keeps the note for others to be compared with.
func (w *Window) hold(group uint32, p *passage) {
	m := w.mem
	at := m.NextNote
	for k := range uint32(spared) {
		if next := (m.NextNote + k) % mostNotes; !m.kept(next) || w.stale(next, p.at) {
			at = next
			break
		}
	}
	m.keep(at, false)
	m.NextNote = (at + 1) % mostNotes
	m.Notes[at] = heldNote{Sketch: *p.sketch, Campaign: group, Round: m.Campaigns[group].Round}
	m.Campaigns[group].Newest = at + 1
	for k := range bands {
		row := (uint32(k)*bandRows + p.sketch.band(k)%bandRows) * 2
		if old := m.Bands[row+1]; old == 0 || !m.kept(old-1) || m.Bands[row] == 0 || m.kept(m.Bands[row]-1) {
			m.Bands[row+1] = m.Bands[row]
		}
		m.Bands[row] = at + 1
	}
}

// kept notes are the newest of large campaigns, which would be forgotten with
// them.
func (m *memory) kept(note uint32) bool { return m.Kept[note/64]&(1<<(note%64)) != 0 }

func (m *memory) keep(note uint32, yes bool) {
	if yes {
		m.Kept[note/64] |= 1 << (note % 64)
		return
	}
	m.Kept[note/64] &^= 1 << (note % 64)
}

// stale says that the campaign of a note has ended.
func (w *Window) stale(note uint32, now int64) bool {
	n := &w.mem.Notes[note]
	g := &w.mem.Campaigns[n.Campaign]
	return g.Round != n.Round || now-g.Last > horizon
}

func (w *Window) visit(site uint32, p *passage) *heldSite {
	row := finish(site) % (mostSiteRows / ways) * ways
	places := w.mem.Sites[row : row+ways]
	at := 0
	for i := range places {
		if places[i].Site == site {
			at = i
			break
		}
		if places[i].Last < places[at].Last {
			at = i
		}
	}
	s := &places[at]
	if s.Site != site || p.at-s.Last > horizon {
		*s = heldSite{Site: site}
	}
	s.Last = max(s.Last, p.at)
	p.count(&s.Strangers, &s.Known)
	return s
}

// count books the author as a stranger when unknown and young, as known when
// known, and not at all when unknown and old.
func (p *passage) count(strangers, known *crowd) {
	switch {
	case p.known:
		known.add(p.key)
	case p.young:
		strangers.add(p.key)
	}
}

// place is where a key stands, or where it may.
func (w *Window) place(key uint64) *heldKey {
	row := key * 0x9E3779B97F4A7C15 >> 40 % (mostKeys / ways) * ways
	places := w.mem.Keys[row : row+ways]
	at := 0
	for i := range places {
		if places[i].Key == key {
			return &places[i]
		}
		if places[i].Last < places[at].Last {
			at = i
		}
	}
	return &places[at]
}

// write books a note on its author.
func (w *Window) write(p *passage) *heldKey {
	k := w.place(p.key)
	if k.Key != p.key {
		*k = heldKey{Key: p.key, First: p.at, Last: p.at}
	}
	gap := p.at - k.Last
	if k.Rate > 0 {
		k.Gaps[magnitude(gap)] = min(k.Gaps[magnitude(gap)]+1, 254)
	}
	k.Rate = decayed(k.Rate, gap) + 1
	k.First, k.Last = min(k.First, p.at), max(k.Last, p.at)
	k.Strangers = uint8(min(int(k.Strangers)+p.meets, 255))
	return k
}

// decayed is a rate after so many seconds: by half every five minutes.
func decayed(rate float32, seconds int64) float32 {
	switch {
	case seconds <= 0:
		return rate
	case seconds > 6000:
		return 0
	}
	for ; seconds >= 300; seconds -= 300 {
		rate /= 2
	}
	return rate * (1 - float32(seconds)/600)
}

// magnitude is the order of a pause: 0 s, up to 3, 10, 30, 100, 300, 1000 s,
// and longer.
func magnitude(seconds int64) int {
	for i, most := range [...]int64{0, 3, 10, 30, 100, 300, 1000} {
		if seconds <= most {
			return i
		}
	}
	return 7
}

// needsPast says whether the log should be asked about a key, once.
func (w *Window) needsPast(key uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := w.place(key)
	return k.Key != key || !k.Asked
}

// introduce books that a key has a profile. What the log knows of it is asked
// when it writes.
func (w *Window) introduce(key uint64, at int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := w.place(key)
	if k.Key != key {
		*k = heldKey{Key: key, First: at, Last: at}
	}
	k.Profile = true
}

// learn books what the log knows of a key.
func (w *Window) learn(key uint64, at int64, past Past) {
	w.mu.Lock()
	defer w.mu.Unlock()
	k := w.place(key)
	if k.Key != key {
		*k = heldKey{Key: key, First: at, Last: at}
	}
	k.Asked = true
	if past.First > 0 {
		k.First = min(k.First, past.First)
	}
	k.Profile, k.NIP05 = k.Profile || past.Profile, k.NIP05 || past.NIP05
}

// report books a complaint of one key about another; weight is the trust of
// who complains. A second complaint of the same about the same says nothing new.
func (w *Window) report(by, key uint64, weight float32) {
	w.mu.Lock()
	defer w.mu.Unlock()
	mark := (by*0x9E3779B97F4A7C15 ^ key) * 0xBF58476D1CE4E5B9
	place := &w.mem.Reports[mark>>40%mostReports]
	if k := w.place(key); k.Key == key && *place != mark {
		*place = mark
		k.Reports = min(k.Reports+weight, 100)
	}
}
