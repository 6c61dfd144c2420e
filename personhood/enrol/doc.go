// Package enrol checks what lets a person into a group: evidence of one
// source goes in, an Admission comes out. A source keeps nothing: who hosts a
// group sees to it that each Unique lets in one commitment, once.
//
// The text that comes with the wish to join is JSON, of the one source that
// the group takes. Each binds the commitment, so that nobody else's can be put
// in its place:
//
//	source     evidence                                         bound by                   unique
//	invite     by, slot, quota, expires, key, cert, sig, inviter  sig, by the key in the invitation  inviter and slot; for the group's own key, the invitation
//	labels     label (a 1985), proof (a 27191)                  the labelled key's signature  the labelled key
//	semaphore  root, nullifier, proof                           the proof's message        the nullifier
//	worldid3   merkle_root, nullifier_hash, proof               the proof's signal         the nullifier
//	worldid4   protocol_version, nonce, action, responses       the proof's signal hash    the nullifier
//
// A class says what kind of evidence a group's members brought. One group has
// one class, and people of two classes are never added up: one human may be in
// both. What a web of trust says is a weight, not a person; no source here
// makes it one, and a class that begins with "weight" is no class of people.
package enrol
