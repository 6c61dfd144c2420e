package relay

import (
	"context"
	"iter"

	"agora/relay/admit"
	"agora/relay/store"
	"agora/relay/wire"

	"github.com/nbd-wtf/go-nostr"
)

// Log is where events are kept; *store.Store is one. Records it yields are
// valid until the next step only.
type Log interface {
	Writer
	Reader
	Follower
}

// Writer takes events in.
type Writer interface {
	// Has reports whether an event is held, at the price of one lookup.
	Has(id store.ID) (bool, error)
	// Submit hands in one event and returns; done runs once it is durable, or
	// cannot be, and must not block.
	Submit(ctx context.Context, e store.Entry, done func(store.Result, error)) error
}

// Reader answers filters. Search is not its business.
type Reader interface {
	// QueryAt answers from what was stored up to a position.
	QueryAt(ctx context.Context, upTo store.Pos, filters ...nostr.Filter) iter.Seq2[store.Record, error]
	Count(ctx context.Context, filters ...nostr.Filter) (int64, error)
	Lookup(ctx context.Context, ids []store.ID, yield func(store.Record) bool) error
}

// Follower is read by position: what came after p.
type Follower interface {
	Head() store.Pos
	Wait(ctx context.Context, after store.Pos) error
	Changes(ctx context.Context, after store.Pos) iter.Seq2[store.Change, error]
}

// Searcher ranks held events by how well they fit a query (NIP-50). It may
// name events that are gone or that do not match f: the relay looks again.
// The sequence is as long as there are hits; whoever reads stops at its limit.
type Searcher interface {
	Search(ctx context.Context, query string, f nostr.Filter) iter.Seq2[store.ID, error]
}

// Door is the path a connection came in by: "/" or a feed's.
type Door string

// Page is what a Source answers: events in their order, and what that says
// about those it did not send.
type Page struct {
	Events  []*nostr.Event
	Hint    wire.Hint
	Still   bool           // nothing live follows it
	Refusal *admit.Refusal // in place of a page: the REQ is closed with it
}

// Source answers some filters with a page of its own. mine says whether it
// took this one; otherwise the log answers. The filter is as the client wrote
// it, its limit too.
type Source interface {
	Select(ctx context.Context, door Door, viewer string, f nostr.Filter) (page Page, mine bool, err error)
}

// Paths knows the doors beside "/", and how the relay presents itself behind
// one: what is empty there is as on the root.
type Paths interface {
	Presence(door Door) (about About, known bool)
}
