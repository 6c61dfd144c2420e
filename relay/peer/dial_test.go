package peer

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/gorilla/websocket"
)

func TestOnlyPublicAddressesAreDialled(t *testing.T) {
	for address, want := range map[string]bool{
		"1.1.1.1": true, "8.8.8.8": true, "172.15.0.1": true, "172.32.0.1": true, "100.63.255.255": true, "100.128.0.0": true,
		"0.0.0.0": false, "0.1.2.3": false, "10.1.2.3": false, "100.64.0.1": false, "100.127.255.255": false, "127.0.0.1": false,
		"127.255.255.254": false, "169.254.169.254": false, "172.16.0.1": false, "172.31.255.255": false, "192.0.0.8": false,
		"192.0.2.1": false, "192.88.99.1": false, "192.168.1.1": false, "198.18.0.1": false, "198.51.100.7": false,
		"203.0.113.9": false, "224.0.0.1": false, "239.255.255.250": false, "240.0.0.1": false, "255.255.255.255": false,
		"2606:4700:4700::1111": true, "2001:4860:4860::8888": true, "64:ff9b::8.8.8.8": true,
		"::": false, "::1": false, "::ffff:127.0.0.1": false, "::ffff:10.0.0.1": false, "::ffff:8.8.8.8": true, "::8.8.8.8": false,
		"64:ff9b::10.0.0.1": false, "64:ff9b::127.0.0.1": false, "64:ff9b:1::8.8.8.8": false, "100::1": false,
		"2001::1": false, "2001:10::1": false, "2001:20::1": false, "2001:db8::1": false, "2002:7f00:1::": false, "2002:808:808::1": false,
		"3fff::1": false, "5f00::1": false, "fc00::1": false, "fd12:3456::1": false, "fe80::1": false, "fe80::1%eth0": false,
		"fec0::1": false, "ff02::1": false, "2606:4700::1%1": false,
	} {
		if got := public(netip.MustParseAddr(address)); got != want {
			t.Errorf("%s: public is %v, want %v", address, got, want)
		}
	}
	if public(netip.Addr{}) {
		t.Error("no address at all is public")
	}
}

// nameServer answers every name with the addresses of its list in turn, one
// per question, as a rebinding name server would.
func nameServer(t *testing.T, answers ...netip.Addr) *net.Resolver {
	t.Helper()
	var asked atomic.Int64
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		t.Cleanup(func() { _ = ours.Close(); _ = theirs.Close() })
		go func() {
			for {
				var size [2]byte
				if _, err := io.ReadFull(theirs, size[:]); err != nil {
					return
				}
				q := make([]byte, binary.BigEndian.Uint16(size[:]))
				if _, err := io.ReadFull(theirs, q); err != nil {
					return
				}
				a := dnsAnswer(q, answers, &asked)
				if _, err := theirs.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(a))), a...)); err != nil {
					return
				}
			}
		}()
		return ours, nil
	}}
}

// dnsAnswer answers an A question (RFC 1035); others get no records.
func dnsAnswer(q []byte, answers []netip.Addr, asked *atomic.Int64) []byte {
	end := 12
	for q[end] != 0 {
		end += int(q[end]) + 1
	}
	end += 5
	a := append([]byte{}, q[:end]...)
	a[2], a[3] = 0x81, 0x80
	clear(a[6:12])
	if binary.BigEndian.Uint16(q[end-4:]) == 1 {
		a[7] = 1
		ip := answers[min(int(asked.Add(1))-1, len(answers)-1)].As4()
		a = append(append(a, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4), ip[:]...)
	}
	return a
}

func loopback() []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")} }

func TestANameThatResolvesToAPrivateAddressIsNotDialled(t *testing.T) {
	for _, answer := range []string{"127.0.0.1", "10.0.0.1", "169.254.169.254"} {
		d := NewDialer(DialConfig{Resolver: nameServer(t, netip.MustParseAddr(answer))})
		_, err := d.HTTP().Get("http://relay.example.com:8080/") //nolint:bodyclose // it fails
		if !errors.Is(err, ErrAddress) {
			t.Errorf("%s by HTTP: %v", answer, err)
		}
		if _, err := d.Websocket(t.Context(), "ws://relay.example.com:8080/", 0); !errors.Is(err, ErrAddress) {
			t.Errorf("%s by websocket: %v", answer, err)
		}
	}
	if _, err := NewDialer(DialConfig{}).DialContext(t.Context(), "unix", "/run/x"); err == nil {
		t.Error("a unix socket was dialled")
	}
}

func TestANameThatRebindsBetweenQuestionsGainsNothing(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
	}))
	defer srv.Close()
	port := srv.URL[strings.LastIndex(srv.URL, ":"):]
	// The first answer may be dialled, every later one may not.
	d := NewDialer(DialConfig{Resolver: nameServer(t, netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")), Allow: loopback()})
	res, err := d.HTTP().Get("http://rebind.example.com" + port)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if _, err := d.HTTP().Get("http://rebind.example.com" + port); !errors.Is(err, ErrAddress) { //nolint:bodyclose // it fails
		t.Errorf("after it rebound: %v", err)
	}
}

func TestRedirectsGoThroughTheGuard(t *testing.T) {
	var target atomic.Value
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to, _ := target.Load().(string)
		http.Redirect(w, r, to, http.StatusFound)
	}))
	defer srv.Close()
	d := NewDialer(DialConfig{Allow: loopback()})
	ws := "ws" + strings.TrimPrefix(srv.URL, "http")
	for _, to := range []string{"http://127.0.0.2:1/", "http://[::1]:1/", "http://169.254.169.254/latest/meta-data", "http://0.0.0.0:1/"} {
		target.Store(to)
		if _, err := d.HTTP().Get(srv.URL); !errors.Is(err, ErrAddress) { //nolint:bodyclose // it fails
			t.Errorf("to %s by HTTP: %v", to, err)
		}
		if _, err := d.Websocket(t.Context(), ws, 0); !errors.Is(err, ErrAddress) {
			t.Errorf("to %s by websocket: %v", to, err)
		}
	}
	target.Store(srv.URL)                                                                           // in circles
	if _, err := d.HTTP().Get(srv.URL); err == nil || !strings.Contains(err.Error(), "redirects") { //nolint:bodyclose // it fails
		t.Errorf("in circles by HTTP: %v", err)
	}
	if _, err := d.Websocket(t.Context(), ws, 0); !errors.Is(err, websocket.ErrBadHandshake) {
		t.Errorf("in circles by websocket: %v", err)
	}
	target.Store("file:///etc/passwd")
	if _, err := d.HTTP().Get(srv.URL); err == nil { //nolint:bodyclose // it fails
		t.Error("a redirect to a file was followed")
	}
}

func TestBodiesAreCutOffAtTheirBoundInflated(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n := 1000
		if r.URL.Path == "/long" {
			n = 1001
		}
		if r.URL.Path == "/bomb" {
			w.Header().Set("Content-Encoding", "gzip")
			z := gzip.NewWriter(w)
			_, _ = z.Write(bytes.Repeat([]byte{'a'}, 1<<20))
			_ = z.Close()
			return
		}
		_, _ = w.Write(bytes.Repeat([]byte{'a'}, n))
	}))
	defer srv.Close()
	d := NewDialer(DialConfig{Allow: loopback(), MaxBody: 1000})
	for path, want := range map[string]error{"/": nil, "/long": ErrTooMuch, "/bomb": ErrTooMuch} {
		res, err := d.HTTP().Get(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		if !errors.Is(err, want) || len(body) != 1000 {
			t.Errorf("%s: %d bytes, %v", path, len(body), err)
		}
		_ = res.Body.Close()
	}
}

func TestAWebsocketYieldsNoMoreThanItsBound(t *testing.T) {
	up := websocket.Upgrader{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		defer c.Close()
		for c.WriteMessage(websocket.TextMessage, make([]byte, 10_000)) == nil {
		}
	}))
	defer srv.Close()
	at, _ := url.Parse(srv.URL)
	c, err := NewDialer(DialConfig{Allow: loopback()}).Websocket(t.Context(), "ws://"+at.Host, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got := 0
	for err == nil {
		var msg []byte
		_, msg, err = c.ReadMessage()
		got += len(msg)
	}
	if !errors.Is(err, ErrTooMuch) || got > 1<<20+64<<10 {
		t.Errorf("%d bytes, %v", got, err)
	}
}

func TestRelayURLs(t *testing.T) {
	for in, want := range map[string]string{
		"wss://Relay.Example.com/": "wss://relay.example.com/", " ws://a:7447/x?y=1#z ": "ws://a:7447/x?y=1", "https://a": "wss://a",
		"file:///etc/passwd": "", "wss://": "", "wss://me:pw@a": "", "relay.example.com": "", "wss://" + strings.Repeat("a", 600): "", "": "",
	} {
		u, err := relayURL(in)
		if got := ""; err == nil {
			if got = u.String(); got != want {
				t.Errorf("%q: %q", in, got)
			}
		} else if want != "" {
			t.Errorf("%q: %v", in, err)
		}
	}
}
