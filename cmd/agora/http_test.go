package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"agora/relay/admit"

	"github.com/gorilla/websocket"
	"github.com/nbd-wtf/go-nostr"
)

// startServer serves until the test ends. The channel takes SIGHUPs.
func startServer(t testing.TB, change func(*Config)) (*server, chan<- os.Signal) {
	t.Helper()
	cfg := defaults()
	cfg.Listen, cfg.Data, cfg.Assertions = "127.0.0.1:0", t.TempDir(), 0
	if change != nil {
		change(&cfg)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	s, err := openServer(t.Context(), cfg, log)
	if err != nil {
		t.Fatal(err)
	}
	s.level = new(slog.LevelVar)
	s.reload = func() (Config, error) { return cfg, nil }
	hup := make(chan os.Signal, 1)
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, hup) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("serve ended with %v", err)
		}
	})
	return s, hup
}

// put publishes one event past the socket.
func put(t *testing.T, s *server, ev nostr.Event) nostr.Event {
	t.Helper()
	if ev.CreatedAt == 0 {
		ev.CreatedAt = nostr.Now()
	}
	if err := ev.Sign(nostr.GeneratePrivateKey()); err != nil {
		t.Fatal(err)
	}
	if reason, err := publishOne(t.Context(), s.core, &ev, nil, admit.Import); reason != "" || err != nil {
		t.Fatal(reason, err)
	}
	return ev
}

func fetch(t testing.TB, url string) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestExportOverHTTPLeavesOutWhatIsPrivate(t *testing.T) {
	s, _ := startServer(t, func(cfg *Config) { cfg.PrivateKinds = []int{4} })
	someone := strings.Repeat("ab", 32)
	note := put(t, s, nostr.Event{Kind: 1, Content: "public"})
	wrap := put(t, s, nostr.Event{Kind: 1059, Content: "wrapped", Tags: nostr.Tags{{"p", someone}}})
	dm := put(t, s, nostr.Event{Kind: 4, Content: "direct", Tags: nostr.Tags{{"p", someone}}})
	resp, body := fetch(t, s.at.page+"/v1/export")
	if resp.StatusCode != 200 || !strings.Contains(body, note.ID) {
		t.Errorf("the public note is missing: %s %s", resp.Status, body)
	}
	for _, private := range []nostr.Event{wrap, dm} {
		if strings.Contains(body, private.ID) {
			t.Errorf("kind %d was given to anybody", private.Kind)
		}
	}
	if _, body = fetch(t, s.at.page+`/v1/export?filter={"kinds":[1059]}`); strings.Contains(body, wrap.ID) {
		t.Error("asking for wraps gets wraps")
	}
	if resp, _ = fetch(t, s.at.page+`/v1/export?filter={"kidns":[1]}`); resp.StatusCode != 400 {
		t.Errorf("a wrong filter answers %s", resp.Status)
	}
}

func TestUnknownPathsAre404ForWebsocketsToo(t *testing.T) {
	s, _ := startServer(t, nil)
	for _, path := range []string{"/x", "/v1", "/v1/graph", "/v1/why", "/v1/models", "/xrpc", "/assets", "/f", "//", "/./", "/f/none", "/healthz/", "/metrics/x"} {
		if resp, _ := fetch(t, s.at.page+path); resp.StatusCode != 404 {
			t.Errorf("GET %s answers %s", path, resp.Status)
		}
		conn, resp, err := websocket.DefaultDialer.Dial(s.at.relay+path, nil)
		if err == nil {
			conn.Close()
			t.Errorf("%s was upgraded", path)
		} else if resp == nil || resp.StatusCode != 404 {
			t.Errorf("a websocket on %s: %v", path, err)
		}
	}
}

func TestHalfOpenHandshakesAreDropped(t *testing.T) {
	s, _ := startServer(t, func(cfg *Config) { cfg.Handshake = Duration{200 * time.Millisecond} })
	conn, err := net.Dial("tcp", s.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nUpgra"); err != nil {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.Copy(io.Discard, conn); err != nil {
		t.Errorf("the relay waits for ever: %v", err)
	}
}

func TestMetricsOfTheirOwnAddressAreNowhereElse(t *testing.T) {
	s, _ := startServer(t, func(cfg *Config) { cfg.MetricsListen = "127.0.0.1:0" })
	if resp, _ := fetch(t, s.at.page+"/metrics"); resp.StatusCode != 404 {
		t.Errorf("the main address answers %s", resp.Status)
	}
	resp, body := fetch(t, "http://"+s.inside.Addr().String()+"/metrics")
	if resp.StatusCode != 200 || !strings.Contains(body, "agora_store_held_events") {
		t.Errorf("metrics_listen answers %s", resp.Status)
	}
}

func TestMetricsAreForLoopbackOnly(t *testing.T) {
	h := loopbackOnly(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) }))
	for from, want := range map[string]int{"127.0.0.1:5": 200, "[::1]:5": 200, "203.0.113.9:5": 404, "127.0.0.1:6 by proxy": 404} {
		r := httptest.NewRequest("GET", "/metrics", nil)
		addr, proxied := strings.CutSuffix(from, " by proxy")
		if r.RemoteAddr = addr; proxied {
			r.Header.Set("X-Forwarded-For", "203.0.113.9")
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("%s gets %d, want %d", from, w.Code, want)
		}
	}
}

func TestLandingPageIsAllowedByItsOwnPolicyAndEscapes(t *testing.T) {
	s, _ := startServer(t, func(cfg *Config) {
		cfg.Name = `</title><script>alert(1)</script>`
		cfg.Description = `" onload="x`
		cfg.Terms = "javascript:alert(1)"
		cfg.PublicURLs = []string{"wss://relay.example/"}
	})
	resp, body := fetch(t, s.at.page+"/about")
	style := between(t, body, "<style>", "</style>")
	sum := sha256.Sum256([]byte(style))
	policy := resp.Header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'") {
		t.Errorf("the style is not the one the policy allows: %s", policy)
	}
	for _, never := range []string{"<script", "src=", "javascript:", "@import", "url(", ` onload="x`} {
		if strings.Contains(body, never) {
			t.Errorf("the page holds %q", never)
		}
	}
	for _, must := range []string{"wss://relay.example/", "https://relay.example/v1/export", "agora import", "NIP-50"} {
		if !strings.Contains(body, must) {
			t.Errorf("the page does not say %q", must)
		}
	}
	if resp.Header.Get("X-Content-Type-Options") != "nosniff" {
		t.Error("the page may be sniffed")
	}
}

func between(t *testing.T, text, from, to string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, from)
	inner, _, ok2 := strings.Cut(rest, to)
	if !ok || !ok2 {
		t.Fatalf("no %s in %s", from, text)
	}
	return inner
}

// writeCert makes a certificate for 127.0.0.1 with this serial number.
func writeCert(t *testing.T, certFile, keyFile string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "EC PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestTLSServesWebsocketsAndReloadsItsCertificate(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeCert(t, certFile, keyFile, 1)
	s, hup := startServer(t, func(cfg *Config) { cfg.TLSCert, cfg.TLSKey = certFile, keyFile })
	if !strings.HasPrefix(s.at.relay, "wss://") {
		t.Fatalf("the URL is %s", s.at.relay)
	}
	insecure := &tls.Config{InsecureSkipVerify: true}
	dialer := websocket.Dialer{TLSClientConfig: insecure}
	conn, resp, err := dialer.Dial(s.at.relay, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	defer conn.Close()
	serial := func() int64 {
		c, err := tls.Dial("tcp", s.listener.Addr().String(), insecure)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	if n := serial(); n != 1 {
		t.Fatalf("certificate %d", n)
	}
	writeCert(t, certFile, keyFile, 2)
	hup <- os.Interrupt // any signal: the channel is the program's SIGHUP
	for late := time.Now().Add(30 * time.Second); serial() != 2; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(late) {
			t.Fatal("the new certificate is never shown")
		}
	}
	if err := conn.WriteMessage(websocket.TextMessage, []byte(`["REQ","s",{"limit":1}]`)); err != nil {
		t.Errorf("the open connection did not survive the reload: %v", err)
	}
	awaitText(t, conn, `"EOSE"`)
}

func awaitText(t *testing.T, conn *websocket.Conn, text string) {
	t.Helper()
	conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	for {
		_, msg, err := conn.ReadMessage()
		if err != nil {
			t.Fatalf("no %s: %v", text, err)
		}
		if strings.Contains(string(msg), text) {
			return
		}
	}
}

func TestDoorAnswersEveryLineEvenWithoutSendingMore(t *testing.T) {
	s, _ := startServer(t, func(cfg *Config) { // a path too long for a unix socket's address
		cfg.Data = filepath.Join(cfg.Data, strings.Repeat("d", 90), strings.Repeat("e", 90))
	})
	caller, err := callDoor(t.Context(), s.cfg.Data)
	if err != nil {
		t.Fatal(err)
	}
	ev := nostr.Event{Kind: 1, CreatedAt: nostr.Now(), Tags: nostr.Tags{}}
	if err := ev.Sign(nostr.GeneratePrivateKey()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"", "duplicate: already held"} {
		record, _ := ev.MarshalJSON()
		if reason, err := publishOne(t.Context(), caller, &ev, record, admit.Import); reason != want || err != nil {
			t.Errorf("got %q, %v; want %q", reason, err, want)
		}
	}
	if err := caller.close(); err != nil {
		t.Error(err)
	}
}

func TestDoorThatClosesFailsWhatIsUnderWay(t *testing.T) {
	ours, theirs := net.Pipe()
	go func() { // takes two lines and goes
		in := bufio.NewReader(theirs)
		in.ReadString('\n')
		in.ReadString('\n')
		theirs.Close()
	}()
	caller := newDoorCaller(ours)
	reason, err := publishOne(t.Context(), caller, nil, []byte("{}"), admit.Import)
	if err == nil || !strings.Contains(err.Error(), "went away") {
		t.Errorf("got %q, %v", reason, err)
	}
}
