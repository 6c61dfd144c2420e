package peer

import (
	"maps"
	"strings"

	"agora/relay/store"
)

// Summary accounts for what a Job did. Each event counts once: of one that was
// tried again, the last attempt. What Unfetched and Unsent return is the rest.
type Summary struct {
	URL         string             `json:"url"`
	Method      string             `json:"method"` // negentropy or req
	Have        int                `json:"have"`   // events only we held
	Need        int                `json:"need"`   // events only they held; by req: all they showed
	Downloaded  int                `json:"downloaded"`
	Stored      int                `json:"stored"`
	Refused     map[string]int     `json:"refused,omitempty"`     // downloaded, not stored, by prefix; duplicate: held already; protected: NIP-70
	RefusedFor  map[string]Example `json:"refused_for,omitempty"` // one of each
	Missing     int                `json:"missing"`               // asked for, but they did not send it
	Unasked     int                `json:"unasked"`               // sent without having been asked for
	Unreadable  int                `json:"unreadable"`            // messages of theirs that are none
	Uploaded    int                `json:"uploaded"`              // accepted by them
	Rejected    map[string]int     `json:"rejected,omitempty"`    // not accepted by them, by prefix
	RejectedFor map[string]Example `json:"rejected_for,omitempty"`
	Withheld    map[string]int     `json:"withheld,omitempty"` // not for others' eyes, so not sent: protected, wrapped, expired, private
	Gone        int                `json:"gone"`               // ours no longer when it was to be sent: replaced or deleted by what came
	Cut         bool               `json:"cut"`                // MaxEvents was reached
}

func newSummary(url string) Summary {
	return Summary{
		URL: url, Method: "negentropy", Refused: map[string]int{}, Rejected: map[string]int{}, Withheld: map[string]int{},
		RefusedFor: map[string]Example{}, RejectedFor: map[string]Example{},
	}
}

// Unfetched is how many of Need were not asked for, or were on their way when
// the job was cut short.
func (s Summary) Unfetched() int { return s.Need - s.Stored - sum(s.Refused) - s.Missing }

// Unsent is how many of Have were not sent, or not answered, when the job was
// cut short.
func (s Summary) Unsent() int {
	return s.Have - s.Uploaded - sum(s.Rejected) - sum(s.Withheld) - s.Gone
}

func sum(by map[string]int) (n int) {
	for _, m := range by {
		n += m
	}
	return n
}

func (s Summary) clone() Summary {
	s.Refused, s.Rejected, s.Withheld = maps.Clone(s.Refused), maps.Clone(s.Rejected), maps.Clone(s.Withheld)
	s.RefusedFor, s.RejectedFor = maps.Clone(s.RefusedFor), maps.Clone(s.RejectedFor)
	return s
}

// fate is what became of one event in one direction.
type fate struct {
	what   outcome
	reason uint8 // index into exchange.reasons; of refusals and what was kept back
}

type outcome uint8

const (
	moved   outcome = iota // stored here, or accepted there
	absent                 // they did not send it
	gone                   // we hold it no longer: replaced, deleted or expired since
	refused                // by the side it came to; a further pass may do better
	kept                   // not for the other side, whatever else happens
)

// final reports whether another attempt is pointless.
func (f fate) final() bool { return f.what != absent && f.what != refused }

// fates are what became of the events of one direction. Each counts once,
// however often it is tried.
type fates struct {
	of     map[store.ID]fate // at most maxSeen; an event beyond them that is tried twice counts twice
	failed int               // in of, and not final
}

const (
	maxReasons = 64  // words counted apart; a further one is "other"
	maxWhy     = 200 // bytes of a reason that are shown
)

// Example is one event of a count, and the words it was refused with.
type Example struct {
	ID  string `json:"id"`
	Why string `json:"why"`
}

// todo drops the events that are kept back. What was moved and still differs is
// tried again: it may have been taken, and lost its place to another version
// that was deleted since.
func (f *fates) todo(ids []store.ID) []store.ID {
	left := ids[:0]
	for _, id := range ids {
		if was, known := f.of[id]; !known || was.what != kept {
			left = append(left, id)
		}
	}
	return left
}

// unknown counts the ids without a fate.
func (f *fates) unknown(ids []store.ID) (n int) {
	for _, id := range ids {
		if _, known := f.of[id]; !known {
			n++
		}
	}
	return n
}

// put notes a fate, and returns the one it replaces.
func (f *fates) put(id store.ID, now fate) (was fate, known bool) {
	if was, known = f.of[id]; known && !was.final() {
		f.failed--
	}
	if !known && len(f.of) >= maxSeen {
		return was, false
	}
	f.of[id] = now
	if !now.final() {
		f.failed++
	}
	return was, known
}

// settleDown notes the fate of an event that they hold.
func (e *exchange) settleDown(id store.ID, what outcome, word, why string) {
	e.count(func(s *Summary) {
		now := e.newFate(what, word)
		if was, again := e.down.put(id, now); again {
			e.bookDown(s, was, -1)
		}
		e.bookDown(s, now, +1)
		e.example(s.RefusedFor, id, now, why)
	})
}

func (e *exchange) bookDown(s *Summary, f fate, by int) {
	switch f.what {
	case moved:
		s.Stored += by
	case absent:
		s.Missing += by
	default:
		add(s.Refused, e.reasons[f.reason], by)
	}
}

// settleUp notes the fate of an event that we hold.
func (e *exchange) settleUp(id store.ID, what outcome, word, why string) {
	e.count(func(s *Summary) {
		now := e.newFate(what, word)
		if was, again := e.up.put(id, now); again {
			e.bookUp(s, was, -1)
		}
		e.bookUp(s, now, +1)
		if what == refused {
			e.example(s.RejectedFor, id, now, why)
		}
	})
}

func (e *exchange) bookUp(s *Summary, f fate, by int) {
	switch f.what {
	case moved:
		s.Uploaded += by
	case gone:
		s.Gone += by
	case kept:
		add(s.Withheld, e.reasons[f.reason], by)
	default:
		add(s.Rejected, e.reasons[f.reason], by)
	}
}

func add(m map[string]int, word string, by int) {
	if m[word] += by; m[word] == 0 {
		delete(m, word)
	}
}

// newFate numbers the word. What another relay says is not trusted to be few
// words, nor to be letters.
func (e *exchange) newFate(what outcome, word string) fate {
	if what != refused && what != kept {
		return fate{what: what}
	}
	word = strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' {
			return r
		}
		return -1
	}, strings.ToLower(word))
	if word == "" {
		word = "error"
	}
	for i, known := range e.reasons {
		if known == word {
			return fate{what: what, reason: uint8(i)} //nolint:gosec // at most maxReasons
		}
	}
	if len(e.reasons) == maxReasons {
		return fate{what: what} // reasons[0]
	}
	e.reasons = append(e.reasons, word)
	return fate{what: what, reason: uint8(len(e.reasons) - 1)} //nolint:gosec // at most maxReasons
}

// example keeps the first event of each reason.
func (e *exchange) example(of map[string]Example, id store.ID, f fate, why string) {
	if f.what != refused && f.what != kept {
		return
	}
	word := e.reasons[f.reason]
	if _, named := of[word]; !named {
		of[word] = Example{ID: hexIDs([]store.ID{id})[0], Why: why[:min(len(why), maxWhy)]}
	}
}
