package relay

import (
	"net/netip"
	"sync"
	"time"
)

// rate names one of the rates of Budget.
type rate int

const (
	eventRate rate = iota
	queryRate
	bytesRate
	rates
)

// account is what is left of each rate.
type account [rates]bucket

// bucket is a token bucket. The zero one is full.
type bucket struct {
	used float64   // tokens taken and not yet grown back
	at   time.Time // of used
}

// take takes n tokens and returns 0, or takes none and returns how long until
// they have grown back. n 0 only asks whether the bucket is overdrawn.
func (b *bucket) take(now time.Time, n, perSecond, most float64) time.Duration {
	b.used = max(0, b.used-now.Sub(b.at).Seconds()*perSecond)
	b.at = now
	if over := b.used + n - most; over > 0 {
		return time.Duration(over / perSecond * float64(time.Second))
	}
	b.used += n
	return 0
}

// spend takes n from the connection's rate and its address's. Above 0 it is
// how long until there is enough. Bytes have come already: they are booked
// whatever was left.
func (s *session) spend(what rate, n float64) time.Duration {
	if s.exempt {
		return 0
	}
	b := &s.r.limits().Budget
	perSecond, most := b.of(what)
	now := time.Now()
	if what == bytesRate && n > 0 {
		s.mine[what].take(now, 0, perSecond, most)
		s.mine[what].used += n
		s.place.book(what, n)
		return 0
	}
	if wait := s.mine[what].take(now, n, perSecond, most); wait > 0 {
		return wait
	}
	return s.place.take(what, now, n, perSecond*b.IPFactor, most*b.IPFactor)
}

func (b *Budget) of(what rate) (perSecond, most float64) {
	switch what {
	case eventRate:
		return b.EventsPerSecond, b.EventBurst
	case queryRate:
		return b.QueriesPerSecond, b.QueryBurst
	default:
		return b.BytesPerSecond, b.ByteBurst
	}
}

// place is an address, with all its connections. IPv6 addresses count by
// their /64, which is what one customer is given.
type place struct {
	mu      sync.Mutex // guards what follows
	rates   account
	conns   int
	unknown int // connections that have not authenticated
	subs    int
}

// places are the addresses that are connected or were of late.
type places struct {
	mu sync.Mutex // guards what follows
	m  map[netip.Addr]*place
}

func placeOf(ip netip.Addr) netip.Addr {
	if ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return ip
}

// enter books a connection. nil: the address has too many.
func (ps *places) enter(ip netip.Addr, b *Budget, exempt bool) *place {
	key := placeOf(ip)
	ps.mu.Lock()
	defer ps.mu.Unlock()
	p := ps.m[key]
	if p == nil {
		p = new(place)
		ps.m[key] = p
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !exempt && (p.conns >= b.Connections || p.unknown >= b.Unauthenticated) {
		return nil
	}
	p.conns++
	p.unknown++
	return p
}

func (p *place) leave(authed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns--
	if !authed {
		p.unknown--
	}
}

func (p *place) authenticated() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.unknown--
}

func (p *place) openSub(most int, exempt bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !exempt && p.subs >= most {
		return false
	}
	p.subs++
	return true
}

func (p *place) closeSub() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.subs--
}

func (p *place) take(what rate, now time.Time, n, perSecond, most float64) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rates[what].take(now, n, perSecond, most)
}

func (p *place) book(what rate, n float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rates[what].used += n
}

// forgetAfter is how long an address without connections is remembered, so
// that hanging up does not fill its buckets.
const forgetAfter = 10 * time.Minute

// sweep forgets addresses that have been gone for a while.
func (ps *places) sweep(now time.Time) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for ip, p := range ps.m {
		p.mu.Lock()
		idle := p.conns == 0
		for _, b := range p.rates {
			idle = idle && now.Sub(b.at) > forgetAfter
		}
		p.mu.Unlock()
		if idle {
			delete(ps.m, ip)
		}
	}
}
