// Package poll reads NIP-88 polls and their ballots, counts them by four
// methods, and says which ballots of a heap count: a tally that comes out the
// same for everybody who holds the same events. It checks no signature and no
// proof; personhood does. The kinds are
//
//	1068  poll         NIP-88, with two tags of ours
//	1018  ballot       NIP-88, with the tags of personhood
//	2195  close        the host's list of the ballots that count
//	2192  certificate  a tally, with the hash of the ids that it counted
//
// A poll says how it is counted with ["method", M]; its polltype stays
// NIP-88's, so that a client which knows nothing of methods shows how many
// ballots name an option:
//
//	M          polltype        a ballot's responses
//	single     singlechoice    ["response", option]; the first counts
//	multiple   multiplechoice  any number; the first of each option counts
//	ranked     multiplechoice  best first; the first of each option counts
//	quadratic  multiplechoice  ["response", option, credits], at most 100 credits
//	                           in all; c credits are √c votes
//
// Without the tag the method follows from the polltype. With
// ["pop", "semaphore4", group, root, "20"] a poll counts the people of that
// group at that root; without it, keys. ["host", key] names the relay's key
// that closes it, and ["tally", "hidden"] asks for no tally before that.
//
// A voter may vote six times: of these ballots the one with the newest
// created_at counts, of several with one created_at that with the lowest id.
package poll

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"agora/personhood/semaphore"
	"agora/relay/lowhex"

	"github.com/nbd-wtf/go-nostr"
)

// The kinds of a poll.
const (
	KindBallot      = 1018
	KindPoll        = 1068
	KindCertificate = 2192
	KindClose       = 2195
)

// Bounds of a poll.
const (
	MostOptions = 128
	MostRevotes = 5   // how often a voter may change a ballot
	Credits     = 100 // what a quadratic ballot may spend
	mostWord    = 64  // bytes of an option's id
)

// CloseAfter is how long after a poll's end its host signs the close event.
const CloseAfter = 15 * 60 // seconds

// Method is how ballots are counted.
type Method string

// The methods.
const (
	Single    Method = "single"
	Multiple  Method = "multiple"
	Ranked    Method = "ranked"
	Quadratic Method = "quadratic"
)

// Invalid says why an event is no poll, ballot, close or certificate, in words
// for the person who reads it.
type Invalid struct{ Reason string }

func (e *Invalid) Error() string { return e.Reason }

func invalid(format string, args ...any) error { return &Invalid{fmt.Sprintf(format, args...)} }

// Option is one answer.
type Option struct {
	ID    string `json:"id"`
	Label string `json:"label"`
}

// Poll is a poll, parsed.
type Poll struct {
	ID, By   string
	Question string
	Options  []Option
	Method   Method
	At       nostr.Timestamp
	Ends     nostr.Timestamp // 0: never
	Host     string          // key that closes it; "" when it names none
	Hidden   bool            // asks for no tally before it is closed
	Relays   []string

	Group string // address of the group whose people it counts; "": it counts keys
	Root  semaphore.Element

	places map[string]int // of options, by id
}

// Parse reads a poll. The error is an *Invalid.
func Parse(ev *nostr.Event) (p Poll, err error) {
	if ev.Kind != KindPoll {
		return p, invalid("target is not a poll")
	}
	p = Poll{ID: ev.ID, By: ev.PubKey, Question: ev.Content, At: ev.CreatedAt, places: map[string]int{}}
	once := map[string]string{} // of tags that stand at most once
	for _, tag := range ev.Tags {
		if len(tag) < 2 {
			continue
		}
		switch tag[0] {
		case "option":
			if err := p.option(tag); err != nil {
				return p, err
			}
		case "relay":
			p.Relays = append(p.Relays, tag[1])
		case "polltype", "method", "endsAt", "host", "tally":
			if _, twice := once[tag[0]]; twice {
				return p, invalid("poll has two %s tags", tag[0])
			}
			once[tag[0]] = tag[1]
		}
	}
	if len(p.Options) == 0 {
		return p, invalid("poll has no options")
	}
	if p.Method, err = methodOf(once["polltype"], once["method"]); err != nil {
		return p, err
	}
	if err := p.settings(once); err != nil {
		return p, err
	}
	return p, p.pin(ev)
}

func (p *Poll) option(tag nostr.Tag) error {
	o := Option{ID: tag[1]}
	if len(tag) > 2 {
		o.Label = tag[2]
	}
	if o.ID == "" || len(o.ID) > mostWord {
		return invalid("poll has an option without an id, or with one of more than %d bytes", mostWord)
	}
	if _, twice := p.places[o.ID]; twice {
		return invalid("poll has the option %.20q twice", o.ID)
	}
	if len(p.Options) == MostOptions {
		return invalid("poll has more than %d options", MostOptions)
	}
	p.places[o.ID] = len(p.Options)
	p.Options = append(p.Options, o)
	return nil
}

func methodOf(polltype, method string) (Method, error) {
	if polltype == "" {
		polltype = "singlechoice"
	}
	kinds := map[Method]string{Single: "singlechoice", Multiple: "multiplechoice", Ranked: "multiplechoice", Quadratic: "multiplechoice"}
	if method == "" {
		method = strings.TrimSuffix(polltype, "choice")
	}
	want, known := kinds[Method(method)]
	if !known {
		return "", invalid("poll's method %.20q is unknown: single, multiple, ranked or quadratic", method)
	}
	if polltype != want {
		return "", invalid("poll's method %s goes with the polltype %s", method, want)
	}
	return Method(method), nil
}

func (p *Poll) settings(once map[string]string) error {
	if word, ok := once["endsAt"]; ok {
		n, err := strconv.ParseInt(word, 10, 64)
		if err != nil || n <= 0 || n > 1<<40 || strconv.FormatInt(n, 10) != word {
			return invalid("poll's endsAt is not a Unix time")
		}
		if p.Ends = nostr.Timestamp(n); p.Ends < p.At {
			return invalid("poll ends before it begins")
		}
	}
	if p.Host = once["host"]; p.Host != "" && !lowhex.Is(p.Host, 64) {
		return invalid("poll's host is not a key of 64 lower-case hex digits")
	}
	if p.Hidden = once["tally"] == "hidden"; p.Hidden && p.Ends == 0 {
		return invalid("poll with a hidden tally needs an end")
	}
	return nil
}

// pin reads the one pop tag, if there is one.
func (p *Poll) pin(ev *nostr.Event) (err error) {
	var tags []nostr.Tag
	for _, tag := range ev.Tags {
		if len(tag) > 0 && tag[0] == "pop" {
			tags = append(tags, tag)
		}
	}
	if len(tags) == 0 {
		return nil
	}
	tag, depth := tags[0], strconv.Itoa(semaphore.ProverDepth)
	if len(tags) > 1 || len(tag) != 5 || tag[1] != "semaphore4" || tag[2] == "" || tag[4] != depth {
		return invalid(`tag of a poll is ["pop", "semaphore4", group, root, %q], once`, depth)
	}
	p.Group = tag[2]
	if p.Root, err = semaphore.ParseHex(tag[3]); err != nil {
		return invalid("root is not 64 lower-case hex digits below the field's order")
	}
	return nil
}

// Choice is one response of a ballot.
type Choice struct {
	Option  int // its place in the poll
	Credits int // quadratic only
}

// Ballot reads the choices of a ballot. The error is an *Invalid.
func (p *Poll) Ballot(ev *nostr.Event) ([]Choice, error) {
	if ev.Kind != KindBallot {
		return nil, invalid("kind %d is no ballot", ev.Kind)
	}
	if err := p.named(ev); err != nil {
		return nil, err
	}
	if ev.CreatedAt < p.At {
		return nil, invalid("ballot is older than its poll")
	}
	if p.Ends != 0 && ev.CreatedAt > p.Ends {
		return nil, invalid("ballot is dated after the end of the poll")
	}
	choices, spent := []Choice{}, 0
	for _, tag := range ev.Tags {
		if len(tag) == 0 || tag[0] != "response" {
			continue
		}
		c, err := p.choice(tag)
		if err != nil {
			return nil, err
		}
		if spent += c.Credits; spent > Credits {
			return nil, invalid("ballot spends more than %d credits", Credits)
		}
		if slices.ContainsFunc(choices, func(o Choice) bool { return o.Option == c.Option }) {
			if p.Method == Quadratic {
				return nil, invalid("ballot names the option %.20q twice", tag[1])
			}
			continue
		}
		if p.Method == Single && len(choices) == 1 {
			continue
		}
		choices = append(choices, c)
	}
	if len(choices) == 0 {
		return nil, invalid("ballot has no response")
	}
	return choices, nil
}

// named holds a ballot's one e tag to the poll.
func (p *Poll) named(ev *nostr.Event) error {
	found := 0
	for _, tag := range ev.Tags {
		if len(tag) == 0 || tag[0] != "e" {
			continue
		}
		if found++; found > 1 {
			return invalid("ballot names more than one poll")
		}
		if len(tag) < 2 || tag[1] != p.ID {
			return invalid("ballot is for another poll")
		}
	}
	if found == 0 {
		return invalid("ballot names no poll")
	}
	return nil
}

func (p *Poll) choice(tag nostr.Tag) (c Choice, err error) {
	if len(tag) < 2 {
		return c, invalid("ballot has an empty response")
	}
	at, ok := p.places[tag[1]]
	if !ok {
		return c, invalid("ballot names the option %.20q, which the poll does not have", tag[1])
	}
	c.Option = at
	if p.Method != Quadratic {
		return c, nil
	}
	if len(tag) < 3 {
		return c, invalid("ballot gives no credits to %.20q", tag[1])
	}
	c.Credits, err = strconv.Atoi(tag[2])
	if err != nil || c.Credits < 1 || c.Credits > Credits || strconv.Itoa(c.Credits) != tag[2] {
		return c, invalid("ballot gives %.20q credits, which is not a whole number from 1 to %d", tag[2], Credits)
	}
	return c, nil
}
