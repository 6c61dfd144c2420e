package personhood

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"agora/personhood/poll"
	"agora/personhood/semaphore"
	"agora/relay/lowhex"

	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/sync/errgroup"
)

// The ways in which there is nothing to recount.
var (
	ErrNoPoll    = errors.New("there is no poll among the events, or not the one asked for")
	ErrManyPolls = errors.New("there are several polls among the events: say which")
	ErrNoRoot    = errors.New("the poll pins a root that its group has never published: no entry of the group's root log has it")
)

// Source is what a recount is made from: events in any order, with whatever
// else is among them, and the members file of the poll's root.
type Source struct {
	Events []*nostr.Event
	Poll   string // id; "" when there is one poll only
	Host   string // key whose close event counts when the poll names none; "" takes the only one

	// Members fetches the members file; a poll of keys does not need it.
	Members func(ctx context.Context, s Snapshot) ([]byte, error)
}

// Recount is the outcome of counting a poll again from its events alone.
type Recount struct {
	Poll     poll.Poll
	Snapshot Snapshot // of the group, at the poll's root
	People   int      // members that were not removed: the crowd each voter hides in

	Tally   poll.Tally
	Counted []poll.ID // sorted
	Count   int       // of people; in a poll of keys, of keys
	Sum     [32]byte  // of the ids counted: what certificates are compared by

	Close   *poll.Close       // nil: the recount is not certified
	Closers []string          // keys that have closed the poll, when it is unclear which one counts
	Extra   []poll.ID         // in good order, but not in the close event
	Missing []poll.ID         // in the close event, but not here
	Invalid []poll.Passed     // do not count whoever holds them
	Passed  []poll.Passed     // in good order, but replaced
	Differs *poll.Certificate // the host's certificate, when it says something else
}

// Agrees reports whether nothing contradicts the host: it has not closed the
// poll, or the count is exactly what it has signed.
func (r *Recount) Agrees() bool {
	return r.Differs == nil && (r.Close == nil || poll.Sum(r.Close.IDs) == r.Sum)
}

// CountAgain recounts a poll. It trusts nothing: ids, signatures, the members
// file, root and proofs are all checked.
func CountAgain(ctx context.Context, src Source) (*Recount, error) {
	r := &recounting{src: src}
	for _, step := range []func(context.Context) error{r.sort, r.choosePoll, r.crowd, r.judge} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	r.settle()
	return &r.out, nil
}

type recounting struct {
	src  Source
	out  Recount
	good map[int][]*nostr.Event // with id and signature in order, by kind
	bad  []spoilt
	cast []poll.Cast // of people
	keys []poll.Cast
}

type spoilt struct {
	ev  *nostr.Event
	why string
}

// sort checks ids and signatures, on all cores.
func (r *recounting) sort(ctx context.Context) error {
	wanted := []int{KindPoll, KindBallot, KindGroup, KindRootLog, poll.KindClose, poll.KindCertificate}
	why := make([]string, len(r.src.Events))
	err := spread(ctx, len(why), 256, func(lo, hi int) {
		for i := lo; i < hi; i++ {
			if slices.Contains(wanted, r.src.Events[i].Kind) {
				why[i] = unsound(r.src.Events[i])
			}
		}
	})
	r.good = map[int][]*nostr.Event{}
	for i, ev := range r.src.Events {
		switch {
		case why[i] != "":
			r.bad = append(r.bad, spoilt{ev, why[i]})
		case slices.Contains(wanted, ev.Kind):
			r.good[ev.Kind] = append(r.good[ev.Kind], ev)
		}
	}
	return err
}

// spread runs work over pieces of 0 to n on all cores.
func spread(ctx context.Context, n, piece int, work func(lo, hi int)) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(runtime.GOMAXPROCS(0))
	for lo := 0; lo < n && ctx.Err() == nil; lo += piece {
		g.Go(func() error {
			work(lo, min(lo+piece, n))
			return ctx.Err()
		})
	}
	return g.Wait()
}

func unsound(ev *nostr.Event) string {
	if !lowhex.Is(ev.ID, 64) || !lowhex.Is(ev.PubKey, 64) || !lowhex.Is(ev.Sig, 128) || !ev.CheckID() {
		return "the id is not the hash of the event"
	}
	if ok, err := ev.CheckSignature(); err != nil || !ok {
		return "the signature is wrong"
	}
	return ""
}

func (r *recounting) choosePoll(context.Context) error {
	var chosen *nostr.Event
	for _, ev := range r.good[KindPoll] {
		if r.src.Poll != "" && ev.ID != r.src.Poll {
			continue
		}
		if chosen != nil && chosen.ID != ev.ID {
			return ErrManyPolls
		}
		chosen = ev
	}
	if chosen == nil {
		return ErrNoPoll
	}
	var err error
	r.out.Poll, err = poll.Parse(chosen)
	return err
}

// crowd finds the poll's root in the group's log and builds it anew from the
// members.
func (r *recounting) crowd(ctx context.Context) error {
	p := &r.out.Poll
	if p.Group == "" {
		return nil
	}
	var found bool
	if r.out.Snapshot, found = AtRoot(r.good[KindRootLog], p.Group, p.Root); !found {
		return ErrNoRoot
	}
	for _, ev := range r.good[KindGroup] {
		if s, err := ParseSnapshot(ev); err == nil && s.Group == r.out.Snapshot.Group {
			r.out.Snapshot.Class = s.Class
			r.out.Snapshot.URLs = append(r.out.Snapshot.URLs, s.URLs...)
		}
	}
	file, err := r.src.Members(ctx, r.out.Snapshot)
	if err != nil {
		return fmt.Errorf("the members file %x: %w", r.out.Snapshot.Members, err)
	}
	members, err := r.out.Snapshot.Matches(file)
	if err != nil {
		return err
	}
	r.out.People = members.People()
	return nil
}

// AtRoot is the first entry of a group's root log with this root; false when
// there is none. It does not check signatures.
func AtRoot(log []*nostr.Event, group string, root semaphore.Element) (found Snapshot, ok bool) {
	for _, ev := range log {
		s, err := ParseSnapshot(ev)
		if err == nil && ev.Kind == KindRootLog && s.Group.String() == group && s.Root == root && (!ok || s.Seq < found.Seq) {
			found, ok = s, true
		}
	}
	return found, ok
}

// judge parses the poll's ballots and checks the proofs in batches.
func (r *recounting) judge(ctx context.Context) error {
	p := &r.out.Poll
	var items []semaphore.Item
	var waiting []poll.Cast
	for _, b := range r.bad {
		if b.ev.Kind == KindBallot && names(b.ev, p.ID) {
			r.refuse(b.ev, b.why)
		}
	}
	for _, ev := range r.good[KindBallot] {
		if !names(ev, p.ID) {
			continue
		}
		cast, item, err := ballotOf(p, ev)
		switch {
		case err != nil && (Has(ev) || p.Group == ""):
			text, _ := reasonOf(err)
			r.refuse(ev, text)
		case err != nil: // a key's ballot, which nobody certifies
		case item == nil:
			r.keys = append(r.keys, cast)
		default:
			waiting, items = append(waiting, cast), append(items, *item)
		}
	}
	verdicts := make([]error, len(items))
	v := semaphore.NewVerifier()
	err := spread(ctx, len(items), batchSize, func(lo, hi int) {
		for i, verdict := range v.VerifyBatch(items[lo:hi]) {
			verdicts[lo+i] = verdict
		}
	})
	for i, verdict := range verdicts {
		if verdict != nil {
			r.out.Invalid = append(r.out.Invalid, poll.Passed{ID: waiting[i].ID, Why: "pop proof does not verify"})
			continue
		}
		r.cast = append(r.cast, waiting[i])
	}
	return err
}

func names(ev *nostr.Event, id string) bool {
	return slices.ContainsFunc(ev.Tags, func(t nostr.Tag) bool { return len(t) > 1 && t[0] == "e" && t[1] == id })
}

func (r *recounting) refuse(ev *nostr.Event, why string) {
	if id, err := poll.ParseID(ev.ID); err == nil {
		r.out.Invalid = append(r.out.Invalid, poll.Passed{ID: id, Why: why})
	}
}

// ballotOf reads a ballot as the gate does; item is nil for a key's.
func ballotOf(p *poll.Poll, ev *nostr.Event) (cast poll.Cast, item *semaphore.Item, err error) {
	cast, person, err := ReadBallot(p, ev)
	if err != nil || !person {
		return cast, nil, err
	}
	pop, err := ParsePop(ev)
	if err != nil {
		return cast, nil, err
	}
	target, err := poll.ParseID(p.ID)
	if err != nil {
		return cast, nil, err
	}
	return cast, &semaphore.Item{Proof: pop.Proof, Statement: semaphore.Statement{
		Depth: semaphore.ProverDepth, Root: pop.Root, Nullifier: pop.Nullifier,
		Message: Message(ev), Scope: Scope(Vote, target),
	}}, nil
}

// ReadBallot reads a ballot that the gate has let in, whose proof therefore
// holds; person says whether it counts a person. The error is an *Invalid, ours
// or the poll's.
func ReadBallot(p *poll.Poll, ev *nostr.Event) (cast poll.Cast, person bool, err error) {
	if cast.ID, err = poll.ParseID(ev.ID); err != nil {
		return cast, false, err
	}
	if cast.Choices, err = p.Ballot(ev); err != nil {
		return cast, false, err
	}
	cast.At, cast.Voter = ev.CreatedAt, ev.PubKey
	if !Has(ev) {
		return cast, false, nil
	}
	h, err := parseHeader(ev)
	if err != nil {
		return cast, false, err
	}
	cast.Voter = semaphore.Hex(h.pop.Nullifier)
	return cast, true, fits(p, &h.pop)
}

// fits holds a ballot's group and root to the poll's.
func fits(p *poll.Poll, pop *Pop) error {
	switch {
	case p.Group == "":
		return invalid("poll pins no group: it counts keys")
	case pop.Group.String() != p.Group:
		return invalid("group is not the one of the poll")
	case pop.Root != p.Root:
		return invalid("root is not the one of the poll")
	}
	return nil
}

// settle counts, and holds the count to what the host has signed.
func (r *recounting) settle() {
	o := &r.out
	r.findClose()
	cast := r.cast
	if o.Close != nil {
		cast = poll.Among(r.cast, o.Close.IDs)
		o.Extra = poll.Without(poll.IDs(r.cast), o.Close.IDs)
		o.Missing = poll.Without(o.Close.IDs, poll.IDs(r.cast))
	}
	people, passed := poll.Settle(cast, poll.MostRevotes)
	keys, replaced := poll.Settle(r.keys, -1)
	o.Tally = poll.Tally{People: o.Poll.Count(poll.Chosen(people)), Keys: o.Poll.Count(poll.Chosen(keys))}
	counted := people
	o.Passed = passed
	if o.Poll.Group == "" {
		counted, o.Passed = keys, replaced
	}
	o.Counted = poll.IDs(counted)
	o.Count, o.Sum = len(counted), poll.Sum(o.Counted)
	r.tidy()
	r.compare()
}

// tidy leaves each id in one list, sorted: a forgery that bears the id of a
// sound ballot says nothing about that.
func (r *recounting) tidy() {
	sound := map[poll.ID]bool{}
	for _, c := range append(slices.Clone(r.cast), r.keys...) {
		sound[c.ID] = true
	}
	byID := func(a, b poll.Passed) int { return strings.Compare(string(a.ID[:]), string(b.ID[:])) }
	r.out.Invalid = slices.DeleteFunc(r.out.Invalid, func(p poll.Passed) bool { return sound[p.ID] })
	slices.SortStableFunc(r.out.Invalid, byID)
	r.out.Invalid = slices.CompactFunc(r.out.Invalid, func(a, b poll.Passed) bool { return a.ID == b.ID })
}

// findClose chooses the close event: of the host that the poll names, of the
// one asked for, or the only one.
func (r *recounting) findClose() {
	p := &r.out.Poll
	if p.Group == "" || p.Ends == 0 {
		return
	}
	by := map[string][]*nostr.Event{}
	for _, ev := range r.good[poll.KindClose] {
		if names(ev, p.ID) {
			by[ev.PubKey] = append(by[ev.PubKey], ev)
		}
	}
	host := r.src.Host
	if p.Host != "" {
		host = p.Host
	}
	closes := map[string]*poll.Close{}
	for key, parts := range by {
		if c := FirstClose(parts, p); c != nil && (host == "" || key == host) {
			closes[key] = c
			r.out.Closers = append(r.out.Closers, key)
		}
	}
	slices.Sort(r.out.Closers)
	if len(closes) == 1 {
		r.out.Close, r.out.Closers = closes[r.out.Closers[0]], nil
	}
}

// compare looks for a certificate of a closed poll by the host that closed it.
func (r *recounting) compare() {
	if r.out.Close == nil {
		return
	}
	for _, ev := range r.good[poll.KindCertificate] {
		c, err := poll.ParseCertificate(ev)
		if err != nil || c.Poll != r.out.Close.Poll || c.By != r.out.Close.By || c.State != poll.Closed {
			continue
		}
		if c.Sum != r.out.Sum || c.Count != r.out.Count || !c.Tally.People.Equal(r.out.Tally.People) {
			r.out.Differs = &c
		}
	}
}

// MembersURL is where the members file of this hash is, when a group says that
// its present one is at u: files are named by their hash, so a hash in the
// path is replaced.
func MembersURL(u string, sum [32]byte) string {
	parts := strings.Split(u, "/")
	for i := len(parts) - 1; i > 2; i-- {
		name, more, dotted := strings.Cut(parts[i], ".")
		if !lowhex.Is(name, 64) {
			continue
		}
		if parts[i] = hex.EncodeToString(sum[:]); dotted {
			parts[i] += "." + more
		}
		break
	}
	return strings.Join(parts, "/")
}
