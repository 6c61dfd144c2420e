package doors

import (
	"context"
	"crypto/aes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"agora/feeds"
	"agora/feeds/market"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip04"
	"github.com/nbd-wtf/go-nostr/nip44"
)

// The kinds of NIP-90 that are spoken here. A result has the kind of its job
// plus 1000.
const (
	KindJobNotes  = 5300 // content discovery
	KindJobPeople = 5301 // people discovery
	KindJobSearch = 5302 // content search
	KindJobStatus = 7000

	jobResult = 1000
)

const (
	jobQueue   = 256              // jobs that wait
	jobWorkers = 2                // jobs that are worked on
	jobFresh   = 10 * time.Minute // older jobs have been given up by whoever sent them
	jobKept    = 24 * time.Hour   // until a result expires
	jobSlow    = time.Second      // then the customer is told that it takes a while
	jobTime    = 4 * time.Second  // clients give up after 10
	jobMost    = 500              // results
	jobUsual   = 100
	jobPages   = 4096 // jobs whose next page is known
)

// Jobs answers NIP-90 jobs that name a listing's key.
type Jobs struct {
	doors   *Doors
	publish func(ctx context.Context, ev *nostr.Event) error
	waiting chan *nostr.Event // at most jobQueue jobs; when full: the job is not answered, and counted

	mu    sync.Mutex        // guards what follows
	pages map[string]string // job id -> cursor of the page after its result; at most jobPages
	ids   []string          // of pages, oldest first
	taken map[string]bool   // ids of jobs: one may come by several relays; emptied when it holds jobPages
}

// NewJobs hands answers to publish.
func (d *Doors) NewJobs(publish func(ctx context.Context, ev *nostr.Event) error) *Jobs {
	return &Jobs{
		doors: d, publish: publish, pages: map[string]string{}, taken: map[string]bool{},
		waiting: make(chan *nostr.Event, jobQueue), // jobs; when full: not answered, and counted
	}
}

// Take queues a job if it is one of ours. It never waits.
func (j *Jobs) Take(ev *nostr.Event) {
	if ev.Kind < KindJobNotes || ev.Kind > KindJobSearch || time.Since(ev.CreatedAt.Time()).Abs() > jobFresh || expired(ev) {
		return
	}
	if len(j.asked(ev)) == 0 || j.again(ev.ID) {
		return
	}
	select {
	case j.waiting <- ev:
	default:
		j.doors.requests.WithLabelValues("job", "dropped").Inc()
	}
}

// again reports whether a job has been taken before.
func (j *Jobs) again(id string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.taken[id] {
		return true
	}
	if len(j.taken) >= jobPages {
		clear(j.taken)
	}
	j.taken[id] = true
	return false
}

func expired(ev *nostr.Event) bool {
	tag := ev.Tags.Find("expiration")
	if len(tag) < 2 {
		return false
	}
	at, err := strconv.ParseInt(tag[1], 10, 64)
	return err == nil && at <= time.Now().Unix()
}

// asked are the listings that a job names, each once.
func (j *Jobs) asked(ev *nostr.Event) (list []*market.Listing) {
	for _, tag := range ev.Tags {
		if len(tag) < 2 || tag[0] != "p" {
			continue
		}
		if l, ok := j.doors.cfg.Market.ByKey(tag[1]); ok && !slices.Contains(list, l) {
			list = append(list, l)
		}
	}
	return list
}

// Run answers jobs until ctx ends.
func (j *Jobs) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	for range jobWorkers {
		workers.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case ev := <-j.waiting:
					j.work(ctx, ev)
				}
			}
		})
	}
	workers.Wait()
	return nil
}

// work answers one job for each listing it names.
func (j *Jobs) work(ctx context.Context, ev *nostr.Event) {
	timed, stop := context.WithTimeout(ctx, jobTime) // for the pages, not for saying that there are none
	defer stop()
	for _, l := range j.asked(ev) {
		slow := time.AfterFunc(jobSlow, func() { j.say(ctx, j.processing(l, ev)) })
		answer := j.Answer(timed, l, ev)
		slow.Stop()
		j.say(ctx, answer)
	}
}

// say publishes an answer.
func (j *Jobs) say(ctx context.Context, answer *nostr.Event) {
	if err := j.publish(ctx, answer); err != nil && ctx.Err() == nil {
		j.doors.cfg.Logger.Warn("a job's answer was not published", "kind", answer.Kind, "id", answer.ID, "error", err)
	}
}

// processing is the status that tells a customer to wait.
func (j *Jobs) processing(l *market.Listing, ev *nostr.Event) *nostr.Event {
	status := (&job{ev: ev}).reply(KindJobStatus)
	status.Tags = append(status.Tags, nostr.Tag{"status", "processing"}, nostr.Tag{"alt", "The feed " + l.Name + " is being made"})
	j.sign(l, status)
	return status
}

func (j *Jobs) sign(l *market.Listing, answer *nostr.Event) {
	answer.CreatedAt = nostr.Now()
	if err := l.Sign(answer); err != nil {
		j.doors.cfg.Logger.Error("sign a job's answer", "feed", l.Slug, "error", err)
	}
}

// job is one job, read.
type job struct {
	ev      *nostr.Event
	listing *market.Listing
	seal    seal
	tags    nostr.Tags        // those that ask: of the event, or decrypted
	params  map[string]string // the last of each name
	authors []string          // param users
	text    string            // of the i tag
	before  string            // id of the job before, for the page after its own
}

// Answer is the result of a job, or the status that says why there is none;
// signed by the listing.
func (j *Jobs) Answer(ctx context.Context, l *market.Listing, ev *nostr.Event) *nostr.Event {
	one := &job{ev: ev, listing: l, tags: ev.Tags}
	answer, err := j.result(ctx, one)
	if err != nil {
		answer = one.failure(err)
		if _, told := errors.AsType[*feeds.Problem](err); !told && ctx.Err() == nil {
			j.doors.cfg.Logger.Error("answer a job", "job", ev.ID, "feed", l.Slug, "error", err)
		}
	}
	j.sign(l, answer)
	return answer
}

func (j *Jobs) result(ctx context.Context, one *job) (*nostr.Event, error) {
	if err := one.open(); err != nil {
		return nil, err
	}
	if err := one.read(); err != nil {
		return nil, err
	}
	a, err := j.ask(one)
	if err != nil {
		return nil, err
	}
	var list []*nostr.Event
	if one.ev.Kind == KindJobSearch {
		list, err = j.searched(ctx, a, one)
	} else {
		list, err = j.paged(ctx, a, one)
	}
	if err != nil {
		return nil, err
	}
	content, err := json.Marshal(j.doors.namesOf(list, one.ev.Kind, a.limit))
	if err != nil {
		return nil, err
	}
	return one.answer(string(content))
}

// ask is the page that a job wants. Its signature proves no more than a p tag
// would: nothing personal is used.
func (j *Jobs) ask(one *job) (a ask, err error) {
	a = ask{door: "job", listing: one.listing, limit: jobUsual, authors: one.authors}
	if text, ok := one.params["max_results"]; ok {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > 1_000_000 {
			return a, invalid("max_results is %q: want 1 or more", clip(text))
		}
		a.limit = min(n, jobMost)
	}
	for name, into := range map[string]*int64{"since": &a.since, "until": &a.until} {
		if text, ok := one.params[name]; ok {
			if *into, err = strconv.ParseInt(text, 10, 64); err != nil || *into < 0 {
				return a, invalid("%s is %q: want Unix seconds", name, clip(text))
			}
		}
	}
	if user := orElse(one.params["user"], one.params["p"]); user != "" {
		if a.viewer, err = parseKey(user); err != nil {
			return a, err
		}
	} else if one.listing.Personalized {
		a.viewer = one.ev.PubKey
	}
	if one.before != "" {
		if a.cursor, err = j.after(one.before); err != nil {
			return a, err
		}
	}
	a.knobs, err = readKnobs(one.listing, maps.Clone(one.params), false)
	return a, err
}

func (j *Jobs) paged(ctx context.Context, a ask, one *job) ([]*nostr.Event, error) {
	page, err := j.doors.page(ctx, a)
	if err != nil {
		return nil, err
	}
	j.remember(one.ev.ID, page.Cursor)
	return events(page), nil
}

// searched are the page's notes with the job's words, then other notes with
// them, best match first.
func (j *Jobs) searched(ctx context.Context, a ask, one *job) ([]*nostr.Event, error) {
	if one.text == "" {
		return nil, invalid(`what are you looking for? Put the words into an "i" tag of type "text"`)
	}
	f := nostr.Filter{Kinds: []int{nostr.KindTextNote, nostr.KindArticle}, Authors: a.authors}
	if a.since > 0 {
		at := nostr.Timestamp(a.since)
		f.Since = &at
	}
	if a.until > 0 {
		at := nostr.Timestamp(a.until)
		f.Until = &at
	}
	ids, err := j.doors.ids(ctx, one.text, f)
	if err != nil {
		return nil, err
	}
	limit := a.limit
	a.limit = deepest
	page, err := j.doors.deep(ctx, a)
	if err != nil {
		return nil, err
	}
	list := slices.DeleteFunc(events(page), func(ev *nostr.Event) bool { return !slices.Contains(ids, ev.ID) })
	rest := slices.DeleteFunc(ids, func(id string) bool {
		return slices.ContainsFunc(list, func(ev *nostr.Event) bool { return ev.ID == id })
	})
	rest = rest[:min(len(rest), limit)]
	found, err := j.doors.shown(ctx, rest)
	for _, id := range rest {
		if ev := found[id]; ev != nil && !j.doors.hidden(ctx, a.viewer, ev) {
			list = append(list, ev)
		}
	}
	return list, err
}

// namesOf is the content of a result: tags that name notes, or their authors.
func (d *Doors) namesOf(list []*nostr.Event, kind, most int) nostr.Tags {
	names := nostr.Tags{}
	seen := map[string]bool{}
	for _, ev := range list {
		tag := nostr.Tag{"e", ev.ID, d.cfg.URL}
		if kind == KindJobPeople {
			tag = nostr.Tag{"p", ev.PubKey, d.cfg.URL}
		}
		if !seen[tag[1]] && len(names) < most {
			seen[tag[1]] = true
			names = append(names, tag)
		}
	}
	return names
}

// remember keeps where the page after a job's result begins.
func (j *Jobs) remember(id, cursor string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if _, held := j.pages[id]; !held {
		j.ids = append(j.ids, id)
	}
	j.pages[id] = cursor
	if len(j.ids) > jobPages {
		delete(j.pages, j.ids[0])
		j.ids = j.ids[1:]
	}
}

func (j *Jobs) after(id string) (string, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	cursor, held := j.pages[id]
	switch {
	case !held:
		return "", invalid("the page before is not known any more: begin again")
	case cursor == "":
		return "", invalid("the page before was the last")
	}
	return cursor, nil
}

// read takes the asking tags apart.
func (one *job) read() error {
	one.params = map[string]string{}
	for _, tag := range one.tags {
		switch {
		case len(tag) >= 3 && tag[0] == "param" && tag[1] == "users":
			for part := range strings.SplitSeq(strings.Join(tag[2:], ","), ",") {
				key, err := parseKey(strings.Trim(part, ` "[]`))
				if err != nil {
					return err
				}
				one.authors = append(one.authors, key)
			}
		case len(tag) >= 3 && tag[0] == "param":
			one.params[tag[1]] = tag[2]
		case len(tag) >= 3 && tag[0] == "i" && tag[2] == "event":
			one.before = tag[1]
		case len(tag) >= 2 && tag[0] == "i" && one.text == "":
			one.text = tag[1]
		}
	}
	return nil
}

// seal is how a job is encrypted.
type seal uint8

const (
	open seal = iota
	sealed44
	sealed04
)

// open decrypts a job that is encrypted to its listing.
func (one *job) open() error {
	if one.ev.Tags.Find("encrypted") == nil && !slices.ContainsFunc(one.ev.Tags, func(t nostr.Tag) bool { return len(t) == 1 && t[0] == "encrypted" }) {
		return nil
	}
	one.seal = sealed44
	if strings.Contains(one.ev.Content, "?iv=") {
		one.seal = sealed04
	}
	text, err := one.decrypt()
	var tags nostr.Tags
	if err != nil || json.Unmarshal([]byte(text), &tags) != nil {
		one.seal = open // the answer can only be a plain one
		return invalid("the content could not be decrypted to a list of tags")
	}
	one.tags = tags
	return nil
}

func (one *job) decrypt() (string, error) {
	if one.seal == sealed04 {
		key, err := nip04.ComputeSharedSecret(one.ev.PubKey, one.listing.Secret())
		if err != nil {
			return "", err
		}
		if !whole04(one.ev.Content) {
			return "", errors.New("not a text of NIP-04")
		}
		return nip04.Decrypt(one.ev.Content, key)
	}
	key, err := nip44.GenerateConversationKey(one.ev.PubKey, one.listing.Secret())
	if err != nil {
		return "", err
	}
	if strings.ContainsAny(one.ev.Content, "\r\n") { // base64 passes over them: the library finds fewer bytes than it counts on
		return "", errors.New("not a text of NIP-44")
	}
	return nip44.Decrypt(one.ev.Content, key)
}

// whole04 reports whether a content has the form of NIP-04: whole blocks and an
// initialisation vector of one. The library does not look, and panics.
func whole04(content string) bool {
	text, iv, ok := strings.Cut(content, "?iv=")
	blocks, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(blocks) == 0 || len(blocks)%aes.BlockSize != 0 {
		return false
	}
	first, err := base64.StdEncoding.DecodeString(iv)
	return err == nil && len(first) == aes.BlockSize
}

// encrypt hides what is said to the customer, as the job was hidden.
func (one *job) encrypt(text string) (string, error) {
	switch one.seal {
	case sealed04:
		key, err := nip04.ComputeSharedSecret(one.ev.PubKey, one.listing.Secret())
		if err != nil {
			return "", err
		}
		return nip04.Encrypt(text, key)
	case sealed44:
		key, err := nip44.GenerateConversationKey(one.ev.PubKey, one.listing.Secret())
		if err != nil {
			return "", err
		}
		return nip44.Encrypt(text, key)
	}
	return text, nil
}

// answer is the result, unsigned.
func (one *job) answer(content string) (*nostr.Event, error) {
	content, err := one.encrypt(content)
	if err != nil {
		return nil, fmt.Errorf("encrypt a result: %w", err)
	}
	ev := one.reply(one.ev.Kind + jobResult)
	ev.Content = content
	ev.Tags = append(ev.Tags, nostr.Tag{"request", one.ev.String()}, nostr.Tag{"alt", "The feed " + one.listing.Name})
	if one.seal != open {
		ev.Tags = append(ev.Tags, nostr.Tag{"encrypted"})
		return ev, nil
	}
	for _, tag := range one.ev.Tags {
		if len(tag) >= 2 && tag[0] == "i" {
			ev.Tags = append(ev.Tags, tag)
		}
	}
	return ev, nil
}

// failure is the status that says what went wrong, unsigned.
func (one *job) failure(err error) *nostr.Event {
	text := "this could not be answered now, try again later"
	if problem, ok := errors.AsType[*feeds.Problem](err); ok {
		text = problem.Text
	}
	ev := one.reply(KindJobStatus)
	ev.Tags = append(ev.Tags, nostr.Tag{"status", "error", text}, nostr.Tag{"alt", "The feed " + one.listing.Name + " has no answer"})
	return ev
}

// reply is what all answers have.
func (one *job) reply(kind int) *nostr.Event {
	return &nostr.Event{Kind: kind, Tags: nostr.Tags{
		{"e", one.ev.ID}, {"p", one.ev.PubKey}, {"expiration", strconv.FormatInt(time.Now().Add(jobKept).Unix(), 10)},
	}}
}
