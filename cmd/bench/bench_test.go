package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nbd-wtf/go-nostr"
)

func corpus(t *testing.T, p plan) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := p.write(t.Context(), &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestCorpusIsTheSameEveryTimeValidAndOfRealisticSize(t *testing.T) {
	p := plan{Mix: 400, Deep: 100}
	one, two := corpus(t, p), corpus(t, p)
	var sizes, deep int
	seen := map[string]bool{}
	other := slices.Collect(bytes.Lines(two))
	for i, line := range slices.Collect(bytes.Lines(one)) {
		var ev, again nostr.Event
		if err := json.Unmarshal(line, &ev); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(other[i], &again); err != nil || again.ID != ev.ID {
			t.Fatalf("event %d is %s, then %s (%v)", i, ev.ID, again.ID, err)
		}
		if ok, err := ev.CheckSignature(); !ok || err != nil || ev.GetID() != ev.ID {
			t.Fatalf("event %d is not signed: %v", i, err)
		}
		if seen[ev.ID] {
			t.Fatalf("event %d is there twice", i)
		}
		seen[ev.ID] = true
		sizes += len(line)
		if ev.PubKey == authorKey(deepAuthor)[1] {
			deep++
		}
	}
	if mean := sizes / len(seen); len(seen) != 500 || deep != 100 || mean < 550 || mean > 750 {
		t.Errorf("%d events, %d of the deep author, mean %d bytes", len(seen), deep, mean)
	}
}

func TestDeepAuthorWritesAtMostOneNoteASecond(t *testing.T) {
	seen := map[string]bool{}
	for line := range bytes.Lines(corpus(t, plan{Mix: 10, Deep: 300})) {
		var ev nostr.Event
		if err := json.Unmarshal(line, &ev); err != nil {
			t.Fatal(err)
		}
		if ev.PubKey != authorKey(deepAuthor)[1] {
			continue
		}
		if at := ev.CreatedAt.Time().String(); seen[at] {
			t.Fatalf("two notes at %s: paging by until would skip one", at)
		} else {
			seen[at] = true
		}
	}
}

// fakeRelay is the bare server in this process.
func fakeRelay(t *testing.T) *server {
	t.Helper()
	listen, err := freeAddress()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- serveBare(ctx, listen) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	s := &server{URL: "ws://" + listen, PID: os.Getpid()}
	for s.answers(t.Context()) != nil {
		time.Sleep(time.Millisecond)
	}
	return s
}

func TestEveryEventIsPublishedOnceAndItsOKCounted(t *testing.T) {
	s := fakeRelay(t)
	events, err := parcels(slices.Collect(bytes.Lines(bytes.TrimSpace(corpus(t, plan{Mix: 300})))))
	if err != nil {
		t.Fatal(err)
	}
	got, err := publish(t.Context(), s, events, load{Conns: 3, InFlight: 7})
	if err != nil || got.Accepted != 300 || got.Refused != 0 || got.P50 <= 0 || got.P99 < got.P50 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestFanOutCountsEveryDelivery(t *testing.T) {
	got, err := fanOut(t.Context(), fakeRelay(t), crowd{Listeners: 5, Events: 20, PerSecond: 1000})
	if err != nil || got.Delivered != 100 || got.Expected != 100 || got.P50 <= 0 {
		t.Errorf("%+v, %v", got, err)
	}
}

func reader(b []byte) *bufio.Reader { return bufio.NewReaderSize(bytes.NewReader(b), 4096) }

func TestFramesOfEverySizeArriveWhole(t *testing.T) {
	for _, size := range []int{1, 125, 126, 65_535, 65_536, 300_000} {
		payload := bytes.Repeat([]byte("x"), size)
		c := &conn{in: reader(serverFrame(nil, payload))}
		if got, err := c.next(); err != nil || !bytes.Equal(got, payload) {
			t.Errorf("a server's frame of %d bytes: %d came, %v", size, len(got), err)
		}
		c = &conn{in: reader(appendFrame(nil, payload))}
		if got, err := c.next(); err != nil || !bytes.Equal(got, payload) {
			t.Errorf("a client's frame of %d bytes: %d came, %v", size, len(got), err)
		}
	}
}

func TestAMissedTargetStaysInTheTable(t *testing.T) {
	r := &results{
		Rounds: map[string][]round{
			nameBare:   {{Publish: published{CPUMicros: 300, PerSecond: 10}}},
			nameKhatru: {{Publish: published{CPUMicros: 1000, PerSecond: 100}}},
		},
	}
	r.Targets = judge(r)
	if err := writeJSON(filepath.Join(t.TempDir(), "r.json"), r); err != nil {
		t.Error(err)
	}
	text := r.markdown()
	for _, want := range []string{"**missed**", "not measured"} {
		if !strings.Contains(text, want) {
			t.Errorf("the report does not say %q", want)
		}
	}
	if n := strings.Count(text, "not measured") + strings.Count(text, "**missed**") + strings.Count(text, "| met |"); n != len(r.Targets) {
		t.Errorf("%d verdicts for %d targets", n, len(r.Targets))
	}
}

func TestTargetsAreHeldAtTheirBound(t *testing.T) {
	cases := []struct {
		target target
		met    bool
	}{
		{most("", "", 10, 0.5, 20, ""), true},
		{most("", "", 10.1, 0.5, 20, ""), false},
		{least("", "", 10, 0.5, 20, ""), true},
		{least("", "", 9.9, 0.5, 20, ""), false},
		{atMost("", "", 1, 1), true},
		{atMost("", "", 0, 1), false}, // nothing was measured
	}
	for i, c := range cases {
		if c.target.met() != c.met {
			t.Errorf("case %d: met is %t", i, !c.met)
		}
	}
}

func TestResultsReplaceResultsAndNothingElse(t *testing.T) {
	name := filepath.Join(t.TempDir(), "B.md")
	if err := os.WriteFile(name, []byte("# Title\n\nwords\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := writeResults(name, &results{Rounds: map[string][]round{}}); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(name)
	if err != nil || !strings.HasPrefix(string(text), "# Title\n\nwords\n\n"+resultsBegin) || strings.Count(string(text), resultsBegin) != 1 {
		t.Errorf("%s, %v", text, err)
	}
	if _, err := splice(resultsBegin, "x"); err == nil {
		t.Error("a beginning without an end is accepted")
	}
}

func TestQuantiles(t *testing.T) {
	values := []int{5, 1, 4, 2, 3}
	for q, want := range map[float64]int{0: 1, 0.5: 3, 0.99: 5, 1: 5} {
		if got := quantile(values, q); got != want {
			t.Errorf("quantile %v is %d, want %d", q, got, want)
		}
	}
	if median([]float64{}) != 0 {
		t.Error("the median of nothing is not 0")
	}
}

func TestCreatedAtIsReadWithoutDecoding(t *testing.T) {
	if got := createdAt([]byte(`["EVENT","p",{"id":"x","created_at":1700000001,"kind":1}]`)); got != 1700000001 {
		t.Errorf("got %d", got)
	}
}
