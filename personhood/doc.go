// Package personhood lets one person act once: it says which actions carry
// weight, derives what a proof must prove from the event itself, and rules on
// events that bring one.
//
// An event that should count a person carries two tags:
//
//	["pop", "semaphore4", GROUP, ROOT, "20", NULLIFIER, PROOF]
//	["n", NULLIFIER]
//
// GROUP is the address 32191:key:d of a group, ROOT and NULLIFIER are 64
// lower-case hex digits below the field's order, PROOF is base64 of the 128
// bytes of semaphore.Proof.Compact. There is exactly one of each tag. What is
// proven is not carried but derived:
//
//	scope   = SHA-256("agora/scope/1" 0x00 action 0x00 target)
//	message = SHA-256("agora/msg/1" 0x00 serialisation)
//
// where the serialisation is NIP-01's of the event without its pop tag, so
// that a proof cannot be moved to another choice, key or time, and the target
// is 32 bytes:
//
//	kind  action  target                                  a second one
//	1018  poll    id of the poll (its one e tag)           the newer replaces, at most 5 times
//	7     boost   id of the note (the last e tag)          is refused
//	1984  report  id of the note (the first e tag), else   is refused
//	              the key (the first p tag)
//	1985  review  SHA-256 of the address in its one a tag  is refused
//	other post    SHA-256("agora/post/1" 0x00 day 0x00 slot),  is refused
//	              its UTC day and its one slot tag, 0 to 99
//
// A post is of a kind for which a relay requires a person: a person has a
// hundred slots a day, which nobody can link with one another.
//
// A dislike is a boost whose content is "-": of one note a person likes or
// dislikes, not both. No group, relay or clock is part of a scope, so one
// person has one nullifier for one target everywhere.
//
// The same event without the tag stays what it always was and counts a key.
package personhood
