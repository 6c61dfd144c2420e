package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/gorilla/websocket"
)

// DialConfig bounds what we do to others and others to us. Zero fields mean
// the documented default.
type DialConfig struct {
	Allow        []netip.Prefix // addresses that may be dialled although they are not public; default none
	Connect      time.Duration  // to connect, and for each handshake; default 10 s
	Request      time.Duration  // a whole HTTP exchange, redirects and body included; default 30 s
	MaxBody      int64          // bytes of an HTTP body, inflated; default 10 MiB
	MaxMessage   int64          // bytes of one websocket message; default 8 MiB
	MaxRedirects int            // default 3; below 0: none
	Resolver     *net.Resolver  // default the system's
}

func (c *DialConfig) defaults() {
	if c.Connect == 0 {
		c.Connect = 10 * time.Second
	}
	if c.Request == 0 {
		c.Request = 30 * time.Second
	}
	if c.MaxBody == 0 {
		c.MaxBody = 10 << 20
	}
	if c.MaxMessage == 0 {
		c.MaxMessage = 8 << 20
	}
	if c.MaxRedirects == 0 {
		c.MaxRedirects = 3
	}
}

// ErrAddress is behind every refusal to dial an address that is not public.
var ErrAddress = errors.New("the address is not public")

// ErrTooMuch ends the reading of an answer that is over its bound.
var ErrTooMuch = errors.New("the answer is too long")

// Dialer makes every connection that leaves us. It looks at the address that
// is really dialled, after name resolution, so that a name which changes its
// mind gains nothing. No proxy is ever used.
type Dialer struct {
	cfg    DialConfig
	tcp    net.Dialer
	client http.Client
}

// NewDialer makes a Dialer.
func NewDialer(cfg DialConfig) *Dialer {
	cfg.defaults()
	d := &Dialer{cfg: cfg}
	d.tcp = net.Dialer{Timeout: cfg.Connect, Resolver: cfg.Resolver, Control: d.control}
	d.client = http.Client{
		Timeout:       cfg.Request,
		CheckRedirect: d.redirect,
		Transport: &bounded{most: cfg.MaxBody, next: &http.Transport{
			DialContext:            d.DialContext,
			TLSHandshakeTimeout:    cfg.Connect,
			ResponseHeaderTimeout:  cfg.Request,
			MaxResponseHeaderBytes: 64 << 10,
			MaxIdleConns:           16,
			IdleConnTimeout:        30 * time.Second,
			ForceAttemptHTTP2:      true,
		}},
	}
	return d
}

// DialContext connects by TCP.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if network != "tcp" && network != "tcp4" && network != "tcp6" {
		return nil, fmt.Errorf("dial %s by %s: only TCP is dialled", address, network)
	}
	return d.tcp.DialContext(ctx, network, address)
}

// control sees the resolved address of every attempt, just before it connects.
func (d *Dialer) control(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("%w: %q cannot be read", ErrAddress, address)
	}
	return d.check(at.Addr())
}

func (d *Dialer) check(a netip.Addr) error {
	a = a.Unmap()
	if public(a) || slices.ContainsFunc(d.cfg.Allow, func(p netip.Prefix) bool { return p.Contains(a) }) {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrAddress, a)
}

// public reports whether an address is one of the public internet's, by IANA's
// registries of special-purpose addresses (RFC 6890 and its updates).
func public(a netip.Addr) bool {
	a = a.Unmap()
	if a.Zone() != "" || !a.IsValid() {
		return false
	}
	if a.Is4() {
		return !contains(special4(), a)
	}
	if nat64 := netip.MustParsePrefix("64:ff9b::/96"); nat64.Contains(a) { // a public IPv4 address through a translator
		b := a.As16()
		return public(netip.AddrFrom4([4]byte(b[12:])))
	}
	return netip.MustParsePrefix("2000::/3").Contains(a) && !contains(special6(), a)
}

func special4() []string {
	return []string{
		"0.0.0.0/8",       // this network
		"10.0.0.0/8",      // private
		"100.64.0.0/10",   // carrier-grade NAT
		"127.0.0.0/8",     // loopback
		"169.254.0.0/16",  // link-local
		"172.16.0.0/12",   // private
		"192.0.0.0/24",    // protocol assignments
		"192.0.2.0/24",    // documentation
		"192.88.99.0/24",  // 6to4 relays
		"192.168.0.0/16",  // private
		"198.18.0.0/15",   // benchmarks
		"198.51.100.0/24", // documentation
		"203.0.113.0/24",  // documentation
		"224.0.0.0/3",     // multicast, reserved, broadcast
	}
}

// special6 lists the exceptions inside 2000::/3, outside of which nothing is
// public.
func special6() []string {
	return []string{
		"2001::/23",     // protocol assignments, Teredo among them
		"2001:db8::/32", // documentation
		"2002::/16",     // 6to4, which embeds any IPv4 address
		"3fff::/20",     // documentation
	}
}

func contains(prefixes []string, a netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return netip.MustParsePrefix(p).Contains(a) })
}

// HTTP is the client for web requests. It follows redirects to http and https
// only, each through the same guard, and reading a body beyond MaxBody fails
// with ErrTooMuch.
func (d *Dialer) HTTP() *http.Client { return &d.client }

func (d *Dialer) redirect(req *http.Request, via []*http.Request) error {
	if len(via) > d.cfg.MaxRedirects {
		return fmt.Errorf("more than %d redirects", max(0, d.cfg.MaxRedirects))
	}
	if req.URL.Scheme != "http" && req.URL.Scheme != "https" {
		return fmt.Errorf("redirected to %q, which is not the web", req.URL.Scheme)
	}
	return nil
}

// bounded cuts off bodies that are too long.
type bounded struct {
	next http.RoundTripper
	most int64
}

// RoundTrip implements http.RoundTripper.
func (b *bounded) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := b.next.RoundTrip(req)
	if err == nil {
		res.Body = &boundedBody{ReadCloser: res.Body, left: b.most}
	}
	return res, err
}

type boundedBody struct {
	io.ReadCloser
	left int64
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left < 0 {
		return 0, ErrTooMuch
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	if b.left < 0 {
		return n - 1, ErrTooMuch
	}
	return n, err
}

// Websocket connects to a ws or wss URL, following redirects. The connection
// yields at most most bytes in all, then ErrTooMuch; 0 means no bound.
func (d *Dialer) Websocket(ctx context.Context, rawURL string, most int64) (*websocket.Conn, error) {
	at, err := relayURL(rawURL)
	if err != nil {
		return nil, err
	}
	ws := websocket.Dialer{
		HandshakeTimeout: d.cfg.Connect,
		ReadBufferSize:   32 << 10,
		WriteBufferSize:  32 << 10,
		NetDialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := d.DialContext(ctx, network, address)
			if err != nil || most == 0 {
				return conn, err
			}
			m := &meteredConn{Conn: conn}
			m.left.Store(most)
			return m, nil
		},
	}
	for redirects := 0; ; redirects++ {
		conn, res, err := ws.DialContext(ctx, at.String(), nil) //nolint:bodyclose // gorilla hands out a body that is read already
		if err == nil {
			conn.SetReadLimit(d.cfg.MaxMessage)
			return conn, nil
		}
		if !errors.Is(err, websocket.ErrBadHandshake) || res == nil {
			return nil, fmt.Errorf("connect to %s: %w", at, err)
		}
		if res.StatusCode < 300 || res.StatusCode > 399 || redirects >= d.cfg.MaxRedirects {
			return nil, fmt.Errorf("connect to %s: %w: %s", at, err, res.Status)
		}
		if at, err = at.Parse(res.Header.Get("Location")); err != nil {
			return nil, fmt.Errorf("redirected from %s: %w", rawURL, err)
		}
		if at, err = relayURL(at.String()); err != nil {
			return nil, fmt.Errorf("redirected from %s: %w", rawURL, err)
		}
	}
}

// relayURL reads the address of a relay as strangers write it.
func relayURL(s string) (*url.URL, error) {
	if len(s) > 512 {
		return nil, errors.New("a relay URL of more than 512 bytes")
	}
	u, err := url.Parse(strings.TrimSpace(s))
	if err != nil {
		return nil, fmt.Errorf("relay URL: %w", err)
	}
	switch u.Scheme = strings.ToLower(u.Scheme); u.Scheme {
	case "http":
		u.Scheme = "ws"
	case "https":
		u.Scheme = "wss"
	case "ws", "wss":
	default:
		return nil, fmt.Errorf("relay URL %q: it must begin with ws:// or wss://", s)
	}
	if u.Hostname() == "" || u.User != nil {
		return nil, fmt.Errorf("relay URL %q: it needs a host and may not carry a password", s)
	}
	u.Host, u.Fragment = strings.ToLower(u.Host), ""
	return u, nil
}

// meteredConn counts down the bytes it may still yield.
type meteredConn struct {
	net.Conn
	left atomic.Int64
}

func (m *meteredConn) Read(p []byte) (int, error) {
	if m.left.Load() <= 0 {
		return 0, ErrTooMuch
	}
	n, err := m.Conn.Read(p)
	m.left.Add(-int64(n))
	return n, err
}
