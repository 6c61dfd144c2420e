// Package peer is everything that dials out: one guarded dialer, the NIP-77
// client, sync with other relays, and bring, which fetches a key's own events
// from the relays it writes to.
package peer
