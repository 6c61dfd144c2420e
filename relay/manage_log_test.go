package relay

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr/nip86"
)

// drawer is a Keeper in memory which can be told to break.
type drawer struct {
	values map[string][]byte
	writes int
	bytes  int // of the last write
	failAt int // the write that fails, counted from 1; 0: none
}

var errDrawer = errors.New("the drawer is stuck")

func (d *drawer) Meta(key string) ([]byte, error) { return bytes.Clone(d.values[key]), nil }

func (d *drawer) SetMeta(_ context.Context, key string, value []byte) error {
	d.writes++
	if d.writes == d.failAt {
		return errDrawer
	}
	d.bytes = len(value)
	if len(value) == 0 {
		delete(d.values, key)
		return nil
	}
	d.values[key] = bytes.Clone(value)
	return nil
}

func (d *drawer) state(t testing.TB) managed {
	t.Helper()
	s := newManaged()
	if err := (&actLog{keep: d}).load(s.apply); err != nil {
		t.Fatal(err)
	}
	return s
}

// firstDifference names the field in which two states differ.
func firstDifference(a, b managed) string {
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range x.NumField() {
		if u, v := fmt.Sprintf("%+v", x.Field(i)), fmt.Sprintf("%+v", y.Field(i)); u != v {
			return fmt.Sprintf("%s is\n%.2000s\nwant\n%.2000s", x.Type().Field(i).Name, u, v)
		}
	}
	return "in what is pointed at"
}

func newDrawer() *drawer { return &drawer{values: map[string][]byte{}} }

// randomActs draws acts over a small world, so that they meet.
func randomActs(r *rand.Rand, n int) []Act {
	hex := func() string { return fmt.Sprintf("%064x", r.IntN(12)+1) }
	role := func() string { return fmt.Sprintf("role%d", r.IntN(4)) }
	acts := make([]Act, 0, n)
	for i := range n {
		a := Act{At: int64(1000 + i), By: fmt.Sprintf("%064x", r.IntN(3)), Reason: fmt.Sprint("why ", i)}
		switch r.IntN(9) {
		case 0:
			a.Method, a.Subject = []string{"banpubkey", "unbanpubkey", "purged"}[r.IntN(3)], hex()
		case 1:
			a.Method, a.Subject = []string{"allowpubkey", "unallowpubkey", "leave"}[r.IntN(3)], hex()
		case 2:
			a.Method, a.Subject = []string{"banevent", "allowevent"}[r.IntN(2)], hex()
		case 3:
			a.Method, a.Subject = []string{"allowkind", "disallowkind"}[r.IntN(2)], fmt.Sprint(r.IntN(9))
		case 4:
			a.Method = []string{"blockip", "unblockip"}[r.IntN(2)]
			a.Subject = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(r.IntN(4)), 0}), 24).String()
		case 5:
			a.Method, a.Subject = []string{"changerelayname", "changerelayicon"}[r.IntN(2)], fmt.Sprint("text ", i)
		case 6:
			id := role()
			a.Method, a.Subject, a.Role = "createrole", id, &Role{ID: id, Label: fmt.Sprint(i)}
		case 7:
			a.Method, a.Subject, a.RoleID = []string{"assignrole", "unassignrole"}[r.IntN(2)], hex(), role()
		case 8:
			a.Method, a.Subject = "join", hex()
			a.Spent, a.Until = fmt.Sprint("code", r.IntN(5)), 1<<40
		}
		acts = append(acts, a)
	}
	return acts
}

// TestLogGivesTheSameStateAgain writes random acts, rewrites the log at random
// moments, and reads it back.
func TestLogGivesTheSameStateAgain(t *testing.T) {
	for seed := range uint64(30) {
		r := rand.New(rand.NewPCG(seed, 1))
		d, want := newDrawer(), newManaged()
		l := &actLog{keep: d}
		for _, a := range randomActs(r, 400) {
			if err := l.append(t.Context(), a); err != nil {
				t.Fatal(err)
			}
			want.apply(a)
			if r.IntN(100) == 0 {
				if err := l.rewrite(t.Context(), want.snapshot(0)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if got := d.state(t); !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: the log gives another state: %s", seed, firstDifference(got, want))
		}
	}
}

// TestInterruptedRewriteLosesNothing stops a rewrite at each of its writes.
func TestInterruptedRewriteLosesNothing(t *testing.T) {
	acts := randomActs(rand.New(rand.NewPCG(7, 7)), 300)
	for failAt := 1; ; failAt++ {
		d, want := newDrawer(), newManaged()
		l := &actLog{keep: d}
		for _, a := range acts {
			_ = l.append(t.Context(), a)
			want.apply(a)
		}
		d.writes, d.failAt = 0, failAt
		err := l.rewrite(t.Context(), want.snapshot(0))
		d.failAt = 0
		if got := d.state(t); !reflect.DeepEqual(got, want) {
			t.Fatalf("a rewrite that stopped at write %d (%v) changed the state: %s", failAt, err, firstDifference(got, want))
		}
		if err := l.append(t.Context(), acts[0]); err != nil {
			t.Fatal(err)
		}
		want.apply(acts[0])
		if err := l.rewrite(t.Context(), want.snapshot(0)); err != nil {
			t.Fatal(err)
		}
		if got := d.state(t); !reflect.DeepEqual(got, want) {
			t.Fatalf("the rewrite after one that stopped at write %d changed the state: %s", failAt, firstDifference(got, want))
		}
		if err == nil {
			return
		}
	}
}

func TestShorterRewriteForgetsWhatAnInterruptedOneLeft(t *testing.T) {
	d := newDrawer()
	l := &actLog{keep: d}
	bans := func(n int) (acts []Act) {
		for i := range n {
			acts = append(acts, Act{Base: true, Method: "banpubkey", Subject: fmt.Sprintf("%064x", i)})
		}
		return acts
	}
	d.failAt = 4 // three pages are written, the fourth is not
	if err := l.rewrite(t.Context(), bans(4*actsPerPage)); !errors.Is(err, errDrawer) {
		t.Fatal(err)
	}
	if err := l.rewrite(t.Context(), bans(5)); err != nil {
		t.Fatal(err)
	}
	if got := d.state(t); len(got.bannedKeys) != 5 {
		t.Errorf("%d bans stand, want 5: what was never decided came back", len(got.bannedKeys))
	}
}

func TestActCostsOneSmallWriteHoweverManyThereAre(t *testing.T) {
	d := newDrawer()
	l := &actLog{keep: d}
	for i := range 5000 {
		before := d.writes
		a := Act{At: int64(i), By: strings.Repeat("a", 64), Method: "banpubkey", Subject: fmt.Sprintf("%064x", i), Reason: "spam"}
		if err := l.append(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		if d.writes-before != 1 || d.bytes > actsPerPage*256 {
			t.Fatalf("act %d took %d writes of %d bytes", i, d.writes-before, d.bytes)
		}
	}
	if s := d.state(t); len(s.bannedKeys) != 5000 {
		t.Errorf("%d bans came back, want 5000", len(s.bannedKeys))
	}
}

func TestFailedWriteIsNoAct(t *testing.T) {
	d := newDrawer()
	l := &actLog{keep: d}
	ban := Act{Method: "banpubkey", Subject: fmt.Sprintf("%064x", 1)}
	d.failAt = 1
	if err := l.append(t.Context(), ban); !errors.Is(err, errDrawer) {
		t.Fatal(err)
	}
	if err := l.append(t.Context(), Act{Method: "banpubkey", Subject: fmt.Sprintf("%064x", 2)}); err != nil {
		t.Fatal(err)
	}
	if s := d.state(t); len(s.bannedKeys) != 1 {
		t.Errorf("%d bans, want the one that was written", len(s.bannedKeys))
	}
}

func TestDamagedLogStopsTheStartAndNamesThePlace(t *testing.T) {
	d := newDrawer()
	l := &actLog{keep: d}
	for i := range 3 {
		_ = l.append(t.Context(), Act{Method: "banpubkey", Subject: fmt.Sprintf("%064x", i)})
	}
	key := pageKey(0, 0)
	d.values[key] = bytes.Replace(d.values[key], []byte(`{"at":0,"m":"banpubkey","s":"`+fmt.Sprintf("%064x", 1)), []byte(`}`), 1)
	err := (&actLog{keep: d}).load(func(Act) {})
	if err == nil || !strings.HasPrefix(err.Error(), "manage/acts/0/0: line 2 is no act: ") {
		t.Errorf("a damaged log: %v", err)
	}
}

func TestAuditTrailIsBounded(t *testing.T) {
	s := newManaged()
	for i := range 5 * auditTrail {
		s.apply(Act{At: int64(i), Method: "allowkind", Subject: "1"})
	}
	m := &Management{state: s}
	if got := m.Audit(); len(got) != auditTrail || got[auditTrail-1].At != int64(5*auditTrail-1) || len(s.recent) >= 2*auditTrail {
		t.Errorf("the trail has %d acts (%d held) and ends at %d", len(got), len(s.recent), got[len(got)-1].At)
	}
}

func mustAddr(t testing.TB, s string) netip.Addr {
	t.Helper()
	ip, err := netip.ParseAddr(s)
	if err != nil {
		t.Fatal(err)
	}
	return ip
}

// jsonTrip is what a server reads of what a client wrote.
func jsonTrip(t testing.TB, req nip86.Request) (got nip86.Request) {
	t.Helper()
	decode(t, req, &got)
	return got
}

func decode(t testing.TB, from, to any) {
	t.Helper()
	text, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(text, to)
	}
	if err != nil {
		t.Fatal(err)
	}
}
