package host

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"agora/personhood"
	"agora/personhood/enrol"
	"agora/personhood/semaphore"

	"github.com/nbd-wtf/go-nostr"
)

// shelf is a plain model of the store's meta values.
type shelf struct {
	mu     sync.Mutex
	values map[string][]byte
	fail   error
}

func (s *shelf) Meta(key string) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.values[key], nil
}

func (s *shelf) SetMeta(_ context.Context, key string, value []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return s.fail
	}
	s.values[key] = slices.Clone(value)
	return nil
}

func (s *shelf) MetaKeys(prefix string) (keys []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.values {
		if strings.HasPrefix(k, prefix) {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	return keys, nil
}

// held is a plain model of a relay's log.
type held struct {
	mu     sync.Mutex
	events []*nostr.Event
	fail   error
}

func (h *held) publish(_ context.Context, ev *nostr.Event) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fail != nil {
		return h.fail
	}
	if ev.Kind == personhood.KindGroup {
		h.events = slices.DeleteFunc(h.events, func(o *nostr.Event) bool { return o.Kind == ev.Kind && o.PubKey == ev.PubKey })
	}
	h.events = append(h.events, ev)
	return nil
}

func (h *held) Query(_ context.Context, filters ...nostr.Filter) iter.Seq2[*nostr.Event, error] {
	h.mu.Lock()
	events := slices.Clone(h.events)
	h.mu.Unlock()
	return func(yield func(*nostr.Event, error) bool) {
		for _, ev := range events {
			if filters[0].Matches(ev) && !yield(ev, nil) {
				return
			}
		}
	}
}

// trusting is a source that believes its text: "unique by inviter-key expires".
type trusting struct{}

func (trusting) ID() string    { return "test" }
func (trusting) Class() string { return "tested" }

func (trusting) Verify(_ context.Context, e enrol.Evidence) (enrol.Admission, error) {
	var unique, by, key string
	var expires int64
	if n, err := fmt.Sscan(e.Text, &unique, &by, &key, &expires); n != 4 || err != nil {
		return enrol.Admission{}, &enrol.Refused{Reason: "no"}
	}
	a := enrol.Admission{Source: "test", Class: "tested", Unique: sha256.Sum256([]byte(unique)), Commitment: e.Commitment}
	a.Inviter = &enrol.Inviter{Key: sha256.Sum256([]byte(key)), By: sha256.Sum256([]byte(by)), Quota: 2}
	if expires != 0 {
		a.Expires = time.Unix(expires, 0)
	}
	return a, nil
}

// yes is a checker of proofs that knows no false one; the real one is tested
// with the relay.
type yes struct{}

func (yes) Verify(context.Context, string, semaphore.Item) error { return nil }

// together lets nobody on before all have come: each has been told by then that
// the evidence is free.
type together struct{ all *sync.WaitGroup }

func (c together) Verify(context.Context, string, semaphore.Item) error {
	c.all.Done()
	c.all.Wait()
	return nil
}

type place struct {
	t     *testing.T
	shelf *shelf
	held  *held
	key   string
	g     *Group
}

func newPlace(t *testing.T) *place {
	p := &place{t: t, shelf: &shelf{values: map[string][]byte{}}, held: &held{}, key: strings.Repeat("1", 64)}
	p.open()
	return p
}

func (p *place) open() {
	p.t.Helper()
	g, err := p.try()
	if err != nil {
		p.t.Fatal(err)
	}
	p.g = g
}

func (p *place) try() (*Group, error) {
	return Open(p.t.Context(), Config{
		D: "town", Secret: p.key, Source: trusting{}, Shelf: p.shelf, Events: p.held, Checker: yes{}, Publish: p.held.publish, Files: "http://relay/v1/members/",
	})
}

func (p *place) publish() {
	p.t.Helper()
	if err := p.g.publish(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
}

func identity(i int) *semaphore.Identity {
	return semaphore.IdentityOf(sha256.Sum256(fmt.Append(nil, "host test ", i)))
}

func commitment(i int) semaphore.Element { return identity(i).Commitment() }

// quick is a prover whose proofs only the checker above believes.
type quick struct{}

func (quick) Prove(_ context.Context, id *semaphore.Identity, way semaphore.MerkleProof, _, scope [32]byte) (s semaphore.Statement, p semaphore.Proof, err error) {
	s.Root, s.Nullifier = way.Leaf, id.Nullifier(scope)
	return s, p, nil
}

func (p *place) join(i int, text string) (Joined, error) {
	j, err := personhood.Join(p.t.Context(), quick{}, identity(i), p.g.Address(), []byte(text))
	if err != nil {
		return Joined{}, err
	}
	return p.g.Join(p.t.Context(), "", j, text)
}

// log is the log as it is served.
func (p *place) log() string {
	p.t.Helper()
	w := httptest.NewRecorder()
	(&Doors{Groups: []*Group{p.g}}).Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/v1/groups/town/log", nil))
	return w.Body.String()
}

func text(i int) string { return fmt.Sprintf("u%d host k%d 0", i, i) }

func (p *place) mustJoin(from, to int) {
	p.t.Helper()
	for i := from; i < to; i++ {
		if _, err := p.join(i, text(i)); err != nil {
			p.t.Fatal(err)
		}
	}
}

func taken(err error) bool { _, ok := errors.AsType[*Taken](err); return ok }

func TestEvidenceIsSpentOnceHoweverManyCome(t *testing.T) {
	p := newPlace(t)
	var wg sync.WaitGroup
	var mu sync.Mutex
	in := 0
	var all sync.WaitGroup
	all.Add(64)
	p.g.cfg.Checker = together{&all}
	for i := range 64 {
		wg.Go(func() {
			_, err := p.join(i, fmt.Sprintf("same host k%d 0", i))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				in++
			} else if !taken(err) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	p.g.cfg.Checker = yes{}
	if in != 1 || len(p.g.ledger.members) != 1 {
		t.Errorf("one evidence let in %d", in)
	}
	p.mustJoin(100, 101)
	if _, err := p.join(100, "another host k 0"); !taken(err) {
		t.Errorf("one commitment twice: %v", err)
	}
	if _, err := p.join(200, "yetanother host k100 0"); !taken(err) {
		t.Errorf("another's key to invite by: %v", err)
	}
	if out, err := p.join(100, text(100)); err != nil || !out.Already {
		t.Errorf("the same again: %+v %v", out, err)
	}
	p.open() // what was answered is on disk
	if _, err := p.join(300, "same host k300 0"); !taken(err) {
		t.Errorf("after a restart the evidence is free: %v", err)
	}
	if len(p.g.ledger.members) != 2 {
		t.Errorf("%d members after a restart", len(p.g.ledger.members))
	}
}

func TestNothingIsTrueBeforeItIsOnDisk(t *testing.T) {
	p := newPlace(t)
	p.shelf.fail = errors.New("disk full")
	if _, err := p.join(0, text(0)); err == nil || taken(err) {
		t.Fatal(err)
	}
	p.shelf.fail = nil
	if out, err := p.join(0, text(0)); err != nil || out.Already {
		t.Errorf("%+v %v", out, err)
	}
}

func TestARootIsPublishedForAllThatJoined(t *testing.T) {
	p := newPlace(t)
	p.publish()
	if len(p.held.events) != 0 {
		t.Fatal("a root of nobody")
	}
	p.mustJoin(0, 5)
	if p.g.State().People != 0 || len(p.g.Log(0)) != 0 {
		t.Error("who joined is shown before the root")
	}
	p.publish()
	p.mustJoin(5, 7)
	if n, err := p.g.Remove(t.Context(), commitment(2), false, "revoked"); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if _, err := p.join(2, text(2)); !taken(err) {
		t.Errorf("a removed member comes back: %v", err)
	}
	p.publish()
	p.publish() // nothing new
	s := p.g.State()
	if s.Seq != 2 || s.Size != 7 || s.People != 6 || s.Lines != 8 {
		t.Errorf("%+v", s)
	}
	logs := 0
	for _, ev := range p.held.events {
		snap, err := personhood.ParseSnapshot(ev)
		if err != nil {
			t.Fatal(err)
		}
		if ev.Kind == personhood.KindRootLog {
			logs++
		}
		file, ok := p.g.File(snap.Members)
		if !ok {
			t.Fatalf("the members of root %d are gone", snap.Seq)
		}
		m, err := snap.Matches(file)
		if err != nil || ev.Kind == personhood.KindGroup && (snap.Class != "tested" || !strings.HasSuffix(snap.URLs[0], s.Members)) {
			t.Fatal(err, snap)
		}
		if zero := m.Tree().Leaves()[2]; zero.IsZero() != (snap.Seq == 2) {
			t.Errorf("leaf 2 in root %d: %v", snap.Seq, zero)
		}
	}
	if logs != 2 {
		t.Errorf("%d entries in the root log", logs)
	}
	audited, err := Audit(p.log(), s)
	if err != nil || hex.EncodeToString(sum(audited.Members)) != s.Members || audited.Sources[0].People != 7 {
		t.Errorf("the audit: %+v %v", audited.Sources, err)
	}
	for name, bad := range map[string]string{
		"a line less":     strings.Join(strings.Split(p.log(), "\n")[1:], "\n"),
		"another leaf":    strings.Replace(p.log(), semaphore.Hex(commitment(3)), semaphore.Hex(commitment(99)), 1),
		"the last line":   strings.Replace(p.log(), "revoked", "expired", 1),
		"lines exchanged": swapLines(p.log()),
	} {
		if _, err := Audit(bad, s); err == nil {
			t.Errorf("%s: the audit says nothing", name)
		}
	}
	old := p.g.current
	p.open()
	if p.g.current.Root != old.Root || p.g.base != 8 || p.g.current.Seq != 2 {
		t.Errorf("after a restart root %d over %d lines", p.g.current.Seq, p.g.base)
	}
}

func sum(b []byte) []byte { s := sha256.Sum256(b); return s[:] }

func swapLines(text string) string {
	lines := strings.SplitAfter(text, "\n")
	lines[0], lines[1] = lines[1], lines[0]
	return strings.Join(lines, "")
}

func TestACrashBetweenTheTwoEventsIsMadeGood(t *testing.T) {
	p := newPlace(t)
	p.mustJoin(0, 3)
	p.publish()
	p.held.events = slices.DeleteFunc(p.held.events, func(ev *nostr.Event) bool { return ev.Kind == personhood.KindGroup })
	p.open()
	p.publish()
	if len(p.held.events) != 2 {
		t.Errorf("%d events are held", len(p.held.events))
	}
	p.mustJoin(3, 4)
	p.held.fail = errors.New("no")
	if err := p.g.publish(t.Context()); err == nil || p.g.State().Seq != 1 {
		t.Errorf("a root that was not taken counts: %v", err)
	}
	p.held.fail = nil
	p.publish()
	if s := p.g.State(); s.Seq != 2 || s.People != 4 {
		t.Errorf("%+v", s)
	}
}

func TestADamagedLogEndsTheStart(t *testing.T) {
	for name, harm := range map[string]func(*place){
		"a line is gone": func(p *place) { delete(p.shelf.values, p.g.ledger.key(2)) },
		"a line is changed": func(p *place) {
			k := p.g.ledger.key(2)
			p.shelf.values[k] = []byte(strings.Replace(string(p.shelf.values[k]), semaphore.Hex(commitment(1)), semaphore.Hex(commitment(77)), 1))
		},
		"the last is gone": func(p *place) { delete(p.shelf.values, p.g.ledger.key(4)) },
		"the last is changed": func(p *place) {
			k := p.g.ledger.key(4)
			p.shelf.values[k] = []byte(strings.Replace(string(p.shelf.values[k]), semaphore.Hex(commitment(3)), semaphore.Hex(commitment(77)), 1))
		},
		"no JSON": func(p *place) { p.shelf.values[p.g.ledger.key(1)] = []byte("{") },
	} {
		p := newPlace(t)
		p.mustJoin(0, 4)
		p.publish()
		harm(p)
		if _, err := p.try(); err == nil || !strings.Contains(err.Error(), "town") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestASubtreeGoesWithWhoPlantedIt(t *testing.T) {
	p := newPlace(t)
	// host -> 0 -> 1 -> 2, 0 -> 3, host -> 4
	for i, by := range []string{"host", "k0", "k1", "k0", "host"} {
		if _, err := p.join(i, fmt.Sprintf("u%d %s k%d 0", i, by, i)); err != nil {
			t.Fatal(err)
		}
	}
	if n, ok := p.g.Quota(sha256.Sum256([]byte("k1"))); !ok || n != 2 {
		t.Errorf("1 may invite %d", n)
	}
	if n, err := p.g.Remove(t.Context(), commitment(0), true, "revoked"); n != 4 || err != nil {
		t.Fatal(n, err)
	}
	if _, ok := p.g.Quota(sha256.Sum256([]byte("k1"))); ok {
		t.Error("a removed member may invite")
	}
	if _, err := p.join(9, "u9 k2 k9 0"); err == nil {
		t.Error("a removed member's invitation lets in")
	}
	p.publish()
	if s := p.g.State(); s.People != 1 || s.Size != 5 {
		t.Errorf("%+v", s)
	}
	if n, err := p.g.Remove(t.Context(), commitment(0), true, "revoked"); n != 0 || err != nil {
		t.Errorf("again: %d %v", n, err)
	}
}

func TestMembershipEndsWithItsEvidence(t *testing.T) {
	p := newPlace(t)
	if _, err := p.join(0, fmt.Sprintf("u host k %d", time.Now().Add(-time.Second).Unix())); err != nil {
		t.Fatal(err)
	}
	p.mustJoin(1, 2)
	if _, err := p.join(2, fmt.Sprintf("u2 host k2 %d", time.Now().Add(24*time.Hour).Unix())); err != nil {
		t.Fatal(err)
	}
	p.g.look(time.Now().Add(48 * time.Hour)) // a clock that jumps ahead, and comes back
	p.publish()
	if s := p.g.State(); s.People != 3 || len(p.g.overdue) != 1 {
		t.Errorf("after the first look: %+v, overdue %v", s, p.g.overdue)
	}
	p.g.overdue[0] = time.Now().Add(-p.g.lookEvery())
	p.publish()
	if s := p.g.State(); s.People != 2 || !strings.Contains(p.log(), `"why":"expired"`) {
		t.Errorf("%+v", s)
	}
}

// pieces notes the largest write.
type pieces struct {
	*httptest.ResponseRecorder
	most int
}

func (p *pieces) Write(b []byte) (int, error) {
	p.most = max(p.most, len(b))
	return p.ResponseRecorder.Write(b)
}

// files are members files by name.
type files map[[32]byte][]byte

func (f files) File(name [32]byte) ([]byte, bool) { file, ok := f[name]; return file, ok }

func TestAFileIsWrittenInPiecesThatASlowReaderCanTake(t *testing.T) {
	file := make([]byte, 3*filePiece+32)
	for i := range file {
		file[i] = byte(i / 32)
	}
	sum := sha256.Sum256(file)
	left := 0
	d := &Doors{Files: files{sum: file}, Seat: func(*http.Request) (func(), bool) { return func() { left++ }, true }}
	w := &pieces{ResponseRecorder: httptest.NewRecorder()}
	d.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, fmt.Sprintf("/v1/members/%x", sum), nil))
	if w.Code != 200 || !bytes.Equal(w.Body.Bytes(), file) || w.most > filePiece || left != 1 {
		t.Errorf("%d, %d bytes, in pieces of %d; %d places were left", w.Code, w.Body.Len(), w.most, left)
	}
}

func TestAClockThatStaysAheadEmptiesNoGroupAtOnce(t *testing.T) {
	p := newPlace(t)
	for i := range leastLeaving + 5 {
		if _, err := p.join(i, fmt.Sprintf("u%d host k%d %d", i, i, time.Now().Add(-time.Second).Unix())); err != nil {
			t.Fatal(err)
		}
	}
	for _, left := range []int{5, 0} {
		p.g.look(time.Now())
		for leaf := range p.g.overdue {
			p.g.overdue[leaf] = time.Now().Add(-p.g.lookEvery())
		}
		p.publish()
		if s := p.g.State(); s.People != left {
			t.Errorf("%d people are left, want %d", s.People, left)
		}
	}
}

func TestRootsComeInBatchesAndAClockThatJumpsBackHoldsNothingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- p.g.Run(ctx) }()
		synctest.Wait()
		joined, err := p.join(0, text(0))
		if err != nil || time.Until(time.Unix(joined.Root, 0)) > time.Hour+time.Second {
			t.Fatal(joined, err)
		}
		time.Sleep(59 * time.Minute)
		synctest.Wait()
		if p.g.State().Seq != 0 {
			t.Error("a root before its time")
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if p.g.State().Seq != 1 {
			t.Error("no root after an hour")
		}
		p.mustJoin(1, 2)
		p.g.PublishNow()
		synctest.Wait()
		if p.g.State().Seq != 2 {
			t.Error("no root when asked for")
		}
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		// the clock was a day ahead when the last root was published
		p.g.current.At += 86400
		for _, ev := range p.held.events {
			ev.CreatedAt += 86400
		}
		if wait := p.g.resumeAt(time.Now()); time.Until(wait) > time.Hour {
			t.Errorf("the next root waits for %s", time.Until(wait))
		}
		p.mustJoin(2, 3)
		p.publish()
		if p.g.current.At != nostr.Now() || p.g.State().Seq != 3 {
			t.Errorf("the root is dated %d, now it is %d", p.g.current.At, nostr.Now())
		}
		for _, ev := range p.held.events { // the addressable event must be newer than the one it replaces
			if ev.Kind == personhood.KindGroup && ev.CreatedAt <= nostr.Now()+86000 {
				t.Errorf("the group's event is dated %d", ev.CreatedAt)
			}
		}
	})
}

func BenchmarkRebuild100k(b *testing.B) {
	p := &shelf{values: map[string][]byte{}}
	l, err := openLedger(p, "town")
	if err != nil {
		b.Fatal(err)
	}
	for i := range 100_000 {
		a := enrol.Admission{Source: "test", Class: "tested", Unique: sha256.Sum256(fmt.Append(nil, i)), Commitment: commitment(i)}
		if err := l.enrol(b.Context(), a, "x"); err != nil {
			b.Fatal(err)
		}
	}
	before := cpu(b)
	for b.Loop() {
		l, err := openLedger(p, "town")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := personhood.NewMembers(l.leavesAt(len(l.lines))); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric((cpu(b)-before).Seconds()*1000/float64(b.N), "cpu-ms/each")
}

// cpu is what the process has spent: the clock says little on a busy machine.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
