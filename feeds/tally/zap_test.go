package tally

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
)

// invoice is a BOLT 11 string for an amount that commits to a request; its
// signature is zeros.
func invoice(amount string, request string) string {
	prefix := "lnbc" + amount
	words := make([]byte, 7) // the time
	sum := sha256.Sum256([]byte(request))
	words = append(words, 1, 1, 20) // a payment hash, to be passed over
	words = append(words, make([]byte, 52)...)
	words = append(words, 23, 1, 20)
	words = append(words, fives(sum[:])...)
	words = append(words, make([]byte, 104)...)
	c := checksum(prefix, append(slices.Clone(words), make([]byte, 6)...)) ^ 1
	for i := range 6 {
		words = append(words, byte(c>>(5*(5-i))&31))
	}
	var out strings.Builder
	out.WriteString(prefix + "1")
	for _, w := range words {
		out.WriteByte(bech32[w])
	}
	return out.String()
}

func fives(b []byte) (out []byte) {
	acc, have := uint32(0), 0
	for _, v := range b {
		acc, have = acc<<8|uint32(v), have+8
		for have >= 5 {
			have -= 5
			out = append(out, byte(acc>>have&31))
		}
	}
	return append(out, byte(acc<<(5-have)&31))
}

// wallet signs receipts for an author, a payer pays.
type zapping struct {
	wallet, payer  string // secret keys
	note           *nostr.Event
	amount         string // of the invoice
	msat           string // of the request
	change         func(request, receipt *nostr.Event)
	spoil, reorder bool
}

func (z zapping) receipt(t *testing.T, w *world) *nostr.Event {
	t.Helper()
	req := nostr.Event{Kind: 9734, CreatedAt: nostr.Timestamp(w.now - 50), Tags: nostr.Tags{
		{"p", z.note.PubKey}, {"e", z.note.ID}, {"amount", z.msat}, {"relays", "wss://relay.example"},
	}}
	rec := nostr.Event{Kind: 9735, CreatedAt: nostr.Timestamp(w.now - 40), Tags: nostr.Tags{{"p", z.note.PubKey}, {"e", z.note.ID}}}
	if z.change != nil {
		z.change(&req, &rec)
	}
	if err := req.Sign(z.payer); err != nil {
		t.Fatal(err)
	}
	if z.spoil {
		req.Sig = strings.Repeat("0", 128)
	}
	text := req.String()
	rec.Tags = append(rec.Tags, nostr.Tag{"description", text}, nostr.Tag{"bolt11", invoice(z.amount, text)})
	if z.reorder {
		rec.Tags[len(rec.Tags)-1][1] = invoice(z.amount, text+" ")
	}
	if err := rec.Sign(z.wallet); err != nil {
		t.Fatal(err)
	}
	return &rec
}

func TestOnlyAReceiptOfTheDeclaredKeyThatAgreesWithItselfCounts(t *testing.T) {
	wallet, stranger, payer := nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey()
	declared, _ := nostr.GetPublicKey(wallet)
	key, _ := readKey(declared)
	w := newWorld(t, 1, 3)
	w.start(Config{ZapKey: func(Key) (Key, bool) { return key, true }})
	for name, c := range map[string]struct {
		z    zapping
		msat uint64
	}{
		"good":                 {zapping{amount: "210n", msat: "21000"}, 21000},
		"no amount asked":      {zapping{amount: "1m", change: func(req, _ *nostr.Event) { req.Tags = req.Tags[:2] }}, 100_000_000},
		"signed by a stranger": {zapping{wallet: stranger, amount: "210n", msat: "21000"}, 0},
		"another amount":       {zapping{amount: "210n", msat: "22000"}, 0},
		"unsigned request":     {zapping{amount: "210n", msat: "21000", spoil: true}, 0},
		"uncommitted invoice":  {zapping{amount: "210n", msat: "21000", reorder: true}, 0},
		"another recipient":    {zapping{amount: "210n", msat: "21000", change: func(req, _ *nostr.Event) { req.Tags[0][1] = declared }}, 0},
		"another note":         {zapping{amount: "210n", msat: "21000", change: func(_, rec *nostr.Event) { rec.Tags[1][1] = strings.Repeat("a", 64) }}, 0},
		"another payer named":  {zapping{amount: "210n", msat: "21000", change: func(_, rec *nostr.Event) { rec.Tags = append(rec.Tags, nostr.Tag{"P", declared}) }}, 0},
	} {
		note := w.event(1, w.authors[0], "a note worth something")
		w.append(note)
		if c.z.wallet == "" {
			c.z.wallet = wallet
		}
		c.z.payer, c.z.note = payer, note
		rec := c.z.receipt(t, w)
		w.append(rec)
		if got := w.msat(note); got != c.msat {
			t.Errorf("%s: %d millisats, want %d", name, got, c.msat)
		}
		gone := w.event(5, rec.PubKey, "", nostr.Tag{"e", rec.ID})
		w.append(gone)
		if got := w.msat(note); got != 0 {
			t.Errorf("%s: %d millisats after the receipt was deleted", name, got)
		}
	}
}

func (w *world) msat(note *nostr.Event) (msat uint64) {
	w.t.Helper()
	if err := w.tally.WaitFor(w.t.Context(), w.store.Head()); err != nil {
		w.t.Fatal(err)
	}
	id, _ := readKey(note.ID)
	w.tally.Read(w.now, func(r *Reader) {
		n, ok := r.Find(id)
		if !ok {
			w.t.Fatal("the note is missing")
		}
		c := r.Counts(n, nil)
		msat = c.Msat
		if zaps := c.Actors[Zap]; (zaps > 0) != (msat > 0) {
			w.t.Errorf("%d keys zapped %d millisats", zaps, msat)
		}
	})
	return msat
}

func TestAReceiptWaitsForTheDeclaredKey(t *testing.T) {
	wallet, payer := nostr.GeneratePrivateKey(), nostr.GeneratePrivateKey()
	declared, _ := nostr.GetPublicKey(wallet)
	key, _ := readKey(declared)
	known := false
	w := newWorld(t, 2, 3)
	w.start(Config{ZapKey: func(Key) (Key, bool) { return key, known }})
	note := w.event(1, w.authors[0], "a note worth something")
	w.append(note)
	w.append(zapping{wallet: wallet, payer: payer, note: note, amount: "210n", msat: "21000"}.receipt(t, w))
	if got := w.msat(note); got != 0 || w.tally.Stats().Zaps != 1 {
		t.Errorf("%d millisats, %d waiting, before the key is known", got, w.tally.Stats().Zaps)
	}
}

func TestInvoiceAmounts(t *testing.T) {
	for text, want := range map[string]uint64{
		"1": 100_000_000_000, "2500u": 250_000_000, "20m": 2_000_000_000, "210n": 21_000, "10p": 1, "9678785340p": 967878534,
	} {
		if got, ok := readAmount(text); !ok || got != want {
			t.Errorf("%s: %d, %v, want %d", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "m", "01m", "1x", "-1m", "15p", "99999999999999999999", "22000000"} {
		if got, ok := readAmount(text); ok {
			t.Errorf("%q is read as %d", text, got)
		}
	}
}

// The invoices of BOLT 11's examples with a description hash.
func TestInvoiceOfTheSpecification(t *testing.T) {
	const text = "lnbc20m1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqhp58yjmdan79s6qqdhdzgynm4zwqd5d7xmw5fk98klysy043l2ahrqs9qrsgq7ea976txfraylvgzuxs8kgcw23ezlrszfnh8r6qtfpr6cxga50aj6txm9rxrydzd06dfeawfk6swupvz4erwnyutnjq7x39ymw6j38gp7ynn44"
	msat, hash, err := readInvoice(text)
	want := sha256.Sum256([]byte("One piece of chocolate cake, one icecream cone, one pickle, one slice of swiss cheese, one slice of salami, one lollypop, one piece of cherry pie, one sausage, one cupcake, and one slice of watermelon"))
	if err != nil || msat != 2_000_000_000 || hash != want {
		t.Errorf("%d msat, hash %s, %v", msat, hex.EncodeToString(hash[:]), err)
	}
	for i := range len(text) {
		other := "q"
		if text[i] == 'q' {
			other = "p"
		}
		if i != strings.LastIndexByte(text, '1') {
			if _, _, err := readInvoice(text[:i] + other + text[i+1:]); err == nil {
				t.Errorf("with character %s changed it is still read", strconv.Itoa(i))
			}
		}
	}
}

func FuzzReadInvoice(f *testing.F) {
	f.Add(invoice("210n", "request"))
	f.Add("lnbc1")
	f.Fuzz(func(t *testing.T, text string) {
		if msat, _, err := readInvoice(text); err == nil && msat > maxMsat {
			t.Errorf("%d millisats are more than there are", msat)
		}
	})
}
