package relay_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"agora/relay"
	"agora/relay/store"

	"github.com/gorilla/websocket"
	"github.com/nbd-wtf/go-nostr"
)

// These tests send what no honest client sends, over real sockets. Each wants
// a reason in return, and a bystander who notices nothing.

// patience is how long an answer may take on a busy machine.
const patience = 20 * time.Second

// siege is a relay under attack and a client who is not part of it.
type siege struct {
	t         *testing.T
	url       string // ws://…
	bystander *visitor
	n         int
}

// besiege starts a relay with a real store on a free port.
func besiege(t *testing.T, change func(*relay.Config)) *siege {
	t.Helper()
	st, err := store.Open(t.TempDir(), store.Config{MapSize: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	cfg := relay.Config{QuietAuth: true}
	if change != nil {
		change(&cfg)
	}
	r, err := relay.New(cfg, relay.Parts{Log: st})
	if err != nil {
		t.Fatal(err)
	}
	storing, stopStore := context.WithCancel(context.Background())
	serving, stopRelay := context.WithCancel(context.Background())
	stored, served := make(chan error, 1), make(chan error, 1) // the one result of each Run
	go func() { stored <- st.Run(storing) }()
	go func() { served <- r.Run(serving) }()
	srv := &httptest.Server{
		Listener: listenHere(t),
		Config:   &http.Server{Handler: r, ReadHeaderTimeout: time.Second},
	}
	srv.Start()
	t.Cleanup(func() {
		stopRelay()
		if err := <-served; err != nil {
			t.Error(err)
		}
		srv.Close()
		stopStore()
		if err := <-stored; err != nil {
			t.Error(err)
		}
		if err := st.Close(); err != nil {
			t.Error(err)
		}
	})
	s := &siege{t: t, url: "ws" + strings.TrimPrefix(srv.URL, "http")}
	s.bystander = s.visit()
	s.bystander.say(`["REQ","live",{"kinds":[1],"#t":["calm"],"limit":0}]`)
	s.bystander.want("EOSE", "live")
	return s
}

func listenHere(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// calm wants the bystander served as if nothing had happened: their event is
// taken, comes back to their subscription, and is found.
func (s *siege) calm() {
	s.t.Helper()
	s.n++
	ev := signed(s.t, func(ev *nostr.Event) {
		ev.Content, ev.Tags = fmt.Sprintf("all is well %d", s.n), nostr.Tags{{"t", "calm"}}
	})
	s.bystander.say(`["EVENT",` + ev.String() + `]`)
	var ok, live bool
	for range 2 { // in either order
		switch m := s.bystander.next(); m.label() {
		case "OK":
			ok = m.text(1) == ev.ID && m.isTrue(2)
		case "EVENT":
			live = m.text(1) == "live" && strings.Contains(m.raw, ev.ID)
		default:
			s.t.Fatalf("the bystander got %s", m.raw)
		}
	}
	s.bystander.say(fmt.Sprintf(`["REQ","found",{"ids":["%s"]}]`, ev.ID))
	if !ok || !live {
		s.t.Fatalf("the bystander's event: OK %v, live %v", ok, live)
	}
	if m := s.bystander.next(); m.label() != "EVENT" || m.text(1) != "found" {
		s.t.Fatalf("the bystander got %s", m.raw)
	}
	s.bystander.want("EOSE", "found")
	s.bystander.say(`["CLOSE","found"]`)
}

// visitor is one raw connection.
type visitor struct {
	t    *testing.T
	conn *websocket.Conn
	said string // last
}

func (s *siege) visit() *visitor { return s.visitWith(websocket.DefaultDialer) }

func (s *siege) visitWith(d *websocket.Dialer) *visitor {
	s.t.Helper()
	conn, resp, err := d.Dial(s.url, nil)
	for begun := time.Now(); resp != nil && resp.StatusCode == http.StatusServiceUnavailable && time.Since(begun) < patience; {
		conn, resp, err = d.Dial(s.url, nil) // Run has not opened the door yet
	}
	if err != nil {
		s.t.Fatalf("dial: %v (%v)", err, resp)
	}
	s.t.Cleanup(func() { _ = conn.Close() }) // it may be closed already
	return &visitor{t: s.t, conn: conn}
}

func (v *visitor) say(messages ...string) {
	v.t.Helper()
	for _, m := range messages {
		v.said = m
		if err := v.conn.WriteMessage(websocket.TextMessage, []byte(m)); err != nil {
			v.t.Fatalf("say %.100q: %v", m, err)
		}
	}
}

// heard is one message of the relay.
type heard struct {
	raw   string
	parts []any
}

func (m heard) text(i int) string {
	if i >= len(m.parts) {
		return ""
	}
	s, _ := m.parts[i].(string)
	return s
}

func (m heard) label() string { return m.text(0) }

func (m heard) isTrue(i int) bool { return i < len(m.parts) && m.parts[i] == true }

func (v *visitor) next() heard {
	v.t.Helper()
	m, err := v.listen(patience)
	if err != nil {
		v.t.Fatalf("no answer to %.200q: %v", v.said, err)
	}
	return m
}

func (v *visitor) listen(most time.Duration) (heard, error) {
	if err := v.conn.SetReadDeadline(time.Now().Add(most)); err != nil {
		return heard{}, err
	}
	_, b, err := v.conn.ReadMessage()
	if err != nil {
		return heard{}, err
	}
	m := heard{raw: string(b)}
	return m, json.Unmarshal(b, &m.parts)
}

// want waits for a message that begins with these elements, strings or bools;
// the last may be the beginning of the element.
func (v *visitor) want(elements ...any) heard {
	v.t.Helper()
	m := v.next()
	for i, e := range elements {
		text, isText := e.(string)
		switch {
		case i >= len(m.parts):
		case isText && i == len(elements)-1 && strings.HasPrefix(m.text(i), text):
			continue
		case m.parts[i] == e:
			continue
		}
		v.t.Fatalf("%.200q: got %.300s, want %v", v.said, m.raw, elements)
	}
	return m
}

// wantClose waits for the connection to end with a close code, or any when 0.
func (v *visitor) wantClose(code int) {
	v.t.Helper()
	for {
		m, err := v.listen(patience)
		if err == nil {
			v.t.Logf("before the close: %.200s", m.raw)
			continue
		}
		if code != 0 && !websocket.IsCloseError(err, code) {
			v.t.Fatalf("ended with %v, want close code %d", err, code)
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			v.t.Fatal("the connection was left open")
		}
		return
	}
}

var attacker = strings.Repeat("05", 32)

// signed is a valid note; change works before it is signed.
func signed(t *testing.T, change func(*nostr.Event)) *nostr.Event {
	t.Helper()
	ev := &nostr.Event{Kind: 1, CreatedAt: nostr.Now(), Tags: nostr.Tags{}, Content: "hello"}
	if change != nil {
		change(ev)
	}
	if err := ev.Sign(attacker); err != nil {
		t.Fatal(err)
	}
	return ev
}

func TestMalformedMessagesGetANotice(t *testing.T) {
	s := besiege(t, nil)
	v := s.visit()
	for _, c := range []struct{ say, want string }{
		{"hello", "invalid: "},
		{"", "invalid: "},
		{"{}", "invalid: "},
		{"[]", "invalid: "},
		{"null", "invalid: "},
		{"[1,2]", "invalid: "},
		{`["EVENT"`, "invalid: "},
		{`["EVENT"]`, "invalid: "},
		{`["EVENT",[]]`, "invalid: "},
		{`["EVENT",{}]`, "invalid: "},
		{`["REQ"]`, "invalid: "},
		{`["REQ",1,{}]`, "invalid: "},
		{`["REQ","",{}]`, "invalid: "},
		{`["CLOSE",[]]`, "invalid: "},
		{`["AUTH",{}]`, "invalid: "},
		{`["NEG-MSG"]`, "invalid: "},
		{`["HELLO","world"]`, "unsupported: "},
		{`["event",{}]`, "unsupported: "},
		{`["OK","x",true,""]`, "unsupported: "},
		{strings.Repeat("[", 500_000), "invalid: "},
		{`["EVENT",{"x":` + strings.Repeat("[", 100_000) + strings.Repeat("]", 100_000) + `}]`, "invalid: nested"},
		{`["EVENT",{"x":` + strings.Repeat(`{"x":`, 100_000), "invalid: nested"},
		{"[\"\xff\xfe\"]", "invalid: not valid UTF-8"},
	} {
		v.say(c.say)
		v.want("NOTICE", c.want)
	}
	s.calm()
}

// TestNonsenseUsesUpTheQuestionsAndEndsTheConnection: what answers to nothing
// is not answered for ever.
func TestNonsenseUsesUpTheQuestionsAndEndsTheConnection(t *testing.T) {
	few := func(c *relay.Config) {
		c.Exempt = []netip.Prefix{}
		c.Limits.Budget = relay.Budget{QueriesPerSecond: 0.001, QueryBurst: 20, IPFactor: 1000}
	}
	for say, answer := range map[string]string{
		"hello":                   "NOTICE",
		`["HELLO","world"]`:       "NOTICE",
		`["EVENT",{}]`:            "NOTICE",
		`["CLOSE",[]]`:            "NOTICE",
		`["REQ","a",7]`:           "CLOSED",
		`["NEG-OPEN","a",7,"61"]`: "NEG-ERR",
		`["NEG-MSG","a","6100"]`:  "NEG-ERR",
	} {
		s := besiege(t, few)
		v := s.visit()
		answers := 0
		for range 200 { // at most inFlight are answered before they are paid for
			if v.conn.WriteMessage(websocket.TextMessage, []byte(say)) != nil {
				break
			}
			m, err := v.listen(patience)
			if err != nil {
				t.Fatalf("%s: %v", say, err)
			}
			if m.label() == "NOTICE" && strings.HasPrefix(m.text(1), "rate-limited: ") {
				_, err := v.listen(patience)
				if !websocket.IsCloseError(err, websocket.ClosePolicyViolation) {
					t.Errorf("%s: it ends with %v", say, err)
				}
				break
			}
			if m.label() != answer {
				t.Fatalf("%s: got %s", say, m.raw)
			}
			answers++
		}
		if answers < 20 || answers > 22 {
			t.Errorf("%s was answered %d times", say, answers)
		}
		s.calm()
	}
}

func TestNonsenseOfAnExemptAddressIsAnswered(t *testing.T) {
	s := besiege(t, func(c *relay.Config) {
		c.Limits.Budget = relay.Budget{QueriesPerSecond: 0.001, QueryBurst: 20, EventsPerSecond: 0.001, EventBurst: 20}
		c.Exempt = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	v := s.visit()
	for range 100 {
		v.say("hello")
		v.want("NOTICE", "invalid: ")
	}
}

func TestBadEventsAndAuthenticationsCostAnEventEach(t *testing.T) {
	bad := signed(t, func(ev *nostr.Event) {})
	for _, say := range []string{
		strings.Replace(`["EVENT",`+bad.String()+`]`, `"kind":1`, `"kind":"one"`, 1),
		`["AUTH",` + bad.String() + `]`, // of kind 1
	} {
		s := besiege(t, func(c *relay.Config) {
			c.Exempt = []netip.Prefix{}
			c.Limits.Budget = relay.Budget{EventsPerSecond: 0.001, EventBurst: 20, IPFactor: 1000}
		})
		v := s.visit()
		for i := range 30 {
			v.say(say)
			want := "invalid: "
			if i >= 20 {
				want = "rate-limited: "
			}
			v.want("OK", bad.ID, false, want)
		}
	}
}

func TestBadFiltersCloseTheirSubscription(t *testing.T) {
	s := besiege(t, nil)
	v := s.visit()
	id := strings.Repeat("a1", 32)
	many := make([]string, 10_000)
	for i := range many {
		many[i] = fmt.Sprintf(`"%064x"`, i)
	}
	for _, c := range []struct{ filter, want string }{
		{`[]`, "invalid: "},
		{`null`, "invalid: "},
		{`"kinds"`, "invalid: "},
		{`{"ids":["xyz"]}`, "invalid: "},
		{`{"ids":["` + strings.ToUpper(id) + `"]}`, "invalid: "},
		{`{"authors":["` + id[2:] + `"]}`, "invalid: "},
		{`{"#p":["npub1"]}`, "invalid: "},
		{`{"kinds":[-1]}`, "invalid: "},
		{`{"kinds":[65536]}`, "invalid: "},
		{`{"kinds":["1"]}`, "invalid: "},
		{`{"limit":-1}`, "invalid: "},
		{`{"since":"now"}`, "invalid: "},
		{`{"until":1e9}`, "invalid: "},
		{`{"kinds":[1],"kinds":[2]}`, "invalid: duplicate key"},
		{`{"#t":["\u0000"]}`, "invalid: "},
		{`{"#t":["\ud800"]}`, "invalid: "},
		{`{"colour":1}`, "unsupported: "},
		{`{"#emoji":["x"]}`, "unsupported: "},
		{`{"&t":["x"]}`, "unsupported: "},
		{`{"ids":[` + strings.Join(many, ",") + `]}`, "invalid: "},
		{strings.TrimSuffix(strings.Repeat(`{"kinds":[1]},`, 1000), ","), "invalid: "},
	} {
		for _, label := range []string{"REQ", "COUNT"} {
			v.say(`["` + label + `","sub",` + c.filter + `]`)
			v.want("CLOSED", "sub", c.want)
		}
		v.say(`["NEG-OPEN","neg",` + c.filter + `,"61"]`)
		if m := v.next(); m.label() != "NEG-ERR" || m.text(1) != "neg" || m.text(2) == "" {
			t.Fatalf("%.200s: got %.200s", c.filter, m.raw)
		}
	}
	v.say(`["REQ","` + strings.Repeat("x", 65) + `",{}]`)
	v.want("CLOSED", strings.Repeat("x", 65), "invalid: ")
	s.calm()
}

func TestHugeLimitsAndThousandsOfIDsAreServed(t *testing.T) {
	s := besiege(t, nil)
	s.calm()
	v := s.visit()
	ids := make([]string, 4000)
	for i := range ids {
		ids[i] = fmt.Sprintf(`"%064x"`, i)
	}
	for _, filter := range []string{
		`{"kinds":[1],"limit":1000000000000}`, `{"kinds":[1],"limit":9223372036854775807}`,
	} {
		v.say(`["REQ","a",` + filter + `]`)
		v.want("EVENT", "a")
		v.want("EOSE", "a")
	}
	v.say(`["REQ","a",{"ids":[` + strings.Join(ids, ",") + `]}]`)
	v.want("EOSE", "a")
	s.calm()
}

// badEvent is an event gone wrong, and the reason wanted.
type badEvent struct{ name, json, want string }

// badEvents are what "bad input" lists for events; each holds a readable id.
func badEvents(t *testing.T) []badEvent {
	ev := signed(t, nil)
	good := ev.String()
	swap := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%s does not hold %s", good, old)
		}
		return strings.Replace(good, old, new, 1)
	}
	at := fmt.Sprintf(`"created_at":%d`, ev.CreatedAt)
	signedAs := func(change func(*nostr.Event)) string { return signed(t, change).String() }
	tags := `"tags":[]`
	return []badEvent{
		{"id too short", swap(ev.ID, ev.ID[:62]), "invalid: id"},
		{"id in upper case", swap(ev.ID, strings.ToUpper(ev.ID)), "invalid: id"},
		{"forged id", swap(ev.ID, strings.Repeat("0", 64)), "invalid: "},
		{"id of another event", swap(`"hello"`, `"goodbye"`), "invalid: "},
		{"pubkey too long", swap(ev.PubKey, ev.PubKey+"00"), "invalid: pubkey"},
		{"pubkey in upper case", swap(ev.PubKey, strings.ToUpper(ev.PubKey)), "invalid: pubkey"},
		{"sig too short", swap(ev.Sig, ev.Sig[:126]), "invalid: sig"},
		{"sig in upper case", swap(ev.Sig, strings.ToUpper(ev.Sig)), "invalid: sig"},
		{"forged signature", swap(ev.Sig, strings.Repeat("0", 128)), "invalid: "},
		{"signature of another event", swap(ev.Sig, signed(t, func(ev *nostr.Event) { ev.Content = "x" }).Sig), "invalid: "},
		{"lone surrogate", swap(`"hello"`, `"\ud83d"`), "invalid: "},
		{"invalid UTF-8", swap(`"hello"`, "\"\xff\""), "invalid: "},
		{"NUL", swap(`"hello"`, `"\u0000"`), "invalid: "},
		{"raw NUL", swap(`"hello"`, "\"\x00\""), "invalid: "},
		{"duplicate key", swap(`"kind":1`, `"kind":1,"kind":1`), "invalid: duplicate key"},
		{"kind -1", swap(`"kind":1`, `"kind":-1`), "invalid: kind"},
		{"kind 65536", swap(`"kind":1`, `"kind":65536`), "invalid: kind"},
		{"kind as a string", swap(`"kind":1`, `"kind":"1"`), "invalid: kind"},
		{"created_at negative", swap(at, `"created_at":-1`), "invalid: created_at"},
		{"created_at beyond 64 bits", swap(at, `"created_at":99999999999999999999`), "invalid: created_at"},
		{"created_at with a fraction", swap(at, at+`.5`), "invalid: created_at"},
		{"created_at at the end of time", signedAs(func(ev *nostr.Event) { ev.CreatedAt = 1<<63 - 1 }), "invalid: "},
		{"created_at in milliseconds", signedAs(func(ev *nostr.Event) { ev.CreatedAt *= 1000 }), "invalid: "},
		{"tags null", swap(tags, `"tags":null`), "invalid: tags"},
		{"a null tag", swap(tags, `"tags":[null]`), "invalid: tags[0]"},
		{"a null in a tag", swap(tags, `"tags":[["e",null]]`), "invalid: tags[0][1]"},
		{"a number in a tag", swap(tags, `"tags":[["e",1]]`), "invalid: tags[0][1]"},
		{"an empty tag", swap(tags, `"tags":[[]]`), "invalid: tags[0]"},
		{"100,000 tags", swap(tags, `"tags":[`+strings.Repeat(`["t"],`, 99_999)+`["t"]]`), "invalid: more than"},
		{"no content", strings.Replace(good, `"content":"hello",`, "", 1), "invalid: "},
		{"too long a content", swap(`"hello"`, `"`+strings.Repeat("x", 600_000)+`"`), "invalid: content"},
		{"one element too many", good + `,1`, "invalid: "},
	}
}

func TestBadEventsGetOKFalseAndAreNotKept(t *testing.T) {
	s := besiege(t, nil)
	v := s.visit()
	for _, c := range badEvents(t) {
		var idPart struct{ ID string }
		if i := strings.Index(c.json, `"id":"`); i >= 0 {
			idPart.ID, _, _ = strings.Cut(c.json[i+6:], `"`)
		}
		v.say(`["EVENT",` + c.json + `]`)
		m := v.next()
		if m.label() != "OK" || m.text(1) != idPart.ID || m.isTrue(2) || !strings.HasPrefix(m.text(3), c.want) {
			t.Errorf("%s: got %.300s, want OK false %s", c.name, m.raw, c.want)
		}
	}
	v.say(`["COUNT","kept",{}]`)
	if m := v.want("COUNT", "kept"); !strings.Contains(m.raw, `"count":0`) {
		t.Errorf("something was kept: %s", m.raw)
	}
	s.calm()
}

func TestOddButLegalEventsAreKept(t *testing.T) {
	s := besiege(t, nil)
	v := s.visit()
	for name, change := range map[string]func(*nostr.Event){
		"d without a value":  func(ev *nostr.Event) { ev.Kind, ev.Tags = 30000, nostr.Tags{{"d"}} },
		"an empty tag name":  func(ev *nostr.Event) { ev.Tags = nostr.Tags{{""}, {"", "x"}} },
		"e that is no id":    func(ev *nostr.Event) { ev.Tags = nostr.Tags{{"e", "not hex"}, {"p", ""}, {"a", "::"}} },
		"control characters": func(ev *nostr.Event) { ev.Content = "\x01\x1f\x7f\b\f\n" },
		"astral characters":  func(ev *nostr.Event) { ev.Content = "😀\u2028\ufeff\uffff" },
		"created_at 0":       func(ev *nostr.Event) { ev.CreatedAt = 0 },
		"kind 65535":         func(ev *nostr.Event) { ev.Kind = 65535 },
		"a long tag value":   func(ev *nostr.Event) { ev.Tags = nostr.Tags{{"t", strings.Repeat("x", 10_000)}} },
		"many tags":          func(ev *nostr.Event) { ev.Tags = make(nostr.Tags, 5000); fill(ev.Tags) },
	} {
		ev := signed(t, change)
		v.say(`["EVENT",` + ev.String() + `]`)
		v.want("OK", ev.ID, true)
		v.say(`["REQ","back",{"ids":["` + ev.ID + `"]}]`)
		m := v.want("EVENT", "back")
		var frame []json.RawMessage
		if err := json.Unmarshal([]byte(m.raw), &frame); err != nil {
			t.Fatal(err)
		}
		var back nostr.Event
		if err := back.UnmarshalJSON(frame[2]); err != nil || back.String() != ev.String() || !back.CheckID() {
			t.Errorf("%s: came back as %s, %v", name, frame[2], err)
		}
		v.want("EOSE", "back")
	}
	v.say(`["REQ","d",{"kinds":[30000],"#d":[""]}]`)
	v.next() // found or not, NIP-01 does not say; the relay must only stay sane
	s.calm()
}

func fill(tags nostr.Tags) {
	for i := range tags {
		tags[i] = nostr.Tag{"p", fmt.Sprintf("%064x", i)}
	}
}

func TestNegentropyOutOfOrderGetsAnError(t *testing.T) {
	s := besiege(t, nil)
	v := s.visit()
	v.say(`["NEG-MSG","x","6100"]`)
	v.want("NEG-ERR", "x", "closed: ")
	v.say(`["NEG-CLOSE","x"]`) // of nothing: nothing to say
	v.say(`["NEG-OPEN","x",{},"61000002` + strings.Repeat("00", 4) + `"]`)
	if m := v.next(); m.label() != "NEG-MSG" && m.label() != "NEG-ERR" {
		t.Fatalf("got %s", m.raw)
	}
	for _, frame := range []string{"00", "ff", "62", "61ff", "61" + strings.Repeat("ff", 200), "6100000280808080808080808080", "6101000200", "610000029fffffff7f"} {
		v.say(`["NEG-OPEN","y",{},"` + frame + `"]`)
		if m := v.next(); m.label() != "NEG-MSG" && m.label() != "NEG-ERR" {
			t.Fatalf("%s: got %s", frame, m.raw)
		}
		v.say(`["NEG-CLOSE","y"]`, `["NEG-MSG","y","6100"]`)
		v.want("NEG-ERR", "y", "closed: ")
	}
	s.calm()
}
