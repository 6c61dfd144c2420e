package poll

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

const (
	root = "0000000000000000000000000000000000000000000000000000000000000007"
	key  = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
)

func question(tags ...nostr.Tag) *nostr.Event {
	return &nostr.Event{ID: strings.Repeat("1", 64), PubKey: key, Kind: KindPoll, CreatedAt: 1000, Content: "?", Tags: append(nostr.Tags{
		{"option", "a", "A"}, {"option", "b", "B"}, {"option", "c", "C"},
	}, tags...)}
}

func parsed(t testing.TB, tags ...nostr.Tag) *Poll {
	t.Helper()
	p, err := Parse(question(tags...))
	if err != nil {
		t.Fatal(err)
	}
	return &p
}

func TestAPollSaysHowItIsCounted(t *testing.T) {
	multi := nostr.Tag{"polltype", "multiplechoice"}
	for _, c := range []struct {
		tags   []nostr.Tag
		method Method
	}{
		{nil, Single},
		{[]nostr.Tag{{"polltype", "singlechoice"}}, Single},
		{[]nostr.Tag{multi}, Multiple},
		{[]nostr.Tag{multi, {"method", "ranked"}}, Ranked},
		{[]nostr.Tag{{"method", "quadratic"}, multi}, Quadratic},
	} {
		if p := parsed(t, c.tags...); p.Method != c.method {
			t.Errorf("%v is counted as %s, want %s", c.tags, p.Method, c.method)
		}
	}
	p := parsed(t, nostr.Tag{"endsAt", "2000"}, nostr.Tag{"host", key}, nostr.Tag{"tally", "hidden"}, nostr.Tag{"relay", "wss://a"},
		nostr.Tag{"pop", "semaphore4", "32191:" + key + ":x", root, "20"})
	if p.Ends != 2000 || p.Host != key || !p.Hidden || len(p.Relays) != 1 || p.Group == "" || p.Options[1] != (Option{"b", "B"}) {
		t.Errorf("read as %+v", p)
	}
}

func TestAPollThatCannotBeCountedSaysWhy(t *testing.T) {
	many := []nostr.Tag{}
	for i := range 10_000 {
		many = append(many, nostr.Tag{"option", fmt.Sprint("o", i), "x"})
	}
	for _, c := range []struct {
		tags []nostr.Tag
		why  string
	}{
		{[]nostr.Tag{{"option", "a", "again"}}, "twice"},
		{[]nostr.Tag{{"option", ""}}, "without an id"},
		{[]nostr.Tag{{"option", strings.Repeat("x", 65)}}, "more than 64 bytes"},
		{many, "more than 128 options"},
		{[]nostr.Tag{{"method", "approval"}}, "unknown"},
		{[]nostr.Tag{{"method", "ranked"}}, "goes with the polltype multiplechoice"},
		{[]nostr.Tag{{"polltype", "both"}}, "unknown"},
		{[]nostr.Tag{{"polltype", "singlechoice"}, {"polltype", "multiplechoice"}}, "two polltype"},
		{[]nostr.Tag{{"endsAt", "tomorrow"}}, "not a Unix time"},
		{[]nostr.Tag{{"endsAt", "0900"}}, "not a Unix time"},
		{[]nostr.Tag{{"endsAt", "-5"}}, "not a Unix time"},
		{[]nostr.Tag{{"endsAt", "999"}}, "ends before"},
		{[]nostr.Tag{{"endsAt", "2000"}, {"endsAt", "3000"}}, "two endsAt"},
		{[]nostr.Tag{{"host", "npub1"}}, "host is not a key"},
		{[]nostr.Tag{{"tally", "hidden"}}, "needs an end"},
		{[]nostr.Tag{{"pop", "semaphore4", "g", root}}, "tag of a poll"},
		{[]nostr.Tag{{"pop", "semaphore4", "g", root, "19"}}, "tag of a poll"},
		{[]nostr.Tag{{"pop", "semaphore4", "g", strings.Repeat("f", 64), "20"}}, "root is not"},
		{[]nostr.Tag{{"pop", "semaphore4", "g", root, "20"}, {"pop", "semaphore4", "h", root, "20"}}, "once"},
	} {
		_, err := Parse(question(c.tags...))
		if no, ok := errors.AsType[*Invalid](err); !ok || !strings.Contains(no.Reason, c.why) {
			t.Errorf("%.60v: %v, want %q", c.tags, err, c.why)
		}
	}
	if _, err := Parse(&nostr.Event{Kind: KindPoll}); err == nil {
		t.Error("a poll without options is one")
	}
	if _, err := Parse(&nostr.Event{Kind: 1, Tags: nostr.Tags{{"option", "a"}}}); err == nil {
		t.Error("a note is a poll")
	}
}

func vote(responses ...nostr.Tag) *nostr.Event {
	return &nostr.Event{Kind: KindBallot, CreatedAt: 1500, Tags: append(nostr.Tags{{"e", strings.Repeat("1", 64)}}, responses...)}
}

func TestABallotIsReadByThePollsMethod(t *testing.T) {
	multi := nostr.Tag{"polltype", "multiplechoice"}
	a, b, c := nostr.Tag{"response", "a"}, nostr.Tag{"response", "b"}, nostr.Tag{"response", "c"}
	ranked, quadratic := nostr.Tag{"method", "ranked"}, nostr.Tag{"method", "quadratic"}
	for _, x := range []struct {
		poll *Poll
		ev   *nostr.Event
		want []Choice
	}{
		{parsed(t), vote(b, a), []Choice{{Option: 1}}},
		{parsed(t, multi), vote(b, a, b), []Choice{{Option: 1}, {Option: 0}}},
		{parsed(t, multi, ranked), vote(c, a, c, b), []Choice{{Option: 2}, {Option: 0}, {Option: 1}}},
		{parsed(t, multi, quadratic), vote(nostr.Tag{"response", "a", "36"}, nostr.Tag{"response", "c", "64"}), []Choice{{0, 36}, {2, 64}}},
	} {
		got, err := x.poll.Ballot(x.ev)
		if err != nil || !slices.Equal(got, x.want) {
			t.Errorf("%s %v is %v, %v, want %v", x.poll.Method, x.ev.Tags, got, err, x.want)
		}
	}
}

func TestABallotThatDoesNotCountSaysWhy(t *testing.T) {
	quadratic := parsed(t, nostr.Tag{"polltype", "multiplechoice"}, nostr.Tag{"method", "quadratic"})
	single := parsed(t, nostr.Tag{"endsAt", "2000"})
	credits := func(option, n string) nostr.Tag { return nostr.Tag{"response", option, n} }
	late, early, other, two := vote(nostr.Tag{"response", "a"}), vote(nostr.Tag{"response", "a"}), vote(nostr.Tag{"response", "a"}), vote(nostr.Tag{"response", "a"})
	late.CreatedAt, early.CreatedAt = 2001, 999
	other.Tags[0] = nostr.Tag{"e", strings.Repeat("2", 64)}
	two.Tags = append(two.Tags, nostr.Tag{"e", strings.Repeat("2", 64)})
	none := vote(nostr.Tag{"response", "a"})
	none.Tags = none.Tags[1:]
	for _, c := range []struct {
		poll *Poll
		ev   *nostr.Event
		why  string
	}{
		{single, vote(), "no response"},
		{single, vote(nostr.Tag{"response"}), "empty response"},
		{single, vote(nostr.Tag{"response", "d"}), "does not have"},
		{single, vote(nostr.Tag{"response", "a"}, nostr.Tag{"response", "A"}), "does not have"},
		{single, late, "after the end"},
		{single, early, "older than its poll"},
		{single, other, "another poll"},
		{single, two, "more than one poll"},
		{single, none, "names no poll"},
		{single, &nostr.Event{Kind: 1}, "no ballot"},
		{quadratic, vote(nostr.Tag{"response", "a"}), "no credits"},
		{quadratic, vote(credits("a", "-1")), "not a whole number"},
		{quadratic, vote(credits("a", "0")), "not a whole number"},
		{quadratic, vote(credits("a", "01")), "not a whole number"},
		{quadratic, vote(credits("a", "+1")), "not a whole number"},
		{quadratic, vote(credits("a", "1.5")), "not a whole number"},
		{quadratic, vote(credits("a", "101")), "not a whole number"},
		{quadratic, vote(credits("a", "99999999999999999999")), "not a whole number"},
		{quadratic, vote(credits("a", "60"), credits("b", "41")), "more than 100 credits"},
		{quadratic, vote(credits("a", "1"), credits("a", "1")), "twice"},
	} {
		got, err := c.poll.Ballot(c.ev)
		if no, ok := errors.AsType[*Invalid](err); !ok || !strings.Contains(no.Reason, c.why) {
			t.Errorf("%v: %v %v, want %q", c.ev.Tags, got, err, c.why)
		}
	}
}

func TestQuadraticVotesAreSquareRoots(t *testing.T) {
	p := parsed(t, nostr.Tag{"polltype", "multiplechoice"}, nostr.Tag{"method", "quadratic"})
	r := p.Count([][]Choice{{{0, 64}, {1, 36}}, {{1, 100}}, {{2, 2}}, {{2, 3}}})
	for i, want := range []string{"8.000000", "16.000000", "3.146263"} { // √2 + √3 = 3.14626…, each rounded down
		if r.Options[i].Votes != want {
			t.Errorf("option %d has %s votes, want %s", i, r.Options[i].Votes, want)
		}
	}
	if !slices.Equal(r.Leading, []string{"b"}) || r.Options[1].Credits != 136 || r.Ballots != 4 {
		t.Errorf("%+v", r)
	}
	roots := squareRoots()
	for c, got := range roots {
		if want := int64(math.Sqrt(float64(c)) * 1e6); got != want && got != want-1 {
			t.Errorf("√%d is %d millionths, want %d", c, got, want)
		}
	}
}

func rank(places ...int) (b []Choice) {
	for _, o := range places {
		b = append(b, Choice{Option: o})
	}
	return b
}

func repeat(n int, b []Choice) [][]Choice { return slices.Repeat([][]Choice{b}, n) }

func TestInstantRunOffMovesVotesAndSaysItsRounds(t *testing.T) {
	p := parsed(t, nostr.Tag{"polltype", "multiplechoice"}, nostr.Tag{"method", "ranked"})
	// a leads, but c's voters prefer b
	ballots := slices.Concat(repeat(4, rank(0)), repeat(3, rank(1, 2)), repeat(2, rank(2, 1)))
	r := p.Count(ballots)
	if !slices.Equal(r.Leading, []string{"b"}) || len(r.Rounds) != 2 || !slices.Equal(r.Rounds[0].Votes, []int{4, 3, 2}) ||
		!slices.Equal(r.Rounds[0].Out, []string{"c"}) || !slices.Equal(r.Rounds[1].Votes, []int{4, 5, 0}) || r.Options[0].Ballots != 4 {
		t.Errorf("%+v", r)
	}
	// all of whom c's voters name are out: their ballots are exhausted, and half of what is left suffices
	r = p.Count(slices.Concat(repeat(4, rank(0)), repeat(3, rank(1)), repeat(2, rank(2))))
	if !slices.Equal(r.Leading, []string{"a"}) || r.Rounds[1].Exhausted != 2 {
		t.Errorf("%+v", r)
	}
	if r := p.Count(nil); len(r.Leading) != 0 || len(r.Rounds) != 1 {
		t.Errorf("without a ballot: %+v", r)
	}
}

func TestTiesInTheRunOffAreBrokenByTheRoundsBeforeAndThenByOrder(t *testing.T) {
	p := parsed(t, nostr.Tag{"polltype", "multiplechoice"}, nostr.Tag{"method", "ranked"})
	r := p.Count(slices.Concat(repeat(2, rank(0)), repeat(2, rank(1)), repeat(2, rank(2))))
	if !slices.Equal(r.Rounds[0].Out, []string{"c"}) || !r.Rounds[0].Tie || !slices.Equal(r.Leading, []string{"a"}) {
		t.Errorf("level from the first round on: %+v", r)
	}
	four := question(nostr.Tag{"option", "d", "D"}, nostr.Tag{"polltype", "multiplechoice"}, nostr.Tag{"method", "ranked"})
	q, err := Parse(four)
	if err != nil {
		t.Fatal(err)
	}
	// d leaves and lifts b to a's 3; a had 3 before, b 2: b leaves though it stands later anyway, so turn it round too
	for _, x := range []struct {
		low, high int
		out       string
	}{{1, 0, "b"}, {0, 1, "a"}} {
		r := q.Count(slices.Concat(repeat(3, rank(x.high)), repeat(2, rank(x.low)), repeat(4, rank(2)), repeat(1, rank(3, x.low))))
		if len(r.Rounds) < 2 || !slices.Equal(r.Rounds[0].Out, []string{"d"}) || !slices.Equal(r.Rounds[1].Out, []string{x.out}) || !r.Rounds[1].Tie {
			t.Errorf("%s should leave second: %+v", x.out, r)
		}
	}
}

// modelRunOff is the same rule told naively: count all, strike one.
func modelRunOff(n int, ballots [][]Choice) (winner int) {
	out := map[int]bool{}
	var history []map[int]int
	for {
		votes, standing := map[int]int{}, 0
		for _, b := range ballots {
			for _, c := range b {
				if !out[c.Option] {
					votes[c.Option]++
					standing++
					break
				}
			}
		}
		if standing == 0 {
			return -1
		}
		worst := -1
		for o := range n {
			if out[o] {
				continue
			}
			if 2*votes[o] > standing || len(out) == n-1 {
				return o
			}
			if worst < 0 || worse(votes, history, o, worst) {
				worst = o
			}
		}
		history = append(history, votes)
		out[worst] = true
	}
}

// worse reports whether o, which stands later, leaves before w.
func worse(votes map[int]int, history []map[int]int, o, w int) bool {
	if votes[o] != votes[w] {
		return votes[o] < votes[w]
	}
	for _, h := range slices.Backward(history) {
		if h[o] != h[w] {
			return h[o] < h[w]
		}
	}
	return true
}

func TestRunOffAgreesWithAPlainModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 2))
	for round := range 3000 {
		n := 2 + rng.IntN(6)
		ev := &nostr.Event{Kind: KindPoll, Tags: nostr.Tags{{"polltype", "multiplechoice"}, {"method", "ranked"}}}
		for i := range n {
			ev.Tags = append(ev.Tags, nostr.Tag{"option", fmt.Sprint(i)})
		}
		p, err := Parse(ev)
		if err != nil {
			t.Fatal(err)
		}
		var ballots [][]Choice
		for range rng.IntN(30) {
			ballots = append(ballots, rank(rng.Perm(n)[:1+rng.IntN(n)]...))
		}
		r := p.Count(ballots)
		want := modelRunOff(n, ballots)
		got := -1
		if len(r.Leading) == 1 {
			got = int(r.Leading[0][0] - '0')
		}
		if got != want {
			t.Fatalf("round %d: %d wins, the model says %d: %v %+v", round, got, want, ballots, r.Rounds)
		}
		for _, round := range r.Rounds {
			sum := round.Exhausted
			for _, v := range round.Votes {
				sum += v
			}
			if sum != len(ballots) {
				t.Fatalf("a round adds up to %d of %d ballots", sum, len(ballots))
			}
		}
	}
}

func id(b byte) (id ID) { id[0] = b; return id }

func TestTheNewestOfSixBallotsCounts(t *testing.T) {
	casts := []Cast{
		{id(1), 10, "x", nil}, {id(2), 12, "x", nil}, {id(3), 11, "x", nil},
		{id(9), 5, "y", nil}, {id(8), 5, "y", nil}, // one moment: the lower id
	}
	for i := range 8 {
		casts = append(casts, Cast{id(byte(20 + i)), nostr.Timestamp(i), "z", nil})
	}
	rng := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		rng.Shuffle(len(casts), func(i, j int) { casts[i], casts[j] = casts[j], casts[i] })
		counted, passed := Settle(append(casts, casts[0]), MostRevotes)
		if got := IDs(counted); !slices.Equal(got, []ID{id(2), id(8), id(25)}) {
			t.Fatalf("counted %v", got)
		}
		if len(passed) != len(casts)-3 || !strings.Contains(passed[len(passed)-1].Why, "too often") {
			t.Fatalf("passed %v", passed)
		}
		free, _ := Settle(casts, -1)
		if got := IDs(free); got[2] != id(27) {
			t.Fatalf("keys may change without bound: %v", got)
		}
	}
}

func TestACloseComesBackFromItsParts(t *testing.T) {
	for _, n := range []int{0, 1, partIDs, 2*partIDs + 7} {
		c := Close{Poll: id(1), Group: "g", By: key, At: 5000}
		for i := range n {
			var one ID
			one[0], one[1], one[2] = byte(i*7), byte(i>>8), byte(i)
			c.IDs = append(c.IDs, one)
		}
		events := c.Events()
		var parts []*nostr.Event
		for i := range events {
			if len(events[i].Content) > 200_000 {
				t.Errorf("a part of %d bytes", len(events[i].Content))
			}
			parts = append(parts, &events[len(events)-1-i])
		}
		got, err := ParseClose(append(parts, parts[0]))
		if err != nil || Sum(got.IDs) != Sum(c.IDs) || len(got.IDs) != n || got.By != key || got.Poll != c.Poll {
			t.Errorf("%d ids: %v %v", n, len(got.IDs), err)
		}
		if len(parts) > 1 {
			if _, err := ParseClose(parts[1:]); err == nil {
				t.Errorf("%d ids: a close without a part is whole", n)
			}
		}
	}
}

func TestASpoiltCloseIsNone(t *testing.T) {
	c := Close{Poll: id(1), Group: "g", By: key, At: 5000, IDs: []ID{id(1), id(2)}}
	for name, spoil := range map[string]func(*nostr.Event){
		"an id less":   func(e *nostr.Event) { e.Content = e.Content[:len(e.Content)-44] },
		"count":        func(e *nostr.Event) { e.Tags[3][1] = "3" },
		"negative":     func(e *nostr.Event) { e.Tags[3][1] = "-1" },
		"hash":         func(e *nostr.Event) { e.Tags[4][1] = root },
		"part 0":       func(e *nostr.Event) { e.Tags[5][1] = "0" },
		"part of 2":    func(e *nostr.Event) { e.Tags[5][2] = "2" },
		"parts":        func(e *nostr.Event) { e.Tags[5][2] = "99999999" },
		"kind":         func(e *nostr.Event) { e.Kind = 1 },
		"no base64":    func(e *nostr.Event) { e.Content = "!" },
		"two polls":    func(e *nostr.Event) { e.Tags = append(e.Tags, nostr.Tag{"e", root}) },
		"no group":     func(e *nostr.Event) { e.Tags[1][0] = "b" },
		"a short part": func(e *nostr.Event) { e.Tags[5] = e.Tags[5][:2] },
		"two of one id": func(e *nostr.Event) {
			*e = Close{Poll: id(1), Group: "g", By: key, IDs: []ID{id(1), id(1)}}.Events()[0]
		},
	} {
		ev := c.Events()[0]
		spoil(&ev)
		if _, err := ParseClose([]*nostr.Event{&ev}); err == nil {
			t.Errorf("%s: taken", name)
		} else if _, ok := errors.AsType[*Invalid](err); !ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestACertificateComesBack(t *testing.T) {
	p := parsed(t, nostr.Tag{"polltype", "multiplechoice"}, nostr.Tag{"method", "ranked"})
	tally := Tally{People: p.Count(repeat(3, rank(1, 0))), Keys: p.Count(nil)}
	c := Certificate{Poll: id(1), Group: "g", By: key, At: 5, State: Closed, Count: 3, Sum: Sum([]ID{id(4)}), Tally: tally}
	ev, err := c.Event()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseCertificate(&ev)
	if err != nil || got.Sum != c.Sum || got.Count != 3 || !got.Tally.People.Equal(tally.People) || got.State != Closed {
		t.Errorf("%+v %v", got, err)
	}
	ev.Content = "{"
	if _, err := ParseCertificate(&ev); err == nil {
		t.Error("a certificate without a tally is one")
	}
}

func FuzzPoll(f *testing.F) {
	f.Add(`[["option","a","A"],["option","b","B"],["polltype","multiplechoice"],["method","quadratic"],["endsAt","2000"]]`, `[["response","a","64"],["response","b","36"]]`)
	f.Add(`[["option","a"],["pop","semaphore4","g","`+root+`","20"]]`, `[["response","a"],["response"]]`)
	f.Add(`[["option"],[],["method","ranked"],["tally","hidden"]]`, `[[]]`)
	f.Fuzz(func(t *testing.T, question, responses string) {
		ev := nostr.Event{ID: strings.Repeat("1", 64), Kind: KindPoll, CreatedAt: 1000}
		ballot := nostr.Event{Kind: KindBallot, CreatedAt: 1500}
		if json.Unmarshal([]byte(question), &ev.Tags) != nil || json.Unmarshal([]byte(responses), &ballot.Tags) != nil {
			return
		}
		ballot.Tags = append(ballot.Tags, nostr.Tag{"e", ev.ID})
		p, err := Parse(&ev)
		if err != nil {
			if _, ok := errors.AsType[*Invalid](err); !ok {
				t.Fatal(err)
			}
			return
		}
		choices, err := p.Ballot(&ballot)
		if err != nil {
			if _, ok := errors.AsType[*Invalid](err); !ok {
				t.Fatal(err)
			}
			return
		}
		spent, seen := 0, map[int]bool{}
		for _, c := range choices {
			if spent += c.Credits; c.Option >= len(p.Options) || c.Credits < 0 || spent > Credits || seen[c.Option] {
				t.Fatalf("%v passed", choices)
			}
			seen[c.Option] = true
		}
		if r := p.Count([][]Choice{choices, choices}); r.Ballots != 2 || len(r.Leading) == 0 {
			t.Fatalf("%+v", r)
		}
	})
}

func FuzzClose(f *testing.F) {
	ev := Close{Poll: id(1), Group: "g", By: key, At: 5000, IDs: []ID{id(1), id(2)}}.Events()[0]
	tags, _ := json.Marshal(ev.Tags)
	f.Add(string(tags), ev.Content)
	f.Add(`[["e","`+root+`"],["part","1","1"]]`, "")
	f.Fuzz(func(t *testing.T, tags, content string) {
		ev := nostr.Event{PubKey: key, Kind: KindClose, Content: content}
		if json.Unmarshal([]byte(tags), &ev.Tags) != nil {
			return
		}
		c, err := ParseClose([]*nostr.Event{&ev})
		if err != nil {
			if _, ok := errors.AsType[*Invalid](err); !ok {
				t.Fatal(err)
			}
			return
		}
		again := c.Events()
		if len(again) != 1 || again[0].Content != ev.Content {
			t.Fatalf("a close does not come back: %v", again)
		}
		ev.Kind = KindCertificate
		_, _ = ParseCertificate(&ev)
	})
}
