package doors

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip04"
	"github.com/nbd-wtf/go-nostr/nip44"
)

func tagsOf(t *testing.T, content string) (tags nostr.Tags) {
	t.Helper()
	if err := json.Unmarshal([]byte(content), &tags); err != nil {
		t.Fatalf("%v in %.100s", err, content)
	}
	return tags
}

func TestAnEncryptedJobIsAnsweredInItsOwnCipher(t *testing.T) {
	w := newWorld(t)
	w.crowd(30)
	d := w.open(nil)
	hot, _ := d.cfg.Market.Listing("hot")
	asked := `[["param","max_results","3"],["param","gravity","2.5"],["i","secret words","text"]]`
	conversation, err := nip44.GenerateConversationKey(hot.Key, secret(1))
	if err != nil {
		t.Fatal(err)
	}
	shared, err := nip04.ComputeSharedSecret(hot.Key, secret(1))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		seal func() (string, error)
		open func(string) (string, error)
	}{
		"NIP-44": {func() (string, error) { return nip44.Encrypt(asked, conversation) }, func(s string) (string, error) { return nip44.Decrypt(s, conversation) }},
		"NIP-04": {func() (string, error) { return nip04.Encrypt(asked, shared) }, func(s string) (string, error) { return nip04.Decrypt(s, shared) }},
	} {
		content, err := c.seal()
		if err != nil {
			t.Fatal(err)
		}
		answer, _ := w.jobOf(d, 5300, nostr.Tags{{"p", hot.Key}, {"encrypted"}}, content)
		text, err := c.open(answer.Content)
		if err != nil || len(tagsOf(t, text)) != 3 || w.last.Knobs["gravity"] != 2.5 || strings.Contains(answer.String(), "secret words") {
			t.Errorf("%s: %v %s", name, err, answer)
		}
	}
	answer, _ := w.jobOf(d, 5300, nostr.Tags{{"p", hot.Key}, {"encrypted"}}, "rubbish")
	if status := answer.Tags.Find("status"); answer.Kind != KindJobStatus || status[1] != "error" {
		t.Errorf("%v", answer)
	}
}

func TestMistakesInAJobAreToldInAStatus(t *testing.T) {
	w := newWorld(t)
	w.crowd(5)
	d := w.open(nil)
	hot, _ := d.cfg.Market.Listing("hot")
	for _, tag := range []nostr.Tag{
		{"param", "max_results", "0"}, {"param", "max_results", "x"}, {"param", "gravity", "9"}, {"param", "user", "me"}, {"param", "since", "x"},
		{"i", strings.Repeat("0", 64), "event"},
	} {
		answer, job := w.job(d, nostr.Tags{{"p", hot.Key}, tag})
		status := answer.Tags.Find("status")
		if answer.Kind != KindJobStatus || len(status) != 3 || status[1] != "error" || status[2] == "" || answer.Tags.Find("e")[1] != job.ID {
			t.Errorf("%v: %v", tag, answer)
		}
	}
	w.job(d, nostr.Tags{{"p", hot.Key}, {"param", "language", "en"}}) // others' parameters are none of ours
	w.job(d, nostr.Tags{{"p", hot.Key}, {"param", "user", public(t, 3)}})
	if w.last.Viewer != public(t, 3) || w.last.Signed {
		t.Errorf("%+v", w.last)
	}
}

func TestPeopleAndSearchJobs(t *testing.T) {
	w := newWorld(t)
	w.crowd(60)
	d := w.open(nil)
	hot, _ := d.cfg.Market.Listing("hot")
	answer, _ := w.jobOf(d, 5301, nostr.Tags{{"p", hot.Key}}, "")
	var authors []string
	for _, id := range w.wanted("hot") {
		if key := w.find(id).PubKey; !slices.Contains(authors, key) {
			authors = append(authors, key)
		}
	}
	var got []string
	for _, tag := range tagsOf(t, answer.Content) {
		got = append(got, tag[1])
	}
	if answer.Kind != 6301 || !slices.Equal(got, authors) {
		t.Errorf("%d people", len(got))
	}
	answer, _ = w.jobOf(d, 5302, nostr.Tags{{"p", hot.Key}, {"i", "topic2", "text"}, {"param", "users", public(t, 2), public(t, 3)}}, "")
	list := tagsOf(t, answer.Content)
	for i, tag := range list {
		ev := w.find(tag[1])
		if !strings.Contains(ev.Content, "topic2") || ev.PubKey != public(t, 2) && ev.PubKey != public(t, 3) || i > 0 && w.score[list[i-1][1]] < w.score[ev.ID] {
			t.Errorf("%d: %s", i, ev.Content)
		}
	}
	if answer.Kind != 6302 || len(list) == 0 {
		t.Errorf("%v", answer)
	}
	if answer, _ = w.jobOf(d, 5302, nostr.Tags{{"p", hot.Key}}, ""); answer.Kind != KindJobStatus {
		t.Errorf("a search for nothing: %v", answer)
	}
}

func TestTheJobBeforeNamesThePageAfter(t *testing.T) {
	w := newWorld(t)
	w.crowd(25)
	d := w.open(nil)
	hot, _ := d.cfg.Market.Listing("hot")
	j := d.NewJobs(nil)
	var got []string
	before := nostr.Tag{"alt", "first"}
	for range 3 {
		job := signed(t, 1, nostr.Event{Kind: 5300, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"p", hot.Key}, {"param", "max_results", "10"}, before}})
		answer := j.Answer(t.Context(), hot, job)
		for _, tag := range tagsOf(t, answer.Content) {
			got = append(got, tag[1])
		}
		before = nostr.Tag{"i", job.ID, "event"}
	}
	if !slices.Equal(got, w.wanted("hot")) {
		t.Errorf("%d notes", len(got))
	}
}

func TestOnlyFreshJobsForOurKeysAreAnsweredAndTheQueueIsBounded(t *testing.T) {
	w := newWorld(t)
	w.crowd(5)
	d := w.open(nil)
	hot, _ := d.cfg.Market.Listing("hot")
	near, _ := d.cfg.Market.Listing("near")
	done := make(chan *nostr.Event, 10)
	j := d.NewJobs(func(_ context.Context, ev *nostr.Event) error { done <- ev; return nil })
	at := func(age int64, kind int, tags ...nostr.Tag) *nostr.Event {
		return signed(t, 1, nostr.Event{Kind: kind, CreatedAt: nostr.Timestamp(time.Now().Unix() - age), Tags: tags})
	}
	p := nostr.Tag{"p", hot.Key}
	for _, ev := range []*nostr.Event{
		at(3600, 5300, p), at(0, 5300, nostr.Tag{"p", public(t, 1)}), at(0, 5303, p), at(0, 6300, p), at(0, 5300, p, nostr.Tag{"expiration", "5"}), at(0, 5300),
	} {
		j.Take(ev)
	}
	if len(j.waiting) != 0 {
		t.Errorf("%d jobs wait", len(j.waiting))
	}
	twice := at(0, 5300, p, nostr.Tag{"p", near.Key}, p)
	j.Take(twice)
	j.Take(twice)
	if len(j.waiting) != 1 {
		t.Errorf("a job that came twice is %d jobs", len(j.waiting))
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- j.Run(ctx) }()
	keys := []string{(<-done).PubKey, (<-done).PubKey}
	if !slices.Equal(sorted(keys), sorted([]string{hot.Key, near.Key})) {
		t.Errorf("answered by %v", keys)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	for i := range jobQueue + 5 {
		j.Take(at(0, 5300, p, nostr.Tag{"nonce", strconv.Itoa(i)}))
	}
	if len(j.waiting) != jobQueue {
		t.Errorf("%d jobs wait", len(j.waiting))
	}
}

func TestAJobThatTakesLongIsSaidToBeUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.crowd(3)
		d := w.open(nil)
		hot, _ := d.cfg.Market.Listing("hot")
		said := make(chan *nostr.Event, 5)
		j := d.NewJobs(func(_ context.Context, ev *nostr.Event) error { said <- ev; return nil })
		for range cap(d.slots) {
			d.slots <- struct{}{}
		}
		job := signed(t, 1, nostr.Event{Kind: 5300, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"p", hot.Key}}})
		go j.work(t.Context(), job)
		if first := <-said; first.Kind != KindJobStatus || first.Tags.Find("status")[1] != "processing" || first.Tags.Find("e")[1] != job.ID {
			t.Errorf("%v", first)
		}
		if then := <-said; then.Kind != KindJobStatus || then.Tags.Find("status")[1] != "error" {
			t.Errorf("%v", then)
		}
		<-d.slots
		go j.work(t.Context(), job)
		if then := <-said; then.Kind != 6300 {
			t.Errorf("%v", then)
		}
	})
}

func TestAnnouncementsPleaseEveryClient(t *testing.T) {
	w := newWorld(t)
	d := w.open(func(c *Config) { c.Relays, c.Icon = []string{"wss://nos.lol"}, "https://relay.example/icon.png" })
	for _, l := range d.cfg.Market.Listings() {
		list, err := d.Announcements(l, nostr.Now())
		if err != nil {
			t.Fatal(err)
		}
		by := map[int]*nostr.Event{}
		for _, ev := range list {
			by[ev.Kind] = ev
			if ok, err := ev.CheckSignature(); !ok || err != nil || ev.PubKey != l.Key {
				t.Errorf("%v", ev)
			}
		}
		handler := by[KindHandler]
		var said struct {
			Name, Picture, Image, About, Lud16, Amount string
			Personalized, SupportsEncryption           *bool
			AcceptsNutZaps, Subscription               *bool
			Params                                     map[string]param `json:"nip90Params"`
		}
		if err := json.Unmarshal([]byte(handler.Content), &said); err != nil || handler.Content[0] != '{' {
			t.Fatal(err)
		}
		if said.Name != l.Name || said.About == "" || said.Amount != "free" || said.Personalized == nil || *said.Personalized != l.Personalized || said.Picture == "" || said.Image != said.Picture ||
			!*said.SupportsEncryption || *said.Subscription || *said.AcceptsNutZaps || said.Params["max_results"].Values == nil {
			t.Errorf("%s", handler.Content)
		}
		for _, k := range l.Knobs {
			if said.Params[k.Name].Description == "" {
				t.Errorf("%s has no knob %s", l.Slug, k.Name)
			}
		}
		if handler.Tags.Find("web") != nil || !slices.ContainsFunc(handler.Tags, func(t nostr.Tag) bool { return t[0] == "k" && t[1] == "5300" }) ||
			handler.Tags.Find("a")[1] != l.Address || handler.Tags.GetD() != l.Slug {
			t.Errorf("%v", handler.Tags)
		}
		if by[0] == nil || len(by[10002].Tags) != 2 || by[10002].Tags[0][1] != testURL {
			t.Errorf("%v", by)
		}
		if feed := by[KindFeed].Tags.Find("feed"); feed[1] != `["intersection",["relay","wss://relay.example/f/`+l.Slug+`/ranked"],["kind",6,16]]` {
			t.Errorf("%v", feed)
		}
	}
}

func TestAnAnnouncementIsRepeatedWhenItChangesOrGrowsOld(t *testing.T) {
	d := newWorld(t).open(nil)
	hot, _ := d.cfg.Market.Listing("hot")
	at := func(when nostr.Timestamp) *nostr.Event {
		list, err := d.Announcements(hot, when)
		if err != nil {
			t.Fatal(err)
		}
		return list[2]
	}
	now := nostr.Now()
	other := *at(now)
	other.Content = "{}"
	if !SameAnnouncement(at(now-86400), at(now)) || SameAnnouncement(at(now-31*86400), at(now)) || SameAnnouncement(&other, at(now)) {
		t.Error("wrong")
	}
}
