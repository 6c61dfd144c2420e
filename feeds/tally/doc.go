// Package tally counts who did what with which note: distinct keys per action,
// weighed by trust, and how fast. It is a projection of the log: delete it, and
// Run builds it again.
//
// # What counts
//
// A key counts once per note and action, from the first of its events on. Its
// later ones count when the earlier are taken back.
//
//   - like, dislike, emoji: kind 7 with content "+" or empty, "-", anything else,
//     on the last e tag; on the a tag where there is one, which is the only way
//     to act on an addressable note
//   - reply: kind 1 on the note it answers (NIP-10), kind 1111 on its parent
//   - repost: kinds 6 and 16 on their e or a tag; quote: q tags
//   - zap: kind 9735, when it is signed by the recipient's declared zap key, its
//     request is signed by the sender and names recipient and note as the receipt
//     does, the invoice's amount is the request's, and the invoice commits to the
//     request (NIP-57)
//   - report: kind 1984 on its e tags, and on its p tag against the author
//   - mute: the public p tags of kind 10000, against the author
//
// What a note's own author does with it counts for nothing. An event that goes,
// by deletion, expiry, replacement or its author's wish to vanish, is
// subtracted, and nothing of it remains.
//
// # People
//
// An event whose proof of personhood was accepted counts a key like any other
// and, apart from that, a person: in the note that the proof is for, and in no
// other that its event names, nor in an address. People of different classes
// are not added up, for one human may be in two.
//
// # Weights
//
// A key weighs its global trust, taken at one moment for all keys: the epoch,
// which Stats names. Weights are whole 65,535ths, so sums are exact and
// subtracting gives back what adding gave. Raw counts of keys are given beside
// the sums, and nothing here is ordered by them.
//
// # Time
//
// Every answer is as of a moment: events with a later created_at are left out,
// whether or not they have been read already. Rates are sums of
// exp(-age/window), one for each key, by its first event.
//
// # Bounds
//
// Live notes are those of the last Config.Live, at most Config.Notes of them;
// the oldest go first. The latest Config.Least stay whatever their age, so that
// an archive that was imported, or a relay that fell quiet, has something to
// rank. A note that others acted on before it came, or that is
// gone, is kept as a place without a note; of these at most Config.Places are
// kept, the earliest made go first. Then what was done with them is forgotten.
package tally
