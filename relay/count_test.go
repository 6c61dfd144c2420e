package relay

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip45"
	"github.com/nbd-wtf/go-nostr/nip45/hyperloglog"
)

func TestCountCountsEachEventOnceWhateverTheLimit(t *testing.T) {
	r := start(t, Config{}, nil)
	c, a := r.dial(t), newAuthor()
	for i := range 12 {
		c.mustPublish(a.event(t, i%3, -i, nostr.Tag{"t", fmt.Sprint(i % 2)}))
	}
	kinds := func(want int64, filters ...string) {
		t.Helper()
		c.send(`["COUNT","n",` + strings.Join(filters, ",") + `]`)
		if m := c.want("COUNT", "n", ""); m.Count != want || m.Approximate {
			t.Errorf("%v: %d, want %d", filters, m.Count, want)
		}
	}
	kinds(9, `{}`) // of kind 0, which is replaceable, one is left
	kinds(4, `{"kinds":[1]}`)
	kinds(4, `{"kinds":[1],"limit":1}`)
	kinds(4, `{"kinds":[1],"limit":0}`)
	kinds(8, `{"kinds":[1,2]}`, `{"kinds":[1],"#t":["0"]}`)
	kinds(0, `{"kinds":[9]}`)
	kinds(0, `{"kinds":[]}`)
	c.send(`["COUNT","n",{"search":"x"}]`)
	c.want("CLOSED", "n", "unsupported: ")
}

// TestACountIsOfWhatTheViewerMaySee holds the corrected count of the index to
// asking for the events.
func TestACountIsOfWhatTheViewerMaySee(t *testing.T) {
	r := start(t, Config{Restricted: []int{4}}, nil)
	me, other, p := newAuthor(), newAuthor(), r.dial(t)
	for i := range 60 {
		from, to := []*author{me, other}[i%2], []*author{me, other}[i/2%2]
		p.mustPublish(from.event(t, []int{1, 4, 1059}[i%3], -i, nostr.Tag{"p", to.pk}, nostr.Tag{"t", fmt.Sprint(i % 2)}))
	}
	known := r.dial(t)
	known.authenticate(r.url, me.sk)
	for _, filters := range [][]string{
		{`{}`}, {`{"kinds":[1,4]}`}, {`{"kinds":[1,4,1059,7]}`}, {`{"#t":["1"]}`}, {`{"authors":["` + me.pk + `"]}`},
		{`{"#p":["` + other.pk + `"]}`}, {`{"#p":["` + me.pk + `"]}`}, {`{"kinds":[4],"#t":["0"]}`, `{"kinds":[1059]}`, `{"kinds":[1]}`},
		{`{"since":` + fmt.Sprint(nostr.Now()-20) + `}`}, {`{"authors":["` + other.pk + `"],"#p":["` + other.pk + `"]}`},
	} {
		for name, c := range map[string]*client{"a stranger": p, "me": known} {
			c.send(`["COUNT","n",` + strings.Join(filters, ",") + `]`)
			m := c.afterChallenge()
			if m.Label == "CLOSED" {
				continue // private kinds alone, asked by a stranger
			}
			if rows, _ := c.query("rows", filters...); int64(len(rows)) != m.Count {
				t.Errorf("%s, %v: counted %d of %d", name, filters, m.Count, len(rows))
			}
		}
	}
}

// TestRegistersAreThoseOfTheHelper holds our HyperLogLog to go-nostr's, which
// other relays use, so that their registers can be merged.
func TestRegistersAreThoseOfTheHelper(t *testing.T) {
	r := start(t, Config{}, nil)
	c, note := r.dial(t), newAuthor().note(t, 0)
	var likes []*nostr.Event
	for range 30 {
		likes = append(likes, newAuthor().event(t, 7, 0, nostr.Tag{"e", note.ID}))
	}
	c.mustPublish(likes...)
	f := nostr.Filter{Kinds: []int{7}, Tags: nostr.TagMap{"e": {note.ID}}}
	want := hyperloglog.New(nip45.HyperLogLogEventPubkeyOffsetForFilter(f))
	for _, ev := range likes {
		want.Add(ev.PubKey)
	}
	c.send(`["COUNT","n",` + f.String() + `]`)
	m := c.want("COUNT", "n", "")
	if m.Count != 30 || !slices.Equal(m.HLL, want.GetRegisters()) {
		t.Errorf("count %d, registers differ: %v", m.Count, !slices.Equal(m.HLL, want.GetRegisters()))
	}
	for _, other := range []string{`{"kinds":[7]}`, `{"#e":["` + note.ID + `","` + likes[0].ID + `"]}`, `{"#e":["` + note.ID + `"],"#p":["` + note.ID + `"]}`} {
		c.send(`["COUNT","n",` + other + `]`)
		if m := c.want("COUNT", "n", ""); m.HLL != nil {
			t.Errorf("%s has registers: merging them would mean nothing", other)
		}
	}
}

func TestWhereTheRegistersBeginFollowsFromTheItem(t *testing.T) {
	pk := strings.Repeat("0", 32) + "a" + strings.Repeat("1", 31)
	for item, want := range map[string]int{
		pk:                         18,
		"30023:" + pk + ":slug":    18,
		"30023:" + pk + ":a:b:c":   18,
		"agora":                    8 + nibble(t, "agora"),
		strings.ToUpper(pk[:63]):   8 + nibble(t, strings.ToUpper(pk[:63])),
		"30023:not a key:and slug": 8 + nibble(t, "30023:not a key:and slug"),
	} {
		if got := hllOffset(nostr.Filter{Tags: nostr.TagMap{"t": {item}}}); got != want {
			t.Errorf("%q: %d, want %d", item, got, want)
		}
	}
}

func nibble(t *testing.T, item string) (n int) {
	t.Helper()
	key := hllKey(item)
	if _, err := fmt.Sscanf(key[32:33], "%x", &n); err != nil {
		t.Fatal(err)
	}
	return n
}
