package doors

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// FuzzSelect gives strangers' searches, paths and filters to every shape:
// nothing panics, a refusal has words, and events match what was asked.
func FuzzSelect(f *testing.F) {
	f.Add("/f/hot?gravity=2&pov=x", `{"kinds":[1,6],"limit":3,"until":17}`)
	f.Add("/f/near/ranked", `{"search":"sort:hot gravity:1 pov:npub1 a:b: distinct:author","limit":1}`)
	f.Add("/f/hot/time?%zz", `{"since":-9223372036854775808,"until":9223372036854775807}`)
	w := newWorld(f)
	w.crowd(12)
	d := w.open(nil)
	f.Fuzz(func(t *testing.T, path, text string) {
		var filter nostr.Filter
		if json.Unmarshal([]byte(text), &filter) != nil {
			return
		}
		d.Presence(path)
		s, mine, err := d.Select(t.Context(), path, nil, filter)
		if err != nil || !mine && s.Events != nil || s.Prefix != "" && (s.Text == "" || s.Events != nil) {
			t.Fatalf("%v %v %v", s, mine, err)
		}
		search := filter.Search != ""
		filter.Search = ""
		for _, ev := range s.Events {
			if !search && !strings.Contains(path, "ranked") && !filter.Matches(ev) {
				t.Errorf("%s %s: %v", path, text, ev)
			}
		}
	})
}

// FuzzJob gives strangers' tags and contents to the answering of jobs: there
// is always an answer, signed by the listing.
func FuzzJob(f *testing.F) {
	f.Add(5300, `[["param","max_results","3"],["param","user","x"],["i","a","event"]]`, "")
	f.Add(5302, `[["encrypted"],["p"],[],["param"],["param","users","a","b"],["i","topic1"]]`, "AAAA?iv=BB")
	f.Add(5300, `[["encrypted"]]`, strings.Repeat("\n", 200))
	w := newWorld(f)
	w.crowd(12)
	d := w.open(nil)
	hot, _ := d.cfg.Market.Listing("hot")
	j := d.NewJobs(nil)
	f.Fuzz(func(t *testing.T, kind int, tags, content string) {
		job := &nostr.Event{Kind: KindJobNotes + (kind%3+3)%3, CreatedAt: nostr.Now(), Content: content}
		if json.Unmarshal([]byte(tags), &job.Tags) != nil {
			return
		}
		if err := job.Sign(secret(1)); err != nil {
			return
		}
		j.Take(job)
		answer := j.Answer(t.Context(), hot, job)
		if ok, err := answer.CheckSignature(); !ok || err != nil || answer.Kind != KindJobStatus && answer.Kind != job.Kind+jobResult {
			t.Errorf("%v %v", answer, err)
		}
	})
}
