package relay

import "time"

// Limits bound what one client may ask for. They can be exchanged while the
// relay runs. A zero field means the default; what NIP-11 has a name for is
// announced there.
type Limits struct {
	MaxMessage       int           // bytes per client message, inflated; default 1,179,648: room for MaxContent with every second character escaped
	MaxContent       int           // unicode characters in content; default 524,288
	MaxTags          int           // tags per event; default 20,000: contact lists of 10,000 keys are real
	MaxFilters       int           // filters per REQ or COUNT; default 50
	MaxFilterItems   int           // values in all lists of one filter together; default 5,000
	MaxSubscriptions int           // open subscriptions per connection; default 100
	MaxSubID         int           // characters of a subscription id; default 64, NIP-01's bound
	DefaultLimit     int           // stored events per filter that names no limit; default 500
	MaxLimit         int           // stored events per filter at most; default 1,000
	MaxNegentropy    int           // events of a filter that NEG-OPEN may name and that is not kept ready; default 200,000
	NegentropyIdle   time.Duration // a negotiation without a frame for so long is closed; default 2 min
	MinPow           int           // leading zero bits of an event id (NIP-13); default 0: none asked
	MaxFuture        time.Duration // how far ahead created_at may be; default 900 s
	MaxPast          time.Duration // how old an event may be; default 0: any age
	AuthToRead       bool          // every REQ and COUNT needs NIP-42
	AuthToWrite      bool          // every EVENT needs NIP-42
	QueryTime        time.Duration // work for one REQ or COUNT at most, without the time its client takes to read; default 5 s
	QueryCost        int           // ranges one REQ or COUNT may open, see cost; default 100,000

	Budget Budget
}

// Budget is what a connection, and an address with all its connections, may
// use. Addresses in Config.Exempt are spared the rates and the bounds per address, not those per connection.
type Budget struct {
	EventsPerSecond  float64       // per connection; default 50
	EventBurst       float64       // events; default 500
	BytesPerSecond   float64       // per connection, what it sends; default 1 MiB; beyond it the socket is not read
	ByteBurst        float64       // bytes; default 8 MiB
	QueriesPerSecond float64       // REQ, COUNT, NEG-OPEN and what is malformed, per connection; default 20
	QueryBurst       float64       // default 200
	IPFactor         float64       // an address may use so many times a connection's rates; default 4
	Connections      int           // per address; default 100
	Unauthenticated  int           // connections per address that have not authenticated; default 100
	IPSubscriptions  int           // open subscriptions per address; default 1,000
	TotalConnections int           // of the whole relay; default 20,000
	Ping             time.Duration // a silent connection is pinged; default 30 s
	Idle             time.Duration // and dropped; default 120 s
	WriteStall       time.Duration // a connection that takes no byte for so long is dropped; default 60 s
	Handshake        time.Duration // from the first byte to the answer of the upgrade; default 10 s
}

func or[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

func (l Limits) withDefaults() Limits {
	or(&l.MaxMessage, 1<<20+1<<17)
	or(&l.MaxContent, 512<<10)
	or(&l.MaxTags, 20_000)
	or(&l.MaxFilters, 50)
	or(&l.MaxFilterItems, 5_000)
	or(&l.MaxSubscriptions, 100)
	or(&l.MaxSubID, 64)
	or(&l.DefaultLimit, 500)
	or(&l.MaxLimit, 1_000)
	or(&l.MaxFuture, 900*time.Second)
	or(&l.QueryTime, 5*time.Second)
	or(&l.QueryCost, 100_000)
	or(&l.MaxNegentropy, 200_000)
	or(&l.NegentropyIdle, 2*time.Minute)
	l.Budget = l.Budget.withDefaults()
	l.DefaultLimit = min(l.DefaultLimit, l.MaxLimit)
	return l
}

func (b Budget) withDefaults() Budget {
	or(&b.EventsPerSecond, 50)
	or(&b.EventBurst, 500)
	or(&b.BytesPerSecond, 1<<20)
	or(&b.ByteBurst, 8<<20)
	or(&b.QueriesPerSecond, 20)
	or(&b.QueryBurst, 200)
	or(&b.IPFactor, 4)
	or(&b.Connections, 100)
	or(&b.Unauthenticated, 100)
	or(&b.IPSubscriptions, 1_000)
	or(&b.TotalConnections, 20_000)
	or(&b.Ping, 30*time.Second)
	or(&b.Idle, 120*time.Second)
	or(&b.WriteStall, 60*time.Second)
	or(&b.Handshake, 10*time.Second)
	return b
}
