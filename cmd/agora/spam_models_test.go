package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"agora/ranker"
	catalogue "agora/ranker/feature"
	"agora/relay/admit"
	"agora/spam"

	"github.com/klauspost/compress/zstd"
	"github.com/nbd-wtf/go-nostr"
	"github.com/prometheus/client_golang/prometheus"
)

// trained is what the trainer saw in a text.
type trained struct {
	Raw       []byte // base64 in the file
	Structure []float32
	Vector    []float32
	Second    float64
}

func trainedTexts(t testing.TB) (all []trained) {
	t.Helper()
	file, err := os.Open("../../spam/testdata/parity.jsonl.zst")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	r, err := zstd.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	in := bufio.NewScanner(r)
	in.Buffer(nil, 1<<22)
	for in.Scan() {
		var one trained
		if err := json.Unmarshal(in.Bytes(), &one); err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	if len(all) < 300 {
		t.Fatalf("only %d texts", len(all))
	}
	return all
}

func localRuntime() Config {
	cfg := defaults()
	cfg.Runtime, cfg.Device = "../../bin/libonnxruntime.so.1", "cpu"
	return cfg
}

func TestTierZeroAsAModelAgreesWithTheProgramTo1e5(t *testing.T) {
	judge, err := spamModel("")
	if err != nil {
		t.Fatal(err)
	}
	digest := spamRanker().Digest
	shelf, err := openShelf(localRuntime(), models{digest: spam.Tier0ONNX()}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer shelf.Close()
	wording, err := spamWording()
	if err != nil {
		t.Fatal(err)
	}
	var facts catalogue.Facts
	var want []float64
	for _, text := range trainedTexts(t) {
		facts.Candidates = append(facts.Candidates, catalogue.Candidate{Note: &catalogue.Note{Wording: wording(string(text.Raw))}})
		want = append(want, judge.Text(t.Context(), string(text.Raw), nil).Spam)
	}
	plan, err := shelf.Plan(t.Context(), digest)
	if err != nil {
		t.Fatal(err)
	}
	var b catalogue.Batch
	if err := plan.Fill(&facts, &b); err != nil {
		t.Fatal(err)
	}
	scores, err := shelf.Score(t.Context(), digest, b)
	if err != nil {
		t.Fatal(err)
	}
	for i, score := range scores {
		if d := math.Abs(float64(score) - want[i]); d > 1e-5 {
			t.Errorf("text %d: the model says %v, the program %v", i, score, want[i])
		}
	}
}

func TestTierOneSaysWhatTheTrainerSaw(t *testing.T) {
	second, err := openSecond(t.Context(), localRuntime(), spam.SecondONNX())
	if err != nil {
		t.Fatal(err)
	}
	defer second.Close()
	second.wait = time.Minute
	for i, text := range trainedTexts(t) {
		got, err := second.Logit(t.Context(), text.Structure, text.Vector)
		if err != nil || math.Abs(got-text.Second) > 1e-4 {
			t.Errorf("text %d: %v %v, the trainer's %v", i, got, err, text.Second)
		}
	}
}

func TestWithoutARuntimeTierZeroJudgesAloneAndSaysSo(t *testing.T) {
	cfg := defaults()
	cfg.Runtime = filepath.Join(t.TempDir(), "none.so")
	if _, err := openSecond(t.Context(), cfg, spam.SecondONNX()); !errors.Is(err, ranker.ErrNoRuntime) || !strings.Contains(err.Error(), "make onnxruntime") {
		t.Errorf("%v", err)
	}
	s, _ := startServer(t, func(c *Config) { c.Runtime, c.SpamMode = cfg.Runtime, "refuse" })
	if _, ok, reason := hand(t, s, nostr.GeneratePrivateKey(), adText, 1); ok || !strings.HasPrefix(reason, "blocked: ") {
		t.Errorf("%t %s", ok, reason)
	}
}

// The models are in the program, but a program can be damaged too.
func TestDamagedTierOneStopsTheStartOnlyWhenEnforced(t *testing.T) {
	cut := spam.SecondONNX()[:len(spam.SecondONNX())/2]
	for name, model := range map[string][]byte{"none": nil, "cut": cut, "noise": []byte("not a model"), "another": spam.Tier0ONNX()} {
		for _, enforce := range []bool{false, true} {
			var log bytes.Buffer
			cfg := localRuntime()
			cfg.SpamEnforce = enforce
			p := &spamPart{core: &core{cfg: cfg, log: slog.New(slog.NewTextHandler(&log, nil)), metrics: prometheus.NewRegistry()}}
			second, err := p.openSecond(model)
			if second != nil {
				t.Errorf("%s: it was taken", name)
			}
			if enforce {
				if err == nil || !strings.Contains(err.Error(), "spam_enforce") || !errors.Is(err, spam.ErrModel) {
					t.Errorf("%s, enforced: started, or gave no reason: %v", name, err)
				}
				continue
			}
			if err != nil || strings.Count(log.String(), "without tier 1") != 1 {
				t.Errorf("%s: %v, said %q", name, err, log.String())
			}
		}
	}
}

func TestTierZeroIsListedLikeAnyModel(t *testing.T) {
	w := newTown(t, nil)
	ad := w.put(1, nostr.Event{Kind: 1, Content: adText})
	w.until("it is listed and admitted", func() bool {
		l, ok := w.parts.feeds.market.Listing(spamSlug)
		return ok && l.Admitted && l.Model == spamRanker().Digest
	})
	events, _, _ := w.dial("/").ask(`{"kinds":[32190],"#d":["` + spamSlug + `"]}`)
	if len(events) != 1 {
		t.Errorf("%d manifests", len(events))
	}
	w.until("the advertisement is on the page", func() bool { return len(w.page(spamSlug, "?limit=100").Items) == 41 })
	if p := w.page(spamSlug, "?limit=100"); p.Why.Fallback != "" || p.ids()[0] != ad.ID {
		t.Errorf("first is %s, not the advertisement; fallback %q", p.Items[0].Event.Content, p.Why.Fallback)
	}
}

// An event's own time is its author's to choose.
func TestKeyIsAsOldAsItsPlaceInTheLog(t *testing.T) {
	s, _ := startServer(t, func(c *Config) { c.SpamMode = "pass" }) // so that it marks nothing itself
	put := func() string {
		ev := nostr.Event{Kind: 0, CreatedAt: nostr.Now() - 400*86400, Content: `{"name":"ann","nip05":"ann@example.com"}`}
		if err := ev.Sign(nostr.GeneratePrivateKey()); err != nil {
			t.Fatal(err)
		}
		if _, err := publishOne(t.Context(), s.core, &ev, nil, admit.Import); err != nil {
			t.Fatal(err)
		}
		return ev.PubKey
	}
	now := time.Now().Unix()
	brought := put()
	l, err := openSpamLog(s.store, now)
	if err != nil {
		t.Fatal(err)
	}
	fresh := put()
	for key, old := range map[string]bool{brought: true, fresh: false} {
		past, err := l.Past(t.Context(), key)
		if err != nil || !past.Profile || !past.NIP05 || (past.First > 0 && past.First < now-7*86400) != old {
			t.Errorf("old %t: %+v %v", old, past, err)
		}
	}
	if err := l.mark(t.Context(), now+3600); err != nil {
		t.Fatal(err)
	}
	again, err := openSpamLog(s.store, now+7200)
	if err != nil {
		t.Fatal(err)
	}
	if past, err := again.Past(t.Context(), fresh); err != nil || past.First != now+3600 {
		t.Errorf("after a restart: %+v %v", past, err)
	}
}

func BenchmarkSecond(b *testing.B) {
	second, err := openSecond(b.Context(), localRuntime(), spam.SecondONNX())
	if err != nil {
		b.Fatal(err)
	}
	defer second.Close()
	second.wait = time.Minute
	texts := trainedTexts(b)
	i := 0
	for b.Loop() {
		i++
		if _, err := second.Logit(b.Context(), texts[i%len(texts)].Structure, texts[i%len(texts)].Vector); err != nil {
			b.Fatal(err)
		}
	}
}
