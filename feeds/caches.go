package feeds

import (
	"encoding/hex"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"agora/feeds/tally"
	"agora/ranker/feature"

	"github.com/nbd-wtf/go-nostr"
)

// noteCache keeps what notes say of themselves. It never changes, so an entry
// is good for ever; when there are too many, any of them goes.
type noteCache struct {
	most   int
	encode func([]int32) []float32
	words  func(string) []float32
	mu     sync.RWMutex // guards what follows
	by     map[tally.Key]*note
}

// note is one of them, with what the tally last said of it to everybody, and
// what other rooms said.
type note struct {
	feature.Note
	standing atomic.Pointer[standing]
	judged   atomic.Pointer[judged]
}

// standing is what the tally says of a note whoever asks. It is replaced when
// somebody acts on the note, and as rates fade.
type standing struct {
	at      int64 // Unix seconds
	version tally.Version
	counts  tally.Counts
	twins   tally.Twins
	thread  tally.Thread
}

// standingFresh is how many seconds rates and near-duplicates are taken for
// current; a new act is seen at once.
const standingFresh = 2

// standingOf asks the tally about a note, unless it did just now.
func (n *note) standingOf(r *tally.Reader, of tally.Note, now int64) *standing {
	var before tally.Twins
	if n != nil {
		s := n.standing.Load()
		if s != nil && s.version == r.Version(of) && now >= s.at && now-s.at < standingFresh {
			return s
		}
		if s != nil {
			before = s.twins
		}
	}
	s := &standing{at: now, version: r.Version(of), counts: r.Counts(of, nil), twins: r.TwinsAgain(of, before)}
	if of.Reply {
		s.thread = r.Thread(of)
	}
	if n != nil {
		n.standing.Store(s)
	}
	return s
}

func newNoteCache(most int, encode func([]int32) []float32, words func(string) []float32) *noteCache {
	if encode == nil {
		encode = func([]int32) []float32 { return nil }
	}
	if words == nil {
		words = func(string) []float32 { return nil }
	}
	return &noteCache{most: most, encode: encode, words: words, by: map[tally.Key]*note{}}
}

func (c *noteCache) put(ev *nostr.Event) *note {
	id, ok := key(ev.ID)
	if !ok {
		return nil
	}
	n := &note{Note: feature.Read(ev)}
	n.Tokens = feature.Tokens(ev.Content, feature.DefaultTokens)
	n.Vector = c.encode(n.Tokens)
	n.Wording = c.words(ev.Content)
	c.mu.Lock()
	defer c.mu.Unlock()
	for old := range c.by {
		if len(c.by) < c.most {
			break
		}
		delete(c.by, old)
	}
	c.by[id] = n
	return n
}

// find fills in what is held, and gives the places of what is not.
func (c *noteCache) find(ids []tally.Key, into []*note) (missing []int) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for i := range ids {
		if into[i] = c.by[ids[i]]; into[i] == nil {
			missing = append(missing, i)
		}
	}
	return missing
}

func (c *noteCache) size() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.by)
}

const (
	authorFresh  = time.Minute // facts of an author
	profileFresh = time.Hour   // what a profile says
	mostAuthors  = 50_000      // authors kept; when there are more, any of them goes
)

// authorCache keeps what is known of authors, whoever reads.
type authorCache struct {
	mu sync.RWMutex // guards what follows
	by map[tally.Key]*author
}

// author is replaced, never changed: pages hold on to it.
type author struct {
	feature.Author
	written   []int64 // created_at of its live notes, ascending
	at        time.Time
	profileAt time.Time
}

func newAuthorCache() *authorCache { return &authorCache{by: map[tally.Key]*author{}} }

// find fills in what is held, good or stale.
func (c *authorCache) find(keys []tally.Key, into []*author) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for i := range keys {
		into[i] = c.by[keys[i]]
	}
}

// good reports whether an author is known well enough.
func (a *author) good(now time.Time) bool {
	return a != nil && now.Sub(a.at) < authorFresh && !now.Before(a.at)
}

func (c *authorCache) put(k tally.Key, a *author) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for old := range c.by {
		if len(c.by) < mostAuthors {
			break
		}
		delete(c.by, old)
	}
	c.by[k] = a
}

// readProfile takes what counts out of a kind 0.
func (a *author) readProfile(content string) {
	var p struct {
		Nip05   any `json:"nip05"`
		Lud16   any `json:"lud16"`
		Lud06   any `json:"lud06"`
		Picture any `json:"picture"`
		Bot     any `json:"bot"`
	}
	_ = json.Unmarshal([]byte(content), &p) // a profile that cannot be read says nothing
	a.Nip05, a.Picture = said(p.Nip05), said(p.Picture)
	a.Lightning = said(p.Lud16) || said(p.Lud06)
	a.Bot, _ = p.Bot.(bool)
}

func said(v any) bool { s, ok := v.(string); return ok && s != "" }

// key reads 64 hex digits.
func key(text string) (k tally.Key, ok bool) {
	if len(text) != 64 {
		return k, false
	}
	_, err := hex.Decode(k[:], []byte(text))
	return k, err == nil
}

func hexKey(k tally.Key) string { return hex.EncodeToString(k[:]) }
