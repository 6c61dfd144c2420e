package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/nbd-wtf/go-nostr"
)

// The corpus is the seeded set of signed events every relay is given. The
// shares follow what public relays hold (notes and reactions first); a mean
// event is 600 to 700 bytes of JSON.
const (
	corpusSeed  = 1_760_000_000 // the seed, and the unix time of the newest event
	corpusDays  = 7             // the mix spans a week: half a day holds about 170 of 5,000 events' notes
	deepAuthor  = 1 << 20       // index of the one author whose notes are paged through
	signedChunk = 4096          // events signed at once, then written in order
)

// plan is what a corpus holds.
type plan struct {
	Mix  int // events of the mix
	Deep int // further notes of one author, one a second, spread through the mix
}

func (p plan) total() int { return p.Mix + p.Deep }

// file names the corpus in dir; another plan or seed is another file.
func (p plan) file(dir string) string {
	return filepath.Join(dir, fmt.Sprintf("events-%d-%d-%d.jsonl", corpusSeed, p.Mix, p.Deep))
}

// authors is how many keys write the mix: a fifth of the events, so that 5,000
// events have 1,000 authors and a replaceable event is almost never replaced.
func (p plan) authors() int { return max(p.Mix/5, 10) }

// ensure returns the corpus file, making it when it is not there yet. Signing
// costs 70 µs an event, so a file is made once and kept.
func (p plan) ensure(ctx context.Context, dir string) (string, error) {
	name := p.file(dir)
	if _, err := os.Stat(name); err == nil {
		return name, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	tmp, err := os.CreateTemp(dir, "events-*.part")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // a stray file beside the corpus
	defer tmp.Close()
	w := bufio.NewWriterSize(tmp, 1<<20)
	if err := p.write(ctx, w); err != nil {
		return "", fmt.Errorf("write the corpus %s: %w", name, err)
	}
	if err := w.Flush(); err != nil {
		return "", err
	}
	return name, os.Rename(tmp.Name(), name)
}

// write puts the corpus on w, one event a line.
func (p plan) write(ctx context.Context, w io.Writer) error {
	g := newGenerator(p)
	chunk := make([]*nostr.Event, 0, signedChunk)
	secrets := make([]string, 0, signedChunk)
	for n := 0; n < p.total(); {
		if err := ctx.Err(); err != nil {
			return err
		}
		chunk, secrets = chunk[:0], secrets[:0]
		for ; n < p.total() && len(chunk) < signedChunk; n++ {
			ev, secret := g.next(n)
			chunk, secrets = append(chunk, ev), append(secrets, secret)
		}
		if err := signAll(chunk, secrets); err != nil {
			return err
		}
		for _, ev := range chunk {
			if _, err := io.WriteString(w, ev.String()+"\n"); err != nil {
				return err
			}
		}
	}
	return nil
}

// signAll signs every event with the secret at its index, on all cores.
func signAll(events []*nostr.Event, secrets []string) error {
	workers := runtime.GOMAXPROCS(0)
	errs := make([]error, workers)
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for i := w; i < len(events) && errs[w] == nil; i += workers {
				errs[w] = events[i].Sign(secrets[i])
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return fmt.Errorf("sign the corpus: %w", err)
		}
	}
	return nil
}

// generator makes the unsigned events, always the same ones for a plan.
type generator struct {
	plan   plan
	rng    *rand.Rand
	zipf   *rand.Zipf // word ranks: language is Zipf-distributed, and the word index feels it
	words  []string
	keys   map[int][2]string // author index -> secret, pubkey
	order  []int             // authors in random order, for what each writes once
	once   map[int]int       // kind -> how many authors of order have written it
	recent []*nostr.Event    // notes that replies and reactions point at; the last 1,024
	deep   int               // notes of the deep author so far
}

func newGenerator(p plan) *generator {
	rng := rand.New(rand.NewPCG(corpusSeed, uint64(p.total())))
	g := &generator{plan: p, rng: rng, keys: map[int][2]string{}, once: map[int]int{}}
	g.words = vocabulary(rng, 20_000)
	g.zipf = rand.NewZipf(rng, 1.1, 8, uint64(len(g.words)-1))
	g.order = rng.Perm(p.authors())
	return g
}

// next is the n-th event of the corpus with its id, and the secret to sign it.
func (g *generator) next(n int) (*nostr.Event, string) {
	span := int64(corpusDays * 86_400)
	if g.plan.Deep > 0 { // a large corpus spans what it needs: the deep author writes once a second at most
		span = max(span, int64(g.plan.Deep)*2)
	}
	at := int64(corpusSeed) - span + span*int64(n)/int64(g.plan.total())
	author, ev := deepAuthor, &nostr.Event{Kind: 1}
	if g.deepTurn(n) {
		ev.CreatedAt = nostr.Timestamp(int64(corpusSeed) - span + span*int64(g.deep)/int64(g.plan.Deep))
		ev.Content = fmt.Sprintf("entry %d: %s", g.deep, g.text(12))
		g.deep++
	} else {
		author = g.rng.IntN(g.plan.authors())
		ev.CreatedAt = nostr.Timestamp(at - g.rng.Int64N(3)) // arrival is nearly in order, as on a live relay
		author = g.fill(ev, author, n)
	}
	if ev.Tags == nil {
		ev.Tags = nostr.Tags{}
	}
	secret, pubkey := g.key(author)
	ev.PubKey = pubkey
	ev.ID = ev.GetID()
	if ev.Kind == 1 {
		g.remember(ev)
	}
	return ev, secret
}

// deepTurn says whether event n is the deep author's: they are spread evenly.
func (g *generator) deepTurn(n int) bool {
	total := g.plan.total()
	return (n+1)*g.plan.Deep/total > n*g.plan.Deep/total
}

func (g *generator) remember(ev *nostr.Event) {
	if len(g.recent) < 1024 {
		g.recent = append(g.recent, ev)
		return
	}
	g.recent[g.rng.IntN(len(g.recent))] = ev
}

// fill gives ev a kind, tags and content and returns who writes it.
func (g *generator) fill(ev *nostr.Event, author, n int) int {
	roll := g.rng.Float64()
	switch {
	case roll < 0.05:
		return g.profile(ev, author)
	case roll < 0.065:
		return g.follows(ev, author)
	case roll < 0.085:
		return g.relays(ev, author)
	case roll < 0.335:
		g.reaction(ev)
	case roll < 0.385:
		g.repost(ev)
	case roll < 0.435:
		g.comment(ev)
	case roll < 0.465:
		g.zap(ev)
	case roll < 0.475:
		g.article(ev, n)
	default:
		g.note(ev)
	}
	return author
}

// turn gives the next author who has not written this kind; none is left when
// ok is false, and the event becomes a note.
func (g *generator) turn(ev *nostr.Event, kind, author int) (int, bool) {
	if g.once[kind] >= len(g.order) {
		g.note(ev)
		return author, false
	}
	ev.Kind = kind
	author = g.order[g.once[kind]]
	g.once[kind]++
	return author, true
}

func (g *generator) profile(ev *nostr.Event, author int) int {
	author, ok := g.turn(ev, 0, author)
	if ok {
		name := g.text(1)
		ev.Content = fmt.Sprintf(`{"name":%q,"display_name":%q,"about":%q,"picture":"https://cdn.example/%s.jpg","nip05":"%s@example.com","lud16":"%s@wallet.example"}`,
			name, g.text(2), g.text(14), name, name, name)
	}
	return author
}

func (g *generator) follows(ev *nostr.Event, author int) int {
	author, ok := g.turn(ev, 3, author)
	if ok {
		for range 10 + g.rng.IntN(80) {
			ev.Tags = append(ev.Tags, nostr.Tag{"p", g.pubkey(g.rng.IntN(g.plan.authors()))})
		}
	}
	return author
}

func (g *generator) relays(ev *nostr.Event, author int) int {
	author, ok := g.turn(ev, 10002, author)
	if ok {
		for i := range 3 + g.rng.IntN(4) {
			ev.Tags = append(ev.Tags, nostr.Tag{"r", fmt.Sprintf("wss://relay%d.example.com/", i)})
		}
	}
	return author
}

func (g *generator) note(ev *nostr.Event) {
	ev.Kind = 1
	ev.Content = g.text(8 + g.rng.IntN(50))
	if g.rng.IntN(10) == 0 {
		ev.Tags = append(ev.Tags, nostr.Tag{"t", g.text(1)})
	}
	if on := g.target(); on != nil && g.rng.IntN(5) < 3 {
		ev.Tags = append(ev.Tags, nostr.Tag{"e", on.ID, "wss://relay1.example.com/", "root"}, nostr.Tag{"p", on.PubKey})
	}
}

func (g *generator) reaction(ev *nostr.Event) {
	on := g.target()
	if on == nil {
		g.note(ev)
		return
	}
	ev.Kind, ev.Content = 7, []string{"+", "+", "+", "🤙", "❤️", "-"}[g.rng.IntN(6)]
	ev.Tags = nostr.Tags{{"e", on.ID, "wss://relay1.example.com/"}, {"p", on.PubKey}, {"k", "1"}}
}

func (g *generator) repost(ev *nostr.Event) {
	on := g.target()
	if on == nil {
		g.note(ev)
		return
	}
	ev.Kind = 6
	ev.Tags = nostr.Tags{{"e", on.ID, "wss://relay1.example.com/"}, {"p", on.PubKey}}
}

func (g *generator) comment(ev *nostr.Event) {
	on := g.target()
	if on == nil {
		g.note(ev)
		return
	}
	ev.Kind, ev.Content = 1111, g.text(8+g.rng.IntN(30))
	ev.Tags = nostr.Tags{
		{"E", on.ID, "wss://relay1.example.com/", on.PubKey}, {"K", "1"}, {"P", on.PubKey},
		{"e", on.ID, "wss://relay1.example.com/", on.PubKey}, {"k", "1"}, {"p", on.PubKey},
	}
}

func (g *generator) zap(ev *nostr.Event) {
	on := g.target()
	if on == nil {
		g.note(ev)
		return
	}
	ev.Kind = 9735
	invoice := make([]byte, 150)
	for i := range invoice {
		invoice[i] = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"[g.rng.IntN(32)]
	}
	ev.Tags = nostr.Tags{{"p", on.PubKey}, {"e", on.ID}, {"P", g.pubkey(g.rng.IntN(g.plan.authors()))}, {"bolt11", "lnbc210n1" + string(invoice)}}
}

func (g *generator) article(ev *nostr.Event, n int) {
	ev.Kind, ev.Content = 30023, g.text(300+g.rng.IntN(500))
	ev.Tags = nostr.Tags{{"d", fmt.Sprintf("article-%d", n)}, {"title", g.text(6)}, {"summary", g.text(20)}, {"t", g.text(1)}}
}

// target is a recent note, or nil at the very start.
func (g *generator) target() *nostr.Event {
	if len(g.recent) == 0 {
		return nil
	}
	return g.recent[g.rng.IntN(len(g.recent))]
}

func (g *generator) text(words int) string {
	var b strings.Builder
	for i := range words {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(g.words[g.zipf.Uint64()])
	}
	return b.String()
}

func (g *generator) pubkey(author int) string {
	_, pubkey := g.key(author)
	return pubkey
}

func (g *generator) key(author int) (secret, pubkey string) {
	pair, ok := g.keys[author]
	if !ok {
		pair = authorKey(author)
		g.keys[author] = pair
	}
	return pair[0], pair[1]
}

// authorKey derives the secret and public key of an author of the corpus.
func authorKey(author int) [2]string {
	sum := sha256.Sum256(fmt.Appendf(nil, "agora bench %d author %d", corpusSeed, author))
	secret := hex.EncodeToString(sum[:])
	pubkey, err := nostr.GetPublicKey(secret)
	if err != nil { // one in 2^128
		panic(fmt.Sprintf("author %d has no key: %v", author, err))
	}
	return [2]string{secret, pubkey}
}

// vocabulary makes n pronounceable words of 2 to 9 letters, shorter ones first.
func vocabulary(rng *rand.Rand, n int) []string {
	const consonants, vowels = "bcdfghjklmnprstvwz", "aeiou"
	seen := make(map[string]bool, n)
	words := make([]string, 0, n)
	for len(words) < n {
		var w []byte
		for range 1 + rng.IntN(2+3*len(words)/n) {
			w = append(w, consonants[rng.IntN(len(consonants))], vowels[rng.IntN(len(vowels))])
		}
		if rng.IntN(3) == 0 || seen[string(w)] {
			w = append(w, consonants[rng.IntN(len(consonants))])
		}
		if !seen[string(w)] {
			seen[string(w)] = true
			words = append(words, string(w))
		}
	}
	return words
}

// readLines returns the lines of a corpus file, at most limit of them (0: all).
func readLines(name string, limit int) ([][]byte, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var lines [][]byte
	for line := range bytes.Lines(data) {
		if limit > 0 && len(lines) == limit {
			break
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			lines = append(lines, line)
		}
	}
	return lines, nil
}
