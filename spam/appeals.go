package spam

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"agora/relay/admit"

	"github.com/nbd-wtf/go-nostr"
)

// Values of labels in Appeals.
const (
	LabelNotSpam = "not-spam" // an author's appeal
	LabelGranted = "granted"  // the operator's answers
	LabelDenied  = "denied"
)

const (
	kindLabel  = 1985
	mostAppeal = 1000 // characters of an appeal's text
)

// kindred are appeals that share a bound.
type kindred uint8

const (
	byKnown    kindred = iota // the operator's graph reaches the author
	byStranger                // it does not
	ofUnheard                 // nothing is known here of the note
	kindreds
)

// bounds of the appeals that wait for an answer.
var bounds = [kindreds]struct {
	perKey int
	all    int
	life   time.Duration // after which one waits no longer
}{
	byKnown:    {5, 4000, 30 * 24 * time.Hour},
	byStranger: {5, 1000, 30 * 24 * time.Hour},
	ofUnheard:  {2, 100, 7 * 24 * time.Hour},
}

// Appeal reads an author's objection: kind 1985 in the namespace Appeals with
// the label not-spam and the id of one note.
func Appeal(ev *nostr.Event) (note string, ok bool) {
	note, _, label := appealTags(ev)
	return note, label == LabelNotSpam
}

// Answer reads what an operator says of a note: the same with the label granted
// or denied, and a p tag for its author. It does not look at who says so.
func Answer(ev *nostr.Event) (note, author string, granted, ok bool) {
	note, author, label := appealTags(ev)
	return note, author, label == LabelGranted, label == LabelGranted || label == LabelDenied
}

// appealTags reads a kind 1985 in the namespace Appeals; its label is empty
// when it is none, or names two notes.
func appealTags(ev *nostr.Event) (note, author, label string) {
	labels, notes := 0, 0
	for _, tag := range ev.Tags {
		switch {
		case len(tag) >= 3 && tag[0] == "l" && tag[2] == Appeals:
			label = tag[1]
			labels++
		case len(tag) >= 2 && tag[0] == "e":
			note = tag[1]
			notes++
		case len(tag) >= 2 && tag[0] == "p":
			author = tag[1]
		}
	}
	if ev.Kind != kindLabel || labels != 1 || notes != 1 || len(note) != 64 {
		return "", "", ""
	}
	return note, author, label
}

// Notes tells of the notes that are held; cmd makes it of the store.
type Notes interface {
	// Judged says who wrote a note and whether it bears a mark of ours. Of a note
	// that is not held the author is empty.
	Judged(ctx context.Context, id string) (author string, marked bool, err error)
}

// Desk is where appeals wait, and what the operator has said of them. It is a
// projection of the log: cmd tells it what comes and goes. A nil Desk knows
// nothing.
type Desk struct {
	mu      sync.Mutex          // guards what follows
	waiting map[string]petition // by the appeal's id
	byKey   map[string][]string // of them, by author
	all     [kindreds]int       // of them
	answers map[string][]answer // by note
	about   map[string]string   // the note, by the answer's id
	spared  map[string]int      // by author: notes of which the appeal was granted
}

type petition struct {
	note, by string
	kin      kindred
	at       time.Time
}

type answer struct {
	id, author string
	granted    bool
	at         nostr.Timestamp
}

// NewDesk is an empty desk.
func NewDesk() *Desk {
	return &Desk{
		waiting: map[string]petition{}, byKey: map[string][]string{},
		answers: map[string][]answer{}, about: map[string]string{}, spared: map[string]int{},
	}
}

// Granted reports whether the operator has granted the appeal of a note.
func (d *Desk) Granted(note string) bool {
	if d == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stands(note).granted
}

// Spared reports whether the operator has granted an appeal of an author.
func (d *Desk) Spared(author string) bool {
	if d == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.spared[author] > 0
}

// Answered reports whether the operator has said anything of a note.
func (d *Desk) Answered(note string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.answers[note]) > 0
}

// Grants lists the notes of which the appeal was granted.
func (d *Desk) Grants() (notes []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for note := range d.answers {
		if d.stands(note).granted {
			notes = append(notes, note)
		}
	}
	return notes
}

// stands is the newest answer about a note.
func (d *Desk) stands(note string) (a answer) {
	for _, one := range d.answers[note] {
		if one.at >= a.at {
			a = one
		}
	}
	return a
}

// Hear takes in an answer of the operator's; author is who wrote the note.
func (d *Desk) Hear(ev *nostr.Event, author string) {
	note, _, granted, ok := Answer(ev)
	d.mu.Lock()
	defer d.mu.Unlock()
	if _, known := d.about[ev.ID]; !ok || known {
		return
	}
	id := strings.Clone(ev.ID)
	note, author = strings.Clone(note), strings.Clone(author)
	d.about[id] = note
	d.change(note, func(all []answer) []answer { return append(all, answer{id, author, granted, ev.CreatedAt}) })
	for id, p := range d.waiting {
		if p.note == note {
			d.drop(id)
		}
	}
}

// change puts other answers about a note in the place of those there are.
func (d *Desk) change(note string, to func([]answer) []answer) {
	if was := d.stands(note); was.granted {
		if d.spared[was.author]--; d.spared[was.author] == 0 {
			delete(d.spared, was.author)
		}
	}
	if d.answers[note] = to(d.answers[note]); len(d.answers[note]) == 0 {
		delete(d.answers, note)
	}
	if is := d.stands(note); is.granted && is.author != "" {
		d.spared[is.author]++
	}
}

// Gone takes back an appeal or an answer that is no longer held.
func (d *Desk) Gone(id string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drop(id)
	note, ok := d.about[id]
	if !ok {
		return
	}
	delete(d.about, id)
	d.change(note, func(all []answer) []answer {
		return slices.DeleteFunc(all, func(a answer) bool { return a.id == id })
	})
}

func (d *Desk) drop(id string) {
	p, ok := d.waiting[id]
	if !ok {
		return
	}
	delete(d.waiting, id)
	d.all[p.kin]--
	d.byKey[p.by] = slices.DeleteFunc(d.byKey[p.by], func(one string) bool { return one == id })
	if len(d.byKey[p.by]) == 0 {
		delete(d.byKey, p.by)
	}
}

// await takes in an appeal that is held, whatever the bounds say.
func (d *Desk) await(ev *nostr.Event, kin kindred, at time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	note, ok := Appeal(ev)
	if _, here := d.waiting[ev.ID]; here || !ok || len(d.answers[note]) > 0 {
		return
	}
	d.place(ev, note, kin, at)
}

func (d *Desk) place(ev *nostr.Event, note string, kin kindred, at time.Time) {
	id, by := strings.Clone(ev.ID), strings.Clone(ev.PubKey) // not the message they are cut from
	d.waiting[id] = petition{strings.Clone(note), by, kin, at}
	d.byKey[by] = append(d.byKey[by], id)
	d.all[kin]++
}

// offer gives an appeal a place, or says why there is none. An appeal that is
// not stored after all keeps its place for its life.
func (d *Desk) offer(ev *nostr.Event, note string, kin kindred, now time.Time) admit.Ruling {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.answers[note]) > 0 {
		return admit.Refuse(admit.Blocked, "the operator has answered an appeal about this note")
	}
	if _, here := d.waiting[ev.ID]; here {
		return admit.Ruling{}
	}
	for _, id := range d.byKey[ev.PubKey] {
		if d.waiting[id].note == note {
			return admit.Refuse(admit.Blocked, "your appeal about this note waits for an answer already")
		}
	}
	b := bounds[kin]
	if len(d.byKey[ev.PubKey]) >= b.perKey || d.all[kin] >= b.all {
		d.expire(now)
	}
	if n := len(d.byKey[ev.PubKey]); n >= b.perKey {
		return admit.Refuse(admit.RateLimited, fmt.Sprintf("%d appeals of yours wait for an answer; delete one (kind 5) to make room", n))
	}
	if d.all[kin] >= b.all {
		return admit.Refuse(admit.RateLimited, "too many appeals wait for an answer; try again in some days")
	}
	d.place(ev, note, kin, now)
	return admit.Ruling{}
}

// expire lets go of what has waited too long. It stays in the log.
func (d *Desk) expire(now time.Time) {
	for id, p := range d.waiting {
		if now.Sub(p.at) > bounds[p.kin].life {
			d.drop(id)
		}
	}
}

// appeal rules on an appeal at the door: only about one's own note, which was
// refused or marked here, and only so many at once. Of what nothing is known,
// a note that was refused long ago or never came, few may wait.
func (g *Gate) appeal(ctx context.Context, ev *nostr.Event, note string) (admit.Ruling, error) {
	if n := utf8.RuneCountInString(ev.Content); n > mostAppeal {
		return admit.Refuse(admit.Invalid, fmt.Sprintf("an appeal has at most %d characters, not %d", mostAppeal, n)), nil
	}
	kin, no, err := g.kin(ctx, ev, note)
	if err != nil {
		return admit.Ruling{}, err
	}
	if no != "" {
		return admit.Refuse(admit.Blocked, no), nil
	}
	return g.cfg.Desk.offer(ev, note, kin, time.Now()), nil
}

// kin says with which others an appeal shares a bound, or why it is none.
func (g *Gate) kin(ctx context.Context, ev *nostr.Event, note string) (kin kindred, no string, err error) {
	author, _, marked := g.Refused(note)
	if !marked && g.cfg.Notes != nil {
		if author, marked, err = g.cfg.Notes.Judged(ctx, note); err != nil {
			return kin, "", fmt.Errorf("note of the appeal %s: %w", ev.ID, err)
		}
	}
	switch {
	case author == "":
		return ofUnheard, "", nil
	case author != ev.PubKey:
		return kin, "only the author of a note can appeal", nil
	case !marked:
		return kin, "this note was neither refused nor marked here", nil
	case g.cfg.Crowd == nil:
		return byStranger, "", nil
	}
	if who := g.cfg.Crowd.Standing(ev.PubKey); who.Hops < 0 && who.Trust < 0.1 {
		return byStranger, "", nil
	}
	return byKnown, "", nil
}

// Await books an appeal that is in the log, whatever the bounds say.
func (g *Gate) Await(ctx context.Context, ev *nostr.Event) error {
	note, ok := Appeal(ev)
	if !ok || g.cfg.Desk == nil {
		return nil
	}
	kin, no, err := g.kin(ctx, ev, note)
	if err == nil && no == "" {
		g.cfg.Desk.await(ev, kin, time.Unix(min(int64(ev.CreatedAt), time.Now().Unix()), 0))
	}
	return err
}
