package market

// The event kinds of our own, none of which any other protocol document uses.
// The rooms that write the others name theirs by the same numbers.
const (
	KindManifest    = 32190 // addressable: a ranker's manifest
	KindGroup       = 32191 // addressable: a personhood group
	KindReceipt     = 2190  // a page's receipt
	KindGroupRoot   = 2191  // a step of a group's root log
	KindTally       = 2192  // a poll's tally certificate
	KindScoreCard   = 2193  // a score card of a ranker
	KindAdmission   = 2194  // admission of a model, or a mismatch found
	KindPollClose   = 2195  // a host's list of the ballots that count
	KindInteraction = 22190 // ephemeral: a reader's less, more or seen
)
