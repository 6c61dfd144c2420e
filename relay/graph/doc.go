// Package graph answers who follows, mutes and vouches for whom. It is a
// projection of the log: delete it, and Run builds it again.
//
// # What it reads
//
// Follow lists (kind 3), mute lists (10000, and the deprecated 30000 with
// d=mute), follow sets (30000), starter packs (39089) and relay lists (10002).
// Of each it holds the newest version, exactly as the store does: an older one
// never replaces a newer one, and when the store drops an event, by deletion,
// expiry, retention or its author's wish to vanish, the list goes with it and
// nothing takes its place. Only what is public is seen; the encrypted part of a
// list stays its owner's secret. A key named twice counts once, and following
// oneself shows in the list but earns neither a follower nor rank.
//
// # Rank and trust
//
// Two PageRanks are computed over the follow lists, both with damping 0.85. A
// walker starts somewhere, goes on to one of the keys the present one follows,
// and with probability 0.15 starts again. The rank of a key is the share of time
// the walker spends there; all ranks add up to 1.
//
//   - personal: the walker always starts at one viewer, and returns to the viewer
//     from a key that follows nobody. Keys whom the viewer's follows, and their
//     follows, do not reach have rank 0, whatever crowd follows them.
//   - global: the walker starts anywhere, with equal chance. It is computed in the
//     background, and a farm of keys can lift itself in it somewhat. It is the
//     answer where there is no viewer, where the viewer follows nobody, and where
//     the machine is busy with other viewers; the answer then says so
//     (basis "global", and why).
//
// Ranks are very small numbers of very uneven size, so trust puts them on a
// scale that people can read, from 0 to 1:
//
//	trust = 1 - ln(position) / ln(N + 1)
//
// N is the number of other keys known, position how many of them rank at least as
// high. First among 41,704 has trust 1, the hundredth 0.57, the thousandth 0.35,
// the ten-thousandth 0.13; a rank of 0 is trust 0, and so is everybody the viewer
// mutes. Because position and N enter by their logarithm, a graph that grows by
// one per cent moves trust by a thousandth. The rank of a NIP-85 assertion is the
// same number in whole hundredths.
//
// # HTTP
//
// Every answer is JSON and may be read from any web page. {key} is an npub, an
// nprofile or 64 hex characters. A key the relay has never heard of is a valid
// question: the answer is 200 with "known": false and zeros.
//
//	GET /v1/graph/{key}            everything below in one answer; ?viewer= adds hops and trust
//	GET /v1/graph/{key}/follows    a page: ?limit= (1 to 1000, default 100) and ?cursor=
//	GET /v1/graph/{key}/followers  the same
//	GET /v1/graph/{key}/mutes      the same
//	GET /v1/graph/{key}/lists      ?kind= and ?d= name one list and page through it
//	GET /v1/graph/{key}/trust      ?from= is the viewer
//	GET /v1/graph/{key}/assertions which NIP-85 keys speak about, and for, this key
//	GET /v1/graph/{key}/export     every event the key signed, as JSON lines
//
// The export is what the relay would show to anybody; with a NIP-98 header of the
// key itself it also holds what only that key may read. It can be imported by any
// relay, newest event first. It is never held in memory: a slow reader slows only
// itself, one that takes nothing for a minute is cut off, and a transfer that
// could not be finished ends as a broken one, never as a short complete one.
//
// # Assertions
//
// With a secret and a way to publish, NIP-85 assertions (kind 30382: rank and
// followers) are signed by keys derived from that secret: one for the global
// ranking, and one for each user who asks for their own by naming its key as
// provider of 30382:rank in their public kind 10040. /assertions tells which key
// that would be. A card is published again only when its values have changed.
package graph
