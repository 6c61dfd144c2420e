package relay

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"agora/relay/wire"

	"github.com/gorilla/websocket"
)

// ServeHTTP answers on the root path and the doors that Parts.Paths knows: a
// websocket, the NIP-11 document, the management API, or the landing page. Any
// other path is not found.
func (r *Relay) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	door := doorOf(req)
	about, known := r.cfg.About, door == "/"
	if !known && r.paths != nil {
		about, known = r.paths.Presence(door)
	}
	if !known {
		http.Error(w, "404: no relay, feed or page is at this address; the relay's own page is at /", http.StatusNotFound)
		return
	}
	ip := r.ClientIP(req)
	if direct := addrOf(req.RemoteAddr); ip != direct {
		req.RemoteAddr = netip.AddrPortFrom(ip, 0).String() // for the handlers below
	}
	switch {
	case websocket.IsWebSocketUpgrade(req):
		r.upgrade(w, req, ip)
	case req.Method == http.MethodPost && r.manage != nil && mediaType(req) == "application/nostr+json+rpc":
		r.manage.ServeHTTP(w, req)
	case strings.Contains(req.Header.Get("Accept"), "application/nostr+json"), req.Method == http.MethodOptions:
		r.serveInfo(w, req, door, about)
	case r.landing != nil:
		r.landing.ServeHTTP(w, req)
	default:
		http.NotFound(w, req)
	}
}

// doorOf is the path a request came by. Behind the root it carries the query,
// which may say more about what is wanted there.
func doorOf(req *http.Request) Door {
	if req.URL.Path == "/" || req.URL.RawQuery == "" {
		return Door(req.URL.Path)
	}
	return Door(req.URL.Path + "?" + req.URL.RawQuery)
}

func mediaType(req *http.Request) string {
	t, _, _ := strings.Cut(req.Header.Get("Content-Type"), ";")
	return strings.TrimSpace(strings.ToLower(t))
}

// ClientIP is the address of the client: the nearest one that is no trusted
// proxy of ours.
func (r *Relay) ClientIP(req *http.Request) netip.Addr {
	ip := addrOf(req.RemoteAddr)
	for _, hop := range slices.Backward(forwardedFor(req.Header)) {
		if !within(r.cfg.TrustedProxies, ip) {
			return ip
		}
		next, err := parseHop(hop)
		if err != nil {
			return ip
		}
		ip = next
	}
	return ip
}

// addrOf is the address in host:port; the zero one for what is none, such as
// a unix socket's.
func addrOf(hostPort string) netip.Addr {
	ap, err := netip.ParseAddrPort(hostPort)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// forwardedFor lists the hops that proxies claim to have seen, client first.
func forwardedFor(h http.Header) (hops []string) {
	for _, line := range h.Values("X-Forwarded-For") {
		hops = append(hops, strings.Split(line, ",")...)
	}
	if hops != nil {
		return hops
	}
	for _, line := range h.Values("Forwarded") { // RFC 7239
		for element := range strings.SplitSeq(line, ",") {
			for pair := range strings.SplitSeq(element, ";") {
				if name, value, ok := strings.Cut(strings.TrimSpace(pair), "="); ok && strings.EqualFold(name, "for") {
					hops = append(hops, strings.Trim(value, `"`))
				}
			}
		}
	}
	return hops
}

// parseHop reads an address with or without brackets and port.
func parseHop(s string) (netip.Addr, error) {
	s = strings.TrimSpace(s)
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone(""), nil
	}
	ip, err := netip.ParseAddr(strings.Trim(s, "[]"))
	return ip.Unmap().WithZone(""), err
}

func within(prefixes []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// awaitRun lets a client that comes while the relay starts wait for Run: its
// address is known, and answered, before.
func (r *Relay) awaitRun(ctx context.Context, most time.Duration) bool {
	select {
	case <-r.begun:
		return true
	default:
	}
	late := time.NewTimer(most)
	defer late.Stop()
	select {
	case <-r.begun:
		return true
	case <-ctx.Done():
	case <-late.C:
	}
	return false
}

// upgrade turns a request into a session. It returns at once: the session's
// goroutines are the relay's, not the HTTP server's.
func (r *Relay) upgrade(w http.ResponseWriter, req *http.Request, ip netip.Addr) {
	lim := r.limits()
	if !r.awaitRun(req.Context(), lim.Budget.Handshake) {
		r.turnAway(w, http.StatusServiceUnavailable, "start", "this relay has not started yet")
		return
	}
	if r.manage != nil {
		if text, blocked := r.manage.Blocked(ip); blocked {
			r.turnAway(w, http.StatusForbidden, "blocked", text)
			return
		}
	}
	// A proxy of ours that nobody has told us about must not spare its clients.
	exempt := within(r.cfg.Exempt, ip) && forwardedFor(req.Header) == nil
	place := r.places.enter(ip, &lim.Budget, exempt)
	if place == nil {
		r.turnAway(w, http.StatusTooManyRequests, "address", "too many connections from your address")
		return
	}
	s := &session{r: r, door: doorOf(req), ip: ip, exempt: exempt, host: req.Host, challenge: newChallenge(), place: place}
	if no := r.sessions.enter(s, lim.Budget.TotalConnections); no != "" {
		place.leave(false)
		r.turnAway(w, http.StatusServiceUnavailable, "full", no)
		return
	}
	if err := s.shakeHands(w, req, lim.Budget.Handshake); err != nil {
		r.sessions.leave(s)
		place.leave(false)
		return // gorilla has answered
	}
	if !r.sessions.ready(s) {
		s.drainAndEnd()
	}
	if r.manage != nil {
		if _, blocked := r.manage.Blocked(ip); blocked { // meanwhile
			s.abandon()
		}
	}
	go s.live()
}

func (r *Relay) turnAway(w http.ResponseWriter, status int, reason, text string) {
	r.metrics.turnedAway.WithLabelValues(reason).Inc()
	http.Error(w, text, status)
}

// shakeHands finishes the upgrade.
func (s *session) shakeHands(w http.ResponseWriter, req *http.Request, most time.Duration) error {
	up := websocket.Upgrader{
		HandshakeTimeout:  most,
		ReadBufferSize:    readBuffer,
		WriteBufferSize:   256,
		WriteBufferPool:   noPool{},
		CheckOrigin:       func(*http.Request) bool { return true }, // a relay is for every page
		EnableCompression: !s.r.cfg.NoCompression && offersDeflate(req.Header),
	}
	h := &hijacker{ResponseWriter: w}
	ws, err := up.Upgrade(h, req, nil)
	if err != nil {
		s.r.metrics.turnedAway.WithLabelValues("handshake").Inc()
		return err
	}
	h.conn.hushed.Store(true)
	s.ws = ws
	s.wake = make(chan struct{}, 1)
	s.link = newLink(h.conn.Conn, s.r.mem, up.EnableCompression, s.pokeAnswerer)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.fifo.init()
	ws.SetPingHandler(func(data string) error {
		s.pong(data)
		return nil
	})
	ws.SetPongHandler(func(string) error {
		s.lastRead.Store(time.Now().Unix())
		return nil
	})
	ws.SetCloseHandler(func(int, string) error { return nil }) // live answers it
	return nil
}

// readBuffer is per connection, in bytes: some messages fit, so that a busy
// client costs less than a read per message.
const readBuffer = 4096

// offersDeflate reports whether the client offers permessage-deflate in a form
// we can serve: with windows of full size.
func offersDeflate(h http.Header) bool {
	for _, line := range h.Values("Sec-Websocket-Extensions") {
		for ext := range strings.SplitSeq(line, ",") {
			name, params, _ := strings.Cut(ext, ";")
			if strings.TrimSpace(name) == "permessage-deflate" && !strings.Contains(params, "server_max_window_bits") {
				return true
			}
		}
	}
	return false
}

// noPool keeps gorilla from holding a write buffer per connection: it writes
// nothing after the handshake.
type noPool struct{}

func (noPool) Get() any { return nil }
func (noPool) Put(any)  {}

// hijacker hands gorilla a connection that can be hushed.
type hijacker struct {
	http.ResponseWriter
	conn *hushable
}

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.conn = &hushable{Conn: conn}
	return h.conn, rw, nil
}

// hushable is a connection whose Write can be turned off: once a session
// lives, all writing goes through its link.
type hushable struct {
	net.Conn
	hushed atomic.Bool
}

func (c *hushable) Write(p []byte) (int, error) {
	if c.hushed.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// live is the whole life of a session: it reads until the connection is gone,
// misbehaves or is drained, and leaves when the answerer has.
func (s *session) live() {
	s.r.metrics.connections.Inc()
	if !s.r.cfg.QuietAuth {
		s.say(opText, wire.AppendAuth(nil, s.challenge))
	}
	var answerer sync.WaitGroup
	answerer.Go(s.answer)
	code, reason := s.read()
	if s.draining.Load() {
		s.fifo.finish()
		s.pokeAnswerer()
		answerer.Wait()
		code, reason = websocket.CloseGoingAway, "the relay is closing down"
	}
	s.cancel()
	s.fifo.close()
	s.closeAllSubs()
	s.hangUp(code, reason)
	answerer.Wait()
	s.place.leave(len(s.viewer()) > 0)
	s.r.metrics.connections.Dec()
	s.r.sessions.leave(s)
}

// drainAndEnd reads nothing more, lets the client have the answers it is owed,
// and ends.
func (s *session) drainAndEnd() {
	s.draining.Store(true)
	_ = s.nc.SetReadDeadline(time.Now()) // a closed connection is drained already
}

// abandon ends the session whatever is owed.
func (s *session) abandon() {
	s.cancel()
	s.fifo.close()
	s.close()
}

const (
	lingerTime  = 2 * time.Second
	lingerBytes = 16 << 20
)

// hangUp says why and closes. What the client is still sending is read and
// thrown away for a moment: closing over unread bytes resets the connection,
// and the reason would be lost with it.
func (s *session) hangUp(code int, reason string) {
	if reason != "" && code != websocket.CloseGoingAway {
		s.say(opText, wire.AppendNotice(nil, reason))
	}
	s.say(opClose, websocket.FormatCloseMessage(code, reason))
	if half, ok := s.nc.(interface{ CloseWrite() error }); ok && code != websocket.CloseNormalClosure {
		_ = half.CloseWrite()
		_ = s.nc.SetReadDeadline(time.Now().Add(lingerTime))
		_, _ = io.CopyN(io.Discard, s.nc, lingerBytes)
	}
	s.close()
}

// tend pings silent connections, drops dead ones, and forgets addresses.
func (r *Relay) tend(ctx context.Context) {
	last := time.Now()
	for {
		b := &r.limits().Budget
		select {
		case <-ctx.Done():
			return
		case <-time.After(b.Ping / 2):
		}
		now := time.Now()
		for _, s := range r.sessions.list() {
			silent := now.Sub(time.Unix(s.lastRead.Load(), 0))
			switch {
			case silent > b.Idle:
				s.abandon()
			case silent > b.Ping:
				s.say(opPing, nil)
			}
		}
		if now.Sub(last) > time.Minute {
			r.places.sweep(now)
			last = now
		}
	}
}
