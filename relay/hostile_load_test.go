package relay_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"agora/relay"

	"github.com/gorilla/websocket"
	"github.com/nbd-wtf/go-nostr"
)

// nobodyExempt makes the budgets count for this machine too.
func nobodyExempt(cfg *relay.Config) { cfg.Exempt = []netip.Prefix{} }

func TestTenMegabytesEndTheConnection(t *testing.T) {
	s := besiege(t, nil)
	v := s.visit()
	big := `["EVENT",{"content":"` + strings.Repeat("x", 10<<20) + `"}]`
	_ = v.conn.WriteMessage(websocket.TextMessage, []byte(big)) // the relay may hang up before it is all out
	v.wantClose(0)
	s.calm()
}

func TestADeflateBombEndsTheConnectionBeforeItIsUnpacked(t *testing.T) {
	s := besiege(t, nil)
	v := s.visitWith(&websocket.Dialer{EnableCompression: true})
	if err := v.conn.SetCompressionLevel(9); err != nil {
		t.Fatal(err)
	}
	bomb := bytes.Repeat([]byte(" "), 64<<20) // 64 KB on the wire
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_ = v.conn.WriteMessage(websocket.TextMessage, bomb) // as above
	v.wantClose(0)
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 16<<20 {
		t.Errorf("%d MiB were allocated", grown>>20)
	}
	s.calm()
}

func TestABinaryFrameEndsTheConnection(t *testing.T) {
	s := besiege(t, nil)
	v := s.visit()
	if err := v.conn.WriteMessage(websocket.BinaryMessage, []byte(`["REQ","a",{}]`)); err != nil {
		t.Fatal(err)
	}
	v.wantClose(websocket.CloseUnsupportedData)
	s.calm()
}

func TestBrokenFramesEndTheConnection(t *testing.T) {
	s := besiege(t, nil)
	for name, frame := range map[string]string{
		"not masked":            "\x81\x05hello",
		"reserved bits":         "\xf1\x80\x00\x00\x00\x00",
		"unknown opcode":        "\x83\x80\x00\x00\x00\x00",
		"a length of 2^63":      "\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00",
		"a ping of 1,000 bytes": "\x89\xfe\x03\xe8\x00\x00\x00\x00" + strings.Repeat("x", 1000),
		"a stray continuation":  "\x80\x80\x00\x00\x00\x00",
	} {
		v := s.visit()
		if _, err := v.conn.NetConn().Write([]byte(frame)); err != nil {
			t.Fatal(err)
		}
		v.wantClose(0)
		t.Log(name)
	}
	s.calm()
}

func TestTenThousandSubscriptionsAreBounded(t *testing.T) {
	s := besiege(t, nil)
	v := s.visit()
	go func() {
		for i := range 10_000 {
			msg := fmt.Appendf(nil, `["REQ","s%d",{"kinds":[%d],"limit":1}]`, i, i)
			if v.conn.WriteMessage(websocket.TextMessage, msg) != nil {
				return
			}
		}
	}()
	open, refused := 0, 0
	for open+refused < 10_000 {
		switch m := v.next(); m.label() {
		case "EOSE":
			open++
		case "CLOSED":
			refused++
			if !strings.Contains(m.text(2), ": ") {
				t.Fatalf("no reason: %s", m.raw)
			}
		case "EVENT":
		default:
			t.Fatalf("got %s", m.raw)
		}
		if (open+refused)%5000 == 0 {
			s.calm()
		}
	}
	if open > 1000 || open == 0 {
		t.Errorf("%d subscriptions were opened", open)
	}
	s.calm()
}

func TestTheSameSubscriptionTenThousandTimesIsOneSubscription(t *testing.T) {
	s := besiege(t, nil)
	v := s.visit()
	go func() {
		for range 10_000 {
			if v.conn.WriteMessage(websocket.TextMessage, []byte(`["REQ","a",{"kinds":[7]}]`)) != nil {
				return
			}
		}
		_ = v.conn.WriteMessage(websocket.TextMessage, []byte(`["COUNT","done",{"kinds":[7]}]`)) // the reader below fails if it is lost
	}()
	for {
		m := v.next()
		if m.label() == "COUNT" {
			break
		}
		if m.label() != "EOSE" && m.label() != "CLOSED" {
			t.Fatalf("got %s", m.raw)
		}
	}
	s.calm()
}

// TestASlowReaderDelaysNobody: clients that ask for much and never read.
func TestASlowReaderDelaysNobody(t *testing.T) {
	s := besiege(t, nil)
	v := s.visit()
	for i := range 200 { // 200 KB each
		ev := signed(t, func(ev *nostr.Event) {
			ev.Kind, ev.Content = 30, strings.Repeat("x", 200_000)
			ev.CreatedAt -= nostr.Timestamp(i)
		})
		v.say(`["EVENT",` + ev.String() + `]`)
		v.want("OK", ev.ID, true)
	}
	for range 5 {
		stuck := s.visit()
		stuck.say(`["REQ","live",{"kinds":[1]}]`)
		for i := range 20 {
			stuck.say(fmt.Sprintf(`["REQ","s%d",{"kinds":[30]}]`, i)) // 40 MB each
		}
	}
	started := time.Now()
	for range 20 {
		s.calm()
	}
	if took := time.Since(started); took > patience {
		t.Errorf("20 rounds took %s", took)
	}
}

// TestAStuckClientIsDropped: its place is free again once it has not taken a
// byte for WriteStall.
func TestAStuckClientIsDropped(t *testing.T) {
	s := besiege(t, func(cfg *relay.Config) {
		nobodyExempt(cfg)
		cfg.Limits.Budget.WriteStall = 500 * time.Millisecond
		cfg.Limits.Budget.ByteBurst = 1 << 30
		cfg.Limits.Budget.Connections = 2
	})
	v := s.visit()
	for i := range 100 {
		ev := signed(t, func(ev *nostr.Event) {
			ev.Kind, ev.Content = 30, strings.Repeat("x", 200_000)
			ev.CreatedAt -= nostr.Timestamp(i)
		})
		v.say(`["EVENT",` + ev.String() + `]`)
		v.want("OK", ev.ID, true)
	}
	v.say(`["REQ","a",{"kinds":[30]}]`, `["REQ","b",{"kinds":[30]}]`)
	for deadline := time.Now().Add(patience); ; { // v does not read from here on
		conn, _, err := websocket.DefaultDialer.Dial(s.url, nil)
		if err == nil {
			_ = conn.Close() // it was only to see that there is room
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the client that takes nothing still holds its place: %v", err)
		}
		runtime.Gosched()
	}
	s.calm()
}

func TestHalfOpenHandshakesDisturbNobody(t *testing.T) {
	s := besiege(t, nil)
	addr := strings.TrimPrefix(s.url, "ws://")
	var conns []net.Conn
	for i := range 300 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns = append(conns, c)
		half := "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-Web"
		if _, err := io.WriteString(c, half[:i%len(half)]); err != nil {
			t.Fatal(err)
		}
	}
	s.calm()
	for _, c := range conns { // and they are dropped
		if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("a half-open connection was left open")
		}
	}
	s.calm()
}

func TestBrokenUpgradesAreAnswered(t *testing.T) {
	s := besiege(t, nil)
	key := make([]byte, 16)
	if _, err := rand.Read(key); err != nil {
		t.Fatal(err)
	}
	for name, h := range map[string]http.Header{
		"no key":      {"Sec-Websocket-Version": {"13"}},
		"short key":   {"Sec-Websocket-Version": {"13"}, "Sec-Websocket-Key": {"eA=="}},
		"old version": {"Sec-Websocket-Version": {"8"}, "Sec-Websocket-Key": {base64.StdEncoding.EncodeToString(key)}},
	} {
		req, err := http.NewRequest("GET", "http"+strings.TrimPrefix(s.url, "ws"), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header = h
		h.Set("Upgrade", "websocket")
		h.Set("Connection", "Upgrade")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode < 400 || resp.StatusCode > 499 {
			t.Errorf("%s: status %d", name, resp.StatusCode)
		}
	}
	s.calm()
}

func TestEventsBeyondTheRateAreRefusedWithAReason(t *testing.T) {
	s := besiege(t, func(cfg *relay.Config) {
		nobodyExempt(cfg)
		cfg.Limits.Budget.EventsPerSecond, cfg.Limits.Budget.EventBurst = 1, 20
		cfg.Limits.Budget.IPFactor = 100
	})
	v := s.visit()
	stored, limited := 0, 0
	for i := range 60 {
		ev := signed(t, func(ev *nostr.Event) { ev.Content = fmt.Sprint(i) })
		v.say(`["EVENT",` + ev.String() + `]`)
		m := v.next()
		switch {
		case m.label() == "OK" && m.isTrue(2):
			stored++
		case m.label() == "OK" && strings.HasPrefix(m.text(3), "rate-limited: "):
			limited++
		default:
			t.Fatalf("got %s", m.raw)
		}
	}
	if stored < 20 || limited < 20 {
		t.Errorf("%d stored, %d refused", stored, limited)
	}
	s.calm()
}

func TestQueriesBeyondTheRateAreClosedWithAReason(t *testing.T) {
	s := besiege(t, func(cfg *relay.Config) {
		nobodyExempt(cfg)
		cfg.Limits.Budget.QueriesPerSecond, cfg.Limits.Budget.QueryBurst = 1, 20
		cfg.Limits.Budget.IPFactor = 100
	})
	v := s.visit()
	served, limited := 0, 0
	for range 60 {
		v.say(`["REQ","a",{"kinds":[7]}]`)
		switch m := v.next(); {
		case m.label() == "EOSE":
			served++
		case m.label() == "CLOSED" && strings.HasPrefix(m.text(2), "rate-limited: "):
			limited++
		default:
			t.Fatalf("got %s", m.raw)
		}
	}
	if served < 20 || limited < 20 {
		t.Errorf("%d served, %d refused", served, limited)
	}
	s.calm()
}

func TestBytesBeyondTheRateAreReadSlowly(t *testing.T) {
	s := besiege(t, func(cfg *relay.Config) {
		nobodyExempt(cfg)
		cfg.Limits.Budget.BytesPerSecond, cfg.Limits.Budget.ByteBurst = 20_000, 100_000
		cfg.Limits.Budget.IPFactor = 100
	})
	v := s.visit()
	junk := `["` + strings.Repeat("x", 19_998) + `"]`
	started := time.Now()
	for range 8 { // 160,000 bytes: 60,000 over, 3 s
		v.say(junk)
		v.want("NOTICE", "unsupported: ")
	}
	if took := time.Since(started); took < 2*time.Second {
		t.Errorf("160,000 bytes were read in %s", took)
	}
	s.calm()
}

func TestConnectionsPerAddressAreBounded(t *testing.T) {
	s := besiege(t, func(cfg *relay.Config) {
		nobodyExempt(cfg)
		cfg.Limits.Budget.Connections = 10
	})
	for range 9 {
		s.visit()
	}
	for range 20 {
		_, resp, err := websocket.DefaultDialer.Dial(s.url, nil)
		if err == nil || resp == nil || resp.StatusCode != http.StatusTooManyRequests {
			t.Fatalf("an eleventh connection: %v, %v", resp, err)
		}
	}
	s.calm()
}

func TestUnauthenticatedConnectionsPerAddressAreBounded(t *testing.T) {
	s := besiege(t, func(cfg *relay.Config) {
		nobodyExempt(cfg)
		cfg.Limits.Budget.Unauthenticated = 3
	})
	s.visit()
	s.visit()
	_, resp, err := websocket.DefaultDialer.Dial(s.url, nil)
	if err == nil || resp == nil || resp.StatusCode != http.StatusTooManyRequests {
		t.Fatalf("a fourth connection: %v, %v", resp, err)
	}
	s.calm()
}

func TestAForwardedAddressIsNotBelievedFromStrangers(t *testing.T) {
	s := besiege(t, func(cfg *relay.Config) {
		nobodyExempt(cfg)
		cfg.Limits.Budget.Connections = 2
	})
	s.visit()
	for i := range 5 {
		for _, h := range []http.Header{
			{"X-Forwarded-For": {fmt.Sprintf("192.0.2.%d", i)}},
			{"Forwarded": {fmt.Sprintf("for=192.0.2.%d", i)}},
			{"X-Real-Ip": {fmt.Sprintf("192.0.2.%d", i)}},
		} {
			_, resp, err := websocket.DefaultDialer.Dial(s.url, h)
			if err == nil || resp == nil || resp.StatusCode != http.StatusTooManyRequests {
				t.Fatalf("with %v: %v, %v", h, resp, err)
			}
		}
	}
	s.calm()
}

func TestACostlyQueryIsClosedBeforeItRuns(t *testing.T) {
	s := besiege(t, nil)
	v := s.visit()
	authors, kinds := make([]string, 1000), make([]int, 1000)
	for i := range authors {
		authors[i], kinds[i] = fmt.Sprintf("%064x", i), i
	}
	f := nostr.Filter{Authors: authors, Kinds: kinds}.String()
	for _, label := range []string{"REQ", "COUNT"} {
		v.say(`["` + label + `","a",` + f + `]`)
		v.want("CLOSED", "a", "blocked: ")
	}
	v.say(`["NEG-OPEN","a",` + f + `,"61"]`)
	v.want("NEG-ERR", "a", "blocked: ")
	s.calm()
}

// TestAQueryBeyondItsDeadlineSaysSo: never does a part pass for the whole.
func TestAQueryBeyondItsDeadlineSaysSo(t *testing.T) {
	s := besiege(t, func(cfg *relay.Config) { cfg.Limits.QueryTime = time.Nanosecond })
	v := s.visit()
	for i := range 50 {
		ev := signed(t, func(ev *nostr.Event) { ev.Kind, ev.Content = 30, fmt.Sprint(i) })
		v.say(`["EVENT",` + ev.String() + `]`)
		v.want("OK", ev.ID, true)
	}
	v.say(`["REQ","a",{"kinds":[30]}]`)
	rows := 0
	for {
		m := v.next()
		switch m.label() {
		case "EVENT":
			rows++
			continue
		case "CLOSED":
			if !strings.Contains(m.text(2), ": ") {
				t.Errorf("no reason: %s", m.raw)
			}
		case "EOSE":
			if rows < 50 && !strings.Contains(m.raw, `["more"]`) {
				t.Errorf("%d of 50 rows pass for all: %s", rows, m.raw)
			}
		default:
			t.Errorf("got %s", m.raw)
		}
		break
	}
}

func TestSubscriptionsPerAddressAreBounded(t *testing.T) {
	s := besiege(t, func(cfg *relay.Config) {
		nobodyExempt(cfg)
		cfg.Limits.Budget.IPSubscriptions = 20
	})
	refused := 0
	for range 5 {
		v := s.visit()
		for i := range 10 {
			v.say(fmt.Sprintf(`["REQ","s%d",{"kinds":[7]}]`, i))
			if m := v.next(); m.label() == "CLOSED" {
				refused++
			}
		}
	}
	if refused != 31 { // the bystander holds one
		t.Errorf("%d refused, want 31", refused)
	}
	s.bystander.say(`["CLOSE","live"]`) // there is room for none beside it
	s.bystander.say(`["REQ","again",{"kinds":[7]}]`)
	s.bystander.want("EOSE", "again")
}

// TestFloodOfGarbageDelaysNobody: 8 clients send noise as fast as they can.
func TestFloodOfGarbageDelaysNobody(t *testing.T) {
	s := besiege(t, nil)
	noise := make([]byte, 512)
	if _, err := rand.Read(noise); err != nil {
		t.Fatal(err)
	}
	messages := [][]byte{
		noise, []byte(hex.EncodeToString(noise)), []byte(`["REQ","a",{"kinds":[1,2`), []byte(`["EVENT",` + strings.Replace(signed(t, nil).String(), "hello", "forged", 1) + `]`),
		bytes.Repeat([]byte("["), 4000), []byte(`["COUNT","c",{"kinds":[1],"limit":-1}]`),
	}
	stop := make(chan struct{})
	defer close(stop)
	for i := range 8 {
		v := s.visit()
		go func() { // ends with its connection
			for {
				if _, _, err := v.conn.ReadMessage(); err != nil {
					return
				}
			}
		}()
		go func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if v.conn.WriteMessage(websocket.TextMessage, messages[i%len(messages)]) != nil {
					return
				}
			}
		}()
	}
	for range 3 {
		s.calm()
	}
}
