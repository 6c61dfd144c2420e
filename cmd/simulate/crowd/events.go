package crowd

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/nbd-wtf/go-nostr"
)

// Write prints the log as signed events, one JSON object a line, oldest first,
// to be imported by a relay. The keys are made from the seed, since nobody can
// sign for the real ones; who is whom keeps its place in Log.Keys. Zaps are left
// out: a receipt without a paid invoice counts nowhere.
func (l *Log) Write(to io.Writer, seed uint64) error {
	p := &printer{log: l, secrets: make([]string, len(l.Keys)), keys: make([]string, len(l.Keys)), ids: make([]string, len(l.Notes)), out: json.NewEncoder(to)}
	for i := range l.Keys {
		sum := sha256.Sum256(fmt.Appendf(nil, "crowd %d key %d", seed, i))
		p.secrets[i] = hex.EncodeToString(sum[:])
		key, err := nostr.GetPublicKey(p.secrets[i])
		if err != nil {
			return fmt.Errorf("key %d: %w", i, err)
		}
		p.keys[i] = key
	}
	if err := p.lists(); err != nil {
		return err
	}
	acts := slices.Clone(l.Acts)
	slices.SortStableFunc(acts, func(a, b Act) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Deed, b.Deed)) })
	for _, a := range acts {
		if err := p.act(a); err != nil {
			return err
		}
	}
	return nil
}

type printer struct {
	log     *Log
	secrets []string
	keys    []string
	ids     []string
	out     *json.Encoder
}

func (p *printer) lists() error {
	for who := range p.log.Keys {
		if err := p.list(3, int32(who), p.log.Follows[who]); err != nil {
			return err
		}
		if err := p.list(10000, int32(who), p.log.Mutes[who]); err != nil {
			return err
		}
	}
	return nil
}

func (p *printer) list(kind int, who int32, whom []int32) error {
	if len(whom) == 0 {
		return nil
	}
	var tags nostr.Tags
	for _, k := range whom {
		tags = append(tags, nostr.Tag{"p", p.keys[k]})
	}
	_, err := p.sign(who, nostr.Event{Kind: kind, CreatedAt: nostr.Timestamp(p.log.Start - 1), Tags: tags})
	return err
}

func (p *printer) act(a Act) error {
	n := p.log.Notes[a.Note]
	ev := nostr.Event{CreatedAt: nostr.Timestamp(a.At), Tags: nostr.Tags{{"e", p.ids[a.Note]}, {"p", p.keys[n.Author]}}}
	switch a.Deed {
	case Write:
		ev.Kind, ev.Content, ev.Tags = 1, n.Text, nostr.Tags{}
	case Like:
		ev.Kind, ev.Content = 7, "+"
	case Dislike:
		ev.Kind, ev.Content = 7, "-"
	case Emoji:
		ev.Kind, ev.Content = 7, "🤙"
	case Reply:
		ev.Kind, ev.Content, ev.Tags[0] = 1, "yes", nostr.Tag{"e", p.ids[a.Note], "", "root"}
	case Repost:
		ev.Kind = 6
	case Report:
		ev.Kind, ev.Tags[0] = 1984, nostr.Tag{"e", p.ids[a.Note], "spam"}
	default:
		return nil // see Write
	}
	id, err := p.sign(a.Who, ev)
	if a.Deed == Write {
		p.ids[a.Note] = id
	}
	return err
}

func (p *printer) sign(who int32, ev nostr.Event) (string, error) {
	if err := ev.Sign(p.secrets[who]); err != nil {
		return "", fmt.Errorf("event of key %d: %w", who, err)
	}
	return ev.ID, p.out.Encode(ev)
}
