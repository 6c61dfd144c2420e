package main

import (
	"bufio"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"agora/relay/admit"
	"agora/relay/store"
	"agora/relay/wire"
	"agora/spam"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip19"
	"github.com/urfave/cli/v3"
)

// noteID reads the id of a note as people have it: hex, note1 or nevent1.
func noteID(text string) (store.ID, error) {
	text = strings.TrimPrefix(strings.TrimSpace(text), "nostr:")
	if id, err := store.ParseID(text); err == nil {
		return id, nil
	}
	if len(text) > 1000 { // a nevent may name relays
		text = ""
	}
	switch _, value, err := nip19.Decode(strings.ToLower(text)); v := value.(type) {
	case string:
		if id, no := store.ParseID(v); err == nil && no == nil && strings.HasPrefix(strings.ToLower(text), "note1") {
			return id, nil
		}
	case nostr.EventPointer:
		if err == nil {
			return store.ParseID(v.ID)
		}
	}
	return store.ID{}, errors.New("a note's id is 64 hex digits, note1… or nevent1…")
}

// spamNotes tells spam of the notes that are held; it is its Notes.
type spamNotes struct{ store *store.Store }

func (n spamNotes) Judged(ctx context.Context, text string) (author string, marked bool, err error) {
	note, err := lookup(ctx, n.store, text)
	if err != nil || note == nil {
		return "", false, err
	}
	labels, err := labelsOf(n.store, text)
	for _, l := range labels {
		marked = marked || l.Namespace == spam.Namespace
	}
	return note.PubKey, marked, err
}

// operatorOf says whether a key answers appeals: an admin's, or the relay's own.
func operatorOf(cfg Config) (func(pubkey string) bool, error) {
	keys := map[string]bool{}
	for _, text := range cfg.Admins {
		key, err := parsePubKey(text)
		if err != nil {
			return nil, usage(fmt.Errorf("admins: %w", err))
		}
		keys[key] = true
	}
	self, err := relaySecret(cfg)
	if err != nil {
		return nil, err
	}
	own, err := nostr.GetPublicKey(self)
	keys[own] = true
	return func(pubkey string) bool { return keys[pubkey] }, err
}

// relaySecret is the relay's own secret key, in hex.
func relaySecret(cfg Config) (string, error) {
	s, err := loadSecret(cfg.Data)
	if err != nil {
		return "", err
	}
	return s.self()
}

// mostAppealsRead bounds what is read of the log: newest first. Beyond the bounds
// at the door there are only those that were imported.
const mostAppealsRead = 10_000

// readAppeals finds what authors and the operator have said, newest first.
func readAppeals(ctx context.Context, held *store.Store, operator func(string) bool) (appeals, answers []*nostr.Event, err error) {
	f := nostr.Filter{Kinds: []int{kindLabel}, Tags: nostr.TagMap{"L": []string{spam.Appeals}}}
	for rec, err := range held.Query(ctx, f) {
		if err != nil {
			return nil, nil, fmt.Errorf("read the appeals: %w", err)
		}
		ev, err := rec.Event()
		if err != nil {
			return nil, nil, err
		}
		if operator(ev.PubKey) {
			answers = append(answers, ev)
		} else if _, ok := spam.Appeal(ev); ok && len(appeals) < mostAppealsRead {
			appeals = append(appeals, ev)
		}
	}
	return appeals, answers, nil
}

// openDesk gives the desk what the operator has said so far.
func (p *spamPart) openDesk(ctx context.Context) (err error) {
	p.deskAt = p.core.store.Head()
	if p.operator, err = operatorOf(p.core.cfg); err != nil {
		return err
	}
	_, answers, err := readAppeals(ctx, p.core.store, p.operator)
	if err == nil {
		p.desk, err = deskWith(ctx, p.core.store, answers)
	}
	return err
}

func deskWith(ctx context.Context, held *store.Store, answers []*nostr.Event) (*spam.Desk, error) {
	desk := spam.NewDesk()
	for _, ev := range answers {
		if err := hearAnswer(ctx, held, desk, ev); err != nil {
			return nil, err
		}
	}
	return desk, nil
}

// deskOf is the desk as a command sees it: what the operator has answered.
func deskOf(ctx context.Context, held *store.Store, cfg Config) (*spam.Desk, error) {
	operator, err := operatorOf(cfg)
	if err != nil {
		return nil, err
	}
	_, answers, err := readAppeals(ctx, held, operator)
	if err != nil {
		return nil, err
	}
	return deskWith(ctx, held, answers)
}

// hearAnswer tells the desk of an operator's answer. Who wrote the note is its
// own word where it is held, else the answer's p tag.
func hearAnswer(ctx context.Context, held *store.Store, desk *spam.Desk, ev *nostr.Event) error {
	id, author, _, ok := spam.Answer(ev)
	if !ok {
		return nil
	}
	note, err := lookup(ctx, held, id)
	if err != nil {
		return err
	}
	if note != nil {
		author = note.PubKey
	}
	desk.Hear(ev, author)
	return nil
}

// followDesk books the appeals that wait, and keeps the desk at the log until
// ctx ends.
func (p *spamPart) followDesk(ctx context.Context) error {
	if p.graph != nil { // whose appeal it is depends on it
		select {
		case <-p.graph.Built():
		case <-ctx.Done():
			return nil
		}
	}
	err := p.bookAppeals(ctx)
	for at := p.deskAt; err == nil; {
		if at, err = p.deskCatchUp(ctx, at); err == nil {
			err = p.core.store.Wait(ctx, at)
		}
	}
	if ctx.Err() != nil || errors.Is(err, store.ErrClosed) {
		return nil //nolint:nilerr // the relay ends
	}
	return fmt.Errorf("follow the appeals: %w", err)
}

// bookAppeals books what waits, and takes back what was said of notes that were
// granted while nobody served.
func (p *spamPart) bookAppeals(ctx context.Context) error {
	for _, note := range p.desk.Grants() {
		if err := p.retract(ctx, note); err != nil {
			return err
		}
	}
	if p.gate == nil {
		return nil
	}
	appeals, _, err := readAppeals(ctx, p.core.store, p.operator)
	for _, ev := range appeals {
		if err := p.gate.Await(ctx, ev); err != nil {
			return err
		}
	}
	return err
}

func (p *spamPart) deskCatchUp(ctx context.Context, at store.Pos) (store.Pos, error) {
	for c, err := range p.core.store.Changes(ctx, at) {
		if errors.Is(err, store.ErrTrimmed) { // what went meanwhile stays on the desk until the next start
			return p.core.store.Head(), nil
		}
		if err != nil {
			return at, err
		}
		if err := p.deskChange(ctx, &c); err != nil {
			return at, err
		}
		at = c.Pos
	}
	return at, nil
}

func (p *spamPart) deskChange(ctx context.Context, c *store.Change) error {
	if gone := c.Removed; gone != nil {
		if gone.Kind == kindLabel {
			p.desk.Gone(hex.EncodeToString(gone.ID[:]))
		}
		return nil
	}
	if c.Record.Kind() != kindLabel || !c.Record.HasTag('L', spam.Appeals) {
		return nil
	}
	ev, err := c.Record.Event()
	if err != nil {
		return err
	}
	if !p.operator(ev.PubKey) {
		if p.gate == nil {
			return nil
		}
		return p.gate.Await(ctx, ev)
	}
	if err := hearAnswer(ctx, p.core.store, p.desk, ev); err != nil {
		return err
	}
	if note, _, granted, ok := spam.Answer(ev); ok && granted {
		return p.retract(ctx, note)
	}
	return nil
}

// retract deletes the labels by which this relay has called a note spam. The
// other notes of such a label get a new one.
func (p *spamPart) retract(ctx context.Context, note string) error {
	own, err := nostr.GetPublicKey(p.core.self)
	if err != nil {
		return err
	}
	gone := &nostr.Event{Kind: nostr.KindDeletion, CreatedAt: nostr.Now(), Tags: nostr.Tags{{"k", fmt.Sprint(kindLabel)}}}
	var rest []*nostr.Event
	f := nostr.Filter{Authors: []string{own}, Kinds: []int{kindLabel}, Tags: nostr.TagMap{"e": []string{note}}}
	for rec, err := range p.core.store.Query(ctx, f) {
		if err != nil {
			return err
		}
		if !rec.HasTag('L', spam.Namespace) {
			continue
		}
		gone.Tags = append(gone.Tags, nostr.Tag{"e", string(rec.HexID())})
		var others []string
		for name, value := range rec.Tags {
			if id := string(value); string(name) == "e" && !p.desk.Granted(id) {
				others = append(others, id)
			}
		}
		if len(others) > 0 {
			rest = append(rest, labelEvent(others))
		}
	}
	if len(gone.Tags) == 1 {
		return nil
	}
	for _, ev := range append(rest, gone) {
		if err := p.say(ctx, ev); err != nil {
			return err
		}
	}
	return nil
}

// appealsCommands are the operator's queue.
func appealsCommands(sub subcommand) []*cli.Command {
	const how = "\nThe answer is a kind 1985 in the namespace " + spam.Appeals + ", signed by the relay; an admin's client for labels\n" +
		"can publish the same. Deleted (kind 5), it no longer holds.\n\nExample:\n  agora spam "
	settings := configFlags("data", "listen", "admins")
	return []*cli.Command{
		sub("appeals", "list what authors object to and nobody has answered", "", "Kind 1985 in the namespace "+spam.Appeals+", by the author of the note it names.",
			runSpamAppeals, configFlags("data", "admins")...),
		sub("grant", "grant an appeal", "ID", "The note is in feeds and search again, and its author's further notes are only counted."+how+"grant note1…",
			func(ctx context.Context, cmd *cli.Command) error { return runSpamAnswer(ctx, cmd, spam.LabelGranted) }, settings...),
		sub("deny", "deny an appeal, or take back that it was granted", "ID", "The appeal leaves the list."+how+"deny note1…",
			func(ctx context.Context, cmd *cli.Command) error { return runSpamAnswer(ctx, cmd, spam.LabelDenied) }, settings...),
	}
}

func runSpamAppeals(ctx context.Context, cmd *cli.Command) error {
	return withLog(cmd, func(held *store.Store, cfg Config) error {
		operator, err := operatorOf(cfg)
		if err != nil {
			return err
		}
		n, err := writeAppeals(ctx, held, operator, cmd.Root().Writer)
		if n == 0 && err == nil {
			_, err = fmt.Fprintln(cmd.Root().ErrWriter, "no appeal waits for an answer")
		}
		return err
	})
}

// writeAppeals lists what authors say of their own notes and nobody has
// answered, newest first, and says how many.
func writeAppeals(ctx context.Context, held *store.Store, operator func(string) bool, w io.Writer) (n int, err error) {
	appeals, answers, err := readAppeals(ctx, held, operator)
	if err != nil {
		return 0, err
	}
	desk, err := deskWith(ctx, held, answers)
	if err != nil {
		return 0, err
	}
	out := bufio.NewWriter(w)
	encode := json.NewEncoder(out)
	for _, ev := range appeals {
		id, _ := spam.Appeal(ev)
		note, err := lookup(ctx, held, id)
		if err != nil {
			return n, err
		}
		if note != nil && note.PubKey != ev.PubKey || desk.Answered(id) {
			continue
		}
		row := map[string]any{"note": id, "by": ev.PubKey, "at": ev.CreatedAt, "says": ev.Content, "held": note != nil}
		if note != nil {
			row["text"] = note.Content
		}
		if err := encode.Encode(row); err != nil {
			return n, err
		}
		n++
	}
	return n, out.Flush()
}

// runSpamAnswer has the relay say what the operator decided.
func runSpamAnswer(ctx context.Context, cmd *cli.Command, label string) error {
	id, err := noteID(cmd.Args().First())
	if err != nil || cmd.Args().Len() != 1 {
		return usagef("name one note: 64 hex digits, note1… or nevent1…")
	}
	cfg, err := loadConfig(cmd)
	if err != nil {
		return err
	}
	if err := existingData(cfg.Data); err != nil {
		return err
	}
	self, err := relaySecret(cfg)
	if err != nil {
		return err
	}
	return withPublisher(ctx, cfg, "spam "+cmd.Name, func(p publisher, held *store.Store) error {
		author, err := appellant(ctx, held, id.String())
		if err != nil {
			return err
		}
		ev := answerEvent(id.String(), author, label)
		if ev.CreatedAt, err = afterAnswers(ctx, held, cfg, id.String()); err != nil {
			return err
		}
		if err := ev.Sign(self); err != nil {
			return err
		}
		no, err := publishOne(ctx, p, ev, wire.AppendEvent(nil, ev), admit.Import)
		if err == nil && no != "" {
			err = fmt.Errorf("the relay refuses: %s", no)
		}
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(cmd.Root().Writer, "%-8s %s by %s\nanswer   %s\n", label, id, author, ev.ID)
		return err
	})
}

// afterAnswers is now, or the second after the operator's last word on a note:
// the newest stands.
func afterAnswers(ctx context.Context, held *store.Store, cfg Config, id string) (nostr.Timestamp, error) {
	now := nostr.Now()
	operator, err := operatorOf(cfg)
	if err != nil {
		return now, err
	}
	_, answers, err := readAppeals(ctx, held, operator)
	for _, ev := range answers {
		if note, _, _, ok := spam.Answer(ev); ok && note == id {
			now = max(now, ev.CreatedAt+1)
		}
	}
	return now, err
}

func answerEvent(note, author, label string) *nostr.Event {
	return &nostr.Event{Kind: kindLabel, CreatedAt: nostr.Now(), Tags: nostr.Tags{
		{"L", spam.Appeals}, {"l", label, spam.Appeals}, {"e", note}, {"p", author},
	}}
}

// appellant is who wrote a note, or, where it is not held, the one who says so.
func appellant(ctx context.Context, held *store.Store, id string) (author string, err error) {
	note, err := lookup(ctx, held, id)
	if err != nil {
		return "", err
	}
	if note != nil {
		return note.PubKey, nil
	}
	f := nostr.Filter{Kinds: []int{kindLabel}, Tags: nostr.TagMap{"L": []string{spam.Appeals}, "e": []string{id}}}
	for rec, err := range held.Query(ctx, f) {
		if err != nil {
			return "", err
		}
		ev, err := rec.Event()
		if err != nil {
			return "", err
		}
		if _, ok := spam.Appeal(ev); !ok || ev.PubKey == author {
			continue
		}
		if author != "" {
			return "", fmt.Errorf("several keys appeal about %s, which is not held here: whose it is cannot be told", id)
		}
		author = ev.PubKey
	}
	if author == "" {
		return "", fmt.Errorf("no note %s is held here, and nobody appeals about it", id)
	}
	return author, nil
}
