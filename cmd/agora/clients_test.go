package main_test

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/keyer"
	"github.com/nbd-wtf/go-nostr/nip11"
	"github.com/nbd-wtf/go-nostr/nip17"
	"github.com/nbd-wtf/go-nostr/nip45/hyperloglog"
	"github.com/nbd-wtf/go-nostr/nip59"
	"github.com/nbd-wtf/go-nostr/nip77"
)

// TestGoNostrClient is what programs built on go-nostr do, against the real
// program. Each part has keys of its own, so that they do not meet.
//
// go-nostr races with itself when a connection ends and in nip77's sync, so
// under the race detector the same test runs in a process without it; the
// relay is a process of its own in any case.
func TestGoNostrClient(t *testing.T) {
	if ranWithoutRace(t) {
		return
	}
	relay := serve(t, buildProgram(t), filepath.Join(t.TempDir(), "data"), nil)
	for _, p := range promises() {
		t.Run(p.promise, func(t *testing.T) { p.test(t, relay) })
	}
	relay.terminate(t, relay.cmd.Process.Pid)
	if code := relay.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("SIGTERM ends with exit code %d:\n%s", code, relay.out)
	}
}

// ranWithoutRace runs the test in a process without the race detector, if this
// one has it.
func ranWithoutRace(t *testing.T) bool {
	t.Helper()
	if !raceEnabled {
		return false
	}
	out, err := exec.CommandContext(t.Context(), "go", "test", "-count=1", "-tags", "libsecp256k1", "-run", "^"+t.Name()+"$", ".").CombinedOutput()
	if err != nil || !bytes.HasPrefix(out, []byte("ok ")) {
		t.Fatalf("%v\n%s", err, out)
	}
	return true
}

// promise is what a client may rely on.
type promise struct {
	promise string
	test    func(*testing.T, *program)
}

func promises() []promise {
	return []promise{
		{"NIP01StoredComesBack", testStored},
		{"NIP01DuplicateIsTrueForgedIsFalse", testDuplicateAndForged},
		{"NIP01HistoryThenLiveOnce", testLive},
		{"NIP01EphemeralIsDeliveredAndNotKept", testEphemeral},
		{"NIP01And65NewestReplaceableIsKept", testReplaceable},
		{"NIP09AuthorDeletesByIDAndAddress", testDeletion},
		{"NIP11DocumentTellsWhatIsEnabled", testDocument},
		{"NIP17WrappedMessageGoesToItsRecipientOnly", testWrapped},
		{"NIP40ExpiredIsRefused", testExpiration},
		{"NIP45CountsEventsAndPeople", testCount},
		{"NIP50FindsWordsRanked", testSearch},
		{"NIP70ProtectedIsTakenFromItsAuthorOnly", testProtected},
		{"NIP77SyncsBothWays", testNegentropy},
	}
}

// connect opens a connection that ends with the test's context. It is not
// closed besides: go-nostr's Close races with its own goroutine for that.
func connect(t *testing.T, p *program) *nostr.Relay {
	t.Helper()
	r, err := nostr.RelayConnect(t.Context(), p.URL)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// put publishes, and the relay must accept.
func put(t *testing.T, r *nostr.Relay, events ...*nostr.Event) {
	t.Helper()
	for _, ev := range events {
		if err := r.Publish(t.Context(), *ev); err != nil {
			t.Fatalf("publish kind %d: %v", ev.Kind, err)
		}
	}
}

// refused publishes, and the relay must answer false with one of the prefixes.
func refused(t *testing.T, r *nostr.Relay, ev *nostr.Event, prefixes ...string) {
	t.Helper()
	err := r.Publish(t.Context(), *ev)
	if err == nil {
		t.Fatalf("kind %d was accepted, expected %q", ev.Kind, prefixes)
	}
	for _, p := range prefixes {
		if strings.HasPrefix(err.Error(), "msg: "+p+": ") {
			return
		}
	}
	t.Fatalf("kind %d is refused with %q, expected one of %q", ev.Kind, err, prefixes)
}

// ids asks for stored events and returns their ids in the order they came. A
// CLOSED is an error.
func ids(t *testing.T, r *nostr.Relay, filters ...nostr.Filter) ([]string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	sub, err := r.Subscribe(ctx, filters)
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsub()
	out := []string{}
	events := sub.Events
	for {
		select {
		case ev, more := <-events:
			if !more { // closed just before the reason is told
				events = nil
				continue
			}
			out = append(out, ev.ID)
		case <-sub.EndOfStoredEvents:
			return out, nil
		case reason := <-sub.ClosedReason:
			return out, fmt.Errorf("%s", reason)
		case <-ctx.Done():
			t.Fatalf("no EOSE for %v", filters)
		}
	}
}

// expect compares the answer to filters. Not its order: go-nostr hands each
// event over in a goroutine of its own.
func expect(t *testing.T, r *nostr.Relay, want []*nostr.Event, filters ...nostr.Filter) {
	t.Helper()
	got, err := ids(t, r, filters...)
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, len(want))
	for i, ev := range want {
		names[i] = ev.ID
	}
	slices.Sort(got)
	slices.Sort(names)
	if !slices.Equal(got, names) {
		t.Fatalf("%v gives\n%v, expected\n%v", filters, got, names)
	}
}

func ago(seconds int) nostr.Timestamp { return nostr.Now() - nostr.Timestamp(seconds) }

func testStored(t *testing.T, p *program) {
	r, me := connect(t, p), newAuthor(t)
	var notes []*nostr.Event
	start := nostr.Now() // once: a second may end between two notes
	for i := range 3 {
		notes = append(notes, me.sign(t, nostr.Event{Kind: 1, CreatedAt: start - nostr.Timestamp(i), Content: "note 🤙 \"quoted\" \\ \n"}))
	}
	put(t, r, notes...)
	by := nostr.Filter{Authors: []string{me.pubkey}}
	expect(t, r, notes, by)
	expect(t, r, notes[:1], nostr.Filter{Authors: by.Authors, Limit: 1})
	expect(t, r, notes[1:], nostr.Filter{Authors: by.Authors, Until: &notes[1].CreatedAt})
	expect(t, r, notes[:2], nostr.Filter{Authors: by.Authors, Since: &notes[1].CreatedAt})
	expect(t, r, notes, by, nostr.Filter{IDs: []string{notes[1].ID}})
	full, err := r.QuerySync(t.Context(), by)
	if err != nil || len(full) != 3 {
		t.Fatalf("%v, %v", full, err)
	}
	for _, note := range notes { // in any order, as in expect
		if !slices.ContainsFunc(full, func(ev *nostr.Event) bool { return ev.String() == note.String() }) {
			t.Errorf("%v is not among %v", note, full)
		}
	}
}

func testDuplicateAndForged(t *testing.T, p *program) {
	r, me := connect(t, p), newAuthor(t)
	note := me.sign(t, nostr.Event{Kind: 1, Content: "once"})
	put(t, r, note, note)
	forged := *note
	forged.Content = "twice"
	refused(t, r, &forged, "invalid")
	unsigned := *me.sign(t, nostr.Event{Kind: 1, Content: "x"})
	unsigned.Sig = strings.Repeat("0", 128)
	refused(t, r, &unsigned, "invalid")
}

func testLive(t *testing.T, p *program) {
	speaker, listener, me := connect(t, p), connect(t, p), newAuthor(t)
	before := me.sign(t, nostr.Event{Kind: 1, CreatedAt: ago(10)})
	put(t, speaker, before)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	sub, err := listener.Subscribe(ctx, nostr.Filters{{Authors: []string{me.pubkey}}})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsub()
	live := me.sign(t, nostr.Event{Kind: 1})
	var seen []string
	for len(seen) < 2 {
		select {
		case ev := <-sub.Events:
			seen = append(seen, ev.ID)
		case <-sub.EndOfStoredEvents:
			put(t, speaker, live)
			sub.EndOfStoredEvents = nil
		case <-ctx.Done():
			t.Fatalf("only %v came", seen)
		}
	}
	if !slices.Equal(seen, []string{before.ID, live.ID}) {
		t.Errorf("came: %v", seen)
	}
}

func testEphemeral(t *testing.T, p *program) {
	speaker, listener, me := connect(t, p), connect(t, p), newAuthor(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	sub, err := listener.Subscribe(ctx, nostr.Filters{{Kinds: []int{20001}, Authors: []string{me.pubkey}}})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsub()
	<-sub.EndOfStoredEvents
	event := me.sign(t, nostr.Event{Kind: 20001})
	put(t, speaker, event)
	select {
	case got := <-sub.Events:
		if got.ID != event.ID {
			t.Errorf("came: %v", got)
		}
	case <-ctx.Done():
		t.Fatal("it was not delivered")
	}
	expect(t, speaker, nil, nostr.Filter{IDs: []string{event.ID}})
}

func testReplaceable(t *testing.T, p *program) {
	r, me := connect(t, p), newAuthor(t)
	for _, kind := range []int{0, 3, 10002} {
		older := me.sign(t, nostr.Event{Kind: kind, CreatedAt: ago(20)})
		newer := me.sign(t, nostr.Event{Kind: kind, CreatedAt: ago(10)})
		put(t, r, newer)
		_ = r.Publish(t.Context(), *older) // refused or accepted, never kept
		expect(t, r, []*nostr.Event{newer}, nostr.Filter{Kinds: []int{kind}, Authors: []string{me.pubkey}})
	}
	one := me.sign(t, nostr.Event{Kind: 30023, CreatedAt: ago(9), Tags: nostr.Tags{{"d", "one"}}})
	again := me.sign(t, nostr.Event{Kind: 30023, CreatedAt: ago(8), Tags: nostr.Tags{{"d", "one"}}})
	two := me.sign(t, nostr.Event{Kind: 30023, CreatedAt: ago(7), Tags: nostr.Tags{{"d", "two"}}})
	put(t, r, one, again, two)
	expect(t, r, []*nostr.Event{two, again}, nostr.Filter{Kinds: []int{30023}, Authors: []string{me.pubkey}})
	expect(t, r, []*nostr.Event{again}, nostr.Filter{Authors: []string{me.pubkey}, Tags: nostr.TagMap{"d": {"one"}}})
}

func testDeletion(t *testing.T, p *program) {
	r, me, other := connect(t, p), newAuthor(t), newAuthor(t)
	note := me.sign(t, nostr.Event{Kind: 1, CreatedAt: ago(5)})
	article := me.sign(t, nostr.Event{Kind: 30023, CreatedAt: ago(5), Tags: nostr.Tags{{"d", "x"}}})
	put(t, r, note, article)
	_ = r.Publish(t.Context(), *other.sign(t, nostr.Event{Kind: 5, Tags: nostr.Tags{{"e", note.ID}}}))
	expect(t, r, []*nostr.Event{note}, nostr.Filter{IDs: []string{note.ID}})
	put(t, r, me.sign(t, nostr.Event{Kind: 5, Tags: nostr.Tags{{"e", note.ID}, {"a", "30023:" + me.pubkey + ":x"}}}))
	expect(t, r, nil, nostr.Filter{IDs: []string{note.ID, article.ID}})
	if err := r.Publish(t.Context(), *note); err == nil {
		t.Error("a deleted event may come back")
	}
	early := me.sign(t, nostr.Event{Kind: 1, CreatedAt: ago(4), Content: "not yet here"})
	put(t, r, me.sign(t, nostr.Event{Kind: 5, Tags: nostr.Tags{{"e", early.ID}}}))
	if err := r.Publish(t.Context(), *early); err == nil {
		t.Error("a deletion that arrives first does not count")
	}
}

func testDocument(t *testing.T, p *program) {
	info, err := nip11.Fetch(t.Context(), p.URL)
	if err != nil {
		t.Fatal(err)
	}
	for _, nip := range []int{1, 9, 11, 40, 42, 45, 50, 70, 77} {
		if !slices.ContainsFunc(info.SupportedNIPs, func(n any) bool { return fmt.Sprint(n) == fmt.Sprint(nip) }) {
			t.Errorf("NIP-%d is missing in %v", nip, info.SupportedNIPs)
		}
	}
	if info.Limitation == nil || info.Limitation.MaxLimit == 0 || info.Name == "" {
		t.Errorf("%+v", info)
	}
}

func testWrapped(t *testing.T, p *program) {
	alice, bob, eve := newAuthor(t), newAuthor(t), newAuthor(t)
	toBob := wrapFor(t, alice, bob)
	put(t, connect(t, p), toBob)
	inbox := nostr.Filter{Kinds: []int{1059}, Tags: nostr.TagMap{"p": {bob.pubkey}}}

	stranger := connect(t, p)
	if _, err := ids(t, stranger, inbox); err == nil || !strings.HasPrefix(err.Error(), "auth-required: ") {
		t.Errorf("without authentication: %v", err)
	}
	if err := stranger.Auth(t.Context(), func(ev *nostr.Event) error { return ev.Sign(eve.secret) }); err != nil {
		t.Fatal(err)
	}
	for _, f := range []nostr.Filter{inbox, {IDs: []string{toBob.ID}}} {
		if got, _ := ids(t, stranger, f); len(got) > 0 {
			t.Errorf("eve is shown %v for %v", got, f)
		}
	}

	r := connect(t, p)
	if _, err := ids(t, r, inbox); err == nil {
		t.Error("a fresh connection is shown the inbox")
	}
	if err := r.Auth(t.Context(), func(ev *nostr.Event) error { return ev.Sign(bob.secret) }); err != nil {
		t.Fatal(err)
	}
	expect(t, r, []*nostr.Event{toBob}, inbox)
	kr, err := keyer.NewPlainKeySigner(bob.secret)
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.QuerySync(t.Context(), inbox)
	if err != nil || len(got) != 1 {
		t.Fatalf("%v, %v", got, err)
	}
	rumor, err := nip59.GiftUnwrap(*got[0], func(from, text string) (string, error) { return kr.Decrypt(t.Context(), text, from) })
	if err != nil || rumor.Content != "for your eyes only" || rumor.PubKey != alice.pubkey {
		t.Errorf("unwrapped: %v, %v", rumor, err)
	}
}

func wrapFor(t *testing.T, from, to author) *nostr.Event {
	t.Helper()
	kr, err := keyer.NewPlainKeySigner(from.secret)
	if err != nil {
		t.Fatal(err)
	}
	_, wrap, err := nip17.PrepareMessage(t.Context(), "for your eyes only", nil, kr, to.pubkey, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &wrap
}

func testExpiration(t *testing.T, p *program) {
	r, me := connect(t, p), newAuthor(t)
	refused(t, r, me.sign(t, nostr.Event{Kind: 1, Tags: nostr.Tags{{"expiration", fmt.Sprint(ago(60))}}}), "invalid", "blocked")
	lasting := me.sign(t, nostr.Event{Kind: 1, Tags: nostr.Tags{{"expiration", fmt.Sprint(ago(-3600))}}})
	put(t, r, lasting)
	expect(t, r, []*nostr.Event{lasting}, nostr.Filter{Authors: []string{me.pubkey}})
}

func testCount(t *testing.T, p *program) {
	r, me := connect(t, p), newAuthor(t)
	note := me.sign(t, nostr.Event{Kind: 1})
	put(t, r, note)
	offset, err := strconv.ParseInt(note.ID[32:33], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	people := hyperloglog.New(int(offset) + 8) // as NIP-45 has it
	for range 12 {
		someone := newAuthor(t)
		people.Add(someone.pubkey)
		put(t, r, someone.sign(t, nostr.Event{Kind: 7, Content: "+", Tags: nostr.Tags{{"e", note.ID}, {"p", me.pubkey}}}))
	}
	n, hll, err := r.Count(t.Context(), nostr.Filters{{Kinds: []int{7}, Tags: nostr.TagMap{"e": {note.ID}}}})
	if err != nil || n != 12 || !bytes.Equal(hll, people.GetRegisters()) {
		t.Fatalf("count %d, registers %x, want %x, %v", n, hll, people.GetRegisters(), err)
	}
}

func testSearch(t *testing.T, p *program) {
	r, me := connect(t, p), newAuthor(t)
	both := me.sign(t, nostr.Event{Kind: 1, CreatedAt: ago(30), Content: "zebrafish swim: the zebrafish of lake Tanganyika"})
	one := me.sign(t, nostr.Event{Kind: 1, CreatedAt: ago(20), Content: "a long story about many other things in which one zebrafish is named only once, in passing"})
	put(t, r, both, one)
	late := time.Now().Add(time.Minute) // the index lags by up to two seconds, more on a machine that is busy
	for {
		got, err := ids(t, r, nostr.Filter{Search: "ZebraFish", Authors: []string{me.pubkey}})
		if err != nil {
			t.Fatal(err)
		}
		if slices.Equal(got, []string{both.ID, one.ID}) {
			return
		}
		if time.Now().After(late) {
			t.Fatalf("found %v, expected %v then %v", got, both.ID, one.ID)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func testProtected(t *testing.T, p *program) {
	me, other := newAuthor(t), newAuthor(t)
	event := me.sign(t, nostr.Event{Kind: 1, Tags: nostr.Tags{{"-"}}})
	stranger := connect(t, p)
	refused(t, stranger, event, "auth-required")
	if err := stranger.Auth(t.Context(), func(ev *nostr.Event) error { return ev.Sign(other.secret) }); err != nil {
		t.Fatal(err)
	}
	refused(t, stranger, event, "auth-required", "restricted", "blocked")
	r := connect(t, p)
	refused(t, r, event, "auth-required")
	if err := r.Auth(t.Context(), func(ev *nostr.Event) error { return ev.Sign(me.secret) }); err != nil {
		t.Fatal(err)
	}
	put(t, r, event)
	expect(t, r, []*nostr.Event{event}, nostr.Filter{IDs: []string{event.ID}})
}

// shelf is the client's own store: nip77's sync reads it and puts into it.
type shelf struct{ events chan []*nostr.Event } // one slice, passed round; capacity 1

func newShelf(events ...*nostr.Event) *shelf {
	s := &shelf{events: make(chan []*nostr.Event, 1)} // the slice; who takes it puts it back
	s.events <- events
	return s
}

func (s *shelf) Publish(_ context.Context, ev nostr.Event) error {
	s.events <- append(<-s.events, &ev)
	return nil
}

func (s *shelf) QuerySync(_ context.Context, f nostr.Filter) (out []*nostr.Event, _ error) {
	all := <-s.events
	s.events <- all
	for _, ev := range all {
		if f.Matches(ev) {
			out = append(out, ev)
		}
	}
	return out, nil
}

func (s *shelf) QueryEvents(ctx context.Context, f nostr.Filter) (chan *nostr.Event, error) {
	found, err := s.QuerySync(ctx, f)
	out := make(chan *nostr.Event, len(found)) // all of them; never full
	for _, ev := range found {
		out <- ev
	}
	close(out)
	return out, err
}

func testNegentropy(t *testing.T, p *program) {
	r, me := connect(t, p), newAuthor(t)
	var all []*nostr.Event
	for i := range 150 {
		all = append(all, me.sign(t, nostr.Event{Kind: 1, CreatedAt: ago(1000 + i), Content: fmt.Sprint("entry ", i)}))
	}
	put(t, r, all[:120]...)
	ours := newShelf(all[40:]...)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	by := nostr.Filter{Authors: []string{me.pubkey}, Kinds: []int{1}}
	if err := nip77.NegentropySync(ctx, ours, p.URL, by, nip77.Both); err != nil {
		t.Fatal(err)
	}
	if got, err := ours.QuerySync(ctx, by); err != nil || len(got) != 150 {
		t.Errorf("the client has %d of 150 events, %v", len(got), err)
	}
	expect(t, r, all, nostr.Filter{Authors: by.Authors, Kinds: by.Kinds, Limit: 500})
}
