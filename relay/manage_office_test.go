package relay

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"agora/relay/admit"
	"agora/relay/store"
	"agora/relay/wire"

	"github.com/nbd-wtf/go-nostr"
	"github.com/nbd-wtf/go-nostr/nip86"
)

// office is a relay's management with a real store behind it and one
// administrator before it.
type office struct {
	t     testing.TB
	dir   string
	st    *store.Store
	m     *Management
	srv   *httptest.Server
	admin string // secret key
	self  string // the relay's public key
	cfg   ManagementConfig
	stop  func()

	mu      sync.Mutex // guards what follows
	dropped int        // calls of dropBlocked
	offline error      // what publishOwn answers instead of publishing
}

const relaySecret = "1f1e1d1c1b1a191817161514131211100f0e0d0c0b0a09080706050403020101"

func openOffice(t testing.TB, change func(*ManagementConfig)) *office {
	t.Helper()
	o := &office{t: t, dir: t.TempDir(), admin: nostr.GeneratePrivateKey()}
	o.self = pubOf(t, relaySecret)
	o.cfg = ManagementConfig{
		Policy: ManagementPolicy{Admins: []string{pubOf(t, o.admin)}},
		Secret: relaySecret,
		Logger: slog.New(slog.DiscardHandler),
	}
	if change != nil {
		change(&o.cfg)
	}
	o.srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { o.m.ServeHTTP(w, r) }))
	t.Cleanup(o.srv.Close)
	o.open()
	t.Cleanup(func() { o.stop() })
	return o
}

// open starts store and management on what the directory holds.
func (o *office) open() {
	o.t.Helper()
	st, err := store.Open(o.dir, store.Config{MapSize: 1 << 30, NoSync: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		o.t.Fatal(err)
	}
	signer, err := admit.NewHTTPAuth([]string{o.srv.URL})
	if err != nil {
		o.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = st.Run(ctx) })
	cfg := o.cfg
	cfg.Keeper, cfg.Shelf, cfg.Signer = st, st, signer
	m, err := NewManagement(cfg)
	if err != nil {
		o.t.Fatal(err)
	}
	o.st, o.m = st, m
	m.attach(o)
	wg.Go(func() { _ = m.run(ctx) })
	o.stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		_ = st.Close()
	})
}

func (o *office) restart() {
	o.t.Helper()
	o.stop()
	o.open()
}

func (o *office) publishOwn(ctx context.Context, ev *nostr.Event) error {
	o.mu.Lock()
	offline := o.offline
	o.mu.Unlock()
	if offline != nil {
		return offline
	}
	res, err := o.st.Append(ctx, store.Entry{Event: ev, JSON: wire.AppendEvent(nil, ev)})
	if err == nil && res.Outcome != store.Stored && res.Outcome != store.Duplicate {
		err = fmt.Errorf("kind %d was not stored: %v", ev.Kind, res.Outcome)
	}
	return err
}

func (o *office) dropBlocked() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.dropped++
}

func pubOf(t testing.TB, secret string) string {
	t.Helper()
	pub, err := nostr.GetPublicKey(secret)
	if err != nil {
		t.Fatal(err)
	}
	return pub
}

// note stores an event of a key.
func (o *office) note(secret string, kind int, content string, tags ...nostr.Tag) *nostr.Event {
	o.t.Helper()
	ev := &nostr.Event{Kind: kind, CreatedAt: nostr.Now(), Content: content, Tags: tags}
	if err := ev.Sign(secret); err != nil {
		o.t.Fatal(err)
	}
	if err := o.publishOwn(o.t.Context(), ev); err != nil {
		o.t.Fatal(err)
	}
	return ev
}

// header signs a request by NIP-98. A number that counts up keeps two equal
// calls of one second apart.
func (o *office) header(secret, method, url string, body []byte, at time.Time) string {
	o.t.Helper()
	sum := sha256.Sum256(body)
	ev := nostr.Event{
		Kind:      27235,
		CreatedAt: nostr.Timestamp(at.Unix()),
		Tags:      nostr.Tags{{"u", url}, {"method", method}, {"payload", hex.EncodeToString(sum[:])}},
		Content:   nostr.GeneratePrivateKey()[:8],
	}
	if err := ev.Sign(secret); err != nil {
		o.t.Fatal(err)
	}
	return "Nostr " + base64.StdEncoding.EncodeToString([]byte(ev.String()))
}

// post sends a body with a header and returns the status and the body.
func (o *office) post(body []byte, authorization string) (int, []byte) {
	o.t.Helper()
	req, _ := http.NewRequestWithContext(o.t.Context(), http.MethodPost, o.srv.URL, bytes.NewReader(body))
	req.Header.Set("Content-Type", "application/nostr+json+rpc")
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := o.srv.Client().Do(req)
	if err != nil {
		o.t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		o.t.Fatal(err)
	}
	return resp.StatusCode, got
}

// call calls a method as the administrator and gives its result, or what the
// relay said instead.
func (o *office) call(method string, args ...any) (any, error) {
	o.t.Helper()
	if args == nil {
		args = []any{}
	}
	body, _ := json.Marshal(nip86.Request{Method: method, Params: args})
	status, got := o.post(body, o.header(o.admin, "POST", o.srv.URL, body, time.Now()))
	var resp nip86.Response
	if err := json.Unmarshal(got, &resp); err != nil {
		o.t.Fatalf("%s answered %d %q: %v", method, status, got, err)
	}
	if resp.Error != "" {
		return nil, errors.New(resp.Error)
	}
	if status != http.StatusOK {
		o.t.Fatalf("%s answered %d without an error: %s", method, status, got)
	}
	return resp.Result, nil
}

// must is call where a refusal fails the test.
func (o *office) must(method string, args ...any) any {
	o.t.Helper()
	result, err := o.call(method, args...)
	if err != nil {
		o.t.Fatalf("%s %v: %v", method, args, err)
	}
	return result
}

func (o *office) wantList(method, want string) {
	o.t.Helper()
	got, _ := json.Marshal(o.must(method))
	if string(got) != want {
		o.t.Errorf("%s is %s, want %s", method, got, want)
	}
}

// ids lists what a filter finds in the store, hidden authors left out, as
// visible does.
func (o *office) events(f nostr.Filter) (found []*nostr.Event) {
	o.t.Helper()
	for rec, err := range o.st.Query(o.t.Context(), f) {
		if err != nil {
			o.t.Fatal(err)
		}
		if o.m.Hidden(rec.PubKey()) {
			continue
		}
		ev, err := rec.Event()
		if err != nil {
			o.t.Fatal(err)
		}
		found = append(found, ev)
	}
	return found
}

// rule asks the gate about an event of this key and kind.
func (o *office) rule(pubkey string, kind int, origin admit.Origin) string {
	o.t.Helper()
	ruling, err := o.m.Rule(o.t.Context(), &nostr.Event{PubKey: pubkey, Kind: kind}, admit.Peer{Origin: origin})
	if err != nil {
		o.t.Fatal(err)
	}
	if ruling.Refusal == nil {
		return ""
	}
	return ruling.Refusal.String()
}

// eventually waits for something that run does on its own.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("never: " + what)
}
