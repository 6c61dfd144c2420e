// Package store is the durable log of events and its indexes, in one LMDB
// environment. Claims are unique keys taken in the same commit as their event.
//
// # Words
//
// The log is a sequence of changes, each with a position ([Pos]): an event
// that came or, as a short marker, one that went. A record is one event as
// canonical compact JSON; it goes to sockets without being decoded. A run is
// all entries of one index under one key, newest first.
//
// # Promises
//
// An Append that returned a result is on disk. One committer groups all that
// overlaps (up to 256 entries) into one synced commit; events, their
// index rows, claims, labels and the removals they cause appear together or
// not at all. Readers never wait for the committer, and no read transaction
// lives while a caller holds the loop: Query and Changes copy a batch, let go,
// and resume by key.
//
// # Caveats
//
// One process may write. Others may open the same directory with ReadOnly.
// Space of removed events is used again but given back to the disk only by
// [Compact]. Bulk removals (vanish, retention) are spread over commits of at
// most 1,000 rows; until they are through, queries already hide what a vanish
// request covers. Removal markers are trimmed once they are [KeepMarkers]
// positions old; Changes then answers ErrTrimmed and the projection must
// rebuild from Query.
//
// # Layout (schema 2; integers big-endian)
//
//	log        pos                          -> flags, [expires], record | removal marker
//	id         id                           -> pos
//	created    created_at, ^id              -> pos
//	author     pubkey                       -> entry*
//	authorkind pubkey, kind                 -> entry*
//	kind       kind                         -> entry*
//	tag        letter, value                -> entry*
//	tagkind    letter (e p a q), value, kind -> entry*
//	address    kind, pubkey, sha256(d)[:16] -> pos of the version held
//	expiry     expires, pos                 -> nothing
//	claim      sha256(key)                  -> rule, times, created_at, id of the holder (zero: gone)
//	tomb       id, deleter (zero: anyone)   -> created_at of the request
//	tombaddr   address                      -> created_at of the request
//	vanish     pubkey                       -> created_at of the request
//	label      id                           -> JSON
//	set        number, lower bound -> events, hidden events, sum of ids (see sets.go)
//	setitem    number, created_at, id -> nothing
//	meta, job  small durable values; bulk removals not yet through
//
// An entry is 18 bytes: ^created_at, the first bytes of the id, pos, 6 each; so that
// ascending order is created_at descending, ties by lowest id. A tag value of
// 64 lower-case hex digits is kept as 32 bytes, one of up to 200 bytes as it
// is, a longer one as its SHA-256.
package store
