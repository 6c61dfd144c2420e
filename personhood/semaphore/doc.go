// Package semaphore proves and checks that somebody belongs to a group
// without saying who: Semaphore v4 on BN254, byte for byte what
// @semaphore-protocol/proof 4.14 makes and accepts.
//
// A person is an [Identity]; its public half, the commitment, is a leaf of a
// [Tree] (LeanIMT over circomlib's Poseidon). A [Proof] shows that some leaf
// of the tree with a given root signed a message, under a scope, and carries a
// nullifier: the same person under the same scope always has the same one,
// and under two scopes two that nobody can connect. [Verifier] checks proofs
// one by one or in batches; [Prover] makes them at depth 20.
//
// The package is pure: no network, no clock, no files but those embedded, and
// nothing else of this module. The circuit's files and the verification keys
// are those of npm's @zk-kit/semaphore-artifacts 4.13.0 (MIT).
//
// Two things the arithmetic does not do for its user. Any root can be made by
// anybody (a tree of one member is a tree), so a root must be one that the
// caller trusts. And a proof can be blinded again by whoever holds it, so
// proofs must never be told apart by their bytes: the nullifier is what counts.
package semaphore
