package spam

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files")

func judge(t testing.TB) *Classifier {
	t.Helper()
	h, err := ShippedHead()
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewClassifier(model(t), h)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestShippedModelReachesItsNumbers(t *testing.T) {
	c := judge(t)
	var text textReport
	if err := json.Unmarshal(c.model.about.Report, &text); err != nil {
		t.Fatal(err)
	}
	if text.Spam.AUC < .93 || text.Spam.TPR < .60 {
		t.Errorf("text alone: %s", text.Spam)
	}
	if text.Scam.TPR < .80 {
		t.Errorf("scam: %s", text.Scam)
	}
	r := c.head.Report.Known
	if r.F1 < .95 || r.TPR1 < .95 || r.TPR01 < .85 {
		t.Errorf("stream: %+v", r)
	}
	for _, s := range text.Scripts {
		if s.Hits == 0 && s.FPR95[1] < 2.99/float64(s.Ham) {
			t.Errorf("%s claims an FPR below 3/n", s.Script)
		}
		if s.Script == "Han" && s.FPR95[1] > .10 {
			t.Errorf("Han: %+v", s)
		}
	}
}

// Who says every half minute that a block was found is a program. That no
// known person follows it yet, and that its key is new, makes no spam of it.
func TestPaceOfOneKeyAloneIsNotBeyondDoubt(t *testing.T) {
	c := judge(t)
	for _, blind := range []bool{false, true} {
		for _, x := range []struct {
			text float64 // log-odds of the wording
			copy bool    // strangers link the same site
			sure bool
		}{{-3, false, false}, {spokenFor - .1, false, false}, {2, false, true}, {-2.1, true, true}} {
			window, w, line := NewWindow(), c.pool.Get().(*work), c.head.line(blind)
			beyond, sure := false, false
			for i := range 240 {
				at := simulated + int64(12*i)
				a := arrival{Key: 77, At: at, Who: Standing{Hops: -1, Blind: blind}, Meets: 1}
				words := fmt.Sprintf("Block %d was just confirmed. The total value of all the outputs is %d", 771000+i, i*i)
				if x.copy {
					words += " https://blocks.example/1"
					for k := range 4 {
						c.wording(w, words, new(Verdict))
						c.manner(w, x.text, arrival{Key: uint64(1000*i + k + 1), At: at, Who: a.Who}, window)
					}
				}
				c.wording(w, words, new(Verdict))
				m := c.manner(w, x.text, a, window)
				z, _, s := c.head.judge(&m, blind)
				beyond, sure = beyond || z > line.Sure, sure || s
			}
			c.pool.Put(w)
			if !beyond || sure != x.sure {
				t.Errorf("blind %t, wording %v, copied %t: beyond the threshold %t, sure %t", blind, x.text, x.copy, beyond, sure)
			}
		}
	}
}

// These bursts were in sight when thresholds were chosen: they keep what was
// reached from getting lost. The card measures on others, see there.
func TestBurstOfFreshKeysIsCaughtAfterTheFirstTen(t *testing.T) {
	for _, b := range judge(t).MeasureBursts(lines[Sample](t, "stream.jsonl.zst"), 300, 2, 1000, false) {
		if b.Caught*100 < b.After*99 || b.Hit*1000 > b.Ham {
			t.Errorf("%+v", b)
		}
	}
}

// On its first days a relay's graph knows nobody, and every key is new. That
// must not make spam of what people write.
func TestRelayThatKnowsNobodyLeavesPeopleAlone(t *testing.T) {
	c, samples := judge(t), lines[Sample](t, "stream.jsonl.zst")
	stream := Stream(4, samples, true)
	for i := range stream {
		if !stream[i].Spam {
			stream[i].past = Past{}
		}
	}
	var ham, suspect, sure int
	for i, s := range c.Play(stream, samples) {
		if stream[i].Spam {
			continue
		}
		_, isSuspect, isSure := c.head.judge(&s.row, true)
		ham, suspect, sure = ham+1, suspect+one(isSuspect), sure+one(isSure)
	}
	if suspect*100 > ham*3 || sure*1000 > ham*3 {
		t.Errorf("of %d notes %d are suspect, %d held for sure spam", ham, suspect, sure)
	}
}

// A part of what the shipped head is fitted on gives the head that is written
// down: a change of the generator, the row or the fit shows. All of it takes
// minutes: make spam-check.
func TestFittingOnAPartGivesWhatIsWrittenDown(t *testing.T) {
	c, all := judge(t), lines[Sample](t, "stream.jsonl.zst")
	var samples []Sample
	for _, s := range all {
		if finish(uint32(len(s.Text))*7+uint32(foldOf(s.Campaign)))%8 == 0 {
			samples = append(samples, s)
		}
	}
	got := map[string]Line{}
	for _, blind := range []bool{false, true} {
		l, fitting := c.fit(samples, plan{streams: []uint64{0}, bursts: 1, notes: 40, quiet: 1, among: 40}, blind)
		if r := auc(outOfFold(fitting, func(int) bool { return true })); r < .95 {
			t.Errorf("blind %t: AUC %v", blind, r)
		}
		got[map[bool]string{false: "known", true: "blind"}[blind]] = l
	}
	const golden = "testdata/part.json"
	if *update {
		raw, err := json.MarshalIndent(got, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(golden, append(raw, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]Line
	if err := json.Unmarshal(raw, &want); err != nil {
		t.Fatal(err)
	}
	for side, l := range got {
		if why := l.Differs(want[side]); why != "" {
			t.Errorf("%s: %s (go test ./spam -run Part -update writes it down)", side, why)
		}
	}
}

func TestTierZeroAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	c, window := judge(t), NewWindow()
	text := strings.Repeat("Claim your free coins at https://x.example/abc 赠送给您 now! ", 4)
	c.time(text, 1, window, Standing{Hops: -1})
	if n := testing.AllocsPerRun(200, func() { c.time(text, 2, window, Standing{Hops: -1}) }); n > 0 {
		t.Errorf("%v allocations a note", n)
	}
}

func TestHostileTextsTakeBoundedTime(t *testing.T) {
	c, window := judge(t), NewWindow()
	for name, text := range map[string]string{
		"512 KiB": strings.Repeat("lorem ipsum ", 512<<10/12), "one character": strings.Repeat("a", 512<<10),
		"combining marks": strings.Repeat("\u0301", 256<<10), "invalid UTF-8": strings.Repeat("\xff\xfe", 256<<10),
		"links": strings.Repeat("https://a.b/c ", 40_000), "one link": "https://" + strings.Repeat("a.", 256<<10),
		"codes": strings.Repeat("npub1", 100_000), "dots": strings.Repeat("aa.com ", 80_000), "hashes": strings.Repeat("#[", 256<<10),
	} {
		begin := time.Now()
		c.time(text, 3, window, Standing{})
		if took := time.Since(begin); took > 10*time.Second { // what takes the square of the length takes minutes
			t.Errorf("%s: took %s", name, took)
		}
		read := newText()
		read.read(text)
		read.gather()
		if most := headBytes + tailBytes; len(read.out) > 2*most || len(read.rows) > 10*most {
			t.Errorf("%s: %d characters and %d n-grams are looked at", name, len(read.out), len(read.rows))
		}
	}
}

func TestWindowNeverGrows(t *testing.T) {
	c, window := judge(t), NewWindow()
	if window.Bytes() > 12<<20 {
		t.Fatalf("the window has %d bytes", window.Bytes())
	}
	var before, after runtime.MemStats
	c.time("warm up the pool with words", 1, window, Standing{})
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range 3 * mostNotes {
		key := uint64(i)*0x9E3779B97F4A7C15 | 1
		c.time("word"+strings.Repeat("x", i%50)+" alpha"+string(rune('a'+i%26))+" bravo charlie https://s"+string(rune('a'+i%25))+".example/", key, window, Standing{Hops: -1})
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grew := int64(after.HeapAlloc) - int64(before.HeapAlloc); grew > 1<<20 {
		t.Errorf("the heap grew by %d bytes", grew)
	}
}

func FuzzText(f *testing.F) {
	for _, s := range []string{"", "gm", "https://a.b/c.png?x#y", "\xff#[0]", "npub1" + strings.Repeat("q", 58), "aa.com/", "a\u0301\u200b１"} {
		f.Add(s)
	}
	c, window := judge(f), NewWindow()
	f.Fuzz(func(t *testing.T, s string) {
		v := c.Text(context.Background(), s, nil)
		if !(v.Spam >= 0 && v.Spam <= 1 && v.Scam >= 0 && v.Scam <= 1 && v.AI >= 0 && v.AI <= 1) {
			t.Errorf("%q: %+v", s, v)
		}
		if again := c.Text(context.Background(), s, nil); again.Spam != v.Spam {
			t.Errorf("%q is judged anew each time", s)
		}
		c.time(s, 5, window, Standing{})
		c.Explain(s, 5)
	})
}

func BenchmarkEvent(b *testing.B) {
	samples := lines[Sample](b, "stream.jsonl.zst")
	c, window := judge(b), NewWindow()
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		i++
		c.time(samples[i%len(samples)].Text, uint64(i), window, Standing{Hops: -1})
	}
}
