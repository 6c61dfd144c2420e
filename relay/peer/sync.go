package peer

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"agora/relay/store"
	"agora/relay/wire"

	"github.com/nbd-wtf/go-nostr"
	"golang.org/x/sync/errgroup"
)

// Direction says which way events go.
type Direction uint8

// The directions.
const (
	Down Direction = 1 << iota // from the other relay to us
	Up                         // from us to the other relay
	Both = Down | Up
)

// ParseDirection reads up, down or both.
func ParseDirection(s string) (Direction, error) {
	switch s {
	case "down":
		return Down, nil
	case "up":
		return Up, nil
	case "both":
		return Both, nil
	}
	return 0, fmt.Errorf("%q is no direction: up, down or both", s)
}

// Local is our own log; *store.Store is one.
type Local interface {
	Query(ctx context.Context, filters ...nostr.Filter) iter.Seq2[store.Record, error]
	Lookup(ctx context.Context, ids []store.ID, yield func(store.Record) bool) error
	// ReadySet is the set of f when it is kept ready, else nil.
	ReadySet(f nostr.Filter) (*store.Set, error)
}

// Publish hands one event to our relay, which checks it like any other. It
// answers "" when the event is now stored, else "prefix: text", which is
// "duplicate: …" for one that is held already. It is called concurrently.
type Publish func(ctx context.Context, ev *nostr.Event, record []byte) (reason string, err error)

// Job is one synchronisation.
type Job struct {
	URL       string
	Filter    nostr.Filter // its limit is ignored
	Direction Direction
	Local     Local
	Publish   Publish                                   // needed for Down
	Visible   func(*store.Record) bool                  // may it leave us? default: all but wrapped, expired and protected events
	Sign      func(context.Context, *nostr.Event) error // fills in key, id and signature of a NIP-42 answer; nil: we stay anonymous
	Progress  func(Summary)                             // called about once a second, and at the end; may be nil
	MaxEvents int                                       // downloaded at most; 0: no bound
	MaxBytes  int64                                     // read from the other relay at most; 0: no bound
	Silence   time.Duration                             // without an answer the job fails; default 60 s
}

const (
	frameSize = 60_000           // bytes of a negentropy frame of ours: 120 KB of hex pass strfry's bound of 128 KiB
	maxListed = 500_000          // ids found to differ before they are transferred; then the reconciliation starts again
	openWait  = 15 * time.Second // for the first answer to NEG-OPEN; none: the relay does not know NIP-77
	inPublish = 64               // events being published at once
	maxPasses = 3                // reconciliations of the same filter
	maxAgain  = 1000             // events that a further one still tries to move; more are refusals
)

// exchange is a Job under way.
type exchange struct {
	Job
	r       *remote
	ctx     context.Context // ends with the publishing of events
	pool    *errgroup.Group
	taking  sync.WaitGroup // events being published
	pass    int            // reconciliations done before
	subs    int            // ids given out
	batch   int            // ids per REQ
	shown   time.Time
	mu      sync.Mutex // guards sum, down, up and reasons
	sum     Summary
	down    fates
	up      fates
	reasons []string   // words of fates; the first is "other"
	showing sync.Mutex // one Progress at a time
	listed  bool       // have and need hold maxListed ids
}

// Sync makes two logs hold the same events, as far as the direction and both
// sides' rules allow. What was transferred before an error stays.
func Sync(ctx context.Context, d *Dialer, job Job) (Summary, error) {
	e := &exchange{Job: job, batch: maxBatch, sum: newSummary(job.URL), reasons: []string{"other"}}
	e.down.of, e.up.of = map[store.ID]fate{}, map[store.ID]fate{}
	if e.Silence == 0 {
		e.Silence = 60 * time.Second
	}
	e.Filter.Limit, e.Filter.LimitZero = 0, false
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var err error
	if e.r, err = dial(ctx, d, job.URL, job.MaxBytes, job.Sign); err != nil {
		return e.sum, err
	}
	defer e.r.close()
	err = e.run(ctx)
	e.show(true)
	if err != nil {
		return e.sum.clone(), fmt.Errorf("sync with %s: %w", job.URL, err)
	}
	return e.sum.clone(), nil
}

// Why a reconciliation did not go through.
var (
	errNoNegentropy = errors.New("no negentropy there")
	errTooManyThere = errors.New("too many records for the other relay")
)

// run reconciles, and then once more while that moves something: a deletion
// that went over may have made room for an older version that was refused
// before it came.
func (e *exchange) run(ctx context.Context) error {
	for e.pass = range maxPasses {
		before := e.moved()
		if err := e.once(ctx); err != nil {
			return err
		}
		if e.moved() == before || e.full() || e.sum.Method != "negentropy" || e.failures() > maxAgain {
			break
		}
	}
	return nil
}

// once reconciles and waits until what was downloaded is published.
func (e *exchange) once(ctx context.Context) error {
	e.pool, e.ctx = errgroup.WithContext(ctx)
	e.pool.SetLimit(inPublish)
	err := e.spans(e.ctx)
	if poolErr := e.pool.Wait(); poolErr != nil {
		return poolErr
	}
	return err
}

// mostHalvings lead from all of time to one second, and some more: a relay that
// finds even those too much does not reconcile at all.
const mostHalvings = 40

// spans reconciles the filter's span of time, in halves where the other relay
// finds it too much at once.
func (e *exchange) spans(ctx context.Context) error {
	spans, refused := []span{{filter: e.Filter}}, 0
	for len(spans) > 0 && !e.full() {
		at := spans[len(spans)-1]
		spans = spans[:len(spans)-1]
		again, err := e.span(ctx, at.filter)
		if refused++; err == nil {
			refused = 0
		}
		if errors.Is(err, errTooManyThere) && refused > mostHalvings {
			err = errNoNegentropy
		}
		switch {
		case errors.Is(err, errNoNegentropy):
			e.count(func(s *Summary) { s.Method = "req" })
			err = e.paged(ctx, e.Filter)
			return err
		case errors.Is(err, errTooManyThere):
			halves := at.halves()
			if halves == nil {
				err = e.paged(ctx, at.filter)
			} else {
				spans, err = append(spans, halves...), nil
			}
		case again:
			spans = append(spans, at)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// span is a part of a filter between two times.
type span struct {
	filter nostr.Filter
	cut    bool // it has both bounds, or is the rest beyond the later one
}

// halves splits a span in time; nil when it cannot be split.
func (s span) halves() []span {
	with := func(since, until *nostr.Timestamp) span {
		f := s.filter
		f.Since, f.Until = since, until
		return span{filter: f, cut: true}
	}
	since, until := s.filter.Since, s.filter.Until
	if since == nil {
		since = new(nostr.Timestamp)
	}
	if until == nil && !s.cut {
		end := nostr.Now() + 86_400
		beyond := end + 1
		if *since > end {
			return nil
		}
		return []span{with(&beyond, nil), with(since, &end)}
	}
	if until == nil || *since >= *until {
		return nil
	}
	mid := *since + (*until-*since)/2
	next := mid + 1
	return []span{with(since, &mid), with(&next, until)}
}

// span reconciles one span and transfers what differs. again: there is more.
func (e *exchange) span(ctx context.Context, f nostr.Filter) (again bool, err error) {
	have, need, err := e.reconcile(ctx, f)
	if err != nil {
		return false, err
	}
	if have, need = e.todo(have, need); e.pass > 0 && len(have)+len(need) > maxAgain {
		return false, nil
	}
	e.count(func(s *Summary) {
		s.Have, s.Need = s.Have+e.up.unknown(have), s.Need+e.down.unknown(need)
	})
	before := e.moved()
	if e.Direction&Down != 0 {
		if err := e.download(ctx, need); err != nil {
			return false, err
		}
	}
	if e.Direction&Up != 0 {
		if err := e.upload(ctx, have); err != nil {
			return false, err
		}
	}
	return e.listed && e.moved() > before, nil
}

// moved counts the events that have come to rest on the other side.
func (e *exchange) moved() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sum.Stored + e.sum.Uploaded
}

func (e *exchange) full() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sum.Cut = e.MaxEvents > 0 && e.sum.Downloaded >= e.MaxEvents
	return e.sum.Cut
}

func (e *exchange) count(change func(*Summary)) {
	e.mu.Lock()
	change(&e.sum)
	e.mu.Unlock()
	e.show(false)
}

// todo is what is worth an attempt of what differs.
func (e *exchange) todo(have, need []store.ID) ([]store.ID, []store.ID) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.up.todo(have), e.down.todo(need)
}

// failures counts the events that a further pass might move.
func (e *exchange) failures() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.up.failed + e.down.failed
}

// show reports progress, about once a second.
func (e *exchange) show(now bool) {
	if e.Progress == nil {
		return
	}
	e.mu.Lock()
	due := now || time.Since(e.shown) >= time.Second
	if due {
		e.shown = time.Now()
	}
	sum := e.sum.clone()
	e.mu.Unlock()
	if due {
		e.showing.Lock()
		e.Progress(sum)
		e.showing.Unlock()
	}
}

// newSub is a subscription id of our own.
func (e *exchange) newSub() string {
	e.subs++
	return fmt.Sprintf("agora-%d", e.subs)
}

// reconcile finds out which ids differ.
func (e *exchange) reconcile(ctx context.Context, f nostr.Filter) (have, need []store.ID, err error) {
	set, err := e.localSet(ctx, f)
	if err != nil {
		return nil, nil, err
	}
	e.listed = false
	rec := wire.Reconciler{Set: set, Frame: frameSize}
	if e.Direction&Up != 0 {
		rec.Have = func(k wire.NegKey) { have = append(have, store.ID(k[8:])) }
	}
	if e.Direction&Down != 0 {
		rec.Need = func(id [32]byte) { need = append(need, id) }
	}
	open, err := rec.Open(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("sum up our own events: %w", err)
	}
	sub := e.newSub()
	frame, err := e.negOpen(ctx, sub, f, open)
	for err == nil {
		if frame, err = rec.Follow(ctx, frame); err != nil || frame == nil {
			break
		}
		if e.listed = len(have)+len(need) >= maxListed; e.listed {
			break
		}
		if err = e.r.send(wire.AppendNegMsg(nil, sub, frame)); err == nil {
			frame, err = e.negFrame(ctx, sub, e.Silence)
		}
	}
	if errors.Is(err, errNoNegentropy) || errors.Is(err, errTooManyThere) {
		return nil, nil, err
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reconcile: %w", err)
	}
	return unique(have), unique(need), e.r.send(wire.AppendNegClose(nil, sub))
}

// unique drops repeats: a peer whose set changes meanwhile may name one twice.
func unique(ids []store.ID) []store.ID {
	seen := make(map[store.ID]struct{}, len(ids))
	kept := ids[:0]
	for _, id := range ids {
		if _, again := seen[id]; !again {
			seen[id] = struct{}{}
			kept = append(kept, id)
		}
	}
	return kept
}

// negOpen opens a reconciliation and waits for the first frame; once more
// after signing in when the relay wants that.
func (e *exchange) negOpen(ctx context.Context, sub string, f nostr.Filter, open []byte) ([]byte, error) {
	for tries := 0; ; tries++ {
		if err := e.r.send(wire.AppendNegOpen(nil, sub, f, open)); err != nil {
			return nil, err
		}
		frame, err := e.negFrame(ctx, sub, min(openWait, e.Silence))
		if errors.Is(err, errSilent) {
			return nil, errNoNegentropy
		}
		if errors.Is(err, errAuthWanted) && tries == 0 && e.r.awaitAuth(ctx, openWait) {
			continue
		}
		return frame, err
	}
}

// errAuthWanted: the other relay answers nobody it does not know.
var errAuthWanted = errors.New("the relay wants us to authenticate")

// negFrame waits for the next frame of the reconciliation sub.
func (e *exchange) negFrame(ctx context.Context, sub string, wait time.Duration) ([]byte, error) {
	for {
		one, err := e.r.next(ctx, wait)
		if err != nil {
			return nil, err
		}
		m := one.m
		switch {
		case one.bad != nil:
		case m.Label == "NEG-MSG" && m.Sub == sub:
			return m.Neg, nil
		case m.Label == "NEG-ERR" && m.Sub == sub:
			return nil, negError(m.Text)
		case m.Label == "CLOSED" && m.Sub == sub:
			return nil, errNoNegentropy
		case m.Label == "NOTICE" && aboutNegentropy(m.Text):
			return nil, errNoNegentropy
		}
	}
}

// localSet is our side: what is kept ready, or else gathered.
func (e *exchange) localSet(ctx context.Context, f nostr.Filter) (wire.NegSet, error) {
	ready, err := e.Local.ReadySet(f)
	if err != nil {
		return nil, fmt.Errorf("open our own set: %w", err)
	}
	if ready != nil {
		return ready, nil
	}
	var keys []wire.NegKey
	for rec, err := range e.Local.Query(ctx, f) {
		if err != nil {
			return nil, fmt.Errorf("gather our own events: %w", err)
		}
		if e.mayLeave(&rec) {
			keys = append(keys, wire.NegKeyOf(rec.CreatedAt(), rec.ID()))
		}
	}
	return wire.NewNegVector(keys), nil
}

const kindWrap = 1059 // NIP-59: for its recipient only

// mayLeave reports whether the other side may learn of an event.
func (e *exchange) mayLeave(rec *store.Record) bool {
	why := e.keeps(rec)
	return why == "" || why == keptProtected
}

// keptProtected: only the author may publish it elsewhere (NIP-70). The other
// side may hold it all the same, so it is named in reconciliations.
const keptProtected = "protected"

// keeps says in a word why an event is not to be sent; "" when it is.
func (e *exchange) keeps(rec *store.Record) string {
	x := rec.Expires()
	switch {
	case e.Visible != nil && !e.Visible(rec):
		return "private"
	case e.Visible == nil && rec.Kind() == kindWrap:
		return "wrapped"
	case e.Visible == nil && x != 0 && x <= time.Now().Unix():
		return "expired"
	case protected(rec):
		return keptProtected
	}
	return ""
}

func hexIDs(ids []store.ID) []string {
	out := make([]string, len(ids))
	for i := range ids {
		out[i] = hex.EncodeToString(ids[i][:])
	}
	return out
}
