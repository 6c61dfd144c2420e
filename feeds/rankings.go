package feeds

import (
	lru "container/list"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
	"sync"
	"time"

	"agora/feeds/tally"
)

// ranking is all notes of one feed in order, as of one moment. It is never
// changed, but for what rankings notes there.
type ranking struct {
	token [16]byte // names it in cursors; nobody can guess another's
	asked string   // what had been asked: see Request.key
	list  []place
	why   Why
	shown *shown // for reasons; nil when the model gave none, or room was short
	own   bool   // one reader's
	born  time.Time
	whole *lru.Element // where it stands in rankings.whole, whose lock guards this; nil: nowhere
}

// mostOwn is how many rankings are kept of what one reader asks again and
// again: whoever looks every few seconds must not cost others their cursors.
const mostOwn = 4

// place is one note of a ranking.
type place struct {
	id    tally.Key
	score float32 // as the model gave it
}

func (r *ranking) bytes() int64 {
	return 256 + int64(len(r.asked)) + 36*int64(len(r.list)) + r.shown.bytes()
}

// rankings keeps what cursors name: at most most bytes, each for a while. When
// room is short, the longest unused lose what reasons need, and then go.
type rankings struct {
	most int64
	keep time.Duration

	mu    sync.Mutex // guards what follows
	by    map[[16]byte]*lru.Element
	last  map[string]*lru.Element   // the newest for each thing asked
	own   map[string][]*lru.Element // of one reader's question, the oldest first; at most mostOwn
	busy  map[string]*making
	order *lru.List // of *ranking, most recently used first
	whole *lru.List // of those elements of order whose rankings have what reasons need, in the same order
	bytes int64
}

type making struct {
	done chan struct{} // closed when r and err are set
	r    *ranking
	err  error
}

func newRankings(most int64, keep time.Duration) *rankings {
	return &rankings{most: most, keep: keep, by: map[[16]byte]*lru.Element{}, last: map[string]*lru.Element{}, own: map[string][]*lru.Element{}, busy: map[string]*making{}, order: lru.New(), whole: lru.New()}
}

// fresh is the newest ranking for what is asked when it is younger than age, or
// while another caller makes one, five times that; otherwise that caller's, or a
// new one.
func (k *rankings) fresh(asked string, age time.Duration, make func() (*ranking, error)) (*ranking, error) {
	k.mu.Lock()
	if el, ok := k.last[asked]; ok && time.Since(el.Value.(*ranking).born) < age {
		k.touch(el)
		k.mu.Unlock()
		return el.Value.(*ranking), nil
	}
	if m := k.busy[asked]; m != nil && age > 0 {
		if el, ok := k.last[asked]; ok && time.Since(el.Value.(*ranking).born) < 5*age {
			k.mu.Unlock()
			return el.Value.(*ranking), nil
		}
		k.mu.Unlock()
		<-m.done
		return m.r, m.err
	}
	m := &making{done: makeDone()}
	if age > 0 {
		k.busy[asked] = m
	}
	k.mu.Unlock()
	defer func() { // whatever becomes of make, nobody waits for ever
		k.mu.Lock()
		defer k.mu.Unlock()
		if age > 0 {
			delete(k.busy, asked)
		}
		if m.err == nil {
			k.put(m.r)
		}
		close(m.done)
	}()
	m.err = errUnmade
	m.r, m.err = make()
	return m.r, m.err
}

var errUnmade = errors.New("the ranking could not be made")

func makeDone() chan struct{} { return make(chan struct{}) } // closed once; nothing is ever sent

func (k *rankings) put(r *ranking) {
	_, _ = rand.Read(r.token[:]) // never fails, by its contract
	el := k.order.PushFront(r)
	k.by[r.token], k.last[r.asked] = el, el
	k.bytes += r.bytes()
	if r.shown != nil {
		r.whole = k.whole.PushFront(el)
	}
	if r.own {
		if k.own[r.asked] = append(k.own[r.asked], el); len(k.own[r.asked]) > mostOwn {
			k.drop(k.own[r.asked][0])
		}
	}
	for k.order.Len() > 1 && time.Since(k.order.Back().Value.(*ranking).born) > k.keep {
		k.drop(k.order.Back())
	}
	for k.order.Len() > 1 && k.bytes > k.most {
		if !k.spare() {
			k.drop(k.order.Back())
		}
	}
}

// spare takes from the longest unused ranking that has it what reasons need:
// the order is worth more to who reads on. false: none has.
func (k *rankings) spare() bool {
	last := k.whole.Back()
	if last == nil {
		return false
	}
	el := k.whole.Remove(last).(*lru.Element)
	r := el.Value.(*ranking)
	bare := *r // others may be reading r
	bare.shown, bare.whole = nil, nil
	el.Value = &bare
	k.bytes -= r.bytes() - bare.bytes()
	return true
}

func (k *rankings) drop(el *lru.Element) {
	r := k.order.Remove(el).(*ranking)
	delete(k.by, r.token)
	if r.whole != nil {
		k.whole.Remove(r.whole)
	}
	if r.own {
		k.own[r.asked] = slices.DeleteFunc(k.own[r.asked], func(o *lru.Element) bool { return o == el })
		if len(k.own[r.asked]) == 0 {
			delete(k.own, r.asked)
		}
	}
	if k.last[r.asked] == el {
		delete(k.last, r.asked)
	}
	k.bytes -= r.bytes()
}

// find is the ranking that a cursor names, and how far it has been read.
func (k *rankings) find(cursor, asked string) (*ranking, int, error) {
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(raw) != 20 {
		return nil, 0, &Problem{Text: "this is no cursor of ours"}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	el, ok := k.by[[16]byte(raw)]
	if !ok || time.Since(el.Value.(*ranking).born) > k.keep {
		return nil, 0, &Problem{Text: "the ranking that this cursor belongs to is no longer kept: begin again without a cursor"}
	}
	r, at := el.Value.(*ranking), int(binary.BigEndian.Uint32(raw[16:]))
	if r.asked != asked || at > len(r.list) {
		return nil, 0, &Problem{Text: "this cursor belongs to another question: feed, viewer, knobs and filters must stay the same"}
	}
	k.touch(el)
	return r, at, nil
}

// touch notes that a ranking is used.
func (k *rankings) touch(el *lru.Element) {
	k.order.MoveToFront(el)
	if r := el.Value.(*ranking); r.whole != nil {
		k.whole.MoveToFront(r.whole)
	}
}

func (r *ranking) cursor(at int) string {
	return base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint32(r.token[:len(r.token):len(r.token)], uint32(at)))
}
