// Package spam says how likely an event is machine-made spam, and why: from its
// text (a linear model over hashed n-grams and structure, tier 0), and from how
// it comes (near-duplicates by many unknown keys, bursts, links shared by
// strangers). Its Gate turns that into the operator's policy. The model and
// its measured error are embedded; MODEL.md is its card.
//
// # What is remembered
//
// Window keeps the last notes as sketches, the campaigns they form, the keys
// seen and the sites linked, each in a ring of fixed size: Window.Bytes is its
// bound, whatever comes. Window.Save and Window.Load carry it over a restart.
//
// # Cost
//
// Tier 0 reads at most 4 KiB of a text (of a longer one the first 3 and the last),
// so its time is bounded, and allocates nothing in steady state.
package spam
